/* SPDX-License-Identifier: BSD-2-Clause */
/* home: the device below lives at one reactor. */
#include "devices/rig_test.h"

#include "core/blk.h"

#include <stdlib.h>

RIG_FOR_EACH_TEST(1, 3)

static void conforms(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		rig_conform("home:[mem:1MiB],reactor=1", seed, 300);
		rig_conform("home:[file:home.img,create=1MiB]", seed, 300);
	}
}

static void conforms_between_threads(void **state)
{
	(void)state;
	rig_open_linux(&rig, 4, 3);
	rig_conform_here(&rig, "home:[mem:1MiB],reactor=2", 3000);
	rig_close(&rig);
}

static struct weft_blk *below(unsigned layers)
{
	struct weft_object *object = rig.object;

	while (layers-- > 0)
		object = rig_below(object, 0);
	return weft_object_query(object, &weft_blk_iface);
}

static uint64_t carried(const struct weft_blk *blk)
{
	struct weft_stats stats;

	weft_blk_stats(blk, &stats);
	return stats.carried;
}

static int read_on(unsigned lane)
{
	static char data[512];
	struct rig_request r = { .op = WEFT_READ, .len = sizeof(data), .nsegs = 1, .lane = lane - 1 };

	r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
	rig_start(&rig, &r);
	return rig_wait(&rig, &r);
}

static void requests_of_other_reactors_are_carried_and_those_at_home_are_not(void **state)
{
	(void)state;
	rig_make(&rig, "home:[mem:64KiB],reactor=2");
	assert_int_equal(read_on(2), 0);
	assert_int_equal(carried(rig.blk), 0);
	assert_int_equal(read_on(1), 0);
	assert_int_equal(read_on(3), 0);
	assert_int_equal(carried(rig.blk), 2);
	assert_string_equal(rig_fact(rig.object, "lives at reactor"), "2");
	rig_unmake(&rig);
}

static void nothing_below_is_open_at_other_reactors(void **state)
{
	(void)state;
	rig_make(&rig, "slice:[home:[slice:[mem:64KiB]],reactor=2]");
	for (unsigned lane = 1; lane <= 3; lane++) {
		assert_true(below(0)->shard[lane] != NULL);
		assert_int_equal(below(1)->shard[lane] != NULL, lane == 2);
		assert_int_equal(below(1)->carrier->shard[lane] != NULL, lane != 2);
		assert_int_equal(below(2)->shard[lane] != NULL, lane == 2);
		assert_int_equal(below(3)->shard[lane] != NULL, lane == 2);
	}
	rig_reopen(&rig);
	assert_int_equal(read_on(3), 0);
	rig_unmake(&rig);
}

static void a_home_below_a_home_is_carried_to_from_there(void **state)
{
	(void)state;
	rig_make(&rig, "home:[home:[mem:64KiB],reactor=3],reactor=2");
	for (unsigned lane = 1; lane <= 3; lane++)
		assert_int_equal(read_on(lane), 0);
	assert_int_equal(carried(below(0)), 2);
	assert_int_equal(carried(below(1)), 3);
	assert_null(below(1)->carrier->shard[1]);
	assert_null(below(2)->shard[1]);
	assert_null(below(2)->shard[2]);
	rig_unmake(&rig);
}

static void two_devices_below_one_layer_live_at_two_reactors(void **state)
{
	(void)state;
	rig_make(&rig, "mirror:[home:[mem:64KiB],reactor=1],[home:[mem:64KiB],reactor=2]");
	for (unsigned lane = 1; lane <= 3; lane++) {
		char data[512] = { 0 };
		struct rig_request r = { .op = WEFT_WRITE, .len = sizeof(data), .nsegs = 1, .lane = lane - 1 };

		r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
		rig_start(&rig, &r);
		assert_int_equal(rig_wait(&rig, &r), 0);
	}
	assert_int_equal(carried(below(1)), 2);
	rig_unmake(&rig);
}

static unsigned home_of(unsigned leg)
{
	return (unsigned)strtoul(rig_fact(rig_below(rig.object, leg), "lives at reactor"), NULL, 10);
}

