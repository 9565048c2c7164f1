/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What JSON and YAML share: the form of a tree as a document (jansson's values, whichever syntax they came
 * from), both ways. A node is
 *
 *	{"kind": K, "name": N, "address": A, "options": {O: V, ...}, "devices": [NODE, ...],
 *	 "ports": {P: NODE or [NODE, ...], ...}}
 *	{"ref": N}
 *	"text in the grammar"
 *
 * and a list of entries is
 *
 *	[{MEMBER: NODE or [NODE, ...], ...}, ...]
 */
#ifndef CORE_TREE_DOC_H
#define CORE_TREE_DOC_H

#include <jansson.h>

#include "core/tree.h"

/* One step of a way through a document: into a member, or (key is NULL) into an element. */
struct doc_step {
	const char *key;
	size_t index;
};
#define DOC_STEPS_MAX (3 * TREE_DEPTH_MAX + 6)

/* A document being read. locate: from the way to a place in the text, both counted from 1. */
struct doc {
	const struct tree_reader *reader;
	struct weft_why *why;
	void (*locate)(const struct doc *doc, unsigned *line, unsigned *column);
	const void *source;
	size_t source_len;
	struct doc_step way[DOC_STEPS_MAX];
	unsigned steps, depth, nodes;
};

/* What is wanted of a document: one node, or entries. */
struct doc_wanted {
	const struct weft_iface *wants;
	struct tree **out;
	const struct tree_member *members; /* NULL: one node, into *out */
	tree_take *take;
	void *self;
};
int doc_read(struct doc *doc, const json_t *root, const struct doc_wanted *wanted);
/* A new value; NULL: no memory, or a text that is no UTF-8. */
json_t *doc_write(const struct tree *tree);

/* Text that grows, for the writers. */
struct doc_text {
	struct weft_core *core;
	char *text;
	size_t len, room;
	bool failed;
};
/* -ENOMEM, then and ever after: jansson does not look at each result. */
int doc_text_put(struct doc_text *out, const void *bytes, size_t len);

#endif
