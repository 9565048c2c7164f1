/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that step a reactor: small stacks, a CPU each if wanted, no signals. */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "env/linux/internal.h"

/*
 * Signals are for the thread that watches them; those that a fault raises must reach the thread that
 * faulted.
 */
static void signals_block_most(sigset_t *old)
{
	static const int faults[] = {SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGSYS, SIGABRT, SIGPROF};
	sigset_t set;

	sigfillset(&set);
	for (size_t i = 0; i < WEFT_COUNT(faults); i++)
		sigdelset(&set, faults[i]);
	pthread_sigmask(SIG_SETMASK, &set, old);
}

int linux_thread_make(pthread_t *thread, int cpu, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t old;
	int rc;

	rc = pthread_attr_init(&attr);
	if (rc)
		return -rc;
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	if (cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		if (cpu < CPU_SETSIZE)
			CPU_SET(cpu, &set);
		pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	}
	signals_block_most(&old); /* inherited by the new thread */
	rc = pthread_create(thread, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -rc;
}

void linux_thread_name(const char *name)
{
	char cut[16];

	snprintf(cut, sizeof(cut), "%.15s", name);
	pthread_setname_np(pthread_self(), cut);
}

/* ---- threads of reactors ---- */

struct thread {
	struct env_thread head;
	struct env_loop *loop;
	env_step_fn *step;
	void *self;
	pthread_t thread;
	char name[16];
};

void linux_thread_run_here(struct env *env, struct env_loop *loop, env_step_fn *step, void *self)
{
	for (;;) {
		uint64_t timeout_ns = step(self, env_now_ns(env));

		if (timeout_ns == ENV_STOP)
			break;
		if (timeout_ns)
			loop->ops->wait(loop, timeout_ns);
	}
	env_loop_leave(loop);
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;

	linux_thread_name(t->name);
	linux_thread_run_here(t->head.env, t->loop, t->step, t->self);
	return NULL;
}

unsigned linux_cpu_count(struct env *env)
{
	cpu_set_t set;

	(void)env;
	if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
		return (unsigned)CPU_COUNT(&set);
	return 1;
}

static int cpu_why(struct weft_why *why, int cpu)
{
	return weft_why(why, -EINVAL,
		"cpus: %d is not a CPU that this process may use: name some of those that `taskset -cp $$` lists", cpu);
}

int linux_thread_start(struct env *env, const char *name, int cpu, struct env_loop *loop, env_step_fn *step,
	void *self, struct env_thread **out, struct weft_why *why)
{
	struct thread *t = calloc(1, sizeof(*t));
	char text[64];
	int rc;

	if (!t)
		return weft_why(why, -ENOMEM, "no memory for the thread %s", name);
	*t = (struct thread){.head = {env}, .loop = loop, .step = step, .self = self};
	snprintf(t->name, sizeof(t->name), "%.15s", name);
	rc = linux_thread_make(&t->thread, cpu, thread_main, t);
	if (rc) {
		free(t);
		return rc == -EINVAL && cpu >= 0 ? cpu_why(why, cpu)
						 : weft_why(why, rc,
							   "the thread %s cannot be started: %s: raise the "
							   "limit of processes (ulimit -u)",
							   name, linux_error_text(rc, text, sizeof(text)));
	}
	*out = &t->head;
	return 0;
}

void linux_thread_join(struct env_thread *thread)
{
	struct thread *t = (struct thread *)thread;
	int rc = pthread_join(t->thread, NULL);

	WEFT_ASSERT(rc == 0);
	free(t);
}
