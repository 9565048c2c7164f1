/* SPDX-License-Identifier: BSD-2-Clause */
/* The device side of a virtqueue: what does not depend on the ring's format. */
#include "wire/virtq.h"

#include "wire/virtq_walk.h"

size_t virtq_desc_size(bool packed, uint16_t num)
{
	(void)packed;
	return (size_t)DESC_BYTES * num;
}

size_t virtq_driver_size(bool packed, uint16_t num)
{
	return packed ? 4 : 6 + 2 * (size_t)num;
}

size_t virtq_device_size(bool packed, uint16_t num)
{
	return packed ? 4 : 6 + 8 * (size_t)num;
}

size_t virtq_inflight_size(bool packed, uint16_t num)
{
	size_t bytes = packed ? 32 + 32 * (size_t)num : 16 + 16 * (size_t)num;

	return (bytes + VIRTQ_INFLIGHT_ALIGN - 1) & ~(size_t)(VIRTQ_INFLIGHT_ALIGN - 1);
}

void virtq_inflight_reset(void *region)
{
	if (region)
		shm_store16((uint8_t *)region + INFLIGHT_VERSION, 0);
}

static bool virtq_aligned(const void *p, uintptr_t align)
{
	return p && ((uintptr_t)p & (align - 1)) == 0;
}

static int virtq_refuse(struct virtq *vq, const char *fault)
{
	vq->fault = fault;
	return -EINVAL;
}

int virtq_init(struct virtq *vq, const struct virtq_config *config)
{
	bool packed = config->packed;

	memset(vq, 0, sizeof(*vq));
	if (config->num == 0 || config->num > VIRTQ_MAX_NUM)
		return virtq_refuse(vq, "a ring has 1 to 32768 entries");
	if (!packed && (config->num & (config->num - 1)) != 0)
		return virtq_refuse(vq, "a split ring's size is a power of two");
	if (!virtq_aligned(config->desc, 16) || !virtq_aligned(config->driver, packed ? 4 : 2) ||
	    !virtq_aligned(config->device, 4))
		return virtq_refuse(vq, "a part of the ring is not aligned");
	if (config->inflight && (!virtq_aligned(config->inflight, 8) || config->inflight_num < config->num))
		return virtq_refuse(vq, "the in-flight region is not aligned or smaller than the ring");
	WEFT_ASSERT(!config->inflight || config->resubmit);
	vq->desc = config->desc;
	vq->driver = config->driver;
	vq->device = config->device;
	vq->inflight = config->inflight;
	vq->inflight_num = config->inflight_num;
	vq->resubmit = config->resubmit;
	vq->num = config->num;
	vq->mask = (uint16_t)(config->num - 1);
	vq->packed = packed;
	vq->event_idx = config->event_idx;
	vq->indirect = config->indirect;
	vq->signal_always = true;
	vq->max_chain = config->num > VIRTQ_MIN_CHAIN ? config->num : VIRTQ_MIN_CHAIN;
	return packed ? virtq_packed_init(vq, config->base) : virtq_split_init(vq, config->base);
}

int virtq_inflight_check(struct virtq *vq)
{
	uint16_t version = shm_load16(vq->inflight + INFLIGHT_VERSION);
	uint16_t desc_num = shm_load16(vq->inflight + INFLIGHT_DESC_NUM);

	WEFT_ASSERT(vq->inflight_num >= vq->num && vq->in_use == 0);
	if (version == 0)
		return 0;
	if (version != INFLIGHT_VERSION_NOW)
		return virtq_refuse(vq, "the in-flight region has an unknown version");
	if (desc_num < vq->num || desc_num > vq->inflight_num)
		return virtq_refuse(vq, "the in-flight region was made for another ring size");
	vq->inflight_num = desc_num;
	return 1;
}

void virtq_log_all(const struct virtq *vq)
{
	WEFT_ASSERT(vq->log && vq->num > 0);
	if (vq->packed) {
		vhost_log_mark(vq->log, vq->log_address, virtq_desc_size(true, vq->num));
		vhost_log_mark(vq->log, vq->log_event, virtq_device_size(true, vq->num));
	} else {
		vhost_log_mark(vq->log, vq->log_address, virtq_device_size(false, vq->num));
	}
}

