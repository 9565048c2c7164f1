/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory of a command's own requests: shared and registered, so that a vhost-user server uses it in place. */
#ifndef CLI_IO_MEMORY_H
#define CLI_IO_MEMORY_H

#include <weft/base.h>

struct env_mapping;
struct weft_core;

/* Zeroed before it is opened; to be closed also when that failed. */
struct io_memory {
	struct weft_core *core;
	struct env_mapping *mapping;
	int fd, region;
	uint8_t *base;
	uint64_t bytes;
};

/* Control, before the devices are built. 0 or -errno with `why`, which names `remedy`. */
int io_memory_open(struct io_memory *memory, struct weft_core *core, const char *name, uint64_t bytes, const char *remedy,
	struct weft_why *why);
/* No request uses it. Control. */
void io_memory_close(struct io_memory *memory);

#endif
