/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a rebuild asks of the legs, on a reactor that has the mirror open: one errand at a time, by a hop of our own below which the
 * legs lie as below any request.
 */
#include <errno.h>
#include <string.h>
#include <weft/reactor.h>

#include "core/core.h"
#include "devices/device.h"
#include "devices/mirror/mirror.h"
#include "env/env.h"

static struct weft_hop *own_of(const struct mirror_copier *copier)
{
	return (void *)copier->own;
}

static uint64_t own_bytes(const struct weft_blk *blk)
{
	return (blk->request_at + sizeof(struct mirror_request) + 4095u) & ~(uint64_t)4095;
}

static uint64_t data_bytes(const struct weft_blk *blk)
{
	return blk->block > MIRROR_CHUNK ? blk->block : MIRROR_CHUNK;
}

int copier_open(struct mirror *mirror, struct mirror_copier *copier, struct weft_reactor *reactor, struct weft_why *why)
{
	struct weft_blk *blk = &mirror->blk;
	struct weft_hop *own;

	WEFT_ASSERT(weft_reactor_here() == reactor && blk->request_at > 0);
	copier->bytes = own_bytes(blk) + data_bytes(blk);
	copier->own = env_pages_alloc(weft_reactor_core(reactor)->env, copier->bytes, false);
	if (copier->own == NULL)
		return weft_why(why, -ENOMEM, "mirror: no memory for rebuilding: raise the memory limit");
	copier->data = copier->own + own_bytes(blk);
	own = own_of(copier);
	own->blk = blk;
	own->lane = (uint8_t)(weft_reactor_lane(reactor) & 0x7f);
	own->state = WEFT_HOP_ASKED; /* for good: nobody above it asks */
	return 0;
}

void copier_close(struct mirror *mirror, struct mirror_copier *copier)
{
	WEFT_ASSERT(copier->errand == NULL && copier->own != NULL);
	env_pages_free(mirror->object.core->env, copier->own, copier->bytes);
	copier->own = NULL;
}

/* ---- an errand ---- */

static void errand_back(void *self)
{
	rebuild_errand_done(self);
}

static void answer(struct mirror_errand *errand)
{
	errand->msg = (struct weft_msg){ .fn = errand_back, .self = errand };
	weft_reactor_post(errand->mirror->object.core->reactor[0], &errand->msg);
}

static void end(struct mirror_copier *copier)
{
	struct mirror_errand *errand = copier->errand;

	WEFT_ASSERT(copier->pending == 0 && errand != NULL);
	copier->errand = NULL;
	answer(errand);
}

static void changed(struct weft_hop *own, struct weft_hop *child, int status)
{
	struct mirror_copier *copier = mirror_copier_of(own);
	struct mirror_errand *errand = copier->errand;
	unsigned leg = device_child_index(own->blk, own, child);

	WEFT_ASSERT(copier->pending > 0 && (errand->targets >> leg & 1) != 0);
	if (status != 0) {
		errand->failed |= 1u << leg;
		errand->error = errand->error != 0 ? errand->error : status;
	}
	if (--copier->pending == 0)
		end(copier);
}

static void ask(struct mirror_copier *copier, unsigned op, unsigned legs, weft_hop_done *done)
{
	struct mirror_errand *errand = copier->errand;
	struct weft_hop *own = own_of(copier);

	WEFT_ASSERT(legs != 0 && copier->pending == 0);
	copier->seg = (struct weft_seg){ .base = copier->data, .len = (uint32_t)errand->len, .region = WEFT_REGION_NONE };
	own->op = (uint8_t)op;
	own->flags = 0;
	own->offset = errand->offset;
	own->len = errand->len;
	own->segs = &copier->seg;
	own->seg_skip = 0;
	own->nsegs = errand->len > 0;
	copier->pending = (unsigned)__builtin_popcount(legs);
	for (unsigned i = 0; i < errand->mirror->legs; i++)
		if ((legs >> i & 1) != 0)
			weft_hop_submit(weft_hop_fork(own, i), errand->mirror->leg[i], done);
}

static void has_read(struct weft_hop *own, struct weft_hop *child, int status)
{
	struct mirror_copier *copier = mirror_copier_of(own);

	(void)child;
	copier->pending--;
	if (status == 0) {
		ask(copier, WEFT_WRITE, copier->errand->targets, changed);
		return;
	}
	copier->errand->read_failed = true;
	copier->errand->error = status;
	end(copier);
}

static void errand_here(void *self)
{
	struct mirror_errand *errand = self;
	struct mirror_copier *copier = mirror_copier_here(errand->mirror, errand->lane);

	errand->closed = copier == NULL;
	errand->read_failed = false;
	errand->failed = 0;
	errand->error = 0;
	if (errand->closed) {
		answer(errand);
		return;
	}
	WEFT_ASSERT(copier->errand == NULL && errand->len <= data_bytes(&errand->mirror->blk));
	copier->errand = errand;
	if (errand->op == WEFT_COPY)
		ask(copier, WEFT_READ, 1u << errand->source, has_read);
	else
		ask(copier, WEFT_FLUSH, errand->targets, changed);
}

void copier_send(struct mirror_errand *errand)
{
	WEFT_ASSERT(errand->lane > 0 && errand->targets != 0);
	errand->msg = (struct weft_msg){ .fn = errand_here, .self = errand };
	weft_reactor_post(errand->mirror->object.core->reactor[errand->lane], &errand->msg);
}
