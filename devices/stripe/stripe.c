/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * stripe: two to eight devices side by side, in chunks. Chunk number c lies on leg c % legs, there as number
 * c / legs.
 *
 * A request is served in steps: a piece of one chunk (read, write), or one leg's part (flush, discard, zero:
 * what a long range covers of a leg lies there in one run). At most STRIPE_WINDOW steps are under way at
 * once; a step that ends starts the next. After the first error no step is started. Of a long request WEFT_TURN_BYTES are
 * asked for, then it yields: legs that answer at once (mem) would be asked for all of it in one turn of the reactor.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/blk.h"
#include "devices/device.h"

#define STRIPE_LEGS 8
#define STRIPE_WINDOW 4

struct stripe {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *leg[STRIPE_LEGS];
	uint64_t chunk;
	unsigned legs;
	unsigned chunk_shift;
};

/*
 * A child is asked now of this leg, now of that, and what lies behind it is laid out as that one has it: of what another leg has
 * left there nothing may be taken for hops. So when the leg changes it is cleared as far as the next one has hops; unless all have
 * theirs at the same places.
 */
struct stripe_shard {
	uint32_t clears[STRIPE_LEGS]; /* bytes behind a child that goes to this leg; 0: none */
};

/* In hop->scratch. */
struct stripe_state {
	uint64_t next;  /* bytes that are asked for; or legs */
	uint64_t until; /* from here on it yields before the next step */
	uint8_t idle;   /* children that are free, by bit */
	bool yielded;
	bool aborted;
	int error; /* the first one */
};
_Static_assert(sizeof(struct stripe_state) <= sizeof(((struct weft_hop *)0)->scratch), "fits");

#define STRIPE_ALL_IDLE ((1u << STRIPE_WINDOW) - 1)

static struct stripe *stripe_of(struct weft_blk *blk)
{
	return DEVICE_OF(blk, struct stripe);
}
static struct stripe_state *state_of(struct weft_hop *hop)
{
	return (void *)hop->scratch;
}

static void stripe_done(struct weft_hop *self, struct weft_hop *child, int status);

/* How many bytes of leg `leg` lie before our byte `at`. */
static uint64_t leg_bytes(const struct stripe *stripe, unsigned leg, uint64_t at)
{
	uint64_t row = stripe->chunk * stripe->legs, inside = at % row, before = leg * stripe->chunk;

	inside = inside > before ? inside - before : 0;
	return at / row * stripe->chunk + (inside < stripe->chunk ? inside : stripe->chunk);
}

static void submit_to(const struct stripe *stripe, unsigned leg, struct weft_hop *hop, struct weft_hop *child)
{
	struct weft_blk *lower = stripe->leg[leg];
	uint32_t clears = ((const struct stripe_shard *)weft_hop_shard(hop))->clears[leg];

	if (clears != 0 && child->blk != NULL && child->blk->object != lower->object)
		memset(child + 1, 0, clears);
	weft_hop_submit(child, lower, stripe_done);
}

/* The next piece of a read or a write. */
static void step_data(
	const struct stripe *stripe, struct weft_hop *hop, struct stripe_state *state, struct weft_hop *child)
{
	uint64_t at = hop->offset + state->next, in_chunk = at & (stripe->chunk - 1),
		 number = at >> stripe->chunk_shift;
	uint64_t len = stripe->chunk - in_chunk, left = hop->len - state->next;

	WEFT_ASSERT(state->next < hop->len);
	child->len = len < left ? len : left;
	child->offset = (number / stripe->legs << stripe->chunk_shift) + in_chunk;
	child->seg_skip += (uint32_t)state->next;
	state->next += child->len;
	submit_to(stripe, (unsigned)(number % stripe->legs), hop, child);
}

/* The next leg's part of all else. Nothing of the range may lie on it: the waist answers that at once. */
static void step_leg(
	const struct stripe *stripe, struct weft_hop *hop, struct stripe_state *state, struct weft_hop *child)
{
	unsigned leg = (unsigned)state->next++;

	WEFT_ASSERT(leg < stripe->legs);
	if (hop->op != WEFT_FLUSH) {
		child->offset = leg_bytes(stripe, leg, hop->offset);
		child->len = leg_bytes(stripe, leg, hop->offset + hop->len) - child->offset;
	}
	submit_to(stripe, leg, hop, child);
}

static bool is_data(const struct weft_hop *hop)
{
	return hop->op == WEFT_READ || hop->op == WEFT_WRITE;
}

