/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * timeout: a request is answered within a while, whether or not the device below has answered it.
 *
 * What is below may be unable to let a request go: a disk that hangs keeps the hops and the memory that it was handed. So each
 * request goes down as one of our own: hops from a reservation of this layer, and a private copy of the data. A request whose time
 * is over is aborted; if that does not end it, it is answered, and its own half is left behind until the device returns it. With
 * copy=off nothing is copied, the client's own hops go down with a deadline, and a request ends when what is below lets it go.
 *
 * Invariants (of copy=on):
 *  T1  A client's request is in one place: in `waiting`, or joined with one of our own (each is the other's `other`), or answered.
 *  T2  Our own that is not joined and not free is abandoned: the device below has it. Nothing of the client's is reached from it.
 *  T3  What an abandoned request may still change is in `range` before its client is answered, and until it has returned. No
 *      request that overlaps it goes down on any reactor: a late write never overwrites a newer one.
 *  T4  `own` outlives what was abandoned: the stack below is not closed while there is any (shard_busy).
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <weft/reactor.h>

#include "core/blk.h"
#include "core/core.h"
#include "core/counter.h"
#include "devices/bounce.h"
#include "devices/device.h"
#include "env/env.h"

#define TIMEOUT_OWN 128u /* requests below at once, on each reactor: as many as a copy has chunks */

struct timeout {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *lower;
	uint64_t after_ns; /* changeable live */
	bool copy;
	atomic_uint changing; /* entries in all shards' `range` */
};

/* Read by all reactors; len 0: none. */
struct range {
	_Atomic uint64_t offset, len;
};

struct timeout_shard {
	uint64_t expired, left; /* counters, kept: requests whose time was over; those of them that were left below */
	struct range range[TIMEOUT_OWN];
	/* ---- */
	struct bounce_pool pool;
	char *own;
	unsigned made; /* of TIMEOUT_OWN */
	unsigned away; /* abandoned */
	struct weft_hop *free;
	struct weft_hop *waiting, **waiting_tail; /* for one of our own */
};
#define TIMEOUT_KEPT offsetof(struct timeout_shard, pool)

/* Behind a client's hop, and behind one of our own. */
struct half {
	struct weft_timer timer; /* client's: to its end */
	struct weft_hop *other;  /* T1, T2 */
	struct bounce bounce;    /* ours */
};

static struct timeout *timeout_of(const struct weft_blk *blk)
{
	return DEVICE_OF((struct weft_blk *)(uintptr_t)blk, struct timeout);
}

static struct half *half(struct weft_hop *hop)
{
	return weft_hop_request(hop);
}

static struct bounce *bounce_of(struct weft_hop *own)
{
	return &half(own)->bounce;
}

static uint32_t own_size(const struct weft_blk *blk)
{
	return blk->request_at + (((uint32_t)sizeof(struct half) + 127) & ~127u);
}

static unsigned own_index(const struct timeout_shard *shard, const struct weft_hop *own)
{
	size_t index = (size_t)((const char *)own - shard->own) / own_size(own->blk);

	WEFT_ASSERT(index < shard->made);
	return (unsigned)index;
}

static void part(struct weft_hop *hop, struct weft_hop *own)
{
	WEFT_ASSERT(half(hop)->other == own && half(own)->other == hop);
	half(hop)->other = half(own)->other = NULL;
}

/* ---- a client's time ---- */

static uint64_t after_ns(const struct timeout *timeout)
{
	return __atomic_load_n(&timeout->after_ns, __ATOMIC_RELAXED);
}

static void timer_set(struct weft_hop *hop, void (*fn)(void *self))
{
	uint64_t after = after_ns(timeout_of(hop->blk));

	half(hop)->timer = (struct weft_timer){ .fn = fn, .self = hop };
	if (after != 0)
		weft_timer_arm(weft_hop_reactor(hop), &half(hop)->timer, weft_reactor_now(weft_hop_reactor(hop)) + after);
}

