/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rest of the environment: memory, clock, threads, signals, usage, files, and calls that a test makes
 * fail.
 */
#include "env/linux/test_linux.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>

static void memory_is_zeroed_and_aligned(void **state)
{
	struct world *w = *state;

	for (size_t align = 1; align <= 4096; align *= 2) {
		unsigned char *memory = env_alloc(w->env, align, 1000);

		assert_non_null(memory);
		assert_int_equal((uintptr_t)memory % align, 0);
		for (unsigned i = 0; i < 1000; i++)
			assert_int_equal(memory[i], 0);
		memset(memory, 0xff, 1000);
		env_free(w->env, memory);
	}
	env_free(w->env, NULL);
}

static void clocks_go_forward(void **state)
{
	struct world *w = *state;
	uint64_t now = env_now_ns(w->env);

	for (unsigned i = 0; i < 1000; i++) {
		uint64_t next = env_now_ns(w->env);

		assert_true(next >= now);
		now = next;
	}
	assert_true(env_wall_ns(w->env) > UINT64_C(1600000000000000000));
	assert_int_not_equal(env_random(w->env), env_random(w->env));
}

/* ---- threads ---- */

struct stepper {
	struct world *w;
	unsigned steps;
	int cpu;
	char name[16];
	sigset_t blocked;
	_Atomic bool told;
};

static uint64_t stepper_step(void *self, uint64_t now_ns)
{
	struct stepper *s = self;

	assert_true(now_ns > 0);
	env_loop_poll(s->w->loop);
	if (s->steps++ == 0) {
		s->cpu = sched_getcpu();
		pthread_getname_np(pthread_self(), s->name, sizeof(s->name));
		pthread_sigmask(SIG_SETMASK, NULL, &s->blocked);
		return 0;
	}
	return atomic_load(&s->told) ? ENV_STOP : ENV_FOREVER;
}

static void a_thread_steps_sleeps_and_stops(void **state)
{
	struct stepper s = {.w = *state};
	struct env_thread *thread;
	cpu_set_t set;
	int cpu = 0;

	sched_getaffinity(0, sizeof(set), &set);
	while (!CPU_ISSET(cpu, &set))
		cpu++;
	assert_int_equal(env_thread_start(s.w->env, "a name that is too long", cpu, s.w->loop, stepper_step,
				 &s, &thread, &s.w->why),
		0);
	atomic_store(&s.told, true);
	env_loop_wake(s.w->loop);
	env_thread_join(thread);
	assert_int_equal(s.cpu, cpu);
	assert_true(s.steps >= 2);
	assert_string_equal(s.name, "a name that is ");
	assert_true(sigismember(&s.blocked, SIGTERM));
	assert_false(sigismember(&s.blocked, SIGBUS));
}

static uint64_t three_steps(void *self, uint64_t now_ns)
{
	struct stepper *s = self;

	(void)now_ns;
	return ++s->steps == 3 ? ENV_STOP : 1000;
}

static void a_thread_may_be_the_callers_own(void **state)
{
	struct stepper s = {.w = *state};

	env_thread_run_here(s.w->env, s.w->loop, three_steps, &s);
	assert_int_equal(s.steps, 3);
}

static void a_cpu_that_is_not_there_is_refused(void **state)
{
	struct stepper s = {.w = *state};
	struct env_thread *thread;

	assert_int_equal(
		env_thread_start(s.w->env, "x", 100000, s.w->loop, stepper_step, &s, &thread, &s.w->why),
		-EINVAL);
	assert_why(s.w, "cpus: 100000 is not a CPU that this process may use: name some of those that `taskset -cp $$` lists");
	assert_true(env_cpu_count(s.w->env) >= 1);
}

/* ---- signals ---- */

struct signalled {
	volatile bool flag;
	int signal;
};

static void signal_seen(void *self, int signal)
{
	struct signalled *s = self;

	s->signal = signal;
	s->flag = true;
}

static void signals_are_events(void **state)
{
	struct signalled s = {.flag = false};
	struct world *w = *state;

	assert_int_equal(env_signals_watch(w->loop, signal_seen, &s), 0);
	kill(getpid(), SIGTERM);
	world_until(w, &s.flag);
	assert_int_equal(s.signal, SIGTERM);
	s.flag = false;
	kill(getpid(), SIGINT);
	world_until(w, &s.flag);
	assert_int_equal(s.signal, SIGINT);
}

/* ---- usage and files ---- */

static void usage_is_plausible(void **state)
{
	struct env_usage usage;

	env_usage(((struct world *)*state)->env, &usage);
	assert_true(usage.cpu_ns > 0);
	assert_in_range(usage.rss_anon, 1, UINT64_C(1) << 40);
	assert_in_range(usage.rss_file, 1, UINT64_C(1) << 40);
}

static void a_file_is_read_whole(void **state)
{
	struct world *w = *state;
	FILE *file = fopen(world_path(w, "text"), "w");
	char *text;
	size_t size;

	for (unsigned i = 0; i < 5000; i++)
		fprintf(file, "%04u\n", i);
	fclose(file);
	assert_int_equal(env_file_read(w->env, world_path(w, "text"), &text, &size, &w->why), 0);
	assert_int_equal(size, 25000);
	assert_int_equal(strlen(text), 25000);
	assert_string_equal(text + 24995, "4999\n");
	env_free(w->env, text);
	assert_int_equal(env_file_read(w->env, world_path(w, "none"), &text, &size, &w->why), -ENOENT);
	assert_why(w, "no such file");
	assert_int_equal(env_file_read(w->env, w->dir, &text, NULL, &w->why), -EISDIR);
}

