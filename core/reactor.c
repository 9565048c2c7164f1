/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reactor.
 *
 * Invariants:
 *  R1  All but the inboxes, `sleeping`, `mode`, `stopping`, `nudged`, `sessions_open` and `coming` belongs to the thread that
 *      steps it.
 *  R2  Before it sleeps: `sleeping` is set, every source is armed, a full fence, then the inboxes, sources, `mode`,
 *      `stopping` and `nudged` are looked at once more. A sender pushes (or sets one of these), a full fence, then looks at
 *      `sleeping`. So one of the two sees the other, and no wake-up is lost.
 *  R3  In a turn: what has come in, then unwinding, commits and flushes until nothing is left; then a part of each device's long
 *      requests (core/hop.c, H6), and what comes of that; then one submission to the kernel. It does not sleep while such are left.
 */
#include <errno.h>

#include <weft/memory.h>

#include "core/blk.h"
#include "core/core.h"
#include "core/stack.h"

static _Thread_local struct weft_reactor *here;

struct weft_reactor *weft_reactor_here(void)
{
	return here;
}

void reactor_abandoned(void)
{
	here = NULL;
}

uint64_t weft_reactor_now(const struct weft_reactor *reactor)
{
	return reactor->now;
}

unsigned weft_reactor_lane(const struct weft_reactor *reactor)
{
	return reactor->lane;
}

struct weft_core *weft_reactor_core(const struct weft_reactor *reactor)
{
	return reactor->core;
}

