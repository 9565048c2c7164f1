/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `weft demo`, what `make run` shows: a server process on a fresh image, and this process as its client, through shared memory as a
 * virtual machine would be.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <weft/log.h>

#include "cli/bench.h"
#include "cli/call.h"
#include "cli/command.h"
#include "cli/show.h"
#include "cli/world.h"

#include "env/env.h"

enum { TEXT = 512 };
#define DEMO_SIZE (256ull << 20)
#define PATIENCE_NS 10000000000ull

static struct demo {
	bool keep;
	uint64_t each_ns;          /* of a line of the table */
	struct env *env;
	struct env_loop *loop;     /* signals; waits */
	bool interrupted;
	char folder[256], socket[TEXT], control[TEXT];
	struct env_linux_child *server;
	struct world_options client;
	struct weft_why why;
} asked;

#define AT(field) .offset = offsetof(struct demo, field)
static const struct weft_option options[] = {
	{ .name = "keep", .type = WEFT_OPTION_BOOL, AT(keep), .help = "go on serving the image until interrupted" },
	{ .name = "each", .type = WEFT_OPTION_DURATION, AT(each_ns), .fallback = "1s", .help = "time for each line of the table",
	  .min = 10000000, .max = 600000000000ull },
	{ 0 },
};

static void interrupted(void *self, int signal)
{
	(void)signal;
	((struct demo *)self)->interrupted = true;
}

static void pause_for(struct demo *d, uint64_t ns)
{
	uint64_t until = env_now_ns(d->env) + ns, now;

	while (!d->interrupted && (now = env_now_ns(d->env)) < until)
		if (!env_loop_poll(d->loop))
			env_loop_wait(d->loop, until - now);
}

/* ---- the server ---- */

static int server_start(struct demo *d, const char *device)
{
	const char *const argv[] = { "serve", device, "--on", d->socket, "--control", d->control, "--log", "warn", "--mode",
		"adaptive", NULL };
	uint64_t until = env_now_ns(d->env) + PATIENCE_NS;
	struct call *call;
	int error = env_linux_child_start(argv, &d->server, &d->why);

	/* It listens at the control socket first, and answers when all is served. */
	while (error == 0 && (error = call_open(d->env, d->control, &call, &d->why)) != 0) {
		if (!env_linux_child_running(d->server) || env_now_ns(d->env) > until)
			return weft_why(&d->why, -EPIPE, "demo: the server of %s does not begin: run `weft serve %s --on %s` to "
				"see why",
				device, device, d->socket);
		if (d->interrupted)
			return weft_why(&d->why, -EINTR, "demo: interrupted");
		pause_for(d, 1000000);
		error = 0;
	}
	if (error == 0)
		call_close(call);
	return error;
}

static int server_ask(struct demo *d, const char *command, json_t **result)
{
	struct call *call;
	int status, error = call_open(d->env, d->control, &call, &d->why);

	if (error != 0)
		return error;
	error = call_ask(call, command, NULL, 0, result, &status, &d->why);
	call_close(call);
	return error;
}

static int server_end(struct demo *d)
{
	int status = d->server != NULL ? env_linux_child_end(d->server, PATIENCE_NS) : 0;

	d->server = NULL;
	return status == 0 ? 0 : weft_why(&d->why, -EIO, "demo: the server ended with status %d instead of 0", status);
}

/* ---- work for it ---- */

static int measure(struct demo *d, struct bench_options o, struct bench_result *result)
{
	uint64_t pid = env_linux_child_pid(d->server);
	char device[TEXT + 16];
	int error;

	if (d->interrupted)
		return weft_why(&d->why, -EINTR, "demo: interrupted");
	o.block_bytes = o.block_bytes != 0 ? o.block_bytes : 4096;
	o.queues = o.connections = 1;
	o.seed = env_now_ns(d->env) | 1;
	snprintf(device, sizeof(device), "%s,timeout=10s", d->socket); /* for ever, if the server were gone */
	error = bench_device(&o, &d->client, device, pid, result, &d->why);
	if (error != 0)
		return error;
	if (result->errors != 0 || result->mismatches != 0)
		return weft_why(&d->why, -EIO, "demo: %" PRIu64 " of %" PRIu64 " requests failed and %" PRIu64 " blocks were not "
			"what had been written", result->errors, result->requests, result->mismatches);
	return 0;
}

static int write_and_verify(struct demo *d)
{
	const struct bench_options fill = { .rw = BENCH_WRITE, .block_bytes = 1 << 20, .depth = 8, .amount_bytes = DEMO_SIZE },
		verify = { .rw = BENCH_RANDRW, .depth = 32, .read_percent = 50, .time_ns = d->each_ns * 3 / 2, .verify = true };
	struct bench_result result;
	char bytes[SHOW_TEXT], time[SHOW_TEXT];
	int error = measure(d, fill, &result);

	if (error != 0)
		return error;
	printf("  %s written in %s\n", show_size(result.bytes, bytes), show_duration(result.elapsed_ns, time));
	fflush(stdout);
	error = measure(d, verify, &result);
	if (error != 0)
		return error;
	printf("  %" PRIu64 " blocks written and read back at random in %s: all of them right\n\n", result.requests,
		show_duration(result.elapsed_ns, time));
	fflush(stdout);
	return 0;
}

