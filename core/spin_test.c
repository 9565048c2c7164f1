/* SPDX-License-Identifier: BSD-2-Clause */
/* The adaptive mode's judgement, and the histogram's buckets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/histogram.h"
#include "core/spin.h"

#define WAKE_NS 5000

/* Work that comes every `gap_ns`, for a while; then: how long would it spin before it sleeps? */
static uint64_t spins_after_gaps_of(uint64_t gap_ns)
{
	struct spin spin;
	uint64_t now = 1000000000, began;

	spin_init(&spin, WAKE_NS);
	for (unsigned i = 0; i < 200; i++) {
		spin_worked(&spin, now);
		spin_should_sleep(&spin, now + 1);
		now += gap_ns;
	}
	spin_worked(&spin, now);
	began = now;
	while (!spin_should_sleep(&spin, now))
		now += 100;
	return now - began;
}

static void it_spins_when_work_comes_sooner_than_a_wake_up_costs(void **state)
{
	(void)state;
	assert_true(spins_after_gaps_of(WAKE_NS / 2) > WAKE_NS);
}

static void it_sleeps_at_once_when_work_comes_seldom(void **state)
{
	(void)state;
	assert_int_equal(spins_after_gaps_of(WAKE_NS * 10), 0);
}

static void a_spin_in_vain_ends(void **state)
{
	(void)state;
	assert_in_range(spins_after_gaps_of(100), WAKE_NS, WAKE_NS * 20);
}

static void it_finds_a_burst_soon_after_a_long_rest(void **state)
{
	struct spin spin;
	uint64_t now = 1000000000;
	unsigned sleeps = 0;

	(void)state;
	spin_init(&spin, WAKE_NS);
	for (unsigned i = 0; i < 100; i++) { /* a second between requests */
		spin_worked(&spin, now);
		spin_should_sleep(&spin, now);
		now += 1000000000;
	}
	for (unsigned i = 0; i < 100; i++) { /* then one each microsecond */
		spin_worked(&spin, now);
		sleeps += spin_should_sleep(&spin, now);
		now += 1000;
	}
	assert_in_range(sleeps, 1, 40);
}

static void every_latency_falls_into_the_bucket_whose_bounds_hold_it(void **state)
{
	unsigned last = 0;

	(void)state;
	for (uint64_t ns = 0; ns < 1u << 20; ns++) {
		struct weft_histogram h = { { 0 } };
		unsigned bucket = histogram_bucket(ns);
		uint64_t upper;

		assert_true(bucket == last || bucket == last + 1); /* none is left out */
		if (bucket == last && ns % 1021 != 0)
			continue;
		last = bucket;
		weft_histogram_add(&h, ns);
		upper = weft_histogram_quantile(&h, 0.5);
		assert_true(ns <= upper && (ns < 16 ? upper == ns : upper - ns <= ns / 8));
	}
	assert_int_equal(histogram_bucket(UINT64_MAX), WEFT_HISTOGRAM_BUCKETS - 1);
}

static void quantiles_count_all_that_came(void **state)
{
	struct weft_histogram a = { { 0 } }, b = { { 0 } };

	(void)state;
	assert_int_equal(weft_histogram_quantile(&a, 0.99), 0);
	for (unsigned i = 0; i < 99; i++)
		weft_histogram_add(&a, 10);
	weft_histogram_add(&b, 1000000);
	weft_histogram_merge(&a, &b);
	assert_int_equal(histogram_total(&a), 100);
	assert_int_equal(weft_histogram_quantile(&a, 0.5), 10);
	assert_int_equal(weft_histogram_quantile(&a, 0.98), 10);
	assert_in_range(weft_histogram_quantile(&a, 1.0), 1000000, 1125000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_spins_when_work_comes_sooner_than_a_wake_up_costs),
		cmocka_unit_test(it_sleeps_at_once_when_work_comes_seldom),
		cmocka_unit_test(a_spin_in_vain_ends),
		cmocka_unit_test(it_finds_a_burst_soon_after_a_long_rest),
		cmocka_unit_test(every_latency_falls_into_the_bucket_whose_bounds_hold_it),
		cmocka_unit_test(quantiles_count_all_that_came),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
