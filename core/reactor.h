/* SPDX-License-Identifier: BSD-2-Clause */
/* The reactor from the inside: what the core, the environment's drivers and in-tree components may see. */
#ifndef CORE_REACTOR_H
#define CORE_REACTOR_H

#include <stdatomic.h>
#include <weft/hop.h>
#include <weft/reactor.h>

#include "core/spin.h"
#include "env/env.h"

struct weft_stack;
struct weft_session;
struct weft_shard;
struct slot_pool;

/* A list of hops, in order, linked by hop->queue. */
struct hop_list {
	struct weft_hop *head, **tail;
};

struct reactor_stats {
	uint64_t turns, busy_turns, sleeps, messages, requests;
};

struct weft_reactor {
	/* of its own thread */
	uint64_t now;
	struct hop_list ended;           /* to be delivered in this turn */
	struct weft_shard *gathered;     /* to be committed in this turn */
	struct weft_source *flushing;    /* to be flushed in this turn */
	struct weft_source *sources;     /* ring; served in turn */
	bool sources_removed;            /* while they were polled */
	struct weft_timer *timers;       /* pairing heap, the earliest on top */
	struct env_loop *loop;
	uint64_t rng;
	struct weft_core *core;
	unsigned lane;
	unsigned always;                 /* sources that cannot notify */
	bool armed;                      /* sources have been armed */
	uint32_t budget, taken;          /* slots; taken: beyond the one that each session is sure of */
	struct weft_session *sessions;
	uint64_t deadlines;              /* hops in flight that carry one */
	struct weft_timer deadline_timer;
	struct slot_vectors *vectors;
	struct slot_pool *pools;
	struct spin spin;                /* the adaptive mode's judgement */
	struct weft_hop *visitors;       /* hops that were carried here (core/carrier.c) */
	struct reactor_stats stats;
	struct env_thread *thread;
	/* of all threads */
	_Alignas(128) _Atomic(struct weft_msg *) inbox;
	_Atomic(struct weft_hop *) hop_inbox;
	_Atomic uint32_t sessions_open;
	_Atomic bool sleeping;
	_Atomic int mode;                /* enum weft_mode */
	_Atomic bool stopping;
};

/* One turn: messages, timers, completions, sources, unwinding, commits, flushes. Returns as env_step_fn does. */
uint64_t reactor_step(void *reactor, uint64_t now_ns);

int reactor_open(struct weft_core *core, unsigned lane, uint32_t budget, struct weft_reactor **out, struct weft_why *why);
void reactor_close(struct weft_reactor *reactor);
void reactor_mode_set(struct weft_reactor *reactor, enum weft_mode mode); /* any thread */

/* A step of this thread was left by longjmp (a simulated node was killed in it): weft_reactor_here() is NULL again. */
void reactor_abandoned(void);
void reactor_stop(struct weft_reactor *reactor); /* any thread: step returns ENV_STOP once there is nothing to do */

static inline struct env_loop *reactor_loop(struct weft_reactor *reactor) { return reactor->loop; }

#endif
