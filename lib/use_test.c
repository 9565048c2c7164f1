/* SPDX-License-Identifier: BSD-2-Clause */
/* libweft as a program uses it: requests, waiting, memory, properties, events, exports, components of its own. */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <weft/memory.h>
#include <weft/weft.h>

#define BLOCK 4096u

struct use {
	struct weft *weft;
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_why why;
	char folder[64];
};

static void must(struct use *u, int got)
{
	if (got < 0)
		fail_msg("%d: %s", got, u->why.text);
}

static void open_with(struct use *u, uint32_t control, const char *device)
{
	struct weft_settings settings;

	weft_settings_init(&settings);
	settings.control = control;
	must(u, weft_open(&settings, &u->weft, &u->why));
	must(u, weft_device_open(u->weft, device, &u->device, &u->why));
	must(u, weft_queue_open(u->device, NULL, NULL, &u->queue, &u->why));
}

static int setup(void **state)
{
	struct use *u = calloc(1, sizeof(*u));

	open_with(u, WEFT_CONTROL_THREAD, "mem:1MiB");
	*state = u;
	return 0;
}

static int setup_caller(void **state)
{
	struct use *u = calloc(1, sizeof(*u));

	open_with(u, WEFT_CONTROL_CALLER, "mem:1MiB");
	*state = u;
	return 0;
}

static int teardown(void **state)
{
	struct use *u = *state;

	must(u, weft_queue_close(u->queue, &u->why));
	must(u, weft_device_close(u->device, &u->why));
	must(u, weft_close(u->weft, &u->why));
	free(u);
	return 0;
}

/* Waits for one completion, which is for `user_data`: its status. */
static int one(struct weft_queue *queue, void *user_data)
{
	struct weft_completion c = { 0 };

	assert_int_equal(weft_queue_wait(queue, &c, 1, 1, WEFT_FOREVER), 1);
	assert_ptr_equal(c.user_data, user_data);
	return c.status;
}

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

static void a_wait_that_a_nudge_ends_has_sent_what_was_staged(void **state)
{
	struct use *u = *state;
	struct weft_reactor *reactor = weft_queue_reactor(u->queue);
	char a[512];

	assert_int_equal(weft_queue_read(u->queue, 0, a, sizeof(a), a, 0), 0);
	assert_int_equal(weft_reactor_wake(reactor), 0);
	assert_int_equal(weft_reactor_wait(reactor, WEFT_FOREVER), 1);
	assert_int_equal(one(u->queue, a), 0);
}

static void waiting_ends_with_the_time_or_a_nudge_and_cancelling_ends_requests(void **state)
{
	struct use *u = *state;
	struct weft_device *slow;
	struct weft_queue *queue;
	struct weft_completion c[2];
	char a[512];

	must(u, weft_device_open(u->weft, "delay:[null:1MiB],all=1000s", &slow, &u->why));
	must(u, weft_queue_open(slow, NULL, NULL, &queue, &u->why));
	assert_int_equal(weft_queue_read(queue, 0, a, sizeof(a), a, 0), 0);
	assert_int_equal(weft_queue_read(queue, 0, a, sizeof(a), u, 0), 0);
	assert_int_equal(weft_queue_wait(queue, c, 1, 2, 1000000), 0);
	assert_int_equal(weft_queue_drain(queue, 1000000), -ETIMEDOUT);
	assert_int_equal(weft_reactor_wake(weft_queue_reactor(queue)), 0);
	assert_int_equal(weft_queue_wait(queue, c, 1, 2, WEFT_FOREVER), 0);
	assert_int_equal(weft_queue_cancel(queue, u), 1);
	assert_int_equal(weft_queue_wait(queue, c, 1, 2, WEFT_FOREVER), 1);
	assert_ptr_equal(c[0].user_data, u);
	assert_int_equal(c[0].status, -ECANCELED);
	assert_int_equal(weft_queue_cancel_all(queue), 1);
	assert_int_equal(weft_queue_drain(queue, WEFT_FOREVER), 0);
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_device_close(slow, &u->why));
}

