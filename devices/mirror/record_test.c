/* SPDX-License-Identifier: BSD-2-Clause */
/* mirror: the record of which legs are good. */
#include "devices/mirror/legs_test.h"
#include "devices/mirror/record.h"

#define RECORDED "mirror:[file:a.img],[file:b.img],state=s,rebuild=off"

static void a_leg_that_missed_a_write_is_not_used_after_a_restart(void **state)
{
	(void)state;
	make_files();
	rig_make(&rig, RECORDED);
	miss_a_write("a.img", 'x');
	rig_unmake(&rig);
	rig_make(&rig, RECORDED);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "dropped"));
	assert_string_equal(rig_fact(rig.object, "reads"), "all legs"); /* it was stopped in order */
	reads_back('x');
	rig_unmake(&rig);
	rig_make(&rig, "mirror:[file:b.img],[file:a.img,direct=off],state=s,rebuild=off"); /* another order */
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	assert_non_null(strstr(rig_fact(rig.object, "leg 1"), "dropped"));
	reads_back('x');
	rig_unmake(&rig);
}

static void other_legs_than_the_recorded_ones_are_refused(void **state)
{
	struct weft_why why;

	(void)state;
	make_files();
	sim_file_make(rig.world, "c.img", 1 << 20);
	rig_make(&rig, RECORDED);
	rig_unmake(&rig);
	assert_int_equal(rig_try(&rig, "mirror:[file:a.img],[file:c.img],state=s", &why), -EINVAL);
	assert_string_equal(why.text,
		"mirror: leg 1 (file:c.img) is not one of those that state=s knows: give the legs that it was made with; "
		"or, when all legs hold the same for sure, remove it");
	assert_int_equal(rig_try(&rig, "mirror:[file:a.img],[file:b.img],[file:c.img],state=s", &why), -EINVAL);
	sim_file_make(rig.world, "d.img", 1 << 20);
	rig_make(&rig, "mirror:[file:a.img],[file:b.img],[file:c.img],state=t");
	rig_unmake(&rig);
	assert_int_equal(rig_try(&rig, "mirror:[file:a.img],[file:b.img],state=t", &why), -EINVAL);
	assert_non_null(strstr(why.text, "knows 3 legs, and 2 are given"));
}

static void write_into(const char *path, uint64_t offset, char *data, size_t len)
{
	char text[64];

	snprintf(text, sizeof(text), "file:%s", path);
	rig_make(&rig, text);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, offset, len, data), 0);
	rig_unmake(&rig);
}

static void one_slot_may_be_damaged_two_are_refused(void **state)
{
	char junk[RECORD_SLOT];
	struct weft_why why;

	(void)state;
	memset(junk, 'j', sizeof(junk));
	make_files();
	for (unsigned slot = 0; slot < 2; slot++) {
		rig_make(&rig, RECORDED);
		if (slot == 0)
			miss_a_write("b.img", 'y');
		rig_unmake(&rig);
		write_into("s", slot * sizeof(junk), junk, sizeof(junk));
		rig_make(&rig, RECORDED);
		assert_non_null(strstr(rig_fact(rig.object, "leg 1"), "dropped"));
		rig_unmake(&rig);
	}
	write_into("s", 0, junk, sizeof(junk));
	write_into("s", sizeof(junk), junk, sizeof(junk));
	assert_int_equal(rig_try(&rig, RECORDED, &why), -EINVAL);
	assert_non_null(strstr(why.text, "state=s holds no record of a mirror, or a damaged one"));
	sim_file_make(rig.world, "odd", 512);
	assert_true(rig_try(&rig, "mirror:[file:a.img],[file:b.img],state=odd", &why) < 0);
}

/* The power may go while a slot is written: never the only one that is whole. */
static void the_only_whole_slot_is_not_written_first(void **state)
{
	static char junk[RECORD_SLOT], before[RECORD_SLOT];
	struct weft_why why;

	(void)state;
	memset(junk, 'j', sizeof(junk));
	make_files();
	rig_make(&rig, RECORDED);
	rig_unmake(&rig);
	for (unsigned damaged = 0; damaged < 2; damaged++) {
		unsigned whole = !damaged;

		write_into("s", damaged * sizeof(junk), junk, sizeof(junk));
		memcpy(before, sim_file_bytes(rig.world, "s") + whole * sizeof(junk), sizeof(before));
		sim_file_fault(rig.world, "s", WEFT_FLUSH, 1, SIM_FAULT_ERROR, -EIO);
		assert_int_equal(rig_try(&rig, RECORDED, &why), -EIO);
		assert_memory_equal(sim_file_bytes(rig.world, "s") + whole * sizeof(junk), before, sizeof(before));
		assert_memory_equal(sim_file_bytes(rig.world, "s") + damaged * sizeof(junk), before, 8);
		rig_make(&rig, RECORDED);
		rig_unmake(&rig);
	}
}

