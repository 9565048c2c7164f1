/* SPDX-License-Identifier: BSD-2-Clause */
/* delay: holds each request back for a while, then passes it on. */
#include "devices/device.h"

#include <weft/reactor.h>

struct delay {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *lower;
	uint64_t read_ns, write_ns, flush_ns, all_ns, jitter_ns; /* changeable live */
};

static struct delay *delay_of(struct weft_blk *blk)
{
	return DEVICE_OF(blk, struct delay);
}
static struct weft_timer *timer_of(struct weft_hop *hop)
{
	return weft_hop_request(hop);
}

static uint64_t now_set(const uint64_t *option)
{
	return __atomic_load_n(option, __ATOMIC_RELAXED);
}

static uint64_t delay_ns(const struct delay *delay, struct weft_hop *hop)
{
	uint64_t ns, jitter = now_set(&delay->jitter_ns);

	if (hop->op == WEFT_READ || hop->op == WEFT_STATUS)
		ns = now_set(&delay->read_ns);
	else
		ns = now_set(hop->op == WEFT_FLUSH ? &delay->flush_ns : &delay->write_ns);
	if (ns == 0)
		ns = now_set(&delay->all_ns);
	if (ns == 0 || jitter == 0)
		return ns;
	ns += weft_reactor_rand(weft_hop_reactor(hop)) % (2 * jitter + 1);
	return ns > jitter ? ns - jitter : 0;
}

static void delay_go(void *self)
{
	struct weft_hop *hop = self;

	WEFT_ASSERT(!timer_of(hop)->armed);
	weft_hop_forward(hop, delay_of(hop->blk)->lower, 0);
}

static void delay_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	uint64_t ns = delay_ns(delay_of(blk), hop);
	struct weft_timer *timer = timer_of(hop);

	*timer = (struct weft_timer){ .fn = delay_go, .self = hop };
	if (ns == 0)
		delay_go(hop);
	else
		weft_timer_arm(weft_hop_reactor(hop), timer, weft_reactor_now(weft_hop_reactor(hop)) + ns);
}

static void delay_abort(struct weft_blk *blk, struct weft_hop *hop)
{
	struct weft_timer *timer = timer_of(hop);

	WEFT_ASSERT(hop->state == WEFT_HOP_ASKED);
	if (!timer->armed) {
		device_abort_children(blk, hop);
		return;
	}
	weft_timer_disarm(weft_hop_reactor(hop), timer);
	weft_hop_complete(hop, -ECANCELED);
}

static const struct weft_blk_ops delay_ops = {
	.submit = delay_submit,
	.abort = delay_abort,
	.request_size = sizeof(struct weft_timer),
	.width = 1,
};

static void delay_start(struct weft_object *object, struct weft_task *task)
{
	struct delay *delay = DEVICE_OF_OBJECT(object, struct delay);

	WEFT_ASSERT(delay->lower != NULL);
	weft_blk_like(&delay->blk, delay->lower);
	delay->blk.ops = &delay_ops;
	device_end(task, 0);
}

static void delay_lower_resized(struct weft_object *object)
{
	struct delay *delay = DEVICE_OF_OBJECT(object, struct delay);

	WEFT_ASSERT(delay->lower->size % delay->blk.block == 0);
	weft_blk_resized(&delay->blk, delay->lower->size);
}

#define DELAY_MAX_NS 3600000000000ull
#define DELAY_OPTION(option, field, text) \
	{ \
		.name = option, .type = WEFT_OPTION_DURATION, .flags = WEFT_OPTION_LIVE, \
		.offset = offsetof(struct delay, field), .fallback = "0", .help = text, .max = DELAY_MAX_NS \
	}

static const struct weft_option delay_options[] = {
	DELAY_OPTION("all", all_ns, "for requests that have no time of their own below"),
	DELAY_OPTION("read", read_ns, "for reads and block status"),
	DELAY_OPTION("write", write_ns, "for writes, discards, zeroing and copies"),
	DELAY_OPTION("flush", flush_ns, "for flushes"),
	DELAY_OPTION("jitter", jitter_ns, "each time is up to that much shorter or longer, evenly"),
	{ 0 },
};

static const struct weft_port delay_ports[] = {
	{ .name = "lower",
		.wants = &weft_blk_iface,
		.min = 1,
		.max = 1,
		.offset = offsetof(struct delay, lower),
		.help = "the device that is to look slower" },
	{ 0 },
};

static const struct weft_offer delay_offers[] = {
	{ &weft_blk_iface, offsetof(struct delay, blk) },
	{ 0 },
};

extern const struct weft_kind delay_kind;
const struct weft_kind delay_kind = {
	.name = "delay",
	.summary = "holds each request back for a while",
	.size = sizeof(struct delay),
	.options = delay_options,
	.ports = delay_ports,
	.offers = delay_offers,
	.start = delay_start,
	.lower_resized = delay_lower_resized,
};
