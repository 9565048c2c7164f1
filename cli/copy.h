/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copying a device to a device. A copy has workers, one on each reactor, each with a part of the source; a worker hands out
 * pieces of its part in order, several at once.
 *
 *   copy.c         the command: options, devices, sizes, beginning and end
 *   copy_run.c     control: workers begin and end, flushes, the state file
 *   copy_worker.c  the data path of a worker: which piece comes next
 *   copy_piece.c   the data path of a piece: read, write or zero, compare
 *   copy_state.c   the state file's text
 *   copy_report.c  progress, result, JSON
 *
 * A piece is *copied* when reads of the destination return there what the source held, *settled* when that survives loss of power
 * as well. Invariants:
 *  C1  A worker's mark: all of its part below is copied. What is in flight, or failed, lies at the mark or above.
 *  C2  What the state file calls copied was below a mark that was read before a flush was submitted, and that flush had ended well
 *      before the file was written: it is settled.
 *  C3  The state file is replaced as a whole and has a checksum. One that is damaged, or of another copy, is refused; with
 *      one, a destination is never made anew: it must be there.
 *  C4  The parts of the workers do not overlap, nor do the pieces of a part; their bounds are multiples of both devices' blocks.
 *      Nobody touches a piece's memory but the one request that it has in flight (verifying: two, each its own half).
 *  C5  Zeroes are not written only where the destination said that it reads as zeroes, asked in this run and before this run
 *      wrote there; or where the user said so (--target-is-zero).
 *  C6  Copying, what the source calls zeroes, and nothing else, is not read. A hole that does not say so is read.
 *  C7  All flushes are worker 0's, one after the other. After one that failed nothing is settled any more: a disk that tells of
 *      a loss once need not tell again. A flush that no settling waits for only makes the next one shorter.
 *  C8  After the first error nothing more is handed out; what is in flight ends; then what was copied is settled as always.
 *  C9  Verifying reads all of both and believes nobody: what a device says of its zeroes may be the very thing that is wrong.
 */
#ifndef CLI_COPY_H
#define CLI_COPY_H

#include <stdatomic.h>

#include <weft/export.h>

#include "cli/copy_state.h"
#include "cli/io_memory.h"
#include "core/core.h"
#include "core/extents.h"
#include "env/env.h"

enum {
	COPY_EXTENTS = 512,              /* of one answer */
	COPY_MAP_BYTES = COPY_EXTENTS * sizeof(struct weft_extent),
	COPY_GRAIN = 64 << 10,           /* --sparse: zeroes are looked for in pieces of this size */
	COPY_ZERO_MAX = 128 << 20,       /* of one request, so that progress is seen */
	COPY_AHEAD = 128 << 20,          /* options.ahead_bytes of the command */
};

struct copy_options {
	uint64_t piece_bytes;   /* of a read or write */
	uint64_t depth;         /* pieces in flight of a worker */
	uint64_t queues;        /* workers */
	uint64_t rate;          /* bytes per second that are moved; 0: as fast as it goes */
	uint64_t checkpoint_ns; /* between two writes of the state file */
	uint64_t ahead_bytes;   /* written between two flushes, so that a cache empties while it is filled */
	bool sparse, verify, target_is_zero;
	const char *resume;     /* the state file; NULL: none */
};

/* What a device said about a range of itself. */
struct copy_map {
	struct weft_slot *slot; /* its memory is shared with the device */
	bool asking;
	struct extents told;
	struct weft_extent extent[COPY_EXTENTS];
};

struct copy_worker;

struct copy_piece {
	struct copy_piece *next;       /* free, or in the order in which they were handed out */
	struct copy_worker *worker;
	uint64_t from, len;
	uint64_t done, run;            /* copied so far; what is being written */
	uint8_t *data, *other;         /* other: the destination's, when verifying */
	struct weft_slot *source, *target;
	uint8_t in_flight;
	bool zero;                     /* copying: the source says that it reads as zeroes there */
	bool target_zero;              /* the destination does */
	bool ended, failed;
};

