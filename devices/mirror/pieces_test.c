/* SPDX-License-Identifier: BSD-2-Clause */
/* mirror: what a rebuild has under way at once (R8 to R10). */
#include "devices/mirror/legs_test.h"

#include "devices/mirror/mirror.h"

#define CELL 4096u
#define MIRROR "mirror:[file:a.img],[file:b.img],state=s,region=1MiB"
#define LATENCY_NS 1000000u /* of whatever a leg is asked */

static const char *const path[] = { "a.img", "b.img", "c.img" };

static void be_slow(void)
{
	for (unsigned i = 0; i < 3; i++)
		if (sim_file_exists(rig.world, path[i]))
			sim_file_latency(rig.world, path[i], LATENCY_NS, LATENCY_NS);
}

static void change(unsigned op, uint64_t from, uint64_t step, uint64_t len, char with)
{
	static char data[1 << 20];

	memset(data, with, len);
	for (uint64_t at = from; at < 1 << 20; at += step)
		assert_int_equal(rig_ask(&rig, op, 0, at, len, op == WEFT_WRITE ? data : NULL), 0);
}

/* Leg 0 is dropped; then all even cells are written, and leg 0 misses that; the odd ones are holes, on leg 0 as well if `alike`. */
static void miss_every_other_cell(bool alike)
{
	change(WEFT_WRITE, 0, 1 << 20, 1 << 20, 'f');
	if (alike)
		change(WEFT_ZERO, CELL, 2 * CELL, CELL, 0);
	miss_a_write("a.img", 'x');
	if (!alike)
		change(WEFT_ZERO, CELL, 2 * CELL, CELL, 0);
	change(WEFT_WRITE, 0, 2 * CELL, CELL, 'g');
}

static bool is_live(unsigned leg)
{
	char name[8];

	snprintf(name, sizeof(name), "leg %u", leg);
	return strstr(rig_fact(rig.object, name), "live") != NULL;
}

static uint64_t in_flight(unsigned leg)
{
	struct weft_stats stats;

	weft_blk_stats(leg_of(leg), &stats);
	return stats.in_flight;
}

static uint64_t copied(void)
{
	return strtoull(strstr(rig_fact(rig.object, "rebuild"), "left, ") + 6, NULL, 10);
}

static void legs_are_equal(unsigned legs)
{
	for (unsigned i = 1; i < legs; i++)
		assert_memory_equal(sim_file_bytes(rig.world, path[0]), sim_file_bytes(rig.world, path[i]), 1 << 20);
}

/* It has failed, and is tried again after a while, in which there is nothing to be seen. */
static void until_it_is_tried_again(void)
{
	while (strstr(rig_fact(rig.object, "leg 0"), "dropped") != NULL)
		rig_run(&rig, LATENCY_NS);
}

/* Looks in steps of a tenth of what a request takes. How long requests of a rebuild were under way, ns. */
static uint64_t rebuild(uint64_t *most)
{
	uint64_t took = 0;

	*most = 0;
	until_it_is_tried_again();
	for (unsigned steps = 0; !is_live(0); steps++) {
		uint64_t now = in_flight(0) > in_flight(1) ? in_flight(0) : in_flight(1);

		assert_true(steps < 1000000);
		*most = now > *most ? now : *most;
		took += now > 0 ? LATENCY_NS / 10 : 0;
		rig_run(&rig, LATENCY_NS / 10);
	}
	return took;
}

static void pieces_are_under_way_together_and_not_too_many(void **state)
{
	uint64_t written, took, most;

	(void)state;
	make_files();
	rig_make(&rig, MIRROR);
	miss_every_other_cell(true);
	written = asked(0, WEFT_STAT_WRITE);
	be_slow();
	took = rebuild(&most);
	assert_int_equal(most, MIRROR_PIECES);
	/* 128 cells are read and written, eight at once; besides both say four times what they hold, and are flushed. */
	assert_int_equal(asked(0, WEFT_STAT_WRITE) - written, 128);
	assert_in_range(took, 2 * 16 * LATENCY_NS, (2 * 16 + 4 * 2 + 4) * LATENCY_NS);
	legs_are_equal(2);
	assert_int_equal(sim_file_used(rig.world, "a.img"), 1 << 19); /* what was sparse is sparse */
	rig_unmake(&rig);
}

/* Where they are no holes on the leg that is copied to, zeroing each would cost more than it gives back. */
static void short_holes_are_copied_with_what_is_before_them(void **state)
{
	uint64_t written, most;

	(void)state;
	make_files();
	rig_make(&rig, MIRROR);
	miss_every_other_cell(false);
	written = asked(0, WEFT_STAT_WRITE);
	be_slow();
	rebuild(&most);
	assert_int_equal(asked(0, WEFT_STAT_WRITE) - written, (1 << 20) / MIRROR_PIECE);
	assert_int_equal(asked(0, WEFT_STAT_OTHER), 4); /* what it holds; nothing is zeroed */
	legs_are_equal(2);
	rig_unmake(&rig);
}

