/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests of the conformance run: asked by the control thread, one reactor or several, and waited for. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/check.h"
#include "cli/command.h"

#include "core/reactor.h"

/* ---- waiting ---- */

static void done(struct check *check)
{
	check->done = true;
	core_quit(check->w.core);
}

static void too_late(void *self)
{
	struct check *check = self;

	check->late = true;
	core_quit(check->w.core);
}

/* Until somebody calls done(). What never ends holds memory that is ours: there is no way on from there. */
static void wait(struct check *check)
{
	struct weft_reactor *control = check->w.core->reactor[0];

	check->patience = (struct weft_timer){ .fn = too_late, .self = check };
	weft_timer_arm(control, &check->patience, env_now_ns(check->w.env) + check->timeout_ns);
	while (!check->done && !check->late)
		core_run(check->w.core);
	if (check->late) {
		check_failed(check, "a request did not end within %g s (--timeout): the run ends here, with it under way",
			(double)check->timeout_ns / 1e9);
		check_tell(check, NULL);
		check_summary(check);
		exit(EXIT_FAILED);
	}
	check->done = false;
	weft_timer_disarm(control, &check->patience);
}

static void task_done(struct weft_task *task, int status)
{
	struct check *check = WEFT_CONTAINER(task, struct check, task);

	check->status = status;
	done(check);
}

/* ---- sessions ---- */

static bool nothing_comes(struct weft_source *source)
{
	(void)source;
	return false;
}

static void back_msg(void *self)
{
	done(self);
}

static void back(struct check *check)
{
	check->msg = (struct weft_msg){ .fn = back_msg, .self = check };
	weft_reactor_post(check->w.core->reactor[0], &check->msg);
}

static void session_open_msg(void *self)
{
	struct check *check = self;
	unsigned lane = weft_reactor_lane(weft_reactor_here()) - 1;
	struct weft_session *session = &check->session[lane];

	*session = (struct weft_session){ .source = { .poll = nothing_comes }, .slots_max = CHECK_SLOTS };
	snprintf(session->name, sizeof(session->name), "check#%u", lane);
	check->status = weft_session_open(session, weft_reactor_here(), check->stack, &check->task.why);
	back(check);
}

static void session_close_msg(void *self)
{
	struct check *check = self;

	weft_session_close(&check->session[weft_reactor_lane(weft_reactor_here()) - 1]);
	back(check);
}

static int on_lane(struct check *check, unsigned lane, weft_reactor_fn *fn)
{
	check->msg = (struct weft_msg){ .fn = fn, .self = check };
	weft_reactor_post(check->w.core->reactor[1 + lane], &check->msg);
	wait(check);
	return check->status;
}

static void stack_close(struct check *check)
{
	weft_stack_close(check->stack, &check->task);
	wait(check);
	check->stack = NULL;
}

int check_open(struct check *check, struct weft_why *why)
{
	int error;

	check->task.done = task_done;
	check->stack = NULL;
	error = weft_stack_open(check->w.core, check->blk, "check", &check->stack, &check->task);
	if (error == 0) {
		wait(check);
		error = check->status;
	}
	for (unsigned lane = 0; lane < check->lanes && error == 0; lane++) {
		error = on_lane(check, lane, session_open_msg);
		while (error != 0 && lane-- > 0)
			on_lane(check, lane, session_close_msg);
	}
	if (error != 0) {
		*why = check->task.why;
		if (check->stack != NULL)
			stack_close(check);
	}
	return error;
}

void check_close(struct check *check)
{
	for (unsigned lane = 0; lane < check->lanes; lane++)
		on_lane(check, lane, session_close_msg);
	stack_close(check);
}

/* ---- requests ---- */

static void ended_msg(void *self)
{
	struct check_request *request = self;

	request->ended = true;
	done(request->check);
}

static void request_done(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(root, struct weft_slot, root);
	struct check_request *request = (struct check_request *)(uintptr_t)slot->tag;

	(void)child;
	request->status = status;
	weft_slot_give(slot);
	weft_reactor_post(request->check->w.core->reactor[0], &request->back);
}

static void start_one(struct check_request *request)
{
	struct weft_slot *slot = weft_session_slot(&request->check->session[request->lane]);

	WEFT_ASSERT(slot != NULL); /* no case has so many in flight */
	if (request->nsegs > slot->room && !weft_slot_borrow(slot)) {
		request->status = -EAGAIN;
		weft_slot_give(slot);
		weft_reactor_post(request->check->w.core->reactor[0], &request->back);
		return;
	}
	slot->tag = (uintptr_t)request;
	if (request->nsegs > 0)
		memcpy(slot->segs, request->segs, request->nsegs * sizeof(slot->segs[0]));
	slot->root.source = request->source;
	weft_slot_submit(slot, request->op, request->flags, request->offset, request->len, request->nsegs, request_done);
}

static void start_msg(void *self)
{
	for (struct check_request *request = self, *next; request != NULL; request = next) {
		next = request->also; /* once it has begun it may end, and begin again */
		start_one(request);
	}
}

void check_start(struct check *check, struct check_request *request)
{
	WEFT_ASSERT(request->lane < check->lanes);
	for (struct check_request *one = request; one != NULL; one = one->also) {
		WEFT_ASSERT(one->lane == request->lane);
		one->check = check;
		one->ended = false;
		one->back = (struct weft_msg){ .fn = ended_msg, .self = one };
	}
	request->msg = (struct weft_msg){ .fn = start_msg, .self = request };
	weft_reactor_post(check->w.core->reactor[1 + request->lane], &request->msg);
}

int check_wait(struct check *check, struct check_request *request)
{
	while (!request->ended)
		wait(check);
	return request->status;
}

int check_ask(struct check *check, unsigned op, unsigned flags, uint64_t offset, uint64_t len, void *data)
{
	struct weft_seg seg = { .base = data, .len = (uint32_t)len };
	struct check_request request = { .op = op, .flags = flags, .offset = offset, .len = len, .segs = &seg,
		.nsegs = data != NULL };

	check_start(check, &request);
	return check_wait(check, &request);
}

uint64_t check_rand(struct check *check, uint64_t below)
{
	uint64_t z = check->rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 32)) * 0xd6e8feb86659fd93u;
	return (z ^ (z >> 32)) % below;
}

static void resized(struct weft_task *task, int status)
{
	struct check *check = WEFT_CONTAINER(task, struct check, w.job.task);

	check->status = status;
	done(check);
}

int check_resize(struct check *check, uint64_t size)
{
	check->w.job = (struct objects_job){ .task.done = resized };
	objects_resize(check->object, size, &check->w.job);
	wait(check);
	return check->status;
}