/* Those that come later wait as well: the leg has missed them, too. */
static void no_write_that_a_leg_missed_is_acknowledged_before_the_record(void **state)
{
	char data[4096] = { 7 };
	struct rig_request r[4];
	uint64_t started;

	(void)state;
	make_files();
	rig_make(&rig, RECORDED);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0); /* else this were waited for as well */
	sim_file_latency(rig.world, "s", 5000000, 5000000);
	sim_file_fault(rig.world, "a.img", WEFT_WRITE, 1, SIM_FAULT_ERROR, -EIO);
	started = sim_now_ns(rig.world);
	for (unsigned i = 0; i < 4; i++) {
		r[i] = (struct rig_request){ .op = WEFT_WRITE, .offset = i * 4096, .len = sizeof(data), .nsegs = 1 };
		r[i].segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
		rig_start(&rig, &r[i]);
		rig_run(&rig, 1000000);
	}
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(rig_wait(&rig, &r[i]), 0);
		assert_true(r[i].ended_ns - started >= 20000000); /* two writes and two flushes */
	}
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0); /* and then no longer */
	assert_true(sim_now_ns(rig.world) - r[3].ended_ns < 1000000);
	rig_unmake(&rig);
}

static void a_write_that_cannot_be_recorded_fails(void **state)
{
	char data[4096] = { 7 };

	(void)state;
	make_files();
	rig_make(&rig, RECORDED);
	sim_file_fault(rig.world, "a.img", WEFT_WRITE, 1, SIM_FAULT_ERROR, -EIO);
	sim_file_fault(rig.world, "s", WEFT_FLUSH, 1, SIM_FAULT_ERROR, -ENOSPC);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), -EIO);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0); /* it can be written again */
	rig_unmake(&rig);
	rig_make(&rig, RECORDED);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "dropped"));
	rig_unmake(&rig);
}

/* Without a record a leg that was dropped would come back as if nothing had been. */
static void without_a_record_no_leg_is_done_without(void **state)
{
	char data[4096] = { 7 };

	(void)state;
	make_files();
	rig_make(&rig, "mirror:[file:a.img],[file:b.img]");
	sim_file_fault(rig.world, "a.img", WEFT_WRITE, 1, SIM_FAULT_ERROR, -ENOSPC);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), -ENOSPC);
	sim_file_fault(rig.world, "b.img", WEFT_FLUSH, 1, SIM_FAULT_ERROR, -EIO);
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), -EIO);
	sim_file_fault(rig.world, "a.img", WEFT_READ, 1, SIM_FAULT_ERROR, -EIO);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(data), data), 0);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
	assert_memory_equal(sim_file_bytes(rig.world, "a.img"), sim_file_bytes(rig.world, "b.img"), 1 << 20);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	rig_unmake(&rig);
	rig_make(&rig, "mirror:[file:a.img],[file:b.img],unrecorded=acknowledge");
	miss_a_write("a.img", 'z');
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "dropped"));
	reads_back('z');
	rig_unmake(&rig);
}

static void a_state_that_was_made_in_vain_is_removed(void **state)
{
	struct weft_why why;

	(void)state;
	make_files();
	assert_int_equal(rig_try(&rig, "slice:[" RECORDED "],offset=2MiB", &why), -EINVAL);
	assert_false(sim_file_exists(rig.world, "s"));
	rig_make(&rig, RECORDED);
	rig_unmake(&rig);
	assert_true(sim_file_exists(rig.world, "s"));
	assert_int_equal(rig_try(&rig, "stripe:[" RECORDED "],[mirror:[mem:1MiB],[mem:1MiB],state=s]", &why), -EWOULDBLOCK);
	assert_true(sim_file_exists(rig.world, "s"));
}

static void no_memory_is_told(void **state)
{
	(void)state;
	assert_true(rig_fail_each(&rig, "mirror:[mem:1MiB],[mem:1MiB],state=s", true, NULL) > 20);
}

/* Where a write was cut short they may differ; what is copied from there to elsewhere is acknowledged. */
static void a_copy_leaves_all_legs_alike(void **state)
{
	char data[4096];
	struct rig_request r = { .op = WEFT_COPY, .source = 0, .offset = 65536, .len = sizeof(data) };

	(void)state;
	make_files();
	memset(data, 'c', sizeof(data));
	write_into("a.img", 0, data, sizeof(data));
	rig_make(&rig, RECORDED);
	rig_start(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), 0);
	assert_memory_equal(sim_file_bytes(rig.world, "a.img") + 65536, sim_file_bytes(rig.world, "b.img") + 65536, sizeof(data));
	rig_unmake(&rig);
}

static void a_discard_leaves_all_legs_alike(void **state)
{
	char data[4096], back[2][4096];

	(void)state;
	memset(data, 'd', sizeof(data));
	rig_make(&rig, "mirror:[mem:1MiB],[file:f,create=1MiB,discard=off]");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
	assert_int_equal(rig_ask(&rig, WEFT_DISCARD, 0, 0, sizeof(data), NULL), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(data), back[i]), 0);
	assert_memory_equal(back[0], back[1], sizeof(data));
	rig_unmake(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_leg_that_missed_a_write_is_not_used_after_a_restart),
		RIG_TEST(other_legs_than_the_recorded_ones_are_refused),
		RIG_TEST(one_slot_may_be_damaged_two_are_refused),
		RIG_TEST(no_write_that_a_leg_missed_is_acknowledged_before_the_record),
		RIG_TEST(a_write_that_cannot_be_recorded_fails),
		RIG_TEST(without_a_record_no_leg_is_done_without),
		RIG_TEST(a_state_that_was_made_in_vain_is_removed),
		RIG_TEST(no_memory_is_told),
		RIG_TEST(a_discard_leaves_all_legs_alike),
		RIG_TEST(a_copy_leaves_all_legs_alike),
		RIG_TEST(the_only_whole_slot_is_not_written_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
