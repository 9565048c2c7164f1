/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * home: the device below lives at one reactor; requests of all others are carried there and back. The layer does nothing but say
 * so (weft_blk_ops.at_home): the waist carries (core/carrier.c).
 */
#include <inttypes.h>
#include <stdio.h>
#include <weft/export.h>

#include "core/core.h"
#include "devices/device.h"

struct home {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *lower;
	uint64_t reactor; /* 0: whichever is home to the fewest devices */
};

static void home_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	weft_hop_forward(hop, DEVICE_OF(blk, struct home)->lower, 0);
}

static const struct weft_blk_ops home_ops = { .submit = home_submit, .width = 1, .at_home = true };

static void home_start(struct weft_object *object, struct weft_task *task)
{
	struct home *home = DEVICE_OF_OBJECT(object, struct home);
	struct weft_core *core = object->core;
	int status = 0;

	WEFT_ASSERT(home->lower != NULL && core->reactors >= 2);
	if (home->reactor >= core->reactors)
		status = weft_why(&task->why, -EINVAL, "home: reactor=%" PRIu64 ": there are reactors 1 to %u: name one of them, "
			"or have more (weft serve --reactors)", home->reactor, core->reactors - 1);
	if (status == 0) {
		weft_blk_like(&home->blk, home->lower);
		home->blk.ops = &home_ops;
		home->blk.home = home->reactor != 0 ? core->reactor[home->reactor] : weft_reactor_pick_home(core);
	}
	device_end(task, status);
}

static void home_lower_resized(struct weft_object *object)
{
	struct home *home = DEVICE_OF_OBJECT(object, struct home);

	weft_blk_resized(&home->blk, home->lower->size);
}

static void home_describe(const struct weft_object *object, weft_describe_put *put, void *self)
{
	const struct home *home = DEVICE_OF_OBJECT(object, const struct home);
	char text[16];

	WEFT_ASSERT(home->blk.home != NULL);
	snprintf(text, sizeof(text), "%u", weft_reactor_lane(home->blk.home));
	put(self, "lives at reactor", text);
}

static const struct weft_option home_options[] = {
	{ .name = "reactor",
		.type = WEFT_OPTION_UINT,
		.offset = offsetof(struct home, reactor),
		.fallback = "0",
		.help = "which of the reactors, from 1 on; 0: the one that is home to the fewest devices" },
	{ 0 },
};

static const struct weft_port home_ports[] = {
	{ .name = "lower",
		.wants = &weft_blk_iface,
		.min = 1,
		.max = 1,
		.offset = offsetof(struct home, lower),
		.help = "the device that lives there" },
	{ 0 },
};

static const struct weft_offer home_offers[] = {
	{ &weft_blk_iface, offsetof(struct home, blk) },
	{ 0 },
};

extern const struct weft_kind home_kind;
const struct weft_kind home_kind = {
	.name = "home",
	.summary = "has the device below live at one reactor",
	.size = sizeof(struct home),
	.options = home_options,
	.ports = home_ports,
	.offers = home_offers,
	.start = home_start,
	.lower_resized = home_lower_resized,
	.describe = home_describe,
};
