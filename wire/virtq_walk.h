/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside of the device side: what split and packed rings share. Not for users of wire/virtq.h. */
#ifndef WIRE_VIRTQ_WALK_H
#define WIRE_VIRTQ_WALK_H

#include "wire/shm.h"
#include "wire/virtq.h"

#include <errno.h>

/* Bits that virtio 1.2 gives to descriptors and rings (2.7.5, 2.7.7, 2.7.10, 2.8.1, 2.8.10). */
enum {
	DESC_NEXT = 1,
	DESC_WRITE = 2,
	DESC_INDIRECT = 4,
	DESC_AVAIL = 1 << 7,
	DESC_USED = 1 << 15,
	DESC_BYTES = 16,
	RING_NO_NOTIFY = 1, /* split: avail.flags NO_INTERRUPT, used.flags NO_NOTIFY */
	EVENT_ENABLE = 0,   /* packed: event suppression flags */
	EVENT_DISABLE = 1,
	EVENT_DESC = 2,
};

/* A local copy of a descriptor: the shared one is not looked at again. */
struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;
	uint16_t next; /* split: next descriptor; packed: buffer id */
};

/* A chain being turned into segments. */
struct virtq_walk {
	struct virtq *vq;
	const struct vmap *map;
	struct weft_seg *segs;
	uint32_t max, nsegs, nread;
	uint32_t left;          /* descriptors that the chain may still have */
	uint64_t len, read_len; /* bytes: of all, of the readable ones */
};

static inline int virtq_break(struct virtq *vq, const char *fault)
{
	WEFT_ASSERT(vq->fault == NULL);
	vq->fault = fault;
	return -EPROTO;
}

/* Word 1 of a descriptor: length, then flags and next (split) or id and flags (packed). */
static inline void virtq_desc_split(struct virtq_desc *d, uint64_t addr, uint64_t word)
{
	d->addr = addr;
	d->len = (uint32_t)word;
	d->flags = (uint16_t)(word >> 32);
	d->next = (uint16_t)(word >> 48);
}

static inline void virtq_desc_packed(struct virtq_desc *d, uint64_t addr, uint64_t word)
{
	d->addr = addr;
	d->len = (uint32_t)word;
	d->next = (uint16_t)(word >> 32);
	d->flags = (uint16_t)(word >> 48);
}

static inline void virtq_walk_start(struct virtq_walk *w, struct virtq *vq, const struct vmap *map,
				    struct weft_seg *segs, uint32_t max)
{
	WEFT_ASSERT(vq->fault == NULL && vq->in_use <= vq->num);
	w->vq = vq;
	w->map = map;
	w->segs = segs;
	w->max = max;
	w->nsegs = w->nread = 0;
	w->left = vq->max_chain;
	w->len = w->read_len = 0;
}

/* Adds one buffer: usually one segment, more where it crosses from one region into the next. 0, -E2BIG or -EPROTO. */
int virtq_walk_add(struct virtq_walk *w, const struct virtq_desc *d);

static inline void virtq_walk_done(const struct virtq_walk *w, struct virtq_chain *chain, bool again)
{
	WEFT_ASSERT(w->nsegs > 0 && w->nsegs <= w->max && w->nread <= w->nsegs && w->read_len <= w->len);
	chain->nsegs = w->nsegs;
	chain->nread = w->nread;
	chain->read_len = w->read_len;
	chain->write_len = w->len - w->read_len;
	chain->again = again;
}

/*
 * The common case of a chain, in registers: all buffers in the two regions where the last ones were (a guest's low and high
 * memory; a driver's rings and its data), in order, not too many. Anything else ends it without a word, and the walk above
 * begins anew from the head: what was read here is not used then.
 */
struct virtq_plain {
	const struct vmap_region *region, *other;
	struct weft_seg *segs;
	uint32_t max, nsegs, nread;
	uint64_t len, read_len;
};

/* False: there is no region to begin with. */
static inline bool virtq_plain_start(struct virtq_plain *p, const struct virtq *vq, const struct vmap *map,
				     struct weft_seg *segs, uint32_t max)
{
	if (WEFT_UNLIKELY(vq->region_hint >= map->count))
		return false;
	p->region = &map->regions[vq->region_hint];
	p->other = vq->region_other < map->count ? &map->regions[vq->region_other] : p->region;
	p->segs = segs;
	p->max = max < vq->max_chain ? max : vq->max_chain;
	p->nsegs = p->nread = 0;
	p->len = p->read_len = 0;
	return true;
}

