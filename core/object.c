/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects: making one, the edges between them, references, taking down, looking. Invariants, checked at each
 * entry for the objects concerned and by objects_check for all:
 *
 *  1. refs >= number of edges to it; an object with refs == 0 is on its way down and nothing is bound to it.
 *  2. An edge is in exactly two lists, above->below and below->above; the place in the instance points to what
 *     `below` offers.
 *  3. What is bound by an exclusive port is bound by nothing else (but while a layer is being inserted or removed).
 *  4. Below what is starting, running or stopping, everything is running.
 *  5. There is no cycle.
 *  6. Names are valid and there is no other object of that name.
 *  7. What is settled has each port bound at least `min` times, without gaps.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "core/kind.h"
#include "core/object.h"
#include "core/option.h"

int objects_open(struct weft_core *core, struct weft_why *why)
{
	WEFT_ASSERT(!core->objects);
	core->objects = weft_alloc(core, sizeof(*core->objects));
	if (!core->objects)
		return weft_why(why, -ENOMEM, "no memory for the table of objects: end something else, or raise the memory limit");
	return 0;
}

void objects_close(struct weft_core *core)
{
	WEFT_ASSERT(!core->objects->first && !core->objects->drain);
	kinds_close(core);
	weft_free(core, core->objects);
	core->objects = NULL;
}

void objects_hook_add(struct weft_core *core, const struct objects_hook *hook)
{
	WEFT_ASSERT(hook->iface && !core->objects->first);
	WEFT_ASSERT(core->objects->nhooks < OBJECTS_HOOKS_MAX);
	core->objects->hooks[core->objects->nhooks++] = hook;
}

/* ---- invariants ---- */

void object_control_assert(const struct weft_core *core)
{
	struct weft_reactor *here = weft_reactor_here();

	WEFT_ASSERT(!here || here == core->reactor[0]);
	WEFT_ASSERT(core->objects);
}

static bool edge_in_motion(const struct weft_edge *edge)
{
	return notes_of(edge->above)->build || !edge->above->refs;
}

static void check_above(const struct weft_object *object)
{
	unsigned edges = 0, exclusive = 0, resting = 0;

	for (const struct weft_edge *edge = object->above; edge; edge = edge->next_above) {
		WEFT_ASSERT(edge->below == object);
		edges++;
		if (edge_in_motion(edge))
			continue;
		resting++;
		exclusive += !!(edge->port->flags & WEFT_PORT_EXCLUSIVE);
	}
	WEFT_ASSERT(object->refs >= edges);                 /* 1 */
	WEFT_ASSERT(!exclusive || resting == 1);            /* 3 */
}

static void check_below(const struct weft_object *object)
{
	bool active = object->state >= WEFT_OBJECT_STARTING && object->state <= WEFT_OBJECT_STOPPING;
	const struct weft_port *port = NULL;
	unsigned index = 0;

	for (const struct weft_edge *edge = object->below; edge; edge = edge->next_below) {
		WEFT_ASSERT(edge->above == object);
		WEFT_ASSERT(object_places(object, edge->port)[edge->index] ==
			    weft_object_query(edge->below, edge->port->wants)); /* 2 */
		WEFT_ASSERT(!active || edge->below->state == WEFT_OBJECT_RUNNING); /* 4 */
		index = edge->port == port ? index + 1 : 0;
		port = edge->port;
		WEFT_ASSERT(edge->index == index || notes_of(object)->build); /* 7 */
	}
}

void object_check(const struct weft_object *object)
{
	const struct notes *notes = notes_of(object);

	WEFT_ASSERT(object->kind && object->core && object->name && notes);
	WEFT_ASSERT(tree_name_valid(object->name));
	WEFT_ASSERT(!notes->hooked || object->state == WEFT_OBJECT_RUNNING || object->state == WEFT_OBJECT_STOPPING);
	check_above(object);
	check_below(object);
}

static unsigned bound_count(const struct weft_object *object, const struct weft_port *port)
{
	unsigned count = 0;

	WEFT_ASSERT(port >= object->kind->ports);
	for (const struct weft_edge *edge = object->below; edge; edge = edge->next_below)
		count += edge->port == port;
	return count;
}

