/* SPDX-License-Identifier: BSD-2-Clause */
/* Latency histograms: log-linear, 8 buckets per power of two. */
#include <weft/blk.h>

#include "core/counter.h"
#include "core/histogram.h"

void weft_histogram_add(struct weft_histogram *h, uint64_t ns)
{
	counter_add(&h->count[histogram_bucket(ns)], 1);
}

void weft_histogram_merge(struct weft_histogram *into, const struct weft_histogram *from)
{
	WEFT_ASSERT(into != from);
	for (unsigned i = 0; i < WEFT_HISTOGRAM_BUCKETS; i++)
		into->count[i] += counter_read(&from->count[i]);
}

uint64_t histogram_total(const struct weft_histogram *h)
{
	uint64_t total = 0;

	for (unsigned i = 0; i < WEFT_HISTOGRAM_BUCKETS; i++)
		total += counter_read(&h->count[i]);
	return total;
}

uint64_t histogram_upper(unsigned bucket)
{
	unsigned exponent;

	WEFT_ASSERT(bucket < WEFT_HISTOGRAM_BUCKETS);
	if (bucket < 16)
		return bucket;
	exponent = bucket / 8 + 2;
	return ((uint64_t)(bucket % 8 + 9) << (exponent - 3)) - 1;
}

uint64_t weft_histogram_quantile(const struct weft_histogram *h, double q)
{
	uint64_t total = histogram_total(h), seen = 0, wanted;

	if (total == 0)
		return 0;
	WEFT_ASSERT(q >= 0 && q <= 1);
	wanted = (uint64_t)((double)total * q);
	if (wanted >= total)
		wanted = total - 1;
	for (unsigned i = 0; i < WEFT_HISTOGRAM_BUCKETS; i++) {
		seen += h->count[i];
		if (seen > wanted)
			return histogram_upper(i);
	}
	return histogram_upper(WEFT_HISTOGRAM_BUCKETS - 1);
}
