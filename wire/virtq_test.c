/* SPDX-License-Identifier: BSD-2-Clause */
/* Driver against device on one ring: every format, size and feature; order, wrap-around, limits, notification. */
#include "wire/virtq_rig.h"

#include "wire/virtq_walk.h"

/* A chain of `nread` readable and `nwrite` writable buffers of 100 + i bytes each, at addresses told by `id`. */
static int add_chain(struct rig *r, uint32_t id, uint16_t nread, uint16_t nwrite, bool indirect)
{
	struct virtq_buf bufs[64];
	struct virtq_drv_table table = {r->data + (64 << 10) + 1024 * (id % 64), 0};

	table.addr = rig_gpa(r, table.memory);
	for (uint16_t i = 0; i < nread + nwrite; i++)
		bufs[i] = (struct virtq_buf){rig_gpa(r, r->data) + (id * 64 + i) % (64 << 10), 100u + i};
	return virtq_drv_add(&r->drv, bufs, nread, nwrite, indirect ? &table : NULL, (void *)(uintptr_t)(id + 1));
}

static void check_chain(const struct rig *r, const struct virtq_chain *c, uint32_t id, uint16_t nread, uint16_t nwrite)
{
	assert_int_equal(c->nsegs, nread + nwrite);
	assert_int_equal(c->nread, nread);
	for (uint16_t i = 0; i < c->nsegs; i++) {
		assert_ptr_equal(r->segs[i].base, r->data + (id * 64 + i) % (64 << 10));
		assert_int_equal(r->segs[i].len, 100 + i);
		assert_int_equal(r->segs[i].region, 7);
		assert_int_equal(r->segs[i].foreign, 1);
	}
}

struct shape {
	uint16_t num;
	bool packed, event_idx, tracked, indirect;
};

/* Chains of changing lengths go through for several laps of the ring and of the 16-bit index; results match requests. */
static void run_traffic(const struct shape *s, uint32_t requests)
{
	struct rig r;
	uint32_t sent = 0, taken = 0, popped = 0;
	uint64_t tags[64];
	uint32_t ids[64], held = 0;

	rig_start(&r, s->num, s->packed, s->event_idx, s->tracked);
	while (taken < requests) {
		struct virtq_chain chain;
		struct virtq_done done;
		uint32_t before = popped;

		while (sent < requests && sent - taken < 64) {
			uint16_t nread = 1 + sent % 2, nwrite = (sent / 2) % 2;

			if (nread + nwrite > s->num)
				nread = 1, nwrite = 0;
			if (add_chain(&r, sent, nread, nwrite, s->indirect) < 0)
				break;
			sent++;
		}
		virtq_drv_publish(&r.drv);
		while (held < 64 && rig_pop(&r, &chain) == 1) {
			uint16_t nread = 1 + popped % 2, nwrite = (popped / 2) % 2;

			if (nread + nwrite > s->num)
				nread = 1, nwrite = 0;
			check_chain(&r, &chain, popped, nread, nwrite);
			tags[held] = chain.tag;
			ids[held++] = popped++;
		}
		assert_null(r.vq.fault);
		for (uint32_t keep = popped > before ? popped % 3 : 0; held > keep;) { /* the newest first */
			held--;
			virtq_push(&r.vq, tags[held], ids[held] + 1);
		}
		virtq_publish(&r.vq);
		while (virtq_drv_take(&r.drv, &done) == 1) {
			assert_int_equal((uintptr_t)done.cookie, done.len);
			taken++;
		}
		assert_null(r.drv.fault);
	}
	assert_int_equal(virtq_in_use(&r.vq), 0);
	assert_int_equal(virtq_drv_room(&r.drv), s->num);
	rig_end(&r);
}

static void test_traffic(void **state)
{
	static const uint16_t split_sizes[] = {1, 2, 4, 16, 128, 1024, 32768};
	static const uint16_t packed_sizes[] = {1, 2, 3, 5, 16, 100, 128, 1024, 32768};

	(void)state;
	for (unsigned features = 0; features < 8; features++) {
		struct shape s = {.event_idx = features & 1, .tracked = features & 2, .indirect = features & 4};

		for (size_t i = 0; i < WEFT_COUNT(split_sizes); i++) {
			s.packed = false, s.num = split_sizes[i];
			run_traffic(&s, s.num > 1024 ? 70000 : 3 * s.num + 100);
		}
		for (size_t i = 0; i < WEFT_COUNT(packed_sizes); i++) {
			s.packed = true, s.num = packed_sizes[i];
			run_traffic(&s, s.num > 1024 ? 70000 : 3 * s.num + 100);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_traffic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
