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
 *  H6  A hop that has yielded is ASKED, and in its shard's list; such a shard, and no other, is in its reactor's. In a turn each
 *      shard goes on with one of them, after all else has been answered, and the next time with another: so a turn does about
 *      WEFT_TURN_BYTES of long requests for each device, whatever it is asked.
 */
#include <errno.h>
#include <string.h>

#include "core/blk.h"
#include "core/counter.h"
#include "core/histogram.h"

static const uint8_t stat_class[UINT8_MAX + 1] = {
	[WEFT_OP_COUNT ... UINT8_MAX] = WEFT_STAT_OTHER, /* refused */
	[WEFT_READ] = WEFT_STAT_READ, [WEFT_WRITE] = WEFT_STAT_WRITE, [WEFT_FLUSH] = WEFT_STAT_FLUSH,
	[WEFT_DISCARD] = WEFT_STAT_OTHER, [WEFT_ZERO] = WEFT_STAT_OTHER, [WEFT_COMPARE_WRITE] = WEFT_STAT_WRITE,
	[WEFT_COPY] = WEFT_STAT_OTHER, [WEFT_STATUS] = WEFT_STAT_OTHER,
};

static const uint8_t flags_of_op[WEFT_OP_COUNT] = {
	[WEFT_WRITE] = WEFT_FUA, [WEFT_DISCARD] = WEFT_FUA, [WEFT_ZERO] = WEFT_FUA | WEFT_NO_UNMAP | WEFT_FAST,
	[WEFT_COMPARE_WRITE] = WEFT_FUA, [WEFT_COPY] = WEFT_FUA,
};

_Static_assert(CORE_REACTORS_MAX <= 128, "a lane has 7 bits");

/* Operations that change what the device holds, and those that move bytes to or from segments. */
#define OPS_CHANGING (WEFT_OP_BIT(WEFT_WRITE) | WEFT_OP_BIT(WEFT_DISCARD) | WEFT_OP_BIT(WEFT_ZERO) | \
	WEFT_OP_BIT(WEFT_COMPARE_WRITE) | WEFT_OP_BIT(WEFT_COPY))
#define OPS_READ_WRITE (WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE))
#define OPS_DATA (OPS_READ_WRITE | WEFT_OP_BIT(WEFT_COMPARE_WRITE))

void hop_list_init(struct hop_list *list)
{
	list->head = NULL;
	list->tail = &list->head;
}

static inline void hop_list_add(struct hop_list *list, struct weft_hop *hop)
{
	hop->next_ended = NULL;
	*list->tail = hop;
	list->tail = &hop->next_ended;
}

void hop_queue_add(struct hop_list *list, struct weft_hop *hop)
{
	WEFT_ASSERT(*list->tail == NULL);
	hop->queue = NULL;
	*list->tail = hop;
	list->tail = &hop->queue;
}

struct weft_hop *hop_queue_take(struct hop_list *list)
{
	struct weft_hop *hop = list->head;

	if (hop != NULL)
		hop_queue_remove(list, hop);
	return hop;
}

bool hop_queue_remove(struct hop_list *list, struct weft_hop *hop)
{
	for (struct weft_hop **link = &list->head; *link != NULL; link = &(*link)->queue) {
		if (*link != hop)
			continue;
		*link = hop->queue;
		if (*link == NULL)
			list->tail = link;
		return true;
	}
	return false;
}

