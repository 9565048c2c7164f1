/* SPDX-License-Identifier: BSD-2-Clause */
/* compare-write: what is compared and written is one step, and nobody else waits for it. */
#include "devices/rig_test.h"

#include <stdlib.h>

#include "core/blk.h"
#include "devices/compare_write/changes.h"

#define K 1024u
#define MS 1000000ull
#define MANY 20u
#define ROOM 64u /* of the longest that have room for a copy at once */

RIG_FOR_EACH_TEST(1, 3)

/* What the tests ask with: two halves in a row. */
static char bytes[MANY][2 * 64 * K];

static struct weft_blk *below(void)
{
	return weft_object_query(rig_below(rig.object, 0), &weft_blk_iface);
}

static struct weft_stats stats_of(const struct weft_blk *blk)
{
	struct weft_stats stats;

	weft_blk_stats(blk, &stats);
	return stats;
}

/* `memory` holds both halves. */
static struct rig_request compare(uint64_t offset, uint64_t len, char *memory)
{
	struct rig_request r = { .op = WEFT_COMPARE_WRITE, .offset = offset, .len = len, .nsegs = 1 };

	r.segs[0] = (struct weft_seg){ .base = memory, .len = (uint32_t)(2 * len) };
	return r;
}

/* The device is to hold `was`, and will hold `is`. */
static struct rig_request swap(uint64_t offset, uint64_t len, char *memory, int was, int is)
{
	memset(memory, was, len);
	memset(memory + len, is, len);
	return compare(offset, len, memory);
}

static int ask(struct rig_request r)
{
	rig_start(&rig, &r);
	return rig_wait(&rig, &r);
}

static int wait_for(struct rig_request *r)
{
	return rig_wait(&rig, r);
}

/* All of [offset, offset + len) reads so. */
static void assert_holds(uint64_t offset, uint64_t len, int is)
{
	char *data = calloc(1, len);

	assert_non_null(data);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, offset, len, data), 0);
	for (uint64_t i = 0; i < len; i++)
		assert_int_equal(data[i], is);
	free(data);
}

static void conforms(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 6; seed++) {
		rig_conform("compare-write:[mem:1MiB]", seed, 400);
		rig_conform("compare-write:[file:disk.img,create=1MiB]", seed, 300);
		rig_conform("slice:[compare-write:[delay:[mem:1MiB,block=4096],all=50us,jitter=50us]],offset=64KiB", seed, 300);
		rig_conform("compare-write:[compare-write:[mem:1MiB]]", seed, 300);
	}
}

static void conforms_between_threads(void **state)
{
	(void)state;
	rig_open_linux(&rig, 4, 3);
	rig_conform_here(&rig, "compare-write:[mem:1MiB]", 3000);
	rig_close(&rig);
}

/* ---- who waits for whom ---- */

enum { CHANGES = 24, UNITS = 12 };

/* Of the changes by chance, and the same from their definition: a list in the order of coming. */
static struct modelled {
	struct change change;
	bool here, goes;
} modelled[CHANGES];

static void modelled_go(struct change *change)
{
	struct modelled *m = WEFT_CONTAINER(change, struct modelled, change);

	assert_true(m->here && !m->goes);
	m->goes = true;
}

static bool must_wait(const struct modelled *late)
{
	for (unsigned i = 0; i < CHANGES; i++) {
		const struct modelled *m = &modelled[i];

		if (m->here && m->change.number < late->change.number && (m->change.alone || late->change.alone) &&
				m->change.offset < late->change.end && late->change.offset < m->change.end)
			return true;
	}
	return false;
}

/* W1, W2, W3 at each step: a change goes on if and only if nobody who came earlier stands in its way. */
static void a_change_waits_for_those_before_it_and_for_nobody_else(void **state)
{
	struct changes changes = { .go = modelled_go };
	unsigned waited = 0, left_early = 0;

	(void)state;
	for (unsigned n = 0; n < 20000; n++) {
		struct modelled *m = &modelled[rig_rand(&rig, CHANGES)];

		if (!m->here) {
			m->change.offset = rig_rand(&rig, UNITS);
			m->change.end = m->change.offset + 1 + rig_rand(&rig, 4);
			m->change.alone = rig_rand(&rig, 3) == 0;
			m->here = true;
			m->goes = change_enter(&changes, &m->change);
			waited += !m->goes;
		} else if (m->goes || rig_rand(&rig, 4) == 0) {
			left_early += !m->goes;
			m->here = false;
			change_leave(&changes, &m->change);
		}
		for (unsigned i = 0; i < CHANGES; i++)
			if (modelled[i].here) {
				assert_int_equal(modelled[i].goes, !must_wait(&modelled[i]));
				assert_int_equal(change_waits(&modelled[i].change), !modelled[i].goes);
			}
	}
	for (unsigned i = 0; i < CHANGES; i++)
		if (modelled[i].here) {
			modelled[i].here = false;
			change_leave(&changes, &modelled[i].change);
		}
	assert_true(changes_none(&changes));
	assert_in_range(waited, 1000, 20000);
	assert_in_range(left_early, 300, 20000);
}

