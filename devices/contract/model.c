/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device may answer.
 *
 * Time is a counter that each begin and each end moves on. A block has a digest: UNKNOWN (anything; learnt by the
 * next quiet read), SEVERAL (one of a set), or what it must read as. Invariants:
 *  T1  Requests whose lives overlap, on the same blocks, and of which one changes them, know it of each other.
 *  T2  A change that ends without a race replaces what is known of the block. One with a race adds itself to the
 *      set, and removes what had ended before it began: that is overwritten for sure.
 *  T3  A read without a race is judged; it makes a set into the one content that it has seen.
 *  T4  When a set is full, an UNKNOWN member takes the place of all. When there is no room for another set, the
 *      block is UNKNOWN, and so is all that a change which is under way just then does with a race (`blind`): what
 *      it overlapped with has been forgotten.
 */
#include "devices/contract/model.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "core/core.h"
#include "devices/device.h"
#include "env/env.h"

enum { UNKNOWN, SEVERAL, DIGEST_MIN = 16 };

#define PIECE 512u

/* ---- digests ---- */

static uint64_t digest_add(uint64_t digest, const void *data)
{
	uint64_t words[PIECE / 8];

	memcpy(words, data, PIECE);
	for (unsigned i = 0; i < PIECE / 8; i++) {
		digest = (digest ^ words[i]) * 0x9fb21c651e98df25u;
		digest ^= digest >> 29;
	}
	return digest;
}

static uint64_t digest_end(uint64_t digest)
{
	return digest < DIGEST_MIN ? digest + DIGEST_MIN : digest;
}

static uint64_t digest_of(const struct weft_hop *hop, uint64_t at, uint64_t len)
{
	_Alignas(16) char piece[PIECE];
	uint64_t digest = len;

	WEFT_ASSERT(len % PIECE == 0);
	for (uint64_t end = at + len; at < end; at += PIECE) {
		weft_hop_copy_out(hop, at, piece, PIECE);
		digest = digest_add(digest, piece);
	}
	return digest_end(digest);
}

uint64_t model_digest(const struct weft_hop *hop)
{
	return digest_of(hop, 0, hop->op == WEFT_COMPARE_WRITE ? 2 * hop->len : hop->len);
}

static uint64_t digest_of_zeroes(uint64_t len)
{
	static const char zeroes[PIECE];
	uint64_t digest = len;

	for (uint64_t at = 0; at < len; at += PIECE)
		digest = digest_add(digest, zeroes);
	return digest_end(digest);
}

/* ---- sets: open addressing, linear probing ---- */

static struct model_set *set_at(const struct model *model, uint64_t block)
{
	uint64_t i = (block * 0x9e3779b97f4a7c15u) >> 40;

	while (model->sets[i & (MODEL_SETS - 1)].block != 0 &&
		model->sets[i & (MODEL_SETS - 1)].block != block + 1)
		i++;
	return &model->sets[i & (MODEL_SETS - 1)];
}

/* Moves up what would not be found any more. */
static void set_remove(struct model *model, struct model_set *set)
{
	uint64_t hole = (uint64_t)(set - model->sets);

	WEFT_ASSERT(set->block != 0 && model->sets_used > 0);
	set->block = 0;
	model->sets_used--;
	for (uint64_t i = hole + 1; model->sets[i & (MODEL_SETS - 1)].block != 0; i++) {
		struct model_set moved = model->sets[i & (MODEL_SETS - 1)];

		model->sets[i & (MODEL_SETS - 1)].block = 0;
		*set_at(model, moved.block - 1) = moved;
	}
}

/* T2: forgets what had ended before `began`. */
static void set_forget(struct model_set *set, uint64_t began)
{
	uint8_t kept = 0;

	for (uint8_t i = 0; i < set->values; i++)
		if (set->value[i].ended > began)
			set->value[kept++] = set->value[i];
	set->values = kept;
}

/* A change without a race has ended. */
static void block_replace(struct model *model, uint64_t block, uint64_t digest)
{
	if (model->digest[block] == SEVERAL)
		set_remove(model, set_at(model, block));
	model->digest[block] = digest;
}

