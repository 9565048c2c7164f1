/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside of the driver side: what split and packed rings share. Not for users of wire/virtq_drv.h. */
#ifndef WIRE_VIRTQ_DRV_INSIDE_H
#define WIRE_VIRTQ_DRV_INSIDE_H

#include "wire/virtq_drv.h"
#include "wire/virtq_walk.h" /* bits of descriptors, virtq_event_passed */

/* A request as it goes into the ring: `count` buffers, the first `nread` readable; `flags` on each. */
struct drv_chain {
	const struct virtq_buf *bufs;
	uint16_t nread, count, flags;
};

static inline uint64_t drv_word_split(uint32_t len, uint16_t flags, uint16_t next)
{
	return (uint64_t)len | (uint64_t)flags << 32 | (uint64_t)next << 48;
}

static inline uint64_t drv_word_packed(uint32_t len, uint16_t id, uint16_t flags)
{
	return (uint64_t)len | (uint64_t)id << 32 | (uint64_t)flags << 48;
}

static inline int drv_break(struct virtq_drv *d, const char *fault)
{
	d->fault = fault;
	return -EPROTO;
}

static inline uint16_t drv_flags(const struct drv_chain *c, uint16_t index)
{
	return (uint16_t)(c->flags | (index < c->nread ? 0 : DESC_WRITE) | (index + 1 < c->count ? DESC_NEXT : 0));
}

int drv_split_add(struct virtq_drv *d, const struct drv_chain *chain, void *cookie);
void drv_split_show(struct virtq_drv *d);
bool drv_split_wants_kick(const struct virtq_drv *d);
int drv_split_take(struct virtq_drv *d, struct virtq_done *done);
bool drv_split_has_done(const struct virtq_drv *d);
void drv_split_notify(struct virtq_drv *d, bool enable);

int drv_packed_add(struct virtq_drv *d, const struct drv_chain *chain, void *cookie);
void drv_packed_show(struct virtq_drv *d);
bool drv_packed_wants_kick(const struct virtq_drv *d);
int drv_packed_take(struct virtq_drv *d, struct virtq_done *done);
bool drv_packed_has_done(const struct virtq_drv *d);
void drv_packed_notify(struct virtq_drv *d, bool enable);

#endif
