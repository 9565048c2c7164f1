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

/* A list of hops, in order, linked by hop->queue (`ended`: by hop->next_ended). */
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
	struct weft_shard *yielding;     /* with requests to be gone on with at its end (weft_hop_yield), */
	struct weft_shard *resuming;     /* ... and, there, those of them whose turn is still to come */
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
	struct spin spin;                /* whether to sleep when idle */
	struct weft_hop *visitors;       /* hops that were carried here (core/carrier.c) */
	struct reactor_stats stats;
	struct env_thread *thread;
	unsigned coming;                 /* control's: sessions that it has sent here, and that have not answered yet */
	/* a program's: */
	const void *owner;               /* the mark of the thread that runs it (env_thread_mark); NULL: a thread of ours */
	void *program;                   /* libweft's notes; NULL: closed */
	bool movable;                    /* other threads may adopt it */
	struct weft_reactor *next_retired;
	/* of all threads */
	_Alignas(128) _Atomic(struct weft_msg *) inbox;
	_Atomic(struct weft_hop *) hop_inbox;
	_Atomic uint32_t sessions_open;
	_Atomic bool sleeping;
	_Atomic int mode;                /* enum weft_mode */
	_Atomic bool stopping;
	_Atomic bool nudged;             /* who waits for this reactor is to look up (a program's weft_reactor_wake) */
};

/* One turn: messages, timers, completions, sources, unwinding, commits, flushes. Returns as env_step_fn does. */
uint64_t reactor_step(void *reactor, uint64_t now_ns);

/*
 * The same in pieces, for a program that runs its own reactor. enter/leave: the thread is on the reactor between them; leave
 * gets what enter returned. turn: all of a step but sleeping; true: there was something to do. rest: after a turn without work:
 * how long to sleep, with all sources armed; 0: not at all. send: what was submitted since the last turn goes out.
 */
struct weft_reactor *reactor_enter(struct weft_reactor *reactor);
void reactor_leave(struct weft_reactor *before);
bool reactor_turn(struct weft_reactor *reactor, uint64_t now_ns);
uint64_t reactor_rest(struct weft_reactor *reactor);
uint64_t reactor_arm(struct weft_reactor *reactor); /* the same, however much the mode would like to spin */
void reactor_send(struct weft_reactor *reactor);
/* Nobody need notify us any more (what the next turn does anyway). */
void reactor_disarm(struct weft_reactor *reactor);
void reactor_nudge(struct weft_reactor *reactor); /* any thread */
/* Nothing has come that a turn would take. */
bool reactor_inbox_empty(struct weft_reactor *reactor);

/* *out: NULL, or a retired one, whose memory is taken. */
int reactor_open(struct weft_core *core, unsigned lane, uint32_t budget, bool movable, struct weft_reactor **out,
	struct weft_why *why);
void reactor_close(struct weft_reactor *reactor);
void reactor_retire(struct weft_reactor *reactor); /* the same, but for its memory */
void reactor_mode_set(struct weft_reactor *reactor, enum weft_mode mode); /* any thread */

/* A step of this thread was left by longjmp (a simulated node was killed in it): weft_reactor_here() is NULL again. */
void reactor_abandoned(void);
void reactor_stop(struct weft_reactor *reactor); /* any thread: step returns ENV_STOP once there is nothing to do */

static inline struct env_loop *reactor_loop(struct weft_reactor *reactor) { return reactor->loop; }

#endif
