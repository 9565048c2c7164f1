/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * null: a disk that keeps nothing. Every request succeeds at once; a read leaves the memory as it is (or,
 * with zero=on, fills it with zeroes). It measures what all else costs.
 */
#include "devices/device.h"

#include <weft/reactor.h>

struct null {
	struct weft_object object;
	struct weft_blk blk;
	uint64_t size, block;
	bool zero;
};

/* The next part: how far it has come is in scratch. */
static void null_fill(struct weft_blk *blk, struct weft_hop *hop)
{
	uint64_t done = hop->scratch[0], left = hop->len - done, len = left < WEFT_TURN_BYTES ? left : WEFT_TURN_BYTES;

	WEFT_ASSERT(DEVICE_OF(blk, struct null)->zero && left > 0);
	weft_hop_zero_fill(hop, done, len);
	hop->scratch[0] = done + len;
	if (len < left)
		weft_hop_yield(hop);
	else
		weft_hop_complete(hop, 0);
}

static void null_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	if (hop->op == WEFT_READ && DEVICE_OF(blk, struct null)->zero) {
		hop->scratch[0] = 0;
		null_fill(blk, hop);
		return;
	}
	weft_hop_complete(hop, 0);
}

static const struct weft_blk_ops null_ops = { .submit = null_submit, .resume = null_fill };

static void null_start(struct weft_object *object, struct weft_task *task)
{
	struct null *null = DEVICE_OF_OBJECT(object, struct null);
	struct weft_blk *blk = &null->blk;
	int status = device_check_geometry("null", null->size, null->block, &task->why);

	if (status == 0) {
		blk->ops = &null_ops;
		blk->size = null->size;
		blk->block = (uint32_t)null->block;
		blk->align = 1;
		blk->ops_can = WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE) | WEFT_OP_BIT(WEFT_FLUSH) |
			WEFT_OP_BIT(WEFT_DISCARD) | WEFT_OP_BIT(WEFT_ZERO);
		blk->flags_can = WEFT_FUA | WEFT_NO_UNMAP | WEFT_FAST;
	}
	device_end(task, status);
}

static void null_resize(struct weft_object *object, uint64_t size, struct weft_task *task)
{
	struct null *null = DEVICE_OF_OBJECT(object, struct null);
	int status = device_check_geometry("null", size, null->block, &task->why);

	WEFT_ASSERT(object->state == WEFT_OBJECT_RUNNING);
	if (status == 0)
		weft_blk_resized(&null->blk, size);
	device_end(task, status);
}

static void null_describe(const struct weft_object *object, weft_describe_put *put, void *self)
{
	const struct null *null = WEFT_CONTAINER(object, const struct null, object);

	put(self, "reads", null->zero ? "zeroes" : "leave the memory as it is");
	put(self, "keeps", "nothing");
}

static const struct weft_option null_options[] = {
	{ .name = "size",
		.type = WEFT_OPTION_SIZE,
		.flags = WEFT_OPTION_ADDRESS,
		.offset = offsetof(struct null, size),
		.fallback = "1TiB",
		.help = "size of the device",
		.min = 512,
		.max = INT64_MAX },
	{ .name = "block",
		.type = WEFT_OPTION_SIZE,
		.offset = offsetof(struct null, block),
		.fallback = "512",
		.help = "logical block, a power of two",
		.min = 512,
		.max = 1 << 20 },
	{ .name = "zero",
		.type = WEFT_OPTION_BOOL,
		.offset = offsetof(struct null, zero),
		.fallback = "off",
		.help = "fill the memory of reads with zeroes" },
	{ 0 },
};

static const struct weft_offer null_offers[] = {
	{ &weft_blk_iface, offsetof(struct null, blk) },
	{ 0 },
};

extern const struct weft_kind null_kind;
const struct weft_kind null_kind = {
	.name = "null",
	.summary = "a disk that keeps nothing and answers at once",
	.size = sizeof(struct null),
	.options = null_options,
	.offers = null_offers,
	.start = null_start,
	.resize = null_resize,
	.describe = null_describe,
};
