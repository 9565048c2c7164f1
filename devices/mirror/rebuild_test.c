/* SPDX-License-Identifier: BSD-2-Clause */
/* mirror: a leg that is back is rebuilt. */
#include "devices/mirror/legs_test.h"

#include <sys/stat.h>
#include <unistd.h>

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

static void fill(uint64_t from, uint64_t to, char with)
{
	static char data[65536];

	memset(data, with, sizeof(data));
	for (uint64_t at = from; at < to; at += sizeof(data))
		assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, at, sizeof(data), data), 0);
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
	assert_string_equal(rig_fact(rig.object, "rebuild"), "idle, 0 regions left, 8192 bytes copied, 0 zeroed"); /* and no more */
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
		fill(i * 65536, (i + 1) * 65536, (char)('a' + i));
	rig_run(&rig, 5000000000 + 8000000000);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "being rebuilt"));
	rig_run(&rig, 10000000000);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	assert_true(legs_are_equal());
	rig_unmake(&rig);
}

static void a_rebuild_makes_holes_where_the_source_has_them(void **state)
{
	(void)state;
	make_files();
	rig_make(&rig, HEALING);
	fill(0, 1 << 20, 'f');
	miss_a_write("a.img", 'x');
	assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 12288, (1 << 20) - 12288, NULL), 0);
	assert_int_equal(sim_file_used(rig.world, "a.img"), 1 << 20);
	assert_int_equal(sim_file_used(rig.world, "b.img"), 12288);
	rig_run(&rig, 7000000000);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	assert_true(legs_are_equal());
	assert_int_equal(sim_file_used(rig.world, "a.img"), 12288);
	assert_string_equal(rig_fact(rig.object, "rebuild"), "idle, 0 regions left, 12288 bytes copied, 1036288 zeroed");
	rig_unmake(&rig);
}

/* Zeroes are there already, in part: that part is left alone. */
static void a_rebuild_leaves_holes_alone(void **state)
{
	(void)state;
	make_files();
	rig_make(&rig, HEALING);
	fill(512 << 10, 576 << 10, 'f');
	miss_a_write("a.img", 'x');
	assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 65536, (1 << 20) - 65536, NULL), 0);
	assert_int_equal(sim_file_used(rig.world, "a.img"), 65536);
	rig_run(&rig, 7000000000);
	assert_true(legs_are_equal());
	assert_int_equal(sim_file_used(rig.world, "a.img"), 4096);
	assert_string_equal(rig_fact(rig.object, "rebuild"), "idle, 0 regions left, 4096 bytes copied, 65536 zeroed");
	rig_unmake(&rig);
}

/* What a leg says of itself cannot be had, or it cannot zero: then it is as if there were no holes. */
static void a_rebuild_needs_nobody_to_tell_of_holes(void **state)
{
	char back[4096];

	(void)state;
	make_files();
	rig_make(&rig, "mirror:[stripe:[file:a.img],[mem:1MiB]],[error:[file:b.img],op=status],state=s,region=64KiB");
	fill(0, 1 << 20, 'f');
	miss_a_write("a.img", 'x');
	assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 65536, 65536, NULL), 0);
	rig_run(&rig, 7000000000);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	assert_string_equal(rig_fact(rig.object, "rebuild"), "idle, 0 regions left, 1048576 bytes copied, 0 zeroed");
	assert_int_equal(rig_set(&rig, rig.object, "read", "first"), 0);
	reads_back('x');
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 65536, sizeof(back), back), 0);
	assert_true(back[0] == 0 && memcmp(back, back + 1, sizeof(back) - 1) == 0);
	rig_unmake(&rig);
}

static void make_sparse(char *path, const char *folder, const char *name)
{
	static char data[1 << 20];
	FILE *file;

	sprintf(path, "%s/%s", folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	for (unsigned i = 0; i < 4; i++) { /* what is there will have to be given back */
		memset(data, 'a' + (int)i, sizeof(data));
		assert_int_equal(fwrite(data, 1, sizeof(data), file), sizeof(data));
	}
	assert_int_equal(fclose(file), 0);
	assert_int_equal(truncate(path, 64 << 20), 0);
}

static uint64_t allocated(const char *path)
{
	struct stat facts;

	assert_int_equal(stat(path, &facts), 0);
	return (uint64_t)facts.st_blocks * 512;
}

/* Real files: what was sparse is sparse again, and what was full becomes sparse. */
static void a_rebuilt_file_takes_no_more_room_than_its_source(void **state)
{
	char folder[] = "/var/tmp/weft-mirror-XXXXXX", a[64], b[64], record[64], text[256];

	(void)state;
	assert_non_null(mkdtemp(folder));
	make_sparse(a, folder, "a");
	make_sparse(b, folder, "b");
	snprintf(record, sizeof(record), "%s/state", folder);
	rig_open_linux(&rig, 1, 1);
	snprintf(text, sizeof(text), "mirror:[error:[file:%s],op=write,first=1],[file:%s],state=%s", a, b, record);
	rig_make(&rig, text);
	write_at(8192, 'x'); /* a misses it, and all that follows */
	fill(32 << 20, 33 << 20, 'y');
	assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 1 << 20, 31 << 20, NULL), 0);
	rig_unmake(&rig);
	assert_in_range(allocated(a), 4 << 20, 5 << 20);
	assert_in_range(allocated(b), 2 << 20, 3 << 20);
	snprintf(text, sizeof(text), "mirror:[error:[file:%s],op=write,from=1h],[file:%s],state=%s", a, b, record);
	rig_make(&rig, text);
	while (strstr(rig_fact(rig.object, "leg 0"), "live") == NULL)
		rig_run(&rig, 1000000);
	assert_int_equal(rig_set(&rig, rig.object, "read", "first"), 0);
	reads_back('x');
	rig_unmake(&rig);
	assert_in_range(allocated(a), 2 << 20, 3 << 20);
	rig_close(&rig);
	assert_true(unlink(a) == 0 && unlink(b) == 0 && unlink(record) == 0 && rmdir(folder) == 0);
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
		RIG_TEST(a_rebuild_makes_holes_where_the_source_has_them),
		RIG_TEST(a_rebuild_leaves_holes_alone),
		RIG_TEST(a_rebuild_needs_nobody_to_tell_of_holes),
		cmocka_unit_test(a_rebuilt_file_takes_no_more_room_than_its_source),
		RIG_TEST(no_record_is_written_while_a_region_is_hot),
		RIG_TEST(a_write_that_only_a_dropped_leg_took_fails),
		RIG_TEST(a_region_that_is_no_power_of_two_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
