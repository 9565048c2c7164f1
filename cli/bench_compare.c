/* SPDX-License-Identifier: BSD-2-Clause */
/* Two results of `weft bench --json`, side by side: read, judged (bench_judge.c), printed and drawn. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "cli/bench_compare.h"
#include "cli/bench_judge.h"
#include "cli/bench_plot.h"
#include "cli/show.h"

#include "env/env.h"

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

static const char *shown(const struct bench_row *row, double value, char text[SHOW_TEXT])
{
	if (row->is_time)
		return show_duration(value < (double)UINT64_MAX ? (uint64_t)value : UINT64_MAX, text);
	if (value >= 1000)
		return show_count(value, text);
	snprintf(text, SHOW_TEXT, "%.*f", floor(value) == value ? 0 : 3, value);
	return text;
}

static void print_row(const struct bench_row *row)
{
	char left[SHOW_TEXT], right[SHOW_TEXT], ratio[SHOW_TEXT] = "-";

	if (bench_ratio(row) >= 0)
		snprintf(ratio, sizeof(ratio), "%.3f", bench_ratio(row));
	printf("%-18s %12s %12s %8s%s\n", row->name, shown(row, row->a, left), shown(row, row->b, right), ratio,
		row->worse ? "  worse" : "");
}

static void print_table(const struct bench_verdict *verdict)
{
	printf("%-18s %12s %12s %8s\n", "", "A", "B", "B / A");
	for (unsigned i = 0; i < verdict->n; i++)
		print_row(&verdict->row[i]);
	fflush(stdout);
}

static void print_json(const struct bench_verdict *verdict, double tolerance)
{
	json_t *rows = json_array();

	for (unsigned i = 0; i < verdict->n; i++) {
		const struct bench_row *row = &verdict->row[i];

		json_array_append_new(rows, json_pack("{s:s, s:f, s:f, s:o, s:b}", "measure", row->name, "a", row->a, "b", row->b,
			"ratio", bench_ratio(row) >= 0 ? json_real(bench_ratio(row)) : json_null(), "worse", row->worse));
	}
	show_json(json_pack("{s:o, s:f, s:b}", "measures", rows, "tolerance", tolerance, "worse", verdict->worse), true);
}

static int draw(struct env *env, const json_t *const runs[2], const char *const paths[2], const char *plot, struct weft_why *why)
{
	struct weft_histogram latency[2] = { 0 };
	struct bench_curve curves[2];
	int error = 0;

	for (unsigned i = 0; i < 2 && error == 0; i++) {
		curves[i] = (struct bench_curve){ .name = paths[i], .latency = &latency[i] };
		error = bench_curve_read(runs[i], paths[i], &latency[i], why);
	}
	return error != 0 ? error : bench_plot(env, plot, curves, 2, why);
}

int bench_compare(struct env *env, const char *a, const char *b, double tolerance, const char *plot, bool json,
	struct weft_why *why)
{
	const char *const paths[2] = { a, b };
	json_t *runs[2] = { NULL, NULL };
	struct bench_verdict verdict;
	int error = 0;

	for (unsigned i = 0; i < 2 && error == 0; i++)
		error = file_load(env, paths[i], &runs[i], why);
	if (error == 0)
		error = bench_judge(runs[0], runs[1], tolerance, &verdict, why);
	if (error == 0 && plot != NULL)
		error = draw(env, (const json_t *const *)runs, paths, plot, why);
	if (error == 0 && json)
		print_json(&verdict, tolerance);
	else if (error == 0)
		print_table(&verdict);
	json_decref(runs[0]);
	json_decref(runs[1]);
	return error == 0 && verdict.worse ? -EDOM : error;
}
