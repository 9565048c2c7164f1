/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver side of a split virtqueue (virtio 1.2, section 2.7). A chain's descriptors go back to the free list as they
 * were linked, and are stored only when they differ: at low depth the same ones are used again and again, their lines
 * stay in both caches, and the available index is the only one that travels.
 */
#include "wire/virtq_drv_inside.h"

enum { RING_FLAGS = 0, RING_IDX = 2, RING_ENTRIES = 4, AVAIL_ENTRY = 2, USED_ENTRY = 8 };

int drv_split_add(struct virtq_drv *d, const struct drv_chain *chain, void *cookie)
{
	uint16_t head = d->free_head, at = head;
	uint8_t *entry = d->driver + RING_ENTRIES + AVAIL_ENTRY * (size_t)(d->avail & d->mask);

	for (uint16_t i = 0; i < chain->count; i++) {
		uint8_t *desc = d->desc + (size_t)at * DESC_BYTES;
		uint16_t next = d->slots[at].next;

		WEFT_ASSERT(at < d->num);
		shm_update64(desc, chain->bufs[i].addr);
		shm_update64(desc + 8, drv_word_split(chain->bufs[i].len, drv_flags(chain, i),
						      i + 1 < chain->count ? next : 0));
		at = next;
	}
	d->slots[head].cookie = cookie;
	d->slots[head].descs = chain->count;
	d->free_head = at;
	d->free_descs -= chain->count;
	if (shm_load16(entry) != head)
		shm_store16(entry, head);
	d->avail++;
	d->pending++;
	return head;
}

void drv_split_show(struct virtq_drv *d)
{
	WEFT_ASSERT(d->pending > 0);
	shm_store16_release(d->driver + RING_IDX, d->avail);
}

bool drv_split_wants_kick(const struct virtq_drv *d)
{
	WEFT_ASSERT(d->unkicked > 0 && d->pending == 0);
	if (d->event_idx)
		return virtq_event_passed(shm_load16(d->device + RING_ENTRIES + USED_ENTRY * (size_t)d->num), d->avail,
					  (uint16_t)(d->avail - d->unkicked));
	return !(shm_load16(d->device + RING_FLAGS) & RING_NO_NOTIFY);
}

static void split_free(struct virtq_drv *d, uint16_t head)
{
	uint16_t last = head;

	WEFT_ASSERT(d->slots[head].descs > 0 && d->free_descs + d->slots[head].descs <= d->num);
	for (uint16_t i = 1; i < d->slots[head].descs; i++)
		last = d->slots[last].next;
	WEFT_ASSERT(last < d->num);
	d->slots[last].next = d->free_head;
	d->free_head = head;
	d->free_descs += d->slots[head].descs;
	d->slots[head].descs = 0;
}

int drv_split_take(struct virtq_drv *d, struct virtq_done *done)
{
	const uint8_t *entry = d->device + RING_ENTRIES + USED_ENTRY * (size_t)(d->used & d->mask);
	uint32_t id;

	WEFT_ASSERT((uint16_t)(d->avail - d->used) <= d->num);
	if (d->used == d->used_seen) {
		uint16_t idx = shm_load16_acquire(d->device + RING_IDX);

		if (idx == d->used)
			return 0;
		if ((uint16_t)(idx - d->used) > (uint16_t)(d->avail - d->used))
			return drv_break(d, "the device has used more requests than there were");
		d->used_seen = idx;
	}
	id = shm_load32(entry);
	if (id >= d->num || d->slots[id].descs == 0)
		return drv_break(d, "the device has used a request that is not in flight");
	done->cookie = d->slots[id].cookie;
	done->id = (uint16_t)id;
	done->len = shm_load32(entry + 4);
	split_free(d, (uint16_t)id);
	d->used++;
	return 1;
}

bool drv_split_has_done(const struct virtq_drv *d)
{
	return d->used != d->used_seen || shm_load16_acquire(d->device + RING_IDX) != d->used;
}

/* With the event index, off means: leave the event where it is, 2^16 requests away. */
void drv_split_notify(struct virtq_drv *d, bool enable)
{
	if (!d->event_idx)
		shm_store16(d->driver + RING_FLAGS, enable ? 0 : RING_NO_NOTIFY);
	else if (enable)
		shm_store16(d->driver + RING_ENTRIES + AVAIL_ENTRY * (size_t)d->num, d->used_seen);
}