static void queues_of_several_devices_share_a_reactor(void **state)
{
	struct use *u = *state;
	struct weft_reactor *reactor;
	struct weft_device *device[3];
	struct weft_queue *queue[3];
	struct weft_completion c;
	char a[3][512];

	must(u, weft_reactor_open(u->weft, NULL, &reactor, &u->why));
	for (unsigned i = 0; i < 3; i++) {
		must(u, weft_device_open(u->weft, "mem:64KiB", &device[i], &u->why));
		must(u, weft_queue_open(device[i], reactor, NULL, &queue[i], &u->why));
		memset(a[i], (int)i, sizeof(a[i]));
		assert_int_equal(weft_queue_write(queue[i], 0, a[i], sizeof(a[i]), a[i], 0), 0);
	}
	assert_int_equal(weft_reactor_wait(reactor, WEFT_FOREVER), 3);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(weft_queue_poll(queue[i], &c, 1), 1);
		assert_ptr_equal(c.user_data, a[i]);
	}
	assert_int_equal(weft_reactor_close(reactor, &u->why), -EBUSY);
	for (unsigned i = 0; i < 3; i++) {
		must(u, weft_queue_close(queue[i], &u->why));
		must(u, weft_device_close(device[i], &u->why));
	}
	must(u, weft_reactor_close(reactor, &u->why));
	assert_int_equal(weft_reactor_poll(reactor), -EBADF);
}

static bool readable(int fd, int timeout_ms)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };
	int n;

	assert_int_equal(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), 0);
	do /* io_uring may interrupt it to run what has ended */
		n = epoll_wait(epoll, &event, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	close(epoll);
	return n == 1;
}

/* A device that answers at once, one that waits for a timer, one that asks the kernel. */
static void the_descriptor_tells_of(struct use *u, const char *text)
{
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_completion c;
	char *a = aligned_alloc(4096, 4096);

	must(u, weft_device_open(u->weft, text, &device, &u->why));
	must(u, weft_queue_open(device, NULL, NULL, &queue, &u->why));
	assert_int_equal(weft_queue_notify(queue, true), 0);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(weft_queue_read(queue, 0, a, 4096, a, 0), 0);
		assert_int_equal(weft_queue_submit(queue), 1);
		for (;;) {
			if (!readable(weft_queue_fd(queue), 2000))
				fail_msg("%s: round %u", text, i);
			int n = weft_queue_poll(queue, &c, 1);
			assert_in_range(n, 0, 1);
			if (n == 1)
				break;
		}
		assert_int_equal(c.status, 0);
		while (readable(weft_queue_fd(queue), 0))
			assert_int_equal(weft_queue_poll(queue, &c, 1), 0);
	}
	assert_int_equal(weft_reactor_wake(weft_queue_reactor(queue)), 0);
	assert_true(readable(weft_queue_fd(queue), 10000));
	assert_int_equal(weft_queue_notify(queue, false), 0);
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_device_close(device, &u->why));
	free(a);
}

static void the_descriptor_tells_of_everything(void **state)
{
	struct use *u = *state;
	char text[160];

	the_descriptor_tells_of(u, "mem:1MiB");
	the_descriptor_tells_of(u, "delay:[mem:1MiB],all=3ms");
	snprintf(text, sizeof(text), "file:%s/weft-use-%d.img,create=1MiB", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp",
		(int)getpid());
	the_descriptor_tells_of(u, text);
	unlink(strchr(text, ':') + 1);
	snprintf(strchr(text, ','), 1, "%s", "");
	unlink(strchr(text, ':') + 1);
}

