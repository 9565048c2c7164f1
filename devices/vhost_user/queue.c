/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The data path of the initiator: requests become descriptor chains, used entries become completions. One queue
 * belongs to one reactor.
 *
 * Invariants:
 *  Q1  A hop asked of this device is in `waiting`, or in hops[id] and in the ring; never in both.
 *  Q2  Nothing is added to the ring while the queue is not `up`; what was in the ring when the server went away stays
 *      there, and either the next server finds it (in-flight tracking) or PREPARE with `reset` queues it again.
 *  Q3  A request is never refused for want of room: it waits, in order.
 *  Q4  A request in the ring ends when the server returns it; or, by an order, when the server has gone (link.h, L1 and L2).
 *      To abort it is to ask the server to go.
 */
#include <errno.h>
#include <string.h>

#include <weft/memory.h>

#include "devices/vhost_user/vhost_user.h"

#include "core/blk.h"
#include "core/core.h"
#include "core/region.h"
#include "wire/shm.h"
#include "wire/vhost_user.h"
#include "wire/virtio_blk.h"

/* hop->scratch of this device. */
enum { SCRATCH_STATE, SCRATCH_DONE };
/* hop->scratch[SCRATCH_STATE] */
enum { REQUEST_WAITING = 1, REQUEST_IN_PLACE, REQUEST_COPIED };
/* hop->scratch[SCRATCH_DONE]: bytes of a long discard that have been asked for already */

struct shard {
	struct vu_queue *queue; /* NULL: the device is used at its home, which is another reactor */
};

/* ---- building a request ---- */

static void header_fill(uint8_t *header, uint32_t type, uint64_t sector)
{
	shm_store32(header, type);
	shm_store32(header + 4, 0);
	shm_store64(header + 8, sector);
}

/* Not yet: the control reactor is asked, once, to share it. */
static bool share_wanted(struct vu_queue *q, unsigned number, const struct region *region)
{
	struct vu_device *device = q->device;

	if (region->fd >= 0 && device->in_place &&
			atomic_exchange(&device->asked[number], region->generation) != region->generation) {
		atomic_store(&q->region_wanted, number);
		vu_link_note(q);
	}
	return false;
}

static inline bool is_shared(struct vu_queue *q, const struct weft_seg *seg)
{
	const struct region *region;

	if (seg->region == WEFT_REGION_NONE || seg->region >= VU_REGIONS_MAX)
		return false;
	region = region_get(q->device->object.core, seg->region);
	WEFT_ASSERT(region != NULL);
	if (WEFT_LIKELY(atomic_load_explicit(&q->shared[seg->region], memory_order_acquire) == region->generation))
		return true;
	return share_wanted(q, seg->region, region);
}

/* The hop's view as buffers of the server's address space; 0: some of it lies in memory that the server does not
 * have. */
static unsigned buffers_of(struct vu_queue *q, const struct weft_hop *hop, struct virtq_buf *bufs)
{
	uint64_t skip = hop->seg_skip, left = hop->len;
	unsigned n = 0;

	if (WEFT_LIKELY(hop->nsegs == 1)) {
		bufs[0] = (struct virtq_buf){ (uintptr_t)hop->segs[0].base + skip, (uint32_t)left };
		return is_shared(q, &hop->segs[0]) ? 1 : 0;
	}
	for (unsigned i = 0; left > 0; i++) {
		const struct weft_seg *seg = &hop->segs[i];
		uint64_t here = seg->len;

		WEFT_ASSERT(i < hop->nsegs);
		if (skip >= here) {
			skip -= here;
			continue;
		}
		here = here - skip < left ? here - skip : left;
		if (!is_shared(q, seg))
			return 0;
		WEFT_ASSERT(n < VU_SEGS_MAX);
		bufs[n++] = (struct virtq_buf){ (uintptr_t)seg->base + skip, (uint32_t)here };
		skip = 0;
		left -= here;
	}
	return n;
}

