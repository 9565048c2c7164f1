/* SPDX-License-Identifier: BSD-2-Clause */
/* What the waist makes up for devices that lack it. */
#include "core/rig_test.h"

static char memory[(3 << 20) + 4096] __attribute__((aligned(4096)));

static void no_fua(struct weft_core *core, struct weft_blk *blk)
{
	(void)core;
	blk->flags_can = 0;
	blk->volatile_cache = true;
}

static void a_forced_write_is_followed_by_a_flush_where_the_device_cannot(void **state)
{
	struct served s = serve(no_fua, &leaf_ops, 1, 4);

	(void)state;
	rig_ask(s.rig, WEFT_WRITE, WEFT_FUA, 0, 4096, memory);
	rig_turn(s.rig);
	assert_int_equal(s.leaf->count, 1);
	assert_int_equal(s.leaf->asked[0]->op, WEFT_WRITE);
	assert_int_equal(s.leaf->asked[0]->flags, 0);
	leaf_answer(s.leaf, 0, 0);
	rig_turn(s.rig);
	assert_int_equal(s.leaf->count, 1);
	assert_int_equal(s.leaf->asked[0]->op, WEFT_FLUSH);
	assert_int_equal(s.rig->answers, 0);
	leaf_answer(s.leaf, 0, -EIO);
	rig_turn(s.rig);
	assert_int_equal(s.rig->answer, -EIO);
	unserve(s);
}

static void short_transfers(struct weft_core *core, struct weft_blk *blk)
{
	(void)core;
	blk->max_len = 4096;
}

static void a_long_request_goes_out_in_pieces_four_at_a_time(void **state)
{
	struct served s = serve(short_transfers, &leaf_ops, 1, 4);

	(void)state;
	rig_ask(s.rig, WEFT_READ, 0, 8192, 40960, memory);
	rig_turn(s.rig);
	for (unsigned piece = 0; piece < 10; piece++) {
		assert_int_equal(s.leaf->count, 10 - piece < 4 ? 10 - piece : 4);
		assert_int_equal(s.leaf->asked[0]->offset, 8192 + piece * 4096);
		assert_int_equal(s.leaf->asked[0]->len, 4096);
		memset(s.leaf->bytes + 8192 + piece * 4096, (int)('a' + piece), 4096);
		leaf_answer(s.leaf, 0, 0);
		rig_turn(s.rig);
	}
	assert_int_equal(s.rig->answers, 1);
	assert_memory_equal(memory, s.leaf->bytes + 8192, 40960);
	unserve(s);
}

static void after_an_error_no_further_piece_goes_out(void **state)
{
	struct served s = serve(short_transfers, &leaf_ops, 1, 4);

	(void)state;
	rig_ask(s.rig, WEFT_WRITE, 0, 0, 40960, memory);
	rig_turn(s.rig);
	leaf_answer(s.leaf, 1, -ENOSPC);
	rig_turn(s.rig);
	assert_int_equal(s.leaf->count, 3);
	assert_int_equal(s.rig->answers, 0); /* its memory is still in use */
	while (s.leaf->count > 0)
		leaf_answer(s.leaf, 0, 0);
	rig_turn(s.rig);
	assert_int_equal(s.rig->answer, -ENOSPC);
	assert_int_equal(s.leaf->total, 4);
	unserve(s);
}

static void aligned_memory(struct weft_core *core, struct weft_blk *blk)
{
	blk->home = core->reactor[2]; /* for those that have one */
	blk->align = 512;
}

