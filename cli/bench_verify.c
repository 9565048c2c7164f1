/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Verification: each 512 bytes written say where they belong, which write they come from, and a checksum; and for
 * each block the model knows which writes a read may return.
 *
 * Requests that are in flight at the same time may be carried out in any order, so a block has a window of versions,
 * [floor, ceiling]:
 *  V1  A write that was acknowledged before another was submitted is overwritten by it. So once write g is
 *      acknowledged, nothing older than the oldest write that was in flight when g was submitted can be read any
 *      more: floor.
 *  V2  A read returns nothing older than the floor at its submission, and nothing newer than the newest write issued
 *      before it ended.
 *  V3  A read during which no write was in flight has seen what stays: floor and ceiling become what it saw. Version
 *      0 is what was there before us: not checked. Every load has blocks of its own.
 */
#include <errno.h>
#include <string.h>

#include <weft/log.h>
#include <weft/memory.h>

#include "cli/bench.h"

#define UNIT 512u
#define MAGIC 0x7765667476657269u

struct unit {
	uint64_t magic, offset, version, seed, checksum;
	uint64_t words[(UNIT - 40) / 8];
};
_Static_assert(sizeof(struct unit) == UNIT, "a unit is a sector");

struct block {
	uint32_t floor, ceiling, issued, oldest;
	uint32_t zero, discard;  /* newest version that is zeroes, or anything */
	uint32_t in_flight;
};

struct bench_verify {
	struct block *block;
	uint64_t bytes;
};

/* root.scratch of a load's slot, behind those of bench_load.c */
enum { SCRATCH_BLOCK = 1, SCRATCH_VERSION, SCRATCH_LIMIT };

int bench_verify_open(struct bench_load *load, struct weft_why *why)
{
	struct weft_core *core = load->bench->core;
	struct bench_verify *v = weft_alloc(core, sizeof(*v));

	load->model = v;
	if (v == NULL)
		return weft_why(why, -ENOMEM, "verify: no memory");
	v->bytes = load->blocks * sizeof(v->block[0]);
	v->block = env_pages_alloc(core->env, v->bytes, false);
	if (v->block == NULL)
		return weft_why(why, -ENOMEM, "verify: no memory for the state of %llu blocks: give a smaller --range",
			(unsigned long long)load->blocks);
	return 0;
}

void bench_verify_close(struct bench_load *load)
{
	struct bench_verify *v = load->model;

	if (v == NULL)
		return;
	if (v->block != NULL)
		env_pages_free(load->bench->core->env, v->block, v->bytes);
	weft_free(load->bench->core, v);
	load->model = NULL;
}

/* ---- units ---- */

static uint64_t checksum(const struct unit *u)
{
	uint64_t a = u->offset ^ u->seed, b = u->version;

	for (unsigned i = 0; i < WEFT_COUNT(u->words); i += 2) {
		a = (a ^ u->words[i]) * 0x9ddfea08eb382d69u;
		b = (b ^ (i + 1 < WEFT_COUNT(u->words) ? u->words[i + 1] : 0)) * 0xc2b2ae3d27d4eb4fu;
		a ^= a >> 29;
		b ^= b >> 31;
	}
	return a + (b << 1);
}

static void unit_fill(struct unit *u, uint64_t offset, uint64_t version, uint64_t seed)
{
	uint64_t word = (offset + seed) * 0x9e3779b97f4a7c15u ^ version * 0xd6e8feb86659fd93u;

	u->magic = MAGIC;
	u->offset = offset;
	u->version = version;
	u->seed = seed;
	for (unsigned i = 0; i < WEFT_COUNT(u->words); i++)
		u->words[i] = word + i * 0xa0761d6478bd642fu;
	u->checksum = checksum(u);
}

static bool unit_is_zero(const struct unit *u)
{
	const uint64_t *words = (const uint64_t *)(const void *)u;
	uint64_t any = 0;

	for (unsigned i = 0; i < UNIT / 8; i++)
		any |= words[i];
	return any == 0;
}

/* ---- requests ---- */

