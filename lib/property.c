/* SPDX-License-Identifier: BSD-2-Clause */
/* Properties: options of a device and of those below it, from their kinds' tables; limits; what components tell of themselves. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/kind.h"
#include "core/value.h"
#include "env/env.h"
#include "lib/lib.h"

#define NAME_MAX_LEN sizeof(((struct weft_property *)0)->name)

/* ---- limits: of every device ---- */

struct fact {
	const char *name, *type, *help;
	uint16_t offset, width; /* of the field in struct weft_device_info */
};
#define FACT(name, type, field, help) \
	{ name, type, help, offsetof(struct weft_device_info, field), sizeof(((struct weft_device_info *)0)->field) }

static const struct fact facts[] = {
	FACT("size", "SIZE", size, "size of the device, bytes (weft_device_resize changes it)"),
	FACT("block", "SIZE", block, "logical block: offsets and lengths are multiples of it, bytes"),
	FACT("physical", "SIZE", physical, "physical block, bytes"),
	FACT("optimal", "SIZE", optimal, "optimal transfer, bytes; 0: unknown"),
	FACT("memory-align", "SIZE", align, "memory that begins so is used in place, bytes"),
	FACT("max-len", "SIZE", max_len, "longer requests are split, bytes"),
	FACT("max-segs", "UINT", max_segs, "requests of more pieces are split or copied"),
	FACT("max-compare", "SIZE", max_compare, "longest compare-and-write, bytes; 0: the device has none"),
	FACT("discard-align", "SIZE", discard_align, "granularity of discards, bytes"),
	FACT("ops", "BITS", ops, "operations that can be asked for, by enum weft_op"),
	FACT("flags", "BITS", flags_own, "flags that the device honours itself, by enum weft_flag"),
	FACT("read-only", "on|off", readonly, "writing is refused"),
	FACT("volatile-cache", "on|off", volatile_cache, "writes need a flush to survive loss of power"),
	FACT("rotational", "on|off", rotational, "seeking takes time"),
	FACT("name", "STRING", name, "name of the object in the instance"),
};

static int fact_print(const struct fact *fact, const struct weft_device_info *info, char *text, size_t size)
{
	const char *field = (const char *)info + fact->offset;
	uint64_t number = 0;

	if (strcmp(fact->type, "STRING") == 0)
		return snprintf(text, size, "%s", field);
	memcpy(&number, field, fact->width); /* little-endian, like all that this runs on */
	if (strcmp(fact->type, "on|off") == 0)
		return snprintf(text, size, "%s", number != 0 ? "on" : "off");
	return snprintf(text, size, strcmp(fact->type, "BITS") == 0 ? "0x%" PRIx64 : "%" PRIu64, number);
}

/* ---- a walk: the n-th, or the one of that name ---- */

struct walk {
	struct call call;
	struct weft_device *device;
	const char *find;            /* NULL: the n-th */
	unsigned n;
	struct weft_property *out;   /* of the n-th */
	char *text;                  /* of the one that was looked for: its value */
	size_t size;
	const char *value;           /* to be set; NULL: none is */
	char prefix[NAME_MAX_LEN];
	int length;                  /* of the value; -ENOENT: not found */
	bool found;
	const struct weft_object *told;
};

static bool is_it(struct walk *w, const char *name)
{
	char whole[2 * NAME_MAX_LEN];

	if (w->found)
		return false;
	if (w->find == NULL)
		return w->found = w->n-- == 0;
	snprintf(whole, sizeof(whole), "%s%.63s", w->prefix, name);
	return w->found = strcmp(whole, w->find) == 0;
}

static void property_fill(struct weft_property *out, const char *prefix, const char *name, const char *type, const char *help)
{
	char whole[2 * NAME_MAX_LEN];

	snprintf(whole, sizeof(whole), "%s%.63s", prefix, name);
	*out = (struct weft_property){ .type = type, .help = help, .access = WEFT_ACCESS_READ, .stage = WEFT_STAGE_OPEN };
	snprintf(out->name, sizeof(out->name), "%.63s", whole);
}

static const char *type_of(const struct weft_option *option)
{
	return option->type == WEFT_OPTION_CHOICE ? option->choices : value_form(option);
}

