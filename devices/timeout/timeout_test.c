/* SPDX-License-Identifier: BSD-2-Clause */
/* timeout: requests end in time, also on a disk that hangs; what it does later harms nobody. */
#include <stdlib.h>

#include "devices/rig_test.h"

#define MS 1000000ull
#define HANG (10000 * MS)
#define MANY 120

RIG_FOR_EACH_TEST(1, 2)
static char data[4096] __attribute__((aligned(4096))), other[4096] __attribute__((aligned(4096)));

static void conforms(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		rig_conform("timeout:[mem:1MiB]", seed, 300);
		rig_conform("timeout:[compare-write:[mem:4MiB]]", seed, 300);
		rig_conform("timeout:[mem:4MiB,block=4KiB],copy=off,after=1s", seed, 300);
		rig_conform("timeout:[file:disk.img,create=2MiB],after=0", seed, 300);
	}
}

/* The device on a disk that takes ten seconds for each operation. */
static void make_hanging(const char *text)
{
	sim_file_make(rig.world, "disk.img", 4 << 20);
	rig_make(&rig, text);
	sim_file_latency(rig.world, "disk.img", HANG, HANG);
}

static struct rig_request request(unsigned op, uint64_t offset, char *bytes)
{
	return (struct rig_request){ .op = op, .offset = op == WEFT_FLUSH ? 0 : offset, .len = op == WEFT_FLUSH ? 0 : sizeof(data),
		.segs = { { .base = bytes, .len = sizeof(data) } }, .nsegs = bytes != NULL };
}

/* Waits for it; how long it took, ns. */
static uint64_t took(struct rig_request *r, int expected)
{
	uint64_t began = sim_now_ns(rig.world);

	rig_start(&rig, r);
	assert_int_equal(rig_wait(&rig, r), expected);
	return r->ended_ns - began;
}

static void a_disk_that_hangs_holds_nobody_up(void **state)
{
	const unsigned ops[] = { WEFT_READ, WEFT_WRITE, WEFT_FLUSH, WEFT_STATUS, WEFT_ZERO, WEFT_DISCARD };

	(void)state;
	make_hanging("timeout:[file:disk.img],after=50ms");
	for (unsigned i = 0; i < WEFT_COUNT(ops); i++) {
		struct rig_request r = request(ops[i], i * 65536, ops[i] <= WEFT_WRITE || ops[i] == WEFT_STATUS ? data : NULL);

		assert_in_range(took(&r, -ETIMEDOUT), 50 * MS, 51 * MS);
	}
	assert_string_equal(rig_fact(rig.object, "left below"), "6");
	rig_unmake(&rig); /* waits for the disk */
	assert_true(sim_now_ns(rig.world) > HANG);
}

static void what_comes_too_late_touches_no_memory_of_the_client(void **state)
{
	struct rig_request read = request(WEFT_READ, 0, data), write = request(WEFT_WRITE, 65536, other);

	(void)state;
	make_hanging("timeout:[file:disk.img],after=50ms");
	memset(data, 'r', sizeof(data));
	memset(other, 'w', sizeof(other));
	took(&read, -ETIMEDOUT);
	took(&write, -ETIMEDOUT);
	memset(other, 'x', sizeof(other)); /* it is the client's again */
	rig_run(&rig, 2 * HANG);
	for (unsigned i = 0; i < sizeof(data); i++)
		assert_int_equal(data[i], 'r');
	for (unsigned i = 0; i < sizeof(other); i++)
		assert_int_equal(sim_file_bytes(rig.world, "disk.img")[65536 + i], 'w');
	rig_unmake(&rig);
}

/* A write that is late must not come after a newer one, whichever reactor that comes by. */
static void what_overlaps_a_late_write_is_refused_until_that_has_returned(void **state)
{
	struct rig_request late = request(WEFT_WRITE, 8192, other), again = request(WEFT_WRITE, 8192, data),
		elsewhere = request(WEFT_WRITE, 8192 + 4096, data);

	(void)state;
	make_hanging("timeout:[file:disk.img],after=50ms");
	memset(other, 'o', sizeof(other));
	memset(data, 'n', sizeof(data));
	took(&late, -ETIMEDOUT);
	sim_file_latency(rig.world, "disk.img", 1000, 2000);
	for (again.lane = 0; again.lane < 2; again.lane++) {
		assert_in_range(took(&again, -ETIMEDOUT), 0, MS);
		elsewhere.lane = again.lane;
		assert_in_range(took(&elsewhere, 0), 0, MS);
	}
	assert_string_equal(rig_fact(rig.object, "changes that may still come"), "1");
	rig_run(&rig, HANG);
	assert_string_equal(rig_fact(rig.object, "changes that may still come"), "0");
	again.lane = 1;
	assert_in_range(took(&again, 0), 0, MS);
	assert_memory_equal(sim_file_bytes(rig.world, "disk.img") + 8192, data, sizeof(data));
	rig_unmake(&rig);
}