static void what_overlaps_waits_and_nothing_else_does(void **state)
{
	static const struct {
		uint64_t offset, len;
		bool overlaps;
	} ranges[] = { { 15 * K + 512, 512, false }, { 15 * K + 512, K, true }, { 16 * K, 512, true }, { 18 * K, 512, true },
		{ 0, 64 * K, true }, { 19 * K + 512, 512, true }, { 20 * K, 512, false } };
	static const uint8_t ops[] = { WEFT_WRITE, WEFT_ZERO, WEFT_DISCARD, WEFT_COPY, WEFT_COMPARE_WRITE };

	(void)state;
	rig_make(&rig, "compare-write:[delay:[mem:1MiB],all=10ms]");
	for (unsigned i = 0; i < WEFT_COUNT(ranges); i++)
		for (unsigned j = 0; j < WEFT_COUNT(ops); j++) {
			struct rig_request first = compare(16 * K, 4 * K, bytes[0]), second = compare(ranges[i].offset,
				ranges[i].len, bytes[1]);
			uint64_t waited;

			assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 0, 128 * K, NULL), 0);
			memset(bytes, 0, sizeof(bytes));
			second.op = ops[j];
			second.source = 512 * K;
			second.nsegs = ops[j] == WEFT_WRITE || ops[j] == WEFT_COMPARE_WRITE;
			rig_start(&rig, &first);
			rig_start(&rig, &second);
			assert_int_equal(wait_for(&second), 0);
			assert_int_equal(wait_for(&first), 0);
			waited = second.ended_ns - first.ended_ns; /* the first takes 20 ms: a read and a write */
			if (ranges[i].overlaps)
				assert_in_range(waited, 10 * MS, 40 * MS);
			else
				assert_true(second.ended_ns <= first.ended_ns);
		}
	rig_unmake(&rig);
}

static void reads_and_flushes_wait_for_nobody(void **state)
{
	struct rig_request first, second = { .op = WEFT_READ, .offset = 0, .len = 4 * K, .nsegs = 1 }, third = { .op = WEFT_FLUSH };

	(void)state;
	rig_make(&rig, "compare-write:[delay:[mem:1MiB],all=10ms]");
	second.segs[0] = (struct weft_seg){ .base = bytes[1], .len = 4 * K };
	first = swap(0, 4 * K, bytes[0], 0, 1);
	rig_start(&rig, &first);
	rig_start(&rig, &second);
	rig_start(&rig, &third);
	assert_int_equal(wait_for(&second), 0);
	assert_int_equal(wait_for(&third), 0);
	assert_int_equal(first.ended, 0);
	assert_int_equal(wait_for(&first), 0);
	rig_unmake(&rig);
}

static void changes_that_meet_no_compare_and_write_wait_for_nobody(void **state)
{
	struct rig_request r[8], elsewhere;

	(void)state;
	rig_make(&rig, "compare-write:[delay:[mem:1MiB],write=10ms,read=1s]");
	elsewhere = swap(512 * K, 4 * K, bytes[0], 0, 1);
	rig_start(&rig, &elsewhere);
	for (unsigned i = 0; i < 8; i++) {
		r[i] = (struct rig_request){ .op = WEFT_WRITE, .offset = 512 * i, .len = 4 * K, .nsegs = 1, .lane = i % 3 };
		r[i].segs[0] = (struct weft_seg){ .base = bytes[1], .len = 4 * K };
		rig_start(&rig, &r[i]);
	}
	for (unsigned i = 0; i < 8; i++) {
		assert_int_equal(wait_for(&r[i]), 0);
		assert_in_range(r[i].ended_ns - r[0].ended_ns + MS, 0, 2 * MS);
	}
	assert_string_equal(rig_fact(rig.object, "changes that waited for another"), "0");
	assert_int_equal(wait_for(&elsewhere), 0);
	rig_unmake(&rig);
}