static int table(struct demo *d)
{
	static const unsigned depths[] = { 1, 32, 128 };
	int error = 0;

	printf("  4 KiB random reads\n");
	printf("  %5s %10s %8s %10s %10s %16s %16s\n", "depth", "per second", "GiB/s", "p50", "p99", "CPU of server",
		"CPU of client");
	for (unsigned i = 0; i < WEFT_COUNT(depths) && error == 0; i++) {
		struct bench_options o = { .rw = BENCH_RANDREAD, .depth = depths[i], .time_ns = d->each_ns };
		char count[SHOW_TEXT], p50[SHOW_TEXT], p99[SHOW_TEXT];
		struct bench_result r;
		double seconds, requests;

		error = measure(d, o, &r);
		if (error != 0)
			break;
		seconds = (double)r.elapsed_ns / 1e9;
		requests = r.requests != 0 ? (double)r.requests : 1;
		printf("  %5u %10s %8.2f %10s %10s %13.2f us %13.2f us\n", depths[i], show_count(requests / seconds, count),
			(double)r.bytes / (1 << 30) / seconds, show_duration(weft_histogram_quantile(&r.latency, 0.5), p50),
			show_duration(weft_histogram_quantile(&r.latency, 0.99), p99), (double)r.server_cpu_ns / 1e3 / requests,
			(double)r.cpu_ns / 1e3 / requests);
		fflush(stdout);
	}
	printf("\n");
	return error;
}

/* ---- telling ---- */

static int draw(struct demo *d)
{
	json_t *info, *device, *how;
	int error = server_ask(d, "info", &info);

	if (error != 0)
		return error;
	device = json_array_get(json_object_get(info, "devices"), 0);
	how = json_object_get(json_object_get(device, "facts"), "how");
	printf("      weft bench            this process, in the place of a virtual machine\n"
	       "          |                 its memory and its rings, shared: no copy, no system call per request\n"
	       "     vhost-user             %s\n"
	       "          |\n"
	       "  %13s             %s%s%s\n\n", d->socket + strlen("vhost-user:"),
	       json_string_value(json_object_get(device, "name")), json_string_value(json_object_get(device, "kind")),
	       how != NULL ? ", by " : ", in the server's own memory", how != NULL ? json_string_value(how) : "");
	fflush(stdout);
	json_decref(info);
	return 0;
}

static void attach(const struct demo *d)
{
	const char *socket = d->keep ? d->socket + strlen("vhost-user:") : "/tmp/weft.sock";

	printf("A virtual machine on it:\n\n");
	if (!d->keep)
		printf("  weft serve file:disk.img,create=10GiB --on vhost-user:%s &\n", socket);
	printf("  qemu-system-x86_64 -machine q35,accel=kvm:tcg,memory-backend=mem -m 1G \\\n"
	       "    -object memory-backend-memfd,id=mem,size=1G,share=on \\\n"
	       "    -chardev socket,id=disk,path=%s,reconnect=1 \\\n"
	       "    -device vhost-user-blk-pci,chardev=disk\n\n", socket);
	fflush(stdout);
}

/* One device from beginning to end; with `keep` it goes on until interrupted. */
static int act(struct demo *d, const char *title, const char *device, bool keep)
{
	int error, ended;

	printf("weft serve %s --on %s\n%s\n\n", device, d->socket, title);
	fflush(stdout);
	error = server_start(d, device);
	if (error == 0)
		error = draw(d);
	if (error == 0)
		error = write_and_verify(d);
	if (error == 0)
		error = table(d);
	if (error == 0 && keep) {
		attach(d);
		printf("Serving until interrupted (Ctrl-C). Look at it: weft ctl %s info\n", d->control);
		fflush(stdout);
		while (!d->interrupted && env_linux_child_running(d->server))
			pause_for(d, 100000000);
	}
	ended = d->server != NULL ? server_end(d) : 0;
	return error != 0 ? error : ended;
}

static int run(struct demo *d)
{
	char image[TEXT];
	int error = env_linux_folder_make("weft-demo", d->folder, sizeof(d->folder), &d->why);

	if (error != 0)
		return error;
	snprintf(d->socket, sizeof(d->socket), "vhost-user:%s/disk.sock", d->folder);
	snprintf(d->control, sizeof(d->control), "%s/control.sock", d->folder);
	snprintf(image, sizeof(image), "file:%s/disk.img,create=256MiB", d->folder);
	error = act(d, "A disk in memory: what the way through weft costs.", "mem:256MiB", false);
	if (error == 0)
		error = act(d, "A disk image in a file.", image, d->keep);
	if (error == 0 && !d->keep)
		attach(d);
	env_linux_folder_remove(d->folder);
	return error == -EINTR && d->keep ? 0 : error;
}

static int demo_run(const struct args *args)
{
	struct demo *d = &asked;
	int error = env_linux_open(&d->env, &world_env_wants, &d->why);

	(void)args;
	if (error != 0)
		return error;
	d->client.mode = WEFT_MODE_ADAPTIVE;
	d->client.log = WEFT_LOG_WARN;
	error = env_loop_open(d->env, &d->loop, &d->why);
	if (error == 0) {
		error = env_signals_watch(d->loop, interrupted, d);
		if (error == 0)
			error = run(d);
		env_loop_close(d->loop);
	}
	env_linux_close(d->env);
	return error;
}

static const struct command_example examples[] = {
	{ "Show it", "weft demo" },
	{ 0 },
};

const struct command command_demo = {
	.name = "demo",
	.summary = "show the main thing: serve a disk, use it, measure it",
	.text = "Serves a disk in memory, then a fresh disk image of 256 MiB in a temporary folder, each in a process of its own, "
		"connects to it through shared memory as a virtual machine would, writes and verifies data, and measures random "
		"reads. Then prints how QEMU attaches a machine. Leaves nothing behind.",
	.options = options,
	.examples = examples,
	.into = &asked,
	.why = &asked.why,
	.run = demo_run,
};