/* Each piece begins at a multiple of `align` and is whole blocks: a device that cares about one cares about the other. */
static bool memory_is_aligned(const struct weft_hop *hop, uint32_t align, uint32_t block)
{
	uintptr_t bits = (uintptr_t)hop->segs[0].base + hop->seg_skip;
	uint64_t left = hop->op == WEFT_COMPARE_WRITE ? 2 * hop->len : hop->len, skip = hop->seg_skip, lengths = 0;

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

static bool memory_is_taken(const struct weft_blk *blk, const struct weft_hop *hop)
{
	return hop->nsegs <= blk->max_segs && (blk->align <= 1 || (WEFT_OP_BIT(hop->op) & OPS_DATA) == 0 ||
		memory_is_aligned(hop, blk->align, blk->block));
}

/* H3 at one glance: what the device takes as it is. Everything else is sorted out by waist_slow. */
static inline bool takes_as_is(const struct weft_blk *blk, const struct weft_hop *hop)
{
	uint64_t size = __atomic_load_n(&blk->size, __ATOMIC_RELAXED), offset = hop->offset, len = hop->len;

	if (hop->op >= WEFT_OP_COUNT || (blk->deny[hop->op] & (hop->flags | 0x80)) != 0)
		return false;
	if (((offset | len) & (blk->block - 1)) != 0 || offset > size || len > size - offset)
		return false;
	if (WEFT_LIKELY((WEFT_OP_BIT(hop->op) & OPS_READ_WRITE) != 0))
		return len - 1 < blk->max_len;
	if (hop->op == WEFT_FLUSH)
		return (offset | len) == 0;
	if (hop->op == WEFT_COMPARE_WRITE)
		return len - 1 < blk->max_compare;
	if (hop->op == WEFT_COPY && ((hop->source & (blk->block - 1)) != 0 || hop->source > size || len > size - hop->source))
		return false;
	return len > 0;
}

/* Compare-and-write is atomic or it is nothing: it is never taken to pieces, nor bounced. FUA can be made up. */
static int compare_refusal(const struct weft_blk *blk, const struct weft_hop *hop)
{
	if (hop->len > blk->max_compare)
		return -EMSGSIZE;
	return hop->len == 0 || memory_is_taken(blk, hop) ? 0 : -EOPNOTSUPP;
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
	if (((hop->offset | hop->len) & (blk->block - 1)) != 0 || (hop->op == WEFT_COPY && (hop->source & (blk->block - 1)) != 0))
		return -EINVAL;
	if (hop->offset > size || hop->len > size - hop->offset)
		return -ERANGE;
	if (hop->op == WEFT_COPY && (hop->source > size || hop->len > size - hop->source))
		return -ERANGE;
	if ((bit & OPS_DATA) != 0 && hop->len > WEFT_MAX_LEN)
		return -EMSGSIZE;
	if ((hop->op == WEFT_COMPARE_WRITE || hop->op == WEFT_DISCARD) && (blk->ops_can & bit) == 0)
		return -EOPNOTSUPP;
	if (hop->op == WEFT_COMPARE_WRITE)
		return compare_refusal(blk, hop);
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
		WEFT_ASSERT(blk->adapter != NULL && hop_up(hop)->blk != blk->adapter);
		counter_add(&shard->submitted, (uint64_t)-1);
		hop->blk = blk->adapter;
		counter_add(&hop->blk->shard[hop->lane]->submitted, 1);
		hop->blk->ops->submit(hop->blk, hop);
	}
}

static void watch_deadline(struct weft_reactor *reactor, const struct weft_hop *hop)
{
	WEFT_ASSERT(hop->deadline_us != 0 && hop->state == WEFT_HOP_ASKED);
	reactor->deadlines++;
	reactor_deadline(reactor, hop->asked_at + (uint64_t)hop->deadline_us * 1000);
}

/* READY -> ASKED: from now on the device's. */
static inline struct weft_shard *hand_over(struct weft_hop *child, struct weft_blk *blk, uint64_t progress)
{
	struct weft_shard *shard = blk->shard[progress_lane(progress)];

	WEFT_ASSERT(shard != NULL);
	child->blk = blk;
	child->asked_at = shard->reactor->now;
	child->progress = progress + WEFT_HOP_PROGRESS(0, WEFT_HOP_ASKED - WEFT_HOP_READY, 0);
	counter_add(&shard->submitted, 1);
	return shard;
}

