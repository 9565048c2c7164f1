/* SPDX-License-Identifier: BSD-2-Clause */
/* `weft copy`: options, both devices, beginning and end. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "cli/command.h"
#include "cli/copy.h"
#include "cli/copy_report.h"
#include "cli/world.h"

#include "core/option.h"
#include "core/reactor.h"

static struct copy_command {
	struct copy copy;
	struct world_options world;
	bool json, interrupted;
	struct world w;
	struct weft_object *source, *target;
	struct copy_bar bar;
	int status;
	struct weft_why why;
} asked;

#define AT(field) .offset = offsetof(struct copy_command, field)
static const struct weft_option table[] = {
	{ .name = "bs", .type = WEFT_OPTION_SIZE, AT(copy.options.piece_bytes), .fallback = "256KiB",
	  .help = "bytes of a read or write", .min = 4096, .max = 64 << 20 },
	{ .name = "depth", .type = WEFT_OPTION_UINT, AT(copy.options.depth), .fallback = "64",
	  .help = "reads and writes in flight on each reactor", .min = 1, .max = 1024 },
	{ .name = "queues", .type = WEFT_OPTION_UINT, AT(copy.options.queues), .fallback = "1",
	  .help = "reactors, each with a thread and a part of the source", .min = 1, .max = 63 },
	{ .name = "sparse", .type = WEFT_OPTION_BOOL, AT(copy.options.sparse),
	  .help = "look for zeroes in the data (pieces of 64 KiB), and make holes of them" },
	{ .name = "target-is-zero", .type = WEFT_OPTION_BOOL, AT(copy.options.target_is_zero),
	  .help = "the destination reads as zeroes all over: believe it, and write no zeroes" },
	{ .name = "verify", .type = WEFT_OPTION_BOOL, AT(copy.options.verify),
	  .help = "then read all of both, holes too, and compare" },
	{ .name = "rate", .type = WEFT_OPTION_SIZE, AT(copy.options.rate),
	  .help = "bytes per second at most; without it: as fast as it goes", .min = 4096, .max = 1ull << 50 },
	{ .name = "resume", .type = WEFT_OPTION_PATH, AT(copy.options.resume),
	  .help = "note in this file what has been copied; when it is there, go on where it says; removed at the end" },
	{ .name = "checkpoint", .type = WEFT_OPTION_DURATION, AT(copy.options.checkpoint_ns), .fallback = "5s",
	  .help = "with --resume: how often that is noted, after a flush", .min = 1000000, .max = 86400000000000 },
	WORLD_OPTIONS(struct copy_command, world),
	{ .name = "json", .type = WEFT_OPTION_BOOL, AT(json), .help = "tell progress and result as JSON, an object on each line" },
	{ 0 },
};

/* ---- the devices ---- */

static const char *given(const struct tree *tree, const char *name)
{
	for (unsigned i = 0; i < tree->noptions; i++)
		if (strcmp(tree->options[i].name, name) == 0)
			return tree->options[i].value;
	return NULL;
}

static bool can_be_given(struct copy_command *c, const struct tree *tree, const char *name, enum weft_option_type type)
{
	const struct weft_kind *kind = tree->ref == NULL ? objects_kind(c->w.core, tree->kind, &weft_blk_iface, NULL) : NULL;
	const struct weft_option *option = kind != NULL ? option_find(kind, name) : NULL;

	return option != NULL && option->type == type && given(tree, name) == NULL;
}

static int give(struct copy_command *c, struct tree *tree, const char *name, const char *value)
{
	if (tree_add_option(c->w.core, tree, name, strlen(name), value, strlen(value)) == 0)
		return 0;
	return weft_why(&c->why, -ENOMEM, "copy: no memory for a device: end something else, or raise the memory limit");
}

/* To each device that can, unless it has `name` already, or `unless`. */
static int give_on(struct copy_command *c, struct tree *tree, const char *name, const char *unless)
{
	bool wanted = can_be_given(c, tree, name, WEFT_OPTION_BOOL) && given(tree, unless) == NULL;
	int error = wanted ? give(c, tree, name, "on") : 0;

	for (unsigned i = 0; i < tree->nchildren && error == 0; i++)
		error = give_on(c, tree->children[i], name, unless);
	return error;
}

