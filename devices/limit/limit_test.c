/* SPDX-License-Identifier: BSD-2-Clause */
/* limit: so many requests and bytes per second, in order. */
#include "devices/rig_test.h"

RIG_FOR_EACH_TEST(1, 1)

#define REQUESTS 64

static char data[65536];
static struct rig_request r[REQUESTS];

/* Starts `n` requests at once, and says how long it took until all had ended. */
static uint64_t flood(unsigned n, unsigned op, unsigned len)
{
	uint64_t started = sim_now_ns(rig.world), ended = 0;

	for (unsigned i = 0; i < n; i++) {
		r[i] = (struct rig_request){ .op = op, .len = len, .nsegs = 1 };
		r[i].segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
		rig_start(&rig, &r[i]);
	}
	for (unsigned i = 0; i < n; i++) {
		assert_int_equal(rig_wait(&rig, &r[i]), 0);
		assert_true(r[i].ended_ns >= ended); /* in order */
		ended = r[i].ended_ns;
	}
	return ended - started;
}

static void conforms(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++)
		rig_conform("limit:[mem:1MiB],iops=10k,bps=100MiB", seed, 300);
}

static void requests_per_second(void **state)
{
	(void)state;
	rig_make(&rig, "limit:[mem:1MiB],iops=1000,burst=0");
	assert_in_range(flood(51, WEFT_READ, 512), 50000000, 50100000);
	rig_unmake(&rig);
}

static void bytes_per_second(void **state)
{
	(void)state;
	rig_make(&rig, "limit:[mem:1MiB],bps=64MiB,burst=0");
	assert_in_range(flood(33, WEFT_WRITE, 65536), 31250000, 31350000);
	rig_unmake(&rig);
}

static void what_was_saved_up_goes_at_once(void **state)
{
	(void)state;
	rig_make(&rig, "limit:[mem:1MiB],iops=1000,burst=20ms");
	assert_in_range(flood(21, WEFT_READ, 512), 0, 100000);
	assert_in_range(flood(11, WEFT_READ, 512), 10000000, 11100000);
	rig_unmake(&rig);
}

static void reads_and_writes_have_limits_of_their_own(void **state)
{
	(void)state;
	rig_make(&rig, "limit:[mem:1MiB],read-iops=1000,write-iops=500,burst=0");
	assert_in_range(flood(11, WEFT_READ, 512), 10000000, 10100000);
	assert_in_range(flood(11, WEFT_WRITE, 512), 20000000, 20100000);
	assert_in_range(flood(32, WEFT_FLUSH, 0), 0, 100000);
	rig_unmake(&rig);
}

static void bytes_read_and_written_have_limits_of_their_own(void **state)
{
	(void)state;
	rig_make(&rig, "limit:[mem:1MiB],read-bps=64MiB,write-bps=32MiB,burst=0");
	assert_in_range(flood(33, WEFT_READ, 65536), 31250000, 31350000);
	assert_in_range(flood(33, WEFT_WRITE, 65536), 62500000, 62600000);
	assert_in_range(flood(33, WEFT_COPY, 65536), 62500000, 64600000); /* the last write's time is over when the first ends */
	rig_unmake(&rig);
}

static void whatever_changes_counts_as_a_write_and_whatever_tells_as_a_read(void **state)
{
	static const unsigned changing[] = { WEFT_DISCARD, WEFT_ZERO, WEFT_COPY };

	(void)state;
	rig_make(&rig, "limit:[mem:1MiB],write-iops=1000,burst=0");
	for (unsigned i = 0; i < WEFT_COUNT(changing); i++)
		assert_in_range(flood(11, changing[i], 4096), 10000000, 11100000);
	assert_in_range(flood(32, WEFT_STATUS, 4096), 0, 100000);
	rig_unmake(&rig);
	rig_make(&rig, "limit:[mem:1MiB],read-iops=1000,burst=0");
	assert_in_range(flood(11, WEFT_STATUS, 4096), 10000000, 10100000);
	assert_in_range(flood(32, WEFT_DISCARD, 4096), 0, 100000);
	rig_unmake(&rig);
}