/* The range of a discard or of zeroes, not longer than the server takes; the rest follows when it has ended. */
static void range_fill(struct vu_queue *q, struct weft_hop *hop, uint8_t *range)
{
	uint64_t sectors = (hop->len - hop->scratch[SCRATCH_DONE]) / VIRTIO_BLK_SECTOR;
	uint64_t most = hop->op == WEFT_DISCARD ? q->device->config.max_discard : q->device->config.max_zero;
	bool unmap = hop->op == WEFT_ZERO && q->device->config.may_unmap && (hop->flags & WEFT_NO_UNMAP) == 0;

	sectors = sectors < most ? sectors : most;
	shm_store64(range, (hop->offset + hop->scratch[SCRATCH_DONE]) / VIRTIO_BLK_SECTOR);
	shm_store32(range + 8, (uint32_t)sectors);
	shm_store32(range + 12, unmap ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0);
	hop->scratch[SCRATCH_DONE] += sectors * VIRTIO_BLK_SECTOR;
}

static const uint32_t type_of[WEFT_OP_COUNT] = {
	[WEFT_READ] = VIRTIO_BLK_T_IN, [WEFT_WRITE] = VIRTIO_BLK_T_OUT, [WEFT_FLUSH] = VIRTIO_BLK_T_FLUSH,
	[WEFT_DISCARD] = VIRTIO_BLK_T_DISCARD, [WEFT_ZERO] = VIRTIO_BLK_T_WRITE_ZEROES,
};

/* Fills bufs[1...] with what lies between header and status; returns how many. */
static unsigned payload_fill(struct vu_queue *q, struct weft_hop *hop, uint16_t id, struct virtq_buf *bufs)
{
	uint8_t *spare = q->memory + q->at.tables + 1024 * (uint64_t)id + 1008;
	uint8_t *bounce = q->memory + q->at.bounce + (uint64_t)VU_BOUNCE * id;
	unsigned n;

	hop->scratch[SCRATCH_STATE] = REQUEST_IN_PLACE;
	if (hop->op == WEFT_FLUSH)
		return 0;
	if (hop->op == WEFT_DISCARD || hop->op == WEFT_ZERO) {
		range_fill(q, hop, spare);
		bufs[1] = (struct virtq_buf){ (uintptr_t)spare, 16 };
		return 1;
	}
	n = buffers_of(q, hop, bufs + 1);
	if (WEFT_LIKELY(n > 0)) {
		q->in_place++;
		return n;
	}
	WEFT_ASSERT(hop->len <= VU_BOUNCE);
	q->copied++;
	hop->scratch[SCRATCH_STATE] = REQUEST_COPIED;
	if (hop->op == WEFT_WRITE)
		weft_hop_copy_out(hop, 0, bounce, hop->len);
	bufs[1] = (struct virtq_buf){ (uintptr_t)bounce, (uint32_t)hop->len };
	return 1;
}

static bool has_room(const struct vu_queue *q, const struct weft_hop *hop)
{
	unsigned needed = q->indirect ? 1 : hop->nsegs + 2u;

	return q->up && virtq_drv_room(&q->drv) >= needed;
}

static inline uint8_t *header_of(const struct vu_queue *q, uint16_t id)
{
	return q->memory + (id < q->at.near_headers ? q->at.driver + 16 + 16 * (uint64_t)id :
		q->at.lines + 48 + 64 * (uint64_t)id);
}

static void ring_add(struct vu_queue *q, struct weft_hop *hop)
{
	struct virtq_buf bufs[VU_SEGS_MAX + 2];
	uint16_t id = virtq_drv_next_id(&q->drv);
	uint8_t *line = q->memory + q->at.lines + 64 * (uint64_t)id, *header = header_of(q, id);
	unsigned payload = payload_fill(q, hop, id, bufs);
	bool to_server = hop->op != WEFT_READ;
	void *memory = payload <= 1 ? line : q->memory + q->at.tables + 1024 * (uint64_t)id;
	struct virtq_drv_table table = { memory, (uintptr_t)memory };
	int got;

	header_fill(header, type_of[hop->op],
		hop->op == WEFT_READ || hop->op == WEFT_WRITE ? hop->offset / VIRTIO_BLK_SECTOR : 0);
	bufs[0] = (struct virtq_buf){ (uintptr_t)header, 16 };
	bufs[payload + 1] = (struct virtq_buf){ (uintptr_t)q->memory + q->at.status + id, 1 };
	got = virtq_drv_add(&q->drv, bufs, (uint16_t)(1 + (to_server ? payload : 0)),
		(uint16_t)(1 + (to_server ? 0 : payload)), q->indirect ? &table : NULL, hop);
	WEFT_ASSERT(got == id && q->hops[id] == NULL);
	q->hops[id] = hop;
	q->in_flight++;
}

