/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device side of a split virtqueue (virtio 1.2, section 2.7) and its in-flight region (vhost-user.rst).
 * Order of stores is what makes a kill at any instant harmless; it is noted where it matters.
 */
#include "wire/virtq_walk.h"

/* Parts of the rings, bytes from their start. */
enum { RING_FLAGS = 0, RING_IDX = 2, RING_ENTRIES = 4, AVAIL_ENTRY = 2, USED_ENTRY = 8 };

/* The region: head, then one state per descriptor. */
enum { REGION_BATCH_HEAD = 12, REGION_USED_IDX = 14, REGION_STATES = 16 };
enum { STATE_INFLIGHT = 0, STATE_NEXT = 6, STATE_COUNTER = 8, STATE_BYTES = 16 };

enum { SPLIT_AHEAD = 4 }; /* descriptors are prefetched so many chains ahead */

static uint8_t *split_state(const struct virtq *vq, uint16_t head)
{
	WEFT_ASSERT(head < vq->num);
	return vq->inflight + REGION_STATES + (size_t)head * STATE_BYTES;
}

/* Fresh: what the region says from now on is what the ring says now. */
static void split_region_start(struct virtq *vq)
{
	WEFT_ASSERT(vq->inflight && vq->inflight_num >= vq->num);
	for (uint32_t i = 0; i < vq->num; i++)
		shm_store8(split_state(vq, (uint16_t)i) + STATE_INFLIGHT, 0);
	shm_store64(vq->inflight, 0);
	shm_store16(vq->inflight + INFLIGHT_DESC_NUM, vq->inflight_num);
	shm_store16(vq->inflight + REGION_BATCH_HEAD, 0);
	shm_store16(vq->inflight + REGION_USED_IDX, vq->used);
	shm_order();
	shm_store16(vq->inflight + INFLIGHT_VERSION, INFLIGHT_VERSION_NOW);
}

/*
 * The last server died after it had published a batch and before the region said so: the batch is done. A difference
 * larger than the ring is no batch of ours (a region older than the ring): nothing is known to be done then.
 */
static int split_region_finish_batch(struct virtq *vq)
{
	uint16_t batch = (uint16_t)(vq->used - shm_load16(vq->inflight + REGION_USED_IDX));
	uint16_t head = vq->batch_head;

	WEFT_ASSERT(vq->inflight && vq->in_use == 0 && vq->pending == 0);
	if (batch <= vq->num) {
		for (; batch > 0; batch--) {
			if (head >= vq->num) {
				vq->fault = "the in-flight region's last batch is damaged";
				return -EINVAL;
			}
			shm_store8(split_state(vq, head) + STATE_INFLIGHT, 0);
			head = shm_load16(split_state(vq, head) + STATE_NEXT);
		}
	}
	shm_order();
	shm_store16(vq->inflight + REGION_USED_IDX, vq->used);
	return 0;
}

static int split_recover(struct virtq *vq)
{
	int error;

	vq->batch_head = shm_load16(vq->inflight + REGION_BATCH_HEAD);
	error = split_region_finish_batch(vq);
	if (error)
		return error;
	for (uint32_t i = 0; i < vq->num; i++) {
		uint8_t *state = split_state(vq, (uint16_t)i);

		if (shm_load8(state + STATE_INFLIGHT) != 1)
			continue;
		vq->resubmit[vq->resubmits].counter = shm_load64(state + STATE_COUNTER);
		vq->resubmit[vq->resubmits].entry = (uint16_t)i;
		vq->resubmits++;
	}
	WEFT_ASSERT(vq->resubmits <= vq->num && vq->resubmit_at == 0);
	virtq_resubmit_sort(vq->resubmit, vq->resubmits);
	if (vq->resubmits > 0)
		vq->counter = vq->resubmit[vq->resubmits - 1].counter + 1;
	/* What was taken from the available ring is either used or in flight: the front end may not know how many. */
	vq->in_use = vq->resubmits;
	vq->avail = (uint16_t)(vq->used + vq->in_use);
	return 0;
}

