/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is to be served where, as it was written. The line is read from left to right: an option --through or --on belongs to the
 * device before it; where there is one device only, to that one, wherever it stands. A file (--config) holds a device, or a list of
 * devices with their layers and exports. All of it is read before anything is made.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "cli/command.h"
#include "cli/serve.h"

#include "env/env.h"

/* Where several devices are given, an error says which one it is about. */
static int about(struct serve *s, unsigned number, int error)
{
	struct weft_why inner = s->why;

	WEFT_ASSERT(error <= 0 && number > 0);
	if (error == 0 || s->args->nplain + s->config.n == 1)
		return error;
	return weft_why(&s->why, error, "device %u: %.240s", number, inner.text);
}

static int no_memory(struct serve *s)
{
	return weft_why(&s->why, -ENOMEM, "serve: no memory for what is written: end something else, or raise the memory limit");
}

/* ---- devices, layers, exports: each takes its tree, also when it fails ---- */

static int device_add(struct serve *s, const char *text, int at, struct tree *tree)
{
	struct served *d = &s->served[s->devices];

	if (s->devices == SERVE_DEVICES_MAX) {
		tree_free(s->w.core, tree);
		return weft_why(&s->why, -EINVAL, "serve: there are more than %d devices: start another server for some of them",
			SERVE_DEVICES_MAX);
	}
	*d = (struct served){ .text = weft_strdup(s->w.core, text), .at = at, .tree = tree };
	s->devices++;
	return d->text != NULL ? 0 : no_memory(s);
}

/* On top of the device. */
static int layer_add(struct serve *s, struct served *d, struct tree *layer)
{
	struct tree *below = d->tree;

	d->tree = layer;
	return tree_add_below(s->w.core, layer, below, &s->why);
}

static bool same_place(const struct tree *a, const struct tree *b)
{
	if (a->kind != NULL && b->kind != NULL && a->address != NULL && b->address != NULL)
		return strcmp(a->kind, b->kind) == 0 && strcmp(a->address, b->address) == 0;
	return tree_equal(a, b);
}

static int export_add(struct serve *s, struct served *of, const char *text, struct tree *tree)
{
	struct serve_export *e = &s->export[s->exports];
	int error = 0;

	if (s->exports == SERVE_EXPORTS_MAX)
		error = weft_why(&s->why, -EINVAL, "serve: there are more than %d exports: start another server for some of them",
			SERVE_EXPORTS_MAX);
	for (unsigned i = 0; i < s->exports && error == 0; i++)
		if (same_place(s->export[i].tree, tree))
			error = weft_why(&s->why, -EINVAL, "serve: --on '%.80s' is given twice: give each an address of its own",
				text);
	if (error != 0) {
		tree_free(s->w.core, tree);
		return error;
	}
	*e = (struct serve_export){ .serve = s, .of = of, .text = weft_strdup(s->w.core, text), .tree = tree };
	s->exports++;
	return e->text != NULL ? 0 : no_memory(s);
}

/* ---- files ---- */

static const struct tree_member members[] = {
	{ "device", &weft_blk_iface, 1, 1 },
	{ "through", &weft_blk_iface, 0, TREE_DEPTH_MAX },
	{ "on", &weft_export_iface, 0, SERVE_EXPORTS_MAX },
	{ 0 },
};

struct file {
	struct serve *serve;
	const char *path;
	int at;
};

/* What is added is known by its text in the grammar; the only device of a file by the file's name. */
static int entry_add(struct file *file, unsigned entry, const struct tree_member *member, struct tree *node)
{
	struct serve *s = file->serve;
	char *text = grammar_print(s->w.core, node);
	int error;

	if (text == NULL) {
		tree_free(s->w.core, node);
		return no_memory(s);
	}
	if (member == &members[0]) {
		error = device_add(s, entry == TREE_ALONE ? file->path : text, file->at, node);
		if (error == 0)
			s->served[s->devices - 1].listed = entry != TREE_ALONE;
	} else if (member == &members[1]) {
		error = layer_add(s, &s->served[s->devices - 1], node);
	} else {
		error = export_add(s, &s->served[s->devices - 1], text, node);
	}
	weft_free(s->w.core, text);
	return error;
}

static int entry_take(void *self, unsigned entry, const struct tree_member *member, struct tree *node, struct weft_why *why)
{
	struct file *file = self;
	struct serve *s = file->serve;
	int error = world_check(&s->w, node, member->wants, &s->why);

	if (error == 0)
		error = entry_add(file, entry, member, node);
	else
		tree_free(s->w.core, node);
	if (error != 0)
		*why = s->why;
	return error;
}

