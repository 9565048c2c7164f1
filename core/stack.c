/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening a stack: the layout of its hops is worked out, then each reactor that does I/O opens the shards and gets a pool of
 * slots, one reactor after the other; once for what lies behind all homes, again for what lies behind fewer, and at last, with the
 * pools, for what is asked first. Closing goes the other way round, also when opening has failed in between, and waits for what a
 * device has left behind below it (weft_blk_ops.shard_busy).
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "core/blk.h"
#include "core/stack.h"

#define BUSY_LOOK_NS 10000000u

static void step_msg(void *self);

static void go_to(struct weft_stack *stack, unsigned lane)
{
	WEFT_ASSERT(lane < stack->core->reactors);
	stack->opening.lane = lane;
	stack->opening.msg.fn = step_msg;
	stack->opening.msg.self = stack;
	weft_reactor_post(stack->core->reactor[lane], &stack->opening.msg);
}

static int pool_open(struct weft_stack *stack, struct weft_reactor *reactor, struct weft_why *why)
{
	struct slot_pool *pool = &stack->pool[reactor->lane];
	uint64_t slots;

	WEFT_ASSERT(pool->base == NULL && stack->root.child_stride > 0);
	pool->count = 2 * reactor->budget; /* see the invariants of slot.c; untouched memory costs nothing */
	/* An odd number of cache lines: else the lines that all hops use would share half of the cache. */
	pool->slot_size = ((uint32_t)sizeof(struct weft_slot) + stack->root.child_stride) | 64;
	slots = (uint64_t)pool->slot_size * pool->count;
	/* Behind them the longest vector: a session can be opened whenever its stack could, also after a change of layers. */
	pool->bytes = slots + SLOT_LONGEST_SEGS * sizeof(struct weft_seg);
	pool->base = env_pages_alloc(stack->core->env, pool->bytes, false);
	if (pool->base == NULL)
		return weft_why(why, -ENOMEM, "%s: no memory for %u slots of %u bytes: lower the budget of slots or the depth "
			"of the stack", stack->name, pool->count, pool->slot_size);
	pool->longest = (struct weft_seg *)(void *)(pool->base + slots);
	pool->line_tail = &pool->line;
	pool->next = reactor->pools;
	reactor->pools = pool;
	return 0;
}

static void pool_close(struct weft_stack *stack, struct weft_reactor *reactor)
{
	struct slot_pool *pool = &stack->pool[reactor->lane], **link = &reactor->pools;
	uint32_t free = 0;

	WEFT_ASSERT(pool->base != NULL && pool->made <= pool->count && pool->longest_at == NULL && pool->line == NULL);
	for (struct weft_slot *slot = pool->free; slot != NULL; slot = slot->next)
		free++;
	WEFT_ASSERT(free == pool->made);
	while (*link != pool)
		link = &(*link)->next;
	*link = pool->next;
	env_pages_free(stack->core->env, pool->base, pool->bytes);
	memset(pool, 0, sizeof(*pool));
}

int stack_open_here(struct weft_stack *stack, struct weft_reactor *reactor, struct weft_why *why)
{
	struct slot_pool *pool = &stack->pool[reactor->lane];
	int error = 0;

	WEFT_ASSERT(weft_reactor_here() == reactor);
	if (pool->users == 0 && (error = blk_open_here(stack->device, reactor, true, 0, why)) == 0) {
		error = pool_open(stack, reactor, why);
		if (error != 0)
			blk_close_here(stack->device, reactor, true, 0);
	}
	if (error == 0)
		pool->users++;
	return error;
}

void stack_close_here(struct weft_stack *stack, struct weft_reactor *reactor)
{
	WEFT_ASSERT(weft_reactor_here() == reactor && stack->pool[reactor->lane].users > 0);
	if (--stack->pool[reactor->lane].users > 0)
		return;
	pool_close(stack, reactor);
	blk_close_here(stack->device, reactor, true, 0);
}

static int part_open(struct weft_stack *stack, struct weft_reactor *reactor, struct weft_why *why)
{
	if (stack->opening.homes == 0 && !stack->homes_only)
		return stack_open_here(stack, reactor, why);
	return blk_open_here(stack->device, reactor, !stack->homes_only, stack->opening.homes, why);
}