int virtq_split_init(struct virtq *vq, uint32_t base)
{
	int state = 0;

	WEFT_ASSERT(vq->mask == vq->num - 1 && (vq->num & vq->mask) == 0 && vq->pending == 0);
	vq->used = shm_load16(vq->device + RING_IDX);
	vq->avail = (uint16_t)base;
	if (vq->inflight) {
		state = virtq_inflight_check(vq);
		if (state == 0)
			split_region_start(vq);
		else if (state > 0)
			state = split_recover(vq);
	}
	vq->avail_seen = vq->avail;
	return state;
}

/* The indirect table of a chain to come, where the chains before it have one: its line is the one that the driver wrote. */
static inline void split_prefetch_table(const struct virtq *vq, const struct vmap *map, uint16_t head)
{
	const uint32_t guess[2] = {vq->region_hint, vq->region_other};
	uint64_t addr;

	if (!vq->last_indirect)
		return;
	addr = shm_load64(vq->desc + (size_t)head * DESC_BYTES);
	for (unsigned i = 0; i < 2; i++)
		if (guess[i] < map->count && vmap_holds(map, guess[i], addr, DESC_BYTES)) {
			shm_prefetch(map->regions[guess[i]].hva + (addr - map->regions[guess[i]].gpa));
			return;
		}
}

/*
 * Looks how far the driver is. 1: more; 0: nothing; -EPROTO. On arrival the lines that will be needed are fetched at
 * once rather than one after the other: those of the chain that came last (a driver at depth 1 takes the same again),
 * and the descriptors of the first new heads. What is read for prefetching is used for nothing else.
 */
static int split_look(struct virtq *vq, const struct vmap *map)
{
	uint16_t idx = shm_load16_acquire(vq->driver + RING_IDX);
	uint16_t count = (uint16_t)(idx - vq->avail);

	WEFT_ASSERT(vq->avail == vq->avail_seen && vq->in_use <= vq->num);
	/* Also while there is nothing: the driver changes these lines just before the index, and they travel together. */
	shm_prefetch(vq->last_desc);
	shm_prefetch(vq->last_header);
	if (count == 0)
		return 0;
	if (WEFT_UNLIKELY(count > vq->num - vq->in_use))
		return virtq_break(vq, "the available index is further ahead than the ring is long");
	vq->avail_seen = idx;
	for (uint16_t i = 1; i < SPLIT_AHEAD && i < count; i++) {
		uint16_t at = (uint16_t)(vq->avail + i) & vq->mask;
		uint16_t head = shm_load16(vq->driver + RING_ENTRIES + AVAIL_ENTRY * at) & vq->mask;

		shm_prefetch(vq->desc + (size_t)head * DESC_BYTES);
		split_prefetch_table(vq, map, head);
	}
	return 1;
}

static inline void split_prefetch_ahead(const struct virtq *vq, const struct vmap *map)
{
	uint16_t ahead = (uint16_t)(vq->avail + SPLIT_AHEAD);
	uint16_t head;

	if ((uint16_t)(vq->avail_seen - vq->avail) <= SPLIT_AHEAD)
		return;
	head = shm_load16(vq->driver + RING_ENTRIES + AVAIL_ENTRY * (ahead & vq->mask)) & vq->mask;
	shm_prefetch(vq->desc + (size_t)head * DESC_BYTES);
	split_prefetch_table(vq, map, head);
}

