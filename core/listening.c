/* SPDX-License-Identifier: BSD-2-Clause */
/* Listening: tried again by a timer while the folder is another's. */
#include "core/listening.h"

#include <errno.h>

#include "core/core.h"
#include "core/reactor.h"

#define RETRY_NS 1000000u

static struct weft_reactor *control(const struct listening *l)
{
	return l->core->reactor[0];
}

static void listening_try(void *self)
{
	struct listening *l = self;
	struct weft_task *task = l->task;
	int error;

	WEFT_ASSERT(task != NULL && !l->retry.armed && l->tries <= LISTENING_TRIES);
	l->wants.unlocked = l->tries == LISTENING_TRIES;
	error = env_listen(control(l)->loop, l->where, &l->wants, l->accepted, l->self, l->out, &task->why);
	if (error == -EWOULDBLOCK && !l->wants.unlocked) {
		l->tries++;
		weft_timer_arm(control(l), &l->retry, env_now_ns(l->core->env) + RETRY_NS);
		return;
	}
	l->task = NULL;
	task->done(task, error);
}

void listening_start(struct listening *l, struct weft_task *task)
{
	WEFT_ASSERT(weft_reactor_here() == NULL || weft_reactor_here() == control(l));
	WEFT_ASSERT(l->task == NULL && task->done != NULL && l->accepted != NULL);
	l->task = task;
	l->tries = 0;
	l->retry = (struct weft_timer){ .fn = listening_try, .self = l };
	listening_try(l);
}
