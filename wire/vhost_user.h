/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages of vhost-user, both directions (QEMU's docs/interop/vhost-user.rst). Numbers are in the machine's byte order.
 * Bytes only: structures, names, and one table-driven check that both ends use before they look at a message.
 */
#ifndef WIRE_VHOST_USER_H
#define WIRE_VHOST_USER_H

#include <linux/virtio_config.h> /* VIRTIO_F_VERSION_1, VIRTIO_F_RING_PACKED: bit numbers */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	VHOST_USER_F_PROTOCOL_FEATURES = 30, /* virtio feature bit: protocol features can be asked for */
	VHOST_USER_MAX_REGIONS = 8,          /* of SET_MEM_TABLE */
	VHOST_USER_MAX_FDS = 8,              /* descriptors in one message */
	VHOST_USER_MAX_CONFIG = 256,         /* bytes of configuration space in one message */
	VHOST_USER_CONFIG_HEAD = 12,         /* bytes before them */
	VHOST_USER_MAX_PAYLOAD = 268,        /* the longest payload that is known here */
};

/* Protocol feature bits (numbers). */
enum {
	VHOST_USER_PROTOCOL_F_MQ = 0,
	VHOST_USER_PROTOCOL_F_LOG_SHMFD = 1,
	VHOST_USER_PROTOCOL_F_RARP = 2,
	VHOST_USER_PROTOCOL_F_REPLY_ACK = 3,
	VHOST_USER_PROTOCOL_F_NET_MTU = 4,
	VHOST_USER_PROTOCOL_F_BACKEND_REQ = 5,
	VHOST_USER_PROTOCOL_F_CROSS_ENDIAN = 6,
	VHOST_USER_PROTOCOL_F_CRYPTO_SESSION = 7,
	VHOST_USER_PROTOCOL_F_PAGEFAULT = 8,
	VHOST_USER_PROTOCOL_F_CONFIG = 9,
	VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD = 10,
	VHOST_USER_PROTOCOL_F_HOST_NOTIFIER = 11,
	VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD = 12,
	VHOST_USER_PROTOCOL_F_RESET_DEVICE = 13,
	VHOST_USER_PROTOCOL_F_INBAND_NOTIFICATIONS = 14,
	VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
	VHOST_USER_PROTOCOL_F_STATUS = 16,
	VHOST_USER_PROTOCOL_F_XEN_MMAP = 17,
	VHOST_USER_PROTOCOL_F_SHARED_OBJECT = 18,
	VHOST_USER_PROTOCOL_F_DEVICE_STATE = 19,
};
#define VHOST_USER_P(name) ((uint64_t)1 << VHOST_USER_PROTOCOL_F_##name)

/* Virtio features that no device owns and that virtio_config.h has not, by the names of the specification. */
#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_EVENT_IDX 29
#define VIRTIO_F_PROTOCOL_FEATURES VHOST_USER_F_PROTOCOL_FEATURES
#define VHOST_F_LOG_ALL 26 /* the front end wants a dirty log */
#define VIRTIO_F(name) ((uint64_t)1 << VIRTIO_F_##name)

