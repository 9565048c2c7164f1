/* SPDX-License-Identifier: BSD-2-Clause */
/* The dirty log of live migration: SET_LOG_BASE, SET_LOG_FD. What is marked, and when, is in queue.c and wire/virtq. */
#include <errno.h>
#include <inttypes.h>

#include "exports/vhost_user/vux.h"

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