/* Who sleeps on the descriptor may have polled last before. */
static void the_descriptor_tells_of_what_was_cancelled(void **state)
{
	struct use *u = *state;
	struct weft_device *slow;
	struct weft_queue *queue;
	struct weft_completion c;
	char a[512];

	must(u, weft_device_open(u->weft, "delay:[null:1MiB],all=1000s", &slow, &u->why));
	must(u, weft_queue_open(slow, NULL, NULL, &queue, &u->why));
	assert_int_equal(weft_queue_notify(queue, true), 0);
	assert_int_equal(weft_queue_read(queue, 0, a, sizeof(a), a, 0), 0);
	assert_int_equal(weft_queue_submit(queue), 1);
	while (readable(weft_queue_fd(queue), 0))
		assert_int_equal(weft_queue_poll(queue, &c, 1), 0);
	assert_int_equal(weft_queue_cancel_all(queue), 1);
	assert_true(readable(weft_queue_fd(queue), 10000));
	assert_int_equal(weft_queue_poll(queue, &c, 1), 1);
	assert_int_equal(c.status, -ECANCELED);
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_device_close(slow, &u->why));
}

static void a_minimum_above_what_is_outstanding_means_all_of_it(void **state)
{
	struct use *u = *state;
	struct weft_completion c[8];
	struct weft_device *slow;
	struct weft_queue *queue;
	char a[512];

	must(u, weft_device_open(u->weft, "delay:[null:1MiB],all=5ms", &slow, &u->why));
	must(u, weft_queue_open(slow, NULL, NULL, &queue, &u->why));
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(weft_queue_read(queue, 0, a, sizeof(a), a, 0), 0);
	assert_int_equal(weft_queue_wait(queue, c, 8, 8, WEFT_FOREVER), 3);
	assert_int_equal(weft_queue_wait(queue, c, 8, 8, WEFT_FOREVER), 0); /* there is nothing to wait for */
	/* and what has ended when the time is over is had */
	must(u, weft_device_set(slow, "write", "1000s", &u->why));
	assert_int_equal(weft_queue_write(queue, 0, a, sizeof(a), u, 0), 0);
	assert_int_equal(weft_queue_read(queue, 0, a, sizeof(a), a, 0), 0);
	assert_int_equal(weft_queue_wait(queue, c, 2, 8, 200000000), 1);
	assert_ptr_equal(c[0].user_data, a);
	assert_int_equal(weft_queue_cancel(queue, u), 1);
	assert_int_equal(one(queue, u), -ECANCELED);
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_device_close(slow, &u->why));
}

static void what_was_begun_ends_by_an_event(void **state)
{
	struct use *u = *state;
	struct weft_event event;
	unsigned seen = 0;

	assert_int_equal(weft_event_next(u->weft, &event), 0);
	assert_false(readable(weft_event_fd(u->weft), 0));
	must(u, weft_device_open_begin(u->weft, "null:2MiB", u, &u->why));
	assert_int_equal(weft_event_wait(u->weft, &event, WEFT_FOREVER), 1);
	assert_int_equal(event.type, WEFT_EVENT_OPENED);
	assert_int_equal(event.status, 0);
	assert_ptr_equal(event.user_data, u);
	struct weft_device *device = event.device;
	must(u, weft_device_resize_begin(device, 1 << 20, u, &u->why));
	for (unsigned i = 0; i < 2; i++) { /* one of the call, one of the device, in any order */
		assert_int_equal(weft_event_wait(u->weft, &event, WEFT_FOREVER), 1);
		assert_int_equal(event.status, 0);
		assert_ptr_equal(event.device, device);
		assert_int_equal(event.size, 1 << 20);
		seen |= 1u << event.type;
	}
	assert_int_equal(seen, 1u << WEFT_EVENT_RESIZE | 1u << WEFT_EVENT_RESIZED);
	must(u, weft_device_close_begin(device, device, &u->why));
	assert_int_equal(weft_device_close(device, &u->why), -EBADF);
	assert_int_equal(weft_event_wait(u->weft, &event, WEFT_FOREVER), 1);
	assert_int_equal(event.type, WEFT_EVENT_CLOSED);
	must(u, weft_device_open_begin(u->weft, "file:/nowhere/at/all", u, &u->why));
	assert_int_equal(weft_event_wait(u->weft, &event, WEFT_FOREVER), 1);
	assert_int_equal(event.status, -ENOENT);
	assert_non_null(strstr(event.why.text, "/nowhere"));
	assert_int_equal(weft_event_wait(u->weft, &event, 1000000), 0);
	assert_false(readable(weft_event_fd(u->weft), 0));
}

