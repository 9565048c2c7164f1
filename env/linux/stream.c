/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Streams: connected unix sockets, which also carry descriptors. What the peer has not taken of a message
 * is kept and sent later.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "env/linux/internal.h"

#define QUEUE_MAX (1u << 20) /* bytes kept for a peer that is slow */

struct stream {
	struct env_stream head;
	struct source source;
	struct loop *loop;
	void (*fn)(void *self);
	void *self;
	bool end; /* fn wants to hear of the end only */
	char *queue; /* not yet sent, from queue + sent to queue + queued */
	size_t sent, queued;
	bool closed;		   /* by its owner: it lingers until the queue is empty */
	struct stream *next, **at; /* those that linger */
};

static struct stream *stream_of(struct env_stream *stream)
{
	return (struct stream *)stream;
}

union control {
	char room[CMSG_SPACE(ENV_FDS_MAX * sizeof(int))];
	struct cmsghdr align;
};

static void stream_destroy(struct stream *s)
{
	WEFT_ASSERT(!s->fn && s->source.fd >= 0 && s->sent <= s->queued);
	if (s->closed) {
		*s->at = s->next;
		if (s->next)
			s->next->at = s->at;
	}
	poller_remove(&s->loop->poller, &s->source);
	close(s->source.fd);
	free(s->queue);
	free(s);
}

/* Edge-triggered while nothing is wanted: a peer that has hung up would be told over and over again. */
static void stream_events_set(struct stream *s)
{
	uint32_t events = (s->fn ? EPOLLRDHUP | (s->end ? 0 : EPOLLIN) : 0) | (s->queue ? EPOLLOUT : 0);

	WEFT_ASSERT(!s->closed || (s->queue && !s->fn)); /* it lingers to send, and for nothing else */
	poller_change(&s->loop->poller, &s->source, events ? events : EPOLLET);
}

/* Sends what is queued. False: the stream has been destroyed. */
static bool stream_flush(struct stream *s)
{
	ssize_t n = send(s->source.fd, s->queue + s->sent, s->queued - s->sent, MSG_DONTWAIT | MSG_NOSIGNAL);

	WEFT_ASSERT(s->queue && s->sent < s->queued);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	s->sent += n > 0 ? (size_t)n : 0;
	if (n > 0 && s->sent < s->queued)
		return true;
	/* All is sent; or the peer is gone, which reading will show. */
	if (s->closed) {
		stream_destroy(s);
		return false;
	}
	free(s->queue);
	s->queue = NULL;
	s->sent = s->queued = 0;
	stream_events_set(s);
	return true;
}

static void stream_event(struct source *source, uint32_t events)
{
	struct stream *s = WEFT_CONTAINER(source, struct stream, source);

	if (s->queue && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) && !stream_flush(s))
		return;
	if (s->fn && (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
		s->fn(s->self);
}

static const struct env_stream_ops stream_ops;

struct env_stream *stream_adopt(struct loop *loop, int fd)
{
	struct stream *s = calloc(1, sizeof(*s));

	if (s) {
		*s = (struct stream){
			.head = {&stream_ops, &loop->env->head}, .source = {stream_event, fd}, .loop = loop};
		if (poller_add(&loop->poller, &s->source, EPOLLET) == 0)
			return &s->head;
	}
	free(s);
	close(fd);
	return NULL;
}

static void stream_close(struct env_stream *head)
{
	struct stream *s = stream_of(head);

	WEFT_ASSERT(!s->closed);
	s->fn = NULL;
	if (!s->queue) {
		stream_destroy(s);
		return;
	}
	s->closed = true;
	s->at = &s->loop->lingering;
	s->next = s->loop->lingering;
	if (s->next)
		s->next->at = &s->next;
	s->loop->lingering = s;
	stream_events_set(s);
}

void stream_abandon_all(struct loop *loop)
{
	while (loop->lingering)
		stream_destroy(loop->lingering);
}

/* What is queued for a slow peer is dropped: it would be half a conversation. */
static void stream_shut(struct env_stream *head)
{
	struct stream *s = stream_of(head);

	WEFT_ASSERT(!s->closed);
	free(s->queue);
	s->queue = NULL;
	s->sent = s->queued = 0;
	(void)shutdown(s->source.fd, SHUT_WR); /* fails when the peer has closed, which reading shows */
	stream_events_set(s);
}

static void stream_watch(struct env_stream *head, bool end, void (*fn)(void *self), void *self)
{
	struct stream *s = stream_of(head);

	WEFT_ASSERT(!s->closed);
	s->fn = fn;
	s->self = self;
	s->end = end;
	stream_events_set(s);
}

/* ---- reading ---- */

/* Descriptors that came along: those that there is room for are given out, the others closed. */
static unsigned fds_take(struct msghdr *msg, int *fds, unsigned room)
{
	unsigned taken = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		unsigned n = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (unsigned i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(fd), sizeof(fd));
			if (taken < room)
				fds[taken++] = fd;
			else
				close(fd);
		}
	}
	return taken;
}

