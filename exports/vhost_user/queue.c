/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The data path of one ring: chains in, hops down, status and used elements back. Runs on the ring's reactor only.
 */
#include <errno.h>
#include <string.h>

#include "exports/vhost_user/vux.h"

/* root.scratch[] of a slot; of data that goes out in parts, bytes and segments from the present part on. */
enum { STATUS_AT, WRITTEN, REST, REST_SEGS };

/* A chain is at most so long (virtio 1.3, 2.7.5.1). */
#define CHAIN_BYTES ((uint64_t)1 << 32)

/* Answers after which a guest that polls is shown them, before the turn ends: so both sides work at the same time. */
enum { SHOW = 8 };

static inline struct vux_ring *ring_of(struct weft_source *source)
{
	return WEFT_CONTAINER(WEFT_CONTAINER(source, struct weft_session, source), struct vux_ring, session);
}

/* Marks what was written into the guest. `base` lies in the ring's map, since it was translated by it. */
static void queue_log(struct vux_ring *ring, const void *base, uint64_t len)
{
	uint64_t gpa;

	WEFT_ASSERT(ring->logging && base != NULL);
	if (vmap_gpa_of(&ring->map->vmap, base, &gpa)) {
		WEFT_ASSERT(vhost_log_covers(ring->log.bytes, gpa, len)); /* migration.c sees to it */
		vhost_log_mark(&ring->log, gpa, len);
	}
}

static void queue_log_data(struct vux_ring *ring, const struct weft_slot *slot)
{
	const struct weft_hop *root = &slot->root;

	WEFT_ASSERT(slot->in_use && root->nsegs <= slot->room);
	if (root->op == WEFT_READ)
		for (unsigned i = 0; i < root->nsegs; i++)
			queue_log(ring, root->segs[i].base, root->segs[i].len);
}

static void queue_log_slot(struct vux_ring *ring, const struct weft_slot *slot)
{
	const struct weft_hop *root = &slot->root;

	WEFT_ASSERT(root->scratch[STATUS_AT] != 0);
	queue_log_data(ring, slot);
	queue_log(ring, (void *)(uintptr_t)root->scratch[STATUS_AT], 1);
}

/* Only we write it, others look at it. */
static inline void queue_count(uint64_t *counter)
{
	__atomic_store_n(counter, *counter + 1, __ATOMIC_RELAXED);
}

/* Answers a request; the slot is free afterwards. */
static inline void queue_answer(struct vux_ring *ring, struct weft_slot *slot, uint8_t status)
{
	void *at = (void *)(uintptr_t)slot->root.scratch[STATUS_AT];

	if (WEFT_LIKELY(at != NULL)) {
		shm_store8(at, status);
		if (WEFT_UNLIKELY(ring->logging))
			queue_log_slot(ring, slot);
	}
	if (WEFT_UNLIKELY(status != VIRTIO_BLK_S_OK))
		queue_count(&ring->failures);
	virtq_push(&ring->vq, slot->tag, (uint32_t)slot->root.scratch[WRITTEN]);
	if (ring->vq.pending == SHOW)
		virtq_show(&ring->vq);
	weft_slot_give(slot);
	if (!ring->session.source.flushing)
		weft_source_flush_later(ring->session.reactor, &ring->session.source);
}

/* The server ends before the request could: the front end finds it unanswered, and in flight, for the next server to do. */
static void queue_leave(struct vux_ring *ring, struct weft_slot *slot)
{
	WEFT_ASSERT(ring->stopping);
	weft_slot_give(slot);
	if (ring->session.slots == 0)
		ring_finish_later(ring);
}

static void queue_done(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(root, struct weft_slot, root);
	struct vux_ring *ring = WEFT_CONTAINER(slot->session, struct vux_ring, session);

	(void)child;
	WEFT_ASSERT(slot->in_use && status <= 0);
	/* A device may have an -ESHUTDOWN of its own (a file system whose cluster has shut it out): that is an answer. */
	if (WEFT_UNLIKELY(status == -ESHUTDOWN) && ring->stopping && slot->in_use == WEFT_SLOT_ABORTED)
		queue_leave(ring, slot);
	else
		queue_answer(ring, slot, virtio_blk_status(status));
}

