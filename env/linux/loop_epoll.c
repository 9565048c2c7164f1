/* SPDX-License-Identifier: BSD-2-Clause */
/* The loop where io_uring is denied: epoll, and worker threads for transfers. */
#include <errno.h>

#include "env/linux/internal.h"

static bool epoll_poll(struct env_loop *head)
{
	struct loop *loop = loop_of(head);
	bool any;

	/* What env_loop_wait fetched is delivered without asking again. */
	if (loop->poller.at == loop->poller.count) {
		loop->stats.system_calls++;
		poller_fetch(&loop->poller, 0);
	}
	any = loop_deliver(loop);
	any |= poller_dispatch(&loop->poller);
	return any;
}

static void epoll_submit(struct env_loop *head)
{
	struct loop *loop = loop_of(head);

	if (loop->fd_used && loop->ready)
		loop_wake(head);
}

static void epoll_wait_for(struct env_loop *head, uint64_t timeout_ns)
{
	struct loop *loop = loop_of(head);

	if (atomic_exchange(&loop->woken, false) || loop->ready)
		return;
	atomic_store(&loop->sleeping, true);
	if (!loop_has_ended(loop)) {
		loop->stats.system_calls++;
		loop->stats.sleeps++;
		poller_fetch(&loop->poller, timeout_ns);
	}
	atomic_store(&loop->sleeping, false);
	if (atomic_exchange(&loop->woken, false))
		loop->stats.wakes++;
}

static int epoll_fd(struct env_loop *head)
{
	struct loop *loop = loop_of(head);

	loop->fd_used = true;
	return loop->poller.fd;
}

static int epoll_pin(struct env_loop *loop, unsigned region, void *base, uint64_t size, struct weft_why *why)
{
	(void)loop;
	(void)region;
	(void)base;
	(void)size;
	return weft_why(why, -ENOTSUP,
		"pin: on needs io_uring, which is denied here: allow io_uring_setup, or use pin=off");
}

static void epoll_unpin(struct env_loop *loop, unsigned region)
{
	(void)loop;
	(void)region;
}

const struct env_loop_ops epoll_ops = {
	.close = loop_close,
	.poll = epoll_poll,
	.submit = epoll_submit,
	.wait = epoll_wait_for,
	.wake = loop_wake,
	.fd = epoll_fd,
	.alarm = loop_alarm,
	.stats = loop_stats,
	.wake_cost_ns = loop_wake_cost_ns,
	.pin = epoll_pin,
	.unpin = epoll_unpin,
	.work_submit = loop_work_submit,
	.listen = stream_listen,
	.connect = stream_connect,
	.stream_pair = stream_pair,
	.signals_watch = signals_watch,
};
