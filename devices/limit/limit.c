/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * limit: requests and bytes per second.
 *
 * The rate holds for all reactors together, and none waits for another: a bucket is one number, the time from
 * which the next request may go, and a request moves it on by what it costs (compare-and-swap). Each reactor
 * keeps those that must wait in order, reads and writes apart; only the first of a queue has reserved its
 * time, so that a changed rate is felt at once and reactors take turns. A home for all requests would cost
 * two messages for each; fixed shares would waste what an idle reactor does not use.
 *
 * Invariants of a queue: the timer is armed if and only if it holds something; `at_ns` counts if `reserved`.
 */
#include <stdatomic.h>
#include <weft/reactor.h>

#include "devices/device.h"

/* A waiting queue looks again at least so often whether the limits were changed. */
#define LIMIT_LOOK_NS 100000000ull
#define LIMIT_COST_MAX 1e15

enum { LIMIT_ALL, LIMIT_READ, LIMIT_WRITE, LIMIT_CLASSES };

struct limit_bucket {
	_Atomic double cost_ns; /* of one request, or of one byte; 0: no limit */
	_Atomic uint64_t next_ns;
};

struct limit {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *lower;
	double iops[LIMIT_CLASSES];
	uint64_t bps[LIMIT_CLASSES], burst_ns;
	_Atomic uint64_t burst_now_ns;
	atomic_uint generation; /* of the limits */
	struct limit_bucket requests[LIMIT_CLASSES], bytes[LIMIT_CLASSES];
};

struct limit_queue {
	struct limit *limit;
	struct weft_reactor *reactor;
	struct weft_hop *head, **tail;
	struct weft_timer timer;
	uint64_t at_ns;
	unsigned generation;
	bool reserved;
};

struct limit_shard {
	struct limit_queue queue[LIMIT_CLASSES]; /* by class; the first is not used */
};

static struct limit *limit_of(struct weft_blk *blk)
{
	return DEVICE_OF(blk, struct limit);
}

static unsigned class_of(const struct weft_hop *hop)
{
	return hop->op == WEFT_READ || hop->op == WEFT_STATUS ? LIMIT_READ : LIMIT_WRITE;
}

static uint64_t bytes_of(const struct weft_hop *hop)
{
	return hop->op == WEFT_READ || hop->op == WEFT_WRITE || hop->op == WEFT_COPY ||
			hop->op == WEFT_COMPARE_WRITE
		? hop->len
		: 0;
}

/* Takes `units` from the bucket: when they may be used. */
static uint64_t reserve(struct limit_bucket *bucket, uint64_t units, uint64_t earliest)
{
	double cost = atomic_load_explicit(&bucket->cost_ns, memory_order_relaxed) * (double)units;
	uint64_t next = atomic_load_explicit(&bucket->next_ns, memory_order_relaxed), at;

	if (cost <= 0)
		return 0;
	do
		at = next > earliest ? next : earliest;
	while (!atomic_compare_exchange_weak_explicit(&bucket->next_ns, &next,
		at + (uint64_t)(cost < LIMIT_COST_MAX ? cost : LIMIT_COST_MAX), memory_order_relaxed,
		memory_order_relaxed));
	return at;
}

static uint64_t reserve_all(struct limit *limit, const struct weft_hop *hop, uint64_t now)
{
	uint64_t burst = atomic_load_explicit(&limit->burst_now_ns, memory_order_relaxed);
	uint64_t earliest = now > burst ? now - burst : 0, bytes = bytes_of(hop);
	const unsigned classes[] = { LIMIT_ALL, class_of(hop) };
	uint64_t at = 0;

	WEFT_ASSERT(classes[1] > LIMIT_ALL && classes[1] < LIMIT_CLASSES);
	for (unsigned i = 0; i < WEFT_COUNT(classes); i++) {
		uint64_t request_at = reserve(&limit->requests[classes[i]], 1, earliest);
		uint64_t bytes_at = reserve(&limit->bytes[classes[i]], bytes, earliest);

		at = request_at > at ? request_at : at;
		at = bytes_at > at ? bytes_at : at;
	}
	return at;
}

/* Lets go what may go, and sets the timer for the rest. */
static void queue_run(void *self)
{
	struct limit_queue *queue = self;
	uint64_t now = weft_reactor_now(queue->reactor);

	WEFT_ASSERT(!queue->timer.armed);
	while (queue->head != NULL) {
		struct weft_hop *hop = queue->head;
		unsigned generation = atomic_load_explicit(&queue->limit->generation, memory_order_acquire);

		if (!queue->reserved || queue->generation != generation) {
			queue->at_ns = reserve_all(queue->limit, hop, now);
			queue->generation = generation;
			queue->reserved = true;
		}
		if (queue->at_ns > now) {
			uint64_t wait = queue->at_ns - now;
			weft_timer_arm(queue->reactor, &queue->timer,
				now + (wait < LIMIT_LOOK_NS ? wait : LIMIT_LOOK_NS));
			return;
		}
		queue->reserved = false;
		queue->head = hop->queue;
		if (queue->head == NULL)
			queue->tail = &queue->head;
		weft_hop_forward(hop, queue->limit->lower, 0);
	}
}

static struct limit_queue *queue_of(const struct weft_hop *hop)
{
	return &((struct limit_shard *)weft_hop_shard(hop))->queue[class_of(hop)];
}

static void limit_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct limit_queue *queue = queue_of(hop);
	bool first = queue->head == NULL;

	if (hop->op == WEFT_FLUSH) {
		weft_hop_forward(hop, limit_of(blk)->lower, 0);
		return;
	}
	hop->queue = NULL;
	*queue->tail = hop;
	queue->tail = &hop->queue;
	if (first)
		queue_run(queue);
}

