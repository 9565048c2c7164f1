/* SPDX-License-Identifier: BSD-2-Clause */
/* libweft as a program uses it: requests, what they are answered, memory that they use in place. */
#include "lib/rig_test.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void what_is_written_is_read(void **state)
{
	struct use *u = *state;
	char a[BLOCK], b[BLOCK];

	memset(a, 0x5a, sizeof(a));
	assert_int_equal(weft_queue_write(u->queue, BLOCK, a, sizeof(a), a, 0), 0);
	assert_int_equal(one(u->queue, a), 0);
	assert_int_equal(weft_queue_read(u->queue, BLOCK, b, sizeof(b), b, 0), 0);
	assert_int_equal(weft_queue_submit(u->queue), 1);
	assert_int_equal(one(u->queue, b), 0);
	assert_memory_equal(a, b, sizeof(a));
	assert_int_equal(weft_queue_submit(u->queue), 0);
}

static void pieces_are_one_request(void **state)
{
	struct use *u = *state;
	char *a = malloc(64 * 512), *b = malloc(64 * 512);
	struct iovec iov[64];

	for (unsigned i = 0; i < 64 * 512; i++)
		a[i] = (char)(i / 512 + i);
	for (unsigned i = 0; i < 64; i++)
		iov[i] = (struct iovec){ a + (size_t)i * 512, 512 };
	assert_int_equal(weft_queue_writev(u->queue, 0, iov, 64, a, WEFT_FUA), 0);
	assert_int_equal(one(u->queue, a), 0);
	for (unsigned i = 0; i < 3; i++)
		iov[i] = (struct iovec){ b + (size_t)i * 64 * 512 / 4, 64 * 512 / 4 * (i == 2 ? 2 : 1) };
	assert_int_equal(weft_queue_readv(u->queue, 0, iov, 3, b, 0), 0);
	assert_int_equal(one(u->queue, b), 0);
	assert_memory_equal(a, b, 64 * 512);
	free(a);
	free(b);
}

static void the_other_operations(void **state)
{
	struct use *u = *state;
	static char zero[BLOCK], ones[BLOCK], got[BLOCK];
	struct weft_extent extents[4] = { { 0 } };
	struct weft_device_info info;

	memset(ones, 1, sizeof(ones));
	assert_int_equal(weft_queue_write(u->queue, 0, ones, BLOCK, u, 0), 0);
	assert_int_equal(one(u->queue, u), 0);
	assert_int_equal(weft_queue_copy(u->queue, 8 * BLOCK, 0, BLOCK, u, 0), 0);
	assert_int_equal(one(u->queue, u), 0);
	assert_int_equal(weft_queue_read(u->queue, 8 * BLOCK, got, BLOCK, u, 0), 0);
	assert_int_equal(one(u->queue, u), 0);
	assert_memory_equal(got, ones, BLOCK);
	assert_int_equal(weft_queue_zero(u->queue, 8 * BLOCK, BLOCK, u, WEFT_NO_UNMAP), 0);
	assert_int_equal(one(u->queue, u), 0);
	assert_int_equal(weft_queue_read(u->queue, 8 * BLOCK, got, BLOCK, u, 0), 0);
	assert_int_equal(one(u->queue, u), 0);
	assert_memory_equal(got, zero, BLOCK);
	assert_int_equal(weft_queue_discard(u->queue, 0, BLOCK, u, 0), 0);
	assert_int_equal(one(u->queue, u), 0);
	assert_int_equal(weft_queue_flush(u->queue, u, 0), 0);
	assert_int_equal(one(u->queue, u), 0);
	assert_int_equal(weft_queue_status(u->queue, 0, 1 << 20, extents, 4, u, 0), 0);
	assert_int_equal(one(u->queue, u), 0);
	assert_int_equal(extents[0].offset, 0);
	assert_true(extents[0].len > 0);
	/* What it has not, it says, before and after. */
	assert_int_equal(weft_device_info(u->device, &info), 0);
	assert_int_equal(info.ops & WEFT_OP_BIT(WEFT_COMPARE_WRITE), 0);
	assert_int_equal(weft_queue_compare_write(u->queue, 0, zero, ones, BLOCK, u, 0), 0);
	assert_int_equal(one(u->queue, u), -EOPNOTSUPP);
}

