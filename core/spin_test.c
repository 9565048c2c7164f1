/* SPDX-License-Identifier: BSD-2-Clause */
/* When an idle reactor should go to sleep, and the histogram's buckets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/histogram.h"
#include "core/spin.h"

#define WAKE_NS 20000
#define TURN_NS 100

/* A reactor in adaptive mode, or notify mode, whose wake-up takes what it is said to take. */
struct life {
	struct spin spin;
	bool notify, disk; /* notify mode; waits for a disk */
	uint64_t requests;
	uint64_t now, awake_ns, sleeps, random;
};

static void life_begin(struct life *life)
{
	*life = (struct life){ .now = 1000000000, .random = 1 };
	spin_init(&life->spin, WAKE_NS);
}

/* Idle until something comes at `at`. */
static void life_rests(struct life *life, uint64_t at)
{
	while (life->now < at) {
		if (!spin_is_idle(&life->spin))
			spin_idle(&life->spin, life->requests, !life->disk, life->now);
		if (!spin_lingers(&life->spin, life->now) &&
			(life->notify || spin_should_sleep(&life->spin, life->now))) {
			life->sleeps++;
			life->now = at + WAKE_NS;
			break;
		}
		life->now += TURN_NS;
		life->awake_ns += TURN_NS;
	}
	spin_worked(&life->spin, life->now);
}

/* About exponentially distributed: a geometric number of small steps. */
static uint64_t random_gap(struct life *life, uint64_t mean_ns)
{
	uint64_t gap = 0, z;

	do {
		life->random += 0x9e3779b97f4a7c15u;
		z = (life->random ^ (life->random >> 32)) * 0xd6e8feb86659fd93u;
		z ^= z >> 32;
		gap += (z >> 40) * (mean_ns / 16) >> 24 << 1;
	} while ((z & 15) != 0);
	return gap;
}

/* Arrivals without memory: the share of the time, per thousand, that it spins. */
static uint64_t spins_of_1000(struct life *life, uint64_t gap_ns)
{
	uint64_t next = life->now, began = life->now, awake = life->awake_ns;

	for (unsigned i = 0; i < 20000; i++) {
		next += random_gap(life, gap_ns);
		life_rests(life, next);
	}
	return (life->awake_ns - awake) * 1000 / (life->now - began);
}

static void it_spins_when_work_comes_much_sooner_than_a_wake_up_takes(void **state)
{
	struct life life;

	(void)state;
	life_begin(&life);
	assert_true(spins_of_1000(&life, WAKE_NS / 8) > 950);
}

/* Those for whom a sleep is cheaper: to find that out costs little. */
static void it_sleeps_when_work_comes_seldom(void **state)
{
	static const unsigned tenths[] = { 5, 10, 20, 100, 10000 };

	(void)state;
	for (unsigned i = 0; i < sizeof(tenths) / sizeof(tenths[0]); i++) {
		struct life life;

		life_begin(&life);
		assert_in_range(spins_of_1000(&life, (uint64_t)WAKE_NS * tenths[i] / 10), 0, 80 / tenths[i] + 30);
	}
}

/* A client that asks again as soon as it is answered: the wake-up is all that is between two requests. */
static void it_finds_out_that_only_its_own_wake_up_lies_between_requests(void **state)
{
	struct life life;

	(void)state;
	life_begin(&life);
	for (unsigned i = 0; i < 100; i++) /* seldom, for a start */
		life_rests(&life, life.now + UINT64_C(1000000000));
	life.sleeps = 0;
	for (unsigned i = 0; i < 10000; i++)
		life_rests(&life, life.now + 500);
	assert_in_range(life.sleeps, 1, 100);
}

static void a_spin_in_vain_ends(void **state)
{
	struct life life;
	uint64_t awake;

	(void)state;
	life_begin(&life);
	spins_of_1000(&life, WAKE_NS / 8);
	awake = life.awake_ns;
	life_rests(&life, life.now + UINT64_C(1000000000));
	assert_in_range(life.awake_ns - awake, WAKE_NS, WAKE_NS * 3);
}