/* The data's segments become the slot's, which may have them already, further back. */
static inline void queue_take_segs(struct weft_slot *slot, const struct weft_seg *segs, uint32_t nsegs)
{
	WEFT_ASSERT(nsegs <= slot->room);
	for (uint32_t i = 0; i < nsegs; i++)
		slot->segs[i] = segs[i];
}

/* Goes out with data segments; the slot has room for them. */
static inline void queue_submit(struct vux_ring *ring, struct weft_slot *slot, unsigned op, unsigned flags, uint64_t sector,
	const struct weft_seg *segs, uint32_t nsegs, uint64_t len)
{
	ring->turn_bytes += len;
	queue_take_segs(slot, segs, nsegs);
	weft_slot_submit(slot, op, flags, sector * VIRTIO_BLK_SECTOR, len, nsegs, queue_done);
}

/* ---- data of more than a hop carries: part after part (DESIGN.md, L5) ---- */

static void queue_part_done(struct weft_hop *root, struct weft_hop *child, int status);

static void queue_part(struct weft_slot *slot, unsigned op, unsigned flags, uint64_t offset)
{
	uint64_t rest = slot->root.scratch[REST], len = rest < WEFT_MAX_LEN ? rest : WEFT_MAX_LEN, there = 0;
	uint32_t nsegs = 0;

	while (there < len)
		there += slot->segs[nsegs++].len;
	WEFT_ASSERT(len > 0 && nsegs <= slot->root.scratch[REST_SEGS]);
	weft_slot_submit(slot, op, flags, offset, len, nsegs, queue_part_done);
}

/* What has been done goes from the front of the segments. There is more. */
static void queue_part_skip(struct weft_slot *slot, uint64_t done)
{
	const struct weft_seg *seg = slot->segs;
	uint64_t nsegs = slot->root.scratch[REST_SEGS];

	WEFT_ASSERT(done < slot->root.scratch[REST]);
	slot->root.scratch[REST] -= done;
	for (; done >= seg->len; seg++, nsegs--)
		done -= seg->len;
	memmove(slot->segs, seg, nsegs * sizeof(*seg));
	slot->segs->base = (uint8_t *)slot->segs->base + done;
	slot->segs->len -= (uint32_t)done;
	slot->root.scratch[REST_SEGS] = nsegs;
}

static void queue_part_done(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(root, struct weft_slot, root);
	struct vux_ring *ring = WEFT_CONTAINER(slot->session, struct vux_ring, session);
	bool last = root->len == root->scratch[REST], aborted = slot->in_use == WEFT_SLOT_ABORTED;

	WEFT_ASSERT(slot->in_use && root->len <= root->scratch[REST]);
	if (last || aborted || status != 0) {
		queue_done(root, child, last || status != 0 ? status : -ESHUTDOWN);
		return;
	}
	if (ring->logging)
		queue_log_data(ring, slot);
	queue_part_skip(slot, root->len);
	queue_part(slot, root->op, root->flags, root->offset + root->len);
}

/* Else the first parts of a request that cannot be done would be done. */
static bool queue_parts_fit(const struct vux_ring *ring, uint64_t offset, uint64_t len)
{
	const struct weft_blk *device = weft_stack_device(ring->session.stack);
	uint64_t size = __atomic_load_n(&device->size, __ATOMIC_RELAXED);

	WEFT_ASSERT(device->block > 0 && len > WEFT_MAX_LEN);
	return len <= CHAIN_BYTES && offset <= size && len <= size - offset && ((offset | len) & (device->block - 1)) == 0;
}

static __attribute__((noinline)) void queue_parts(struct vux_ring *ring, struct weft_slot *slot, unsigned op, unsigned flags,
	uint64_t sector, const struct weft_seg *segs, uint32_t nsegs, uint64_t len)
{
	uint64_t offset = sector * VIRTIO_BLK_SECTOR;

	WEFT_ASSERT(op == WEFT_READ || op == WEFT_WRITE);
	if (!queue_parts_fit(ring, offset, len)) {
		queue_answer(ring, slot, VIRTIO_BLK_S_IOERR);
		return;
	}
	ring->turn_bytes += len;
	queue_take_segs(slot, segs, nsegs);
	slot->root.scratch[REST] = len;
	slot->root.scratch[REST_SEGS] = nsegs;
	queue_part(slot, op, flags, offset);
}

