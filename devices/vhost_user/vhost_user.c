/* SPDX-License-Identifier: BSD-2-Clause */
/* The kind `vhost-user`: its options, what the device can do once the server has told, start and stop. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/export.h>
#include <weft/memory.h>

#include "devices/vhost_user/link.h"

#include "core/core.h"
#include "wire/vhost_user.h"
#include "wire/virtio_blk.h"

static struct vu_device *device_of(struct weft_object *object)
{
	return WEFT_CONTAINER(object, struct vu_device, object);
}

/* Queues that are prepared for the reactors of a program, when queues= does not say how many. */
#define VU_QUEUES_LANES 16u

static uint64_t power_of_two_from(uint64_t n)
{
	uint64_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

/* ---- what the device can do ---- */

uint64_t vu_size(const struct vu_device *device, const struct vu_config *config)
{
	uint64_t block = device->config.blk_size;

	WEFT_ASSERT(block >= VIRTIO_BLK_SECTOR && config->capacity <= UINT64_MAX / VIRTIO_BLK_SECTOR / 2);
	return (config->capacity * VIRTIO_BLK_SECTOR & ~(block - 1)) + (device->beyond & ~(block - 1));
}

static void blk_fill(struct vu_device *device)
{
	const struct vu_config *config = &device->config;
	struct weft_blk *blk = &device->blk;
	bool flush = (device->features & VIRTIO_BLK_F(FLUSH)) != 0;
	uint32_t segs = device->num - 2u; /* a chain, also an indirect one, is not longer than the ring (virtio 1.2, 2.7.5.2) */

	WEFT_ASSERT(device->num >= 4 && device->queues > 0);
	blk->ops = device->object.core->lanes_come || device->queues >= device->object.core->reactors - 1 ? &vu_ops :
		&vu_ops_at_home;
	blk->home = blk->ops->at_home ? weft_reactor_pick_home(device->object.core) : NULL;
	blk->block = config->blk_size;
	blk->size = vu_size(device, config);
	blk->physical = config->physical_exp < 12 ? blk->block << config->physical_exp : 0;
	blk->optimal = config->opt_blocks < 65536 ? config->opt_blocks * blk->block : 0;
	blk->align = 1;
	blk->max_len = VU_BOUNCE;
	if (config->size_max >= blk->block && config->size_max < blk->max_len)
		blk->max_len = config->size_max & ~(blk->block - 1);
	segs = segs < VU_SEGS_MAX ? segs : VU_SEGS_MAX;
	if (config->seg_max > 0 && config->seg_max < segs)
		segs = config->seg_max;
	blk->max_segs = (uint16_t)segs;
	blk->discard_align = config->discard_align < 65536 ? config->discard_align * VIRTIO_BLK_SECTOR : 0;
	blk->readonly = (device->features & VIRTIO_BLK_F(RO)) != 0;
	blk->volatile_cache = flush && config->writeback != 0;
	blk->ops_can = WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE);
	if (flush)
		blk->ops_can |= WEFT_OP_BIT(WEFT_FLUSH);
	if (config->max_discard >= blk->block / VIRTIO_BLK_SECTOR)
		blk->ops_can |= WEFT_OP_BIT(WEFT_DISCARD);
	if (config->max_zero >= blk->block / VIRTIO_BLK_SECTOR)
		blk->ops_can |= WEFT_OP_BIT(WEFT_ZERO);
	blk->flags_can = WEFT_NO_UNMAP;
}

static int check(const struct vu_device *device, struct weft_why *why)
{
	uint32_t block = device->config.blk_size;

	if (block < VIRTIO_BLK_SECTOR || block > 1u << 20 || (block & (block - 1)) != 0)
		return weft_why(why, -EPROTO, "the server tells a block size of %u: it must be a power of two from 512", block);
	if (device->config.capacity == 0)
		return weft_why(why, -EPROTO, "the server tells a size of 0");
	if (device->queues_option > device->queues_offered)
		return weft_why(why, -EINVAL, "queues=%llu: the server has %u", (unsigned long long)device->queues_option,
			device->queues_offered);
	return 0;
}

