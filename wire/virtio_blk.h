/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio block device as bytes (virtio 1.2, section 5.2): feature bits, configuration space, requests. All numbers in
 * these structures are little-endian. Not to be mixed with the kernel's linux/virtio_blk.h, which lacks some of it.
 */
#ifndef WIRE_VIRTIO_BLK_H
#define WIRE_VIRTIO_BLK_H

#include "wire/virtq.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Feature bits (numbers). */
enum {
	VIRTIO_BLK_F_SIZE_MAX = 1,
	VIRTIO_BLK_F_SEG_MAX = 2,
	VIRTIO_BLK_F_GEOMETRY = 4,
	VIRTIO_BLK_F_RO = 5,
	VIRTIO_BLK_F_BLK_SIZE = 6,
	VIRTIO_BLK_F_FLUSH = 9,
	VIRTIO_BLK_F_TOPOLOGY = 10,
	VIRTIO_BLK_F_CONFIG_WCE = 11,
	VIRTIO_BLK_F_MQ = 12,
	VIRTIO_BLK_F_DISCARD = 13,
	VIRTIO_BLK_F_WRITE_ZEROES = 14,
	VIRTIO_BLK_F_LIFETIME = 15,
	VIRTIO_BLK_F_SECURE_ERASE = 16,
	VIRTIO_BLK_F_ZONED = 17,
};
#define VIRTIO_BLK_F(name) ((uint64_t)1 << VIRTIO_BLK_F_##name)

/* Request types. */
enum {
	VIRTIO_BLK_T_IN = 0,
	VIRTIO_BLK_T_OUT = 1,
	VIRTIO_BLK_T_FLUSH = 4,
	VIRTIO_BLK_T_GET_ID = 8,
	VIRTIO_BLK_T_GET_LIFETIME = 10,
	VIRTIO_BLK_T_DISCARD = 11,
	VIRTIO_BLK_T_WRITE_ZEROES = 13,
	VIRTIO_BLK_T_SECURE_ERASE = 14,
};

enum { VIRTIO_BLK_S_OK = 0, VIRTIO_BLK_S_IOERR = 1, VIRTIO_BLK_S_UNSUPP = 2 };

enum {
	VIRTIO_BLK_SECTOR = 512,  /* unit of the protocol, whatever blk_size says */
	VIRTIO_BLK_ID_BYTES = 20, /* of GET_ID */
	VIRTIO_BLK_ID_TEXT = VIRTIO_BLK_ID_BYTES + 1,
	VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP = 1,
	VIRTIO_BLK_CONFIG_WRITEBACK = 32, /* offset of the one field that drivers write */
};

/* Configuration space. Fields whose feature was not agreed on are 0. */
struct virtio_blk_config {
	uint64_t capacity;           /* sectors */
	uint32_t size_max, seg_max;
	uint16_t cylinders;
	uint8_t heads, sectors;
	uint32_t blk_size;           /* bytes */
	uint8_t physical_block_exp;  /* logical blocks per physical block, log2 */
	uint8_t alignment_offset;    /* blocks */
	uint16_t min_io_size;        /* blocks */
	uint32_t opt_io_size;        /* blocks */
	uint8_t writeback, unused0;
	uint16_t num_queues;
	uint32_t max_discard_sectors, max_discard_seg, discard_sector_alignment;
	uint32_t max_write_zeroes_sectors, max_write_zeroes_seg;
	uint8_t write_zeroes_may_unmap, unused1[3];
	uint32_t max_secure_erase_sectors, max_secure_erase_seg, secure_erase_sector_alignment;
	uint32_t zone_sectors, max_open_zones, max_active_zones, max_append_sectors, write_granularity;
	uint8_t zone_model, unused2[3];
};

struct virtio_blk_req_header {
	uint32_t type, reserved;
	uint64_t sector;
};

struct virtio_blk_discard_write_zeroes {
	uint64_t sector;
	uint32_t num_sectors, flags; /* flags: VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP */
};

#ifndef __cplusplus
_Static_assert(offsetof(struct virtio_blk_config, blk_size) == 20, "on the wire");
_Static_assert(offsetof(struct virtio_blk_config, physical_block_exp) == 24, "on the wire");
_Static_assert(offsetof(struct virtio_blk_config, writeback) == VIRTIO_BLK_CONFIG_WRITEBACK, "on the wire");
_Static_assert(offsetof(struct virtio_blk_config, num_queues) == 34, "on the wire");
_Static_assert(offsetof(struct virtio_blk_config, max_discard_sectors) == 36, "on the wire");
_Static_assert(offsetof(struct virtio_blk_config, write_zeroes_may_unmap) == 56, "on the wire");
_Static_assert(offsetof(struct virtio_blk_config, max_secure_erase_sectors) == 60, "on the wire");
_Static_assert(offsetof(struct virtio_blk_config, zone_sectors) == 72, "on the wire");
_Static_assert(sizeof(struct virtio_blk_config) == 96, "on the wire");
_Static_assert(sizeof(struct virtio_blk_req_header) == 16, "on the wire");
_Static_assert(sizeof(struct virtio_blk_discard_write_zeroes) == 16, "on the wire");
#endif

/* A request with its header and its status byte cut off. */
struct virtio_blk_request {
	struct virtio_blk_req_header header; /* a copy, in host order */
	struct weft_seg *read, *write;       /* data, in the caller's segments */
	uint32_t nread, nwrite;
	uint64_t read_len, write_len;        /* bytes of data */
	uint8_t *status;                     /* where the status byte goes (shm_store8); NULL: no room for one */
};

/*
 * Cuts the chain that lies in `segs`, which are changed in place; any arrangement of descriptors is allowed (2.7.4.1).
 * The last writable byte is the status. False: the readable part is shorter than a header; status may be set all the same.
 */
bool virtio_blk_cut(struct weft_seg *segs, const struct virtq_chain *chain, struct virtio_blk_request *request);

/* Takes `bytes` from the front of the readable data: for ranges of discards. The data is as long. */
void virtio_blk_take(struct virtio_blk_request *request, void *to, uint32_t bytes);

/* The answer to GET_ID, which ends with a zero byte only when there is room for one, as text: what is not printable ASCII becomes
 * '?', and blanks at the end are cut off. */
void virtio_blk_serial(const uint8_t id[VIRTIO_BLK_ID_BYTES], char text[VIRTIO_BLK_ID_TEXT]);

/* What a request that ended with 0 or -errno tells the driver, and back. */
static inline uint8_t virtio_blk_status(int error)
{
	if (error == 0)
		return VIRTIO_BLK_S_OK;
	return error == -EOPNOTSUPP || error == -ENOSYS ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
}

static inline int virtio_blk_error(uint8_t status)
{
	if (status == VIRTIO_BLK_S_OK)
		return 0;
	return status == VIRTIO_BLK_S_UNSUPP ? -EOPNOTSUPP : -EIO;
}

#endif