/* Is this the walk's first time here? */
static bool walk_enters(const struct weft_object *object)
{
	bool first = notes_of(object)->walk != object->core->objects->walk;

	notes_of(object)->walk = object->core->objects->walk;
	return first;
}

static void check_acyclic(const struct weft_object *object)
{
	struct notes *notes = notes_of(object);

	WEFT_ASSERT(!notes->on_path); /* 5 */
	if (!walk_enters(object))
		return;
	notes->on_path = true;
	for (const struct weft_edge *edge = object->below; edge; edge = edge->next_below)
		check_acyclic(edge->below);
	notes->on_path = false;
}

void objects_check(struct weft_core *core)
{
	core->objects->walk++;
	for (struct weft_object *object = core->objects->first; object; object = object->link[0]) {
		object_check(object);
		check_acyclic(object);
		WEFT_ASSERT(object_named(core, object->name) == object); /* 6 */
		if (!object_is_settled(object))
			continue;
		for (const struct weft_port *port = object->kind->ports; port && port->name; port++)
			WEFT_ASSERT(bound_count(object, port) >= port->min); /* 7 */
	}
}

/* ---- jobs ---- */

void job_end(struct objects_job *job)
{
	WEFT_ASSERT(!job->pending && job->status <= 0);
	WEFT_ASSERT(!job->status || job->task.why.text[0]);
	job->task.done(&job->task, job->status);
}

static void job_end_msg(void *self)
{
	job_end(self);
}

void job_post(struct objects_job *job, weft_reactor_fn *fn)
{
	WEFT_ASSERT(job->core && fn);
	job->msg.fn = fn;
	job->msg.self = job;
	weft_reactor_post(job->core->reactor[0], &job->msg);
}

void job_end_later(struct objects_job *job, struct weft_core *core, int status)
{
	WEFT_ASSERT(job->task.done);
	job->core = core;
	job->status = status;
	job_post(job, job_end_msg);
}

/* ---- making ---- */

/* FNV-1a. */
static struct weft_object **place_named(struct weft_core *core, const char *name)
{
	uint32_t hash = 2166136261u;

	WEFT_ASSERT(name);
	for (; *name; name++)
		hash = (hash ^ (unsigned char)*name) * 16777619u;
	return &core->objects->named[(hash ^ hash >> 16) % OBJECTS_NAMED];
}

struct weft_object *object_named(struct weft_core *core, const char *name)
{
	for (struct weft_object *object = *place_named(core, name); object; object = notes_of(object)->next_named) {
		WEFT_ASSERT(object->core == core && object->name);
		if (!strcmp(object->name, name))
			return object;
	}
	return NULL;
}

/* The given name, or the kind's with the first number that is free. */
static int choose_name(struct weft_object *object, const struct tree *node, struct weft_why *why)
{
	struct weft_core *core = object->core;
	char name[48];
	unsigned number = 0;

	WEFT_ASSERT(!object->name);
	if (node->name && !tree_name_valid(node->name))
		return weft_why(why, -EINVAL, "%s: name='%.70s' is no name: use letters, digits, '-', '_' and '.', at most 63",
				object->kind->name, node->name);
	if (node->name && object_named(core, node->name))
		return weft_why(why, -EEXIST, "%s: name='%s': there is an object of this name: choose another one",
				object->kind->name, node->name);
	do
		snprintf(name, sizeof(name), "%s%u", object->kind->name, number++);
	while (!node->name && object_named(core, name));
	object->name = weft_strdup(core, node->name ? node->name : name);
	notes_of(object)->named = node->name;
	if (!object->name)
		return weft_why(why, -ENOMEM, "%s: no memory for its name: end something else, or raise the memory limit",
				object->kind->name);
	return 0;
}

static void link_last(struct weft_object *object)
{
	struct objects *objects = object->core->objects;
	struct weft_object **named = place_named(object->core, object->name);

	WEFT_ASSERT(!object->link[0] && !object->link[1] && !notes_of(object)->next_named);
	notes_of(object)->next_named = *named;
	*named = object;
	object->link[1] = objects->last;
	if (objects->last)
		objects->last->link[0] = object;
	else
		objects->first = object;
	objects->last = object;
}

