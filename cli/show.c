/* SPDX-License-Identifier: BSD-2-Clause */
/* How things look on standard output. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/show.h"

#include "core/objects.h"

const char *show_size(uint64_t bytes, char text[SHOW_TEXT])
{
	static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	unsigned unit = 0;

	for (; value >= 1024 && unit + 1 < WEFT_COUNT(units); unit++)
		value /= 1024;
	snprintf(text, SHOW_TEXT, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
	return text;
}

const char *show_count(double n, char text[SHOW_TEXT])
{
	if (n >= 1e6)
		snprintf(text, SHOW_TEXT, "%.2f M", n / 1e6);
	else
		snprintf(text, SHOW_TEXT, n >= 1e4 ? "%.1f k" : "%.0f", n >= 1e4 ? n / 1e3 : n);
	return text;
}

const char *show_duration(uint64_t ns, char text[SHOW_TEXT])
{
	static const char *const units[] = { "ns", "us", "ms", "s" };
	double value = (double)ns;
	unsigned unit = 0;

	for (; value >= 1000 && unit + 1 < WEFT_COUNT(units); unit++)
		value /= 1000;
	snprintf(text, SHOW_TEXT, "%.*f %s", unit == 0 || value >= 100 ? 0 : value >= 10 ? 1 : 2, value, units[unit]);
	return text;
}

/* ---- JSON ---- */

json_t *show_string(const char *text)
{
	char plain[512];
	json_t *string = json_string(text);
	size_t i = 0;

	if (string != NULL)
		return string;
	for (; text[i] != '\0' && i + 1 < sizeof(plain); i++) /* it is no UTF-8 */
		plain[i] = (unsigned char)text[i] < 0x80 ? text[i] : '?';
	plain[i] = '\0';
	return json_string(plain);
}

static int print(const char *text, size_t len, void *self)
{
	(void)self;
	return fwrite(text, 1, len, stdout) == len ? 0 : -1;
}

void show_json(json_t *value, bool indent)
{
	json_dump_callback(value, print, NULL, JSON_ENCODE_ANY | (indent ? JSON_INDENT(2) : JSON_COMPACT));
	printf("\n");
	fflush(stdout);
	json_decref(value);
}

void show_quoted(const char *text)
{
	json_t *string = show_string(text);

	json_dump_callback(string, print, NULL, JSON_ENCODE_ANY);
	json_decref(string);
}

