/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device side of a packed virtqueue (virtio 1.2, section 2.8). Its in-flight region is in virtq_packed_inflight.c.
 *
 * A batch of used descriptors becomes visible at once: the flags of its first descriptor are written last, and the driver
 * looks nowhere else before it has seen them.
 */
#include "wire/virtq_packed.h"

static bool packed_is_avail(uint16_t flags, bool wrap)
{
	return !!(flags & DESC_AVAIL) == wrap && !!(flags & DESC_USED) != wrap;
}

static bool packed_slots_valid(const struct virtq *vq)
{
	return vq->avail < vq->num && vq->used < vq->num;
}

int virtq_packed_init(struct virtq *vq, uint32_t base)
{
	uint32_t used = base >> 16 ? base >> 16 : base; /* a front end may give the lower half only: then the ring is drained */
	int state = 0;

	vq->avail = base & 0x7fff;
	vq->avail_wrap = base >> 15 & 1;
	vq->used = used & 0x7fff;
	vq->used_wrap = used >> 15 & 1;
	if (vq->inflight) {
		state = virtq_inflight_check(vq);
		if (state > 0)
			state = packed_recover(vq);
		else if (state == 0 && packed_slots_valid(vq))
			packed_region_start(vq);
	}
	if (state == 0 && !packed_slots_valid(vq)) {
		vq->fault = "the ring's base is outside the ring";
		return -EINVAL;
	}
	return state;
}

/* A list of descriptors in the ring, being taken. */
struct packed_list {
	uint16_t count; /* slots */
	uint16_t id;
	uint16_t entry; /* next free entry of the in-flight region */
	uint16_t last;  /* entry of the last descriptor */
};

/* Walks the list whose first descriptor's second word was already read; copies it to the region when there is one. */
static int packed_walk(struct virtq_walk *w, uint64_t word, struct packed_list *list)
{
	struct virtq *vq = w->vq;
	uint16_t slot = vq->avail;

	for (;;) {
		struct virtq_desc d;
		int error;

		virtq_desc_packed(&d, shm_load64(vq->desc + (size_t)slot * DESC_BYTES), word);
		if (WEFT_UNLIKELY(vq->in_use + list->count >= vq->num))
			return virtq_break(vq, "more descriptors are available than the ring holds");
		if (vq->inflight && !packed_track_desc(vq, &d, &list->entry, &list->last))
			return virtq_break(vq, "the in-flight region is damaged");
		list->count++;
		list->id = d.next;
		if (WEFT_UNLIKELY(d.flags & DESC_INDIRECT))
			return list->count == 1 ? virtq_walk_table(w, &d)
						: virtq_break(vq, "a chain of descriptors continues in an indirect table");
		error = virtq_walk_add(w, &d);
		if (WEFT_UNLIKELY(error != 0) || !(d.flags & DESC_NEXT))
			return error;
		if (++slot == vq->num)
			slot = 0;
		word = shm_load64(vq->desc + (size_t)slot * DESC_BYTES + 8);
	}
}

static void packed_advance(uint16_t *slot, bool *wrap, uint16_t count, uint16_t num)
{
	uint32_t next = (uint32_t)*slot + count;

	WEFT_ASSERT(*slot < num && count <= num);
	if (next >= num) {
		next -= num;
		*wrap = !*wrap;
	}
	*slot = (uint16_t)next;
}

void packed_advance_avail(struct virtq *vq, uint16_t count)
{
	packed_advance(&vq->avail, &vq->avail_wrap, count, vq->num);
}

int virtq_packed_pop(struct virtq *vq, const struct vmap *map, struct weft_seg *segs, uint32_t max,
		     struct virtq_chain *chain)
{
	struct packed_list list = {.entry = vq->free_head};
	struct virtq_walk w;
	uint64_t word;
	int error;

	virtq_walk_start(&w, vq, map, segs, max);
	if (WEFT_UNLIKELY(vq->resubmit_at < vq->resubmits))
		return packed_pop_again(&w, chain);
	word = shm_load64_acquire(vq->desc + (size_t)vq->avail * DESC_BYTES + 8);
	if (!packed_is_avail((uint16_t)(word >> 48), vq->avail_wrap))
		return 0;
	shm_prefetch(vq->last_header);
	error = packed_walk(&w, word, &list);
	if (WEFT_UNLIKELY(error != 0))
		return error;
	virtq_walk_done(&w, chain, packed_tag(list.id, list.count, vq->free_head, list.last), false);
	if (vq->inflight)
		packed_track(vq, list.count, list.last, list.entry);
	vq->last_header = segs[0].base;
	shm_prefetch(segs[0].base);
	packed_advance_avail(vq, list.count);
	vq->in_use += list.count;
	return 1;
}