/* What is under way has ended, or has come to where it yields. */
static void stripe_rest(const struct stripe *stripe, struct weft_hop *hop, struct stripe_state *state)
{
	uint64_t end = is_data(hop) ? hop->len : stripe->legs;

	WEFT_ASSERT(state->next <= end && state->until <= end);
	if (state->next < end && state->next >= state->until && state->error == 0 && !state->aborted && !state->yielded) {
		state->yielded = true;
		weft_hop_yield(hop);
	}
	if (state->idle == STRIPE_ALL_IDLE && !state->yielded)
		weft_hop_complete(hop, state->error == 0 && state->next < end ? -ECANCELED : state->error);
}

/* Starts steps while the window has room. */
static void stripe_run(const struct stripe *stripe, struct weft_hop *hop)
{
	struct stripe_state *state = state_of(hop);
	bool data = is_data(hop);

	WEFT_ASSERT((state->idle & ~STRIPE_ALL_IDLE) == 0);
	while (state->idle != 0 && state->next < state->until && state->error == 0 && !state->aborted) {
		unsigned index = (unsigned)__builtin_ctz(state->idle);
		struct weft_hop *child = weft_hop_fork(hop, index);

		state->idle &= (uint8_t) ~(1u << index);
		if (data)
			step_data(stripe, hop, state, child);
		else
			step_leg(stripe, hop, state, child);
	}
	stripe_rest(stripe, hop, state);
}

static void stripe_done(struct weft_hop *self, struct weft_hop *child, int status)
{
	struct stripe_state *state = state_of(self);
	uint8_t bit = (uint8_t)(1u << device_child_index(self->blk, self, child));

	WEFT_ASSERT((state->idle & bit) == 0);
	state->idle |= bit;
	if (WEFT_UNLIKELY(status != 0) && state->error == 0)
		state->error = status;
	stripe_run(stripe_of(self->blk), self);
}

/* The next part of a read or a write; of all else, all. */
static void stripe_go(const struct stripe *stripe, struct weft_hop *hop)
{
	struct stripe_state *state = state_of(hop);
	uint64_t left = hop->len - state->next;

	if (is_data(hop))
		state->until = state->next + (left < WEFT_TURN_BYTES ? left : WEFT_TURN_BYTES);
	else
		state->until = stripe->legs;
	stripe_run(stripe, hop);
}

static void stripe_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	*state_of(hop) = (struct stripe_state){ .idle = STRIPE_ALL_IDLE };
	stripe_go(stripe_of(blk), hop);
}

static void stripe_resume(struct weft_blk *blk, struct weft_hop *hop)
{
	WEFT_ASSERT(state_of(hop)->yielded && is_data(hop));
	state_of(hop)->yielded = false;
	stripe_go(stripe_of(blk), hop);
}

static void stripe_abort(struct weft_blk *blk, struct weft_hop *hop)
{
	struct stripe_state *state = state_of(hop);
	bool held = state->yielded && weft_hop_unyield(hop);

	WEFT_ASSERT(held == state->yielded);
	state->aborted = true;
	state->yielded = false;
	device_abort_children(blk, hop);
	if (held && state->idle == STRIPE_ALL_IDLE)
		weft_hop_complete(hop, -ECANCELED);
}

static int stripe_shard_open(struct weft_blk *blk, void *shard, struct weft_reactor *reactor, struct weft_why *why)
{
	const struct stripe *stripe = stripe_of(blk);
	struct stripe_shard *mine = shard;
	bool alike = true;

	(void)reactor;
	(void)why;
	for (unsigned i = 1; i < stripe->legs; i++)
		alike = alike && blk_alike(stripe->leg[0], stripe->leg[i]);
	for (unsigned i = 0; i < stripe->legs; i++)
		mine->clears[i] = alike ? 0 : blk_hops_behind(stripe->leg[i]);
	return 0;
}

static const struct weft_blk_ops stripe_ops = {
	.submit = stripe_submit,
	.abort = stripe_abort,
	.resume = stripe_resume,
	.shard_open = stripe_shard_open,
	.shard_size = sizeof(struct stripe_shard),
	.width = STRIPE_WINDOW,
};

