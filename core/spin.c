/* SPDX-License-Identifier: BSD-2-Clause */
/* The adaptive mode's judgement. */
#include <weft/base.h>

#include "core/spin.h"

/* Weight of the newest idle period: 1/8; a longer one counts as this many wake-ups at most, so that bursts are found soon
 * again. */
#define WEIGHT_SHIFT 3
#define LONGEST_WAKES 16
#define SPIN_WAKES 4

void spin_init(struct spin *spin, uint64_t wake_cost_ns)
{
	WEFT_ASSERT(wake_cost_ns > 0);
	spin->idle_since_ns = 0;
	spin->wake_cost_ns = wake_cost_ns;
	spin->mean_ns = 2 * wake_cost_ns;
}

void spin_worked(struct spin *spin, uint64_t now_ns)
{
	uint64_t idle_ns, longest = LONGEST_WAKES * spin->wake_cost_ns;

	if (spin->idle_since_ns == 0)
		return;
	WEFT_ASSERT(now_ns >= spin->idle_since_ns);
	idle_ns = now_ns - spin->idle_since_ns;
	if (idle_ns > longest)
		idle_ns = longest;
	spin->mean_ns += (idle_ns >> WEIGHT_SHIFT);
	spin->mean_ns -= spin->mean_ns >> WEIGHT_SHIFT;
	spin->idle_since_ns = 0;
}

bool spin_should_sleep(struct spin *spin, uint64_t now_ns)
{
	WEFT_ASSERT(spin->wake_cost_ns > 0 && now_ns >= spin->idle_since_ns);
	if (spin->idle_since_ns == 0)
		spin->idle_since_ns = now_ns;
	if (spin->mean_ns >= spin->wake_cost_ns)
		return true;
	return now_ns - spin->idle_since_ns > SPIN_WAKES * spin->wake_cost_ns;
}
