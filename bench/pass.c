/* SPDX-License-Identifier: BSD-2-Clause */
/* pass: the layer that does nothing, as a shared object built against the installed headers only: what bench/stack.c measures. */
#include <weft/blk.h>

struct pass {
	struct weft_object object;
	struct weft_blk blk, *lower;
};

static void pass_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	weft_hop_forward(hop, WEFT_CONTAINER(blk, struct pass, blk)->lower, 0);
}

static const struct weft_blk_ops ops = { .submit = pass_submit, .width = 1 };

static void pass_start(struct weft_object *object, struct weft_task *task)
{
	struct pass *pass = WEFT_CONTAINER(object, struct pass, object);

	weft_blk_like(&pass->blk, pass->lower);
	pass->blk.ops = &ops;
	task->done(task, 0);
}

static const struct weft_option options[] = { { 0 } };
static const struct weft_port ports[] = {
	{ .name = "lower", .wants = &weft_blk_iface, .min = 1, .max = 1, .offset = offsetof(struct pass, lower), .help = "data" },
	{ 0 },
};
static const struct weft_offer offers[] = { { &weft_blk_iface, offsetof(struct pass, blk) }, { 0 } };
static const struct weft_kind kind = {
	.name = "pass",
	.summary = "passes everything on",
	.size = sizeof(struct pass),
	.options = options,
	.ports = ports,
	.offers = offers,
	.start = pass_start,
};
WEFT_MODULE("pass", "1", &kind);
