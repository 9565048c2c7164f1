/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The conformance run: what every device must do, tried from outside, one thing after the other.
 *
 *   check.c        the command: the device is opened, the cases are run, what came of each is told
 *   check_rig.c    requests, asked by the control thread and answered on the reactors
 *   check_cases.c  what is tried; each case stands by itself and leaves nothing in flight
 *   check_verdict.c what came of them
 *   check_load.c   many requests at once, judged by the layer `contract`
 */
#ifndef CLI_CHECK_H
#define CLI_CHECK_H

#include <weft/export.h>

#include "cli/check_verdict.h"
#include "cli/world.h"

enum {
	CHECK_LANES = 4,               /* reactors at most */
	CHECK_SLOTS = 256,             /* requests in flight on each */
	CHECK_SPAN = 64 << 20,         /* of the device: its first and its last bytes are used */
	CHECK_LONG = 32 << 20,         /* the longest request */
	CHECK_GAP = 2 << 20,           /* of the memory: what lies between the data of two requests */
};

struct check;

/* One request. Fill what stands above the line. */
struct check_request {
	unsigned op, flags, lane;
	uint64_t offset, len, source;
	const struct weft_seg *segs; /* until it has ended */
	unsigned nsegs;
	struct check_request *also;  /* of the same lane: begun in the same turn */
	/* ---- */
	struct check *check;
	struct weft_msg msg, back;
	int status;
	bool ended;
};

struct check_case {
	const char *name;
	void (*run)(struct check *check);
};
extern const struct check_case check_cases[]; /* name == NULL ends it */

struct check {
	struct world w;
	struct world_options world;
	uint64_t seed, lanes, timeout_ns;
	bool destroy, json;
	const char *text;              /* the device, as it was written */
	struct weft_object *object, *over; /* over: put on it for a case */
	const char *present;           /* the case */
	struct weft_blk *blk;
	struct weft_stack *stack;
	struct weft_session session[CHECK_LANES];
	struct weft_task task;
	struct weft_msg msg;
	struct weft_timer patience;
	bool done, late, interrupted;
	int status;
	uint64_t rng;
	uint8_t *data, *back;          /* CHECK_LONG and a gap each */
	struct check_verdict verdict;
};

/* ---- check_rig.c ---- */

/* On check->blk: a stack, and a session on each reactor. */
int check_open(struct check *check, struct weft_why *why);
void check_close(struct check *check);
void check_start(struct check *check, struct check_request *request); /* and those that are to begin with it */
/* Its status. A request that does not end ends the case, the run, and the program. */
int check_wait(struct check *check, struct check_request *request);
/* Both, with one segment (data != NULL). */
int check_ask(struct check *check, unsigned op, unsigned flags, uint64_t offset, uint64_t len, void *data);
uint64_t check_rand(struct check *check, uint64_t below);
/* Asks for another size, and waits. */
int check_resize(struct check *check, uint64_t size);

/* ---- for the cases: check_verdict_add ---- */
void check_failed(struct check *check, const char *format, ...) WEFT_PRINTF(2, 3);
void check_skipped(struct check *check, const char *format, ...) WEFT_PRINTF(2, 3);

/* ---- check.c ---- */
/* The line of the present case, and it is over. */
void check_tell(struct check *check, const char *name);
/* The last line; the exit status. */
int check_summary(const struct check *check);
/* Takes the device's stack away, and opens one on `text` instead; the other way round with NULL. */
int check_swap(struct check *check, const char *text);
/* Has the device, as it was written, such an option? Then it is opened again with it (NULL: without); else the case is skipped,
 * and nothing has happened. */
int check_reopen(struct check *check, const char *option, const char *value);

/* ---- check_load.c ---- */
void check_load(struct check *check);

#endif