static int file_read(struct serve *s, const char *path, int at)
{
	struct tree_reader reader = objects_reader(s->w.core);
	struct file file = { .serve = s, .path = path, .at = at };
	size_t size, len = strlen(path);
	struct weft_why inner = { "" };
	unsigned before = s->devices;
	char *text;
	int error = env_file_read(s->w.env, path, &text, &size, &inner);

	if (error != 0)
		return weft_why(&s->why, error, "--config='%.80s': %.150s", path, inner.text);
	if (len > 5 && strcmp(path + len - 5, ".json") == 0)
		error = tree_entries_from_json(&reader, text, size, members, entry_take, &file, &inner);
	else
		error = tree_entries_from_yaml(&reader, text, size, members, entry_take, &file, &inner);
	env_free(s->w.env, text);
	for (unsigned i = before; i < s->devices; i++)
		s->served[i].others = s->devices - before > 1;
	return error == 0 ? 0 : weft_why(&s->why, error, "--config='%.80s': %.160s", path, inner.text);
}

/* ---- the line ---- */

/* Of the words `plain` and `file`, which both are in the order of the line, the one that comes first. */
static int device_read(struct serve *s, unsigned *plain, unsigned *file)
{
	const struct args *args = s->args;
	struct tree *tree;
	int error;

	if (*plain == args->nplain || (*file < s->config.n && s->config.at[*file] < args->at[*plain])) {
		error = file_read(s, s->config.text[*file], s->config.at[*file]);
		++*file;
		return error;
	}
	error = world_parse(&s->w, args->plain[*plain], &weft_blk_iface, &tree, &s->why);
	if (error != 0)
		return about(s, *plain + *file + 1, error);
	error = device_add(s, args->plain[*plain], args->at[*plain], tree);
	++*plain;
	return error;
}

/* The device that an option at this word of the line belongs to; NULL with s->why. */
static struct served *owner_of(struct serve *s, const char *option, const char *text, int at)
{
	struct served *owner = NULL;

	WEFT_ASSERT(s->devices > 0);
	if (s->devices == 1)
		return &s->served[0];
	for (unsigned i = 0; i < s->devices && s->served[i].at < at; i++)
		owner = &s->served[i];
	if (owner == NULL)
		weft_why(&s->why, -EINVAL, "serve: --%s '%.60s' stands before the first of %u devices: write it behind the device "
			"that it belongs to", option, text, s->devices);
	else if (owner->others)
		weft_why(&s->why, -EINVAL, "serve: --%s '%.60s' stands behind a file of several devices: write it into the "
			"file, to the device that it belongs to", option, text);
	return owner != NULL && !owner->others ? owner : NULL;
}

typedef int option_add(struct serve *s, struct served *of, const char *text, struct tree *tree);

static int line_layer_add(struct serve *s, struct served *of, const char *text, struct tree *layer)
{
	(void)text;
	return layer_add(s, of, layer);
}

static int options_read(struct serve *s, const char *name, const struct args_list *list, const struct weft_iface *wants,
	option_add *add)
{
	int error = 0;

	for (unsigned i = 0; i < list->n && error == 0; i++) {
		struct served *of = owner_of(s, name, list->text[i], list->at[i]);
		struct tree *tree;

		if (of == NULL)
			return -EINVAL;
		error = world_parse(&s->w, list->text[i], wants, &tree, &s->why);
		if (error == 0)
			error = add(s, of, list->text[i], tree);
		error = about(s, (unsigned)(of - s->served) + 1, error);
	}
	return error;
}

int written_read(struct serve *s)
{
	unsigned plain = 0, file = 0;
	char usage[COMMAND_USAGE];
	int error = 0;

	if (s->args->nplain + s->config.n == 0)
		return weft_why(&s->why, -EINVAL, "serve: an argument is missing: write `weft serve %s`",
			command_usage(&command_serve, usage));
	while (error == 0 && (plain < s->args->nplain || file < s->config.n))
		error = device_read(s, &plain, &file);
	if (error == 0)
		error = options_read(s, "through", &s->through, &weft_blk_iface, line_layer_add);
	if (error == 0)
		error = options_read(s, "on", &s->on, &weft_export_iface, export_add);
	for (unsigned i = 0; i < s->devices && error == 0; i++)
		if (served_export(s, &s->served[i]) == NULL)
			error = weft_why(&s->why, -EINVAL, "serve: '%.80s': %s: say %s vhost-user:/run/vm.sock", s->served[i].text,
				s->served[i].listed ? "on is missing" : "--on is missing", s->served[i].listed ?
				"in the file where to serve it, like on:" : "behind the device where to serve it, like --on");
	return error;
}