static void misaligned_memory_is_bounced_both_ways(void **state)
{
	struct served s = serve(aligned_memory, &leaf_ops, 1, 4);
	struct weft_stats stats;

	(void)state;
	for (unsigned i = 0; i < 300000; i++)
		memory[i] = (char)(i * 7 + i / 512);
	assert_int_equal(ask_once(s, WEFT_WRITE, 0, 512, 299520, memory + 3), 0);
	assert_memory_equal(s.leaf->bytes + 512, memory + 3, 299520);
	assert_int_equal(ask_once(s, WEFT_READ, 0, 512, 299520, memory + 500001), 0);
	assert_memory_equal(memory + 500001, s.leaf->bytes + 512, 299520);
	weft_blk_stats(&s.leaf->blk, &stats);
	assert_int_equal(stats.bounced_bytes, 2 * 299520);
	unserve(s);
}

static void aligned_to_words(struct weft_core *core, struct weft_blk *blk)
{
	(void)core;
	blk->align = 4;
}

/* As O_DIRECT on a disk that takes any address wants it. */
static void pieces_that_are_no_whole_blocks_are_bounced(void **state)
{
	struct served s = serve(aligned_to_words, &leaf_ops, 1, 4);
	struct weft_slot *slot = weft_session_slot(&s.rig->session);
	const uint32_t lens[] = { 1024, 100, 924, 512 };
	char *at = memory + 4;
	uint64_t len = 0;

	(void)state;
	for (unsigned i = 0; i < 300000; i++)
		memory[i] = (char)(i * 7 + i / 512);
	for (unsigned i = 0; i < WEFT_COUNT(lens); i++, len += lens[i - 1], at += lens[i - 1])
		slot->segs[i] = (struct weft_seg){ .base = at, .len = lens[i] };
	weft_slot_submit(slot, WEFT_WRITE, 0, 512, len, WEFT_COUNT(lens), rig_answered);
	rig_turn(s.rig);
	for (unsigned i = 0; i < s.leaf->count; i++) {
		const struct weft_hop *hop = s.leaf->asked[i];

		assert_int_equal(hop->seg_skip, 0);
		for (unsigned j = 0, left = (unsigned)hop->len; left > 0; left -= hop->segs[j++].len)
			assert_int_equal(hop->segs[j].len % 512, 0);
	}
	while (s.leaf->count > 0)
		leaf_answer(s.leaf, 0, 0);
	rig_turn(s.rig);
	assert_int_equal(s.rig->answer, 0);
	assert_memory_equal(s.leaf->bytes + 512, memory + 4, len);
	unserve(s);
}

static void requests_wait_in_order_for_a_bounce_buffer(void **state)
{
	struct served s = serve(aligned_memory, &leaf_ops, 1, 16);

	(void)state;
	for (unsigned i = 0; i < 12; i++)
		rig_ask(s.rig, WEFT_WRITE, 0, i * 512, 512, memory + 1 + i * 512);
	rig_turn(s.rig);
	for (unsigned i = 0; i < 12; i++) {
		assert_int_equal(s.leaf->count, 12 - i < 4 ? 12 - i : 4);
		assert_int_equal(s.leaf->asked[0]->offset, i * 512);
		leaf_answer(s.leaf, 0, 0);
		rig_turn(s.rig);
	}
	assert_int_equal(s.rig->answers, 12);
	unserve(s);
}

static void a_request_that_waits_for_a_buffer_can_be_aborted(void **state)
{
	struct served s = serve(aligned_memory, &leaf_ops, 1, 16);
	struct weft_slot *last = NULL;

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		last = rig_ask(s.rig, WEFT_WRITE, 0, i * 512, 512, memory + 1 + i * 512);
	weft_hop_abort(hop_child(&last->root, 0), -ETIMEDOUT);
	rig_turn(s.rig);
	assert_int_equal(s.rig->answers, 1);
	assert_int_equal(s.rig->answer, -ETIMEDOUT);
	for (unsigned i = 0; i < 5; i++) {
		leaf_answer(s.leaf, 0, 0);
		rig_turn(s.rig);
	}
	assert_int_equal(s.rig->answers, 6);
	unserve(s);
}

static void reads_and_writes_only(struct weft_core *core, struct weft_blk *blk)
{
	(void)core;
	blk->ops_can = WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE) | WEFT_OP_BIT(WEFT_FLUSH);
	blk->flags_can = 0;
}