static void without_a_limit_nothing_waits(void **state)
{
	(void)state;
	rig_make(&rig, "limit:[mem:1MiB]");
	assert_in_range(flood(REQUESTS, WEFT_WRITE, 4096), 0, 100000);
	rig_unmake(&rig);
}

static void reactors_share_the_rate(void **state)
{
	struct rig two;
	uint64_t started, ended = 0;

	(void)state;
	rig_open(&two, 2, 2);
	rig_make(&two, "limit:[mem:1MiB],iops=1000,burst=0");
	started = sim_now_ns(two.world);
	for (unsigned i = 0; i < 40; i++) {
		r[i] = (struct rig_request){ .op = WEFT_READ, .len = 512, .nsegs = 1, .lane = i % 2 };
		r[i].segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
		rig_start(&two, &r[i]);
	}
	for (unsigned i = 0; i < 40; i++) {
		assert_int_equal(rig_wait(&two, &r[i]), 0);
		ended = r[i].ended_ns > ended ? r[i].ended_ns : ended;
	}
	assert_in_range(ended - started, 39000000, 39200000);
	rig_unmake(&two);
	rig_close(&two);
}

static void an_abort_takes_it_out_of_the_queue(void **state)
{
	uint64_t started;

	(void)state;
	rig_make(&rig, "limit:[mem:1MiB],iops=100,burst=0");
	started = sim_now_ns(rig.world);
	for (unsigned i = 0; i < 4; i++) {
		r[i] = (struct rig_request){ .op = WEFT_READ, .len = 512, .nsegs = 1 };
		r[i].segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
		rig_start(&rig, &r[i]);
	}
	rig_run(&rig, 1000000);
	rig_abort(&rig, &r[1]);
	rig_abort(&rig, &r[3]); /* the last one: what comes now must not hang on it */
	r[4] = r[0];
	rig_start(&rig, &r[4]);
	assert_int_equal(rig_wait(&rig, &r[0]), 0);
	assert_int_equal(rig_wait(&rig, &r[1]), -ECANCELED);
	assert_int_equal(rig_wait(&rig, &r[2]), 0);
	assert_int_equal(rig_wait(&rig, &r[3]), -ECANCELED);
	assert_in_range(r[2].ended_ns - started, 10000000, 10100000);
	assert_int_equal(rig_wait(&rig, &r[4]), 0);
	rig_unmake(&rig);
}

static void a_new_limit_is_felt_by_those_that_wait(void **state)
{
	uint64_t started;

	(void)state;
	rig_make(&rig, "limit:[mem:1MiB],bps=1KiB,burst=0");
	started = sim_now_ns(rig.world);
	for (unsigned i = 0; i < 4; i++) {
		r[i] = (struct rig_request){ .op = WEFT_READ, .len = sizeof(data), .nsegs = 1 };
		r[i].segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
		rig_start(&rig, &r[i]);
	}
	rig_run(&rig, 1000000);
	assert_int_equal(rig_set(&rig, rig.object, "bps", "0"), 0);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(rig_wait(&rig, &r[i]), 0);
	assert_in_range(r[3].ended_ns - started, 1000000, 110000000);
	rig_unmake(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		RIG_TEST(requests_per_second),
		RIG_TEST(bytes_per_second),
		RIG_TEST(what_was_saved_up_goes_at_once),
		RIG_TEST(reads_and_writes_have_limits_of_their_own),
		RIG_TEST(bytes_read_and_written_have_limits_of_their_own),
		RIG_TEST(whatever_changes_counts_as_a_write_and_whatever_tells_as_a_read),
		RIG_TEST(without_a_limit_nothing_waits),
		RIG_TEST(reactors_share_the_rate),
		RIG_TEST(an_abort_takes_it_out_of_the_queue),
		RIG_TEST(a_new_limit_is_felt_by_those_that_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
