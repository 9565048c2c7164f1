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
	uint64_t cost_ns;
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
static void *sleeper(void *arg)
{
	struct pair *pair = arg;
	uint64_t took[ROUNDS], value;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned at = i;

		atomic_store(&pair->asked, i + 1);
		if (read(pair->event, &value, sizeof(value)) != sizeof(value))
			return NULL;
		value = now_ns() - atomic_load(&pair->signalled_at);
		for (; at > 0 && took[at - 1] > value; at--)
			took[at] = took[at - 1];
		took[at] = value;
	}
	pair->cost_ns = took[ROUNDS / 4];
	return NULL;
}

/*
 * Two CPUs that this process may use, -1: there is no other. Each thread is bound to one: the scheduler would
 * put the one that is woken where the other runs, and a wake-up there takes a tenth of what it takes elsewhere.
 */
static void two_cpus(int cpus[2])
{
	unsigned n = 0;
	cpu_set_t set;

	cpus[0] = cpus[1] = -1;
	if (sched_getaffinity(getpid(), sizeof(set), &set))
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[n++] = cpu;
}

static uint64_t measure(void)
{
	struct pair pair = {.event = eventfd(0, EFD_CLOEXEC), .cost_ns = DEFAULT_NS};
	pthread_t one, other;
	int cpus[2];

	if (pair.event < 0)
		return pair.cost_ns;
	two_cpus(cpus);
	if (linux_thread_make(&one, cpus[0], sleeper, &pair) == 0) {
		if (linux_thread_make(&other, cpus[1], signaller, &pair) == 0)
			pthread_join(other, NULL);
		else
			signaller(&pair);
		pthread_join(one, NULL);
	}
	close(pair.event);
	return pair.cost_ns;
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
