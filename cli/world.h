/* SPDX-License-Identifier: BSD-2-Clause */
/* What every command that does I/O needs around it: environment, core, built-in components; and the options that say how they run. */
#ifndef CLI_WORLD_H
#define CLI_WORLD_H

#include <weft/object.h>
#include <weft/reactor.h>

#include "core/core.h"

struct world_options {
	uint32_t mode;     /* enum weft_mode */
	const char *cpus;  /* "0,2-3"; NULL: anywhere */
};
#define WORLD_MODES "poll|adaptive|notify"

struct world {
	struct env *env;
	struct weft_core *core;
};

/* Opens both; `reactors` do I/O (0: one for each of `cpus`, else one). -errno with `why`, and then nothing is open. */
int world_open(struct world *world, const struct world_options *options, unsigned reactors, uint32_t budget,
	struct weft_why *why);
/* Everything has been released. */
void world_close(struct world *world);

/* "error: ..." to standard error, and the exit status that goes with it. */
int world_failed(const char *who, int error, const struct weft_why *why);

#endif
