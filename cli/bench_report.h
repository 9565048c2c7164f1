/* SPDX-License-Identifier: BSD-2-Clause */
/* What a measurement shows of itself. */
#ifndef CLI_BENCH_REPORT_H
#define CLI_BENCH_REPORT_H

#include "cli/bench.h"

/* A line that is written again and again, on a terminal only. */
struct bench_progress {
	struct bench *bench;
	struct weft_timer timer;
	uint64_t requests, bytes, at_ns;
	bool shown;
};
void bench_progress_start(struct bench_progress *progress, struct bench *bench);
void bench_progress_stop(struct bench_progress *progress);

/* Table or JSON, to standard output. */
void bench_report(const struct bench *bench, const char *device, bool json);
/* No error, no mismatch. */
bool bench_good(const struct bench *bench);

/* CPU time of another process, ns; 0: it cannot be read. */
uint64_t bench_cpu_of(struct env *env, uint64_t pid);
/* Is it there (0: none is asked for)? 0 or -EINVAL with `why`. */
int bench_cpu_check(struct env *env, uint64_t pid, struct weft_why *why);

#endif
