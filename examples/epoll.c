/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Completion from the program's own event loop, here epoll: one descriptor for all queues of a reactor. Before the loop sleeps,
 * weft_reactor_notify sends what was staged and arms the descriptor; when it is readable, a turn is due.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <weft/weft.h>

enum { DEPTH = 8, REQUESTS = 1000, LEN = 4096 };

static void check(int got, const char *why)
{
	if (got >= 0)
		return;
	fprintf(stderr, "%s\n", why);
	exit(1);
}

static char data[DEPTH][LEN];
static unsigned asked, ended;

static void ask(struct weft_queue *queue, void *buffer)
{
	check(weft_queue_read(queue, asked++ % 1024 * LEN, buffer, LEN, buffer, 0), weft_queue_why(queue));
}

static void take(struct weft_queue *queue)
{
	struct weft_completion done[DEPTH];
	int n = weft_queue_poll(queue, done, DEPTH);

	check(n, weft_queue_why(queue));
	for (int i = 0; i < n; i++, ended++) {
		check(done[i].status, "a read failed");
		if (asked < REQUESTS)
			ask(queue, done[i].user_data);
	}
}

int main(int argc, char **argv)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };
	struct weft_reactor *reactor;
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_why why;
	struct weft *weft;

	check(weft_open(NULL, &weft, &why), why.text);
	check(weft_device_open(weft, argc > 1 ? argv[1] : "mem:64MiB", &device, &why), why.text);
	check(weft_reactor_open(weft, NULL, &reactor, &why), why.text);
	check(weft_queue_open(device, reactor, NULL, &queue, &why), why.text); /* others may share the reactor */
	check(epoll_ctl(epoll, EPOLL_CTL_ADD, weft_reactor_fd(reactor), &event), "epoll_ctl failed");

	while (asked < DEPTH)
		ask(queue, data[asked]);
	while (ended < REQUESTS) {
		int ready = weft_reactor_notify(reactor, true);

		check(ready, "the reactor cannot notify");
		/* 1: there is something already: the loop only looks at its other descriptors, and does not sleep. */
		if (epoll_wait(epoll, &event, 1, ready ? 0 : -1) < 0 && errno != EINTR)
			check(-1, "epoll_wait failed");
		weft_reactor_notify(reactor, false);
		take(queue);
	}
	printf("%u reads by epoll\n", ended);

	check(weft_queue_close(queue, &why), why.text);
	check(weft_reactor_close(reactor, &why), why.text);
	check(weft_device_close(device, &why), why.text);
	check(weft_close(weft, &why), why.text);
	close(epoll);
	return 0;
}
