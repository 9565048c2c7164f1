/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The area in which requests in flight are noted, so that the next server can resubmit them: GET_INFLIGHT_FD, SET_INFLIGHT_FD. Also
 * what all shared areas have in common. The area is kept alive by the front end; its content is the matter of wire/virtq.
 */
#include <errno.h>
#include <inttypes.h>

#include "exports/vhost_user/vux.h"

#define AREA_MAX ((uint64_t)1 << 32) /* bytes: enough for the log of 128 TiB, or 256 rings of 32768 entries */

int area_map(struct vux_connection *c, struct vux_area *area, int fd, uint64_t offset, uint64_t size)
{
	struct env *env = export_core(c->exp)->env;
	int64_t file_size = env_fd_size(env, fd);
	int status;

	WEFT_ASSERT(control_is_here(c->exp));
	*area = (struct vux_area){ .size = size };
	if (size == 0 || size > AREA_MAX || offset > INT64_MAX - size || (file_size >= 0 && offset + size > (uint64_t)file_size))
		status = weft_why(&c->why, -EINVAL, "shared area of %" PRIu64 " bytes at offset %" PRIu64 " of a file of %" PRId64
			": it must lie in its file and be at most 4 GiB long", size, offset, file_size);
	else
		status = env_map(env, fd, offset, size, true, &area->mapping, &c->why);
	env_fd_close(env, fd);
	if (status != 0) {
		*area = (struct vux_area){ .mapping = NULL };
		return status;
	}
	area->base = env_mapping_base(area->mapping);
	return 0;
}

void area_drop(struct vux_area *area)
{
	WEFT_ASSERT((area->mapping == NULL) == (area->base == NULL));
	if (area->mapping != NULL)
		env_unmap(area->mapping);
	*area = (struct vux_area){ .mapping = NULL };
}

int area_replace(struct vux_connection *c, const struct vux_area *area, struct vux_area *live, struct vux_area *old,
	int (*after)(struct vux_connection *c))
{
	WEFT_ASSERT(c->after == NULL && old->mapping == NULL && area->mapping != NULL);
	*old = *live;
	*live = *area;
	connection_changed(c);
	c->after = after;
	return MESSAGE_WAITS;
}

static bool inflight_packed(const struct vux_connection *c)
{
	return connection_acked(c, VIRTIO_F_RING_PACKED);
}

/* How many queues and entries were asked for. 0 or -errno with c->why. */
static int inflight_check(struct vux_connection *c, const struct vhost_user_inflight *said)
{
	WEFT_ASSERT(c->exp->queues > 0 && c->exp->queues <= VUX_QUEUES_MAX);
	if (said->num_queues == 0 || said->num_queues > c->exp->queues)
		return weft_why(&c->why, -EINVAL, "in-flight area for %u queues: 1 to %" PRIu64 " are served (queues=)",
			said->num_queues, c->exp->queues);
	if (said->queue_size == 0 || said->queue_size > VIRTQ_MAX_NUM)
		return weft_why(&c->why, -EINVAL, "in-flight area for queues of %u entries: 1 to %u are possible", said->queue_size,
			VIRTQ_MAX_NUM);
	return 0;
}

int inflight_get(struct vux_connection *c)
{
	struct env *env = export_core(c->exp)->env;
	struct vhost_user_inflight answer = c->msg.payload.inflight;
	int fd, status = inflight_check(c, &answer);

	WEFT_ASSERT(control_is_here(c->exp));
	if (status != 0)
		return status;
	/* For either kind of ring: which it will be may not have been said yet. */
	answer.mmap_size = virtq_inflight_size(true, answer.queue_size) * answer.num_queues;
	answer.mmap_offset = 0;
	status = env_shm_create(env, "weft-inflight", answer.mmap_size, &fd);
	if (status != 0)
		return weft_why(&c->why, status, "no shared memory of %" PRIu64 " bytes for requests in flight", answer.mmap_size);
	status = connection_reply(c, &answer, c->msg.header.size, fd);
	env_fd_close(env, fd);
	return status;
}

static int inflight_after(struct vux_connection *c)
{
	area_drop(&c->old_inflight);
	return 0;
}

int inflight_set(struct vux_connection *c)
{
	const struct vhost_user_inflight *said = &c->msg.payload.inflight;
	struct vux_area area;
	int fd = connection_take_fd(c), status = inflight_check(c, said);

	WEFT_ASSERT(c->after == NULL);
	if (status != 0) {
		env_fd_close(export_core(c->exp)->env, fd);
		return status;
	}
	status = area_map(c, &area, fd, said->mmap_offset, said->mmap_size);
	if (status != 0)
		return status;
	area.queues = said->num_queues;
	area.queue_size = said->queue_size;
	return area_replace(c, &area, &c->inflight, &c->old_inflight, inflight_after);
}

bool inflight_is_short(const struct vux_connection *c, unsigned index)
{
	const struct vux_area *area = &c->inflight;

	WEFT_ASSERT(index < VUX_QUEUES_MAX && (area->mapping == NULL || area->queue_size > 0));
	return area->mapping != NULL && index < area->queues &&
		virtq_inflight_size(inflight_packed(c), area->queue_size) > area->size / (index + 1);
}

void *inflight_region(const struct vux_connection *c, unsigned index, uint16_t *num)
{
	const struct vux_area *area = &c->inflight;

	*num = area->queue_size;
	if (area->mapping == NULL || index >= area->queues || inflight_is_short(c, index))
		return NULL;
	return area->base + index * virtq_inflight_size(inflight_packed(c), area->queue_size);
}

void inflight_reset(struct vux_connection *c)
{
	WEFT_ASSERT(c->inflight.queues <= c->exp->queues && connection_is_settled(c));
	for (unsigned i = 0; i < c->inflight.queues; i++) {
		uint16_t num;

		virtq_inflight_reset(inflight_region(c, i, &num));
	}
}
