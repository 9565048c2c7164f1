/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration space. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <endian.h>

#include "exports/vhost_user/vux.h"

/* Of an export of such a device. */
static struct virtio_blk_config config_of(struct weft_blk blk, uint64_t queue_size)
{
	struct vux_export exp = { .exp.device = &blk, .queue_size = queue_size, .queues = 1 };
	struct vux_connection c = { .exp = &exp };
	struct virtio_blk_config config;

	blk.size = 1u << 20;
	config_fill(&c, &config);
	return config;
}

static uint32_t seg_max(uint64_t queue_size, uint16_t device_segs)
{
	return le32toh(config_of((struct weft_blk){ .block = 512, .max_segs = device_segs }, queue_size).seg_max);
}

static void segments_follow_the_ring_and_the_device(void **state)
{
	(void)state;
	assert_int_equal(seg_max(128, UINT16_MAX), 126);
	assert_int_equal(seg_max(1024, UINT16_MAX), 1022);
	assert_int_equal(seg_max(32768, UINT16_MAX), 1022);
	assert_int_equal(seg_max(4, UINT16_MAX), 2);
	assert_int_equal(seg_max(1024, 512), 512);
	assert_int_equal(seg_max(256, 512), 254);
	assert_int_equal(seg_max(1024, 62), 126); /* split for the device: one request for four of them */
	assert_int_equal(seg_max(64, 8), 62);
}

/* A driver that knows of no flush (virtio 1.2, 5.2.6.2), or has switched the cache off, believes that what is answered is there. */
static void writes_are_durable_for_who_cannot_flush(void **state)
{
	static const struct {
		uint64_t features;
		bool write_cache, through;
	} cases[] = {
		{ 0, true, true }, { 0, false, true }, { VIRTIO_BLK_F(FLUSH), true, false }, { VIRTIO_BLK_F(FLUSH), false, false },
		{ VIRTIO_BLK_F(FLUSH) | VIRTIO_BLK_F(CONFIG_WCE), true, false },
		{ VIRTIO_BLK_F(FLUSH) | VIRTIO_BLK_F(CONFIG_WCE), false, true }, { VIRTIO_BLK_F(CONFIG_WCE), false, true },
	};

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(cases); i++) {
		struct vux_connection c = { .features = cases[i].features, .write_cache = cases[i].write_cache };

		assert_int_equal(config_write_through(&c), cases[i].through);
	}
}

#define CAN(op) WEFT_OP_BIT(WEFT_##op)

static void expect_ranges(unsigned can, bool discards, bool zero_unmaps)
{
	const uint32_t discard_most = 4194304, zero_most = 65536; /* sectors: 2 GiB, 32 MiB */
	struct weft_blk blk = { .block = 512, .max_segs = 64, .ops_can = CAN(READ) | CAN(WRITE) | can };
	struct virtio_blk_config config = config_of(blk, 128);

	assert_int_equal(le32toh(config.max_discard_sectors), discards ? discard_most : 0);
	assert_int_equal(le32toh(config.max_discard_seg), discards);
	assert_int_equal(le32toh(config.discard_sector_alignment), discards);
	assert_int_equal(le32toh(config.max_write_zeroes_sectors), zero_most);
	assert_int_equal(le32toh(config.max_write_zeroes_seg), 1);
	assert_int_equal(config.write_zeroes_may_unmap, zero_unmaps);
}

/* One range in each request. Zeroes are offered whether the device has them or they have to be written. */
static void ranges_follow_what_the_device_can(void **state)
{
	(void)state;
	expect_ranges(0, false, false);
	expect_ranges(CAN(DISCARD), true, false);
	expect_ranges(CAN(ZERO), false, false);
	expect_ranges(CAN(DISCARD) | CAN(ZERO), true, true);
}

static uint32_t discard_alignment(uint32_t block, uint32_t device_align)
{
	struct weft_blk blk = { .block = block, .max_segs = 64, .discard_align = device_align, .ops_can = CAN(DISCARD) };

	return le32toh(config_of(blk, 128).discard_sector_alignment);
}

static void discards_are_aligned_for_the_device_and_to_its_blocks(void **state)
{
	(void)state;
	assert_int_equal(discard_alignment(512, 0), 1);
	assert_int_equal(discard_alignment(512, 65536), 128);
	assert_int_equal(discard_alignment(4096, 512), 8);
	assert_int_equal(discard_alignment(4096, 0), 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segments_follow_the_ring_and_the_device),
		cmocka_unit_test(writes_are_durable_for_who_cannot_flush),
		cmocka_unit_test(ranges_follow_what_the_device_can),
		cmocka_unit_test(discards_are_aligned_for_the_device_and_to_its_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
