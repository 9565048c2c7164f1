/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that open queues, ask, and close them again, on devices that all share, while memory and devices come and go and
 * statistics are read; and threads that count in one block of a device. Made for ThreadSanitizer. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <weft/weft.h>

#define THREADS 4u
#define ROUNDS 40u
#define REQUESTS 64u
#define BLOCK 4096u

struct churn {
	struct weft *weft;
	struct weft_device *device;
};

struct user {
	struct churn *churn;
	unsigned index;
	_Atomic unsigned wrong;
};

static void ask(struct user *user, struct weft_queue *queue, char *memory)
{
	struct weft_completion c[REQUESTS];

	for (unsigned i = 0; i < REQUESTS; i++) {
		uint64_t offset = ((uint64_t)user->index * REQUESTS + i) * BLOCK;

		memset(memory, (int)(user->index + i), BLOCK);
		user->wrong += weft_queue_write(queue, offset, memory, BLOCK, NULL, 0) != 0;
		user->wrong += weft_queue_wait(queue, c, 1, 1, WEFT_FOREVER) != 1 || c[0].status != 0;
	}
	for (unsigned i = 0; i < REQUESTS; i++)
		user->wrong += weft_queue_read(queue, ((uint64_t)user->index * REQUESTS + i) * BLOCK, memory + (size_t)i * BLOCK,
			BLOCK, NULL, 0) != 0;
	user->wrong += weft_queue_wait(queue, c, REQUESTS, REQUESTS, WEFT_FOREVER) != (int)REQUESTS;
	for (unsigned i = 0; i < REQUESTS; i++)
		user->wrong += memory[(size_t)i * BLOCK] != (char)(user->index + i);
}

/* Every third round on a reactor of its own that two queues share. */
static void *user_main(void *arg)
{
	struct user *user = arg;

	for (unsigned round = 0; round < ROUNDS; round++) {
		struct weft_reactor *reactor = NULL;
		struct weft_memory *memory;
		struct weft_queue *queue, *second = NULL;

		user->wrong += weft_memory_alloc(user->churn->weft, (uint64_t)REQUESTS * BLOCK, 0, &memory, NULL) != 0;
		if (round % 3 == 0)
			user->wrong += weft_reactor_open(user->churn->weft, NULL, &reactor, NULL) != 0 ||
				weft_queue_open(user->churn->device, reactor, NULL, &second, NULL) != 0;
		user->wrong += weft_queue_open(user->churn->device, reactor, NULL, &queue, NULL) != 0;
		if (user->wrong > 0)
			return NULL;
		ask(user, queue, weft_memory_base(memory));
		user->wrong += weft_queue_close(queue, NULL) != 0;
		if (second != NULL)
			user->wrong += weft_queue_close(second, NULL) != 0 || weft_reactor_close(reactor, NULL) != 0;
		user->wrong += weft_memory_release(memory, NULL) != 0;
	}
	return NULL;
}

static void churn(const char *text)
{
	struct churn churn = { 0 };
	struct user user[THREADS];
	struct weft_device *other;
	struct weft_stats stats;
	struct weft_why why;
	pthread_t thread[THREADS];
	uint64_t requests = 0;

	assert_int_equal(weft_open(NULL, &churn.weft, &why), 0);
	assert_int_equal(weft_device_open(churn.weft, text, &churn.device, &why), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		user[i] = (struct user){ .churn = &churn, .index = i };
		assert_int_equal(pthread_create(&thread[i], NULL, user_main, &user[i]), 0);
	}
	while (requests < THREADS * ROUNDS * REQUESTS) {
		assert_int_equal(weft_device_open(churn.weft, "null", &other, &why), 0);
		assert_int_equal(weft_device_stats(churn.device, &stats), 0);
		assert_int_equal(weft_device_close(other, &why), 0);
		requests = stats.of[WEFT_STAT_READ].requests;
		for (unsigned i = 0; i < THREADS; i++)
			if (user[i].wrong > 0)
				requests = UINT64_MAX;
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(user[i].wrong, 0);
	}
	assert_int_equal(weft_device_stats(churn.device, &stats), 0);
	assert_int_equal(stats.of[WEFT_STAT_WRITE].requests, THREADS * ROUNDS * REQUESTS);
	assert_int_equal(weft_device_close(churn.device, &why), 0);
	assert_int_equal(weft_close(churn.weft, &why), 0);
}

static void on_memory_that_is_called_everywhere(void **state)
{
	(void)state;
	churn("slice:[mem:4MiB]");
}

static void on_a_device_that_lives_on_a_service_reactor(void **state)
{
	(void)state;
	churn("contract:[mem:4MiB]");
	churn("compare-write:[mem:4MiB]");
}

/* ---- counting ---- */

#define COUNTS 300u
#define COUNTERS 2u

struct counter {
	struct weft_device *device;
	unsigned index;
	_Atomic unsigned wrong, late;
};

static int one(struct weft_queue *queue, int staged)
{
	struct weft_completion c;

	return staged != 0 ? staged : weft_queue_wait(queue, &c, 1, 1, WEFT_FOREVER) != 1 ? -EIO : c.status;
}

