/* SPDX-License-Identifier: BSD-2-Clause */
/* `weft bench`: options, the device, beginning and end of a measurement. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "cli/bench.h"
#include "cli/bench_compare.h"
#include "cli/bench_plot.h"
#include "cli/bench_report.h"
#include "cli/command.h"
#include "cli/world.h"

#include "core/objects.h"
#include "core/tree.h"
#include "env/env.h"

static struct bench_command {
	struct bench_options options;
	struct world_options world;
	uint64_t server_pid;
	bool json, interrupted;
	const char *compare;   /* the first of two results; NULL: measure */
	double tolerance;
	const char *plot;      /* NULL: none */
	const char *text;      /* the device, as it was written */
	struct world w;
	struct bench bench;
	struct weft_object *object;
	struct objects_job job;
	struct bench_progress progress;
	int status;
	struct weft_why why;
} asked;

#define AT(field) .offset = offsetof(struct bench_command, field)
static const struct weft_option table[] = {
	{ .name = "rw", .type = WEFT_OPTION_CHOICE, AT(options.rw), .fallback = "randread", .choices = BENCH_RW_CHOICES,
	  .help = "what to do; mixed: random, with flushes, zeroes and discards" },
	{ .name = "bs", .type = WEFT_OPTION_SIZE, AT(options.block_bytes), .fallback = "4KiB",
	  .help = "bytes per request", .min = 512, .max = 64 << 20 },
	{ .name = "depth", .type = WEFT_OPTION_UINT, AT(options.depth), .fallback = "32",
	  .help = "requests in flight per connection", .min = 1, .max = 4096 },
	{ .name = "queues", .type = WEFT_OPTION_UINT, AT(options.queues), .fallback = "1",
	  .help = "reactors, each with a thread", .min = 1, .max = 63 },
	{ .name = "connections", .type = WEFT_OPTION_UINT, AT(options.connections), .fallback = "1",
	  .help = "on each reactor", .min = 1, .max = 16 },
	{ .name = "rate", .type = WEFT_OPTION_RATE, AT(options.rate),
	  .help = "requests per second in all; without it: as fast as they end" },
	{ .name = "arrivals", .type = WEFT_OPTION_CHOICE, AT(options.arrivals), .fallback = "fixed", .choices = "fixed|poisson",
	  .help = "with --rate: the gaps between requests" },
	{ .name = "mix", .type = WEFT_OPTION_UINT, AT(options.read_percent), .fallback = "70",
	  .help = "percentage of reads in rw, randrw, mixed", .min = 0, .max = 100 },
	{ .name = "time", .type = WEFT_OPTION_DURATION, AT(options.time_ns), .fallback = "5s",
	  .help = "how long; 0: until --amount" },
	{ .name = "amount", .type = WEFT_OPTION_SIZE, AT(options.amount_bytes), .help = "end after so many bytes" },
	{ .name = "range", .type = WEFT_OPTION_SIZE, AT(options.range_bytes), .help = "only the first bytes of the device" },
	{ .name = "verify", .type = WEFT_OPTION_BOOL, AT(options.verify),
	  .help = "write blocks that describe themselves, check what is read" },
	{ .name = "seed", .type = WEFT_OPTION_UINT, AT(options.seed), .fallback = "1", .help = "of offsets and data" },
	WORLD_OPTIONS(struct bench_command, world),
	{ .name = "server-pid", .type = WEFT_OPTION_UINT, AT(server_pid), .help = "process whose CPU time is told as well" },
	{ .name = "plot", .type = WEFT_OPTION_PATH, AT(plot), .choices = "FILE.svg",
	  .help = "draw the latency by percentile; with --compare: of both" },
	{ .name = "compare", .type = WEFT_OPTION_PATH, AT(compare), .choices = "BEFORE.json",
	  .help = "measure nothing: compare two results of --json, files; the second stands where the device would" },
	{ .name = "tolerance", .type = WEFT_OPTION_REAL, AT(tolerance), .fallback = "5%",
	  .help = "with --compare: how much worse the second one may be" },
	{ .name = "json", .type = WEFT_OPTION_BOOL, AT(json), .help = "one JSON object instead of the table" },
	{ 0 },
};

/* ---- one after the other, on the control reactor ---- */

static void ended(struct bench_command *c, int status, const struct weft_why *why)
{
	if (status != 0 && c->status == 0) {
		c->status = status;
		c->why = *why;
	}
}

static void released(struct weft_task *task, int status)
{
	struct bench_command *c = WEFT_CONTAINER(task, struct bench_command, job.task);

	(void)status;
	core_quit(c->w.core);
}

static void bench_ended(struct bench *bench, int status)
{
	struct bench_command *c = WEFT_CONTAINER(bench, struct bench_command, bench);

	ended(c, status, &bench->why);
	bench_progress_stop(&c->progress);
	c->job = (struct objects_job){ .task.done = released };
	objects_release(c->object, &c->job);
}

static void interrupted(void *self, int signal)
{
	struct bench_command *c = self;

	(void)signal;
	if (!world_is_to_end(&c->w, c->interrupted))
		return;
	c->interrupted = true;
	bench_stop(&c->bench);
}

static void built(struct weft_task *task, int status)
{
	struct bench_command *c = WEFT_CONTAINER(task, struct bench_command, job.task);

	if (status != 0) {
		ended(c, status, &task->why);
		core_quit(c->w.core);
		return;
	}
	c->bench.device = weft_object_query(c->object, &weft_blk_iface);
	WEFT_ASSERT(c->bench.device != NULL);
	world_began(&c->w);
	c->bench.ended = bench_ended;
	bench_progress_start(&c->progress, &c->bench);
	bench_start(&c->bench);
}

