/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Slots: the only admission control. A session is sure of one slot; the rest of the reactor's budget is shared.
 *
 * Invariants: taken = sum over sessions of (slots - 1 where slots > 1); nothing is lent while taken + sessions_open is the budget
 * or more; a slot that is in use belongs to one session, and its root hop has at most one child in flight.
 * A session that opens while all is lent gets its sure slot all the same (others would decide by their load whether it can
 * begin), and what is lent shrinks as it comes back. So up to twice the budget can be in use, and pools have room for that.
 *
 * Exports ask weft_session_share first, since what their clients do is not in our hand: a device that hangs with all that its
 * clients can send leaves half of the budget to its neighbours, and one with many busy rings gets no more of a turn than one with
 * a single ring, neither in requests nor in bytes.
 */
#include <errno.h>
#include <string.h>

#include <weft/memory.h>

#include "core/blk.h"
#include "core/stack.h"

const struct weft_iface weft_export_iface = { "export", 1 };

int weft_session_open(struct weft_session *session, struct weft_reactor *reactor, struct weft_stack *stack,
	struct weft_why *why)
{
	WEFT_ASSERT(weft_reactor_here() == reactor && session->slots == 0);
	if (reactor->sessions_open >= reactor->budget)
		return weft_why(why, -ENOSPC, "%s: a reactor's budget of %u slots is spent by %u sessions: raise the budget or "
			"add a reactor", session->name, reactor->budget, (unsigned)reactor->sessions_open);
	reactor->sessions_open++;
	session->reactor = reactor;
	session->stack = stack;
	session->link[0] = NULL;
	session->link[1] = reactor->sessions;
	if (reactor->sessions != NULL)
		reactor->sessions->link[0] = session;
	reactor->sessions = session;
	weft_source_add(reactor, &session->source);
	return 0;
}

void weft_session_close(struct weft_session *session)
{
	struct weft_reactor *reactor = session->reactor;

	WEFT_ASSERT(weft_reactor_here() == reactor && session->slots == 0 && reactor->sessions_open > 0);
	weft_source_remove(reactor, &session->source);
	if (session->link[0] != NULL)
		session->link[0]->link[1] = session->link[1];
	else
		reactor->sessions = session->link[1];
	if (session->link[1] != NULL)
		session->link[1]->link[0] = session->link[0];
	reactor->sessions_open--;
	session->reactor = NULL;
}

/* A slot that was never used: its hops are zero, which is IDLE. */
static struct weft_slot *slot_make(struct weft_session *session, struct slot_pool *pool)
{
	struct weft_slot *slot = (struct weft_slot *)(void *)(pool->base + (size_t)pool->made * pool->slot_size);

	WEFT_ASSERT(pool->made < pool->count);
	pool->made++;
	slot->root.blk = &session->stack->root;
	slot->root.lane = (uint8_t)(session->reactor->lane & 0x7f);
	slot->segs = slot->own;
	slot->room = WEFT_SLOT_SEGS;
	return slot;
}

struct weft_slot *weft_session_slot(struct weft_session *session)
{
	struct weft_reactor *reactor = session->reactor;
	struct slot_pool *pool = &session->stack->pool[reactor->lane];
	struct weft_slot *slot = pool->free;

	if (WEFT_UNLIKELY(session->slots >= session->slots_max ||
			(session->slots > 0 && reactor->taken + reactor->sessions_open >= reactor->budget))) {
		session->waits++;
		return NULL;
	}
	if (WEFT_LIKELY(slot != NULL))
		pool->free = slot->next;
	else
		slot = slot_make(session, pool);
	WEFT_ASSERT(!slot->in_use);
	pool->given++;
	if (session->slots++ > 0)
		reactor->taken++;
	slot->in_use = 1;
	slot->session = session;
	return slot;
}

/* How many requests its stack may still start in this turn. */
static unsigned turn_left(const struct weft_reactor *reactor, struct slot_pool *pool)
{
	unsigned started;

	if (pool->turn != reactor->stats.turns) {
		pool->turn = reactor->stats.turns;
		pool->turn_given = pool->given;
		pool->turn_bytes = 0;
	}
	started = pool->given - pool->turn_given;
	return started < WEFT_SHARE_REQUESTS && pool->turn_bytes < WEFT_SHARE_BYTES ? WEFT_SHARE_REQUESTS - started : 0;
}

bool slots_turn_is_spent(struct weft_session *session)
{
	struct weft_reactor *reactor = session->reactor;

	WEFT_ASSERT(weft_reactor_here() == reactor && session->slots > 0);
	return reactor->pools->next != NULL && turn_left(reactor, &session->stack->pool[reactor->lane]) == 0;
}

