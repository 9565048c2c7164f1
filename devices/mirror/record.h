/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a mirror must know when it starts again: which legs hold all that was acknowledged. A small file (state=) beside the
 * legs, which are used as they are and have no room for it. Control thread.
 *
 * Besides, where legs may differ: a map of regions. Region n of size `region` holds all bytes whose offset / region is n, modulo
 * RECORD_REGIONS: a device that has grown needs no other map.
 *
 * Invariants:
 *  S1  The file holds the same record twice, in two slots of RECORD_SLOT bytes, written and flushed one behind the other: at any
 *      moment one of them is whole. The whole one with the higher sequence counts. When only one is known to be whole (a write
 *      was torn, or failed), the other one is written first.
 *  S2  `written` says 0 when both are durable. A loss of power before leaves what was, or what was to be.
 *  S3  `durable` says of a region only what will be read after a loss of power, whatever is being written: a bit that is being
 *      cleared is not in it from the first write on, one that is being set when all has been written.
 *  S4  A file that holds neither a whole record nor nothing at all is refused: nobody guesses.
 */
#ifndef DEVICES_MIRROR_RECORD_H
#define DEVICES_MIRROR_RECORD_H

#include "devices/opening.h"

#define RECORD_SLOT 12288u
#define RECORD_LEGS 8u
#define RECORD_NAME 448u
#define RECORD_REGIONS 65536u
#define RECORD_WORDS (RECORD_REGIONS / 64)
#define RECORD_REGION_LEAST (1ull << 20)

/* What is recorded. */
struct record_facts {
	uint32_t legs;
	uint32_t in_sync; /* by bit: holds all that was acknowledged */
	bool running;     /* not stopped since: requests may have been under way */
	bool suspect;     /* those in sync may differ where a request was not acknowledged */
	uint32_t region_shift; /* a region is 1 << region_shift bytes */
	char name[RECORD_LEGS][RECORD_NAME];
};

struct record {
	struct weft_core *core;
	struct env_medium *medium; /* NULL: not open */
	struct env_medium_info info;
	struct opening opening;
	struct weft_why *why;
	struct record_facts facts; /* as found, or as last asked to be written */
	uint64_t map[RECORD_WORDS];     /* by bit, the regions: as found, or to be written by the next record_write */
	uint64_t durable[RECORD_WORDS]; /* S3 */
	uint64_t sequence, writes;      /* writes: since it was opened */
	bool fresh;                /* there has never been a record in the file */
	char *slots;               /* memory of both */
	unsigned step;
	unsigned first;            /* the slot that is written first (S1) */
	struct weft_seg seg;
	struct env_io io;
	void (*opened)(struct record *record, int error);
	void (*written)(struct record *record, int error);
};

/* Opens the file, or makes it, and reads it: `opened`, maybe inside the call. When that says an error, with `why`, nothing is
 * left open. Set core, opened and written, zero the rest. */
void record_open(struct record *record, const char *path, struct weft_why *why);
/* Writes record->facts and record->map: `written`, not inside the call. One at a time. */
void record_write(struct record *record);
/* The region size that a new record of a device of so many bytes begins with. */
uint32_t record_region_shift(uint64_t size);
static inline bool record_bit(const uint64_t *map, uint32_t region)
{
	return (map[region / 64] >> (region % 64) & 1) != 0;
}
/* Nothing is being written. unlink: takes the file away again if it was made by record_open. */
void record_close(struct record *record, bool unlink);

#endif