/* To the device's home; with a deadline; to a device that is particular about memory. */
static __attribute__((noinline)) void submit_rare(struct weft_hop *child, struct weft_blk *blk)
{
	bool carried = blk->carrier != NULL && child->lane != blk->home->lane;
	struct weft_shard *shard;

	WEFT_ASSERT(child->state == WEFT_HOP_READY && child->status == 0);
	if (carried)
		blk = blk->carrier;
	shard = hand_over(child, blk, child->progress);
	if (child->timed)
		watch_deadline(shard->reactor, child);
	if (carried || (takes_as_is(blk, child) && memory_is_taken(blk, child)))
		blk->ops->submit(blk, child);
	else
		waist_slow(blk, child, shard);
}

/* Calls nothing but at its end, so that nothing is saved and restored: a layer is a row of jumps down to the leaf. */
void weft_hop_submit(struct weft_hop *child, struct weft_blk *blk, weft_hop_done *done)
{
	uint64_t progress = child->progress;
	struct weft_shard *shard;

	child->done = done;
	if (WEFT_UNLIKELY(blk->picky || !progress_is(progress, WEFT_HOP_READY))) {
		submit_rare(child, blk);
		return;
	}
	shard = hand_over(child, blk, progress);
	if (WEFT_LIKELY(takes_as_is(blk, child)))
		blk->ops->submit(blk, child);
	else
		waist_slow(blk, child, shard);
}

/* What is not a plain read or write, or wants help, or is wrong. */
static __attribute__((noinline)) void forward_rare(struct weft_hop *self, struct weft_blk *lower, uint64_t shift)
{
	struct weft_hop *child = weft_hop_down(self);

	WEFT_ASSERT(self->state == WEFT_HOP_ASKED);
	if (self->op != WEFT_FLUSH)
		child->offset += shift;
	if (self->op == WEFT_COPY)
		child->source += shift;
	weft_hop_submit(child, lower, weft_hop_pass);
}

_Static_assert(offsetof(struct weft_hop, segs) == offsetof(struct weft_hop, len) + 8, "copied as one");

/*
 * As weft_hop_down and weft_hop_submit, only that each field is read once and written once. The child is filled first: as long as
 * it is IDLE, that means nothing; where it is not, or the device is not open here, forward_rare asserts it. An operation of 8 or
 * more has not come through the waist; without the sign an offset and a length have a sum.
 */
void weft_hop_forward(struct weft_hop *self, struct weft_blk *lower, uint64_t shift)
{
	uint64_t progress = self->progress, offset = self->offset + shift, len = self->len, view = self->view;
	struct weft_hop *child = self + 1;
	bool idle = child->state == WEFT_HOP_IDLE;
	struct weft_shard *shard = lower->shard[self->lane];

	child->blk = lower;
	child->done = weft_hop_pass;
	child->offset = offset;
	memcpy(&child->len, &self->len, sizeof(child->len) + sizeof(child->segs));
	child->view = view;
	if (WEFT_UNLIKELY(!idle || shard == NULL || progress_state(progress) != WEFT_HOP_ASKED ||
			(lower->rare[(uint8_t)(view >> 48)] & (view >> 56 | 0x80)) != 0 ||
			((offset | len) & lower->stray_bits) != 0 || len - 1 >= lower->max_len ||
			offset + len > __atomic_load_n(&lower->size, __ATOMIC_RELAXED))) {
		forward_rare(self, lower, shift);
		return;
	}
	child->asked_at = shard->reactor->now;
	/* The asking hop's lane and state, which is ASKED; no deadline, no status. */
	child->progress = (progress & WEFT_HOP_PROGRESS(0, 0xff, 0x7f)) | sizeof(*self);
	counter_add(&shard->submitted, 1);
	lower->ops->submit(lower, child);
}

void weft_hop_complete(struct weft_hop *self, int status)
{
	WEFT_ASSERT(self->state == WEFT_HOP_ASKED && status <= 0);
	/* An abort left its reason: what was cancelled because of it tells that reason. */
	self->status = WEFT_UNLIKELY(self->status != 0 && status == -ECANCELED) ? self->status : (int16_t)status;
	self->state = WEFT_HOP_ENDED;
	hop_list_add(&hop_reactor(self)->ended, self);
}

void weft_hop_pass(struct weft_hop *self, struct weft_hop *child, int status)
{
	(void)child;
	weft_hop_complete(self, status);
}

