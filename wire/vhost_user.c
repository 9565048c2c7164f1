/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of vhost-user messages, and the check that reads it. */
#include "wire/vhost_user.h"

#include <weft/base.h>

#include <string.h>

/* Lengths and descriptors of one message. Those that depend on the payload are looked at in the check of the contents. */
struct vhost_user_rule {
	const char *name;
	uint16_t min, max;             /* payload of the request, bytes */
	uint8_t fd_min, fd_max;
	bool replies;                  /* has a reply of its own */
	uint16_t reply_min, reply_max; /* its payload, bytes */
	uint8_t reply_fds;             /* descriptors in it at most */
};

enum {
	U64 = sizeof(uint64_t),
	STATE = sizeof(struct vhost_user_vring_state),
	CONFIG_MIN = VHOST_USER_CONFIG_HEAD,
	CONFIG_MAX = sizeof(struct vhost_user_config),
	INFLIGHT_MIN = 20, /* without the padding */
	INFLIGHT_MAX = sizeof(struct vhost_user_inflight),
	MEMORY_MIN = 8,
	MEMORY_MAX = sizeof(struct vhost_user_memory),
	MEM_REG = sizeof(struct vhost_user_memreg),
	IOTLB_MIN = 26,
	IOTLB_MAX = sizeof(struct vhost_user_iotlb),
	UUID = 16,
	ANY = VHOST_USER_MAX_PAYLOAD,
};

