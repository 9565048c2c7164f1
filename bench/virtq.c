/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a virtqueue costs by itself: a driver and a device on one ring, a thread each, with a block request's header and
 * status but no work. Prints requests per second by format and depth. With an argument: one thread does both in turn for
 * so many requests, for counting instructions (valgrind --tool=callgrind).
 */
#include "bench/pinned.h"

#include "wire/virtio_blk.h"
#include "wire/virtq_drv.h"

#include "wire/shm.h"

#include <stdio.h>
#include <time.h>

enum { NUM = 512, SLOT_BYTES = 128, BURST = 32, MEMORY = 4 << 20, SLOTS = 65536, DATA = 1 << 20, SLICES = 21, SLICE_NS = 4000000 };

struct bench {
	uint8_t *memory;
	struct vmap_region region;
	struct vmap map;
	struct virtq vq;
	struct virtq_drv drv;
	struct virtq_drv_slot slots[NUM];
	struct virtq_resubmit resubmit[NUM];
	void *tracking;
	uint32_t depth;
	bool indirect;
	uint64_t done;
	double rate;
	volatile bool stop;
};

static void start(struct bench *b, bool packed, bool tracked, bool indirect, uint32_t depth)
{
	const char *why;
	struct virtq_config device = {.num = NUM, .packed = packed, .event_idx = true, .indirect = true,
				      .base = packed ? 0x80008000u : 0, .inflight_num = NUM};
	struct virtq_drv_config driver = {.num = NUM, .packed = packed, .event_idx = true};

	memset(b, 0, sizeof(*b));
	b->memory = aligned_alloc(4096, MEMORY);
	b->tracking = aligned_alloc(64, virtq_inflight_size(packed, NUM));
	if (!b->memory || !b->tracking)
		abort();
	memset(b->memory, 0, MEMORY);
	memset(b->tracking, 0, virtq_inflight_size(packed, NUM));
	b->region = (struct vmap_region){.size = MEMORY, .uva = 1, .hva = b->memory, .fd = -1};
	if (vmap_init(&b->map, &b->region, 1, &why) != 0)
		abort();
	driver.desc = device.desc = b->memory;
	driver.driver = device.driver = b->memory + 16384;
	driver.device = device.device = b->memory + 32768;
	driver.slots = b->slots;
	device.inflight = tracked ? b->tracking : NULL;
	device.resubmit = b->resubmit;
	if (virtq_drv_init(&b->drv, &driver) != 0 || virtq_init(&b->vq, &device) != 0)
		abort();
	virtq_notify_disable(&b->vq);
	virtq_drv_notify_disable(&b->drv);
	b->depth = depth;
	b->indirect = indirect;
}

static void driver_add(struct bench *b, uint64_t sector)
{
	uint16_t id = virtq_drv_next_id(&b->drv);
	uint32_t at = SLOTS + SLOT_BYTES * id;
	struct virtq_buf bufs[3] = {{at, 16}, {DATA + 4096 * (uint64_t)id, 4096}, {at + 64, 1}};
	struct virtq_drv_table table = {b->memory + SLOTS + SLOT_BYTES * NUM + 64 * id,
					SLOTS + SLOT_BYTES * NUM + 64 * (uint64_t)id};

	shm_store64(b->memory + at + 8, sector);
	if (virtq_drv_add(&b->drv, bufs, 1, 2, b->indirect ? &table : NULL, NULL) < 0)
		abort();
}

static uint32_t driver_turn(struct bench *b, uint32_t in_flight)
{
	struct virtq_done done;
	uint32_t ended = 0;

	while (ended < BURST && virtq_drv_take(&b->drv, &done) == 1) {
		if (shm_load8(b->memory + SLOTS + SLOT_BYTES * done.id + 64) != VIRTIO_BLK_S_OK)
			abort();
		ended++;
	}
	b->done += ended;
	in_flight -= ended;
	for (; in_flight < b->depth; in_flight++)
		driver_add(b, b->done * 8);
	virtq_drv_publish(&b->drv);
	return in_flight;
}

static void device_turn(struct bench *b)
{
	struct weft_seg segs[16];
	struct virtio_blk_request request;
	struct virtq_chain chain;

	for (unsigned i = 0; i < BURST && virtq_pop(&b->vq, &b->map, segs, 16, &chain) == 1; i++) {
		if (!virtio_blk_cut(segs, &chain, &request) || request.header.type != VIRTIO_BLK_T_IN)
			abort();
		if (shm_load8(request.status) != VIRTIO_BLK_S_OK)
			shm_store8(request.status, VIRTIO_BLK_S_OK);
		virtq_push(&b->vq, chain.tag, (uint32_t)request.write_len + 1);
	}
	virtq_publish(&b->vq);
}

static void *device_thread(void *arg)
{
	struct bench *b = arg;

	while (!b->stop)
		device_turn(b);
	return NULL;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Million requests per second: the median of many short slices, since the machine is seldom ours alone. */
static void *driver_thread(void *arg)
{
	struct bench *b = arg;
	double rate[SLICES];
	uint32_t in_flight = 0;

	for (unsigned i = 0; i < SLICES; i++) {
		uint64_t begin = now_ns(), done = b->done, ns = 0;

		while (ns < SLICE_NS) {
			for (unsigned turn = 0; turn < 100; turn++)
				in_flight = driver_turn(b, in_flight);
			ns = now_ns() - begin;
		}
		rate[i] = (double)(b->done - done) * 1000.0 / (double)ns;
	}
	qsort(rate, SLICES, sizeof(rate[0]), by_value);
	b->rate = rate[SLICES / 2];
	b->stop = true;
	return NULL;
}

static void run(const char *name, bool packed, bool tracked, bool indirect)
{
	static const uint32_t depths[] = {1, 32, 128};

	printf("%-26s", name);
	for (unsigned i = 0; i < 3; i++) {
		static struct bench b;
		pthread_t device, driver;

		start(&b, packed, tracked, indirect, depths[i]);
		/* Each side has a processor of its own from the start: also with real-time priority (chrt -f 20). */
		device = pinned_start(1, device_thread, &b);
		driver = pinned_start(0, driver_thread, &b);
		pthread_join(driver, NULL);
		pthread_join(device, NULL);
		printf(" %8.2f", b.rate);
		fflush(stdout);
		free(b.memory);
		free(b.tracking);
	}
	printf("\n");
}

static void run_alone(uint64_t requests, bool packed, bool tracked)
{
	static struct bench b;
	uint32_t in_flight = 0;

	start(&b, packed, tracked, false, BURST);
	while (b.done < requests) {
		in_flight = driver_turn(&b, in_flight);
		device_turn(&b);
	}
}

int main(int argc, char **argv)
{
	if (argc > 1) {
		run_alone(strtoull(argv[1], NULL, 10), argc > 2 && argv[2][0] == 'p', argc > 3);
		return 0;
	}
	printf("million requests per second at depth     1       32      128\n");
	run("split", false, false, false);
	run("split, tracked", false, true, false);
	run("split, indirect", false, false, true);
	run("packed", true, false, false);
	run("packed, tracked", true, true, false);
	run("packed, indirect", true, false, true);
	return 0;
}
