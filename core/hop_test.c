/* SPDX-License-Identifier: BSD-2-Clause */
/* The waist, unwinding, slots, the carrier and the adapter. */
#include <errno.h>

#include "core/rig_test.h"

struct served {
	struct rig *rig;
	struct leaf *leaf;
};

static uint32_t budget = 16; /* slots of a reactor */

static struct served serve(void (*change)(struct weft_core *core, struct weft_blk *blk), const struct weft_blk_ops *ops,
	unsigned lane, uint32_t depth)
{
	struct served s = { rig_open(budget), NULL };

	s.leaf = leaf_open(s.rig, ops, change);
	rig_serve(s.rig, &s.leaf->blk, lane, depth);
	return s;
}

static void unserve(struct served s)
{
	rig_unserve(s.rig);
	leaf_close(s.rig, s.leaf);
	rig_close(s.rig);
}

static char memory[(3 << 20) + 4096] __attribute__((aligned(4096)));

/* ---- the waist ---- */

static void a_request_is_answered_once_and_not_inside_submit(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 4);

	(void)state;
	s.leaf->at_once = true;
	rig_ask(s.rig, WEFT_READ, 0, 4096, 4096, memory);
	assert_int_equal(s.rig->answers, 0);
	rig_turn(s.rig);
	assert_int_equal(s.rig->answers, 1);
	assert_int_equal(s.rig->answer, 0);
	rig_turn(s.rig);
	assert_int_equal(s.rig->answers, 1);
	unserve(s);
}

static int ask_once(struct served s, unsigned op, unsigned flags, uint64_t offset, uint64_t len, void *at)
{
	unsigned before = s.rig->answers;

	s.leaf->at_once = true;
	rig_ask(s.rig, op, flags, offset, len, at);
	rig_turns(s.rig, 3);
	assert_int_equal(s.rig->answers, before + 1);
	return s.rig->answer;
}

static void what_is_out_of_range_or_misaligned_never_reaches_the_device(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 4);

	(void)state;
	assert_int_equal(ask_once(s, WEFT_READ, 0, RIG_SIZE - 512, 1024, memory), -ERANGE);
	assert_int_equal(ask_once(s, WEFT_READ, 0, UINT64_MAX - 511, 512, memory), -ERANGE);
	assert_int_equal(ask_once(s, WEFT_WRITE, 0, 100, 512, memory), -EINVAL);
	assert_int_equal(ask_once(s, WEFT_WRITE, 0, 0, 100, memory), -EINVAL);
	assert_int_equal(ask_once(s, WEFT_DISCARD, 0, RIG_SIZE, 512, NULL), -ERANGE);
	assert_int_equal(ask_once(s, WEFT_READ, WEFT_NO_UNMAP | WEFT_FAST, 0, 512, memory), 0);
	assert_int_equal(s.leaf->total, 1);
	unserve(s);
}

static void take_writing_away(struct weft_core *core, struct weft_blk *blk)
{
	(void)core;
	blk->readonly = true;
}

static void a_readonly_device_refuses_every_change(void **state)
{
	struct served s = serve(take_writing_away, &leaf_ops, 1, 4);

	(void)state;
	assert_int_equal(ask_once(s, WEFT_WRITE, 0, 0, 512, memory), -EROFS);
	assert_int_equal(ask_once(s, WEFT_ZERO, 0, 0, 512, NULL), -EROFS);
	assert_int_equal(ask_once(s, WEFT_DISCARD, 0, 0, 512, NULL), -EROFS);
	assert_int_equal(s.leaf->total, 0);
	assert_int_equal(ask_once(s, WEFT_READ, 0, 0, 512, memory), 0);
	unserve(s);
}

static void statistics_count_requests_bytes_errors_and_latency(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 4);
	struct weft_stats stats;

	(void)state;
	rig_ask(s.rig, WEFT_READ, 0, 0, 4096, memory);
	rig_turns(s.rig, 20);
	weft_blk_stats(&s.leaf->blk, &stats);
	assert_int_equal(stats.in_flight, 1);
	leaf_answer(s.leaf, 0, -EIO);
	rig_turn(s.rig);
	weft_blk_stats(&s.leaf->blk, &stats);
	assert_int_equal(stats.of[WEFT_STAT_READ].requests, 1);
	assert_int_equal(stats.of[WEFT_STAT_READ].bytes, 4096);
	assert_int_equal(stats.of[WEFT_STAT_READ].errors, 1);
	assert_int_equal(stats.in_flight, 0);
	/* Twenty turns of a microsecond, within a bucket's width of 12.5 %. */
	assert_in_range(weft_histogram_quantile(&stats.of[WEFT_STAT_READ].latency, 0.5), 19000, 24000);
	unserve(s);
}

