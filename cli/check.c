/* SPDX-License-Identifier: BSD-2-Clause */
/* `weft check-contract`: the device is opened, the cases are run one after the other, what came of each is told. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/check.h"
#include "cli/command.h"
#include "cli/show.h"

#include "core/option.h"
#include "core/reactor.h"

#define AT(field) .offset = offsetof(struct check, field)
static const struct weft_option options[] = {
	{ .name = "destroy-data", .type = WEFT_OPTION_BOOL, .flags = WEFT_OPTION_REQUIRED, AT(destroy),
	  .help = "needed: what the device holds is overwritten and not put back" },
	{ .name = "queues", .type = WEFT_OPTION_UINT, AT(lanes), .fallback = "2", .help = "reactors, each with a thread",
	  .min = 1, .max = CHECK_LANES },
	{ .name = "seed", .type = WEFT_OPTION_UINT, AT(seed), .fallback = "1", .help = "of offsets and data" },
	{ .name = "timeout", .type = WEFT_OPTION_DURATION, AT(timeout_ns), .fallback = "20s",
	  .help = "a request that takes longer has failed, and ends the run", .min = 1000000, .max = 86400000000000 },
	{ .name = "json", .type = WEFT_OPTION_BOOL, AT(json), .help = "an object of JSON on each line" },
	WORLD_OPTIONS(struct check, world),
	{ 0 },
};

/* ---- telling ---- */

void check_failed(struct check *check, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	check_verdict_add(&check->verdict, CHECK_FAILED, format, args);
	va_end(args);
}

void check_skipped(struct check *check, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	check_verdict_add(&check->verdict, CHECK_SKIPPED, format, args);
	va_end(args);
}

static const char *const result_names[] = { "ok", "FAILED", "skipped" };

void check_tell(struct check *check, const char *name)
{
	const struct check_verdict *v = &check->verdict;

	name = name != NULL ? name : check->present;
	check_verdict_end(&check->verdict);
	if (check->json)
		show_json(json_pack("{s:s, s:s, s:o}", "check", name, "result", v->result == CHECK_FAILED ? "failed" :
			result_names[v->result], "detail", show_string(v->detail)), false);
	else if (v->result == CHECK_OK)
		printf("ok       %s\n", name);
	else
		printf("%-8s %s (%s)\n", result_names[v->result], name, v->detail);
	fflush(stdout);
}

int check_summary(const struct check *check)
{
	const unsigned *n = check->verdict.counts;

	if (check->json)
		show_json(json_pack("{s:i, s:i, s:i, s:I}", "ok", (int)n[CHECK_OK], "failed", (int)n[CHECK_FAILED], "skipped",
			(int)n[CHECK_SKIPPED], "seed", (json_int_t)check->seed), false);
	else
		printf("%u ok, %u FAILED, %u skipped\n", n[CHECK_OK], n[CHECK_FAILED], n[CHECK_SKIPPED]);
	return check_verdict_good(&check->verdict) ? EXIT_DONE : EXIT_FAILED;
}

/* ---- the device ---- */

/* Builds `tree`, which is taken, and opens it. */
static int build(struct check *check, struct tree *tree, struct weft_object **object, struct weft_why *why)
{
	int error = world_build(&check->w, tree, &weft_blk_iface, object, why);

	tree_free(check->w.core, tree);
	if (error != 0)
		return error;
	check->blk = weft_object_query(*object, &weft_blk_iface);
	error = check_open(check, why);
	if (error != 0) {
		world_release(&check->w, *object);
		*object = NULL;
	}
	return error;
}

static int device_open(struct check *check, const char *option, const char *value, struct weft_why *why)
{
	struct tree *tree;
	int error = world_parse(&check->w, check->text, &weft_blk_iface, &tree, why);

	if (error != 0)
		return error;
	if (option != NULL && tree_add_option(check->w.core, tree, option, strlen(option), value, strlen(value)) != 0) {
		tree_free(check->w.core, tree);
		return weft_why(why, -ENOMEM, "no memory for it");
	}
	return build(check, tree, &check->object, why);
}

/* The run cannot go on without its device. */
static int device_lost(struct check *check, const struct weft_why *why)
{
	check_failed(check, "it cannot be opened again: %s", why->text);
	check->object = NULL;
	return -ENODEV;
}

int check_reopen(struct check *check, const char *option, const char *value)
{
	const struct weft_kind *kind;
	struct tree *tree = NULL;
	struct weft_why why;

	if (option != NULL) {
		kind = world_parse(&check->w, check->text, &weft_blk_iface, &tree, &why) == 0 ?
			objects_kind(check->w.core, tree->kind, &weft_blk_iface, &why) : NULL;
		tree_free(check->w.core, tree);
		if (kind == NULL || option_find(kind, option) == NULL) {
			check_skipped(check, "there is no server behind it");
			return -ENOTSUP;
		}
	}
	check_close(check);
	world_release(&check->w, check->object);
	return device_open(check, option, value, &why) == 0 ? 0 : device_lost(check, &why);
}

