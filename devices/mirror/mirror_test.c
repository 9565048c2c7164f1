/* SPDX-License-Identifier: BSD-2-Clause */
/* mirror: all legs hold the same, and one is enough. */
#include "devices/rig_test.h"
#include "env/env_fault.h"

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	rig_open(&rig, 1, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_close(&rig);
	return 0;
}

static struct weft_blk *leg_of(unsigned n)
{
	return weft_object_query(rig_below(rig.object, n), &weft_blk_iface);
}

static uint64_t asked(unsigned leg, enum weft_stat_class class)
{
	struct weft_stats stats;

	weft_blk_stats(leg_of(leg), &stats);
	return stats.of[class].requests;
}

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
		rig_conform("mirror:[error:[mem:1MiB],from=1ms],[delay:[mem:1MiB],all=20us]", seed, 300);
		rig_conform(
			"mirror:[delay:[mem:1MiB],all=10us],[error:[mem:1MiB],probability=0.05]", seed, 300);
		rig_conform("contract:[mirror:[mem:1MiB],[error:[mem:1MiB],op=write,every=40,when=after]]",
			seed, 300);
	}
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
	rig_make(&rig, "mirror:[error:[mem:1MiB],op=read],[mem:1MiB],read=first");
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
	rig_make(&rig, "mirror:[error:[mem:1MiB],op=write,errno=ENOSPC],[mem:1MiB],read=first");
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
	rig_make(&rig, "mirror:[error:[mem:1MiB],op=write,first=1],[error:[mem:1MiB],op=write,every=2]");
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

/* More than the pool of copies holds: those that wait are served in order, one of them is aborted meanwhile.
 */
static void copies_are_waited_for(void **state)
{
	static char data[1 << 20];
	struct rig_request r[8];

	(void)state;
	rig_make(&rig, "mirror:[delay:[mem:16MiB],write=1ms],[mem:16MiB]");
	for (unsigned i = 0; i < 8; i++) {
		r[i] = (struct rig_request){
			.op = WEFT_WRITE, .offset = (uint64_t)i << 20, .len = sizeof(data), .nsegs = 1
		};
		r[i].segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data), .foreign = 1 };
		rig_start(&rig, &r[i]);
	}
	rig_run(&rig, 100000);
	rig_abort(&rig, &r[5]);
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(rig_wait(&rig, &r[i]), i == 5 ? -ECANCELED : 0);
	assert_true(r[4].ended_ns >= r[0].ended_ns + 1000000);
	assert_true(r[7].ended_ns == r[4].ended_ns);
	assert_string_equal(rig_fact(rig.object, "copied writes"), "7, of which 4 had to wait for room");
	rig_unmake(&rig);
}

/* Three and a half MiB of four are taken: a long one waits, and a short one behind it, until the long one is
 * aborted. */
static void an_abort_lets_those_behind_it_go(void **state)
{
	static const uint32_t len[] = { 1 << 20, 1 << 20, 1 << 20, 1 << 19, 1 << 20, 4096 };
	static char data[1 << 20];
	struct rig_request r[6];
	uint64_t started;

	(void)state;
	rig_make(&rig, "mirror:[delay:[mem:16MiB],write=100ms],[mem:16MiB]");
	started = sim_now_ns(rig.world);
	for (unsigned i = 0; i < 6; i++) {
		r[i] = (struct rig_request){
			.op = WEFT_WRITE, .offset = (uint64_t)i << 20, .len = len[i], .nsegs = 1
		};
		r[i].segs[0] = (struct weft_seg){ .base = data, .len = len[i], .foreign = 1 };
		rig_start(&rig, &r[i]);
	}
	rig_run(&rig, 1000000);
	rig_abort(&rig, &r[4]);
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(rig_wait(&rig, &r[i]), i == 4 ? -ECANCELED : 0);
	assert_in_range(r[5].ended_ns - started, 101000000, 110000000);
	rig_unmake(&rig);
}

static void an_abort_drops_no_leg(void **state)
{
	char data[512] = { 7 };
	struct rig_request r = { .op = WEFT_WRITE, .len = sizeof(data), .nsegs = 1 };

	(void)state;
	rig_make(&rig, "mirror:[delay:[mem:1MiB],all=1s],[mem:1MiB]");
	r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
	rig_start(&rig, &r);
	rig_run(&rig, 1000000);
	rig_abort(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), -ECANCELED);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	rig_unmake(&rig);
}

static void no_memory_is_told(void **state)
{
	struct weft_why why;
	unsigned n = 1;

	(void)state;
	for (;; n++) {
		int error;

		env_fail_nth(rig.env, n);
		error = rig_try_stack(&rig, "mirror:[mem:1MiB],[mem:1MiB]", &why);
		if (!env_fail_hit(rig.env)) {
			assert_int_equal(error, 0);
			break;
		}
		assert_int_equal(error, -ENOMEM);
		assert_int_not_equal(why.text[0], 0);
	}
	assert_true(n > 20);
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

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		cmocka_unit_test(conforms_while_a_leg_dies),
		TEST(a_write_goes_to_all_legs_a_read_to_one),
		TEST(the_size_is_that_of_the_smallest_leg),
		TEST(a_failed_read_is_answered_by_another_leg_and_drops_the_first),
		TEST(a_failed_write_drops_the_leg_before_it_is_acknowledged),
		TEST(a_write_that_no_leg_took_fails_and_drops_none),
		TEST(the_last_leg_stays),
		TEST(legs_get_the_same_bytes_from_memory_that_changes),
		TEST(copies_are_waited_for),
		TEST(an_abort_lets_those_behind_it_go),
		TEST(an_abort_drops_no_leg),
		TEST(no_memory_is_told),
		TEST(a_discard_leaves_all_legs_alike),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
