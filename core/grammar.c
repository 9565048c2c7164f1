/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one grammar (docs/grammar.md): text to tree and back. Pure but for the memory of the tree.
 *
 *	DEVICE = "@" NAME | URI { "," ITEM } | KIND [ ":" [ ADDRESS | ITEM ] { "," ITEM } ]
 *	ITEM   = "[" DEVICE "]" | PORT "=" "[" DEVICE "]" | OPTION "=" VALUE
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "core/grammar.h"
#include "core/kind.h"
#include "core/option.h"
#include "core/tree.h"

#define KIND_NAME_MAX 31

struct parser {
	const struct tree_reader *reader;
	const char *text, *at;
	unsigned depth, nodes;
	struct weft_why *why;
};

/* A word or value: where it stands in the text; when quoted, without the quotes, each '' still doubled. */
struct span {
	const char *start;
	size_t len;
	bool quoted;
};

/* URIs that other software writes, and the kind that takes them whole, as its address. */
static const struct {
	const char *prefix, *kind;
} uris[] = {
	{ "nbd://", "nbd" }, { "nbds://", "nbd" }, { "nbd+unix://", "nbd" }, { "nbds+unix://", "nbd" },
	{ "iscsi://", "iscsi" }, { "nvme-tcp://", "nvme-tcp" },
};

const char *grammar_uri_kind(const char *text)
{
	WEFT_ASSERT(text);
	for (unsigned i = 0; i < WEFT_COUNT(uris); i++)
		if (!strncmp(text, uris[i].prefix, strlen(uris[i].prefix)))
			return uris[i].kind;
	return NULL;
}

static int parse_device(struct parser *parser, const struct weft_iface *wants, struct tree **out);

int grammar_parse(const struct tree_reader *reader, const char *text, const struct weft_iface *wants, struct tree **out,
	struct weft_why *why)
{
	struct parser parser = { .reader = reader, .text = text, .at = text, .why = why };

	WEFT_ASSERT(reader->core && reader->kinds);
	*out = NULL;
	return parse_device(&parser, wants, out);
}

/* ---- errors ---- */

#define FAIL(parser, place, ...) \
	fail_at(parser, place, weft_why((parser)->why, -EINVAL, __VA_ARGS__))

/* Puts the column in front of the sentence. */
static int fail_at(struct parser *parser, const char *place, int error)
{
	WEFT_ASSERT(error < 0 && place >= parser->text);
	if (!parser->why)
		return error;
	return weft_why(parser->why, error, "column %u: %s", (unsigned)(place - parser->text) + 1, parser->why->text);
}

static int no_memory(struct parser *parser)
{
	return weft_why(parser->why, -ENOMEM, "no memory for the tree of '%.60s': end something else, or raise the memory limit",
			parser->text);
}

/* ---- words and values ---- */

static bool at_end(const struct parser *parser)
{
	return !*parser->at || *parser->at == ',' || *parser->at == ']';
}

static int read_quoted(struct parser *parser, struct span *out)
{
	const char *open = parser->at++;

	WEFT_ASSERT(*open == '\'');
	for (;; parser->at++) {
		if (!*parser->at)
			return FAIL(parser, open, "a quote is not closed: write ' behind the value, and '' for a quote in it");
		if (*parser->at != '\'')
			continue;
		if (parser->at[1] != '\'')
			break;
		parser->at++;
	}
	*out = (struct span){ open + 1, (size_t)(parser->at - open - 1), true };
	parser->at++;
	if (!at_end(parser))
		return FAIL(parser, parser->at, "'%.20s' follows a closing quote: put the whole value in quotes, '' for a "
				"quote in it",
			    parser->at);
	return 0;
}

