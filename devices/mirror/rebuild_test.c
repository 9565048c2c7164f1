/* SPDX-License-Identifier: BSD-2-Clause */
/* mirror: a leg that is back is rebuilt. */
#include "devices/mirror/legs_test.h"

#define HEALING "mirror:[file:a.img],[file:b.img],state=s,region=64KiB"

static bool legs_are_equal(void)
{
	return memcmp(sim_file_bytes(rig.world, "a.img"), sim_file_bytes(rig.world, "b.img"), 1 << 20) == 0;
}

static void write_at(uint64_t offset, char fill)
{
	static char data[4096];

	memset(data, fill, sizeof(data));
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, offset, sizeof(data), data), 0);
}

static void a_leg_that_is_back_gets_what_it_missed(void **state)
{
	(void)state;
	make_files();
	rig_make(&rig, HEALING);
	miss_a_write("a.img", 'x');
	write_at(600 << 10, 'y');
	assert_false(legs_are_equal());
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "dropped"));
	rig_run(&rig, 7000000000);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	assert_true(legs_are_equal());
	assert_string_equal(rig_fact(rig.object, "rebuild"), "idle, 0 regions left, 131072 bytes copied"); /* and no more */
	write_at(8192, 'z');
	assert_true(legs_are_equal());
	reads_back('z');
	rig_unmake(&rig);
	rig_make(&rig, HEALING); /* it is recorded */
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	rig_unmake(&rig);
}

static void a_leg_that_missed_a_write_is_rebuilt_after_a_restart(void **state)
{
	(void)state;
	make_files();
	rig_make(&rig, HEALING);
	miss_a_write("b.img", 'x');
	rig_unmake(&rig);
	rig_make(&rig, HEALING);
	rig_run(&rig, 100000000);
	assert_non_null(strstr(rig_fact(rig.object, "leg 1"), "live"));
	assert_true(legs_are_equal());
	reads_back('x');
	rig_unmake(&rig);
}

/* A leg that goes on failing is tried again ever more rarely, and never read. */
static void a_leg_that_is_not_back_stays_out(void **state)
{
	(void)state;
	make_files();
	rig_make(&rig, "mirror:[error:[file:a.img],op=write],[file:b.img],state=s,region=64KiB");
	write_at(8192, 'x');
	for (unsigned i = 0; i < 60; i++) {
		rig_run(&rig, 1000000000);
		reads_back('x');
	}
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "dropped"));
	assert_in_range(asked(0, WEFT_STAT_WRITE), 3, 5); /* after 5, 15 and 35 seconds */
	rig_unmake(&rig);
}

/* Without rebuild=on everything stays as it is, until it is set. */
static void a_rebuild_begins_when_it_is_set(void **state)
{
	(void)state;
	make_files();
	rig_make(&rig, HEALING ",rebuild=off");
	miss_a_write("a.img", 'x');
	rig_run(&rig, 60000000000);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "dropped"));
	assert_int_equal(rig_set(&rig, rig.object, "rebuild", "on"), 0);
	rig_run(&rig, 1000000000);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	assert_true(legs_are_equal());
	rig_unmake(&rig);
}

static void a_rebuild_keeps_its_rate(void **state)
{
	(void)state;
	make_files();
	rig_make(&rig, HEALING ",rebuild-rate=64KiB");
	sim_file_fault(rig.world, "a.img", WEFT_WRITE, 1, SIM_FAULT_ERROR, -EIO);
	for (unsigned i = 0; i < 16; i++)
		write_at(i * 65536, (char)('a' + i));
	rig_run(&rig, 5000000000 + 8000000000);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "being rebuilt"));
	rig_run(&rig, 10000000000);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	assert_true(legs_are_equal());
	rig_unmake(&rig);
}

/* The map costs a write of the record when a region becomes hot, and none while it is. */
static void no_record_is_written_while_a_region_is_hot(void **state)
{
	char before[32];

	(void)state;
	make_files();
	rig_make(&rig, HEALING);
	for (unsigned i = 0; i < 16; i++)
		write_at(i * 65536, 'a');
	snprintf(before, sizeof(before), "%s", rig_fact(rig.object, "records written"));
	assert_int_equal(strtoul(before, NULL, 10), 1 + 16); /* at the start, and for each region */
	for (unsigned i = 0; i < 2000; i++) {
		write_at(i % 16 * 65536 + 4096, 'b');
		rig_run(&rig, 20000000);
	}
	assert_string_equal(rig_fact(rig.object, "records written"), before);
	assert_int_equal(marked(), 16);
	rig_run(&rig, 60000000000); /* quiet: cleared in few steps */
	assert_int_equal(marked(), 0);
	assert_in_range(strtoul(rig_fact(rig.object, "records written"), NULL, 10), 18, 20);
	write_at(0, 'c');
	assert_int_equal(marked(), 1);
	assert_true(legs_are_equal());
	rig_unmake(&rig);
}

/* Two writes, each done by another leg only: whichever is judged later has been done by no leg that is left. */
static void a_write_that_only_a_dropped_leg_took_fails(void **state)
{
	struct rig_request r[2];
	char data[2][4096] = { { 1 }, { 2 } };

	(void)state;
	rig_make(&rig,
		"mirror:[delay:[error:[mem:1MiB],op=write,every=2],write=1ms],"
		"[delay:[error:[mem:1MiB],op=write,first=1],write=1ms],state=s,rebuild=off");
	for (unsigned i = 0; i < 2; i++) {
		r[i] = (struct rig_request){ .op = WEFT_WRITE, .offset = i * 8192, .len = 4096, .nsegs = 1 };
		r[i].segs[0] = (struct weft_seg){ .base = data[i], .len = 4096 };
		rig_start(&rig, &r[i]);
	}
	assert_int_equal(rig_wait(&rig, &r[0]), 0);
	assert_int_equal(rig_wait(&rig, &r[1]), -EIO);
	rig_unmake(&rig);
}

static void a_region_that_is_no_power_of_two_is_refused(void **state)
{
	struct weft_why why;

	(void)state;
	assert_int_equal(rig_try(&rig, "mirror:[mem:1MiB],[mem:1MiB],state=s,region=5000", &why), -EINVAL);
	assert_string_equal(why.text,
		"mirror: region=5000: must be a power of two, at least 4096 and a block (512): choose 1MiB, or leave it out");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_leg_that_is_back_gets_what_it_missed),
		RIG_TEST(a_leg_that_missed_a_write_is_rebuilt_after_a_restart),
		RIG_TEST(a_leg_that_is_not_back_stays_out),
		RIG_TEST(a_rebuild_begins_when_it_is_set),
		RIG_TEST(a_rebuild_keeps_its_rate),
		RIG_TEST(no_record_is_written_while_a_region_is_hot),
		RIG_TEST(a_write_that_only_a_dropped_leg_took_fails),
		RIG_TEST(a_region_that_is_no_power_of_two_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
