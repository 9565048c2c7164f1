/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening a medium that somebody else may hold for a moment: the lock of a killed process lasts until the last of its
 * requests has ended. What create_size asks for is there for good when it is open: a worker sees to it. Control thread.
 */
#ifndef DEVICES_OPENING_H
#define DEVICES_OPENING_H

#include <weft/reactor.h>

#include "env/env.h"

/* Fill what stands above the line, zero the rest; ends through `done`, once, maybe inside the call. */
struct opening {
	struct weft_core *core;
	const char *path;
	struct env_medium_wants wants;
	uint64_t patience_ns; /* how long to ask again while it is held */
	struct env_medium **medium;
	struct env_medium_info *info;
	struct weft_why *why;
	/* It is held by somebody who will not let go: asked before waiting; NULL: not asked. */
	bool (*hopeless)(struct opening *opening);
	/* -EWOULDBLOCK: still locked, -EBUSY: a block device still claimed, when patience was over. *medium is NULL then. */
	void (*done)(struct opening *opening, int error);
	/* ---- */
	struct weft_timer retry;
	uint64_t give_up_ns;
	struct env_work keep;
	int kept;
};

void opening_begin(struct opening *opening);

#endif