/* The common case; see struct virtq_plain. */
static inline bool split_walk_plain(struct virtq *vq, const struct vmap *map, struct weft_seg *segs, uint32_t max,
				    uint16_t head, struct virtq_chain *chain)
{
	const uint8_t *table = vq->desc, *shared = table + (size_t)head * DESC_BYTES;
	uint32_t count = vq->num;
	struct virtq_plain p;
	struct virtq_desc d;

	if (head >= count || !virtq_plain_start(&p, vq, map, segs, max))
		return false;
	virtq_desc_split(&d, shm_load64(shared), shm_load64(shared + 8));
	vq->last_indirect = (d.flags & DESC_INDIRECT) != 0;
	if (vq->last_indirect) {
		table = virtq_plain_table(&p, vq, &d, &count);
		if (WEFT_UNLIKELY(!table))
			return false;
		virtq_desc_split(&d, shm_load64(table), shm_load64(table + 8));
	}
	for (;;) {
		if (WEFT_UNLIKELY(d.flags & DESC_INDIRECT || !virtq_plain_add(&p, d.addr, d.len, d.flags & DESC_WRITE)))
			return false;
		if (!(d.flags & DESC_NEXT))
			break;
		if (WEFT_UNLIKELY(d.next >= count))
			return false;
		shared = table + (size_t)d.next * DESC_BYTES;
		virtq_desc_split(&d, shm_load64(shared), shm_load64(shared + 8));
	}
	virtq_plain_done(&p, chain);
	return true;
}

/* Any chain, and the reason where it is broken. */
static int split_walk(struct virtq *vq, const struct vmap *map, struct weft_seg *segs, uint32_t max, uint16_t head,
		      struct virtq_chain *chain)
{
	uint16_t at = head;
	struct virtq_walk w;
	struct virtq_desc d;
	int error;

	WEFT_ASSERT(!vq->packed && vq->resubmit_at <= vq->resubmits);
	virtq_walk_start(&w, vq, map, segs, max);
	do {
		const uint8_t *shared = vq->desc + (size_t)at * DESC_BYTES;

		if (at >= vq->num)
			return virtq_break(vq, "a descriptor's index is outside the ring");
		virtq_desc_split(&d, shm_load64(shared), shm_load64(shared + 8));
		error = d.flags & DESC_INDIRECT ? virtq_walk_table(&w, &d) : virtq_walk_add(&w, &d);
		if (error)
			return error;
		at = d.next;
	} while ((d.flags & (DESC_NEXT | DESC_INDIRECT)) == DESC_NEXT);
	virtq_walk_done(&w, chain, false);
	return 0;
}

static int split_pop_again(struct virtq *vq, const struct vmap *map, struct weft_seg *segs, uint32_t max,
			   struct virtq_chain *chain)
{
	uint16_t head = vq->resubmit[vq->resubmit_at].entry;
	int error = split_walk(vq, map, segs, max, head, chain);

	/* What is to be submitted again counts as in use from the recovery on. */
	WEFT_ASSERT(vq->resubmits - vq->resubmit_at <= vq->in_use);
	if (error)
		return error;
	vq->resubmit_at++;
	chain->tag = head;
	chain->again = true;
	return 1;
}

/* Counted as in flight from the second store on: before it, the chain is taken from the available ring once more. */
static inline void split_track(struct virtq *vq, uint16_t head)
{
	uint8_t *state = split_state(vq, head);

	shm_store64(state + STATE_COUNTER, vq->counter++);
	shm_order();
	shm_store8(state + STATE_INFLIGHT, 1);
	shm_order();
}

int virtq_split_pop(struct virtq *vq, const struct vmap *map, struct weft_seg *segs, uint32_t max,
		    struct virtq_chain *chain)
{
	uint16_t head;
	int status;

	if (WEFT_UNLIKELY(vq->resubmit_at < vq->resubmits))
		return split_pop_again(vq, map, segs, max, chain);
	if (vq->avail == vq->avail_seen) {
		status = split_look(vq, map);
		if (status <= 0)
			return status;
	}
	head = shm_load16(vq->driver + RING_ENTRIES + AVAIL_ENTRY * (vq->avail & vq->mask));
	split_prefetch_ahead(vq, map);
	if (WEFT_UNLIKELY(!split_walk_plain(vq, map, segs, max, head, chain))) {
		status = split_walk(vq, map, segs, max, head, chain);
		if (status != 0)
			return status;
	}
	WEFT_ASSERT(vq->in_use < vq->num);
	if (vq->inflight)
		split_track(vq, head);
	vq->last_desc = vq->desc + (size_t)head * DESC_BYTES;
	vq->last_header = segs[0].base;
	shm_prefetch(segs[0].base);
	vq->avail++;
	vq->in_use++;
	chain->tag = head;
	return 1;
}

