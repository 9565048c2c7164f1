/* SPDX-License-Identifier: BSD-2-Clause */
/* Block devices from the inside: shards, the layout of hops, the emulating adapter and the carrier to a home reactor. */
#ifndef CORE_BLK_H
#define CORE_BLK_H

#include <string.h>

#include <weft/blk.h>

#include <weft/memory.h>

#include "core/core.h"
#include "core/reactor.h"

/* What a device has on one reactor: counters, then the device's own bytes. The number of requests is the sum of the
 * latencies'. It stays until the device stops, closed or not: others may be reading the counters, and a layer that comes or goes
 * must not set them back. */
struct weft_shard {
	/* The line that every request touches; besides it only its latency's. */
	struct weft_reactor *reactor;
	uint64_t submitted;
	uint64_t bytes[WEFT_STAT_COUNT];
	bool gathered;
	struct weft_shard *gather_next;
	_Alignas(64) struct weft_histogram latency[WEFT_STAT_COUNT];
	uint64_t errors[WEFT_STAT_COUNT];
	uint64_t refused;
	struct weft_blk *blk;
	uint32_t users;   /* stacks that have it open here */
	bool yielding;    /* in the reactor's list of those that have a request to go on with: */
	struct weft_shard *yield_next;
	struct hop_list yielded;
	_Alignas(64) char own[];
};

/* A device's table of shards, in two halves: by lane those that are open (weft_blk.shard), behind them all that there are. NULL:
 * no memory. */
static inline struct weft_shard **shards_make(struct weft_core *core)
{
	return weft_alloc(core, 2 * CORE_REACTORS_MAX * sizeof(struct weft_shard *));
}
/* Open or closed; NULL: it was never opened there. Any thread, to read counters. */
static inline struct weft_shard *shard_ever(const struct weft_blk *blk, unsigned lane)
{
	return __atomic_load_n(&blk->shard[CORE_REACTORS_MAX + lane], __ATOMIC_ACQUIRE);
}

/* A device has started: what the core works out. -ENOMEM, or -EINVAL with `why` when what the device says makes no sense.
 * Control. */
int blk_started(struct weft_blk *blk, struct weft_why *why);
/* Before the device is destroyed: frees what blk_started made. Control. */
void blk_stopped(struct weft_blk *blk);

/* Works out child_stride, request_at and span of the device and of all below it; returns span. Control. What is open stays as it
 * is: others may be using it, so that a device is not opened while its stack is being changed. */
uint32_t blk_span(struct weft_blk *blk);

/* How many bytes behind a hop to the device, at most, hold hops: those of all below it. */
uint32_t blk_hops_behind(const struct weft_blk *blk);
/* Do they lie at the same places for both devices, on each reactor? What one has left there is good for the other then. */
bool blk_alike(const struct weft_blk *a, const struct weft_blk *b);

/*
 * Opens (closes) on the reactor that runs this what of the stack has its home here and, where hops are submitted here (`asked`),
 * what these need: shards of devices, adapters, carriers. Of all that, what lies behind `homes` homes on the way down.
 * A device may ask below by itself, on whichever reactor (a rebuild): so what lies behind more homes is open on all reactors
 * before, and after, what lies behind fewer.
 */
int blk_open_here(struct weft_blk *blk, struct weft_reactor *reactor, bool asked, unsigned homes, struct weft_why *why);
void blk_close_here(struct weft_blk *blk, struct weft_reactor *reactor, bool asked, unsigned homes);
/* Is any of them busy (weft_blk_ops.shard_busy)? Then it cannot be closed yet. */
bool blk_is_busy_here(struct weft_blk *blk, struct weft_reactor *reactor, bool asked, unsigned homes);
/* The most homes on any way down. Control. */
unsigned blk_homes(const struct weft_blk *blk);

/* WEFT_OP_BIT()s that can be asked of the device, with what the waist emulates. */
uint32_t blk_ops(const struct weft_blk *blk);

