/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The in-flight region of a packed virtqueue (vhost-user.rst, "Inflight I/O tracking"). Two positions of the used
 * ring and two heads of the list of free entries, new and old, tell after a kill whether a batch was seen by the driver:
 * then the new ones hold, else the old ones. What belongs together is stored in one store where the layout allows it.
 */
#include "wire/virtq_packed.h"

/* The region: head, then one state per entry. */
enum { REGION_FREE = 12, REGION_OLD_FREE = 14, REGION_USED = 16, REGION_STATES = 32 };
enum {
	STATE_INFLIGHT = 0,
	STATE_NEXT = 2,
	STATE_LAST = 4,
	STATE_NUM = 6,
	STATE_COUNTER = 8,
	STATE_ID_FLAGS_LEN = 16,
	STATE_ADDR = 24,
	STATE_BYTES = 32
};

/* used_idx, old_used_idx, used_wrap_counter, old_used_wrap_counter as the one word that they fill. */
static uint64_t region_used_word(uint16_t used, bool wrap, uint16_t old, bool old_wrap)
{
	return (uint64_t)used | (uint64_t)old << 16 | (uint64_t)wrap << 32 | (uint64_t)old_wrap << 40;
}

static uint32_t region_free_word(uint16_t head)
{
	return (uint32_t)head | (uint32_t)head << 16;
}

static uint8_t *region_state(const struct virtq *vq, uint16_t entry)
{
	WEFT_ASSERT(entry < vq->inflight_num);
	return vq->inflight + REGION_STATES + (size_t)entry * STATE_BYTES;
}

void packed_region_start(struct virtq *vq)
{
	WEFT_ASSERT(vq->inflight_num >= vq->num && vq->used < vq->num && vq->in_use == 0);
	for (uint32_t i = 0; i < vq->inflight_num; i++) {
		uint8_t *state = region_state(vq, (uint16_t)i);

		shm_store8(state + STATE_INFLIGHT, 0);
		shm_store16(state + STATE_NEXT, (uint16_t)(i + 1));
	}
	shm_store64(vq->inflight, 0);
	shm_store16(vq->inflight + INFLIGHT_DESC_NUM, vq->inflight_num);
	shm_store32(vq->inflight + REGION_FREE, region_free_word(0));
	shm_store64(vq->inflight + REGION_USED,
		    region_used_word(vq->used, vq->used_wrap, vq->used, vq->used_wrap));
	vq->free_head = 0;
	shm_order();
	shm_store16(vq->inflight + INFLIGHT_VERSION, INFLIGHT_VERSION_NOW);
}

bool packed_track_desc(struct virtq *vq, const struct virtq_desc *d, uint16_t *entry, uint16_t *last)
{
	uint8_t *state;

	WEFT_ASSERT(vq->inflight);
	if (*entry >= vq->inflight_num)
		return false;
	state = region_state(vq, *entry);
	shm_store64(state + STATE_ID_FLAGS_LEN,
		    (uint64_t)d->next | (uint64_t)d->flags << 16 | (uint64_t)d->len << 32);
	shm_store64(state + STATE_ADDR, d->addr);
	*last = *entry;
	*entry = shm_load16(state + STATE_NEXT);
	return true;
}

/* The last store decides: before it the entries are free, whatever they say; after it they are in flight. */
void packed_track(struct virtq *vq, uint16_t count, uint16_t last, uint16_t free)
{
	uint8_t *state = region_state(vq, vq->free_head);

	WEFT_ASSERT(count > 0 && count <= vq->num - vq->in_use && last < vq->inflight_num);
	shm_store16(state + STATE_NUM, count);
	shm_store16(state + STATE_LAST, last);
	shm_store64(state + STATE_COUNTER, vq->counter++);
	shm_store8(state + STATE_INFLIGHT, 1);
	shm_order();
	shm_store32(vq->inflight + REGION_FREE, region_free_word(free));
	shm_order();
	vq->free_head = free;
}

