/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A wait without an end sets no timer in the kernel, which would cost each sleep and each wake-up: seen from between the loops and
 * the functions that put them to sleep, which are taken the place of here.
 */
#include "env/linux/test_linux.h"

#include <dlfcn.h>
#include <liburing.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/epoll.h>

static _Atomic bool asleep; /* or about to be */
static unsigned sleeps, timers;
static uint64_t time_ns;    /* of the last timer */

static void sleep_note(int64_t seconds, int64_t nanoseconds, bool timer)
{
	sleeps++;
	timers += timer;
	time_ns = (uint64_t)seconds * 1000000000u + (uint64_t)nanoseconds;
	atomic_store(&asleep, true);
}

int io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned n, struct __kernel_timespec *t,
	sigset_t *mask)
{
	static int (*real)(struct io_uring *, struct io_uring_cqe **, unsigned, struct __kernel_timespec *, sigset_t *);

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "io_uring_submit_and_wait_timeout");
	sleep_note(t != NULL ? t->tv_sec : 0, t != NULL ? t->tv_nsec : 0, t != NULL);
	return real(ring, cqe, n, t, mask);
}

int epoll_pwait2(int fd, struct epoll_event *events, int n, const struct timespec *t, const sigset_t *mask)
{
	static int (*real)(int, struct epoll_event *, int, const struct timespec *, const sigset_t *);

	if (real == NULL)
		*(void **)&real = dlsym(RTLD_NEXT, "epoll_pwait2");
	if (t == NULL || t->tv_sec != 0 || t->tv_nsec != 0) /* else it only looks */
		sleep_note(t != NULL ? t->tv_sec : 0, t != NULL ? t->tv_nsec : 0, t != NULL);
	return real(fd, events, n, t, mask);
}

static void *waker(void *loop)
{
	while (!atomic_load(&asleep))
		sched_yield();
	env_loop_wake(loop);
	return NULL;
}

static void a_wait_without_an_end_sets_no_timer(void **state)
{
	struct world *w = *state;
	pthread_t thread;

	world_settle(w);
	sleeps = timers = 0;
	atomic_store(&asleep, false);
	assert_int_equal(pthread_create(&thread, NULL, waker, w->loop), 0);
	while (!atomic_load(&asleep)) /* rarely it returns at once */
		env_loop_wait(w->loop, ENV_FOREVER);
	pthread_join(thread, NULL);
	assert_true(sleeps > 0);
	assert_int_equal(timers, 0);
}

static void a_wait_with_an_end_sets_its_timer(void **state)
{
	struct world *w = *state;

	world_settle(w);
	sleeps = timers = 0;
	while (sleeps == 0)
		env_loop_wait(w->loop, 1000001);
	assert_int_equal(timers, sleeps);
	assert_int_equal(time_ns, 1000001);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_wait_without_an_end_sets_no_timer),
		BOTH(a_wait_with_an_end_sets_its_timer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