/* What is compared, and what is written then. */
static struct rig_request compare_write(char both[2 * sizeof(data)], char expected, char wanted)
{
	struct rig_request r = request(WEFT_COMPARE_WRITE, 8192, both);

	memset(both, expected, sizeof(data));
	memset(both + sizeof(data), wanted, sizeof(data));
	r.segs[0].len = 2 * sizeof(data);
	return r;
}

static void compare_and_write_is_had_where_the_device_below_has_it(void **state)
{
	static char both[2 * sizeof(data)] __attribute__((aligned(4096)));
	struct rig_request r = compare_write(both, 0, 'n');

	(void)state;
	rig_make(&rig, "timeout:[mem:1MiB]");
	took(&r, -EOPNOTSUPP);
	rig_unmake(&rig);
	rig_make(&rig, "timeout:[compare-write:[mem:1MiB]]");
	took(&r, 0);
	took(&r, -EILSEQ); /* it is there already */
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 8192, sizeof(data), data), 0);
	assert_memory_equal(data, both + sizeof(data), sizeof(data));
	assert_int_equal(rig.blk->max_len, 1 << 20);
	assert_int_equal(rig.blk->max_compare, 64 << 10);
	rig_unmake(&rig);
	rig_make(&rig, "timeout:[compare-write:[mem:4MiB,block=512KiB]]");
	assert_int_equal(rig.blk->max_compare, 512 << 10); /* twice that is copied */
	assert_int_equal(rig.blk->ops_can >> WEFT_COMPARE_WRITE & 1, 1);
	rig_unmake(&rig);
	rig_make(&rig, "timeout:[compare-write:[mem:4MiB,block=1MiB]]");
	assert_int_equal(rig.blk->max_len, 1 << 20);
	assert_int_equal(rig.blk->ops_can >> WEFT_COMPARE_WRITE & 1, 0);
	rig_unmake(&rig);
}

/* It compares, and writes, what the client said at first; nothing else is done there meanwhile. */
static void a_late_compare_and_write_works_on_a_copy(void **state)
{
	static char both[2 * sizeof(data)] __attribute__((aligned(4096)));
	struct rig_request late = compare_write(both, 0, 'n'), again = request(WEFT_WRITE, 8192, data);
	const char *disk;

	(void)state;
	make_hanging("timeout:[compare-write:[file:disk.img]],after=50ms");
	assert_in_range(took(&late, -ETIMEDOUT), 50 * MS, 51 * MS);
	late = compare_write(both, 'x', 'y'); /* it is the client's again */
	assert_in_range(took(&again, -ETIMEDOUT), 0, MS);
	rig_run(&rig, 3 * HANG);
	disk = sim_file_bytes(rig.world, "disk.img") + 8192;
	for (unsigned i = 0; i < sizeof(data); i++)
		assert_true(disk[i] == disk[0] && (disk[i] == 0 || disk[i] == 'n'));
	assert_string_equal(rig_fact(rig.object, "changes that may still come"), "0");
	sim_file_latency(rig.world, "disk.img", 1000, 2000);
	late = compare_write(both, disk[0], 'z');
	assert_in_range(took(&late, 0), 0, MS);
	assert_memory_equal(sim_file_bytes(rig.world, "disk.img") + 8192, both + sizeof(data), sizeof(data));
	rig_unmake(&rig);
}

static void more_than_can_be_left_behind_are_answered_in_time(void **state)
{
	struct rig_request *r = calloc(2 * MANY, sizeof(*r));
	uint64_t began;

	(void)state;
	make_hanging("timeout:[file:disk.img],after=50ms");
	for (unsigned round = 0; round < 2; round++) {
		began = sim_now_ns(rig.world);
		for (unsigned i = round * MANY; i < (round + 1) * MANY; i++) {
			r[i] = request(WEFT_READ, i * 8192, data);
			rig_start(&rig, &r[i]);
		}
		for (unsigned i = round * MANY; i < (round + 1) * MANY; i++) {
			assert_int_equal(rig_wait(&rig, &r[i]), -ETIMEDOUT);
			assert_in_range(r[i].ended_ns - began, 50 * MS, 52 * MS);
		}
	}
	/* When the disk is back, so are all. */
	sim_file_latency(rig.world, "disk.img", 1000, 2000);
	rig_run(&rig, HANG);
	for (unsigned i = 0; i < 2 * MANY; i++) {
		r[i] = request(WEFT_READ, i * 8192, data);
		assert_in_range(took(&r[i], 0), 0, MS);
	}
	rig_unmake(&rig);
	free(r);
}

