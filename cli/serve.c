/* SPDX-License-Identifier: BSD-2-Clause */
/* `weft serve`: a device, filters on it, exports of it, until told to stop. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/export.h>
#include <weft/log.h>

#include "cli/args.h"
#include "cli/command.h"
#include "cli/world.h"

#include "core/objects.h"
#include "core/reactor.h"
#include "core/tree.h"
#include "env/env.h"

enum { EXPORTS_MAX = 16 };

struct serve {
	struct world_options world;
	uint64_t reactors;
	bool help;
	const char *device, *exports[EXPORTS_MAX], *filters[EXPORTS_MAX];
	unsigned nexports, nfilters;
	struct world w;
	struct weft_object *object, *export[EXPORTS_MAX];
	unsigned running;      /* exports */
	struct objects_job job;
	bool stopping;
	int status;
	struct weft_why why;
};

#define AT(field) .offset = offsetof(struct serve, field)
static const struct weft_option table[] = {
	{ .name = "mode", .type = WEFT_OPTION_CHOICE, AT(world.mode), .fallback = "adaptive", .choices = WORLD_MODES,
	  .help = "how the reactors wait" },
	{ .name = "cpus", .type = WEFT_OPTION_STRING, AT(world.cpus), .help = "of the reactors, one for each: 0,2-3" },
	{ .name = "reactors", .type = WEFT_OPTION_UINT, AT(reactors), .fallback = "0", .max = 63,
	  .help = "threads that do I/O; 0: one for each of --cpus, else one" },
	{ .name = "help", .type = WEFT_OPTION_BOOL, AT(help), .help = "this list" },
	{ 0 },
};

/* ---- ending, outermost first ---- */

static void release_next(struct serve *s);

static void released(struct weft_task *task, int status)
{
	(void)status;
	release_next(WEFT_CONTAINER(task, struct serve, job.task));
}

static void release_next(struct serve *s)
{
	struct weft_object *object = s->object;

	s->job = (struct objects_job){ .task.done = released };
	if (s->running > 0) {
		objects_release(s->export[--s->running], &s->job);
	} else if (object != NULL) {
		s->object = NULL;
		objects_release(object, &s->job);
	} else {
		core_quit(s->w.core);
	}
}

static void interrupted(void *self, int signal)
{
	struct serve *s = self;

	(void)signal;
	if (s->stopping)
		return;
	s->stopping = true;
	if (s->running == s->nexports) /* else what is being started sees it */
		release_next(s);
}

/* ---- beginning ---- */

/* `text` (of an export or a filter) with `below` as what it stands on; `below` is the tree's from now on, also when it fails. */
static int parse_over(struct serve *s, const char *text, const struct weft_iface *wants, struct tree *below, struct tree **out)
{
	struct tree_reader reader = objects_reader(s->w.core);
	int error = grammar_parse(&reader, text, wants, out, &s->why);

	if (error != 0) {
		tree_free(s->w.core, below);
		return error;
	}
	error = tree_add_child(s->w.core, *out, below);
	if (error != 0)
		tree_free(s->w.core, *out);
	return error;
}

static void export_next(struct serve *s);

static void export_built(struct weft_task *task, int status)
{
	struct serve *s = WEFT_CONTAINER(task, struct serve, job.task);

	if (status != 0) {
		s->status = status;
		s->why = task->why;
		release_next(s);
		return;
	}
	s->running++;
	export_next(s);
}

static void export_next(struct serve *s)
{
	struct tree *ref, *tree;
	int error;

	if (s->stopping) {
		release_next(s);
		return;
	}
	if (s->running == s->nexports) {
		weft_log(s->w.core, WEFT_LOG_INFO, "serving %s", s->device);
		return;
	}
	error = tree_new_ref(s->w.core, s->object->name, &ref);
	if (error == 0)
		error = parse_over(s, s->exports[s->running], &weft_export_iface, ref, &tree);
	if (error != 0) {
		s->status = error;
		release_next(s);
		return;
	}
	s->job = (struct objects_job){ .task.done = export_built };
	objects_build(s->w.core, tree, &weft_export_iface, &s->export[s->running], &s->job);
	tree_free(s->w.core, tree);
}

static void device_built(struct weft_task *task, int status)
{
	struct serve *s = WEFT_CONTAINER(task, struct serve, job.task);

	if (status != 0) {
		s->status = status;
		s->why = task->why;
		core_quit(s->w.core);
		return;
	}
	export_next(s);
}

/* The device with the filters of --through on it, the last one outermost. */
static int device_build(struct serve *s)
{
	struct tree_reader reader = objects_reader(s->w.core);
	struct tree *tree;
	int error = grammar_parse(&reader, s->device, &weft_blk_iface, &tree, &s->why);

	for (unsigned i = 0; error == 0 && i < s->nfilters; i++)
		error = parse_over(s, s->filters[i], &weft_blk_iface, tree, &tree);
	if (error != 0)
		return error;
	s->job = (struct objects_job){ .task.done = device_built };
	objects_build(s->w.core, tree, &weft_blk_iface, &s->object, &s->job);
	tree_free(s->w.core, tree);
	return 0;
}

/* ---- the command ---- */

/* Takes "--on TEXT" and "--through TEXT", which may come more than once, out of argv. */
static int take_repeated(struct serve *s, int *argc, char **argv)
{
	int left = 0;

	for (int i = 0; i < *argc; i++) {
		bool on = strcmp(argv[i], "--on") == 0, through = strcmp(argv[i], "--through") == 0;

		if (!on && !through) {
			argv[left++] = argv[i];
			continue;
		}
		if (i + 1 == *argc)
			return weft_why(&s->why, -EINVAL, "%s: a value is missing: %s", argv[i],
				on ? "--on vhost-user:/run/vm.sock" : "--through delay:read=1ms");
		if (s->nexports == EXPORTS_MAX || s->nfilters == EXPORTS_MAX)
			return weft_why(&s->why, -EINVAL, "%s: at most %d of them", argv[i], EXPORTS_MAX);
		if (on)
			s->exports[s->nexports++] = argv[++i];
		else
			s->filters[s->nfilters++] = argv[++i];
	}
	*argc = left;
	return 0;
}

static int run(struct serve *s)
{
	int error = world_open(&s->w, &s->world, (unsigned)s->reactors, 0, &s->why);

	if (error != 0)
		return error;
	error = env_signals_watch(s->w.core->reactor[0]->loop, interrupted, s);
	if (error == 0)
		error = device_build(s);
	if (error == 0) {
		core_run(s->w.core);
		error = s->status;
	}
	world_close(&s->w);
	return error;
}

int serve_main(int argc, char **argv)
{
	static struct serve s;
	struct args args;
	int error = take_repeated(&s, &argc, argv);

	if (error == 0)
		error = args_parse("serve", table, &s, argc, argv, &args, &s.why);
	if (error == 0 && s.help) {
		printf("usage: weft serve DEVICE [--through FILTER]... --on EXPORT... [OPTION...]\n\n");
		args_help(table);
		return EXIT_DONE;
	}
	if (error == 0 && (args.nplain != 1 || s.nexports == 0))
		error = weft_why(&s.why, -EINVAL, "one device and at least one export are needed: weft serve file:disk.img --on "
			"vhost-user:/run/vm.sock");
	if (error == 0) {
		s.device = args.plain[0];
		error = run(&s);
	}
	return error == 0 ? EXIT_DONE : world_failed("serve", error, &s.why);
}
