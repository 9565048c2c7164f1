/* SPDX-License-Identifier: BSD-2-Clause */
/* `weft info`: a device is opened, looked at, and closed. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "cli/command.h"
#include "cli/show.h"
#include "cli/world.h"

static struct info {
	struct world_options world;
	bool json;
	struct world w;
	struct weft_object *object;
	struct weft_why why;
} asked;

#define AT(field) .offset = offsetof(struct info, field)
static const struct weft_option options[] = {
	{ .name = "json", .type = WEFT_OPTION_BOOL, AT(json), .help = "as JSON" },
	WORLD_LOOK_OPTIONS(struct info, world, "warn"),
	{ 0 },
};

static const char *list_text(const json_t *list, char *text, size_t size)
{
	size_t i, used = 0;
	json_t *item;

	text[0] = '\0';
	json_array_foreach(list, i, item)
		used += (size_t)snprintf(text + used, used < size ? size - used : 0, "%s%s", i > 0 ? ", " : "",
			json_string_value(item));
	return text;
}

static void print_facts(const json_t *device)
{
	json_t *facts = json_object_get(device, "facts"), *value;
	const char *name;

	if (json_object_size(facts) == 0)
		return;
	printf("%s:\n", json_string_value(json_object_get(device, "name")));
	json_object_foreach(facts, name, value)
		printf("  %-16s %s\n", name, json_string_value(value));
}

static void print_device(const json_t *device)
{
	char text[256], size[SHOW_TEXT];
	uint64_t bytes = (uint64_t)json_integer_value(json_object_get(device, "size"));

	printf("size             %" PRIu64 " bytes (%s)\n", bytes, show_size(bytes, size));
	printf("block            %" JSON_INTEGER_FORMAT " bytes, physical %" JSON_INTEGER_FORMAT "\n",
		json_integer_value(json_object_get(device, "block")),
		json_integer_value(json_object_get(device, "physical_block")));
	printf("memory alignment %" JSON_INTEGER_FORMAT " bytes\n", json_integer_value(json_object_get(device, "alignment")));
	printf("longest transfer %s\n", show_size((uint64_t)json_integer_value(json_object_get(device, "max_transfer")), size));
	if (json_object_get(device, "max_compare") != NULL)
		printf("longest compare  %s\n",
			show_size((uint64_t)json_integer_value(json_object_get(device, "max_compare")), size));
	printf("access           %s\n", json_is_true(json_object_get(device, "readonly")) ? "read-only" : "read and write");
	printf("cache            %s\n", json_is_true(json_object_get(device, "volatile_cache")) ?
		"volatile: writes need a flush to survive loss of power" : "none that loss of power could empty");
	printf("can              %s\n", list_text(json_object_get(device, "abilities"), text, sizeof(text)));
}

static void print_info(const struct info *info)
{
	json_t *devices = show_devices(info->object), *stack = show_stack(info->object), *item;
	char *text = NULL;
	struct tree *tree;
	struct weft_why why;
	size_t i;

	if (objects_tree(info->object, &tree, &why) == 0) {
		text = grammar_print(info->w.core, tree);
		tree_free(info->w.core, tree);
	}
	if (info->json) {
		show_json(json_pack("{s:o, s:o, s:o}", "device", show_string(text != NULL ? text : ""), "stack", stack, "devices",
			devices), true);
	} else {
		printf("device           %s\n", text != NULL ? text : info->object->name);
		print_device(json_array_get(devices, 0));
		printf("stack\n");
		show_drawing(stack, "  ");
		json_array_foreach(devices, i, item)
			print_facts(item);
		json_decref(devices);
		json_decref(stack);
	}
	weft_free(info->w.core, text);
}

static int run(struct info *info, const char *text)
{
	struct tree *tree;
	int error = world_open(&info->w, &info->world, 0, 0, &info->why);

	if (error != 0)
		return error;
	error = world_parse(&info->w, text, &weft_blk_iface, &tree, &info->why);
	if (error == 0) {
		error = world_build(&info->w, tree, &weft_blk_iface, &info->object, &info->why);
		tree_free(info->w.core, tree);
	}
	if (error == 0) {
		print_info(info);
		world_release(&info->w, info->object);
	}
	world_close(&info->w);
	return error;
}

static int info_run(const struct args *args)
{
	return run(&asked, args->plain[0]);
}

static const struct command_example examples[] = {
	{ "What weft sees of an image, without writing to it", "weft info file:disk.img,readonly=on" },
	{ 0 },
};

const struct command command_info = {
	.name = "info",
	.words = { { "DEVICE", COMPLETE_DEVICE, 1, 1 } },
	.summary = "open a device and tell what it is",
	.text = "Opens a device as it would be served, prints its size, limits and abilities, the stack, and what each part of it "
		"knows about itself; then closes it.",
	.options = options,
	.examples = examples,
	.into = &asked,
	.why = &asked.why,
	.run = info_run,
};
