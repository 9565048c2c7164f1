/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The carrier stands in front of a device that is callable only at its home reactor. Asked on another reactor, it sends its
 * child there
 * as a message (the child itself is the message: no allocation) and passes the answer on when the child has come back.
 *
 * Invariants: the carrier's hop stays on the reactor that asked. Between going and coming the child belongs to the home
 * reactor. An
 * abort travels behind its child in order, and the carrier ends only when the abort's message has come to rest.
 */
#include <errno.h>

#include <weft/memory.h>

#include "core/blk.h"
#include "core/core.h"
#include "core/counter.h"

struct carrier {
	struct weft_blk blk;
	struct weft_blk *device;
};

struct carrier_shard {
	uint64_t carried;
};

/* Behind the carrier's hop. `aborting` and `ended` belong to the asking reactor. */
struct carried {
	struct weft_msg abort;
	struct weft_hop *child;
	struct weft_hop *self;
	struct weft_hop *next, *prev; /* visitors; of the home reactor */
	bool aborting, ended;
	int status;
};

static void child_done(struct weft_hop *self, struct weft_hop *child, int status)
{
	struct carried *carried = weft_hop_request(self);

	WEFT_ASSERT(carried->child == child && !carried->ended);
	(void)child;
	if (carried->aborting) {
		carried->ended = true;
		carried->status = status;
		return;
	}
	weft_hop_complete(self, status);
}

static void carrier_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct carrier *carrier = WEFT_CONTAINER(blk, struct carrier, blk);
	struct weft_reactor *home = carrier->device->home;
	struct weft_hop *child = weft_hop_down(hop);
	struct carried *carried = weft_hop_request(hop);

	WEFT_ASSERT(home != hop_reactor(hop));
	*carried = (struct carried){ .child = child, .self = hop };
	counter_add(&((struct carrier_shard *)weft_hop_shard(hop))->carried, 1);
	child->blk = carrier->device;
	child->done = child_done;
	child->lane = (uint8_t)(home->lane & 0x7f);
	reactor_post_hop(home, child);
}

static struct carried *carried_of(struct weft_hop *child)
{
	return weft_hop_request(hop_up(child));
}

void carrier_arrived(struct weft_reactor *home, struct weft_hop *child)
{
	struct carried *carried = carried_of(child);

	WEFT_ASSERT(weft_reactor_here() == home && child->lane == home->lane && carried->child == child);
	carried->prev = NULL;
	carried->next = home->visitors;
	if (home->visitors != NULL)
		carried_of(home->visitors)->prev = child;
	home->visitors = child;
}

void carrier_leaves(struct weft_reactor *home, struct weft_hop *child)
{
	struct carried *carried = carried_of(child);

	WEFT_ASSERT(weft_reactor_here() == home && home->visitors != NULL);
	if (carried->prev != NULL)
		carried_of(carried->prev)->next = carried->next;
	else
		home->visitors = carried->next;
	if (carried->next != NULL)
		carried_of(carried->next)->prev = carried->prev;
}

uint64_t carrier_expire(struct weft_reactor *home, uint64_t now_ns)
{
	uint64_t earliest = ENV_FOREVER;

	WEFT_ASSERT(weft_reactor_here() == home);
	for (struct weft_hop *child = home->visitors; child != NULL; child = carried_of(child)->next) {
		uint64_t at = child->state == WEFT_HOP_ASKED ? hop_expire(child, now_ns) : ENV_FOREVER;

		if (at < earliest)
			earliest = at;
	}
	return earliest;
}

static void abort_back_msg(void *self)
{
	struct carried *carried = self;

	WEFT_ASSERT(carried->aborting && weft_reactor_here() == hop_reactor(carried->self));
	carried->aborting = false;
	if (carried->ended)
		weft_hop_complete(carried->self, carried->status);
}

static void abort_at_home_msg(void *self)
{
	struct carried *carried = self;

	WEFT_ASSERT(carried->aborting && weft_reactor_here() != hop_reactor(carried->self));
	/* If the child has ended, and is on its way back, it is too late, which weft_hop_abort sees. */
	weft_hop_abort(carried->child, -ECANCELED);
	carried->abort.fn = abort_back_msg;
	weft_reactor_post(hop_reactor(carried->self), &carried->abort);
}

static void carrier_abort(struct weft_blk *blk, struct weft_hop *hop)
{
	struct carrier *carrier = WEFT_CONTAINER(blk, struct carrier, blk);
	struct carried *carried = weft_hop_request(hop);

	WEFT_ASSERT(!carried->aborting && !carried->ended);
	carried->aborting = true;
	carried->abort.fn = abort_at_home_msg;
	carried->abort.self = carried;
	weft_reactor_post(carrier->device->home, &carried->abort);
}

static const struct weft_blk_ops carrier_ops = {
	.submit = carrier_submit,
	.abort = carrier_abort,
	.shard_size = sizeof(struct carrier_shard),
	.shard_kept = sizeof(struct carrier_shard),
	.request_size = sizeof(struct carried),
	.width = 1,
};

struct weft_blk *carrier_make(struct weft_blk *device)
{
	struct weft_core *core = device->object->core;
	struct carrier *carrier = weft_alloc_aligned(core, 64, sizeof(*carrier));

	WEFT_ASSERT(device->ops->at_home && device->home != NULL && device->carrier == NULL);
	if (carrier == NULL)
		return NULL;
	carrier->device = device;
	carrier->blk.ops = &carrier_ops;
	carrier->blk.object = device->object;
	carrier->blk.shard = shards_make(core);
	if (carrier->blk.shard == NULL) {
		weft_free(core, carrier);
		return NULL;
	}
	return &carrier->blk;
}

void carrier_stats(const struct weft_blk *blk, struct weft_stats *out)
{
	WEFT_ASSERT(blk->shard != NULL);
	for (unsigned lane = 0; lane < CORE_REACTORS_MAX; lane++) {
		const struct weft_shard *shard = shard_ever(blk, lane);

		if (shard != NULL)
			out->carried += counter_read(&((const struct carrier_shard *)(const void *)shard->own)->carried);
	}
}
