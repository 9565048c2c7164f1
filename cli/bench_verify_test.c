/* SPDX-License-Identifier: BSD-2-Clause */
/* The verification of weft bench: what a read may return, and that everything else is noticed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "cli/bench.h"

#include "env/sim/sim.h"

#define BLOCK 4096u
#define BLOCKS 8u

static struct sim_world *world;
static struct weft_core *core;
static struct bench bench;
static struct bench_load load;

/* A request under way: the verification keeps its notes in the slot. */
struct request {
	struct weft_slot slot;
	struct weft_seg seg;
	unsigned op;
	uint64_t words[BLOCK / 8];
};

static int setup(void **state)
{
	struct core_wants wants = { .io_reactors = 1, .mode = WEFT_MODE_NOTIFY };
	struct weft_why why;
	struct env *env;

	(void)state;
	world = sim_world_open(1);
	env = sim_node_open(world, "node");
	assert_int_equal(core_open(env, &wants, &core, &why), 0);
	bench = (struct bench){ .core = core, .options = { .seed = 5 } };
	load = (struct bench_load){ .bench = &bench, .blocks = BLOCKS, .block_bytes = BLOCK, .first_byte = 16 * BLOCK };
	assert_int_equal(bench_verify_open(&load, &why), 0);
	return 0;
}

static int teardown(void **state)
{
	struct env *env = core->env;

	(void)state;
	bench_verify_close(&load);
	core_close(core);
	sim_node_close(env);
	sim_world_close(world);
	return 0;
}

static void ask(struct request *r, unsigned op, uint64_t block)
{
	memset(r, 0, sizeof(*r));
	r->op = op;
	r->seg = (struct weft_seg){ .base = r->words, .len = BLOCK };
	r->slot.segs = &r->seg;
	r->slot.root.op = (uint8_t)op;
	bench_verify_sent(&load, &r->slot, op, block);
}

static void end(struct request *r, int status)
{
	bench_verify_done(&load, &r->slot, status);
}

static void do_now(struct request *r, unsigned op, uint64_t block)
{
	ask(r, op, block);
	end(r, 0);
}

/* How many units of a read of `block` are wrong when it returns `words`. */
static uint64_t wrong_in(uint64_t block, const void *words)
{
	uint64_t before = load.counts.mismatches;
	struct request read;

	ask(&read, WEFT_READ, block);
	memcpy(read.words, words, BLOCK);
	end(&read, 0);
	return load.counts.mismatches - before;
}

static void what_was_written_is_good(void **state)
{
	struct request write;

	(void)state;
	do_now(&write, WEFT_WRITE, 3);
	assert_int_equal(wrong_in(3, write.words), 0);
}

static void what_was_there_before_is_not_looked_at(void **state)
{
	static const uint64_t anything[BLOCK / 8] = { 1, 2, 3 };

	(void)state;
	assert_int_equal(wrong_in(3, anything), 0);
}

static void an_old_version_is_noticed(void **state)
{
	struct request first, second;

	(void)state;
	do_now(&first, WEFT_WRITE, 3);
	do_now(&second, WEFT_WRITE, 3);
	assert_int_equal(wrong_in(3, first.words), BLOCK / 512);
	assert_int_equal(wrong_in(3, second.words), 0);
}

static void one_old_sector_is_noticed(void **state)
{
	struct request first, second;

	(void)state;
	do_now(&first, WEFT_WRITE, 3);
	do_now(&second, WEFT_WRITE, 3);
	memcpy(second.words + 64, first.words + 64, 512);
	assert_int_equal(wrong_in(3, second.words), 1);
}

static void data_of_another_block_is_noticed(void **state)
{
	struct request here, there;

	(void)state;
	do_now(&here, WEFT_WRITE, 3);
	do_now(&there, WEFT_WRITE, 4);
	assert_int_equal(wrong_in(3, there.words), BLOCK / 512);
}

static void each_bit_counts(void **state)
{
	struct request write;

	(void)state;
	do_now(&write, WEFT_WRITE, 3);
	for (unsigned word = 0; word < 64; word++) {
		write.words[word] ^= 1ull << (word * 7 % 64);
		assert_int_equal(wrong_in(3, write.words), 1);
		write.words[word] ^= 1ull << (word * 7 % 64);
	}
}

static void of_two_writes_at_once_either_may_stay(void **state)
{
	struct request a, b;

	(void)state;
	ask(&a, WEFT_WRITE, 3);
	ask(&b, WEFT_WRITE, 3);
	end(&b, 0);
	assert_int_equal(wrong_in(3, a.words), 0);
	assert_int_equal(wrong_in(3, b.words), 0);
	end(&a, 0);
	assert_int_equal(wrong_in(3, a.words), 0);
	assert_int_equal(wrong_in(3, b.words), BLOCK / 512); /* a was seen to stay */
}

static void a_write_under_way_may_be_seen_but_not_one_that_was_not_sent(void **state)
{
	struct request first, second;

	(void)state;
	do_now(&first, WEFT_WRITE, 3);
	ask(&second, WEFT_WRITE, 3);
	assert_int_equal(wrong_in(3, first.words), 0);
	assert_int_equal(wrong_in(3, second.words), 0);
	end(&second, 0);
	load.bench->options.seed = 6; /* of another run */
	assert_int_equal(wrong_in(3, second.words), BLOCK / 512);
}

static void a_failed_write_may_have_happened_or_not(void **state)
{
	struct request first, second;

	(void)state;
	do_now(&first, WEFT_WRITE, 3);
	ask(&second, WEFT_WRITE, 3);
	end(&second, -5);
	assert_int_equal(wrong_in(3, second.words), 0);
	assert_int_equal(wrong_in(3, first.words), BLOCK / 512); /* it was seen to have happened */
}

static void zeroes_only_after_zeroes(void **state)
{
	static const uint64_t zeroes[BLOCK / 8];
	struct request r;

	(void)state;
	do_now(&r, WEFT_WRITE, 3);
	assert_int_equal(wrong_in(3, zeroes), BLOCK / 512);
	do_now(&r, WEFT_ZERO, 3);
	assert_int_equal(wrong_in(3, zeroes), 0);
	do_now(&r, WEFT_WRITE, 3);
	assert_int_equal(wrong_in(3, zeroes), BLOCK / 512);
}

static void anything_after_a_discard_until_the_next_write(void **state)
{
	static const uint64_t anything[BLOCK / 8] = { 1, 2, 3 };
	struct request r;

	(void)state;
	do_now(&r, WEFT_WRITE, 3);
	do_now(&r, WEFT_DISCARD, 3);
	assert_int_equal(wrong_in(3, anything), 0);
	do_now(&r, WEFT_WRITE, 3);
	assert_int_equal(wrong_in(3, anything), BLOCK / 512);
	assert_int_equal(wrong_in(3, r.words), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_was_written_is_good),
		TEST(what_was_there_before_is_not_looked_at),
		TEST(an_old_version_is_noticed),
		TEST(one_old_sector_is_noticed),
		TEST(data_of_another_block_is_noticed),
		TEST(each_bit_counts),
		TEST(of_two_writes_at_once_either_may_stay),
		TEST(a_write_under_way_may_be_seen_but_not_one_that_was_not_sent),
		TEST(a_failed_write_may_have_happened_or_not),
		TEST(zeroes_only_after_zeroes),
		TEST(anything_after_a_discard_until_the_next_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