static void unlink_object(struct weft_object *object)
{
	struct objects *objects = object->core->objects;
	struct weft_object *next = object->link[0], *previous = object->link[1];
	struct weft_object **named = place_named(object->core, object->name);

	WEFT_ASSERT(!object->refs && !object->above);
	while (*named != object) {
		WEFT_ASSERT(*named);
		named = &notes_of(*named)->next_named;
	}
	*named = notes_of(object)->next_named;
	if (next)
		next->link[1] = previous;
	else
		objects->last = previous;
	if (previous)
		previous->link[0] = next;
	else
		objects->first = next;
}

int object_make(struct weft_core *core, const struct weft_kind *kind, const struct tree *node, struct build *build,
	struct weft_object **out, struct weft_why *why)
{
	size_t notes_at = (kind->size + 15u) & ~(size_t)15;
	struct weft_object *object = weft_alloc_aligned(core, 128, notes_at + sizeof(struct notes));

	WEFT_ASSERT(kind->start && !node->ref);
	if (!object)
		return weft_why(why, -ENOMEM, "%s: no memory for it: end something else, or raise the memory limit", kind->name);
	object->kind = kind;
	object->core = core;
	object->refs = 1;
	object->state = WEFT_OBJECT_MADE;
	object->own = (char *)object + notes_at;
	notes_of(object)->build = build;
	int error = choose_name(object, node, why);
	if (!error)
		error = option_apply(object, node, why);
	if (error) {
		weft_free(core, object->name);
		weft_free(core, object);
		return error;
	}
	link_last(object);
	*out = object;
	return 0;
}

/* ---- edges ---- */

void **object_places(const struct weft_object *object, const struct weft_port *port)
{
	return (void **)(void *)((char *)(uintptr_t)object + port->offset);
}

/* Can `to` be reached from `from` upwards? */
static bool reaches_up(const struct weft_object *from, const struct weft_object *to)
{
	WEFT_ASSERT(from->core == to->core);
	if (from == to)
		return true;
	if (!walk_enters(from))
		return false;
	for (const struct weft_edge *edge = from->above; edge; edge = edge->next_above)
		if (reaches_up(edge->above, to))
			return true;
	return false;
}

int edge_allowed(const struct weft_object *above, const struct weft_port *port, const struct weft_edge *edge,
	const struct weft_object *below, bool insert, struct weft_why *why)
{
	WEFT_ASSERT(above->core == below->core);
	if (!weft_object_query(below, port->wants))
		return weft_why(why, -EINVAL, "%s: %s='%s': it does not offer '%s' (version %u): bind another object",
				above->name, port->name, below->name, port->wants->name, port->wants->version);
	above->core->objects->walk++;
	if (reaches_up(above, below))
		return weft_why(why, -ELOOP, "%s: %s='%s': this would be a cycle: bind an object that does not stand above it",
				above->name, port->name, below->name);
	for (const struct weft_edge *other = below->above; other; other = other->next_above) {
		bool moves = insert && weft_object_query(above, other->port->wants);

		if (other == edge || moves || !other->above->refs)
			continue;
		if (port->flags & WEFT_PORT_EXCLUSIVE)
			return weft_why(why, -EBUSY, "%s: %s='%s': it is used by '%s', and must be had alone here: end that first",
					above->name, port->name, below->name, other->above->name);
		if (other->port->flags & WEFT_PORT_EXCLUSIVE)
			return weft_why(why, -EBUSY, "%s: %s='%s': it is used by '%s', which has it alone: end that first, "
					"or bind '%s'",
					above->name, port->name, below->name, other->above->name, other->above->name);
	}
	return 0;
}

static void link_above(struct weft_edge *edge)
{
	struct weft_edge **at = &edge->below->above;

	WEFT_ASSERT(edge->below && edge->below->refs);
	while (*at)
		at = &(*at)->next_above;
	edge->next_above = NULL;
	*at = edge;
}

