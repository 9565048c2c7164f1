/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What `weft serve` serves: built, ended, found. All devices are there before the first export listens; all exports end at the same
 * time, before the first device does.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "cli/serve.h"

/* ---- building ---- */

/* Where there are several devices, an error says which one it is about. */
static int about(struct serve *s, const struct served *d, int error)
{
	struct weft_why inner = s->why;

	WEFT_ASSERT(error <= 0);
	if (error == 0 || s->devices == 1)
		return error;
	return weft_why(&s->why, error, "device %u: %.240s", (unsigned)(d - s->served) + 1, inner.text);
}

/* It is there already, on its own or as a part of another. */
static int device_refer(struct serve *s, struct served *d)
{
	struct weft_object *object = objects_find(s->w.core, d->tree->ref);

	if (object == NULL || weft_object_query(object, &weft_blk_iface) == NULL)
		return weft_why(&s->why, -EINVAL, "@%.63s: there is no device of this name before it: give one the name, with "
			"name=%.63s", d->tree->ref, d->tree->ref);
	weft_object_get(object);
	d->device = object;
	return 0;
}

static int device_build(struct serve *s, struct served *d)
{
	return about(s, d, d->tree->ref != NULL ? device_refer(s, d) :
		world_build(&s->w, d->tree, &weft_blk_iface, &d->device, &s->why));
}

static int export_build(struct serve *s, struct serve_export *e)
{
	struct tree *ref = NULL;
	int error = tree_new_ref(s->w.core, e->of->device->name, &ref);

	if (error != 0)
		return weft_why(&s->why, error, "'%.60s': no memory for it: end something else, or raise the memory limit",
			e->text);
	error = tree_add_below(s->w.core, e->tree, ref, &s->why);
	if (error != 0)
		return error;
	return about(s, e->of, world_build(&s->w, e->tree, &weft_export_iface, &e->object, &s->why));
}

static void written_free(struct serve *s)
{
	for (unsigned i = 0; i < s->devices; i++) {
		tree_free(s->w.core, s->served[i].tree);
		weft_free(s->w.core, s->served[i].text);
	}
	for (unsigned i = 0; i < s->exports; i++) {
		tree_free(s->w.core, s->export[i].tree);
		weft_free(s->w.core, s->export[i].text);
	}
}

int served_build(struct serve *s)
{
	int error = 0;

	for (unsigned i = 0; error == 0 && i < s->devices && !s->stopping; i++)
		error = device_build(s, &s->served[i]);
	for (unsigned i = 0; error == 0 && i < s->exports && !s->stopping; i++)
		error = export_build(s, &s->export[i]);
	return error;
}

/* ---- the end ---- */

static void export_ended(struct weft_task *task, int status)
{
	struct serve_export *e = WEFT_CONTAINER(task, struct serve_export, job.task);
	struct serve *s = e->serve;

	(void)status;
	WEFT_ASSERT(s->ending > 0 && e->object != NULL);
	e->object = NULL;
	if (--s->ending == 0)
		core_quit(s->w.core);
}

void served_end(struct serve *s)
{
	for (unsigned i = 0; i < s->exports; i++) {
		struct serve_export *e = &s->export[i];

		if (e->object == NULL)
			continue;
		s->ending++;
		e->job = (struct objects_job){ .task.done = export_ended };
		objects_release(e->object, &e->job);
	}
	if (s->ending > 0)
		core_run(s->w.core);
	for (unsigned i = s->devices; i-- > 0;)
		world_release(&s->w, s->served[i].device);
	written_free(s);
}

/* ---- finding ---- */

/* NULL: it has none. */
const struct serve_export *served_export(const struct serve *s, const struct served *d)
{
	for (unsigned i = 0; i < s->exports; i++)
		if (s->export[i].of == d)
			return &s->export[i];
	return NULL;
}

bool served_stands_on(const struct weft_object *from, const struct weft_object *object)
{
	struct weft_object *below;

	if (from == object)
		return true;
	for (unsigned i = 0; (below = objects_below(from, i, NULL)) != NULL; i++)
		if (served_stands_on(below, object))
			return true;
	return false;
}

