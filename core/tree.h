/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a user writes, as a tree: a node for each device or export, with its options as text and the devices
 * below it. Read from the grammar, JSON or YAML, written to each of them, built by objects_build. Nothing in
 * it has been checked against a kind's tables but what its reader needed.
 */
#ifndef CORE_TREE_H
#define CORE_TREE_H

#include <weft/base.h>

struct weft_core;
struct weft_iface;
struct weft_kind;

/* Levels of a tree, and nodes in all: what is deeper or larger is refused. */
#define TREE_DEPTH_MAX 64
#define TREE_NODES_MAX 4096

struct tree_option {
	char *name, *value;
};

/* Either a reference (`ref` alone is set) to an object that has this name, or a node of a kind. Strings are
 * owned by the node. */
struct tree {
	char *ref;
	char *kind;
	char *name;     /* NULL: the core makes one */
	char *address;  /* NULL: none was written */
	char *port;     /* of the node above; NULL: the next port that has room, in order */
	struct tree_option *options;
	struct tree **children; /* those without `port` first, then by port: as they are written out */
	unsigned noptions, nchildren;
	unsigned options_room, children_room;
};

/* Finds a kind by its name and the interface wanted (NULL: any). NULL with `why` (did you mean): there is none. */
typedef const struct weft_kind *tree_kinds(void *self, const char *name, const struct weft_iface *wants, struct weft_why *why);

/* Who reads or prints a tree. Memory comes from `core`. */
struct tree_reader {
	struct weft_core *core;
	tree_kinds *kinds;
	void *self;
};

/* ---- making and freeing; each string is copied; -ENOMEM or 0 ---- */
int tree_new(struct weft_core *core, const char *kind, struct tree **out);
int tree_new_ref(struct weft_core *core, const char *ref, struct tree **out);
void tree_free(struct weft_core *core, struct tree *tree); /* with all below; NULL is allowed */
int tree_set(struct weft_core *core, char **field, const char *text, size_t len); /* one of the strings of a node */
int tree_add_option(struct weft_core *core, struct tree *tree, const char *name, size_t name_len, const char *value,
	size_t value_len);
/* `child` is the tree's from now on, also when it fails. */
int tree_add_child(struct weft_core *core, struct tree *tree, struct tree *child);
/* The same, before the others: how a layer written without a device (`--through KIND:...`) gets the one it goes on. -EINVAL, with
 * `why`: `tree` is a reference (@NAME), which nothing goes below. */
int tree_add_below(struct weft_core *core, struct tree *tree, struct tree *child, struct weft_why *why);
bool tree_equal(const struct tree *a, const struct tree *b);
/* May objects be called so? Letters, digits, '-', '_', '.'; a letter or digit first; at most 63. */
bool tree_name_valid(const char *name);

/* ---- the grammar (weft-grammar(7)) ---- */

/* Reads all of `text`. `wants`: the interface of the outermost node, NULL: any. -EINVAL with `why` (column,
 * rule, remedy), -ENOMEM. */
int grammar_parse(const struct tree_reader *reader, const char *text, const struct weft_iface *wants, struct tree **out,
	struct weft_why *why);
/* The canonical text: grammar_parse reads it as an equal tree. To be freed with weft_free; NULL: no memory. */
char *grammar_print(struct weft_core *core, const struct tree *tree);

/* ---- JSON and YAML: {kind, name, address, options: {}, devices: [], ports: {}} or a text in the grammar ---- */

/* `text` need not be terminated. -EINVAL with `why` (line, column, rule, remedy), -ENOMEM. */
int tree_from_json(const struct tree_reader *reader, const char *text, size_t len, const struct weft_iface *wants,
	struct tree **out, struct weft_why *why);
int tree_from_yaml(const struct tree_reader *reader, const char *text, size_t len, const struct weft_iface *wants,
	struct tree **out, struct weft_why *why);

/* What a map of a list of entries may hold: a node or a list of nodes by this name. name == NULL ends a table. */
struct tree_member {
	const char *name;
	const struct weft_iface *wants;
	unsigned least, most;
};
#define TREE_ALONE UINT32_MAX
/* A node of an entry (from 0; TREE_ALONE: the document is this node). It is the taker's from now on, also when it fails:
 * 0, or -errno with `why`. */
typedef int tree_take(void *self, unsigned entry, const struct tree_member *member, struct tree *node, struct weft_why *why);
/* The document is a list of entries, or one entry, or a node alone, which stands for an entry with nothing but the first member.
 * All is read before anything is taken: entry by entry, in the order of the table. As tree_from_json. */
int tree_entries_from_json(const struct tree_reader *reader, const char *text, size_t len, const struct tree_member *members,
	tree_take *take, void *self, struct weft_why *why);
int tree_entries_from_yaml(const struct tree_reader *reader, const char *text, size_t len, const struct tree_member *members,
	tree_take *take, void *self, struct weft_why *why);

/* To be freed with weft_free; NULL: no memory. */
char *tree_to_json(struct weft_core *core, const struct tree *tree);
char *tree_to_yaml(struct weft_core *core, const struct tree *tree);

#endif