static void a_device_commits_once_per_turn(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 8);

	(void)state;
	for (unsigned i = 0; i < 5; i++)
		rig_ask(s.rig, WEFT_READ, 0, 0, 512, memory);
	rig_turns(s.rig, 3);
	assert_int_equal(s.leaf->commits, 1);
	while (s.leaf->count > 0)
		leaf_answer(s.leaf, 0, 0);
	rig_turn(s.rig);
	assert_int_equal(s.rig->answers, 5);
	unserve(s);
}

static void a_waiting_request_shows_its_path(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 4);
	struct weft_slot *slot;
	char text[128];

	(void)state;
	slot = rig_ask(s.rig, WEFT_WRITE, 0, 8192, 4096, memory);
	rig_turn(s.rig);
	weft_hop_path(&slot->root, slot->session->reactor->now + 180000, text, sizeof(text));
	assert_non_null(strstr(text, "WRITE 4096@8192 | leaf"));
	assert_non_null(strstr(text, " waiting 181 us"));
	leaf_answer(s.leaf, 0, 0);
	rig_turn(s.rig);
	unserve(s);
}

/* ---- deadlines and aborts ---- */

static void a_request_beyond_its_deadline_is_aborted_and_says_so(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 4);
	struct weft_slot *slot = weft_session_slot(&s.rig->session);

	(void)state;
	slot->segs[0] = (struct weft_seg){ .base = memory, .len = 512 };
	slot->root.deadline_us = 50;
	weft_slot_submit(slot, WEFT_READ, 0, 0, 512, 1, rig_answered);
	rig_turns(s.rig, 45);
	assert_int_equal(s.rig->answers, 0);
	rig_turns(s.rig, 10);
	assert_int_equal(s.rig->answers, 1);
	assert_int_equal(s.rig->answer, -ETIMEDOUT);
	slot->root.deadline_us = 0;
	unserve(s);
}

static void an_answer_that_comes_before_the_abort_stands(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 4);
	struct weft_slot *slot = rig_ask(s.rig, WEFT_READ, 0, 0, 512, memory);
	struct weft_hop *top = hop_child(&slot->root, 0);

	(void)state;
	leaf_answer(s.leaf, 0, 0);
	weft_hop_abort(top, -ETIMEDOUT);
	rig_turn(s.rig);
	assert_int_equal(s.rig->answer, 0);
	unserve(s);
}

/* ---- home ---- */

static void live_at_reactor_2(struct weft_core *core, struct weft_blk *blk)
{
	blk->home = core->reactor[2];
}

static void a_device_at_home_is_asked_there_and_answers_here(void **state)
{
	struct served s = serve(live_at_reactor_2, &leaf_home_ops, 1, 4);
	struct weft_stats stats;

	(void)state;
	rig_ask(s.rig, WEFT_READ, 0, 0, 512, memory);
	rig_turns(s.rig, 2);
	assert_int_equal(s.leaf->count, 1);
	assert_ptr_equal(weft_hop_reactor(s.leaf->asked[0]), s.rig->core->reactor[2]);
	leaf_answer(s.leaf, 0, 0);
	rig_turns(s.rig, 3);
	assert_int_equal(s.rig->answers, 1);
	weft_blk_stats(&s.leaf->blk, &stats);
	assert_int_equal(stats.carried, 1);
	unserve(s);
}

static void a_device_asked_at_its_home_carries_nothing(void **state)
{
	struct served s = serve(live_at_reactor_2, &leaf_home_ops, 2, 4);
	struct weft_stats stats;

	(void)state;
	assert_int_equal(ask_once(s, WEFT_READ, 0, 0, 512, memory), 0);
	weft_blk_stats(&s.leaf->blk, &stats);
	assert_int_equal(stats.carried, 0);
	unserve(s);
}

