/* SPDX-License-Identifier: BSD-2-Clause */
/* The tree that would build a running object again. */
#include <errno.h>
#include <string.h>

#include <weft/memory.h>

#include "core/kind.h"
#include "core/object.h"
#include "core/option.h"

static int node_of(const struct weft_object *object, struct tree **out);

/* A port's name is written when the kind has several. */
static int add_below(const struct weft_object *object, struct tree *node)
{
	struct weft_core *core = object->core;
	const struct weft_port *ports = object->kind->ports;
	bool several = ports && ports[0].name && ports[1].name;

	WEFT_ASSERT(!node->nchildren);
	for (const struct weft_edge *edge = object->below; edge; edge = edge->next_below) {
		struct tree *child;
		int error = node_of(edge->below, &child);

		if (error)
			return error;
		if (several && tree_set(core, &child->port, edge->port->name, strlen(edge->port->name))) {
			tree_free(core, child);
			return -ENOMEM;
		}
		error = tree_add_child(core, node, child);
		if (error)
			return error;
	}
	return 0;
}

/* Met again: a reference, and the first one shows its name. */
static int node_again(const struct weft_object *object, struct tree **out)
{
	struct weft_core *core = object->core;
	struct tree *first = notes_of(object)->node;

	WEFT_ASSERT(first && !strcmp(first->kind, object->kind->name));
	if (!first->name && tree_set(core, &first->name, object->name, strlen(object->name)))
		return -ENOMEM;
	return tree_new_ref(core, object->name, out);
}

/* Without what is below. */
static int node_alone(const struct weft_object *object, struct tree **out)
{
	struct weft_core *core = object->core;
	struct tree *node;
	int error = tree_new(core, object->kind->name, &node);

	WEFT_ASSERT(object->state == WEFT_OBJECT_RUNNING);
	*out = NULL;
	if (error)
		return error;
	if (notes_of(object)->named)
		error = tree_set(core, &node->name, object->name, strlen(object->name));
	if (!error)
		error = option_list(object, node);
	if (error)
		tree_free(core, node);
	else
		*out = node;
	return error;
}

static int node_of(const struct weft_object *object, struct tree **out)
{
	int error;

	WEFT_ASSERT(object->state == WEFT_OBJECT_RUNNING && !notes_of(object)->build);
	*out = NULL;
	if (notes_of(object)->node)
		return node_again(object, out);
	error = node_alone(object, out);
	if (error)
		return error;
	notes_of(object)->node = *out;
	error = add_below(object, *out);
	if (error) {
		tree_free(object->core, *out);
		*out = NULL;
	}
	return error;
}

static int no_memory(const struct weft_object *object, struct weft_why *why)
{
	return weft_why(why, -ENOMEM, "%s: no memory for its tree: end something else, or raise the memory limit", object->name);
}

int objects_trees(struct weft_object *const *objects, unsigned n, struct tree **out, struct weft_why *why)
{
	int error = 0;
	unsigned i;

	WEFT_ASSERT(n > 0);
	object_control_assert(objects[0]->core);
	for (i = 0; i < n && !error; i++) {
		WEFT_ASSERT(object_is_settled(objects[i]) && objects[i]->core == objects[0]->core);
		object_check(objects[i]);
		error = node_of(objects[i], &out[i]);
	}
	for (struct weft_object *each = objects[0]->core->objects->first; each; each = each->link[0])
		notes_of(each)->node = NULL;
	if (!error)
		return 0;
	error = no_memory(objects[i - 1], why);
	for (i--; i-- > 0; out[i] = NULL)
		tree_free(objects[i]->core, out[i]);
	return error;
}

int objects_tree(struct weft_object *object, struct tree **out, struct weft_why *why)
{
	return objects_trees(&object, 1, out, why);
}

int objects_tree_alone(const struct weft_object *object, struct tree **out, struct weft_why *why)
{
	WEFT_ASSERT(object_is_settled(object));
	object_control_assert(object->core);
	return node_alone(object, out) ? no_memory(object, why) : 0;
}
