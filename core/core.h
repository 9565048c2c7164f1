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

struct weft_core {
	struct env *env;
	struct weft_reactor *reactor[CORE_REACTORS_MAX]; /* [0]: control; the others do I/O */
	unsigned reactors;
	struct objects *objects;
	struct regions *regions;
	struct log *log;
	bool abandoned;        /* the program could not begin: what devices made for it (a file with create=) is taken away again */
	struct objects_hook blk_hook, export_hook;
};

struct core_wants {
	unsigned io_reactors;  /* at least 1 */
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
/* All objects are gone. Ends and joins the reactors' threads. */
void core_close(struct weft_core *core);

#endif
