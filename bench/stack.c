/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a layer costs: 0 to 8 pass-through layers on null at depth 1, 32 and 256, nanoseconds per request and, by least squares, per
 * layer. `bench_stack [--requests N] [LAYER [MODULE.so]]`: LAYER is the layer to stack (default: slice), MODULE.so where it comes
 * from, N how many requests each of the repeats takes.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/export.h>

#include "core/core.h"
#include "core/reactor.h"
#include "env/env.h"
#include "env/linux/linux.h"
#include "lib/builtin.h"

#define LAYERS_MAX 8
#define REPEATS 15
#define REQUESTS 300000 /* default */

struct run {
	struct objects_job job;
	struct weft_task task;
	struct weft_core *core;
	struct weft_object *device;
	struct weft_stack *stack;
	struct weft_session session;
	uint64_t done, requests;
	bool ended;
	int status;
};

static char memory[4096] __attribute__((aligned(4096)));

static void check(int error, const struct weft_why *why)
{
	if (error == 0)
		return;
	fprintf(stderr, "bench_stack: %s\n", why->text);
	exit(1);
}

static void job_done(struct weft_task *task, int status)
{
	struct run *run = WEFT_CONTAINER(task, struct run, job.task);

	run->ended = true;
	run->status = status;
}

static void task_done(struct weft_task *task, int status)
{
	struct run *run = WEFT_CONTAINER(task, struct run, task);

	run->ended = true;
	run->status = status;
}

/* This program steps both reactors itself: what it measures is the path, not threads. */
static void wait_ended(struct run *run, const struct weft_why *why)
{
	while (!run->ended)
		for (unsigned lane = 0; lane < run->core->reactors; lane++)
			reactor_step(run->core->reactor[lane], env_now_ns(run->core->env));
	run->ended = false;
	check(run->status, why);
}

static void answered(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(root, struct weft_slot, root);
	struct run *run = WEFT_CONTAINER(slot->session, struct run, session);

	(void)child;
	if (status != 0)
		abort();
	run->done++;
	weft_slot_give(slot);
}

static bool ask(struct weft_source *source)
{
	struct weft_session *session = WEFT_CONTAINER(source, struct weft_session, source);
	struct run *run = WEFT_CONTAINER(session, struct run, session);
	struct weft_slot *slot;
	unsigned n = 0;

	for (; n < 32 && (slot = weft_session_slot(session)) != NULL; n++) {
		slot->segs[0] = (struct weft_seg){ .base = memory, .len = sizeof(memory) };
		weft_slot_submit(slot, WEFT_READ, 0, ((run->done + n) & 1023) * 4096, 4096, 1, answered);
	}
	return n > 0;
}

static bool ask_nothing(struct weft_source *source)
{
	(void)source;
	return false;
}

static void session_open_msg(void *self)
{
	struct run *run = self;
	struct weft_why why;

	check(weft_session_open(&run->session, weft_reactor_here(), run->stack, &why), &why);
	run->ended = true;
}

static void session_close_msg(void *self)
{
	struct run *run = self;

	weft_session_close(&run->session);
	run->ended = true;
}

static void on_reactor(struct run *run, weft_reactor_fn *fn)
{
	struct weft_msg msg = { .fn = fn, .self = run };
	struct weft_why none = { "" };

	weft_reactor_post(run->core->reactor[1], &msg);
	wait_ended(run, &none);
}