/* A long write is not overtaken, however many short ones come after it. */
static void nobody_is_overtaken(void **state)
{
	struct rig_request small[MANY], large = { .op = WEFT_WRITE, .len = 512 * K, .nsegs = 1 };
	static char data[512 * K];

	(void)state;
	rig_make(&rig, "compare-write:[delay:[mem:1MiB],all=1ms]");
	large.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
	memset(data, 7, sizeof(data));
	for (unsigned i = 0; i < MANY; i++) {
		small[i] = swap(4 * K * i, 4 * K, bytes[i], i < 3 ? 0 : 7, 8);
		if (i == 3)
			rig_start(&rig, &large);
		rig_start(&rig, &small[i]);
	}
	assert_int_equal(wait_for(&large), 0);
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(wait_for(&small[i]), 0);
		assert_true(i < 3 ? small[i].ended_ns < large.ended_ns : small[i].ended_ns > large.ended_ns);
	}
	assert_holds(0, 12 * K, 7);
	assert_holds(12 * K, 4 * K * (MANY - 3), 8);
	rig_unmake(&rig);
}

/* ---- what is compared ---- */

static void what_is_equal_is_replaced_and_a_byte_that_differs_is_enough(void **state)
{
	static const uint32_t lengths[] = { 512, 4 * K, 33 * K, 64 * K };

	(void)state;
	rig_make(&rig, "compare-write:[mem:1MiB]");
	for (unsigned i = 0; i < WEFT_COUNT(lengths); i++) {
		uint32_t len = lengths[i], at[] = { 0, 1, 511, len / 2, 32 * K - 1, 32 * K, len - 1 };

		assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 0, 256 * K, NULL), 0);
		for (unsigned j = 0; j < WEFT_COUNT(at); j++) {
			struct rig_request r = swap(4 * K, len, bytes[0], 0, 9);

			if (at[j] >= len)
				continue;
			bytes[0][at[j]] = 1;
			assert_int_equal(ask(r), -EILSEQ);
			assert_holds(0, 128 * K, 0);
		}
		assert_int_equal(ask(swap(4 * K, len, bytes[0], 0, 9)), 0);
		assert_holds(0, 4 * K, 0);
		assert_holds(4 * K, len, 9);
		assert_holds(4 * K + len, 4 * K, 0);
		assert_int_equal(ask(swap(4 * K, len, bytes[0], 0, 8)), -EILSEQ);
		assert_holds(4 * K, len, 9);
	}
	assert_string_equal(rig_fact(rig.object, "compared"), "32");
	assert_string_equal(rig_fact(rig.object, "found to differ"), "28");
	rig_unmake(&rig);
}

/* Of what lies in its blocks nothing is written that was not compared: one wins, all others see that it was there. */
static void of_many_at_once_one_wins(void **state)
{
	struct rig_request r[MANY];

	(void)state;
	rig_make(&rig, "compare-write:[delay:[mem:1MiB],all=50us,jitter=50us]");
	for (unsigned round = 0; round < 50; round++) {
		unsigned winner = MANY;

		assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 0, 64 * K, NULL), 0);
		for (unsigned i = 0; i < MANY; i++) {
			r[i] = swap(4 * K, 8 * K, bytes[i], 0, 1 + (int)i);
			r[i].lane = i % 3;
			rig_start(&rig, &r[i]);
		}
		for (unsigned i = 0; i < MANY; i++) {
			int status = wait_for(&r[i]);

			assert_true(status == -EILSEQ || (status == 0 && winner == MANY));
			winner = status == 0 ? i : winner;
		}
		assert_in_range(winner, 0, MANY - 1);
		assert_holds(4 * K, 8 * K, 1 + (int)winner);
	}
	rig_unmake(&rig);
}

