/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each message of the front end means: one function each, and one table. The checker has made sure of version, size and
 * descriptors. A handler changes what is wanted; when the answer has to wait for the rings it says MESSAGE_WAITS.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "exports/vhost_user/vux.h"

static int reply_u64(struct vux_connection *c, uint64_t value)
{
	return connection_reply(c, &value, sizeof(value), -1);
}

static int after_nothing(struct vux_connection *c)
{
	(void)c;
	return 0;
}

/* The answer waits until every ring is as wanted. */
static int wait_for_rings(struct vux_connection *c)
{
	WEFT_ASSERT(c->after == NULL);
	c->after = after_nothing;
	return MESSAGE_WAITS;
}

/* The ring that a message names; NULL with c->why. */
static struct vux_ring *ring_named(struct vux_connection *c, uint64_t index)
{
	struct vux_ring *ring;

	WEFT_ASSERT(control_is_here(c->exp) && c->state == VUX_OPEN && c->exp->queues <= VUX_QUEUES_MAX);
	if (index >= c->exp->queues) {
		weft_why(&c->why, -EINVAL, "%s: ring %" PRIu64 ": there are %" PRIu64 " (queues=)",
			vhost_user_name(c->msg.header.request), index, c->exp->queues);
		return NULL;
	}
	ring = ring_get(c, (unsigned)index);
	if (ring == NULL)
		weft_why(&c->why, -ENOMEM, "no memory for ring %" PRIu64, index);
	return ring;
}

/* ---- features ---- */

static int on_get_features(struct vux_connection *c)
{
	return reply_u64(c, features_offered(c->exp));
}

static int on_set_features(struct vux_connection *c)
{
	uint64_t wanted = c->msg.payload.u64, offered = features_offered(c->exp);

	if ((wanted & ~offered) != 0)
		return weft_why(&c->why, -EINVAL,
			"SET_FEATURES: 0x%" PRIx64 " has bits that were not offered (0x%" PRIx64 ")", wanted,
			offered);
	if (wanted == c->features)
		return 0;
	if ((wanted >> VHOST_F_LOG_ALL & 1) != 0 && migration_covers(c, &c->log, c->map) != 0)
		return -EINVAL;
	c->features = wanted;
	connection_changed(c);
	return wait_for_rings(c);
}

static int on_get_protocol_features(struct vux_connection *c)
{
	return reply_u64(c, protocol_offered());
}

static int on_set_protocol_features(struct vux_connection *c)
{
	uint64_t wanted = c->msg.payload.u64;

	if ((wanted & ~protocol_offered()) != 0)
		return weft_why(&c->why, -EINVAL,
			"SET_PROTOCOL_FEATURES: 0x%" PRIx64 " has bits that were not offered (0x%" PRIx64 ")",
			wanted, protocol_offered());
	c->protocol = wanted;
	return 0;
}

static int on_get_queue_num(struct vux_connection *c)
{
	return reply_u64(c, c->exp->queues);
}

static int on_get_max_mem_slots(struct vux_connection *c)
{
	return reply_u64(c, VUX_MEMORY_MAX);
}

static int on_nothing(struct vux_connection *c)
{
	(void)c;
	return 0;
}

/* ---- configuration space ---- */

static int on_get_config(struct vux_connection *c)
{
	struct vhost_user_config *said = &c->msg.payload.config;
	struct virtio_blk_config config;

	WEFT_ASSERT(said->size <= sizeof(said->region));
	config_fill(c, &config);
	for (uint32_t i = 0; i < said->size; i++) {
		uint64_t at = (uint64_t)said->offset + i;

		said->region[i] = at < sizeof(config) ? ((const uint8_t *)&config)[at] : 0;
	}
	return connection_reply(c, said, VHOST_USER_CONFIG_HEAD + said->size, -1);
}

/* Only the write cache may be switched. A migration's destination gets all of the space: what is not ours to change is ignored. */
static int on_set_config(struct vux_connection *c)
{
	const struct vhost_user_config *said = &c->msg.payload.config;
	uint32_t at = VIRTIO_BLK_CONFIG_WRITEBACK;
	bool migration = (said->flags & VHOST_USER_CONFIG_MIGRATION) != 0;
	bool has_it = said->offset <= at && at - said->offset < said->size;

	WEFT_ASSERT(said->size <= sizeof(said->region));
	if (!migration && !(said->offset == at && said->size == 1))
		return weft_why(&c->why, -EINVAL,
			"SET_CONFIG: bytes %u to %" PRIu64 ": only the write cache (byte %u) can be changed",
			said->offset, (uint64_t)said->offset + said->size, at);
	if (!has_it || (said->region[at - said->offset] & 1) == c->write_cache)
		return 0;
	return cache_switch(c, !c->write_cache);
}

