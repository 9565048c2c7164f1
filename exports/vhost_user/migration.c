/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log of live migration: SET_LOG_BASE, SET_LOG_FD. What is marked, and when, is in queue.c and wire/virtq.
 *
 * Where writes are logged, the log has a bit for each page of the memory table: a page that is written and cannot be marked is lost
 * in the migration, and nobody knows. So whatever would change that is refused: a log that is too short, logging switched on with
 * one, memory that comes beyond it. QEMU gives a longer log before it gives more memory.
 */
#include <errno.h>
#include <inttypes.h>

#include "exports/vhost_user/vux.h"

int migration_covers(struct vux_connection *c, const struct vux_area *log, const struct vux_map *map)
{
	const struct vmap_region *last;
	uint64_t end;

	WEFT_ASSERT(control_is_here(c->exp));
	if (log->mapping == NULL || map == NULL)
		return 0;
	last = &map->regions[map->count - 1]; /* by guest address */
	if (vhost_log_covers(log->size, last->gpa, last->size))
		return 0;
	end = last->gpa + last->size;
	return weft_why(&c->why, -EINVAL, "%s: guest memory up to 0x%" PRIx64 " needs a dirty log of %" PRIu64 " bytes, and has "
		"one of %" PRIu64 ": what is written beyond it would be lost in the migration: give a longer log first "
		"(SET_LOG_BASE)",
		vhost_user_name(c->msg.header.request), end, (end - 1) / VHOST_LOG_PAGE / 8 + 1, log->size);
}

/* With LOG_SHMFD the front end waits for an answer, which is a number. */
static int migration_after(struct vux_connection *c)
{
	uint64_t zero = 0;

	WEFT_ASSERT(c->log.mapping != NULL);
	area_drop(&c->old_log);
	return connection_reply(c, &zero, sizeof(zero), -1);
}

int migration_set_log_base(struct vux_connection *c)
{
	const struct vhost_user_log *said = &c->msg.payload.log;
	struct vux_area area;
	int fd = connection_take_fd(c), status;

	WEFT_ASSERT(c->after == NULL);
	if (fd < 0)
		return weft_why(&c->why, -EINVAL, "SET_LOG_BASE: no descriptor came with it; negotiate LOG_SHMFD and send one");
	status = area_map(c, &area, fd, said->offset, said->size);
	if (status != 0)
		return status;
	status = migration_covers(c, &area, c->map);
	if (status != 0) {
		area_drop(&area);
		return status;
	}
	return area_replace(c, &area, &c->log, &c->old_log, migration_after);
}

/* The front end reads the log when it likes; we have nobody to wake, so the descriptor is not kept. */
int migration_set_log_fd(struct vux_connection *c)
{
	int fd = connection_take_fd(c);

	if (fd >= 0)
		env_fd_close(export_core(c->exp)->env, fd);
	return 0;
}
