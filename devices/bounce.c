/* SPDX-License-Identifier: BSD-2-Clause */
/* Private copies of data: a pool of chunks, last in, first out (the warmest first), and a queue of those that
 * wait. */
#include "devices/bounce.h"

#include <errno.h>

#include "core/core.h"
#include "core/counter.h"
#include "env/env.h"

int bounce_open(struct bounce_pool *pool, struct weft_core *core, void (*ready)(struct weft_hop *hop),
	struct bounce *(*of)(struct weft_hop *hop), struct weft_why *why)
{
	pool->base = env_pages_alloc(core->env, (uint64_t)BOUNCE_CHUNKS * BOUNCE_CHUNK, false);
	if (pool->base == NULL)
		return weft_why(why, -ENOMEM,
			"no memory for private copies: %u MiB for each reactor are needed",
			BOUNCE_CHUNKS * (BOUNCE_CHUNK >> 10) >> 10);
	pool->core = core;
	pool->ready = ready;
	pool->of = of;
	pool->wait_head = NULL;
	pool->wait_tail = &pool->wait_head;
	pool->nfree = BOUNCE_CHUNKS;
	for (unsigned i = 0; i < BOUNCE_CHUNKS; i++)
		pool->free[i] = (uint16_t)(BOUNCE_CHUNKS - 1 - i);
	return 0;
}

void bounce_close(struct bounce_pool *pool)
{
	WEFT_ASSERT(pool->nfree == BOUNCE_CHUNKS && pool->wait_head == NULL);
	env_pages_free(pool->core->env, pool->base, (uint64_t)BOUNCE_CHUNKS * BOUNCE_CHUNK);
	pool->base = NULL;
}

static uint32_t chunks_for(const struct weft_hop *hop)
{
	WEFT_ASSERT(hop->len > 0 && hop->len <= BOUNCE_MAX_LEN);
	return (uint32_t)((hop->len + BOUNCE_CHUNK - 1) / BOUNCE_CHUNK);
}

static void take(struct bounce_pool *pool, struct weft_hop *hop)
{
	struct bounce *bounce = pool->of(hop);
	uint32_t left = (uint32_t)hop->len;

	bounce->waiting = false;
	bounce->nsegs = (uint16_t)chunks_for(hop);
	for (unsigned i = 0; i < bounce->nsegs; i++) {
		WEFT_ASSERT(pool->nfree > 0);
		bounce->segs[i] = (struct weft_seg){
			.base = pool->base + (size_t)pool->free[--pool->nfree] * BOUNCE_CHUNK,
			.len = left < BOUNCE_CHUNK ? left : BOUNCE_CHUNK,
			.region = WEFT_REGION_NONE,
		};
		left -= bounce->segs[i].len;
	}
	WEFT_ASSERT(left == 0);
	counter_add(&pool->taken, 1);
}

bool bounce_take(struct bounce_pool *pool, struct weft_hop *hop)
{
	struct bounce *bounce = pool->of(hop);

	if (pool->wait_head == NULL && chunks_for(hop) <= pool->nfree) {
		take(pool, hop);
		return true;
	}
	bounce->nsegs = 0;
	bounce->waiting = true;
	hop->queue = NULL;
	*pool->wait_tail = hop;
	pool->wait_tail = &hop->queue;
	counter_add(&pool->waited, 1);
	return false;
}

static void serve(struct bounce_pool *pool)
{
	struct weft_hop *hop;

	while ((hop = pool->wait_head) != NULL && chunks_for(hop) <= pool->nfree) {
		pool->wait_head = hop->queue;
		if (pool->wait_head == NULL)
			pool->wait_tail = &pool->wait_head;
		take(pool, hop);
		pool->ready(hop);
	}
}

void bounce_give(struct bounce_pool *pool, struct weft_hop *hop)
{
	struct bounce *bounce = pool->of(hop);

	WEFT_ASSERT(bounce->nsegs > 0 && pool->nfree + bounce->nsegs <= BOUNCE_CHUNKS);
	for (unsigned i = bounce->nsegs; i-- > 0;)
		pool->free[pool->nfree++] =
			(uint16_t)((size_t)((char *)bounce->segs[i].base - pool->base) / BOUNCE_CHUNK);
	bounce->nsegs = 0;
	serve(pool);
}

void bounce_cancel(struct bounce_pool *pool, struct weft_hop *hop)
{
	struct weft_hop **at = &pool->wait_head;

	WEFT_ASSERT(pool->of(hop)->waiting);
	while (*at != hop) {
		WEFT_ASSERT(*at != NULL);
		at = &(*at)->queue;
	}
	*at = hop->queue;
	if (pool->wait_tail == &hop->queue)
		pool->wait_tail = at;
	pool->of(hop)->waiting = false;
	serve(pool); /* a shorter one may have waited behind it */
}

bool bounce_is_foreign(const struct weft_hop *hop)
{
	for (unsigned i = 0; i < hop->nsegs; i++)
		if (hop->segs[i].foreign)
			return true;
	return false;
}

void bounce_fill(const struct weft_hop *hop, struct bounce *bounce)
{
	uint64_t at = 0;

	for (unsigned i = 0; i < bounce->nsegs; at += bounce->segs[i++].len)
		weft_hop_copy_out(hop, at, bounce->segs[i].base, bounce->segs[i].len);
	WEFT_ASSERT(at == hop->len);
}

void bounce_return(const struct weft_hop *hop, const struct bounce *bounce)
{
	uint64_t at = 0;

	for (unsigned i = 0; i < bounce->nsegs; at += bounce->segs[i++].len)
		weft_hop_copy_in(hop, at, bounce->segs[i].base, bounce->segs[i].len);
	WEFT_ASSERT(at == hop->len);
}

void bounce_use(const struct bounce *bounce, struct weft_hop *child)
{
	WEFT_ASSERT(bounce->nsegs > 0);
	child->segs = bounce->segs;
	child->seg_skip = 0;
	child->nsegs = bounce->nsegs;
}