/* Between the check of the call and its turn another thread may have closed the device. */
static void a_resize_that_was_begun_finds_its_device_closed(void **state)
{
	struct use *u = *state;
	struct weft_device *device;
	struct weft_event event;
	unsigned seen = 0;

	must(u, weft_device_open(u->weft, "null:2MiB", &device, &u->why));
	must(u, weft_device_resize_begin(device, 1 << 20, u, &u->why));
	must(u, weft_device_close_begin(device, u, &u->why));
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(weft_event_wait(u->weft, &event, WEFT_FOREVER), 1);
		assert_int_equal(event.status, event.type == WEFT_EVENT_RESIZE ? -EBADF : 0);
		if (event.type == WEFT_EVENT_RESIZE)
			assert_non_null(strstr(event.why.text, "closed"));
		seen |= 1u << event.type;
	}
	assert_int_equal(seen, 1u << WEFT_EVENT_RESIZE | 1u << WEFT_EVENT_CLOSED);
}

/* What is in flight must end first; and the thread that would take the turns is the one that waits. */
static void a_file_becomes_smaller_whatever_its_reactors_do(void **state)
{
	struct use *u = *state;
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_device_info info;
	char path[96], text[160], *a = malloc(BLOCK);

	snprintf(path, sizeof(path), "%s/weft-shrink-%d.img", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
	snprintf(text, sizeof(text), "file:%s,create=1MiB", path);
	must(u, weft_device_open(u->weft, text, &device, &u->why));
	must(u, weft_queue_open(device, NULL, NULL, &queue, &u->why));
	must(u, weft_device_resize(device, 512 << 10, &u->why)); /* idle */
	assert_int_equal(weft_queue_read(queue, 0, a, BLOCK, NULL, 0), 0);
	must(u, weft_device_resize(device, 256 << 10, &u->why)); /* with a request that is staged */
	assert_int_equal(one(queue, NULL), 0);
	assert_int_equal(weft_queue_read(queue, 256 << 10, a, BLOCK, NULL, 0), 0);
	assert_int_equal(one(queue, NULL), -ERANGE);
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_device_resize(device, 128 << 10, &u->why)); /* its reactor has gone */
	assert_int_equal(weft_device_info(device, &info), 0);
	assert_int_equal(info.size, 128 << 10);
	must(u, weft_device_close(device, &u->why));
	unlink(path);
	free(a);
}

