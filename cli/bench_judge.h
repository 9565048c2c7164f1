/* SPDX-License-Identifier: BSD-2-Clause */
/* Which of two results of `weft bench --json` is worse, and in what. The results are somebody's files: anything may be in them. */
#ifndef CLI_BENCH_JUDGE_H
#define CLI_BENCH_JUDGE_H

#include <jansson.h>
#include <weft/blk.h>

enum { BENCH_ROWS_MAX = 10 };

/* One measure of both; what is 0 in both has no row. */
struct bench_row {
	const char *name;
	double a, b;
	bool is_time;     /* ns */
	bool worse;       /* b is worse than a by more than the tolerance */
};

struct bench_verdict {
	unsigned n;
	struct bench_row row[BENCH_ROWS_MAX];
	bool worse;       /* one of them is */
};

/* -EINVAL with `why`: they are no results, or not of the same load, or the tolerance (0.05: a twentieth) is not from 0 to 1. */
int bench_judge(const json_t *a, const json_t *b, double tolerance, struct bench_verdict *out, struct weft_why *why);
/* b / a; negative: there is none, for there was nothing before, or next to nothing. */
double bench_ratio(const struct bench_row *row);
/* The latencies of a result, added to `out`. -EINVAL with `why`, which names `path`. */
int bench_curve_read(const json_t *run, const char *path, struct weft_histogram *out, struct weft_why *why);

#endif
