/* SPDX-License-Identifier: BSD-2-Clause */
/* slice: a range of the device below as a device of its own. The smallest filter: read it first. */
#include <inttypes.h>

#include "devices/device.h"

struct slice {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *lower;
	uint64_t offset, size; /* size 0: up to the end, also when that moves */
	uint64_t limit;        /* by resize(): what `size` says now */
};

static void slice_status_done(struct weft_hop *self, struct weft_hop *child, int status)
{
	(void)child;
	if (status == 0)
		device_status_shift(self, -(int64_t)DEVICE_OF(self->blk, struct slice)->offset);
	weft_hop_complete(self, status);
}

static void slice_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	const struct slice *slice = DEVICE_OF(blk, struct slice);
	struct weft_hop *child;

	if (WEFT_LIKELY(hop->op != WEFT_STATUS)) {
		weft_hop_forward(hop, slice->lower, slice->offset);
		return;
	}
	child = weft_hop_down(hop);
	child->offset += slice->offset;
	weft_hop_submit(child, slice->lower, slice_status_done);
}

static const struct weft_blk_ops slice_ops = { .submit = slice_submit, .width = 1 };

/* How much of the device below is ours now. */
static uint64_t slice_size(const struct slice *slice)
{
	uint64_t lower = slice->lower->size, left = lower > slice->offset ? lower - slice->offset : 0;

	return slice->limit != 0 && slice->limit < left ? slice->limit : left;
}

static int slice_check(const struct slice *slice, uint64_t size, struct weft_why *why)
{
	const struct weft_blk *lower = slice->lower;

	WEFT_ASSERT(lower->block > 0 && (lower->block & (lower->block - 1)) == 0);
	if (slice->offset % lower->block != 0 || size % lower->block != 0)
		return weft_why(why, -EINVAL,
			"slice: offset=%" PRIu64 ", size=%" PRIu64 ": both must be multiples of the block of "
			"the device below, %u bytes",
			slice->offset, size, lower->block);
	if (slice->offset >= lower->size)
		return weft_why(why, -EINVAL,
			"slice: offset=%" PRIu64 " is not inside the device below, which has %" PRIu64
			" bytes: give a smaller offset",
			slice->offset, lower->size);
	if (size > lower->size - slice->offset)
		return weft_why(why, -EINVAL,
			"slice: size=%" PRIu64 " from offset=%" PRIu64 " ends beyond the device below, which "
			"has %" PRIu64 " bytes: give size=%" PRIu64 " or less",
			size, slice->offset, lower->size, lower->size - slice->offset);
	return 0;
}

static void slice_start(struct weft_object *object, struct weft_task *task)
{
	struct slice *slice = DEVICE_OF_OBJECT(object, struct slice);
	int status = slice_check(slice, slice->size, &task->why);

	WEFT_ASSERT(slice->lower != NULL && slice->limit == 0);
	slice->limit = slice->size;
	if (status == 0) {
		weft_blk_like(&slice->blk, slice->lower);
		slice->blk.ops = &slice_ops;
		slice->blk.size = slice_size(slice);
	}
	device_end(task, status);
}

static void slice_lower_resized(struct weft_object *object)
{
	struct slice *slice = DEVICE_OF_OBJECT(object, struct slice);
	uint64_t size = slice_size(slice);

	WEFT_ASSERT(size % slice->blk.block == 0);
	if (size != slice->blk.size)
		weft_blk_resized(&slice->blk, size);
}

static void slice_resize(struct weft_object *object, uint64_t size, struct weft_task *task)
{
	struct slice *slice = DEVICE_OF_OBJECT(object, struct slice);
	int status = slice_check(slice, size, &task->why);

	WEFT_ASSERT(object->state == WEFT_OBJECT_RUNNING);
	if (status == 0 && size == 0)
		status = weft_why(&task->why, -EINVAL,
			"slice: size=0: at least one block of %u bytes is needed", slice->blk.block);
	if (status == 0) {
		slice->limit = size;
		slice_lower_resized(object);
	}
	device_end(task, status);
}

static const struct weft_option slice_options[] = {
	{ .name = "offset",
		.type = WEFT_OPTION_SIZE,
		.offset = offsetof(struct slice, offset),
		.fallback = "0",
		.help = "where the range begins" },
	{ .name = "size",
		.type = WEFT_OPTION_SIZE,
		.offset = offsetof(struct slice, size),
		.help = "length of the range; not given: up to the end of the device below" },
	{ 0 },
};

static const struct weft_port slice_ports[] = {
	{ .name = "lower",
		.wants = &weft_blk_iface,
		.min = 1,
		.max = 1,
		.offset = offsetof(struct slice, lower),
		.help = "the device that holds the range" },
	{ 0 },
};

static const struct weft_offer slice_offers[] = {
	{ &weft_blk_iface, offsetof(struct slice, blk) },
	{ 0 },
};

extern const struct weft_kind slice_kind;
const struct weft_kind slice_kind = {
	.name = "slice",
	.summary = "a range of the device below",
	.size = sizeof(struct slice),
	.options = slice_options,
	.ports = slice_ports,
	.offers = slice_offers,
	.start = slice_start,
	.lower_resized = slice_lower_resized,
	.resize = slice_resize,
};
