/* SPDX-License-Identifier: BSD-2-Clause */
/* Driver and device in two threads: what one writes before it publishes the other sees after it has looked. */
#include "wire/virtq_rig.h"

#include "wire/shm.h"

#include <pthread.h>
#include <sched.h>

enum { REQUESTS = 50000, NUM = 16 };

static struct rig rig;

/* Adds one to the number it finds in the readable buffer and writes it to the writable one. */
static void *device_main(void *arg)
{
	uint32_t served = 0;

	(void)arg;
	while (served < REQUESTS) {
		struct virtq_chain chain;

		while (virtq_pop(&rig.vq, &rig.map, rig.segs, RIG_SEGS, &chain) == 1) {
			uint64_t number;

			memcpy(&number, rig.segs[0].base, 8);
			number++;
			memcpy(rig.segs[1].base, &number, 8);
			virtq_push(&rig.vq, chain.tag, 8);
			served++;
		}
		virtq_publish(&rig.vq);
		if (!virtq_has_work(&rig.vq))
			sched_yield();
	}
	return NULL;
}

static void drive(void)
{
	uint64_t sent = 0, sum = 0;

	for (uint32_t taken = 0; taken < REQUESTS;) {
		struct virtq_done done;

		while (sent < REQUESTS && virtq_drv_room(&rig.drv) >= 2) {
			uint8_t *at = rig.data + 64 * virtq_drv_next_id(&rig.drv);
			struct virtq_buf bufs[2] = {{rig_gpa(&rig, at), 8}, {rig_gpa(&rig, at + 8), 8}};

			memcpy(at, &sent, 8);
			assert_in_range(virtq_drv_add(&rig.drv, bufs, 1, 1, NULL, at), 0, NUM - 1);
			sent++;
		}
		virtq_drv_publish(&rig.drv);
		while (virtq_drv_take(&rig.drv, &done) == 1) {
			uint64_t question, answer;

			memcpy(&question, done.cookie, 8);
			memcpy(&answer, (uint8_t *)done.cookie + 8, 8);
			assert_int_equal(answer, question + 1);
			sum += question;
			taken++;
		}
		sched_yield();
	}
	assert_int_equal(sum, (uint64_t)REQUESTS * (REQUESTS - 1) / 2);
}

static void run(bool packed, bool tracked)
{
	pthread_t thread;

	rig_start(&rig, NUM, packed, true, tracked);
	assert_int_equal(pthread_create(&thread, NULL, device_main, NULL), 0);
	drive();
	pthread_join(thread, NULL);
	rig_end(&rig);
}

static void test_split(void **state)
{
	(void)state;
	run(false, false);
	run(false, true);
}

static void test_packed(void **state)
{
	(void)state;
	run(true, false);
	run(true, true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split),
		cmocka_unit_test(test_packed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