/* A write in the middle comes before, then nothing is equal; or after, then it is not lost. */
static void a_write_at_the_same_time_is_never_lost(void **state)
{
	unsigned before = 0;

	(void)state;
	rig_make(&rig, "compare-write:[delay:[mem:1MiB],all=50us,jitter=50us]");
	for (unsigned round = 0; round < 100; round++) {
		struct rig_request both, middle = { .op = WEFT_WRITE, .offset = 4 * K, .len = 4 * K, .nsegs = 1, .lane = 1 };
		bool first = rig_rand(&rig, 2) == 0;
		int status;

		assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 0, 16 * K, NULL), 0);
		both = swap(0, 12 * K, bytes[0], 0, 1);
		memset(bytes[1], 2, 4 * K);
		middle.segs[0] = (struct weft_seg){ .base = bytes[1], .len = 4 * K };
		rig_start(&rig, first ? &middle : &both);
		rig_start(&rig, first ? &both : &middle);
		assert_int_equal(wait_for(&middle), 0);
		status = wait_for(&both);
		assert_true(status == 0 || status == -EILSEQ);
		before += status != 0;
		assert_holds(4 * K, 4 * K, 2);
		assert_holds(0, 4 * K, status == 0);
		assert_holds(8 * K, 4 * K, status == 0);
	}
	assert_in_range(before, 10, 90);
	rig_unmake(&rig);
}

static void the_halves_may_lie_in_any_pieces(void **state)
{
	(void)state;
	rig_make(&rig, "compare-write:[mem:1MiB]");
	for (unsigned round = 0; round < 300; round++) {
		uint64_t len = 512 * (1 + rig_rand(&rig, 16)), at = 0;
		struct rig_request r = swap(8 * K, len, bytes[0], 0, 5);

		assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 0, 32 * K, NULL), 0);
		for (r.nsegs = 0; at < 2 * len; at += r.segs[r.nsegs++].len) {
			uint64_t left = 2 * len - at, here = r.nsegs + 1 == RIG_SEGS ? left : rig_rand(&rig, left + 1);

			if (rig_rand(&rig, 4) == 0 && at < len && r.nsegs + 1 < RIG_SEGS)
				here = len - at; /* the boundary of both */
			r.segs[r.nsegs] = (struct weft_seg){ .base = bytes[0] + at, .len = (uint32_t)here, .foreign = 1 };
		}
		assert_int_equal(ask(r), 0);
		assert_holds(8 * K, len, 5);
		assert_holds(8 * K + len, 4 * K, 0);
		assert_int_equal(ask(r), -EILSEQ);
	}
	rig_unmake(&rig);
}

/* ---- limits ---- */

static void what_it_does_not_take_is_refused_and_changes_nothing(void **state)
{
	static char large[2 * (64 * K + 512)];

	(void)state;
	rig_make(&rig, "compare-write:[mem:1MiB]");
	assert_int_equal(rig.blk->max_compare, 64 * K);
	assert_int_equal(ask(compare(0, 64 * K + 512, large)), -EMSGSIZE);
	assert_int_equal(ask(compare((1 << 20) - 512, K, bytes[0])), -ERANGE);
	assert_int_equal(ask(compare(UINT64_MAX - 511, 512, bytes[0])), -ERANGE);
	assert_int_equal(ask(compare(1, 512, bytes[0])), -EINVAL);
	assert_int_equal(ask(compare(0, 511, bytes[0])), -EINVAL);
	assert_int_equal(ask(compare(0, 0, bytes[0])), 0);
	assert_string_equal(rig_fact(rig.object, "compared"), "0");
	rig_unmake(&rig);
	sim_file_make(rig.world, "disk.img", 1 << 20);
	rig_make(&rig, "compare-write:[file:disk.img,readonly=on]");
	assert_int_equal(ask(compare(0, 512, bytes[0])), -EROFS);
	rig_unmake(&rig);
}

static void a_block_is_never_too_long(void **state)
{
	char *memory = calloc(2, 128 * K);

	(void)state;
	assert_non_null(memory);
	rig_make(&rig, "compare-write:[mem:1MiB,block=128KiB]");
	assert_int_equal(rig.blk->max_compare, 128 * K);
	assert_int_equal(ask(swap(128 * K, 128 * K, memory, 0, 4)), 0);
	assert_holds(128 * K, 128 * K, 4);
	assert_holds(256 * K, 128 * K, 0);
	rig_unmake(&rig);
	free(memory);
}

/* ---- ends before the end ---- */

/* Aborted so long after the start: one that takes 10 ms to read and 10 ms to write, 4 KiB of zeroes that are to become 1. */
static int aborted_after(uint64_t ns)
{
	struct rig_request r = swap(0, 4 * K, bytes[0], 0, 1), behind = swap(0, 4 * K, bytes[1], 0, 2);
	int status;

	rig_start(&rig, &r);
	rig_start(&rig, &behind);
	rig_run(&rig, ns);
	rig_abort(&rig, &r);
	status = wait_for(&r);
	assert_int_equal(wait_for(&behind), status == 0 ? -EILSEQ : 0); /* whoever is behind it goes on */
	return status;
}

