/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long a loop that spins leaves completions with the kernel, so that more come along. Pure: fed with what
 * happened, asked what to do.
 *
 * A disk answers in bursts. Who enters the kernel for the first of a burst takes one or two, asks for one or two
 * more, and meets the rest of the burst in the driver's lock: the disk sees single requests from then on. So the
 * burst may grow for a sixteenth of the time that requests take just now (by Little's law: how many are on their
 * way, times the mean gap between their ends), which nobody notices. A few requests on their own are not kept.
 *
 * Where the disk interrupts this very processor, the driver's lock is never met: there the first of a burst is best
 * fetched at once, and answered by itself. Which of the two it is, is found out by trying.
 */
#ifndef ENV_LINUX_GATHER_H
#define ENV_LINUX_GATHER_H

#include <stdbool.h>
#include <stdint.h>

#include "env/linux/trial.h"

#define GATHER_FROM 4u	      /* in flight; fewer are fetched at once */
#define GATHER_LATENCY_SHIFT 4 /* 1/16 of a request's time */
#define GATHER_MAX_NS 25000u

struct gather {
	uint64_t since_ns; /* completions wait with the kernel since then; 0: none do */
	uint64_t last_ns;  /* when the last burst began; 0: there was none yet */
	uint64_t ended;	   /* since last_ns */
	uint64_t gap_ns;   /* mean time between two that end, recently; 0: not known yet */
	uint64_t all;	   /* that have ended, ever */
	struct trial trial; /* the second way: at once */
};

/* The kernel has completions. True: leave them there and ask again. */
bool gather_more(struct gather *gather, uint64_t in_flight, uint64_t now_ns);
/* They have been fetched. */
static inline void gather_fetched(struct gather *gather) { gather->since_ns = 0; }
/* One has been delivered. */
static inline void gather_ended(struct gather *gather)
{
	gather->ended++;
	gather->all++;
}
/* The loop has slept: what it gets done in this time tells nothing. */
static inline void gather_slept(struct gather *gather) { trial_spoilt(&gather->trial); }
/* Bursts are left to grow just now. */
static inline bool gather_grows(const struct gather *gather) { return !gather->trial.second; }

#endif