/* It keeps books for each reactor of the service; a program's come and go. */
static void a_mirror_with_a_record_serves_a_program(void **state)
{
	struct use *u = *state;
	struct weft_device *device;
	struct weft_queue *queue;
	char path[96], text[160], *a = malloc(BLOCK);

	snprintf(path, sizeof(path), "%s/weft-mirror-%d.state", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
	snprintf(text, sizeof(text), "mirror:[mem:1MiB],[mem:1MiB],state=%s", path);
	must(u, weft_device_open(u->weft, text, &device, &u->why));
	for (unsigned i = 0; i < 3; i++) {
		must(u, weft_queue_open(device, NULL, NULL, &queue, &u->why));
		memset(a, 'a' + (int)i, BLOCK);
		assert_int_equal(weft_queue_write(queue, (uint64_t)i * BLOCK, a, BLOCK, NULL, 0), 0);
		assert_int_equal(one(queue, NULL), 0);
		memset(a, 0, BLOCK);
		assert_int_equal(weft_queue_read(queue, (uint64_t)i * BLOCK, a, BLOCK, NULL, 0), 0);
		assert_int_equal(one(queue, NULL), 0);
		assert_int_equal(a[BLOCK - 1], 'a' + (int)i);
		must(u, weft_queue_close(queue, &u->why));
	}
	must(u, weft_device_close(device, &u->why));
	unlink(path);
	free(a);
}

static void properties_are_listed_read_and_written(void **state)
{
	struct use *u = *state;
	struct weft_device *device;
	struct weft_property p;
	bool live = false, below = false, size = false;
	char text[64];

	must(u, weft_device_open(u->weft, "{\"kind\":\"delay\",\"options\":{\"all\":\"5ms\"},\"devices\":[\"mem:1MiB\"]}", &device,
		&u->why));
	for (unsigned i = 0; weft_device_property(device, i, &p) == 1; i++) {
		assert_true(p.type[0] != '\0' && p.help[0] != '\0' && (p.access & WEFT_ACCESS_READ) != 0);
		assert_true(weft_device_get(device, p.name, text, sizeof(text), &u->why) >= 0);
		live |= strcmp(p.name, "all") == 0 && (p.stage & WEFT_STAGE_LIVE) != 0;
		below |= strcmp(p.name, "lower.size") == 0;
		size |= strcmp(p.name, "size") == 0;
	}
	assert_true(live && below && size);
	assert_int_equal(weft_device_get(device, "all", text, sizeof(text), &u->why), 3);
	assert_string_equal(text, "5ms");
	must(u, weft_device_set(device, "all", "0", &u->why));
	assert_true(weft_device_get(device, "all", text, sizeof(text), &u->why) > 0);
	assert_string_equal(text, "0");
	assert_int_equal(weft_device_set(device, "size", "1", &u->why), -EPERM);
	assert_int_equal(weft_device_get(device, "colour", text, sizeof(text), &u->why), -ENOENT);
	assert_int_equal(weft_queue_get(u->queue, "depth", text, sizeof(text), &u->why), 3);
	assert_string_equal(text, "128");
	assert_int_equal(weft_kind_property(weft_device_kind(u->weft, 1), 0, &p), 1); /* the first has none */
	assert_null(weft_device_kind(u->weft, 1000));
	assert_non_null(weft_export_kind(u->weft, 0));
	must(u, weft_device_close(device, &u->why));
}

/* ---- components of the program's own, served to itself ---- */

struct own {
	struct weft_object object;
	struct weft_blk blk;
	unsigned char bytes[16 * BLOCK];
};

static void own_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct own *own = WEFT_CONTAINER(blk, struct own, blk);

	if (hop->op == WEFT_READ)
		weft_hop_copy_in(hop, 0, own->bytes + hop->offset, hop->len);
	else
		weft_hop_copy_out(hop, 0, own->bytes + hop->offset, hop->len);
	weft_hop_complete(hop, 0);
}

static const struct weft_blk_ops own_ops = { .submit = own_submit };

static void own_start(struct weft_object *object, struct weft_task *task)
{
	struct own *own = WEFT_CONTAINER(object, struct own, object);

	own->blk.ops = &own_ops;
	own->blk.size = sizeof(own->bytes);
	own->blk.block = 512;
	own->blk.ops_can = WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE);
	task->done(task, 0);
}

static const struct weft_offer own_offers[] = { { &weft_blk_iface, offsetof(struct own, blk) }, { NULL, 0 } };
static const struct weft_kind own_kind = { .name = "own", .summary = "memory of a test", .size = sizeof(struct own),
	.offers = own_offers, .start = own_start };
static const struct weft_kind *const own_kinds[] = { &own_kind, NULL };
static const struct weft_module own_module = { WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind), "own", "1",
	own_kinds };

