/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The waist between layers, and unwinding.
 *
 * Invariants:
 *  H1  A hop goes IDLE -> READY (fork) -> ASKED (submit) -> ENDED (complete) -> IDLE (delivered); never otherwise.
 *  H2  Delivery never happens inside submit or complete: only hops_unwind calls `done`.
 *  H3  A hop that a device sees has an operation and flags that the device declared, a range inside it, in whole blocks, and
 * memory
 *      aligned as declared.
 *  H4  What a shard has submitted is what it has counted as ended and its hops that are ASKED or ENDED.
 *  H5  A hop is delivered on the reactor of the layer that asked.
 */
#include <errno.h>
#include <string.h>

#include "core/blk.h"
#include "core/counter.h"
#include "core/histogram.h"

static const uint8_t stat_class[WEFT_OP_COUNT] = {
	[WEFT_READ] = WEFT_STAT_READ, [WEFT_WRITE] = WEFT_STAT_WRITE, [WEFT_FLUSH] = WEFT_STAT_FLUSH,
	[WEFT_DISCARD] = WEFT_STAT_OTHER, [WEFT_ZERO] = WEFT_STAT_OTHER, [WEFT_COMPARE_WRITE] = WEFT_STAT_WRITE,
	[WEFT_COPY] = WEFT_STAT_OTHER, [WEFT_STATUS] = WEFT_STAT_OTHER,
};

static const uint8_t flags_of_op[WEFT_OP_COUNT] = {
	[WEFT_WRITE] = WEFT_FUA, [WEFT_DISCARD] = WEFT_FUA, [WEFT_ZERO] = WEFT_FUA | WEFT_NO_UNMAP | WEFT_FAST,
	[WEFT_COMPARE_WRITE] = WEFT_FUA, [WEFT_COPY] = WEFT_FUA,
};

/* Operations that change what the device holds, and those that move bytes to or from segments. */
#define OPS_CHANGING (WEFT_OP_BIT(WEFT_WRITE) | WEFT_OP_BIT(WEFT_DISCARD) | WEFT_OP_BIT(WEFT_ZERO) | \
	WEFT_OP_BIT(WEFT_COMPARE_WRITE) | WEFT_OP_BIT(WEFT_COPY))
#define OPS_DATA (WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE) | WEFT_OP_BIT(WEFT_COMPARE_WRITE))

void hop_list_init(struct hop_list *list)
{
	list->head = NULL;
	list->tail = &list->head;
}

static inline void hop_list_add(struct hop_list *list, struct weft_hop *hop)
{
	hop->queue = NULL;
	*list->tail = hop;
	list->tail = &hop->queue;
}

/* seg_skip, nsegs, op and flags in one word; state, lane, status and deadline in another: one load and one store each, since
 * loads that
 * span several recent stores are slow. */
_Static_assert(offsetof(struct weft_hop, seg_skip) == 56 && offsetof(struct weft_hop, source) == 64, "one word");
_Static_assert(offsetof(struct weft_hop, state) == 88 && offsetof(struct weft_hop, scratch) == 96, "one word");

static inline struct weft_hop *prepare(struct weft_hop *self, struct weft_hop *child)
{
	uint64_t word = WEFT_HOP_READY | (uint64_t)self->lane << 8;

	WEFT_ASSERT(child->state == WEFT_HOP_IDLE);
	child->up = self;
	child->offset = self->offset;
	child->len = self->len;
	child->segs = self->segs;
	memcpy(&child->seg_skip, &self->seg_skip, sizeof(uint64_t));
	child->source = self->source;
	child->reactor = self->reactor;
	memcpy(&child->state, &word, sizeof(word));
	return child;
}

struct weft_hop *weft_hop_fork(struct weft_hop *self, unsigned index)
{
	return prepare(self, hop_child(self, index));
}

struct weft_hop *weft_hop_down(struct weft_hop *self)
{
	return prepare(self, (struct weft_hop *)(void *)((char *)self + self->blk->child_at));
}