static void an_abort_ends_it_and_those_behind_go_on(void **state)
{
	struct rig_request first, waiting, third;

	(void)state;
	rig_make(&rig, "compare-write:[delay:[mem:1MiB],all=10ms]");
	assert_int_equal(aborted_after(5 * MS), -ECANCELED); /* as it reads */
	assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 0, 8 * K, NULL), 0);
	assert_int_equal(aborted_after(15 * MS), -ECANCELED); /* as it writes: `delay` has not passed it on */
	assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 0, 8 * K, NULL), 0);
	first = swap(0, 8 * K, bytes[0], 0, 1);
	waiting = swap(0, 4 * K, bytes[1], 0, 2);
	third = swap(0, 8 * K, bytes[2], 1, 3); /* behind both */
	rig_start(&rig, &first);
	rig_start(&rig, &waiting);
	rig_start(&rig, &third);
	rig_run(&rig, MS);
	rig_abort(&rig, &waiting);
	assert_int_equal(wait_for(&waiting), -ECANCELED);
	assert_int_equal(first.ended, 0);
	assert_int_equal(wait_for(&first), 0);
	assert_int_equal(wait_for(&third), 0);
	assert_holds(0, 8 * K, 3);
	rig_unmake(&rig);
}

/* The read comes back well in spite of the abort: W4. */
static void what_was_aborted_while_it_read_is_not_written(void **state)
{
	struct rig_request r;

	(void)state;
	sim_file_make(rig.world, "disk.img", 1 << 20);
	sim_file_latency(rig.world, "disk.img", 10 * MS, 10 * MS);
	rig_make(&rig, "compare-write:[file:disk.img]");
	r = swap(0, 4 * K, bytes[0], 0, 1);
	rig_start(&rig, &r);
	rig_run(&rig, 5 * MS);
	rig_abort(&rig, &r);
	assert_int_equal(wait_for(&r), -ECANCELED);
	assert_holds(0, 4 * K, 0);
	rig_unmake(&rig);
}

static void a_deadline_ends_it(void **state)
{
	struct rig_request first, r;

	(void)state;
	rig_make(&rig, "compare-write:[delay:[mem:1MiB],all=10ms]");
	for (unsigned lane = 0; lane < 3; lane++) {
		first = swap(0, 4 * K, bytes[0], 0, 0);
		r = swap(0, 4 * K, bytes[1], 0, 1);
		r.lane = lane;
		r.deadline_us = lane == 0 ? 5000 : 25000; /* before its turn; in its read */
		rig_start(&rig, &first);
		rig_run(&rig, MS);
		rig_start(&rig, &r);
		assert_int_equal(wait_for(&r), -ETIMEDOUT);
		assert_int_equal(wait_for(&first), 0);
		assert_holds(0, 4 * K, 0);
	}
	rig_unmake(&rig);
}

/* Room for copies is bounded: who finds none waits for it, and can be aborted there. */
static void one_that_waits_for_room_can_be_aborted_and_others_get_it(void **state)
{
	static struct rig_request r[ROOM + 2];
	static char memory[ROOM + 2][128 * K];

	(void)state;
	rig_make(&rig, "compare-write:[delay:[mem:8MiB],all=10ms]");
	for (unsigned i = 0; i < ROOM + 2; i++) {
		r[i] = swap(64 * K * i, 64 * K, memory[i], 0, 1);
		rig_start(&rig, &r[i]);
	}
	rig_run(&rig, MS);
	rig_abort(&rig, &r[ROOM]);
	assert_int_equal(wait_for(&r[ROOM]), -ECANCELED);
	assert_int_equal(r[0].ended, 0);
	assert_int_equal(wait_for(&r[ROOM + 1]), 0);
	for (unsigned i = 0; i < ROOM; i++) {
		assert_int_equal(wait_for(&r[i]), 0);
		assert_true(r[i].ended_ns < r[ROOM + 1].ended_ns);
	}
	assert_holds(64 * K * ROOM, 64 * K, 0);
	assert_holds(64 * K * (ROOM + 1), 64 * K, 1);
	rig_unmake(&rig);
}

/* ---- errors, FUA, size ---- */