/* Nothing is written to the source, so nobody needs the right to. */
static int give_readonly(struct copy_command *c, struct tree *tree)
{
	return give_on(c, tree, "readonly", "create");
}

/* No byte is needed again, so that no cache need keep it; but when all is read once more. */
static int give_transient(struct copy_command *c, struct tree *tree)
{
	return c->copy.options.verify ? 0 : give_on(c, tree, "transient", "transient");
}

static void take_create(struct copy_command *c, struct tree *tree)
{
	for (unsigned i = 0; i < tree->noptions; i++)
		if (strcmp(tree->options[i].name, "create") == 0) {
			weft_free(c->w.core, tree->options[i].name);
			weft_free(c->w.core, tree->options[i].value);
			tree->options[i--] = tree->options[--tree->noptions];
		}
	for (unsigned i = 0; i < tree->nchildren; i++)
		take_create(c, tree->children[i]);
}

static int source_build(struct copy_command *c)
{
	struct tree *tree;
	int error = world_parse(&c->w, c->copy.source_text, &weft_blk_iface, &tree, &c->why);

	if (error != 0)
		return error;
	error = give_readonly(c, tree);
	if (error == 0)
		error = give_transient(c, tree);
	if (error == 0)
		error = world_build(&c->w, tree, &weft_blk_iface, &c->source, &c->why);
	tree_free(c->w.core, tree);
	return error;
}

/* What is not there is made, if its kind can be, and as large as the source; but not when some of it should be there. */
static int target_make(struct copy_command *c, struct tree *tree)
{
	bool resumed = c->copy.before.n > 0;
	char size[32];
	int error;

	if (resumed)
		take_create(c, tree);
	error = world_build(&c->w, tree, &weft_blk_iface, &c->target, &c->why);
	if (error != -ENOENT)
		return error;
	if (resumed)
		return weft_why(&c->why, error, "--resume='%.60s': it says what '%.60s' holds, but that is not there: remove the "
			"file, and "
			"the copy begins anew", c->copy.options.resume, c->copy.target_text);
	if (!can_be_given(c, tree, "create", WEFT_OPTION_SIZE))
		return error;
	snprintf(size, sizeof(size), "%llu", (unsigned long long)c->copy.source->size);
	error = give(c, tree, "create", size);
	return error != 0 ? error : world_build(&c->w, tree, &weft_blk_iface, &c->target, &c->why);
}

static int target_build(struct copy_command *c)
{
	struct tree *tree;
	int error = world_parse(&c->w, c->copy.target_text, &weft_blk_iface, &tree, &c->why);

	if (error != 0)
		return error;
	error = give_transient(c, tree);
	if (error == 0)
		error = target_make(c, tree);
	tree_free(c->w.core, tree);
	return error;
}

/* ---- the state file ---- */

static int state_read(struct copy_command *c)
{
	const char *path = c->copy.options.resume;
	struct weft_why inner;
	size_t size;
	char *text;
	int error;

	if (path == NULL)
		return 0;
	error = env_file_read(c->w.env, path, &text, &size, &inner);
	if (error == -ENOENT)
		return 0;
	if (error != 0)
		return weft_why(&c->why, error, "--resume='%.80s': %.150s", path, inner.text);
	error = copy_state_parse(text, size, c->copy.source_text, c->copy.target_text, path, &c->copy.before, &c->why);
	env_free(c->w.env, text);
	return error;
}

/* ---- the command ---- */

static void interrupted(void *self, int signal)
{
	struct copy_command *c = self;

	(void)signal;
	if (!world_is_to_end(&c->w, c->interrupted))
		return;
	c->interrupted = true;
	copy_stop(&c->copy);
}

static void ended(struct copy *copy, int status)
{
	struct copy_command *c = WEFT_CONTAINER(copy, struct copy_command, copy);

	c->status = status;
	c->why = copy->why;
	copy_bar_stop(&c->bar);
	core_quit(c->w.core);
}

static int interrupted_why(struct copy_command *c)
{
	struct copy_progress p;

	copy_sum(&c->copy, &p);
	if (c->copy.options.resume != NULL)
		return weft_why(&c->why, -EINTR, "copy: interrupted: the same command goes on where it stopped, --resume='%.100s' "
			"says "
			"where", c->copy.options.resume);
	return weft_why(&c->why, -EINTR, "copy: interrupted after %llu of %llu bytes: copy again; with --resume FILE it could go "
		"on "
		"where it stopped", (unsigned long long)p.at, (unsigned long long)p.size);
}