/* Gives the entries of the batch back to the free list, and says where the used ring will be: still to be taken back. */
void packed_untrack_begin(struct virtq *vq, uint16_t slots)
{
	uint32_t used = (uint32_t)vq->used + slots;
	bool wrap = vq->used_wrap;

	WEFT_ASSERT(slots > 0 && slots <= vq->in_use && vq->pending <= slots);
	if (used >= vq->num) {
		used -= vq->num;
		wrap = !wrap;
	}
	for (uint16_t i = 0; i < vq->pending; i++) {
		uint64_t tag = vq->batch[i].tag;

		shm_store16(region_state(vq, packed_tag_last(tag)) + STATE_NEXT, vq->free_head);
		vq->free_head = packed_tag_entry(tag);
	}
	shm_order();
	shm_store16(vq->inflight + REGION_FREE, vq->free_head);
	shm_order();
	shm_store64(vq->inflight + REGION_USED, region_used_word((uint16_t)used, wrap, vq->used, vq->used_wrap));
	shm_order();
}

/* The driver has seen the batch: it cannot be taken back any more. vq->used is behind it already. */
void packed_untrack_end(struct virtq *vq)
{
	WEFT_ASSERT(vq->used < vq->num && vq->pending > 0);
	shm_order();
	for (uint16_t i = 0; i < vq->pending; i++)
		shm_store8(region_state(vq, packed_tag_entry(vq->batch[i].tag)) + STATE_INFLIGHT, 0);
	shm_order();
	shm_store16(vq->inflight + REGION_OLD_FREE, vq->free_head);
	shm_order();
	shm_store64(vq->inflight + REGION_USED,
		    region_used_word(vq->used, vq->used_wrap, vq->used, vq->used_wrap));
	shm_order();
}

static int region_damaged(struct virtq *vq)
{
	vq->fault = "the in-flight region is damaged";
	return -EINVAL;
}

/* New or old? The batch is done when its first descriptor is no longer available in the old lap. */
static int recover_positions(struct virtq *vq)
{
	uint32_t heads = shm_load32(vq->inflight + REGION_FREE);
	uint64_t word = shm_load64(vq->inflight + REGION_USED);
	uint16_t used = (uint16_t)word, old = (uint16_t)(word >> 16);
	bool wrap = word >> 32 & 1, old_wrap = word >> 40 & 1, done;
	uint16_t flags;

	WEFT_ASSERT(vq->in_use == 0 && vq->resubmits == 0);
	if (used >= vq->num || old >= vq->num)
		return region_damaged(vq);
	flags = (uint16_t)(shm_load64(vq->desc + (size_t)old * DESC_BYTES + 8) >> 48);
	done = (used != old || wrap != old_wrap) &&
	       !(!!(flags & DESC_AVAIL) == old_wrap && !!(flags & DESC_USED) != old_wrap);
	vq->used = done ? used : old;
	vq->used_wrap = done ? wrap : old_wrap;
	vq->free_head = (uint16_t)(done ? heads : heads >> 16);
	shm_store32(vq->inflight + REGION_FREE, region_free_word(vq->free_head));
	shm_order();
	shm_store64(vq->inflight + REGION_USED,
		    region_used_word(vq->used, vq->used_wrap, vq->used, vq->used_wrap));
	return 0;
}

static void recover_free_list(struct virtq *vq)
{
	uint16_t entry = vq->free_head;

	WEFT_ASSERT(vq->in_use == 0);
	for (uint32_t i = 0; i < vq->inflight_num && entry < vq->inflight_num; i++) {
		shm_store8(region_state(vq, entry) + STATE_INFLIGHT, 0);
		entry = shm_load16(region_state(vq, entry) + STATE_NEXT);
	}
}