static void build(struct run *run, const char *layer, unsigned layers)
{
	struct tree_reader reader = objects_reader(run->core);
	char text[512] = "";
	struct weft_why why;
	struct tree *tree;

	for (unsigned i = 0; i < layers; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s:[", layer);
	snprintf(text + strlen(text), sizeof(text) - strlen(text), "null:1GiB");
	for (unsigned i = 0; i < layers; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "]");
	check(grammar_parse(&reader, text, &weft_blk_iface, &tree, &why), &why);
	memset(&run->job, 0, sizeof(run->job));
	run->job.task.done = job_done;
	objects_build(run->core, tree, &weft_blk_iface, &run->device, &run->job);
	wait_ended(run, &run->job.task.why);
	tree_free(run->core, tree);
	run->task.done = task_done;
	check(weft_stack_open(run->core, weft_object_query(run->device, &weft_blk_iface), "bench", &run->stack, &run->task),
		&run->task.why);
	wait_ended(run, &run->task.why);
}

static void unbuild(struct run *run)
{
	weft_stack_close(run->stack, &run->task);
	wait_ended(run, &run->task.why);
	memset(&run->job, 0, sizeof(run->job));
	run->job.task.done = job_done;
	objects_release(run->device, &run->job);
	wait_ended(run, &run->job.task.why);
}

/* Best of the repeats, ns per request: what else the machine does only adds. */
static double measure(struct run *run, unsigned depth)
{
	struct weft_reactor *reactor = run->core->reactor[1];
	double best = 1e9;

	memset(&run->session, 0, sizeof(run->session));
	run->session.slots_max = depth;
	run->session.source.poll = ask;
	on_reactor(run, session_open_msg);
	for (unsigned i = 0; i < REPEATS; i++) {
		uint64_t start = env_now_ns(run->core->env), from = run->done;
		double ns;

		while (run->done - from < run->requests)
			reactor_step(reactor, start);
		ns = (double)(env_now_ns(run->core->env) - start) / (double)(run->done - from);
		if (ns < best)
			best = ns;
	}
	run->session.source.poll = ask_nothing;
	on_reactor(run, session_close_msg);
	return best;
}

/* Slope of y over 0, 1, ... n - 1. */
static double slope(const double *y, unsigned n)
{
	double sx = 0, sy = 0, sxx = 0, sxy = 0;

	for (unsigned x = 0; x < n; x++) {
		sx += x;
		sy += y[x];
		sxx += (double)x * x;
		sxy += x * y[x];
	}
	return (n * sxy - sx * sy) / (n * sxx - sx * sx);
}

int main(int argc, char **argv)
{
	static const unsigned depths[] = { 1, 32, 256 };
	double ns[WEFT_COUNT(depths)][LAYERS_MAX + 1];
	struct core_wants wants = { .io_reactors = 1, .no_threads = true, .mode = WEFT_MODE_POLL };
	struct run run = { .requests = REQUESTS };
	struct weft_why why;
	const char *layer;
	struct env *env;

	if (argc > 2 && strcmp(argv[1], "--requests") == 0) {
		run.requests = strtoull(argv[2], NULL, 10);
		argc -= 2;
		argv += 2;
	}
	layer = argc > 1 ? argv[1] : "slice";
	check(env_linux_open(&env, NULL, &why), &why);
	check(core_open(env, &wants, &run.core, &why), &why);
	check(objects_module_add(run.core, &builtin_module, &why), &why);
	if (argc > 2)
		check(objects_module_load(run.core, argv[2], &why), &why);
	printf("layers of %s on null, ns per request\nlayers", layer);
	for (unsigned d = 0; d < WEFT_COUNT(depths); d++)
		printf("  depth %3u", depths[d]);
	printf("\n");
	for (unsigned layers = 0; layers <= LAYERS_MAX; layers++) {
		build(&run, layer, layers);
		printf("%6u", layers);
		for (unsigned d = 0; d < WEFT_COUNT(depths); d++) {
			ns[d][layers] = measure(&run, depths[d]);
			printf("  %9.1f", ns[d][layers]);
		}
		printf("\n");
		unbuild(&run);
	}
	printf("a layer");
	for (unsigned d = 0; d < WEFT_COUNT(depths); d++)
		printf("  %8.2f", slope(ns[d], LAYERS_MAX + 1));
	printf("\n");
	core_close(run.core);
	env_linux_close(env);
	return 0;
}
