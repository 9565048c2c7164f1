/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A mirror from the inside. mirror.c: the data path; lease.c: which regions a reactor may write into; order.c: who waits for whom;
 * state.c: the control thread's part, which legs are in sync, what waits for the record of it; record.c: the file; rebuild.c: how
 * legs are made equal again, on the control thread; copier.c: the reactor's part of that.
 *
 * Invariants:
 *  M1  Every live leg holds every acknowledged write. So a leg that failed a write which another live leg took is
 *      dropped before the write is acknowledged, and a write that no live leg took fails.
 *  M2  There is always a live leg: reactors only take legs out of `in_use`, never the last live one, and each change is one atomic
 *      step that looks at both sides (settle). Only the control thread adds: first as receiving, at last as live (R5).
 *  M3  All legs get the same bytes: data that somebody outside could change meanwhile is copied once. Nor does a leg copy within
 *      itself, where it may differ (M7) or be written at that moment: the waist reads one leg and writes all.
 *  M4  Legs agree about discarded ranges, too: a discard is passed on as a zeroing, which may unmap.
 *  M5  Every leg that the record calls in sync holds every acknowledged write: `recorded`, by bit. What changes a mirror is
 *      acknowledged only when all of `recorded` have done it; else it waits until the record says less, durably. So a leg that
 *      was dropped is not read after a restart either. Without state= nothing can be recorded: no leg is dropped, and a write
 *      that one of them fails, fails (unrecorded=fail).
 *  M6  What the record says or is being made to say is part of `recorded`, which changes on the control thread only
 *      (unrecorded=acknowledge: it follows the live legs).
 *  M7  Live legs differ only in ranges whose last change was not acknowledged: it failed or was aborted on all of them, or the
 *      process ended meanwhile. From the first such moment on (`suspect`, recorded at the latest by the next start) reads ask
 *      one leg as long as it lives, so that such a range does not read now this, now that; until it has been copied from that
 *      leg to the others. A change that was cut off on some legs by an abort, but done by another, is done again there.
 *  M8  A leg that answers -ERANGE to what lies beyond the size it has by now has not failed: it has become smaller before we have.
 *  M9  Legs do changes that overlap in the same order: a change begins on any leg when those before it that it overlaps with have
 *      ended on all, on whichever reactor. Else legs would differ for good, with both acknowledged.
 *
 * With state=, besides, the device is cut into regions (record.h):
 *  R1  Legs differ (M7, or as one of them is not live), or may differ after a loss of power, in regions only whose bit of the map
 *      is durably set.
 *  R2  A reactor changes a region only while it holds a lease of it. The control thread grants one when R1 allows it and nobody
 *      copies there. So in a region that no reactor holds no change is under way. A lease is asked for by the first request that
 *      needs it, is kept by all that follow, and is given back when it is called back or has not been used for a while.
 *  R3  lacks[region]: the legs that may not hold there what the others do; all of them: any two may differ. A region that
 *      lacks anything has its bit set. What lacks is copied from a live leg, in suspect mode the one that is read, while no
 *      reactor holds the region: so no change is overwritten by what was read before it.
 *  R4  A receiving leg gets all that changes the mirror, but is not read. When it begins, all regions whose bit is set lack it:
 *      changes under way then may pass it by.
 *  R5  A receiving leg becomes live when no region lacks it any more and it has been flushed since. A failure takes it out again.
 *  R6  The bit of a region is cleared when no reactor holds it, nothing lacks there, and all legs, which are all in use, have been
 *      flushed since both.
 *  R7  What failed or was cut short where nothing was refused makes the region lack all legs before it is answered.
 *  R8  A copy leaves a leg as it is only where it and the source have both said, since the region was locked for this errand, that
 *      they read as zeroes. R5 and R6 flush what a leg has said so from. What a leg does not say, or not in order, is data.
 *  R9  An errand copies its range in pieces, several at once, which do not overlap and leave nothing out. Its region stays locked
 *      until all of them have ended, and lacks what it lacked until all have ended well: after the first failure no piece is
 *      begun, and the range is copied again as a whole. So it does not matter in which order they end, nor which are cut off.
 *  R10 What a rebuild has under way does not depend on what others ask for: one errand, of it at most MIRROR_PIECES pieces, each
 *      with one request to a leg at a time. An errand ends after MIRROR_CHUNK or MIRROR_ZEROES bytes, or what the legs tell about
 *      themselves at once; no writer waits for more than that. Where there were other requests meanwhile, the next one begins only
 *      after a pause in which nothing of it is under way, several times as long as it took (pace).
 *  R11 Who closes the mirror where an errand is under way waits for it, but for a leg that does not answer not for long: then its
 *      requests are aborted, and whatever it has done does not count (R9). No leg is dropped for that.
 */
