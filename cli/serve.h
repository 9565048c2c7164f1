/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The server from the inside.
 *
 *   serve.c    the command: in which order what is served begins and ends
 *   written.c  which devices there are to be and where they are to be served: from the line and from files
 *   served.c   the same, built, and found by name
 *   change.c   live changes: a layer more or less while requests are in flight
 *   control.c  the control socket: clients, requests, replies
 *   orders.c   what can be asked there, a table
 *   round.c    a message goes round the reactors
 *   grace.c    the end: requests that do not end are aborted
 *   look.c     what is told of all that: what is served, and what is collected from the reactors (waiting requests, counters)
 *   waits.c    what a change that is under way waits for, told to those who look meanwhile
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

enum { SERVE_DEVICES_MAX = ARGS_PLAIN_MAX, SERVE_EXPORTS_MAX = ARGS_LIST_MAX };

/* A device that is served. */
struct served {
	char *text;                    /* in the grammar, as it was written, or the name of the file that tells nothing else */
	int at;                        /* which word of the line it is, or its file */
	bool listed, others;           /* in a file that may say where it is served; that holds others, too */
	struct tree *tree;             /* with its layers; when it is built it tells no more than what was wanted */
	struct weft_object *device;    /* the top of its stack: a reference of ours; NULL: not built */
	bool relay;                    /* change.c: its reference is given up while the top is taken out */
};

/* Where one of them is served. */
struct serve_export {
	struct serve *serve;
	struct served *of;
	char *text;
	struct tree *tree;
	struct weft_object *object;    /* NULL: not running */
	bool frozen;
	struct objects_job job;        /* its end */
};

struct serve {
	struct world_options world;
	uint64_t reactors, grace_ns;
	bool json;
	const char *control_path;
	struct args_list on, through, config;
	const struct args *args;
	struct world w;
	struct served served[SERVE_DEVICES_MAX];
	struct serve_export export[SERVE_EXPORTS_MAX];
	unsigned devices, exports;
	unsigned ending;               /* exports */
	struct control *control;
	struct grace grace;
	bool running, stopping;        /* core_run; it is to end */
	struct weft_why why;
};

/* Ends the server: at once, or when the change that is under way has ended. */
void serve_stop(struct serve *s);

/* ---- written.c ---- */

/* Reads the line and the files: devices with their layers, exports. What is written wrongly is found here, before anything is made.
 * With s->why; what has been read stays for served_end. */
int written_read(struct serve *s);

/* ---- served.c ---- */

/* Builds all devices, then all exports, unless s->stopping. With s->why; what has been built stays for served_end. */
int served_build(struct serve *s);
/* Ends the exports, all at the same time, then the devices, the last one first. */
void served_end(struct serve *s);

/* An object of `d` (NULL: of any): the device, an export, or what is below; by name, or by kind when there is only one. NULL with
 * `why`. */
struct weft_object *serve_find(struct serve *s, const struct served *d, const char *name, struct weft_why *why);
/* A device by what was written for it or for an export of it, or by an object of its own, as serve_find has it; NULL: the only
 * one. NULL with `why`. */
struct served *served_find(struct serve *s, const char *name, struct weft_why *why);
/* The first export of a device; NULL: there is none. */
const struct serve_export *served_export(const struct serve *s, const struct served *d);
/* Names this device alone. */
const char *served_name(const struct serve *s, const struct served *d);
/* Does `from` stand on `object`, or is it the same? */
bool served_stands_on(const struct weft_object *from, const struct weft_object *object);

/* ---- change.c ---- */

/* What a change waits for. */
enum change_step {
	CHANGE_FREEZES, /* the export `at` drains, and closes its stack */
	CHANGE_MAKES,   /* the layer `tree` starts */
	CHANGE_ENDS,    /* the layer `filter`, which nothing is bound to any more, stops */
	CHANGE_THAWS,   /* the export `at` opens its stack again */
};

/* One live change; zeroed but for the first four. */
struct change {
	struct serve *serve;
	struct served *of;           /* the device that is changed; remove: NULL: that of the layer */
	void (*done)(struct change *change, int status);
	void *self;
	/* */
	enum change_step step;
	struct serve_export *at;
	void (*apply)(struct change *change);
	struct weft_task task;       /* of an export; `why` of the whole is in it at last */
	struct objects_job job;
	struct tree *tree;           /* to be inserted */
	struct weft_object *around;  /* what is rewired: exports that stand on it are frozen */
	struct weft_object *filter;  /* to be removed, or inserted */
	struct weft_object *out;
	bool inserted;
	int status;
	struct weft_why why;
};
/* `layer`: a filter in the grammar, put on top of the device. Ends through done, with change->filter. */
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
/* The order that changes something and is under way; NULL: none is. */
const struct order *control_change(const struct control *control);

/* What an order is given: its words, and where its answer goes. */
struct order {
	struct control *control;
	struct serve *serve;
	const struct order_kind *kind;
	uint64_t began_ns;
	const char *const *words; /* of the request, without the command's name; end with NULL */
	unsigned nwords;
	struct served *of;        /* the device that was named, or the only one; NULL: all of them */
	struct change change;
	struct weft_object *resized; /* whose new size is waited for; NULL: none is, see `change` */
	struct objects_job job;
};
/* The answer, exactly once for each order, at once or later: takes `result` (NULL: nothing to tell). */
void order_answer(struct order *order, json_t *result);
void order_refuse(struct order *order, int error, const struct weft_why *why);

/* ---- orders.c ---- */

struct order_kind {
	const char *name, *arguments, *help;
	unsigned least, most; /* words */
	unsigned device;      /* which word may name a device, from 1; 0: none */
	bool one;             /* it is about one device: where there are several, it must be named */
	void (*run)(struct order *order);
	bool changes;         /* changes devices, one at a time; all others are answered also while it waits */
};
extern const struct order_kind order_kinds[]; /* name == NULL ends it */
const struct order_kind *order_find(const char *name, struct weft_why *why);

/* ---- look.c ---- */

void look_info(struct order *order);
void look_config(struct order *order);
void look_requests(struct order *order);
void look_stats(struct order *order);

/* ---- waits.c ---- */

/* What the reactors know of a change that waits. */
struct waits {
	char stack[64];        /* waited for: requests of this stack; "": of none */
	unsigned requests;     /* so many, on all reactors */
	uint64_t asked_ns;     /* when the oldest of them was */
	char oldest[256];      /* its path */
};
/* `change`: what is under way, or NULL. On the control reactor. */
void waits_begin(struct waits *waits, const struct order *change);
/* On each reactor, one after the other. */
void waits_visit(struct waits *waits, struct weft_reactor *reactor);
/* Into `told`, if there is a change under way now. On the control reactor. */
void waits_tell(const struct waits *waits, const struct order *change, json_t *told);

#endif
