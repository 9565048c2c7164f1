/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For the tests of virtqueues: a small guest with a driver, and a device on the same ring, in one process. Each includes
 * it once. Guest-physical address 0x10000 is the first byte of `memory`.
 */
#ifndef WIRE_VIRTQ_RIG_H
#define WIRE_VIRTQ_RIG_H

#include "wire/virtq.h"
#include "wire/virtq_drv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum {
	RIG_GPA = 0x10000,
	RIG_UVA = 0x7f0000000000,
	RIG_DATA = 128 << 10, /* bytes of payload, behind the rings */
	RIG_SEGS = 1100,
};

struct rig {
	uint8_t *memory;    /* of the guest: rings, then data */
	uint8_t *data;
	uint64_t bytes;
	uint8_t *region;    /* in-flight region, or NULL */
	struct vmap_region regions[1];
	struct vmap map;
	struct virtq vq;
	struct virtq_drv drv;
	struct virtq_config config;
	struct virtq_drv_config drv_config;
	struct virtq_drv_slot *slots;
	struct virtq_resubmit *resubmit;
	struct weft_seg segs[RIG_SEGS];
};

static inline uint64_t rig_gpa(const struct rig *r, const void *p)
{
	return RIG_GPA + (uint64_t)((const uint8_t *)p - r->memory);
}

/* The device's side anew, as a restarted server would do it. */
static inline void rig_device_start(struct rig *r)
{
	assert_int_equal(virtq_init(&r->vq, &r->config), 0);
}

static inline void rig_start(struct rig *r, uint16_t num, bool packed, bool event_idx, bool tracked)
{
	const char *why = "";
	uint64_t desc = (virtq_desc_size(packed, num) + 63) & ~63ull, part = (virtq_device_size(packed, num) + 63) & ~63ull;

	memset(r, 0, sizeof(*r));
	r->bytes = (desc + 2 * part + RIG_DATA + 4095) & ~4095ull;
	r->memory = aligned_alloc(4096, r->bytes);
	memset(r->memory, 0, desc + 2 * part);
	r->data = r->memory + desc + 2 * part;
	r->regions[0] = (struct vmap_region){.gpa = RIG_GPA, .uva = RIG_UVA, .size = r->bytes, .hva = r->memory,
					     .region = 7, .fd = -1};
	assert_int_equal(vmap_init(&r->map, r->regions, 1, &why), 0);
	r->slots = calloc(num, sizeof(*r->slots));
	r->resubmit = calloc(num, sizeof(*r->resubmit));
	if (tracked) {
		r->region = aligned_alloc(64, virtq_inflight_size(packed, num));
		memset(r->region, 0, virtq_inflight_size(packed, num));
	}
	r->config = (struct virtq_config){
		.num = num, .packed = packed, .event_idx = event_idx, .indirect = true,
		.desc = r->memory, .driver = r->memory + desc, .device = r->memory + desc + part,
		.base = packed ? 0x80008000u : 0, .inflight = r->region, .inflight_num = num, .resubmit = r->resubmit};
	r->drv_config = (struct virtq_drv_config){
		.num = num, .packed = packed, .event_idx = event_idx, .desc = r->config.desc,
		.driver = r->config.driver, .device = r->config.device, .slots = r->slots};
	assert_int_equal(virtq_drv_init(&r->drv, &r->drv_config), 0);
	rig_device_start(r);
}

static inline void rig_end(struct rig *r)
{
	free(r->memory);
	free(r->region);
	free(r->slots);
	free(r->resubmit);
}

static inline int rig_pop(struct rig *r, struct virtq_chain *chain)
{
	return virtq_pop(&r->vq, &r->map, r->segs, RIG_SEGS, chain);
}

#endif
