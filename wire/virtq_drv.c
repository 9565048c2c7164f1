/* SPDX-License-Identifier: BSD-2-Clause */
/* The driver side of a virtqueue: set-up and choice of the ring's format. */
#include "wire/virtq_drv.h"

#include "wire/virtq_drv_inside.h"

static int drv_refuse(struct virtq_drv *d, const char *fault)
{
	d->fault = fault;
	return -EINVAL;
}

int virtq_drv_init(struct virtq_drv *d, const struct virtq_drv_config *config)
{
	memset(d, 0, sizeof(*d));
	if (config->num == 0 || config->num > VIRTQ_MAX_NUM)
		return drv_refuse(d, "a ring has 1 to 32768 entries");
	if (!config->packed && (config->num & (config->num - 1)) != 0)
		return drv_refuse(d, "a split ring's size is a power of two");
	WEFT_ASSERT(config->desc && config->driver && config->device && config->slots);
	d->desc = config->desc;
	d->driver = config->driver;
	d->device = config->device;
	d->slots = config->slots;
	d->num = d->free_descs = config->num;
	d->mask = (uint16_t)(config->num - 1);
	d->packed = config->packed;
	d->event_idx = config->event_idx;
	d->avail_wrap = d->used_wrap = true;
	for (uint32_t i = 0; i < config->num; i++) {
		d->slots[i].cookie = NULL;
		d->slots[i].next = (uint16_t)(i + 1);
		d->slots[i].descs = 0;
	}
	return 0;
}

/* Fills the table; returns the one descriptor that stands for it. */
static struct virtq_buf drv_fill_table(const struct virtq_drv *d, const struct virtq_drv_table *table,
				       const struct virtq_buf *bufs, uint16_t nread, uint16_t nwrite)
{
	uint16_t count = nread + nwrite;

	WEFT_ASSERT(table->memory && count >= nread);
	for (uint16_t i = 0; i < count; i++) {
		uint8_t *at = (uint8_t *)table->memory + (size_t)i * DESC_BYTES;
		uint16_t flags = i < nread ? 0 : DESC_WRITE;

		shm_update64(at, bufs[i].addr);
		if (d->packed)
			shm_update64(at + 8, drv_word_packed(bufs[i].len, 0, flags));
		else
			shm_update64(at + 8, drv_word_split(bufs[i].len, i + 1 < count ? flags | DESC_NEXT : flags,
							    i + 1 < count ? (uint16_t)(i + 1) : 0));
	}
	return (struct virtq_buf){.addr = table->addr, .len = (uint32_t)count * DESC_BYTES};
}

int virtq_drv_add(struct virtq_drv *d, const struct virtq_buf *bufs, uint16_t nread, uint16_t nwrite,
		  const struct virtq_drv_table *table, void *cookie)
{
	uint32_t count = (uint32_t)nread + nwrite;
	struct virtq_buf one;
	struct drv_chain chain = {bufs, nread, (uint16_t)count, 0};

	WEFT_ASSERT(count > 0);
	if (count > d->num)
		return -E2BIG;
	if ((table ? 1 : count) > d->free_descs)
		return -ENOSPC;
	if (table) {
		one = drv_fill_table(d, table, bufs, nread, nwrite);
		chain = (struct drv_chain){&one, 1, 1, DESC_INDIRECT};
	}
	return d->packed ? drv_packed_add(d, &chain, cookie) : drv_split_add(d, &chain, cookie);
}

void virtq_drv_show(struct virtq_drv *d)
{
	if (d->pending == 0)
		return;
	if (d->packed)
		drv_packed_show(d);
	else
		drv_split_show(d);
	WEFT_ASSERT(d->pending <= d->num && d->free_descs < d->num);
	d->unkicked += d->pending;
	d->pending = 0;
}

bool virtq_drv_publish(struct virtq_drv *d)
{
	bool kick;

	virtq_drv_show(d);
	WEFT_ASSERT(d->pending == 0);
	if (d->unkicked == 0)
		return false;
	shm_fence();
	kick = d->packed ? drv_packed_wants_kick(d) : drv_split_wants_kick(d);
	d->unkicked = 0;
	return kick;
}

int virtq_drv_take(struct virtq_drv *d, struct virtq_done *done)
{
	if (WEFT_UNLIKELY(d->fault != NULL))
		return -EPROTO;
	virtq_drv_show(d); /* a device may guess what it was not shown: nothing is to end that is still pending */
	return d->packed ? drv_packed_take(d, done) : drv_split_take(d, done);
}

bool virtq_drv_has_done(const struct virtq_drv *d)
{
	return d->packed ? drv_packed_has_done(d) : drv_split_has_done(d);
}

void virtq_drv_notify_disable(struct virtq_drv *d)
{
	if (d->packed)
		drv_packed_notify(d, false);
	else
		drv_split_notify(d, false);
}

bool virtq_drv_notify_enable(struct virtq_drv *d)
{
	if (d->packed)
		drv_packed_notify(d, true);
	else
		drv_split_notify(d, true);
	WEFT_ASSERT(d->num > 0);
	shm_fence();
	return virtq_drv_has_done(d);
}
