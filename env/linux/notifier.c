/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Notifiers: eventfds. Each signal raises an edge; the count is never read, and nothing but an eventfd is
 * adopted.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "env/linux/internal.h"

struct notifier {
	struct env_notifier head;
	struct source source; /* in the epoll set, without io_uring; and the descriptor */
	void *watch;	      /* in the ring */
	void (*fn)(void *self);
	void *self;
};

static struct notifier *notifier_of(struct env_notifier *notifier)
{
	return (struct notifier *)notifier;
}

static void notifier_event(struct source *source, uint32_t events)
{
	struct notifier *n = WEFT_CONTAINER(source, struct notifier, source);

	(void)events;
	n->fn(n->self);
}

/* Another process gave it: were it a pipe or a file, a signal could block, or write where it should not. */
static bool is_eventfd(int fd)
{
	char path[40], what[40];
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, what, sizeof(what) - 1);
	if (n < 0)
		return fcntl(fd, F_GETFD) >= 0 &&
			access("/proc/self", F_OK) != 0; /* no /proc: it cannot be told */
	what[n] = 0;
	return strcmp(what, "anon_inode:[eventfd]") == 0;
}

static int notifier_adopt(int fd)
{
	int flags;

	if (fd < 0) {
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		return fd < 0 ? -errno : fd;
	}
	if (!is_eventfd(fd))
		return -EINVAL;
	/* Its owner could fill the count, and our signal must not wait then. */
	flags = fcntl(fd, F_GETFL);
	if (!(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	return fd;
}

static const struct env_notifier_ops notifier_ops;

int notifier_open(struct env *env, int fd, struct env_notifier **out)
{
	struct notifier *n = calloc(1, sizeof(*n));
	int rc = n ? notifier_adopt(fd) : -ENOMEM;

	if (rc < 0) {
		if (fd >= 0)
			close(fd);
		free(n);
		return rc;
	}
	n->head = (struct env_notifier){&notifier_ops, env};
	n->source = (struct source){notifier_event, rc};
	*out = &n->head;
	return 0;
}

static void notifier_close(struct env_notifier *head)
{
	struct notifier *n = notifier_of(head);

	WEFT_ASSERT(!n->fn);
	close(n->source.fd);
	free(n);
}

static int notifier_fd(const struct env_notifier *head)
{
	return ((const struct notifier *)head)->source.fd;
}

static void notifier_signal(struct env_notifier *head)
{
	uint64_t one = 1;

	/* When the count is full it has been raised already. */
	if (write(notifier_of(head)->source.fd, &one, sizeof(one)) < 0)
		return;
}

static void notifier_clear(struct env_notifier *head)
{
	struct notifier *n = notifier_of(head);
	uint64_t count;

	WEFT_ASSERT(!n->fn);
	if (read(n->source.fd, &count, sizeof(count)) < 0)
		return; /* it was not signalled */
}

static int notifier_watch(
	struct env_loop *loop_head, struct env_notifier *head, void (*fn)(void *self), void *self)
{
	struct loop *loop = loop_of(loop_head);
	struct notifier *n = notifier_of(head);
	int rc;

	WEFT_ASSERT(!n->fn);
	if (loop->uring)
		rc = uring_watch(loop, n->source.fd, fn, self, &n->watch);
	else
		rc = poller_add(&loop->poller, &n->source, EPOLLIN | EPOLLET);
	if (rc)
		return rc;
	n->fn = fn;
	n->self = self;
	return 0;
}

static void notifier_unwatch(struct env_loop *loop_head, struct env_notifier *head)
{
	struct loop *loop = loop_of(loop_head);
	struct notifier *n = notifier_of(head);

	WEFT_ASSERT(n->fn);
	if (loop->uring)
		uring_unwatch(loop, n->watch);
	else
		poller_remove(&loop->poller, &n->source);
	n->watch = NULL;
	n->fn = NULL;
}

static const struct env_notifier_ops notifier_ops = {
	.close = notifier_close,
	.fd = notifier_fd,
	.signal = notifier_signal,
	.clear = notifier_clear,
	.watch = notifier_watch,
	.unwatch = notifier_unwatch,
};
