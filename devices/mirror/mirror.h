/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A mirror from the inside. mirror.c: the data path; state.c: the control thread's part, which legs are in sync, and the record
 * of it; record.c: the file.
 *
 * Invariants:
 *  M1  Every live leg holds every acknowledged write. So a leg that failed a write which another live leg took is
 *      dropped before the write is acknowledged, and a write that no live leg took fails.
 *  M2  There is always a live leg: `live` only loses legs, never the last one, and each change is one atomic step
 *      that looks at both sides (settle).
 *  M3  All legs get the same bytes: data that somebody outside could change meanwhile is copied once.
 *  M4  Legs agree about discarded ranges, too: a discard is passed on as a zeroing, which may unmap.
 *  M5  Every leg that the record calls in sync holds every acknowledged write: `recorded`, by bit. What changes a mirror is
 *      acknowledged only when all of `recorded` have done it; else it waits until the record says less, durably. So a leg that
 *      was dropped is not read after a restart either. Without state= nothing can be recorded: no leg is dropped, and a write
 *      that one of them fails, fails (unrecorded=fail).
 *  M6  live is part of recorded; recorded changes on the control thread only (unrecorded=acknowledge: it follows live), and
 *      only loses legs.
 *  M7  Live legs differ only in ranges whose last change was not acknowledged: it failed or was aborted on all of them, or the
 *      process ended meanwhile. From the first such moment on (`suspect`, recorded at the latest by the next start) reads ask
 *      one leg as long as it lives, so that such a range does not read now this, now that. A change that was cut off on some
 *      legs by an abort, but done by another, is done again there.
 *  M8  A leg that answers -ERANGE to what lies beyond the size it has by now has not failed: it has become smaller before we have.
 */
#ifndef DEVICES_MIRROR_MIRROR_H
#define DEVICES_MIRROR_MIRROR_H

#include <stdatomic.h>

#include "devices/bounce.h"
#include "devices/mirror/record.h"

#define MIRROR_LEGS RECORD_LEGS

enum { MIRROR_ROUND_ROBIN, MIRROR_FIRST, MIRROR_LEAST_BUSY };
enum { MIRROR_FAIL, MIRROR_ACKNOWLEDGE };

/* Of one request, behind its hop. */
struct mirror_request {
	struct bounce bounce;
	struct weft_msg msg; /* to the control thread and back */
	struct mirror_request *next;
	struct weft_hop *hop;
	weft_reactor_fn *resume;
	uint8_t ok; /* legs that have done it */
	int status;
};

struct mirror {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *leg[MIRROR_LEGS];
	uint32_t policy, unrecorded;
	char *state;
	unsigned legs;
	atomic_uint live, recorded; /* bit per leg; any reactor */
	atomic_bool suspect, opened; /* opened: somebody opened a stack on it */
	/* control thread */
	struct record record;
	struct weft_task *task;         /* start or stop, while the record is read or written for it */
	struct mirror_request *waiting; /* for the record */
};

/* Waits until the record says of all legs that miss this request that they are not in sync: then request->resume(hop) runs on
 * the hop's reactor, with request->status. Set hop, ok and resume. On that reactor; the mirror has a state. */
void state_record(struct mirror *mirror, struct mirror_request *request);

/* Reads the record, judges the legs, records that the mirror runs; ends through `task`. Control thread. */
void state_start(struct mirror *mirror, struct weft_task *task);
/* Records that all is well; ends through `task`. Control thread. */
void state_stop(struct mirror *mirror, struct weft_task *task);

#endif