static void wait_in_order(struct vu_queue *q, struct weft_hop *hop)
{
	hop->scratch[SCRATCH_STATE] = REQUEST_WAITING;
	hop->queue = NULL;
	*q->waiting.tail = hop;
	q->waiting.tail = &hop->queue;
}

static void wait_in_front(struct vu_queue *q, struct weft_hop *hop)
{
	hop->scratch[SCRATCH_STATE] = REQUEST_WAITING;
	hop->queue = q->waiting.head;
	if (q->waiting.head == NULL)
		q->waiting.tail = &hop->queue;
	q->waiting.head = hop;
}

/* An abort has left its reason (weft_hop_abort): then it ends. True: it waits. */
static bool wait_in_front_or_end(struct vu_queue *q, struct weft_hop *hop)
{
	if (WEFT_UNLIKELY(hop->status != 0)) {
		weft_hop_complete(hop, -ECANCELED);
		return false;
	}
	wait_in_front(q, hop);
	return true;
}

static struct weft_hop *waiting_take(struct vu_queue *q)
{
	struct weft_hop *hop = q->waiting.head;

	q->waiting.head = hop->queue;
	if (q->waiting.head == NULL)
		q->waiting.tail = &q->waiting.head;
	return hop;
}

static void waiting_add_to_ring(struct vu_queue *q)
{
	while (q->waiting.head != NULL && has_room(q, q->waiting.head)) {
		struct weft_hop *hop = waiting_take(q);

		ring_add(q, hop);
		weft_hop_gather(hop);
	}
}

static void vu_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct vu_queue *q = ((struct shard *)weft_hop_shard(hop))->queue;

	(void)blk;
	WEFT_ASSERT(q != NULL);
	hop->scratch[SCRATCH_DONE] = 0;
	if (WEFT_UNLIKELY(q->failing)) {
		weft_hop_complete(hop, -EIO);
	} else if (WEFT_LIKELY(q->waiting.head == NULL && has_room(q, hop))) {
		ring_add(q, hop);
		weft_hop_gather(hop);
		if (q->drv.pending % VU_SHOW == 0)
			virtq_drv_show(&q->drv);
	} else {
		wait_in_order(q, hop);
	}
}

static void vu_commit(struct weft_blk *blk, void *shard)
{
	struct vu_queue *q = ((struct shard *)shard)->queue;

	(void)blk;
	if (virtq_drv_publish(&q->drv)) {
		q->kicks++;
		env_notifier_signal(q->kick);
	}
}

/* What waits can end at once. What is in the ring belongs to the server until it returns it, or has gone: it is asked to go. */
static void vu_abort(struct weft_blk *blk, struct weft_hop *hop)
{
	struct vu_queue *q = ((struct shard *)weft_hop_shard(hop))->queue;
	struct weft_hop **at = &q->waiting.head;

	WEFT_ASSERT(hop->state == WEFT_HOP_ASKED && weft_reactor_here() == q->reactor);
	(void)blk;
	if (hop->scratch[SCRATCH_STATE] != REQUEST_WAITING) {
		atomic_store(&q->aborting, true);
		vu_link_note(q);
		return;
	}
	while (*at != hop)
		at = &(*at)->queue;
	*at = hop->queue;
	if (*at == NULL)
		q->waiting.tail = at;
	weft_hop_complete(hop, -ECANCELED);
}

/* ---- ending a request ---- */

