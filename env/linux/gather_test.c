/* SPDX-License-Identifier: BSD-2-Clause */
/* How long a spinning loop lets a burst of completions grow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "env/linux/gather.h"

#define BEGIN_NS 1000000000u
#define NO_TRIAL { .trial = { .next_ns = UINT64_MAX } }

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
		struct gather g = NO_TRIAL;
		uint64_t now = bursts(&g, 32, latencies[i]);

		assert_in_range(grows(&g, 32, now), latencies[i] / 32, latencies[i] / 16 + 50);
	}
}

static void however_slow_the_disk_it_ends(void **state)
{
	struct gather g = NO_TRIAL;
	uint64_t now = bursts(&g, 128, 1000000000);

	(void)state;
	assert_in_range(grows(&g, 128, now), GATHER_MAX_NS, GATHER_MAX_NS + 50);
}

static void few_requests_are_fetched_at_once(void **state)
{
	struct gather g = NO_TRIAL;
	uint64_t now = bursts(&g, 32, 400000);

	(void)state;
	for (unsigned n = 0; n < GATHER_FROM; n++)
		assert_int_equal(grows(&g, n, now), 0);
	assert_true(grows(&g, GATHER_FROM, now) > 0);
}

static void nothing_is_kept_before_anything_is_known(void **state)
{
	struct gather g = NO_TRIAL;

	(void)state;
	assert_int_equal(grows(&g, 32, BEGIN_NS), 0);
}

/* `work_ns` of a disk that takes `at_once_ns` for a request that is fetched as it comes, and 10 us where bursts may grow: with
 * 32 on their way, bursts of 16. -> how many it was asked for */
static uint64_t disk(struct gather *g, uint64_t *now, uint64_t work_ns, uint64_t at_once_ns)
{
	uint64_t end = *now + work_ns, before = g->all;

	while (*now < end) {
		bool grows = gather_grows(g);

		*now += grows ? 160000 : at_once_ns;
		gather_more(g, GATHER_FROM - 1, *now); /* for a moment all others were back: no pause */
		while (gather_more(g, 32, *now))
			*now += 50;
		gather_fetched(g);
		for (unsigned n = grows ? 16 : 1; n > 0; n--)
			gather_ended(g);
	}
	return g->all - before;
}

static void what_gets_more_is_found_by_trying(void **state)
{
	struct gather g = {0};
	uint64_t now = BEGIN_NS;

	(void)state;
	disk(&g, &now, 1000000000, 9000);
	assert_true(g.trial.kept);
	/* Of four seconds, all are spent with the right one but for a fortieth. */
	assert_in_range(disk(&g, &now, 4000000000, 9000), 4000000000 / 9000 * 97 / 100, 4000000000 / 9000);
	/* The disk's interrupt has moved. */
	disk(&g, &now, 20000000000, 13000);
	assert_false(g.trial.kept);
}

static void as_good_as_each_other_they_grow(void **state)
{
	struct gather g = {0};
	uint64_t now = BEGIN_NS;

	(void)state;
	for (unsigned i = 0; i < 20; i++) { /* where they grow: 160 us and 20 for 16 of them */
		disk(&g, &now, 300000000, 11200);
		assert_false(g.trial.kept);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_burst_grows_for_a_small_part_of_what_a_request_takes),
		cmocka_unit_test(however_slow_the_disk_it_ends),
		cmocka_unit_test(few_requests_are_fetched_at_once),
		cmocka_unit_test(nothing_is_kept_before_anything_is_known),
		cmocka_unit_test(what_gets_more_is_found_by_trying),
		cmocka_unit_test(as_good_as_each_other_they_grow),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
