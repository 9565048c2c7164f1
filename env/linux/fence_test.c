/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fences of all threads at once. Two threads keep each other out of one place: each says that it comes, has its fence, and goes in
 * when the other has not said so. Without a fence both are in there after a few thousand tries on two processors. What they share
 * is atomic: ThreadSanitizer, which knows no membarrier, has nothing to find.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "env/linux/test_deny.h"
#include "env/linux/test_linux.h"

#define TRY_NS 300000000u
#define COLD (8u << 20)

struct cold {
	size_t next;
	volatile char *bytes; /* COLD of them */
};

struct crossing {
	struct env *env;
	bool reaches;
	_Atomic bool over;
	struct cold cold[2];
	_Alignas(128) _Atomic bool rare_comes;
	_Alignas(128) _Atomic bool frequent_comes;
	_Alignas(128) _Atomic unsigned inside;
	_Atomic unsigned met; /* how often both were */
};

/* Stores that take their time: the one that counts waits behind them, while the load after it is quick. */
static void get_ready(struct cold *cold)
{
	for (unsigned i = 0; i < 8; i++)
		cold->bytes[cold->next += 4160 + 64 * i, cold->next %= COLD] = 1;
}

static void go_in(struct crossing *c)
{
	if (atomic_fetch_add(&c->inside, 1) != 0)
		atomic_fetch_add(&c->met, 1);
	for (volatile unsigned i = 0; i < 50; i++)
		;
	atomic_fetch_sub(&c->inside, 1);
}

static void *frequent_side(void *arg)
{
	struct crossing *c = arg;

	while (!atomic_load_explicit(&c->over, memory_order_relaxed)) {
		get_ready(&c->cold[1]);
		atomic_store_explicit(&c->frequent_comes, true, memory_order_relaxed);
		if (c->reaches)
			atomic_signal_fence(memory_order_seq_cst);
		else
			env_fence_here(c->env);
		if (!atomic_load_explicit(&c->rare_comes, memory_order_acquire))
			go_in(c);
		atomic_store_explicit(&c->frequent_comes, false, memory_order_release);
	}
	return NULL;
}

/* How often both were inside. */
static unsigned cross(struct env *env)
{
	struct crossing c = {.env = env, .reaches = env_fence_reaches(env)};
	uint64_t end = env_now_ns(env) + TRY_NS;
	pthread_t thread;

	for (unsigned i = 0; i < 2; i++)
		c.cold[i].bytes = calloc(1, COLD);
	assert_int_equal(pthread_create(&thread, NULL, frequent_side, &c), 0);
	for (unsigned i = 0; i % 64 != 0 || env_now_ns(env) < end; i++) {
		get_ready(&c.cold[0]);
		atomic_store_explicit(&c.rare_comes, true, memory_order_relaxed);
		assert_int_equal(env_fence_all(env), 0);
		if (!atomic_load_explicit(&c.frequent_comes, memory_order_acquire))
			go_in(&c);
		atomic_store_explicit(&c.rare_comes, false, memory_order_release);
		for (volatile unsigned k = 0; k < i % 64; k++)
			;
	}
	atomic_store(&c.over, true);
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < 2; i++)
		free((void *)(uintptr_t)c.cold[i].bytes);
	return c.met;
}

static void two_are_never_inside_at_once(void **state)
{
	struct world *w = *state;

	assert_int_equal(cross(w->env), 0);
}

static void nor_are_two_where_each_has_its_own(void **state)
{
	struct env_linux_wants wants = {.no_membarrier = true};
	struct weft_why why;
	struct env *env;

	(void)state;
	assert_int_equal(env_linux_open(&env, &wants, &why), 0);
	assert_false(env_fence_reaches(env));
	assert_int_equal(cross(env), 0);
	env_linux_close(env);
}

/* Denied before the environment opens: it is noticed, and each has its own; afterwards: an error. */
static int in_a_sandbox(bool before)
{
	struct weft_why why;
	struct env *env;
	bool well;

	if (before && test_deny(SYS_membarrier) != 0)
		return 2;
	if (env_linux_open(&env, NULL, &why) != 0)
		return 3;
	if (env_fence_reaches(env) == before)
		return 4;
	if (!before && test_deny(SYS_membarrier) != 0)
		return 2;
	well = env_fence_all(env) == (before ? 0 : -EPERM);
	env_linux_close(env);
	return well ? 0 : 5;
}

static void a_kernel_that_denies_it_is_noticed(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		pid_t child = fork();
		int status;

		if (child == 0)
			_exit(in_a_sandbox(i == 0));
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_kernel_that_denies_it_is_noticed),
		ENTRY(two_are_never_inside_at_once, "", WORLD_EPOLL),
		cmocka_unit_test(nor_are_two_where_each_has_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