/* A Weyl sequence, mixed: equidistributed, and any seed is good. */
uint64_t weft_reactor_rand(struct weft_reactor *reactor)
{
	uint64_t z = reactor->rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* ---- inboxes: pushed by any thread, taken whole by the owner ---- */

static void wake(struct weft_reactor *reactor)
{
	atomic_thread_fence(memory_order_seq_cst); /* R2 */
	if (atomic_load_explicit(&reactor->sleeping, memory_order_relaxed) &&
			atomic_exchange(&reactor->sleeping, false))
		env_loop_wake(reactor->loop);
}

void weft_reactor_post(struct weft_reactor *reactor, struct weft_msg *msg)
{
	struct weft_msg *first;

	WEFT_ASSERT(!msg->posted && msg->fn != NULL);
	msg->posted = true;
	first = atomic_load_explicit(&reactor->inbox, memory_order_relaxed);
	do
		msg->next = first;
	while (!atomic_compare_exchange_weak_explicit(&reactor->inbox, &first, msg, memory_order_release,
			memory_order_relaxed));
	wake(reactor);
}

void reactor_post_hop(struct weft_reactor *reactor, struct weft_hop *hop)
{
	struct weft_hop *first = atomic_load_explicit(&reactor->hop_inbox, memory_order_relaxed);

	do
		hop->queue = first;
	while (!atomic_compare_exchange_weak_explicit(&reactor->hop_inbox, &first, hop, memory_order_release,
			memory_order_relaxed));
	wake(reactor);
}

static bool inbox_has_work(struct weft_reactor *reactor)
{
	return atomic_load_explicit(&reactor->inbox, memory_order_acquire) != NULL ||
		atomic_load_explicit(&reactor->hop_inbox, memory_order_acquire) != NULL;
}

/* Messages are taken before hops, and run after them: a message that was sent behind a hop finds it there. */
static void take_inboxes(struct weft_reactor *reactor)
{
	struct weft_msg *msg = atomic_exchange_explicit(&reactor->inbox, NULL, memory_order_acquire), *msgs = NULL;
	struct weft_hop *hop = atomic_exchange_explicit(&reactor->hop_inbox, NULL, memory_order_acquire), *hops = NULL;

	WEFT_ASSERT(weft_reactor_here() == reactor);
	while (hop != NULL) {
		struct weft_hop *next = hop->queue;
		hop->queue = hops;
		hops = hop;
		hop = next;
	}
	while (msg != NULL) {
		struct weft_msg *next = msg->next;
		msg->next = msgs;
		msgs = msg;
		msg = next;
	}
	while (hops != NULL) {
		struct weft_hop *next = hops->queue;
		hop_arrived(reactor, hops);
		hops = next;
	}
	while (msgs != NULL) {
		struct weft_msg *next = msgs->next;
		msgs->posted = false;
		reactor->stats.messages++;
		msgs->fn(msgs->self);
		msgs = next;
	}
}

/* ---- sources ---- */

void weft_source_add(struct weft_reactor *reactor, struct weft_source *source)
{
	WEFT_ASSERT(source->poll != NULL && source->next == NULL);
	if (reactor->sources == NULL) {
		source->next = source->prev = source;
		reactor->sources = source;
	} else {
		source->next = reactor->sources;
		source->prev = reactor->sources->prev;
		source->prev->next = source->next->prev = source;
	}
	reactor->always += source->always;
}

void weft_source_remove(struct weft_reactor *reactor, struct weft_source *source)
{
	WEFT_ASSERT(source->next != NULL);
	if (source->flushing) {
		struct weft_source **link = &reactor->flushing;

		while (*link != source)
			link = &(*link)->flush_next;
		*link = source->flush_next;
		source->flushing = false;
	}
	source->prev->next = source->next;
	source->next->prev = source->prev;
	if (reactor->sources == source)
		reactor->sources = source->next == source ? NULL : source->next;
	source->next = source->prev = NULL;
	reactor->always -= source->always;
	reactor->sources_removed = true;
}

void weft_source_flush_later(struct weft_reactor *reactor, struct weft_source *source)
{
	if (source->flushing)
		return;
	WEFT_ASSERT(source->flush != NULL);
	source->flushing = true;
	source->flush_next = reactor->flushing;
	reactor->flushing = source;
}

/* Each source once, beginning with another one each turn. A poll may remove sources, its own too: then the rest waits for the
 * next turn. */
static bool poll_sources(struct weft_reactor *reactor)
{
	struct weft_source *first = reactor->sources, *source = first;
	bool worked = false;

	if (first == NULL)
		return false;
	reactor->sources_removed = false;
	do {
		struct weft_source *next = source->next;

		worked |= source->poll(source);
		source = next;
	} while (!reactor->sources_removed && source != first);
	if (reactor->sources != NULL)
		reactor->sources = reactor->sources->next;
	return worked || reactor->sources_removed;
}

/* ---- a turn ---- */

static bool fire_timers(struct weft_reactor *reactor)
{
	bool any = false;

	while (WEFT_UNLIKELY(reactor->timers != NULL && reactor->timers->at_ns <= reactor->now)) {
		struct weft_timer *timer = reactor->timers;

		weft_timer_disarm(reactor, timer);
		timer->fn(timer->self);
		any = true;
	}
	return any;
}

static bool commit_gathered(struct weft_reactor *reactor)
{
	bool any = false;

	while (reactor->gathered != NULL) {
		struct weft_shard *shard = reactor->gathered;

		reactor->gathered = shard->gather_next;
		shard->gathered = false;
		shard->blk->ops->commit(shard->blk, shard->own);
		any = true;
	}
	return any;
}

static bool flush_sources(struct weft_reactor *reactor)
{
	bool any = false;

	while (reactor->flushing != NULL) {
		struct weft_source *source = reactor->flushing;

		reactor->flushing = source->flush_next;
		source->flushing = false;
		source->flush(source);
		any = true;
	}
	return any;
}

static void disarm_sources(struct weft_reactor *reactor)
{
	struct weft_source *source = reactor->sources;

	WEFT_ASSERT(weft_reactor_here() == reactor);
	reactor->armed = false;
	atomic_store_explicit(&reactor->sleeping, false, memory_order_relaxed);
	if (source == NULL)
		return;
	do {
		if (source->disarm != NULL)
			source->disarm(source);
		source = source->next;
	} while (source != reactor->sources);
}

/* By another thread, maybe after this turn has looked at it. */
static bool told_to_go_on(struct weft_reactor *reactor)
{
	return atomic_load_explicit(&reactor->stopping, memory_order_acquire) ||
		atomic_load_explicit(&reactor->nudged, memory_order_acquire) ||
		atomic_load_explicit(&reactor->mode, memory_order_relaxed) == WEFT_MODE_POLL;
}

/* R2. True: nothing has come, the thread may sleep. */
static bool arm_sources(struct weft_reactor *reactor)
{
	struct weft_source *source = reactor->sources;
	bool work = false;

	WEFT_ASSERT(weft_reactor_here() == reactor && !reactor->armed);
	atomic_store_explicit(&reactor->sleeping, true, memory_order_relaxed);
	reactor->armed = true;
	if (source != NULL) {
		do {
			if (source->arm != NULL)
				work |= source->arm(source);
			source = source->next;
		} while (source != reactor->sources && !work);
	}
	atomic_thread_fence(memory_order_seq_cst);
	return !work && !inbox_has_work(reactor) && !told_to_go_on(reactor);
}

static bool waits_for_disk(const struct weft_reactor *reactor)
{
	struct env_loop_stats stats;

	env_loop_stats(reactor->loop, &stats);
	return stats.in_flight > 0;
}

static bool may_sleep(struct weft_reactor *reactor)
{
	int mode = atomic_load_explicit(&reactor->mode, memory_order_relaxed);

	if (mode == WEFT_MODE_POLL)
		return false;
	if (!spin_is_idle(&reactor->spin))
		spin_idle(&reactor->spin, reactor->stats.requests, !waits_for_disk(reactor), reactor->now);
	if (spin_lingers(&reactor->spin, reactor->now))
		return false;
	return mode == WEFT_MODE_NOTIFY || spin_should_sleep(&reactor->spin, reactor->now);
}

uint64_t reactor_rest(struct weft_reactor *reactor)
{
	WEFT_ASSERT(reactor->ended.head == NULL && reactor->gathered == NULL && reactor->flushing == NULL);
	if (!may_sleep(reactor))
		return 0;
	return reactor_arm(reactor);
}

uint64_t reactor_arm(struct weft_reactor *reactor)
{
	if (reactor->always > 0 || reactor->yielding != NULL)
		return 0;
	if (!arm_sources(reactor)) {
		disarm_sources(reactor);
		return 0;
	}
	reactor->stats.sleeps++;
	if (reactor->timers == NULL)
		return ENV_FOREVER;
	return reactor->timers->at_ns > reactor->now ? reactor->timers->at_ns - reactor->now : 1;
}

struct weft_reactor *reactor_enter(struct weft_reactor *reactor)
{
	struct weft_reactor *before = here;

	here = reactor;
	return before;
}

void reactor_leave(struct weft_reactor *before)
{
	here = before;
}

bool reactor_inbox_empty(struct weft_reactor *reactor)
{
	return !inbox_has_work(reactor);
}

void reactor_disarm(struct weft_reactor *reactor)
{
	if (reactor->armed)
		disarm_sources(reactor);
}

static inline bool unwind(struct weft_reactor *reactor)
{
	bool any = false;

	do
		any |= hops_unwind(reactor);
	while (commit_gathered(reactor) || flush_sources(reactor) || reactor->ended.head != NULL);
	return any;
}

void reactor_send(struct weft_reactor *reactor)
{
	WEFT_ASSERT(here == reactor);
	unwind(reactor);
	env_loop_submit(reactor->loop);
}

static inline bool turn(struct weft_reactor *reactor, uint64_t now_ns)
{
	bool worked = false;

	reactor->now = now_ns;
	reactor->stats.turns++;
	if (WEFT_UNLIKELY(reactor->armed))
		disarm_sources(reactor);
	if (WEFT_UNLIKELY(inbox_has_work(reactor))) {
		take_inboxes(reactor);
		worked = true;
	}
	worked |= fire_timers(reactor);
	worked |= env_loop_poll(reactor->loop);
	worked |= poll_sources(reactor);
	worked |= unwind(reactor);
	if (WEFT_UNLIKELY(reactor->yielding != NULL)) {
		hops_resume(reactor);
		unwind(reactor);
		worked = true;
	}
	if (worked) {
		reactor->stats.busy_turns++;
		spin_worked(&reactor->spin, now_ns);
	}
	return worked;
}

bool reactor_turn(struct weft_reactor *reactor, uint64_t now_ns)
{
	WEFT_ASSERT(here == reactor);
	return turn(reactor, now_ns);
}

uint64_t reactor_step(void *self, uint64_t now_ns)
{
	struct weft_reactor *reactor = self, *before = here;
	uint64_t wait;

	WEFT_ASSERT(before != reactor);
	here = reactor;
	if (turn(reactor, now_ns))
		wait = 0;
	else if (WEFT_UNLIKELY(atomic_load_explicit(&reactor->stopping, memory_order_acquire)))
		wait = ENV_STOP;
	else
		wait = reactor_rest(reactor);
	if (wait == 0)
		env_loop_submit(reactor->loop); /* else env_loop_wait does it, in the same system call */
	here = before;
	return wait;
}

/* ---- deadlines ---- */

static void deadline_fire(void *self)
{
	struct weft_reactor *reactor = self;
	uint64_t slots, visitors, at;

	WEFT_ASSERT(weft_reactor_here() == reactor);
	slots = slots_expire(reactor, reactor->now);
	visitors = carrier_expire(reactor, reactor->now);
	at = slots < visitors ? slots : visitors;
	if (at != ENV_FOREVER)
		reactor_deadline(reactor, at);
}

void reactor_deadline(struct weft_reactor *reactor, uint64_t at_ns)
{
	struct weft_timer *timer = &reactor->deadline_timer;

	WEFT_ASSERT(at_ns != ENV_FOREVER);
	if (timer->armed && timer->at_ns <= at_ns)
		return;
	weft_timer_disarm(reactor, timer);
	timer->fn = deadline_fire;
	timer->self = reactor;
	weft_timer_arm(reactor, timer, at_ns);
}

/* ---- life ---- */

void reactor_mode_set(struct weft_reactor *reactor, enum weft_mode mode)
{
	atomic_store_explicit(&reactor->mode, (int)mode, memory_order_relaxed);
	wake(reactor);
}

void reactor_nudge(struct weft_reactor *reactor)
{
	atomic_store_explicit(&reactor->nudged, true, memory_order_release);
	wake(reactor);
}

void reactor_stop(struct weft_reactor *reactor)
{
	atomic_store_explicit(&reactor->stopping, true, memory_order_release);
	wake(reactor);
}

static void parts_close(struct weft_reactor *reactor)
{
	slot_vectors_close(reactor);
	if (reactor->loop != NULL)
		env_loop_close(reactor->loop);
	reactor->loop = NULL;
}

int reactor_open(struct weft_core *core, unsigned lane, uint32_t budget, bool movable, struct weft_reactor **out,
	struct weft_why *why)
{
	struct weft_reactor *retired = *out, *reactor = retired;
	int error;

	WEFT_ASSERT(lane < CORE_REACTORS_MAX && budget > 0);
	if (reactor == NULL)
		reactor = weft_alloc_aligned(core, 128, sizeof(*reactor));
	if (reactor == NULL)
		return weft_why(why, -ENOMEM, "no memory for reactor %u", lane);
	*reactor = (struct weft_reactor){ .core = core, .lane = lane, .budget = budget, .movable = movable,
		.rng = env_random(core->env), .now = env_now_ns(core->env) };
	hop_list_init(&reactor->ended);
	error = movable ? env_loop_open_movable(core->env, &reactor->loop, why) :
		env_loop_open(core->env, &reactor->loop, why);
	if (error == 0)
		error = slot_vectors_open(reactor, why);
	if (error != 0) {
		parts_close(reactor);
		if (retired == NULL)
			weft_free(core, reactor);
		return error;
	}
	spin_init(&reactor->spin, env_loop_wake_cost_ns(reactor->loop));
	*out = reactor;
	return 0;
}

void reactor_retire(struct weft_reactor *reactor)
{
	WEFT_ASSERT(reactor->sources == NULL && reactor->ended.head == NULL && reactor->yielding == NULL);
	WEFT_ASSERT(!inbox_has_work(reactor));
	parts_close(reactor);
}

void reactor_close(struct weft_reactor *reactor)
{
	reactor_retire(reactor);
	weft_free(reactor->core, reactor);
}
