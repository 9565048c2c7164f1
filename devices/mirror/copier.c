/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a rebuild asks of the legs, on a reactor that has the mirror open: one errand at a time, by hops of our own below which the
 * legs lie as below any request.
 *
 * A copy first asks the source what it holds and, if there are holes, the targets. Its range is then cut into runs, and these into
 * pieces, several of which are under way at once (R9, R10). Data is read, then written to the targets. What reads as zeroes is
 * zeroed on those that do not say the same of themselves (R8), which gives its space back; but not where that would cost more than
 * it is worth: a short hole behind data that is copied anyway is copied with it, if no target has it as a hole.
 */
#include <errno.h>
#include <string.h>
#include <weft/reactor.h>

#include "core/core.h"
#include "devices/device.h"
#include "devices/mirror/mirror.h"
#include "env/env.h"

/* ---- memory: data, what legs have told, a hop for each piece ---- */

/* Of all pieces together; answers to WEFT_STATUS lie there, too, before there are pieces. */
static uint64_t data_bytes(const struct weft_blk *blk)
{
	return blk->block > MIRROR_CHUNK ? blk->block : MIRROR_CHUNK;
}

#define TOLD_BYTES (MIRROR_EXTENTS * sizeof(struct weft_extent)) /* by one leg */
_Static_assert(MIRROR_LEGS * TOLD_BYTES <= MIRROR_CHUNK, "answers have room");
_Static_assert(MIRROR_LEGS * TOLD_BYTES % 128 == 0, "hops are aligned");

/* A hop, with its children, which are the legs' */
static uint64_t own_bytes(const struct weft_blk *blk)
{
	return (blk->request_at + sizeof(struct mirror_request) + 127u) & ~(uint64_t)127;
}

static char *owns_of(const struct mirror_copier *copier, const struct weft_blk *blk)
{
	return copier->memory + data_bytes(blk) + MIRROR_LEGS * TOLD_BYTES;
}

static struct weft_hop *own_of(const struct mirror_copier *copier, const struct mirror_piece *piece)
{
	const struct weft_blk *blk = &copier->errand->mirror->blk;

	return (void *)(owns_of(copier, blk) + (size_t)(piece - copier->piece) * own_bytes(blk));
}

static struct mirror_piece *piece_of(struct mirror_copier *copier, const struct weft_hop *own)
{
	size_t at = (size_t)((const char *)own - owns_of(copier, own->blk)), n = at / own_bytes(own->blk);

	WEFT_ASSERT(n < MIRROR_PIECES && own == own_of(copier, &copier->piece[n]) && copier->piece[n].pending > 0);
	return &copier->piece[n];
}

int copier_open(struct mirror *mirror, struct mirror_copier *copier, struct weft_reactor *reactor, struct weft_why *why)
{
	struct weft_blk *blk = &mirror->blk;

	WEFT_ASSERT(weft_reactor_here() == reactor && blk->request_at > 0 && blk->request_at % 128 == 0);
	copier->bytes = data_bytes(blk) + MIRROR_LEGS * TOLD_BYTES + MIRROR_PIECES * own_bytes(blk);
	copier->memory = env_pages_alloc(weft_reactor_core(reactor)->env, copier->bytes, false);
	if (copier->memory == NULL)
		return weft_why(why, -ENOMEM, "mirror: no memory for rebuilding: raise the memory limit");
	for (unsigned i = 0; i < MIRROR_PIECES; i++) {
		struct weft_hop *own = (void *)(owns_of(copier, blk) + i * own_bytes(blk));

		own->blk = blk;
		own->lane = (uint8_t)(weft_reactor_lane(reactor) & 0x7f);
		own->state = WEFT_HOP_ASKED; /* for good: nobody above it asks */
	}
	for (unsigned i = 0; i < MIRROR_LEGS; i++)
		copier->told[i] = (struct extents){
			.extent = (void *)(copier->memory + data_bytes(blk) + i * TOLD_BYTES), .room = MIRROR_EXTENTS
		};
	return 0;
}

void copier_close(struct mirror *mirror, struct mirror_copier *copier)
{
	WEFT_ASSERT(copier->errand == NULL && copier->busy == 0 && copier->memory != NULL);
	env_pages_free(mirror->object.core->env, copier->memory, copier->bytes);
	copier->memory = NULL;
}

