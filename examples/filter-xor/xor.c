/* SPDX-License-Identifier: BSD-2-Clause */
/* xor: a filter built outside the tree: what lies below is the data with a byte XORed onto each byte. */
#include <weft/blk.h>

struct xor { struct weft_object object; struct weft_blk blk, *lower; uint64_t key; };
/* Memory of our own, reserved with each request; the core splits requests that are longer. */
struct copy { struct weft_seg seg; unsigned char bytes[16384]; };
static struct xor *xor_of(struct weft_blk *blk) { return WEFT_CONTAINER(blk, struct xor, blk); }

static struct copy *take_copy(struct weft_hop *hop)
{
	struct copy *copy = weft_hop_request(hop);

	weft_hop_copy_out(hop, 0, copy->bytes, hop->len);
	for (uint64_t i = 0; i < hop->len; i++)
		copy->bytes[i] ^= (unsigned char)xor_of(hop->blk)->key;
	copy->seg = (struct weft_seg){ .base = copy->bytes, .len = (uint32_t)hop->len };
	return copy;
}

static void read_done(struct weft_hop *self, struct weft_hop *child, int status)
{
	(void)child;
	if (status == 0)
		weft_hop_copy_in(self, 0, take_copy(self)->bytes, self->len);
	weft_hop_complete(self, status);
}

static void xor_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct weft_hop *child = weft_hop_down(hop);

	if (hop->op == WEFT_WRITE) { /* the writer's memory is not ours to change */
		child->segs = &take_copy(hop)->seg;
		child->seg_skip = 0;
		child->nsegs = 1;
	}
	weft_hop_submit(child, xor_of(blk)->lower, hop->op == WEFT_READ ? read_done : weft_hop_pass);
}

static const struct weft_blk_ops ops = { .submit = xor_submit, .request_size = sizeof(struct copy), .width = 1 };

static void xor_start(struct weft_object *object, struct weft_task *task)
{
	struct xor *xor = (void *)object; /* its first member */

	weft_blk_like(&xor->blk, xor->lower);
	xor->blk.ops = &ops;
	xor->blk.max_len = 16384;
	xor->blk.ops_can = 1 << WEFT_READ | 1 << WEFT_WRITE | 1 << WEFT_FLUSH; /* the core makes the rest of these */
	task->done(task, 0);
}

static const struct weft_option options[] = {
	{ "key", WEFT_OPTION_UINT, 0, offsetof(struct xor, key), "85", "the byte", NULL, 0, 255 }, { 0 } };
static const struct weft_port ports[] = { { "lower", &weft_blk_iface, 1, 1, 0, offsetof(struct xor, lower), "data" }, { 0 } };
static const struct weft_offer offers[] = { { &weft_blk_iface, offsetof(struct xor, blk) }, { 0 } };
static const struct weft_kind kind = { .name = "xor", .summary = "XORs a byte onto every byte", .size = sizeof(struct xor),
	.options = options, .ports = ports, .offers = offers, .start = xor_start };
WEFT_MODULE("xor", "1", &kind);
