/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory of a connection: SET_MEM_TABLE, ADD_MEM_REG, REM_MEM_REG. Each change makes a new map, has every ring started anew
 * with it, and answers when the last request in the old one has ended; only then what was replaced is unmapped.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "exports/vhost_user/vux.h"

static void memory_free(struct vux_connection *c, struct vux_memory *m)
{
	struct weft_core *core = export_core(c->exp);

	WEFT_ASSERT(m->region >= 0 && (m->region == 0 || m->mapping != NULL));
	if (m->region > 0)
		weft_region_remove(core, m->region);
	if (m->mapping != NULL)
		env_unmap(m->mapping);
	env_fd_close(core->env, m->fd);
	weft_free(core, m);
}

/* Maps one region. The descriptor belongs to the result, or is closed. 0 or -errno with c->why. */
static int memory_make(struct vux_connection *c, const struct vhost_user_region *said, int fd, struct vux_memory **out)
{
	struct weft_core *core = export_core(c->exp);
	struct vux_memory *m;
	int64_t file_size = env_fd_size(core->env, fd);
	int status;

	WEFT_ASSERT(control_is_here(c->exp) && c->state == VUX_OPEN);
	if (said->size == 0 || said->size > INT64_MAX || said->mmap_offset > INT64_MAX - said->size ||
			(file_size >= 0 && said->mmap_offset + said->size > (uint64_t)file_size)) {
		env_fd_close(core->env, fd);
		return weft_why(&c->why, -EINVAL, "memory region of %" PRIu64 " bytes at offset %" PRIu64 " of a file of %" PRId64
			": it must lie in its file", said->size, said->mmap_offset, file_size);
	}
	m = weft_alloc(core, sizeof(*m));
	if (m == NULL) {
		env_fd_close(core->env, fd);
		return weft_why(&c->why, -ENOMEM, "no memory to note a memory region");
	}
	*m = (struct vux_memory){ .gpa = said->gpa, .uva = said->uva, .size = said->size,
		.fd_offset = said->mmap_offset, .fd = fd };
	status = env_map(core->env, fd, said->mmap_offset, said->size, true, &m->mapping, &c->why);
	if (status != 0) {
		m->mapping = NULL;
		memory_free(c, m);
		return status;
	}
	m->hva = env_mapping_base(m->mapping);
	status = weft_region_add(core, m->hva, m->size, fd, m->fd_offset, c->exp->pin, &c->why);
	if (status < 0) {
		memory_free(c, m);
		return status;
	}
	WEFT_ASSERT(status > 0 && status <= UINT16_MAX);
	m->region = status;
	*out = m;
	return 0;
}

/* The map of `count` regions: checked by wire/vmap. 0 or -errno with c->why. */
static int memory_map(struct vux_connection *c, struct vux_memory **memory, unsigned count, struct vux_map **out)
{
	struct weft_core *core = export_core(c->exp);
	size_t regions = count * sizeof(struct vmap_region);
	struct vux_map *map = weft_alloc(core, sizeof(*map) + regions + count * sizeof(*map->mappings));
	const char *reason = "";

	WEFT_ASSERT(count > 0 && count <= VUX_MEMORY_MAX);
	if (map == NULL)
		return weft_why(&c->why, -ENOMEM, "no memory for a map of %u memory regions", count);
	map->count = count;
	map->mappings = (struct env_mapping **)(void *)((char *)map->regions + regions);
	for (unsigned i = 0; i < count; i++) {
		const struct vux_memory *m = memory[i];

		map->mappings[i] = m->mapping;
		map->regions[i] = (struct vmap_region){ .gpa = m->gpa, .uva = m->uva, .size = m->size, .fd_offset = m->fd_offset,
			.hva = m->hva, .region = (uint16_t)m->region, .fd = m->fd };
	}
	if (vmap_init(&map->vmap, map->regions, count, &reason) != 0) {
		weft_free(core, map);
		return weft_why(&c->why, -EINVAL, "memory table: %s", reason);
	}
	if (connection_acked(c, VHOST_F_LOG_ALL) && migration_covers(c, &c->log, map) != 0) {
		weft_free(core, map);
		return -EINVAL;
	}
	*out = map;
	return 0;
}

/* Frees what was replaced; no ring uses it any more. */
static void memory_drop_old(struct vux_connection *c)
{
	WEFT_ASSERT(control_is_here(c->exp) && c->old_memories <= VUX_MEMORY_MAX);
	for (unsigned i = 0; i < c->old_memories; i++)
		memory_free(c, c->old_memory[i]);
	c->old_memories = 0;
	weft_free(export_core(c->exp), c->old_map);
	c->old_map = NULL;
}

