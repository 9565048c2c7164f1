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

	WEFT_ASSERT(vq->in_use == 0 && vq->pending == 0);
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

/* A packed ring's table: entry after entry, of whose flags only WRITE counts. False: not plain. */
static inline bool packed_table_plain(struct virtq_plain *p, const struct virtq *vq, const struct virtq_desc *indirect)
{
	uint32_t count;
	const uint8_t *table = virtq_plain_table(p, vq, indirect, &count);
	struct virtq_desc d;

	WEFT_ASSERT((indirect->flags & DESC_INDIRECT) != 0);
	for (uint32_t i = 0; table && i < count; i++) {
		virtq_desc_packed(&d, shm_load64(table), shm_load64(table + 8));
		if (!virtq_plain_add(p, d.addr, d.len, d.flags & DESC_WRITE))
			return false;
		table += DESC_BYTES;
	}
	return table != NULL;
}

/* The common case; see struct virtq_plain. `word` is the second half of the first descriptor, already read. */
static inline bool packed_walk_plain(struct virtq *vq, const struct vmap *map, struct weft_seg *segs, uint32_t max,
				     uint64_t word, struct packed_list *list, struct virtq_chain *chain)
{
	uint32_t room = vq->num - vq->in_use, count = 0;
	const uint8_t *shared = vq->desc + (size_t)vq->avail * DESC_BYTES;
	const uint8_t *end = vq->desc + (size_t)vq->num * DESC_BYTES;
	struct virtq_plain p;
	struct virtq_desc d;

	if (!virtq_plain_start(&p, vq, map, segs, max))
		return false;
	for (;;) {
		virtq_desc_packed(&d, shm_load64(shared), word);
		if (WEFT_UNLIKELY(room-- == 0 || (vq->inflight && !packed_track_desc(vq, &d, &list->entry, &list->last))))
			return false;
		count++;
		if (d.flags & DESC_INDIRECT)
			break;
		if (WEFT_UNLIKELY(!virtq_plain_add(&p, d.addr, d.len, d.flags & DESC_WRITE)))
			return false;
		if (!(d.flags & DESC_NEXT))
			break;
		shared += DESC_BYTES;
		if (shared == end)
			shared = vq->desc;
		word = shm_load64(shared + 8);
	}
	list->id = d.next;
	list->count = (uint16_t)count;
	if (d.flags & DESC_INDIRECT && (count > 1 || !packed_table_plain(&p, vq, &d)))
		return false;
	virtq_plain_done(&p, chain);
	return true;
}

/* Any list, and the reason where it is broken. Reads it anew. */
static int packed_walk(struct virtq *vq, const struct vmap *map, struct weft_seg *segs, uint32_t max,
		       struct packed_list *list, struct virtq_chain *chain)
{
	uint16_t slot = vq->avail;
	struct virtq_walk w;
	struct virtq_desc d;
	int error;

	WEFT_ASSERT(slot < vq->num);
	*list = (struct packed_list){.entry = vq->free_head};
	virtq_walk_start(&w, vq, map, segs, max);
	do {
		const uint8_t *shared = vq->desc + (size_t)slot * DESC_BYTES;

		virtq_desc_packed(&d, shm_load64(shared), shm_load64(shared + 8));
		if (vq->in_use + list->count >= vq->num)
			return virtq_break(vq, "more descriptors are available than the ring holds");
		if (vq->inflight && !packed_track_desc(vq, &d, &list->entry, &list->last))
			return virtq_break(vq, "the in-flight region is damaged");
		if (d.flags & DESC_INDIRECT && list->count > 0)
			return virtq_break(vq, "a chain of descriptors continues in an indirect table");
		error = d.flags & DESC_INDIRECT ? virtq_walk_table(&w, &d) : virtq_walk_add(&w, &d);
		if (error)
			return error;
		list->count++;
		if (++slot == vq->num)
			slot = 0;
	} while ((d.flags & (DESC_NEXT | DESC_INDIRECT)) == DESC_NEXT);
	list->id = d.next;
	virtq_walk_done(&w, chain, false);
	return 0;
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
	uint64_t word;
	int error;

	if (WEFT_UNLIKELY(vq->resubmit_at < vq->resubmits))
		return packed_pop_again(vq, map, segs, max, chain);
	word = shm_load64_acquire(vq->desc + (size_t)vq->avail * DESC_BYTES + 8);
	shm_prefetch(vq->last_header); /* changed by the driver just before: the lines travel together */
	if (!packed_is_avail((uint16_t)(word >> 48), vq->avail_wrap))
		return 0;
	if (WEFT_UNLIKELY(!packed_walk_plain(vq, map, segs, max, word, &list, chain))) {
		error = packed_walk(vq, map, segs, max, &list, chain);
		if (error != 0)
			return error;
	}
	WEFT_ASSERT(list.count > 0 && list.count <= vq->num - vq->in_use);
	chain->tag = packed_tag(list.id, list.count, vq->free_head, list.last);
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
	WEFT_ASSERT(packed_tag_count(tag) - 1u < vq->in_use);
	if (vq->pending == VIRTQ_BATCH)
		virtq_packed_show(vq);
	vq->batch[vq->pending].tag = tag;
	vq->batch[vq->pending].written = written;
	vq->pending++;
}

/* Writes the used descriptors, the first one last; *slot and *wrap move behind the batch. */
static void packed_write_batch(struct virtq *vq, uint16_t *slot, bool *wrap)
{
	uint8_t *first = vq->desc + (size_t)vq->used * DESC_BYTES + 8;
	uint64_t first_word = 0;

	WEFT_ASSERT(vq->pending > 0 && *slot == vq->used);
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

void virtq_packed_show(struct virtq *vq)
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
	WEFT_ASSERT(vq->in_use <= vq->num && vq->used < vq->num);
	slots += vq->unsignalled;
	vq->unsignalled = (uint16_t)(slots < vq->num ? slots : vq->num);
}

static bool packed_wants_notice(const struct virtq *vq)
{
	uint16_t flags, event, old = (uint16_t)(vq->used - vq->unsignalled);
	uint32_t word;

	WEFT_ASSERT(vq->pending == 0 && vq->unsignalled > 0 && vq->unsignalled <= vq->num);
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
		virtq_packed_show(vq);
	if (vq->unsignalled == 0)
		return false;
	notice = packed_wants_notice(vq);
	vq->unsignalled = 0;
	return notice;
}

bool virtq_packed_has_work(struct virtq *vq)
{
	uint64_t word = shm_load64_acquire(vq->desc + (size_t)vq->avail * DESC_BYTES + 8);

	WEFT_ASSERT(vq->avail < vq->num);
	return packed_is_avail((uint16_t)(word >> 48), vq->avail_wrap);
}

void virtq_packed_notify(struct virtq *vq, bool enable)
{
	uint32_t word = EVENT_DISABLE << 16;

	WEFT_ASSERT(vq->avail < vq->num);
	if (enable && vq->event_idx)
		word = (uint32_t)EVENT_DESC << 16 | (uint32_t)vq->avail_wrap << 15 | vq->avail;
	else if (enable)
		word = EVENT_ENABLE << 16;
	shm_store32(vq->device, word);
	if (WEFT_UNLIKELY(vq->log != NULL))
		vhost_log_mark(vq->log, vq->log_event, sizeof(word));
}