/* Written on the worker's reactor, read by control meanwhile. */
struct copy_counts {
	uint64_t data, zeroed, left_zero, settled, compared; /* bytes */
};

struct copy_worker {
	struct copy *copy;
	struct weft_reactor *reactor;
	struct weft_session source, target;
	uint64_t from, to, at;         /* its part; what is handed out next */
	_Atomic uint64_t mark;         /* C1 */
	struct copy_piece *pieces, *free, *order, **order_tail;
	unsigned npieces, in_flight;   /* requests and questions */
	struct copy_map source_map, target_map;
	struct weft_slot *flush;
	uint64_t next_at_ns;           /* --rate: not before */
	struct weft_timer timer;
	bool open, running, told;
	uint8_t *memory;
	struct copy_counts counts;
	struct weft_msg down_msg, stop_msg, flush_msg, up_msg, flushed_msg;
	uint64_t unflushed;            /* bytes of all workers, about; worker 0's, as what follows */
	bool flushing, flush_asked, flush_answers; /* under way; control waits; ... for the one under way */
	int error, flush_error;        /* flush_error: C7 */
	struct weft_why why;
};

enum copy_phase { COPY_OPENING, COPY_COPYING, COPY_VERIFYING, COPY_CLOSING };

struct copy_progress {
	enum copy_phase phase;
	uint64_t size, at;             /* bytes of the device; of them done in this phase */
	struct copy_counts counts;
};

struct copy {
	/* the caller's */
	struct weft_core *core;
	struct copy_options options;
	struct weft_blk *source, *target;
	const char *source_text, *target_text;
	struct copy_state before;      /* settled by an earlier run */
	void (*ended)(struct copy *copy, int status); /* on the control reactor */
	/* ours */
	uint64_t size, align;          /* bytes to copy; of all bounds */
	enum copy_phase phase;
	struct io_memory memory;
	struct weft_stack *source_stack, *target_stack;
	struct copy_worker *worker;    /* options.queues of them */
	unsigned busy;                 /* workers that have not answered yet */
	bool stopping;
	bool settling, last, removing; /* under way; after the workers have ended; the state file is removed */
	int status;
	struct weft_why why;
	struct weft_task task;
	struct weft_timer timer;
	struct env_work work;
	struct copy_state now;         /* what is to be written */
	char *text;                    /* of it */
	size_t text_len, text_room;
	int work_error;
	struct weft_why work_why;
	uint64_t begun_ns, elapsed_ns;
};

/* ---- copy_run.c: control ---- */

/* Before the devices are built. 0 or -errno with `why`; copy_free also when it failed. */
int copy_open(struct copy *copy, struct weft_why *why);
void copy_free(struct copy *copy);
/* Do they fit? 0 or -EINVAL with `why`. */
int copy_check(struct copy *copy, struct weft_why *why);
/* copy_check was happy. Ends through copy->ended, always, with copy->why. */
void copy_begin(struct copy *copy);
/* Earlier: ends with -EINTR, what was copied is settled. */
void copy_stop(struct copy *copy);
void copy_sum(const struct copy *copy, struct copy_progress *out);

/* ---- copy_worker.c: messages to a worker ---- */
void copy_worker_open(void *worker);
void copy_worker_go(void *worker);
void copy_worker_stop(void *worker);
void copy_worker_flush(void *worker);
void copy_worker_close(void *worker);
/* ... and from it (copy_run.c) */
void copy_worker_answers(void *worker);
void copy_worker_flushed(void *worker);

/* A piece has ended, well or not. */
void copy_piece_ended(struct copy_piece *piece);
/* What to say of a flush that failed. Returns `error`. */
int copy_flush_why(const struct copy *copy, int error, struct weft_why *why);
/* The first error counts: what was done to which device. */
void copy_failed(struct copy_worker *worker, int error, const char *what, uint64_t offset, uint64_t len, bool target);

/* ---- copy_piece.c ---- */
void copy_piece_begin(struct copy_piece *piece);
bool copy_is_zero(const uint8_t *bytes, uint64_t len);

#endif