/* Of the two, the region that holds `len` bytes at `gpa`; NULL: neither, or len is 0. */
static inline const struct vmap_region *virtq_plain_region(const struct virtq_plain *p, uint64_t gpa, uint32_t len)
{
	uint64_t at = gpa - p->region->gpa;

	if (at < p->region->size && (uint64_t)len - 1 < p->region->size - at)
		return p->region;
	at = gpa - p->other->gpa;
	return at < p->other->size && (uint64_t)len - 1 < p->other->size - at ? p->other : NULL;
}

/* Adds a buffer as one segment. False: not plain. */
static inline bool virtq_plain_add(struct virtq_plain *p, uint64_t gpa, uint32_t len, bool write)
{
	const struct vmap_region *region = virtq_plain_region(p, gpa, len);
	struct weft_seg *seg = &p->segs[p->nsegs];

	if (WEFT_UNLIKELY(!region || p->nsegs == p->max))
		return false;
	*seg = (struct weft_seg){
		.base = region->hva + (gpa - region->gpa), .len = len, .region = region->region, .foreign = 1};
	p->nsegs++;
	p->len += len;
	if (write)
		return true;
	p->read_len = p->len;
	return ++p->nread == p->nsegs;
}

static inline void virtq_plain_done(const struct virtq_plain *p, struct virtq_chain *chain)
{
	chain->nsegs = p->nsegs;
	chain->nread = p->nread;
	chain->read_len = p->read_len;
	chain->write_len = p->len - p->read_len;
	chain->again = false;
}

/* The indirect table of `d` when all of it is in one region and aligned; *count entries. NULL: not plain. */
static inline const uint8_t *virtq_plain_table(const struct virtq_plain *p, const struct virtq *vq,
					       const struct virtq_desc *d, uint32_t *count)
{
	const struct vmap_region *region = virtq_plain_region(p, d->addr, d->len);
	const uint8_t *table;

	*count = d->len / DESC_BYTES;
	if (!vq->indirect || d->flags & DESC_NEXT || d->len % DESC_BYTES != 0 || *count - 1 >= vq->max_chain)
		return NULL;
	if (!region)
		return NULL;
	table = region->hva + (d->addr - region->gpa);
	return ((uintptr_t)table & 7) == 0 ? table : NULL;
}

/* Adds the buffers of the indirect table that `d` points to. 0, -E2BIG or -EPROTO. */
int virtq_walk_table(struct virtq_walk *w, const struct virtq_desc *d);

/* Whether a driver that asked for an event at `event` wants one for the step from `old` to `now` (modulo 2^16). */
static inline bool virtq_event_passed(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

/* Orders the first `count` entries of the list by counter. Bounded whatever the values are. */
void virtq_resubmit_sort(struct virtq_resubmit *list, uint32_t count);

/* Version and size of a region: 0: fresh, 1: in use, -EINVAL. */
int virtq_inflight_check(struct virtq *vq);

int virtq_split_init(struct virtq *vq, uint32_t base);
int virtq_split_pop(struct virtq *vq, const struct vmap *map, struct weft_seg *segs, uint32_t max,
		    struct virtq_chain *chain);
void virtq_split_push(struct virtq *vq, uint64_t tag, uint32_t written);
void virtq_split_show(struct virtq *vq);
bool virtq_split_publish(struct virtq *vq);
bool virtq_split_has_work(struct virtq *vq);
void virtq_split_notify(struct virtq *vq, bool enable);

int virtq_packed_init(struct virtq *vq, uint32_t base);
int virtq_packed_pop(struct virtq *vq, const struct vmap *map, struct weft_seg *segs, uint32_t max,
		     struct virtq_chain *chain);
void virtq_packed_push(struct virtq *vq, uint64_t tag, uint32_t written);
void virtq_packed_show(struct virtq *vq);
bool virtq_packed_publish(struct virtq *vq);
bool virtq_packed_has_work(struct virtq *vq);
void virtq_packed_notify(struct virtq *vq, bool enable);

/* Common layout of the in-flight region's head (vhost-user.rst): bytes from its start. */
enum { INFLIGHT_VERSION = 8, INFLIGHT_DESC_NUM = 10, INFLIGHT_VERSION_NOW = 1 };

#endif
