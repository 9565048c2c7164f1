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

static int node_of(const struct weft_object *object, struct tree **out)
{
	struct weft_core *core = object->core;
	struct notes *notes = notes_of(object);
	struct tree *node;

	WEFT_ASSERT(object->state == WEFT_OBJECT_RUNNING);
	*out = NULL;
	if (notes->node)
		return node_again(object, out);
	int error = tree_new(core, object->kind->name, &node);
	if (error)
		return error;
	notes->node = node;
	if (notes->named)
		error = tree_set(core, &node->name, object->name, strlen(object->name));
	if (!error)
		error = option_list(object, node);
	if (!error)
		error = add_below(object, node);
	if (error)
		tree_free(core, node);
	else
		*out = node;
	return error;
}

int objects_tree(const struct weft_object *object, struct tree **out, struct weft_why *why)
{
	int error;

	WEFT_ASSERT(object_is_settled(object));
	object_control_assert(object->core);
	object_check(object);
	error = node_of(object, out);
	for (struct weft_object *each = object->core->objects->first; each; each = each->link[0])
		notes_of(each)->node = NULL;
	if (error)
		return weft_why(why, error, "%s: no memory for its tree: end something else, or raise the memory limit",
				object->name);
	return 0;
}