static void a_device_of_the_programs_own_is_served_to_itself(void **state)
{
	struct use *u = *state;
	struct weft_server *server;
	struct weft_device *own, *guest;
	struct weft_queue *queue;
	struct weft_memory *m;
	char where[100];

	must(u, weft_module_add(u->weft, &own_module, &u->why));
	assert_int_equal(weft_module_add(u->weft, &own_module, &u->why), -EEXIST);
	must(u, weft_device_open(u->weft, "slice:[own:],offset=4KiB", &own, &u->why));
	snprintf(where, sizeof(where), "vhost-user:/tmp/weft-use-%d.sock", (int)getpid());
	must(u, weft_export_open(u->weft, where, own, &server, &u->why));
	assert_int_equal(weft_device_close(own, &u->why), -EBUSY);
	must(u, weft_device_open(u->weft, where, &guest, &u->why));
	must(u, weft_queue_open(guest, NULL, NULL, &queue, &u->why));
	for (unsigned i = 0; i < 3; i++) {
		must(u, weft_memory_alloc(u->weft, 2 * BLOCK, 0, &m, &u->why));
		char *base = weft_memory_base(m);
		memset(base, (int)(7 + i), BLOCK);
		assert_int_equal(weft_queue_write(queue, BLOCK, base, BLOCK, m, 0), 0);
		assert_int_equal(one(queue, m), 0);
		assert_int_equal(weft_queue_read(queue, BLOCK, base + BLOCK, BLOCK, m, 0), 0);
		assert_int_equal(one(queue, m), 0);
		assert_memory_equal(base, base + BLOCK, BLOCK);
		must(u, weft_memory_release(m, &u->why));
	}
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_queue_open(guest, NULL, NULL, &queue, &u->why));
	assert_int_equal(weft_queue_flush(queue, u, 0), 0);
	assert_int_equal(one(queue, u), 0);
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_device_close(guest, &u->why));
	must(u, weft_export_close(server, &u->why));
	must(u, weft_device_close(own, &u->why));
}

/* Until the device has that size, says an event. */
static void resized_to(struct use *u, const struct weft_device *device, uint64_t size)
{
	struct weft_event event;

	do {
		assert_int_equal(weft_event_wait(u->weft, &event, 10000000000), 1);
		assert_int_equal(event.type, WEFT_EVENT_RESIZED);
	} while (event.device != device || event.size != size);
}

/* ... whoever changed it: here the server, of which the guest knows nothing. */
static void a_size_that_a_server_has_changed_is_an_event(void **state)
{
	struct use *u = *state;
	struct weft_server *server;
	struct weft_device *served, *guest;
	struct weft_queue *queue;
	struct weft_device_info info;
	char path[96], text[160], where[100], *a = malloc(BLOCK);

	snprintf(path, sizeof(path), "%s/weft-size-%d.img", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
	snprintf(text, sizeof(text), "file:%s,create=1MiB", path);
	snprintf(where, sizeof(where), "vhost-user:/tmp/weft-use-%d.sock", (int)getpid());
	must(u, weft_device_open(u->weft, text, &served, &u->why));
	must(u, weft_export_open(u->weft, where, served, &server, &u->why));
	must(u, weft_device_open(u->weft, where, &guest, &u->why));
	must(u, weft_queue_open(guest, NULL, NULL, &queue, &u->why));
	assert_int_equal(weft_queue_read(queue, 1 << 20, a, BLOCK, a, 0), 0);
	assert_int_equal(one(queue, a), -ERANGE);
	must(u, weft_device_resize(served, 2 << 20, &u->why));
	resized_to(u, guest, 2 << 20);
	assert_int_equal(weft_device_info(guest, &info), 0);
	assert_int_equal(info.size, 2 << 20);
	assert_int_equal(weft_queue_read(queue, 1 << 20, a, BLOCK, a, 0), 0);
	assert_int_equal(one(queue, a), 0);
	must(u, weft_device_resize(served, 512 << 10, &u->why));
	resized_to(u, guest, 512 << 10);
	assert_int_equal(weft_queue_read(queue, 512 << 10, a, BLOCK, a, 0), 0);
	assert_int_equal(one(queue, a), -ERANGE);
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_device_close(guest, &u->why));
	must(u, weft_export_close(server, &u->why));
	must(u, weft_device_close(served, &u->why));
	unlink(path);
	free(a);
}

