/* SPDX-License-Identifier: BSD-2-Clause */
/* When an idle reactor should go to sleep. */
#include <weft/base.h>

#include "core/spin.h"

/* So much of a wake-up for each request, and one whole wake-up at most; in vain so often: only every so many periods. */
#define LINGER_PART 64
#define LINGER_VAIN 4
#define LINGER_EVERY 4

/* Gaps shorter than a quarter of a wake-up begin the spinning, gaps longer than a third end it. */
#define SPIN_BELOW_PART 4
#define SPIN_UP_TO_PART 3
/* A spin that lasts for so many wake-ups was a misjudgement, or the other side was held up: it tries again at once. */
#define SPIN_WAKES 2

/* A try: so many periods, after so many that were slept through, if these lasted for less than so many wake-ups. */
#define TRY_PERIODS 4
#define TRY_AFTER 64
#define TRY_BELOW_WAKES 2

/* Weight of the newest period: 1/8, 1/16; and the longest that it counts for, so that a burst is found soon. */
#define SLEEP_SHIFT 3
#define SLEEP_LONGEST_WAKES 4
#define SPIN_SHIFT 4
#define SPIN_LONGEST_WAKES 1

void spin_init(struct spin *spin, uint64_t wake_cost_ns)
{
	WEFT_ASSERT(wake_cost_ns > 0);
	*spin = (struct spin){ .wake_cost_ns = wake_cost_ns, .mean_ns = wake_cost_ns };
}

static void mean_add(struct spin *spin, uint64_t idle_ns, unsigned longest_wakes, unsigned shift)
{
	uint64_t longest_ns = longest_wakes * spin->wake_cost_ns;

	spin->mean_ns += (idle_ns < longest_ns ? idle_ns : longest_ns) >> shift;
	spin->mean_ns -= spin->mean_ns >> shift;
}

static void sleep_from_now_on(struct spin *spin, unsigned try_after)
{
	spin->state = SPIN_SLEEPS;
	spin->mean_ns = spin->wake_cost_ns;
	spin->left = try_after;
}

static void slept(struct spin *spin, uint64_t idle_ns)
{
	mean_add(spin, idle_ns, SLEEP_LONGEST_WAKES, SLEEP_SHIFT);
	spin->left -= spin->left > 0;
	if (spin->left > 0 || spin->mean_ns >= TRY_BELOW_WAKES * spin->wake_cost_ns)
		return;
	spin->state = SPIN_TRIES;
	spin->left = TRY_PERIODS;
	spin->tried_ns = 0;
}

static bool try_fails(const struct spin *spin, uint64_t tried_ns)
{
	return tried_ns >= TRY_PERIODS * spin->wake_cost_ns / SPIN_BELOW_PART;
}

static void tried(struct spin *spin, uint64_t idle_ns)
{
	WEFT_ASSERT(spin->left > 0);
	spin->tried_ns += idle_ns;
	if (try_fails(spin, spin->tried_ns)) {
		sleep_from_now_on(spin, TRY_AFTER);
	} else if (--spin->left == 0) {
		spin->state = SPIN_SPINS;
		spin->mean_ns = spin->tried_ns / TRY_PERIODS;
	}
}

static void spun(struct spin *spin, uint64_t idle_ns)
{
	mean_add(spin, idle_ns, SPIN_LONGEST_WAKES, SPIN_SHIFT);
	if (spin->mean_ns >= spin->wake_cost_ns / SPIN_UP_TO_PART)
		sleep_from_now_on(spin, TRY_AFTER);
}

static uint64_t linger_ns(struct spin *spin, uint64_t requests)
{
	if (requests == 0 || (spin->vain >= LINGER_VAIN && ++spin->skipped % LINGER_EVERY != 0))
		return 0;
	return requests < LINGER_PART ? requests * spin->wake_cost_ns / LINGER_PART : spin->wake_cost_ns;
}

void spin_idle(struct spin *spin, uint64_t requests, bool lingers, uint64_t now_ns)
{
	WEFT_ASSERT(!spin_is_idle(spin) && requests >= spin->requests);
	spin->idle_since_ns = now_ns;
	spin->linger_until_ns = now_ns + (lingers ? linger_ns(spin, requests - spin->requests) : 0);
	spin->requests = requests;
}

void spin_worked(struct spin *spin, uint64_t now_ns)
{
	uint64_t idle_ns = now_ns - spin->idle_since_ns;

	if (spin->idle_since_ns == 0)
		return;
	WEFT_ASSERT(now_ns >= spin->idle_since_ns);
	if (spin->linger_until_ns > spin->idle_since_ns)
		spin->vain = now_ns > spin->linger_until_ns ? spin->vain + 1 : 0;
	spin->idle_since_ns = 0;
	switch (spin->state) {
	case SPIN_SLEEPS:
		slept(spin, idle_ns);
		break;
	case SPIN_TRIES:
		tried(spin, idle_ns);
		break;
	case SPIN_SPINS:
		spun(spin, idle_ns);
		break;
	}
}

bool spin_should_sleep(struct spin *spin, uint64_t now_ns)
{
	uint64_t idle_ns;

	WEFT_ASSERT(spin->wake_cost_ns > 0 && spin->idle_since_ns > 0 && now_ns >= spin->idle_since_ns);
	idle_ns = now_ns - spin->idle_since_ns;
	if (spin->state == SPIN_TRIES && try_fails(spin, spin->tried_ns + idle_ns))
		sleep_from_now_on(spin, TRY_AFTER);
	else if (spin->state == SPIN_SPINS && idle_ns > SPIN_WAKES * spin->wake_cost_ns)
		sleep_from_now_on(spin, 0);
	return spin->state == SPIN_SLEEPS;
}