/* Up to a comma, or a bracket that closes the device; brackets within the value come in pairs. */
static int read_raw(struct parser *parser, struct span *out)
{
	const char *start = parser->at, *bracket = NULL;
	unsigned open = 0;

	WEFT_ASSERT(*start != '\'');
	for (; *parser->at && *parser->at != ','; parser->at++) {
		if (*parser->at == '\'')
			return FAIL(parser, parser->at, "a quote stands within a value: put the whole value in quotes, '' "
					"for a quote in it");
		if (*parser->at == ']' && !open)
			break;
		if (*parser->at == '[' && !open++)
			bracket = parser->at;
		if (*parser->at == ']')
			open--;
	}
	if (open)
		return FAIL(parser, bracket, "a bracket is not closed: close it with ], or put the value in quotes");
	*out = (struct span){ start, (size_t)(parser->at - start), false };
	return 0;
}

static int read_value(struct parser *parser, struct span *out)
{
	return *parser->at == '\'' ? read_quoted(parser, out) : read_raw(parser, out);
}

/* Replaces a string of the node by what a span says. */
static int store(struct parser *parser, char **field, const struct span *span)
{
	WEFT_ASSERT(span->start >= parser->text && span->start + span->len <= parser->at);
	if (tree_set(parser->reader->core, field, span->start, span->len))
		return no_memory(parser);
	if (!span->quoted)
		return 0;
	char *to = *field;
	for (const char *from = *field; *from; from++) {
		if (*from == '\'')
			from++; /* the first of two */
		*to++ = *from;
	}
	*to = '\0';
	return 0;
}

/* The word in front of an '=', copied; false: the item does not begin so. */
static bool peek_name(const struct parser *parser, char name[KIND_NAME_MAX + 1])
{
	size_t len = 0;

	while ((parser->at[len] >= 'a' && parser->at[len] <= 'z') || (parser->at[len] >= '0' && parser->at[len] <= '9') ||
	       (parser->at[len] >= 'A' && parser->at[len] <= 'Z') || parser->at[len] == '-' || parser->at[len] == '_')
		len++;
	if (!len || len > KIND_NAME_MAX || parser->at[len] != '=')
		return false;
	memcpy(name, parser->at, len);
	name[len] = '\0';
	WEFT_ASSERT(strlen(name) == len);
	return true;
}

/* ---- items ---- */

/* "[" DEVICE "]", for a port (by its name; NULL: in order). */
static int parse_child(struct parser *parser, const struct weft_kind *kind, struct tree *tree, const struct weft_port *port)
{
	struct weft_core *core = parser->reader->core;
	const char *open = parser->at++;
	struct tree *child = NULL;
	unsigned at = tree->nchildren < kind_places(kind) ? tree->nchildren : kind_places(kind) - 1;
	const struct weft_port *place = port ? port : kind_port_at(kind, at, at + 1, NULL);

	WEFT_ASSERT(*open == '[' && place);
	int error = parse_device(parser, place->wants, &child);
	if (!error && *parser->at != ']')
		error = FAIL(parser, open, "a bracket is not closed: close it with ]");
	if (!error && port && tree_set(core, &child->port, port->name, strlen(port->name)))
		error = no_memory(parser);
	if (error) {
		tree_free(core, child);
		return error;
	}
	parser->at++;
	WEFT_ASSERT(child && parser->at > open + 2);
	if (!at_end(parser)) {
		tree_free(core, child);
		return FAIL(parser, parser->at, "'%.20s' follows a device in brackets: put a comma between", parser->at);
	}
	return tree_add_child(core, tree, child) ? no_memory(parser) : 0;
}

static int store_name(struct parser *parser, struct tree *tree, const struct span *value)
{
	WEFT_ASSERT(tree->kind);
	if (tree->name)
		return FAIL(parser, value->start, "%s: name is given twice: give it once", tree->kind);
	int error = store(parser, &tree->name, value);
	if (!error && !tree_name_valid(tree->name))
		return FAIL(parser, value->start, "name='%.60s' is no name: use letters, digits, '-', '_' and '.', at most 63",
			    tree->name);
	return error;
}