static inline void request_end(struct vu_queue *q, uint16_t id)
{
	struct weft_hop *hop = q->hops[id];
	int error = virtio_blk_error(shm_load8(q->memory + q->at.status + id));

	WEFT_ASSERT(hop != NULL && q->in_flight > 0);
	shm_prefetch_write(header_of(q, id)); /* the next request will be written there */
	q->hops[id] = NULL;
	q->in_flight--;
	if (WEFT_UNLIKELY(hop->scratch[SCRATCH_STATE] == REQUEST_COPIED) && hop->op == WEFT_READ && error == 0)
		weft_hop_copy_in(hop, 0, q->memory + q->at.bounce + (uint64_t)VU_BOUNCE * id, hop->len);
	if (WEFT_UNLIKELY(hop->scratch[SCRATCH_DONE] != 0) && error == 0 && hop->scratch[SCRATCH_DONE] < hop->len)
		wait_in_front_or_end(q, hop);
	else
		weft_hop_complete(hop, error);
}

/* Takes up to `most` completions; true if there were any. */
static bool ring_take(struct vu_queue *q, unsigned most)
{
	struct virtq_done done;
	unsigned n = 0;
	int got = 0;

	while (n < most && (got = virtq_drv_take(&q->drv, &done)) == 1) {
		request_end(q, done.id);
		n++;
	}
	if (WEFT_UNLIKELY(got < 0) && !atomic_load_explicit(&q->broken, memory_order_relaxed)) {
		atomic_store(&q->broken, true);
		q->up = false;
		vu_link_note(q);
	}
	return n > 0;
}

static bool vu_poll(struct weft_source *source)
{
	struct vu_queue *q = WEFT_CONTAINER(source, struct vu_queue, source);
	bool any;

	if (q->in_flight == 0 || !virtq_drv_has_done(&q->drv))
		return false;
	shm_prefetch(q->memory + q->at.status); /* else it is waited for behind the used entries */
	any = ring_take(q, VU_BURST);
	if (WEFT_UNLIKELY(q->waiting.head != NULL))
		waiting_add_to_ring(q);
	return any;
}

static bool vu_arm(struct weft_source *source)
{
	struct vu_queue *q = WEFT_CONTAINER(source, struct vu_queue, source);

	q->armed = true;
	if (WEFT_UNLIKELY(atomic_load_explicit(&q->broken, memory_order_relaxed)))
		return false; /* what is in it is waited for by the control reactor (Q4) */
	return virtq_drv_notify_enable(&q->drv);
}

static void vu_disarm(struct weft_source *source)
{
	struct vu_queue *q = WEFT_CONTAINER(source, struct vu_queue, source);

	q->armed = false;
	virtq_drv_notify_disable(&q->drv);
}

/* The notifier's count is taken by the loop; the source is polled in the same turn. */
static void called(void *self)
{
	(void)self;
}

/* ---- orders of the control reactor ---- */

static void ring_init(struct vu_queue *q)
{
	struct virtq_drv_config config = {
		.num = q->device->num, .packed = q->device->packed, .event_idx = q->device->event_idx,
		.desc = q->memory + q->at.desc, .driver = q->memory + q->at.driver, .device = q->memory + q->at.device,
		.slots = q->slots,
	};
	int error;

	WEFT_ASSERT(q->in_flight == 0 && !q->up);
	memset(q->memory, 0, q->at.status);
	memset(q->slots, 0, q->device->num * sizeof(q->slots[0]));
	error = virtq_drv_init(&q->drv, &config);
	WEFT_ASSERT(error == 0);
	if (!q->armed)
		virtq_drv_notify_disable(&q->drv);
}

/* All that was in the ring waits again, before what has been waiting; what is to be aborted ends. Returns how many wait. */
static unsigned ring_to_waiting(struct vu_queue *q)
{
	unsigned n = 0;

	for (unsigned id = q->device->num; id-- > 0;) {
		struct weft_hop *hop = q->hops[id];

		if (hop == NULL)
			continue;
		hop->scratch[SCRATCH_DONE] = 0;
		n += wait_in_front_or_end(q, hop);
		q->hops[id] = NULL;
		q->in_flight--;
	}
	WEFT_ASSERT(q->in_flight == 0);
	return n;
}

