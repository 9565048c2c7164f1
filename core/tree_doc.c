/* SPDX-License-Identifier: BSD-2-Clause */
/* A tree as a document, both ways. */
#include "core/tree_doc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "core/kind.h"
#include "core/nearest.h"
#include "core/option.h"

static int read_node(struct doc *doc, const json_t *value, const struct weft_iface *wants, struct tree **out);

/* ---- errors and the way ---- */

static int fail(struct doc *doc, int error, const char *format, ...) WEFT_PRINTF(3, 4);
static int fail(struct doc *doc, int error, const char *format, ...)
{
	unsigned line = 1, column = 1;
	char sentence[sizeof(doc->why->text)];
	va_list args;

	WEFT_ASSERT(error < 0 && doc->steps <= DOC_STEPS_MAX);
	va_start(args, format);
	vsnprintf(sentence, sizeof(sentence), format, args);
	va_end(args);
	if (error == -ENOMEM)
		return weft_why(doc->why, error, "%s", sentence);
	doc->locate(doc, &line, &column);
	return weft_why(doc->why, -EINVAL, "line %u, column %u: %s", line, column, sentence);
}

/* Puts the place in front of the sentence that is there. */
static int fail_with(struct doc *doc, int error, const struct weft_why *why)
{
	return fail(doc, error, "%s", why->text);
}

static int no_memory(struct doc *doc)
{
	return fail(doc, -ENOMEM, "no memory for the tree: end something else, or raise the memory limit");
}

static void enter_member(struct doc *doc, const char *key)
{
	WEFT_ASSERT(doc->steps < DOC_STEPS_MAX);
	doc->way[doc->steps++] = (struct doc_step){ key, 0 };
}

static void enter_element(struct doc *doc, size_t index)
{
	WEFT_ASSERT(doc->steps < DOC_STEPS_MAX);
	doc->way[doc->steps++] = (struct doc_step){ NULL, index };
}

static void leave(struct doc *doc)
{
	WEFT_ASSERT(doc->steps > 0);
	doc->steps--;
}

/* ---- scalars ---- */

static int store(struct doc *doc, char **field, const char *text)
{
	return tree_set(doc->reader->core, field, text, strlen(text)) ? no_memory(doc) : 0;
}