static void print_scalar(const json_t *value)
{
	if (json_is_string(value))
		printf("%s", json_string_value(value));
	else if (json_is_integer(value))
		printf("%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		printf("%g", json_real_value(value));
	else
		printf("%s", json_is_true(value) ? "yes" : json_is_false(value) ? "no" : "-");
	printf("\n");
}

void show_plain(const json_t *value, unsigned level)
{
	const char *name;
	json_t *item;
	size_t i;

	if (json_is_array(value)) {
		json_array_foreach(value, i, item) {
			if (json_is_object(item) && i > 0 && level == 0)
				printf("\n");
			show_plain(item, level);
		}
	} else if (json_is_object(value)) {
		json_object_foreach((json_t *)(uintptr_t)value, name, item) {
			bool nested = json_is_object(item) || json_is_array(item);

			printf("%*s%s:%s", (int)(2 * level), "", name, nested ? "\n" : " ");
			if (nested)
				show_plain(item, level + 1);
			else
				print_scalar(item);
		}
	} else {
		printf("%*s", (int)(2 * level), "");
		print_scalar(value);
	}
}

/* ---- devices ---- */

void show_put(void *facts, const char *name, const char *value)
{
	json_object_set_new(facts, name, show_string(value));
}

json_t *show_facts(const struct weft_object *object)
{
	json_t *facts = json_object();

	if (object->kind->describe != NULL)
		object->kind->describe(object, show_put, facts);
	return facts;
}

static json_t *abilities(const struct weft_blk *blk)
{
	static const char *const names[] = { "fua", "no-unmap", "fast-zero" };
	json_t *list = json_array();

	for (unsigned op = 0; op < WEFT_OP_COUNT; op++)
		if (blk->ops_can & WEFT_OP_BIT(op))
			json_array_append_new(list, json_string(weft_op_name(op)));
	for (unsigned i = 0; i < WEFT_COUNT(names); i++)
		if (blk->flags_can & (1u << i))
			json_array_append_new(list, json_string(names[i]));
	return list;
}

json_t *show_device(const struct weft_object *object)
{
	const struct weft_blk *blk = weft_object_query(object, &weft_blk_iface);
	json_t *all = json_object();

	json_object_set_new(all, "name", show_string(object->name));
	json_object_set_new(all, "kind", json_string(object->kind->name));
	if (blk != NULL) {
		json_object_set_new(all, "size", json_integer((json_int_t)blk->size));
		json_object_set_new(all, "block", json_integer(blk->block));
		json_object_set_new(all, "physical_block", json_integer(blk->physical != 0 ? blk->physical : blk->block));
		json_object_set_new(all, "optimal", json_integer(blk->optimal));
		json_object_set_new(all, "alignment", json_integer(blk->align));
		json_object_set_new(all, "max_transfer", json_integer(blk->max_len != 0 ? blk->max_len : WEFT_MAX_LEN));
		if ((blk->ops_can & WEFT_OP_BIT(WEFT_COMPARE_WRITE)) != 0)
			json_object_set_new(all, "max_compare", json_integer(blk->max_compare));
		json_object_set_new(all, "max_segments", json_integer(blk->max_segs));
		json_object_set_new(all, "readonly", json_boolean(blk->readonly));
		json_object_set_new(all, "volatile_cache", json_boolean(blk->volatile_cache));
		json_object_set_new(all, "rotational", json_boolean(blk->rotational));
		json_object_set_new(all, "abilities", abilities(blk));
	}
	json_object_set_new(all, "facts", show_facts(object));
	return all;
}

static void add_devices(const struct weft_object *object, json_t *list)
{
	struct weft_object *below;

	json_array_append_new(list, show_device(object));
	for (unsigned i = 0; (below = objects_below(object, i, NULL)) != NULL; i++)
		add_devices(below, list);
}

json_t *show_devices(const struct weft_object *object)
{
	json_t *list = json_array();

	add_devices(object, list);
	return list;
}

json_t *show_stack(const struct weft_object *object)
{
	const struct weft_blk *blk = weft_object_query(object, &weft_blk_iface);
	struct weft_object *below;
	json_t *node = json_object(), *list = json_array();

	json_object_set_new(node, "name", show_string(object->name));
	json_object_set_new(node, "kind", json_string(object->kind->name));
	if (blk != NULL)
		json_object_set_new(node, "size", json_integer((json_int_t)blk->size));
	for (unsigned i = 0; (below = objects_below(object, i, NULL)) != NULL; i++)
		json_array_append_new(list, show_stack(below));
	json_object_set_new(node, "below", list);
	return node;
}

static void draw(const json_t *node, const char *indent, const char *stem, const char *own)
{
	const json_t *below = json_object_get(node, "below"), *item;
	char size[SHOW_TEXT], deeper[256];
	size_t i;

	printf("%s%s%s%s", indent, stem, own, json_string_value(json_object_get(node, "name")));
	if (json_object_get(node, "size") != NULL)
		printf("  (%s, %s)", json_string_value(json_object_get(node, "kind")),
			show_size((uint64_t)json_integer_value(json_object_get(node, "size")), size));
	printf("\n");
	json_array_foreach(below, i, item) {
		bool last = i + 1 == json_array_size(below);

		snprintf(deeper, sizeof(deeper), "%s%s", stem, strcmp(own, "|- ") == 0 ? "|  " : *own != '\0' ? "   " : "");
		draw(item, indent, deeper, last ? "`- " : "|- ");
	}
}

void show_drawing(const json_t *stack, const char *indent)
{
	draw(stack, indent, "", "");
}

/* ---- a server ---- */

unsigned show_change(const json_t *told)
{
	const json_t *change = json_object_get(told, "change"), *busy = json_object_get(change, "busy");
	const json_t *requests = json_object_get(change, "requests"), *oldest = json_object_get(change, "oldest");
	char since[SHOW_TEXT];
	json_t *word;
	size_t i;

	if (change == NULL)
		return 0;
	printf("under way: %s", json_string_value(json_object_get(change, "command")));
	json_array_foreach(json_object_get(change, "args"), i, word)
		printf(" %.30s", json_string_value(word));
	printf(", of %s, for %s\n", json_string_value(json_object_get(change, "device")),
		show_duration((uint64_t)json_integer_value(json_object_get(change, "for_ns")), since));
	printf("  waits for %s", json_string_value(json_object_get(change, "waits_for")));
	if (requests != NULL)
		printf(": %" JSON_INTEGER_FORMAT " in flight%s%.90s", json_integer_value(requests), oldest != NULL ?
			", the oldest " : "", oldest != NULL ? json_string_value(oldest) : "");
	if (busy != NULL)
		printf("; %s has %" JSON_INTEGER_FORMAT " in flight", json_string_value(json_object_get(busy, "device")),
			json_integer_value(json_object_get(busy, "in_flight")));
	printf("\n");
	return 2;
}