static void unlink_above(struct weft_edge *edge)
{
	struct weft_edge **at = &edge->below->above;

	WEFT_ASSERT(edge->below->above);
	while (*at != edge)
		at = &(*at)->next_above;
	*at = edge->next_above;
}

int edge_bind(struct weft_object *above, const struct weft_port *port, unsigned index, struct weft_object *below, bool insert,
	struct weft_why *why)
{
	struct weft_edge *edge, **at = &above->below;
	int error = edge_allowed(above, port, NULL, below, insert, why);

	WEFT_ASSERT(index < port->max && !object_places(above, port)[index]);
	if (error)
		return error;
	edge = weft_alloc(above->core, sizeof(*edge));
	if (!edge)
		return weft_why(why, -ENOMEM, "%s: no memory to bind '%s': end something else, or raise the memory limit",
				above->name, below->name);
	*edge = (struct weft_edge){ .above = above, .below = below, .port = port, .index = index };
	while (*at && ((*at)->port < port || ((*at)->port == port && (*at)->index < index)))
		at = &(*at)->next_below;
	edge->next_below = *at;
	*at = edge;
	link_above(edge);
	object_places(above, port)[index] = weft_object_query(below, port->wants);
	return 0;
}

void edge_move(struct weft_edge *edge, struct weft_object *below)
{
	void *offer = weft_object_query(below, edge->port->wants);

	WEFT_ASSERT(offer && below->refs);
	unlink_above(edge);
	below->refs++;
	edge->below = below;
	link_above(edge);
	object_places(edge->above, edge->port)[edge->index] = offer;
}

/* ---- references and taking down ---- */

static void stopped_msg(void *self);

static void post_stopped(struct weft_object *object)
{
	struct notes *notes = notes_of(object);

	WEFT_ASSERT(!notes->msg.posted && !object->refs);
	notes->msg.fn = stopped_msg;
	notes->msg.self = object;
	weft_reactor_post(object->core->reactor[0], &notes->msg);
}

static void stop_done(struct weft_task *task, int status)
{
	struct notes *notes = WEFT_CONTAINER(task, struct notes, task);

	WEFT_ASSERT(((struct weft_object *)notes->msg.self)->state == WEFT_OBJECT_STOPPING);
	(void)status; /* there is no way to go on with what could not be stopped */
	post_stopped(notes->msg.self);
}

static void take_down(struct weft_object *object, struct objects_job *job)
{
	struct notes *notes = notes_of(object);

	WEFT_ASSERT(!object->above && !notes->gone);
	WEFT_ASSERT(object->state != WEFT_OBJECT_STARTING && object->state != WEFT_OBJECT_STOPPING);
	notes->gone = job;
	if (job)
		job->pending++;
	if (object->state != WEFT_OBJECT_RUNNING || !object->kind->stop) {
		post_stopped(object);
		return;
	}
	object->state = WEFT_OBJECT_STOPPING;
	object->task = &notes->task;
	notes->task.done = stop_done;
	notes->msg.self = object;
	object->kind->stop(object, &notes->task);
}

void object_put(struct weft_object *object, struct objects_job *job)
{
	WEFT_ASSERT(object->refs > 0);
	if (--object->refs == 0)
		take_down(object, job);
}

static void call_stopped_hooks(struct weft_object *object)
{
	const struct objects *objects = object->core->objects;

	WEFT_ASSERT(notes_of(object)->hooked);
	for (unsigned i = objects->nhooks; i-- > 0;) {
		const struct objects_hook *hook = objects->hooks[i];
		void *offer = hook->stopped ? weft_object_query(object, hook->iface) : NULL;

		if (offer)
			hook->stopped(object, offer);
	}
}

/* Lets go of all that is below. */
static void unbind_all(struct weft_object *object, struct objects_job *job)
{
	struct weft_edge *edge;

	WEFT_ASSERT(!object->refs);
	while ((edge = object->below)) {
		object->below = edge->next_below;
		unlink_above(edge);
		object_put(edge->below, job);
		weft_free(object->core, edge);
	}
}

