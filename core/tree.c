/* SPDX-License-Identifier: BSD-2-Clause */
/* The tree itself: made, filled, compared, freed. */
#include "core/tree.h"

#include <errno.h>
#include <string.h>

#include <weft/memory.h>

int tree_set(struct weft_core *core, char **field, const char *text, size_t len)
{
	char *copy = weft_alloc(core, len + 1);

	WEFT_ASSERT(text && field);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, text, len);
	weft_free(core, *field);
	*field = copy;
	return 0;
}

static int tree_make(struct weft_core *core, bool ref, const char *text, struct tree **out)
{
	struct tree *tree = weft_alloc(core, sizeof(*tree));

	WEFT_ASSERT(text);
	if (!tree)
		return -ENOMEM;
	if (tree_set(core, ref ? &tree->ref : &tree->kind, text, strlen(text))) {
		weft_free(core, tree);
		return -ENOMEM;
	}
	*out = tree;
	return 0;
}

int tree_new(struct weft_core *core, const char *kind, struct tree **out)
{
	return tree_make(core, false, kind, out);
}

int tree_new_ref(struct weft_core *core, const char *ref, struct tree **out)
{
	return tree_make(core, true, ref, out);
}

void tree_free(struct weft_core *core, struct tree *tree)
{
	if (!tree)
		return;
	for (unsigned i = 0; i < tree->noptions; i++) {
		weft_free(core, tree->options[i].name);
		weft_free(core, tree->options[i].value);
	}
	for (unsigned i = 0; i < tree->nchildren; i++)
		tree_free(core, tree->children[i]);
	weft_free(core, tree->options);
	weft_free(core, tree->children);
	weft_free(core, tree->ref);
	weft_free(core, tree->kind);
	weft_free(core, tree->name);
	weft_free(core, tree->address);
	weft_free(core, tree->port);
	weft_free(core, tree);
}

/* Makes room for one more of `used` items in *array. */
static int make_room(struct weft_core *core, void **array, unsigned used, unsigned *room, size_t item_size)
{
	if (used < *room)
		return 0;
	unsigned more = *room ? *room * 2 : 4;
	void *grown = weft_alloc(core, more * item_size);

	WEFT_ASSERT(used == *room && more <= 2 * TREE_NODES_MAX);
	if (!grown)
		return -ENOMEM;
	if (used)
		memcpy(grown, *array, used * item_size);
	weft_free(core, *array);
	*array = grown;
	*room = more;
	return 0;
}

int tree_add_option(struct weft_core *core, struct tree *tree, const char *name, size_t name_len, const char *value,
	size_t value_len)
{
	struct tree_option option = { NULL, NULL };
	void *options = tree->options;

	WEFT_ASSERT(tree->kind);
	if (tree->noptions >= TREE_NODES_MAX)
		return -ENOMEM;
	int error = make_room(core, &options, tree->noptions, &tree->options_room, sizeof(option));
	tree->options = options;
	if (error || tree_set(core, &option.name, name, name_len) || tree_set(core, &option.value, value, value_len)) {
		weft_free(core, option.name);
		return -ENOMEM;
	}
	tree->options[tree->noptions++] = option;
	return 0;
}

/* Where a child stands: behind the last one of its port. */
static unsigned place_of(const struct tree *tree, const struct tree *child)
{
	unsigned place = child->port ? tree->nchildren : 0;

	WEFT_ASSERT(child->kind || child->ref);
	for (unsigned i = 0; i < tree->nchildren; i++) {
		const char *port = tree->children[i]->port;

		if (child->port ? port && !strcmp(port, child->port) : !port)
			place = i + 1;
	}
	return place;
}

static int add_at(struct weft_core *core, struct tree *tree, struct tree *child, unsigned place)
{
	void *children = tree->children;

	WEFT_ASSERT(tree->kind && child != tree);
	WEFT_ASSERT(place <= tree->nchildren);
	int error = make_room(core, &children, tree->nchildren, &tree->children_room, sizeof(child));
	tree->children = children;
	if (error) {
		tree_free(core, child);
		return error;
	}
	memmove(&tree->children[place + 1], &tree->children[place], (tree->nchildren - place) * sizeof(child));
	tree->children[place] = child;
	tree->nchildren++;
	return 0;
}

int tree_add_child(struct weft_core *core, struct tree *tree, struct tree *child)
{
	return add_at(core, tree, child, place_of(tree, child));
}

int tree_add_below(struct weft_core *core, struct tree *tree, struct tree *child, struct weft_why *why)
{
	WEFT_ASSERT(!child->port);
	if (tree->ref) {
		tree_free(core, child);
		return weft_why(why, -EINVAL, "@%.60s: a reference stands for what is there already, and nothing is put below it: "
			"write KIND:...", tree->ref);
	}
	if (add_at(core, tree, child, 0) != 0)
		return weft_why(why, -ENOMEM, "%.60s: no memory for it: end something else, or raise the memory limit", tree->kind);
	return 0;
}

static bool text_equal(const char *a, const char *b)
{
	return a && b ? !strcmp(a, b) : a == b;
}

bool tree_equal(const struct tree *a, const struct tree *b)
{
	WEFT_ASSERT(a && b);
	if (!text_equal(a->ref, b->ref) || !text_equal(a->kind, b->kind) || !text_equal(a->name, b->name) ||
	    !text_equal(a->address, b->address) || !text_equal(a->port, b->port))
		return false;
	if (a->noptions != b->noptions || a->nchildren != b->nchildren)
		return false;
	for (unsigned i = 0; i < a->noptions; i++)
		if (strcmp(a->options[i].name, b->options[i].name) || strcmp(a->options[i].value, b->options[i].value))
			return false;
	for (unsigned i = 0; i < a->nchildren; i++)
		if (!tree_equal(a->children[i], b->children[i]))
			return false;
	return true;
}

static bool is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool tree_name_valid(const char *name)
{
	size_t len = strlen(name);

	WEFT_ASSERT(name);
	if (!len || len > 63 || !is_letter_or_digit(name[0]))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!is_letter_or_digit(name[i]) && !strchr("-_.", name[i]))
			return false;
	return true;
}