/* ---- an errand ends ---- */

static void errand_back(void *self)
{
	rebuild_errand_done(self);
}

static void answer(struct mirror_errand *errand)
{
	errand->msg = (struct weft_msg){ .fn = errand_back, .self = errand };
	weft_reactor_post(errand->mirror->object.core->reactor[0], &errand->msg);
}

/* R9 */
static void end(struct mirror_copier *copier)
{
	struct mirror_errand *errand = copier->errand;

	WEFT_ASSERT(copier->busy == 0 && errand != NULL);
	errand->done = copier->at - errand->offset;
	copier->errand = NULL;
	answer(errand);
}

/* Or is not wanted any more: then nothing is begun. */
static bool has_failed(const struct mirror_errand *errand)
{
	return errand->failed != 0 || errand->read_failed || errand->cut;
}

/* ---- asking legs ---- */

/* The piece's range of each of the legs, all by the piece's memory; of WEFT_STATUS each has its own. */
static void ask(struct mirror_copier *copier, struct mirror_piece *piece, unsigned op, unsigned legs, weft_hop_done *done)
{
	struct mirror *mirror = copier->errand->mirror;
	struct weft_hop *own = own_of(copier, piece);

	WEFT_ASSERT(legs != 0 && piece->pending == 0 && legs >> mirror->legs == 0);
	own->op = (uint8_t)op;
	own->flags = 0;
	own->offset = piece->run.at;
	own->len = piece->run.len;
	own->seg_skip = 0;
	own->nsegs = op == WEFT_READ || op == WEFT_WRITE || op == WEFT_STATUS;
	piece->pending = (unsigned)__builtin_popcount(legs);
	for (unsigned i = 0; i < mirror->legs; i++) {
		if ((legs >> i & 1) == 0)
			continue;
		own->segs = op == WEFT_STATUS ? &copier->answer[i] : &piece->seg;
		weft_hop_submit(weft_hop_fork(own, i), mirror->leg[i], done);
	}
}

static struct mirror_piece *piece_take(struct mirror_copier *copier)
{
	struct mirror_piece *piece = copier->piece;

	WEFT_ASSERT(copier->busy < MIRROR_PIECES);
	while (piece->run.len > 0 || piece->pending > 0)
		piece++;
	WEFT_ASSERT(piece < copier->piece + MIRROR_PIECES);
	copier->busy++;
	return piece;
}

static void go_on(struct mirror_copier *copier);

static void piece_give(struct mirror_copier *copier, struct mirror_piece *piece)
{
	WEFT_ASSERT(piece->pending == 0 && copier->busy > 0);
	*piece = (struct mirror_piece){ 0 };
	copier->busy--;
	go_on(copier);
}

/* ---- a piece: read and written, or zeroed; a flush ---- */

/* A target has been changed, or has been flushed. */
static void changed(struct weft_hop *own, struct weft_hop *child, int status)
{
	struct mirror_copier *copier = mirror_copier_of(own);
	struct mirror_errand *errand = copier->errand;
	struct mirror_piece *piece = piece_of(copier, own);
	unsigned leg = device_child_index(own->blk, own, child);

	WEFT_ASSERT((errand->targets >> leg & 1) != 0);
	if (status != 0) {
		errand->failed |= 1u << leg;
		errand->error = errand->error != 0 ? errand->error : status;
	}
	if (--piece->pending > 0)
		return;
	*(piece->run.copies ? &errand->copied : &errand->zeroed) += piece->run.len;
	piece_give(copier, piece);
}

static void has_read(struct weft_hop *own, struct weft_hop *child, int status)
{
	struct mirror_copier *copier = mirror_copier_of(own);
	struct mirror_errand *errand = copier->errand;
	struct mirror_piece *piece = piece_of(copier, own);

	(void)child;
	WEFT_ASSERT(piece->pending == 1 && piece->run.copies);
	piece->pending = 0;
	if (status != 0 && !errand->read_failed) {
		errand->read_failed = true;
		errand->error = status;
	}
	if (has_failed(errand))
		piece_give(copier, piece);
	else
		ask(copier, piece, WEFT_WRITE, errand->targets, changed);
}

