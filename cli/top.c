/* SPDX-License-Identifier: BSD-2-Clause */
/* `weft top`: the counters of a running server, again and again. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/call.h"
#include "cli/command.h"
#include "cli/stats.h"
#include "cli/world.h"

#include "env/env.h"

static struct top {
	bool once;
	uint64_t every_ns;
	struct env *env;
	struct env_loop *loop;  /* waits */
	bool stop;
	struct weft_why why;
} asked;

#define AT(field) .offset = offsetof(struct top, field)
static const struct weft_option options[] = {
	{ .name = "once", .type = WEFT_OPTION_BOOL, AT(once), .help = "one view of one interval, then end" },
	{ .name = "every", .type = WEFT_OPTION_DURATION, AT(every_ns), .fallback = "1s", .help = "the interval", .min = 10000000,
	  .max = 3600000000000ull },
	{ 0 },
};

static void interrupted(void *self, int signal)
{
	(void)signal;
	((struct top *)self)->stop = true;
}

static void pause_for(struct top *top, uint64_t ns)
{
	uint64_t until = env_now_ns(top->env) + ns, now;

	while (!top->stop && (now = env_now_ns(top->env)) < until)
		if (!env_loop_poll(top->loop))
			env_loop_wait(top->loop, until - now);
}

/* `words`: what is asked for besides the command. */
static int show(struct top *top, struct call *call, const char *const *words, unsigned nwords, int *status)
{
	json_t *before = NULL, *now = NULL, *first;
	unsigned lines = 0;
	int error;

	error = call_ask(call, "stats", words, nwords, &before, status, &top->why);
	first = json_incref(before);
	while (error == 0) {
		pause_for(top, top->every_ns);
		if (top->stop)
			break;
		error = call_ask(call, "stats", words, nwords, &now, status, &top->why);
		if (error != 0)
			break;
		if (lines > 0)
			printf("\033[%uA\033[J", lines);
		lines = stats_print(now, before, first);
		fflush(stdout);
		if (!env_is_terminal(top->env))
			lines = 0;
		json_decref(before);
		before = now;
		if (top->once)
			break;
	}
	json_decref(before);
	json_decref(first);
	return error;
}

static int run(struct top *top, const struct args *args, int *status)
{
	struct call *call;
	int error = env_linux_open(&top->env, &world_env_wants, &top->why);

	if (error != 0)
		return error;
	error = env_loop_open(top->env, &top->loop, &top->why);
	if (error == 0) {
		error = env_signals_watch(top->loop, interrupted, top);
		if (error == 0)
			error = call_open(top->env, args->plain[0], &call, &top->why);
		if (error == -ENOENT || error == -ECONNREFUSED)
			*status = EXIT_ABSENT;
		if (error == 0) {
			error = show(top, call, args->plain + 1, args->nplain - 1, status);
			call_close(call);
		}
		env_loop_close(top->loop);
	}
	env_linux_close(top->env);
	return error;
}

static int top_run(const struct args *args)
{
	int status = EXIT_FAILED, error = run(&asked, args, &status);

	if (error == 0)
		return EXIT_DONE;
	world_failed(error, &asked.why);
	return status;
}

static const struct command_example examples[] = {
	{ "Watch a server work", "weft top /run/weft.ctl" },
	{ "One of its devices", "weft top /run/weft.ctl mirror0" },
	{ 0 },
};

const struct command command_top = {
	.name = "top",
	.words = { { "PATH", COMPLETE_FILES, 1, 1 }, { "DEVICE", COMPLETE_NOTHING, 0, 1 } },
	.summary = "watch a running server",
	.text = "Shows what the devices and reactors of a running `weft serve --control PATH` do: requests and bytes per second, "
		"latencies, emulation, processor time, memory. What a device tells of itself appears when it changes: how far the "
		"rebuild of a mirror is, for one.\n\n"
		"Where the server has several devices, each is shown with what stands below it; DEVICE picks one of them, as with "
		"weft-ctl.",
	.options = options,
	.examples = examples,
	.into = &asked,
	.why = &asked.why,
	.run = top_run,
};
