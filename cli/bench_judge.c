/* SPDX-License-Identifier: BSD-2-Clause */
/* Two results of `weft bench --json`: what is compared, and when it is worse. */
#include <errno.h>
#include <math.h>

#include "cli/bench_judge.h"

#include "core/histogram.h"

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
_Static_assert(WEFT_COUNT(measures) <= BENCH_ROWS_MAX, "a row for each");
/* Runs that differ in these are no comparison. */
static const char *const settings[] = { "rw", "bs", "depth", "queues", "connections", "rate" };
/* More requests than any run counts, and few enough that they add up exactly. */
#define REQUESTS_MAX ((uint64_t)1 << 53)

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

int bench_judge(const json_t *a, const json_t *b, double tolerance, struct bench_verdict *out, struct weft_why *why)
{
	int error = 0;

	*out = (struct bench_verdict){ 0 };
	if (!(tolerance >= 0 && tolerance <= 1))
		return weft_why(why, -EINVAL, "--tolerance=%g: must be from 0 to 1: write 5%% or 0.05", tolerance);
	for (unsigned i = 0; i < WEFT_COUNT(settings) && error == 0; i++)
		error = setting_check(a, b, settings[i], why);
	for (unsigned i = 0; i < WEFT_COUNT(measures) && error == 0; i++) {
		struct bench_row row = { .name = measures[i].name, .is_time = measures[i].is_time };

		error = number(a, i, &row.a, why);
		if (error == 0)
			error = number(b, i, &row.b, why);
		if (error != 0 || (row.a == 0 && row.b == 0))
			continue;
		row.worse = is_worse(i, row.a, row.b, tolerance);
		out->worse |= row.worse;
		out->row[out->n++] = row;
	}
	return error;
}

double bench_ratio(const struct bench_row *row)
{
	double ratio = row->a > 0 ? row->b / row->a : -1;

	return isfinite(ratio) ? ratio : -1;
}

int bench_curve_read(const json_t *run, const char *path, struct weft_histogram *out, struct weft_why *why)
{
	const json_t *list = json_object_get(run, "histogram_ns"), *item;
	uint64_t left = REQUESTS_MAX - histogram_total(out);
	json_int_t ns, count;
	size_t i;

	json_array_foreach(list, i, item) {
		if (json_unpack((json_t *)(uintptr_t)item, "[I, I!]", &ns, &count) != 0 || ns < 0 || count < 0)
			return weft_why(why, -EINVAL, "--compare: '%.80s': histogram_ns holds something else than pairs of "
				"numbers", path);
		if ((uint64_t)count > left)
			return weft_why(why, -EINVAL, "--compare: '%.80s': histogram_ns counts more requests than there can be: "
				"give files that `weft bench --json` has told", path);
		left -= (uint64_t)count;
		out->count[histogram_bucket((uint64_t)ns)] += (uint64_t)count;
	}
	return 0;
}