static void an_abort_follows_its_request_home(void **state)
{
	struct served s = serve(live_at_reactor_2, &leaf_home_ops, 1, 4);
	struct weft_slot *slot = rig_ask(s.rig, WEFT_READ, 0, 0, 512, memory);

	(void)state;
	weft_hop_abort(hop_child(&slot->root, 0), -ETIMEDOUT); /* on its way, not there yet */
	rig_turns(s.rig, 4);
	assert_int_equal(s.rig->answers, 1);
	assert_int_equal(s.rig->answer, -ETIMEDOUT);
	unserve(s);
}

/* ---- slots ---- */

static void a_session_is_sure_of_one_slot_and_shares_the_rest(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 1000);
	struct weft_slot *slot[32];
	unsigned n = 0;

	(void)state;
	while ((slot[n] = weft_session_slot(&s.rig->session)) != NULL)
		n++;
	assert_int_equal(n, 16); /* the reactor's budget */
	assert_int_equal(s.rig->session.waits, 1);
	while (n > 0)
		weft_slot_give(slot[--n]);
	assert_int_equal(s.rig->core->reactor[1]->taken, 0);
	unserve(s);
}

static struct weft_session latecomer;

static void latecomer_open_msg(void *self)
{
	struct rig *rig = self;

	latecomer = (struct weft_session){ .slots_max = 1000, .source.poll = rig_poll };
	rig->status = weft_session_open(&latecomer, rig->core->reactor[rig->lane], rig->stack, &rig->task.why);
	rig->ended = true;
}

static void latecomer_close_msg(void *self)
{
	weft_session_close(&latecomer);
	((struct rig *)self)->ended = true;
}

static void a_session_that_opens_while_all_is_lent_is_sure_of_a_slot_too(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 1000);
	struct weft_slot *slot[32], *sure;
	unsigned n = 0;

	(void)state;
	while ((slot[n] = weft_session_slot(&s.rig->session)) != NULL)
		n++;
	rig_message(s.rig, 1, latecomer_open_msg);
	assert_int_equal(s.rig->status, 0);
	sure = weft_session_slot(&latecomer);
	assert_non_null(sure);
	assert_null(weft_session_slot(&latecomer)); /* the rest is lent */
	weft_slot_give(slot[--n]);
	assert_null(weft_session_slot(&s.rig->session)); /* what came back is the latecomer's sure slot */
	weft_slot_give(slot[--n]);
	slot[n] = weft_session_slot(&latecomer);
	assert_non_null(slot[n]);
	weft_slot_give(slot[n]);
	while (n > 0)
		weft_slot_give(slot[--n]);
	weft_slot_give(sure);
	assert_int_equal(s.rig->core->reactor[1]->taken, 0);
	rig_message(s.rig, 1, latecomer_close_msg);
	unserve(s);
}

/* ---- shares: what clients of one stack leave to those of another ---- */

static struct weft_stack *neighbours;
static struct weft_session neighbour;

static void neighbour_open_msg(void *self)
{
	struct rig *rig = self;

	neighbour = (struct weft_session){ .slots_max = 1000, .source.poll = rig_poll };
	rig->status = weft_session_open(&neighbour, rig->core->reactor[rig->lane], neighbours, &rig->task.why);
	rig->ended = true;
}

static void neighbour_close_msg(void *self)
{
	weft_session_close(&neighbour);
	((struct rig *)self)->ended = true;
}

/* Takes what may be taken at once, up to `most`; returns how many. */
static unsigned take_share(struct weft_session *session, struct weft_slot **slot, unsigned most)
{
	unsigned share = slots_share(session, most);

	for (unsigned i = 0; i < share; i++)
		assert_non_null(slot[i] = weft_session_slot(session));
	return share;
}

static void neighbours_open(struct served s)
{
	assert_int_equal(weft_stack_open(s.rig->core, weft_stack_device(s.rig->stack), "neighbours", &neighbours, &s.rig->task), 0);
	assert_int_equal(rig_wait(s.rig), 0);
	rig_message(s.rig, 1, neighbour_open_msg);
	assert_int_equal(s.rig->status, 0);
}

static void neighbours_close(struct served s)
{
	rig_message(s.rig, 1, neighbour_close_msg);
	weft_stack_close(neighbours, &s.rig->task);
	assert_int_equal(rig_wait(s.rig), 0);
}

/* One stack of two, on a reactor with so many slots. */
static struct served serve_beside(uint32_t slots)
{
	uint32_t before = budget;
	struct served s;

