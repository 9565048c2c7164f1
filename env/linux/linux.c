/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of the real environment, and its small entries: memory, clock, randomness, log, descriptors. */
#include "env/linux/linux.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "env/linux/internal.h"

#define HUGE_PAGE (2u << 20)

const char *linux_error_text(int error, char *text, size_t size)
{
	return strerror_r(error < 0 ? -error : error, text, size);
}

static void *linux_alloc(struct env *env, size_t align, size_t size)
{
	void *memory = NULL;

	(void)env;
	if (align <= 16)
		return calloc(1, size ? size : 1);
	if (posix_memalign(&memory, align, size ? size : 1))
		return NULL;
	memset(memory, 0, size);
	return memory;
}

static void linux_free(struct env *env, void *memory)
{
	(void)env;
	free(memory);
}

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t linux_now_ns(struct env *env)
{
	(void)env;
	return clock_ns(CLOCK_MONOTONIC);
}

static uint64_t linux_wall_ns(struct env *env)
{
	(void)env;
	return clock_ns(CLOCK_REALTIME);
}

static uint64_t linux_random(struct env *env)
{
	uint64_t value = 0;

	(void)env;
	/* Only very early in a machine's life can this fail; a seed need not be secret. */
	if (getrandom(&value, sizeof(value), GRND_NONBLOCK) != sizeof(value))
		value = clock_ns(CLOCK_REALTIME) * 0x9e3779b97f4a7c15u ^ (uint64_t)getpid();
	return value;
}

static void linux_log_line(struct env *env, int level, const char *line)
{
	struct linux_env *e = linux_env_of(env);
	struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
	struct iovec iov[3] = {{NULL, 0}, {(void *)(uintptr_t)line, strlen(line)}, {"\n", 1}};
	unsigned lost;
	char text[80];

	if (e->log) {
		e->log(e->log_self, level, line);
		return;
	}
	/* A pipe that nobody reads must not stop a reactor. */
	if (poll(&out, 1, 0) != 1 || !(out.revents & POLLOUT)) {
		atomic_fetch_add(&e->lines_lost, 1);
		return;
	}
	lost = atomic_exchange(&e->lines_lost, 0);
	if (lost > 0) {
		iov[0].iov_base = text;
		iov[0].iov_len = (size_t)snprintf(text, sizeof(text), "(%u lines are missing: nobody read them)\n", lost);
	}
	/* One call, so that lines of several threads do not mix. */
	if (writev(STDERR_FILENO, iov, 3) < 0)
		atomic_fetch_add(&e->lines_lost, lost + 1);
}

void linux_fallback_say(struct linux_env *env, int error)
{
	char text[64];

	if (env->no_uring || atomic_exchange(&env->fallback_said, true))
		return;
	snprintf(env->fallback, sizeof(env->fallback),
		"weft: io_uring is not available here (io_uring_setup: %s): using epoll and worker threads",
		linux_error_text(error, text, sizeof(text)));
	if (!env->quiet)
		linux_log_line(&env->head, 1, env->fallback);
}

const char *env_linux_fallback(struct env *env)
{
	const struct linux_env *e = linux_env_of(env);

	return e->fallback[0] != '\0' ? e->fallback : NULL;
}

/* ---- pages ---- */

static void *linux_pages_alloc(struct env *env, uint64_t size, bool huge)
{
	uint64_t room = size + (huge ? HUGE_PAGE : 0);
	char *base, *from;

	(void)env;
	if (size == 0 || size > UINT64_MAX / 2)
		return NULL;
	base = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (base == MAP_FAILED)
		return NULL;
	if (!huge)
		return base;
	from = (char *)(((uintptr_t)base + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1));
	size = (size + 4095) & ~UINT64_C(4095);
	if (from > base)
		munmap(base, (size_t)(from - base));
	if (base + room > from + size)
		munmap(from + size, (size_t)(base + room - (from + size)));
	madvise(from, size, MADV_HUGEPAGE);
	return from;
}

static void linux_pages_free(struct env *env, void *base, uint64_t size)
{
	(void)env;
	if (base)
		munmap(base, size);
}

static void linux_pages_drop(struct env *env, void *base, uint64_t size)
{
	(void)env;
	if (size)
		madvise(base, size, MADV_DONTNEED);
}

/* ---- descriptors ---- */

static void linux_fd_close(struct env *env, int fd)
{
	(void)env;
	if (fd >= 0)
		close(fd);
}

static int64_t linux_fd_size(struct env *env, int fd)
{
	struct stat st;

	(void)env;
	return fstat(fd, &st) ? -errno : st.st_size;
}

static int linux_fd_copy(struct env *env, int fd)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	(void)env;
	return copy < 0 ? -errno : copy;
}

static bool linux_forked(struct env *env)
{
	return linux_env_of(env)->pid != getpid();
}

/* ---- open and close ---- */

static const struct env_ops linux_ops = {
	.alloc = linux_alloc,
	.free = linux_free,
	.now_ns = linux_now_ns,
	.random = linux_random,
	.wall_ns = linux_wall_ns,
	.log_line = linux_log_line,
	.cpu_count = linux_cpu_count,
	.forked = linux_forked,
	.gate_open = gate_open,
	.fence_all = linux_fence_all,
	.fence_reaches = linux_fence_reaches,
	.fence_here = linux_fence_here,
	.loop_open = loop_open,
	.thread_start = linux_thread_start,
	.thread_join = linux_thread_join,
	.thread_run_here = linux_thread_run_here,
	.medium_open = medium_open,
	.notifier_open = notifier_open,
	.shm_create = shm_create,
	.map = shm_map,
	.unmap = shm_unmap,
	.pages_alloc = linux_pages_alloc,
	.pages_free = linux_pages_free,
	.pages_drop = linux_pages_drop,
	.fd_close = linux_fd_close,
	.fd_size = linux_fd_size,
	.fd_copy = linux_fd_copy,
	.usage = linux_usage,
	.file_read = linux_file_read,
	.file_write = linux_file_write,
	.file_try = linux_file_try,
	.file_remove = linux_file_remove,
	.is_terminal = linux_is_terminal,
};

/* Who forks goes on in the child with the parent's memory, and with rings that the kernel shares with the parent. */
static int watch_forks(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static bool watched;
	int rc = 0;

	pthread_mutex_lock(&lock);
	if (!watched)
		rc = pthread_atfork(NULL, NULL, env_thread_is_child);
	watched = rc == 0;
	pthread_mutex_unlock(&lock);
	return rc;
}

int env_linux_open(struct env **out, const struct env_linux_wants *wants, struct weft_why *why)
{
	static const struct env_linux_wants none;
	struct linux_env *env = calloc(1, sizeof(*env));

	if (!wants)
		wants = &none;
	if (env && watch_forks() == 0)
		env->workers = workers_open(wants->workers ? wants->workers : 16);
	if (!env || !env->workers) {
		free(env);
		return weft_why(why, -ENOMEM, "no memory for the environment");
	}
	env_init(&env->head, &linux_ops);
	env->no_uring = wants->no_uring;
	env->fence_reaches = !wants->no_membarrier && fence_can_reach();
	env->quiet = wants->quiet;
	env->pid = getpid();
	env->log = wants->log;
	env->log_self = wants->log_self;
	*out = &env->head;
	return 0;
}

void env_linux_close(struct env *env)
{
	workers_close(linux_env_of(env)->workers);
	free(env);
}
