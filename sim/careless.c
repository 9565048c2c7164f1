/* SPDX-License-Identifier: BSD-2-Clause */
/* A filter that breaks one promise. */
#include "sim/careless.h"

#include <errno.h>
#include <weft/blk.h>

enum { CARELESS_FLUSH, CARELESS_FUA, CARELESS_COMPARE };

/* Behind the hop of a compare-and-write. */
struct careless_request {
	struct weft_seg seg;
	char bytes[4096];
};

struct careless {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *lower;
	uint32_t what;
};

static void has_read(struct weft_hop *self, struct weft_hop *child, int status)
{
	struct careless_request *request = weft_hop_request(self);

	if (status == 0 && !weft_hop_equals(self, 0, request->bytes, self->len))
		status = -EILSEQ;
	if (status != 0) {
		weft_hop_complete(self, status);
		return;
	}
	child = weft_hop_down(self);
	child->op = WEFT_WRITE;
	child->seg_skip += (uint32_t)self->len;
	weft_hop_submit(child, WEFT_CONTAINER(self->blk, struct careless, blk)->lower, weft_hop_pass);
}

/* Others may write between the read and the write. */
static void compare(struct careless *careless, struct weft_hop *hop)
{
	struct careless_request *request = weft_hop_request(hop);
	struct weft_hop *child = weft_hop_down(hop);

	request->seg = (struct weft_seg){ .base = request->bytes, .len = (uint32_t)hop->len };
	child->op = WEFT_READ;
	child->flags = 0;
	child->segs = &request->seg;
	child->seg_skip = 0;
	child->nsegs = 1;
	weft_hop_submit(child, careless->lower, has_read);
}

static void careless_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct careless *careless = WEFT_CONTAINER(blk, struct careless, blk);
	struct weft_hop *child;

	if (hop->op == WEFT_FLUSH && careless->what == CARELESS_FLUSH) {
		weft_hop_complete(hop, 0);
		return;
	}
	if (hop->op == WEFT_COMPARE_WRITE) {
		compare(careless, hop);
		return;
	}
	child = weft_hop_down(hop);
	if (careless->what == CARELESS_FUA)
		child->flags &= (uint8_t)~WEFT_FUA;
	weft_hop_submit(child, careless->lower, weft_hop_pass);
}

static const struct weft_blk_ops careless_ops = { .submit = careless_submit,
	.request_size = sizeof(struct careless_request), .width = 1 };

static void careless_start(struct weft_object *object, struct weft_task *task)
{
	struct careless *careless = WEFT_CONTAINER(object, struct careless, object);

	weft_blk_like(&careless->blk, careless->lower);
	careless->blk.ops = &careless_ops;
	careless->blk.max_compare = sizeof(((struct careless_request *)0)->bytes);
	if (careless->what == CARELESS_COMPARE)
		careless->blk.ops_can |= WEFT_OP_BIT(WEFT_COMPARE_WRITE);
	task->done(task, 0);
}

static const struct weft_option careless_options[] = {
	{ .name = "what", .type = WEFT_OPTION_CHOICE, .flags = WEFT_OPTION_REQUIRED, .offset = offsetof(struct careless, what),
	  .help = "which promise is broken", .choices = "flush|fua|compare" },
	{ 0 },
};

static const struct weft_port careless_ports[] = {
	{ .name = "lower", .wants = &weft_blk_iface, .min = 1, .max = 1, .offset = offsetof(struct careless, lower),
	  .help = "the device that is to look worse than it is" },
	{ 0 },
};

static const struct weft_offer careless_offers[] = { { &weft_blk_iface, offsetof(struct careless, blk) }, { 0 } };

static const struct weft_kind careless_kind = {
	.name = "careless", .summary = "breaks a promise", .size = sizeof(struct careless), .options = careless_options,
	.ports = careless_ports, .offers = careless_offers, .start = careless_start,
};
static const struct weft_kind *const kinds[] = { &careless_kind, NULL };

const struct weft_module careless_module = { WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind), "careless",
	WEFT_VERSION, kinds };
