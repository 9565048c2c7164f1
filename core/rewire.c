/* SPDX-License-Identifier: BSD-2-Clause */
/* Changes of the graph while it runs: another binding, a layer more or less, another size, another value of an
 * option. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/kind.h"
#include "core/object.h"
#include "core/option.h"

/* ---- bindings ---- */

static struct weft_edge *find_edge(const struct weft_object *above, const struct weft_port *port, unsigned index)
{
	WEFT_ASSERT(port);
	for (struct weft_edge *edge = above->below; edge; edge = edge->next_below)
		if (edge->port == port && edge->index == index)
			return edge;
	return NULL;
}

int objects_rebind(struct weft_object *above, const char *port_name, unsigned index, struct weft_object *below,
	struct weft_why *why)
{
	const struct weft_port *port = kind_port(above->kind, port_name);
	struct weft_edge *edge = port ? find_edge(above, port, index) : NULL;

	object_control_assert(above->core);
	object_check(above);
	object_check(below);
	WEFT_ASSERT(object_is_settled(above) && object_is_settled(below));
	if (!port)
		return kind_port_unknown(above->kind, port_name, why);
	if (!edge)
		return weft_why(why, -EINVAL, "%s: %s %u: nothing is bound there: count from 0, as `weft ctl list` shows",
				above->name, port_name, index);
	if (edge->below == below)
		return 0;
	int error = edge_allowed(above, port, edge, below, false, why);
	if (error)
		return error;
	struct weft_object *old = edge->below;
	edge_move(edge, below);
	WEFT_ASSERT(find_edge(above, port, index)->below == below);
	object_put(old, NULL);
	object_lower_resized(above);
	objects_check(above->core);
	return 0;
}

void objects_insert_above(struct weft_object *below, const struct tree *tree, struct weft_object **out,
	struct objects_job *job)
{
	object_control_assert(below->core);
	WEFT_ASSERT(object_is_settled(below));
	build_begin(below->core, tree, below->kind->offers->iface, below, out, job);
}

/* May all that is bound to `filter` be bound to `lower` instead? `own`: the filter's edge to it. */
static int check_removable(const struct weft_object *filter, const struct weft_edge *own, struct weft_why *why)
{
	unsigned above = 0;

	WEFT_ASSERT(!own || own->above == filter);
	if (!own || own->next_below)
		return weft_why(why, -EINVAL, "%s: a %s cannot be removed: it must be bound to exactly one device below; choose a "
				"filter", filter->name, filter->kind->name);
	for (const struct weft_edge *edge = filter->above; edge; edge = edge->next_above) {
		int error = edge_allowed(edge->above, edge->port, own, own->below, false, why);

		if (error)
			return error;
		above++;
	}
	if (filter->refs > above + 1)
		return weft_why(why, -EBUSY, "%s: it is still referred to by something that is not bound to it: end that first",
				filter->name);
	return 0;
}

void objects_remove_filter(struct weft_object *filter, struct weft_object **out, struct objects_job *job)
{
	struct weft_core *core = filter->core;
	struct weft_edge *own = filter->below;

	object_control_assert(core);
	objects_check(core);
	WEFT_ASSERT(object_is_settled(filter));
	*out = NULL;
	job->task.why.text[0] = '\0';
	int error = check_removable(filter, own, &job->task.why);
	if (error) {
		job_end_later(job, core, error);
		return;
	}
	struct weft_object *lower = own->below;
	while (filter->above) {
		edge_move(filter->above, lower);
		filter->refs--;
	}
	WEFT_ASSERT(filter->refs == 1 && !filter->above);
	lower->refs++;
	*out = lower;
	objects_release(filter, job);
	objects_resized(lower);
}

/* ---- sizes ---- */

static bool tells_above(const struct weft_object *object)
{
	if (object->state == WEFT_OBJECT_STARTING)
		notes_of(object)->missed_resize = true;
	return object->state == WEFT_OBJECT_RUNNING && object->refs;
}

void object_lower_resized(struct weft_object *object)
{
	const struct objects *objects = object->core->objects;

	WEFT_ASSERT(object->state == WEFT_OBJECT_RUNNING && object->refs);
	if (object->kind->lower_resized)
		object->kind->lower_resized(object);
	for (unsigned i = 0; i < objects->nhooks; i++) {
		const struct objects_hook *hook = objects->hooks[i];
		void *offer = hook->lower_resized ? weft_object_query(object, hook->iface) : NULL;

		if (offer)
			hook->lower_resized(object, offer);
	}
}

void objects_resized(struct weft_object *object)
{
	struct weft_edge *next;

	WEFT_ASSERT(object->kind);
	object_control_assert(object->core);
	for (struct weft_edge *edge = object->above; edge; edge = next) {
		next = edge->next_above;
		if (tells_above(edge->above))
			object_lower_resized(edge->above);
	}
}

static void resized_msg(void *self)
{
	struct objects_job *job = self;

	WEFT_ASSERT(job->object->refs);
	if (job->status) {
		job->task.why = job->inner.why;
		if (!job->task.why.text[0])
			weft_why(&job->task.why, job->status, "%s: could not be resized: %s", job->object->name,
				 error_words(job->status));
	}
	object_put(job->object, NULL);
	job_end(job);
}

static void resize_done(struct weft_task *task, int status)
{
	struct objects_job *job = WEFT_CONTAINER(task, struct objects_job, inner);

	WEFT_ASSERT(status <= 0);
	job->status = status;
	job_post(job, resized_msg);
}

void objects_resize(struct weft_object *object, uint64_t size, struct objects_job *job)
{
	object_control_assert(object->core);
	object_check(object);
	WEFT_ASSERT(object_is_settled(object) && job->task.done);
	if (!object->kind->resize) {
		weft_why(&job->task.why, -ENOTSUP, "%s: size=%llu: a %s cannot be resized: resize what is below it, or choose "
			 "another kind", object->name, (unsigned long long)size, object->kind->name);
		job_end_later(job, object->core, -ENOTSUP);
		return;
	}
	job->core = object->core;
	job->object = object;
	job->inner.done = resize_done;
	job->inner.why.text[0] = '\0';
	object->refs++;
	object->kind->resize(object, size, &job->inner);
}

/* ---- options ---- */

int objects_set_option(struct weft_object *object, const char *name, const char *value, struct weft_why *why)
{
	object_control_assert(object->core);
	object_check(object);
	WEFT_ASSERT(object_is_settled(object));
	return option_change(object, name, value, why);
}