static void a_server_with_one_queue_serves_one_reactor_at_a_time(void **state)
{
	struct use *u = *state;
	struct weft_server *server;
	struct weft_device *guest;
	struct weft_reactor *reactor;
	struct weft_queue *first, *second;
	char where[100];

	snprintf(where, sizeof(where), "vhost-user:/tmp/weft-use-%d.sock", (int)getpid());
	snprintf(where + strlen(where), 20, "%s", ",queues=1");
	must(u, weft_export_open(u->weft, where, u->device, &server, &u->why));
	*strchr(where, ',') = '\0';
	must(u, weft_device_open(u->weft, where, &guest, &u->why));
	must(u, weft_reactor_open(u->weft, NULL, &reactor, &u->why));
	must(u, weft_queue_open(guest, reactor, NULL, &first, &u->why));
	assert_int_equal(weft_queue_open(guest, NULL, NULL, &second, &u->why), -ENOSPC);
	assert_non_null(strstr(u->why.text, "share a reactor"));
	/* as it says */
	must(u, weft_queue_open(guest, reactor, NULL, &second, &u->why));
	assert_int_equal(weft_queue_flush(second, u, 0), 0);
	assert_int_equal(one(second, u), 0);
	must(u, weft_queue_close(second, &u->why));
	must(u, weft_queue_close(first, &u->why));
	/* and it is free for another one */
	must(u, weft_queue_open(guest, NULL, NULL, &second, &u->why));
	assert_int_equal(weft_queue_flush(second, u, 0), 0);
	assert_int_equal(one(second, u), 0);
	must(u, weft_queue_close(second, &u->why));
	must(u, weft_reactor_close(reactor, &u->why));
	must(u, weft_device_close(guest, &u->why));
	must(u, weft_export_close(server, &u->why));
}

static void a_device_that_lives_at_the_service_is_asked_from_here(void **state)
{
	static const char *const texts[] = { "home:[mem:1MiB]", "slice:[home:[contract:[home:[mem:1MiB]]]]" };
	struct use *u = *state;
	struct weft_completion done[4];
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_stats stats;
	char a[BLOCK], b[BLOCK];

	for (unsigned i = 0; i < 2 * WEFT_COUNT(texts); i++) { /* opened anew: once more */
		must(u, weft_device_open(u->weft, texts[i / 2], &device, &u->why));
		must(u, weft_queue_open(device, NULL, NULL, &queue, &u->why));
		memset(a, (int)('a' + i), sizeof(a));
		assert_int_equal(weft_queue_write(queue, BLOCK, a, sizeof(a), a, 0), 0);
		assert_int_equal(one(queue, a), 0);
		for (unsigned k = 0; k < 4; k++)
			assert_int_equal(weft_queue_read(queue, BLOCK, b, sizeof(b), b, 0), 0);
		assert_int_equal(weft_queue_wait(queue, done, 4, 4, WEFT_FOREVER), 4);
		assert_memory_equal(a, b, sizeof(a));
		assert_int_equal(weft_device_stats(device, &stats), 0);
		assert_int_equal(stats.carried, i / 2 == 0 ? 5 : 0); /* the slice runs here, what is below it does not */
		must(u, weft_queue_close(queue, &u->why));
		must(u, weft_device_close(device, &u->why));
	}
}