#ifndef DEVICES_MIRROR_MIRROR_H
#define DEVICES_MIRROR_MIRROR_H

#include <stdatomic.h>

#include "core/extents.h"
#include "devices/bounce.h"
#include "devices/mirror/record.h"

#define MIRROR_LEGS RECORD_LEGS
/* What an errand of a rebuild does at most, while writers of the region wait: bytes that it copies, or zeroes. */
#define MIRROR_CHUNK (256u << 10)
#define MIRROR_ZEROES (1u << 20)
#define MIRROR_PIECES 8            /* under way at once */
#define MIRROR_PIECE (64u << 10)   /* bytes that one of them copies, or a block */
#define MIRROR_GAP (32u << 10)     /* a hole of so many bytes is copied with the data before it rather than zeroed by itself */
#define MIRROR_PATIENCE_NS 1000000000ull /* of who wants to close */
#define MIRROR_EXTENTS 64 /* of a leg's answer about itself */
#define MIRROR_NO_REGION UINT32_MAX

enum { MIRROR_ROUND_ROBIN, MIRROR_FIRST, MIRROR_LEAST_BUSY };
enum { MIRROR_FAIL, MIRROR_ACKNOWLEDGE };

/* What a request waits for on the control thread. */
enum mirror_wait {
	MIRROR_WAITS_LEASE,  /* of its regions */
	MIRROR_WAITS_RECORD, /* M5: that says of all legs that miss it that they are not in sync */
};

/* Of one request, behind its hop. */
struct mirror_request {
	struct bounce bounce;
	struct weft_msg msg; /* to the control thread and back */
	struct mirror_request *next;
	struct mirror_request *behind; /* order.c: the one before it; when the queue has been turned round, after it */
	struct weft_hop *hop;
	weft_reactor_fn *resume; /* on the hop's reactor, with `status` */
	uint32_t region, regions; /* the first, how many; 0: none (a flush) */
	uint32_t turn, turns, taken; /* M9: the first, how many, how many it has or waits for */
	uint8_t wait;             /* enum mirror_wait */
	uint8_t ok;               /* legs that have done it */
	bool tears;               /* R7: it ends with `status`, and the legs may differ */
	atomic_bool aborted;      /* it waits for leases no more; set by its reactor, read by control */
	int status;
};

#define MIRROR_TURNS 3947 /* a prime, so that streams at distances that are powers of two do not meet */

/* Of pieces of the device, by number (M9). */
struct mirror_turn {
	atomic_uintptr_t latest;     /* any reactor: free, taken, or the latest of those that wait since it was looked at */
	struct mirror_request *next; /* of who has the turn: who gets it next */
};

/* What one reactor holds (R2). Of its thread, but `returned` and what is asked while a message is under way. */
struct mirror_lane {
	struct mirror *mirror;
	unsigned lane;
	struct weft_msg recall, sweep;
	uint32_t asked, recalled; /* the region to be given back; by whom it is so far */
	bool empty;               /* after a sweep: nothing is held */
	uint64_t held[RECORD_WORDS], used[RECORD_WORDS], returned[RECORD_WORDS];
	uint16_t changes[RECORD_REGIONS]; /* under way */
};

/* What the control thread asks a reactor to do below the mirror. */
struct mirror_errand {
	struct weft_msg msg;
	struct mirror *mirror;
	unsigned lane;
	unsigned op;          /* WEFT_COPY, WEFT_FLUSH */
	uint64_t offset, len; /* of a copy: at most so far */
	unsigned source;      /* a leg */
	unsigned targets;     /* by bit; of a flush: all that are asked */
	/* The answer: */
	bool closed;          /* nobody has the mirror open there: nothing was done */
	bool cut;             /* R11 */
	bool read_failed;
	unsigned failed;      /* by bit */
	int error;
	uint64_t done;        /* bytes from `offset` on; the sum of those that follow */
	uint64_t copied, zeroed, left; /* left: as they were */
};