/* Each piece begins at a multiple of `align` and is whole blocks: a device that cares about one cares about the other. */
static bool memory_is_aligned(const struct weft_hop *hop, uint32_t align, uint32_t block)
{
	uintptr_t bits = (uintptr_t)hop->segs[0].base + hop->seg_skip;
	uint64_t left = hop->len, skip = hop->seg_skip, lengths = 0;

	if (WEFT_LIKELY(hop->nsegs == 1))
		return (bits & (align - 1)) == 0;
	bits = 0;
	for (unsigned i = 0; left > 0; i++) {
		WEFT_ASSERT(i < hop->nsegs);
		uint64_t here = hop->segs[i].len;
		if (skip >= here) {
			skip -= here;
			continue;
		}
		here -= skip;
		if (here > left)
			here = left;
		bits |= (uintptr_t)hop->segs[i].base + skip;
		lengths |= here;
		skip = 0;
		left -= here;
	}
	return (bits & (align - 1)) == 0 && (lengths & (block - 1)) == 0;
}

/* H3 at one glance: what the device takes as it is. Everything else is sorted out by waist_slow. */
static inline bool takes_as_is(const struct weft_blk *blk, const struct weft_hop *hop)
{
	uint64_t size = __atomic_load_n(&blk->size, __ATOMIC_RELAXED), end;

	if (hop->op >= WEFT_OP_COUNT || (blk->deny[hop->op] & (hop->flags | 0x80)) != 0)
		return false;
	if (((hop->offset | hop->len) & (blk->block - 1)) != 0 || hop->nsegs > blk->max_segs)
		return false;
	if (__builtin_add_overflow(hop->offset, hop->len, &end) || end > size)
		return false;
	if ((WEFT_OP_BIT(hop->op) & OPS_DATA) != 0)
		return hop->len - 1 < blk->max_len && (blk->align <= 1 || memory_is_aligned(hop, blk->align, blk->block));
	if (hop->op == WEFT_FLUSH)
		return (hop->offset | hop->len) == 0;
	if (hop->op == WEFT_COPY && ((hop->source & (blk->block - 1)) != 0 || hop->source > size ||
			hop->len > size - hop->source))
		return false;
	return hop->len > 0;
}

/* A request that no device could take: the reason as -errno; 0: it is sound, only the device needs help with it. */
static int refusal(const struct weft_blk *blk, const struct weft_hop *hop)
{
	unsigned bit = WEFT_OP_BIT(hop->op);
	uint64_t size = __atomic_load_n(&blk->size, __ATOMIC_RELAXED);

	if (hop->op >= WEFT_OP_COUNT || (hop->flags & ~flags_of_op[hop->op]) != 0)
		return -EINVAL;
	if ((bit & OPS_CHANGING) != 0 && blk->readonly)
		return -EROFS;
	if (hop->op == WEFT_FLUSH)
		return hop->len == 0 && hop->offset == 0 ? 0 : -EINVAL;
	if (((hop->offset | hop->len) & (blk->block - 1)) != 0)
		return -EINVAL;
	if (hop->offset > size || hop->len > size - hop->offset)
		return -ERANGE;
	if (hop->op == WEFT_COPY && ((hop->source & (blk->block - 1)) != 0 || hop->source > size ||
			hop->len > size - hop->source))
		return -ERANGE;
	if ((bit & OPS_DATA) != 0 && hop->len > WEFT_MAX_LEN)
		return -EMSGSIZE;
	/* Compare-and-write is atomic or it is nothing: it is never taken to pieces. */
	if (hop->op == WEFT_COMPARE_WRITE || (hop->op == WEFT_DISCARD && (blk->ops_can & bit) == 0))
		return -EOPNOTSUPP;
	if (hop->op == WEFT_ZERO && (hop->flags & WEFT_FAST) != 0 && (blk->flags_can & WEFT_FAST) == 0)
		return -EOPNOTSUPP;
	return 0;
}

