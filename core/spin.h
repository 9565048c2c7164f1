/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When an idle reactor in adaptive mode should go to sleep. Pure: fed with what happened, asked what to do.
 *
 * When arrivals have no memory, it is best to spin for ever if the next one is expected sooner than a wake-up would cost, and
 * else to
 * sleep at once. So the judgement is the mean of recent idle periods against the cost of a wake-up; a spin that lasts for
 * several times
 * that cost was a misjudgement, and ends.
 */
#ifndef CORE_SPIN_H
#define CORE_SPIN_H

#include <stdbool.h>
#include <stdint.h>

struct spin {
	uint64_t idle_since_ns;  /* 0: busy */
	uint64_t mean_ns;        /* of recent idle periods */
	uint64_t wake_cost_ns;
};

void spin_init(struct spin *spin, uint64_t wake_cost_ns);
/* There was work at `now`. */
void spin_worked(struct spin *spin, uint64_t now_ns);
/* There was none: true: sleep. */
bool spin_should_sleep(struct spin *spin, uint64_t now_ns);

#endif