static void option_fill(struct weft_property *out, const char *prefix, const struct weft_option *option, bool open)
{
	property_fill(out, prefix, option->name, type_of(option), option->help);
	out->fallback = option->fallback;
	out->stage = WEFT_STAGE_OPENING | WEFT_STAGE_OPEN;
	if ((option->flags & WEFT_OPTION_LIVE) != 0)
		out->stage |= WEFT_STAGE_LIVE;
	if (!open)
		out->access = WEFT_ACCESS_WRITE;
	else if ((option->flags & WEFT_OPTION_LIVE) != 0)
		out->access |= WEFT_ACCESS_WRITE;
}

static void option_found(struct walk *w, struct weft_object *object, const struct weft_option *option)
{
	struct value value;

	if (w->out != NULL) {
		option_fill(w->out, w->prefix, option, true);
	} else if (w->value != NULL) {
		w->length = objects_set_option(object, option->name, w->value, &w->call.why);
	} else {
		value_load(option, object, &value);
		w->length = value_print(option, &value, w->text, w->size);
	}
}

static void read_only(struct walk *w, const char *name)
{
	w->length = weft_why(&w->call.why, -EPERM, "%.60s: it can only be read: open the device with other options", name);
}

static void walk_options(struct walk *w, struct weft_object *object, unsigned depth)
{
	const struct weft_option *option = object->kind->options;
	const struct weft_port *port;
	struct weft_object *below;

	for (; option != NULL && option->name != NULL; option++)
		if (is_it(w, option->name))
			option_found(w, object, option);
	for (unsigned i = 0; !w->found && depth < TREE_DEPTH_MAX && (below = objects_below(object, i, &port)) != NULL; i++) {
		size_t len = strlen(w->prefix);
		unsigned place = 0;

		for (unsigned j = i; j-- > 0;) {
			const struct weft_port *other;

			objects_below(object, j, &other);
			place += other == port;
		}
		if (port->max > 1)
			snprintf(w->prefix + len, sizeof(w->prefix) - len, "%s.%u.", port->name, place);
		else
			snprintf(w->prefix + len, sizeof(w->prefix) - len, "%s.", port->name);
		walk_options(w, below, depth + 1);
		w->prefix[len] = '\0';
	}
}

static void walk_facts(struct walk *w)
{
	struct weft_device_info info;

	w->prefix[0] = '\0';
	for (unsigned i = 0; i < WEFT_COUNT(facts); i++) {
		if (!is_it(w, facts[i].name))
			continue;
		if (w->out != NULL) {
			property_fill(w->out, "", facts[i].name, facts[i].type, facts[i].help);
		} else if (w->value != NULL) {
			read_only(w, facts[i].name);
		} else {
			device_info(w->device, &info);
			w->length = fact_print(&facts[i], &info, w->text, w->size);
		}
	}
}

static void told(void *self, const char *name, const char *value)
{
	struct walk *w = self;

	if (!is_it(w, name))
		return;
	if (w->out != NULL)
		property_fill(w->out, "", name, "STRING", "told by the component");
	else if (w->value != NULL)
		read_only(w, name);
	else
		w->length = snprintf(w->text, w->size, "%s", value);
}

static void walk_run(struct call *call)
{
	struct walk *w = WEFT_CONTAINER(call, struct walk, call);
	struct weft_object *object;
	int error = handle_check(w->device, HANDLE_DEVICE, &call->why); /* another thread may have closed it meanwhile */

	if (error != 0) {
		call_end(call, error);
		return;
	}
	object = w->device->object;
	walk_options(w, object, 0);
	if (!w->found)
		walk_facts(w);
	if (!w->found && object->kind->describe != NULL)
		object->kind->describe(object, told, w);
	if (!w->found && w->find != NULL)
		w->length = weft_why(&call->why, -ENOENT, "%.60s: %.60s has none such: weft_device_property lists them", w->find,
			object->kind->name);
	call_end(call, w->length < 0 ? w->length : 0);
}

static int walk(struct weft_device *device, struct walk *w, struct weft_why *why)
{
	int error = handle_check(device, HANDLE_DEVICE, why);

	if (error == 0)
		error = call_allowed(device->handle.weft, why);
	if (error != 0)
		return error;
	w->device = device;
	w->call.run = walk_run;
	return call_wait(device->handle.weft, &w->call, why);
}

