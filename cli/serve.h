/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The server from the inside.
 *
 *   serve.c    the command: what is built, in which order it begins and ends
 *   change.c   live changes: a layer more or less while requests are in flight
 *   control.c  the control socket: clients, requests, replies
 *   orders.c   what can be asked there, a table
 *   round.c    a message goes round the reactors
 *   grace.c    the end: requests that do not end are aborted
 *   look.c     what is collected from the reactors: waiting requests, counters
 */
#ifndef CLI_SERVE_H
#define CLI_SERVE_H

#include <jansson.h>

#include <weft/export.h>

#include "cli/world.h"

struct control;

/* ---- round.c ---- */

/* A message that goes round: visit() on each reactor that does I/O, then ended() on the control reactor. */
struct round {
	struct weft_core *core;
	void (*visit)(struct round *round, struct weft_reactor *reactor);
	void (*ended)(struct round *round);
	/* */
	struct weft_msg msg;
	unsigned lane;
};
void round_begin(struct round *round);

/* ---- grace.c ---- */

/* Zero-initialised. */
struct grace {
	struct round round;
	struct weft_timer timer;
	unsigned aborted;              /* in this round */
	bool under_way, closing;
};
/* From `ns` on, what is in flight is aborted. Once; the second time does nothing. On the control reactor. */
void grace_begin(struct grace *grace, struct weft_core *core, uint64_t ns);
/* Everything has been released. */
void grace_end(struct grace *grace);

/* ---- serve.c ---- */

enum { SERVE_EXPORTS_MAX = ARGS_LIST_MAX };

struct serve {
	struct world_options world;
	uint64_t reactors, grace_ns;
	bool json;
	const char *config, *control_path;
	struct args_list on, through;
	const char *text;              /* the device, as it was written */
	struct world w;
	struct weft_object *device;    /* what is served: a reference of ours */
	struct weft_object *export[SERVE_EXPORTS_MAX];
	bool frozen[SERVE_EXPORTS_MAX];
	unsigned exports;              /* running */
	struct control *control;
	struct grace grace;
	bool running, stopping;        /* core_run; it is to end */
	struct weft_why why;
};

/* Ends the server: at once, or when the change that is under way has ended. */
void serve_stop(struct serve *s);
/* The device or an export, or something below it: by name, or by kind when there is only one. NULL with `why`. */
struct weft_object *serve_find(struct serve *s, const char *name, struct weft_why *why);

/* ---- change.c ---- */

/* One live change; zeroed but for the first three. */
struct change {
	struct serve *serve;
	void (*done)(struct change *change, int status);
	void *self;
	/* */
	void (*apply)(struct change *change);
	struct weft_task task;       /* of an export; `why` of the whole is in it at last */
	struct objects_job job;
	struct tree *tree;           /* to be inserted */
	struct weft_object *filter;  /* to be removed, or inserted */
	struct weft_object *out;
	bool inserted;
	int status;
	struct weft_why why;
};
/* `layer`: a filter in the grammar, put on top of what is served. Ends through done, with change->filter. */
void change_insert(struct change *change, const char *layer);
void change_remove(struct change *change, const char *name);

/* ---- control.c ---- */

int control_open(struct serve *s, const char *path, struct control **out, struct weft_why *why);
/* No order is under way. */
void control_close(struct control *control);
/* From now on orders are carried out. */
void control_begin(struct control *control);
/* An order is under way. */
bool control_is_busy(const struct control *control);

/* What an order is given: its words, and where its answer goes. */
struct order {
	struct control *control;
	struct serve *serve;
	const char *const *words; /* of the request, without the command's name; end with NULL */
	unsigned nwords;
	struct change change;
	struct objects_job job;
};
/* The answer, exactly once for each order, at once or later: takes `result` (NULL: nothing to tell). */
void order_answer(struct order *order, json_t *result);
void order_refuse(struct order *order, int error, const struct weft_why *why);

/* ---- orders.c ---- */

struct order_kind {
	const char *name, *arguments, *help;
	unsigned least, most; /* words */
	void (*run)(struct order *order);
	bool meanwhile;       /* carried out also while a change waits for what is in flight */
};
extern const struct order_kind order_kinds[]; /* name == NULL ends it */
const struct order_kind *order_find(const char *name, struct weft_why *why);

/* ---- look.c ---- */

void look_requests(struct order *order);
void look_stats(struct order *order);

#endif
