/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Building a tree: first all objects are made and bound, from the top down, in one go; then they are started
 * one after the other, from the bottom up. Whatever fails, the outermost object is put, and taking down
 * (object.c) does the rest.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "core/kind.h"
#include "core/object.h"

struct build {
	struct objects_job *job;
	struct weft_object *root;
	struct weft_object *below; /* under which a layer is inserted: bound to the root's first place */
	unsigned count, next;      /* of order: what is made, what is to be started */
	unsigned room, depth;
	struct weft_object *order[]; /* from the bottom up */
};

/* ---- making, from the top down ---- */

static int make_node(struct build *build, struct weft_core *core, const struct tree *node, struct weft_object *above,
	const struct weft_port *port, unsigned index, const struct weft_iface *wants);

static int resolve_ref(struct build *build, struct weft_core *core, const struct tree *node, struct weft_object *above,
	const struct weft_port *port, unsigned index)
{
	struct weft_why *why = &build->job->task.why;
	struct weft_object *object = object_named(core, node->ref);
	bool ours = object && notes_of(object)->build == build;

	WEFT_ASSERT(node->ref && above && port);
	if (!object)
		return weft_why(why, -ENOENT, "%s: @%s: no object of this name is there, or stands earlier in the tree: "
				"`weft ctl list` shows the names", above->name, node->ref);
	if (!ours && !object_is_settled(object))
		return weft_why(why, -EBUSY, "%s: @%s: that object is still starting, or on its way down: try again later",
				above->name, node->ref);
	int error = edge_bind(above, port, index, object, false, why);
	if (!error)
		object->refs++;
	return error;
}

/* Which places are taken by name; and are there enough, and not too many, devices? */
static int count_places(const struct weft_object *object, const struct tree *node, bool given_below, unsigned taken[],
	unsigned *in_order, struct weft_why *why)
{
	const struct weft_kind *kind = object->kind;

	WEFT_ASSERT(!node->ref && !strcmp(node->kind, kind->name));
	*in_order = given_below;
	for (unsigned i = 0; i < node->nchildren; i++) {
		const char *name = node->children[i]->port;
		const struct weft_port *port = name ? kind_port(kind, name) : NULL;

		if (name && !port)
			return kind_port_unknown(kind, name, why);
		if (!name)
			(*in_order)++;
		else if (++taken[port - kind->ports] > port->max)
			return weft_why(why, -EINVAL, "%s: %s: more than %u devices: leave some out", kind->name, name, port->max);
	}
	if (*in_order && !kind_has_ports(kind))
		return weft_why(why, -EINVAL, "%s: a device is given below it: this kind is bound to nothing: leave it out",
				kind->name);
	if (*in_order && !kind_port_at(kind, *in_order - 1, *in_order, taken))
		return weft_why(why, -EINVAL, "%s: %u devices are given below it: it takes at most %u: leave some out", kind->name,
				node->nchildren + given_below, kind_places(kind));
	return 0;
}

static int check_minimum(const struct weft_object *object, struct weft_why *why)
{
	WEFT_ASSERT(object->state == WEFT_OBJECT_MADE);
	for (const struct weft_port *port = object->kind->ports; port && port->name; port++) {
		unsigned bound = 0;

		while (bound < port->max && object_places(object, port)[bound])
			bound++;
		if (bound < port->min)
			return weft_why(why, -EINVAL, "%s: %s: %u given, at least %u needed (%s): write it in brackets, "
					"%s:[KIND:ADDRESS]", object->kind->name, port->name, bound, port->min, port->help,
					object->kind->name);
	}
	return 0;
}

static unsigned next_place(const struct weft_object *object, const struct weft_port *port)
{
	unsigned index = 0;

	while (object_places(object, port)[index])
		index++;
	WEFT_ASSERT(index < port->max);
	return index;
}

static int make_children(struct build *build, struct weft_object *object, const struct tree *node)
{
	struct weft_why *why = &build->job->task.why;
	struct weft_object *below = object == build->root ? build->below : NULL;
	unsigned taken[KIND_PORTS_MAX] = { 0 }, in_order, n = 0;
	int error = count_places(object, node, below, taken, &in_order, why);

	WEFT_ASSERT(object->state == WEFT_OBJECT_MADE && !object->below);
	if (!error && below) {
		error = edge_bind(object, kind_port_at(object->kind, n++, in_order, taken), 0, below, true, why);
		if (!error)
			below->refs++;
	}
	for (unsigned i = 0; !error && i < node->nchildren; i++) {
		const struct tree *child = node->children[i];
		const struct weft_port *port = child->port ? kind_port(object->kind, child->port) :
			kind_port_at(object->kind, n++, in_order, taken);

		error = make_node(build, object->core, child, object, port, next_place(object, port), port->wants);
	}
	return error ? error : check_minimum(object, why);
}

