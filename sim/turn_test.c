/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who asks for much at once leaves others their turn. Two clients on one reactor: one asks for up to a gigabyte in one request,
 * the other for a block in each turn, and has its answer in that turn. Turns are counted, no time is measured.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/reactor.h"
#include "core/stack.h"
#include "sim/party.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define PIECE (1u << 20) /* of memory: the segments of a long request are all the same */
#define BLOCK 4096u

static char memory[PIECE];

/* What asks: up to `depth` requests at once, until `left` have been asked. */
struct asker {
	struct party *party;
	struct weft_stack *stack;
	struct weft_session session;
	struct weft_task task;
	bool busy;
	unsigned op, flags, depth, left, deadline_us;
	uint64_t len, source;
	unsigned answers;
	int status;       /* the last one */
	uint64_t longest; /* turns from a question to its answer */
};

static bool is_data(unsigned op)
{
	return op == WEFT_READ || op == WEFT_WRITE;
}

static struct asker *asker_of(struct weft_session *session)
{
	return WEFT_CONTAINER(session, struct asker, session);
}

static void answered(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(root, struct weft_slot, root);
	struct asker *asker = asker_of(slot->session);
	uint64_t turns = asker->session.reactor->stats.turns - slot->tag;

	(void)child;
	asker->answers++;
	asker->status = status;
	if (turns > asker->longest)
		asker->longest = turns;
	weft_slot_give(slot);
}

static bool ask(struct weft_source *source)
{
	struct asker *asker = asker_of(WEFT_CONTAINER(source, struct weft_session, source));
	bool any = false;

	while (asker->left > 0 && asker->session.slots < asker->depth) {
		struct weft_slot *slot = weft_session_slot(&asker->session);
		unsigned nsegs = 0;

		assert_non_null(slot);
		assert_true(asker->len <= PIECE || !is_data(asker->op) || weft_slot_borrow(slot));
		for (uint64_t at = 0; is_data(asker->op) && at < asker->len; at += PIECE)
			slot->segs[nsegs++] = (struct weft_seg){ .base = memory,
				.len = (uint32_t)(asker->len - at < PIECE ? asker->len - at : PIECE) };
		slot->tag = asker->session.reactor->stats.turns;
		slot->root.source = asker->source;
		slot->root.deadline_us = asker->deadline_us;
		asker->left--;
		weft_slot_submit(slot, asker->op, asker->flags, 0, asker->len, nsegs, answered);
		any = true;
	}
	return any;
}

static bool has_more(struct weft_source *source)
{
	return asker_of(WEFT_CONTAINER(source, struct weft_session, source))->left > 0;
}

/* ---- life ---- */

static void opened(struct weft_task *task, int status)
{
	assert_int_equal(status, 0);
	WEFT_CONTAINER(task, struct asker, task)->busy = false;
}

static bool not_busy(void *asker)
{
	return !((struct asker *)asker)->busy;
}

static void stack_open_msg(void *self)
{
	struct asker *asker = self;
	struct party *party = asker->party;

	asker->busy = true;
	asker->task.done = opened;
	assert_int_equal(weft_stack_open(party->core, weft_object_query(party->object[party->nobjects - 1], &weft_blk_iface),
		"asker", &asker->stack, &asker->task), 0);
}

static void stack_close_msg(void *self)
{
	struct asker *asker = self;

	asker->busy = true;
	weft_stack_close(asker->stack, &asker->task);
}

static void session_open_msg(void *self)
{
	struct asker *asker = self;
	struct weft_why why;

	asker->session.slots_max = asker->depth;
	asker->session.source.poll = ask;
	asker->session.source.arm = has_more;
	assert_int_equal(weft_session_open(&asker->session, weft_reactor_here(), asker->stack, &why), 0);
}

static void session_close_msg(void *self)
{
	weft_session_close(&((struct asker *)self)->session);
}

static void asker_open(struct asker *asker, struct party *party, const char *text)
{
	party_must_build(party, text, &weft_blk_iface);
	asker->party = party;
	party_on(party, 0, stack_open_msg, asker);
	assert_true(sim_run(party->world, not_busy, asker, 100000));
}

