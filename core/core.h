/* SPDX-License-Identifier: BSD-2-Clause */
/* One weft: what a process (or a simulated node) has of everything. No state lives outside it. */
#ifndef CORE_CORE_H
#define CORE_CORE_H

#include <weft/memory.h>
#include <weft/reactor.h>

#include "core/objects.h"

#define CORE_REACTORS_MAX 64

struct env;
struct objects; /* core/objects.h */
struct regions; /* core/region.h */
struct log;     /* core/log.h */
struct weft_blk;

struct weft_core {
	struct env *env;
	/* [0]: control; below `reactors`: ours, which do I/O as long as the core is open; the others: the program's, or NULL. What
	 * lies beyond `reactors` is looked at and changed by control only. */
	struct weft_reactor *reactor[CORE_REACTORS_MAX];
	unsigned reactors;
	uint32_t budget;       /* of slots, per reactor */
	/* Closed ones of the program, the oldest first: their memory says so to who still asks them. */
	struct weft_reactor *retired, **retired_tail;
	unsigned nretired;
	struct objects *objects;
	struct regions *regions;
	struct log *log;
	bool lanes_come;       /* a program will open reactors of its own */
	bool leaving[CORE_REACTORS_MAX]; /* lanes whose reactor has left, and is not closed */
	bool abandoned;        /* the program could not begin: what devices made for it (a file with create=) is taken away again */
	struct objects_hook blk_hook, export_hook;
	void (*resized)(void *self, struct weft_blk *blk); /* libweft's: a device has another size; control. NULL: none */
	void *resized_self;
};

struct core_wants {
	unsigned io_reactors;  /* at least 1 */
	bool control_fd;       /* the control reactor's loop has a descriptor (env_loop_fd) */
	bool no_threads;       /* the caller steps all reactors (reactor_step): benchmarks, programs with a loop of their own */
	const int *cpus;       /* io_reactors of them, or NULL: anywhere */
	enum weft_mode mode;
	uint32_t budget;       /* slots per reactor; 0: 1024 */
};

/* Makes the control reactor (stepped by the caller, core_run) and the I/O reactors (a thread each where the environment has
 * threads). */
int core_open(struct env *env, const struct core_wants *wants, struct weft_core **out, struct weft_why *why);
/* Steps the control reactor in this thread until core_quit. */
void core_run(struct weft_core *core);
void core_quit(struct weft_core *core);
/*
 * A reactor of the program's own, at a free lane. Control. -ENOSPC: there is none. Going is in three steps: `leave` (control):
 * nobody sends it anything new; then its own thread runs it until its inbox is empty; `close` (control): the lane is free.
 */
int core_lane_open(struct weft_core *core, uint32_t budget, bool movable, struct weft_reactor **out, struct weft_why *why);
void core_lane_leave(struct weft_core *core, struct weft_reactor *reactor);
void core_lane_close(struct weft_core *core, struct weft_reactor *reactor);

/* All objects and the program's reactors are gone. Ends and joins the reactors' threads. */
void core_close(struct weft_core *core);

#endif