static void zeroes_are_written_where_the_device_has_none(void **state)
{
	struct served s = serve(reads_and_writes_only, &leaf_ops, 1, 4);

	(void)state;
	memset(s.leaf->bytes, 'x', RIG_SIZE);
	assert_int_equal(ask_once(s, WEFT_ZERO, WEFT_NO_UNMAP, 512, 200704, NULL), 0);
	assert_int_equal(s.leaf->bytes[511], 'x');
	for (unsigned i = 512; i < 512 + 200704; i++)
		assert_int_equal(s.leaf->bytes[i], 0);
	assert_int_equal(s.leaf->bytes[512 + 200704], 'x');
	assert_int_equal(ask_once(s, WEFT_ZERO, WEFT_FAST, 0, 512, NULL), -EOPNOTSUPP);
	assert_int_equal(ask_once(s, WEFT_DISCARD, 0, 0, 512, NULL), -EOPNOTSUPP);
	assert_int_equal(ask_once(s, WEFT_COMPARE_WRITE, 0, 0, 512, memory), -EOPNOTSUPP);
	unserve(s);
}

static void compares(struct weft_core *core, struct weft_blk *blk)
{
	no_fua(core, blk);
	blk->ops_can |= WEFT_OP_BIT(WEFT_COMPARE_WRITE);
	blk->max_compare = 4096;
	blk->align = 8;
}

/* All of it, or nothing: FUA is all that is made up. */
static void a_compare_and_write_is_never_taken_to_pieces(void **state)
{
	struct served s = serve(compares, &leaf_ops, 1, 4);

	(void)state;
	s.leaf->at_once = true;
	assert_int_equal(ask_once(s, WEFT_COMPARE_WRITE, 0, 0, 4096, memory), 0);
	assert_int_equal(ask_once(s, WEFT_COMPARE_WRITE, 0, 0, 4608, memory), -EMSGSIZE);
	assert_int_equal(ask_once(s, WEFT_COMPARE_WRITE, 0, 0, 512, memory + 4), -EOPNOTSUPP); /* would have to be bounced */
	assert_int_equal(ask_once(s, WEFT_COMPARE_WRITE, 0, 0, 0, NULL), 0);
	assert_int_equal(s.leaf->total, 1);
	s.leaf->at_once = false;
	rig_ask(s.rig, WEFT_COMPARE_WRITE, WEFT_FUA, 512, 4096, memory);
	rig_turn(s.rig);
	assert_int_equal(s.leaf->count, 1);
	assert_int_equal(s.leaf->asked[0]->op, WEFT_COMPARE_WRITE);
	assert_int_equal(s.leaf->asked[0]->len, 4096);
	assert_int_equal(s.leaf->asked[0]->nsegs, 1);
	assert_int_equal(s.leaf->asked[0]->flags, 0);
	leaf_answer(s.leaf, 0, 0);
	rig_turn(s.rig);
	assert_int_equal(s.leaf->asked[0]->op, WEFT_FLUSH);
	leaf_answer(s.leaf, 0, 0);
	rig_turn(s.rig);
	assert_int_equal(s.rig->answer, 0);
	rig_ask(s.rig, WEFT_COMPARE_WRITE, WEFT_FUA, 512, 4096, memory);
	rig_turn(s.rig);
	leaf_answer(s.leaf, 0, -EILSEQ); /* nothing was written: nothing is flushed */
	rig_turn(s.rig);
	assert_int_equal(s.rig->answer, -EILSEQ);
	assert_int_equal(s.leaf->count, 0);
	unserve(s);
}

static void compares_less_than_a_block(struct weft_core *core, struct weft_blk *blk)
{
	compares(core, blk);
	blk->block = 8192;
}

static void the_same_but_does_not_compare(struct weft_core *core, struct weft_blk *blk)
{
	compares_less_than_a_block(core, blk);
	blk->ops_can &= (uint16_t)~WEFT_OP_BIT(WEFT_COMPARE_WRITE);
}

