/* SPDX-License-Identifier: BSD-2-Clause */
/* The memory of a command's own requests. */
#include <errno.h>

#include <weft/memory.h>

#include "cli/io_memory.h"

#include "core/core.h"
#include "env/env.h"

int io_memory_open(struct io_memory *memory, struct weft_core *core, const char *name, uint64_t bytes, const char *remedy,
	struct weft_why *why)
{
	int error;

	WEFT_ASSERT(memory->core == NULL && bytes > 0);
	memory->core = core;
	memory->fd = -1;
	memory->bytes = (bytes + 4095) & ~(uint64_t)4095;
	error = env_shm_create(core->env, name, memory->bytes, &memory->fd);
	if (error != 0)
		return weft_why(why, error, "no shared memory of %llu bytes: %s", (unsigned long long)memory->bytes, remedy);
	error = env_map(core->env, memory->fd, 0, memory->bytes, true, &memory->mapping, why);
	if (error != 0)
		return error;
	memory->base = env_mapping_base(memory->mapping);
	memory->region = weft_region_add(core, memory->base, memory->bytes, memory->fd, 0, false, why);
	return memory->region > 0 ? 0 : memory->region;
}

void io_memory_close(struct io_memory *memory)
{
	if (memory->core == NULL)
		return;
	if (memory->region > 0)
		weft_region_remove(memory->core, memory->region);
	if (memory->mapping != NULL)
		env_unmap(memory->mapping);
	if (memory->fd >= 0)
		env_fd_close(memory->core->env, memory->fd);
	*memory = (struct io_memory){ 0 };
}
