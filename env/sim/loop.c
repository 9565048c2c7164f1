/* SPDX-License-Identifier: BSD-2-Clause */
/* A reactor's loop in the simulated world: delivers what has happened; sleeping is the scheduler's affair. */
#include <errno.h>
#include <stdlib.h>

#include "env/sim/world.h"

static struct sim_loop *loop_of(struct env_loop *base) { return (struct sim_loop *)base; }

bool sim_loop_ready(struct sim_loop *loop)
{
	if (loop->woken || loop->work != NULL || sim_ops_ready(loop) || sim_streams_ready(loop))
		return true;
	for (struct sim_watch *watch = loop->watches; watch != NULL; watch = watch->next)
		if (((struct sim_notifier *)watch->notifier)->thing->count > 0)
			return true;
	return false;
}

static void loop_close(struct env_loop *base)
{
	struct sim_loop *loop = loop_of(base), **link = &loop->node->loops;

	WEFT_ASSERT(loop->work == NULL && loop->watches == NULL);
	while (*link != loop)
		link = &(*link)->next;
	*link = loop->next;
	sim_node_free(&loop->node->env, loop);
}

static bool run_work(struct sim_loop *loop)
{
	struct env_work *work = loop->work;

	if (work == NULL)
		return false;
	WEFT_ASSERT(work->loop == &loop->base);
	loop->work = work->next;
	if (loop->work == NULL)
		loop->work_tail = &loop->work;
	work->run(work);
	work->done(work);
	return true;
}

/* One signalled notifier; its callback may change the list. */
static bool run_watch(struct sim_loop *loop)
{
	for (struct sim_watch *watch = loop->watches; watch != NULL; watch = watch->next) {
		struct sim_thing *event = ((struct sim_notifier *)watch->notifier)->thing;

		if (event->count == 0)
			continue;
		event->count = 0;
		watch->fn(watch->self);
		return true;
	}
	return false;
}

static bool loop_poll(struct env_loop *base)
{
	struct sim_loop *loop = loop_of(base);
	bool worked;

	sim_node_check(loop->node);
	worked = sim_ops_deliver(loop);
	worked |= run_work(loop);
	worked |= run_watch(loop);
	worked |= sim_streams_deliver(loop);
	/* Taken last: a wake-up that came meanwhile has been seen by then. */
	loop->woken = false;
	loop->stats.completions += worked;
	return worked;
}

static bool loop_may_go_on(void *arg)
{
	return sim_loop_ready(arg);
}

/* A program that does not sleep (it polls, or lingers) takes that long for a turn; else time would stand still. */
#define TURN_NS 100

static void loop_submit(struct env_loop *base)
{
	struct sim_loop *loop = loop_of(base);

	if (loop->movable && loop->node->world->stepping == NULL)
		sim_wait(loop->node, loop_may_go_on, loop, TURN_NS);
}

/* For a thread that the simulator does not step: a scenario's own. */
static void loop_wait(struct env_loop *base, uint64_t timeout_ns)
{
	sim_wait(loop_of(base)->node, loop_may_go_on, loop_of(base), timeout_ns);
}

static void loop_wake(struct env_loop *base)
{
	loop_of(base)->woken = true;
	loop_of(base)->stats.wakes++;
}

static int loop_fd(struct env_loop *base)
{
	(void)base;
	return -ENOTSUP;
}

static int loop_alarm(struct env_loop *base, uint64_t after_ns)
{
	(void)base;
	(void)after_ns;
	return -ENOTSUP; /* nor is there a descriptor */
}

static void loop_stats(const struct env_loop *base, struct env_loop_stats *out)
{
	*out = ((const struct sim_loop *)base)->stats;
}

static uint64_t loop_wake_cost_ns(const struct env_loop *base)
{
	(void)base;
	return 5000;
}

static int loop_pin(struct env_loop *base, unsigned region, void *memory, uint64_t size, struct weft_why *why)
{
	(void)base;
	(void)memory;
	return weft_why(why, -ENOTSUP, "region %u (%llu bytes): simulated disks have no fixed buffers", region,
		(unsigned long long)size);
}

static void loop_unpin(struct env_loop *base, unsigned region)
{
	(void)base;
	(void)region;
}

static void loop_work_submit(struct env_loop *base, struct env_work *work)
{
	struct sim_loop *loop = loop_of(base);

	sim_node_check(loop->node);
	WEFT_ASSERT(work->loop == base && *loop->work_tail == NULL);
	work->next = NULL;
	*loop->work_tail = work;
	loop->work_tail = &work->next;
}

static int loop_signals_watch(struct env_loop *base, void (*fn)(void *self, int signal), void *self)
{
	(void)base;
	(void)fn;
	(void)self;
	return 0; /* nobody sends signals to a simulated node */
}

static const struct env_loop_ops sim_loop_ops = {
	.close = loop_close, .poll = loop_poll, .submit = loop_submit, .wait = loop_wait, .wake = loop_wake, .fd = loop_fd,
	.alarm = loop_alarm,
	.stats = loop_stats, .wake_cost_ns = loop_wake_cost_ns, .pin = loop_pin, .unpin = loop_unpin,
	.work_submit = loop_work_submit, .listen = sim_listen, .connect = sim_connect,
	.stream_pair = sim_stream_pair, .signals_watch = loop_signals_watch,
};

int sim_loop_open(struct env *env, bool movable, struct env_loop **out, struct weft_why *why)
{
	struct sim_loop *loop = sim_node_alloc(env, 16, sizeof(*loop));

	if (loop == NULL)
		return weft_why(why, -ENOMEM, "no memory for a loop");
	loop->base.ops = &sim_loop_ops;
	loop->base.env = env;
	loop->node = node_of(env);
	loop->movable = movable;
	loop->work_tail = &loop->work;
	loop->next = loop->node->loops;
	loop->node->loops = loop;
	*out = &loop->base;
	return 0;
}
