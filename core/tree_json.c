/* SPDX-License-Identifier: BSD-2-Clause */
/* A tree as JSON, both ways. */
#include <errno.h>
#include <string.h>

#include <weft/memory.h>

#include "core/tree_doc.h"

/* ---- places: jansson does not keep them, so the text, known to be JSON, is walked again ---- */

struct cursor {
	const char *at, *end;
};

static void skip_blank(struct cursor *cursor)
{
	while (cursor->at < cursor->end && strchr(" \t\r\n", *cursor->at))
		cursor->at++;
}

static void skip_string(struct cursor *cursor)
{
	WEFT_ASSERT(*cursor->at == '"');
	for (cursor->at++; cursor->at < cursor->end && *cursor->at != '"'; cursor->at++)
		if (*cursor->at == '\\')
			cursor->at++;
	cursor->at++;
}

static void skip_value(struct cursor *cursor)
{
	unsigned depth = 0;

	WEFT_ASSERT(cursor->at <= cursor->end);
	do {
		skip_blank(cursor);
		if (cursor->at >= cursor->end)
			return;
		char c = *cursor->at;
		if (c == '"') {
			skip_string(cursor);
		} else if (c == '{' || c == '[') {
			depth++;
			cursor->at++;
		} else if (c == '}' || c == ']') {
			depth--;
			cursor->at++;
		} else if (c == ',' || c == ':') {
			cursor->at++;
		} else {
			while (cursor->at < cursor->end && !strchr(",:]} \t\r\n", *cursor->at))
				cursor->at++;
		}
	} while (depth);
}

/* From the opening bracket to the member or element; false: not found (a key that is written with escapes). */
static bool step_into(struct cursor *cursor, const struct doc_step *step)
{
	size_t index = 0;

	WEFT_ASSERT(*cursor->at == (step->key ? '{' : '['));
	for (cursor->at++; cursor->at < cursor->end; index++) {
		bool here = !step->key && index == step->index;

		skip_blank(cursor);
		if (cursor->at < cursor->end && strchr("]}", *cursor->at))
			return false;
		if (step->key) {
			const char *key = cursor->at + 1;

			skip_string(cursor);
			here = (size_t)(cursor->at - key) == strlen(step->key) + 1 && !memcmp(key, step->key, strlen(step->key));
			skip_blank(cursor);
			cursor->at++; /* the colon */
			skip_blank(cursor);
		}
		if (here)
			return true;
		skip_value(cursor);
		skip_blank(cursor);
		cursor->at++; /* the comma */
	}
	return false;
}

static void locate(const struct doc *doc, unsigned *line, unsigned *column)
{
	const char *text = doc->source;
	struct cursor cursor = { text, text + doc->source_len };

	WEFT_ASSERT(text && doc->steps <= DOC_STEPS_MAX);
	skip_blank(&cursor);
	for (unsigned i = 0; i < doc->steps; i++) {
		struct cursor next = cursor;

		if (!step_into(&next, &doc->way[i]))
			break;
		cursor = next;
	}
	*line = *column = 1;
	for (const char *c = text; c < cursor.at && c < cursor.end; c++) {
		*column = *c == '\n' ? 1 : *column + 1;
		*line += *c == '\n';
	}
}

/* ---- reading and writing ---- */

static int from_json(const struct tree_reader *reader, const char *text, size_t len, const struct doc_wanted *wanted,
	struct weft_why *why)
{
	struct doc doc = { .reader = reader, .why = why, .locate = locate, .source = text, .source_len = len };
	json_error_t wrong;
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &wrong);

	WEFT_ASSERT(text || !len);
	if (!root)
		return weft_why(why, -EINVAL, "line %d, column %d: this is no JSON (%s): mend it there, or just before", wrong.line,
				wrong.column, wrong.text);
	int error = doc_read(&doc, root, wanted);
	json_decref(root);
	return error;
}

int tree_from_json(const struct tree_reader *reader, const char *text, size_t len, const struct weft_iface *wants,
	struct tree **out, struct weft_why *why)
{
	*out = NULL;
	return from_json(reader, text, len, &(struct doc_wanted){ .wants = wants, .out = out }, why);
}

int tree_entries_from_json(const struct tree_reader *reader, const char *text, size_t len, const struct tree_member *members,
	tree_take *take, void *self, struct weft_why *why)
{
	WEFT_ASSERT(members->name && take);
	return from_json(reader, text, len, &(struct doc_wanted){ .members = members, .take = take, .self = self }, why);
}

static int put(const char *bytes, size_t len, void *out)
{
	return doc_text_put(out, bytes, len);
}

char *tree_to_json(struct weft_core *core, const struct tree *tree)
{
	struct doc_text out = { .core = core };
	json_t *root = doc_write(tree);

	WEFT_ASSERT(core);
	if (!root)
		return NULL;
	if (json_dump_callback(root, put, &out, JSON_INDENT(2)) || doc_text_put(&out, "\n", 1)) {
		weft_free(core, out.text);
		out.text = NULL;
	}
	json_decref(root);
	return out.text;
}
