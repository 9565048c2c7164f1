/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues: opened and closed while others run; polled, waited for, cancelled, looked at. The requests are in request.c. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/blk.h"
#include "env/env.h"
#include "lib/lib.h"

#define DEPTH_MAX (1u << 16)

void weft_queue_settings_init(struct weft_queue_settings *settings)
{
	if (settings != NULL)
		*settings = (struct weft_queue_settings){ .size = sizeof(*settings), .depth = 128 };
}

/* ---- opening ---- */

static int settings_check(const struct weft_queue_settings *s, struct weft_why *why)
{
	if (s->size != sizeof(*s))
		return weft_why(why, -EINVAL, "settings: size %u: fill them by weft_queue_settings_init first, and build against "
			"the headers of this version (%zu)", s->size, sizeof(*s));
	if (s->depth < 1 || s->depth > DEPTH_MAX)
		return weft_why(why, -EINVAL, "settings: depth %u: use 1 to %u", s->depth, DEPTH_MAX);
	return 0;
}

/* The device stays open from here on, until `queues` is taken down again. */
static int device_hold(struct weft_device *device, struct weft_why *why)
{
	struct weft *weft = device->handle.weft;
	int error;

	env_gate_enter(weft->gate);
	error = handle_check(device, HANDLE_DEVICE, why);
	if (error == 0)
		device->queues++;
	env_gate_leave(weft->gate);
	return error;
}

static void device_let_go(struct weft_device *device)
{
	struct weft *weft = device->handle.weft;

	env_gate_enter(weft->gate);
	WEFT_ASSERT(device->queues > 0);
	device->queues--;
	env_gate_leave(weft->gate);
}

/* Requests go out when they are made, and come back by the unwinding: there is nothing to look for. */
static bool nothing_to_poll(struct weft_source *source)
{
	(void)source;
	return false;
}

/* What another reactor has just closed may take a moment to be free: a round trip to a server. */
#define BUSY_LOOKS 1000
#define BUSY_LOOK_NS 1000000u

static void moment(struct program *p)
{
	struct weft_reactor *control = p->weft->core->reactor[0];
	uint64_t now = env_now_ns(p->weft->env);

	WEFT_ASSERT(weft_reactor_here() == p->reactor);
	reactor_turn(p->reactor, now);
	if (p->weft->caller && p->weft->owner == env_thread_mark())
		reactor_step(control, now);
	env_loop_wait(p->reactor->loop, BUSY_LOOK_NS);
}

static int join(struct weft_queue *queue, struct weft_reactor *reactor, struct weft_why *why)
{
	struct program *p = program_of(reactor);
	struct weft_reactor *before;
	int error;

	if (p->reserved + queue->depth > reactor->budget)
		return weft_why(why, -ENOSPC, "depth %u: the reactor has %u slots, and %u are other queues': open it with more "
			"(settings.slots), or use less depth", queue->depth, reactor->budget, p->reserved);
	before = reactor_enter(reactor);
	error = stack_open_here(queue->device->stack, reactor, why);
	for (unsigned i = 0; error == -EBUSY && i < BUSY_LOOKS; i++) {
		moment(p);
		error = stack_open_here(queue->device->stack, reactor, why);
	}
	if (error == 0) {
		queue->session.source.poll = nothing_to_poll;
		queue->session.slots_max = queue->depth;
		snprintf(queue->session.name, sizeof(queue->session.name), "%.20s#%u", queue->device->object->name, reactor->lane);
		error = weft_session_open(&queue->session, reactor, queue->device->stack, why);
		if (error != 0)
			stack_close_here(queue->device->stack, reactor);
	}
	reactor_leave(before);
	program_look(p); /* turns may have been taken */
	if (error != 0)
		return error;
	queue->program = p;
	p->queues++;
	p->reserved += queue->depth;
	return 0;
}

static void part(struct weft_queue *queue)
{
	struct program *p = queue->program;
	struct weft_reactor *before = reactor_enter(p->reactor);

	weft_session_close(&queue->session);
	stack_close_here(queue->device->stack, p->reactor);
	reactor_leave(before);
	p->queues--;
	p->reserved -= queue->depth;
	p->ended -= queue->ended;
}

static int ring_make(struct weft_queue *queue, struct weft_why *why)
{
	uint32_t entries = 1;

	while (entries < queue->depth)
		entries *= 2;
	queue->mask = entries - 1;
	queue->ring = weft_alloc_aligned(queue->handle.weft->core, 64, entries * sizeof(queue->ring[0]));
	return queue->ring != NULL ? 0 : weft_why(why, -ENOMEM, "no memory for %u completions: use less depth", entries);
}

static int own_reactor(struct weft_queue *queue, struct weft_reactor **out, struct weft_why *why)
{
	struct weft_reactor_settings settings;
	int error;

	weft_reactor_settings_init(&settings);
	settings.slots = queue->depth;
	error = weft_reactor_open(queue->handle.weft, &settings, out, why);
	queue->own_reactor = error == 0;
	return error;
}