/* Makes the node's object, binds it to its place above, then makes what is below. What is bound is taken down
 * with what is above. */
static int make_node(struct build *build, struct weft_core *core, const struct tree *node, struct weft_object *above,
	const struct weft_port *port, unsigned index, const struct weft_iface *wants)
{
	struct weft_why *why = &build->job->task.why;
	struct weft_object *object;
	int error;

	WEFT_ASSERT(!above == !build->root);
	WEFT_ASSERT(!above || notes_of(above)->build == build);
	if (node->ref && above)
		return resolve_ref(build, core, node, above, port, index);
	if (node->ref)
		return weft_why(why, -EINVAL, "@%s: a reference stands for itself: write KIND:ADDRESS, or put a layer around it",
				node->ref);
	if (build->depth >= TREE_DEPTH_MAX || build->count >= build->room)
		return weft_why(why, -EINVAL, "%s: more than %u devices in one another: build the lower part first, and "
				"refer to it by its name", node->kind, TREE_DEPTH_MAX);
	const struct weft_kind *kind = objects_kind(core, node->kind, wants, why);
	if (!kind)
		return -EINVAL;
	error = object_make(core, kind, node, build, &object, why);
	if (error)
		return error;
	if (!above)
		build->root = object;
	else
		error = edge_bind(above, port, index, object, false, why);
	if (error) {
		object_put(object, build->job);
		return error;
	}
	build->depth++;
	error = make_children(build, object, node);
	build->depth--;
	if (!error)
		build->order[build->count++] = object;
	return error;
}

/* ---- ending ---- */

/* Nothing that was made belongs to the build any more. */
static void settle(struct build *build, struct weft_core *core)
{
	WEFT_ASSERT(build->job->core == core);
	for (struct weft_object *object = core->objects->first; object; object = object->link[0])
		if (notes_of(object)->build == build)
			notes_of(object)->build = NULL;
}

static void end_failed(struct build *build, int status)
{
	struct objects_job *job = build->job;
	struct weft_core *core = job->core;

	WEFT_ASSERT(status < 0 && job->task.why.text[0]);
	settle(build, core);
	job->status = status;
	job->build = NULL;
	if (build->root)
		object_put(build->root, job);
	weft_free(core, build);
	if (!job->pending)
		job_end_later(job, core, status);
}

/* What was bound to `below` is bound to the new layer now, as far as that offers what they want. */
static void take_over(struct weft_object *below, struct weft_object *layer)
{
	struct weft_edge *next;

	WEFT_ASSERT(layer->state == WEFT_OBJECT_RUNNING && below->refs);
	for (struct weft_edge *edge = below->above; edge; edge = next) {
		next = edge->next_above;
		if (edge->above == layer || !edge->above->refs || !weft_object_query(layer, edge->port->wants))
			continue;
		edge_move(edge, layer);
		object_put(below, NULL); /* never the last: the layer is bound to it */
	}
}

static void end_well(struct build *build)
{
	struct objects_job *job = build->job;
	struct weft_core *core = job->core;

	WEFT_ASSERT(build->next == build->count && build->root->state == WEFT_OBJECT_RUNNING);
	WEFT_ASSERT(build->root->refs == 1 && !build->root->above);
	settle(build, core);
	for (unsigned i = 0; i < build->count; i++) {
		struct notes *notes = notes_of(build->order[i]);

		if (notes->missed_resize)
			object_lower_resized(build->order[i]);
		notes->missed_resize = false;
	}
	if (build->below) {
		take_over(build->below, build->root);
		objects_resized(build->root);
	}
	*job->out = build->root;
	job->build = NULL;
	job->status = 0;
	weft_free(core, build);
	objects_check(core);
	job_end(job);
}

/* ---- starting, from the bottom up ---- */

static void started_msg(void *self);

static void start_done(struct weft_task *task, int status)
{
	struct notes *notes = WEFT_CONTAINER(task, struct notes, task);
	struct weft_object *object = notes->msg.self;

	WEFT_ASSERT(status <= 0 && object->state == WEFT_OBJECT_STARTING);
	WEFT_ASSERT(object->task == task);
	notes->status = status;
	notes->msg.fn = started_msg;
	weft_reactor_post(object->core->reactor[0], &notes->msg);
}

