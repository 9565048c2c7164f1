/* SPDX-License-Identifier: BSD-2-Clause */
/* Two results of `weft bench --json`, side by side. */
#ifndef CLI_BENCH_COMPARE_H
#define CLI_BENCH_COMPARE_H

#include <weft/base.h>

struct env;

/* Reads two files and prints a table (or JSON); `plot`: NULL, or where both are drawn. -EDOM: the second is worse than `tolerance`
 * (0.05) allows, as was printed; other errors with `why`. */
int bench_compare(struct env *env, const char *a, const char *b, double tolerance, const char *plot, bool json,
	struct weft_why *why);

#endif
