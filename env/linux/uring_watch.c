/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Notifiers on the ring: a multishot poll, which tells of each signal, so that the eventfd is never read:
 * no system call per signal, and none waits for an eventfd that somebody else has made non-blocking.
 */
#include "env/linux/uring.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

static int watch_arm(struct loop *loop, struct watch *watch)
{
	struct io_uring_sqe *sqe = uring_sqe(loop);

	if (!sqe)
		return -EAGAIN;
	io_uring_prep_poll_multishot(sqe, watch->fd, POLLIN);
	io_uring_sqe_set_data64(sqe, (uintptr_t)watch | TAG_WATCH);
	return 0;
}

static void watch_free(struct watch *watch)
{
	*watch->at = watch->next;
	if (watch->next)
		watch->next->at = watch->at;
	free(watch);
}

int uring_watch(struct loop *loop, int fd, void (*fn)(void *self), void *self, void **out)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	int rc;

	if (!watch)
		return -ENOMEM;
	*watch = (struct watch){
		.next = loop->uring->watches, .at = &loop->uring->watches, .fn = fn, .self = self, .fd = fd};
	rc = watch_arm(loop, watch);
	if (rc) {
		free(watch);
		return rc;
	}
	if (watch->next)
		watch->next->at = &watch->next;
	loop->uring->watches = watch;
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
	if (watch->dead) {
		watch_free(watch);
		return;
	}
	sqe = uring_sqe(loop);
	if (!sqe)
		return;
	io_uring_prep_poll_remove(sqe, (uintptr_t)watch | TAG_WATCH);
	io_uring_sqe_set_data64(sqe, TAG_IGNORE);
}

void uring_watch_done(struct loop *loop, struct watch *watch, int32_t result, bool more)
{
	if (!watch->fn) {
		if (!more)
			watch_free(watch);
		return;
	}
	/*
	 * Without `more` the poll has ended: the completion ring was full, or the descriptor cannot be
	 * polled.
	 */
	if (!more && (result < 0 || watch_arm(loop, watch)))
		watch->dead = true;
	watch->fn(watch->self);
}