static int devices_open(struct copy_command *c)
{
	int error = env_signals_watch(reactor_loop(c->w.core->reactor[0]), interrupted, c);

	if (error != 0)
		return weft_why(&c->why, error, "copy: signals cannot be watched: %s", strerrordesc_np(-error));
	error = copy_open(&c->copy, &c->why);
	if (error == 0)
		error = state_read(c);
	if (error == 0)
		error = source_build(c);
	if (error != 0)
		return error;
	c->copy.source = weft_object_query(c->source, &weft_blk_iface);
	error = target_build(c);
	if (error != 0)
		return error;
	c->copy.target = weft_object_query(c->target, &weft_blk_iface);
	error = copy_check(&c->copy, &c->why);
	return error == 0 && c->interrupted ? interrupted_why(c) : error;
}

static int run(struct copy_command *c)
{
	const struct copy_options *o = &c->copy.options;
	int error = world_open(&c->w, &c->world, (unsigned)o->queues, (uint32_t)(2 * o->depth + 12), &c->why);

	if (error != 0)
		return error;
	c->copy.options.ahead_bytes = COPY_AHEAD;
	c->copy.core = c->w.core;
	c->copy.ended = ended;
	error = devices_open(c);
	if (error == 0) {
		world_began(&c->w);
		copy_bar_start(&c->bar, &c->copy, c->json);
		copy_begin(&c->copy);
		core_run(c->w.core);
		error = c->status == -EINTR ? interrupted_why(c) : c->status;
		if (error == 0)
			copy_report(&c->copy, c->json);
	}
	world_release(&c->w, c->target);
	world_release(&c->w, c->source);
	copy_free(&c->copy);
	world_close(&c->w);
	return error;
}

static int copy_run(const struct args *args)
{
	asked.copy.source_text = args->plain[0];
	asked.copy.target_text = args->plain[1];
	return run(&asked);
}

static const struct command_example examples[] = {
	{ "An image to a new one, with its holes", "weft copy file:disk.img file:backup.img" },
	{ "To the disk that a server offers, checked, with a state file in case that it is interrupted",
	  "weft copy file:disk.img vhost-user:/run/vm.sock --verify --resume copy.state" },
	{ "In the background of other work", "weft copy file:disk.img file:backup.img --rate 50MiB" },
	{ 0 },
};

const struct command command_copy = {
	.name = "copy",
	.words = { { "SOURCE", COMPLETE_DEVICE, 1, 1 }, { "DESTINATION", COMPLETE_DEVICE, 1, 1 } },
	.summary = "copy a device to a device",
	.text = "Copies all of the source to the beginning of the destination, then flushes the destination. What the source says "
		"to "
		"be zeroes (holes of a file) is not read; it is zeroed in the destination, or left as it is where the destination "
		"says "
		"that it reads as zeroes there already, as a new file does. The source is opened read-only where its kind can. A "
		"destination that is not there is created if its kind can (create=), as large as the source; one that is larger "
		"keeps "
		"what lies behind.\n\n"
		"What goes through the page cache of the kernel (file: direct=off) does not stay there, where the kernel can do "
		"so; what was there before stays. With --verify, or transient=off at the device, it does stay.\n\n"
		"With --verify, both are then read from beginning to end and compared, also where they say that there is nothing "
		"but "
		"zeroes: what a defective device says of itself is not believed. A destination that was larger is compared as far "
		"as "
		"the source goes.\n\n"
		"Nobody may write to either meanwhile.\n\n"
		"With --resume, what has been copied is noted in a file: at intervals, and when the copy is interrupted (SIGINT, "
		"SIGTERM) or fails. It names only what had been flushed before, so that it is true after loss of power, too. The "
		"same "
		"command goes on from there. When all has been copied the file is removed. A second signal ends at once; the file "
		"then "
		"says what it said last.\n\n"
		"A bar on standard error shows progress, rate and remaining time, on a terminal only.",
	.options = table,
	.examples = examples,
	.into = &asked,
	.why = &asked.why,
	.run = copy_run,
};