/* Refuses, completes what asks for nothing, or hands over to the adapter. */
static void waist_slow(struct weft_blk *blk, struct weft_hop *hop, struct weft_shard *shard)
{
	int status = refusal(blk, hop);

	if (status != 0) {
		counter_add(&shard->refused, 1);
		weft_hop_complete(hop, status);
	} else if (hop->len == 0 && hop->op != WEFT_FLUSH) {
		weft_hop_complete(hop, 0);
	} else {
		WEFT_ASSERT(blk->adapter != NULL && hop->up->blk != blk->adapter);
		counter_add(&shard->submitted, (uint64_t)-1);
		hop->blk = blk->adapter;
		counter_add(&hop->blk->shard[hop->lane]->submitted, 1);
		hop->blk->ops->submit(hop->blk, hop);
	}
}

static void watch_deadline(struct weft_hop *hop)
{
	struct weft_reactor *reactor = hop->reactor;

	WEFT_ASSERT(hop->deadline_us != 0 && hop->state == WEFT_HOP_ASKED);
	reactor->deadlines++;
	reactor_deadline(reactor, hop->asked_at + (uint64_t)hop->deadline_us * 1000);
}

void weft_hop_submit(struct weft_hop *child, struct weft_blk *blk, weft_hop_done *done)
{
	struct weft_reactor *reactor = child->reactor;
	struct weft_shard *shard;

	WEFT_ASSERT(child->state == WEFT_HOP_READY);
	child->blk = blk;
	child->done = done;
	child->asked_at = reactor->now;
	child->status = 0;
	child->state = WEFT_HOP_ASKED;
	if (WEFT_UNLIKELY(child->deadline_us != 0))
		watch_deadline(child);
	if (WEFT_UNLIKELY(blk->carrier != NULL && reactor != blk->home)) {
		child->blk = blk = blk->carrier;
		shard = blk->shard[child->lane];
		counter_add(&shard->submitted, 1);
		blk->ops->submit(blk, child);
		return;
	}
	shard = blk->shard[child->lane];
	WEFT_ASSERT(shard != NULL);
	counter_add(&shard->submitted, 1);
	if (WEFT_LIKELY(takes_as_is(blk, child)))
		blk->ops->submit(blk, child);
	else
		waist_slow(blk, child, shard);
}

void weft_hop_complete(struct weft_hop *self, int status)
{
	WEFT_ASSERT(self->state == WEFT_HOP_ASKED && status <= 0);
	/* An abort left its reason: what was cancelled because of it tells that reason. */
	self->status = WEFT_UNLIKELY(self->status != 0 && status == -ECANCELED) ? self->status : (int16_t)status;
	self->state = WEFT_HOP_ENDED;
	hop_list_add(&self->reactor->ended, self);
}

void weft_hop_pass(struct weft_hop *self, struct weft_hop *child, int status)
{
	(void)child;
	weft_hop_complete(self, status);
}

static inline void account(struct weft_hop *hop)
{
	struct weft_shard *shard = hop->blk->shard[hop->lane];
	unsigned class = hop->op < WEFT_OP_COUNT ? stat_class[hop->op] : WEFT_STAT_OTHER;

	counter_add(&shard->bytes[class], hop->len);
	counter_add(&shard->latency[class].count[histogram_bucket(hop->reactor->now - hop->asked_at)], 1);
	if (WEFT_UNLIKELY(hop->status != 0))
		counter_add(&shard->errors[class], 1);
	if (WEFT_UNLIKELY(hop->deadline_us != 0)) {
		WEFT_ASSERT(hop->reactor->deadlines > 0);
		hop->reactor->deadlines--;
	}
}

