/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device is killed between any two of its stores to shared memory, its recovery too, and started again: no request is
 * lost, none is acknowledged twice or without having been executed, and those in flight come again in their order.
 * Built with the hook of wire/shm.h.
 */
#include "wire/virtq_rig.h"

#include <stdio.h>

enum { REQUESTS = 40, HELD = 16 };

static jmp_buf killed;
static bool device_runs;        /* only the device's stores count */
static uint32_t stores, kill_at;

static void count_stores(enum shm_kind kind, const void *address, size_t bytes)
{
	(void)address;
	(void)bytes;
	if (!device_runs || (kind != SHM_STORE && kind != SHM_COPY_OUT))
		return;
	if (stores++ == kill_at) {
		device_runs = false;
		longjmp(killed, 1);
	}
}

struct shape {
	uint16_t num;
	bool packed, event_idx, indirect;
};

struct world {
	struct rig rig;
	struct shape shape;
	uint64_t random;
	uint32_t sent, taken;
	bool executed[REQUESTS], acknowledged[REQUESTS];
	/* The device's own memory: gone when it is killed. */
	uint64_t tags[HELD];
	uint32_t ids[HELD], held, next_again;
	/* What the test remembers of all its lives. */
	uint32_t next_new;
};

static uint32_t world_random(struct world *w, uint32_t below)
{
	w->random = w->random * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(w->random >> 33) % below;
}

static uint16_t chain_length(const struct world *w, uint32_t id)
{
	uint16_t length = 1 + id * 7 % 3;

	return length < w->shape.num ? length : w->shape.num;
}

static uint64_t buffer_address(const struct world *w, uint32_t id, uint16_t i)
{
	return rig_gpa(&w->rig, w->rig.data) + id * 64 + i;
}

/* The guest: offers what fits, takes what has ended. */
static void guest_turn(struct world *w)
{
	struct rig *r = &w->rig;
	struct virtq_done done;

	while (w->sent < REQUESTS) {
		uint16_t length = chain_length(w, w->sent);
		struct virtq_drv_table table = {r->data + 65536 + 64 * w->sent, 0};
		struct virtq_buf bufs[3];

		table.addr = rig_gpa(r, table.memory);
		for (uint16_t i = 0; i < length; i++)
			bufs[i] = (struct virtq_buf){buffer_address(w, w->sent, i), 10u + i};
		if (virtq_drv_add(&r->drv, bufs, 1, length - 1, w->shape.indirect && w->sent % 2 ? &table : NULL,
				  (void *)(uintptr_t)w->sent) < 0)
			break;
		w->sent++;
		if (world_random(w, 3) == 0)
			break;
	}
	virtq_drv_publish(&r->drv);
	while (virtq_drv_take(&r->drv, &done) == 1) {
		uint32_t id = (uint32_t)(uintptr_t)done.cookie;

		assert_true(id < REQUESTS && w->executed[id] && !w->acknowledged[id]);
		w->acknowledged[id] = true;
		w->taken++;
	}
	assert_null(r->drv.fault);
}

static uint32_t popped_id(const struct world *w, const struct virtq_chain *chain)
{
	uint64_t at = (uint64_t)((uint8_t *)w->rig.segs[0].base - w->rig.data);
	uint32_t id = (uint32_t)(at / 64);

	assert_true(id < w->sent && !w->acknowledged[id]);
	assert_int_equal(chain->nsegs, chain_length(w, id));
	for (uint16_t i = 0; i < chain->nsegs; i++) {
		assert_int_equal(rig_gpa(&w->rig, w->rig.segs[i].base), buffer_address(w, id, i));
		assert_int_equal(w->rig.segs[i].len, 10 + i);
	}
	return id;
}

static void device_pop(struct world *w)
{
	struct virtq_chain chain;
	uint32_t id;

	if (w->held == HELD || rig_pop(&w->rig, &chain) != 1)
		return;
	device_runs = false;
	id = popped_id(w, &chain);
	if (chain.again) {
		assert_true(id >= w->next_again); /* oldest first */
		w->next_again = id + 1;
	} else {
		assert_true(id >= w->next_new);   /* never offered as new twice, unless it was not returned before */
	}
	if (id >= w->next_new)
		w->next_new = id + 1;
	w->executed[id] = true;
	w->tags[w->held] = chain.tag;
	w->ids[w->held++] = id;
	device_runs = true;
}