/* It could not take any. */
static void who_compares_less_than_a_block_is_refused(void **state)
{
	struct rig *rig = rig_open(16);
	struct rig_job job = { .job.task.done = rig_job_done };
	struct weft_object *object;
	struct tree *tree;

	(void)state;
	leaf_module_add(rig, &leaf_ops, compares_less_than_a_block);
	assert_int_equal(tree_new(rig->core, "leaf", &tree), 0);
	objects_build(rig->core, tree, &weft_blk_iface, &object, &job.job);
	assert_int_equal(rig_job_wait(rig, &job), -EINVAL);
	assert_non_null(strstr(job.job.task.why.text, "largest compare-and-write 4096 is less than a block (8192): say a block"));
	tree_free(rig->core, tree);
	rig_close(rig);
	unserve(serve(the_same_but_does_not_compare, &leaf_ops, 1, 4));
}

static void a_copy_is_read_and_written_where_the_device_has_none(void **state)
{
	struct served s = serve(reads_and_writes_only, &leaf_ops, 1, 4);
	struct weft_slot *slot = weft_session_slot(&s.rig->session);

	(void)state;
	for (unsigned i = 0; i < RIG_SIZE; i++)
		s.leaf->bytes[i] = (char)(i / 512);
	memcpy(memory, s.leaf->bytes + 512, 300032);
	s.leaf->at_once = true;
	slot->root.source = 512;
	weft_slot_submit(slot, WEFT_COPY, 0, 400384, 300032, 0, rig_answered);
	rig_turns(s.rig, 3);
	assert_int_equal(s.rig->answer, 0);
	assert_memory_equal(s.leaf->bytes + 400384, memory, 300032);
	slot->root.source = 0;
	unserve(s);
}

/* Larger than a bounce buffer and a segment of zeroes usually are, and one segment at a time. */
static void megabyte_blocks(struct weft_core *core, struct weft_blk *blk)
{
	reads_and_writes_only(core, blk);
	blk->block = 1 << 20;
	blk->align = 512;
	blk->max_segs = 1;
}

static void answer_whole_blocks(struct served s)
{
	while (s.leaf->count > 0) {
		assert_true(s.leaf->asked[0]->len > 0);
		assert_int_equal(s.leaf->asked[0]->len % s.leaf->blk.block, 0);
		assert_int_equal(s.leaf->asked[0]->offset % s.leaf->blk.block, 0);
		leaf_answer(s.leaf, 0, 0);
		rig_turn(s.rig);
	}
}

static void a_device_of_large_blocks_is_asked_for_whole_ones(void **state)
{
	struct served s = serve(megabyte_blocks, &leaf_ops, 1, 4);
	struct weft_slot *slot;

	(void)state;
	for (unsigned i = 0; i < sizeof(memory); i++)
		memory[i] = (char)(i * 7 + i / 512);
	rig_ask(s.rig, WEFT_WRITE, 0, 1 << 20, 3 << 20, memory + 1); /* bounced */
	rig_turn(s.rig);
	answer_whole_blocks(s);
	assert_int_equal(s.rig->answers, 1);
	assert_int_equal(s.rig->answer, 0);
	assert_memory_equal(s.leaf->bytes + (1 << 20), memory + 1, 3 << 20);

	rig_ask(s.rig, WEFT_ZERO, WEFT_NO_UNMAP, 2 << 20, 2 << 20, NULL);
	rig_turn(s.rig);
	answer_whole_blocks(s);
	assert_int_equal(s.rig->answer, 0);
	assert_int_equal(s.leaf->bytes[(2 << 20) - 1], memory[1 << 20]);
	for (unsigned i = 2 << 20; i < 4 << 20; i++)
		assert_int_equal(s.leaf->bytes[i], 0);

	slot = weft_session_slot(&s.rig->session);
	slot->root.source = 1 << 20;
	weft_slot_submit(slot, WEFT_COPY, 0, 2 << 20, 1 << 20, 0, rig_answered);
	rig_turn(s.rig);
	answer_whole_blocks(s);
	assert_int_equal(s.rig->answer, 0);
	assert_memory_equal(s.leaf->bytes + (2 << 20), memory + 1, 1 << 20);
	slot->root.source = 0;

	memset(memory, 0, sizeof(memory));
	rig_ask(s.rig, WEFT_READ, 0, 1 << 20, 1 << 20, memory + 1);
	rig_turn(s.rig);
	answer_whole_blocks(s);
	assert_int_equal(s.rig->answer, 0);
	assert_memory_equal(s.leaf->bytes + (1 << 20), memory + 1, 1 << 20);
	unserve(s);
}

