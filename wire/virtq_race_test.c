/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest changes descriptors while they are being read: after each single load of a pop, everything that was read or is
 * still to be read is replaced. What comes out is either refused or lies wholly in the guest's memory, with lengths that
 * agree. And nothing is read twice in the first place. Built with the hook of wire/shm.h.
 */
#include "wire/virtq_rig.h"

#include "wire/virtq_walk.h"

enum { NUM = 8, LENGTH = 5, LOADS = 64 };

struct shape {
	bool packed, tracked;
	uint16_t direct;   /* descriptors in the ring before a table, if any */
	uint16_t indirect; /* descriptors in the table */
};

static struct rig rig;
static uint32_t loads, change_at;
static uint64_t evil[2];
static const void *loaded[LOADS];

static bool is_descriptor(const uint8_t *p)
{
	return (p >= (uint8_t *)rig.config.desc && p < (uint8_t *)rig.config.desc + NUM * DESC_BYTES) ||
	       (p >= rig.data && p < rig.data + LENGTH * DESC_BYTES);
}

static void change(enum shm_kind kind, const void *address, size_t bytes)
{
	(void)bytes;
	if ((kind != SHM_LOAD && kind != SHM_COPY_IN) || !is_descriptor(address))
		return;
	if (loads < LOADS)
		loaded[loads] = address;
	if (loads++ != change_at)
		return;
	for (uint32_t i = 0; i < NUM; i++)
		memcpy((uint8_t *)rig.config.desc + i * DESC_BYTES, evil, DESC_BYTES);
	for (uint32_t i = 0; i < LENGTH; i++)
		memcpy(rig.data + i * DESC_BYTES, evil, DESC_BYTES);
}

static uint64_t word(uint32_t len, uint16_t flags, uint16_t next)
{
	if (rig.config.packed)
		return len | (uint64_t)next << 32 | (uint64_t)flags << 48;
	return len | (uint64_t)flags << 32 | (uint64_t)next << 48;
}

static void put(uint8_t *at, uint64_t addr, uint64_t second)
{
	memcpy(at, &addr, 8);
	memcpy(at + 8, &second, 8);
}

static void offer(const struct shape *s)
{
	uint16_t total = s->direct + (s->indirect ? 1 : 0);
	uint16_t *avail = rig.config.driver;

	for (uint16_t i = 0; i < total; i++) {
		bool table = i == s->direct;
		uint16_t flags = (table ? DESC_INDIRECT : i + 1 < total ? DESC_NEXT : 0) | (s->packed ? DESC_AVAIL : 0);

		put((uint8_t *)rig.config.desc + i * DESC_BYTES, rig_gpa(&rig, table ? rig.data : rig.data + 4096 + i),
		    word(table ? s->indirect * DESC_BYTES : 100, flags, i + 1));
	}
	for (uint16_t i = 0; i < s->indirect; i++)
		put(rig.data + i * DESC_BYTES, rig_gpa(&rig, rig.data + 8192 + i),
		    word(100, DESC_WRITE | (i + 1 < s->indirect ? DESC_NEXT : 0), i + 1));
	if (!s->packed)
		avail[1] = 1;
}

static void check_chain(const struct virtq_chain *chain)
{
	uint64_t read_len = 0, write_len = 0;

	for (uint32_t i = 0; i < chain->nsegs; i++) {
		const uint8_t *base = rig.segs[i].base;

		assert_true(base >= rig.memory && base < rig.memory + rig.bytes);
		assert_in_range(rig.segs[i].len, 1, rig.memory + rig.bytes - base);
		*(i < chain->nread ? &read_len : &write_len) += rig.segs[i].len;
	}
	assert_int_equal(read_len, chain->read_len);
	assert_int_equal(write_len, chain->write_len);
}

static void run(const struct shape *s, uint64_t evil_addr, uint32_t evil_len, uint16_t evil_flags, uint16_t evil_next)
{
	bool changed = true;

	for (change_at = 0; changed; change_at++) {
		struct virtq_chain chain;
		int got;

		rig_start(&rig, NUM, s->packed, false, s->tracked);
		offer(s);
		assert_false(rig.vq.fault);
		evil[0] = evil_addr;
		evil[1] = word(evil_len, evil_flags, evil_next);
		loads = 0;
		shm_hook = change;
		got = rig_pop(&rig, &chain);
		shm_hook = NULL;
		changed = loads > change_at;
		if (got == 1)
			check_chain(&chain);
		else
			assert_true(got == 0 || (got == -EPROTO && rig.vq.fault));
		rig_end(&rig);
	}
}

static const struct shape shapes[] = {
	{false, false, 3, 0}, {false, true, 3, 0}, {false, false, 0, 3}, {false, true, 2, 3},
	{true, false, 3, 0},  {true, true, 3, 0},  {true, false, 0, 3},  {true, true, 0, LENGTH},
};

static void test_changed_after_each_load(void **state)
{
	static const uint16_t flags[] = {0, DESC_NEXT, DESC_WRITE, DESC_INDIRECT, DESC_NEXT | DESC_INDIRECT, 0xffff,
					 DESC_AVAIL | DESC_NEXT, DESC_USED | DESC_NEXT | DESC_WRITE};
	static const uint32_t lengths[] = {0, 1, 16, 100, UINT32_MAX};
	static const uint16_t next[] = {0, 1, NUM, 0xffff};

	(void)state;
	for (size_t s = 0; s < WEFT_COUNT(shapes); s++)
		for (size_t f = 0; f < WEFT_COUNT(flags); f++)
			for (size_t l = 0; l < WEFT_COUNT(lengths); l++)
				for (size_t n = 0; n < WEFT_COUNT(next); n++) {
					run(&shapes[s], 0, lengths[l], flags[f], next[n]);
					run(&shapes[s], RIG_GPA + 1, lengths[l], flags[f], next[n]);
					run(&shapes[s], UINT64_MAX, lengths[l], flags[f], next[n]);
				}
}

/* Chains as all drivers make them; those with plain buffers before a table are walked twice, by rule. */
static void test_nothing_is_read_twice(void **state)
{
	(void)state;
	for (size_t s = 0; s < WEFT_COUNT(shapes); s++) {
		struct virtq_chain chain;

		if (shapes[s].direct > 0 && shapes[s].indirect > 0)
			continue;
		rig_start(&rig, NUM, shapes[s].packed, false, shapes[s].tracked);
		offer(&shapes[s]);
		loads = 0;
		change_at = UINT32_MAX;
		shm_hook = change;
		assert_int_equal(rig_pop(&rig, &chain), 1);
		shm_hook = NULL;
		assert_in_range(loads, 2 * chain.nsegs, LOADS);
		for (uint32_t i = 0; i < loads; i++)
			for (uint32_t j = 0; j < i; j++)
				assert_ptr_not_equal(loaded[i], loaded[j]);
		rig_end(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_changed_after_each_load),
		cmocka_unit_test(test_nothing_is_read_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
