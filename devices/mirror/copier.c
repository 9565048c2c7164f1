/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a rebuild asks of the legs, on a reactor that has the mirror open: one errand at a time, by a hop of our own below which the
 * legs lie as below any request.
 *
 * A copy goes through its range run by run, in order, as the source says what it holds. Data is read, then written to the targets.
 * What reads as zeroes is zeroed on those that do not say the same of themselves (R8), which gives its space back. It ends early
 * when it has kept writers waiting for long enough.
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

/* Of a run of data; answers to WEFT_STATUS lie there, too, one for each leg. */
static uint64_t data_bytes(const struct weft_blk *blk)
{
	return blk->block > MIRROR_CHUNK ? blk->block : MIRROR_CHUNK;
}

#define ANSWER_BYTES (MIRROR_EXTENTS * sizeof(struct weft_extent))
_Static_assert(MIRROR_LEGS * ANSWER_BYTES <= MIRROR_CHUNK, "answers have room");

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
	copier->source = (struct extents){ .extent = copier->extent[0], .room = MIRROR_EXTENTS };
	copier->target = (struct extents){ .extent = copier->extent[1], .room = MIRROR_EXTENTS };
	return 0;
}

void copier_close(struct mirror *mirror, struct mirror_copier *copier)
{
	WEFT_ASSERT(copier->errand == NULL && copier->own != NULL);
	env_pages_free(mirror->object.core->env, copier->own, copier->bytes);
	copier->own = NULL;
}

/* ---- asking legs ---- */

static char *answer_of(const struct mirror_copier *copier, unsigned leg)
{
	return copier->data + leg * ANSWER_BYTES;
}

/* [at, at + len) of each of the legs; all read into, or write from, the same memory, but for their own answer to WEFT_STATUS. */
static void ask(struct mirror_copier *copier, unsigned op, unsigned legs, uint64_t at, uint64_t len, weft_hop_done *done)
{
	struct mirror *mirror = copier->errand->mirror;
	struct weft_hop *own = own_of(copier);

	WEFT_ASSERT(legs != 0 && copier->pending == 0);
	own->op = (uint8_t)op;
	own->flags = 0;
	own->offset = at;
	own->len = len;
	own->seg_skip = 0;
	own->nsegs = op == WEFT_READ || op == WEFT_WRITE || op == WEFT_STATUS;
	copier->pending = (unsigned)__builtin_popcount(legs);
	for (unsigned i = 0; i < mirror->legs; i++) {
		if ((legs >> i & 1) == 0)
			continue;
		copier->seg[i] = (struct weft_seg){ .base = copier->data, .len = (uint32_t)len, .region = WEFT_REGION_NONE };
		if (op == WEFT_STATUS) {
			copier->seg[i] = (struct weft_seg){ .base = answer_of(copier, i), .len = ANSWER_BYTES };
			memset(copier->seg[i].base, 0, ANSWER_BYTES);
		}
		own->segs = &copier->seg[i];
		weft_hop_submit(weft_hop_fork(own, i), mirror->leg[i], done);
	}
}

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

/* ---- a run of a copy ---- */

static void next_run(struct mirror_copier *copier);

static uint64_t at_of(const struct mirror_copier *copier)
{
	return copier->errand->offset + copier->errand->done;
}

/* `bytes` more have been dealt with; *count: how. */
static void run_done(struct mirror_copier *copier, uint64_t *count)
{
	WEFT_ASSERT(copier->run > 0 && copier->run <= copier->errand->len - copier->errand->done);
	*count += copier->run;
	copier->errand->done += copier->run;
	next_run(copier);
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
	if (--copier->pending > 0)
		return;
	if (errand->failed != 0 || errand->op == WEFT_FLUSH)
		end(copier);
	else
		run_done(copier, own->op == WEFT_ZERO ? &errand->zeroed : &errand->copied);
}

