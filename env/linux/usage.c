/* SPDX-License-Identifier: BSD-2-Clause */
/* What the process uses; and small files, read and replaced whole. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "env/linux/internal.h"

#define FILE_MAX (64u << 20)

static uint64_t status_kib(const char *text, const char *name)
{
	const char *at = strstr(text, name);

	return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

void linux_usage(struct env *env, struct env_usage *out)
{
	char text[4096];
	struct timespec t;
	ssize_t n = -1;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	(void)env;
	memset(out, 0, sizeof(*out));
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	out->cpu_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	if (fd < 0)
		return;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = 0;
	out->rss_anon = status_kib(text, "RssAnon:") * 1024;
	out->rss_file = status_kib(text, "RssFile:") * 1024;
}

bool linux_is_terminal(struct env *env)
{
	(void)env;
	return isatty(2) == 1;
}

static int file_why(struct weft_why *why, int rc, const char *path)
{
	char text[64];

	if (rc == -ENOENT)
		return weft_why(why, rc, "no such file %.150s: check its name", path);
	if (rc == -EFBIG)
		return weft_why(
			why, rc, "%.150s is larger than %u MiB: name a text file", path, FILE_MAX >> 20);
	return weft_why(why, rc, "%.150s cannot be read: %s", path, linux_error_text(rc, text, sizeof(text)));
}

/* Grows as it reads: a pipe has no size. */
static int read_all(int fd, char **text, size_t *size)
{
	size_t room = 4096, used = 0;
	char *buf = malloc(room), *more;

	while (buf) {
		ssize_t n = read(fd, buf + used, room - used - 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || used + (size_t)n > FILE_MAX) {
			int rc = n < 0 ? -errno : n > 0 ? -EFBIG : 0;

			buf[used] = 0;
			*size = used;
			*text = rc ? NULL : buf;
			if (rc)
				free(buf);
			return rc;
		}
		used += (size_t)n;
		if (room - used > 1)
			continue;
		room *= 2;
		more = realloc(buf, room);
		if (!more)
			free(buf);
		buf = more;
	}
	return -ENOMEM;
}

int linux_file_read(struct env *env, const char *path, char **text, size_t *size, struct weft_why *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), rc;
	size_t length;

	(void)env;
	if (fd < 0)
		return file_why(why, -errno, path);
	rc = read_all(fd, text, &length);
	close(fd);
	if (rc)
		return file_why(why, rc, path);
	if (size)
		*size = length;
	return 0;
}

static int write_all(int fd, const char *text, size_t size)
{
	while (size > 0) {
		ssize_t n = write(fd, text, size);

		if (n < 0 && errno != EINTR)
			return -errno;
		text += n > 0 ? n : 0;
		size -= n > 0 ? (size_t)n : 0;
	}
	return fsync(fd) ? -errno : 0;
}

int linux_folder_sync(const char *path)
{
	char folder[4096] = ".";
	const char *slash = strrchr(path, '/');
	int fd, rc;

	if (slash)
		snprintf(folder, sizeof(folder), "%.*s", slash == path ? 1 : (int)(slash - path), path);
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	rc = fsync(fd) && errno != EINVAL ? -errno : 0;
	close(fd);
	return rc;
}

static int write_why(struct weft_why *why, int rc, const char *path)
{
	char error[64];

	if (rc == -ENAMETOOLONG)
		return weft_why(why, rc, "%.150s... is too long a name: choose a shorter one", path);
	if (rc == -ENOENT)
		return weft_why(why, rc, "the folder of %.150s does not exist: make it first", path);
	return rc == 0 ? 0 : weft_why(why, rc, "%.150s cannot be written: %s: make room there, or name another file", path,
		linux_error_text(rc, error, sizeof(error)));
}

/* The new file, beside the old one until it is whole; or -errno. */
static int beside_open(const char *path, char *beside, size_t size)
{
	int fd;

	if ((size_t)snprintf(beside, size, "%s.new", path) >= size)
		return -ENAMETOOLONG;
	fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	return fd < 0 ? -errno : fd;
}

int linux_file_write(struct env *env, const char *path, const char *text, size_t size, struct weft_why *why)
{
	char beside[4096];
	int fd = beside_open(path, beside, sizeof(beside)), rc;

	(void)env;
	if (fd < 0)
		return write_why(why, fd, path);
	rc = write_all(fd, text, size);
	close(fd);
	if (rc == 0 && rename(beside, path))
		rc = -errno;
	if (rc == 0)
		rc = linux_folder_sync(path);
	else
		unlink(beside);
	return write_why(why, rc, path);
}

int linux_file_try(struct env *env, const char *path, struct weft_why *why)
{
	char beside[4096];
	struct stat st;
	int fd = stat(path, &st) == 0 && S_ISDIR(st.st_mode) ? -EISDIR : beside_open(path, beside, sizeof(beside));

	(void)env;
	if (fd >= 0) {
		close(fd);
		unlink(beside);
	}
	return write_why(why, fd < 0 ? fd : 0, path);
}

int linux_file_remove(struct env *env, const char *path, struct weft_why *why)
{
	char error[64];
	int rc = unlink(path) ? -errno : linux_folder_sync(path);

	(void)env;
	return rc == 0 || rc == -ENOENT ? 0 : weft_why(why, rc, "%.150s cannot be removed: %s: remove it by hand", path,
		linux_error_text(rc, error, sizeof(error)));
}
