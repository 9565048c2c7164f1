/* SPDX-License-Identifier: BSD-2-Clause */
/* A tree in the grammar's canonical form: quotes only where needed, address and devices first, named ports last. */
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "core/grammar.h"
#include "core/tree.h"

/* Counts when `text` is NULL, else writes: two passes, one allocation. */
struct printer {
	char *text;
	size_t len;
};

static void put(struct printer *printer, const char *text, size_t len)
{
	WEFT_ASSERT(text);
	if (printer->text)
		memcpy(printer->text + printer->len, text, len);
	printer->len += len;
}

static void put_text(struct printer *printer, const char *text)
{
	put(printer, text, strlen(text));
}

static void put_quoted(struct printer *printer, const char *text)
{
	WEFT_ASSERT(text);
	put_text(printer, "'");
	for (; *text; text++) {
		if (*text == '\'')
			put_text(printer, "'");
		put(printer, text, 1);
	}
	put_text(printer, "'");
}

static bool brackets_paired(const char *text)
{
	unsigned open = 0;

	for (; *text; text++) {
		if (*text == '[')
			open++;
		if (*text == ']' && !open--)
			return false;
	}
	return !open;
}

/* Would it be read as it is, wherever a value or an address may stand? */
static bool is_plain(const char *text)
{
	WEFT_ASSERT(text);
	return *text && *text != '[' && !strpbrk(text, ",'=") && brackets_paired(text);
}

static void put_value(struct printer *printer, const char *text)
{
	WEFT_ASSERT(text);
	if (is_plain(text))
		put_text(printer, text);
	else
		put_quoted(printer, text);
}

static bool prints_as_uri(const struct tree *tree)
{
	const char *kind = tree->address ? grammar_uri_kind(tree->address) : NULL;

	WEFT_ASSERT(tree->kind);
	return kind && !strcmp(kind, tree->kind) && !strpbrk(tree->address, ",'") && brackets_paired(tree->address);
}

static void put_tree(struct printer *printer, const struct tree *tree);

static void put_child(struct printer *printer, const struct tree *child)
{
	WEFT_ASSERT(child);
	if (child->port) {
		put_text(printer, child->port);
		put_text(printer, "=");
	}
	put_text(printer, "[");
	put_tree(printer, child);
	put_text(printer, "]");
}

/* ":" before the first item, "," before the others. */
static void put_separator(struct printer *printer, bool *first)
{
	put_text(printer, *first ? ":" : ",");
	*first = false;
}

static void put_children(struct printer *printer, const struct tree *tree, bool named, bool *first)
{
	WEFT_ASSERT(tree->kind && !tree->ref);
	for (unsigned i = 0; i < tree->nchildren; i++) {
		if (!tree->children[i]->port == named)
			continue;
		put_separator(printer, first);
		put_child(printer, tree->children[i]);
	}
}

static void put_tree(struct printer *printer, const struct tree *tree)
{
	bool first = true;

	WEFT_ASSERT(!tree->ref != !tree->kind);
	if (tree->ref) {
		put_text(printer, "@");
		put_text(printer, tree->ref);
		return;
	}
	if (prints_as_uri(tree)) {
		put_text(printer, tree->address);
		first = false;
	} else {
		put_text(printer, tree->kind);
		if (tree->address) {
			put_separator(printer, &first);
			put_value(printer, tree->address);
		}
	}
	put_children(printer, tree, false, &first);
	if (tree->name) {
		put_separator(printer, &first);
		put_text(printer, "name=");
		put_text(printer, tree->name);
	}
	for (unsigned i = 0; i < tree->noptions; i++) {
		put_separator(printer, &first);
		put_text(printer, tree->options[i].name);
		put_text(printer, "=");
		put_value(printer, tree->options[i].value);
	}
	put_children(printer, tree, true, &first);
}

char *grammar_print(struct weft_core *core, const struct tree *tree)
{
	struct printer printer = { NULL, 0 };

	put_tree(&printer, tree);
	size_t len = printer.len;
	printer.text = weft_alloc(core, len + 1);
	if (!printer.text)
		return NULL;
	printer.len = 0;
	put_tree(&printer, tree);
	WEFT_ASSERT(printer.len == len && len > 0);
	return printer.text;
}