static const struct vhost_user_rule front_rules[VHOST_USER_FRONT_END] = {
	[VHOST_USER_GET_FEATURES] = {"GET_FEATURES", 0, 0, 0, 0, true, U64, U64, 0},
	[VHOST_USER_SET_FEATURES] = {"SET_FEATURES", U64, U64, 0, 0, false, 0, 0, 0},
	[VHOST_USER_SET_OWNER] = {"SET_OWNER", 0, 0, 0, 0, false, 0, 0, 0},
	[VHOST_USER_RESET_OWNER] = {"RESET_OWNER", 0, 0, 0, 0, false, 0, 0, 0},
	[VHOST_USER_SET_MEM_TABLE] = {"SET_MEM_TABLE", MEMORY_MIN, MEMORY_MAX, 0, VHOST_USER_MAX_REGIONS, false, 0, 0, 0},
	/* Without LOG_SHMFD it is one number; the reply is empty or a number, by back end. */
	[VHOST_USER_SET_LOG_BASE] = {"SET_LOG_BASE", U64, sizeof(struct vhost_user_log), 0, 1, true, 0, U64, 0},
	[VHOST_USER_SET_LOG_FD] = {"SET_LOG_FD", 0, U64, 1, 1, false, 0, 0, 0},
	[VHOST_USER_SET_VRING_NUM] = {"SET_VRING_NUM", STATE, STATE, 0, 0, false, 0, 0, 0},
	[VHOST_USER_SET_VRING_ADDR] = {"SET_VRING_ADDR", sizeof(struct vhost_user_vring_addr),
				       sizeof(struct vhost_user_vring_addr), 0, 0, false, 0, 0, 0},
	[VHOST_USER_SET_VRING_BASE] = {"SET_VRING_BASE", STATE, STATE, 0, 0, false, 0, 0, 0},
	[VHOST_USER_GET_VRING_BASE] = {"GET_VRING_BASE", STATE, STATE, 0, 0, true, STATE, STATE, 0},
	[VHOST_USER_SET_VRING_KICK] = {"SET_VRING_KICK", U64, U64, 0, 1, false, 0, 0, 0},
	[VHOST_USER_SET_VRING_CALL] = {"SET_VRING_CALL", U64, U64, 0, 1, false, 0, 0, 0},
	[VHOST_USER_SET_VRING_ERR] = {"SET_VRING_ERR", U64, U64, 0, 1, false, 0, 0, 0},
	[VHOST_USER_GET_PROTOCOL_FEATURES] = {"GET_PROTOCOL_FEATURES", 0, 0, 0, 0, true, U64, U64, 0},
	[VHOST_USER_SET_PROTOCOL_FEATURES] = {"SET_PROTOCOL_FEATURES", U64, U64, 0, 0, false, 0, 0, 0},
	[VHOST_USER_GET_QUEUE_NUM] = {"GET_QUEUE_NUM", 0, 0, 0, 0, true, U64, U64, 0},
	[VHOST_USER_SET_VRING_ENABLE] = {"SET_VRING_ENABLE", STATE, STATE, 0, 0, false, 0, 0, 0},
	[VHOST_USER_SEND_RARP] = {"SEND_RARP", U64, U64, 0, 0, false, 0, 0, 0},
	[VHOST_USER_NET_SET_MTU] = {"NET_SET_MTU", U64, U64, 0, 0, false, 0, 0, 0},
	[VHOST_USER_SET_BACKEND_REQ_FD] = {"SET_BACKEND_REQ_FD", 0, U64, 1, 1, false, 0, 0, 0},
	[VHOST_USER_IOTLB_MSG] = {"IOTLB_MSG", IOTLB_MIN, IOTLB_MAX, 0, 0, true, U64, U64, 0},
	[VHOST_USER_SET_VRING_ENDIAN] = {"SET_VRING_ENDIAN", STATE, STATE, 0, 0, false, 0, 0, 0},
	/* Nothing, or a head of length 0, is the reply that says: failed. */
	[VHOST_USER_GET_CONFIG] = {"GET_CONFIG", CONFIG_MIN, CONFIG_MAX, 0, 0, true, 0, CONFIG_MAX, 0},
	[VHOST_USER_SET_CONFIG] = {"SET_CONFIG", CONFIG_MIN, CONFIG_MAX, 0, 0, false, 0, 0, 0},
	[VHOST_USER_CREATE_CRYPTO_SESSION] = {"CREATE_CRYPTO_SESSION", 0, ANY, 0, 0, true, 0, ANY, 0},
	[VHOST_USER_CLOSE_CRYPTO_SESSION] = {"CLOSE_CRYPTO_SESSION", U64, U64, 0, 0, false, 0, 0, 0},
	[VHOST_USER_POSTCOPY_ADVISE] = {"POSTCOPY_ADVISE", 0, 0, 0, 0, true, 0, U64, 1},
	[VHOST_USER_POSTCOPY_LISTEN] = {"POSTCOPY_LISTEN", 0, 0, 0, 0, false, 0, 0, 0},
	[VHOST_USER_POSTCOPY_END] = {"POSTCOPY_END", 0, 0, 0, 0, true, U64, U64, 0},
	[VHOST_USER_GET_INFLIGHT_FD] = {"GET_INFLIGHT_FD", INFLIGHT_MIN, INFLIGHT_MAX, 0, 0, true, INFLIGHT_MIN,
					INFLIGHT_MAX, 1},
	[VHOST_USER_SET_INFLIGHT_FD] = {"SET_INFLIGHT_FD", INFLIGHT_MIN, INFLIGHT_MAX, 1, 1, false, 0, 0, 0},
	[VHOST_USER_GPU_SET_SOCKET] = {"GPU_SET_SOCKET", 0, 0, 1, 1, false, 0, 0, 0},
	[VHOST_USER_RESET_DEVICE] = {"RESET_DEVICE", 0, 0, 0, 0, false, 0, 0, 0},
	[VHOST_USER_VRING_KICK] = {"VRING_KICK", STATE, STATE, 0, 0, false, 0, 0, 0},
	[VHOST_USER_GET_MAX_MEM_SLOTS] = {"GET_MAX_MEM_SLOTS", 0, 0, 0, 0, true, U64, U64, 0},
	[VHOST_USER_ADD_MEM_REG] = {"ADD_MEM_REG", MEM_REG, MEM_REG, 1, 1, false, 0, 0, 0},
	/* Some front ends send a descriptor: it is closed. */
	[VHOST_USER_REM_MEM_REG] = {"REM_MEM_REG", MEM_REG, MEM_REG, 0, 1, false, 0, 0, 0},
	[VHOST_USER_SET_STATUS] = {"SET_STATUS", U64, U64, 0, 0, false, 0, 0, 0},
	[VHOST_USER_GET_STATUS] = {"GET_STATUS", 0, 0, 0, 0, true, U64, U64, 0},
	[VHOST_USER_GET_SHARED_OBJECT] = {"GET_SHARED_OBJECT", UUID, UUID, 0, 0, true, 0, UUID, 1},
	[VHOST_USER_SET_DEVICE_STATE_FD] = {"SET_DEVICE_STATE_FD", 8, 8, 1, 1, true, U64, U64, 1},
	[VHOST_USER_CHECK_DEVICE_STATE] = {"CHECK_DEVICE_STATE", 0, 0, 0, 0, true, U64, U64, 0},
};

