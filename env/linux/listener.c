/* SPDX-License-Identifier: BSD-2-Clause */
/* Listening unix sockets: stale files replaced, mode and group set, inherited descriptors adopted. */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "env/linux/internal.h"

#define BACKLOG 128

struct listener {
	struct env_listener head;
	struct source source;
	struct loop *loop;
	void (*accepted)(void *self, struct env_stream *stream);
	void *self;
	int connected; /* an inherited connection, to be handed out in the next turn; -1 */
	int spare;     /* given up for a moment when there are no descriptors left, to refuse who waits */
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* of our socket file; "": none */
	dev_t dev;
	ino_t ino;
};

/* ---- binding ---- */

/* Does somebody listen there? 0: nobody, the file is stale. */
static int socket_probe(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), rc = 0;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
		rc = -EADDRINUSE;
	else if (errno != ECONNREFUSED)
		rc = -errno;
	close(fd);
	return rc;
}

static int bind_why(struct weft_why *why, int rc, const char *path)
{
	char text[64];

	switch (rc) {
	case -EADDRINUSE:
		return weft_why(why, rc,
			"address: somebody listens on %s already: stop that one, or choose another path", path);
	case -EEXIST:
		return weft_why(why, rc,
			"address: %s is there already and is no socket: remove it, or choose another path",
			path);
	case -ENOENT:
		return weft_why(why, rc, "address: the folder of %s does not exist: make it first", path);
	case -EACCES:
	case -EPERM:
		return weft_why(why, rc,
			"address: no permission to make the socket %s: choose a folder that you may write to",
			path);
	default:
		return weft_why(why, rc, "address: the socket %s cannot be made: %s", path,
			linux_error_text(rc, text, sizeof(text)));
	}
}