/* core/adapter.c: a device in front of `blk` that emulates; NULL: no memory. core/carrier.c: one that carries hops home. */
struct weft_blk *adapter_make(struct weft_blk *blk);
void adapter_stats(const struct weft_blk *adapter, struct weft_stats *out);
struct weft_blk *carrier_make(struct weft_blk *blk);
void carrier_stats(const struct weft_blk *carrier, struct weft_stats *out);
/* A carried hop has come to its home, or leaves it: kept in reactor->visitors, for its deadlines. */
void carrier_arrived(struct weft_reactor *home, struct weft_hop *child);
void carrier_leaves(struct weft_reactor *home, struct weft_hop *child);
uint64_t carrier_expire(struct weft_reactor *home, uint64_t now_ns);

/* core/hop.c */
void hop_list_init(struct hop_list *list);
/* By hop->queue: at the end; the first, NULL: there is none; from wherever it is, false: it is not there. */
void hop_queue_add(struct hop_list *list, struct weft_hop *hop);
struct weft_hop *hop_queue_take(struct hop_list *list);
bool hop_queue_remove(struct hop_list *list, struct weft_hop *hop);
/* Goes on with one request of each device that has some that yielded. */
void hops_resume(struct weft_reactor *reactor);
/* Delivers all that has ended, and what ends meanwhile. True if there was anything. */
bool hops_unwind(struct weft_reactor *reactor);
/* Continues with a hop that came by the inbox: READY: its submission; ENDED: its delivery. */
void hop_arrived(struct weft_reactor *reactor, struct weft_hop *hop);
/* Ends what has waited beyond its deadline in and below `hop`, which is in flight, or below a slot's root; returns the
 * earliest deadline
 * that is left, ENV_FOREVER: none. */
uint64_t hop_expire(struct weft_hop *hop, uint64_t now_ns);
/* Child `index` of a hop, whatever its state: for walking. */
static inline struct weft_hop *hop_child(const struct weft_hop *hop, unsigned index)
{
	return (struct weft_hop *)(void *)((char *)(uintptr_t)(hop + 1) + (size_t)index * hop->blk->child_stride);
}

/* The hop behind which the children of a request lie: itself, or one of its layer's own (weft_blk_ops.goes_on_at). For walking. */
static inline struct weft_hop *hop_goes_on(const struct weft_hop *hop)
{
	struct weft_hop *self = (struct weft_hop *)(uintptr_t)hop, *own;

	if (hop->up_at == 0 || hop->blk->ops->goes_on_at == 0)
		return self;
	memcpy(&own, (char *)weft_hop_request(self) + hop->blk->ops->goes_on_at, sizeof(own));
	WEFT_ASSERT(own == NULL || own->blk == hop->blk);
	return own != NULL ? own : self;
}

/* The asking layer's hop. */
static inline struct weft_hop *hop_up(const struct weft_hop *hop)
{
	return (struct weft_hop *)(void *)((char *)(uintptr_t)hop - hop->up_at);
}
/* Of a hop that was submitted. */
static inline struct weft_reactor *hop_reactor(const struct weft_hop *hop)
{
	return hop->blk->shard[hop->lane]->reactor;
}
/* Parts of weft_hop.progress, read as a whole. */
static inline unsigned progress_state(uint64_t progress) { return (uint8_t)(progress >> 32); }
static inline unsigned progress_lane(uint64_t progress) { return (unsigned)(progress >> 40) & 0x7f; }
static inline bool progress_timed(uint64_t progress) { return (progress >> 47 & 1) != 0; }
/* In this state and nothing else: no deadline, no status. */
static inline bool progress_is(uint64_t progress, enum weft_hop_state state)
{
	return (progress >> 32 & ~0x7f00ull) == state;
}
static inline int progress_status(uint64_t progress) { return (int)((int64_t)progress >> 48); }

/* core/reactor.c */
void reactor_post_hop(struct weft_reactor *reactor, struct weft_hop *hop);
void reactor_deadline(struct weft_reactor *reactor, uint64_t at_ns);

#endif
