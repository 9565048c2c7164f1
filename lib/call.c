/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Calls of the control side: from any thread to the control reactor and back. Where control is the caller's own thread, that
 * thread runs the control reactor until its call has ended; others wait for it to come by.
 */
#include <errno.h>

#include "env/env.h"
#include "lib/lib.h"

/* What ends on a reactor of the program does not wake who waits for a call: then the wait is in slices. */
#define CALL_SLICE_NS 1000000u

int begin_allowed(const struct weft *weft, struct weft_why *why)
{
	if (weft == NULL)
		return weft_why(why, -EINVAL, "weft: NULL: pass what weft_open gave");
	if (env_forked(weft->env))
		return weft_why(why, -EPERM, "this process was forked after weft_open, and has none of its threads: open an "
			"instance of its own here");
	return 0;
}

int call_allowed(const struct weft *weft, struct weft_why *why)
{
	int error = begin_allowed(weft, why);

	if (error == 0 && weft_reactor_here() != NULL)
		return weft_why(why, -EDEADLK, "this would wait for the very thread that it is called on, a reactor's: call it "
			"from outside, or begin it (..._begin)");
	return error;
}

static void run_msg(void *self)
{
	struct call *call = self;

	call->run(call);
}

static void call_send(struct weft *weft, struct call *call)
{
	WEFT_ASSERT(call->run != NULL && !call->done);
	call->weft = weft;
	call->msg = (struct weft_msg){ .fn = run_msg, .self = call };
	weft_reactor_post(weft->core->reactor[0], &call->msg);
}

/* A turn of each reactor of this thread, which makes no other call meanwhile. False: it has none. */
static bool own_reactors_turn(struct weft *weft)
{
	struct program *own[CORE_REACTORS_MAX];
	unsigned n = 0;

	env_gate_enter(weft->gate);
	for (struct program *p = weft->programs; p != NULL; p = p->next)
		if (p->reactor->owner == env_thread_mark()) {
			WEFT_ASSERT(n < CORE_REACTORS_MAX);
			own[n++] = p;
		}
	env_gate_leave(weft->gate);
	for (unsigned i = 0; i < n; i++)
		program_turn(own[i]);
	return n > 0;
}

static void run_control_until(struct weft *weft, const struct call *call)
{
	struct weft_reactor *control = weft->core->reactor[0];

	WEFT_ASSERT(weft->caller && weft_reactor_here() == NULL);
	while (!call->done) {
		uint64_t wait = reactor_step(control, env_now_ns(weft->env));

		if (call->turns && !call->done && own_reactors_turn(weft) && wait > CALL_SLICE_NS)
			wait = CALL_SLICE_NS;
		if (wait != 0 && !call->done)
			env_loop_wait(control->loop, wait);
	}
}

static void wait_until_done(struct weft *weft, const struct call *call)
{
	env_gate_enter(weft->gate);
	while (!call->done) {
		bool own = false;

		if (call->turns) {
			env_gate_leave(weft->gate);
			own = own_reactors_turn(weft);
			env_gate_enter(weft->gate);
		}
		if (!call->done)
			env_gate_wait(weft->gate, own ? CALL_SLICE_NS : WEFT_FOREVER);
	}
	env_gate_leave(weft->gate);
}

static void calls_add(struct weft *weft, int n)
{
	env_gate_enter(weft->gate);
	WEFT_ASSERT(n > 0 || weft->calls > 0);
	weft->calls += (unsigned)n;
	env_gate_leave(weft->gate);
}

int call_wait(struct weft *weft, struct call *call, struct weft_why *why)
{
	calls_add(weft, 1);
	call_send(weft, call);
	if (weft->caller && weft->owner == env_thread_mark()) {
		run_control_until(weft, call);
	} else {
		wait_until_done(weft, call);
	}
	calls_add(weft, -1);
	WEFT_ASSERT(call->status <= 0);
	if (call->status != 0 && why != NULL)
		*why = call->why;
	return call->status;
}

void call_begin(struct weft *weft, struct call *call)
{
	WEFT_ASSERT(call->ended != NULL);
	call_send(weft, call);
}

/* Once it is done, a call that somebody waits for is theirs again, and gone. */
void call_end(struct call *call, int status)
{
	struct weft *weft = call->weft;

	WEFT_ASSERT(!call->done && status <= 0);
	call->status = status;
	if (call->ended != NULL) {
		call->ended(call);
		return;
	}
	env_gate_enter(weft->gate);
	call->done = true;
	env_gate_wake(weft->gate);
	env_gate_leave(weft->gate);
}

void call_job_done(struct weft_task *task, int status)
{
	struct call *call = call_of_job(task);

	if (status != 0)
		call->why = task->why;
	call_end(call, status);
}