/* No state and no lane: no hop has it. */
#define NEVER_ASKED UINT32_MAX

static inline void account(const struct weft_hop *hop, unsigned lane, unsigned class, uint64_t bucket)
{
	struct weft_shard *shard = hop->blk->shard[lane];

	counter_add(&shard->bytes[class], hop->len);
	counter_add(&shard->latency[class].count[bucket], 1);
}

/* An error, or a deadline that was met. */
static void account_rare(struct weft_reactor *reactor, const struct weft_hop *hop, int status)
{
	if (status != 0)
		counter_add(&hop->blk->shard[reactor->lane]->errors[stat_class[hop->op]], 1);
	if (hop->timed) {
		WEFT_ASSERT(reactor->deadlines > 0);
		reactor->deadlines--;
	}
}

/* A layer that passes on what ended below it ends as well; what is its status? */
static __attribute__((noinline)) int passed_rare(struct weft_reactor *reactor, const struct weft_hop *hop, int status)
{
	WEFT_ASSERT(hop->state == WEFT_HOP_ASKED && hop->lane == reactor->lane);
	/* An abort left its reason: what was cancelled because of it tells that reason. */
	if (hop->status != 0 && status == -ECANCELED)
		status = hop->status;
	account_rare(reactor, hop, status);
	return status;
}

/* Upwards from a hop that has ended, as long as the layers above have nothing to do; then to the one that has. */
static inline void deliver(struct weft_reactor *reactor, struct weft_hop *hop)
{
	uint64_t asked_at = hop->asked_at, progress = hop->progress, bucket = histogram_bucket(reactor->now - asked_at);
	unsigned lane = reactor->lane, op = hop->op, class = stat_class[op];
	/* What tells that an asking hop is ASKED, here, without a deadline, and nobody has aborted it; if all is well below. */
	uint32_t asked = (uint32_t)(WEFT_HOP_PROGRESS(0, WEFT_HOP_ASKED, lane) >> 32);
	int status = progress_status(progress);
	struct weft_hop *up = hop_up(hop);

	WEFT_ASSERT(progress_state(progress) == WEFT_HOP_ENDED);
	if (WEFT_LIKELY(progress_lane(progress) == lane)) { /* else it was counted at home, and has just come back */
		account(hop, lane, class, bucket);
		account_rare(reactor, hop, status);
	}
	if (WEFT_UNLIKELY(status != 0))
		asked = NEVER_ASKED;
	while (hop->done == weft_hop_pass) {
		hop->state = WEFT_HOP_IDLE;
		hop = up;
		progress = hop->progress;
		up = (struct weft_hop *)(void *)((char *)hop - (uint32_t)progress);
		__builtin_prefetch(hop - 2, 1); /* the requests of a turn may not all be in the nearest cache any more */
		/* Mostly the layers were asked in the same turn for the same. */
		if (WEFT_UNLIKELY(hop->asked_at != asked_at || hop->op != op)) {
			asked_at = hop->asked_at;
			bucket = histogram_bucket(reactor->now - asked_at);
			op = hop->op;
			class = stat_class[op];
		}
		account(hop, lane, class, bucket);
		if (WEFT_UNLIKELY((progress >> 32) != asked)) {
			status = passed_rare(reactor, hop, status);
			asked = status != 0 ? NEVER_ASKED : asked;
		}
	}
	if (WEFT_UNLIKELY(up->lane != lane)) {
		hop->status = (int16_t)status;
		hop->state = WEFT_HOP_ENDED;
		carrier_leaves(reactor, hop);
		reactor_post_hop(hop_reactor(up), hop);
		return;
	}
	hop->state = WEFT_HOP_IDLE;
	hop->done(up, hop, status);
}

bool hops_unwind(struct weft_reactor *reactor)
{
	bool any = false;

	while (reactor->ended.head != NULL) {
		struct weft_hop *hop = reactor->ended.head;

		reactor->ended.head = hop->next_ended;
		if (hop->next_ended == NULL)
			reactor->ended.tail = &reactor->ended.head;
		else
			__builtin_prefetch(hop->next_ended - 1, 1); /* the first that is changed there */
		hop->segs = NULL; /* who looks at a child's segments too late finds none */
		deliver(reactor, hop);
		any = true;
	}
	return any;
}

