/* SPDX-License-Identifier: BSD-2-Clause */
/* mirror: all legs hold the same, and one is enough. */
#include "devices/mirror/record.h"
#include "devices/rig_test.h"
#include <stdlib.h>
#include <unistd.h>

RIG_FOR_EACH_TEST(1, 1)

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
	assert_int_equal(strtoul(rig_fact(rig.object, "marked regions"), NULL, 10), 0);
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

/* ---- changes that overlap (M9) ---- */

/* Starts `b` while `a` is under way, on the last reactor; both are acknowledged. */
static void do_both(struct rig_request *a, struct rig_request *b)
{
	rig_start(&rig, a);
	b->lane = rig.lanes - 1;
	rig_start(&rig, b);
	assert_int_equal(rig_wait(&rig, a), 0);
	assert_int_equal(rig_wait(&rig, b), 0);
}

/* What each leg holds, with read=round-robin. */
static void legs_agree(uint64_t offset, uint64_t len, char back[2][8192])
{
	for (unsigned leg = 0; leg < 2; leg++)
		assert_int_equal(rig_ask(&rig, WEFT_READ, 0, offset, len, back[leg]), 0);
	assert_memory_equal(back[0], back[1], len);
}

static void legs_agree_after_overlapping_changes(const char *text, unsigned lanes)
{
	static const unsigned ops[] = { WEFT_WRITE, WEFT_WRITE, WEFT_ZERO, WEFT_DISCARD };
	static char data[2][8192], back[2][8192];

	rig_close(&rig);
	rig_open(&rig, 1, lanes);
	for (unsigned leg = 0; leg < 2; leg++) {
		const char *path = leg == 0 ? "a.img" : "b.img";

		sim_file_make(rig.world, path, 32 << 20);
		sim_file_latency(rig.world, path, 1000, 2000000);
	}
	rig_make(&rig, text);
	for (unsigned i = 0; i < 80; i++) {
		/* around where the turns' numbers begin again; now the same place, now a part of it */
		struct rig_request r[2] = { { .op = WEFT_WRITE, .offset = (3946 - i % 3) * 4096ull, .len = 8192, .nsegs = 1 },
			{ .op = ops[i % 4], .offset = 3946 * 4096ull, .len = 4096, .nsegs = ops[i % 4] == WEFT_WRITE } };

		if (i % 3 == 2) /* they share the last block of the first one */
			r[1].offset -= 512, r[1].op = WEFT_WRITE, r[1].nsegs = 1;
		for (unsigned n = 0; n < 2; n++) {
			memset(data[n], (int)(1 + 2 * i + n), sizeof(data[n]));
			r[n].segs[0] = (struct weft_seg){ .base = data[n], .len = (uint32_t)r[n].len };
		}
		do_both(&r[0], &r[1]);
		legs_agree(3944 * 4096ull, 8192, back);
		legs_agree(3946 * 4096ull, 8192, back);
		if (i % 3 == 2 || back[0][0] != data[0][0]) /* one of them */
			assert_int_equal(back[0][0], r[1].op == WEFT_WRITE ? data[1][0] : 0);
	}
	rig_unmake(&rig);
}

static void legs_agree_whatever_overlaps(void **state)
{
	(void)state;
	for (unsigned lanes = 1; lanes <= 3; lanes += 2) {
		legs_agree_after_overlapping_changes("mirror:[file:a.img],[file:b.img],state=s,rebuild=off", lanes);
		legs_agree_after_overlapping_changes("mirror:[file:a.img],[file:b.img],state=s,region=4KiB", lanes);
		legs_agree_after_overlapping_changes("mirror:[file:a.img],[file:b.img]", lanes);
	}
}

