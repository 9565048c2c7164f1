/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Room for the segments of requests that have more than a slot has: a few vectors for all sessions of a reactor, and one longest
 * for each stack there.
 *
 * Invariants of the longest vector:
 *  V1  At most one slot has it (pool->longest_at), and that slot's segs are it.
 *  V2  Slots that wait for it stand in line, first come, first served; nobody waits while nobody has it.
 *  V3  A slot in line has its own segs, and its `next` is the line's: it is in use, so it is on no free list.
 */
#include <errno.h>

#include <weft/memory.h>

#include "core/reactor.h"
#include "core/stack.h"

#define VECTOR_BYTES ((uint64_t)WEFT_VECTOR_SEGS * sizeof(struct weft_seg))

int slot_vectors_open(struct weft_reactor *reactor, struct weft_why *why)
{
	struct slot_vectors *vectors = weft_alloc(reactor->core, sizeof(*vectors));

	WEFT_ASSERT(reactor->vectors == NULL);
	reactor->vectors = vectors;
	if (vectors != NULL)
		vectors->base = env_pages_alloc(reactor->core->env, SLOT_VECTORS * VECTOR_BYTES, false);
	if (vectors == NULL || vectors->base == NULL)
		return weft_why(why, -ENOMEM, "no memory for the vectors of long requests");
	for (unsigned i = 0; i < SLOT_VECTORS; i++) {
		struct weft_seg *vector = vectors->base + (size_t)i * WEFT_VECTOR_SEGS;

		vector->base = vectors->free;
		vectors->free = vector;
	}
	return 0;
}

void slot_vectors_close(struct weft_reactor *reactor)
{
	struct slot_vectors *vectors = reactor->vectors;

	if (vectors == NULL)
		return;
	WEFT_ASSERT(vectors->out == 0);
	if (vectors->base != NULL) /* else there was no memory for them, and the reactor did not open */
		env_pages_free(reactor->core->env, vectors->base, SLOT_VECTORS * VECTOR_BYTES);
	weft_free(reactor->core, vectors);
	reactor->vectors = NULL;
}

bool weft_slot_borrow(struct weft_slot *slot)
{
	struct slot_vectors *vectors = slot->session->reactor->vectors;
	struct weft_seg *vector = vectors->free;

	WEFT_ASSERT(slot->in_use && slot->segs == slot->own);
	if (vector == NULL)
		return false;
	vectors->free = vector->base;
	vectors->out++;
	slot->segs = vector;
	slot->room = WEFT_VECTOR_SEGS;
	return true;
}

/* ---- the longest ---- */

static struct slot_pool *pool_of(const struct weft_slot *slot)
{
	return &slot->session->stack->pool[slot->session->reactor->lane];
}

static void longest_goes_to(struct slot_pool *pool, struct weft_slot *slot)
{
	WEFT_ASSERT(pool->longest_at == NULL && slot->in_use && slot->segs == slot->own);
	pool->longest_at = slot;
	slot->segs = pool->longest;
	slot->room = SLOT_LONGEST_SEGS;
}

bool slot_longest_borrow(struct weft_slot *slot)
{
	struct slot_pool *pool = pool_of(slot);

	WEFT_ASSERT(pool->longest != NULL && (pool->line == NULL || pool->longest_at != NULL));
	if (pool->longest_at == NULL) {
		longest_goes_to(pool, slot);
		return true;
	}
	slot->next = NULL;
	*pool->line_tail = slot;
	pool->line_tail = &slot->next;
	return false;
}

void slot_longest_leave(struct weft_slot *slot)
{
	struct slot_pool *pool = pool_of(slot);
	struct weft_slot **link = &pool->line;

	WEFT_ASSERT(slot->in_use && slot->segs == slot->own);
	while (*link != slot) {
		WEFT_ASSERT(*link != NULL);
		link = &(*link)->next;
	}
	*link = slot->next;
	if (*link == NULL)
		pool->line_tail = link;
}

static void longest_comes_back(struct slot_pool *pool, const struct weft_slot *slot)
{
	struct weft_slot *first = pool->line;

	WEFT_ASSERT(pool->longest_at == slot && slot->segs == pool->longest);
	pool->longest_at = NULL;
	if (first == NULL)
		return;
	pool->line = first->next;
	if (pool->line == NULL)
		pool->line_tail = &pool->line;
	longest_goes_to(pool, first);
}

void slot_vector_give(struct weft_slot *slot)
{
	struct slot_vectors *vectors = slot->session->reactor->vectors;

	WEFT_ASSERT(slot->in_use && slot->segs != slot->own);
	if (slot_has_longest(slot)) {
		longest_comes_back(pool_of(slot), slot);
	} else {
		slot->segs[0].base = vectors->free;
		vectors->free = slot->segs;
		vectors->out--;
	}
	slot->segs = slot->own;
	slot->room = WEFT_SLOT_SEGS;
}
