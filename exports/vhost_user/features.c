/* SPDX-License-Identifier: BSD-2-Clause */
/* What is offered: virtio features, protocol features, the configuration space (virtio 1.2, 5.2.3 to 5.2.5). */
#include <string.h>

#include "exports/vhost_user/vux.h"

#define BIT(n) ((uint64_t)1 << (n))

/* Longest ranges of one discard or write-zeroes request, sectors. Zeroes may have to be written, which takes its time. */
enum { DISCARD_SECTORS = (1u << 31) / VIRTIO_BLK_SECTOR, ZERO_SECTORS = (32u << 20) / VIRTIO_BLK_SECTOR };

/* Fewer segments than this are not asked for on behalf of the device: what it cannot take at once is split for it. */
enum { SEGMENTS_LEAST = 126 };

static bool can(const struct vux_export *exp, unsigned op)
{
	return (exp->exp.device->ops_can & WEFT_OP_BIT(op)) != 0;
}

uint64_t features_offered(const struct vux_export *exp)
{
	uint64_t features = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_INDIRECT_DESC) |
		BIT(VIRTIO_F_EVENT_IDX) | BIT(VIRTIO_F_ANY_LAYOUT) | BIT(VHOST_USER_F_PROTOCOL_FEATURES) | BIT(VHOST_F_LOG_ALL) |
		BIT(VIRTIO_BLK_F_SEG_MAX) | BIT(VIRTIO_BLK_F_BLK_SIZE) | BIT(VIRTIO_BLK_F_TOPOLOGY) | BIT(VIRTIO_BLK_F_MQ) |
		BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_CONFIG_WCE);

	WEFT_ASSERT(exp->exp.device != NULL);
	if (export_readonly(exp))
		return features | BIT(VIRTIO_BLK_F_RO);
	if (can(exp, WEFT_DISCARD))
		features |= BIT(VIRTIO_BLK_F_DISCARD);
	return features | BIT(VIRTIO_BLK_F_WRITE_ZEROES);
}

uint64_t protocol_offered(void)
{
	return BIT(VHOST_USER_PROTOCOL_F_MQ) | BIT(VHOST_USER_PROTOCOL_F_LOG_SHMFD) | BIT(VHOST_USER_PROTOCOL_F_REPLY_ACK) |
		BIT(VHOST_USER_PROTOCOL_F_BACKEND_REQ) | BIT(VHOST_USER_PROTOCOL_F_CONFIG) |
		BIT(VHOST_USER_PROTOCOL_F_BACKEND_SEND_FD) | BIT(VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD) |
		BIT(VHOST_USER_PROTOCOL_F_RESET_DEVICE) | BIT(VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS) |
		BIT(VHOST_USER_PROTOCOL_F_STATUS);
}

static uint8_t log2_of(uint32_t power)
{
	WEFT_ASSERT(power > 0);
	return (uint8_t)(31 - __builtin_clz(power));
}

uint32_t config_range_max(bool zero)
{
	return zero ? ZERO_SECTORS : DISCARD_SECTORS;
}

/*
 * The segments of data that drivers are asked to stay below; they need not, chains as long as their ring are served. A chain also
 * has a header and a status, and a driver without indirect descriptors cannot go on with one that is longer than its ring. How
 * large rings will be is not known when front ends ask: the option says it.
 */
static uint32_t segments_advised(const struct vux_export *exp)
{
	uint32_t ring = exp->queue_size < VUX_CHAIN_ADVISED ? (uint32_t)exp->queue_size : VUX_CHAIN_ADVISED;
	uint32_t device = exp->exp.device->max_segs > SEGMENTS_LEAST ? exp->exp.device->max_segs : SEGMENTS_LEAST;

	WEFT_ASSERT(ring > 2 && exp->exp.device->max_segs > 0);
	return device < ring - 2 ? device : ring - 2;
}

void config_fill(const struct vux_connection *c, struct virtio_blk_config *config)
{
	const struct vux_export *exp = c->exp;
	const struct weft_blk *blk = exp->exp.device;
	uint32_t physical = blk->physical > blk->block ? blk->physical : blk->block;
	uint32_t discard = blk->discard_align > blk->block ? blk->discard_align : blk->block;
	bool zero = can(exp, WEFT_ZERO);

	WEFT_ASSERT(blk->block >= VIRTIO_BLK_SECTOR && blk->block % VIRTIO_BLK_SECTOR == 0 && exp->queues <= VUX_QUEUES_MAX);
	memset(config, 0, sizeof(*config));
	config->capacity = htole64(blk->size / VIRTIO_BLK_SECTOR);
	config->seg_max = htole32(segments_advised(exp));
	config->blk_size = htole32(blk->block);
	config->physical_block_exp = log2_of(physical / blk->block);
	config->min_io_size = htole16((uint16_t)(physical / blk->block));
	config->opt_io_size = htole32(blk->optimal / blk->block);
	config->writeback = c->write_cache;
	config->num_queues = htole16((uint16_t)exp->queues);
	if (can(exp, WEFT_DISCARD)) {
		config->max_discard_sectors = htole32(config_range_max(false));
		config->max_discard_seg = htole32(1);
		config->discard_sector_alignment = htole32(discard / VIRTIO_BLK_SECTOR);
	}
	config->max_write_zeroes_sectors = htole32(config_range_max(true));
	config->max_write_zeroes_seg = htole32(1);
	config->write_zeroes_may_unmap = zero && can(exp, WEFT_DISCARD);
}

bool config_write_through(const struct vux_connection *c)
{
	if (connection_acked(c, VIRTIO_BLK_F_CONFIG_WCE))
		return !c->write_cache;
	return !connection_acked(c, VIRTIO_BLK_F_FLUSH);
}