/* ---- what the range is cut into ---- */

/* What lies at `at`, to where it changes on the source or, where that reads as zeroes, on any target. */
static struct mirror_run look(struct mirror_copier *copier, uint64_t at)
{
	const struct mirror_errand *errand = copier->errand;
	uint64_t block = errand->mirror->blk.block, end;
	struct mirror_run run = { .at = at };
	bool zero;

	WEFT_ASSERT(at < copier->to);
	end = extents_run_of_blocks(&copier->told[errand->source], at, block, &zero);
	run.copies = !zero;
	for (unsigned i = 0; !run.copies && i < errand->mirror->legs; i++) {
		uint64_t its;

		if ((errand->targets >> i & 1) == 0)
			continue;
		its = extents_run_of_blocks(&copier->told[i], at, block, &zero);
		end = its < end ? its : end;
		run.zeroing |= zero ? 0 : 1u << i;
	}
	run.len = end - at;
	return run;
}

/* Takes the beginning of what lies ahead, of one kind and at most `most` bytes. */
static struct mirror_run take(struct mirror_copier *copier, uint64_t most)
{
	struct mirror_run run = copier->ahead;

	WEFT_ASSERT(run.len > 0 && run.at == copier->at && most > 0);
	run.len = run.len < most ? run.len : most;
	copier->at += run.len;
	copier->ahead.at += run.len;
	copier->ahead.len -= run.len;
	if (copier->ahead.len == 0 && copier->at < copier->to)
		copier->ahead = look(copier, copier->at);
	return run;
}

/* Bytes of data that a piece may have now. */
static uint64_t room(const struct mirror_copier *copier)
{
	const struct weft_blk *blk = &copier->errand->mirror->blk;
	uint64_t piece = blk->block > MIRROR_PIECE ? blk->block : MIRROR_PIECE, left = data_bytes(blk) - copier->copying;

	return left < piece ? left : piece;
}

/* Data, and with it the short holes behind it that lie in no target; of these no more than of data, so that a leg never takes more
 * than twice the room of its source. */
static struct mirror_run take_data(struct mirror_copier *copier)
{
	struct mirror_run run = take(copier, room(copier));
	const struct mirror_run *ahead = &copier->ahead;
	uint64_t holes = 0;

	while (ahead->len > 0 && run.len < room(copier)) {
		uint64_t most = room(copier) - run.len;

		if (!ahead->copies) {
			if (ahead->zeroing != copier->errand->targets || ahead->len > MIRROR_GAP || ahead->len > most ||
				2 * (holes + ahead->len) > run.len + ahead->len)
				break;
			holes += ahead->len;
		}
		run.len += take(copier, most).len;
	}
	copier->copying += run.len;
	return run;
}

static bool is_enough(const struct mirror_copier *copier)
{
	return copier->ahead.len == 0 || copier->copying >= MIRROR_CHUNK || copier->zeroing >= MIRROR_ZEROES;
}

/* The next piece of the range; or nothing, where all is as it should be. */
static void begin(struct mirror_copier *copier)
{
	uint64_t data = copier->copying;
	struct mirror_piece *piece;
	struct mirror_run run;

	if (copier->ahead.copies) {
		run = take_data(copier);
	} else if (copier->ahead.zeroing != 0) {
		run = take(copier, MIRROR_ZEROES - copier->zeroing);
		copier->zeroing += run.len;
	} else {
		copier->errand->left += take(copier, UINT64_MAX).len;
		return;
	}
	piece = piece_take(copier);
	piece->run = run;
	piece->seg = (struct weft_seg){ .base = copier->memory + data, .len = (uint32_t)run.len, .region = WEFT_REGION_NONE };
	if (run.copies)
		ask(copier, piece, WEFT_READ, 1u << copier->errand->source, has_read);
	else
		ask(copier, piece, WEFT_ZERO, run.zeroing, changed);
}

/* As many pieces as may be under way; ends the errand when there are none. */
static void go_on(struct mirror_copier *copier)
{
	while (copier->busy < MIRROR_PIECES && !has_failed(copier->errand) && !is_enough(copier))
		begin(copier);
	if (copier->busy == 0)
		end(copier);
}