void hop_arrived(struct weft_reactor *reactor, struct weft_hop *hop)
{
	if (hop->state == WEFT_HOP_READY) {
		WEFT_ASSERT(hop->lane == reactor->lane);
		carrier_arrived(reactor, hop);
		weft_hop_submit(hop, hop->blk, hop->done);
	} else {
		WEFT_ASSERT(hop->state == WEFT_HOP_ENDED && hop_up(hop)->lane == reactor->lane);
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
	if (hop->blk->ops->resume != NULL && hop->blk->ops->width == 0 && weft_hop_unyield(hop)) {
		weft_hop_complete(hop, -ECANCELED);
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
	struct weft_hop *on;

	if (hop->timed && hop->status == 0) {
		uint64_t at = hop->asked_at + (uint64_t)hop->deadline_us * 1000;

		if (at > now_ns)
			earliest = at;
		else
			weft_hop_abort(hop, -ETIMEDOUT);
	}
	if (hop->up_at != 0 && hop->state != WEFT_HOP_ASKED)
		return earliest;
	on = hop_goes_on(hop);
	for (unsigned i = 0; i < hop->blk->ops->width; i++) {
		struct weft_hop *child = hop_child(on, i);
		uint64_t below;

		if (child->state != WEFT_HOP_ASKED || child->lane != hop->lane)
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
	shard->gather_next = shard->reactor->gathered;
	shard->reactor->gathered = shard;
}

static void shard_yields(struct weft_shard *shard)
{
	if (shard->yielding)
		return;
	shard->yielding = true;
	shard->yield_next = shard->reactor->yielding;
	shard->reactor->yielding = shard;
}

void weft_hop_yield(struct weft_hop *self)
{
	struct weft_shard *shard = self->blk->shard[self->lane];

	WEFT_ASSERT(self->state == WEFT_HOP_ASKED && self->blk->ops->resume != NULL);
	hop_queue_add(&shard->yielded, self);
	shard_yields(shard);
}

static bool shard_remove(struct weft_shard **link, const struct weft_shard *shard)
{
	while (*link != NULL && *link != shard)
		link = &(*link)->yield_next;
	if (*link == NULL)
		return false;
	*link = shard->yield_next;
	return true;
}

bool weft_hop_unyield(struct weft_hop *self)
{
	struct weft_shard *shard = self->blk->shard[self->lane];

	WEFT_ASSERT(self->state == WEFT_HOP_ASKED && self->blk->ops->resume != NULL);
	if (!hop_queue_remove(&shard->yielded, self))
		return false;
	if (shard->yielded.head == NULL) {
		shard->yielding = !shard_remove(&shard->reactor->yielding, shard) &&
			!shard_remove(&shard->reactor->resuming, shard);
		WEFT_ASSERT(!shard->yielding);
	}
	return true;
}

/* H6. What yields meanwhile waits for the next turn. */
void hops_resume(struct weft_reactor *reactor)
{
	struct weft_shard *shard;

	WEFT_ASSERT(reactor->resuming == NULL);
	reactor->resuming = reactor->yielding;
	reactor->yielding = NULL;
	while ((shard = reactor->resuming) != NULL) {
		struct weft_hop *hop = hop_queue_take(&shard->yielded);

		WEFT_ASSERT(shard->yielding && shard->reactor == reactor && hop != NULL);
		reactor->resuming = shard->yield_next;
		shard->yielding = false;
		if (shard->yielded.head != NULL)
			shard_yields(shard);
		shard->blk->ops->resume(shard->blk, hop);
	}
}

struct weft_reactor *weft_hop_reactor(const struct weft_hop *self)
{
	WEFT_ASSERT(self->blk->shard != NULL); /* else a slot's root: its session knows */
	return hop_reactor(self);
}

void *weft_hop_shard(const struct weft_hop *self)
{
	return self->blk->shard[self->lane]->own;
}