/* A part of an errand's range that is dealt with in one way. */
struct mirror_run {
	uint64_t at, len; /* bytes; len 0: none */
	bool copies;      /* the source has data there */
	unsigned zeroing; /* else: targets, by bit, that do not say that they read as zeroes; 0: all is as it should be */
};

/* One that is under way. */
struct mirror_piece {
	struct mirror_run run;
	struct weft_seg seg;
	unsigned pending; /* requests; 0: the piece is free */
};

/* Of one reactor: hops and memory for errands. */
struct mirror_copier {
	char *memory;
	uint64_t bytes;
	struct mirror_errand *errand; /* NULL: none is under way */
	struct mirror_piece piece[MIRROR_PIECES];
	uint64_t began_ns;        /* the errand */
	unsigned busy;            /* pieces that are not free */
	uint64_t at, to;          /* what has been given to pieces ends here; what the legs have told of ends there */
	uint64_t copying, zeroing; /* bytes given to pieces */
	struct mirror_run ahead;  /* begins at `at` */
	struct extents told[MIRROR_LEGS]; /* by the source; by the targets, if the source has a hole */
	struct weft_seg answer[MIRROR_LEGS];
};

enum mirror_doing { REBUILD_RESTS, REBUILD_LOCKS, REBUILD_COPIES, REBUILD_SWEEPS, REBUILD_FLUSHES };

/* Control thread. */
struct mirror_rebuild {
	enum mirror_doing doing;
	struct weft_timer timer;
	struct mirror_errand errand;
	/* by region */
	uint64_t *holders; /* by bit: lanes that may hold it */
	uint8_t *lacks;    /* R3 */
	uint64_t leasing, sweeping; /* by bit: lanes that may hold something; that are asked to sweep */
	uint32_t locked;   /* R3: nobody is granted this one; MIRROR_NO_REGION: none */
	unsigned awaited;  /* lanes that have not given it back */
	/* the region under way */
	uint32_t region;   /* MIRROR_NO_REGION: none */
	uint64_t at;
	unsigned source, targets, unreadable;
	bool torn;         /* it has changed in a way that has it begin anew */
	/* pace */
	uint64_t sweep_at, not_before, began_ns, foreground;
	/* by leg: when one that is out is tried again, and how long that took to come; when it came back */
	uint64_t retry_at[MIRROR_LEGS], wait_ns[MIRROR_LEGS], back_at[MIRROR_LEGS];
	uint64_t copied, zeroed, told_ns; /* bytes; since the start */
};

struct mirror {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *leg[MIRROR_LEGS];
	uint32_t policy, unrecorded;
	char *state;
	bool rebuilds;               /* rebuild= */
	uint64_t rate, region_size;  /* rebuild-rate=, bytes/s, 0: as fast as it goes; region=, 0: by the size */
	unsigned legs;
	atomic_uint in_use;          /* bit per leg: live; from MIRROR_RECEIVING on: receiving; any reactor */
	atomic_uint recorded;        /* bit per leg; any reactor */
	atomic_bool suspect, opened; /* opened: somebody opened a stack on it */
	atomic_ullong open_lanes;
	atomic_bool leaving;         /* somebody wants to close what an errand keeps open */
	atomic_bool waking;
	struct weft_msg wake;        /* to the control thread: something for a rebuild may have come */
	struct mirror_lane **lane;   /* with state=: by lane, for each reactor; does not change while running */
	struct mirror_turn turn[MIRROR_TURNS]; /* any reactor */
	/* control thread */
	struct record record;
	bool writing;                   /* the record */
	bool wanted;                    /* it is to be written, after what is being written */
	struct weft_task *task;         /* start or stop, while the record is read or written for it */
	struct mirror_request *waiting, **waiting_tail;
	struct mirror_rebuild rebuild;
};

#define MIRROR_RECEIVING 8
static inline unsigned mirror_live(const struct mirror *mirror)
{
	return atomic_load_explicit(&mirror->in_use, memory_order_relaxed) & ((1u << MIRROR_RECEIVING) - 1);
}
static inline unsigned mirror_receiving(const struct mirror *mirror)
{
	return atomic_load(&mirror->in_use) >> MIRROR_RECEIVING;
}
/* All that changes are sent to. */
static inline unsigned mirror_written(const struct mirror *mirror)
{
	unsigned in_use = atomic_load_explicit(&mirror->in_use, memory_order_relaxed);

	return (in_use | in_use >> MIRROR_RECEIVING) & ((1u << MIRROR_RECEIVING) - 1);
}
static inline unsigned mirror_all(const struct mirror *mirror)
{
	return (1u << mirror->legs) - 1;
}

