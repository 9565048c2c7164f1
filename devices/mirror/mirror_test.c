/* SPDX-License-Identifier: BSD-2-Clause */
/* mirror: all legs hold the same, and one is enough. */
#include "devices/mirror/legs_test.h"

#include <unistd.h>

static void conforms(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		rig_conform("mirror:[mem:1MiB],[mem:2MiB,block=4096]", seed, 300);
		rig_conform("mirror:[mem:1MiB],[mem:1MiB],[mem:1MiB],read=least-busy", seed, 300);
		rig_conform("contract:[mirror:[mem:1MiB],[file:x,create=1MiB],read=round-robin]", seed, 300);
	}
}

/* A dead leg must make no difference, whichever it is and whenever it dies. */
static void conforms_while_a_leg_dies(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		rig_conform("mirror:[error:[mem:1MiB],from=1ms],[delay:[mem:1MiB],all=20us],state=s", seed, 300);
		rig_conform(
			"mirror:[delay:[mem:1MiB],all=10us],[error:[mem:1MiB],probability=0.05],unrecorded=acknowledge",
			seed, 300);
		rig_conform("contract:[mirror:[mem:1MiB],[error:[mem:1MiB],op=write,every=40,when=after],state=s]",
			seed, 300);
	}
}

/* Real reactors, a real file for the record: a leg is dropped while others are writing. */
static void conforms_on_threads_while_a_leg_dies(void **state)
{
	char folder[] = "/var/tmp/weft-mirror-XXXXXX", path[64], text[160];

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/state", folder);
	snprintf(text, sizeof(text), "mirror:[mem:4MiB],[error:[mem:4MiB],op=write,every=100,when=after],state=%s", path);
	for (uint64_t seed = 1; seed <= 2; seed++) {
		rig_conform_linux(text, seed, 600);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(rmdir(folder), 0);
}

static void a_write_goes_to_all_legs_a_read_to_one(void **state)
{
	char data[512] = { 7 };

	(void)state;
	rig_make(&rig, "mirror:[mem:1MiB],[mem:1MiB],[mem:1MiB]");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(data), data), 0);
	for (unsigned leg = 0; leg < 3; leg++) {
		assert_int_equal(asked(leg, WEFT_STAT_WRITE), 1);
		assert_int_equal(asked(leg, WEFT_STAT_READ), 2); /* in turn */
	}
	rig_unmake(&rig);
}

static void the_size_is_that_of_the_smallest_leg(void **state)
{
	(void)state;
	rig_make(&rig, "mirror:[null:4MiB],[null:1MiB],[null:2MiB]");
	assert_int_equal(rig.blk->size, 1 << 20);
	assert_int_equal(rig_resize(&rig, rig_below(rig.object, 1), 8 << 20), 0);
	assert_int_equal(rig.blk->size, 2 << 20);
	rig_unmake(&rig);
}

static void a_failed_read_is_answered_by_another_leg_and_drops_the_first(void **state)
{
	char data[512] = { 7 }, back[512] = { 0 };

	(void)state;
	rig_make(&rig, "mirror:[error:[mem:1MiB],op=read],[mem:1MiB],read=first,state=s");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(back), back), 0);
	assert_memory_equal(data, back, sizeof(data));
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "dropped"));
	assert_non_null(strstr(rig_fact(rig.object, "leg 1"), "live"));
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
	assert_int_equal(asked(0, WEFT_STAT_WRITE), 1);
	assert_int_equal(asked(1, WEFT_STAT_WRITE), 2);
	rig_unmake(&rig);
}

static void a_failed_write_drops_the_leg_before_it_is_acknowledged(void **state)
{
	char data[512] = { 7 }, back[512] = { 0 };

	(void)state;
	rig_make(&rig, "mirror:[error:[mem:1MiB],op=write,errno=ENOSPC],[mem:1MiB],read=first,state=s");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "dropped"));
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(back), back), 0);
	assert_memory_equal(data, back, sizeof(data));
	rig_unmake(&rig);
}

static void a_write_that_no_leg_took_fails_and_drops_none(void **state)
{
	char data[512] = { 7 };

	(void)state;
	rig_make(&rig,
		"mirror:[error:[mem:1MiB],op=write,first=1],[error:[mem:1MiB],op=write,first=1,errno="
		"ENOSPC]");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), -EIO);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	assert_non_null(strstr(rig_fact(rig.object, "leg 1"), "live"));
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
	rig_unmake(&rig);
}

static void the_last_leg_stays(void **state)
{
	char data[512] = { 7 };

	(void)state;
	rig_make(&rig, "mirror:[error:[mem:1MiB],op=write,first=1],[error:[mem:1MiB],op=write,every=2],state=s");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "dropped"));
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), -EIO);
	assert_non_null(strstr(rig_fact(rig.object, "leg 1"), "live"));
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
	rig_unmake(&rig);
}

/* The second leg reads the memory later than the first: without a copy it would get other bytes. */
static void legs_get_the_same_bytes_from_memory_that_changes(void **state)
{
	char data[4096], back[2][4096];
	struct rig_request r = { .op = WEFT_WRITE, .len = sizeof(data), .nsegs = 1 };

	(void)state;
	memset(data, 'a', sizeof(data));
	rig_make(&rig, "mirror:[mem:1MiB],[delay:[mem:1MiB],write=1ms],read=round-robin");
	r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data), .foreign = 1 };
	rig_start(&rig, &r);
	rig_run(&rig, 500000);
	assert_int_equal(r.ended, 0);
	memset(data, 'b', sizeof(data));
	assert_int_equal(rig_wait(&rig, &r), 0);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(data), back[i]), 0);
	assert_memory_equal(back[0], back[1], sizeof(data));
	assert_int_equal(back[0][0], 'a');
	rig_unmake(&rig);
}

/* The control thread hears of a leg's new size later than the leg's own reactor. */
static void a_leg_that_has_become_smaller_is_not_dropped(void **state)
{
	char data[4096] = { 7 };
	struct weft_blk *leg;

	(void)state;
	rig_make(&rig, "mirror:[null:1MiB],[null:1MiB],state=s");
	leg = leg_of(0);
	__atomic_store_n(&leg->size, 1 << 19, __ATOMIC_RELAXED); /* and tells nobody yet */
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 1 << 19, sizeof(data), data), -ERANGE);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 1 << 19, sizeof(data), data) % ERANGE, 0);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 1 << 19, sizeof(data), data) % ERANGE, 0);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	assert_non_null(strstr(rig_fact(rig.object, "leg 1"), "live"));
	rig_unmake(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		cmocka_unit_test(conforms_while_a_leg_dies),
		cmocka_unit_test(conforms_on_threads_while_a_leg_dies),
		RIG_TEST(a_write_goes_to_all_legs_a_read_to_one),
		RIG_TEST(the_size_is_that_of_the_smallest_leg),
		RIG_TEST(a_failed_read_is_answered_by_another_leg_and_drops_the_first),
		RIG_TEST(a_failed_write_drops_the_leg_before_it_is_acknowledged),
		RIG_TEST(a_write_that_no_leg_took_fails_and_drops_none),
		RIG_TEST(the_last_leg_stays),
		RIG_TEST(legs_get_the_same_bytes_from_memory_that_changes),
		RIG_TEST(a_leg_that_has_become_smaller_is_not_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