static int memory_make(struct vu_device *device, struct weft_why *why)
{
	struct weft_core *core = device->object.core;
	uint64_t bytes;
	int error;

	WEFT_ASSERT(device->memory_fd < 0 && device->mapping == NULL);
	vu_layout_make(&device->layout, device->packed, device->num);
	bytes = device->queues * device->layout.bytes;
	error = env_shm_create(core->env, "weft-vhost-user", bytes, &device->memory_fd);
	if (error != 0) {
		device->memory_fd = -1;
		return weft_why(why, error, "cannot make %llu bytes of shared memory for the rings", (unsigned long long)bytes);
	}
	error = env_map(core->env, device->memory_fd, 0, bytes, true, &device->mapping, why);
	if (error != 0)
		device->mapping = NULL;
	return error;
}

int vu_device_make(struct vu_device *device, struct weft_why *why)
{
	struct weft_core *core = device->object.core;
	bool indirect = (device->features & VIRTIO_F(INDIRECT_DESC)) != 0;
	unsigned reactors = core->reactors - 1;
	uint64_t num = power_of_two_from(indirect ? device->depth : 4 * device->depth);
	int error = check(device, why);

	WEFT_ASSERT(device->queue == NULL && reactors > 0);
	if (error != 0)
		return error;
	device->num = (uint16_t)(num < VU_NUM_MAX ? num : VU_NUM_MAX);
	device->num = device->num < 4 ? 4 : device->num;
	device->packed = (device->features & VIRTIO_F(RING_PACKED)) != 0;
	device->event_idx = (device->features & VIRTIO_F(EVENT_IDX)) != 0;
	device->queues = device->queues_option != 0 ? (unsigned)device->queues_option : device->queues_offered;
	if (core->lanes_come) { /* a program's: each takes a queue for itself as it opens the device */
		reactors = reactors > VU_QUEUES_LANES ? reactors : VU_QUEUES_LANES;
		if (device->queues_option == 0 && device->queues > reactors)
			device->queues = reactors;
	} else {
		device->queues = device->queues >= reactors ? reactors : 1;
	}
	blk_fill(device);
	error = memory_make(device, why);
	if (error != 0)
		return error;
	device->queue = weft_alloc_aligned(core, 128, device->queues * sizeof(device->queue[0]));
	if (device->queue == NULL)
		return weft_why(why, -ENOMEM, "no memory for %u queues", device->queues);
	for (unsigned i = 0; i < device->queues && error == 0; i++)
		error = vu_queue_init(&device->queue[i], device, i);
	return error == 0 ? 0 : weft_why(why, error, "cannot make %u queues with a descriptor for each direction", device->queues);
}

/* ---- life ---- */

static void vu_start(struct weft_object *object, struct weft_task *task)
{
	struct vu_device *device = device_of(object);
	int error;

	WEFT_ASSERT(device->link == NULL);
	device->memory_fd = -1;
	error = vu_link_start(device, task);
	if (error != 0)
		task->done(task, error);
}

static void vu_stop(struct weft_object *object, struct weft_task *task)
{
	vu_link_stop(device_of(object), task);
}

static void vu_destroy(struct weft_object *object)
{
	struct vu_device *device = device_of(object);

	WEFT_ASSERT(device->link == NULL || device->link->task == NULL);
	vu_link_free(device);
	for (unsigned i = 0; device->queue != NULL && i < device->queues; i++)
		vu_queue_free(&device->queue[i]);
	weft_free(object->core, device->queue);
	if (device->mapping != NULL)
		env_unmap(device->mapping);
	if (device->memory_fd >= 0)
		env_fd_close(object->core->env, device->memory_fd);
}

