/* SPDX-License-Identifier: BSD-2-Clause */
/* A tree as YAML, both ways. All scalars are texts: an option says itself what its value means. */
#include <errno.h>
#include <string.h>
#include <yaml.h>

#include <weft/memory.h>

#include "core/tree_doc.h"

/* More levels or values than the largest tree can have: anchors may multiply without end. */
#define LEVELS_MAX DOC_STEPS_MAX
#define VALUES_MAX (16 * TREE_NODES_MAX)

/* ---- reading ---- */

static void locate(const struct doc *doc, unsigned *line, unsigned *column)
{
	yaml_document_t *document = (yaml_document_t *)(uintptr_t)doc->source;
	yaml_node_t *node = yaml_document_get_root_node(document);

	WEFT_ASSERT(node && doc->steps <= DOC_STEPS_MAX);
	for (unsigned i = 0; i < doc->steps; i++) {
		const struct doc_step *step = &doc->way[i];
		yaml_node_t *next = NULL;

		if (!step->key && node->type == YAML_SEQUENCE_NODE) {
			next = yaml_document_get_node(document, node->data.sequence.items.start[step->index]);
		} else if (node->type == YAML_MAPPING_NODE) {
			yaml_node_pair_t *pair = node->data.mapping.pairs.start;

			for (; !next && pair < node->data.mapping.pairs.top; pair++) {
				yaml_node_t *key = yaml_document_get_node(document, pair->key);

				if (!strcmp((const char *)key->data.scalar.value, step->key))
					next = yaml_document_get_node(document, pair->value);
			}
		}
		if (!next)
			break;
		node = next;
	}
	*line = (unsigned)node->start_mark.line + 1;
	*column = (unsigned)node->start_mark.column + 1;
}

struct converter {
	yaml_document_t *document;
	struct weft_why *why;
	unsigned level, values;
};

static json_t *refuse(struct converter *converter, const yaml_node_t *node, const char *sentence)
{
	WEFT_ASSERT(node && sentence);
	weft_why(converter->why, -EINVAL, "line %u, column %u: %s", (unsigned)node->start_mark.line + 1,
		 (unsigned)node->start_mark.column + 1, sentence);
	return NULL;
}

static json_t *convert(struct converter *converter, const yaml_node_t *node);

static json_t *convert_scalar(struct converter *converter, const yaml_node_t *node)
{
	const char *text = (const char *)node->data.scalar.value;

	WEFT_ASSERT(node->type == YAML_SCALAR_NODE);
	if (strlen(text) != node->data.scalar.length)
		return refuse(converter, node, "a text holds a zero byte: leave it out");
	if (node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && (!*text || !strcmp(text, "~") || !strcmp(text, "null")))
		return json_null();
	return json_string(text);
}