/* A read or a write. */
static inline void queue_data(struct vux_ring *ring, struct weft_slot *slot, unsigned op, unsigned flags, uint64_t sector,
	const struct weft_seg *segs, uint32_t nsegs, uint64_t len)
{
	if (WEFT_LIKELY(len <= WEFT_MAX_LEN))
		queue_submit(ring, slot, op, flags, sector, segs, nsegs, len);
	else
		queue_parts(ring, slot, op, flags, sector, segs, nsegs, len);
}

/* ---- what is asked ---- */

/* Fills a get-id request: up to 20 bytes, padded with zeroes. */
static void queue_get_id(struct vux_ring *ring, struct weft_slot *slot, const struct virtio_blk_request *r)
{
	char id[VIRTIO_BLK_ID_BYTES];
	uint32_t at = 0;

	memset(id, 0, sizeof(id));
	memcpy(id, ring->serial, strnlen(ring->serial, sizeof(id)));
	for (uint32_t i = 0; i < r->nwrite && at < sizeof(id); i++) {
		uint32_t room = (uint32_t)sizeof(id) - at;
		uint32_t part = r->write[i].len < room ? r->write[i].len : room;

		shm_copy_out(r->write[i].base, id + at, part);
		if (ring->logging)
			queue_log(ring, r->write[i].base, part);
		at += part;
	}
	WEFT_ASSERT(at <= sizeof(id));
	queue_answer(ring, slot, VIRTIO_BLK_S_OK);
}

/* Discard and write zeroes: one range (as config space says), given in the data. */
static void queue_range(struct vux_ring *ring, struct weft_slot *slot, struct virtio_blk_request *r)
{
	struct virtio_blk_discard_write_zeroes range;
	bool zero = r->header.type == VIRTIO_BLK_T_WRITE_ZEROES;
	uint32_t flags, sectors;
	uint64_t sector, len;

	WEFT_ASSERT(r->status != NULL && slot->in_use);
	if (r->read_len != sizeof(range)) {
		queue_answer(ring, slot, r->read_len % sizeof(range) == 0 ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR);
		return;
	}
	virtio_blk_take(r, &range, sizeof(range));
	flags = le32toh(range.flags);
	sector = le64toh(range.sector);
	sectors = le32toh(range.num_sectors);
	len = (uint64_t)sectors * VIRTIO_BLK_SECTOR;
	if ((flags & ~(zero ? (uint32_t)VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0)) != 0) {
		queue_answer(ring, slot, VIRTIO_BLK_S_UNSUPP);
	} else if (sector > UINT64_MAX / VIRTIO_BLK_SECTOR || ring->readonly ||
			sectors > (zero ? ring->zero_max : ring->discard_max)) {
		queue_answer(ring, slot, VIRTIO_BLK_S_IOERR);
	} else if (zero) {
		queue_submit(ring, slot, WEFT_ZERO, (flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP ? 0 : WEFT_NO_UNMAP) |
			(ring->write_through ? WEFT_FUA : 0), sector, NULL, 0, len);
	} else {
		queue_submit(ring, slot, WEFT_DISCARD, 0, sector, NULL, 0, len);
	}
}

/* What is neither read nor write. */
static void queue_other(struct vux_ring *ring, struct weft_slot *slot, struct virtio_blk_request *r)
{
	switch (r->header.type) {
	case VIRTIO_BLK_T_FLUSH:
		queue_submit(ring, slot, WEFT_FLUSH, 0, 0, NULL, 0, 0);
		break;
	case VIRTIO_BLK_T_GET_ID:
		queue_get_id(ring, slot, r);
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		queue_range(ring, slot, r);
		break;
	default:
		queue_answer(ring, slot, VIRTIO_BLK_S_UNSUPP);
	}
}

/*
 * Starts the chain in `segs`. False: it needs a vector and all are out; nothing has been changed then.
 */
