/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * error: fails requests on purpose, chosen by operation, range, time, number and chance; all conditions that
 * are given must hold.
 *
 * Requests are numbered over all reactors by one counter: only requests that match all the other conditions touch
 * it, and only when every= or first= is given.
 *
 * Invariants of live changes, however quickly they follow each other:
 *  E1  A request is judged by one rule as it was published, never by parts of two: each reactor judges by a copy of
 *      its own, and takes a new one when `sequence` has moved on and is even before and after. While the control
 *      thread is just writing, the rule from before is in force.
 *  E2  A number belongs to one rule: the counter carries the rule's generation.
 *  E3  A change that is refused changes nothing, not even numbers and time.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <weft/reactor.h>

#include "core/core.h"
#include "devices/device.h"
#include "env/env.h"

enum { ERROR_BEFORE, ERROR_AFTER };

/* What is checked on the data path; replaced as a whole when an option changes. Words only: see `words`. */
struct error_rule {
	uint64_t offset, end, every, first, from_ns, until_ns, chance; /* chance: of 2^32 */
	uint64_t generation, ops, after;
	int64_t status;
};
#define ERROR_WORDS (sizeof(struct error_rule) / sizeof(uint64_t))
#define ERROR_COUNT_BITS 40 /* of `matches`; above them the generation */

struct error {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *lower;
	char *op, *errno_name;
	uint64_t offset, len, every, first, from_ns, for_ns;
	double probability;
	uint32_t when;
	_Atomic uint64_t sequence; /* odd: the rule is being written */
	_Atomic uint64_t words[ERROR_WORDS]; /* the rule in force */
	_Atomic uint64_t matches, failed;
};

struct error_shard {
	uint64_t sequence; /* that `rule` was taken at */
	struct error_rule rule;
};

static struct error *error_of(struct weft_blk *blk)
{
	return DEVICE_OF(blk, struct error);
}

/* E1. False: it is being replaced just now. */
static bool take_rule(struct error *error, struct error_shard *shard)
{
	uint64_t sequence = atomic_load_explicit(&error->sequence, memory_order_acquire), words[ERROR_WORDS];

	for (unsigned i = 0; i < ERROR_WORDS; i++)
		words[i] = atomic_load_explicit(&error->words[i], memory_order_acquire);
	if (sequence % 2 != 0 || atomic_load_explicit(&error->sequence, memory_order_relaxed) != sequence)
		return false;
	memcpy(&shard->rule, words, sizeof(words));
	shard->sequence = sequence;
	return true;
}

/* E2: the request's number under this rule, from 1; 0: the rule has been replaced, and gives no more numbers. */
static uint64_t take_number(struct error *error, const struct error_rule *rule)
{
	uint64_t last = atomic_load_explicit(&error->matches, memory_order_relaxed);

	do
		if (last >> ERROR_COUNT_BITS != rule->generation)
			return 0;
	while (!atomic_compare_exchange_weak_explicit(
		&error->matches, &last, last + 1, memory_order_relaxed, memory_order_relaxed));
	return (last + 1) % (1ull << ERROR_COUNT_BITS);
}

static bool in_range(const struct error_rule *rule, const struct weft_hop *hop)
{
	if (hop->op == WEFT_FLUSH)
		return true;
	return hop->offset < rule->end && hop->offset + hop->len > rule->offset;
}

/* Is this request to fail? */
static bool chosen(struct error *error, const struct error_rule *rule, const struct weft_hop *hop)
{
	uint64_t now, number;

	if (WEFT_LIKELY((rule->ops & WEFT_OP_BIT(hop->op)) == 0) || !in_range(rule, hop))
		return false;
	now = weft_reactor_now(weft_hop_reactor(hop));
	if (now < rule->from_ns || now >= rule->until_ns)
		return false;
	if (rule->chance < 1ull << 32 && weft_reactor_rand(weft_hop_reactor(hop)) >> 32 >= rule->chance)
		return false;
	if (rule->every <= 1 && rule->first == 0)
		return true;
	number = take_number(error, rule);
	if (number == 0 || (rule->every > 1 && number % rule->every != 0))
		return false;
	return rule->first == 0 || number <= rule->first * (rule->every > 1 ? rule->every : 1);
}

static void fail_after_done(struct weft_hop *self, struct weft_hop *child, int status)
{
	(void)child;
	weft_hop_complete(self, status != 0 ? status : (int)(int64_t)self->scratch[0]);
}