static int bind_path(int fd, const struct sockaddr_un *address)
{
	struct stat st;
	int rc;

	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	if (lstat(address->sun_path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return -EEXIST;
	rc = socket_probe(address);
	if (rc && rc != -ENOENT)
		return rc;
	unlink(address->sun_path);
	return bind(fd, (const struct sockaddr *)address, sizeof(*address)) ? -errno : 0;
}

/* ---- mode and group ---- */

static int group_find(const char *name, gid_t *gid)
{
	char room[4096], *end;
	struct group group, *found = NULL;
	unsigned long number = strtoul(name, &end, 10);

	if (*name && !*end) {
		*gid = (gid_t)number;
		return 0;
	}
	getgrnam_r(name, &group, room, sizeof(room), &found);
	if (!found)
		return -ENOENT;
	*gid = found->gr_gid;
	return 0;
}

/* Before anybody can connect: the socket does not listen yet. */
static int access_set(const char *path, const struct env_listen_wants *wants, struct weft_why *why)
{
	char text[64];
	gid_t gid;

	if (wants->group && group_find(wants->group, &gid))
		return weft_why(why, -ENOENT,
			"group: there is no group %.60s: name one of this machine, or its number",
			wants->group);
	if (wants->group && chown(path, (uid_t)-1, gid))
		return weft_why(why, -errno,
			"group: %s cannot be given to %.60s: %s: name a group that you are a member of", path,
			wants->group, linux_error_text(errno, text, sizeof(text)));
	if (wants->mode >= 0 && chmod(path, (mode_t)wants->mode))
		return weft_why(why, -errno, "mode: %o cannot be set on %s: %s", (unsigned)wants->mode, path,
			linux_error_text(errno, text, sizeof(text)));
	return 0;
}

/* ---- accepting ---- */

/* Out of descriptors: whoever waits is refused, or the listener would be readable for ever. */
static void accept_refuse(struct listener *l)
{
	int fd;

	if (l->spare < 0)
		return;
	close(l->spare);
	fd = accept4(l->source.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	l->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void listener_event(struct source *source, uint32_t events)
{
	struct listener *l = WEFT_CONTAINER(source, struct listener, source);
	struct env_stream *stream;
	int fd = accept4(source->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE)
			accept_refuse(l);
		return;
	}
	stream = stream_adopt(l->loop, fd);
	if (stream)
		l->accepted(l->self, stream);
}

/* An inherited connection is handed out as if it had just been accepted. */
static void connected_event(struct source *source, uint32_t events)
{
	struct listener *l = WEFT_CONTAINER(source, struct listener, source);
	struct env_stream *stream = stream_adopt(l->loop, l->connected);

	(void)events;
	l->connected = -1;
	poller_remove(&l->loop->poller, &l->source);
	if (stream)
		l->accepted(l->self, stream);
}

/* ---- opening and closing ---- */

static const struct env_listener_ops listener_ops;

static void listener_close(struct env_listener *head)
{
	struct listener *l = (struct listener *)head;
	struct stat st;

	if (l->source.fd >= 0) {
		poller_remove(&l->loop->poller, &l->source);
		close(l->source.fd);
	}
	if (l->connected >= 0)
		close(l->connected);
	if (l->spare >= 0)
		close(l->spare);
	if (l->path[0] && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
		unlink(l->path);
	free(l);
}

/*
 * One after the other in a folder: between bind and listen a socket looks stale to others, and of two that
 * find the same stale file the second would remove what the first has put there. Where the folder cannot be
 * locked it must go without. 0 with *lock: a descriptor that holds it, or -1; -EWOULDBLOCK: it is another's.
 */
static int folder_lock(const char *path, int *lock)
{
	const char *slash = strrchr(path, '/');
	char folder[sizeof(((struct sockaddr_un *)0)->sun_path)] = ".";

	if (slash) {
		memcpy(folder, path, (size_t)(slash - path) + 1);
		folder[slash - path + 1] = 0;
	}
	*lock = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*lock < 0 || flock(*lock, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK)
		return 0;
	close(*lock);
	*lock = -1;
	return -EWOULDBLOCK;
}

static int listen_locked(struct listener *l, const struct sockaddr_un *address,
	const struct env_listen_wants *wants, struct weft_why *why)
{
	struct stat st;
	int rc;

	WEFT_ASSERT(l->source.fd < 0 && !l->path[0] && l->connected < 0);
	l->source.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = l->source.fd < 0 ? -errno : bind_path(l->source.fd, address);
	if (rc)
		return bind_why(why, rc, address->sun_path);
	if (lstat(address->sun_path, &st) == 0) {
		strcpy(l->path, address->sun_path);
		l->dev = st.st_dev;
		l->ino = st.st_ino;
	}
	rc = access_set(address->sun_path, wants, why);
	if (rc)
		return rc;
	return listen(l->source.fd, BACKLOG) ? bind_why(why, -errno, address->sun_path) : 0;
}

static int listen_path(
	struct listener *l, const char *where, const struct env_listen_wants *wants, struct weft_why *why)
{
	struct sockaddr_un address;
	int rc = stream_address(where, &address, why), folder;

	if (rc)
		return rc;
	rc = folder_lock(address.sun_path, &folder);
	if (rc && !wants->unlocked)
		return weft_why(why, rc,
			"address: another process has locked the folder of %s: try again in a moment",
			address.sun_path);
	rc = listen_locked(l, &address, wants, why);
	if (folder >= 0)
		close(folder);
	return rc;
}

/* Adopts the descriptor even if it fails. */
static int listen_inherited(struct listener *l, const struct env_listen_wants *wants, struct weft_why *why)
{
	int listening = 0, flags = fcntl(wants->fd, F_GETFL);
	socklen_t size = sizeof(listening);

	if (wants->connected)
		l->connected = wants->fd;
	else
		l->source.fd = wants->fd;
	if (flags < 0 || getsockopt(wants->fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size))
		return weft_why(
			why, -EBADF, "fd: %d is not an open socket: pass one to this process", wants->fd);
	if (!wants->connected && !listening)
		return weft_why(why, -EINVAL,
			"fd: socket %d does not listen: call listen() on it before it is passed", wants->fd);
	fcntl(wants->fd, F_SETFL, flags | O_NONBLOCK);
	fcntl(wants->fd, F_SETFD, FD_CLOEXEC);
	if (!wants->connected)
		return 0;
	l->source = (struct source){connected_event, eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK)};
	return l->source.fd < 0 ? weft_why(why, -errno, "no descriptor left for the socket") : 0;
}

int stream_listen(struct env_loop *head, const char *where, const struct env_listen_wants *wants,
	void (*accepted)(void *self, struct env_stream *stream), void *self, struct env_listener **out,
	struct weft_why *why)
{
	struct listener *l = calloc(1, sizeof(*l));
	int rc;

	if (!l) {
		if (wants->fd >= 0)
			close(wants->fd);
		return weft_why(why, -ENOMEM, "no memory to listen");
	}
	*l = (struct listener){.head = {&listener_ops, head->env},
		.source = {listener_event, -1},
		.loop = loop_of(head),
		.accepted = accepted,
		.self = self,
		.connected = -1,
		.spare = open("/dev/null", O_RDONLY | O_CLOEXEC)};
	rc = wants->fd >= 0 ? listen_inherited(l, wants, why) : listen_path(l, where, wants, why);
	if (rc == 0) {
		rc = poller_add(&l->loop->poller, &l->source, EPOLLIN);
		if (rc)
			weft_why(why, rc,
				"address: the socket cannot be watched: raise the limit of open files "
				"(ulimit -n)");
	}
	if (rc) {
		listener_close(&l->head);
		return rc;
	}
	*out = &l->head;
	return 0;
}

static const struct env_listener_ops listener_ops = {
	.close = listener_close,
};