/* The device's own stack is open again. */
static int swap_back(struct check *check)
{
	struct weft_why why;

	check_close(check);
	world_release(&check->w, check->over);
	check->over = NULL;
	check->blk = weft_object_query(check->object, &weft_blk_iface);
	return check_open(check, &why) == 0 ? 0 : device_lost(check, &why);
}

int check_swap(struct check *check, const char *text)
{
	struct weft_why why;
	struct tree *tree;
	int error;

	if (text == NULL)
		return swap_back(check);
	check_close(check);
	error = world_parse(&check->w, text, &weft_blk_iface, &tree, &why);
	if (error == 0)
		error = build(check, tree, &check->over, &why);
	if (error == 0)
		return 0;
	check_failed(check, "%s", why.text);
	check->blk = weft_object_query(check->object, &weft_blk_iface);
	if (check_open(check, &why) != 0)
		device_lost(check, &why);
	return error;
}

/* ---- the run ---- */

static void interrupted(void *self, int signal)
{
	struct check *check = self;

	(void)signal;
	if (world_is_to_end(&check->w, check->interrupted))
		check->interrupted = true;
}

static void cases_run(struct check *check)
{
	for (const struct check_case *c = check_cases; c->name != NULL && check->object != NULL && !check->interrupted; c++) {
		check->present = c->name;
		check_verdict_begin(&check->verdict);
		c->run(check);
		check_tell(check, c->name);
	}
}

static int open_all(struct check *check, struct weft_why *why)
{
	int error = env_signals_watch(reactor_loop(check->w.core->reactor[0]), interrupted, check);

	check->data = env_pages_alloc(check->w.env, CHECK_LONG + CHECK_GAP, false);
	check->back = env_pages_alloc(check->w.env, CHECK_LONG + CHECK_GAP, false);
	if (error == 0 && (check->data == NULL || check->back == NULL))
		error = weft_why(why, -ENOMEM, "check-contract: no memory of %u bytes: end something else",
			2 * (CHECK_LONG + CHECK_GAP));
	if (error == 0)
		error = device_open(check, NULL, NULL, why);
	if (error != 0 || !check->blk->readonly)
		return error;
	check_close(check);
	return weft_why(why, -EINVAL, "'%.80s': it is read-only: open it for writing (readonly=off)", check->text);
}

static int run(struct check *check, struct weft_why *why)
{
	int error = world_open(&check->w, &check->world, (unsigned)check->lanes, CHECK_SLOTS + 8, why);

	if (error != 0)
		return error;
	error = open_all(check, why);
	if (error == 0) {
		world_began(&check->w);
		cases_run(check);
		if (check->object != NULL)
			check_close(check);
		if (check->interrupted)
			error = weft_why(why, -EINTR, "check-contract: interrupted");
	}
	world_release(&check->w, check->object);
	if (check->data != NULL)
		env_pages_free(check->w.env, check->data, CHECK_LONG + CHECK_GAP);
	if (check->back != NULL)
		env_pages_free(check->w.env, check->back, CHECK_LONG + CHECK_GAP);
	world_close(&check->w);
	return error;
}

static struct check asked;
static struct weft_why asked_why;

static int check_run(const struct args *args)
{
	int error;

	if (!asked.destroy)
		return weft_why(&asked_why, -EINVAL, "check-contract: '%.80s' would be overwritten: if nobody needs what it holds, "
			"say so with --destroy-data", args->plain[0]);
	asked.text = args->plain[0];
	asked.rng = asked.seed;
	error = run(&asked, &asked_why);
	return error != 0 ? error : check_summary(&asked);
}

static const struct command_example examples[] = {
	{ "A server of somebody else", "weft check-contract vhost-user:/run/other.sock --destroy-data" },
	{ "A layer of one's own", "weft check-contract 'part:[mem:64MiB],percent=50' --load part.so --destroy-data" },
	{ 0 },
};

const struct command command_check = {
	.name = "check-contract",
	.words = { { "DEVICE", COMPLETE_DEVICE, 1, 1 } },
	.summary = "try whether a device does what every device must do",
	.text = "Tries a device, or the server behind it, from outside: alignment, what is out of range, that reads see writes "
		"also "
		"when many are under way at once, flush and FUA, discard, zeroes with each flag, compare and write, copy, block "
		"status, "
		"resize, long requests, many segments, depth, several queues. It uses the first and the last 64 MiB.\n\n"
		"Each check is one line: ok, FAILED with what was found, or skipped with the reason (an ability that the device "
		"does not "
		"claim). Exit status 0: none has failed; 1: one has. What the device lacks and the core makes up "
		"(docs/components.md) is "
		"tried as its users would meet it. A server is also sent requests beyond its end, which the core would not let "
		"pass.\n\n"
		"The device is overwritten.",
	.options = options,
	.examples = examples,
	.into = &asked,
	.why = &asked_why,
	.run = check_run,
};
