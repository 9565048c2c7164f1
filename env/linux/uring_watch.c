/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Notifiers on the ring: a multishot poll, which tells of each signal, so that the eventfd is never read:
 * no system call per signal, and none waits for an eventfd that somebody else has made non-blocking.
 *
 * The kernel may end such a poll by itself: when the completion ring is full, or for want of memory. It is
 * armed again before the loop sleeps, which tells of what was signalled meanwhile; its owner is called once
 * more in any case. Were it refused each time, the loop would poll: slow, but no signal is lost.
 *
 * Invariants: while a watch has an owner and is not armed, TAG_WATCH is in `unarmed`, and the loop does not
 * sleep. A watch without an owner is on the list only while the kernel may still tell of it.
 */
#include "env/linux/uring.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

static bool watch_arm(struct loop *loop, struct watch *watch)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->uring->ring);

	WEFT_ASSERT(!watch->armed && watch->fn);
	if (!sqe)
		return false;
	io_uring_prep_poll_multishot(sqe, watch->fd, POLLIN);
	io_uring_sqe_set_data64(sqe, (uintptr_t)watch | TAG_WATCH);
	loop->stats.submissions++;
	watch->armed = true;
	return true;
}

void uring_watches_arm(struct loop *loop)
{
	WEFT_ASSERT(loop->uring->unarmed & TAG_WATCH);
	for (struct watch *watch = loop->uring->watches; watch; watch = watch->next)
		if (watch->fn && !watch->armed && !watch_arm(loop, watch))
			return;
	loop->uring->unarmed &= ~(unsigned)TAG_WATCH;
}

static void watch_free(struct watch *watch)
{
	WEFT_ASSERT(!watch->armed && !watch->fn);
	*watch->at = watch->next;
	if (watch->next)
		watch->next->at = watch->at;
	free(watch);
}

int uring_watch(struct loop *loop, int fd, void (*fn)(void *self), void *self, void **out)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return -ENOMEM;
	*watch = (struct watch){
		.next = loop->uring->watches, .at = &loop->uring->watches, .fn = fn, .self = self, .fd = fd};
	if (watch->next)
		watch->next->at = &watch->next;
	loop->uring->watches = watch;
	if (!watch_arm(loop, watch))
		loop->uring->unarmed |= TAG_WATCH;
	*out = watch;
	return 0;
}

/*
 * The structure stays until the kernel has answered; if there is no room to ask it, until the loop is
 * closed.
 */
void uring_unwatch(struct loop *loop, void *handle)
{
	struct watch *watch = handle;
	struct io_uring_sqe *sqe;

	WEFT_ASSERT(watch->fn);
	watch->fn = NULL;
	if (!watch->armed) {
		watch_free(watch);
		return;
	}
	sqe = uring_sqe(loop);
	if (!sqe)
		return;
	io_uring_prep_poll_remove(sqe, (uintptr_t)watch | TAG_WATCH);
	io_uring_sqe_set_data64(sqe, TAG_IGNORE);
}

void uring_watch_done(struct loop *loop, struct watch *watch, bool more)
{
	WEFT_ASSERT(watch->armed);
	watch->armed = more;
	if (!watch->fn) {
		if (!more)
			watch_free(watch);
		return;
	}
	if (!more)
		loop->uring->unarmed |= TAG_WATCH;
	watch->fn(watch->self);
}