static const struct vhost_user_rule back_rules[VHOST_USER_BACKEND_END] = {
	[VHOST_USER_BACKEND_IOTLB_MSG] = {"IOTLB_MSG", IOTLB_MIN, IOTLB_MAX, 0, 0, false, 0, 0, 0},
	[VHOST_USER_BACKEND_CONFIG_CHANGE] = {"CONFIG_CHANGE", 0, 0, 0, 0, false, 0, 0, 0},
	[VHOST_USER_BACKEND_VRING_HOST_NOTIFIER] = {"VRING_HOST_NOTIFIER", sizeof(struct vhost_user_area),
						 sizeof(struct vhost_user_area), 0, 1, false, 0, 0, 0},
	[VHOST_USER_BACKEND_VRING_CALL] = {"VRING_CALL", STATE, STATE, 0, 0, false, 0, 0, 0},
	[VHOST_USER_BACKEND_VRING_ERR] = {"VRING_ERR", STATE, STATE, 0, 0, false, 0, 0, 0},
	[VHOST_USER_BACKEND_SHARED_OBJECT_ADD] = {"SHARED_OBJECT_ADD", UUID, UUID, 0, 0, false, 0, 0, 0},
	[VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE] = {"SHARED_OBJECT_REMOVE", UUID, UUID, 0, 0, false, 0, 0, 0},
	[VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP] = {"SHARED_OBJECT_LOOKUP", UUID, UUID, 0, 0, true, 0, UUID, 1},
};

static bool way_is_reply(enum vhost_user_way way)
{
	return way == VHOST_USER_FRONT_REPLY || way == VHOST_USER_BACK_REPLY;
}

static const struct vhost_user_rule *rule_of(uint32_t request, enum vhost_user_way way)
{
	const struct vhost_user_rule *rule = NULL;

	if (way == VHOST_USER_FRONT_REQUEST || way == VHOST_USER_FRONT_REPLY) {
		if (request < VHOST_USER_FRONT_END)
			rule = &front_rules[request];
	} else if (request < VHOST_USER_BACKEND_END) {
		rule = &back_rules[request];
	}
	return rule && rule->name ? rule : NULL;
}

const char *vhost_user_check_header(const struct vhost_user_header *header, enum vhost_user_way way)
{
	const struct vhost_user_rule *rule = rule_of(header->request, way);
	uint32_t min, max;

	if ((header->flags & VHOST_USER_VERSION_MASK) != VHOST_USER_VERSION)
		return "the protocol version is not 1";
	if (!!(header->flags & VHOST_USER_REPLY) != way_is_reply(way))
		return way_is_reply(way) ? "a reply without the reply bit" : "a request with the reply bit";
	if (!rule)
		return "an unknown request";
	min = rule->min;
	max = rule->max;
	if (way_is_reply(way)) { /* without a reply of its own: the acknowledgement */
		min = rule->replies ? rule->reply_min : U64;
		max = rule->replies ? rule->reply_max : U64;
	}
	if (header->size < min)
		return "the payload is too short";
	if (header->size > max)
		return "the payload is too long";
	WEFT_ASSERT(header->size <= VHOST_USER_MAX_PAYLOAD);
	return NULL;
}

static const char *check_memory(const struct vhost_user_memory *memory, uint32_t size, unsigned fds)
{
	if (memory->nregions > VHOST_USER_MAX_REGIONS)
		return "more than 8 memory regions";
	if (size < MEMORY_MIN + memory->nregions * sizeof(struct vhost_user_region))
		return "the payload is shorter than its memory regions";
	if (fds != memory->nregions)
		return "not one descriptor for each memory region";
	return NULL;
}

static const char *check_vring_fd(uint64_t value, unsigned fds)
{
	if (value & VHOST_USER_VRING_NO_FD)
		return fds == 0 ? NULL : "a descriptor came with the flag that says there is none";
	return fds == 1 ? NULL : "not one descriptor for the ring";
}