static void part_close(struct weft_stack *stack, struct weft_reactor *reactor)
{
	if (stack->opening.homes == 0 && !stack->homes_only)
		stack_close_here(stack, reactor);
	else
		blk_close_here(stack->device, reactor, !stack->homes_only, stack->opening.homes);
}

static void stack_free(struct weft_stack *stack)
{
	for (unsigned lane = 0; lane < CORE_REACTORS_MAX; lane++)
		WEFT_ASSERT(stack->pool[lane].users == 0);
	weft_object_put(stack->device->object);
	weft_free(stack->core, stack);
}

static void finish(struct weft_stack *stack)
{
	struct stack_opening opening = stack->opening;

	WEFT_ASSERT(opening.error <= 0 && opening.task != NULL);
	if (opening.closing)
		stack_free(stack);
	else
		*opening.out = stack;
	opening.task->done(opening.task, opening.error);
}

static void open_next(struct weft_stack *stack)
{
	struct stack_opening *o = &stack->opening;

	if (o->lane + 1 < stack->core->reactors) {
		go_to(stack, o->lane + 1);
	} else if (o->homes > 0) {
		o->homes--;
		go_to(stack, 1);
	} else {
		go_to(stack, 0);
	}
}

static void close_next(struct weft_stack *stack)
{
	struct stack_opening *o = &stack->opening;

	if (o->lane == 1 && o->homes < stack->homes) {
		o->homes++;
		go_to(stack, stack->core->reactors - 1);
	} else {
		go_to(stack, o->lane - 1);
	}
}

/* Runs on the reactor of `lane`; at last on the control reactor (lane 0). */
static void step_msg(void *self)
{
	struct weft_stack *stack = self;
	struct stack_opening *o = &stack->opening;
	struct weft_reactor *reactor = stack->core->reactor[o->lane];

	WEFT_ASSERT(weft_reactor_here() == reactor);
	if (o->lane == 0) {
		finish(stack);
	} else if (o->closing && blk_is_busy_here(stack->device, reactor, !stack->homes_only, o->homes)) {
		o->later = (struct weft_timer){ .fn = step_msg, .self = stack };
		weft_timer_arm(reactor, &o->later, weft_reactor_now(reactor) + BUSY_LOOK_NS);
	} else if (o->closing) {
		part_close(stack, reactor);
		close_next(stack);
	} else if ((o->error = part_open(stack, reactor, &o->task->why)) != 0) {
		o->closing = true;
		close_next(stack);
	} else {
		open_next(stack);
	}
}

static void root_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	(void)blk;
	(void)hop;
	WEFT_ASSERT(!"a session is asked by nobody");
}

static const struct weft_blk_ops root_ops = { .submit = root_submit, .width = 1 };

int stack_open(struct weft_core *core, struct weft_blk *device, const char *name, bool homes_only, struct weft_stack **out,
	struct weft_task *task)
{
	struct weft_stack *stack = weft_alloc_aligned(core, 128, sizeof(*stack));

	WEFT_ASSERT(device->object != NULL && device->shard != NULL);
	WEFT_ASSERT(core->reactors >= 2);
	if (stack == NULL)
		return weft_why(&task->why, -ENOMEM, "%s: no memory to open it", name);
	stack->core = core;
	stack->device = device;
	stack->homes_only = homes_only;
	snprintf(stack->name, sizeof(stack->name), "%s", name);
	stack->opening.task = task;
	stack->opening.out = out;
	stack->root.ops = &root_ops;
	stack->root.child_stride = blk_span(device);
	stack->homes = stack->opening.homes = blk_homes(device);
	weft_object_get(device->object);
	go_to(stack, 1);
	return 0;
}

int weft_stack_open(struct weft_core *core, struct weft_blk *device, const char *name, struct weft_stack **out,
	struct weft_task *task)
{
	return stack_open(core, device, name, false, out, task);
}

void weft_stack_close(struct weft_stack *stack, struct weft_task *task)
{
	WEFT_ASSERT(!stack->opening.closing);
	stack->opening.closing = true;
	stack->opening.error = 0;
	stack->opening.task = task;
	go_to(stack, stack->core->reactors - 1);
}

struct weft_blk *weft_stack_device(const struct weft_stack *stack)
{
	return stack->device;
}
