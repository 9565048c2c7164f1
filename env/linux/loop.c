/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What both kinds of loop share: opening the kind that the kernel allows, waking, what ends without the
 * kernel.
 */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "env/linux/internal.h"

/*
 * The eventfd is edge-triggered and never read: it only raises its descriptor; `woken` is what is looked
 * at.
 */
static void wake_fn(struct source *source, uint32_t events)
{
	(void)source;
	(void)events;
}

static int loop_prepare(struct loop *loop, bool movable)
{
	int rc;

	loop->ready_tail = &loop->ready;
	loop->wake_source = (struct source){wake_fn, -1};
	loop->alarm_source = (struct source){wake_fn, -1};
	rc = poller_open(&loop->poller);
	if (rc)
		return rc;
	loop->wake_source.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_source.fd < 0)
		return -errno;
	rc = loop->env->no_uring ? -EPERM : uring_open(loop, movable);
	if (rc == 0) {
		loop->head.ops = &uring_ops;
		return 0;
	}
	if (rc == -EMFILE || rc == -ENFILE)
		return rc;
	linux_fallback_say(loop->env, rc);
	loop->head.ops = &epoll_ops;
	return poller_add(&loop->poller, &loop->wake_source, EPOLLIN | EPOLLET);
}

int loop_open(struct env *env, bool movable, struct env_loop **out, struct weft_why *why)
{
	struct loop *loop = NULL;
	char text[64];
	int rc;

	if (posix_memalign((void **)&loop, 64, sizeof(*loop)))
		return weft_why(why, -ENOMEM, "no memory for an event loop");
	*loop = (struct loop){.head.env = env, .env = linux_env_of(env), .poller.fd = -1,
		.wake_source.fd = -1, .alarm_source.fd = -1};
	rc = loop_prepare(loop, movable);
	if (rc) {
		loop_close(&loop->head);
		return weft_why(why, rc, "no event loop can be had: %s%s",
			linux_error_text(rc, text, sizeof(text)),
			rc == -EMFILE ? ": raise the limit of open files (ulimit -n)" : "");
	}
	*out = &loop->head;
	return 0;
}

void loop_close(struct env_loop *head)
{
	struct loop *loop = loop_of(head);

	WEFT_ASSERT(!loop->ready);
	WEFT_ASSERT(!atomic_load(&loop->worked));
	/* A worker whose work has been delivered may be about to wake us: it is there for an instant only. */
	while (atomic_load_explicit(&loop->guests, memory_order_acquire) > 0)
		sched_yield();
	signals_close(loop);
	stream_abandon_all(loop);
	if (loop->uring)
		uring_close(loop);
	if (loop->wake_source.fd >= 0)
		close(loop->wake_source.fd);
	if (loop->alarm_source.fd >= 0)
		close(loop->alarm_source.fd);
	poller_close(&loop->poller);
	free(loop);
}

void loop_stats(const struct env_loop *loop, struct env_loop_stats *out)
{
	*out = ((const struct loop *)loop)->stats;
}

uint64_t loop_wake_cost_ns(const struct env_loop *loop)
{
	(void)loop;
	return wake_cost_ns();
}

/*
 * Whoever finds `woken` raised already knows that the descriptor has been raised, or is about to be, by
 * another.
 */
void loop_wake(struct env_loop *head)
{
	struct loop *loop = loop_of(head);
	uint64_t one = 1;

	if (atomic_exchange(&loop->woken, true))
		return;
	if (write(loop->wake_source.fd, &one, sizeof(one)) != sizeof(one))
		WEFT_ASSERT(errno == EAGAIN); /* the count is full: it is raised */
}

/* An edge, like the wake-up: that it has come is all that counts, and the timer is never read. */
static int alarm_make(struct loop *loop)
{
	int rc;

	loop->alarm_source.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->alarm_source.fd < 0)
		return -errno;
	rc = poller_add(&loop->poller, &loop->alarm_source, EPOLLIN | EPOLLET);
	if (rc) {
		close(loop->alarm_source.fd);
		loop->alarm_source.fd = -1;
	}
	return rc;
}

int loop_alarm(struct env_loop *head, uint64_t after_ns)
{
	struct loop *loop = loop_of(head);
	bool off = after_ns == ENV_FOREVER;
	struct itimerspec at = {.it_value = {(time_t)(after_ns / 1000000000u), (long)(after_ns % 1000000000u)}};
	int rc = loop->alarm_source.fd < 0 && !off ? alarm_make(loop) : 0;

	if (rc || loop->alarm_source.fd < 0)
		return rc;
	if (off)
		at = (struct itimerspec){0};
	else if (after_ns == 0)
		at.it_value.tv_nsec = 1;
	loop->stats.system_calls++;
	rc = timerfd_settime(loop->alarm_source.fd, 0, &at, NULL);
	WEFT_ASSERT(rc == 0);
	return 0;
}

/* ---- workers ---- */

void loop_work_submit(struct env_loop *loop, struct env_work *work)
{
	WEFT_ASSERT(work->loop == loop);
	workers_submit(loop_of(loop)->env->workers, work);
}

void loop_worked(struct loop *loop, struct env_work *work)
{
	struct env_work *head = atomic_load_explicit(&loop->worked, memory_order_relaxed);

	WEFT_ASSERT(work->loop == &loop->head && work != head);
	do
		work->next = head;
	while (!atomic_compare_exchange_weak(&loop->worked, &head, work));
	if (atomic_load(&loop->sleeping) || loop->fd_used)
		loop_wake(&loop->head);
}

static bool worked_deliver(struct loop *loop)
{
	struct env_work *list = atomic_exchange_explicit(&loop->worked, NULL, memory_order_acquire),
			*order = NULL;

	while (list) {
		struct env_work *next = list->next;

		list->next = order;
		order = list;
		list = next;
	}
	while (order) {
		struct env_work *work = order;

		order = work->next;
		work->done(work);
	}
	return true;
}

/* ---- transfers that ended in submit ---- */

void io_ready(struct loop *loop, struct env_io *io, int result)
{
	io_own(io)->result = result;
	io->next = NULL;
	*loop->ready_tail = io;
	loop->ready_tail = &io->next;
}

static bool ready_deliver(struct loop *loop)
{
	struct env_io *list = loop->ready;

	/* What ends from here on waits for the next poll. */
	loop->ready = NULL;
	loop->ready_tail = &loop->ready;
	while (list) {
		struct env_io *io = list;

		list = io->next;
		io_ended(loop, io);
	}
	return true;
}

/*
 * Called when what raised the descriptor has been fetched: who wakes us from here on raises it again.
 * The other way round, a wake-up that came in between would be fetched with `woken` left raised, and no later one would raise the
 * descriptor.
 */
bool loop_deliver(struct loop *loop)
{
	bool any = false;

	if (loop->fd_used)
		atomic_exchange(&loop->woken, false);
	if (atomic_load_explicit(&loop->worked, memory_order_relaxed))
		any = worked_deliver(loop);
	if (loop->ready)
		any |= ready_deliver(loop);
	return any;
}

bool loop_has_ended(struct loop *loop)
{
	return loop->ready || atomic_load(&loop->worked);
}