/* ---- rings ---- */

static int on_set_vring_num(struct vux_connection *c)
{
	const struct vhost_user_vring_state *said = &c->msg.payload.state;
	struct vux_ring *ring = ring_named(c, said->index);

	if (ring == NULL)
		return -EINVAL;
	if (said->num == 0 || said->num > VIRTQ_MAX_NUM)
		return weft_why(&c->why, -EINVAL, "SET_VRING_NUM: %u entries: 1 to %u are possible", said->num, VIRTQ_MAX_NUM);
	ring->setup.num = said->num;
	ring_changed(ring);
	return wait_for_rings(c);
}

static int on_set_vring_addr(struct vux_connection *c)
{
	const struct vhost_user_vring_addr *said = &c->msg.payload.addr;
	struct vux_ring *ring = ring_named(c, said->index);

	if (ring == NULL)
		return -EINVAL;
	ring->setup.desc = said->desc;
	ring->setup.driver = said->avail;
	ring->setup.device = said->used;
	ring->setup.log_address = said->log;
	ring->setup.log_used = (said->flags & VHOST_USER_VRING_LOG) != 0;
	ring->setup.has_addresses = true;
	ring_changed(ring);
	return wait_for_rings(c);
}

static int on_set_vring_base(struct vux_connection *c)
{
	const struct vhost_user_vring_state *said = &c->msg.payload.state;
	struct vux_ring *ring = ring_named(c, said->index);

	if (ring == NULL)
		return -EINVAL;
	ring->setup.base = said->num;
	ring->setup.base_given = true;
	ring_changed(ring);
	return wait_for_rings(c);
}

static int after_get_vring_base(struct vux_connection *c)
{
	struct vhost_user_vring_state answer = { .index = c->msg.payload.state.index };

	WEFT_ASSERT(c->ring[answer.index] != NULL && c->ring[answer.index]->state == VUX_STOPPED);
	answer.num = c->ring[answer.index]->setup.base;
	return connection_reply(c, &answer, sizeof(answer), -1);
}

/* Stops the ring; it starts again with a new SET_VRING_KICK. */
static int on_get_vring_base(struct vux_connection *c)
{
	struct vux_ring *ring = ring_named(c, c->msg.payload.state.index);

	WEFT_ASSERT(c->after == NULL);
	if (ring == NULL)
		return -EINVAL;
	ring->setup.has_kick = false;
	ring_changed(ring);
	c->after = after_get_vring_base;
	return MESSAGE_WAITS;
}

static int on_set_vring_fd(struct vux_connection *c, int (*set)(struct vux_ring *ring, int fd))
{
	struct vux_ring *ring = ring_named(c, c->msg.payload.u64 & VHOST_USER_VRING_INDEX);
	int status;

	if (ring == NULL)
		return -EINVAL;
	status = set(ring, connection_take_fd(c));
	if (status != 0)
		return weft_why(&c->why, status, "%s: the descriptor cannot be used: %s", vhost_user_name(c->msg.header.request),
			strerrordesc_np(-status));
	return wait_for_rings(c);
}

static int on_set_vring_kick(struct vux_connection *c)
{
	return on_set_vring_fd(c, ring_set_kick);
}

static int on_set_vring_call(struct vux_connection *c)
{
	return on_set_vring_fd(c, ring_set_call);
}

static int on_set_vring_err(struct vux_connection *c)
{
	return on_set_vring_fd(c, ring_set_error);
}

static int on_set_vring_enable(struct vux_connection *c)
{
	const struct vhost_user_vring_state *said = &c->msg.payload.state;
	struct vux_ring *ring = ring_named(c, said->index);

	if (ring == NULL)
		return -EINVAL;
	ring->setup.enable_said = true;
	ring->setup.enabled = said->num != 0;
	return wait_for_rings(c);
}

/* ---- resets, status ---- */

static void disable_rings(struct vux_connection *c)
{
	WEFT_ASSERT(control_is_here(c->exp));
	for (unsigned i = 0; i < c->exp->queues; i++)
		if (c->ring[i] != NULL)
			ring_disable(c->ring[i]);
}

