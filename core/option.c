/* SPDX-License-Identifier: BSD-2-Clause */
/* Options of an instance: applied from a node by the kind's table, changed live, written back. */
#include "core/option.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "core/nearest.h"
#include "core/value.h"

static bool owns_text(const struct weft_option *option)
{
	return option->type == WEFT_OPTION_STRING || option->type == WEFT_OPTION_PATH;
}

const struct weft_option *option_find(const struct weft_kind *kind, const char *name)
{
	WEFT_ASSERT(name);
	for (const struct weft_option *option = kind->options; option && option->name; option++)
		if (!strcmp(option->name, name))
			return option;
	return NULL;
}

const struct weft_option *option_of_address(const struct weft_kind *kind)
{
	WEFT_ASSERT(kind);
	for (const struct weft_option *option = kind->options; option && option->name; option++)
		if (option->flags & WEFT_OPTION_ADDRESS)
			return option;
	return NULL;
}

/* "path, direct, lock": as many as fit. */
static const char *list_names(const struct weft_kind *kind, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (const struct weft_option *option = kind->options; option && option->name; option++) {
		int len = snprintf(text + used, size - used, "%s%s", used ? ", " : "", option->name);

		if (used + (size_t)len >= size) {
			snprintf(text + used, size - used, "%s", "");
			break;
		}
		used += (size_t)len;
	}
	WEFT_ASSERT(strlen(text) < size);
	return text;
}

int option_unknown(const struct weft_kind *kind, const char *name, struct weft_why *why)
{
	struct nearest nearest = { .wanted = name };
	char names[100];

	WEFT_ASSERT(!option_find(kind, name));
	for (const struct weft_option *option = kind->options; option && option->name; option++)
		nearest_try(&nearest, option->name, strlen(option->name));
	if (nearest.best)
		return weft_why(why, -ENOENT, "%s: there is no option '%.40s': %s `weft explain %s` lists them", kind->name, name,
				nearest_phrase(&nearest), kind->name);
	if (!kind->options || !kind->options->name)
		return weft_why(why, -ENOENT, "%s: there is no option '%.40s': this kind takes none, leave it out", kind->name,
				name);
	return weft_why(why, -ENOENT, "%s: there is no option '%.40s': choose from %s (`weft explain %s`)", kind->name, name,
			list_names(kind, names, sizeof(names)), kind->name);
}

/* ---- from a node ---- */

/* Parses `text` and stores it; a text is copied, the field is not freed before. */
static int store(struct weft_object *object, const struct weft_option *option, const char *text, struct weft_why *why)
{
	struct value value;
	int error = value_parse(object->kind->name, option, text, &value, why);

	WEFT_ASSERT(option_find(object->kind, option->name) == option);
	if (error)
		return error;
	if (owns_text(option)) {
		value.text = weft_strdup(object->core, value.text);
		if (!value.text)
			return weft_why(why, -ENOMEM, "%s: %s: no memory for its value: end something else, or raise the "
					"memory limit",
					object->kind->name, option->name);
	}
	value_store(option, object, &value);
	return 0;
}

/* What the node says about the option: its address, or the one entry of that name. *text is NULL when nothing
 * is said. */
static int find_given(const struct weft_object *object, const struct tree *node, const struct weft_option *option,
	const char **text, struct weft_why *why)
{
	WEFT_ASSERT(!node->ref);
	*text = option->flags & WEFT_OPTION_ADDRESS ? node->address : NULL;
	for (unsigned i = 0; i < node->noptions; i++) {
		if (strcmp(node->options[i].name, option->name))
			continue;
		if (*text)
			return weft_why(why, -EINVAL, "%s: %s is given twice, '%.40s' and '%.40s': give it once",
					object->kind->name,
					option->name, *text, node->options[i].value);
		*text = node->options[i].value;
	}
	return 0;
}

static int apply_one(struct weft_object *object, const struct tree *node, const struct weft_option *option,
	struct weft_why *why)
{
	const char *kind = object->kind->name, *text, *form = value_form(option);
	int error = find_given(object, node, option, &text, why);

	WEFT_ASSERT(option->help);
	if (error)
		return error;
	if (text)
		return store(object, option, text, why);
	if (option->flags & WEFT_OPTION_ADDRESS && option->flags & WEFT_OPTION_REQUIRED)
		return weft_why(why, -EINVAL, "%s: %s is missing (%s): write %s:%s", kind, option->name, option->help, kind, form);
	if (option->flags & WEFT_OPTION_REQUIRED)
		return weft_why(why, -EINVAL, "%s: %s is missing (%s): add %s=%s", kind, option->name, option->help, option->name,
				form);
	if (option->fallback)
		return store(object, option, option->fallback, why);
	return 0; /* the field is zero */
}

