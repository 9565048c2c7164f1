/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The end of a server is not left to the servers below it: what is still in flight when the time of grace is over is aborted,
 * again and again, since what waited for room may be submitted meanwhile. What cannot be aborted (a disk) is waited for.
 */
#include <errno.h>

#include <weft/log.h>

#include "cli/serve.h"

#include "core/reactor.h"
#include "core/stack.h"

#define AGAIN_NS 50000000ull

static void grace_visit(struct round *round, struct weft_reactor *reactor)
{
	struct grace *grace = WEFT_CONTAINER(round, struct grace, round);

	grace->aborted += slots_abort(reactor, NULL, -ESHUTDOWN);
}

static void grace_arm(struct grace *grace, uint64_t after_ns)
{
	struct weft_reactor *control = grace->round.core->reactor[0];

	weft_timer_arm(control, &grace->timer, weft_reactor_now(control) + after_ns);
}

static void grace_round_ended(struct round *round)
{
	struct grace *grace = WEFT_CONTAINER(round, struct grace, round);

	grace->under_way = false;
	if (grace->aborted > 0)
		weft_log(round->core, WEFT_LOG_WARN, "ending: %u requests that were still in flight are aborted (--grace)",
			grace->aborted);
	grace->aborted = 0;
	if (grace->closing)
		core_quit(round->core);
	else
		grace_arm(grace, AGAIN_NS);
}

static void grace_over(void *self)
{
	struct grace *grace = self;

	WEFT_ASSERT(!grace->under_way && !grace->closing);
	grace->under_way = true;
	round_begin(&grace->round);
}

void grace_begin(struct grace *grace, struct weft_core *core, uint64_t ns)
{
	if (grace->round.core != NULL)
		return;
	grace->round = (struct round){ .core = core, .visit = grace_visit, .ended = grace_round_ended };
	grace->timer = (struct weft_timer){ .fn = grace_over, .self = grace };
	grace_arm(grace, ns);
}

void grace_end(struct grace *grace)
{
	if (grace->round.core == NULL)
		return;
	weft_timer_disarm(grace->round.core->reactor[0], &grace->timer);
	grace->closing = true;
	if (grace->under_way)
		core_run(grace->round.core);
}