static void homes_are_spread_over_the_reactors(void **state)
{
	(void)state;
	for (unsigned times = 0; times < 2; times++) { /* those of the first time are forgotten */
		rig_make(&rig, "mirror:[home:[mem:64KiB]],[home:[mem:64KiB]],[home:[mem:64KiB]],[home:[mem:64KiB]]");
		for (unsigned leg = 0; leg < 4; leg++)
			assert_int_equal(home_of(leg), leg % 3 + 1);
		rig_unmake(&rig);
	}
}

/* Said by number or not, and whatever kind of device it is. */
static void every_device_that_lives_at_a_reactor_counts(void **state)
{
	(void)state;
	rig_make(&rig, "mirror:[home:[mem:64KiB],reactor=1],[contract:[mem:64KiB]],[home:[mem:64KiB]],[home:[home:[mem:64KiB]]]");
	assert_int_equal(home_of(0), 1);
	assert_int_equal(home_of(2), 3); /* the contract lives at 2 */
	assert_int_equal(home_of(3), 2); /* the one below it at 1 */
	rig_unmake(&rig);
}

static void a_request_that_waits_there_can_be_aborted_from_here(void **state)
{
	char data[512];
	struct rig_request r = { .op = WEFT_READ, .len = sizeof(data), .nsegs = 1, .lane = 0, .deadline_us = 1000 };

	(void)state;
	rig_make(&rig, "home:[delay:[mem:64KiB],read=1s],reactor=2");
	r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
	rig_start(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), -ETIMEDOUT);
	rig_unmake(&rig);
}

/* The mirror asks legs at other reactors by itself, whatever is being closed, or opened, there. */
static void what_asks_below_by_itself_is_closed_before_what_lives_below(void **state)
{
	static const char text[] = "mirror:[home:[home:[file:a.img],reactor=1],reactor=2],"
		"[home:[home:[file:b.img],reactor=2],reactor=3],state=s,region=4KiB";
	static char data[4096] = { 'x' };

	(void)state;
	sim_file_make(rig.world, "a.img", 1 << 20);
	sim_file_make(rig.world, "b.img", 1 << 20);
	for (unsigned round = 0; round < 40; round++) {
		rig_make(&rig, text);
		sim_file_mend(rig.world, "a.img");
		sim_file_fault(rig.world, "a.img", WEFT_WRITE, 1, SIM_FAULT_ERROR, -EIO);
		for (unsigned i = 0; i < 8; i++)
			assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, i * sizeof(data), sizeof(data), data), 0);
		rig_unmake(&rig);
		rig_make(&rig, text); /* a rebuild begins */
		rig_run(&rig, round * 100000);
		rig_unmake(&rig);
	}
}

static void a_reactor_that_there_is_not_is_refused(void **state)
{
	struct weft_why why;

	(void)state;
	assert_int_equal(rig_try(&rig, "home:[mem:64KiB],reactor=4", &why), -EINVAL);
	assert_string_equal(why.text,
		"home: reactor=4: there are reactors 1 to 3: name one of them, or have more (weft serve --reactors)");
}

static void it_follows_the_size_of_the_device_below(void **state)
{
	(void)state;
	rig_make(&rig, "home:[null:1MiB]");
	assert_int_equal(rig_resize(&rig, rig_below(rig.object, 0), 2 << 20), 0);
	assert_int_equal(rig.blk->size, 2 << 20);
	rig_unmake(&rig);
}

static void without_memory_it_is_refused_and_leaves_nothing(void **state)
{
	(void)state;
	assert_in_range(rig_fail_each(&rig, "slice:[home:[home:[mem:64KiB],reactor=3],reactor=2]", true, NULL), 5, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		cmocka_unit_test(conforms_between_threads),
		RIG_TEST(requests_of_other_reactors_are_carried_and_those_at_home_are_not),
		RIG_TEST(nothing_below_is_open_at_other_reactors),
		RIG_TEST(a_home_below_a_home_is_carried_to_from_there),
		RIG_TEST(two_devices_below_one_layer_live_at_two_reactors),
		RIG_TEST(homes_are_spread_over_the_reactors),
		RIG_TEST(every_device_that_lives_at_a_reactor_counts),
		RIG_TEST(a_request_that_waits_there_can_be_aborted_from_here),
		RIG_TEST(what_asks_below_by_itself_is_closed_before_what_lives_below),
		RIG_TEST(a_reactor_that_there_is_not_is_refused),
		RIG_TEST(it_follows_the_size_of_the_device_below),
		RIG_TEST(without_memory_it_is_refused_and_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
