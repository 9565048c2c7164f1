/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Private copies of data, for layers that must read foreign bytes more than once. A pool belongs to one
 * device on one reactor; requests wait for room in order. The pool holds several largest requests, so the
 * first that waits is always served.
 */
#ifndef DEVICES_BOUNCE_H
#define DEVICES_BOUNCE_H

#include <weft/blk.h>

#define BOUNCE_CHUNK (32u << 10)
#define BOUNCE_MAX_LEN (1u << 20) /* the largest request: such a layer sets weft_blk.max_len to it */
#define BOUNCE_SEGS (BOUNCE_MAX_LEN / BOUNCE_CHUNK)
#define BOUNCE_CHUNKS 128u

/* What one request has taken; lies in its per-request state. Chunks of BOUNCE_CHUNK bytes, aligned to a page,
 * stable. */
struct bounce {
	uint16_t nsegs; /* 0: nothing is taken */
	bool waiting;
	struct weft_seg segs[BOUNCE_SEGS];
};

struct bounce_pool {
	uint64_t taken, waited; /* counters: kept when the shard that begins with the pool is closed (BOUNCE_KEPT) */
	struct weft_core *core;
	char *base;
	/* Has what it waited for. Called by bounce_give. */
	void (*ready)(struct weft_hop *hop);
	/* The request's own struct bounce. */
	struct bounce *(*of)(struct weft_hop *hop);
	struct weft_hop *wait_head, **wait_tail;
	uint32_t nfree;
	uint16_t free[BOUNCE_CHUNKS];
};

#define BOUNCE_KEPT offsetof(struct bounce_pool, core)

/* In shard_open and shard_close. */
int bounce_open(struct bounce_pool *pool, struct weft_core *core, void (*ready)(struct weft_hop *hop),
	struct bounce *(*of)(struct weft_hop *hop), struct weft_why *why);
void bounce_close(struct bounce_pool *pool);

/* Room for hop->len bytes: true: it is there; false: pool->ready(hop) is called when it is. */
bool bounce_take(struct bounce_pool *pool, struct weft_hop *hop);
/* Gives back what the request has taken, and serves those that wait. */
void bounce_give(struct bounce_pool *pool, struct weft_hop *hop);
/* The request waits no more. */
void bounce_cancel(struct bounce_pool *pool, struct weft_hop *hop);

/* Does somebody outside hold any of the request's memory? */
bool bounce_is_foreign(const struct weft_hop *hop);
/* Copies the request's data into what it has taken (a write), or back (a read). */
void bounce_fill(const struct weft_hop *hop, struct bounce *bounce);
void bounce_return(const struct weft_hop *hop, const struct bounce *bounce);
/* Has `child` use the copy instead of the request's own segments. */
void bounce_use(const struct bounce *bounce, struct weft_hop *child);

#endif
