/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening a medium that somebody else may hold for a moment. */
#include "devices/opening.h"

#include <errno.h>

#include "core/core.h"
#include "core/reactor.h"

#define RETRY_NS 10000000ull

static void keep_run(struct env_work *work)
{
	struct opening *o = WEFT_CONTAINER(work, struct opening, keep);

	o->kept = env_medium_keep(*o->medium, o->why);
}

static void keep_done(struct env_work *work)
{
	struct opening *o = WEFT_CONTAINER(work, struct opening, keep);

	WEFT_ASSERT(o->kept <= 0 && weft_reactor_here() == o->core->reactor[0]);
	if (o->kept != 0) {
		env_medium_unlink_created(*o->medium);
		env_medium_close(*o->medium);
		*o->medium = NULL;
	}
	o->done(o, o->kept);
}

static void opening_try(void *self)
{
	struct opening *o = self;
	uint64_t now = env_now_ns(o->core->env);
	int error;

	WEFT_ASSERT(*o->medium == NULL && !o->retry.armed);
	error = env_medium_open(o->core->env, o->path, &o->wants, o->medium, o->info, o->why);
	WEFT_ASSERT(error <= 0);
	if (error == 0 && o->wants.create_size != 0) {
		o->keep = (struct env_work){ .run = keep_run, .done = keep_done, .loop = o->core->reactor[0]->loop };
		env_work_submit(o->keep.loop, &o->keep);
		return;
	}
	if (error != 0)
		*o->medium = NULL;
	/* Busy, for a block device: the claim of a killed process lasts as long as its lock. */
	if ((error == -EWOULDBLOCK || error == -EBUSY) && now < o->give_up_ns && (o->hopeless == NULL || !o->hopeless(o))) {
		uint64_t left = o->give_up_ns - now;

		weft_timer_arm(o->core->reactor[0], &o->retry, now + (left < RETRY_NS ? left : RETRY_NS));
		return;
	}
	o->done(o, error);
}

void opening_begin(struct opening *o)
{
	WEFT_ASSERT(o->core != NULL && o->path != NULL && o->why != NULL && o->done != NULL);
	o->retry.fn = opening_try;
	o->retry.self = o;
	o->give_up_ns = env_now_ns(o->core->env) + o->patience_ns;
	opening_try(o);
}