static void answer(struct weft_hop *hop, int status)
{
	weft_timer_disarm(weft_hop_reactor(hop), &half(hop)->timer);
	weft_hop_complete(hop, status);
}

/* ---- what was left behind ---- */

static bool overlaps(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
	return a < b + b_len && b < a + a_len;
}

/* T3: by any reactor. */
static bool is_blocked(const struct weft_blk *blk, const struct weft_hop *hop)
{
	if (WEFT_LIKELY(atomic_load(&timeout_of(blk)->changing) == 0))
		return false;
	for (unsigned lane = 0; lane < CORE_REACTORS_MAX; lane++) {
		const struct weft_shard *there = shard_ever(blk, lane);
		const struct timeout_shard *shard = there != NULL ? (const void *)there->own : NULL;

		for (unsigned i = 0; shard != NULL && i < TIMEOUT_OWN; i++) {
			uint64_t len = atomic_load(&shard->range[i].len), offset = atomic_load(&shard->range[i].offset);

			if (overlaps(offset, len, hop->offset, hop->len) ||
				(hop->op == WEFT_COPY && overlaps(offset, len, hop->source, hop->len)))
				return true;
		}
	}
	return false;
}

static void abandon(struct weft_hop *hop, struct weft_hop *own)
{
	struct timeout_shard *shard = weft_hop_shard(hop);
	struct range *range = &shard->range[own_index(shard, own)];

	WEFT_ASSERT(device_child(own->blk, own, 0)->state == WEFT_HOP_ASKED && atomic_load(&range->len) == 0);
	part(hop, own);
	own->segs = NULL;
	shard->away++;
	counter_add(&shard->left, 1);
	if (!device_changes(hop->op))
		return;
	atomic_store(&range->offset, hop->offset);
	atomic_store(&range->len, hop->len);
	atomic_fetch_add(&timeout_of(hop->blk)->changing, 1);
}

static void returned(struct weft_hop *own)
{
	struct timeout_shard *shard = weft_hop_shard(own);
	struct range *range = &shard->range[own_index(shard, own)];

	WEFT_ASSERT(half(own)->other == NULL && shard->away > 0);
	shard->away--;
	if (!device_changes(own->op))
		return;
	WEFT_ASSERT(atomic_load(&timeout_of(own->blk)->changing) > 0);
	atomic_fetch_sub(&timeout_of(own->blk)->changing, 1);
	atomic_store(&range->len, 0);
}

/* ---- our own requests ---- */

static void own_done(struct weft_hop *own, struct weft_hop *child, int status);

/* Has its copy, or needs none. */
static void own_go(struct weft_hop *own)
{
	struct weft_hop *hop = half(own)->other, *child;
	struct bounce *bounce = bounce_of(own);

	WEFT_ASSERT(hop != NULL && half(hop)->other == own && !bounce->waiting);
	if (own->op == WEFT_WRITE || own->op == WEFT_COMPARE_WRITE || own->op == WEFT_STATUS)
		bounce_fill(own, bounce);
	child = weft_hop_down(own);
	child->len = hop->len;
	child->nsegs = 0;
	if (bounce->nsegs > 0)
		bounce_use(bounce, child);
	weft_hop_submit(child, timeout_of(own->blk)->lower, own_done);
}

/* Bytes of memory that go down and up with a request. */
static uint64_t data_of(const struct weft_hop *hop)
{
	uint64_t room;

	if (hop->op == WEFT_READ || hop->op == WEFT_WRITE)
		return hop->len;
	if (hop->op == WEFT_COMPARE_WRITE)
		return 2 * hop->len; /* what is compared, and what is written */
	room = hop->op == WEFT_STATUS ? device_status_room(hop) : 0;
	return room < BOUNCE_CHUNK ? room : BOUNCE_CHUNK;
}

