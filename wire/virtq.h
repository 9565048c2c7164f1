/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtqueue seen from the device (virtio 1.2 sections 2.7 and 2.8): split and packed, indirect descriptors, event index,
 * in-flight tracking (vhost-user.rst, "Inflight I/O tracking"), dirty log. Bytes only: no I/O, no allocation.
 *
 * A turn of the device:
 *
 *     while (room for a request && virtq_pop(vq, map, segs, max, &chain) == 1)
 *             start the request;                      (its tag is chain.tag)
 *     for each request that has ended
 *             virtq_push(vq, tag, bytes written);
 *     if (virtq_publish(vq))
 *             signal the call descriptor;
 *
 * To sleep: if (!virtq_notify_enable(vq)) wait for the kick; virtq_notify_disable(vq) after it.
 *
 * Everything that is read from the ring is read once, checked, then used. A ring found broken stays broken: vq->fault says
 * why, and nothing more is popped from it. All functions of one queue: one thread at a time.
 */
#ifndef WIRE_VIRTQ_H
#define WIRE_VIRTQ_H

#include "wire/vhost_log.h"
#include "wire/vmap.h"

#include <weft/base.h>
#include <weft/hop.h> /* struct weft_seg */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	VIRTQ_MAX_NUM = 32768,    /* entries of a ring (virtio 1.2, 2.7 and 2.8) */
	VIRTQ_MIN_CHAIN = 1024,   /* descriptors of a chain accepted whatever the ring's size; else the ring's size */
	VIRTQ_BATCH = 64,         /* used buffers gathered before they are published by themselves */
	VIRTQ_INFLIGHT_ALIGN = 64 /* of a queue's region in the shared in-flight area */
};

/* One request to resubmit after a restart; array of `num` entries given to virtq_init, used until the last is popped. */
struct virtq_resubmit {
	uint64_t counter; /* order of first arrival */
	uint16_t entry;   /* split: head descriptor; packed: first entry of the in-flight region */
	uint16_t count;   /* packed: descriptors in the ring */
};

struct virtq_config {
	uint16_t num;     /* ring size; split: a power of two; packed: 1 to 32768 */
	bool packed;      /* VIRTIO_F_RING_PACKED */
	bool event_idx;   /* VIRTIO_F_EVENT_IDX */
	bool indirect;    /* VIRTIO_F_INDIRECT_DESC */
	void *desc;       /* descriptor table or ring, 16-byte aligned; virtq_desc_size() bytes */
	void *driver;     /* available ring (2-byte aligned) or driver event (4); virtq_driver_size() bytes */
	void *device;     /* used ring (4-byte aligned) or device event (4); virtq_device_size() bytes */
	uint32_t base;    /* as SET_VRING_BASE gave it; replaced by what the in-flight region says, if there is one */
	void *inflight;   /* this queue's region, 8-byte aligned; NULL: no tracking */
	uint16_t inflight_num; /* entries of that region (queue size of the inflight description), at least num */
	struct virtq_resubmit *resubmit; /* room for `num`; needed with inflight */
};

/* What virtq_pop found. */
struct virtq_chain {
	uint64_t tag;       /* opaque; goes to virtq_push */
	uint32_t nsegs;     /* segments filled */
	uint32_t nread;     /* of these the first are device-readable, the rest device-writable */
	uint64_t read_len;  /* bytes */
	uint64_t write_len; /* bytes */
	bool again;         /* resubmitted after a restart: it may have been executed before, but was not acknowledged */
};

struct virtq_used { /* a used buffer not yet published (packed) */
	uint64_t tag;
	uint32_t written;
};

struct virtq {
	/* Read on every request. */
	uint8_t *desc, *driver, *device;
	uint8_t *inflight;
	uint16_t num, mask;         /* mask: num - 1, split only */
	bool packed, event_idx, indirect;
	bool avail_wrap, used_wrap; /* packed: ring wrap counters, of the next to pop and of the next used slot */
	bool signal_always;         /* the next publish asks for a notification whatever the driver says */
	uint16_t avail;             /* next to pop; split: free-running, packed: slot */
	uint16_t avail_seen;        /* split: the driver's index when last read */
	uint16_t used;              /* next used; split: free-running, with those pending; packed: slot, without */
	uint16_t pending;           /* pushed, not published */
	uint16_t unsignalled;       /* shown since the last answer of virtq_publish; split: chains, packed: slots */
	uint32_t in_use;            /* split: chains, packed: ring slots, popped and not published */
	uint32_t region_hint, region_other; /* where the last buffers were; any value is good */
	uint32_t max_chain;         /* descriptors of one chain; may be lowered or raised after virtq_init */
	const char *fault;          /* NULL, or why the ring is broken: a constant sentence */