/* Requests of the front end. */
enum vhost_user_front {
	VHOST_USER_GET_FEATURES = 1,
	VHOST_USER_SET_FEATURES = 2,
	VHOST_USER_SET_OWNER = 3,
	VHOST_USER_RESET_OWNER = 4,
	VHOST_USER_SET_MEM_TABLE = 5,
	VHOST_USER_SET_LOG_BASE = 6,
	VHOST_USER_SET_LOG_FD = 7,
	VHOST_USER_SET_VRING_NUM = 8,
	VHOST_USER_SET_VRING_ADDR = 9,
	VHOST_USER_SET_VRING_BASE = 10,
	VHOST_USER_GET_VRING_BASE = 11,
	VHOST_USER_SET_VRING_KICK = 12,
	VHOST_USER_SET_VRING_CALL = 13,
	VHOST_USER_SET_VRING_ERR = 14,
	VHOST_USER_GET_PROTOCOL_FEATURES = 15,
	VHOST_USER_SET_PROTOCOL_FEATURES = 16,
	VHOST_USER_GET_QUEUE_NUM = 17,
	VHOST_USER_SET_VRING_ENABLE = 18,
	VHOST_USER_SEND_RARP = 19,
	VHOST_USER_NET_SET_MTU = 20,
	VHOST_USER_SET_BACKEND_REQ_FD = 21,
	VHOST_USER_IOTLB_MSG = 22,
	VHOST_USER_SET_VRING_ENDIAN = 23,
	VHOST_USER_GET_CONFIG = 24,
	VHOST_USER_SET_CONFIG = 25,
	VHOST_USER_CREATE_CRYPTO_SESSION = 26,
	VHOST_USER_CLOSE_CRYPTO_SESSION = 27,
	VHOST_USER_POSTCOPY_ADVISE = 28,
	VHOST_USER_POSTCOPY_LISTEN = 29,
	VHOST_USER_POSTCOPY_END = 30,
	VHOST_USER_GET_INFLIGHT_FD = 31,
	VHOST_USER_SET_INFLIGHT_FD = 32,
	VHOST_USER_GPU_SET_SOCKET = 33,
	VHOST_USER_RESET_DEVICE = 34,
	VHOST_USER_VRING_KICK = 35,
	VHOST_USER_GET_MAX_MEM_SLOTS = 36,
	VHOST_USER_ADD_MEM_REG = 37,
	VHOST_USER_REM_MEM_REG = 38,
	VHOST_USER_SET_STATUS = 39,
	VHOST_USER_GET_STATUS = 40,
	VHOST_USER_GET_SHARED_OBJECT = 41,
	VHOST_USER_SET_DEVICE_STATE_FD = 42,
	VHOST_USER_CHECK_DEVICE_STATE = 43,
	VHOST_USER_FRONT_END, /* one more than the last */
};

/* Requests of the back end, on the channel of SET_BACKEND_REQ_FD. */
enum vhost_user_back {
	VHOST_USER_BACKEND_IOTLB_MSG = 1,
	VHOST_USER_BACKEND_CONFIG_CHANGE = 2,
	VHOST_USER_BACKEND_VRING_HOST_NOTIFIER = 3,
	VHOST_USER_BACKEND_VRING_CALL = 4,
	VHOST_USER_BACKEND_VRING_ERR = 5,
	VHOST_USER_BACKEND_SHARED_OBJECT_ADD = 6,
	VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE = 7,
	VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP = 8,
	VHOST_USER_BACKEND_END, /* one more than the last */
};

/* header.flags; other bits are ignored. */
enum {
	VHOST_USER_VERSION_MASK = 3,
	VHOST_USER_VERSION = 1,
	VHOST_USER_REPLY = 4,
	VHOST_USER_NEED_REPLY = 8,
};

/* The u64 of SET_VRING_KICK, CALL and ERR. */
#define VHOST_USER_VRING_INDEX 0xffu
#define VHOST_USER_VRING_NO_FD 0x100u
/* vhost_user_vring_addr.flags: writes to the used ring go to the dirty log. */
#define VHOST_USER_VRING_LOG 1u
/* vhost_user_config.flags: the front end restores the whole space, read-only fields included. */
#define VHOST_USER_CONFIG_MIGRATION 1u

struct vhost_user_header {
	uint32_t request, flags, size; /* size: of the payload, bytes */
};

struct vhost_user_vring_state { /* VRING_NUM, BASE, ENABLE, ENDIAN */
	uint32_t index, num;
};

struct vhost_user_vring_addr {
	uint32_t index, flags;                     /* flags: VHOST_USER_VRING_LOG */
	uint64_t desc, used, avail;                /* front end's addresses */
	uint64_t log;                              /* guest address of the used ring, for the dirty log */
};

struct vhost_user_region {
	uint64_t gpa, size, uva, mmap_offset;
};

struct vhost_user_memory { /* SET_MEM_TABLE: `nregions` regions, one descriptor each, in this order */
	uint32_t nregions, padding;
	struct vhost_user_region regions[VHOST_USER_MAX_REGIONS];
};

struct vhost_user_memreg { /* ADD_MEM_REG, REM_MEM_REG */
	uint64_t padding;
	struct vhost_user_region region;
};

struct vhost_user_log { /* SET_LOG_BASE with LOG_SHMFD */
	uint64_t size, offset;
};

struct vhost_user_iotlb {
	uint64_t iova, size, uva;
	uint8_t permissions, type, padding[6];
};

struct vhost_user_config { /* GET_CONFIG, SET_CONFIG */
	uint32_t offset, size, flags; /* flags: VHOST_USER_CONFIG_MIGRATION, or 0: a field that the guest writes */
	uint8_t region[VHOST_USER_MAX_CONFIG];
};

struct vhost_user_area { /* host notifier */
	uint64_t index, size, offset;
};