	budget = slots;
	s = serve(NULL, &leaf_ops, 1, 1000);
	budget = before;
	neighbours_open(s);
	return s;
}

static void give_all(struct weft_slot **slot, unsigned n)
{
	while (n > 0)
		weft_slot_give(slot[--n]);
}

static void a_stack_that_is_alone_may_have_all(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 1000);
	struct weft_slot *slot[16];

	(void)state;
	assert_int_equal(take_share(&s.rig->session, slot, 16), 16);
	give_all(slot, 16);
	unserve(s);
}

static void a_stack_that_takes_all_it_can_leaves_half_to_its_neighbour(void **state)
{
	struct weft_slot *mine[64], *its[64];
	unsigned n = 0, more, m = 0;
	struct served s;

	(void)state;
	s = serve_beside(64);
	while ((more = take_share(&s.rig->session, mine + n, 32)) > 0) {
		n += more;
		rig_turn(s.rig);
	}
	assert_in_range(n, 30, 33);
	while ((more = take_share(&neighbour, its + m, 32)) > 0) {
		m += more;
		rig_turn(s.rig);
	}
	assert_in_range(m, 14, 17); /* and leaves half of that to the next */
	assert_true(slots_share(&s.rig->session, 32) == 0 && slots_share(&neighbour, 32) == 0);
	give_all(its, m);
	m = 0;
	give_all(mine, n);
	rig_turn(s.rig);
	assert_in_range(slots_share(&s.rig->session, 32), 30, 32); /* it has come back */
	neighbours_close(s);
	unserve(s);
}

/* Its sure slot a session has whatever others do. */
static void a_share_is_one_slot_at_least_where_none_is_in_use(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 1000);
	struct weft_slot *slot[16], *sure[2];
	unsigned n = 0;

	(void)state;
	neighbours_open(s);
	while ((slot[n] = weft_session_slot(&s.rig->session)) != NULL) /* who does not ask may take all */
		n++;
	rig_turn(s.rig);
	assert_int_equal(take_share(&neighbour, sure, 2), 1);
	assert_int_equal(slots_share(&neighbour, 2), 0);
	weft_slot_give(sure[0]);
	give_all(slot, n);
	neighbours_close(s);
	unserve(s);
}

static void a_stack_starts_so_many_in_a_turn_when_there_are_others(void **state)
{
	struct weft_slot *slot[3 * STACK_TURN_MAX];
	struct served s;

	(void)state;
	s = serve_beside(512);
	rig_turn(s.rig);
	assert_int_equal(take_share(&s.rig->session, slot, 20), 20);
	assert_int_equal(take_share(&s.rig->session, slot + 20, 32), STACK_TURN_MAX - 20);
	assert_int_equal(slots_share(&s.rig->session, 32), 0);
	assert_int_equal(slots_share(&neighbour, 32), 32);
	rig_turn(s.rig);
	assert_int_equal(take_share(&s.rig->session, slot + STACK_TURN_MAX, 32), 32);
	give_all(slot, 2 * STACK_TURN_MAX);
	neighbours_close(s);
	unserve(s);
}

/* Many sessions ask for no more bytes in a turn than one may. */
static void a_stack_starts_no_more_in_a_turn_when_it_has_asked_for_many_bytes(void **state)
{
	struct weft_slot *slot[2];
	struct served s;

	(void)state;
	s = serve_beside(512);
	rig_turn(s.rig);
	assert_int_equal(take_share(&s.rig->session, slot, 1), 1);
	slots_asked(&s.rig->session, STACK_TURN_BYTES - 1);
	assert_int_equal(take_share(&s.rig->session, slot + 1, 1), 1);
	slots_asked(&s.rig->session, 1);
	assert_int_equal(slots_share(&s.rig->session, 32), 0);
	assert_int_equal(slots_share(&neighbour, 32), 32);
	rig_turn(s.rig);
	assert_int_equal(slots_share(&s.rig->session, 32), 32);
	give_all(slot, 2);
	neighbours_close(s);
	unserve(s);
}