static void error_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct error *error = error_of(blk);
	struct error_shard *shard = weft_hop_shard(hop);
	const struct error_rule *rule = &shard->rule;

	if (WEFT_UNLIKELY(atomic_load_explicit(&error->sequence, memory_order_relaxed) != shard->sequence))
		take_rule(error, shard);
	if (WEFT_LIKELY(!chosen(error, rule, hop))) {
		weft_hop_forward(hop, error->lower, 0);
		return;
	}
	atomic_fetch_add_explicit(&error->failed, 1, memory_order_relaxed);
	if (rule->after) {
		hop->scratch[0] = (uint64_t)rule->status;
		weft_hop_submit(weft_hop_down(hop), error->lower, fail_after_done);
	} else {
		weft_hop_complete(hop, (int)rule->status);
	}
}

static int error_shard_open(
	struct weft_blk *blk, void *shard, struct weft_reactor *reactor, struct weft_why *why)
{
	WEFT_ASSERT(weft_reactor_here() == reactor);
	(void)why;
	while (!take_rule(error_of(blk), shard))
		; /* for the few stores of error_publish */
	return 0;
}

static const struct weft_blk_ops error_ops = {
	.submit = error_submit,
	.shard_open = error_shard_open,
	.shard_size = sizeof(struct error_shard),
	.width = 1,
};

/* ---- control ---- */

static const struct {
	const char *name;
	uint32_t ops;
} op_names[] = {
	{ "read", WEFT_OP_BIT(WEFT_READ) },
	{ "write", WEFT_OP_BIT(WEFT_WRITE) },
	{ "flush", WEFT_OP_BIT(WEFT_FLUSH) },
	{ "discard", WEFT_OP_BIT(WEFT_DISCARD) },
	{ "zero", WEFT_OP_BIT(WEFT_ZERO) },
	{ "compare-write", WEFT_OP_BIT(WEFT_COMPARE_WRITE) },
	{ "copy", WEFT_OP_BIT(WEFT_COPY) },
	{ "status", WEFT_OP_BIT(WEFT_STATUS) },
	{ "all", WEFT_OPS_ALL },
};

/* "read+write": 0 when a name is unknown. */
static uint32_t parse_ops(const char *text)
{
	uint32_t ops = 0;

	for (const char *at = text;; at++) {
		size_t len = strcspn(at, "+");
		unsigned i = 0;

		while (i < WEFT_COUNT(op_names) &&
			(strlen(op_names[i].name) != len || strncmp(op_names[i].name, at, len) != 0))
			i++;
		if (i == WEFT_COUNT(op_names))
			return 0;
		ops |= op_names[i].ops;
		at += len;
		if (*at == '\0')
			return ops;
	}
}

/* Puts a rule into force: E1 and E2. */
static void publish(struct error *error, struct error_rule rule)
{
	uint64_t sequence = atomic_load_explicit(&error->sequence, memory_order_relaxed), words[ERROR_WORDS];

	WEFT_ASSERT(sequence % 2 == 0);
	rule.generation = (sequence / 2 + 1) % (1ull << (64 - ERROR_COUNT_BITS));
	memcpy(words, &rule, sizeof(words));
	atomic_store_explicit(&error->sequence, sequence + 1, memory_order_relaxed);
	for (unsigned i = 0; i < ERROR_WORDS; i++)
		atomic_store_explicit(&error->words[i], words[i], memory_order_release);
	atomic_store_explicit(&error->matches, rule.generation << ERROR_COUNT_BITS, memory_order_relaxed);
	atomic_store_explicit(&error->sequence, sequence + 2, memory_order_release);
}