static void join(struct timeout_shard *shard, struct weft_hop *hop, struct weft_hop *own)
{
	WEFT_ASSERT(half(hop)->other == NULL && half(own)->other == NULL);
	own->offset = hop->offset;
	own->len = data_of(hop);
	own->source = hop->source;
	own->segs = hop->segs;
	own->seg_skip = hop->seg_skip;
	own->nsegs = hop->nsegs;
	own->op = hop->op;
	own->flags = hop->flags;
	half(own)->other = hop;
	half(hop)->other = own;
	bounce_of(own)->nsegs = 0;
	bounce_of(own)->waiting = false;
	if (own->len == 0 || bounce_take(&shard->pool, own))
		own_go(own);
}

/* NULL: all are in use. */
static struct weft_hop *own_take(struct weft_hop *hop)
{
	struct timeout_shard *shard = weft_hop_shard(hop);
	struct weft_hop *own = shard->free;

	if (own != NULL) {
		shard->free = own->queue;
		return own;
	}
	if (shard->made == TIMEOUT_OWN)
		return NULL;
	own = (struct weft_hop *)(void *)(shard->own + (size_t)shard->made++ * own_size(hop->blk));
	own->blk = hop->blk;
	own->lane = hop->lane;
	own->state = WEFT_HOP_ASKED; /* for good: nobody above it asks */
	return own;
}

/* To be used by those that wait, or another time. */
static void own_give(struct weft_hop *own)
{
	struct timeout_shard *shard = weft_hop_shard(own);
	struct weft_hop *hop;

	WEFT_ASSERT(half(own)->other == NULL && !bounce_of(own)->waiting);
	if (bounce_of(own)->nsegs > 0)
		bounce_give(&shard->pool, own);
	while ((hop = shard->waiting) != NULL) {
		shard->waiting = hop->queue;
		if (shard->waiting == NULL)
			shard->waiting_tail = &shard->waiting;
		if (!is_blocked(hop->blk, hop)) {
			join(shard, hop, own);
			return;
		}
		answer(hop, -ETIMEDOUT);
	}
	own->queue = shard->free;
	shard->free = own;
}

/* Room for the copy has been waited for: what it overlaps may have been left behind meanwhile. */
static void own_ready(struct weft_hop *own)
{
	struct weft_hop *hop = half(own)->other;

	if (!is_blocked(own->blk, hop)) {
		own_go(own);
		return;
	}
	part(hop, own);
	answer(hop, -ETIMEDOUT);
	own_give(own);
}

static void own_done(struct weft_hop *own, struct weft_hop *child, int status)
{
	struct weft_hop *hop = half(own)->other;

	(void)child;
	if (WEFT_UNLIKELY(hop == NULL)) {
		returned(own);
	} else {
		if (status == 0 && (own->op == WEFT_READ || own->op == WEFT_STATUS))
			bounce_return(own, bounce_of(own));
		part(hop, own);
		answer(hop, status);
	}
	own_give(own);
}

/* ---- clients' requests ---- */

static void wait_no_more(struct timeout_shard *shard, struct weft_hop *hop)
{
	struct weft_hop **at = &shard->waiting;

	while (*at != hop) {
		WEFT_ASSERT(*at != NULL);
		at = &(*at)->queue;
	}
	*at = hop->queue;
	if (shard->waiting_tail == &hop->queue)
		shard->waiting_tail = at;
}

/* Is answered now, unless an abort ends it: then in this turn. */
static void give_up(struct weft_hop *hop, int status)
{
	struct timeout_shard *shard = weft_hop_shard(hop);
	struct weft_hop *own = half(hop)->other, *child;

	WEFT_ASSERT(hop->state == WEFT_HOP_ASKED && status < 0);
	if (own == NULL) {
		wait_no_more(shard, hop);
	} else if (bounce_of(own)->waiting) {
		bounce_cancel(&shard->pool, own);
		part(hop, own);
		own_give(own);
	} else {
		child = device_child(own->blk, own, 0);
		weft_hop_abort(child, status);
		if (child->state != WEFT_HOP_ASKED)
			return;
		abandon(hop, own);
	}
	answer(hop, status);
}