static int64_t stream_read(struct env_stream *head, void *buf, size_t len, int *fds, unsigned *nfds)
{
	union control control;
	struct iovec iov = {buf, len};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n;

	do
		n = recvmsg(stream_of(head)->source.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0) {
		if (nfds)
			*nfds = 0;
		return -errno;
	}
	if (nfds)
		*nfds = fds_take(&msg, fds, *nfds);
	else
		fds_take(&msg, NULL, 0);
	return n;
}

/* ---- writing ---- */

static int stream_queue(struct stream *s, const char *data, size_t len)
{
	char *queue = realloc(s->queue, s->queued + len);

	WEFT_ASSERT(!s->closed && (s->queue || s->queued == 0));
	if (!queue)
		return -ENOMEM;
	memcpy(queue + s->queued, data, len);
	s->queue = queue;
	s->queued += len;
	stream_events_set(s);
	return 0;
}

static ssize_t stream_send(struct stream *s, const void *buf, size_t len, const int *fds, unsigned nfds)
{
	struct iovec iov = {(void *)(uintptr_t)buf, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union control control;
	ssize_t n;

	if (nfds) {
		memset(&control, 0, sizeof(control));
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		control.align = (struct cmsghdr){CMSG_LEN(nfds * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.align), fds, nfds * sizeof(int));
	}
	do
		n = sendmsg(s->source.fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static int stream_write(struct env_stream *head, const void *buf, size_t len, const int *fds, unsigned nfds)
{
	struct stream *s = stream_of(head);
	ssize_t n;

	WEFT_ASSERT(!s->closed && len > 0);
	if (s->queue) /* in order, behind what waits */
		return nfds || s->queued + len > QUEUE_MAX ? -EAGAIN : stream_queue(s, buf, len);
	n = stream_send(s, buf, len, fds, nfds);
	if (n < 0)
		return (int)n;
	return (size_t)n == len ? 0 : stream_queue(s, (const char *)buf + n, len - (size_t)n);
}

static const struct env_stream_ops stream_ops = {
	.close = stream_close,
	.shut = stream_shut,
	.watch = stream_watch,
	.read = stream_read,
	.write = stream_write,
};

/* ---- connecting ---- */

int stream_address(const char *where, struct sockaddr_un *address, struct weft_why *why)
{
	const char *path = where + 5;

	if (strncmp(where, "unix:", 5) != 0)
		return weft_why(why, -EINVAL, "address: %.120s is not of the form unix:/path", where);
	if (!*path)
		return weft_why(why, -EINVAL,
			"address: the path of the socket is missing: give one, such as /run/weft/vm.sock");
	memset(address, 0, sizeof(*address));
	address->sun_family = AF_UNIX;
	if (strlen(path) >= sizeof(address->sun_path))
		return weft_why(why, -ENAMETOOLONG,
			"address: the socket path ...%s has %zu bytes, and at most %zu are possible: choose "
			"a shorter one",
			path + strlen(path) - 40, strlen(path), sizeof(address->sun_path) - 1);
	strcpy(address->sun_path, path);
	return 0;
}

static int connect_why(struct weft_why *why, int rc, const char *path)
{
	char text[64];

	switch (rc) {
	case -ENOENT:
		return weft_why(why, rc, "address: no such socket %s: start the server first", path);
	case -ECONNREFUSED:
		return weft_why(why, rc, "address: nobody listens on %s: start the server", path);
	case -EACCES:
		return weft_why(
			why, rc, "address: no permission to connect to %s: change its mode or group", path);
	case -EAGAIN:
		return weft_why(why, rc,
			"address: the server of %s does not accept connections now: try again", path);
	default:
		return weft_why(why, rc, "address: cannot connect to %s: %s", path,
			linux_error_text(rc, text, sizeof(text)));
	}
}

int stream_connect(struct env_loop *head, const char *where, struct env_stream **out, struct weft_why *why)
{
	struct sockaddr_un address;
	int rc = stream_address(where, &address, why), fd;

	if (rc)
		return rc;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return connect_why(why, -errno, address.sun_path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		rc = -errno;
		close(fd);
		return connect_why(why, rc, address.sun_path);
	}
	*out = stream_adopt(loop_of(head), fd);
	return *out ? 0 : weft_why(why, -ENOMEM, "no memory for a connection");
}

int stream_pair(struct env_loop *head, struct env_stream **out, int *fd)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return -errno;
	*out = stream_adopt(loop_of(head), pair[0]);
	if (!*out) {
		close(pair[1]);
		return -ENOMEM;
	}
	*fd = pair[1];
	return 0;
}
