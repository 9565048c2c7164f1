/* SPDX-License-Identifier: BSD-2-Clause */
/* When requests of weft bench arrive. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "cli/bench.h"

#define MEAN 1000000u

static struct bench bench;

static void fixed_gaps_are_equal(void **state)
{
	(void)state;
	bench.options.arrivals = BENCH_FIXED;
	bench_gaps_fill(&bench);
	for (uint64_t random = 0; random < 10000; random++)
		assert_int_equal(bench_gap(&bench, MEAN, random * 0x9e3779b97f4a7c15u), MEAN);
}

/* Of an exponential distribution: the mean is the mean, and 1 - e^-n of all are shorter than n times it. */
static void gaps_of_a_poisson_process_are_exponential(void **state)
{
	static const struct {
		unsigned times, shorter; /* of 10,000 */
	} expected[] = { { 1, 6321 }, { 2, 8647 }, { 3, 9502 }, { 5, 9933 } };
	uint64_t sum = 0;

	(void)state;
	bench.options.arrivals = BENCH_POISSON;
	bench_gaps_fill(&bench);
	for (uint64_t random = 0; random < BENCH_GAPS; random++)
		sum += bench_gap(&bench, MEAN, random);
	assert_in_range(sum / BENCH_GAPS, MEAN - MEAN / 500, MEAN + MEAN / 500);
	for (unsigned i = 0; i < WEFT_COUNT(expected); i++) {
		unsigned shorter = 0;

		for (uint64_t random = 0; random < BENCH_GAPS; random++)
			shorter += bench_gap(&bench, MEAN, random) < (uint64_t)MEAN * expected[i].times;
		assert_in_range(shorter * 10000u / BENCH_GAPS, expected[i].shorter - 20, expected[i].shorter + 20);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fixed_gaps_are_equal),
		cmocka_unit_test(gaps_of_a_poisson_process_are_exponential),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