static void expired(void *self)
{
	struct weft_hop *hop = self;

	counter_add(&((struct timeout_shard *)weft_hop_shard(hop))->expired, 1);
	give_up(hop, -ETIMEDOUT);
}

static void copied_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct timeout_shard *shard = weft_hop_shard(hop);
	struct weft_hop *own;

	half(hop)->other = NULL;
	if (WEFT_UNLIKELY(is_blocked(blk, hop))) {
		weft_hop_complete(hop, -ETIMEDOUT);
		return;
	}
	timer_set(hop, expired);
	own = own_take(hop);
	if (own != NULL) {
		join(shard, hop, own);
		return;
	}
	hop->queue = NULL;
	*shard->waiting_tail = hop;
	shard->waiting_tail = &hop->queue;
}

static void copied_abort(struct weft_blk *blk, struct weft_hop *hop)
{
	WEFT_ASSERT(hop->blk == blk);
	(void)blk;
	give_up(hop, -ECANCELED);
}

static int copied_open(struct weft_blk *blk, void *own, struct weft_reactor *reactor, struct weft_why *why)
{
	struct weft_core *core = weft_reactor_core(reactor);
	struct timeout_shard *shard = own;
	uint64_t bytes = (uint64_t)TIMEOUT_OWN * own_size(blk);
	int error = bounce_open(&shard->pool, core, own_ready, bounce_of, why);

	WEFT_ASSERT(weft_reactor_here() == reactor && shard->away == 0);
	if (error != 0)
		return error;
	shard->waiting_tail = &shard->waiting;
	shard->own = env_pages_alloc(core->env, bytes, false);
	if (shard->own != NULL)
		return 0;
	bounce_close(&shard->pool);
	return weft_why(why, -ENOMEM, "timeout: no memory for %u requests of %u bytes: raise the memory limit, or use copy=off",
		TIMEOUT_OWN, own_size(blk));
}

static void copied_close(struct weft_blk *blk, void *own)
{
	struct timeout_shard *shard = own;

	WEFT_ASSERT(shard->away == 0 && shard->waiting == NULL);
	env_pages_free(blk->object->core->env, shard->own, (uint64_t)TIMEOUT_OWN * own_size(blk));
	bounce_close(&shard->pool);
}

static bool copied_busy(const struct weft_blk *blk, const void *own)
{
	(void)blk;
	return ((const struct timeout_shard *)own)->away > 0;
}

static const struct weft_blk_ops copied_ops = {
	.submit = copied_submit,
	.abort = copied_abort,
	.shard_open = copied_open,
	.shard_close = copied_close,
	.shard_busy = copied_busy,
	.goes_on_at = offsetof(struct half, other),
	.shard_size = sizeof(struct timeout_shard),
	.shard_kept = TIMEOUT_KEPT,
	.request_size = sizeof(struct half),
	.width = 1,
};

/* ---- copy=off: the core's deadline is all there is to it ---- */

static void passed_done(struct weft_hop *hop, struct weft_hop *child, int status)
{
	uint64_t us = hop->scratch[0];

	(void)child;
	if (us != 0 && weft_reactor_now(weft_hop_reactor(hop)) - hop->asked_at >= us * 1000)
		counter_add(&((struct timeout_shard *)weft_hop_shard(hop))->expired, 1);
	weft_hop_complete(hop, status);
}

static void passed_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	uint64_t us = (after_ns(timeout_of(blk)) + 999) / 1000;
	struct weft_hop *child = weft_hop_down(hop);

	WEFT_ASSERT(us <= UINT32_MAX);
	hop->scratch[0] = us;
	if (us != 0)
		weft_hop_deadline(child, (uint32_t)us);
	weft_hop_submit(child, timeout_of(blk)->lower, passed_done);
}