/* The number in this block becomes one more, by compare-and-write, whatever others do to it. */
static void count_up(struct counter *counter, struct weft_queue *queue, uint64_t offset)
{
	uint64_t was[512 / 8], is[512 / 8];
	int status = -EILSEQ;

	for (; status == -EILSEQ; counter->late += status == -EILSEQ) {
		counter->wrong += one(queue, weft_queue_read(queue, offset, was, sizeof(was), NULL, 0)) != 0;
		memcpy(is, was, sizeof(is));
		is[0]++;
		status = one(queue, weft_queue_compare_write(queue, offset, was, is, sizeof(is), NULL, 0));
	}
	counter->wrong += status != 0;
}

/* Each counts in blocks that all share, and writes to the block between them. */
static void *counter_main(void *arg)
{
	struct counter *counter = arg;
	struct weft_queue *queue;
	char between[512];

	memset(between, 'b', sizeof(between));
	counter->wrong += weft_queue_open(counter->device, NULL, NULL, &queue, NULL) != 0;
	for (unsigned i = 0; i < COUNTS && counter->wrong == 0; i++) {
		count_up(counter, queue, (i + counter->index) % COUNTERS * 1024);
		counter->wrong += one(queue, weft_queue_write(queue, 512, between, sizeof(between), NULL, 0)) != 0;
	}
	counter->wrong += weft_queue_close(queue, NULL) != 0;
	return NULL;
}

static void no_count_is_lost(void **state)
{
	struct counter counter[THREADS];
	pthread_t thread[THREADS];
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_why why;
	struct weft *weft;
	uint64_t block[512 / 8], sum = 0;

	(void)state;
	assert_int_equal(weft_open(NULL, &weft, &why), 0);
	assert_int_equal(weft_device_open(weft, "compare-write:[mem:1MiB]", &device, &why), 0);
	for (unsigned i = 0; i < THREADS; i++) {
		counter[i] = (struct counter){ .device = device, .index = i };
		assert_int_equal(pthread_create(&thread[i], NULL, counter_main, &counter[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(counter[i].wrong, 0);
	}
	assert_int_equal(weft_queue_open(device, NULL, NULL, &queue, &why), 0);
	for (unsigned i = 0; i < COUNTERS; i++) {
		assert_int_equal(one(queue, weft_queue_read(queue, i * 1024, block, sizeof(block), NULL, 0)), 0);
		sum += block[0];
	}
	assert_int_equal(sum, THREADS * COUNTS);
	assert_int_equal(weft_queue_close(queue, &why), 0);
	assert_int_equal(weft_device_close(device, &why), 0);
	assert_int_equal(weft_close(weft, &why), 0);
}

/* ---- a device that one thread closes while others ask what can be said of it ---- */

struct facts {
	_Atomic(struct weft_device *) device;
	_Atomic bool over;
	_Atomic unsigned wrong;
};

static bool open_or_closed(int got)
{
	return got >= 0 || got == -EBADF;
}

static void *properties_main(void *arg)
{
	struct facts *f = arg;
	struct weft_property property;
	char text[64];

	while (!f->over) {
		struct weft_device *device = f->device;

		f->wrong += !open_or_closed(weft_device_get(device, "lower.size", text, sizeof(text), NULL));
		f->wrong += !open_or_closed(weft_device_set(device, "all", "1us", NULL));
		f->wrong += !open_or_closed(weft_device_property(device, 20, &property));
		f->wrong += weft_device_resize(device, 1000, NULL) > -1;
	}
	return NULL;
}

/* Nothing here but these calls themselves could put the closing thread and this one in order. */
static void *facts_main(void *arg)
{
	static struct weft_stats stats;
	struct facts *f = arg;
	struct weft_device_info info;

	while (!f->over) {
		f->wrong += !open_or_closed(weft_device_info(f->device, &info));
		f->wrong += !open_or_closed(weft_device_stats(f->device, &stats));
	}
	return NULL;
}

static void facts_of_a_device_that_is_closed_meanwhile(void **state)
{
	static struct facts f;
	struct weft *weft;
	struct weft_device *device;
	struct weft_why why;
	pthread_t thread[2];

	(void)state;
	assert_int_equal(weft_open(NULL, &weft, &why), 0);
	assert_int_equal(weft_device_open(weft, "delay:[mem:1MiB],all=1us", &device, &why), 0);
	f.device = device;
	assert_int_equal(pthread_create(&thread[0], NULL, facts_main, &f), 0);
	assert_int_equal(pthread_create(&thread[1], NULL, properties_main, &f), 0);
	for (unsigned round = 0; round < 400; round++) {
		assert_int_equal(weft_device_close(device, &why), 0);
		assert_int_equal(weft_device_open(weft, "delay:[mem:1MiB],all=1us", &device, &why), 0);
		f.device = device;
	}
	f.over = true;
	for (unsigned i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	assert_int_equal(f.wrong, 0);
	assert_int_equal(weft_device_close(device, &why), 0);
	assert_int_equal(weft_close(weft, &why), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(on_memory_that_is_called_everywhere),
		cmocka_unit_test(on_a_device_that_lives_on_a_service_reactor),
		cmocka_unit_test(no_count_is_lost),
		cmocka_unit_test(facts_of_a_device_that_is_closed_meanwhile),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