/* ---- the command ---- */

static int build(struct bench_command *c)
{
	struct tree *tree;
	int error = world_parse(&c->w, c->text, &weft_blk_iface, &tree, &c->why);

	if (error != 0)
		return error;
	c->job = (struct objects_job){ .task.done = built };
	objects_build(c->w.core, tree, &weft_blk_iface, &c->object, &c->job);
	tree_free(c->w.core, tree);
	return 0;
}

static int run(struct bench_command *c)
{
	const struct bench_options *o = &c->options;
	int error = world_open(&c->w, &c->world, (unsigned)o->queues, (uint32_t)(o->depth * o->connections + 8), &c->why);

	if (error != 0)
		return error;
	c->bench.core = c->w.core;
	c->bench.options = *o;
	c->bench.server_pid = c->server_pid;
	error = bench_cpu_check(c->w.env, c->server_pid, &c->why);
	if (error == 0)
		error = bench_memory_open(&c->bench, &c->why);
	if (error == 0)
		error = env_signals_watch(c->w.core->reactor[0]->loop, interrupted, c);
	if (error == 0)
		error = build(c);
	if (error == 0) {
		core_run(c->w.core);
		error = c->status;
	}
	bench_memory_close(&c->bench);
	world_close(&c->w);
	return error;
}

int bench_device(const struct bench_options *options, const struct world_options *world, const char *device, uint64_t server_pid,
	struct bench_result *out, struct weft_why *why)
{
	static struct bench_command c;
	int error;

	c = (struct bench_command){ .options = *options, .world = *world, .text = device, .server_pid = server_pid };
	error = run(&c);
	if (error == 0 && c.interrupted)
		error = weft_why(&c.why, -EINTR, "%s: interrupted", device);
	*out = c.bench.result;
	*why = c.why;
	return error;
}

static int compare(struct bench_command *c, const char *after)
{
	struct env *env;
	int error = env_linux_open(&env, &world_env_wants, &c->why);

	if (error != 0)
		return error;
	error = bench_compare(env, c->compare, after, c->tolerance, c->plot, c->json, &c->why);
	env_linux_close(env);
	return error == -EDOM ? EXIT_FAILED : error; /* EDOM: the table has said it */
}

/* Before the measurement: it would be a pity. */
static int plot_try(struct bench_command *c)
{
	struct weft_why inner = { "" };
	struct env *env;
	int error;

	if (c->plot == NULL)
		return 0;
	error = env_linux_open(&env, &world_env_wants, &c->why);
	if (error != 0)
		return error;
	error = env_file_try(env, c->plot, &inner);
	env_linux_close(env);
	return error == 0 ? 0 : weft_why(&c->why, error, "--plot: %.220s", inner.text);
}

/* After the measurement. */
static int plot(const struct bench_command *c, struct weft_why *why)
{
	struct bench_curve curve = { .name = c->text, .latency = &c->bench.result.latency };
	struct env *env;
	int error = env_linux_open(&env, &world_env_wants, why);

	if (error != 0)
		return error;
	error = bench_plot(env, c->plot, &curve, 1, why);
	env_linux_close(env);
	return error;
}

static int bench_run(const struct args *args)
{
	struct bench_command *c = &asked;
	int error;

	if (c->compare != NULL)
		return compare(c, args->plain[0]);
	if (c->options.block_bytes % 512 != 0)
		return weft_why(&c->why, -EINVAL, "bench: --bs %llu: must be a multiple of 512: choose %llu",
			(unsigned long long)c->options.block_bytes, (unsigned long long)(c->options.block_bytes / 512 + 1) * 512);
	if (c->options.arrivals != 0 && c->options.rate <= 0)
		return weft_why(&c->why, -EINVAL, "bench: --arrivals poisson: there are no gaps without a rate: give --rate, too");
	c->text = args->plain[0];
	error = plot_try(c);
	if (error == 0)
		error = run(c);
	if (error == 0 || c->bench.elapsed_ns != 0)
		bench_report(&c->bench, c->text, c->json);
	if (error == 0 && c->plot != NULL)
		error = plot(c, &c->why);
	if (error != 0)
		return error;
	return bench_good(&c->bench) ? EXIT_DONE : EXIT_FAILED;
}

static const struct command_example examples[] = {
	{ "Random reads of 4 KiB from a virtual machine's disk, as the machine would do them",
	  "weft bench vhost-user:/run/vm.sock --rw randread --depth 32" },
	{ "Write, read and check for a minute", "weft bench file:test.img,create=1GiB --rw mixed --verify --time 60s" },
	{ "Is it slower than it was? (the status says so, too)", "weft bench --compare before.json after.json --plot both.svg" },
	{ 0 },
};

const struct command command_bench = {
	.name = "bench",
	.words = { { "DEVICE", COMPLETE_DEVICE, 1, 1 } },
	.usage = "DEVICE|--compare BEFORE.json AFTER.json [OPTION...]",
	.summary = "measure a device, or verify it",
	.text = "Sends requests to a device and tells how many ended per second and how long they took. With --verify each block "
		"that is written describes itself, and each block that is read must be one of the versions that it may be.\n\n"
		"With --compare, what two runs told with --json is shown side by side, with ratios. The exit status is 1 when the "
		"second is "
		"worse by more than --tolerance: fewer requests per second, longer at half, 90 % or 99 % of the requests, more "
		"processor "
		"time for each; or when it has errors and the first has not.\n\n"
		"Writing destroys what the device holds.",
	.options = table,
	.examples = examples,
	.into = &asked,
	.why = &asked.why,
	.run = bench_run,
};
