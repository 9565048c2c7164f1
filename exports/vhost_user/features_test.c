/* SPDX-License-Identifier: BSD-2-Clause */
/* The configuration space. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <endian.h>

#include "exports/vhost_user/vux.h"

static uint32_t seg_max(uint64_t queue_size, uint16_t device_segs)
{
	struct weft_blk blk = { .block = 512, .max_segs = device_segs, .size = 1u << 20 };
	struct vux_export exp = { .exp.device = &blk, .queue_size = queue_size, .queues = 1 };
	struct vux_connection c = { .exp = &exp };
	struct virtio_blk_config config;

	config_fill(&c, &config);
	return le32toh(config.seg_max);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segments_follow_the_ring_and_the_device),
		cmocka_unit_test(writes_are_durable_for_who_cannot_flush),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