static void a_read_that_fails_writes_nothing_and_a_write_that_fails_is_told(void **state)
{
	(void)state;
	rig_make(&rig, "compare-write:[error:[mem:1MiB],op=read,first=1,errno=ENOMEDIUM]");
	assert_int_equal(ask(swap(0, 4 * K, bytes[0], 0, 1)), -ENOMEDIUM);
	assert_holds(0, 4 * K, 0);
	assert_int_equal(ask(swap(0, 4 * K, bytes[0], 0, 1)), 0);
	rig_unmake(&rig);
	rig_make(&rig, "compare-write:[error:[mem:1MiB],op=write,first=2,errno=ENOSPC]");
	assert_int_equal(ask(swap(0, 4 * K, bytes[0], 0, 1)), -ENOSPC);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, 4 * K, bytes[0]), -ENOSPC);
	assert_holds(0, 4 * K, 0);
	assert_int_equal(ask(swap(0, 4 * K, bytes[0], 0, 1)), 0);
	rig_unmake(&rig);
}

/* A disk whose checksums are wrong says so by the same number: it must not be taken for "nothing was written". */
static void a_disk_that_fails_with_eilseq_says_nothing_of_what_was_compared(void **state)
{
	(void)state;
	rig_make(&rig, "compare-write:[error:[mem:1MiB],op=read,first=1,errno=EILSEQ]");
	assert_int_equal(ask(swap(0, 4 * K, bytes[0], 0, 1)), -EIO);
	assert_string_equal(rig_fact(rig.object, "found to differ"), "0");
	rig_unmake(&rig);
	rig_make(&rig, "compare-write:[error:[mem:1MiB],op=write,first=2,when=after,errno=EILSEQ]");
	assert_int_equal(ask(swap(0, 4 * K, bytes[0], 0, 1)), -EIO);
	assert_holds(0, 4 * K, 1);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, 4 * K, bytes[0]), -EILSEQ); /* of a write it is the disk's own */
	rig_unmake(&rig);
}

static void forced_to_the_medium_it_survives_a_loss_of_power(void **state)
{
	char old[4 * K], after[4 * K];
	unsigned lost = 0;

	(void)state;
	sim_file_make(rig.world, "disk.img", 1 << 20);
	memset(old, 0, sizeof(old));
	for (unsigned round = 0; round < 40; round++) {
		struct rig_request r = { 0 };
		bool forced = round % 2 == 0;

		rig_make(&rig, "compare-write:[file:disk.img]");
		memcpy(bytes[0], old, 4 * K);
		memset(bytes[0] + 4 * K, 1 + (int)round, 4 * K);
		r = compare(0, 4 * K, bytes[0]);
		r.flags = forced ? WEFT_FUA : 0;
		assert_int_equal(ask(r), 0);
		rig_unmake(&rig);
		sim_files_settle(rig.world);
		sim_power_loss(rig.world, "disk.img");
		memcpy(after, sim_file_bytes(rig.world, "disk.img"), sizeof(after));
		if (forced)
			assert_memory_equal(after, bytes[0] + 4 * K, sizeof(after));
		else
			lost += memcmp(after, bytes[0] + 4 * K, sizeof(after)) != 0;
		memcpy(old, after, sizeof(old));
	}
	assert_in_range(lost, 1, 20); /* else what is above would say nothing */
}

/* Nothing was written: nothing is forced. */
static void what_differs_costs_no_flush(void **state)
{
	struct rig_request r;

	(void)state;
	rig_make(&rig, "compare-write:[file:disk.img,create=1MiB]");
	r = swap(0, 4 * K, bytes[0], 1, 2);
	r.flags = WEFT_FUA;
	assert_int_equal(ask(r), -EILSEQ);
	assert_int_equal(stats_of(below()).fua_flushes, 0);
	assert_int_equal(stats_of(below()).of[WEFT_STAT_WRITE].requests, 0);
	rig_unmake(&rig);
}