/* None has started when the next is begun: still they count. */
static void homes_that_are_begun_at_once_are_spread(void **state)
{
	struct weft_settings settings;
	struct weft_device *device[3];
	struct weft_event event;
	struct use u = { 0 };
	char text[3][8];

	(void)state;
	weft_settings_init(&settings);
	settings.control = WEFT_CONTROL_CALLER;
	settings.service = 3;
	must(&u, weft_open(&settings, &u.weft, &u.why));
	for (unsigned i = 0; i < 3; i++)
		must(&u, weft_device_open_begin(u.weft, "home:[mem:1MiB]", NULL, &u.why));
	for (unsigned i = 0; i < 3; i++) {
		must(&u, weft_event_wait(u.weft, &event, WEFT_FOREVER));
		assert_int_equal(event.status, 0);
		device[i] = event.device;
		must(&u, weft_device_get(device[i], "lives at reactor", text[i], sizeof(text[i]), &u.why));
	}
	assert_string_not_equal(text[0], text[1]);
	assert_string_not_equal(text[0], text[2]);
	assert_string_not_equal(text[1], text[2]);
	for (unsigned i = 0; i < 3; i++)
		must(&u, weft_device_close(device[i], &u.why));
	must(&u, weft_close(u.weft, &u.why));
}

static void the_callers_thread_can_be_the_control_side(void **state)
{
	struct use *u = *state;
	struct weft_event event;

	assert_true(weft_control_fd(u->weft) >= 0);
	must(u, weft_control_step(u->weft));
	must(u, weft_device_open_begin(u->weft, "mem:1MiB", u, &u->why));
	assert_true(readable(weft_control_fd(u->weft), 10000));
	while (weft_event_next(u->weft, &event) == 0)
		must(u, weft_control_step(u->weft));
	assert_int_equal(event.status, 0);
	must(u, weft_device_close(event.device, &u->why));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
#define TEST_CALLER(function) cmocka_unit_test_setup_teardown(function, setup_caller, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_written_is_read),
		TEST(pieces_are_one_request),
		TEST(the_other_operations),
		TEST(compare_and_write_is_one_step),
		TEST(what_is_wrong_with_a_request_its_completion_tells),
		TEST(ranges_that_are_none_are_refused),
		TEST(pieces_may_be_empty),
		TEST(a_full_queue_says_so_and_goes_on),
		TEST(registered_memory_is_found_and_not_released_under_a_request),
		TEST(a_wait_that_a_nudge_ends_has_sent_what_was_staged),
		TEST(waiting_ends_with_the_time_or_a_nudge_and_cancelling_ends_requests),
		TEST(queues_of_several_devices_share_a_reactor),
		TEST(the_descriptor_tells_of_everything),
		TEST(the_descriptor_tells_of_what_was_cancelled),
		TEST(a_minimum_above_what_is_outstanding_means_all_of_it),
		TEST(what_was_begun_ends_by_an_event),
		TEST(a_file_becomes_smaller_whatever_its_reactors_do),
		TEST_CALLER(a_file_becomes_smaller_whatever_its_reactors_do),
		TEST(a_mirror_with_a_record_serves_a_program),
		TEST_CALLER(a_mirror_with_a_record_serves_a_program),
		TEST(properties_are_listed_read_and_written),
		TEST(a_device_of_the_programs_own_is_served_to_itself),
		TEST(a_size_that_a_server_has_changed_is_an_event),
		TEST_CALLER(a_size_that_a_server_has_changed_is_an_event),
		TEST(a_server_with_one_queue_serves_one_reactor_at_a_time),
		TEST(a_device_that_lives_at_the_service_is_asked_from_here),
		TEST_CALLER(what_is_written_is_read),
		TEST_CALLER(what_was_begun_ends_by_an_event),
		TEST_CALLER(a_resize_that_was_begun_finds_its_device_closed), /* nobody but us makes it take its turn */
		TEST_CALLER(a_device_of_the_programs_own_is_served_to_itself),
		TEST_CALLER(a_device_that_lives_at_the_service_is_asked_from_here),
		TEST_CALLER(the_callers_thread_can_be_the_control_side),
		cmocka_unit_test(homes_that_are_begun_at_once_are_spread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