static const struct weft_blk_ops passed_ops = {
	.submit = passed_submit,
	.shard_size = TIMEOUT_KEPT,
	.shard_kept = TIMEOUT_KEPT,
	.width = 1,
};

/* ---- control ---- */

static void timeout_start(struct weft_object *object, struct weft_task *task)
{
	struct timeout *timeout = DEVICE_OF_OBJECT(object, struct timeout);
	struct weft_blk *blk = &timeout->blk;

	WEFT_ASSERT(timeout->lower != NULL);
	weft_blk_like(blk, timeout->lower);
	blk->ops = timeout->copy ? &copied_ops : &passed_ops;
	if (timeout->copy) {
		blk->max_len = BOUNCE_MAX_LEN;
		/* A compare-and-write moves twice its length, and is never split. */
		if (blk->max_compare > BOUNCE_MAX_LEN / 2)
			blk->max_compare = BOUNCE_MAX_LEN / 2;
		if (blk->block > BOUNCE_MAX_LEN / 2)
			blk->ops_can &= (uint16_t)~WEFT_OP_BIT(WEFT_COMPARE_WRITE);
	}
	device_end(task, 0);
}

static void timeout_lower_resized(struct weft_object *object)
{
	struct timeout *timeout = DEVICE_OF_OBJECT(object, struct timeout);

	WEFT_ASSERT(timeout->lower->size % timeout->blk.block == 0);
	weft_blk_resized(&timeout->blk, timeout->lower->size);
}

static void timeout_describe(const struct weft_object *object, weft_describe_put *put, void *self)
{
	const struct timeout *timeout = WEFT_CONTAINER(object, const struct timeout, object);
	uint64_t expired = 0, left = 0;
	char text[64];

	for (unsigned lane = 0; timeout->blk.shard != NULL && lane < CORE_REACTORS_MAX; lane++) {
		const struct weft_shard *there = shard_ever(&timeout->blk, lane);
		const struct timeout_shard *shard = there != NULL ? (const void *)there->own : NULL;

		if (shard == NULL)
			continue;
		expired += counter_read(&shard->expired);
		left += counter_read(&shard->left);
	}
	snprintf(text, sizeof(text), "%" PRIu64, expired);
	put(self, "expired", text);
	snprintf(text, sizeof(text), "%" PRIu64, left);
	put(self, "left below", text);
	snprintf(text, sizeof(text), "%u", atomic_load(&timeout->changing));
	put(self, "changes that may still come", text);
}

static const struct weft_option timeout_options[] = {
	{ .name = "after",
		.type = WEFT_OPTION_DURATION,
		.flags = WEFT_OPTION_LIVE,
		.offset = offsetof(struct timeout, after_ns),
		.fallback = "30s",
		.help = "how long a request may take; 0: as long as it wants",
		.max = 3600000000000ull },
	{ .name = "copy",
		.type = WEFT_OPTION_BOOL,
		.offset = offsetof(struct timeout, copy),
		.fallback = "on",
		.help = "work on copies, so that a disk that hangs holds nobody up; off: only what can be aborted ends in time" },
	{ 0 },
};

static const struct weft_port timeout_ports[] = {
	{ .name = "lower",
		.wants = &weft_blk_iface,
		.min = 1,
		.max = 1,
		.offset = offsetof(struct timeout, lower),
		.help = "the device that may hang" },
	{ 0 },
};

static const struct weft_offer timeout_offers[] = {
	{ &weft_blk_iface, offsetof(struct timeout, blk) },
	{ 0 },
};

extern const struct weft_kind timeout_kind;
const struct weft_kind timeout_kind = {
	.name = "timeout",
	.summary = "answers each request within a while, whatever the device below does",
	.size = sizeof(struct timeout),
	.options = timeout_options,
	.ports = timeout_ports,
	.offers = timeout_offers,
	.start = timeout_start,
	.lower_resized = timeout_lower_resized,
	.describe = timeout_describe,
};