static void has_read(struct weft_hop *own, struct weft_hop *child, int status)
{
	struct mirror_copier *copier = mirror_copier_of(own);

	(void)child;
	copier->pending--;
	if (status == 0) {
		ask(copier, WEFT_WRITE, copier->errand->targets, at_of(copier), copier->run, changed);
		return;
	}
	copier->errand->read_failed = true;
	copier->errand->error = status;
	end(copier);
}

/* What a target says of the run that is to be zeroes: only what all say of its beginning is dealt with now. */
static void target_told(struct weft_hop *own, struct weft_hop *child, int status)
{
	struct mirror_copier *copier = mirror_copier_of(own);
	unsigned leg = device_child_index(own->blk, own, child);
	uint64_t at = at_of(copier), run;
	bool zero;

	WEFT_ASSERT(copier->pending > 0 && own->op == WEFT_STATUS && own->offset == at);
	extents_take(&copier->target, (void *)answer_of(copier, leg), at, at + own->len, status);
	run = extents_run_of_blocks(&copier->target, at, own->blk->block, &zero) - at;
	if (!zero) {
		copier->zeroing |= 1u << leg;
		run = run < MIRROR_ZEROES ? run : MIRROR_ZEROES;
	}
	copier->run = run < copier->run ? run : copier->run;
	if (--copier->pending > 0)
		return;
	if (copier->zeroing != 0)
		ask(copier, WEFT_ZERO, copier->zeroing, at, copier->run, changed);
	else
		run_done(copier, &copier->errand->left);
}

static void source_told(struct weft_hop *own, struct weft_hop *child, int status)
{
	struct mirror_copier *copier = mirror_copier_of(own);

	(void)child;
	WEFT_ASSERT(copier->pending == 1 && own->op == WEFT_STATUS && own->offset == at_of(copier));
	copier->pending--;
	extents_take(&copier->source, (void *)answer_of(copier, copier->errand->source), own->offset, own->offset + own->len,
		status);
	next_run(copier);
}

static bool is_enough(const struct mirror_errand *errand, unsigned runs)
{
	return errand->done == errand->len || runs == MIRROR_RUNS || errand->copied >= MIRROR_CHUNK ||
		errand->zeroed >= MIRROR_ZEROES;
}

static void next_run(struct mirror_copier *copier)
{
	struct mirror_errand *errand = copier->errand;
	uint64_t at = at_of(copier), room = data_bytes(&errand->mirror->blk) - errand->copied;
	bool zero;

	if (is_enough(errand, copier->runs)) {
		end(copier);
		return;
	}
	if (at >= copier->source.to) {
		ask(copier, WEFT_STATUS, 1u << errand->source, at, errand->len - errand->done, source_told);
		return;
	}
	copier->runs++;
	copier->run = extents_run_of_blocks(&copier->source, at, errand->mirror->blk.block, &zero) - at;
	if (zero) {
		copier->zeroing = 0;
		ask(copier, WEFT_STATUS, errand->targets, at, copier->run, target_told);
	} else {
		copier->run = copier->run < room ? copier->run : room;
		ask(copier, WEFT_READ, 1u << errand->source, at, copier->run, has_read);
	}
}

/* ---- an errand ---- */

static void errand_here(void *self)
{
	struct mirror_errand *errand = self;
	struct mirror_copier *copier = mirror_copier_here(errand->mirror, errand->lane);

	errand->closed = copier == NULL;
	if (errand->closed) {
		answer(errand);
		return;
	}
	WEFT_ASSERT(copier->errand == NULL && errand->done == 0 && (errand->op == WEFT_COPY) == (errand->len > 0));
	copier->errand = errand;
	copier->runs = 0;
	copier->source.from = copier->source.to = 0; /* what it said before may be so no more */
	if (errand->op == WEFT_COPY)
		next_run(copier);
	else
		ask(copier, WEFT_FLUSH, errand->targets, 0, 0, changed);
}

void copier_send(struct mirror_errand *errand)
{
	WEFT_ASSERT(errand->lane > 0 && errand->targets != 0);
	errand->msg = (struct weft_msg){ .fn = errand_here, .self = errand };
	weft_reactor_post(errand->mirror->object.core->reactor[errand->lane], &errand->msg);
}