void bench_verify_sent(struct bench_load *load, struct weft_slot *slot, unsigned op, uint64_t index)
{
	struct block *b = &load->model->block[index];
	uint64_t offset = load->first_byte + index * load->block_bytes;
	uint64_t *scratch = slot->root.scratch;

	scratch[SCRATCH_BLOCK] = index;
	if (op == WEFT_FLUSH)
		return;
	if (op == WEFT_READ) {
		scratch[SCRATCH_VERSION] = (uint64_t)b->floor << 32 | b->issued;
		scratch[SCRATCH_LIMIT] = b->in_flight == 0;
		return;
	}
	b->ceiling = ++b->issued;
	if (b->in_flight++ == 0)
		b->oldest = b->issued;
	scratch[SCRATCH_VERSION] = b->issued;
	scratch[SCRATCH_LIMIT] = b->oldest;
	if (op == WEFT_ZERO)
		b->zero = b->issued;
	else if (op == WEFT_DISCARD)
		b->discard = b->issued;
	for (uint64_t at = 0; op == WEFT_WRITE && at < load->block_bytes; at += UNIT)
		unit_fill((struct unit *)((uint8_t *)slot->segs[0].base + at), offset + at, b->issued,
			load->bench->options.seed);
}

static void mismatch(struct bench_load *load, uint64_t offset, const struct unit *u, const char *what, uint32_t floor,
	uint32_t ceiling)
{
	load->counts.mismatches++;
	weft_log(load->bench->core, WEFT_LOG_ERROR, "verify: at byte %llu: %s: found version %llu of byte %llu, expected a version "
		"from %u to %u", (unsigned long long)offset, what, (unsigned long long)u->version,
		(unsigned long long)u->offset, floor, ceiling);
}

/* The version of a unit that was read, when it is a good one; else 0, and the mismatch is counted. */
static uint32_t unit_check(struct bench_load *load, const struct block *b, const struct unit *u, uint64_t offset, uint32_t floor)
{
	const char *what = NULL;

	if (unit_is_zero(u)) {
		if (b->zero >= floor && b->zero > 0)
			return b->zero;
		what = "zeroes";
	} else if (u->magic != MAGIC || u->seed != load->bench->options.seed) {
		what = "not our data";
	} else if (u->offset != offset) {
		what = "data of another place";
	} else if (u->checksum != checksum(u)) {
		what = "damaged data";
	} else if (u->version < floor) {
		what = "an old version";
	} else if (u->version > b->ceiling) {
		what = "a version that is not to be seen";
	} else {
		return (uint32_t)u->version;
	}
	mismatch(load, offset, u, what, floor, b->ceiling);
	return 0;
}

static void read_check(struct bench_load *load, struct weft_slot *slot, struct block *b)
{
	const uint64_t *scratch = slot->root.scratch;
	uint32_t floor = (uint32_t)(scratch[SCRATCH_VERSION] >> 32), issued = (uint32_t)scratch[SCRATCH_VERSION];
	uint32_t lowest = UINT32_MAX, highest = 0;
	bool quiet = scratch[SCRATCH_LIMIT] != 0 && b->issued == issued;

	if (floor == 0 || b->discard >= floor)
		return; /* anything may be there */
	for (uint64_t at = 0; at < load->block_bytes; at += UNIT) {
		uint64_t offset = load->first_byte + scratch[SCRATCH_BLOCK] * load->block_bytes + at;
		uint32_t version = unit_check(load, b, (struct unit *)((uint8_t *)slot->segs[0].base + at), offset, floor);

		lowest = version < lowest ? version : lowest;
		highest = version > highest ? version : highest;
	}
	if (quiet && lowest > 0) {
		b->floor = b->floor > lowest ? b->floor : lowest;
		b->ceiling = highest;
	}
}

void bench_verify_done(struct bench_load *load, struct weft_slot *slot, int status)
{
	const struct weft_hop *root = &slot->root;
	struct block *b = &load->model->block[root->scratch[SCRATCH_BLOCK]];

	if (root->op == WEFT_FLUSH)
		return;
	if (root->op == WEFT_READ) {
		if (status == 0)
			read_check(load, slot, b);
		return;
	}
	WEFT_ASSERT(b->in_flight > 0);
	b->in_flight--;
	if (status == 0 && root->scratch[SCRATCH_LIMIT] > b->floor)
		b->floor = (uint32_t)root->scratch[SCRATCH_LIMIT];
}
