/* SPDX-License-Identifier: BSD-2-Clause */
/* Two results of `weft bench --json`, side by side. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "cli/bench_compare.h"
#include "cli/bench_plot.h"
#include "cli/show.h"

#include "core/histogram.h"
#include "env/env.h"

/* What is compared; `judged`: the tolerance is about it. */
static const struct {
	const char *name, *group, *key;
	bool higher_is_better, judged, is_time;
} measures[] = {
	{ "requests per s", NULL, "iops", true, true, false },
	{ "p50", "latency_ns", "p50", false, true, true },
	{ "p90", "latency_ns", "p90", false, true, true },
	{ "p99", "latency_ns", "p99", false, true, true },
	{ "p99.9", "latency_ns", "p999", false, false, true },
	{ "longest", "latency_ns", "max", false, false, true },
	{ "CPU us/request", NULL, "cpu_us_per_request", false, true, false },
	{ "server us/request", NULL, "server_cpu_us_per_request", false, true, false },
	{ "errors", NULL, "errors", false, true, false },
	{ "mismatches", NULL, "mismatches", false, true, false },
};
/* Runs that differ in these are no comparison. */
static const char *const settings[] = { "rw", "bs", "depth", "queues", "connections", "rate" };

static int file_load(struct env *env, const char *path, json_t **out, struct weft_why *why)
{
	struct weft_why inner;
	json_error_t where;
	size_t size;
	char *text;
	int error = env_file_read(env, path, &text, &size, &inner);

	if (error != 0)
		return weft_why(why, error, "--compare: %.220s", inner.text);
	*out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
	env_free(env, text);
	if (*out != NULL && json_is_object(*out))
		return 0;
	json_decref(*out);
	*out = NULL;
	return weft_why(why, -EINVAL, "--compare: '%.100s' is no result: give files that `weft bench --json` has told", path);
}

static int setting_check(const json_t *a, const json_t *b, const char *key, struct weft_why *why)
{
	json_t *x = json_object_get(a, key), *y = json_object_get(b, key);

	if (x == NULL || y == NULL)
		return weft_why(why, -EINVAL, "--compare: '%s' is missing: give files that `weft bench --json` has told", key);
	if (!json_equal(x, y))
		return weft_why(why, -EINVAL, "--compare: the runs differ in '%s': compare what was measured in the same way", key);
	return 0;
}

static int number(const json_t *run, unsigned i, double *out, struct weft_why *why)
{
	const json_t *in = measures[i].group != NULL ? json_object_get(run, measures[i].group) : run;
	const json_t *value = json_object_get(in, measures[i].key);

	if (!json_is_number(value) || json_number_value(value) < 0)
		return weft_why(why, -EINVAL, "--compare: '%s' is missing, or no number from 0: give files that `weft bench "
			"--json` has told",
			measures[i].key);
	*out = json_number_value(value);
	return 0;
}

/* More than the tolerance; where there was nothing, anything is. */
static bool is_worse(unsigned i, double a, double b, double tolerance)
{
	if (!measures[i].judged)
		return false;
	return measures[i].higher_is_better ? b < a * (1 - tolerance) : b > a * (1 + tolerance);
}

static const char *shown(unsigned i, double value, char text[SHOW_TEXT])
{
	if (measures[i].is_time)
		return show_duration((uint64_t)value, text);
	if (value >= 1000)
		return show_count(value, text);
	snprintf(text, SHOW_TEXT, "%.*f", floor(value) == value ? 0 : 3, value);
	return text;
}

static void print_row(unsigned i, double a, double b, bool worse)
{
	char left[SHOW_TEXT], right[SHOW_TEXT], ratio[SHOW_TEXT] = "-";

	if (a > 0)
		snprintf(ratio, sizeof(ratio), "%.3f", b / a);
	printf("%-18s %12s %12s %8s%s\n", measures[i].name, shown(i, a, left), shown(i, b, right), ratio, worse ? "  worse" : "");
}

static json_t *row_json(unsigned i, double a, double b, bool worse)
{
	return json_pack("{s:s, s:f, s:f, s:o, s:b}", "measure", measures[i].name, "a", a, "b", b, "ratio",
		a > 0 ? json_real(b / a) : json_null(), "worse", worse);
}

/* 0; -EDOM: it is worse. */
static int table(const json_t *a, const json_t *b, double tolerance, bool json, struct weft_why *why)
{
	json_t *rows = json_array();
	int error = 0, verdict = 0;

	if (!json)
		printf("%-18s %12s %12s %8s\n", "", "A", "B", "B / A");
	for (unsigned i = 0; i < WEFT_COUNT(measures) && error == 0; i++) {
		double x, y;
		bool worse;

		error = number(a, i, &x, why);
		if (error == 0)
			error = number(b, i, &y, why);
		if (error != 0 || (x == 0 && y == 0))
			continue;
		worse = is_worse(i, x, y, tolerance);
		verdict = worse ? -EDOM : verdict;
		if (json)
			json_array_append_new(rows, row_json(i, x, y, worse));
		else
			print_row(i, x, y, worse);
	}
	if (json && error == 0)
		show_json(json_pack("{s:O, s:f, s:b}", "measures", rows, "tolerance", tolerance, "worse", verdict != 0), true);
	json_decref(rows);
	fflush(stdout);
	return error != 0 ? error : verdict;
}

static int curve_read(const json_t *run, const char *path, struct weft_histogram *out, struct weft_why *why)
{
	const json_t *list = json_object_get(run, "histogram_ns"), *item;
	json_int_t ns, count;
	size_t i;

	json_array_foreach(list, i, item) {
		if (json_unpack((json_t *)(uintptr_t)item, "[I, I!]", &ns, &count) != 0 || ns < 0 || count < 0)
			return weft_why(why, -EINVAL, "--compare: '%.80s': histogram_ns holds something else than pairs of "
				"numbers", path);
		out->count[histogram_bucket((uint64_t)ns)] += (uint64_t)count;
	}
	return 0;
}

static int draw(struct env *env, const json_t *const runs[2], const char *const paths[2], const char *plot, struct weft_why *why)
{
	struct weft_histogram latency[2] = { 0 };
	struct bench_curve curves[2];
	int error = 0;

	for (unsigned i = 0; i < 2 && error == 0; i++) {
		curves[i] = (struct bench_curve){ .name = paths[i], .latency = &latency[i] };
		error = curve_read(runs[i], paths[i], &latency[i], why);
	}
	return error != 0 ? error : bench_plot(env, plot, curves, 2, why);
}

int bench_compare(struct env *env, const char *a, const char *b, double tolerance, const char *plot, bool json,
	struct weft_why *why)
{
	const char *const paths[2] = { a, b };
	json_t *runs[2] = { NULL, NULL };
	int error = 0;

	if (tolerance < 0 || tolerance > 1)
		return weft_why(why, -EINVAL, "--tolerance=%g: must be from 0 to 1: write 5%% or 0.05", tolerance);
	for (unsigned i = 0; i < 2 && error == 0; i++)
		error = file_load(env, paths[i], &runs[i], why);
	for (unsigned i = 0; i < WEFT_COUNT(settings) && error == 0; i++)
		error = setting_check(runs[0], runs[1], settings[i], why);
	if (error == 0 && plot != NULL)
		error = draw(env, (const json_t *const *)runs, paths, plot, why);
	if (error == 0)
		error = table(runs[0], runs[1], tolerance, json, why);
	json_decref(runs[0]);
	json_decref(runs[1]);
	return error;
}