static void asker_close(struct asker *asker)
{
	party_on(asker->party, 0, stack_close_msg, asker);
	assert_true(sim_run(asker->party->world, not_busy, asker, 100000));
}

/* ---- two of them ---- */

static struct party party;
static struct asker much, little;

static int setup(void **state)
{
	(void)state;
	much = (struct asker){ .depth = 1 };
	little = (struct asker){ .op = WEFT_READ, .len = BLOCK, .depth = 1, .left = UINT32_MAX };
	party_open(&party, sim_world_open(1), "node", 1, WEFT_MODE_NOTIFY);
	return 0;
}

static int teardown(void **state)
{
	struct sim_world *world = party.world;

	(void)state;
	party_close(&party);
	sim_world_close(world);
	return 0;
}

/* With a device each, or in one stack. */
static void begin(const char *text, unsigned requests, bool one_stack)
{
	much.left = requests;
	if (one_stack) {
		little.party = &party;
	} else {
		asker_open(&little, &party, "mem:1MiB");
	}
	asker_open(&much, &party, text);
	if (one_stack)
		little.stack = much.stack;
	party_on(&party, 1, session_open_msg, &little);
	party_on(&party, 1, session_open_msg, &much);
}

static bool much_is_answered(void *arg)
{
	(void)arg;
	return much.left == 0 && much.session.slots == 0;
}

static bool nothing_is_asked(void *arg)
{
	(void)arg;
	return much.session.slots == 0 && little.session.slots == 0;
}

static bool some_turns_have_passed(void *arg)
{
	(void)arg;
	return little.answers >= 10;
}

static void end(bool one_stack)
{
	little.left = 0;
	assert_true(sim_run(party.world, nothing_is_asked, NULL, 100000));
	party_on(&party, 1, session_close_msg, &much);
	party_on(&party, 1, session_close_msg, &little);
	asker_close(&much);
	if (!one_stack)
		asker_close(&little);
}

/* The one's request takes as many turns as it must, and the other is answered in each of them. */
static void go(const char *text, unsigned requests, bool one_stack, uint64_t turns)
{
	begin(text, requests, one_stack);
	assert_true(sim_run(party.world, much_is_answered, NULL, 10000000));
	assert_int_equal(much.answers, requests);
	assert_int_equal(much.status, 0);
	assert_int_equal(little.longest, 0);
	assert_true(little.answers >= turns);
	end(one_stack);
}

static void a_gigabyte_of_memory_is_read(void **state)
{
	(void)state;
	much.op = WEFT_READ;
	much.len = GIB;
	go("mem:1GiB", 1, false, 1023);
}

static void another_ring_of_the_same_disk_is_served_meanwhile(void **state)
{
	(void)state;
	much.op = WEFT_READ;
	much.len = 256 * MIB;
	go("mem:256MiB", 1, true, 255);
}

/* Together they have no more of a turn than one of them. */
static void many_long_requests_share_what_one_has(void **state)
{
	(void)state;
	much.op = WEFT_READ;
	much.len = 16 * MIB;
	much.depth = 16;
	go("mem:16MiB", 16, false, 255);
	assert_in_range(much.longest, 250, 260);
}

static void memory_is_written(void **state)
{
	(void)state;
	much.op = WEFT_WRITE;
	much.len = 64 * MIB;
	go("mem:64MiB", 1, false, 63);
}

static void memory_is_cleared_and_kept(void **state)
{
	(void)state;
	much.op = WEFT_ZERO;
	much.flags = WEFT_NO_UNMAP;
	much.len = 64 * MIB;
	go("mem:64MiB", 1, false, 63);
}

static void memory_is_copied_within_the_device(void **state)
{
	(void)state;
	much.op = WEFT_COPY;
	much.len = 32 * MIB;
	much.source = 32 * MIB;
	go("mem:64MiB", 1, false, 31);
}