/* Not seen by the driver before the index moves. The list is known before it, so that a published batch can be found. */
void virtq_split_push(struct virtq *vq, uint64_t tag, uint32_t written)
{
	uint16_t head = (uint16_t)tag;
	uint8_t *entry = vq->device + RING_ENTRIES + USED_ENTRY * (size_t)(vq->used & vq->mask);

	WEFT_ASSERT(head < vq->num && vq->pending < vq->in_use);
	shm_update32(entry, head);
	shm_update32(entry + 4, written);
	if (vq->inflight) {
		shm_store16(split_state(vq, head) + STATE_NEXT, vq->batch_head);
		shm_order();
		shm_store16(vq->inflight + REGION_BATCH_HEAD, head);
		vq->batch_head = head;
	}
	vq->used++;
	vq->pending++;
}

/* After the driver was told: from the newest back along the list. The links are in shared memory: checked. */
static void split_untrack_batch(struct virtq *vq)
{
	uint16_t head = vq->batch_head;

	WEFT_ASSERT(vq->inflight && vq->pending <= vq->in_use);
	shm_order();
	for (uint16_t i = 0; i < vq->pending && head < vq->num; i++) {
		shm_store8(split_state(vq, head) + STATE_INFLIGHT, 0);
		head = shm_load16(split_state(vq, head) + STATE_NEXT);
	}
	shm_order();
	shm_store16(vq->inflight + REGION_USED_IDX, vq->used);
}

static void split_log_batch(const struct virtq *vq)
{
	uint16_t at = (uint16_t)(vq->used - vq->pending);

	WEFT_ASSERT(vq->log && vq->pending <= vq->num);
	for (; at != vq->used; at++)
		vhost_log_mark(vq->log, vq->log_address + RING_ENTRIES + USED_ENTRY * (uint64_t)(at & vq->mask),
			       USED_ENTRY);
	vhost_log_mark(vq->log, vq->log_address + RING_IDX, 2);
}

static bool split_wants_notice(const struct virtq *vq, uint16_t old)
{
	WEFT_ASSERT(vq->pending == 0);
	shm_fence();
	if (vq->event_idx)
		return virtq_event_passed(shm_load16(vq->driver + RING_ENTRIES + AVAIL_ENTRY * (size_t)vq->num),
					  vq->used, old);
	return !(shm_load16(vq->driver + RING_FLAGS) & RING_NO_NOTIFY);
}

void virtq_split_show(struct virtq *vq)
{
	WEFT_ASSERT(vq->pending <= vq->in_use && vq->in_use <= vq->num);
	shm_store16_release(vq->device + RING_IDX, vq->used);
	if (vq->inflight)
		split_untrack_batch(vq);
	if (WEFT_UNLIKELY(vq->log != NULL))
		split_log_batch(vq);
	vq->in_use -= vq->pending;
	vq->unsignalled += vq->pending;
	vq->pending = 0;
}

bool virtq_split_publish(struct virtq *vq)
{
	uint16_t old;

	if (vq->pending > 0)
		virtq_split_show(vq);
	if (vq->unsignalled == 0)
		return false;
	old = (uint16_t)(vq->used - vq->unsignalled);
	vq->unsignalled = 0;
	return split_wants_notice(vq, old);
}

bool virtq_split_has_work(struct virtq *vq)
{
	return vq->avail != vq->avail_seen || shm_load16_acquire(vq->driver + RING_IDX) != vq->avail;
}

/* With the event index, off means: leave the event where it is, 2^16 chains away. */
void virtq_split_notify(struct virtq *vq, bool enable)
{
	size_t at = RING_ENTRIES + USED_ENTRY * (size_t)vq->num;

	if (!vq->event_idx)
		shm_store16(vq->device + RING_FLAGS, enable ? 0 : RING_NO_NOTIFY);
	else if (enable)
		shm_store16(vq->device + at, vq->avail_seen);
	else
		return;
	if (WEFT_UNLIKELY(vq->log != NULL))
		vhost_log_mark(vq->log, vq->log_address + (vq->event_idx ? at : RING_FLAGS), 2);
}