/* Asked on the program's thread, done at a service reactor. */
static void compare_and_write_is_one_step(void **state)
{
	struct use *u = *state;
	static char was[BLOCK], is[BLOCK], got[BLOCK];
	struct weft_device_info info;
	struct weft_device *device;
	struct weft_queue *queue;
	char text[16];

	must(u, weft_device_open(u->weft, "compare-write:[mem:1MiB]", &device, &u->why));
	must(u, weft_queue_open(device, NULL, NULL, &queue, &u->why));
	assert_int_equal(weft_device_info(device, &info), 0);
	assert_int_not_equal(info.ops & info.ops_own & WEFT_OP_BIT(WEFT_COMPARE_WRITE), 0);
	assert_int_equal(info.max_compare, 65536);
	assert_int_equal(weft_device_get(device, "max-compare", text, sizeof(text), &u->why), 5);
	assert_string_equal(text, "65536");
	memset(is, 'i', BLOCK);
	assert_int_equal(weft_queue_compare_write(queue, BLOCK, was, is, BLOCK, u, WEFT_FUA), 0);
	assert_int_equal(one(queue, u), 0);
	assert_int_equal(weft_queue_compare_write(queue, BLOCK, was, was, BLOCK, u, 0), 0);
	assert_int_equal(one(queue, u), -EILSEQ);
	assert_int_equal(weft_queue_read(queue, BLOCK, got, BLOCK, u, 0), 0);
	assert_int_equal(one(queue, u), 0);
	assert_memory_equal(got, is, BLOCK);
	assert_int_equal(weft_queue_compare_write(queue, BLOCK, was, is, BLOCK, u, WEFT_NO_UNMAP), -EINVAL);
	assert_int_equal(weft_device_info(u->device, &info), 0);
	assert_int_equal(info.max_compare, 0); /* mem has none */
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_device_close(device, &u->why));
}

static void what_is_wrong_with_a_request_its_completion_tells(void **state)
{
	struct use *u = *state;
	char a[BLOCK];

	assert_int_equal(weft_queue_read(u->queue, 1 << 20, a, BLOCK, a, 0), 0);
	assert_int_equal(one(u->queue, a), -ERANGE);
	assert_int_equal(weft_queue_read(u->queue, UINT64_MAX - 511, a, 512, a, 0), 0);
	assert_true(one(u->queue, a) < 0);
	assert_int_equal(weft_queue_read(u->queue, 1, a, 512, a, 0), 0);
	assert_int_equal(one(u->queue, a), -EINVAL);
	assert_int_equal(weft_queue_read(u->queue, 0, a, BLOCK, a, WEFT_FUA), -EINVAL);
	assert_non_null(strstr(weft_queue_why(u->queue), "flags 0x1"));
	assert_int_equal(weft_queue_read(u->queue, 0, NULL, 0, a, 0), 0);
	assert_int_equal(one(u->queue, a), 0);
}