/* OPTION "=" VALUE or PORT "=" "[" DEVICE "]"; `name` has been seen and is a word. */
static int parse_named(struct parser *parser, const struct weft_kind *kind, struct tree *tree, const char *name)
{
	const struct weft_port *port = kind_port(kind, name);
	const char *start = parser->at;
	struct span value;

	WEFT_ASSERT(parser->at[strlen(name)] == '=');
	parser->at += strlen(name) + 1;
	if (port && *parser->at == '[')
		return parse_child(parser, kind, tree, port);
	if (port)
		return FAIL(parser, parser->at, "%s: %s is a port: write a device in brackets, %s=[KIND:ADDRESS]",
				kind->name, name, name);
	if (strcmp(name, "name") && !option_find(kind, name))
		return option_unknown(kind, name, parser->why), fail_at(parser, start, -EINVAL);
	int error = read_value(parser, &value);
	if (error)
		return error;
	if (!strcmp(name, "name"))
		return store_name(parser, tree, &value);
	if (tree_add_option(parser->reader->core, tree, name, strlen(name), "", 0))
		return no_memory(parser);
	return store(parser, &tree->options[tree->noptions - 1].value, &value);
}

static int fail_item(struct parser *parser, const struct weft_kind *kind)
{
	size_t len = strcspn(parser->at, ",]");
	int shown = len > 40 ? 40 : (int)len;
	char name[KIND_NAME_MAX + 1] = "";

	WEFT_ASSERT(parser->at > parser->text);
	if (!len)
		return FAIL(parser, parser->at, "%s: nothing stands between two commas: write option=value, or leave the comma out",
			    kind->name);
	if (*parser->at == '[')
		return FAIL(parser, parser->at, "%s: a device in brackets: this kind is bound to nothing below it; leave it "
				"out, or put a value that begins with [ in quotes", kind->name);
	if (len <= KIND_NAME_MAX)
		memcpy(name, parser->at, len);
	const struct weft_option *option = option_find(kind, name);
	if (option && option->type == WEFT_OPTION_BOOL)
		return FAIL(parser, parser->at, "%s: '%s' has no value: write %s=on", kind->name, name, name);
	return FAIL(parser, parser->at, "%s: '%.*s' is not option=value: an address stands right behind the colon; a value "
			"that holds a comma is put in quotes", kind->name, shown, parser->at);
}

static int parse_item(struct parser *parser, const struct weft_kind *kind, struct tree *tree)
{
	char name[KIND_NAME_MAX + 1];

	WEFT_ASSERT(parser->at[-1] == ',');
	if (*parser->at == '[' && kind_has_ports(kind))
		return parse_child(parser, kind, tree, NULL);
	if (peek_name(parser, name))
		return parse_named(parser, kind, tree, name);
	return fail_item(parser, kind);
}

/* Right behind the colon: an address, or already the first item. "a=b" is an option when the kind has one of
 * that name, and when it takes no address. */
static int parse_first(struct parser *parser, const struct weft_kind *kind, struct tree *tree)
{
	char name[KIND_NAME_MAX + 1];
	struct span address;

	WEFT_ASSERT(parser->at[-1] == ':' && !tree->address);
	if (at_end(parser))
		return 0;
	if (*parser->at == '[' && kind_has_ports(kind))
		return parse_child(parser, kind, tree, NULL);
	if (peek_name(parser, name) && (!strcmp(name, "name") || option_find(kind, name) || kind_port(kind, name) ||
					!option_of_address(kind)))
		return parse_named(parser, kind, tree, name);
	int error = read_value(parser, &address);
	return error ? error : store(parser, &tree->address, &address);
}

/* ---- devices ---- */

static int parse_ref(struct parser *parser, struct tree **out)
{
	const char *start = parser->at++;
	char name[64];
	size_t len = strcspn(parser->at, ",]");

	WEFT_ASSERT(*start == '@');
	snprintf(name, sizeof(name), "%.*s", len < sizeof(name) ? (int)len : 0, parser->at);
	if (!tree_name_valid(name))
		return FAIL(parser, start, "'@%.*s' is no reference: write @ and the name of an object, of letters, digits, "
				"'-', '_' and '.', at most 63", len > 40 ? 40 : (int)len, parser->at);
	parser->at += len;
	if (*parser->at == ',')
		return FAIL(parser, parser->at, "a reference takes no options: give them where '%s' is made", name);
	return tree_new_ref(parser->reader->core, name, out) ? no_memory(parser) : 0;
}

