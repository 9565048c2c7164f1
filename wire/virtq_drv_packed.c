/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver side of a packed virtqueue (virtio 1.2, section 2.8). A batch becomes visible at once: the flags of its first
 * descriptor are written last.
 */
#include "wire/virtq_drv_inside.h"

static void drv_advance(uint16_t *slot, bool *wrap, uint16_t count, uint16_t num)
{
	uint32_t next = (uint32_t)*slot + count;

	WEFT_ASSERT(count > 0 && count <= num);
	if (next >= num) {
		next -= num;
		*wrap = !*wrap;
	}
	*slot = (uint16_t)next;
}

int drv_packed_add(struct virtq_drv *d, const struct drv_chain *chain, void *cookie)
{
	uint16_t id = d->free_head;

	WEFT_ASSERT(id < d->num && d->slots[id].descs == 0);
	for (uint16_t i = 0; i < chain->count; i++) {
		uint8_t *desc = d->desc + (size_t)d->avail * DESC_BYTES;
		uint16_t flags = drv_flags(chain, i) | (d->avail_wrap ? DESC_AVAIL : DESC_USED);
		uint64_t word = drv_word_packed(chain->bufs[i].len, id, flags);

		shm_store64(desc, chain->bufs[i].addr);
		if (d->pending == 0)
			d->first_word = word;
		else
			shm_store64(desc + 8, word);
		d->pending++;
		drv_advance(&d->avail, &d->avail_wrap, 1, d->num);
	}
	d->free_head = d->slots[id].next;
	d->slots[id].cookie = cookie;
	d->slots[id].descs = chain->count;
	d->free_descs -= chain->count;
	return id;
}

void drv_packed_show(struct virtq_drv *d)
{
	WEFT_ASSERT(d->pending > 0 && d->published < d->num);
	shm_store64_release(d->desc + (size_t)d->published * DESC_BYTES + 8, d->first_word);
	d->published = d->avail;
}

bool drv_packed_wants_kick(const struct virtq_drv *d)
{
	uint32_t word = shm_load32(d->device);
	uint16_t flags = word >> 16 & 3, event = word & 0x7fff;

	WEFT_ASSERT(d->unkicked > 0 && d->avail < d->num);
	if (flags != EVENT_DESC || !d->event_idx || d->unkicked >= d->num)
		return flags != EVENT_DISABLE;
	if ((word >> 15 & 1) != d->avail_wrap)
		event = (uint16_t)(event - d->num);
	return virtq_event_passed(event, d->avail, (uint16_t)(d->avail - d->unkicked));
}

static bool packed_is_used(const struct virtq_drv *d, uint64_t word)
{
	bool avail = word >> 48 & DESC_AVAIL, used = word >> 48 & DESC_USED;

	return avail == d->used_wrap && used == d->used_wrap;
}

int drv_packed_take(struct virtq_drv *d, struct virtq_done *done)
{
	uint64_t word;
	uint16_t id;

	if (d->free_descs == d->num)
		return 0;
	word = shm_load64_acquire(d->desc + (size_t)d->used * DESC_BYTES + 8);
	if (!packed_is_used(d, word))
		return 0;
	id = (uint16_t)(word >> 32);
	if (id >= d->num || d->slots[id].descs == 0)
		return drv_break(d, "the device has used a request that is not in flight");
	done->cookie = d->slots[id].cookie;
	done->id = id;
	done->len = word >> 48 & DESC_WRITE ? (uint32_t)word : 0;
	drv_advance(&d->used, &d->used_wrap, d->slots[id].descs, d->num);
	WEFT_ASSERT(d->free_descs + d->slots[id].descs <= d->num);
	d->free_descs += d->slots[id].descs;
	d->slots[id].descs = 0;
	d->slots[id].next = d->free_head;
	d->free_head = id;
	return 1;
}

bool drv_packed_has_done(const struct virtq_drv *d)
{
	return d->free_descs != d->num &&
	       packed_is_used(d, shm_load64_acquire(d->desc + (size_t)d->used * DESC_BYTES + 8));
}

void drv_packed_notify(struct virtq_drv *d, bool enable)
{
	uint32_t word = EVENT_DISABLE << 16;

	WEFT_ASSERT(d->used < d->num);
	if (enable && d->event_idx)
		word = (uint32_t)EVENT_DESC << 16 | (uint32_t)d->used_wrap << 15 | d->used;
	else if (enable)
		word = EVENT_ENABLE << 16;
	shm_store32(d->driver, word);
}