void memory_drop_all(struct vux_connection *c)
{
	WEFT_ASSERT(c->state == VUX_CLOSING && c->memories <= VUX_MEMORY_MAX);
	memory_drop_old(c);
	for (unsigned i = 0; i < c->memories; i++)
		memory_free(c, c->memory[i]);
	c->memories = 0;
	weft_free(export_core(c->exp), c->map);
	c->map = NULL;
}

bool memory_is_broken(const struct vux_map *map)
{
	for (unsigned i = 0; i < map->count; i++)
		if (env_mapping_broken(map->mappings[i]))
			return true;
	return false;
}

static int memory_after(struct vux_connection *c)
{
	memory_drop_old(c);
	return 0;
}

/* Puts the new map in place; what it replaces waits in old_* for the rings. An empty table: no map, so no ring runs. */
static int memory_replace(struct vux_connection *c, struct vux_map *map)
{
	WEFT_ASSERT(c->after == NULL && (map == NULL) == (c->memories == 0));
	WEFT_ASSERT(c->old_map == NULL);
	c->old_map = c->map;
	c->map = map;
	connection_changed(c);
	c->after = memory_after;
	return MESSAGE_WAITS;
}

int memory_set_table(struct vux_connection *c)
{
	const struct vhost_user_memory *said = &c->msg.payload.memory;
	struct vux_memory *memory[VHOST_USER_MAX_REGIONS];
	struct vux_map *map = NULL;
	unsigned made = 0;
	int status = 0;

	WEFT_ASSERT(said->nregions <= VHOST_USER_MAX_REGIONS && said->nregions == c->nfds && c->old_memories == 0);
	while (status == 0 && made < said->nregions) {
		int fd = c->fds[made];

		c->fds[made] = -1;
		status = memory_make(c, &said->regions[made], fd, &memory[made]);
		made += status == 0;
	}
	if (status == 0 && made > 0)
		status = memory_map(c, memory, made, &map);
	if (status != 0) {
		while (made > 0)
			memory_free(c, memory[--made]);
		return status;
	}
	memcpy(c->old_memory, c->memory, c->memories * sizeof(c->memory[0]));
	c->old_memories = c->memories;
	memcpy(c->memory, memory, made * sizeof(memory[0]));
	c->memories = made;
	return memory_replace(c, map);
}

int memory_add(struct vux_connection *c)
{
	struct vux_map *map;
	int status;

	WEFT_ASSERT(c->memories <= VUX_MEMORY_MAX && c->old_memories == 0);
	if (c->memories == VUX_MEMORY_MAX)
		return weft_why(&c->why, -ENOSPC, "ADD_MEM_REG: %u memory regions are there, and there is room for no more",
			VUX_MEMORY_MAX);
	status = memory_make(c, &c->msg.payload.memreg.region, connection_take_fd(c), &c->memory[c->memories]);
	if (status != 0)
		return status;
	status = memory_map(c, c->memory, c->memories + 1, &map);
	if (status != 0) {
		memory_free(c, c->memory[c->memories]);
		return status;
	}
	c->memories++;
	return memory_replace(c, map);
}

int memory_remove(struct vux_connection *c)
{
	const struct vhost_user_region *said = &c->msg.payload.memreg.region;
	struct vux_map *map = NULL;
	struct vux_memory *gone;
	unsigned at = 0;
	int status = 0;

	WEFT_ASSERT(c->memories <= VUX_MEMORY_MAX && c->old_memories == 0);
	while (at < c->memories && (c->memory[at]->gpa != said->gpa || c->memory[at]->uva != said->uva ||
			c->memory[at]->size != said->size))
		at++;
	if (at == c->memories)
		return weft_why(&c->why, -ENOENT,
			"REM_MEM_REG: no region of %" PRIu64 " bytes at guest address 0x%" PRIx64 " is there",
			said->size, said->gpa);
	gone = c->memory[at];
	c->memory[at] = c->memory[c->memories - 1];
	if (c->memories > 1)
		status = memory_map(c, c->memory, c->memories - 1, &map);
	if (status != 0) {
		c->memory[at] = gone;
		return status;
	}
	c->memory[--c->memories] = NULL;
	c->old_memory[c->old_memories++] = gone;
	return memory_replace(c, map);
}