uint32_t vu_queue_base(const struct vu_queue *q)
{
	const struct virtq_drv *drv = &q->drv;
	uint32_t slot = drv->used | (uint32_t)drv->used_wrap << 15;

	return drv->packed ? slot | slot << 16 : drv->used;
}

static void ring_take_all(struct vu_queue *q)
{
	while (!atomic_load(&q->broken) && ring_take(q, VU_BURST))
		;
}

static void prepare(struct vu_queue *q)
{
	WEFT_ASSERT(weft_reactor_here() == q->reactor);
	q->up = false;
	ring_take_all(q);
	if (q->reset) {
		q->resubmitted += ring_to_waiting(q);
		ring_init(q);
		atomic_store(&q->broken, false);
	}
	q->base = vu_queue_base(q);
}

/* `gone`: also what is in the ring, which nobody has any more. */
static void fail(struct vu_queue *q, bool gone)
{
	WEFT_ASSERT(weft_reactor_here() == q->reactor);
	q->failing = true;
	q->up = false;
	if (gone) {
		ring_take_all(q);
		ring_to_waiting(q);
	}
	while (q->waiting.head != NULL)
		weft_hop_complete(waiting_take(q), -EIO);
}

static void order_msg(void *self)
{
	struct vu_queue *q = self;

	WEFT_ASSERT(weft_reactor_here() == q->reactor && !atomic_load(&q->answered));
	q->skipped = !q->open;
	switch (q->open ? q->order : VU_ORDER_NONE) {
	case VU_ORDER_PREPARE:
		prepare(q);
		break;
	case VU_ORDER_UP:
		q->up = true;
		q->failing = false;
		waiting_add_to_ring(q);
		/* What an earlier server had seen but not finished, or never saw, waits for somebody to look. */
		virtq_drv_publish(&q->drv);
		env_notifier_signal(q->kick);
		break;
	case VU_ORDER_FAIL:
	case VU_ORDER_FAIL_WAITING:
		fail(q, q->order == VU_ORDER_FAIL);
		break;
	case VU_ORDER_NONE:
		break;
	}
	atomic_store(&q->answered, true);
	vu_link_note(q);
}

void vu_queue_order(struct vu_queue *q, enum vu_order order)
{
	WEFT_ASSERT(q->reactor != NULL);
	q->order = order;
	if (!atomic_load(&q->wanted)) { /* its reactor, a program's, may have gone, and would skip it anyway */
		q->skipped = true;
		atomic_store(&q->answered, true);
		vu_link_note(q);
		return;
	}
	atomic_store(&q->answered, false);
	q->order_msg = (struct weft_msg){ .fn = order_msg, .self = q };
	weft_reactor_post(q->reactor, &q->order_msg);
}

/* ---- opening ---- */

int vu_queue_init(struct vu_queue *q, struct vu_device *device, unsigned index)
{
	struct weft_core *core = device->object.core;
	int error;

	WEFT_ASSERT(index < device->queues && q->device == NULL);
	q->device = device;
	q->index = index;
	q->shared = device->shared;
	q->at = device->layout;
	q->memory = (uint8_t *)env_mapping_base(device->mapping) + index * q->at.bytes;
	q->indirect = (device->features & VIRTIO_F(INDIRECT_DESC)) != 0;
	q->waiting.tail = &q->waiting.head;
	q->ring_dirty = true;
	q->hops = weft_alloc(core, device->num * sizeof(q->hops[0]));
	q->slots = weft_alloc(core, device->num * sizeof(q->slots[0]));
	if (q->hops == NULL || q->slots == NULL)
		return -ENOMEM;
	error = env_notifier_open(core->env, -1, &q->kick);
	if (error == 0)
		error = env_notifier_open(core->env, -1, &q->call);
	if (error == 0)
		ring_init(q);
	return error;
}