static void long_requests_borrow_one_of_a_few_vectors(void **state)
{
	struct weft_slot *slot[2 * SLOT_VECTORS + 1];
	unsigned borrowed = 0, n = 0;
	struct served s;

	(void)state;
	budget = 2 * SLOT_VECTORS;
	s = serve(NULL, &leaf_ops, 1, 1000);
	budget = 16;
	while ((slot[n] = weft_session_slot(&s.rig->session)) != NULL)
		borrowed += weft_slot_borrow(slot[n++]);
	assert_int_equal(borrowed, SLOT_VECTORS);
	assert_int_equal(slot[0]->room, WEFT_VECTOR_SEGS);
	while (n > 0)
		weft_slot_give(slot[--n]);
	unserve(s);
}

/* ---- emulation ---- */

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

/* At any place, over any pieces: one wrong byte is found, and one beyond the range is not looked at. */
static void bytes_of_a_view_are_compared(void **state)
{
	char text[] = "the quick brown fox", buf[sizeof(text)];
	struct weft_seg segs[4] = { { text, 3, 0, 0, 0 }, { text + 3, 0, 0, 0, 0 }, { text + 3, 5, 0, 0, 0 },
		{ text + 8, sizeof(text) - 8, 0, 0, 0 } };
	struct weft_hop hop = { .segs = segs, .nsegs = 4, .seg_skip = 2, .len = sizeof(text) - 2 };

	(void)state;
	memcpy(buf, text + 2, sizeof(text) - 2);
	for (unsigned at = 0; at < hop.len; at++)
		for (unsigned len = 0; len <= hop.len - at; len++)
			for (unsigned wrong = 0; wrong < hop.len; wrong++) {
				buf[wrong] ^= 1;
				assert_int_equal(weft_hop_equals(&hop, at, buf + at, len), wrong < at || wrong >= at + len);
				buf[wrong] ^= 1;
			}
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_answered_once_and_not_inside_submit),
		cmocka_unit_test(what_is_out_of_range_or_misaligned_never_reaches_the_device),
		cmocka_unit_test(a_readonly_device_refuses_every_change),
		cmocka_unit_test(statistics_count_requests_bytes_errors_and_latency),
		cmocka_unit_test(a_device_commits_once_per_turn),
		cmocka_unit_test(a_waiting_request_shows_its_path),
		cmocka_unit_test(a_request_beyond_its_deadline_is_aborted_and_says_so),
		cmocka_unit_test(an_answer_that_comes_before_the_abort_stands),
		cmocka_unit_test(a_device_at_home_is_asked_there_and_answers_here),
		cmocka_unit_test(a_device_asked_at_its_home_carries_nothing),
		cmocka_unit_test(an_abort_follows_its_request_home),
		cmocka_unit_test(a_session_is_sure_of_one_slot_and_shares_the_rest),
		cmocka_unit_test(a_session_that_opens_while_all_is_lent_is_sure_of_a_slot_too),
		cmocka_unit_test(a_stack_that_is_alone_may_have_all),
		cmocka_unit_test(a_stack_that_takes_all_it_can_leaves_half_to_its_neighbour),
		cmocka_unit_test(a_share_is_one_slot_at_least_where_none_is_in_use),
		cmocka_unit_test(a_stack_starts_so_many_in_a_turn_when_there_are_others),
		cmocka_unit_test(a_stack_starts_no_more_in_a_turn_when_it_has_asked_for_many_bytes),
		cmocka_unit_test(long_requests_borrow_one_of_a_few_vectors),
		cmocka_unit_test(a_forced_write_is_followed_by_a_flush_where_the_device_cannot),
		cmocka_unit_test(a_long_request_goes_out_in_pieces_four_at_a_time),
		cmocka_unit_test(after_an_error_no_further_piece_goes_out),
		cmocka_unit_test(misaligned_memory_is_bounced_both_ways),
		cmocka_unit_test(statistics_outlive_a_stack),
		cmocka_unit_test(pieces_that_are_no_whole_blocks_are_bounced),
		cmocka_unit_test(requests_wait_in_order_for_a_bounce_buffer),
		cmocka_unit_test(a_request_that_waits_for_a_buffer_can_be_aborted),
		cmocka_unit_test(zeroes_are_written_where_the_device_has_none),
		cmocka_unit_test(a_compare_and_write_is_never_taken_to_pieces),
		cmocka_unit_test(bytes_of_a_view_are_compared),
		cmocka_unit_test(a_copy_is_read_and_written_where_the_device_has_none),
		cmocka_unit_test(a_device_of_large_blocks_is_asked_for_whole_ones),
		cmocka_unit_test(block_status_is_all_data_where_nothing_is_known),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