/* Letters, digits and '-' only: a kind was meant, not a file. */
static bool looks_like_a_kind(const char *name)
{
	WEFT_ASSERT(strlen(name) <= KIND_NAME_MAX);
	return *name && !name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-")];
}

static const struct weft_kind *read_kind(struct parser *parser, const struct weft_iface *wants)
{
	const char *uri = grammar_uri_kind(parser->at);
	size_t len = uri ? strlen(uri) : strcspn(parser->at, ":,[]=");
	char name[KIND_NAME_MAX + 1] = "";
	struct weft_why why = { "" };

	if (!len) {
		FAIL(parser, parser->at, "a device is missing: write KIND:ADDRESS, as in file:disk.img");
		return NULL;
	}
	if (len <= KIND_NAME_MAX)
		memcpy(name, uri ? uri : parser->at, len);
	const struct weft_kind *kind = *name ? parser->reader->kinds(parser->reader->self, name, wants, &why) : NULL;
	if (!kind && parser->at[len] != ':' && looks_like_a_kind(name))
		FAIL(parser, parser->at, "%s; a file is written file:%s", why.text, name);
	else if (!kind && (!*name || parser->at[len] != ':'))
		FAIL(parser, parser->at, "'%.*s' is no device: write KIND:ADDRESS, as in file:disk.img", len > 60 ? 60 : (int)len,
		     parser->at);
	else if (!kind)
		FAIL(parser, parser->at, "%s", why.text);
	if (kind && !uri)
		parser->at += len;
	return kind;
}

/* The node's own text, behind its kind. */
static int parse_rest(struct parser *parser, const struct weft_kind *kind, bool uri, struct tree *tree)
{
	struct span whole;
	int error = 0;

	WEFT_ASSERT(!strcmp(tree->kind, kind->name));
	if (uri) {
		error = read_raw(parser, &whole);
		if (!error)
			error = store(parser, &tree->address, &whole);
	} else if (*parser->at == ':') {
		parser->at++;
		error = parse_first(parser, kind, tree);
	}
	while (!error && *parser->at == ',') {
		parser->at++;
		error = parse_item(parser, kind, tree);
	}
	return error;
}

static int check_end(struct parser *parser)
{
	WEFT_ASSERT(parser->depth > 0 && parser->depth <= TREE_DEPTH_MAX);
	if (!*parser->at || (*parser->at == ']' && parser->depth > 1))
		return 0;
	if (*parser->at == ']')
		return FAIL(parser, parser->at, "a bracket is closed that is not open: leave it out, or put the value in quotes");
	return FAIL(parser, parser->at, "'%.20s' is not expected here: put : behind a kind, and , between options", parser->at);
}

static int parse_kind(struct parser *parser, const struct weft_iface *wants, struct tree **out)
{
	bool uri = grammar_uri_kind(parser->at);
	const struct weft_kind *kind = read_kind(parser, wants);

	WEFT_ASSERT(!*out);
	if (!kind)
		return -EINVAL;
	if (tree_new(parser->reader->core, kind->name, out))
		return no_memory(parser);
	return parse_rest(parser, kind, uri, *out);
}

static int parse_device(struct parser *parser, const struct weft_iface *wants, struct tree **out)
{
	int error;

	if (++parser->depth > TREE_DEPTH_MAX)
		return FAIL(parser, parser->at, "more than %u devices in one another: build the lower part first, and refer "
				"to it by @NAME", TREE_DEPTH_MAX);
	if (++parser->nodes > TREE_NODES_MAX)
		return FAIL(parser, parser->at, "more than %u devices: build some first, and refer to them by @NAME",
				TREE_NODES_MAX);
	error = *parser->at == '@' ? parse_ref(parser, out) : parse_kind(parser, wants, out);
	if (!error)
		error = check_end(parser);
	parser->depth--;
	if (error) {
		tree_free(parser->reader->core, *out);
		*out = NULL;
	}
	WEFT_ASSERT(!error == !!*out);
	return error;
}
