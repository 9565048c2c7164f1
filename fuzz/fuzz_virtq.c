/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ring walker in hostile memory: the input is the guest's memory and the in-flight region, and goes on changing them
 * between any two loads (hook of wire/shm.h). The device may refuse a ring, but never give out a byte that is not the
 * guest's, never run on for ever, and never trip over an assertion. The driver side meets a hostile device likewise.
 */
#include "wire/shm.h"
#include "wire/virtio_blk.h"
#include "wire/virtq_drv.h"

#include <stdlib.h>

enum { MAX_NUM = 64, MEMORY = 8192, HALF = MEMORY / 2, GPA = 0x1000, SEGS = 1200, HELD = 128 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static _Alignas(64) uint8_t memory[MEMORY];
static _Alignas(64) uint8_t region[64 + 32 * MAX_NUM];
static size_t region_bytes;
static const uint8_t *script, *script_end; /* what the guest does between loads */
static uint32_t pace;                      /* it does something at every so manieth load */

static uint8_t next_byte(void)
{
	return script < script_end ? *script++ : 0;
}

static void change_something(enum shm_kind kind, const void *address, size_t bytes)
{
	static uint32_t loads;
	uint32_t where;

	(void)address;
	(void)bytes;
	if ((kind != SHM_LOAD && kind != SHM_COPY_IN) || ++loads % pace != 0 || script_end - script < 4)
		return;
	where = (uint32_t)next_byte() << 8;
	where |= next_byte();
	if (where & 0x8000 && region_bytes > 0)
		region[where % region_bytes] = next_byte();
	else
		memory[where % MEMORY] = next_byte();
}

static void check(int ok)
{
	if (!ok)
		abort();
}

static void check_chain(const struct weft_seg *segs, const struct virtq_chain *chain)
{
	uint64_t read_len = 0, write_len = 0;

	check(chain->nsegs > 0 && chain->nsegs <= SEGS && chain->nread <= chain->nsegs);
	for (uint32_t i = 0; i < chain->nsegs; i++) {
		const uint8_t *base = segs[i].base;

		check(base >= memory && base < memory + MEMORY && segs[i].len > 0);
		check(segs[i].len <= (size_t)(memory + MEMORY - base));
		check(segs[i].region == (base < memory + HALF ? 1 : 2));
		*(i < chain->nread ? &read_len : &write_len) += segs[i].len;
	}
	check(read_len == chain->read_len && write_len == chain->write_len);
}

static void run_device(struct virtq_config *config, uint32_t max_segs)
{
	static struct virtq_resubmit resubmit[MAX_NUM];
	static struct weft_seg segs[SEGS];
	struct vmap_region regions[2] = {{.gpa = GPA, .uva = 1, .size = HALF, .hva = memory, .region = 1},
					 {.gpa = GPA + HALF, .uva = 1 + HALF, .size = HALF, .hva = memory + HALF, .region = 2}};
	struct virtio_blk_request request;
	struct virtq_chain chain;
	uint64_t tags[HELD];
	uint32_t held = 0;
	struct virtq vq;
	struct vmap map;
	const char *why;

	config->resubmit = resubmit;
	check(vmap_init(&map, regions, 2, &why) == 0);
	if (virtq_init(&vq, config) != 0) {
		check(vq.fault != NULL);
		return;
	}
	for (unsigned turn = 0; turn < 200; turn++) {
		uint8_t what = next_byte();
		int got = virtq_pop(&vq, &map, segs, max_segs, &chain);

		if (got == -E2BIG)
			got = virtq_pop(&vq, &map, segs, SEGS, &chain);
		check(got == 0 || got == 1 || got == -EPROTO || got == -E2BIG);
		check((got == -EPROTO) == (vq.fault != NULL));
		if (got == 1) {
			check_chain(segs, &chain);
			virtio_blk_cut(segs, &chain, &request);
			check(held < HELD);
			tags[held++] = chain.tag;
		}
		if (what & 1 && held > 0)
			virtq_push(&vq, tags[--held], what);
		if (what & 8)
			virtq_show(&vq);
		if (what & 2)
			virtq_publish(&vq);
		if (what & 4)
			virtq_notify_enable(&vq);
		check(virtq_in_use(&vq) <= config->num);
		virtq_base(&vq);
	}
	while (held > 0)
		virtq_push(&vq, tags[--held], 0);
	virtq_publish(&vq);
}

static void run_driver(const struct virtq_config *config)
{
	static struct virtq_drv_slot slots[MAX_NUM];
	struct virtq_drv_config d = {.num = config->num, .packed = config->packed, .event_idx = config->event_idx,
				     .desc = config->desc, .driver = config->driver, .device = config->device,
				     .slots = slots};
	struct virtq_buf bufs[3] = {{GPA, 16}, {GPA + 64, 512}, {GPA + 32, 1}};
	struct virtq_drv drv;
	struct virtq_done done;

	check(virtq_drv_init(&drv, &d) == 0);
	for (unsigned turn = 0; turn < 200; turn++) {
		uint8_t what = next_byte();
		int got;

		virtq_drv_add(&drv, bufs, 1, what % 3, NULL, NULL);
		if (what & 4)
			virtq_drv_show(&drv);
		if (what & 8)
			virtq_drv_publish(&drv);
		got = virtq_drv_take(&drv, &done);
		check(got == 0 || got == 1 || got == -EPROTO);
		check(got != 1 || done.id < config->num);
		check(virtq_drv_room(&drv) <= config->num);
		if (what & 16)
			virtq_drv_notify_enable(&drv);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct virtq_config config = {.desc = memory, .driver = memory + 1024, .device = memory + 1280};
	size_t image;

	if (size < 8)
		return 0;
	config.packed = data[0] & 1;
	config.event_idx = data[0] & 2;
	config.indirect = data[0] & 4;
	config.num = config.packed ? data[1] % MAX_NUM + 1 : (uint16_t)(1u << data[1] % 7);
	config.base = (uint32_t)data[2] | (uint32_t)(data[3] & 0x81) << 8;
	pace = data[4] + 1u;
	if (data[0] & 8) {
		config.inflight = region;
		config.inflight_num = config.num;
	}
	region_bytes = virtq_inflight_size(config.packed, config.num);
	memset(memory, 0, sizeof(memory));
	memset(region, 0, sizeof(region));
	image = (size - 8) / 2;
	memcpy(memory, data + 8, image < MEMORY ? image : MEMORY);
	script = data + 8 + image;
	script_end = data + size;
	if (data[0] & 16) /* a region that was in use */
		for (size_t i = 0; i < region_bytes; i++)
			region[i] = next_byte();
	shm_hook = change_something;
	if (data[0] & 32)
		run_driver(&config);
	else
		run_device(&config, data[5] % 8);
	shm_hook = NULL;
	return 0;
}