uint32_t virtq_base(const struct virtq *vq)
{
	WEFT_ASSERT(vq->num > 0 && (!vq->packed || (vq->avail < vq->num && vq->used < vq->num)));
	if (!vq->packed)
		return vq->avail;
	return (uint32_t)vq->avail | (uint32_t)vq->avail_wrap << 15 | (uint32_t)vq->used << 16 |
	       (uint32_t)vq->used_wrap << 31;
}

int virtq_pop(struct virtq *vq, const struct vmap *map, struct weft_seg *segs, uint32_t max, struct virtq_chain *chain)
{
	if (WEFT_UNLIKELY(vq->fault != NULL))
		return -EPROTO;
	return vq->packed ? virtq_packed_pop(vq, map, segs, max, chain) : virtq_split_pop(vq, map, segs, max, chain);
}

void virtq_push(struct virtq *vq, uint64_t tag, uint32_t written)
{
	WEFT_ASSERT(vq->in_use > 0);
	if (vq->packed)
		virtq_packed_push(vq, tag, written);
	else
		virtq_split_push(vq, tag, written);
}

void virtq_show(struct virtq *vq)
{
	if (vq->pending == 0)
		return;
	if (vq->packed)
		virtq_packed_show(vq);
	else
		virtq_split_show(vq);
}

bool virtq_publish(struct virtq *vq)
{
	bool notify = vq->packed ? virtq_packed_publish(vq) : virtq_split_publish(vq);

	if (WEFT_UNLIKELY(vq->signal_always)) {
		vq->signal_always = false;
		return true;
	}
	return notify;
}

bool virtq_has_work(struct virtq *vq)
{
	if (vq->fault != NULL)
		return false;
	if (vq->resubmit_at < vq->resubmits)
		return true;
	return vq->packed ? virtq_packed_has_work(vq) : virtq_split_has_work(vq);
}

void virtq_notify_disable(struct virtq *vq)
{
	if (vq->packed)
		virtq_packed_notify(vq, false);
	else
		virtq_split_notify(vq, false);
}

bool virtq_notify_enable(struct virtq *vq)
{
	if (vq->packed)
		virtq_packed_notify(vq, true);
	else
		virtq_split_notify(vq, true);
	WEFT_ASSERT(vq->num > 0);
	shm_fence();
	return virtq_has_work(vq);
}

static void virtq_walk_seg(struct virtq_walk *w, void *base, uint32_t len, bool write)
{
	WEFT_ASSERT(w->nsegs < w->max && w->nread <= w->nsegs && len > 0 && w->vq->region_hint < w->map->count);
	w->segs[w->nsegs++] = (struct weft_seg){
		.base = base, .len = len, .region = w->map->regions[w->vq->region_hint].region, .foreign = 1};
	w->len += len;
	if (!write) {
		w->nread = w->nsegs;
		w->read_len = w->len;
	}
}

int virtq_walk_add(struct virtq_walk *w, const struct virtq_desc *d)
{
	uint64_t gpa = d->addr, rest = d->len;
	bool write = d->flags & DESC_WRITE;

	WEFT_ASSERT(w->nread <= w->nsegs && w->nsegs <= w->max);
	if (rest == 0)
		return virtq_break(w->vq, "a buffer has length 0");
	if (w->left-- == 0)
		return virtq_break(w->vq, "a chain is longer than the ring, or loops");
	if (!write && w->nsegs > w->nread)
		return virtq_break(w->vq, "a readable buffer follows a writable one");
	while (rest > 0) {
		uint64_t part = rest;
		uint32_t before = w->vq->region_hint;
		void *base = vmap_translate(w->map, &w->vq->region_hint, gpa, &part);

		if (!base)
			return virtq_break(w->vq, "a buffer is outside the guest's memory");
		if (w->vq->region_hint != before)
			w->vq->region_other = before;
		if (w->nsegs == w->max)
			return -E2BIG;
		virtq_walk_seg(w, base, (uint32_t)part, write);
		gpa += part;
		rest -= part;
	}
	return 0;
}

