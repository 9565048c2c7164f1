/* SPDX-License-Identifier: BSD-2-Clause */
/* One of each handle of libweft, open. */
#include "lib/rig_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

void must(struct use *u, int got)
{
	if (got < 0)
		fail_msg("%d: %s", got, u->why.text);
}

static struct use *open_with(uint32_t control)
{
	struct use *u = calloc(1, sizeof(*u));
	struct weft_settings settings;

	assert_non_null(u);
	weft_settings_init(&settings);
	settings.control = control;
	must(u, weft_open(&settings, &u->weft, &u->why));
	must(u, weft_device_open(u->weft, "mem:1MiB", &u->device, &u->why));
	must(u, weft_reactor_open(u->weft, NULL, &u->reactor, &u->why));
	must(u, weft_queue_open(u->device, u->reactor, NULL, &u->queue, &u->why));
	must(u, weft_memory_alloc(u->weft, BLOCK, 0, &u->memory, &u->why));
	return u;
}

int use_open(void **state)
{
	*state = open_with(WEFT_CONTROL_THREAD);
	return 0;
}

int use_open_caller(void **state)
{
	*state = open_with(WEFT_CONTROL_CALLER);
	return 0;
}

int use_close(void **state)
{
	struct use *u = *state;
	struct weft_completion done[2];

	assert_int_equal(weft_queue_read(u->queue, 0, weft_memory_base(u->memory), BLOCK, u, 0), 0);
	assert_int_equal(weft_queue_wait(u->queue, done, 2, 2, WEFT_FOREVER), 1);
	assert_ptr_equal(done[0].user_data, u);
	assert_int_equal(done[0].status, 0);
	assert_int_equal(weft_queue_close(u->queue, &u->why), 0);
	assert_int_equal(weft_reactor_close(u->reactor, &u->why), 0);
	assert_int_equal(weft_memory_release(u->memory, &u->why), 0);
	assert_int_equal(weft_device_close(u->device, &u->why), 0);
	assert_int_equal(weft_close(u->weft, &u->why), 0);
	free(u);
	return 0;
}

int one(struct weft_queue *queue, void *user_data)
{
	struct weft_completion c = { 0 };

	assert_int_equal(weft_queue_wait(queue, &c, 1, 1, WEFT_FOREVER), 1);
	assert_ptr_equal(c.user_data, user_data);
	return c.status;
}

bool readable(int fd, int timeout_ms)
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

void use_path(char *path, size_t size, const char *name)
{
	const char *folder = getenv("TMPDIR");

	snprintf(path, size, "%s/weft-%s-%d", folder != NULL ? folder : "/tmp", name, (int)getpid());
}

void use_socket(char *text, size_t size)
{
	snprintf(text, size, "vhost-user:/tmp/weft-use-%d.sock", (int)getpid());
}
