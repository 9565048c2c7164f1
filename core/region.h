/* SPDX-License-Identifier: BSD-2-Clause */
/* Registered memory: a table of regions by number, read by every reactor, changed by the control thread. */
#ifndef CORE_REGION_H
#define CORE_REGION_H

#include <weft/memory.h>
#include <weft/reactor.h>

#define REGIONS_MAX 4096

struct region {
	void *base;
	uint64_t size;
	uint64_t fd_offset;
	int fd;            /* -1: none */
	uint32_t generation; /* of the table when it was added: a device that shares regions with a peer sees what is new */
	bool pinned;
};

int regions_open(struct weft_core *core, struct weft_why *why);
void regions_close(struct weft_core *core);
/* A reactor of the program's comes, or is about to go: what is pinned is pinned for it, too. Control. */
void regions_lane_joins(struct weft_core *core, struct weft_reactor *reactor);
void regions_lane_leaves(struct weft_core *core, struct weft_reactor *reactor);
/* NULL: no such region. Any reactor, for a region that one of its requests uses. */
const struct region *region_get(struct weft_core *core, unsigned region);

#endif
