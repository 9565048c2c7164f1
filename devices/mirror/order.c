/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Changes that overlap are done one after the other (M9). The device is cut into pieces; a change has its turn at each of its
 * pieces, and keeps them until all legs have ended it. Who comes when another one has the turn is handed it, in the order of
 * coming, on whichever reactor it is. Pieces share turns as in a hash table: changes that do not overlap then wait for each other,
 * rarely.
 *
 * Turns are taken by ascending number, after leases and before room for copies, and who has all of them waits for nobody that has
 * not: so there is no ring of who waits for whom.
 */
#include "core/core.h"
#include "devices/mirror/mirror.h"

#define PIECE_SHIFT 12 /* smaller writes are rare; larger pieces would have neighbours wait for each other */

/* mirror_turn.latest; else a request: one has the turn, and this is the latest that came since. */
enum { TURN_FREE, TURN_TAKEN };

/* The i-th of a request in ascending order. The pieces are in a row, so that the numbers may go on at 0. */
static struct mirror_turn *nth(struct mirror *mirror, const struct mirror_request *request, uint32_t i)
{
	uint32_t end = request->turn + request->turns, over = end > MIRROR_TURNS ? end - MIRROR_TURNS : 0;

	WEFT_ASSERT(i < request->turns && request->turns <= MIRROR_TURNS);
	return &mirror->turn[i < over ? i : request->turn + (i - over)];
}

/* False: the request has queued up, and belongs to who has the turn. */
static bool take(struct mirror_turn *turn, struct mirror_request *request)
{
	uintptr_t was = TURN_FREE, is;

	do {
		is = was == TURN_FREE ? TURN_TAKEN : (uintptr_t)request;
		request->behind = was > TURN_TAKEN ? (struct mirror_request *)was : NULL;
	} while (!atomic_compare_exchange_weak_explicit(&turn->latest, &was, is, memory_order_acq_rel, memory_order_acquire));
	return was == TURN_FREE;
}

static bool take_rest(struct mirror *mirror, struct mirror_request *request)
{
	while (request->taken < request->turns)
		if (!take(nth(mirror, request, request->taken++), request))
			return false;
	return true;
}

bool order_take(struct mirror *mirror, struct weft_hop *hop)
{
	struct mirror_request *request = weft_hop_request(hop);
	uint64_t first = hop->offset >> PIECE_SHIFT, last = (hop->offset + hop->len - (hop->len > 0)) >> PIECE_SHIFT;
	bool all = last - first >= MIRROR_TURNS - 1;

	request->hop = hop;
	request->turn = all ? 0 : (uint32_t)(first % MIRROR_TURNS);
	request->turns = all ? MIRROR_TURNS : (uint32_t)(last - first + 1);
	request->taken = 0;
	return take_rest(mirror, request);
}

/* On its reactor: it has been handed the turn that it waited for. */
static void handed(void *self)
{
	struct weft_hop *hop = self;
	struct mirror_request *request = weft_hop_request(hop);

	WEFT_ASSERT(hop->state == WEFT_HOP_ASKED && request->taken > 0);
	if (take_rest(WEFT_CONTAINER(hop->blk, struct mirror, blk), request))
		request->resume(hop);
}

/* Each knows who came before it. Returns the first, from which each knows who came after it. */
static struct mirror_request *turn_round(struct mirror_request *latest)
{
	struct mirror_request *first = NULL;

	while (latest != NULL) {
		struct mirror_request *before = latest->behind;

		latest->behind = first;
		first = latest;
		latest = before;
	}
	return first;
}

static void give(struct mirror_turn *turn)
{
	struct mirror_request *next = turn->next;
	uintptr_t was = TURN_TAKEN;

	if (next == NULL) {
		if (WEFT_LIKELY(atomic_compare_exchange_strong_explicit(
			    &turn->latest, &was, TURN_FREE, memory_order_release, memory_order_relaxed)))
			return;
		WEFT_ASSERT(was > TURN_TAKEN);
		was = atomic_exchange_explicit(&turn->latest, TURN_TAKEN, memory_order_acq_rel);
		next = turn_round((struct mirror_request *)was);
	}
	turn->next = next->behind;
	next->msg = (struct weft_msg){ .fn = handed, .self = next->hop };
	weft_reactor_post(weft_hop_reactor(next->hop), &next->msg);
}

void order_give(struct mirror *mirror, struct weft_hop *hop)
{
	struct mirror_request *request = weft_hop_request(hop);

	WEFT_ASSERT(request->turns > 0 && request->taken == request->turns);
	for (uint32_t i = 0; i < request->turns; i++)
		give(nth(mirror, request, i));
	request->turns = 0;
}