/* Is it the device, something below it, or an export of it? */
static bool belongs_to(const struct serve *s, const struct weft_object *object, const struct served *d)
{
	if (served_stands_on(d->device, object))
		return true;
	for (unsigned i = 0; i < s->exports; i++)
		if (s->export[i].of == d && s->export[i].object == object)
			return true;
	return false;
}

struct weft_object *serve_find(struct serve *s, const struct served *d, const char *name, struct weft_why *why)
{
	struct weft_object *found = NULL, *next = NULL;
	unsigned count = 0;

	while ((next = objects_next(s->w.core, next)) != NULL) {
		bool named = strcmp(next->name, name) == 0;

		if ((!named && strcmp(next->kind->name, name) != 0) || (d != NULL && !belongs_to(s, next, d)))
			continue;
		found = next;
		if (named)
			return next;
		count++;
	}
	if (count == 1)
		return found;
	weft_why(why, -ENOENT, count == 0 ? "'%.60s': there is no object of this name or kind: `weft ctl PATH info` shows them" :
		"'%.60s': there are several of this kind: give the name of one (`weft ctl PATH info` shows them)", name);
	return NULL;
}

static bool is_written(const struct serve *s, const struct served *d, const char *text)
{
	if (strcmp(d->text, text) == 0)
		return true;
	for (unsigned i = 0; i < s->exports; i++)
		if (s->export[i].of == d && strcmp(s->export[i].text, text) == 0)
			return true;
	return false;
}

static bool holds_kind(const struct serve *s, const struct served *d, const char *kind)
{
	for (struct weft_object *object = NULL; (object = objects_next(s->w.core, object)) != NULL;)
		if (strcmp(object->kind->name, kind) == 0 && belongs_to(s, object, d))
			return true;
	return false;
}

/* How well `name` says that `d` is meant; 0: not at all. */
static unsigned answers(const struct serve *s, const struct served *d, const char *name)
{
	struct weft_object *object = objects_find(s->w.core, name);

	if (object != NULL && object == d->device)
		return 4;
	if (object != NULL && belongs_to(s, object, d))
		return 3;
	if (is_written(s, d, name))
		return 2;
	return holds_kind(s, d, name) ? 1 : 0;
}

static bool shares_its_top(const struct serve *s, const struct served *d)
{
	for (unsigned i = 0; i < s->devices; i++)
		if (&s->served[i] != d && s->served[i].device == d->device)
			return true;
	return false;
}

const char *served_name(const struct serve *s, const struct served *d)
{
	return shares_its_top(s, d) ? served_export(s, d)->object->name : d->device->name;
}

/* "mem0, mem1", and "..." for those that have no room. */
static const char *names_of(const struct serve *s, char *text, size_t size)
{
	size_t at = 0, room = size - sizeof(", ...");

	text[0] = '\0';
	for (unsigned i = 0; i < s->devices; i++) {
		const char *name = served_name(s, &s->served[i]);

		if (at + 2 + strlen(name) > room) {
			snprintf(text + at, size - at, "%s...", i > 0 ? ", " : "");
			break;
		}
		at += (size_t)snprintf(text + at, size - at, "%s%s", i > 0 ? ", " : "", name);
	}
	return text;
}

struct served *served_find(struct serve *s, const char *name, struct weft_why *why)
{
	struct served *found = NULL;
	unsigned best = 0, count = 0;
	char names[100];

	for (unsigned i = 0; i < s->devices; i++) {
		unsigned score = name != NULL ? answers(s, &s->served[i], name) : 1;

		if (score == 0 || score < best)
			continue;
		count = score > best ? 1 : count + 1;
		best = score;
		found = &s->served[i];
	}
	if (count == 1)
		return found;
	if (name == NULL)
		weft_why(why, -EINVAL, "there are %u devices: name the one that is meant: %s", s->devices,
			names_of(s, names, sizeof(names)));
	else
		weft_why(why, count == 0 ? -ENOENT : -EINVAL, "'%.60s' %s: give one of %s", name, count == 0 ?
			"is no device that is served here" : "belongs to several devices", names_of(s, names, sizeof(names)));
	return NULL;
}