static void limit_abort(struct weft_blk *blk, struct weft_hop *hop)
{
	struct limit_queue *queue = queue_of(hop);
	struct weft_hop **at = &queue->head;

	WEFT_ASSERT(hop->state == WEFT_HOP_ASKED && weft_hop_reactor(hop) == queue->reactor);
	while (*at != NULL && *at != hop)
		at = &(*at)->queue;
	if (*at == NULL) {
		device_abort_children(blk, hop);
		return;
	}
	*at = hop->queue;
	if (queue->tail == &hop->queue)
		queue->tail = at;
	if (queue->head == NULL) {
		weft_timer_disarm(queue->reactor, &queue->timer);
		queue->reserved = false;
	}
	weft_hop_complete(hop, -ECANCELED);
}

static int limit_shard_open(
	struct weft_blk *blk, void *shard, struct weft_reactor *reactor, struct weft_why *why)
{
	struct limit_shard *mine = shard;

	WEFT_ASSERT(weft_reactor_here() == reactor);
	(void)why;
	for (unsigned i = 0; i < LIMIT_CLASSES; i++) {
		struct limit_queue *queue = &mine->queue[i];

		queue->limit = limit_of(blk);
		queue->reactor = reactor;
		queue->tail = &queue->head;
		queue->timer.fn = queue_run;
		queue->timer.self = queue;
	}
	return 0;
}

static void limit_shard_close(struct weft_blk *blk, void *shard)
{
	struct limit_shard *mine = shard;

	(void)blk;
	for (unsigned i = 0; i < LIMIT_CLASSES; i++)
		WEFT_ASSERT(mine->queue[i].head == NULL && !mine->queue[i].timer.armed);
}

static const struct weft_blk_ops limit_ops = {
	.submit = limit_submit,
	.abort = limit_abort,
	.shard_open = limit_shard_open,
	.shard_close = limit_shard_close,
	.shard_size = sizeof(struct limit_shard),
	.width = 1,
};

/* ---- control ---- */

static void bucket_set(struct limit_bucket *bucket, double per_second)
{
	atomic_store(&bucket->cost_ns, per_second > 0 ? 1e9 / per_second : 0);
	atomic_store(&bucket->next_ns, 0);
}

static void limit_publish(struct limit *limit)
{
	for (unsigned i = 0; i < LIMIT_CLASSES; i++) {
		bucket_set(&limit->requests[i], limit->iops[i]);
		bucket_set(&limit->bytes[i], (double)limit->bps[i]);
	}
	atomic_store(&limit->burst_now_ns, limit->burst_ns);
	atomic_fetch_add(&limit->generation, 1);
}

static void limit_start(struct weft_object *object, struct weft_task *task)
{
	struct limit *limit = DEVICE_OF_OBJECT(object, struct limit);

	WEFT_ASSERT(limit->lower != NULL);
	weft_blk_like(&limit->blk, limit->lower);
	limit->blk.ops = &limit_ops;
	limit_publish(limit);
	device_end(task, 0);
}

static int limit_changed(struct weft_object *object, const struct weft_option *option, struct weft_why *why)
{
	(void)option, (void)why;
	limit_publish(DEVICE_OF_OBJECT(object, struct limit));
	return 0;
}

static void limit_lower_resized(struct weft_object *object)
{
	struct limit *limit = DEVICE_OF_OBJECT(object, struct limit);

	WEFT_ASSERT(limit->lower->size % limit->blk.block == 0);
	weft_blk_resized(&limit->blk, limit->lower->size);
}

#define LIMIT_OPTION(option, kind, field, text, ...) \
	{ \
		.name = option, .type = WEFT_OPTION_##kind, .flags = WEFT_OPTION_LIVE, \
		.offset = offsetof(struct limit, field), .help = text, __VA_ARGS__ \
	}

static const struct weft_option limit_options[] = {
	LIMIT_OPTION("iops", RATE, iops[LIMIT_ALL], "requests per second; 0: no limit", .fallback = "0"),
	LIMIT_OPTION("bps", SIZE, bps[LIMIT_ALL], "bytes per second; 0: no limit", .fallback = "0"),
	LIMIT_OPTION("read-iops", RATE, iops[LIMIT_READ], "reads per second; 0: no limit", .fallback = "0"),
	LIMIT_OPTION(
		"read-bps", SIZE, bps[LIMIT_READ], "bytes read per second; 0: no limit", .fallback = "0"),
	LIMIT_OPTION(
		"write-iops", RATE, iops[LIMIT_WRITE], "writes per second; 0: no limit", .fallback = "0"),
	LIMIT_OPTION("write-bps", SIZE, bps[LIMIT_WRITE], "bytes written per second; 0: no limit",
		.fallback = "0"),
	LIMIT_OPTION("burst", DURATION, burst_ns,
		"for how long unused rate is saved up, to be used at once later", .fallback = "10ms",
		.max = 3600000000000ull),
	{ 0 },
};

static const struct weft_port limit_ports[] = {
	{ .name = "lower",
		.wants = &weft_blk_iface,
		.min = 1,
		.max = 1,
		.offset = offsetof(struct limit, lower),
		.help = "the device that is used at a limited rate" },
	{ 0 },
};

static const struct weft_offer limit_offers[] = {
	{ &weft_blk_iface, offsetof(struct limit, blk) },
	{ 0 },
};

extern const struct weft_kind limit_kind;
const struct weft_kind limit_kind = {
	.name = "limit",
	.summary = "requests and bytes per second",
	.size = sizeof(struct limit),
	.options = limit_options,
	.ports = limit_ports,
	.offers = limit_offers,
	.start = limit_start,
	.changed = limit_changed,
	.lower_resized = limit_lower_resized,
};