static void stopped_msg(void *self)
{
	struct weft_object *object = self;
	struct weft_core *core = object->core;
	struct notes *notes = notes_of(object);
	struct objects_job *job = notes->gone;

	WEFT_ASSERT(!object->refs && !object->above);
	if (notes->hooked)
		call_stopped_hooks(object);
	notes->hooked = false;
	object->state = WEFT_OBJECT_STOPPED;
	object->task = NULL;
	if (notes->tried && object->kind->destroy)
		object->kind->destroy(object);
	unbind_all(object, job);
	unlink_object(object);
	option_free(object);
	weft_free(core, object->name);
	weft_free(core, object);
	if (job && --job->pending == 0)
		job_end(job);
	job = core->objects->drain;
	if (job && !core->objects->first) {
		core->objects->drain = NULL;
		job_end(job);
	}
}

void weft_object_get(struct weft_object *object)
{
	object_control_assert(object->core);
	WEFT_ASSERT(object->refs > 0);
	object->refs++;
}

void weft_object_put(struct weft_object *object)
{
	WEFT_ASSERT(object->refs > 0);
	object_control_assert(object->core);
	object_check(object);
	object_put(object, NULL);
}

void objects_release(struct weft_object *object, struct objects_job *job)
{
	struct weft_core *core = object->core;

	object_control_assert(core);
	object_check(object);
	WEFT_ASSERT(job->task.done && !job->pending);
	job->core = core;
	job->status = 0;
	if (object->refs > 1) {
		object->refs--;
		job_end_later(job, core, 0);
		return;
	}
	object_put(object, job);
}

void objects_drain(struct weft_core *core, struct objects_job *job)
{
	object_control_assert(core);
	WEFT_ASSERT(job->task.done && !core->objects->drain);
	if (!core->objects->first) {
		job_end_later(job, core, 0);
		return;
	}
	job->core = core;
	job->status = 0;
	core->objects->drain = job;
}

/* ---- looking ---- */

void *weft_object_query(const struct weft_object *object, const struct weft_iface *iface)
{
	WEFT_ASSERT(object && iface);
	for (const struct weft_offer *offer = object->kind->offers; offer->iface; offer++)
		if (iface_same(offer->iface, iface))
			return (char *)(uintptr_t)object + offer->offset;
	return NULL;
}

bool object_is_settled(const struct weft_object *object)
{
	return object->state == WEFT_OBJECT_RUNNING && object->refs && !notes_of(object)->build;
}

struct weft_object *objects_find(struct weft_core *core, const char *name)
{
	WEFT_ASSERT(name);
	object_control_assert(core);
	struct weft_object *object = object_named(core, name);

	return object && object_is_settled(object) ? object : NULL;
}

struct weft_object *objects_next(struct weft_core *core, const struct weft_object *last)
{
	struct weft_object *object = last ? last->link[0] : core->objects->first;

	WEFT_ASSERT(!last || last->core == core);
	object_control_assert(core);
	while (object && !object_is_settled(object))
		object = object->link[0];
	WEFT_ASSERT(!object || object->refs > 0);
	return object;
}

struct weft_object *objects_next_of(struct weft_core *core, const struct weft_kind *kind, const struct weft_object *last)
{
	struct weft_object *object = last ? last->link[0] : core->objects->first;

	WEFT_ASSERT(!last || last->kind == kind);
	object_control_assert(core);
	while (object && (object->kind != kind || object->state != WEFT_OBJECT_RUNNING || !object->refs))
		object = object->link[0];
	return object;
}

struct weft_object *objects_below(const struct weft_object *object, unsigned n, const struct weft_port **port)
{
	const struct weft_edge *edge = object->below;

	while (edge && n--)
		edge = edge->next_below;
	if (edge && port)
		*port = edge->port;
	return edge ? edge->below : NULL;
}

struct weft_object *objects_above(const struct weft_object *object, unsigned n, const struct weft_port **port)
{
	const struct weft_edge *edge = object->above;

	while (edge && n--)
		edge = edge->next_above;
	if (edge && port)
		*port = edge->port;
	return edge ? edge->above : NULL;
}
