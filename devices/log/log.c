/* SPDX-License-Identifier: BSD-2-Clause */
/* log: a line for each request that has ended: what it was, how it ended, how long it took. Or only each
 * n-th, slow, or failed ones. */
#include <inttypes.h>
#include <stdio.h>
#include <weft/log.h>
#include <weft/reactor.h>

#include "core/core.h"
#include "devices/device.h"
#include "env/env.h"

struct log_device {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *lower;
	uint64_t every, slow_ns; /* changeable live */
	bool errors;
};

struct log_shard {
	uint64_t ended;
};

static struct log_device *log_of(struct weft_blk *blk)
{
	return DEVICE_OF(blk, struct log_device);
}

static bool wanted(const struct log_device *log, struct log_shard *shard, uint64_t took_ns, int status)
{
	uint64_t every = __atomic_load_n(&log->every, __ATOMIC_RELAXED);

	if (__atomic_load_n(&log->errors, __ATOMIC_RELAXED) && status == 0)
		return false;
	if (took_ns < __atomic_load_n(&log->slow_ns, __ATOMIC_RELAXED))
		return false;
	return every <= 1 || shard->ended++ % every == 0;
}

static const char *flags_text(unsigned flags)
{
	static const char *const text[] = { "", " fua", " no-unmap", " fua no-unmap", " fast", " fua fast",
		" no-unmap fast", " fua no-unmap fast" };

	return text[flags & 7];
}

static void log_done(struct weft_hop *self, struct weft_hop *child, int status)
{
	struct log_device *log = log_of(self->blk);
	uint64_t now = weft_reactor_now(weft_hop_reactor(self)), took_ns = now - self->asked_at;

	WEFT_ASSERT(took_ns <= now && status <= 0);
	(void)child;
	if (WEFT_UNLIKELY(wanted(log, weft_hop_shard(self), took_ns, status))) {
		char line[160];

		snprintf(line, sizeof(line), "%s: %s %" PRIu64 "@%" PRIu64 "%s: %s after %" PRIu64 " us",
			log->object.name, weft_op_name(self->op), self->len, self->offset,
			flags_text(self->flags), device_error_name(status), took_ns / 1000);
		/* Not weft_log: each line counts, none is to be held back by its rate limit. */
		env_log_line(log->object.core->env, status == 0 ? WEFT_LOG_INFO : WEFT_LOG_WARN, line);
	}
	weft_hop_complete(self, status);
}

static void log_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	weft_hop_submit(weft_hop_down(hop), log_of(blk)->lower, log_done);
}

static const struct weft_blk_ops log_ops = {
	.submit = log_submit, .shard_size = sizeof(struct log_shard), .width = 1
};

static void log_start(struct weft_object *object, struct weft_task *task)
{
	struct log_device *log = DEVICE_OF_OBJECT(object, struct log_device);

	WEFT_ASSERT(log->lower != NULL);
	weft_blk_like(&log->blk, log->lower);
	log->blk.ops = &log_ops;
	device_end(task, 0);
}

static void log_lower_resized(struct weft_object *object)
{
	struct log_device *log = DEVICE_OF_OBJECT(object, struct log_device);

	WEFT_ASSERT(log->lower->size % log->blk.block == 0);
	weft_blk_resized(&log->blk, log->lower->size);
}

static const struct weft_option log_options[] = {
	{ .name = "every",
		.type = WEFT_OPTION_UINT,
		.flags = WEFT_OPTION_LIVE,
		.offset = offsetof(struct log_device, every),
		.fallback = "1",
		.help = "only each n-th of them on each reactor",
		.min = 1,
		.max = UINT32_MAX },
	{ .name = "slow",
		.type = WEFT_OPTION_DURATION,
		.flags = WEFT_OPTION_LIVE,
		.offset = offsetof(struct log_device, slow_ns),
		.fallback = "0",
		.help = "only those that took at least so long" },
	{ .name = "errors",
		.type = WEFT_OPTION_BOOL,
		.flags = WEFT_OPTION_LIVE,
		.offset = offsetof(struct log_device, errors),
		.fallback = "off",
		.help = "only those that failed" },
	{ 0 },
};

static const struct weft_port log_ports[] = {
	{ .name = "lower",
		.wants = &weft_blk_iface,
		.min = 1,
		.max = 1,
		.offset = offsetof(struct log_device, lower),
		.help = "the device that is watched" },
	{ 0 },
};

static const struct weft_offer log_offers[] = {
	{ &weft_blk_iface, offsetof(struct log_device, blk) },
	{ 0 },
};

extern const struct weft_kind log_kind;
const struct weft_kind log_kind = {
	.name = "log",
	.summary = "a line for each request",
	.size = sizeof(struct log_device),
	.options = log_options,
	.ports = log_ports,
	.offers = log_offers,
	.start = log_start,
	.lower_resized = log_lower_resized,
};