/* Works out the rule from the options, and puts it into force: time and numbers count from here. */
static int error_begin(struct error *error, struct weft_why *why)
{
	uint64_t now = env_now_ns(error->object.core->env);
	struct error_rule rule;
	uint32_t ops = parse_ops(error->op);
	int status = device_error_value(error->errno_name);

	WEFT_ASSERT(error->op != NULL && error->errno_name != NULL);
	if (ops == 0)
		return weft_why(why, -EINVAL,
			"error: op=%s: names joined by + are needed, of read, write, flush, discard, zero, "
			"compare-write, copy, status, all",
			error->op);
	if (status == 0)
		return weft_why(why, -EINVAL,
			"error: errno=%s is not known: give a name like EIO, ENOSPC, ETIMEDOUT, EROFS",
			error->errno_name);
	if (error->probability < 0 || error->probability > 1)
		return weft_why(
			why, -EINVAL, "error: probability=%g: must be from 0 to 1", error->probability);
	rule = (struct error_rule){
		.offset = error->offset,
		.end = error->len == 0 ? UINT64_MAX : error->offset + error->len,
		.every = error->every,
		.first = error->first,
		.ops = ops,
		.status = status,
		.after = error->when == ERROR_AFTER,
		.from_ns = now + error->from_ns,
		.chance = (uint64_t)(error->probability * 4294967296.0),
	};
	if (rule.end < rule.offset)
		rule.end = UINT64_MAX;
	rule.until_ns = error->for_ns == 0 ? UINT64_MAX : rule.from_ns + error->for_ns;
	publish(error, rule);
	return 0;
}

static void error_start(struct weft_object *object, struct weft_task *task)
{
	struct error *error = DEVICE_OF_OBJECT(object, struct error);
	int status;

	WEFT_ASSERT(error->lower != NULL && atomic_load(&error->sequence) == 0);
	status = error_begin(error, &task->why);
	if (status == 0) {
		weft_blk_like(&error->blk, error->lower);
		error->blk.ops = &error_ops;
	}
	device_end(task, status);
}

static int error_changed(struct weft_object *object, const struct weft_option *option, struct weft_why *why)
{
	WEFT_ASSERT(object->state == WEFT_OBJECT_RUNNING);
	(void)option;
	return error_begin(DEVICE_OF_OBJECT(object, struct error), why);
}

static void error_lower_resized(struct weft_object *object)
{
	struct error *error = DEVICE_OF_OBJECT(object, struct error);

	WEFT_ASSERT(error->lower->size % error->blk.block == 0);
	weft_blk_resized(&error->blk, error->lower->size);
}

static void error_describe(const struct weft_object *object, weft_describe_put *put, void *self)
{
	const struct error *error = WEFT_CONTAINER(object, const struct error, object);
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, (uint64_t)atomic_load(&error->failed));
	put(self, "failed", text);
}

#define ERROR_OPTION(option, kind, field, text, ...) \
	{ \
		.name = option, .type = WEFT_OPTION_##kind, .flags = WEFT_OPTION_LIVE, \
		.offset = offsetof(struct error, field), .help = text, __VA_ARGS__ \
	}

static const struct weft_option error_options[] = {
	ERROR_OPTION("op", STRING, op, "which operations: names joined by +, or all", .fallback = "all"),
	ERROR_OPTION("errno", STRING, errno_name, "what they fail with, by name", .fallback = "EIO"),
	ERROR_OPTION(
		"offset", SIZE, offset, "only requests that touch the range from here on", .fallback = "0"),
	ERROR_OPTION("len", SIZE, len, "length of that range; 0: to the end", .fallback = "0"),
	ERROR_OPTION("every", UINT, every, "only each n-th of them", .fallback = "1"),
	ERROR_OPTION("first", UINT, first, "only the first n of them; 0: no end", .fallback = "0"),
	ERROR_OPTION("probability", REAL, probability, "chance of each, 0 to 1", .fallback = "1"),
	ERROR_OPTION("from", DURATION, from_ns,
		"only from then on, counted from the start or the last change", .fallback = "0"),
	ERROR_OPTION("for", DURATION, for_ns, "only for so long; 0: no end", .fallback = "0"),
	ERROR_OPTION("when", CHOICE, when, "fail before the device below is asked, or after it did it",
		.fallback = "before", .choices = "before|after"),
	{ 0 },
};

static const struct weft_port error_ports[] = {
	{ .name = "lower",
		.wants = &weft_blk_iface,
		.min = 1,
		.max = 1,
		.offset = offsetof(struct error, lower),
		.help = "the device that is to look broken" },
	{ 0 },
};

static const struct weft_offer error_offers[] = {
	{ &weft_blk_iface, offsetof(struct error, blk) },
	{ 0 },
};

extern const struct weft_kind error_kind;
const struct weft_kind error_kind = {
	.name = "error",
	.summary = "fails requests on purpose",
	.size = sizeof(struct error),
	.options = error_options,
	.ports = error_ports,
	.offers = error_offers,
	.start = error_start,
	.changed = error_changed,
	.lower_resized = error_lower_resized,
	.describe = error_describe,
};
