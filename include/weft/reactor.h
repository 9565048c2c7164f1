/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The reactor: one event loop and all that it owns, run by one thread at a time. It is passive: somebody steps it and brings
 * the time.
 * Components see: the clock, timers, messages, sources, randomness, memory.
 */
#ifndef WEFT_REACTOR_H
#define WEFT_REACTOR_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weft_core;
struct weft_reactor;

typedef void weft_reactor_fn(void *self);

/* Embedded by its sender, who owns it again when `fn` runs. Zero-initialised. */
struct weft_msg {
	struct weft_msg *next;
	weft_reactor_fn *fn;
	void *self;
	bool posted;
};

/* Embedded by its owner. Zero-initialised. */
struct weft_timer {
	struct weft_timer *child, *sibling, *prev; /* pairing heap */
	uint64_t at_ns;
	weft_reactor_fn *fn;
	void *self;
	bool armed;
};

/*
 * Something that is looked at in each turn: a ring, a session. Embedded by its owner. poll: takes what is there (bounded: at
 * most 32
 * requests), true if there was any. arm: about to sleep: ask the peer to notify; true if work has come meanwhile (then it is not
 * armed). disarm: awake again, the peer need not notify. flush: end of the turn: publish what was gathered. Each may be NULL
 * but poll.
 */
struct weft_source {
	struct weft_source *next, *prev;
	bool (*poll)(struct weft_source *source);
	bool (*arm)(struct weft_source *source);
	void (*disarm)(struct weft_source *source);
	void (*flush)(struct weft_source *source);
	bool flushing;   /* linked for this turn's flush */
	bool always;     /* cannot notify (no kick descriptor): the reactor must not sleep while it is there */
	struct weft_source *flush_next;
};

enum weft_mode {
	WEFT_MODE_POLL,     /* never sleeps */
	WEFT_MODE_ADAPTIVE, /* spins while that is cheaper than sleeping */
	WEFT_MODE_NOTIFY,   /* sleeps whenever there is nothing to do */
};

/* The clock, read once per step: ns, monotonic. On the reactor. */
WEFT_API uint64_t weft_reactor_now(const struct weft_reactor *reactor);
/* A seeded generator. On the reactor. */
WEFT_API uint64_t weft_reactor_rand(struct weft_reactor *reactor);
/* The reactor that this thread is stepping; NULL: none. For assertions. */
WEFT_API struct weft_reactor *weft_reactor_here(void);
/* Index among the process' reactors: a device's shard. 0 is the control reactor. */
WEFT_API unsigned weft_reactor_lane(const struct weft_reactor *reactor);
WEFT_API struct weft_core *weft_reactor_core(const struct weft_reactor *reactor);

/* Runs msg->fn(msg->self) on `reactor`, from any thread. Asserts !posted. Messages of one sender arrive in order. */
WEFT_API void weft_reactor_post(struct weft_reactor *reactor, struct weft_msg *msg);

/* Runs timer->fn(timer->self) once, at or after at_ns. Asserts that it is not armed. On the reactor. */
WEFT_API void weft_timer_arm(struct weft_reactor *reactor, struct weft_timer *timer, uint64_t at_ns);
/* Not armed afterwards, whatever it was before. On the reactor. */
WEFT_API void weft_timer_disarm(struct weft_reactor *reactor, struct weft_timer *timer);

/* On the reactor. A source added while the reactor sleeps is armed at the next sleep. */
WEFT_API void weft_source_add(struct weft_reactor *reactor, struct weft_source *source);
WEFT_API void weft_source_remove(struct weft_reactor *reactor, struct weft_source *source);
/* Has source->flush called once at the end of this turn. */
WEFT_API void weft_source_flush_later(struct weft_reactor *reactor, struct weft_source *source);

#ifdef __cplusplus
}
#endif
#endif
