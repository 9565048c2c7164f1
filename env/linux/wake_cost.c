/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long a sleeping thread takes to run after somebody signalled it: what the adaptive mode weighs
 * spinning against.
 */
#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "env/linux/internal.h"

#define ROUNDS 15
#define SETTLE_NS 30000	 /* until the other side surely sleeps */
#define DEFAULT_NS 10000 /* when it cannot be measured */

struct pair {
	int event;
	_Atomic unsigned asked; /* rounds begun */
	_Atomic uint64_t signalled_at;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void *signaller(void *arg)
{
	struct pair *pair = arg;
	uint64_t one = 1;

	for (unsigned round = 1; round <= ROUNDS; round++) {
		uint64_t until;

		while (atomic_load(&pair->asked) < round)
			sched_yield();
		for (until = now_ns() + SETTLE_NS; now_ns() < until;)
			;
		atomic_store(&pair->signalled_at, now_ns());
		if (write(pair->event, &one, sizeof(one)) != sizeof(one))
			break;
	}
	return NULL;
}

/* The lower quartile: what it costs when nobody else wants the CPU. */
static uint64_t rounds_run(struct pair *pair)
{
	uint64_t took[ROUNDS], value;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned at = i;

		atomic_store(&pair->asked, i + 1);
		if (read(pair->event, &value, sizeof(value)) != sizeof(value))
			return DEFAULT_NS;
		value = now_ns() - atomic_load(&pair->signalled_at);
		for (; at > 0 && took[at - 1] > value; at--)
			took[at] = took[at - 1];
		took[at] = value;
	}
	return took[ROUNDS / 4];
}

/* A CPU that this process may use and that is not ours, -1: there is none. */
static int other_cpu(void)
{
	int here = sched_getcpu();
	cpu_set_t set;

	if (sched_getaffinity(getpid(), sizeof(set), &set))
		return -1;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (cpu != here && CPU_ISSET(cpu, &set))
			return cpu;
	return -1;
}

static uint64_t measure(void)
{
	struct pair pair = {.event = eventfd(0, EFD_CLOEXEC)};
	uint64_t cost = DEFAULT_NS;
	pthread_t other;

	if (pair.event < 0)
		return cost;
	if (linux_thread_make(&other, other_cpu(), signaller, &pair) == 0) {
		cost = rounds_run(&pair);
		pthread_join(other, NULL);
	}
	close(pair.event);
	return cost;
}

uint64_t wake_cost_ns(void)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static _Atomic uint64_t known;
	uint64_t cost = atomic_load(&known);

	if (cost)
		return cost;
	pthread_mutex_lock(&lock);
	cost = atomic_load(&known);
	if (!cost) {
		cost = measure();
		if (cost < 500)
			cost = 500;
		atomic_store(&known, cost);
	}
	pthread_mutex_unlock(&lock);
	return cost;
}