static void block_status_is_all_data_where_nothing_is_known(void **state)
{
	struct served s = serve(reads_and_writes_only, &leaf_ops, 1, 4);
	struct weft_slot *slot = weft_session_slot(&s.rig->session);
	struct weft_extent extents[2];

	(void)state;
	memset(extents, 0xff, sizeof(extents));
	slot->segs[0] = (struct weft_seg){ .base = extents, .len = sizeof(extents) };
	weft_slot_submit(slot, WEFT_STATUS, 0, 1024, 4096, 1, rig_answered);
	rig_turns(s.rig, 2);
	assert_int_equal(s.rig->answer, 0);
	assert_int_equal(extents[0].offset, 1024);
	assert_int_equal(extents[0].len, 4096);
	assert_int_equal(extents[0].flags, 0);
	unserve(s);
}

/* A layer comes or goes: the stack is closed, and opened anew. */
static void statistics_outlive_a_stack(void **state)
{
	struct served s = serve(aligned_memory, &leaf_home_ops, 1, 4);
	struct weft_stats stats;

	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(ask_once(s, WEFT_WRITE, 0, 512, 1024, memory + 3), 0);
		assert_int_equal(ask_once(s, WEFT_READ, 0, RIG_SIZE, 512, memory), -ERANGE);
		rig_unserve(s.rig);
		weft_blk_stats(&s.leaf->blk, &stats);
		assert_int_equal(stats.of[WEFT_STAT_WRITE].requests, i);
		assert_int_equal(stats.of[WEFT_STAT_WRITE].bytes, i * 1024);
		assert_int_equal(stats.of[WEFT_STAT_READ].errors, i);
		assert_int_equal(stats.refused, i);
		assert_int_equal(stats.bounces, i);
		assert_int_equal(stats.carried, 2 * i);
		assert_int_equal(stats.in_flight, 0);
		rig_serve(s.rig, &s.leaf->blk, 1, 4);
	}
	unserve(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_forced_write_is_followed_by_a_flush_where_the_device_cannot),
		cmocka_unit_test(a_long_request_goes_out_in_pieces_four_at_a_time),
		cmocka_unit_test(after_an_error_no_further_piece_goes_out),
		cmocka_unit_test(misaligned_memory_is_bounced_both_ways),
		cmocka_unit_test(pieces_that_are_no_whole_blocks_are_bounced),
		cmocka_unit_test(requests_wait_in_order_for_a_bounce_buffer),
		cmocka_unit_test(a_request_that_waits_for_a_buffer_can_be_aborted),
		cmocka_unit_test(zeroes_are_written_where_the_device_has_none),
		cmocka_unit_test(a_compare_and_write_is_never_taken_to_pieces),
		cmocka_unit_test(who_compares_less_than_a_block_is_refused),
		cmocka_unit_test(a_copy_is_read_and_written_where_the_device_has_none),
		cmocka_unit_test(a_device_of_large_blocks_is_asked_for_whole_ones),
		cmocka_unit_test(block_status_is_all_data_where_nothing_is_known),
		cmocka_unit_test(statistics_outlive_a_stack),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
