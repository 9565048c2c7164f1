/* SPDX-License-Identifier: BSD-2-Clause */
/* The bucket of a latency, inline for the waist. */
#ifndef CORE_HISTOGRAM_H
#define CORE_HISTOGRAM_H

#include <weft/blk.h>

/* 0..15 exactly; then 8 buckets per power of two; the last one takes all that is longer (above 2^41 ns). */
static inline unsigned histogram_bucket(uint64_t ns)
{
	unsigned exponent, bucket;

	if (ns < 16)
		return (unsigned)ns;
	exponent = 63 - (unsigned)__builtin_clzll(ns); /* >= 4 */
	bucket = (exponent - 2) * 8 + (unsigned)((ns >> (exponent - 3)) & 7);
	return bucket < WEFT_HISTOGRAM_BUCKETS ? bucket : WEFT_HISTOGRAM_BUCKETS - 1;
}

/* The largest value that falls into the bucket, ns. */
uint64_t histogram_upper(unsigned bucket);
uint64_t histogram_total(const struct weft_histogram *histogram);

#endif