/* A change with a race has ended. */
static void block_add(struct model *model, uint64_t block, uint64_t digest, uint64_t began)
{
	struct model_set *set = set_at(model, block);

	if (set->block == 0 && model->sets_used >= MODEL_SETS / 8 * 7) {
		model->digest[block] = UNKNOWN;
		model->blind = model->time;
		return;
	}
	if (set->block == 0) {
		WEFT_ASSERT(model->digest[block] != SEVERAL);
		*set = (struct model_set){ .block = block + 1 };
		model->sets_used++;
		model->digest[block] = SEVERAL;
	}
	set_forget(set, began);
	if (set->values == MODEL_VALUES || began < model->blind) {
		set->values = 0;
		digest = UNKNOWN;
	}
	set->value[set->values].digest = digest;
	set->value[set->values++].ended = model->time;
}

/* ---- lives that overlap ---- */

static bool raced_at(const struct model_access *access, uint64_t block)
{
	if (access->races > MODEL_RACES)
		return true;
	for (unsigned i = 0; i < access->races; i++)
		if (block >= access->race[i].from && block < access->race[i].to)
			return true;
	return false;
}

static void race_add(struct model_access *access, struct model_range range)
{
	if (access->races < MODEL_RACES)
		access->race[access->races] = range;
	if (access->races <= MODEL_RACES)
		access->races++;
}

void model_begin(struct model *model, struct model_access *access, const struct weft_hop *hop)
{
	uint64_t first = hop->offset / model->block;

	*access = (struct model_access){ .op = hop->op, .began = ++model->time, .next = model->active };
	access->range = (struct model_range){ first, first + hop->len / model->block };
	access->acknowledged = model->acknowledged;
	if (hop->op == WEFT_FLUSH)
		access->range.to = access->range.from;
	for (struct model_access *other = model->active; other != NULL; other = other->next) {
		struct model_range both = {
			access->range.from > other->range.from ? access->range.from : other->range.from,
			access->range.to < other->range.to ? access->range.to : other->range.to,
		};

		if (both.from >= both.to || (!device_changes(access->op) && !device_changes(other->op)))
			continue;
		race_add(access, both);
		race_add(other, both);
	}
	if (model->active != NULL)
		model->active->prev = access;
	model->active = access;
}

/* Where the judging of a range ends. */
static uint64_t judged_end(const struct model *model, const struct model_access *access)
{
	uint64_t trusted = __atomic_load_n(&model->trusted, __ATOMIC_RELAXED);

	return access->range.to < trusted ? access->range.to : trusted;
}

static bool block_may_hold(const struct model *model, uint64_t block, uint64_t digest)
{
	uint64_t known = model->digest[block];
	bool legal = known == UNKNOWN || known == digest;

	if (known == SEVERAL) {
		const struct model_set *set = set_at(model, block);

		WEFT_ASSERT(set->block == block + 1);
		for (uint8_t i = 0; i < set->values; i++)
			legal |= set->value[i].digest == digest || set->value[i].digest == UNKNOWN;
	}
	return legal;
}

/* May a quiet read see this? Then that is what the block holds (T3). */
static bool block_read(struct model *model, uint64_t block, uint64_t digest)
{
	bool legal = block_may_hold(model, block, digest);

	if (legal)
		block_replace(model, block, digest);
	return legal;
}

bool model_compared(struct model *model, const struct model_access *access, const struct weft_hop *hop, int status, uint64_t *where)
{
	uint64_t end = judged_end(model, access);
	bool equal = end == access->range.to; /* for sure */

	WEFT_ASSERT(hop->op == WEFT_COMPARE_WRITE && (status == 0 || status == -EILSEQ));
	*where = hop->offset;
	for (uint64_t block = access->range.from; block < end; block++) {
		uint64_t digest = digest_of(hop, (block - access->range.from) * model->block, model->block);

		if (raced_at(access, block)) {
			model->raced++;
			equal = false;
			continue;
		}
		model->judged++;
		equal = equal && model->digest[block] == digest;
		if (status == 0 && !block_may_hold(model, block, digest)) {
			*where = block * model->block;
			return false;
		}
	}
	return status == 0 || !equal;
}