	/* Guesses for prefetching only. */
	bool last_indirect;
	const void *last_header;
	const void *last_desc;

	/* Tracking and recovery. */
	uint64_t counter;
	uint16_t batch_head;        /* split: copy of the region's last_batch_head */
	uint16_t free_head;         /* packed: copy of the region's free_head, which is its old_free_head, too */
	uint16_t inflight_num;
	uint32_t resubmits, resubmit_at;
	struct virtq_resubmit *resubmit;

	/* Live migration. */
	struct vhost_log *log;      /* NULL: not logging */
	uint64_t log_address;       /* guest address of the used ring (split) or of the descriptor ring (packed) */
	uint64_t log_event;         /* packed: guest address of the device event */

	struct virtq_used batch[VIRTQ_BATCH]; /* packed */
};

/* Sizes of the ring's parts, bytes. */
size_t virtq_desc_size(bool packed, uint16_t num);
size_t virtq_driver_size(bool packed, uint16_t num);
size_t virtq_device_size(bool packed, uint16_t num);
/* Size of one queue's region in the in-flight area, a multiple of VIRTQ_INFLIGHT_ALIGN: queue i starts at i times it. */
size_t virtq_inflight_size(bool packed, uint16_t num);

/* Makes a region fresh again: for a ring that was reset (RESET_DEVICE, status 0). NULL is allowed. */
void virtq_inflight_reset(void *region);

/*
 * Sets the queue up; with a tracking region also recovers: finishes or rolls back what was under way when the last
 * server ended, and lists the requests that were in flight: virtq_pop gives them first, oldest first. A fresh region
 * (version 0) is initialized. The next virtq_publish returns true: the last server may have died before it notified.
 * Returns 0, or -EINVAL (size, alignment, a region that does not fit or is damaged) with vq->fault set.
 */
int virtq_init(struct virtq *vq, const struct virtq_config *config);

/* Marks all that the device writes in the ring: what a server wrote before it was killed may not be marked. */
void virtq_log_all(const struct virtq *vq);

/* For GET_VRING_BASE: split: next available index; packed: slot and wrap bit, used slot and wrap bit above. */
uint32_t virtq_base(const struct virtq *vq);

/*
 * The next chain as segments of our memory. segs: `max` entries.
 * Returns 1 and *chain; 0: nothing there; -E2BIG: the chain needs more than `max` segments, nothing was consumed, try
 * again with more; -EPROTO: the ring is broken (vq->fault), for good.
 * At most max_chain descriptors make up to max_chain segments plus one for each border between regions inside a buffer.
 */
int virtq_pop(struct virtq *vq, const struct vmap *map, struct weft_seg *segs, uint32_t max, struct virtq_chain *chain);

/* The request has ended; `written` bytes were written to its writable segments. In any order. */
void virtq_push(struct virtq *vq, uint64_t tag, uint32_t written);

/* Shows what was pushed to a driver that may be polling, at once and without asking whether it wants to be notified: that is
 * asked by the next virtq_publish. */
void virtq_show(struct virtq *vq);

/* Shows all that was pushed to the driver. True: notify it. Cheap when nothing was pushed. */
bool virtq_publish(struct virtq *vq);

/* Requests popped and not yet published (split: chains, packed: ring slots). */
static inline uint32_t virtq_in_use(const struct virtq *vq)
{
	return vq->in_use;
}

/* Chains that the last server left in flight and virtq_pop has not given yet: it gives these first. */
static inline uint32_t virtq_left(const struct virtq *vq)
{
	return vq->fault != NULL ? 0 : vq->resubmits - vq->resubmit_at;
}

/* Whether virtq_pop would find something (or a fault). One shared load at most. */
bool virtq_has_work(struct virtq *vq);

/* Asks the driver not to kick, or to kick again. Enable returns true when work has arrived meanwhile: look again. */
void virtq_notify_disable(struct virtq *vq);
bool virtq_notify_enable(struct virtq *vq);

#endif