static int recover_list(struct virtq *vq)
{
	for (uint32_t i = 0; i < vq->inflight_num; i++) {
		uint8_t *state = region_state(vq, (uint16_t)i);
		uint16_t count;

		if (shm_load8(state + STATE_INFLIGHT) != 1)
			continue;
		count = shm_load16(state + STATE_NUM);
		if (count == 0 || count > vq->num - vq->in_use)
			return region_damaged(vq);
		vq->in_use += count;
		vq->resubmit[vq->resubmits].counter = shm_load64(state + STATE_COUNTER);
		vq->resubmit[vq->resubmits].entry = (uint16_t)i;
		vq->resubmit[vq->resubmits].count = count;
		vq->resubmits++;
	}
	WEFT_ASSERT(vq->in_use <= vq->num && vq->resubmits <= vq->in_use);
	virtq_resubmit_sort(vq->resubmit, vq->resubmits);
	if (vq->resubmits > 0)
		vq->counter = vq->resubmit[vq->resubmits - 1].counter + 1;
	return 0;
}

/*
 * The last server may have written later descriptors of a batch whose first one it did not come to write. The driver has not
 * seen them, but would when it gets there: make them available again. The slots are ours: none of them is used.
 */
static void recover_slots(struct virtq *vq)
{
	uint16_t slot = vq->used;
	bool wrap = vq->used_wrap;

	WEFT_ASSERT(slot < vq->num && vq->in_use <= vq->num);
	for (uint32_t i = 0; i < vq->in_use; i++) {
		uint8_t *at = vq->desc + (size_t)slot * DESC_BYTES + 14;
		uint16_t flags = shm_load16(at);

		if (!!(flags & DESC_AVAIL) == wrap && !!(flags & DESC_USED) == wrap)
			shm_store16(at, wrap ? DESC_AVAIL : DESC_USED);
		if (++slot == vq->num) {
			slot = 0;
			wrap = !wrap;
		}
	}
}

int packed_recover(struct virtq *vq)
{
	int error = recover_positions(vq);

	WEFT_ASSERT(vq->inflight_num >= vq->num && vq->resubmit != NULL);
	if (error)
		return error;
	recover_free_list(vq);
	error = recover_list(vq);
	if (error)
		return error;
	recover_slots(vq);
	vq->avail = vq->used;
	vq->avail_wrap = vq->used_wrap;
	packed_advance_avail(vq, (uint16_t)vq->in_use);
	return 0;
}

/* The ring's slots may hold used descriptors by now; the region's copies are what the driver made available. */
int packed_pop_again(struct virtq *vq, const struct vmap *map, struct weft_seg *segs, uint32_t max,
		     struct virtq_chain *chain)
{
	const struct virtq_resubmit *again = &vq->resubmit[vq->resubmit_at];
	uint16_t entry = again->entry, last = entry, id = 0;
	struct virtq_walk w;
	int error = 0;

	WEFT_ASSERT(again->count > 0 && again->count <= vq->in_use && vq->resubmit_at < vq->resubmits);
	virtq_walk_start(&w, vq, map, segs, max);
	for (uint16_t i = 0; i < again->count && error == 0; i++) {
		struct virtq_desc d;
		uint64_t word;

		if (entry >= vq->inflight_num)
			return virtq_break(vq, "the in-flight region is damaged");
		last = entry;
		word = shm_load64(region_state(vq, entry) + STATE_ID_FLAGS_LEN);
		d.addr = shm_load64(region_state(vq, entry) + STATE_ADDR);
		d.next = id = (uint16_t)word;
		d.flags = (uint16_t)(word >> 16);
		d.len = (uint32_t)(word >> 32);
		entry = shm_load16(region_state(vq, entry) + STATE_NEXT);
		error = d.flags & DESC_INDIRECT ? virtq_walk_table(&w, &d) : virtq_walk_add(&w, &d);
	}
	if (error)
		return error;
	virtq_walk_done(&w, chain, true);
	chain->tag = packed_tag(id, again->count, again->entry, last);
	vq->resubmit_at++;
	return 1;
}
