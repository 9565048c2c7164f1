/* SPDX-License-Identifier: BSD-2-Clause */
/* Loops of both kinds: sleeping and waking, notifiers, workers, a program's own poll; few system calls. */
#include "env/linux/test_linux.h"

#include "env/linux/uring.h"

#include <fcntl.h>
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>

/* ---- waking ---- */

static void a_wake_before_the_wait_ends_it(void **state)
{
	struct world *w = *state;
	uint64_t before;

	env_loop_poll(w->loop);
	before = env_now_ns(w->env);
	for (unsigned i = 0; i < 100; i++) {
		env_loop_wake(w->loop);
		env_loop_wait(w->loop, UINT64_C(60000000000));
		env_loop_poll(w->loop);
	}
	assert_true(env_now_ns(w->env) - before < UINT64_C(30000000000));
}

/* Seen by a poll in between, it is not forgotten. */
static void a_wake_is_kept_for_the_next_wait(void **state)
{
	struct world *w = *state;
	uint64_t before = env_now_ns(w->env);

	env_loop_wake(w->loop);
	world_settle(w);
	env_loop_wait(w->loop, UINT64_C(60000000000));
	assert_true(env_now_ns(w->env) - before < UINT64_C(30000000000));
}

static void a_wait_ends_when_its_time_is_over(void **state)
{
	struct world *w = *state;

	world_settle(w);
	assert_true(world_waits(w, 3000000) < 10);
}

static uint64_t three_turns(void *self, uint64_t now_ns)
{
	struct world *w = self;

	(void)now_ns;
	env_loop_poll(w->loop);
	env_loop_submit(w->loop);
	return ++w->calls < 3 ? 0 : ENV_STOP;
}

/* What a thread holds for its loop is of no use to the one that closes it, which has the like for its own. */
static void closing_the_loop_of_another_thread_leaves_ours_alone(void **state)
{
	struct world *w = *state, other = {.env = w->env};
	struct env_thread *thread;

	world_settle(w);
	assert_int_equal(env_loop_open(w->env, &other.loop, &w->why), 0);
	assert_int_equal(env_thread_start(w->env, "other", -1, other.loop, three_turns, &other, &thread, &w->why), 0);
	env_thread_join(thread);
	assert_int_equal(other.calls, 3);
	env_loop_close(other.loop);
	world_settle(w);
	a_wait_ends_when_its_time_is_over(state);
	env_loop_leave(w->loop);
	a_wait_ends_when_its_time_is_over(state); /* it may have been the last time, or not */
}

/* More than a thread can hold something for. */
static void one_thread_runs_many_loops(void **state)
{
	struct world *w = *state, more[20];

	for (unsigned i = 0; i < WEFT_COUNT(more); i++) {
		more[i] = (struct world){.env = w->env};
		assert_int_equal(env_loop_open(w->env, &more[i].loop, &w->why), 0);
		world_settle(&more[i]);
	}
	for (unsigned i = 0; i < WEFT_COUNT(more); i++) {
		assert_true(world_waits(&more[i], 1000000) < 10);
		env_loop_leave(more[i].loop);
		env_loop_close(more[i].loop);
	}
	a_wait_ends_when_its_time_is_over(state);
}

struct pingpong {
	struct world *w;
	_Atomic uint32_t said, heard;
	uint32_t rounds;
	bool by_notifier;
	struct env_notifier *notifier;
};

static void *speaker(void *arg)
{
	struct pingpong *p = arg;

	for (uint32_t round = 1; round <= p->rounds; round++) {
		while (atomic_load(&p->heard) != round - 1)
			;
		atomic_store(&p->said, round);
		if (p->by_notifier)
			env_notifier_signal(p->notifier);
		else
			env_loop_wake(p->w->loop);
	}
	return NULL;
}

/*
 * Up to a million times: one thread says the next number and wakes; the other looks, answers, and sleeps
 * without a time-out that could hide a lost wake-up. It looks at the number only when it has been told to.
 */
