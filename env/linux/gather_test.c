/* SPDX-License-Identifier: BSD-2-Clause */
/* How long a spinning loop lets a burst of completions grow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "env/linux/gather.h"

#define BEGIN_NS 1000000000u

/* Bursts of all that are in flight, each `latency_ns` after the one before. Returns when the next begins. */
static uint64_t bursts(struct gather *g, unsigned in_flight, uint64_t latency_ns)
{
	uint64_t now = BEGIN_NS;

	for (unsigned i = 0; i < 100; i++, now += latency_ns) {
		gather_more(g, in_flight, now);
		gather_fetched(g);
		for (unsigned n = 0; n < in_flight; n++)
			gather_ended(g);
	}
	return now;
}

/* How long the next burst is left to grow. */
static uint64_t grows(struct gather *g, unsigned in_flight, uint64_t now)
{
	uint64_t began = now;

	while (gather_more(g, in_flight, now))
		now += 50;
	gather_fetched(g);
	return now - began;
}

static void a_burst_grows_for_a_small_part_of_what_a_request_takes(void **state)
{
	static const uint64_t latencies[] = {10000, 40000, 160000, 400000};

	(void)state;
	for (unsigned i = 0; i < sizeof(latencies) / sizeof(latencies[0]); i++) {
		struct gather g = {0};
		uint64_t now = bursts(&g, 32, latencies[i]);

		assert_in_range(grows(&g, 32, now), latencies[i] / 32, latencies[i] / 16 + 50);
	}
}

static void however_slow_the_disk_it_ends(void **state)
{
	struct gather g = {0};
	uint64_t now = bursts(&g, 128, 1000000000);

	(void)state;
	assert_in_range(grows(&g, 128, now), GATHER_MAX_NS, GATHER_MAX_NS + 50);
}

static void few_requests_are_fetched_at_once(void **state)
{
	struct gather g = {0};
	uint64_t now = bursts(&g, 32, 400000);

	(void)state;
	for (unsigned n = 0; n < GATHER_FROM; n++)
		assert_int_equal(grows(&g, n, now), 0);
	assert_true(grows(&g, GATHER_FROM, now) > 0);
}

static void nothing_is_kept_before_anything_is_known(void **state)
{
	struct gather g = {0};

	(void)state;
	assert_int_equal(grows(&g, 32, BEGIN_NS), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_grows_for_a_small_part_of_what_a_request_takes),
		cmocka_unit_test(however_slow_the_disk_it_ends),
		cmocka_unit_test(few_requests_are_fetched_at_once),
		cmocka_unit_test(nothing_is_kept_before_anything_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