/* mirror.c. M1 and M2: what a request did to the legs, as one step. 0, or `error` when no live leg did it. */
int mirror_settle(struct mirror *mirror, unsigned ok, unsigned failed, int error);
/* M8 */
bool mirror_leg_shrank(const struct weft_blk *leg, const struct weft_hop *hop, int status);

/* lease.c. On the hop's reactor: true: it has what it needs; false: request->resume is called when it has, or with a status. Set
 * resume. */
bool lease_take(struct mirror *mirror, struct weft_hop *hop);
/* It was waited for and is there. */
void lease_enter(struct mirror *mirror, struct weft_hop *hop);
void lease_give(struct mirror *mirror, struct weft_hop *hop);
/* Control thread. Lanes are asked to give back the region, or what they do not use; each answers by the other one. */
int leases_open(struct mirror *mirror, struct weft_why *why);
void leases_close(struct mirror *mirror);
void lease_recall(struct mirror_lane *lane, uint32_t region);
void lease_sweep(struct mirror_lane *lane);

/* order.c. M9, on the hop's reactor: true: it may go on; false: request->resume is called when it may. Set resume. The request's
 * msg is used meanwhile. */
bool order_take(struct mirror *mirror, struct weft_hop *hop);
/* All legs have ended it. */
void order_give(struct mirror *mirror, struct weft_hop *hop);

/* state.c. Waits for request->wait: set all from `hop` on but status, which `tears` needs as well. On the hop's reactor. */
void state_wait(struct mirror *mirror, struct mirror_request *request);
/* Control thread: answers those that need not wait any more; writes the record if somebody waits for that, or it is wanted. */
void state_serve(struct mirror *mirror);
/* Reads the record, judges the legs, records that the mirror runs; ends through `task`. Control thread. */
void state_start(struct mirror *mirror, struct weft_task *task);
/* Records that all is well; ends through `task`. Control thread. */
void state_stop(struct mirror *mirror, struct weft_task *task);
/* Control thread: nothing is under way any more that held up a stop. */
void state_stop_now(struct mirror *mirror);

/* rebuild.c. Control thread, but rebuild_wake: any. */
int rebuild_open(struct mirror *mirror, struct weft_why *why);
void rebuild_close(struct mirror *mirror);
/* Looks what is to be done. */
void rebuild_go_on(struct mirror *mirror);
void rebuild_wake(struct mirror *mirror);
/* Is a message or an errand of its under way? */
bool rebuild_is_busy(const struct mirror *mirror);
/* The region lacks these legs from now on (R3, R7). */
void rebuild_mark(struct mirror *mirror, uint32_t region, unsigned legs);
/* The record says: all that its map has lacks all legs. */
void rebuild_take_over(struct mirror *mirror);
void rebuild_recalled(struct mirror_lane *lane);
void rebuild_swept(struct mirror_lane *lane);
void rebuild_errand_done(struct mirror_errand *errand);
void rebuild_describe(const struct mirror *mirror, weft_describe_put *put, void *self);
/* How many regions lack any of these legs. */
unsigned rebuild_regions_lacking(const struct mirror *mirror, unsigned legs);

/* copier.c. On the reactor. */
int copier_open(struct mirror *mirror, struct mirror_copier *copier, struct weft_reactor *reactor, struct weft_why *why);
void copier_close(struct mirror *mirror, struct mirror_copier *copier);
/* Asked again and again by who wants to close it: no errand is under way. R11 */
bool copier_is_to_close(struct mirror_copier *copier, uint64_t now);
/* Control thread: has the errand done on its lane, and rebuild_errand_done called. */
void copier_send(struct mirror_errand *errand);
/* mirror.c: of the shard on the reactor that runs this; NULL: closed. */
struct mirror_copier *mirror_copier_here(struct mirror *mirror, unsigned lane);
struct mirror_copier *mirror_copier_of(struct weft_hop *own);

#endif