/* ---- what the legs say ---- */

static void told(struct weft_hop *own, struct weft_hop *child, int status);

/* What they hold from the errand's range to `to`. There are no pieces yet: one stands for the question, and its memory is free. */
static void ask_what(struct mirror_copier *copier, unsigned legs, uint64_t to)
{
	struct mirror_piece *piece = piece_take(copier);

	WEFT_ASSERT(copier->busy == 1);
	memset(copier->memory, 0, MIRROR_LEGS * TOLD_BYTES);
	for (unsigned i = 0; i < MIRROR_LEGS; i++)
		copier->answer[i] = (struct weft_seg){ .base = copier->memory + i * TOLD_BYTES, .len = TOLD_BYTES };
	piece->run = (struct mirror_run){ .at = copier->at, .len = to - copier->at };
	copier->to = to;
	ask(copier, piece, WEFT_STATUS, legs, told);
}

static bool is_all_data(struct extents *extents)
{
	bool zero;

	return extents_run(extents, extents->from, &zero) == extents->to && !zero;
}

static void told(struct weft_hop *own, struct weft_hop *child, int status)
{
	struct mirror_copier *copier = mirror_copier_of(own);
	struct mirror_piece *piece = piece_of(copier, own);
	unsigned leg = device_child_index(own->blk, own, child), source = copier->errand->source;
	struct extents *its = &copier->told[leg];
	bool asks_targets;

	WEFT_ASSERT(own->op == WEFT_STATUS && own->offset == copier->at);
	extents_take(its, copier->answer[leg].base, own->offset, own->offset + own->len, status);
	copier->to = its->to < copier->to ? its->to : copier->to;
	if (--piece->pending > 0)
		return;
	asks_targets = leg == source && !is_all_data(its) && !has_failed(copier->errand);
	*piece = (struct mirror_piece){ 0 };
	copier->busy--;
	if (asks_targets) {
		ask_what(copier, copier->errand->targets, copier->to);
		return;
	}
	copier->ahead = look(copier, copier->at);
	go_on(copier);
}

/* ---- an errand ---- */

bool copier_is_to_close(struct mirror_copier *copier, uint64_t now)
{
	struct mirror_errand *errand = copier->errand;

	if (errand == NULL)
		return true;
	if (errand->cut || now - copier->began_ns < MIRROR_PATIENCE_NS)
		return false;
	errand->cut = true; /* R11 */
	for (unsigned i = 0; i < MIRROR_PIECES; i++)
		if (copier->piece[i].pending > 0)
			device_abort_children(&errand->mirror->blk, own_of(copier, &copier->piece[i]));
	return false;
}

static void errand_here(void *self)
{
	struct mirror_errand *errand = self;
	struct mirror_copier *copier = mirror_copier_here(errand->mirror, errand->lane);

	errand->closed = copier == NULL;
	if (errand->closed) {
		answer(errand);
		return;
	}
	WEFT_ASSERT(copier->errand == NULL && copier->busy == 0 && errand->done == 0);
	WEFT_ASSERT((errand->op == WEFT_COPY) == (errand->len > 0));
	copier->errand = errand;
	copier->began_ns = weft_reactor_now(weft_reactor_here());
	copier->at = errand->offset;
	copier->copying = copier->zeroing = 0;
	copier->ahead = (struct mirror_run){ 0 };
	for (unsigned i = 0; i < MIRROR_LEGS; i++)
		copier->told[i].from = copier->told[i].to = 0; /* what it said before may be so no more (R8) */
	if (errand->op == WEFT_COPY)
		ask_what(copier, 1u << errand->source, errand->offset + errand->len);
	else
		ask(copier, piece_take(copier), WEFT_FLUSH, errand->targets, changed);
}

void copier_send(struct mirror_errand *errand)
{
	WEFT_ASSERT(errand->lane > 0 && errand->targets != 0);
	errand->msg = (struct weft_msg){ .fn = errand_here, .self = errand };
	weft_reactor_post(errand->mirror->object.core->reactor[errand->lane], &errand->msg);
}