static bool queue_start(struct vux_ring *ring, struct weft_slot *slot, struct weft_seg *segs, const struct virtq_chain *chain)
{
	struct virtio_blk_request r;
	uint64_t sector;

	WEFT_ASSERT(chain->nsegs > 0 && (chain->nsegs <= VUX_SEGS_MAX || segs == slot->segs));
	/* Header and status usually have a segment of their own: up to two more than the data needs. */
	if (WEFT_UNLIKELY(chain->nsegs > slot->room) && !weft_slot_borrow(slot))
		return false;
	slot->tag = chain->tag;
	slot->root.scratch[STATUS_AT] = 0;
	slot->root.scratch[WRITTEN] = chain->write_len < UINT32_MAX ? chain->write_len : UINT32_MAX;
	slot->root.op = WEFT_FLUSH;
	slot->root.nsegs = 0;
	queue_count(&ring->requests);
	if (WEFT_UNLIKELY(!virtio_blk_cut(segs, chain, &r) || r.status == NULL)) {
		slot->root.scratch[STATUS_AT] = (uintptr_t)r.status;
		queue_answer(ring, slot, VIRTIO_BLK_S_IOERR);
		return true;
	}
	slot->root.scratch[STATUS_AT] = (uintptr_t)r.status;
	sector = r.header.sector;
	switch (r.header.type) {
	case VIRTIO_BLK_T_IN:
		if (WEFT_UNLIKELY(sector > UINT64_MAX / VIRTIO_BLK_SECTOR || r.read_len != 0))
			queue_answer(ring, slot, VIRTIO_BLK_S_IOERR);
		else
			queue_data(ring, slot, WEFT_READ, 0, sector, r.write, r.nwrite, r.write_len);
		break;
	case VIRTIO_BLK_T_OUT:
		if (WEFT_UNLIKELY(sector > UINT64_MAX / VIRTIO_BLK_SECTOR || ring->readonly))
			queue_answer(ring, slot, VIRTIO_BLK_S_IOERR);
		else
			queue_data(ring, slot, WEFT_WRITE, ring->write_through ? WEFT_FUA : 0, sector, r.read, r.nread,
				r.read_len);
		break;
	default:
		queue_other(ring, slot, &r);
	}
	return true;
}

/* The parked chain first. True when none is parked any more. */
static bool queue_unpark(struct vux_ring *ring)
{
	struct weft_slot *slot = ring->parked;

	WEFT_ASSERT(slot->in_use && slot->session == &ring->session && !ring->in_line);
	if (!queue_start(ring, slot, ring->segs, &ring->chain)) {
		ring->starved = true;
		return false;
	}
	ring->parked = NULL;
	return true;
}

/* One mapping in each turn: a front end that has truncated its memory is found within as many turns as it has regions. */
static inline bool queue_memory_is_broken(struct vux_ring *ring)
{
	const struct vux_map *map = ring->map;

	if (++ring->look >= map->count)
		ring->look = 0;
	return WEFT_UNLIKELY(env_mapping_broken(map->mappings[ring->look]));
}

/* Each descriptor may lie across borders of regions: so many segments that not even the longest vector has room for them. */
static void queue_broken(struct vux_ring *ring, int popped)
{
	WEFT_ASSERT(weft_reactor_here() == ring->reactor);
	WEFT_ASSERT(popped == -EPROTO || popped == -E2BIG);
	if (popped == -E2BIG)
		ring->vq.fault = "a chain has more segments than can be served";
	ring_report(ring);
}

/* ---- long chains (DESIGN.md, L1 to L6) ---- */

/* The slot has the longest vector: its chain is popped right into it, and started. */
static void queue_long(struct vux_ring *ring, struct weft_slot *slot)
{
	int popped = virtq_pop(&ring->vq, &ring->map->vmap, slot->segs, slot->room, &ring->chain);
	bool started;

	WEFT_ASSERT(slot_has_longest(slot) && ring->parked == NULL);
	if (popped != 1) { /* the driver may have changed it meanwhile */
		weft_slot_give(slot);
		if (popped < 0)
			queue_broken(ring, popped);
		return;
	}
	ring->turn_bytes += (uint64_t)ring->chain.nsegs * VUX_LONG_SEG;
	started = queue_start(ring, slot, slot->segs, &ring->chain);
	WEFT_ASSERT(started);
}

/* What virtq_pop did not give. True: something has happened. */
static bool queue_not_popped(struct vux_ring *ring, struct weft_slot *slot, int popped)
{
	WEFT_ASSERT(popped <= 0 && !ring->in_line);
	if (popped != -E2BIG) {
		weft_slot_give(slot);
		if (popped < 0)
			queue_broken(ring, popped);
		return false;
	}
	if (slot_longest_borrow(slot)) {
		queue_long(ring, slot);
		return true;
	}
	ring->parked = slot;
	ring->in_line = ring->starved = true;
	return false;
}

