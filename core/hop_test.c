/* SPDX-License-Identifier: BSD-2-Clause */
/* The waist, unwinding, deadlines, the carrier. */
#include "core/rig_test.h"

static char memory[4096] __attribute__((aligned(4096)));

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
		cmocka_unit_test(bytes_of_a_view_are_compared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
