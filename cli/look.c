/* SPDX-License-Identifier: BSD-2-Clause */
/* What is told of a server. What the reactors know is collected by a round (round.c), each in its own thread. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "cli/serve.h"
#include "cli/show.h"

#include "core/reactor.h"
#include "core/stack.h"
#include "env/env.h"

enum { PATHS_MAX = 1024, PATH_BYTES = 256 };

struct lane_look {
	struct reactor_stats stats;
	struct env_loop_stats loop;
	unsigned mode, sessions;
};

struct look {
	struct round round;
	struct order *order;
	const struct weft_object *top; /* of the only stack that is asked for; NULL: of all */
	json_t *(*told)(struct look *look); /* on the control reactor */
	struct waits waits;            /* info, stats */
	/* requests */
	unsigned count, beyond;
	uint8_t lane_of[PATHS_MAX];
	char path[PATHS_MAX][PATH_BYTES];
	/* stats */
	struct lane_look lanes[CORE_REACTORS_MAX];
};

static struct look *look_of(struct round *round)
{
	return WEFT_CONTAINER(round, struct look, round);
}

static void look_ended(struct round *round)
{
	struct look *look = look_of(round);
	struct order *order = look->order;
	json_t *result = look->told(look);

	weft_free(round->core, look);
	order_answer(order, result);
}

static void look_begin(struct order *order, void (*visit)(struct round *, struct weft_reactor *), json_t *(*told)(struct look *))
{
	struct weft_core *core = order->serve->w.core;
	struct look *look = weft_alloc(core, sizeof(*look));
	struct weft_why why;

	if (look == NULL) {
		weft_why(&why, -ENOMEM, "no memory to look: raise the memory limit");
		order_refuse(order, -ENOMEM, &why);
		return;
	}
	look->order = order;
	look->top = order->of != NULL ? order->of->device : NULL;
	look->told = told;
	waits_begin(&look->waits, control_change(order->control));
	look->round = (struct round){ .core = core, .visit = visit, .ended = look_ended };
	round_begin(&look->round);
}

/* ---- waiting requests ---- */

struct request_look {
	struct look *look;
	const struct weft_reactor *reactor;
};

static void take_path(void *arg, struct weft_slot *slot)
{
	struct request_look *r = arg;
	struct look *look = r->look;

	if (look->top != NULL && weft_stack_device(slot->session->stack)->object != look->top)
		return;
	if (look->count == PATHS_MAX) {
		look->beyond++;
		return;
	}
	look->lane_of[look->count] = (uint8_t)r->reactor->lane;
	weft_hop_path(&slot->root, weft_reactor_now(r->reactor), look->path[look->count], PATH_BYTES);
	look->count++;
}

static void visit_requests(struct round *round, struct weft_reactor *reactor)
{
	struct request_look r = { look_of(round), reactor };

	slots_each(reactor, take_path, &r);
}

static json_t *tell_requests(struct look *look)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < look->count; i++)
		json_array_append_new(list, json_pack("{s:i, s:o}", "reactor", (int)look->lane_of[i], "path",
			show_string(look->path[i])));
	return json_pack("{s:o, s:i}", "requests", list, "not_shown", (int)look->beyond);
}

void look_requests(struct order *order)
{
	look_begin(order, visit_requests, tell_requests);
}

/* ---- what is served ---- */

static void visit_waits(struct round *round, struct weft_reactor *reactor)
{
	waits_visit(&look_of(round)->waits, reactor);
}

/* Takes the tree. */
static json_t *tree_json(struct weft_core *core, struct tree *tree)
{
	char *text = tree_to_json(core, tree);
	json_t *json = text != NULL ? json_loads(text, 0, NULL) : NULL;

	weft_free(core, text);
	tree_free(core, tree);
	return json != NULL ? json : json_null();
}

static json_t *object_json(struct weft_object *object)
{
	struct tree *tree;
	struct weft_why why;

	return objects_tree(object, &tree, &why) == 0 ? tree_json(object->core, tree) : json_null();
}