static void start_next(struct build *build)
{
	WEFT_ASSERT(build->next <= build->count);
	if (build->next == build->count) {
		end_well(build);
		return;
	}
	struct weft_object *object = build->order[build->next];
	struct notes *notes = notes_of(object);
	object_check(object);
	WEFT_ASSERT(object->state == WEFT_OBJECT_MADE);
	object->state = WEFT_OBJECT_STARTING;
	object->task = &notes->task;
	notes->task.done = start_done;
	notes->msg.self = object;
	notes->tried = true;
	object->kind->start(object, &notes->task);
}

static int call_started_hooks(struct weft_object *object, struct weft_why *why)
{
	const struct objects *objects = object->core->objects;
	int error = 0;
	unsigned i;

	WEFT_ASSERT(object->state == WEFT_OBJECT_RUNNING && !notes_of(object)->hooked);
	for (i = 0; !error && i < objects->nhooks; i++) {
		const struct objects_hook *hook = objects->hooks[i];
		void *offer = hook->started ? weft_object_query(object, hook->iface) : NULL;

		error = offer ? hook->started(object, offer, why) : 0;
	}
	if (!error)
		return 0;
	for (i--; i-- > 0;) {
		const struct objects_hook *hook = objects->hooks[i];
		void *offer = hook->stopped ? weft_object_query(object, hook->iface) : NULL;

		if (offer)
			hook->stopped(object, offer);
	}
	return error;
}

/* What the environment says of an address does not know whose it is. */
static void start_failed_why(const struct weft_object *object, int error, struct weft_why *why)
{
	const char *text = notes_of(object)->task.why.text, *kind = object->kind->name, *name = object->name;

	WEFT_ASSERT(error < 0);
	if (!text[0])
		weft_why(why, error, "%s: could not start: %s", name, error_words(error));
	else if (strncmp(text, kind, strlen(kind)) && strncmp(text, name, strlen(name)))
		weft_why(why, error, "%s: %s", kind, text);
	else
		*why = notes_of(object)->task.why;
}

static void started_msg(void *self)
{
	struct weft_object *object = self;
	struct notes *notes = notes_of(object);
	struct build *build = notes->build;
	struct weft_why *why = &build->job->task.why;
	int error = notes->status;

	WEFT_ASSERT(object->state == WEFT_OBJECT_STARTING);
	WEFT_ASSERT(build->next < build->count && build->order[build->next] == object);
	object->task = NULL;
	object->state = error ? WEFT_OBJECT_STOPPED : WEFT_OBJECT_RUNNING;
	if (error)
		start_failed_why(object, error, why);
	if (!error) {
		why->text[0] = '\0';
		error = call_started_hooks(object, why);
		notes->hooked = !error;
		if (error && !why->text[0])
			weft_why(why, error, "%s: could not start: %s", object->name, error_words(error));
	}
	if (error) {
		end_failed(build, error);
		return;
	}
	build->next++;
	start_next(build);
}

static void begin_msg(void *self)
{
	struct objects_job *job = self;

	WEFT_ASSERT(!job->build->next && job->build->job == job);
	start_next(job->build);
}

/* ---- beginning ---- */

static unsigned count_nodes(const struct tree *tree)
{
	unsigned count = 1;

	WEFT_ASSERT(!tree->ref || !tree->nchildren);
	for (unsigned i = 0; i < tree->nchildren; i++)
		count += count_nodes(tree->children[i]);
	return count;
}

void build_begin(struct weft_core *core, const struct tree *tree, const struct weft_iface *wants, struct weft_object *below,
	struct weft_object **out, struct objects_job *job)
{
	unsigned nodes = count_nodes(tree);
	struct build *build = weft_alloc(core, sizeof(*build) + nodes * sizeof(build->order[0]));

	objects_check(core);
	WEFT_ASSERT(job->task.done && !job->pending && !job->build);
	WEFT_ASSERT(!below || object_is_settled(below));
	*out = NULL;
	job->core = core;
	job->out = out;
	job->task.why.text[0] = '\0';
	if (!build) {
		weft_why(&job->task.why, -ENOMEM, "no memory to build a tree of %u: end something else, or raise the memory limit",
			 nodes);
		job_end_later(job, core, -ENOMEM);
		return;
	}
	build->job = job;
	build->below = below;
	build->room = nodes;
	int error = make_node(build, core, tree, NULL, NULL, 0, wants);
	if (error) {
		end_failed(build, error);
		return;
	}
	job->build = build;
	job_post(job, begin_msg);
}

void objects_build(struct weft_core *core, const struct tree *tree, const struct weft_iface *wants, struct weft_object **out,
	struct objects_job *job)
{
	object_control_assert(core);
	build_begin(core, tree, wants, NULL, out, job);
}
