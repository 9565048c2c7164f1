/* SPDX-License-Identifier: BSD-2-Clause */
/* A thread that stays on one processor: two of them are the two sides of a measurement. */
#ifndef WEFT_BENCH_PINNED_H
#define WEFT_BENCH_PINNED_H

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

static inline pthread_t pinned_start(int cpu, void *(*run)(void *), void *arg)
{
	pthread_attr_t attr;
	pthread_t thread;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	if (pthread_create(&thread, &attr, run, arg) != 0)
		abort();
	pthread_attr_destroy(&attr);
	return thread;
}

#endif