/* One descriptor of an indirect table: from mapped memory in one piece, or (rarely) over a border of two regions. */
static bool virtq_table_read(const struct virtq_walk *w, const uint8_t *table, uint64_t gpa, uint32_t index,
			     uint64_t word[2])
{
	WEFT_ASSERT(index < w->vq->max_chain);
	if (WEFT_LIKELY(table != NULL))
		shm_copy_in(word, table + (size_t)index * DESC_BYTES, DESC_BYTES);
	else if (!vmap_copy_in(w->map, word, gpa + (uint64_t)index * DESC_BYTES, DESC_BYTES))
		return false;
	word[0] = le64toh(word[0]);
	word[1] = le64toh(word[1]);
	return true;
}

/* A packed ring's table is read from first to last; of its flags only WRITE counts (virtio 1.2, 2.8.8). */
static int virtq_walk_entry(struct virtq_walk *w, const uint64_t word[2], uint32_t count, uint32_t *index)
{
	struct virtq_desc d;
	int error;

	WEFT_ASSERT(*index < count && count <= w->vq->max_chain);
	if (w->vq->packed) {
		virtq_desc_packed(&d, word[0], word[1]);
		error = virtq_walk_add(w, &d);
		*index += 1;
		return error ? error : *index < count;
	}
	virtq_desc_split(&d, word[0], word[1]);
	if (d.flags & DESC_INDIRECT)
		return virtq_break(w->vq, "an indirect table points to another one");
	error = virtq_walk_add(w, &d);
	if (error || !(d.flags & DESC_NEXT))
		return error;
	if (d.next >= count)
		return virtq_break(w->vq, "an indirect table continues outside itself");
	*index = d.next;
	return 1;
}

int virtq_walk_table(struct virtq_walk *w, const struct virtq_desc *d)
{
	uint32_t count = d->len / DESC_BYTES, index = 0;
	uint64_t bytes = d->len;
	const uint8_t *table;
	uint64_t word[2];
	int more;

	WEFT_ASSERT(d->flags & DESC_INDIRECT);
	if (!w->vq->indirect)
		return virtq_break(w->vq, "an indirect table was not agreed on");
	if (d->flags & DESC_NEXT)
		return virtq_break(w->vq, "a chain continues after its indirect table");
	if (d->len == 0 || d->len % DESC_BYTES != 0)
		return virtq_break(w->vq, "an indirect table's size is not a multiple of 16");
	if (count > w->vq->max_chain)
		return virtq_break(w->vq, "an indirect table is longer than any chain may be");
	table = vmap_translate(w->map, &w->vq->region_hint, d->addr, &bytes);
	if (!table)
		return virtq_break(w->vq, "an indirect table is outside the guest's memory");
	if (bytes != d->len)
		table = NULL;
	do {
		if (!virtq_table_read(w, table, d->addr, index, word))
			return virtq_break(w->vq, "an indirect table is outside the guest's memory");
		more = virtq_walk_entry(w, word, count, &index);
	} while (more > 0);
	return more;
}

static void virtq_resubmit_sift(struct virtq_resubmit *list, uint32_t root, uint32_t count)
{
	for (;;) {
		uint32_t child = 2 * root + 1;
		struct virtq_resubmit swap;

		WEFT_ASSERT(root < count);
		if (child >= count)
			return;
		if (child + 1 < count && list[child + 1].counter > list[child].counter)
			child++;
		if (list[root].counter >= list[child].counter)
			return;
		swap = list[root];
		list[root] = list[child];
		list[child] = swap;
		root = child;
	}
}

void virtq_resubmit_sort(struct virtq_resubmit *list, uint32_t count)
{
	WEFT_ASSERT(count <= VIRTQ_MAX_NUM && (list != NULL || count == 0));
	for (uint32_t i = count / 2; i-- > 0;)
		virtq_resubmit_sift(list, i, count);
	for (uint32_t end = count; end > 1; end--) {
		struct virtq_resubmit swap = list[0];

		list[0] = list[end - 1];
		list[end - 1] = swap;
		virtq_resubmit_sift(list, 0, end - 1);
	}
}
