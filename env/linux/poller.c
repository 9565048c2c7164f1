/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors of the control path (sockets, signals) and, without io_uring, notifiers: an epoll set. */
#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "env/linux/internal.h"

int poller_open(struct poller *poller)
{
	poller->count = poller->at = 0;
	poller->fd = epoll_create1(EPOLL_CLOEXEC);
	return poller->fd < 0 ? -errno : 0;
}

void poller_close(struct poller *poller)
{
	if (poller->fd >= 0)
		close(poller->fd);
	poller->fd = -1;
}

int poller_add(struct poller *poller, struct source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	WEFT_ASSERT(source->fn);
	return epoll_ctl(poller->fd, EPOLL_CTL_ADD, source->fd, &event) ? -errno : 0;
}

void poller_change(struct poller *poller, struct source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};
	int rc = epoll_ctl(poller->fd, EPOLL_CTL_MOD, source->fd, &event);

	WEFT_ASSERT(rc == 0);
}

void poller_remove(struct poller *poller, struct source *source)
{
	WEFT_ASSERT(poller->at <= poller->count);
	epoll_ctl(poller->fd, EPOLL_CTL_DEL, source->fd, NULL);
	for (unsigned i = poller->at; i < poller->count; i++)
		if (poller->events[i].data.ptr == source)
			poller->events[i].data.ptr = NULL;
}

static int poller_wait(struct poller *poller, uint64_t timeout_ns)
{
	struct timespec t = {(time_t)(timeout_ns / 1000000000u), (long)(timeout_ns % 1000000000u)};
	int n = epoll_pwait2(
		poller->fd, poller->events, POLLER_BATCH, timeout_ns == ENV_FOREVER ? NULL : &t, NULL);

	if (n >= 0 || errno != ENOSYS)
		return n;
	/* Before Linux 5.11: milliseconds, rounded up. */
	uint64_t ms = timeout_ns / 1000000u + (timeout_ns % 1000000u != 0);

	return epoll_wait(poller->fd, poller->events, POLLER_BATCH,
		timeout_ns == ENV_FOREVER ? -1
			: ms > 1000000	  ? 1000000
					  : (int)ms);
}

bool poller_fetch(struct poller *poller, uint64_t timeout_ns)
{
	int n;

	if (poller->at < poller->count)
		return true;
	n = poller_wait(poller, timeout_ns);
	poller->at = 0;
	poller->count = n > 0 ? (unsigned)n : 0;
	WEFT_ASSERT(poller->count <= POLLER_BATCH);
	return n > 0;
}

bool poller_dispatch(struct poller *poller)
{
	bool any = poller->at < poller->count;

	while (poller->at < poller->count) {
		struct epoll_event event = poller->events[poller->at++];
		struct source *source = event.data.ptr;

		if (source)
			source->fn(source, event.events);
	}
	return any;
}
