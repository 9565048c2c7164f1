/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The initiator from the inside: a block device whose wire is a vhost-user-blk server (docs/interop/vhost-user.rst of
 * QEMU; virtio 1.2, 5.2 block device).
 *
 *   vhost_user.c  the kind: options, start, stop, what the device can do
 *   link.c    the connection, on the control reactor: messages, losing it, reconnecting
 *   agree.c   the handshake
 *   identity.c  the first request: the serial number
 *   rings.c   rings set up and stopped, regions shared
 *   layout.c  the shared memory in which rings, headers, status bytes and bounce buffers lie
 *   queue.c   the data path, on the reactor that has opened the queue
 *
 * Addresses: everything is shared with the server under our own addresses (guest-physical = user = ours), so no
 * segment is translated.
 */
#ifndef DEVICES_VHOST_USER_H
#define DEVICES_VHOST_USER_H

#include <stdatomic.h>

#include <weft/blk.h>

#include "core/reactor.h"
#include "wire/virtio_blk.h"
#include "wire/virtq_drv.h"

enum {
	VU_QUEUES_MAX = 64,
	VU_NUM_MAX = 1024,       /* entries of a ring that every known server takes */
	VU_SEGS_MAX = 62,        /* of a request: header, segments and status fill an indirect table of 64 entries */
	VU_BOUNCE = 256 * 1024,  /* bytes of a bounce buffer, and so of a request */
	VU_REGIONS_MAX = 1024,   /* region numbers below this can be shared with a server */
	VU_BURST = 64,           /* completions taken in one turn */
	VU_SHOW = 8,             /* requests after which a server that polls is shown them, before the turn ends */
};

/* Where the parts of one queue lie in its memory, bytes. */
struct vu_layout {
	uint64_t desc, driver, device; /* the ring */
	uint16_t near_headers; /* ids whose headers lie in the line of the available index, from its byte 16 */
	uint64_t lines;   /* per id a cache line: short indirect table (3 entries) and request header */
	uint64_t tables;  /* per id a long indirect table, 64 entries; the last holds the range of a discard */
	uint64_t status;  /* per id a byte: 64 of them share a line, since they are written and read in batches */
	uint64_t bounce;  /* per id VU_BOUNCE bytes */
	uint64_t bytes;   /* of the whole queue */
};

/* Order of the control reactor to a queue's reactor; each is answered by a note. */
enum vu_order {
	VU_ORDER_NONE,
	VU_ORDER_PREPARE, /* submit nothing; take what has ended; with `reset` begin a new ring and queue again what was in it */
	VU_ORDER_UP,      /* the server runs the ring: go on */
	VU_ORDER_FAIL,    /* the server has been away for too long: end all requests, and new ones at once */
	VU_ORDER_FAIL_WAITING, /* ... but has not gone: what is in the ring stays there */
};

/* vu_queue.failed: what has been failed since the ring was up last */
enum vu_failed { VU_FAILED_NOTHING, VU_FAILED_WAITING, VU_FAILED_ALL };

struct vu_device;

struct vu_queue {
	/* Of its reactor. */
	struct vu_device *device;
	uint8_t *memory;
	const _Atomic uint32_t *shared; /* by region number: the generation that the server has */
	struct weft_hop **hops;         /* by id: in flight */
	struct virtq_drv_slot *slots;
	struct virtq_drv drv;
	struct vu_layout at;
	struct weft_source source;
	struct weft_reactor *reactor;
	struct hop_list waiting;        /* in order: no room, or the server is away */
	uint32_t in_flight;
	bool open, up, failing, armed, indirect;
	struct env_notifier *kick, *call;
	uint64_t kicks, in_place, copied, resubmitted;

