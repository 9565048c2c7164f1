/* SPDX-License-Identifier: BSD-2-Clause */
/* mirror: what a rebuild has under way at once (R8 to R10). */
#include "devices/mirror/legs_test.h"

#include "devices/mirror/mirror.h"

#define CELL 4096u
#define MIRROR "mirror:[file:a.img],[file:b.img],state=s,region=1MiB"
#define LATENCY_NS 1000000u /* of whatever a leg is asked */

static const char *const path[] = { "a.img", "b.img", "c.img", "d.img" };

static void be_slow(void)
{
	for (unsigned i = 0; i < WEFT_COUNT(path); i++)
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

static uint64_t zeroed(void)
{
	return strtoull(strstr(rig_fact(rig.object, "rebuild"), "copied, ") + 8, NULL, 10);
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

/* R9: eight are written together, and the last of them fails; those that have ended before read on, but nothing more is written. */
static void after_a_failure_nothing_is_begun(void **state)
{
	uint64_t written, read;

	(void)state;
	make_files();
	rig_make(&rig, MIRROR);
	miss_every_other_cell(true);
	written = asked(0, WEFT_STAT_WRITE);
	read = asked(1, WEFT_STAT_READ);
	be_slow();
	sim_file_fault(rig.world, "a.img", WEFT_WRITE, MIRROR_PIECES, SIM_FAULT_ERROR, -EIO);
	rig_run(&rig, 5500000000);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "dropped"));
	assert_int_equal(asked(0, WEFT_STAT_WRITE) - written, MIRROR_PIECES);
	assert_in_range(asked(1, WEFT_STAT_READ) - read, MIRROR_PIECES, 2 * MIRROR_PIECES - 1);
	rig_unmake(&rig);
}

/* R7, R9: a write to what has been copied fails on both legs, and one has done it all the same. Source and target stay as they are;
 * yet the region is copied from its beginning. */
static void what_is_torn_behind_the_copy_is_copied_again(void **state)
{
	char data[CELL] = { 7 };

	(void)state;
	make_files();
	rig_make(&rig, "mirror:[error:[file:a.img],op=discard,offset=0,len=4096,first=1,when=after],"
		"[error:[file:b.img],op=discard,offset=0,len=4096,first=1],state=s,region=1MiB");
	change(WEFT_WRITE, 0, 1 << 20, 1 << 20, 'f');
	miss_a_write("a.img", 'x');
	change(WEFT_WRITE, 0, CELL, CELL, 'g');
	be_slow();
	until_it_is_tried_again();
	while (copied() == 0)
		rig_run(&rig, LATENCY_NS);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rig_set(&rig, rig_below(rig.object, i), "op", "write"), 0);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, CELL, data), -EIO);
	assert_in_range(copied(), MIRROR_CHUNK, (1 << 20) - MIRROR_CHUNK); /* else this says nothing */
	assert_false(is_live(0));
	assert_memory_not_equal(sim_file_bytes(rig.world, "a.img"), sim_file_bytes(rig.world, "b.img"), CELL);
	while (!is_live(0))
		rig_run(&rig, LATENCY_NS);
	legs_are_equal(2);
	rig_unmake(&rig);
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

/* ... also where all that is to be done is zeroing. */
static void a_writer_waits_for_no_more_than_some_zeroes(void **state)
{
	const uint64_t size = 8 * MIRROR_ZEROES;
	unsigned waited = 0;
	char data[CELL] = { 7 };

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		sim_file_make(rig.world, path[i], size);
	rig_make(&rig, "mirror:[file:a.img],[file:b.img],state=s,region=8MiB");
	miss_a_write("a.img", 'x');
	assert_int_equal(rig_ask(&rig, WEFT_ZERO, WEFT_NO_UNMAP, 0, size, NULL), 0);
	rig_unmake(&rig);
	rig_make(&rig, "file:a.img");
	change(WEFT_WRITE, 0, 1 << 20, 1 << 20, 'f');
	for (uint64_t at = 1 << 20; at < size; at += CELL)
		assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, at, CELL, data), 0);
	rig_unmake(&rig);
	be_slow();
	rig_make(&rig, "mirror:[file:a.img],[file:b.img],state=s,region=8MiB");
	for (unsigned writes = 0; !is_live(0); writes++) {
		uint64_t before = zeroed();

		assert_true(writes < 100000);
		assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, CELL, data), 0);
		assert_in_range(zeroed() - before, 0, MIRROR_ZEROES);
		waited += zeroed() > before;
	}
	assert_in_range(waited, 7, 16); /* else this says nothing */
	assert_memory_equal(sim_file_bytes(rig.world, path[0]), sim_file_bytes(rig.world, path[1]), size);
	rig_unmake(&rig);
}