bool model_read(struct model *model, struct model_access *access, const struct weft_hop *hop, uint64_t *where)
{
	uint64_t end = judged_end(model, access);

	WEFT_ASSERT(hop->op == WEFT_READ && access->op == WEFT_READ);
	for (uint64_t block = access->range.from; block < end; block++) {
		if (raced_at(access, block)) {
			model->raced++;
			continue;
		}
		model->judged++;
		if (!block_read(model, block,
			    digest_of(hop, (block - access->range.from) * model->block, model->block))) {
			*where = block * model->block;
			return false;
		}
	}
	return true;
}

static uint64_t digest_after(const struct model *model, const struct weft_hop *hop, uint64_t at, int status)
{
	if (status == 0 && (hop->op == WEFT_WRITE || hop->op == WEFT_COMPARE_WRITE))
		return digest_of(hop, hop->op == WEFT_WRITE ? at : hop->len + at, model->block);
	return status == 0 && hop->op == WEFT_ZERO ? model->zero_digest : UNKNOWN;
}

static void count_flushed(struct model *model, const struct model_access *access, const struct weft_hop *hop)
{
	if (hop->op == WEFT_FLUSH)
		model->flushed =
			access->acknowledged > model->flushed ? access->acknowledged : model->flushed;
	else if ((hop->op == WEFT_WRITE || hop->op == WEFT_ZERO || hop->op == WEFT_COMPARE_WRITE) && (hop->flags & WEFT_FUA) == 0)
		model->acknowledged++;
}

void model_end(struct model *model, struct model_access *access, const struct weft_hop *hop, int status)
{
	bool differed = hop->op == WEFT_COMPARE_WRITE && status == -EILSEQ, changed = device_changes(hop->op) && !differed;
	uint64_t end = judged_end(model, access);

	WEFT_ASSERT(access->op == hop->op && (access->prev != NULL || model->active == access));
	*(access->prev != NULL ? &access->prev->next : &model->active) = access->next;
	if (access->next != NULL)
		access->next->prev = access->prev;
	model->time++;
	for (uint64_t block = access->range.from; changed && block < end; block++) {
		uint64_t digest =
			digest_after(model, hop, (block - access->range.from) * model->block, status);

		if (raced_at(access, block))
			block_add(model, block, digest, access->began);
		else
			block_replace(model, block, digest);
	}
	if (status == 0)
		count_flushed(model, access, hop);
}

/* ---- life ---- */

uint64_t model_bytes(uint64_t size, uint32_t block)
{
	return size / block * sizeof(uint64_t) + MODEL_SETS * sizeof(struct model_set);
}

int model_open(
	struct model *model, struct weft_core *core, uint64_t size, uint32_t block, struct weft_why *why)
{
	WEFT_ASSERT(block >= PIECE && size % block == 0);
	*model = (struct model){
		.core = core, .block = block, .blocks = size / block, .trusted = size / block
	};
	model->zero_digest = digest_of_zeroes(block);
	model->sets = env_pages_alloc(core->env, MODEL_SETS * sizeof(struct model_set), false);
	if (model->blocks > 0 && model->sets != NULL)
		model->digest = env_pages_alloc(core->env, model->blocks * sizeof(uint64_t), false);
	if (model->sets != NULL && (model->blocks == 0 || model->digest != NULL))
		return 0;
	model_close(model);
	return weft_why(why, -ENOMEM,
		"contract: no memory for a model of %" PRIu64 " blocks: watch a slice of the device",
		size / block);
}

void model_close(struct model *model)
{
	WEFT_ASSERT(model->active == NULL);
	if (model->sets != NULL)
		env_pages_free(model->core->env, model->sets, MODEL_SETS * sizeof(struct model_set));
	if (model->digest != NULL)
		env_pages_free(model->core->env, model->digest, model->blocks * sizeof(uint64_t));
	model->sets = NULL;
	model->digest = NULL;
}

void model_resized(struct model *model, uint64_t size)
{
	if (size / model->block < model->trusted)
		__atomic_store_n(&model->trusted, size / model->block, __ATOMIC_RELAXED);
}
