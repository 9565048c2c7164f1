/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a mirror must know when it starts again: which legs hold all that was acknowledged. A small file (state=) beside the
 * legs, which are used as they are and have no room for it. Control thread.
 *
 * Invariants:
 *  S1  The file holds the same record twice, in two slots of RECORD_SLOT bytes, written and flushed one behind the other: at any
 *      moment one of them is whole. The whole one with the higher sequence counts.
 *  S2  `written` says 0 when both are durable. A loss of power before leaves what was, or what was to be.
 *  S3  A file that holds neither a whole record nor nothing at all is refused: nobody guesses.
 */
#ifndef DEVICES_MIRROR_RECORD_H
#define DEVICES_MIRROR_RECORD_H

#include "devices/opening.h"

#define RECORD_SLOT 4096u
#define RECORD_LEGS 8u
#define RECORD_NAME 448u

/* What is recorded. */
struct record_facts {
	uint32_t legs;
	uint32_t in_sync; /* by bit: holds all that was acknowledged */
	bool running;     /* not stopped since: requests may have been under way */
	bool suspect;     /* those in sync may differ where a request was not acknowledged */
	char name[RECORD_LEGS][RECORD_NAME];
};

struct record {
	struct weft_core *core;
	struct env_medium *medium; /* NULL: not open */
	struct env_medium_info info;
	struct opening opening;
	struct weft_why *why;
	struct record_facts facts; /* as found, or as last asked to be written */
	uint64_t sequence;
	bool fresh;                /* there has never been a record in the file */
	char *slots;               /* memory of both */
	unsigned step;
	struct weft_seg seg;
	struct env_io io;
	void (*opened)(struct record *record, int error);
	void (*written)(struct record *record, int error);
};

/* Opens the file, or makes it, and reads it: `opened`, maybe inside the call. When that says an error, with `why`, nothing is
 * left open. Set core, opened and written, zero the rest. */
void record_open(struct record *record, const char *path, struct weft_why *why);
/* Writes record->facts: `written`, not inside the call. One at a time. */
void record_write(struct record *record);
/* Nothing is being written. unlink: takes the file away again if it was made by record_open. */
void record_close(struct record *record, bool unlink);

#endif
