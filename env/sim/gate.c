/* SPDX-License-Identifier: BSD-2-Clause */
/* Gates of simulated nodes: there is one thread, so nobody is ever in the way; who waits lets the world go on. */
#include <errno.h>

#include "env/sim/world.h"

struct sim_gate {
	struct env_gate base;
	struct sim_node *node;
	bool entered, woken;
};

static struct sim_gate *gate_of(struct env_gate *base)
{
	return (struct sim_gate *)base;
}

static void gate_close(struct env_gate *base)
{
	WEFT_ASSERT(!gate_of(base)->entered);
	sim_node_free(base->env, base);
}

static void gate_enter(struct env_gate *base)
{
	WEFT_ASSERT(!gate_of(base)->entered);
	gate_of(base)->entered = true;
}

static void gate_leave(struct env_gate *base)
{
	WEFT_ASSERT(gate_of(base)->entered);
	gate_of(base)->entered = false;
}

static bool woken(void *arg)
{
	return ((struct sim_gate *)arg)->woken;
}

static bool gate_wait(struct env_gate *base, uint64_t timeout_ns)
{
	struct sim_gate *gate = gate_of(base);
	bool came;

	gate_leave(base);
	gate->woken = false;
	came = sim_wait(gate->node, woken, gate, timeout_ns);
	gate_enter(base);
	return came;
}

static void gate_wake(struct env_gate *base)
{
	WEFT_ASSERT(gate_of(base)->entered);
	gate_of(base)->woken = true;
}

static const struct env_gate_ops sim_gate_ops = {
	.close = gate_close, .enter = gate_enter, .leave = gate_leave, .wait = gate_wait, .wake = gate_wake,
};

int sim_gate_open(struct env *env, struct env_gate **out, struct weft_why *why)
{
	struct sim_gate *gate = sim_node_alloc(env, 16, sizeof(*gate));

	if (gate == NULL)
		return weft_why(why, -ENOMEM, "no memory for a gate");
	gate->base = (struct env_gate){ &sim_gate_ops, env };
	gate->node = node_of(env);
	*out = &gate->base;
	return 0;
}