/* "Used to request disabling all rings": so they are, and nothing else is forgotten. */
static int on_reset_owner(struct vux_connection *c)
{
	disable_rings(c);
	return wait_for_rings(c);
}

static int after_reset(struct vux_connection *c)
{
	WEFT_ASSERT(c->state == VUX_OPEN && connection_is_settled(c));
	for (unsigned i = 0; i < c->exp->queues; i++)
		if (c->ring[i] != NULL)
			ring_reset(c->ring[i]);
	inflight_reset(c);
	c->write_cache = true;
	c->status = 0;
	return 0;
}

/* Memory, the channel and the features that were negotiated stay. */
static int on_reset_device(struct vux_connection *c)
{
	WEFT_ASSERT(c->after == NULL);
	disable_rings(c);
	c->after = after_reset;
	return MESSAGE_WAITS;
}

static int on_set_status(struct vux_connection *c)
{
	if (c->msg.payload.u64 > UINT8_MAX)
		return weft_why(&c->why, -EINVAL, "SET_STATUS: 0x%" PRIx64 " is more than a byte", c->msg.payload.u64);
	if (c->msg.payload.u64 == 0 && c->status != 0)
		return on_reset_device(c);
	c->status = (uint8_t)(c->msg.payload.u64 | (c->status & VIRTIO_CONFIG_S_NEEDS_RESET));
	return 0;
}

static int on_get_status(struct vux_connection *c)
{
	return reply_u64(c, c->status);
}

static int on_set_backend_req_fd(struct vux_connection *c)
{
	return channel_open(c, connection_take_fd(c));
}

/* ---- the table ---- */

static int (*const table[])(struct vux_connection *c) = {
	[VHOST_USER_GET_FEATURES] = on_get_features,
	[VHOST_USER_SET_FEATURES] = on_set_features,
	[VHOST_USER_SET_OWNER] = on_nothing,
	[VHOST_USER_RESET_OWNER] = on_reset_owner,
	[VHOST_USER_SET_MEM_TABLE] = memory_set_table,
	[VHOST_USER_SET_LOG_BASE] = migration_set_log_base,
	[VHOST_USER_SET_LOG_FD] = migration_set_log_fd,
	[VHOST_USER_SET_VRING_NUM] = on_set_vring_num,
	[VHOST_USER_SET_VRING_ADDR] = on_set_vring_addr,
	[VHOST_USER_SET_VRING_BASE] = on_set_vring_base,
	[VHOST_USER_GET_VRING_BASE] = on_get_vring_base,
	[VHOST_USER_SET_VRING_KICK] = on_set_vring_kick,
	[VHOST_USER_SET_VRING_CALL] = on_set_vring_call,
	[VHOST_USER_SET_VRING_ERR] = on_set_vring_err,
	[VHOST_USER_GET_PROTOCOL_FEATURES] = on_get_protocol_features,
	[VHOST_USER_SET_PROTOCOL_FEATURES] = on_set_protocol_features,
	[VHOST_USER_GET_QUEUE_NUM] = on_get_queue_num,
	[VHOST_USER_SET_VRING_ENABLE] = on_set_vring_enable,
	[VHOST_USER_SET_BACKEND_REQ_FD] = on_set_backend_req_fd,
	[VHOST_USER_GET_CONFIG] = on_get_config,
	[VHOST_USER_SET_CONFIG] = on_set_config,
	[VHOST_USER_GET_INFLIGHT_FD] = inflight_get,
	[VHOST_USER_SET_INFLIGHT_FD] = inflight_set,
	[VHOST_USER_RESET_DEVICE] = on_reset_device,
	[VHOST_USER_GET_MAX_MEM_SLOTS] = on_get_max_mem_slots,
	[VHOST_USER_ADD_MEM_REG] = memory_add,
	[VHOST_USER_REM_MEM_REG] = memory_remove,
	[VHOST_USER_SET_STATUS] = on_set_status,
	[VHOST_USER_GET_STATUS] = on_get_status,
};

int message_handle(struct vux_connection *c)
{
	uint32_t request = c->msg.header.request;

	WEFT_ASSERT(c->state == VUX_OPEN && c->after == NULL);
	if (request >= WEFT_COUNT(table) || table[request] == NULL)
		return weft_why(&c->why, -EOPNOTSUPP, "%s (%u): it belongs to a feature that was not offered",
			vhost_user_name(request), request);
	return table[request](c);
}