static void vu_describe(const struct weft_object *object, weft_describe_put *put, void *self)
{
	const struct vu_device *device = WEFT_CONTAINER(object, const struct vu_device, object);
	uint64_t in_place = 0, copied = 0, kicks = 0, again = 0;
	char text[256];

	for (unsigned i = 0; i < device->queues; i++) {
		in_place += device->queue[i].in_place;
		copied += device->queue[i].copied;
		kicks += device->queue[i].kicks;
		again += device->queue[i].resubmitted;
	}
	put(self, "server", device->path);
	vu_link_tell(device->link, text, sizeof(text));
	put(self, "connection", text);
	put(self, "serial", device->serial[0] != '\0' ? device->serial : "none");
	snprintf(text, sizeof(text), "%u of %u, %u entries, %s%s", device->queues, device->queues_offered, device->num,
		device->packed ? "packed" : "split", device->event_idx ? ", event index" : "");
	put(self, "queues", text);
	put(self, "in-flight tracking", device->link->inflight_fd >= 0 ? "by the server" : "none: resubmitted by us");
	snprintf(text, sizeof(text), "%llu in place, %llu copied, %llu kicks, %llu resubmitted", (unsigned long long)in_place,
		(unsigned long long)copied, (unsigned long long)kicks, (unsigned long long)again);
	put(self, "requests", text);
}

/* ---- tables ---- */

static const struct weft_option vu_options[] = {
	{ .name = "path", .type = WEFT_OPTION_PATH, .flags = WEFT_OPTION_ADDRESS | WEFT_OPTION_REQUIRED,
	  .offset = offsetof(struct vu_device, path), .help = "socket on which the server listens" },
	{ .name = "queues", .type = WEFT_OPTION_UINT, .offset = offsetof(struct vu_device, queues_option),
	  .help = "use no more queues than this (one per reactor, else one for all)", .min = 0, .max = VU_QUEUES_MAX,
	  .fallback = "0" },
	{ .name = "depth", .type = WEFT_OPTION_UINT, .offset = offsetof(struct vu_device, depth), .fallback = "128",
	  .help = "requests in flight per queue", .min = 1, .max = VU_NUM_MAX },
	{ .name = "packed", .type = WEFT_OPTION_CHOICE, .offset = offsetof(struct vu_device, packed_option),
	  .fallback = "auto", .choices = "auto|on|off", .help = "packed rings; auto: split, which share fewer cache lines" },
	{ .name = "cache", .type = WEFT_OPTION_CHOICE, .offset = offsetof(struct vu_device, cache_option),
	  .fallback = "auto", .choices = "auto|on|off", .help = "the server's write cache; auto: as it is" },
	{ .name = "in-place", .type = WEFT_OPTION_BOOL, .offset = offsetof(struct vu_device, in_place), .fallback = "on",
	  .help = "requests in registered memory are not copied" },
	{ .name = "reconnect", .type = WEFT_OPTION_DURATION, .offset = offsetof(struct vu_device, reconnect_ns),
	  .fallback = "100ms", .help = "between attempts when the server has gone; requests wait",
	  .min = 1000000, .max = 3600000000000ull },
	{ .name = "beyond", .type = WEFT_OPTION_SIZE, .offset = offsetof(struct vu_device, beyond), .fallback = "0",
	  .help = "pretend that the device is so much larger: to see that the server refuses what lies there", .max = 1ull << 40 },
	{ .name = "timeout", .type = WEFT_OPTION_DURATION, .offset = offsetof(struct vu_device, timeout_ns), .fallback = "0",
	  .help = "fail requests when the server has been away for this long; 0: never" },
	{ .name = "refusals", .type = WEFT_OPTION_UINT, .offset = offsetof(struct vu_device, refusals), .fallback = "100",
	  .help = "fail requests when servers have refused us so often in a row, until one takes us; 0: never", .min = 0,
	  .max = 1000000 },
	{ 0 },
};

static const struct weft_offer vu_offers[] = {
	{ &weft_blk_iface, offsetof(struct vu_device, blk) },
	{ 0 },
};

const struct weft_kind vhost_user_kind = {
	.name = "vhost-user",
	.summary = "a disk behind a vhost-user-blk server",
	.size = sizeof(struct vu_device),
	.options = vu_options,
	.offers = vu_offers,
	.start = vu_start,
	.stop = vu_stop,
	.destroy = vu_destroy,
	.describe = vu_describe,
};