/* From an ended hop upwards, as long as the layers above have nothing to do. */
static inline void deliver(struct weft_reactor *reactor, struct weft_hop *hop)
{
	for (;;) {
		struct weft_hop *up = hop->up;
		int status = hop->status;
		weft_hop_done *done = hop->done;

		WEFT_ASSERT(hop->state == WEFT_HOP_ENDED);
		if (hop->reactor == reactor) /* else it was counted at home, and has just come back */
			account(hop);
		if (WEFT_UNLIKELY(up->reactor != reactor)) {
			carrier_leaves(reactor, hop);
			reactor_post_hop(up->reactor, hop);
			return;
		}
		hop->state = WEFT_HOP_IDLE;
		if (done != weft_hop_pass) {
			done(up, hop, status);
			return;
		}
		WEFT_ASSERT(up->state == WEFT_HOP_ASKED);
		up->status = WEFT_UNLIKELY(up->status != 0 && status == -ECANCELED) ? up->status : (int16_t)status;
		up->state = WEFT_HOP_ENDED;
		hop = up;
	}
}

bool hops_unwind(struct weft_reactor *reactor)
{
	bool any = false;

	while (reactor->ended.head != NULL) {
		struct weft_hop *hop = reactor->ended.head;

		reactor->ended.head = hop->queue;
		if (hop->queue == NULL)
			reactor->ended.tail = &reactor->ended.head;
		else
			__builtin_prefetch(hop->queue);
		deliver(reactor, hop);
		any = true;
	}
	return any;
}

void hop_arrived(struct weft_reactor *reactor, struct weft_hop *hop)
{
	if (hop->state == WEFT_HOP_READY) {
		WEFT_ASSERT(hop->reactor == reactor);
		carrier_arrived(reactor, hop);
		weft_hop_submit(hop, hop->blk, hop->done);
	} else {
		WEFT_ASSERT(hop->state == WEFT_HOP_ENDED && hop->up->reactor == reactor);
		deliver(reactor, hop);
	}
}

void weft_hop_abort(struct weft_hop *hop, int status)
{
	WEFT_ASSERT(status < 0);
	if (__atomic_load_n(&hop->state, __ATOMIC_RELAXED) != WEFT_HOP_ASKED || hop->status != 0)
		return; /* ended meanwhile, or asked before */
	hop->status = (int16_t)status;
	if (hop->blk->ops->abort != NULL) {
		hop->blk->ops->abort(hop->blk, hop);
		return;
	}
	for (unsigned i = 0; i < hop->blk->ops->width; i++) {
		struct weft_hop *child = hop_child(hop, i);
		if (child->state == WEFT_HOP_ASKED)
			weft_hop_abort(child, -ECANCELED);
	}
}

uint64_t hop_expire(struct weft_hop *hop, uint64_t now_ns)
{
	uint64_t earliest = ENV_FOREVER;

	if (hop->deadline_us != 0 && hop->up != NULL && hop->status == 0) {
		uint64_t at = hop->asked_at + (uint64_t)hop->deadline_us * 1000;

		if (at > now_ns)
			earliest = at;
		else
			weft_hop_abort(hop, -ETIMEDOUT);
	}
	for (unsigned i = 0; i < hop->blk->ops->width; i++) {
		struct weft_hop *child = hop_child(hop, i);
		uint64_t below;

		if (child->state != WEFT_HOP_ASKED || child->reactor != hop->reactor)
			continue;
		below = hop_expire(child, now_ns);
		if (below < earliest)
			earliest = below;
	}
	return earliest;
}

void weft_hop_gather(struct weft_hop *self)
{
	struct weft_shard *shard = self->blk->shard[self->lane];

	WEFT_ASSERT(self->blk->ops->commit != NULL);
	if (shard->gathered)
		return;
	shard->gathered = true;
	shard->gather_next = self->reactor->gathered;
	self->reactor->gathered = shard;
}

void *weft_hop_shard(const struct weft_hop *self)
{
	return self->blk->shard[self->lane]->own;
}
