/* SPDX-License-Identifier: BSD-2-Clause */
/* The record of a mirror: a file of two slots. Numbers are little-endian. */
#include "devices/mirror/record.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#include "core/core.h"
#include "core/object.h"
#include "core/reactor.h"

#define PATIENCE_NS 5000000000ull

static const char magic[8] = "weft-mir";

enum { RUNNING = 1, SUSPECT = 2 };

struct slot {
	char magic[8];
	uint32_t version, legs;
	uint64_t sequence;
	uint32_t in_sync, flags, region_shift, zero;
	char name[RECORD_LEGS][RECORD_NAME];
	char reserved[RECORD_SLOT - 48 - RECORD_LEGS * RECORD_NAME - RECORD_REGIONS / 8];
	uint64_t map[RECORD_WORDS];
	uint64_t digest; /* of all before it */
};
_Static_assert(sizeof(struct slot) == RECORD_SLOT, "a slot is what it is on disk");

/* FNV-1a: against torn and rotten slots, not against an enemy. */
static uint64_t digest_of(const struct slot *slot)
{
	const unsigned char *at = (const void *)slot;
	uint64_t digest = 0xcbf29ce484222325u;

	for (size_t i = 0; i < offsetof(struct slot, digest); i++)
		digest = (digest ^ at[i]) * 0x100000001b3u;
	return digest;
}

static struct slot *slot_of(const struct record *record, unsigned n)
{
	WEFT_ASSERT(n < 2 && record->slots != NULL);
	return (void *)(record->slots + (size_t)n * RECORD_SLOT);
}

/* ---- reading ---- */

static bool is_whole(const struct slot *slot)
{
	uint32_t legs = le32toh(slot->legs), in_sync = le32toh(slot->in_sync);

	if (memcmp(slot->magic, magic, sizeof(magic)) != 0 || le64toh(slot->digest) != digest_of(slot) ||
		le32toh(slot->version) != 2)
		return false;
	for (unsigned i = 0; i < RECORD_LEGS; i++)
		if (memchr(slot->name[i], '\0', RECORD_NAME) == NULL)
			return false;
	if (le32toh(slot->region_shift) < 9 || le32toh(slot->region_shift) > 48)
		return false;
	return legs >= 2 && legs <= RECORD_LEGS && in_sync != 0 && in_sync >> legs == 0;
}

static bool is_blank(const struct record *record)
{
	return record->slots[0] == 0 && memcmp(record->slots, record->slots + 1, 2 * RECORD_SLOT - 1) == 0;
}

/* Finds what counts (S1, S4). */
static int parse(struct record *record)
{
	const struct slot *found = NULL;

	for (unsigned i = 0; i < 2; i++) {
		const struct slot *slot = slot_of(record, i);

		if (is_whole(slot) && (found == NULL || le64toh(slot->sequence) > le64toh(found->sequence)))
			found = slot;
	}
	record->fresh = found == NULL && is_blank(record);
	if (record->fresh)
		return 0;
	if (found == NULL)
		return weft_why(record->why, -EINVAL,
			"mirror: state=%s holds no record of a mirror, or a damaged one: name another file; or, when all "
			"legs hold the same for sure, remove it",
			record->opening.path);
	record->sequence = le64toh(found->sequence);
	record->facts.legs = le32toh(found->legs);
	record->facts.in_sync = le32toh(found->in_sync);
	record->facts.running = (le32toh(found->flags) & RUNNING) != 0;
	record->facts.suspect = (le32toh(found->flags) & SUSPECT) != 0;
	record->facts.region_shift = le32toh(found->region_shift);
	memcpy(record->facts.name, found->name, sizeof(found->name));
	record->first = found == slot_of(record, 0) ? 1 : 0;
	for (unsigned i = 0; i < RECORD_WORDS; i++)
		record->map[i] = le64toh(found->map[i]);
	return 0;
}

static void submit(struct record *record, unsigned op, uint64_t offset, uint64_t len, void (*done)(struct env_io *io, int result))
{
	object_control_assert(record->core);
	WEFT_ASSERT(record->medium != NULL && record->slots != NULL);
	record->seg = (struct weft_seg){ .base = record->slots + offset, .len = (uint32_t)len };
	record->io = (struct env_io){
		.done = done, .medium = record->medium, .op = (uint8_t)op, .offset = offset, .len = len
	};
	record->io.segs = &record->seg;
	record->io.nsegs = len > 0 ? 1 : 0;
	env_medium_submit(reactor_loop(record->core->reactor[0]), &record->io);
}

static void end_opening(struct record *record, int error)
{
	if (error != 0)
		record_close(record, true);
	record->opened(record, error);
}

static void has_been_read(struct env_io *io, int result)
{
	struct record *record = WEFT_CONTAINER(io, struct record, io);

	WEFT_ASSERT(result <= 0);
	if (result != 0)
		result = weft_why(record->why, result, "mirror: state=%s cannot be read: see what its disk says",
			record->opening.path);
	end_opening(record, result != 0 ? result : parse(record));
}

