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
			if (sent % 5 == 0)
				virtq_drv_show(&r.drv);
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
			if (held % 7 == 0)
				virtq_show(&r.vq);
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

/* Stopped with nothing in flight and set up anew with the base that it told, at every position of several laps. */
static void test_base_continues(void **state)
{
	(void)state;
	for (unsigned format = 0; format < 2; format++) {
		struct virtq_chain chain;
		struct virtq_done done;
		struct rig r;

		rig_start(&r, 8, format, true, false);
		for (uint32_t id = 0; id < 100; id++) {
			assert_in_range(add_chain(&r, id, 1, id % 3, false), 0, 7);
			virtq_drv_publish(&r.drv);
			assert_int_equal(rig_pop(&r, &chain), 1);
			check_chain(&r, &chain, id, 1, id % 3);
			virtq_push(&r.vq, chain.tag, 0);
			virtq_publish(&r.vq);
			assert_int_equal(virtq_drv_take(&r.drv, &done), 1);
			r.config.base = virtq_base(&r.vq);
			if (id % 2)
				r.config.base &= format ? 0xffff : UINT32_MAX; /* some front ends keep the lower half */
			rig_device_start(&r);
			assert_int_equal(rig_pop(&r, &chain), 0);
		}
		rig_end(&r);
	}
}

/* What the device writes into the ring is marked in the dirty log, at the address that was given for it. */
static void test_dirty_log(void **state)
{
	uint8_t bits[8];
	struct vhost_log log = {bits, sizeof(bits)};

	(void)state;
	for (unsigned format = 0; format < 2; format++) {
		struct virtq_chain chain;
		struct rig r;

		rig_start(&r, 1024, format, true, false);
		r.vq.log = &log;
		r.vq.log_address = 4096; /* 1024 entries: pages 1 to 3 (split) or 1 to 4 (packed) */
		for (uint32_t id = 0; id < 1024; id++) {
			uint32_t first = format ? id * 16 / 4096 : (4 + id * 8) / 4096;

			assert_in_range(add_chain(&r, id, 1, 0, false), 0, 1023);
			virtq_drv_publish(&r.drv);
			assert_int_equal(rig_pop(&r, &chain), 1);
			memset(bits, 0, sizeof(bits));
			virtq_push(&r.vq, chain.tag, 0);
			assert_int_equal(bits[0], 0); /* marked after the write, not before */
			virtq_publish(&r.vq);
			assert_int_equal(bits[0], format ? 2 << first : (2 | 2 << first | (id % 512 == 511 ? 4 << first : 0)));
		}
		rig_end(&r);
	}
}

/* Also what asks for kicks, or for none, lies in the guest's memory. */
static void test_dirty_log_of_events(void **state)
{
	uint8_t bits[8];
	struct vhost_log log = {bits, sizeof(bits)};

	(void)state;
	for (unsigned way = 0; way < 4; way++) {
		bool format = way & 1, event_idx = way & 2;
		struct rig r;

		rig_start(&r, 1024, format, event_idx, false);
		r.vq.log = &log;
		r.vq.log_address = 4096;
		r.vq.log_event = 7 * 4096;
		memset(bits, 0, sizeof(bits));
		virtq_notify_enable(&r.vq);
		assert_int_equal(bits[0], format ? 1 << 7 : event_idx ? 1 << 3 : 1 << 1);
		memset(bits, 0, sizeof(bits));
		virtq_notify_disable(&r.vq);
		assert_int_equal(bits[0], format ? 1 << 7 : event_idx ? 0 : 1 << 1);
		memset(bits, 0, sizeof(bits));
		virtq_log_all(&r.vq);
		assert_int_equal(bits[0], format ? 1 << 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 7 : 1 << 1 | 1 << 2 | 1 << 3);
		rig_end(&r);
	}
}

