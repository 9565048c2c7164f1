/* SPDX-License-Identifier: BSD-2-Clause */
/* Latency by percentile, drawn. */
#ifndef CLI_BENCH_PLOT_H
#define CLI_BENCH_PLOT_H

#include <weft/blk.h>

struct env;

enum { BENCH_CURVES_MAX = 6, BENCH_PLOT_ROOM = 256 << 10 };

struct bench_curve {
	const char *name; /* any text */
	const struct weft_histogram *latency;
};

/* The SVG of `n` curves, none of them without requests, into BENCH_PLOT_ROOM bytes; how long it is. */
size_t bench_plot_text(char *text, const struct bench_curve *curves, unsigned n);
/* Writes an SVG with `n` curves. 0 or -errno with `why`: the file, or a run without requests. */
int bench_plot(struct env *env, const char *path, const struct bench_curve *curves, unsigned n, struct weft_why *why);

#endif