static void an_abort_is_final_at_once(void **state)
{
	struct rig_request r = request(WEFT_WRITE, 0, data);
	uint64_t began;

	(void)state;
	make_hanging("timeout:[file:disk.img],after=5s");
	began = sim_now_ns(rig.world);
	rig_start(&rig, &r);
	rig_run(&rig, MS);
	rig_abort(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), -ECANCELED);
	assert_in_range(r.ended_ns - began, MS, 2 * MS);
	rig_unmake(&rig);
}

static void what_can_be_aborted_leaves_nothing_behind(void **state)
{
	static const char *const text[] = { "timeout:[delay:[mem:1MiB],all=10s],after=50ms",
		"timeout:[delay:[mem:1MiB],all=10s],after=50ms,copy=off" };

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(text); i++) {
		struct rig_request r = request(WEFT_WRITE, 0, data);

		rig_make(&rig, text[i]);
		assert_in_range(took(&r, -ETIMEDOUT), 50 * MS, 51 * MS);
		assert_string_equal(rig_fact(rig.object, "expired"), "1");
		assert_string_equal(rig_fact(rig.object, "left below"), "0");
		rig_unmake(&rig);
	}
}

static void without_copies_a_disk_that_hangs_is_waited_for(void **state)
{
	struct rig_request r = request(WEFT_READ, 0, data);

	(void)state;
	make_hanging("timeout:[file:disk.img],after=50ms,copy=off");
	assert_in_range(took(&r, 0), HANG, HANG + MS);
	assert_string_equal(rig_fact(rig.object, "expired"), "1");
	rig_unmake(&rig);
}

/* What is below is looked at like any other request, though it is not in the client's reservation. */
static void deadlines_and_paths_go_on_below(void **state)
{
	struct rig_request r = request(WEFT_READ, 0, data);
	char path[256];
	uint64_t began;

	(void)state;
	began = sim_now_ns(rig.world);
	rig_make(&rig, "timeout:[timeout:[delay:[mem:1MiB],all=10s],after=50ms,copy=off],after=5s");
	rig_start(&rig, &r);
	rig_run(&rig, 10 * MS);
	weft_hop_path(&r.slot->root, sim_now_ns(rig.world), path, sizeof(path));
	assert_non_null(strstr(path, "READ 4096@0 | timeout"));
	assert_non_null(strstr(path, " | delay"));
	assert_int_equal(rig_wait(&rig, &r), -ETIMEDOUT);
	assert_string_equal(rig_fact(rig.object, "expired"), "0"); /* the one below was first */
	assert_in_range(r.ended_ns - began, 50 * MS, 52 * MS);
	rig_unmake(&rig);
}

static void the_time_changes_while_it_runs(void **state)
{
	struct rig_request r = request(WEFT_READ, 0, data);

	(void)state;
	make_hanging("timeout:[file:disk.img],after=1s");
	assert_int_equal(rig_set(&rig, rig.object, "after", "5ms"), 0);
	assert_in_range(took(&r, -ETIMEDOUT), 5 * MS, 6 * MS);
	assert_int_equal(rig_set(&rig, rig.object, "after", "0"), 0);
	assert_in_range(took(&r, 0), HANG, HANG + MS);
	rig_unmake(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		RIG_TEST(a_disk_that_hangs_holds_nobody_up),
		RIG_TEST(what_comes_too_late_touches_no_memory_of_the_client),
		RIG_TEST(what_overlaps_a_late_write_is_refused_until_that_has_returned),
		RIG_TEST(compare_and_write_is_had_where_the_device_below_has_it),
		RIG_TEST(a_late_compare_and_write_works_on_a_copy),
		RIG_TEST(more_than_can_be_left_behind_are_answered_in_time),
		RIG_TEST(an_abort_is_final_at_once),
		RIG_TEST(what_can_be_aborted_leaves_nothing_behind),
		RIG_TEST(without_copies_a_disk_that_hangs_is_waited_for),
		RIG_TEST(deadlines_and_paths_go_on_below),
		RIG_TEST(the_time_changes_while_it_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