/* A head alone, without room for the bytes asked for, is accepted in requests to read. */
static const char *check_config(const struct vhost_user_header *header, const struct vhost_user_config *config,
				enum vhost_user_way way)
{
	bool head_only = way == VHOST_USER_FRONT_REQUEST && header->request == VHOST_USER_GET_CONFIG &&
			 header->size == VHOST_USER_CONFIG_HEAD;

	if (header->size == 0)
		return NULL;
	if (header->size < VHOST_USER_CONFIG_HEAD)
		return "the payload is too short";
	if (config->size > VHOST_USER_MAX_CONFIG)
		return "more than 256 bytes of configuration space";
	if (!head_only && header->size - VHOST_USER_CONFIG_HEAD < config->size)
		return "the payload is shorter than the configuration space that it announces";
	return NULL;
}

static const char *check_contents(const struct vhost_user_header *header, const union vhost_user_payload *payload,
				  unsigned fds, enum vhost_user_way way)
{
	if (way == VHOST_USER_BACK_REQUEST || way == VHOST_USER_BACK_REPLY)
		return NULL;
	if (header->request == VHOST_USER_GET_CONFIG || (header->request == VHOST_USER_SET_CONFIG && !way_is_reply(way)))
		return check_config(header, &payload->config, way);
	if (way_is_reply(way))
		return NULL;
	switch (header->request) {
	case VHOST_USER_SET_MEM_TABLE:
		return check_memory(&payload->memory, header->size, fds);
	case VHOST_USER_SET_VRING_KICK:
	case VHOST_USER_SET_VRING_CALL:
	case VHOST_USER_SET_VRING_ERR:
		return check_vring_fd(payload->u64, fds);
	case VHOST_USER_SET_LOG_BASE:
		if (fds != (header->size == sizeof(struct vhost_user_log)))
			return "a log with a size comes with one descriptor, an address without";
		return header->size == U64 || header->size == sizeof(struct vhost_user_log)
			       ? NULL
			       : "the payload is neither an address nor a log description";
	default:
		return NULL;
	}
}

const char *vhost_user_check(const struct vhost_user_msg *msg, unsigned fds, enum vhost_user_way way)
{
	const char *reason = vhost_user_check_header(&msg->header, way);
	const struct vhost_user_rule *rule = rule_of(msg->header.request, way);

	if (reason)
		return reason;
	WEFT_ASSERT(rule != NULL); /* the header's check knows it */
	if (fds > (way_is_reply(way) ? rule->reply_fds : rule->fd_max))
		return "too many descriptors";
	if (!way_is_reply(way) && fds < rule->fd_min)
		return "a descriptor is missing";
	return check_contents(&msg->header, &msg->payload, fds, way);
}

bool vhost_user_replies(uint32_t request, enum vhost_user_way way)
{
	const struct vhost_user_rule *rule = rule_of(request, way);

	return rule && rule->replies;
}

const char *vhost_user_name(uint32_t request)
{
	const struct vhost_user_rule *rule = rule_of(request, VHOST_USER_FRONT_REQUEST);

	return rule ? rule->name : "unknown";
}

const char *vhost_user_backend_name(uint32_t request)
{
	const struct vhost_user_rule *rule = rule_of(request, VHOST_USER_BACK_REQUEST);

	return rule ? rule->name : "unknown";
}

void vhost_user_request(struct vhost_user_msg *msg, uint32_t request, uint32_t payload_bytes, bool need_reply)
{
	WEFT_ASSERT(payload_bytes <= VHOST_USER_MAX_PAYLOAD);
	msg->header.request = request;
	msg->header.flags = VHOST_USER_VERSION | (need_reply ? VHOST_USER_NEED_REPLY : 0);
	msg->header.size = payload_bytes;
}

void vhost_user_reply(struct vhost_user_msg *msg, uint32_t request, uint32_t payload_bytes)
{
	WEFT_ASSERT(payload_bytes <= VHOST_USER_MAX_PAYLOAD);
	msg->header.request = request;
	msg->header.flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
	msg->header.size = payload_bytes;
}

void vhost_user_ack(struct vhost_user_msg *msg, uint32_t request, bool ok)
{
	vhost_user_reply(msg, request, U64);
	msg->payload.u64 = ok ? 0 : 1;
}