static int check_names(const struct weft_object *object, const struct tree *node, struct weft_why *why)
{
	const struct weft_kind *kind = object->kind;
	char names[100];

	WEFT_ASSERT(!strcmp(node->kind, kind->name));
	for (unsigned i = 0; i < node->noptions; i++)
		if (!option_find(kind, node->options[i].name))
			return option_unknown(kind, node->options[i].name, why);
	if (node->address && !option_of_address(kind)) {
		list_names(kind, names, sizeof(names));
		return weft_why(why, -EINVAL, "%s: address='%.60s': this kind takes none: %s%s", kind->name, node->address,
				names[0] ? "write option=value, with " : "leave it out", names);
	}
	return 0;
}

int option_apply(struct weft_object *object, const struct tree *node, struct weft_why *why)
{
	int error = check_names(object, node, why);

	WEFT_ASSERT(object->core && object->state == WEFT_OBJECT_MADE);
	for (const struct weft_option *option = object->kind->options; !error && option && option->name; option++)
		error = apply_one(object, node, option, why);
	if (error)
		option_free(object);
	return error;
}

void option_free(struct weft_object *object)
{
	const struct value none = { .text = NULL };

	WEFT_ASSERT(object->core && object->state != WEFT_OBJECT_RUNNING);
	for (const struct weft_option *option = object->kind->options; option && option->name; option++) {
		struct value value;

		if (!owns_text(option))
			continue;
		value_load(option, object, &value);
		weft_free(object->core, (char *)(uintptr_t)value.text);
		value_store(option, object, &none);
	}
}

/* ---- while it runs ---- */

int option_change(struct weft_object *object, const char *name, const char *text, struct weft_why *why)
{
	const struct weft_kind *kind = object->kind;
	const struct weft_option *option = option_find(kind, name);
	struct value before, refused;
	int error;

	WEFT_ASSERT(object->state == WEFT_OBJECT_RUNNING);
	if (!option)
		return option_unknown(kind, name, why);
	if (!(option->flags & WEFT_OPTION_LIVE))
		return weft_why(why, -EPERM, "%s: %s='%.60s': this option cannot be changed while '%s' runs: end it and "
				"start it anew",
				kind->name, name, text, object->name);
	value_load(option, object, &before);
	error = store(object, option, text, why);
	if (error)
		return error;
	value_load(option, object, &refused);
	WEFT_ASSERT(!owns_text(option) || refused.text != before.text);
	error = kind->changed ? kind->changed(object, option, why) : 0;
	WEFT_ASSERT(error <= 0);
	if (error)
		value_store(option, object, &before);
	if (owns_text(option))
		weft_free(object->core, (char *)(uintptr_t)(error ? refused.text : before.text));
	return error;
}

/* ---- back to a node ---- */

static bool is_default(const struct weft_option *option, const struct value *value)
{
	struct value fallback = { .number = 0 };

	if (owns_text(option))
		return option->fallback ? value->text && !strcmp(value->text, option->fallback) : !value->text;
	if (option->fallback)
		WEFT_ASSERT(!value_parse("", option, option->fallback, &fallback, NULL));
	if (option->type == WEFT_OPTION_BOOL)
		return value->on == fallback.on;
	if (option->type == WEFT_OPTION_CHOICE || option->type == WEFT_OPTION_OCTAL)
		return value->index == fallback.index;
	return value->number == fallback.number;
}

int option_list(const struct weft_object *object, struct tree *node)
{
	WEFT_ASSERT(node->kind && !node->noptions);
	for (const struct weft_option *option = object->kind->options; option && option->name; option++) {
		struct value value;
		char number[VALUE_TEXT_MAX];
		const char *text = number;
		int error;

		value_load(option, object, &value);
		if (is_default(option, &value) && !(option->flags & WEFT_OPTION_REQUIRED))
			continue;
		if (owns_text(option))
			text = value.text;
		else
			value_print(option, &value, number, sizeof(number));
		if (option->flags & WEFT_OPTION_ADDRESS)
			error = tree_set(object->core, &node->address, text, strlen(text));
		else
			error = tree_add_option(object->core, node, option->name, strlen(option->name), text, strlen(text));
		if (error)
			return error;
	}
	return 0;
}
