/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When an idle reactor should go to sleep. Pure: fed with what happened, asked what to do.
 *
 * In notify and adaptive mode it lingers first: who has just been served is likely to ask again, and who was just asked to
 * answer, sooner than a sleep and a wake-up take. It looks around for a time in proportion to the requests that it has handled
 * since it was idle last, so that what may be wasted on each is bounded; not while a disk has yet to answer; and seldom, where
 * it was in vain several times in a row. Two such reactors that talk to each other stay awake as long as they are busy.
 *
 * In adaptive mode it may go on for longer, and spin.
 * A sleep costs one wake-up: the system calls and switches of the one that sleeps, and the notification of the one that wakes it.
 * When arrivals have no memory, with a mean gap g and a wake-up W, a period of sleep lasts g + W, so that sleeping takes
 * W / (g + W) of a processor, both sides counted, and spinning one whole. Spinning is worth it while that costs at most a quarter
 * more than sleeping, for nobody waits for a wake-up then: while g < W / 4.
 *
 * Who sleeps cannot see g: an idle period that was slept through is longer by its own wake-up, which varies by more than W / 4.
 * So, where periods are short enough that it may pay, it stays awake now and then for a few and looks.
 */
#ifndef CORE_SPIN_H
#define CORE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

enum spin_state { SPIN_SLEEPS, SPIN_TRIES, SPIN_SPINS };

struct spin {
	uint64_t wake_cost_ns;   /* W, measured once */
	uint64_t idle_since_ns;  /* 0: busy */
	uint64_t requests;       /* handled until then */
	uint64_t linger_until_ns;
	unsigned vain;           /* times in a row that it lingered and nothing came */
	unsigned skipped;        /* times since then that it did not linger */
	enum spin_state state;
	uint64_t mean_ns;        /* of recent idle periods, with wake-ups while it sleeps; as bounded in spin.c */
	unsigned left;           /* SLEEPS: periods until it may try; TRIES: periods until it has succeeded */
	uint64_t tried_ns;       /* TRIES: the sum of those that have passed */
};

void spin_init(struct spin *spin, uint64_t wake_cost_ns);
/* There was work at `now`. */
void spin_worked(struct spin *spin, uint64_t now_ns);
/* There was none, for the first time since: `requests` have been handled so far; `lingers`: unless it waits for a disk. */
void spin_idle(struct spin *spin, uint64_t requests, bool lingers, uint64_t now_ns);
static inline bool spin_is_idle(const struct spin *spin) { return spin->idle_since_ns != 0; }
/* Idle; true: look around once more, whatever the mode. */
static inline bool spin_lingers(const struct spin *spin, uint64_t now_ns) { return now_ns < spin->linger_until_ns; }
/* Idle, and does not linger; in adaptive mode: true: sleep. */
bool spin_should_sleep(struct spin *spin, uint64_t now_ns);

#endif