static json_t *export_json(const struct weft_object *object)
{
	struct tree *tree;
	struct weft_why why;

	return objects_tree_alone(object, &tree, &why) == 0 ? tree_json(object->core, tree) : json_null();
}

/* All that there is to know about a device that is served, into `into`. */
static void put_info(const struct serve *s, const struct served *d, json_t *into)
{
	json_t *exports = json_array();

	for (unsigned i = 0; i < s->exports; i++)
		if (s->export[i].of == d)
			json_array_append_new(exports, show_device(s->export[i].object));
	json_object_set_new(into, "device", show_string(d->text));
	json_object_set_new(into, "stack", show_stack(d->device));
	json_object_set_new(into, "devices", show_devices(d->device));
	json_object_set_new(into, "exports", exports);
	json_object_set_new(into, "tree", object_json(d->device));
}

static json_t *tell_info(struct look *look)
{
	const struct order *order = look->order;
	const struct serve *s = order->serve;
	json_t *info = json_pack("{s:s}", "version", WEFT_VERSION), *served;

	waits_tell(&look->waits, control_change(order->control), info);
	if (order->of != NULL) {
		put_info(s, order->of, info);
		return info;
	}
	served = json_array();
	for (unsigned i = 0; i < s->devices; i++) {
		json_t *one = json_object();

		put_info(s, &s->served[i], one);
		json_array_append_new(served, one);
	}
	json_object_set_new(info, "served", served);
	return info;
}

void look_info(struct order *order)
{
	look_begin(order, visit_waits, tell_info);
}

/* As written.c reads it. Takes the tree. */
static json_t *entry_json(const struct serve *s, const struct served *d, struct tree *tree)
{
	json_t *on = json_array();

	for (unsigned i = 0; i < s->exports; i++)
		if (s->export[i].of == d)
			json_array_append_new(on, export_json(s->export[i].object));
	return json_pack("{s:o, s:o}", "device", tree_json(s->w.core, tree), "on", on);
}

void look_config(struct order *order)
{
	const struct serve *s = order->serve;
	struct weft_object *device[SERVE_DEVICES_MAX];
	struct tree *tree[SERVE_DEVICES_MAX];
	json_t *list = json_array();
	struct weft_why why;
	int error;

	for (unsigned i = 0; i < s->devices; i++)
		device[i] = s->served[i].device;
	error = objects_trees(device, s->devices, tree, &why);
	if (error != 0) {
		json_decref(list);
		order_refuse(order, error, &why);
		return;
	}
	for (unsigned i = 0; i < s->devices; i++)
		json_array_append_new(list, entry_json(s, &s->served[i], tree[i]));
	order_answer(order, list);
}

/* ---- counters ---- */

static void visit_stats(struct round *round, struct weft_reactor *reactor)
{
	struct lane_look *lane = &look_of(round)->lanes[reactor->lane];

	visit_waits(round, reactor);
	lane->stats = reactor->stats;
	lane->mode = (unsigned)atomic_load(&reactor->mode);
	lane->sessions = atomic_load(&reactor->sessions_open);
	env_loop_stats(reactor_loop(reactor), &lane->loop);
}

static json_t *class_json(const struct weft_stats *stats, unsigned i)
{
	const struct weft_histogram *h = &stats->of[i].latency;

	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "requests", (json_int_t)stats->of[i].requests, "bytes",
		(json_int_t)stats->of[i].bytes, "errors", (json_int_t)stats->of[i].errors, "p50_ns",
		(json_int_t)weft_histogram_quantile(h, 0.5), "p99_ns", (json_int_t)weft_histogram_quantile(h, 0.99), "p999_ns",
		(json_int_t)weft_histogram_quantile(h, 0.999), "max_ns", (json_int_t)weft_histogram_quantile(h, 1.0));
}