static void memory_is_given_back(void **state)
{
	(void)state;
	much.op = WEFT_DISCARD;
	much.len = 2 * GIB;
	go("mem:2GiB", 1, false, 127);
}

static void memory_is_cleared_by_giving_it_back(void **state)
{
	(void)state;
	much.op = WEFT_ZERO;
	much.len = 2 * GIB;
	go("mem:2GiB", 1, false, 127);
}

static void zeroes_are_read_from_nothing(void **state)
{
	(void)state;
	much.op = WEFT_READ;
	much.len = GIB;
	go("null:1GiB,zero=on", 1, false, 1022);
}

/* In pieces that are short, each of which is answered at once. */
static void a_stripe_over_memory_is_read(void **state)
{
	(void)state;
	much.op = WEFT_READ;
	much.len = 64 * MIB;
	go("stripe:[mem:32MiB],[mem:32MiB],chunk=4KiB", 1, false, 62);
}

static void a_layer_that_takes_a_mebibyte_at_once_is_asked(void **state)
{
	(void)state;
	much.op = WEFT_READ;
	much.len = 32 * MIB;
	go("contract:[null:32MiB]", 1, false, 30);
}

static void what_the_waist_makes_up_is_asked(void **state)
{
	(void)state;
	much.op = WEFT_COPY; /* null has none: the waist reads and writes */
	much.len = 32 * MIB;
	much.source = 32 * MIB;
	go("null:64MiB,zero=on", 1, false, 30);
}

/* ---- amid it ---- */

static void abort_msg(void *self)
{
	assert_int_equal(slots_abort(weft_reactor_here(), &((struct asker *)self)->session, -ECANCELED), 1);
}

static void aborted_amid(const char *text, unsigned op)
{
	much.op = op;
	much.len = GIB;
	begin(text, 1, false);
	assert_true(sim_run(party.world, some_turns_have_passed, NULL, 100000));
	assert_int_equal(much.answers, 0);
	party_on(&party, 1, abort_msg, &much);
	assert_true(sim_run(party.world, much_is_answered, NULL, 100000));
	assert_int_equal(much.status, -ECANCELED);
	assert_true(little.answers < 100 && little.longest == 0);
	end(false);
}

static void an_abort_ends_a_leaf_s_request_amid_it(void **state)
{
	(void)state;
	aborted_amid("mem:1GiB", WEFT_READ);
}

static void an_abort_ends_a_stripe_s_request_amid_it(void **state)
{
	(void)state;
	aborted_amid("stripe:[mem:512MiB],[mem:512MiB]", WEFT_READ);
}

static void an_abort_ends_a_split_request_amid_it(void **state)
{
	(void)state;
	aborted_amid("contract:[null:1GiB]", WEFT_READ);
}

static void a_deadline_ends_it_amid(void **state)
{
	(void)state;
	much.op = WEFT_READ;
	much.len = GIB;
	much.deadline_us = 10;
	begin("mem:1GiB", 1, false);
	assert_true(sim_run(party.world, much_is_answered, NULL, 1000000));
	assert_int_equal(much.status, -ETIMEDOUT);
	assert_true(little.answers < 1000);
	end(false);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_gigabyte_of_memory_is_read),
		TEST(another_ring_of_the_same_disk_is_served_meanwhile),
		TEST(many_long_requests_share_what_one_has),
		TEST(memory_is_written),
		TEST(memory_is_cleared_and_kept),
		TEST(memory_is_copied_within_the_device),
		TEST(memory_is_given_back),
		TEST(memory_is_cleared_by_giving_it_back),
		TEST(zeroes_are_read_from_nothing),
		TEST(a_stripe_over_memory_is_read),
		TEST(a_layer_that_takes_a_mebibyte_at_once_is_asked),
		TEST(what_the_waist_makes_up_is_asked),
		TEST(an_abort_ends_a_leaf_s_request_amid_it),
		TEST(an_abort_ends_a_stripe_s_request_amid_it),
		TEST(an_abort_ends_a_split_request_amid_it),
		TEST(a_deadline_ends_it_amid),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
