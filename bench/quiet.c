/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How much of its time a processor has for a thread that never sleeps: the gaps that it sees in the clock. No request can be
 * answered in them, so no percentile is better than they are.
 *
 * bench_quiet [seconds=1]
 *
 * One line of JSON: of one such thread, then of one on either of the first two processors at the same time.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "env/env.h"
#include "env/linux/linux.h"

#define GAP_NS 20000u
#define LONG_NS 1000000u

struct watch {
	struct env *env;
	uint64_t until_ns, last_ns, lost_ns, longest_ns;
	unsigned gaps, longs;
};

static uint64_t look(void *self, uint64_t now_ns)
{
	struct watch *w = self;
	uint64_t gap = w->last_ns == 0 ? 0 : now_ns - w->last_ns;

	w->last_ns = now_ns;
	if (gap > GAP_NS) {
		w->gaps++;
		w->longs += gap > LONG_NS;
		w->lost_ns += gap;
		w->longest_ns = gap > w->longest_ns ? gap : w->longest_ns;
	}
	return now_ns < w->until_ns ? 0 : ENV_STOP;
}

static void watch_on(struct env *env, unsigned processors, double seconds, bool last)
{
	struct watch watch[2] = { 0 };
	struct env_loop *loop[2];
	struct env_thread *thread[2];
	uint64_t begin = env_now_ns(env);
	struct weft_why why;

	for (unsigned i = 0; i < processors; i++) {
		watch[i] = (struct watch){ .env = env, .until_ns = begin + (uint64_t)(seconds * 1e9) };
		if (env_loop_open(env, &loop[i], &why) != 0 ||
				env_thread_start(env, "quiet", (int)i, loop[i], look, &watch[i], &thread[i], &why) != 0) {
			fprintf(stderr, "bench_quiet: %s\n", why.text);
			exit(1);
		}
	}
	for (unsigned i = 0; i < processors; i++) {
		env_thread_join(thread[i]);
		env_loop_close(loop[i]);
		printf("{\"threads\": %u, \"lost_percent\": %.2f, \"gaps\": %.0f, \"over_1ms\": %.1f, \"longest_us\": %.0f}%s",
			processors, (double)watch[i].lost_ns / seconds / 1e7, watch[i].gaps / seconds, watch[i].longs / seconds,
			(double)watch[i].longest_ns / 1e3, last && i + 1 == processors ? "" : ", ");
	}
}

int main(int argc, char **argv)
{
	const struct env_linux_wants wants = { .quiet = true };
	double seconds = argc > 1 ? atof(argv[1]) : 1;
	struct env *env;
	struct weft_why why;

	if (seconds <= 0 || env_linux_open(&env, &wants, &why) != 0) {
		fprintf(stderr, "bench_quiet [seconds]\n");
		return 2;
	}
	printf("[");
	watch_on(env, 1, seconds, env_cpu_count(env) < 2);
	if (env_cpu_count(env) >= 2)
		watch_on(env, 2, seconds, true);
	printf("]\n");
	env_linux_close(env);
	return 0;
}