/* ---- of devices ---- */

int weft_device_property(struct weft_device *device, unsigned n, struct weft_property *out)
{
	struct walk w = { .n = n, .out = out };
	int error = out == NULL ? -EINVAL : walk(device, &w, NULL);

	return error != 0 ? error : w.found;
}

static int name_check(const char *name, struct weft_why *why)
{
	return name == NULL ? weft_why(why, -EINVAL, "property: NULL: pass a name (weft_device_property lists them)") : 0;
}

int weft_device_get(struct weft_device *device, const char *name, char *text, size_t size, struct weft_why *why)
{
	struct walk w = { .find = name, .text = text, .size = text != NULL ? size : 0 };
	int error = name_check(name, why);

	if (error == 0 && text == NULL && size > 0)
		error = weft_why(why, -EINVAL, "%.60s: NULL: pass room for its value", name);
	if (error == 0)
		error = walk(device, &w, why);
	return error != 0 ? error : w.length;
}

int weft_device_set(struct weft_device *device, const char *name, const char *text, struct weft_why *why)
{
	struct walk w = { .find = name, .value = text };
	int error = name_check(name, why);

	if (error == 0 && text == NULL)
		error = weft_why(why, -EINVAL, "%.60s: NULL: pass its value as text", name);
	return error != 0 ? error : walk(device, &w, why);
}

int weft_kind_property(const struct weft_kind *kind, unsigned n, struct weft_property *out)
{
	const struct weft_option *option;

	if (kind == NULL || out == NULL)
		return -EINVAL;
	for (option = kind->options; option != NULL && option->name != NULL; option++)
		if (n-- == 0) {
			option_fill(out, "", option, false);
			return 1;
		}
	return 0;
}

/* ---- of queues ---- */

static const struct {
	const char *name, *type, *help;
	uint16_t offset, width; /* of the field in struct weft_queue_info */
} queue_facts[] = {
#define QUEUE_FACT(name, field, help) \
	{ name, "UINT", help, offsetof(struct weft_queue_info, field), sizeof(((struct weft_queue_info *)0)->field) }
	QUEUE_FACT("depth", depth, "requests that it takes at once"),
	QUEUE_FACT("staged", staged, "requests that weft_queue_submit would send"),
	QUEUE_FACT("in-flight", in_flight, "requests with the device"),
	QUEUE_FACT("ended", ended, "completions to be taken"),
	QUEUE_FACT("requests", requests, "requests so far"),
	QUEUE_FACT("full", full, "how often there was no room"),
	QUEUE_FACT("outside", outside, "pieces so far in memory that is not registered"),
};

int weft_queue_property(struct weft_queue *queue, unsigned n, struct weft_property *out)
{
	int error = out == NULL ? -EINVAL : queue_check(queue);

	if (error != 0 || n >= WEFT_COUNT(queue_facts))
		return error;
	property_fill(out, "", queue_facts[n].name, queue_facts[n].type, queue_facts[n].help);
	if (n == 0) {
		out->stage |= WEFT_STAGE_OPENING;
		out->fallback = "128";
	}
	return 1;
}

int weft_queue_get(struct weft_queue *queue, const char *name, char *text, size_t size, struct weft_why *why)
{
	struct weft_queue_info info;
	uint64_t number = 0;
	int error = name_check(name, why);

	if (error == 0 && (error = weft_queue_info(queue, &info)) != 0)
		error = weft_why(why, error, "queue: %s", weft_queue_why(queue));
	if (error == 0 && text == NULL && size > 0)
		error = weft_why(why, -EINVAL, "%.60s: NULL: pass room for its value", name);
	for (unsigned i = 0; error == 0 && i < WEFT_COUNT(queue_facts); i++)
		if (strcmp(queue_facts[i].name, name) == 0) {
			memcpy(&number, (const char *)&info + queue_facts[i].offset, queue_facts[i].width);
			return snprintf(text, text != NULL ? size : 0, "%" PRIu64, number);
		}
	return error != 0 ? error : weft_why(why, -ENOENT, "%.60s: a queue has none such: weft_queue_property lists them", name);
}