static void a_file_is_replaced_whole_and_removed(void **state)
{
	struct world *w = *state;
	char path[256], *text;
	size_t size;

	snprintf(path, sizeof(path), "%s", world_path(w, "state"));
	assert_int_equal(env_file_write(w->env, path, "a long text", 11, &w->why), 0);
	assert_int_equal(env_file_write(w->env, path, "short", 5, &w->why), 0);
	assert_int_equal(env_file_read(w->env, path, &text, &size, &w->why), 0);
	assert_string_equal(text, "short");
	env_free(w->env, text);
	assert_int_equal(access(world_path(w, "state.new"), F_OK), -1);
	assert_int_equal(env_file_remove(w->env, path, &w->why), 0);
	assert_int_equal(env_file_read(w->env, path, &text, &size, &w->why), -ENOENT);
	assert_int_equal(env_file_remove(w->env, path, &w->why), 0);
}

static void whether_a_file_could_be_written_is_known_before(void **state)
{
	struct world *w = *state;
	char path[256], *text;

	snprintf(path, sizeof(path), "%s", world_path(w, "tried"));
	assert_int_equal(env_file_try(w->env, path, &w->why), 0);
	assert_int_equal(access(path, F_OK), -1);
	assert_int_equal(env_file_write(w->env, path, "old", 3, &w->why), 0);
	assert_int_equal(env_file_try(w->env, path, &w->why), 0);
	assert_int_equal(env_file_read(w->env, path, &text, NULL, &w->why), 0);
	assert_string_equal(text, "old");
	env_free(w->env, text);
	assert_int_equal(access(world_path(w, "tried.new"), F_OK), -1);
	assert_int_equal(env_file_try(w->env, world_path(w, "none/tried"), &w->why), -ENOENT);
	assert_why(w, "does not exist: make it first");
	assert_int_equal(env_file_try(w->env, w->dir, &w->why), -EISDIR);
	assert_why(w, "cannot be written");
}

static void what_cannot_be_written_leaves_the_old_file_and_says_why(void **state)
{
	struct world *w = *state;

	assert_int_equal(env_file_write(w->env, world_path(w, "none/state"), "x", 1, &w->why), -ENOENT);
	assert_why(w, "does not exist: make it first");
	assert_int_equal(env_file_write(w->env, w->dir, "x", 1, &w->why), -EISDIR);
	assert_why(w, "cannot be written");
	assert_int_equal(env_file_remove(w->env, w->dir, &w->why), -EISDIR);
	assert_why(w, "cannot be removed");
}

/* ---- faults ---- */

static int something(struct world *w)
{
	struct env_medium_wants wants = {.create_size = 1 << 20};
	struct env_notifier *notifier = NULL;
	struct env_medium *medium = NULL;
	struct env_medium_info info;
	uint64_t size;
	void *memory = env_alloc(w->env, 1, 100);
	int rc = memory ? 0 : -ENOMEM;

	rc = rc ? rc : env_medium_open(w->env, world_path(w, "disk"), &wants, &medium, &info, &w->why);
	rc = rc ? rc : env_medium_size(medium, &size);
	rc = rc ? rc : env_notifier_open(w->env, -1, &notifier);
	if (notifier)
		env_notifier_close(notifier);
	if (medium)
		env_medium_close(medium);
	env_free(w->env, memory);
	return rc;
}

static void the_nth_call_fails_once(void **state)
{
	struct world *w = *state;
	uint64_t calls = env_calls(w->env);

	assert_int_equal(something(w), 0);
	assert_int_equal(env_calls(w->env) - calls, 4);
	for (unsigned n = 1; n <= 4; n++) {
		env_fail_nth(w->env, n);
		assert_false(env_fail_hit(w->env));
		assert_int_equal(something(w), n == 1 ? -ENOMEM : -EIO);
		assert_true(env_fail_hit(w->env));
		if (n == 2)
			assert_why(w, "env_medium_open: made to fail");
		assert_int_equal(something(w), 0);
	}
	env_fail_nth(w->env, 5);
	assert_int_equal(something(w), 0);
	assert_false(env_fail_hit(w->env));
	env_fail_nth(w->env, 0);
	assert_int_equal(something(w), 0);
	assert_false(env_fail_hit(w->env));
}

/* A process that closes its environments leaves no descriptor behind. */
static void nothing_is_left_open(void **state)
{
	int before = dup(0), after;

	close(before);
	for (unsigned i = 0; i < 20; i++) {
		struct env_linux_wants wants = {.no_uring = i % 2};
		struct env_loop *loop;
		struct env *env;

		assert_int_equal(env_linux_open(&env, &wants, NULL), 0);
		assert_int_equal(env_loop_open(env, &loop, NULL), 0);
		env_loop_poll(loop);
		env_loop_submit(loop);
		env_loop_close(loop);
		env_linux_close(env);
	}
	after = dup(0);
	close(after);
	assert_int_equal(after, before);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ENTRY(memory_is_zeroed_and_aligned, "", WORLD_URING),
		ENTRY(clocks_go_forward, "", WORLD_URING),
		BOTH(a_thread_steps_sleeps_and_stops),
		BOTH(a_thread_may_be_the_callers_own),
		ENTRY(a_cpu_that_is_not_there_is_refused, "", WORLD_URING),
		BOTH(signals_are_events),
		ENTRY(usage_is_plausible, "", WORLD_URING),
		ENTRY(a_file_is_read_whole, "", WORLD_URING),
		ENTRY(a_file_is_replaced_whole_and_removed, "", WORLD_URING),
		ENTRY(whether_a_file_could_be_written_is_known_before, "", WORLD_URING),
		ENTRY(what_cannot_be_written_leaves_the_old_file_and_says_why, "", WORLD_URING),
		BOTH(the_nth_call_fails_once),
		ENTRY(nothing_is_left_open, "", WORLD_URING),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
