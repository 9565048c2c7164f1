/* SPDX-License-Identifier: BSD-2-Clause */
/* libweft as a program uses it: waiting for completions, by calls and by descriptors. */
#include "lib/rig_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

/* A device that answers at once, or after some turns, one that waits for a timer, one that asks the kernel. */
static void the_descriptor_tells_of(struct use *u, const char *text, size_t len)
{
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_completion c;
	char *a = aligned_alloc(4096, len);

	must(u, weft_device_open(u->weft, text, &device, &u->why));
	must(u, weft_queue_open(device, NULL, NULL, &queue, &u->why));
	assert_int_equal(weft_queue_notify(queue, true), 0);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(weft_queue_read(queue, 0, a, len, a, 0), 0);
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
	char path[96], text[160];

	the_descriptor_tells_of(u, "mem:1MiB", 4096);
	the_descriptor_tells_of(u, "mem:8MiB", 5 << 20);
	the_descriptor_tells_of(u, "delay:[mem:1MiB],all=3ms", 4096);
	use_path(path, sizeof(path), "told");
	snprintf(text, sizeof(text), "file:%s,create=1MiB", path);
	the_descriptor_tells_of(u, text, 4096);
	unlink(path);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		USE_TEST(a_wait_that_a_nudge_ends_has_sent_what_was_staged),
		USE_TEST(waiting_ends_with_the_time_or_a_nudge_and_cancelling_ends_requests),
		USE_TEST(queues_of_several_devices_share_a_reactor),
		USE_TEST(the_descriptor_tells_of_everything),
		USE_TEST(the_descriptor_tells_of_what_was_cancelled),
		USE_TEST(a_minimum_above_what_is_outstanding_means_all_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
