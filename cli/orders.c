/* SPDX-License-Identifier: BSD-2-Clause */
/* What can be asked at the control socket: the table from which come the server, the client's help and its manual page. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/log.h>
#include <weft/memory.h>

#include "cli/serve.h"
#include "cli/show.h"

#include "core/nearest.h"
#include "core/reactor.h"
#include "core/value.h"

static struct order *of_change(struct change *change)
{
	return WEFT_CONTAINER(change, struct order, change);
}

/* ---- mode ---- */

static void run_mode(struct order *o)
{
	static const struct weft_option option = { .name = "mode", .type = WEFT_OPTION_CHOICE, .choices = WORLD_MODES };
	struct weft_core *core = o->serve->w.core;
	char text[VALUE_TEXT_MAX];
	struct value value;
	struct weft_why why;
	int error = o->nwords > 0 ? value_parse("control", &option, o->words[0], &value, &why) : 0;

	if (error != 0) {
		order_refuse(o, error, &why);
		return;
	}
	for (unsigned lane = 1; o->nwords > 0 && lane < core->reactors; lane++)
		reactor_mode_set(core->reactor[lane], (enum weft_mode)value.index);
	value.index = (uint32_t)atomic_load(&core->reactor[1]->mode);
	value_print(&option, &value, text, sizeof(text));
	order_answer(o, json_pack("{s:s}", "mode", text));
}

/* ---- layers ---- */

static void changed(struct change *change, int status)
{
	struct order *o = of_change(change);

	if (status != 0)
		order_refuse(o, status, &change->why);
	else
		order_answer(o, json_pack("{s:o}", "stack", show_stack(change->of->device)));
}

static void run_insert(struct order *o)
{
	o->change = (struct change){ .serve = o->serve, .of = o->of, .done = changed };
	change_insert(&o->change, o->words[0]);
}

static void run_remove(struct order *o)
{
	o->change = (struct change){ .serve = o->serve, .of = o->of, .done = changed };
	change_remove(&o->change, o->words[0]);
}

/* ---- size ---- */

static void resized(struct weft_task *task, int status)
{
	struct order *o = WEFT_CONTAINER(task, struct order, job.task);
	const struct weft_blk *blk = weft_object_query(o->of->device, &weft_blk_iface);

	if (status != 0)
		order_refuse(o, status, &task->why);
	else
		order_answer(o, json_pack("{s:I}", "size", (json_int_t)blk->size));
}

static void run_resize(struct order *o)
{
	struct weft_object *object = o->of->device, *below;
	struct weft_why why;
	uint64_t size;
	int error = value_parse_size("size", o->words[0], &size, &why);

	if (error != 0) {
		order_refuse(o, error, &why);
		return;
	}
	/* The layers that pass a size on are passed through. */
	while (object->kind->resize == NULL && (below = objects_below(object, 0, NULL)) != NULL &&
		objects_below(object, 1, NULL) == NULL)
		object = below;
	o->resized = object;
	o->job = (struct objects_job){ .task.done = resized };
	objects_resize(object, size, &o->job);
}

/* ---- options ---- */

static void run_set(struct order *o)
{
	struct weft_why why;
	struct weft_object *object = serve_find(o->serve, o->of, o->words[0], &why);
	int error = object == NULL ? -ENOENT : objects_set_option(object, o->words[1], o->words[2], &why);

	if (error != 0)
		order_refuse(o, error, &why);
	else
		order_answer(o, json_pack("{s:s, s:s, s:s}", "name", object->name, "option", o->words[1], "value", o->words[2]));
}

static void run_log(struct order *o)
{
	static const struct weft_option option = { .name = "log", .type = WEFT_OPTION_CHOICE, .choices = "error|warn|info|debug" };
	struct value value;
	struct weft_why why;
	int error = value_parse("control", &option, o->words[0], &value, &why);

	if (error != 0) {
		order_refuse(o, error, &why);
		return;
	}
	weft_log_level_set(o->serve->w.core, (enum weft_log_level)value.index);
	order_answer(o, json_pack("{s:s}", "log", o->words[0]));
}

/* ---- looking ---- */

static void run_sessions(struct order *o)
{
	json_t *all = json_object();

	for (unsigned i = 0; i < o->serve->exports; i++) {
		const struct serve_export *e = &o->serve->export[i];
		struct weft_export *exp = weft_object_query(e->object, &weft_export_iface);
		json_t *sessions;

		if (o->of != NULL && e->of != o->of)
			continue;
		sessions = json_object();
		if (exp->ops->describe != NULL)
			exp->ops->describe(exp, show_put, sessions);
		json_object_set_new(all, e->object->name, sessions);
	}
	order_answer(o, all);
}

static void run_quit(struct order *o)
{
	struct serve *s = o->serve;

	order_answer(o, NULL);
	serve_stop(s);
}

const struct order_kind order_kinds[] = {
	{ "info", "[DEVICE]", "what is served: stack, devices, exports", 0, 1, 1, false, look_info, false },
	{ "config", "", "what is served as a file for `weft serve --config`, in JSON", 0, 0, 0, false, look_config, false },
	{ "stats", "[DEVICE]", "counters and latencies of devices and reactors", 0, 1, 1, false, look_stats, false },
	{ "requests", "[DEVICE]", "the requests in flight, each with its path", 0, 1, 1, false, look_requests, false },
	{ "sessions", "[DEVICE]", "the clients of each export", 0, 1, 1, false, run_sessions, false },
	{ "mode", "[poll|adaptive|notify]", "tell or change how the reactors wait", 0, 1, 0, false, run_mode, false },
	{ "resize", "SIZE [DEVICE]", "change the size of the device; clients are told", 1, 2, 2, true, run_resize, true },
	{ "insert", "LAYER[:OPTION=VALUE...] [DEVICE]", "put a layer on top of the device, under load", 1, 2, 2, true,
	  run_insert, true },
	{ "remove", "NAME [DEVICE]", "take a layer out, under load: by its name, or its kind when there is one only", 1, 2, 2,
	  false, run_remove, true },
	{ "set", "NAME OPTION VALUE [DEVICE]", "change an option that is [live] in `weft explain`", 3, 4, 4, false, run_set,
	  true },
	{ "log", "error|warn|info|debug", "which messages appear", 1, 1, 0, false, run_log, false },
	{ "quit", "", "end the server", 0, 0, 0, false, run_quit, false },
	{ NULL, NULL, NULL, 0, 0, 0, false, NULL, false },
};

const struct order_kind *order_find(const char *name, struct weft_why *why)
{
	struct nearest nearest = { .wanted = name };
	const char *phrase;

	for (const struct order_kind *kind = order_kinds; kind->name != NULL; kind++) {
		if (strcmp(kind->name, name) == 0)
			return kind;
		nearest_try(&nearest, kind->name, strlen(kind->name));
	}
	phrase = nearest_phrase(&nearest);
	weft_why(why, -EINVAL, "ctl: there is no command '%.40s': %s%s`weft ctl --help` lists them", name, phrase,
		*phrase != '\0' ? " " : "");
	return NULL;
}
