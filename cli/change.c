/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Live changes: freeze all exports, rewire what is below them, thaw them. When an export cannot go on with a layer that was
 * inserted, it is taken out again in the same way.
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

static struct weft_export *export_at(const struct change *c, unsigned i)
{
	return weft_object_query(c->serve->export[i], &weft_export_iface);
}

static void ends(struct change *c)
{
	tree_free(c->serve->w.core, c->tree);
	c->tree = NULL;
	c->done(c, c->status);
}

/* ---- freeze ---- */

static unsigned first(const struct change *c, bool frozen)
{
	unsigned i = 0;

	while (i < c->serve->exports && c->serve->frozen[i] != frozen)
		i++;
	return i;
}

static void frozen_done(struct weft_task *task, int status)
{
	struct change *c = of_task(task);

	if (status != 0) {
		failed(c, status, &task->why);
		thaw_next(c);
		return;
	}
	c->serve->frozen[first(c, false)] = true;
	freeze_next(c);
}

static void freeze_next(struct change *c)
{
	unsigned i = first(c, false);
	struct weft_export *exp;

	if (i == c->serve->exports) {
		c->apply(c);
		return;
	}
	exp = export_at(c, i);
	c->task = (struct weft_task){ .done = frozen_done };
	exp->ops->freeze(exp, &c->task);
}

/* ---- thaw ---- */

static void thaw_done(struct weft_task *task, int status)
{
	struct change *c = of_task(task);

	if (status == 0) {
		c->serve->frozen[first(c, true)] = false;
		thaw_next(c);
		return;
	}
	failed(c, status, &task->why);
	if (c->inserted) {
		c->apply = apply_undo;
		freeze_next(c);
		return;
	}
	ends(c); /* what could not be thawed stays frozen: the next change tries again */
}

static void thaw_next(struct change *c)
{
	unsigned i = first(c, true);
	struct weft_export *exp;

	if (i == c->serve->exports) {
		ends(c);
		return;
	}
	exp = export_at(c, i);
	c->task = (struct weft_task){ .done = thaw_done };
	exp->ops->thaw(exp, &c->task);
}

/* ---- rewiring, while all is frozen ---- */

/* What is served is another object: our reference goes with it. */
static void device_is(struct change *c, struct weft_object *device)
{
	c->serve->device = device;
}

static void inserted_done(struct weft_task *task, int status)
{
	struct change *c = of_job(task);
	struct weft_object *old = c->serve->device;

	if (status != 0) {
		failed(c, status, &task->why);
	} else {
		c->inserted = true;
		device_is(c, c->filter);
		weft_object_put(old); /* the filter is bound to it */
	}
	thaw_next(c);
}

static void apply_insert(struct change *c)
{
	c->job = (struct objects_job){ .task.done = inserted_done };
	objects_insert_above(c->serve->device, c->tree, &c->filter, &c->job);
}

static void removed_done(struct weft_task *task, int status)
{
	struct change *c = of_job(task);
	bool on_top = c->filter == c->serve->device;

	c->inserted = false;
	if (status != 0) {
		failed(c, status, &task->why);
		if (!on_top)
			weft_object_put(c->filter); /* ours: of apply_remove */
	} else if (on_top) {
		device_is(c, c->out);
	} else {
		weft_object_put(c->out);
	}
	thaw_next(c);
}

static void apply_remove(struct change *c)
{
	if (c->filter != c->serve->device)
		weft_object_get(c->filter);
	c->job = (struct objects_job){ .task.done = removed_done };
	objects_remove_filter(c->filter, &c->out, &c->job);
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
	freeze_next(c);
}

/* Is `object` what `from` stands on, or is it itself? */
static bool is_below(const struct weft_object *from, const struct weft_object *object)
{
	struct weft_object *below;

	if (from == object)
		return true;
	for (unsigned i = 0; (below = objects_below(from, i, NULL)) != NULL; i++)
		if (is_below(below, object))
			return true;
	return false;
}

void change_remove(struct change *c, const char *name)
{
	c->filter = serve_find(c->serve, name, &c->why);
	if (c->filter == NULL) {
		c->status = -ENOENT;
	} else if (!is_below(c->serve->device, c->filter)) {
		c->status = weft_why(&c->why, -EINVAL, "'%.60s' is no layer of the device: `weft ctl PATH info` shows the layers",
			name);
	}
	if (c->status != 0) {
		ends(c);
		return;
	}
	c->apply = apply_remove;
	freeze_next(c);
}
