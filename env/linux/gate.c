/* SPDX-License-Identifier: BSD-2-Clause */
/* Gates: a mutex and a condition. */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "env/linux/internal.h"

struct gate {
	struct env_gate head;
	pthread_mutex_t lock;
	pthread_cond_t woken;
};

static struct gate *gate_of(struct env_gate *head)
{
	return (struct gate *)head;
}

static void gate_close(struct env_gate *head)
{
	struct gate *gate = gate_of(head);

	pthread_cond_destroy(&gate->woken);
	pthread_mutex_destroy(&gate->lock);
	free(gate);
}

static void gate_enter(struct env_gate *head)
{
	int rc = pthread_mutex_lock(&gate_of(head)->lock);

	WEFT_ASSERT(rc == 0);
}

static void gate_leave(struct env_gate *head)
{
	int rc = pthread_mutex_unlock(&gate_of(head)->lock);

	WEFT_ASSERT(rc == 0);
}

static bool gate_wait(struct env_gate *head, uint64_t timeout_ns)
{
	struct gate *gate = gate_of(head);
	struct timespec until;

	if (timeout_ns > (uint64_t)INT64_MAX / 2) {
		pthread_cond_wait(&gate->woken, &gate->lock);
		return true;
	}
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += (time_t)(timeout_ns / 1000000000u);
	until.tv_nsec += (long)(timeout_ns % 1000000000u);
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	return pthread_cond_timedwait(&gate->woken, &gate->lock, &until) != ETIMEDOUT;
}

static void gate_wake(struct env_gate *head)
{
	pthread_cond_broadcast(&gate_of(head)->woken);
}

static const struct env_gate_ops gate_ops = {
	.close = gate_close,
	.enter = gate_enter,
	.leave = gate_leave,
	.wait = gate_wait,
	.wake = gate_wake,
};

int gate_open(struct env *env, struct env_gate **out, struct weft_why *why)
{
	struct gate *gate = calloc(1, sizeof(*gate));
	pthread_condattr_t attr;

	if (!gate)
		return weft_why(why, -ENOMEM, "no memory for a gate between threads");
	gate->head = (struct env_gate){&gate_ops, env};
	pthread_mutex_init(&gate->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&gate->woken, &attr);
	pthread_condattr_destroy(&attr);
	*out = &gate->head;
	return 0;
}