/* ... but of holes never more than of data. */
static void longer_holes_are_given_back(void **state)
{
	uint64_t most;

	(void)state;
	make_files();
	rig_make(&rig, MIRROR);
	change(WEFT_WRITE, 0, 1 << 20, 1 << 20, 'f');
	miss_a_write("a.img", 'x');
	change(WEFT_ZERO, CELL, 4 * CELL, 3 * CELL, 0);
	rebuild(&most);
	legs_are_equal(2);
	assert_int_equal(sim_file_used(rig.world, "a.img"), sim_file_used(rig.world, "b.img"));
	assert_int_equal(sim_file_used(rig.world, "a.img"), 1 << 18);
	rig_unmake(&rig);
}

/* R9: whichever of them it is. */
static void what_fails_amid_others_is_copied_again(void **state)
{
	uint64_t most;

	(void)state;
	make_files();
	for (unsigned nth = 1; nth <= 40; nth += 3) {
		rig_make(&rig, MIRROR);
		miss_every_other_cell(true);
		sim_file_latency(rig.world, "a.img", 1000, 2000000);
		sim_file_latency(rig.world, "b.img", 1000, 2000000);
		sim_file_fault(rig.world, "a.img", WEFT_WRITE, nth, SIM_FAULT_ERROR, -EIO);
		rig_run(&rig, 5500000000);
		assert_false(is_live(0)); /* it has failed, and waits for longer now */
		rebuild(&most);
		legs_are_equal(2);
		rig_unmake(&rig);
	}
}

/* What cannot be read is copied from another leg, all of it. */
static void a_source_that_fails_amid_others_is_left(void **state)
{
	(void)state;
	make_files();
	sim_file_make(rig.world, "c.img", 1 << 20);
	for (unsigned nth = 1; nth <= 40; nth += 3) {
		rig_make(&rig, "mirror:[file:a.img],[file:b.img],[file:c.img],state=t,region=1MiB");
		miss_every_other_cell(true);
		sim_file_latency(rig.world, "b.img", 1000, 2000000);
		sim_file_fault(rig.world, "b.img", WEFT_READ, nth, SIM_FAULT_ERROR, -EIO);
		rig_run(&rig, 5900000000);
		assert_true(is_live(0) && is_live(2));
		assert_false(is_live(1));
		rig_run(&rig, 20000000000);
		assert_true(is_live(1));
		legs_are_equal(3);
		rig_unmake(&rig);
	}
}

/* R10: a request that comes all the time, counted: how often anything of the rebuild was under way when it ended. */
static void a_rebuild_leaves_most_of_the_time_to_others(void **state)
{
	unsigned reads = 0, beside = 0;
	char data[CELL];

	(void)state;
	make_files();
	rig_make(&rig, MIRROR);
	miss_every_other_cell(true);
	be_slow();
	until_it_is_tried_again();
	for (; !is_live(0); reads++) {
		assert_true(reads < 100000);
		assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, CELL, data), 0);
		assert_in_range(in_flight(1), 0, MIRROR_PIECES);
		beside += in_flight(0) + in_flight(1) > 0;
	}
	assert_in_range(beside, 16, 80); /* the same rounds as without others, and hardly more */
	assert_true(reads >= 4 * beside);
	rig_unmake(&rig);
}

/* R10: and a writer of the same region waits for one errand at most. */
static void a_writer_waits_for_no_more_than_one_errand(void **state)
{
	unsigned writes = 0, waited = 0;
	char data[CELL] = { 7 };

	(void)state;
	make_files();
	rig_make(&rig, MIRROR);
	change(WEFT_WRITE, 0, 1 << 20, 1 << 20, 'f');
	miss_a_write("a.img", 'x');
	change(WEFT_WRITE, 0, CELL, CELL, 'g');
	be_slow();
	for (; !is_live(0); writes++) {
		uint64_t before = copied();

		assert_true(writes < 100000);
		assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, CELL, data), 0);
		assert_in_range(copied() - before, 0, MIRROR_CHUNK);
		waited += copied() > before;
	}
	assert_in_range(waited, 4, 8); /* else this says nothing */
	legs_are_equal(2);
	rig_unmake(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(pieces_are_under_way_together_and_not_too_many),
		RIG_TEST(short_holes_are_copied_with_what_is_before_them),
		RIG_TEST(longer_holes_are_given_back),
		RIG_TEST(what_fails_amid_others_is_copied_again),
		RIG_TEST(a_source_that_fails_amid_others_is_left),
		RIG_TEST(a_rebuild_leaves_most_of_the_time_to_others),
		RIG_TEST(a_writer_waits_for_no_more_than_one_errand),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