static void queue_free(struct weft_queue *queue)
{
	struct weft *weft = queue->handle.weft;

	weft_free(weft->core, queue->ring);
	queue->ring = NULL;
	handle_close(&queue->handle, HANDLE_QUEUE);
}

static int open_on(struct weft_queue *queue, struct weft_reactor *reactor, struct weft_why *why)
{
	int error = ring_make(queue, why);

	if (error == 0 && reactor == NULL)
		error = own_reactor(queue, &reactor, why);
	if (error == 0)
		error = join(queue, reactor, why);
	if (error != 0 && queue->own_reactor)
		weft_reactor_close(reactor, NULL);
	return error;
}

static int open_check(struct weft_device *device, const struct weft_reactor *reactor, const struct weft_queue_settings *settings,
	struct weft_why *why)
{
	int error = handle_check(device, HANDLE_DEVICE, why);

	if (error == 0)
		error = settings_check(settings, why);
	if (error == 0 && reactor != NULL && (error = reactor_check(reactor)) != 0)
		error = weft_why(why, error, "reactor: %s", reactor_check_text(error));
	if (error == 0 && reactor != NULL && program_of(reactor)->weft != device->handle.weft)
		error = weft_why(why, -EINVAL, "reactor: it is open in another instance than the device: open one in the same");
	return error != 0 ? error : call_allowed(device->handle.weft, why);
}

int weft_queue_open(struct weft_device *device, struct weft_reactor *reactor, const struct weft_queue_settings *settings,
	struct weft_queue **out, struct weft_why *why)
{
	struct weft_queue_settings usual;
	struct weft_queue *queue;
	int error;

	weft_queue_settings_init(&usual);
	settings = settings != NULL ? settings : &usual;
	if (out == NULL)
		return weft_why(why, -EINVAL, "queue: NULL: pass where it is to be stored");
	*out = NULL;
	error = open_check(device, reactor, settings, why);
	if (error == 0)
		error = device_hold(device, why);
	if (error != 0)
		return error;
	queue = handle_new(device->handle.weft, HANDLE_QUEUE, sizeof(*queue));
	if (queue == NULL) {
		device_let_go(device);
		return weft_why(why, -ENOMEM, "no memory for a queue: close something else, or raise the memory limit");
	}
	queue->device = device;
	queue->depth = settings->depth;
	error = open_on(queue, reactor, why);
	if (error != 0) {
		queue_free(queue);
		device_let_go(device);
		return error;
	}
	handle_opened(&queue->handle, HANDLE_QUEUE);
	*out = queue;
	return 0;
}

/* ---- closing ---- */

static const char *check_text(const struct weft_queue *queue, int error)
{
	if (error == -EBADF)
		return "it has been closed: use it before, or open it again";
	(void)queue;
	return reactor_check_text(error);
}

/* A layer may have answered a request that is still below it (weft_blk_ops.shard_busy): until it is back all stays open. */
static bool is_busy_below(const struct weft_queue *queue)
{
	struct weft_reactor *reactor = queue->program->reactor, *before = reactor_enter(reactor);
	bool busy = blk_is_busy_here(queue->device->blk, reactor, true, 0);

	reactor_leave(before);
	return busy;
}

int weft_queue_close(struct weft_queue *queue, struct weft_why *why)
{
	struct weft_reactor *reactor;
	struct weft_device *device;
	bool own;
	int error = queue_check(queue);

	if (error != 0)
		return weft_why(why, error, "queue: %s", check_text(queue, error));
	error = call_allowed(queue->handle.weft, why);
	if (error == 0 && queue->outstanding > queue->ended)
		error = weft_why(why, -EBUSY, "%u requests are in flight: weft_queue_drain, or weft_queue_cancel_all and drain, "
			"first", queue->outstanding - queue->ended);
	if (error == 0 && is_busy_below(queue))
		error = weft_why(why, -EBUSY, "%s: requests whose time was over are still with the device below: poll until it has "
			"returned them, then close again", queue->device->object->name);
	if (error != 0)
		return error;
	reactor = queue->program->reactor;
	device = queue->device;
	own = queue->own_reactor;
	part(queue);
	queue_free(queue);
	device_let_go(device);
	if (own)
		weft_reactor_close(reactor, NULL);
	return 0;
}

/* ---- completions ---- */

static unsigned take(struct weft_queue *queue, struct weft_completion *completions, unsigned max)
{
	unsigned n = queue->ended < max ? queue->ended : max;

	for (unsigned i = 0; i < n; i++)
		completions[i] = queue->ring[(queue->head + i) & queue->mask];
	queue->head += n;
	queue->ended -= n;
	queue->outstanding -= n;
	queue->program->ended -= n;
	return n;
}

static int refuse(struct weft_queue *queue, int error, const char *text)
{
	queue->refusal = text;
	return error;
}

static inline int turn_check(struct weft_queue *queue, const struct weft_completion *completions, unsigned max)
{
	int error = queue_check(queue);

	if (WEFT_UNLIKELY(error != 0))
		return error;
	if (WEFT_UNLIKELY(completions == NULL && max > 0))
		return refuse(queue, -EINVAL, "completions: NULL: pass room for `max` of them");
	if (WEFT_UNLIKELY(weft_reactor_here() == queue->program->reactor))
		return refuse(queue, -EDEADLK, reactor_check_text(-EDEADLK));
	return 0;
}