static void device_push(struct world *w)
{
	uint32_t i;

	if (w->held == 0)
		return;
	device_runs = false;
	i = world_random(w, w->held);
	device_runs = true;
	virtq_push(&w->rig.vq, w->tags[i], w->ids[i] % 2);
	w->held--;
	w->tags[i] = w->tags[w->held];
	w->ids[i] = w->ids[w->held];
}

static void device_turn(struct world *w)
{
	for (uint32_t n = world_random(w, 4); n > 0; n--)
		device_pop(w);
	for (uint32_t n = world_random(w, 4); n > 0; n--)
		device_push(w);
	if (world_random(w, 2) == 0)
		virtq_publish(&w->rig.vq);
	else if (world_random(w, 2) == 0)
		virtq_show(&w->rig.vq);
	assert_null(w->rig.vq.fault);
}

/*
 * The recovery rules of vhost-user.rst, word for word, on the region as it lies there: which entries are in flight, by counter.
 * Returns how many. Written from the text, apart from the code.
 */
struct spec_split {
	uint64_t features;
	uint16_t version, desc_num, last_batch_head, used_idx;
	struct {
		uint8_t inflight, padding[5];
		uint16_t next;
		uint64_t counter;
	} desc[];
};

struct spec_packed {
	uint64_t features;
	uint16_t version, desc_num, free_head, old_free_head, used_idx, old_used_idx;
	uint8_t used_wrap_counter, old_used_wrap_counter, padding[7];
	struct {
		uint8_t inflight, padding;
		uint16_t next, last, num;
		uint64_t counter;
		uint16_t id, flags;
		uint32_t len;
		uint64_t addr;
	} desc[];
};

static _Alignas(64) uint8_t spec_region[64 + 32 * 16];

static bool spec_split_inflight(const struct rig *r, uint16_t i, uint64_t *counter)
{
	struct spec_split *region = (void *)spec_region;
	uint16_t used = ((const uint16_t *)r->config.device)[1];

	if (region->used_idx != used) {
		uint16_t batch = used - region->used_idx, at = region->last_batch_head;

		for (; batch > 0; batch--, at = region->desc[at].next)
			region->desc[at].inflight = 0;
		region->used_idx = used;
	}
	*counter = region->desc[i].counter;
	return region->desc[i].inflight == 1;
}

static bool spec_packed_inflight(const struct rig *r, uint16_t i, uint64_t *counter)
{
	struct spec_packed *region = (void *)spec_region;

	/* Both, the index and its lap: a batch may fill the ring. */
	if (region->used_idx != region->old_used_idx || region->used_wrap_counter != region->old_used_wrap_counter) {
		uint16_t flags = ((const uint16_t *)r->config.desc)[8 * region->old_used_idx + 7] & (1 << 7 | 1 << 15);

		if (flags != (region->old_used_wrap_counter ? 1 << 7 : 1 << 15)) {
			region->old_free_head = region->free_head;
			region->old_used_idx = region->used_idx;
			region->old_used_wrap_counter = region->used_wrap_counter;
		}
	}
	region->free_head = region->old_free_head;
	region->used_idx = region->old_used_idx;
	region->used_wrap_counter = region->old_used_wrap_counter;
	for (uint16_t at = region->free_head; at < region->desc_num; at = region->desc[at].next)
		region->desc[at].inflight = 0;
	*counter = region->desc[i].counter;
	return region->desc[i].inflight == 1;
}

/* Starts the device on what the killed one left; it must want to resubmit what the text says, in that order. */
static void restart_by_the_book(struct world *w)
{
	struct rig *r = &w->rig;
	uint64_t counter[16], order = 0;
	bool inflight[16];
	uint32_t count = 0;

	memcpy(spec_region, r->region, virtq_inflight_size(w->shape.packed, w->shape.num));
	for (uint16_t i = 0; i < w->shape.num; i++) {
		inflight[i] = ((struct spec_split *)(void *)spec_region)->version == 1 &&
			      (w->shape.packed ? spec_packed_inflight : spec_split_inflight)(r, i, &counter[i]);
		count += inflight[i];
	}
	rig_device_start(r);
	assert_int_equal(r->vq.resubmits, count);
	for (uint32_t i = 0; i < count; i++) {
		uint16_t entry = r->vq.resubmit[i].entry;

		assert_true(inflight[entry]);
		assert_true(i == 0 || counter[entry] > order);
		order = counter[entry];
		inflight[entry] = false;
	}
}