static json_t *device_json(const struct weft_object *object, const struct weft_blk *blk)
{
	static const char *const names[] = { "read", "write", "flush", "other" };
	struct weft_stats stats;
	json_t *json;

	weft_blk_stats(blk, &stats);
	json = json_pack("{s:o, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "name", show_string(object->name), "kind",
		object->kind->name, "in_flight", (json_int_t)stats.in_flight, "refused", (json_int_t)stats.refused, "splits",
		(json_int_t)stats.splits, "bounces", (json_int_t)stats.bounces, "bounced_bytes", (json_int_t)stats.bounced_bytes,
		"zeroes_written", (json_int_t)stats.zeroes_written, "fua_flushes", (json_int_t)stats.fua_flushes, "carried",
		(json_int_t)stats.carried);
	for (unsigned i = 0; i < WEFT_STAT_COUNT; i++)
		json_object_set_new(json, names[i], class_json(&stats, i));
	json_object_set_new(json, "facts", show_facts(object));
	return json;
}

static json_t *lane_json(const struct lane_look *l, unsigned number)
{
	static const char *const modes[] = { "poll", "adaptive", "notify" };

	return json_pack("{s:i, s:s, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "reactor", (int)number, "mode", modes[l->mode],
		"sessions", (int)l->sessions, "turns", (json_int_t)l->stats.turns, "busy_turns", (json_int_t)l->stats.busy_turns,
		"requests", (json_int_t)l->stats.requests, "messages", (json_int_t)l->stats.messages, "sleeps",
		(json_int_t)l->loop.sleeps, "wakes", (json_int_t)l->loop.wakes, "system_calls", (json_int_t)l->loop.system_calls,
		"completions", (json_int_t)l->loop.completions);
}

static void add_names(const struct weft_object *object, json_t *list)
{
	struct weft_object *below;

	json_array_append_new(list, show_string(object->name));
	for (unsigned i = 0; (below = objects_below(object, i, NULL)) != NULL; i++)
		add_names(below, list);
}

/* Which of the devices are its own. */
static json_t *served_json(const struct serve *s, const struct served *d)
{
	json_t *names = json_array(), *on = json_array();

	add_names(d->device, names);
	for (unsigned i = 0; i < s->exports; i++)
		if (s->export[i].of == d)
			json_array_append_new(on, show_string(s->export[i].text));
	return json_pack("{s:o, s:o, s:o}", "device", show_string(d->text), "on", on, "devices", names);
}

static json_t *tell_stats(struct look *look)
{
	json_t *devices = json_array(), *reactors = json_array(), *served = json_array();
	const struct serve *s = look->order->serve;
	const struct served *of = look->order->of;
	struct weft_core *core = look->round.core;
	struct env_usage usage;
	json_t *told;

	for (struct weft_object *object = NULL; (object = objects_next(core, object)) != NULL;) {
		const struct weft_blk *blk = weft_object_query(object, &weft_blk_iface);

		if (blk != NULL && (of == NULL || served_stands_on(of->device, object)))
			json_array_append_new(devices, device_json(object, blk));
	}
	for (unsigned i = 0; i < s->devices; i++)
		if (of == NULL || of == &s->served[i])
			json_array_append_new(served, served_json(s, &s->served[i]));
	for (unsigned lane = 1; lane < core->reactors; lane++)
		json_array_append_new(reactors, lane_json(&look->lanes[lane], lane));
	env_usage(core->env, &usage);
	told = json_pack("{s:o, s:o, s:o, s:{s:I, s:I, s:I, s:I}}", "served", served, "devices", devices, "reactors", reactors,
		"process", "at_ns",
		(json_int_t)env_now_ns(core->env), "cpu_ns", (json_int_t)usage.cpu_ns, "rss_anon", (json_int_t)usage.rss_anon,
		"rss_file", (json_int_t)usage.rss_file);
	waits_tell(&look->waits, control_change(look->order->control), told);
	return told;
}

void look_stats(struct order *order)
{
	look_begin(order, visit_stats, tell_stats);
}