/* True: it is out of the line. */
static bool queue_in_line(struct vux_ring *ring)
{
	struct weft_slot *slot = ring->parked;
	bool ends = ring->stopping && !ring_has_left(ring);

	WEFT_ASSERT(ring->in_line && !ring->reported && slot->session == &ring->session);
	if (!ends && (!slot_has_longest(slot) || slots_turn_is_spent(&ring->session))) {
		ring->starved = true;
		return false;
	}
	ring->parked = NULL;
	ring->in_line = false;
	if (!ends) {
		queue_long(ring, slot);
		weft_session_asked(&ring->session, ring->turn_bytes);
		return true;
	}
	if (!slot_has_longest(slot))
		slot_longest_leave(slot);
	weft_slot_give(slot);
	return true;
}

/* Which ends here, or with its last request. */
static bool queue_stops(struct vux_ring *ring)
{
	if (ring->stopping && ring->session.slots == 0)
		ring_finish_later(ring);
	return false;
}

/* It is to stop, or has been reported. False: it takes nothing more. */
static __attribute__((noinline)) bool queue_has_left(struct vux_ring *ring)
{
	return ring_has_left(ring) || queue_stops(ring);
}

/* Requests that it may start in a turn: of a ring that is to stop, none but those that it has left. */
static inline unsigned queue_most(const struct vux_ring *ring)
{
	return WEFT_UNLIKELY(ring->stopping) && virtq_left(&ring->vq) < VUX_TURN_MAX ? virtq_left(&ring->vq) : VUX_TURN_MAX;
}

bool queue_poll(struct weft_source *source)
{
	struct vux_ring *ring = ring_of(source);
	struct virtq *vq = &ring->vq;
	unsigned taken = 0, share;

	if (WEFT_UNLIKELY(ring->starved)) /* a store here would hold up the next load beside it, in each turn */
		ring->starved = false;
	if (WEFT_UNLIKELY(ring->turn_bytes != 0))
		ring->turn_bytes = 0;
	if (WEFT_UNLIKELY(ring->parked != NULL)) {
		if (ring->in_line)
			return queue_in_line(ring); /* the rest in the next turn, also of others: the vector may have gone on */
		if (!queue_unpark(ring))
			return false;
	}
	if (WEFT_UNLIKELY(ring->stopping || ring->reported) && !queue_has_left(ring))
		return false;
	if (queue_memory_is_broken(ring)) {
		ring_report(ring);
		return queue_stops(ring);
	}
	if (!virtq_has_work(vq))
		return false;
	share = weft_session_share(&ring->session, queue_most(ring));
	if (WEFT_UNLIKELY(share == 0))
		ring->starved = true;
	while (taken < share && ring->turn_bytes < VUX_TURN_BYTES && virtq_has_work(vq)) {
		struct weft_slot *slot = weft_session_slot(&ring->session);
		int popped;

		if (WEFT_UNLIKELY(slot == NULL)) {
			ring->starved = true;
			break;
		}
		popped = virtq_pop(vq, &ring->map->vmap, ring->segs, VUX_SEGS_MAX, &ring->chain);
		if (WEFT_UNLIKELY(popped != 1)) {
			taken += queue_not_popped(ring, slot, popped);
			break;
		}
		taken++;
		if (WEFT_UNLIKELY(!queue_start(ring, slot, ring->segs, &ring->chain))) {
			ring->parked = slot;
			ring->starved = true;
			break;
		}
	}
	weft_session_asked(&ring->session, ring->turn_bytes);
	return taken > 0 || queue_stops(ring);
}

/* About to sleep. A starved ring has its wake-up under way already; one that has ended needs none. */
bool queue_arm(struct weft_source *source)
{
	struct vux_ring *ring = ring_of(source);

	if (ring->starved || ring->stopping || ring->reported)
		return false;
	if (!ring_watch(ring))
		return true; /* no kick would be noticed */
	return virtq_notify_enable(&ring->vq);
}

void queue_disarm(struct weft_source *source)
{
	struct vux_ring *ring = ring_of(source);

	if (ring->vq.fault == NULL)
		virtq_notify_disable(&ring->vq);
}

/* End of the turn: the used elements of the whole turn become visible at once, with one notification at most. */
void queue_flush(struct weft_source *source)
{
	struct vux_ring *ring = ring_of(source);

	if (virtq_publish(&ring->vq) && ring->call != NULL)
		env_notifier_signal(ring->call);
	if (WEFT_UNLIKELY(ring->stopping) && ring->session.slots == 0)
		ring_finish_later(ring);
}
