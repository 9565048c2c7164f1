/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside of the device side of packed rings: the ring (virtq_packed.c) and its in-flight region. */
#ifndef WIRE_VIRTQ_PACKED_H
#define WIRE_VIRTQ_PACKED_H

#include "wire/virtq_walk.h"

/* A request's tag: buffer id, slots taken in the ring, first and last entry in the region. */
static inline uint64_t packed_tag(uint16_t id, uint16_t count, uint16_t entry, uint16_t last)
{
	return (uint64_t)id | (uint64_t)count << 16 | (uint64_t)entry << 32 | (uint64_t)last << 48;
}

static inline uint16_t packed_tag_id(uint64_t tag)
{
	return (uint16_t)tag;
}

static inline uint16_t packed_tag_count(uint64_t tag)
{
	return (uint16_t)(tag >> 16);
}

static inline uint16_t packed_tag_entry(uint64_t tag)
{
	return (uint16_t)(tag >> 32);
}

static inline uint16_t packed_tag_last(uint64_t tag)
{
	return (uint16_t)(tag >> 48);
}

void packed_advance_avail(struct virtq *vq, uint16_t count);

/* A fresh region, for a ring at vq->used. */
void packed_region_start(struct virtq *vq);
/* 0 or -EINVAL: sets the positions of the ring and the list of requests to resubmit. */
int packed_recover(struct virtq *vq);
/* The next of the requests to resubmit, from the region's copy of its descriptors. As virtq_pop. */
int packed_pop_again(struct virtq *vq, const struct vmap *map, struct weft_seg *segs, uint32_t max,
		     struct virtq_chain *chain);

/* Copies one descriptor into free entry *entry and moves on: *last is that entry. False: the free list is damaged. */
bool packed_track_desc(struct virtq *vq, const struct virtq_desc *d, uint16_t *entry, uint16_t *last);
/* The list's entries, from vq->free_head to `last`, are in flight from now on; `free` is the new head of the free list. */
void packed_track(struct virtq *vq, uint16_t count, uint16_t last, uint16_t free);
/* Around writing the used descriptors of vq->batch, which take `slots` slots. */
void packed_untrack_begin(struct virtq *vq, uint16_t slots);
void packed_untrack_end(struct virtq *vq);

#endif
