/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Live changes: freeze the exports that stand on what is rewired, rewire it, thaw them. When an export cannot go on with a layer
 * that was inserted, it is taken out again in the same way. Other devices go on meanwhile.
 */
#include <errno.h>
#include <string.h>

#include "cli/serve.h"

static void freeze_next(struct change *c);
static void thaw_next(struct change *c);
static void apply_undo(struct change *c);

static struct change *of_task(struct weft_task *task)
{
	return WEFT_CONTAINER(task, struct change, task);
}

static struct change *of_job(struct weft_task *task)
{
	return WEFT_CONTAINER(task, struct change, job.task);
}

static void failed(struct change *c, int status, const struct weft_why *why)
{
	if (c->status == 0) {
		c->status = status;
		c->why = *why;
	}
}

static void ends(struct change *c)
{
	tree_free(c->serve->w.core, c->tree);
	c->tree = NULL;
	c->done(c, c->status);
}

/* The next export that is to be frozen; NULL: there is none. */
static struct serve_export *unfrozen(const struct change *c)
{
	for (unsigned i = 0; i < c->serve->exports; i++) {
		struct serve_export *e = &c->serve->export[i];

		if (!e->frozen && served_stands_on(e->object, c->around))
			return e;
	}
	return NULL;
}

static struct serve_export *frozen(const struct change *c)
{
	for (unsigned i = 0; i < c->serve->exports; i++)
		if (c->serve->export[i].frozen)
			return &c->serve->export[i];
	return NULL;
}

/* ---- freeze ---- */

static void frozen_done(struct weft_task *task, int status)
{
	struct change *c = of_task(task);

	if (status != 0) {
		failed(c, status, &task->why);
		thaw_next(c);
		return;
	}
	c->at->frozen = true;
	freeze_next(c);
}

static void freeze_next(struct change *c)
{
	struct serve_export *e = unfrozen(c);
	struct weft_export *exp;

	if (e == NULL) {
		c->apply(c);
		return;
	}
	c->step = CHANGE_FREEZES;
	c->at = e;
	exp = weft_object_query(e->object, &weft_export_iface);
	c->task = (struct weft_task){ .done = frozen_done };
	exp->ops->freeze(exp, &c->task);
}

/* ---- thaw ---- */

static void thaw_done(struct weft_task *task, int status)
{
	struct change *c = of_task(task);

	if (status == 0) {
		c->at->frozen = false;
		thaw_next(c);
		return;
	}
	failed(c, status, &task->why);
	if (c->inserted) {
		c->apply = apply_undo;
		c->around = c->filter;
		freeze_next(c);
		return;
	}
	ends(c); /* what could not be thawed stays frozen: the next change tries again */
}

static void thaw_next(struct change *c)
{
	struct serve_export *e = frozen(c);
	struct weft_export *exp;

	if (e == NULL) {
		ends(c);
		return;
	}
	c->step = CHANGE_THAWS;
	c->at = e;
	exp = weft_object_query(e->object, &weft_export_iface);
	c->task = (struct weft_task){ .done = thaw_done };
	exp->ops->thaw(exp, &c->task);
}

/* ---- rewiring, while all is frozen ---- */

/* Devices whose top is `old` have `top` from now on, and refer to it. */
static void tops_move(struct change *c, struct weft_object *old, struct weft_object *top)
{
	for (unsigned i = 0; i < c->serve->devices; i++) {
		struct served *d = &c->serve->served[i];

		if (d->device != old)
			continue;
		weft_object_get(top);
		d->device = top;
		weft_object_put(old);
	}
}

static void inserted_done(struct weft_task *task, int status)
{
	struct change *c = of_job(task);

	if (status != 0) {
		failed(c, status, &task->why);
	} else {
		c->inserted = true;
		tops_move(c, c->around, c->filter);
		weft_object_put(c->filter); /* ours */
	}
	thaw_next(c);
}

static void apply_insert(struct change *c)
{
	c->step = CHANGE_MAKES;
	c->job = (struct objects_job){ .task.done = inserted_done };
	objects_insert_above(c->around, c->tree, &c->filter, &c->job);
}

/* Nothing but what is bound to a layer may refer to it when it is taken out: the devices on whose top it is let go of it, and
 * refer to `top` at last. */
static void relay_begin(struct change *c)
{
	for (unsigned i = 0; i < c->serve->devices; i++) {
		struct served *d = &c->serve->served[i];

		d->relay = d->device == c->filter;
		if (d->relay)
			weft_object_put(d->device);
	}
}

static void relay_end(struct change *c, struct weft_object *top)
{
	for (unsigned i = 0; i < c->serve->devices; i++) {
		struct served *d = &c->serve->served[i];

		if (!d->relay)
			continue;
		d->relay = false;
		d->device = top;
		weft_object_get(top);
	}
}

static void removed_done(struct weft_task *task, int status)
{
	struct change *c = of_job(task);

	c->inserted = false;
	if (status != 0)
		failed(c, status, &task->why);
	weft_object_put(status == 0 ? c->out : c->filter); /* ours: what objects_remove_filter gave, or has left */
	thaw_next(c);
}

static void apply_remove(struct change *c)
{
	c->step = CHANGE_ENDS;
	weft_object_get(c->filter);
	relay_begin(c);
	c->job = (struct objects_job){ .task.done = removed_done };
	objects_remove_filter(c->filter, &c->out, &c->job);
	relay_end(c, c->out != NULL ? c->out : c->filter); /* now, since devices are looked at while the filter goes */
}

static void apply_undo(struct change *c)
{
	apply_remove(c);
}

/* ---- beginning ---- */

void change_insert(struct change *c, const char *layer)
{
	int error = world_parse(&c->serve->w, layer, &weft_blk_iface, &c->tree, &c->why);

	c->status = 0;
	if (error != 0) {
		c->tree = NULL;
		c->status = error;
		ends(c);
		return;
	}
	c->apply = apply_insert;
	c->around = c->of->device;
	freeze_next(c);
}

/* The first device that stands on `object`; NULL: none does. */
static struct served *device_on(struct serve *s, const struct weft_object *object)
{
	for (unsigned i = 0; i < s->devices; i++)
		if (served_stands_on(s->served[i].device, object))
			return &s->served[i];
	return NULL;
}

void change_remove(struct change *c, const char *name)
{
	c->filter = serve_find(c->serve, c->of, name, &c->why);
	if (c->filter == NULL)
		c->status = -ENOENT;
	else if (c->of == NULL)
		c->of = device_on(c->serve, c->filter);
	if (c->status == 0 && (c->of == NULL || !served_stands_on(c->of->device, c->filter)))
		c->status = weft_why(&c->why, -EINVAL, "'%.60s' is no layer of the device: `weft ctl PATH info` shows the layers",
			name);
	if (c->status != 0) {
		ends(c);
		return;
	}
	c->apply = apply_remove;
	c->around = c->filter;
	freeze_next(c);
}