int weft_queue_poll(struct weft_queue *queue, struct weft_completion *completions, unsigned max)
{
	int error = turn_check(queue, completions, max);

	if (error != 0)
		return error;
	if (queue->ended == 0)
		program_turn(queue->program);
	return (int)take(queue, completions, max);
}

int weft_queue_wait(struct weft_queue *queue, struct weft_completion *completions, unsigned min, unsigned max, uint64_t timeout_ns)
{
	int error = turn_check(queue, completions, max);

	if (error == 0 && min > max)
		error = refuse(queue, -EINVAL, "min is more than max: pass room for at least `min` completions");
	if (error != 0)
		return error;
	if (min > queue->outstanding)
		min = queue->outstanding;
	if (queue->ended < min)
		program_run(queue->program, &queue->ended, min, timeout_ns);
	else if (queue->ended == 0 && queue->outstanding > 0)
		program_turn(queue->program);
	return (int)take(queue, completions, max);
}

int weft_queue_submit(struct weft_queue *queue)
{
	int error = queue_check(queue);
	uint32_t staged;

	if (error != 0)
		return error;
	staged = queue_staged(queue);
	if (staged == 0)
		return 0;
	if (weft_reactor_here() != queue->program->reactor) /* else this turn sends it */
		program_send(queue->program);
	return (int)staged;
}

int weft_queue_drain(struct weft_queue *queue, uint64_t timeout_ns)
{
	int error = turn_check(queue, NULL, 0);

	if (error != 0)
		return error;
	while (queue->ended < queue->outstanding && error == 0) {
		error = program_run(queue->program, &queue->ended, queue->outstanding, timeout_ns);
		if (error != 0)
			return refuse(queue, error, "the time is over: wait longer, or weft_queue_cancel_all");
	}
	return error;
}

/* ---- cancelling ---- */

struct cancelling {
	struct weft_queue *queue;
	bool all;
	uint64_t tag;
	int asked;
};

static void cancel_one(void *arg, struct weft_slot *slot)
{
	struct cancelling *c = arg;
	struct weft_hop *top = hop_child(&slot->root, 0);

	if (slot->session != &c->queue->session || (!c->all && slot->tag != c->tag) || top->state != WEFT_HOP_ASKED)
		return;
	weft_hop_abort(top, -ECANCELED);
	c->asked++;
}

static int cancel(struct weft_queue *queue, bool all, void *user_data)
{
	struct cancelling c = { queue, all, (uint64_t)(uintptr_t)user_data, 0 };
	struct weft_reactor *before;
	int error = queue_check(queue);

	if (error != 0)
		return error;
	before = reactor_enter(queue->program->reactor);
	slots_each(queue->program->reactor, cancel_one, &c);
	reactor_leave(before);
	/* What has ended by that is told now, and what the kernel is to be asked goes out: the program may be about to sleep. */
	if (c.asked > 0 && before != queue->program->reactor)
		program_send(queue->program);
	return c.asked;
}

int weft_queue_cancel(struct weft_queue *queue, void *user_data)
{
	return cancel(queue, false, user_data);
}

int weft_queue_cancel_all(struct weft_queue *queue)
{
	return cancel(queue, true, NULL);
}

/* ---- looking ---- */

struct weft_reactor *weft_queue_reactor(struct weft_queue *queue)
{
	return handle_check(queue, HANDLE_QUEUE, NULL) != 0 ? NULL : queue->program->reactor;
}

struct weft_device *weft_queue_device(struct weft_queue *queue)
{
	return handle_check(queue, HANDLE_QUEUE, NULL) != 0 ? NULL : queue->device;
}

int weft_queue_fd(struct weft_queue *queue)
{
	int error = queue_check(queue);

	return error != 0 ? error : weft_reactor_fd(queue->program->reactor);
}

int weft_queue_notify(struct weft_queue *queue, bool enable)
{
	int error = queue_check(queue);

	return error != 0 ? error : weft_reactor_notify(queue->program->reactor, enable);
}

int weft_queue_info(struct weft_queue *queue, struct weft_queue_info *info)
{
	int error = queue_check(queue);

	if (error != 0)
		return error;
	if (info == NULL)
		return refuse(queue, -EINVAL, "info: NULL: pass where it is to be stored");
	*info = (struct weft_queue_info){ .depth = queue->depth, .staged = queue_staged(queue), .ended = queue->ended,
		.requests = queue->requests, .full = queue->full, .outside = queue->outside };
	/* What was staged may have ended already, where a device answers at once. */
	info->in_flight = queue->outstanding - queue->ended;
	info->in_flight -= info->staged < info->in_flight ? info->staged : info->in_flight;
	return 0;
}

const char *weft_queue_why(struct weft_queue *queue)
{
	int error = queue_check(queue);

	if (error != 0)
		return check_text(queue, error);
	return queue->refusal != NULL ? queue->refusal : reactor_check_text(0);
}