static const char *text_of(const json_t *value, char *buffer, size_t size)
{
	WEFT_ASSERT(value && size >= 32);
	if (json_is_integer(value))
		snprintf(buffer, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		snprintf(buffer, size, "%.15g", json_real_value(value));
	else if (json_is_boolean(value))
		snprintf(buffer, size, "%s", json_is_true(value) ? "on" : "off");
	else
		return json_string_value(value);
	return buffer;
}

/* The member as a text; NULL in *out: it is not there. */
static int read_text(struct doc *doc, const json_t *node, const char *key, const char **out)
{
	const json_t *value = json_object_get(node, key);
	int error = 0;

	WEFT_ASSERT(json_is_object(node));
	*out = json_string_value(value);
	if (value && !*out) {
		enter_member(doc, key);
		error = fail(doc, -EINVAL, "%s must be a text: put it in quotes", key);
		leave(doc);
	}
	return error;
}

/* ---- members of a node ---- */

/* `known`: what a map may hold, ends with NULL; `rule`: the same as a sentence. */
static int check_members(struct doc *doc, const json_t *node, const char *const known[], const char *rule)
{
	const char *key;
	json_t *value;

	WEFT_ASSERT(json_is_object(node));
	json_object_foreach((json_t *)(uintptr_t)node, key, value) {
		struct nearest nearest = { .wanted = key };
		unsigned i = 0;

		while (known[i] && strcmp(known[i], key))
			nearest_try(&nearest, known[i], strlen(known[i])), i++;
		if (known[i])
			continue;
		enter_member(doc, key);
		int error = fail(doc, -EINVAL, "'%.40s' is no part of %s%s%s", key, rule, nearest.best ? "; " : "",
				nearest_phrase(&nearest));
		leave(doc);
		return error;
	}
	return 0;
}

static int read_option(struct doc *doc, struct tree *tree, const struct weft_kind *kind, const char *key, const json_t *value)
{
	struct weft_why why;
	char buffer[64];
	const char *text = text_of(value, buffer, sizeof(buffer));

	WEFT_ASSERT(!strcmp(tree->kind, kind->name));
	if (!option_find(kind, key))
		return fail_with(doc, option_unknown(kind, key, &why), &why);
	if (!text)
		return fail(doc, -EINVAL, "%s: %s must be a text, a number, true or false: write one value", kind->name, key);
	if (tree_add_option(doc->reader->core, tree, key, strlen(key), text, strlen(text)))
		return no_memory(doc);
	return 0;
}

typedef int read_member(struct doc *doc, struct tree *tree, const struct weft_kind *kind, const char *key, const json_t *value);

/* The members of a map, each by `read`; `form`: what one looks like. */
static int read_map(struct doc *doc, struct tree *tree, const struct weft_kind *kind, const json_t *map, const char *name,
	const char *form, read_member *read)
{
	const char *key;
	json_t *value;
	int error = 0;

	WEFT_ASSERT(!strcmp(tree->kind, kind->name));
	if (!map)
		return 0;
	enter_member(doc, name);
	if (!json_is_object(map))
		error = fail(doc, -EINVAL, "%s must be a map: write {%s}", name, form);
	json_object_foreach((json_t *)(uintptr_t)map, key, value) {
		enter_member(doc, key);
		error = read(doc, tree, kind, key, value);
		leave(doc);
		if (error)
			break;
	}
	leave(doc);
	return error;
}

/* port: by whose name it is given; NULL: in order. */
static int read_child(struct doc *doc, struct tree *tree, const struct weft_kind *kind, const struct weft_port *port,
	const json_t *value)
{
	unsigned places = kind_places(kind);
	unsigned at = tree->nchildren < places ? tree->nchildren : places - 1;
	const struct weft_port *place = port ? port : kind_port_at(kind, at, at + 1, NULL);
	struct tree *child = NULL;

	WEFT_ASSERT(place);
	int error = read_node(doc, value, place->wants, &child);
	if (!error && port)
		error = store(doc, &child->port, port->name);
	if (error) {
		tree_free(doc->reader->core, child);
		return error;
	}
	return tree_add_child(doc->reader->core, tree, child) ? no_memory(doc) : 0;
}

static int read_list(struct doc *doc, struct tree *tree, const struct weft_kind *kind, const struct weft_port *port,
	const json_t *list)
{
	int error = 0;

	WEFT_ASSERT(json_is_array(list));
	for (size_t i = 0; !error && i < json_array_size(list); i++) {
		enter_element(doc, i);
		error = read_child(doc, tree, kind, port, json_array_get(list, i));
		leave(doc);
	}
	return error;
}

static int read_devices(struct doc *doc, struct tree *tree, const struct weft_kind *kind, const json_t *devices)
{
	int error;

	WEFT_ASSERT(!tree->nchildren);
	if (!devices)
		return 0;
	enter_member(doc, "devices");
	if (!json_is_array(devices))
		error = fail(doc, -EINVAL, "devices must be a list: write [DEVICE, ...]");
	else if (json_array_size(devices) && !kind_has_ports(kind))
		error = fail(doc, -EINVAL, "%s: a device is given below it: this kind is bound to nothing: leave it out",
				kind->name);
	else
		error = read_list(doc, tree, kind, NULL, devices);
	leave(doc);
	return error;
}

static int read_port(struct doc *doc, struct tree *tree, const struct weft_kind *kind, const char *key, const json_t *value)
{
	const struct weft_port *port = kind_port(kind, key);
	struct weft_why why;

	WEFT_ASSERT(kind_has_ports(kind) || !kind_places(kind));
	if (!port)
		return fail_with(doc, kind_port_unknown(kind, key, &why), &why);
	if (json_is_array(value))
		return read_list(doc, tree, kind, port, value);
	return read_child(doc, tree, kind, port, value);
}

/* ---- nodes ---- */

static int read_name(struct doc *doc, const json_t *node, struct tree *tree)
{
	const char *name;
	int error = read_text(doc, node, "name", &name);

	WEFT_ASSERT(!tree->name);
	if (error || !name)
		return error;
	if (!tree_name_valid(name)) {
		enter_member(doc, "name");
		error = fail(doc, -EINVAL, "name='%.60s' is no name: use letters, digits, '-', '_' and '.', at most 63", name);
		leave(doc);
		return error;
	}
	return store(doc, &tree->name, name);
}

static int read_ref(struct doc *doc, const json_t *node, const char *ref, struct tree **out)
{
	WEFT_ASSERT(!*out && ref);
	if (json_object_size(node) > 1)
		return fail(doc, -EINVAL, "a reference takes nothing else: write {ref: NAME}");
	if (!tree_name_valid(ref))
		return fail(doc, -EINVAL, "ref='%.60s' is no name: use letters, digits, '-', '_' and '.', at most 63", ref);
	return tree_new_ref(doc->reader->core, ref, out) ? no_memory(doc) : 0;
}

static int read_members(struct doc *doc, const json_t *node, const struct weft_kind *kind, struct tree *tree)
{
	const char *address;
	int error = read_name(doc, node, tree);

	WEFT_ASSERT(!strcmp(tree->kind, kind->name));
	if (!error)
		error = read_text(doc, node, "address", &address);
	if (!error && address)
		error = store(doc, &tree->address, address);
	if (!error)
		error = read_map(doc, tree, kind, json_object_get(node, "options"), "options", "option: value", read_option);
	if (!error)
		error = read_devices(doc, tree, kind, json_object_get(node, "devices"));
	if (!error)
		error = read_map(doc, tree, kind, json_object_get(node, "ports"), "ports", "port: DEVICE", read_port);
	return error;
}

static int read_object(struct doc *doc, const json_t *node, const struct weft_iface *wants, struct tree **out)
{
	static const char *const known[] = { "kind", "name", "address", "options", "devices", "ports", "ref", NULL };
	const struct weft_kind *kind;
	const char *name, *ref;
	struct weft_why why;
	int error = check_members(doc, node, known, "a device: use kind, name, address, options, devices, ports or ref");

	WEFT_ASSERT(doc->depth > 0 && doc->depth <= TREE_DEPTH_MAX);
	if (!error)
		error = read_text(doc, node, "ref", &ref);
	if (!error && ref)
		return read_ref(doc, node, ref, out);
	if (!error)
		error = read_text(doc, node, "kind", &name);
	if (!error && !name)
		error = fail(doc, -EINVAL, "kind is missing: write {kind: KIND, address: ADDRESS}, as in {kind: file, "
				"address: disk.img}");
	if (error)
		return error;
	kind = doc->reader->kinds(doc->reader->self, name, wants, &why);
	if (!kind) {
		enter_member(doc, "kind");
		error = fail_with(doc, -EINVAL, &why);
		leave(doc);
		return error;
	}
	if (tree_new(doc->reader->core, kind->name, out))
		return no_memory(doc);
	return read_members(doc, node, kind, *out);
}

static int read_node(struct doc *doc, const json_t *value, const struct weft_iface *wants, struct tree **out)
{
	struct weft_why why;
	int error;

	*out = NULL;
	if (doc->depth >= TREE_DEPTH_MAX)
		return fail(doc, -EINVAL, "more than %u devices in one another: build the lower part first, and refer to it "
				"by its name",
			    TREE_DEPTH_MAX);
	if (++doc->nodes > TREE_NODES_MAX)
		return fail(doc, -EINVAL, "more than %u devices: build some first, and refer to them by name", TREE_NODES_MAX);
	if (json_is_string(value)) {
		error = grammar_parse(doc->reader, json_string_value(value), wants, out, &why);
		return error ? fail_with(doc, error, &why) : 0;
	}
	if (!json_is_object(value))
		return fail(doc, -EINVAL, "a device is wanted here: write {kind: KIND, ...} or 'KIND:ADDRESS'");
	doc->depth++;
	error = read_object(doc, value, wants, out);
	doc->depth--;
	if (error) {
		tree_free(doc->reader->core, *out);
		*out = NULL;
	}
	WEFT_ASSERT(!error == !!*out);
	return error;
}

/* ---- entries ---- */

#define MEMBERS_MAX 8

/* Entries are read twice: first all of them, so that nothing is taken from a document that is wrong. */
struct entries {
	const struct doc_wanted *wanted;
	unsigned entry;
	bool take;
};

static int entry_node(struct doc *doc, const struct entries *entries, const struct tree_member *member, const json_t *value)
{
	const struct doc_wanted *wanted = entries->wanted;
	struct weft_why why = { "" };
	struct tree *node;
	int error = read_node(doc, value, member->wants, &node);

	WEFT_ASSERT(wanted->take && !doc->depth);
	if (error)
		return error;
	WEFT_ASSERT(node);
	if (!entries->take) {
		tree_free(doc->reader->core, node);
		return 0;
	}
	error = wanted->take(wanted->self, entries->entry, member, node, &why);
	return error ? fail_with(doc, error, &why) : 0;
}

static int entry_nodes(struct doc *doc, const struct entries *entries, const struct tree_member *member, const json_t *value)
{
	unsigned count = json_is_array(value) ? (unsigned)json_array_size(value) : 1;
	int error = 0;

	WEFT_ASSERT(member->name && member->least <= member->most);
	if (count < member->least)
		return fail(doc, -EINVAL, "%s: %u given, at least %u: add one", member->name, count, member->least);
	if (count > member->most)
		return fail(doc, -EINVAL, "%s: %u given, at most %u: leave some out", member->name, count, member->most);
	if (!json_is_array(value))
		return entry_node(doc, entries, member, value);
	for (unsigned i = 0; !error && i < count; i++) {
		enter_element(doc, i);
		error = entry_node(doc, entries, member, json_array_get(value, i));
		leave(doc);
	}
	return error;
}

static int read_entry(struct doc *doc, const struct entries *entries, const json_t *entry)
{
	const struct tree_member *member = entries->wanted->members;
	const char *known[MEMBERS_MAX + 1] = { NULL };
	char rule[128] = "an entry: use";
	int error;

	for (unsigned i = 0; member[i].name; i++) {
		WEFT_ASSERT(i < MEMBERS_MAX);
		known[i] = member[i].name;
		size_t at = strlen(rule);
		WEFT_ASSERT(at + strlen(member[i].name) + 4 < sizeof(rule));
		snprintf(rule + at, sizeof(rule) - at, "%s %s", i == 0 ? "" : member[i + 1].name ? "," : " or", member[i].name);
	}
	if (!json_is_object(entry))
		return fail(doc, -EINVAL, "an entry is wanted here: write {%s: ..., ...}", member->name);
	error = check_members(doc, entry, known, rule);
	for (; !error && member->name; member++) {
		const json_t *value = json_object_get(entry, member->name);

		if (!value && member->least > 0)
			return fail(doc, -EINVAL, "%s is missing: write {%s: ..., ...}", member->name, member->name);
		if (!value)
			continue;
		enter_member(doc, member->name);
		error = entry_nodes(doc, entries, member, value);
		leave(doc);
	}
	return error;
}

static int read_entries(struct doc *doc, struct entries *entries, const json_t *root)
{
	int error = 0;

	WEFT_ASSERT(!doc->steps && !doc->depth && !entries->entry);
	doc->nodes = 0;
	if (json_is_object(root) && json_object_get(root, entries->wanted->members->name))
		return read_entry(doc, entries, root);
	if (!json_is_array(root)) {
		entries->entry = TREE_ALONE;
		return entry_node(doc, entries, entries->wanted->members, root);
	}
	if (json_array_size(root) == 0)
		return fail(doc, -EINVAL, "the list is empty: write [{%s: ..., ...}]", entries->wanted->members->name);
	for (size_t i = 0; !error && i < json_array_size(root); i++) {
		entries->entry = (unsigned)i;
		enter_element(doc, i);
		error = read_entry(doc, entries, json_array_get(root, i));
		leave(doc);
	}
	return error;
}

int doc_read(struct doc *doc, const json_t *root, const struct doc_wanted *wanted)
{
	struct entries look = { .wanted = wanted }, take = { .wanted = wanted, .take = true };
	int error;

	WEFT_ASSERT(doc->reader->kinds && doc->locate);
	if (!wanted->members)
		return read_node(doc, root, wanted->wants, wanted->out);
	error = read_entries(doc, &look, root);
	return error ? error : read_entries(doc, &take, root);
}

/* ---- writing ---- */

static bool set_text(json_t *node, const char *key, const char *text)
{
	return !text || !json_object_set_new(node, key, json_string(text));
}

static bool set_options(json_t *node, const struct tree *tree)
{
	json_t *options;

	WEFT_ASSERT(tree->kind || !tree->noptions);
	if (!tree->noptions)
		return true;
	options = json_object();
	for (unsigned i = 0; i < tree->noptions; i++) {
		if (!set_text(options, tree->options[i].name, tree->options[i].value)) {
			json_decref(options);
			return false;
		}
	}
	return !json_object_set_new(node, "options", options);
}

/* The list that children of this port (NULL: in order) go to. */
static json_t *list_for(json_t *node, const char *port)
{
	json_t *map = node, *list;
	const char *key = port ? port : "devices";

	WEFT_ASSERT(json_is_object(node));
	if (port) {
		map = json_object_get(node, "ports");
		if (!map && json_object_set_new(node, "ports", json_object()))
			return NULL;
		map = json_object_get(node, "ports");
	}
	list = json_object_get(map, key);
	if (!list && json_object_set_new(map, key, json_array()))
		return NULL;
	return json_object_get(map, key);
}

json_t *doc_write(const struct tree *tree)
{
	json_t *node = json_object();
	bool done = node && set_text(node, "ref", tree->ref) && set_text(node, "kind", tree->kind) &&
		set_text(node, "name", tree->name) && set_text(node, "address", tree->address) && set_options(node, tree);

	WEFT_ASSERT(!tree->ref != !tree->kind);
	for (unsigned i = 0; done && i < tree->nchildren; i++) {
		json_t *list = list_for(node, tree->children[i]->port);

		done = list && !json_array_append_new(list, doc_write(tree->children[i]));
	}
	if (done)
		return node;
	json_decref(node);
	return NULL;
}

int doc_text_put(struct doc_text *out, const void *bytes, size_t len)
{
	if (out->failed)
		return -ENOMEM;
	if (out->len + len + 1 > out->room) {
		size_t room = (out->room + len + 1) * 2;
		char *text = weft_alloc(out->core, room);

		out->failed = !text;
		if (out->failed)
			return -ENOMEM;
		if (out->len)
			memcpy(text, out->text, out->len);
		weft_free(out->core, out->text);
		out->text = text;
		out->room = room;
	}
	WEFT_ASSERT(out->len + len < out->room);
	memcpy(out->text + out->len, bytes, len);
	out->len += len;
	return 0;
}