struct vhost_user_inflight { /* some front ends send it without the padding */
	uint64_t mmap_size, mmap_offset;
	uint16_t num_queues, queue_size, padding[2];
};

struct vhost_user_device_state {
	uint32_t direction, phase;
};

union vhost_user_payload {
	uint64_t u64;
	struct vhost_user_vring_state state;
	struct vhost_user_vring_addr addr;
	struct vhost_user_memory memory;
	struct vhost_user_memreg memreg;
	struct vhost_user_log log;
	struct vhost_user_iotlb iotlb;
	struct vhost_user_config config;
	struct vhost_user_area area;
	struct vhost_user_inflight inflight;
	struct vhost_user_device_state device_state;
	uint8_t uuid[16];
	uint8_t bytes[VHOST_USER_MAX_PAYLOAD];
};

/* The message starts at `header`: from there on it is as on the wire, and the payload is aligned. */
struct vhost_user_msg {
	uint32_t not_sent;
	struct vhost_user_header header;
	union vhost_user_payload payload;
};

#ifndef __cplusplus
_Static_assert(sizeof(struct vhost_user_header) == 12, "on the wire");
_Static_assert(sizeof(struct vhost_user_vring_state) == 8, "on the wire");
_Static_assert(sizeof(struct vhost_user_vring_addr) == 40, "on the wire");
_Static_assert(offsetof(struct vhost_user_vring_addr, avail) == 24, "on the wire");
_Static_assert(sizeof(struct vhost_user_region) == 32, "on the wire");
_Static_assert(sizeof(struct vhost_user_memory) == 264, "on the wire");
_Static_assert(offsetof(struct vhost_user_memory, regions) == 8, "on the wire");
_Static_assert(sizeof(struct vhost_user_memreg) == 40, "on the wire");
_Static_assert(sizeof(struct vhost_user_log) == 16, "on the wire");
_Static_assert(sizeof(struct vhost_user_iotlb) == 32, "on the wire");
_Static_assert(offsetof(struct vhost_user_config, region) == VHOST_USER_CONFIG_HEAD, "on the wire");
_Static_assert(sizeof(struct vhost_user_config) == VHOST_USER_MAX_PAYLOAD, "on the wire");
_Static_assert(sizeof(struct vhost_user_area) == 24, "on the wire");
_Static_assert(sizeof(struct vhost_user_inflight) == 24, "on the wire");
_Static_assert(offsetof(struct vhost_user_inflight, num_queues) == 16, "on the wire");
_Static_assert(offsetof(struct vhost_user_msg, payload) - offsetof(struct vhost_user_msg, header) == 12, "on the wire");
#endif

/* Who sends what. */
enum vhost_user_way {
	VHOST_USER_FRONT_REQUEST, /* front end to back end */
	VHOST_USER_FRONT_REPLY,   /* back end to front end, the answer to it */
	VHOST_USER_BACK_REQUEST,  /* back end to front end, on its own channel */
	VHOST_USER_BACK_REPLY,    /* front end to back end, the answer to it */
};

/*
 * After the header was read, before the payload: NULL, or why the message cannot be right (a constant sentence): version,
 * reply bit, unknown request, payload length that no form of it has.
 */
const char *vhost_user_check_header(const struct vhost_user_header *header, enum vhost_user_way way);

/*
 * The whole message, all of header.size bytes of its payload, and `fds` descriptors that came with it. NULL, or why it is
 * wrong (a constant sentence). Counts and lengths inside a message that passes agree with its size.
 */
const char *vhost_user_check(const struct vhost_user_msg *msg, unsigned fds, enum vhost_user_way way);

/* Whether a request has a reply of its own, whatever NEED_REPLY says. Unknown ones: false. */
bool vhost_user_replies(uint32_t request, enum vhost_user_way way);

/* For logging, of a request of the front end, and of the back end; "unknown" for unknown ones. */
const char *vhost_user_name(uint32_t request);
const char *vhost_user_backend_name(uint32_t request);

/* Fills the header: of a request, or of the reply to `request` (the reply bit set, NEED_REPLY clear). */
void vhost_user_request(struct vhost_user_msg *msg, uint32_t request, uint32_t payload_bytes, bool need_reply);
void vhost_user_reply(struct vhost_user_msg *msg, uint32_t request, uint32_t payload_bytes);
/* The reply that REPLY_ACK asks for: 0 success, 1 failure. */
void vhost_user_ack(struct vhost_user_msg *msg, uint32_t request, bool ok);

#endif
