/* SPDX-License-Identifier: BSD-2-Clause */
/* When requests arrive at a fixed rate: at equal distances, or as in a Poisson process, from a table. */
#include <math.h>

#include "cli/bench.h"

/* At the middle of each of many equal quantiles. */
void bench_gaps_fill(struct bench *bench)
{
	for (unsigned i = 0; i < BENCH_GAPS; i++)
		bench->gap_of[i] = (uint32_t)(-log1p(-(i + 0.5) / BENCH_GAPS) * 256 + 0.5);
}

uint64_t bench_gap(const struct bench *bench, uint64_t mean, uint64_t random)
{
	if (bench->options.arrivals == BENCH_FIXED)
		return mean;
	WEFT_ASSERT(bench->gap_of[BENCH_GAPS - 1] > 0);
	return mean * bench->gap_of[random % BENCH_GAPS] >> 8;
}