/* Each operation with each of these, at an edge or near 2^64: refused, and nothing else has happened. */
static void ranges_that_are_none_are_refused(void **state)
{
	static const struct { uint64_t offset, len; int status; } wrong[] = {
		{ 1 << 20, 512, -ERANGE }, { (1 << 20) - 512, 1024, -ERANGE }, { 512, UINT64_MAX - 511, -ERANGE },
		{ UINT64_MAX - 511, 512, -ERANGE }, { UINT64_MAX - 511, UINT64_MAX - 511, -ERANGE },
		{ UINT64_C(1) << 63, UINT64_C(1) << 63, -ERANGE }, { 0, (UINT64_C(1) << 32) + 512, -ERANGE },
		{ 0, UINT64_MAX, -EINVAL }, { UINT64_MAX, 512, -EINVAL }, { 1, 512, -EINVAL }, { 0, 1, -EINVAL },
	};
	static char a[BLOCK], b[BLOCK];
	struct use *u = *state;
	struct weft_extent extent;

	memset(a, 'a', sizeof(a));
	assert_int_equal(weft_queue_write(u->queue, 0, a, BLOCK, u, 0), 0);
	assert_int_equal(one(u->queue, u), 0);
	for (unsigned i = 0; i < WEFT_COUNT(wrong); i++) {
		uint64_t offset = wrong[i].offset, len = wrong[i].len;
		int status = wrong[i].status;

		assert_int_equal(weft_queue_discard(u->queue, offset, len, u, 0), 0);
		assert_int_equal(one(u->queue, u), status);
		assert_int_equal(weft_queue_zero(u->queue, offset, len, u, 0), 0);
		assert_int_equal(one(u->queue, u), status);
		assert_int_equal(weft_queue_copy(u->queue, offset, 8 * BLOCK, len, u, 0), 0);
		assert_int_equal(one(u->queue, u), status);
		assert_int_equal(weft_queue_copy(u->queue, 0, offset, len, u, 0), 0);
		assert_int_equal(one(u->queue, u), status);
		assert_int_equal(weft_queue_status(u->queue, offset, len, &extent, 1, u, 0), 0);
		assert_int_equal(one(u->queue, u), status);
		if (len > BLOCK)
			continue;
		assert_int_equal(weft_queue_read(u->queue, offset, b, len, u, 0), 0);
		assert_int_equal(one(u->queue, u), status);
		assert_int_equal(weft_queue_write(u->queue, offset, b, len, u, 0), 0);
		assert_int_equal(one(u->queue, u), status);
	}
	assert_int_equal(weft_queue_read(u->queue, 0, b, BLOCK, u, 0), 0);
	assert_int_equal(one(u->queue, u), 0);
	assert_memory_equal(a, b, BLOCK);
}

static void pieces_may_be_empty(void **state)
{
	struct use *u = *state;
	static char a[2 * BLOCK], b[2 * BLOCK];
	struct iovec out[] = { { NULL, 0 }, { a, BLOCK }, { a, 0 }, { a + BLOCK, BLOCK }, { NULL, 0 } };
	struct iovec in[] = { { b, 512 }, { NULL, 0 }, { b + 512, 2 * BLOCK - 512 } };

	memset(a, 'p', sizeof(a));
	assert_int_equal(weft_queue_writev(u->queue, 0, out, 5, u, 0), 0);
	assert_int_equal(one(u->queue, u), 0);
	assert_int_equal(weft_queue_readv(u->queue, 0, in, 3, u, 0), 0);
	assert_int_equal(one(u->queue, u), 0);
	assert_memory_equal(a, b, sizeof(a));
	assert_int_equal(weft_queue_writev(u->queue, 0, out + 2, 1, u, 0), 0);
	assert_int_equal(one(u->queue, u), 0);
	assert_int_equal(weft_queue_readv(u->queue, 0, NULL, 0, u, 0), 0);
	assert_int_equal(one(u->queue, u), 0);
}

static void a_full_queue_says_so_and_goes_on(void **state)
{
	struct use *u = *state;
	struct weft_completion c[128];
	struct weft_queue_info info;
	char a[BLOCK];

	for (unsigned i = 0; i < 128; i++)
		assert_int_equal(weft_queue_read(u->queue, 0, a, BLOCK, a, 0), 0);
	assert_int_equal(weft_queue_read(u->queue, 0, a, BLOCK, a, 0), -EAGAIN);
	assert_non_null(strstr(weft_queue_why(u->queue), "weft_queue_poll"));
	assert_int_equal(weft_queue_info(u->queue, &info), 0);
	assert_int_equal(info.staged, 128);
	assert_int_equal(weft_queue_submit(u->queue), 128);
	assert_int_equal(weft_queue_drain(u->queue, WEFT_FOREVER), 0);
	assert_int_equal(weft_queue_read(u->queue, 0, a, BLOCK, a, 0), -EAGAIN);
	assert_int_equal(weft_queue_wait(u->queue, c, 100, 100, WEFT_FOREVER), 100);
	assert_int_equal(weft_queue_poll(u->queue, c, 128), 28);
	assert_int_equal(weft_queue_poll(u->queue, c, 128), 0);
	assert_int_equal(weft_queue_info(u->queue, &info), 0);
	assert_int_equal(info.full, 2);
	assert_int_equal(info.requests, 128);
}