static json_t *convert_sequence(struct converter *converter, const yaml_node_t *node)
{
	json_t *list = json_array();

	WEFT_ASSERT(node->type == YAML_SEQUENCE_NODE);
	for (yaml_node_item_t *item = node->data.sequence.items.start; item < node->data.sequence.items.top; item++) {
		json_t *value = convert(converter, yaml_document_get_node(converter->document, *item));

		if (!value || json_array_append_new(list, value)) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *convert_mapping(struct converter *converter, const yaml_node_t *node)
{
	json_t *map = json_object();

	WEFT_ASSERT(node->type == YAML_MAPPING_NODE);
	for (yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
		const yaml_node_t *key = yaml_document_get_node(converter->document, pair->key);
		const char *text = (const char *)key->data.scalar.value;
		json_t *value = NULL;

		if (key->type != YAML_SCALAR_NODE || strlen(text) != key->data.scalar.length)
			refuse(converter, key, "the name of a value must be a text: write NAME: VALUE");
		else if (json_object_get(map, text))
			refuse(converter, key, "this name stands twice in one map: give it once");
		else
			value = convert(converter, yaml_document_get_node(converter->document, pair->value));
		if (!value || json_object_set_new(map, text, value)) {
			json_decref(map);
			return NULL;
		}
	}
	return map;
}

static json_t *convert(struct converter *converter, const yaml_node_t *node)
{
	json_t *value = NULL;

	WEFT_ASSERT(node && converter->level <= LEVELS_MAX);
	if (++converter->values > VALUES_MAX)
		return refuse(converter, node, "too many values: build some devices first, and refer to them by name");
	if (converter->level >= LEVELS_MAX)
		return refuse(converter, node, "too many levels: build the lower part first, and refer to it by its name");
	converter->level++;
	if (node->type == YAML_SCALAR_NODE)
		value = convert_scalar(converter, node);
	else if (node->type == YAML_SEQUENCE_NODE)
		value = convert_sequence(converter, node);
	else if (node->type == YAML_MAPPING_NODE)
		value = convert_mapping(converter, node);
	converter->level--;
	return value;
}

static int not_yaml(const yaml_parser_t *parser, struct weft_why *why)
{
	WEFT_ASSERT(parser->error != YAML_NO_ERROR);
	if (parser->error == YAML_MEMORY_ERROR)
		return weft_why(why, -ENOMEM, "no memory to read YAML: end something else, or raise the memory limit");
	return weft_why(why, -EINVAL, "line %u, column %u: this is no YAML (%s): mend it there, or just before",
			(unsigned)parser->problem_mark.line + 1, (unsigned)parser->problem_mark.column + 1,
			parser->problem ? parser->problem : "?");
}

/* The stream holds one document, and this is it. */
static int read_document(const struct tree_reader *reader, yaml_document_t *document, const struct doc_wanted *wanted,
	struct weft_why *why)
{
	struct converter converter = { .document = document, .why = why };
	struct doc doc = { .reader = reader, .why = why, .locate = locate, .source = document };
	const yaml_node_t *root = yaml_document_get_root_node(document);

	if (!root)
		return weft_why(why, -EINVAL, "line 1, column 1: the document is empty: write kind: KIND and address: ADDRESS");
	if (why)
		why->text[0] = '\0';
	json_t *value = convert(&converter, root);
	if (!value && (!why || why->text[0]))
		return -EINVAL;
	if (!value)
		return weft_why(why, -ENOMEM, "no memory to read YAML: end something else, or raise the memory limit");
	int error = doc_read(&doc, value, wanted);
	json_decref(value);
	return error;
}

static int nothing_follows(yaml_parser_t *parser, struct weft_why *why)
{
	yaml_document_t second;
	int error = 0;

	if (!yaml_parser_load(parser, &second))
		return not_yaml(parser, why);
	if (yaml_document_get_root_node(&second))
		error = weft_why(why, -EINVAL, "line %u, column 1: a second document begins: give one file for each",
				 (unsigned)second.start_mark.line + 1);
	yaml_document_delete(&second);
	return error;
}

static int read_only_document(const struct tree_reader *reader, yaml_parser_t *parser, const struct doc_wanted *wanted,
	struct weft_why *why)
{
	yaml_document_t document;
	int error = 0;

	if (!yaml_parser_load(parser, &document))
		return not_yaml(parser, why);
	if (yaml_document_get_root_node(&document))
		error = nothing_follows(parser, why);
	if (!error)
		error = read_document(reader, &document, wanted, why);
	yaml_document_delete(&document);
	return error;
}

static int from_yaml(const struct tree_reader *reader, const char *text, size_t len, const struct doc_wanted *wanted,
	struct weft_why *why)
{
	yaml_parser_t parser;

	WEFT_ASSERT(text || !len);
	if (!yaml_parser_initialize(&parser))
		return weft_why(why, -ENOMEM, "no memory to read YAML: end something else, or raise the memory limit");
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	int error = read_only_document(reader, &parser, wanted, why);
	yaml_parser_delete(&parser);
	return error;
}

int tree_from_yaml(const struct tree_reader *reader, const char *text, size_t len, const struct weft_iface *wants,
	struct tree **out, struct weft_why *why)
{
	*out = NULL;
	return from_yaml(reader, text, len, &(struct doc_wanted){ .wants = wants, .out = out }, why);
}

int tree_entries_from_yaml(const struct tree_reader *reader, const char *text, size_t len, const struct tree_member *members,
	tree_take *take, void *self, struct weft_why *why)
{
	WEFT_ASSERT(members->name && take);
	return from_yaml(reader, text, len, &(struct doc_wanted){ .members = members, .take = take, .self = self }, why);
}

/* ---- writing ---- */

static int put(void *out, unsigned char *bytes, size_t len)
{
	return !doc_text_put(out, bytes, len);
}

static bool emit_text(yaml_emitter_t *emitter, const char *text)
{
	yaml_event_t event;
	bool null = !*text || !strcmp(text, "~") || !strcmp(text, "null"); /* would be read as nothing */

	WEFT_ASSERT(text);
	return yaml_scalar_event_initialize(&event, NULL, NULL, (const yaml_char_t *)text, (int)strlen(text), 1, 1,
					    null ? YAML_SINGLE_QUOTED_SCALAR_STYLE : YAML_ANY_SCALAR_STYLE) &&
		yaml_emitter_emit(emitter, &event);
}

static bool emit(yaml_emitter_t *emitter, const json_t *value)
{
	yaml_event_t event;
	const char *key;
	json_t *member;

	if (json_is_string(value))
		return emit_text(emitter, json_string_value(value));
	if (json_is_array(value)) {
		if (!yaml_sequence_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_SEQUENCE_STYLE) ||
		    !yaml_emitter_emit(emitter, &event))
			return false;
		for (size_t i = 0; i < json_array_size(value); i++)
			if (!emit(emitter, json_array_get(value, i)))
				return false;
		return yaml_sequence_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
	}
	WEFT_ASSERT(json_is_object(value));
	if (!yaml_mapping_start_event_initialize(&event, NULL, NULL, 1, YAML_BLOCK_MAPPING_STYLE) ||
	    !yaml_emitter_emit(emitter, &event))
		return false;
	json_object_foreach((json_t *)(uintptr_t)value, key, member)
		if (!emit_text(emitter, key) || !emit(emitter, member))
			return false;
	return yaml_mapping_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

static bool emit_stream(yaml_emitter_t *emitter, const json_t *root)
{
	yaml_event_t event;

	WEFT_ASSERT(root);
	return yaml_stream_start_event_initialize(&event, YAML_UTF8_ENCODING) && yaml_emitter_emit(emitter, &event) &&
		yaml_document_start_event_initialize(&event, NULL, NULL, NULL, 1) && yaml_emitter_emit(emitter, &event) &&
		emit(emitter, root) &&
		yaml_document_end_event_initialize(&event, 1) && yaml_emitter_emit(emitter, &event) &&
		yaml_stream_end_event_initialize(&event) && yaml_emitter_emit(emitter, &event);
}

char *tree_to_yaml(struct weft_core *core, const struct tree *tree)
{
	struct doc_text out = { .core = core };
	json_t *root = doc_write(tree);
	yaml_emitter_t emitter;
	bool done = false;

	WEFT_ASSERT(core);
	if (root && yaml_emitter_initialize(&emitter)) {
		yaml_emitter_set_output(&emitter, put, &out);
		yaml_emitter_set_unicode(&emitter, 1);
		yaml_emitter_set_width(&emitter, -1);
		done = emit_stream(&emitter, root);
		yaml_emitter_delete(&emitter);
	}
	json_decref(root);
	if (done)
		return out.text;
	weft_free(core, out.text);
	return NULL;
}