/* Whole rows only. */
static uint64_t stripe_size(const struct stripe *stripe)
{
	uint64_t smallest = UINT64_MAX;

	WEFT_ASSERT(stripe->legs >= 2 && (stripe->chunk & (stripe->chunk - 1)) == 0);
	for (unsigned i = 0; i < stripe->legs; i++)
		smallest = stripe->leg[i]->size < smallest ? stripe->leg[i]->size : smallest;
	return (smallest & ~(stripe->chunk - 1)) * stripe->legs;
}

static int stripe_check(const struct stripe *stripe, struct weft_why *why)
{
	if ((stripe->chunk & (stripe->chunk - 1)) != 0 || stripe->chunk < stripe->blk.block)
		return weft_why(why, -EINVAL,
			"stripe: chunk=%" PRIu64 ": a power of two, not less than the legs' block of %u "
			"bytes, "
			"is needed",
			stripe->chunk, stripe->blk.block);
	if (stripe_size(stripe) == 0)
		return weft_why(why, -EINVAL,
			"stripe: chunk=%" PRIu64 " is larger than the smallest leg: give a smaller chunk",
			stripe->chunk);
	return 0;
}

static void stripe_start(struct weft_object *object, struct weft_task *task)
{
	struct stripe *stripe = DEVICE_OF_OBJECT(object, struct stripe);
	struct weft_blk *blk = &stripe->blk;
	uint64_t row;
	int status;

	WEFT_ASSERT(stripe->leg[0] != NULL && stripe->leg[1] != NULL);
	weft_blk_like(blk, stripe->leg[0]);
	for (stripe->legs = 1; stripe->legs < STRIPE_LEGS && stripe->leg[stripe->legs] != NULL;
		stripe->legs++)
		device_narrow(blk, stripe->leg[stripe->legs]);
	status = stripe_check(stripe, &task->why);
	if (status == 0) {
		row = stripe->chunk * stripe->legs;
		stripe->chunk_shift = (unsigned)__builtin_ctzll(stripe->chunk);
		blk->ops = &stripe_ops;
		blk->size = stripe_size(stripe);
		blk->optimal = row <= UINT32_MAX ? (uint32_t)row : 0;
		/* Copies and block status would have to be pieced together: the waist does it. */
		blk->ops_can &= (uint16_t) ~(
			WEFT_OP_BIT(WEFT_COMPARE_WRITE) | WEFT_OP_BIT(WEFT_COPY) | WEFT_OP_BIT(WEFT_STATUS));
	}
	device_end(task, status);
}

static void stripe_lower_resized(struct weft_object *object)
{
	struct stripe *stripe = DEVICE_OF_OBJECT(object, struct stripe);
	uint64_t size = stripe_size(stripe);

	WEFT_ASSERT(stripe->legs >= 2 && stripe->chunk == 1ull << stripe->chunk_shift);
	if (size != stripe->blk.size)
		weft_blk_resized(&stripe->blk, size);
}

static void stripe_describe(const struct weft_object *object, weft_describe_put *put, void *self)
{
	const struct stripe *stripe = WEFT_CONTAINER(object, const struct stripe, object);
	char text[64];

	WEFT_ASSERT(stripe->legs <= STRIPE_LEGS);
	snprintf(text, sizeof(text), "%u, in chunks of %" PRIu64 " KiB", stripe->legs, stripe->chunk >> 10);
	put(self, "legs", text);
}

static const struct weft_option stripe_options[] = {
	{ .name = "chunk",
		.type = WEFT_OPTION_SIZE,
		.offset = offsetof(struct stripe, chunk),
		.fallback = "64KiB",
		.help = "how much lies on one leg before the next one's turn, a power of two",
		.min = 512,
		.max = 1u << 30 },
	{ 0 },
};

static const struct weft_port stripe_ports[] = {
	{ .name = "leg",
		.wants = &weft_blk_iface,
		.min = 2,
		.max = STRIPE_LEGS,
		.offset = offsetof(struct stripe, leg),
		.help = "the devices that hold the parts" },
	{ 0 },
};

static const struct weft_offer stripe_offers[] = {
	{ &weft_blk_iface, offsetof(struct stripe, blk) },
	{ 0 },
};

extern const struct weft_kind stripe_kind;
const struct weft_kind stripe_kind = {
	.name = "stripe",
	.summary = "two to eight devices side by side, in chunks",
	.size = sizeof(struct stripe),
	.options = stripe_options,
	.ports = stripe_ports,
	.offers = stripe_offers,
	.start = stripe_start,
	.lower_resized = stripe_lower_resized,
	.describe = stripe_describe,
};