/* A queue at one place, from several reactors, and something long that needs every turn; one of them is aborted. */
static void overlapping_changes_go_one_by_one_and_others_at_once(void **state)
{
	static const struct { uint64_t offset, len; unsigned op, ends_ms; int status; } of[] = {
		{ 1 << 20, 4096, WEFT_WRITE, 1, 0 },
		{ (1 << 20) + 4096, 4096, WEFT_WRITE, 1, 0 },
		{ (1 << 20) + 2048, 4096, WEFT_WRITE, 2, 0 },
		{ 1 << 20, 512, WEFT_WRITE, 2, -ECANCELED },
		{ 1 << 20, 4096, WEFT_WRITE, 3, 0 },
		{ 0, 32 << 20, WEFT_ZERO, 4, 0 },
		{ 31 << 20, 4096, WEFT_WRITE, 5, 0 },
		{ 0, 4096, WEFT_WRITE, 5, 0 },
	};
	enum { N = sizeof(of) / sizeof(of[0]) };
	static char data[4096], back[2][8192];
	struct rig_request r[N];
	uint64_t began;

	(void)state;
	rig_close(&rig);
	rig_open(&rig, 1, 3);
	rig_make(&rig, "mirror:[delay:[mem:32MiB],all=1ms],[mem:32MiB]");
	began = sim_now_ns(rig.world);
	for (unsigned i = 0; i < N; i++) {
		memset(data, (int)i + 1, sizeof(data));
		r[i] = (struct rig_request){ .op = of[i].op, .offset = of[i].offset, .len = of[i].len, .lane = i % 3,
			.nsegs = of[i].op == WEFT_WRITE };
		r[i].segs[0] = (struct weft_seg){ .base = data, .len = (uint32_t)of[i].len, .foreign = 1 };
		rig_start(&rig, &r[i]);
		rig_run(&rig, 10000);
	}
	rig_abort(&rig, &r[3]);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(rig_wait(&rig, &r[i]), of[i].status);
		assert_in_range(r[i].ended_ns - began, of[i].ends_ms * 1000000u, of[i].ends_ms * 1000000u + 200000);
	}
	legs_agree(0, 8192, back);
	assert_int_equal(back[0][4096], 0);
	legs_agree(31 << 20, 8192, back);
	rig_unmake(&rig);
}

/* Real reactors hand turns to each other. */
static void legs_agree_whatever_overlaps_on_threads(void **state)
{
	enum { N = 24 };
	static char data[N][16384], back[2][8192];
	struct rig_request r[N];

	(void)state;
	rig_close(&rig);
	rig_open_linux(&rig, 1, 3);
	rig_make(&rig, "mirror:[delay:[mem:1MiB],write=20us,jitter=20us],[delay:[mem:1MiB],write=20us,jitter=20us]");
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < N; i++) {
			memset(data[i], (int)(round + i), sizeof(data[i]));
			r[i] = (struct rig_request){ .op = WEFT_WRITE, .lane = i % 3, .offset = i % 4 * 4096,
				.len = sizeof(data[i]) - i % 4 * 4096, .nsegs = 1 };
			r[i].segs[0] = (struct weft_seg){ .base = data[i], .len = (uint32_t)r[i].len };
			rig_start(&rig, &r[i]);
		}
		for (unsigned i = 0; i < N; i++)
			assert_int_equal(rig_wait(&rig, &r[i]), 0);
		legs_agree(0, 8192, back);
		legs_agree(8192, 8192, back);
	}
	rig_unmake(&rig);
}

/* ---- the record ---- */

#define RECORDED "mirror:[file:a.img],[file:b.img],state=s,rebuild=off"

static void make_files(void)
{
	sim_file_make(rig.world, "a.img", 1 << 20);
	sim_file_make(rig.world, "b.img", 1 << 20);
}

/* Leg `path` misses a write of `fill`, which is acknowledged. */
static void miss_a_write(const char *path, char fill)
{
	char data[4096];

	memset(data, fill, sizeof(data));
	sim_file_fault(rig.world, path, WEFT_WRITE, 1, SIM_FAULT_ERROR, -EIO);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 8192, sizeof(data), data), 0);
}

static void reads_back(char fill)
{
	char back[4096];

	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 8192, sizeof(back), back), 0);
		assert_int_equal(back[0], fill);
		assert_memory_equal(back, back + 1, sizeof(back) - 1);
	}
}

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

/* ---- rebuilding ---- */

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

static unsigned marked(void)
{
	return (unsigned)strtoul(rig_fact(rig.object, "marked regions"), NULL, 10);
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
		RIG_TEST(copies_are_waited_for),
		RIG_TEST(an_abort_lets_those_behind_it_go),
		RIG_TEST(what_an_abort_cut_off_on_a_leg_is_done_again_there),
		RIG_TEST(a_leg_that_does_not_do_it_again_in_time_is_dropped),
		RIG_TEST(what_an_abort_cut_off_on_all_legs_is_read_from_one),
		RIG_TEST(a_leg_that_has_become_smaller_is_not_dropped),
		RIG_TEST(legs_agree_whatever_overlaps),
		RIG_TEST(legs_agree_whatever_overlaps_on_threads),
		RIG_TEST(overlapping_changes_go_one_by_one_and_others_at_once),
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
