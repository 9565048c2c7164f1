/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtqueue seen from the driver, split and packed: for the vhost-user initiator and for simulated front ends. Bytes
 * only: no I/O, no allocation. The device is not trusted: what it writes is read once and checked. One thread at a time.
 *
 *     virtq_drv_add() ... ; if (virtq_drv_publish(d)) kick;
 *     while (virtq_drv_take(d, &done) == 1) ...
 */
#ifndef WIRE_VIRTQ_DRV_H
#define WIRE_VIRTQ_DRV_H

#include <weft/base.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct virtq_buf {
	uint64_t addr; /* in the device's address space ("guest-physical") */
	uint32_t len;  /* bytes, not 0 */
};

/* Memory for an indirect table: at least 16 bytes per buffer, 16-byte aligned. */
struct virtq_drv_table {
	void *memory;
	uint64_t addr; /* the same byte in the device's address space */
};

/* Per descriptor (split) or buffer id (packed); `num` of them given to virtq_drv_init. Private. */
struct virtq_drv_slot {
	void *cookie;
	uint16_t next;   /* free list; split: also along a chain */
	uint16_t descs;  /* descriptors of the chain that starts here; 0: not in flight */
};

struct virtq_drv_config {
	uint16_t num;    /* split: a power of two; packed: 1 to 32768 */
	bool packed, event_idx;
	void *desc, *driver, *device; /* zeroed memory; sizes and alignment as in virtq.h */
	struct virtq_drv_slot *slots; /* `num` entries */
};

struct virtq_drv {
	uint8_t *desc, *driver, *device;
	struct virtq_drv_slot *slots;
	uint16_t num, mask;
	bool packed, event_idx;
	bool avail_wrap, used_wrap;
	uint16_t free_head;     /* of descriptors (split) or ids (packed): last in, first out, so that lines stay warm */
	uint16_t free_descs;    /* room left */
	uint16_t avail;         /* next; split: free-running; packed: slot */
	uint16_t published;     /* packed: slot of the first unpublished */
	uint16_t pending;       /* descriptors (packed) or chains (split) added and not shown */
	uint16_t unkicked;      /* shown since the last answer of virtq_drv_publish; the same units */
	uint64_t first_word;    /* packed: second half of the first pending descriptor, held back */
	uint16_t used;          /* next to take; split: free-running; packed: slot */
	uint16_t used_seen;     /* split */
	const char *fault;      /* NULL, or what the device did wrong: a constant sentence */
};

struct virtq_done {
	void *cookie;
	uint16_t id;   /* as virtq_drv_add returned it */
	uint32_t len;  /* bytes the device says it has written */
};

/* Returns 0, or -EINVAL with d->fault. Nothing is in flight afterwards. */
int virtq_drv_init(struct virtq_drv *d, const struct virtq_drv_config *config);

/* Descriptors that can still be added (a request with a table takes one). */
static inline uint16_t virtq_drv_room(const struct virtq_drv *d)
{
	return d->free_descs;
}

/* The id that the next virtq_drv_add will return, when there is room: memory tied to an id keeps descriptors unchanged. */
static inline uint16_t virtq_drv_next_id(const struct virtq_drv *d)
{
	return d->free_head;
}

/*
 * Adds a request: first `nread` buffers that the device reads, then `nwrite` that it writes; nread + nwrite > 0.
 * table: NULL, or where an indirect table may be put (needs VIRTIO_F_INDIRECT_DESC).
 * Returns the id, 0 to num - 1, unique among those in flight; -ENOSPC: no room; -E2BIG: longer than the ring.
 */
int virtq_drv_add(struct virtq_drv *d, const struct virtq_buf *bufs, uint16_t nread, uint16_t nwrite,
		  const struct virtq_drv_table *table, void *cookie);

/* Shows what was added to a device that may be polling, at once and without asking whether it wants to be kicked: that
 * is asked by the next virtq_drv_publish. */
void virtq_drv_show(struct virtq_drv *d);

/* Shows what was added to the device. True: kick it. */
bool virtq_drv_publish(struct virtq_drv *d);

/* The next request that has ended; shows first what was added. Returns 1, 0, or -EPROTO for good (d->fault). */
int virtq_drv_take(struct virtq_drv *d, struct virtq_done *done);

/* Whether virtq_drv_take would find something. */
bool virtq_drv_has_done(const struct virtq_drv *d);

/* Asks the device not to notify, or to notify again. Enable returns true when something has ended meanwhile. */
void virtq_drv_notify_disable(struct virtq_drv *d);
bool virtq_drv_notify_enable(struct virtq_drv *d);

#endif
