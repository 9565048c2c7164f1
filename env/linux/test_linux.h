/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of env/linux share: a world with one loop, of either kind, and a folder of its own. */
#ifndef ENV_LINUX_TEST_LINUX_H
#define ENV_LINUX_TEST_LINUX_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "env/env.h"
#include "env/env_fault.h"
#include "env/linux/linux.h"

enum world_kind {
	WORLD_URING = 0, /* or what the kernel allows */
	WORLD_EPOLL = 1,
	WORLD_MEMORY = 2, /* the folder is on tmpfs */
	WORLD_MOVABLE = 4, /* the loop has a descriptor */
};

struct world {
	struct env *env;
	struct env_loop *loop;
	char dir[64];
	struct weft_why why;
	unsigned calls; /* for callbacks to count */
};

/* Two entries of a test table, or four: each kind of loop, and each kind of file system. */
#define ENTRY(test, text, kind)                                                                              \
	{                                                                                                    \
#test text, test, world_setup, world_teardown, (void *)(uintptr_t)(kind)                     \
	}
#define BOTH(test) ENTRY(test, ", io_uring", WORLD_URING), ENTRY(test, ", epoll", WORLD_EPOLL)
#define BOTH_MOVABLE(test)                                                                                   \
	ENTRY(test, ", io_uring", WORLD_URING | WORLD_MOVABLE), ENTRY(test, ", epoll", WORLD_EPOLL | WORLD_MOVABLE)
#define BOTH_TWICE(test)                                                                                     \
	BOTH(test), ENTRY(test, ", io_uring, tmpfs", WORLD_URING | WORLD_MEMORY),                            \
		ENTRY(test, ", epoll, tmpfs", WORLD_EPOLL | WORLD_MEMORY)

static inline int world_setup(void **state)
{
	unsigned kind = (unsigned)(uintptr_t)*state;
	struct env_linux_wants wants = {.no_uring = kind & WORLD_EPOLL};
	struct world *w = calloc(1, sizeof(*w));

	snprintf(w->dir, sizeof(w->dir), "%s/weft-test-XXXXXX", kind & WORLD_MEMORY ? "/dev/shm" : "/tmp");
	if (!mkdtemp(w->dir) || env_linux_open(&w->env, &wants, &w->why))
		return -1;
	*state = w;
	return kind & WORLD_MOVABLE ? env_loop_open_movable(w->env, &w->loop, &w->why) : env_loop_open(w->env, &w->loop, &w->why);
}

static inline int world_teardown(void **state)
{
	struct world *w = *state;
	char command[100];
	int rc;

	env_loop_close(w->loop);
	env_linux_close(w->env);
	snprintf(command, sizeof(command), "rm -rf %s", w->dir);
	rc = system(command);
	free(w);
	return rc;
}

static inline const char *world_path(struct world *w, const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", w->dir, name);
	return path;
}

/* One turn, asleep if there is nothing to do. */
static inline void world_turn(struct world *w)
{
	if (!env_loop_poll(w->loop))
		env_loop_wait(w->loop, UINT64_C(20000000000));
	else
		env_loop_submit(w->loop);
}

/* Turns until *flag. */
static inline void world_until(struct world *w, const volatile bool *flag)
{
	uint64_t end = env_now_ns(w->env) + UINT64_C(60000000000);

	while (!*flag) {
		assert_true(env_now_ns(w->env) < end);
		world_turn(w);
	}
}

/* Turns in which whatever is there to be delivered is. */
static inline void world_settle(struct world *w)
{
	for (unsigned quiet = 0; quiet < 4;) {
		quiet = env_loop_poll(w->loop) ? 0 : quiet + 1;
		env_loop_submit(w->loop);
	}
}

/*
 * Waits until the time is over; how often that took: once, or a few times more, since a ring closed a moment ago makes the kernel
 * interrupt whatever its thread waits for next.
 */
static inline unsigned world_waits(struct world *w, uint64_t timeout_ns)
{
	uint64_t end = env_now_ns(w->env) + timeout_ns, now;
	unsigned waits = 0;

	for (; (now = env_now_ns(w->env)) < end; waits++) {
		env_loop_wait(w->loop, end - now);
		env_loop_poll(w->loop);
	}
	return waits;
}

#define assert_why(w, part)                                                                                  \
	do {                                                                                                 \
		if (!strstr((w)->why.text, part))                                                            \
			fail_msg("\"%s\" lacks \"%s\"", (w)->why.text, part);                                \
	} while (0)

#endif