static void *release_main(void *memory)
{
	return (void *)(intptr_t)weft_memory_release(memory, NULL);
}

static int release_elsewhere(struct weft_memory *memory)
{
	pthread_t thread;
	void *got;

	assert_int_equal(pthread_create(&thread, NULL, release_main, memory), 0);
	pthread_join(thread, &got);
	return (int)(intptr_t)got;
}

static void registered_memory_is_found_and_not_released_under_a_request(void **state)
{
	struct use *u = *state;
	struct weft_completion c;
	struct weft_device *slow;
	struct weft_queue *queue;
	struct weft_queue_info info;
	struct weft_memory *m, *again, *own;
	char *base;

	must(u, weft_memory_alloc(u->weft, 10000, 0, &m, &u->why));
	assert_int_equal(weft_memory_size(m), 12288);
	base = weft_memory_base(m);
	assert_int_equal((uintptr_t)base % 4096, 0);
	assert_true(weft_memory_fd(m) >= 0);
	must(u, weft_device_open(u->weft, "delay:[null:1MiB],all=20ms", &slow, &u->why));
	must(u, weft_queue_open(slow, NULL, NULL, &queue, &u->why));
	assert_int_equal(weft_queue_read(queue, 0, base, BLOCK, m, 0), 0);
	assert_int_equal(release_elsewhere(m), -EBUSY);
	assert_int_equal(weft_queue_submit(queue), 1);
	assert_int_equal(release_elsewhere(m), -EBUSY);
	assert_int_equal(weft_memory_release(m, &u->why), -EBUSY);
	assert_int_equal(weft_queue_close(queue, &u->why), -EBUSY);
	assert_int_equal(weft_queue_wait(queue, &c, 1, 1, WEFT_FOREVER), 1);
	assert_int_equal(weft_queue_info(queue, &info), 0);
	assert_int_equal(info.outside, 0);
	assert_int_equal(weft_memory_map(u->weft, weft_memory_fd(m), 4096, 4096, 0, &again, &u->why), 0);
	((char *)weft_memory_base(again))[5] = 42;
	assert_int_equal(base[4096 + 5], 42);
	assert_int_equal(weft_memory_register(u->weft, base + 100, 50, -1, 0, 0, &own, &u->why), -EEXIST);
	assert_int_equal(release_elsewhere(again), 0);
	assert_int_equal(weft_memory_release(m, &u->why), 0);
	assert_int_equal(weft_memory_release(m, &u->why), -EBADF);
	assert_int_equal(weft_queue_read(queue, 0, &c, 512, m, 0), 0);
	assert_int_equal(weft_queue_wait(queue, &c, 1, 1, WEFT_FOREVER), 1);
	assert_int_equal(weft_queue_info(queue, &info), 0);
	assert_int_equal(info.outside, 1);
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_device_close(slow, &u->why));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		USE_TEST(what_is_written_is_read),
		USE_TEST(pieces_are_one_request),
		USE_TEST(the_other_operations),
		USE_TEST(compare_and_write_is_one_step),
		USE_TEST(what_is_wrong_with_a_request_its_completion_tells),
		USE_TEST(ranges_that_are_none_are_refused),
		USE_TEST(pieces_may_be_empty),
		USE_TEST(a_full_queue_says_so_and_goes_on),
		USE_TEST(registered_memory_is_found_and_not_released_under_a_request),
		USE_CALLER_TEST(what_is_written_is_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