static void is_open(struct opening *opening, int error)
{
	struct record *record = WEFT_CONTAINER(opening, struct record, opening);

	WEFT_ASSERT(record->slots == NULL && (error == 0) == (record->medium != NULL));
	if (error == -EWOULDBLOCK)
		weft_why(record->why, error,
			"mirror: state=%s is used by another mirror, here or in another process: stop the other, or name another "
			"file",
			opening->path);
	else if (error == -EEXIST)
		weft_why(record->why, error,
			"mirror: state=%s is there already, and is no state of a mirror: name another file", opening->path);
	else if (error == 0 && record->info.size < 2 * RECORD_SLOT)
		error = weft_why(record->why, -EINVAL,
			"mirror: state=%s has %llu bytes, and a record takes %u: it is no state of a mirror, or one of another "
			"version; name another file; or, when all legs hold the same for sure, remove it",
			opening->path, (unsigned long long)record->info.size, 2 * RECORD_SLOT);
	else if (error == 0 && (record->slots = weft_alloc_aligned(record->core, 4096, 2 * RECORD_SLOT)) == NULL)
		error = weft_why(record->why, -ENOMEM, "mirror: no memory for the record of state=%s", opening->path);
	if (error != 0)
		end_opening(record, error);
	else
		submit(record, WEFT_READ, 0, 2 * RECORD_SLOT, has_been_read);
}

void record_open(struct record *record, const char *path, struct weft_why *why)
{
	WEFT_ASSERT(record->medium == NULL && record->opened != NULL && record->written != NULL);
	record->why = why;
	record->opening = (struct opening){
		.core = record->core,
		.path = path,
		.wants = { .direct = ENV_DIRECT_OFF, .create_size = 2 * RECORD_SLOT, .lock = true },
		.patience_ns = PATIENCE_NS,
		.medium = &record->medium,
		.info = &record->info,
		.why = why,
		.done = is_open,
	};
	opening_begin(&record->opening);
}

/* ---- writing: one slot, flush, the other slot, flush (S1) ---- */

static void fill_slot(const struct record *record, struct slot *slot)
{
	const struct record_facts *facts = &record->facts;

	WEFT_ASSERT(facts->legs >= 2 && facts->legs <= RECORD_LEGS && facts->in_sync != 0);
	WEFT_ASSERT(facts->in_sync >> facts->legs == 0);
	memset(slot, 0, sizeof(*slot));
	memcpy(slot->magic, magic, sizeof(magic));
	slot->version = htole32(2);
	slot->legs = htole32(facts->legs);
	slot->sequence = htole64(record->sequence);
	slot->in_sync = htole32(facts->in_sync);
	slot->flags = htole32((facts->running ? RUNNING : 0u) | (facts->suspect ? SUSPECT : 0u));
	slot->region_shift = htole32(facts->region_shift);
	memcpy(slot->name, facts->name, sizeof(slot->name));
	for (unsigned i = 0; i < RECORD_WORDS; i++)
		slot->map[i] = htole64(record->map[i]);
	slot->digest = htole64(digest_of(slot));
}

static void step_done(struct env_io *io, int result);

static void step(struct record *record)
{
	unsigned slot = record->step == 0 ? record->first : !record->first;

	if (record->step % 2 == 0)
		submit(record, WEFT_WRITE, slot * RECORD_SLOT, RECORD_SLOT, step_done);
	else
		submit(record, WEFT_FLUSH, 0, 0, step_done);
}

static void step_done(struct env_io *io, int result)
{
	struct record *record = WEFT_CONTAINER(io, struct record, io);

	WEFT_ASSERT(result <= 0 && record->step < 4);
	if (result == 0 && ++record->step < 4) {
		step(record);
		return;
	}
	if (result != 0 && record->step >= 2)
		record->first = !record->first; /* now that one is not known to be whole */
	record->step = 0;
	for (unsigned i = 0; result == 0 && i < RECORD_WORDS; i++)
		record->durable[i] = le64toh(slot_of(record, 0)->map[i]);
	record->written(record, result);
}

void record_write(struct record *record)
{
	WEFT_ASSERT(record->medium != NULL && record->step == 0);
	record->sequence++;
	record->writes++;
	for (unsigned i = 0; i < RECORD_WORDS; i++) /* S3 */
		record->durable[i] &= record->map[i];
	fill_slot(record, slot_of(record, 0));
	memcpy(slot_of(record, 1), slot_of(record, 0), RECORD_SLOT);
	step(record);
}

uint32_t record_region_shift(uint64_t size)
{
	uint32_t shift = (uint32_t)__builtin_ctzll(RECORD_REGION_LEAST);

	while (shift < 48 && size >> shift > RECORD_REGIONS)
		shift++;
	return shift;
}

void record_close(struct record *record, bool unlink)
{
	WEFT_ASSERT(record->step == 0);
	if (record->medium != NULL) {
		if (unlink && record->info.created)
			env_medium_unlink_created(record->medium);
		env_medium_close(record->medium);
	}
	weft_free(record->core, record->slots);
	record->medium = NULL;
	record->slots = NULL;
}
