/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How far apart two processors are: ns that a cache line takes there and back, the median of slices of 1,000 rounds.
 * A hypervisor may put two processors of a machine on one core now and on two later; rates of both sides of a ring are
 * comparable only at the same distance. Arguments: the two processors.
 */
#include "bench/pinned.h"

#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

enum { SLICES = 41, ROUNDS = 1000 };

static _Alignas(64) atomic_uint ball;

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Sends odd numbers back as even ones. */
static void *answer(void *arg)
{
	for (unsigned i = 1; i < 2 * SLICES * ROUNDS; i += 2) {
		while (atomic_load_explicit(&ball, memory_order_acquire) != i)
			;
		atomic_store_explicit(&ball, i + 1, memory_order_release);
	}
	return arg;
}

static void *ask(void *arg)
{
	double *took = arg;
	unsigned i = 0;

	for (int slice = 0; slice < SLICES; slice++) {
		double from = now_ns();

		for (int round = 0; round < ROUNDS; round++) {
			atomic_store_explicit(&ball, i + 1, memory_order_release);
			i += 2;
			while (atomic_load_explicit(&ball, memory_order_acquire) != i)
				;
		}
		took[slice] = (now_ns() - from) / ROUNDS;
	}
	return NULL;
}

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	double took[SLICES];
	pthread_t one = pinned_start(argc > 1 ? atoi(argv[1]) : 0, answer, NULL);
	pthread_t other = pinned_start(argc > 2 ? atoi(argv[2]) : 1, ask, took);

	pthread_join(one, NULL);
	pthread_join(other, NULL);
	qsort(took, SLICES, sizeof(took[0]), ascending);
	printf("%.0f\n", took[SLICES / 2]);
	return 0;
}