static void a_peer_that_was_held_up_once_costs_one_sleep(void **state)
{
	struct life life;

	(void)state;
	life_begin(&life);
	for (unsigned i = 0; i < 1000; i++)
		life_rests(&life, life.now + 500);
	life.sleeps = 0;
	life_rests(&life, life.now + UINT64_C(5000000));
	for (unsigned i = 0; i < 1000; i++)
		life_rests(&life, life.now + 500);
	assert_in_range(life.sleeps, 1, 2);
}

/* ---- lingering ---- */

static void it_lingers_for_the_longer_the_more_was_asked(void **state)
{
	struct life life;
	uint64_t few, many;

	(void)state;
	life_begin(&life);
	life.notify = true;
	life_rests(&life, life.now + WAKE_NS);
	assert_int_equal(life.awake_ns, 0); /* nothing was asked */
	life.requests += 8;
	life_rests(&life, life.now + 10 * WAKE_NS);
	few = life.awake_ns;
	life.requests += 32;
	life_rests(&life, life.now + 10 * WAKE_NS);
	many = life.awake_ns - few;
	assert_in_range(few, WAKE_NS / 16, WAKE_NS / 4);
	assert_in_range(many, few * 3, few * 5);
	life.requests += 1000000;
	life_rests(&life, life.now + 10 * WAKE_NS);
	assert_in_range(life.awake_ns - few - many, WAKE_NS, WAKE_NS + TURN_NS);
	assert_int_equal(life.sleeps, 4);
}

static void it_does_not_linger_while_a_disk_has_yet_to_answer(void **state)
{
	struct life life;

	(void)state;
	life_begin(&life);
	life.notify = life.disk = true;
	for (unsigned i = 0; i < 100; i++) {
		life.requests += 32;
		life_rests(&life, life.now + WAKE_NS / 8);
	}
	assert_int_equal(life.awake_ns, 0);
}

static void who_is_asked_again_while_it_lingers_does_not_sleep(void **state)
{
	struct life life;

	(void)state;
	life_begin(&life);
	life.notify = true;
	for (unsigned i = 0; i < 1000; i++) {
		life.requests += 32;
		life_rests(&life, life.now + WAKE_NS / 8);
	}
	assert_int_equal(life.sleeps, 0);
}

static void to_linger_in_vain_becomes_seldom_but_does_not_cease(void **state)
{
	struct life life;
	unsigned lingered = 0;

	(void)state;
	life_begin(&life);
	life.notify = true;
	for (unsigned i = 0; i < 1600; i++) {
		uint64_t awake = life.awake_ns;

		life.requests += 32;
		life_rests(&life, life.now + 10 * WAKE_NS);
		lingered += life.awake_ns > awake;
	}
	assert_in_range(lingered, 390, 410);
	life.sleeps = 0;
	for (unsigned i = 0; i < 1000; i++) { /* until it is found that it is worth it again */
		life.requests += 32;
		life_rests(&life, life.now + WAKE_NS / 8);
	}
	assert_in_range(life.sleeps, 1, 4);
}

/* ---- histograms ---- */

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
		cmocka_unit_test(it_spins_when_work_comes_much_sooner_than_a_wake_up_takes),
		cmocka_unit_test(it_sleeps_when_work_comes_seldom),
		cmocka_unit_test(it_finds_out_that_only_its_own_wake_up_lies_between_requests),
		cmocka_unit_test(a_spin_in_vain_ends),
		cmocka_unit_test(a_peer_that_was_held_up_once_costs_one_sleep),
		cmocka_unit_test(it_lingers_for_the_longer_the_more_was_asked),
		cmocka_unit_test(it_does_not_linger_while_a_disk_has_yet_to_answer),
		cmocka_unit_test(who_is_asked_again_while_it_lingers_does_not_sleep),
		cmocka_unit_test(to_linger_in_vain_becomes_seldom_but_does_not_cease),
		cmocka_unit_test(every_latency_falls_into_the_bucket_whose_bounds_hold_it),
		cmocka_unit_test(quantiles_count_all_that_came),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