static void a_device_that_becomes_smaller_meanwhile_refuses_what_is_left(void **state)
{
	struct weft_object *null;
	struct rig_request reads, waits, inside;

	(void)state;
	rig_make(&rig, "compare-write:[delay:[null:1MiB,zero=on],all=10ms]");
	null = rig_below(rig_below(rig.object, 0), 0);
	reads = swap(512 * K, 4 * K, bytes[0], 0, 1);
	waits = swap(512 * K, 4 * K, bytes[1], 0, 1);
	inside = swap(0, 4 * K, bytes[2], 0, 1);
	rig_start(&rig, &reads);
	rig_start(&rig, &waits);
	rig_start(&rig, &inside);
	rig_run(&rig, MS);
	assert_int_equal(rig_resize(&rig, null, 64 * K), 0);
	assert_int_equal(rig.blk->size, 64 * K);
	assert_int_equal(wait_for(&reads), -ERANGE);
	assert_int_equal(wait_for(&waits), -ERANGE);
	assert_int_equal(wait_for(&inside), 0);
	assert_int_equal(rig_resize(&rig, null, 2 << 20), 0);
	assert_int_equal(ask(swap(1 << 20, 4 * K, bytes[0], 0, 1)), 0);
	rig_unmake(&rig);
}

/* ---- where it lives ---- */

static void requests_are_carried_to_one_reactor(void **state)
{
	struct rig_request r;

	(void)state;
	rig_make(&rig, "compare-write:[home:[mem:1MiB],reactor=2]");
	assert_string_equal(rig_fact(rig.object, "lives at reactor"), "2"); /* where the device below lives */
	for (unsigned lane = 0; lane < 3; lane++) {
		r = swap(0, 4 * K, bytes[0], (int)lane, 1 + (int)lane);
		r.lane = lane;
		assert_int_equal(ask(r), 0);
	}
	assert_int_equal(stats_of(rig.blk).carried, 2);
	assert_int_equal(stats_of(below()).carried, 0);
	rig_reopen(&rig);
	assert_string_equal(rig_fact(rig.object, "compared"), "3");
	rig_unmake(&rig);
}

static void what_the_device_below_does_itself_is_passed_on(void **state)
{
	(void)state;
	rig_make(&rig, "compare-write:[slice:[compare-write:[mem:1MiB]],offset=4KiB]");
	assert_string_equal(rig_fact(rig.object, "compares"), "the device below, by itself");
	assert_null(rig.blk->carrier);
	assert_int_equal(rig.blk->max_compare, 64 * K);
	assert_int_equal(ask(swap(0, 4 * K, bytes[0], 0, 1)), 0);
	assert_int_equal(ask(swap(0, 4 * K, bytes[0], 0, 1)), -EILSEQ);
	assert_int_equal(stats_of(below()).of[WEFT_STAT_WRITE].requests, 2);
	assert_holds(0, 4 * K, 1);
	rig_unmake(&rig);
}

static void without_memory_it_is_refused_and_leaves_nothing(void **state)
{
	(void)state;
	assert_in_range(rig_fail_each(&rig, "slice:[compare-write:[mem:64KiB]]", true, NULL), 5, 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		cmocka_unit_test(conforms_between_threads),
		RIG_TEST(a_change_waits_for_those_before_it_and_for_nobody_else),
		RIG_TEST(what_overlaps_waits_and_nothing_else_does),
		RIG_TEST(reads_and_flushes_wait_for_nobody),
		RIG_TEST(changes_that_meet_no_compare_and_write_wait_for_nobody),
		RIG_TEST(nobody_is_overtaken),
		RIG_TEST(what_is_equal_is_replaced_and_a_byte_that_differs_is_enough),
		RIG_TEST(of_many_at_once_one_wins),
		RIG_TEST(a_write_at_the_same_time_is_never_lost),
		RIG_TEST(the_halves_may_lie_in_any_pieces),
		RIG_TEST(what_it_does_not_take_is_refused_and_changes_nothing),
		RIG_TEST(a_block_is_never_too_long),
		RIG_TEST(an_abort_ends_it_and_those_behind_go_on),
		RIG_TEST(what_was_aborted_while_it_read_is_not_written),
		RIG_TEST(a_deadline_ends_it),
		RIG_TEST(one_that_waits_for_room_can_be_aborted_and_others_get_it),
		RIG_TEST(a_read_that_fails_writes_nothing_and_a_write_that_fails_is_told),
		RIG_TEST(a_disk_that_fails_with_eilseq_says_nothing_of_what_was_compared),
		RIG_TEST(forced_to_the_medium_it_survives_a_loss_of_power),
		RIG_TEST(what_differs_costs_no_flush),
		RIG_TEST(a_device_that_becomes_smaller_meanwhile_refuses_what_is_left),
		RIG_TEST(requests_are_carried_to_one_reactor),
		RIG_TEST(what_the_device_below_does_itself_is_passed_on),
		RIG_TEST(without_memory_it_is_refused_and_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