void virtq_packed_push(struct virtq *vq, uint64_t tag, uint32_t written)
{
	if (vq->pending == VIRTQ_BATCH)
		packed_flush(vq);
	vq->batch[vq->pending].tag = tag;
	vq->batch[vq->pending].written = written;
	vq->pending++;
}

/* Writes the used descriptors, the first one last; *slot and *wrap move behind the batch. */
static void packed_write_batch(struct virtq *vq, uint16_t *slot, bool *wrap)
{
	uint8_t *first = vq->desc + (size_t)vq->used * DESC_BYTES + 8;
	uint64_t first_word = 0;

	for (uint16_t i = 0; i < vq->pending; i++) {
		const struct virtq_used *u = &vq->batch[i];
		uint16_t flags = (*wrap ? DESC_AVAIL | DESC_USED : 0) | (u->written ? DESC_WRITE : 0);
		uint64_t word = u->written | (uint64_t)packed_tag_id(u->tag) << 32 | (uint64_t)flags << 48;

		if (i == 0)
			first_word = word;
		else
			shm_store64(vq->desc + (size_t)*slot * DESC_BYTES + 8, word);
		if (WEFT_UNLIKELY(vq->log != NULL))
			vhost_log_mark(vq->log, vq->log_address + (uint64_t)*slot * DESC_BYTES, DESC_BYTES);
		packed_advance(slot, wrap, packed_tag_count(u->tag), vq->num);
	}
	shm_store64_release(first, first_word);
	if (WEFT_UNLIKELY(vq->log != NULL))
		vhost_log_mark(vq->log, vq->log_address + (uint64_t)vq->used * DESC_BYTES, DESC_BYTES);
}

void packed_flush(struct virtq *vq)
{
	uint16_t slot = vq->used;
	bool wrap = vq->used_wrap;
	uint32_t slots = 0;

	for (uint16_t i = 0; i < vq->pending; i++)
		slots += packed_tag_count(vq->batch[i].tag);
	WEFT_ASSERT(slots <= vq->in_use);
	if (vq->inflight)
		packed_untrack_begin(vq, (uint16_t)slots);
	packed_write_batch(vq, &slot, &wrap);
	vq->used = slot;
	vq->used_wrap = wrap;
	if (vq->inflight)
		packed_untrack_end(vq);
	vq->in_use -= slots;
	vq->pending = 0;
	slots += vq->unsignalled;
	vq->unsignalled = (uint16_t)(slots < vq->num ? slots : vq->num);
}

static bool packed_wants_notice(const struct virtq *vq)
{
	uint16_t flags, event, old = (uint16_t)(vq->used - vq->unsignalled);
	uint32_t word;

	shm_fence();
	word = shm_load32(vq->driver);
	flags = word >> 16 & 3;
	if (flags != EVENT_DESC || !vq->event_idx || vq->unsignalled >= vq->num)
		return flags != EVENT_DISABLE;
	event = word & 0x7fff;
	if ((word >> 15 & 1) != vq->used_wrap)
		event = (uint16_t)(event - vq->num);
	return virtq_event_passed(event, vq->used, old);
}

bool virtq_packed_publish(struct virtq *vq)
{
	bool notice;

	if (vq->pending > 0)
		packed_flush(vq);
	if (vq->unsignalled == 0)
		return false;
	notice = packed_wants_notice(vq);
	vq->unsignalled = 0;
	return notice;
}

bool virtq_packed_has_work(struct virtq *vq)
{
	uint64_t word = shm_load64_acquire(vq->desc + (size_t)vq->avail * DESC_BYTES + 8);

	return packed_is_avail((uint16_t)(word >> 48), vq->avail_wrap);
}

void virtq_packed_notify(struct virtq *vq, bool enable)
{
	uint32_t word = EVENT_DISABLE << 16;

	if (enable && vq->event_idx)
		word = (uint32_t)EVENT_DESC << 16 | (uint32_t)vq->avail_wrap << 15 | vq->avail;
	else if (enable)
		word = EVENT_ENABLE << 16;
	shm_store32(vq->device, word);
}