/* One life of the device, from its start until all is done or it is killed at store `at`. True: it was killed. */
static bool world_live(struct world *w, uint32_t at)
{
	stores = 0;
	kill_at = at;
	w->held = w->next_again = 0;
	if (setjmp(killed) != 0)
		return true;
	device_runs = true;
	restart_by_the_book(w);
	for (uint32_t turn = 0; w->taken < REQUESTS; turn++) {
		assert_true(turn < 10000); /* a lost request */
		device_runs = true;
		device_turn(w);
		device_runs = false;
		guest_turn(w);
	}
	return false;
}

static void world_start(struct world *w, const struct shape *shape, uint64_t seed)
{
	memset(w, 0, sizeof(*w));
	w->shape = *shape;
	w->random = seed;
	device_runs = false;
	rig_start(&w->rig, shape->num, shape->packed, shape->event_idx, true);
}

static void world_end(struct world *w)
{
	device_runs = false;
	assert_int_equal(virtq_in_use(&w->rig.vq), w->held);
	while (w->held > 0)
		device_push(w);
	virtq_publish(&w->rig.vq);
	assert_int_equal(virtq_in_use(&w->rig.vq), 0);
	assert_int_equal(virtq_drv_room(&w->rig.drv), w->shape.num);
	for (uint32_t i = 0; i < REQUESTS; i++)
		assert_true(w->acknowledged[i]);
	rig_end(&w->rig);
}

static void for_each_shape(void (*run)(const struct shape *))
{
	static const uint16_t split_sizes[] = {1, 2, 4, 8, 16}, packed_sizes[] = {1, 2, 3, 5, 8, 16};

	shm_hook = count_stores;
	for (unsigned f = 0; f < 4; f++) {
		struct shape s = {.event_idx = f & 1, .indirect = f & 2};

		for (size_t i = 0; i < WEFT_COUNT(split_sizes); i++) {
			s.num = split_sizes[i], s.packed = false;
			run(&s);
		}
		for (size_t i = 0; i < WEFT_COUNT(packed_sizes); i++) {
			s.num = packed_sizes[i], s.packed = true;
			run(&s);
		}
	}
	shm_hook = NULL;
}

static void kill_once_everywhere(const struct shape *shape)
{
	static struct world w;

	for (uint64_t seed = 1; seed <= 2; seed++) {
		bool was_killed = true;

		for (uint32_t at = 0; was_killed; at++) {
			world_start(&w, shape, seed);
			was_killed = world_live(&w, at);
			if (was_killed)
				assert_false(world_live(&w, UINT32_MAX));
			world_end(&w);
		}
	}
}

static void test_killed_once(void **state)
{
	(void)state;
	for_each_shape(kill_once_everywhere);
}

/* Killed at `first`, then again at each of the first stores of the next life: those are its recovery. */
static void kill_recovery_everywhere(const struct shape *shape)
{
	static struct world w;
	bool was_killed = true;

	for (uint32_t first = 0; was_killed; first += 3)
		for (uint32_t second = 0; second < 24; second++) {
			world_start(&w, shape, 3 + first);
			was_killed = world_live(&w, first);
			if (was_killed && world_live(&w, second))
				assert_false(world_live(&w, UINT32_MAX));
			world_end(&w);
		}
}

static void test_killed_in_recovery(void **state)
{
	(void)state;
	for_each_shape(kill_recovery_everywhere);
}

static void kill_again_and_again(const struct shape *shape)
{
	static struct world w;

	for (uint64_t seed = 100; seed < 400; seed++) {
		world_start(&w, shape, seed);
		for (unsigned life = 0; life < 200; life++)
			if (!world_live(&w, world_random(&w, 90)))
				break;
		if (w.taken < REQUESTS)
			assert_false(world_live(&w, UINT32_MAX));
		world_end(&w);
	}
}

static void test_killed_again_and_again(void **state)
{
	(void)state;
	for_each_shape(kill_again_and_again);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_killed_once),
		cmocka_unit_test(test_killed_in_recovery),
		cmocka_unit_test(test_killed_again_and_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