/* ---- whatever they hold ---- */

#define FOUR "mirror:[file:a.img],[file:b.img],[file:c.img],[file:d.img],state=s,region=1MiB"

/* All but leg 1 miss a write. */
static void make_four(void)
{
	if (!sim_file_exists(rig.world, path[3]))
		for (unsigned i = 2; i < 4; i++)
			sim_file_make(rig.world, path[i], 1 << 20);
	rig_make(&rig, FOUR);
	change(WEFT_WRITE, 0, 1 << 20, 1 << 20, 'f');
	for (unsigned i = 2; i < 4; i++)
		sim_file_fault(rig.world, path[i], WEFT_WRITE, 1, SIM_FAULT_ERROR, -EIO);
	miss_a_write("a.img", 'x');
	rig_unmake(&rig);
}

static void until_all_four_are_live(void)
{
	while (!is_live(0) || !is_live(2) || !is_live(3))
		rig_run(&rig, LATENCY_NS);
}

/* Data and holes in turn, of up to so many cells, on this leg only. */
static void scatter(unsigned leg, unsigned cells)
{
	static char data[1 << 20];
	bool hole = sim_chance(rig.world, 1, 2);
	char text[16];

	snprintf(text, sizeof(text), "file:%s", path[leg]);
	rig_make(&rig, text);
	for (uint64_t at = 0, len; at < 1 << 20; at += len, hole = !hole) {
		len = CELL * (1 + sim_rand(rig.world) % cells);
		len = len < (1 << 20) - at ? len : (1 << 20) - at;
		memset(data, 'a' + (int)(sim_rand(rig.world) % 26), len);
		assert_int_equal(rig_ask(&rig, hole ? WEFT_ZERO : WEFT_WRITE, 0, at, len, hole ? NULL : data), 0);
	}
	rig_unmake(&rig);
}

/* On this leg only: each odd cell is a hole. */
static void hold_every_other_cell(unsigned leg)
{
	char text[16];

	snprintf(text, sizeof(text), "file:%s", path[leg]);
	rig_make(&rig, text);
	change(WEFT_WRITE, 0, 1 << 20, 1 << 20, 'f');
	change(WEFT_ZERO, CELL, 2 * CELL, CELL, 0);
	rig_unmake(&rig);
}

/* Of three others one has the holes of the source, the others have data there. */
static void a_leg_that_has_the_holes_is_left_as_it_is(void **state)
{
	(void)state;
	make_files();
	make_four();
	hold_every_other_cell(1);
	hold_every_other_cell(2);
	rig_make(&rig, FOUR);
	until_all_four_are_live();
	legs_are_equal(4);
	assert_int_equal(asked(2, WEFT_STAT_OTHER), 4); /* what it holds; nothing is zeroed */
	assert_int_equal(sim_file_used(rig.world, "c.img"), 1 << 19);
	rig_unmake(&rig);
}

/* Each of several legs has its own holes, and its own end of what it tells at once. */
static void whatever_legs_hold_they_become_equal(void **state)
{
	(void)state;
	make_files();
	for (unsigned round = 0; round < 12; round++) {
		make_four();
		for (unsigned i = 0; i < 4; i++)
			scatter(i, 1u << round % 6);
		rig_make(&rig, FOUR);
		until_all_four_are_live();
		legs_are_equal(4);
		for (unsigned i = 0; i < 4; i++)
			assert_in_range(sim_file_used(rig.world, path[i]), sim_file_used(rig.world, "b.img"),
				2 * sim_file_used(rig.world, "b.img"));
		rig_unmake(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(pieces_are_under_way_together_and_not_too_many),
		RIG_TEST(short_holes_are_copied_with_what_is_before_them),
		RIG_TEST(longer_holes_are_given_back),
		RIG_TEST(what_fails_amid_others_is_copied_again),
		RIG_TEST(a_source_that_fails_amid_others_is_left),
		RIG_TEST(after_a_failure_nothing_is_begun),
		RIG_TEST(what_is_torn_behind_the_copy_is_copied_again),
		RIG_TEST(a_rebuild_leaves_most_of_the_time_to_others),
		RIG_TEST(a_writer_waits_for_no_more_than_one_errand),
		RIG_TEST(a_writer_waits_for_no_more_than_some_zeroes),
		RIG_TEST(a_leg_that_has_the_holes_is_left_as_it_is),
		RIG_TEST(whatever_legs_hold_they_become_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
