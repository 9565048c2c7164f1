/* SPDX-License-Identifier: BSD-2-Clause */
/* A filter that breaks one promise. */
#include "sim/careless.h"

#include <weft/blk.h>

enum { CARELESS_FLUSH, CARELESS_FUA };

struct careless {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *lower;
	uint32_t what;
};

static void careless_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct careless *careless = WEFT_CONTAINER(blk, struct careless, blk);
	struct weft_hop *child;

	if (hop->op == WEFT_FLUSH && careless->what == CARELESS_FLUSH) {
		weft_hop_complete(hop, 0);
		return;
	}
	child = weft_hop_down(hop);
	if (careless->what == CARELESS_FUA)
		child->flags &= (uint8_t)~WEFT_FUA;
	weft_hop_submit(child, careless->lower, weft_hop_pass);
}

static const struct weft_blk_ops careless_ops = { .submit = careless_submit, .width = 1 };

static void careless_start(struct weft_object *object, struct weft_task *task)
{
	struct careless *careless = WEFT_CONTAINER(object, struct careless, object);

	weft_blk_like(&careless->blk, careless->lower);
	careless->blk.ops = &careless_ops;
	task->done(task, 0);
}

static const struct weft_option careless_options[] = {
	{ .name = "what", .type = WEFT_OPTION_CHOICE, .flags = WEFT_OPTION_REQUIRED, .offset = offsetof(struct careless, what),
	  .help = "which promise is broken", .choices = "flush|fua" },
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