void vu_queue_free(struct vu_queue *q)
{
	struct weft_core *core = q->device != NULL ? q->device->object.core : NULL;

	if (core == NULL)
		return;
	WEFT_ASSERT(q->in_flight == 0 && q->waiting.head == NULL);
	if (q->kick != NULL)
		env_notifier_close(q->kick);
	if (q->call != NULL)
		env_notifier_close(q->call);
	weft_free(core, q->hops);
	weft_free(core, q->slots);
}

#define HOLDER_OPEN 1u

/* Who had it last may have it again at any time, others once the control reactor has found its ring to be off. */
static bool claim(struct vu_queue *q, const struct weft_reactor *reactor)
{
	uintptr_t released = (uintptr_t)reactor, nobody = 0, open = (uintptr_t)reactor | HOLDER_OPEN;

	return atomic_compare_exchange_strong(&q->holder, &released, open) ||
		atomic_compare_exchange_strong(&q->holder, &nobody, open);
}

void vu_queue_off(struct vu_queue *q)
{
	uintptr_t holder = atomic_load(&q->holder);

	if (holder != 0 && (holder & HOLDER_OPEN) == 0)
		atomic_compare_exchange_strong(&q->holder, &holder, 0);
}

/* Each reactor prefers the queue with its own number. NULL with -ENOSPC, or -EBUSY: one will be free in a moment. */
static struct vu_queue *queue_for(struct vu_device *device, const struct weft_reactor *reactor, int *error)
{
	unsigned first = reactor->lane - 1;

	WEFT_ASSERT(reactor->lane >= 1 && device->queues > 0);
	*error = -ENOSPC;
	for (unsigned i = 0; i < device->queues; i++) {
		struct vu_queue *q = &device->queue[(first + i) % device->queues];

		if (claim(q, reactor))
			return q;
		if ((atomic_load(&q->holder) & HOLDER_OPEN) == 0)
			*error = -EBUSY;
	}
	return NULL;
}

static int vu_shard_open(struct weft_blk *blk, void *own, struct weft_reactor *reactor, struct weft_why *why)
{
	struct vu_device *device = WEFT_CONTAINER(blk, struct vu_device, blk);
	struct shard *shard = own;
	struct vu_queue *q;
	int error;

	if (blk->ops->at_home && reactor != blk->home)
		return 0;
	q = queue_for(device, reactor, &error);
	if (q == NULL)
		return weft_why(why, error, "%s: all %u queues of the server are in use by other reactors: let queues share "
			"a reactor, or have the server offer more", device->object.name, device->queues);
	error = env_notifier_watch(reactor_loop(reactor), q->call, called, q);
	if (error != 0)
		atomic_store(&q->holder, (uintptr_t)reactor);
	if (error != 0)
		return weft_why(why, error, "%s: cannot watch the call descriptor of queue %u", device->object.name, q->index);
	q->reactor = reactor;
	q->source = (struct weft_source){ .poll = vu_poll, .arm = vu_arm, .disarm = vu_disarm };
	weft_source_add(reactor, &q->source);
	shard->queue = q;
	q->open = true;
	q->up = false;
	atomic_store(&q->opened, true);
	atomic_store(&q->wanted, true);
	vu_link_note(q);
	return 0;
}

static void vu_shard_close(struct weft_blk *blk, void *own)
{
	struct vu_queue *q = ((struct shard *)own)->queue;

	(void)blk;
	if (q == NULL)
		return;
	WEFT_ASSERT(q->in_flight == 0 && q->waiting.head == NULL);
	weft_source_remove(q->reactor, &q->source);
	env_notifier_unwatch(reactor_loop(q->reactor), q->call);
	q->open = q->up = false;
	atomic_store(&q->wanted, false);
	atomic_store(&q->holder, (uintptr_t)q->reactor);
	vu_link_note(q);
}

#define VU_OPS \
	.submit = vu_submit, .commit = vu_commit, .abort = vu_abort, .shard_open = vu_shard_open, \
	.shard_close = vu_shard_close, .shard_size = sizeof(struct shard)

const struct weft_blk_ops vu_ops = { VU_OPS };
/* The server has fewer queues than there are reactors: one reactor asks for all. */
const struct weft_blk_ops vu_ops_at_home = { VU_OPS, .at_home = true };