static void woken_many_times(struct world *w, struct pingpong *p)
{
	struct env_loop_stats stats;
	pthread_t thread;
	uint32_t heard = 0;

	env_loop_poll(w->loop);
	env_loop_submit(w->loop);
	assert_int_equal(pthread_create(&thread, NULL, speaker, p), 0);
	while (heard < p->rounds) {
		uint64_t before = env_now_ns(w->env);

		env_loop_wait(w->loop, UINT64_C(60000000000));
		assert_true(env_now_ns(w->env) - before < UINT64_C(50000000000));
		env_loop_poll(w->loop);
		if (atomic_load(&p->said) != heard)
			atomic_store(&p->heard, ++heard);
	}
	pthread_join(thread, NULL);
	env_loop_stats(w->loop, &stats);
	assert_true(stats.sleeps > p->rounds / 10);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ROUNDS 20000
#else
#define ROUNDS 1000000
#endif

static void no_wake_is_lost(void **state)
{
	struct pingpong p = {.w = *state, .rounds = ROUNDS / 10};

	woken_many_times(*state, &p);
}

static void count_call(void *self)
{
	((struct world *)self)->calls++;
}

static void signals_are_not_lost(struct world *w, uint32_t rounds)
{
	struct pingpong p = {.w = w, .rounds = rounds, .by_notifier = true};

	assert_int_equal(env_notifier_open(w->env, -1, &p.notifier), 0);
	assert_int_equal(env_notifier_watch(w->loop, p.notifier, count_call, w), 0);
	woken_many_times(w, &p);
	world_settle(w);
	assert_int_equal(w->calls, rounds);
	env_notifier_unwatch(w->loop, p.notifier);
	env_notifier_close(p.notifier);
}

static void no_signal_of_a_million_is_lost(void **state)
{
	signals_are_not_lost(*state, ROUNDS);
}

static void no_signal_is_lost(void **state)
{
	signals_are_not_lost(*state, ROUNDS / 10);
}

/* ---- notifiers ---- */

static void a_signal_before_the_watch_is_told(void **state)
{
	struct world *w = *state;
	struct env_notifier *n;

	assert_int_equal(env_notifier_open(w->env, -1, &n), 0);
	env_notifier_signal(n);
	assert_int_equal(env_notifier_watch(w->loop, n, count_call, w), 0);
	env_loop_wait(w->loop, UINT64_C(20000000000));
	world_settle(w);
	assert_int_equal(w->calls, 1);
	env_notifier_unwatch(w->loop, n);
	env_notifier_close(n);
}

static void after_unwatch_nothing_is_told(void **state)
{
	struct world *w = *state;
	struct env_notifier *n;

	assert_int_equal(env_notifier_open(w->env, -1, &n), 0);
	assert_int_equal(env_notifier_watch(w->loop, n, count_call, w), 0);
	env_loop_submit(w->loop);
	env_notifier_signal(n);
	env_notifier_unwatch(w->loop, n);
	world_settle(w);
	assert_int_equal(w->calls, 0);
	/* Watched anew it works anew. */
	assert_int_equal(env_notifier_watch(w->loop, n, count_call, w), 0);
	world_settle(w);
	w->calls = 0;
	env_notifier_signal(n);
	env_loop_wait(w->loop, UINT64_C(20000000000));
	world_settle(w);
	assert_int_equal(w->calls, 1);
	env_notifier_unwatch(w->loop, n);
	env_notifier_close(n);
}

struct suicide {
	struct world *w;
	struct env_notifier *n;
	volatile bool gone;
};

static void unwatch_and_close(void *self)
{
	struct suicide *s = self;

	env_notifier_unwatch(s->w->loop, s->n);
	env_notifier_close(s->n);
	s->gone = true;
}

static void a_watch_may_end_itself(void **state)
{
	struct suicide s = {.w = *state};

	assert_int_equal(env_notifier_open(s.w->env, -1, &s.n), 0);
	assert_int_equal(env_notifier_watch(s.w->loop, s.n, unwatch_and_close, &s), 0);
	env_notifier_signal(s.n);
	world_until(s.w, &s.gone);
	world_settle(s.w);
}

/* As it does when the completion ring is full: here it is asked to, behind the back of the watch. */
static void the_kernel_ends_the_watch(struct loop *loop)
{
	struct io_uring_sqe *sqe = uring_sqe(loop);

	assert_non_null(sqe);
	io_uring_prep_poll_remove(sqe, (uintptr_t)loop->uring->watches | TAG_WATCH);
	io_uring_sqe_set_data64(sqe, TAG_IGNORE);
	env_loop_submit(&loop->head);
}

static void the_ring_is_full(struct loop *loop)
{
	struct io_uring_sqe *sqe;

	while ((sqe = io_uring_get_sqe(&loop->uring->ring)) != NULL) {
		io_uring_prep_nop(sqe);
		io_uring_sqe_set_data64(sqe, TAG_IGNORE);
	}
}

static void a_watch_that_the_kernel_ends_goes_on(void **state)
{
	struct world *w = *state;
	struct loop *loop = loop_of(w->loop);
	struct env_notifier *n;

	if (!loop->uring)
		skip();
	assert_int_equal(env_notifier_open(w->env, -1, &n), 0);
	assert_int_equal(env_notifier_watch(w->loop, n, count_call, w), 0);
	for (unsigned round = 0; round < 4; round++) {
		world_settle(w);
		the_kernel_ends_the_watch(loop);
		if (round & 1)
			the_ring_is_full(loop); /* when it is to be armed again */
		w->calls = 0;
		world_settle(w);
		assert_true(w->calls >= 1); /* there may have been a signal that nobody will tell of */
		w->calls = 0;
		env_notifier_signal(n);
		env_loop_wait(w->loop, UINT64_C(5000000000));
		world_settle(w);
		assert_int_equal(w->calls, 1);
	}
	/* Ended, and not yet armed again, it is unwatched like any other. */
	the_kernel_ends_the_watch(loop);
	env_loop_poll(w->loop);
	env_notifier_unwatch(w->loop, n);
	world_settle(w);
	assert_null(loop->uring->watches);
	env_notifier_close(n);
}

/* What a client may send as a notifier: nothing that could block us or take our bytes. */
static void only_an_eventfd_is_adopted(void **state)
{
	struct world *w = *state;
	struct env_notifier *n;
	int ends[2];
	uint64_t full = UINT64_MAX - 1;
	int event = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(pipe(ends), 0);
	assert_int_equal(env_notifier_open(w->env, ends[1], &n), -EINVAL);
	assert_int_equal(fcntl(ends[1], F_GETFD), -1);
	assert_int_equal(env_notifier_open(w->env, open("/dev/null", O_RDWR), &n), -EINVAL);
	close(ends[0]);
	assert_int_equal(write(event, &full, sizeof(full)), sizeof(full));
	assert_int_equal(env_notifier_open(w->env, event, &n), 0);
	env_notifier_signal(n); /* does not wait, though the count is full */
	assert_int_equal(env_notifier_fd(n), event);
	env_notifier_close(n);
}

/* ---- workers ---- */

struct job {
	struct env_work work;
	struct world *w;
	pthread_t ran_by;
	volatile bool done;
};

static void job_run(struct env_work *work)
{
	((struct job *)work)->ran_by = pthread_self();
}

static void job_done(struct env_work *work)
{
	((struct job *)work)->done = true;
}

static void work_runs_elsewhere_and_ends_here(void **state)
{
	enum { COUNT = 200 };
	struct job *job = calloc(COUNT, sizeof(*job));
	struct world *w = *state;

	for (unsigned i = 0; i < COUNT; i++) {
		job[i].work = (struct env_work){NULL, job_run, job_done, w->loop};
		env_work_submit(w->loop, &job[i].work);
	}
	for (unsigned i = 0; i < COUNT; i++) {
		world_until(w, &job[i].done);
		assert_false(pthread_equal(job[i].ran_by, pthread_self()));
	}
	free(job);
}

/* ---- somebody else's event loop ---- */

static bool readable(struct world *w, int timeout_ms)
{
	struct epoll_event event = {.events = EPOLLIN};
	int fd = epoll_create1(EPOLL_CLOEXEC), n;

	assert_int_equal(epoll_ctl(fd, EPOLL_CTL_ADD, env_loop_fd(w->loop), &event), 0);
	do
		n = epoll_wait(fd, &event, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	close(fd);
	return n == 1;
}

static void the_descriptor_tells_of_everything(void **state)
{
	struct job job = {.work = {NULL, job_run, job_done, NULL}};
	struct world *w = *state;
	struct env_notifier *n;

	assert_int_equal(env_notifier_open(w->env, -1, &n), 0);
	assert_int_equal(env_notifier_watch(w->loop, n, count_call, w), 0);
	env_loop_fd(w->loop);
	world_settle(w);
	assert_false(readable(w, 0));
	for (unsigned i = 0; i < 3; i++) {
		env_loop_wake(w->loop);
		assert_true(readable(w, 10000));
		world_settle(w);
		assert_false(readable(w, 0));
	}
	env_notifier_signal(n);
	assert_true(readable(w, 10000));
	world_settle(w);
	assert_int_equal(w->calls, 1);
	job.work.loop = w->loop;
	env_work_submit(w->loop, &job.work);
	assert_true(readable(w, 10000));
	while (!job.done)
		env_loop_poll(w->loop);
	world_settle(w);
	assert_false(readable(w, 0));
	env_notifier_unwatch(w->loop, n);
	env_notifier_close(n);
}

static void an_alarm_makes_the_descriptor_readable(void **state)
{
	struct world *w = *state;

	env_loop_fd(w->loop);
	for (unsigned i = 0; i < 3; i++) {
		world_settle(w);
		assert_false(readable(w, 0));
		assert_int_equal(env_loop_alarm(w->loop, 1000000), 0);
		env_loop_submit(w->loop);
		assert_true(readable(w, 10000));
	}
	world_settle(w);
	assert_int_equal(env_loop_alarm(w->loop, 1000000), 0);
	assert_int_equal(env_loop_alarm(w->loop, ENV_FOREVER), 0);
	assert_false(readable(w, 20));
}

static void job_done_wakes(struct env_work *work)
{
	job_done(work);
	env_loop_wake(work->loop);
}

static void a_wake_during_a_poll_hides_no_later_one(void **state)
{
	struct job job = {.work = {NULL, job_run, job_done_wakes, NULL}};
	struct world *w = *state;

	env_loop_fd(w->loop);
	world_settle(w);
	job.work.loop = w->loop;
	env_work_submit(w->loop, &job.work);
	while (!job.done)
		env_loop_poll(w->loop);
	env_loop_wake(w->loop);
	assert_true(readable(w, 10000));
}

/* ---- counting ---- */

static void an_idle_turn_makes_no_system_call(void **state)
{
	struct env_loop_stats before, after;
	struct world *w = *state;

	if (!loop_of(w->loop)->uring)
		skip(); /* epoll must be asked */
	world_settle(w);
	env_loop_stats(w->loop, &before);
	for (unsigned i = 0; i < 1000; i++) {
		env_loop_poll(w->loop);
		env_loop_submit(w->loop);
	}
	env_loop_stats(w->loop, &after);
	assert_int_equal(after.system_calls, before.system_calls);
}

struct busy {
	struct env_io io;
	struct weft_seg seg[2];
	struct world *w;
	unsigned left;
	volatile bool ended;
};

static void busy_done(struct env_io *io, int result)
{
	struct busy *b = (struct busy *)io;

	assert_int_equal(result, 0);
	if (--b->left)
		env_medium_submit(b->w->loop, io);
	else
		b->ended = true;
}

/* Depth 32 on a file: each turn polls, and submits by at most one system call. */
static void a_busy_turn_makes_one_system_call(void **state)
{
	enum { DEPTH = 32 };
	struct env_medium_wants wants = {.create_size = 1 << 20};
	struct busy busy[DEPTH] = {{.left = 0}};
	struct env_loop_stats before, after;
	struct env_medium_info info;
	struct env_medium *medium;
	struct world *w = *state;
	char *memory = NULL;
	uint64_t turns = 0;

	if (!loop_of(w->loop)->uring)
		skip();
	assert_int_equal(posix_memalign((void **)&memory, 4096, DEPTH * 8192), 0);
	assert_int_equal(env_medium_open(w->env, world_path(w, "disk"), &wants, &medium, &info, &w->why), 0);
	world_settle(w);
	env_loop_stats(w->loop, &before);
	for (unsigned i = 0; i < DEPTH; i++) {
		busy[i] = (struct busy){.w = w, .left = 50};
		busy[i].seg[0] = (struct weft_seg){.base = memory + i * 8192, .len = 4096};
		busy[i].seg[1] = (struct weft_seg){.base = memory + i * 8192 + 4096, .len = 4096};
		busy[i].io = (struct env_io){.done = busy_done,
			.medium = medium,
			.segs = busy[i].seg,
			.nsegs = 2,
			.op = i % 2 ? WEFT_READ : WEFT_WRITE,
			.offset = i * 8192,
			.len = 8192};
		env_medium_submit(w->loop, &busy[i].io);
	}
	env_loop_submit(w->loop);
	for (unsigned i = 0; i < DEPTH; turns++) {
		env_loop_poll(w->loop);
		env_loop_submit(w->loop);
		while (i < DEPTH && busy[i].ended)
			i++;
	}
	env_loop_stats(w->loop, &after);
	assert_true(after.system_calls - before.system_calls <= turns + 1);
	assert_int_equal(after.completions - before.completions, DEPTH * 50);
	env_medium_close(medium);
	free(memory);
}

static void the_cost_of_a_wake_up_is_plausible(void **state)
{
	struct world *w = *state;
	uint64_t before = env_now_ns(w->env), cost = env_loop_wake_cost_ns(w->loop),
		 took = env_now_ns(w->env) - before;

	assert_in_range(cost, 500, 100000000);
	assert_int_equal(env_loop_wake_cost_ns(w->loop), cost);
	assert_true(took < UINT64_C(2000000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(a_wake_before_the_wait_ends_it),
		BOTH(a_wake_is_kept_for_the_next_wait),
		BOTH(a_wait_ends_when_its_time_is_over),
		BOTH(closing_the_loop_of_another_thread_leaves_ours_alone),
		BOTH(one_thread_runs_many_loops),
		BOTH(no_wake_is_lost),
		ENTRY(no_signal_of_a_million_is_lost, "", WORLD_URING),
		ENTRY(no_signal_is_lost, ", epoll", WORLD_EPOLL),
		BOTH(a_signal_before_the_watch_is_told),
		BOTH(after_unwatch_nothing_is_told),
		BOTH(a_watch_may_end_itself),
		ENTRY(a_watch_that_the_kernel_ends_goes_on, "", WORLD_URING),
		BOTH(only_an_eventfd_is_adopted),
		BOTH(work_runs_elsewhere_and_ends_here),
		BOTH_MOVABLE(the_descriptor_tells_of_everything),
		BOTH_MOVABLE(a_wake_during_a_poll_hides_no_later_one),
		BOTH_MOVABLE(an_alarm_makes_the_descriptor_readable),
		ENTRY(an_idle_turn_makes_no_system_call, "", WORLD_URING),
		ENTRY(a_busy_turn_makes_one_system_call, "", WORLD_URING),
		BOTH(the_cost_of_a_wake_up_is_plausible),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
