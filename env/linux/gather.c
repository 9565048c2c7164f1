/* SPDX-License-Identifier: BSD-2-Clause */
/* The time that a burst of completions is given. */
#include <weft/base.h>

#include "env/linux/gather.h"

#define WEIGHT_SHIFT 3 /* of the newest burst: 1/8 */

/* The mean gap of the burst that has passed, now that another one begins. */
static void gather_learn(struct gather *g, uint64_t now_ns)
{
	if (g->last_ns != 0 && g->ended > 0) {
		uint64_t gap_ns = (now_ns - g->last_ns) / g->ended;

		if (g->gap_ns == 0)
			g->gap_ns = gap_ns;
		g->gap_ns += gap_ns >> WEIGHT_SHIFT;
		g->gap_ns -= g->gap_ns >> WEIGHT_SHIFT;
	}
	g->last_ns = now_ns;
	g->ended = 0;
}

bool gather_more(struct gather *g, uint64_t in_flight, uint64_t now_ns)
{
	uint64_t grow_ns;

	if (in_flight < GATHER_FROM)
		return false;
	if (g->since_ns == 0) {
		g->since_ns = now_ns;
		gather_learn(g, now_ns);
		trial_look(&g->trial, g->all, now_ns);
	}
	if (!gather_grows(g))
		return false;
	WEFT_ASSERT(now_ns >= g->since_ns && g->last_ns != 0);
	grow_ns = g->gap_ns * in_flight >> GATHER_LATENCY_SHIFT;
	if (grow_ns > GATHER_MAX_NS)
		grow_ns = GATHER_MAX_NS;
	return now_ns - g->since_ns < grow_ns;
}
