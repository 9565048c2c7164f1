/* SPDX-License-Identifier: BSD-2-Clause */
/* mirror: requests that wait for room or are aborted, and what that leaves on the legs. */
#include "devices/mirror/legs_test.h"

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
	rig_reopen(&rig); /* nor do these counters begin anew */
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
	rig_make(&rig, "mirror:[delay:[mem:16MiB],write=100ms],[mem:16MiB],state=s");
	for (uint64_t i = 0; i < 6; i++) /* the reactor gets the leases */
		assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, i << 20, 4096, data), 0);
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
	rig_run(&rig, 20000000000); /* nobody holds any region any more, not that of the aborted one either */
	assert_int_equal(marked(), 0);
	rig_unmake(&rig);
}

/* One leg has done it when the other's is cancelled. */
static void what_an_abort_cut_off_on_a_leg_is_done_again_there(void **state)
{
	char data[512] = { 7 }, back[512] = { 0 };
	struct rig_request r = { .op = WEFT_WRITE, .len = sizeof(data), .nsegs = 1 };

	(void)state;
	rig_make(&rig, "mirror:[delay:[mem:1MiB],all=1s],[mem:1MiB]");
	r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data), .foreign = 1 };
	rig_start(&rig, &r);
	rig_run(&rig, 1000000);
	rig_abort(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(back), back), 0);
		assert_memory_equal(data, back, sizeof(data));
	}
	assert_int_equal(asked(0, WEFT_STAT_READ), 1);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	rig_unmake(&rig);
}

static void a_leg_that_does_not_do_it_again_in_time_is_dropped(void **state)
{
	char data[512] = { 7 };
	struct rig_request r = { .op = WEFT_WRITE, .len = sizeof(data), .nsegs = 1, .deadline_us = 2000 };

	(void)state;
	rig_make(&rig, "mirror:[delay:[mem:1MiB],all=1s],[mem:1MiB],state=s");
	r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
	rig_start(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), 0);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "dropped"));
	rig_unmake(&rig);
}

static void what_an_abort_cut_off_on_all_legs_is_read_from_one(void **state)
{
	char data[512] = { 7 };
	struct rig_request r = { .op = WEFT_WRITE, .len = sizeof(data), .nsegs = 1 };

	(void)state;
	rig_make(&rig, "mirror:[delay:[mem:1MiB],write=1s],[delay:[mem:1MiB],write=1s]");
	assert_string_equal(rig_fact(rig.object, "reads"), "all legs");
	r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
	rig_start(&rig, &r);
	rig_run(&rig, 1000000);
	rig_abort(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), -ECANCELED);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(data), data), 0);
	assert_int_equal(asked(0, WEFT_STAT_READ), 4);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	assert_non_null(strstr(rig_fact(rig.object, "leg 1"), "live"));
	rig_unmake(&rig);
}

static void set(unsigned leg, const char *option, const char *value)
{
	assert_int_equal(rig_set(&rig, rig_below(rig.object, leg), option, value), 0);
}

/* R11: a rebuild's request would end in an hour; who closes the mirror does not wait for that, nor is it taken for a failure. */
static void a_rebuild_that_waits_for_a_leg_is_left_when_the_mirror_is_closed(void **state)
{
	static const struct {
		unsigned leg;
		const char *option;
	} cases[] = { { 1, "read" }, { 0, "read" }, { 0, "write" }, { 0, "flush" }, { 1, "flush" } };
	char data[4096] = { 0 };

	(void)state;
	make_files();
	for (unsigned i = 0; i < WEFT_COUNT(cases); i++) {
		uint64_t began;

		rig_make(&rig, "mirror:[delay:[file:a.img]],[delay:[file:b.img]],state=s,region=64KiB");
		assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 0, 1 << 20, NULL), 0);
		miss_a_write("a.img", (char)('a' + i));
		assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
		set(cases[i].leg, cases[i].option, "1h");
		rig_run(&rig, 10000000000);
		assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "being rebuilt"));
		began = sim_now_ns(rig.world);
		rig_reopen(&rig);
		assert_in_range(sim_now_ns(rig.world) - began, 0, 100000000);
		rig_run(&rig, 2000000000); /* it is tried again, and waits again */
		began = sim_now_ns(rig.world);
		rig_reopen(&rig);
		assert_in_range(sim_now_ns(rig.world) - began, 0, 1100000000);
		assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "being rebuilt"));
		assert_non_null(strstr(rig_fact(rig.object, "leg 1"), "live"));
		set(cases[i].leg, cases[i].option, "0s");
		rig_run(&rig, 20000000000);
		assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
		assert_memory_equal(sim_file_bytes(rig.world, "a.img"), sim_file_bytes(rig.world, "b.img"), 1 << 20);
		rig_unmake(&rig);
	}
}