unsigned weft_session_share(struct weft_session *session, unsigned most)
{
	struct weft_reactor *reactor = session->reactor;
	struct slot_pool *pool = &session->stack->pool[reactor->lane];
	uint32_t spoken_for = reactor->taken + reactor->sessions_open, in_use = pool->given - pool->back, left, room, turn;

	if (WEFT_LIKELY(reactor->pools->next == NULL))
		return most;
	WEFT_ASSERT(session->slots <= in_use && in_use <= pool->made);
	turn = turn_left(reactor, pool);
	left = reactor->budget > spoken_for ? reactor->budget - spoken_for : 0;
	room = left > in_use ? (left - in_use + 1) / 2 : 0; /* each one that it takes is one less that is left */
	if (room == 0 && session->slots == 0)
		room = 1; /* its own */
	WEFT_ASSERT(turn <= WEFT_SHARE_REQUESTS && pool->turn == reactor->stats.turns);
	if (room > turn)
		room = turn;
	return room < most ? room : most;
}

void weft_session_asked(struct weft_session *session, uint64_t bytes)
{
	struct weft_reactor *reactor = session->reactor;

	WEFT_ASSERT(reactor != NULL && reactor->sessions_open > 0);
	session->stack->pool[reactor->lane].turn_bytes += bytes;
}

static inline void give(struct weft_slot *slot)
{
	struct weft_session *session = slot->session;
	struct weft_reactor *reactor = session->reactor;
	struct slot_pool *pool = &session->stack->pool[reactor->lane];

	WEFT_ASSERT(slot->in_use && session->slots > 0);
	slot->in_use = 0;
	pool->back++;
	if (--session->slots > 0) {
		WEFT_ASSERT(reactor->taken > 0);
		reactor->taken--;
	}
	slot->next = pool->free;
	pool->free = slot;
}

/* On its own, so that the way of short requests has nothing to save and restore. */
static __attribute__((noinline)) void give_long(struct weft_slot *slot)
{
	slot_vector_give(slot);
	give(slot);
}

void weft_slot_give(struct weft_slot *slot)
{
	if (WEFT_UNLIKELY(slot->segs != slot->own))
		give_long(slot);
	else
		give(slot);
}

void weft_slot_submit(struct weft_slot *slot, unsigned op, unsigned flags, uint64_t offset, uint64_t len, unsigned nsegs,
	weft_hop_done *done)
{
	struct weft_hop *root = &slot->root, *top;

	WEFT_ASSERT(slot->in_use && nsegs <= slot->room && op < WEFT_OP_COUNT);
	root->view = (uint64_t)nsegs << 32 | (uint64_t)op << 48 | (uint64_t)flags << 56; /* read back as one word */
	root->offset = offset;
	root->len = len;
	root->segs = slot->segs;
	slot->session->reactor->stats.requests++;
	top = weft_hop_down(root);
	if (WEFT_UNLIKELY(root->deadline_us != 0))
		weft_hop_deadline(top, root->deadline_us);
	weft_hop_submit(top, slot->session->stack->device, done);
}

void slots_each(struct weft_reactor *reactor, void (*fn)(void *arg, struct weft_slot *slot), void *arg)
{
	WEFT_ASSERT(weft_reactor_here() == reactor);
	for (struct slot_pool *pool = reactor->pools; pool != NULL; pool = pool->next)
		for (uint32_t i = 0; i < pool->made; i++) {
			struct weft_slot *slot = (struct weft_slot *)(void *)(pool->base + (size_t)i * pool->slot_size);

			if (slot->in_use)
				fn(arg, slot);
		}
}

struct aborting {
	const struct weft_session *session; /* NULL: all */
	int status;
	unsigned count;
};

static void abort_one(void *arg, struct weft_slot *slot)
{
	struct aborting *a = arg;
	struct weft_hop *top = hop_child(&slot->root, 0);

	if (a->session != NULL && slot->session != a->session)
		return;
	if (top->state != WEFT_HOP_ASKED || top->status != 0)
		return; /* not submitted yet (a long chain that waits for its vector), ended, or asked before */
	slot->in_use = WEFT_SLOT_ABORTED;
	weft_hop_abort(top, a->status);
	a->count++;
}

unsigned slots_abort(struct weft_reactor *reactor, const struct weft_session *session, int status)
{
	struct aborting a = { .session = session, .status = status };

	WEFT_ASSERT(status < 0);
	slots_each(reactor, abort_one, &a);
	return a.count;
}

struct expiring {
	uint64_t now_ns, earliest;
};

static void expire_one(void *arg, struct weft_slot *slot)
{
	struct expiring *e = arg;
	uint64_t at = hop_expire(&slot->root, e->now_ns);

	WEFT_ASSERT(slot->in_use && slot->session->reactor->lane == slot->root.lane);
	if (at < e->earliest)
		e->earliest = at;
}

uint64_t slots_expire(struct weft_reactor *reactor, uint64_t now_ns)
{
	struct expiring e = { now_ns, ENV_FOREVER };

	WEFT_ASSERT(weft_reactor_here() == reactor);
	slots_each(reactor, expire_one, &e);
	return e.earliest;
}