static void test_driver_limits(void **state)
{
	struct virtq_drv drv;
	struct rig r;
	uint16_t next;

	(void)state;
	for (unsigned format = 0; format < 2; format++) {
		rig_start(&r, 4, format, false, false);
		assert_int_equal(add_chain(&r, 0, 3, 2, false), -E2BIG);
		assert_in_range(add_chain(&r, 0, 2, 1, false), 0, 3);
		assert_int_equal(virtq_drv_room(&r.drv), 1);
		assert_int_equal(add_chain(&r, 1, 1, 1, false), -ENOSPC);
		next = virtq_drv_next_id(&r.drv);
		assert_int_equal(add_chain(&r, 1, 2, 2, true), next); /* a table takes one */
		assert_int_equal(add_chain(&r, 2, 1, 0, false), -ENOSPC);
		r.drv_config.num = 0;
		assert_int_equal(virtq_drv_init(&drv, &r.drv_config), -EINVAL);
		rig_end(&r);
	}
}

/* A device that uses what is not in flight is found out, and not listened to any more. */
static void test_driver_distrusts_the_device(void **state)
{
	struct virtq_done done;
	struct rig r;
	uint64_t word;

	(void)state;
	rig_start(&r, 4, false, false, false);
	((uint16_t *)r.config.device)[1] = 1; /* used.idx, with nothing in flight */
	assert_int_equal(virtq_drv_take(&r.drv, &done), -EPROTO);
	assert_string_equal(r.drv.fault, "the device has used more requests than there were");
	rig_end(&r);
	for (uint32_t id = 1; id < 6; id++) {
		rig_start(&r, 4, false, false, false);
		add_chain(&r, 0, 1, 1, false);
		virtq_drv_publish(&r.drv);
		((uint32_t *)r.config.device)[1] = id; /* the head is 0 */
		((uint16_t *)r.config.device)[1] = 1;
		assert_int_equal(virtq_drv_take(&r.drv, &done), -EPROTO);
		assert_string_equal(r.drv.fault, "the device has used a request that is not in flight");
		assert_int_equal(virtq_drv_take(&r.drv, &done), -EPROTO);
		rig_end(&r);
		rig_start(&r, 4, true, false, false);
		add_chain(&r, 0, 1, 1, false);
		virtq_drv_publish(&r.drv);
		word = (uint64_t)id << 32 | (uint64_t)(DESC_AVAIL | DESC_USED) << 48;
		memcpy((uint8_t *)r.config.desc + 8, &word, 8);
		assert_int_equal(virtq_drv_take(&r.drv, &done), -EPROTO);
		rig_end(&r);
	}
}

/* A device guesses the next request and uses it before it was shown: it ends, and is not pending any more. */
static void test_driver_meets_a_device_that_guesses(void **state)
{
	struct virtq_done done;
	struct rig r;
	uint64_t word = (uint64_t)(DESC_AVAIL | DESC_USED) << 48;

	(void)state;
	for (unsigned format = 0; format < 2; format++) {
		rig_start(&r, 4, format, false, false);
		add_chain(&r, 0, 1, 1, false);
		if (format == 0)
			((uint16_t *)r.config.device)[1] = 1; /* used.idx; the head is 0 */
		else
			memcpy((uint8_t *)r.config.desc + 8, &word, 8);
		if (virtq_drv_take(&r.drv, &done) == 1)
			assert_int_equal(virtq_drv_room(&r.drv), 4);
		else
			assert_int_equal(virtq_drv_room(&r.drv), 2); /* showing it has overwritten the answer */
		virtq_drv_publish(&r.drv);
		assert_null(r.drv.fault);
		rig_end(&r);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_traffic),
		cmocka_unit_test(test_base_continues),
		cmocka_unit_test(test_dirty_log),
		cmocka_unit_test(test_dirty_log_of_events),
		cmocka_unit_test(test_driver_limits),
		cmocka_unit_test(test_driver_distrusts_the_device),
		cmocka_unit_test(test_driver_meets_a_device_that_guesses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