/* R11: status and a read of 300 ms each. */
static void what_a_rebuild_has_under_way_is_waited_for_a_while(void **state)
{
	(void)state;
	make_files();
	rig_make(&rig, "mirror:[file:a.img],[delay:[file:b.img]],state=s,region=64KiB");
	miss_a_write("a.img", 'x');
	set(1, "read", "300ms");
	while (strstr(rig_fact(rig.object, "leg 0"), "being rebuilt") == NULL)
		rig_run(&rig, 1000000);
	assert_non_null(strstr(rig_fact(rig.object, "rebuild"), " 0 bytes copied"));
	rig_reopen(&rig);
	assert_non_null(strstr(rig_fact(rig.object, "rebuild"), " 4096 bytes copied"));
	rig_unmake(&rig);
}

/* A write to a region that is being copied, by a leg that does not answer: it can be aborted, and then the mirror be closed. */
static void a_write_that_waits_for_a_rebuild_can_be_aborted(void **state)
{
	char data[4096];
	struct rig_request r = { .op = WEFT_WRITE, .offset = 8192, .len = sizeof(data), .nsegs = 1, .deadline_us = 50000 };
	uint64_t began;

	(void)state;
	memset(data, 7, sizeof(data));
	make_files();
	rig_make(&rig, "mirror:[file:a.img],[delay:[file:b.img]],state=s,region=64KiB");
	miss_a_write("a.img", 'x');
	set(1, "read", "1h");
	rig_run(&rig, 6000000000);
	r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
	for (unsigned i = 0; i < 2; i++) { /* by its time, and by somebody */
		began = sim_now_ns(rig.world);
		rig_start(&rig, &r);
		rig_run(&rig, 1000000);
		if (i == 1)
			rig_abort(&rig, &r);
		assert_int_equal(rig_wait(&rig, &r), i == 0 ? -ETIMEDOUT : -ECANCELED);
		assert_in_range(sim_now_ns(rig.world) - began, 0, 100000000);
		r.deadline_us = 0;
	}
	began = sim_now_ns(rig.world);
	rig_reopen(&rig);
	assert_in_range(sim_now_ns(rig.world) - began, 0, 100000000);
	set(1, "read", "0s");
	rig_run(&rig, 20000000000);
	assert_non_null(strstr(rig_fact(rig.object, "leg 0"), "live"));
	reads_back('x'); /* it did nothing */
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 8192, sizeof(data), data), 0);
	reads_back(7);
	rig_unmake(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(copies_are_waited_for),
		RIG_TEST(an_abort_lets_those_behind_it_go),
		RIG_TEST(what_an_abort_cut_off_on_a_leg_is_done_again_there),
		RIG_TEST(a_leg_that_does_not_do_it_again_in_time_is_dropped),
		RIG_TEST(what_an_abort_cut_off_on_all_legs_is_read_from_one),
		RIG_TEST(a_write_that_waits_for_a_rebuild_can_be_aborted),
		RIG_TEST(what_a_rebuild_has_under_way_is_waited_for_a_while),
		RIG_TEST(a_rebuild_that_waits_for_a_leg_is_left_when_the_mirror_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
