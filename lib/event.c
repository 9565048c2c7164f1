/* SPDX-License-Identifier: BSD-2-Clause */
/* Events: a line that any thread takes from; its descriptor is raised while somebody stands in it. */
#include <errno.h>

#include "env/env.h"
#include "lib/lib.h"

void note_put(struct weft *weft, struct note *note)
{
	WEFT_ASSERT(!note->queued || !note->once);
	if (note->queued)
		return;
	note->queued = true;
	note->next = NULL;
	if (weft->events == NULL)
		env_notifier_signal(weft->notifier);
	*weft->events_tail = note;
	weft->events_tail = &note->next;
	env_gate_wake(weft->gate);
}

static void unlink_note(struct weft *weft, struct note **link)
{
	struct note *note = *link;

	WEFT_ASSERT(note->queued);
	*link = note->next;
	if (note->next == NULL)
		weft->events_tail = link;
	note->queued = false;
	if (weft->events == NULL)
		env_notifier_clear(weft->notifier);
}

void note_drop(struct weft *weft, struct note *note)
{
	struct note **link = &weft->events;

	if (!note->queued)
		return;
	while (*link != note)
		link = &(*link)->next;
	unlink_note(weft, link);
}

/* Inside the gate. */
static bool take(struct weft *weft, struct weft_event *event, struct note **once)
{
	struct note *note = weft->events;

	*once = NULL;
	if (note == NULL)
		return false;
	unlink_note(weft, &weft->events);
	*event = note->event;
	if (note->once)
		*once = note;
	return true;
}

static int check(const struct weft *weft, const struct weft_event *event)
{
	return weft == NULL || event == NULL ? -EINVAL : 0;
}

int weft_event_next(struct weft *weft, struct weft_event *event)
{
	return weft_event_wait(weft, event, 0);
}

/* The control side makes the events: where it is ours, it is run. */
static void control_wait(struct weft *weft, uint64_t timeout_ns)
{
	struct weft_reactor *control = weft->core->reactor[0];
	uint64_t wait = reactor_step(control, env_now_ns(weft->env));

	WEFT_ASSERT(weft->caller);
	if (wait != 0 && timeout_ns != 0)
		env_loop_wait(control->loop, wait < timeout_ns ? wait : timeout_ns);
}

int weft_event_wait(struct weft *weft, struct weft_event *event, uint64_t timeout_ns)
{
	struct note *once = NULL;
	uint64_t now, until;
	bool got, ours, closing, over = timeout_ns == 0;

	if (check(weft, event) != 0)
		return -EINVAL;
	if (weft_reactor_here() != NULL || env_forked(weft->env))
		return weft_reactor_here() != NULL ? -EDEADLK : -EPERM;
	ours = weft->caller && weft->owner == env_thread_mark();
	now = env_now_ns(weft->env);
	until = timeout_ns < WEFT_FOREVER - now ? now + timeout_ns : WEFT_FOREVER;
	env_gate_enter(weft->gate);
	weft->waiting++;
	while (!(got = take(weft, event, &once)) && !over && !weft->closing) {
		uint64_t left = until == WEFT_FOREVER ? until : until - now;

		if (ours) {
			env_gate_leave(weft->gate);
			control_wait(weft, left);
			env_gate_enter(weft->gate);
		} else {
			env_gate_wait(weft->gate, left);
		}
		now = env_now_ns(weft->env);
		over = now >= until;
	}
	closing = weft->closing;
	weft_free(weft->core, once);
	weft->waiting--;
	if (closing)
		env_gate_wake(weft->gate);
	env_gate_leave(weft->gate); /* from here on the instance may be gone */
	return got ? 1 : closing ? -ECANCELED : 0;
}

int weft_event_fd(struct weft *weft)
{
	return weft == NULL ? -EINVAL : env_notifier_fd(weft->notifier);
}