	/* Handed over by messages. */
	struct weft_msg order_msg, note_msg;
	enum vu_order order;
	bool reset;                     /* with PREPARE */
	uint32_t base;                  /* answer of PREPARE: as SET_VRING_BASE wants it */
	_Atomic bool noted, wanted, answered, broken;
	_Atomic bool aborting;          /* something in the ring is to be aborted */
	_Atomic uintptr_t holder;       /* the reactor that has it, with bit 0 set while it has it open; 0: nobody */
	_Atomic bool opened;            /* since the control reactor has last told it that the ring is up */
	bool skipped;                   /* the order came when the queue was closed: nothing was done */
	_Atomic uint32_t region_wanted; /* number of a region that the server does not have; 0: none */

	/* Of the control reactor. */
	unsigned index;
	uint8_t state, step;            /* link.c */
	bool ring_dirty;                /* the ring cannot be continued by a new server: reset it */
	uint8_t failed;                 /* enum vu_failed */
	bool lost;                      /* the server went while an order was out */
};

/* virtio_blk_config, as far as it matters here (virtio 1.2, 5.2.4). */
struct vu_config {
	uint64_t capacity;              /* sectors of 512 bytes */
	uint32_t size_max, seg_max, blk_size, opt_blocks;
	uint32_t max_discard, discard_align, max_zero; /* sectors */
	uint8_t physical_exp, writeback;
	bool may_unmap;
};

struct vu_link;

struct vu_device {
	struct weft_object object;
	struct weft_blk blk;

	/* options */
	char *path;
	uint64_t queues_option, depth, reconnect_ns, timeout_ns, refusals, beyond;
	uint32_t packed_option;         /* index into auto|on|off */
	uint32_t cache_option;          /* auto|on|off */
	bool in_place;

	/* what was agreed with the server */
	uint64_t features;              /* virtio */
	uint64_t protocol;              /* vhost-user; 0 until agreed on this connection */
	unsigned queues;                /* used by us */
	unsigned queues_offered;
	struct vu_config config;
	uint16_t num;                   /* entries of a ring */
	bool packed, event_idx;
	char serial[VIRTIO_BLK_ID_TEXT]; /* as the server told it; "": it has none */

	struct vu_layout layout;
	int memory_fd;
	struct env_mapping *mapping;
	struct vu_queue *queue;         /* `queues` of them */
	_Atomic uint32_t shared[VU_REGIONS_MAX], asked[VU_REGIONS_MAX]; /* generations of regions */
	struct vu_link *link;
};

extern const struct weft_kind vhost_user_kind;

/* layout.c */
void vu_layout_make(struct vu_layout *layout, bool packed, uint16_t num);

/* queue.c: on the queue's reactor */
extern const struct weft_blk_ops vu_ops, vu_ops_at_home;
/* Control, before any reactor has opened it; 0 or -errno. */
int vu_queue_init(struct vu_queue *queue, struct vu_device *device, unsigned index);
void vu_queue_free(struct vu_queue *queue);
/* Where a server is to begin, as SET_VRING_BASE says it: behind what we have taken. Packed: for both directions, with their wrap
 * bits. */
uint32_t vu_queue_base(const struct vu_queue *queue);
/* Control: has the queue's reactor carry out `order`; the answer is a note (link.c). */
void vu_queue_order(struct vu_queue *queue, enum vu_order order);

/* vhost_user.c: the server has told its features and configuration for the first time: queues and memory are made. 0
 * or -errno with `why`. */
/* What is told above, bytes. */
uint64_t vu_size(const struct vu_device *device, const struct vu_config *config);
int vu_device_make(struct vu_device *device, struct weft_why *why);

/* link.c: on the control reactor */
/* Connects. -errno with task->why; else ends through `task`, when all is agreed or when it cannot be. */
int vu_link_start(struct vu_device *device, struct weft_task *task);
/* No reactor has a queue open. Ends through `task`. */
void vu_link_stop(struct vu_device *device, struct weft_task *task);
void vu_link_free(struct vu_device *device);
/* Control: its ring is off, and nobody wants it: any reactor may have it. */
void vu_queue_off(struct vu_queue *q);
/* From a queue's reactor: it was opened, closed, found broken, or has carried out an order. */
void vu_link_note(struct vu_queue *queue);

#endif
