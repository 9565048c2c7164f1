/* SPDX-License-Identifier: BSD-2-Clause */
/* `weft list` and `weft explain`: the components and their tables. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/export.h>

#include "cli/command.h"
#include "cli/mdoc.h"
#include "cli/show.h"
#include "cli/world.h"

#include "core/value.h"

static struct list {
	struct world_options world;
	bool json, man;
	struct world w;
	struct weft_why why;
} asked;

#define AT(field) .offset = offsetof(struct list, field)

static const char *type_of(const struct weft_kind *kind)
{
	if (objects_kind_offers(kind, &weft_export_iface))
		return "export";
	if (!objects_kind_offers(kind, &weft_blk_iface))
		return "object";
	return kind->ports != NULL && kind->ports->name != NULL ? "filter" : "device";
}

/* ---- list ---- */

static void print_kinds(const struct list *l)
{
	json_t *all = json_array();

	for (const struct weft_kind *kind = NULL; (kind = objects_kind_next(l->w.core, kind)) != NULL;) {
		if (l->json)
			json_array_append_new(all, json_pack("{s:s, s:s, s:s}", "kind", kind->name, "type", type_of(kind),
				"summary", kind->summary));
		else
			printf("%-12s %-7s %s\n", kind->name, type_of(kind), kind->summary);
	}
	if (l->json)
		show_json(all, true);
	else
		json_decref(all);
}

static const struct weft_option list_options[] = {
	{ .name = "json", .type = WEFT_OPTION_BOOL, AT(json), .help = "as JSON" },
	WORLD_LOOK_OPTIONS(struct list, world, "warn"),
	{ 0 },
};

static int list_run(const struct args *args)
{
	int error;

	if (args->nplain == 1 && strcmp(args->plain[0], "components") != 0)
		return weft_why(&asked.why, -EINVAL, "list: '%.40s' cannot be listed: write `weft list components`",
			args->plain[0]);
	error = world_open(&asked.w, &asked.world, 0, 0, &asked.why);
	if (error != 0)
		return error;
	print_kinds(&asked);
	world_close(&asked.w);
	return EXIT_DONE;
}

static const struct command_example list_examples[] = {
	{ "What a device can be made of", "weft list components" },
	{ 0 },
};

const struct command command_list = {
	.name = "list",
	.words = { { "components", COMPLETE_WORDS, 0, 1 } },
	.summary = "which components there are",
	.text = "Lists the components: devices, which store; filters, which stand on devices; exports, which serve them.",
	.options = list_options,
	.examples = list_examples,
	.into = &asked,
	.why = &asked.why,
	.run = list_run,
};

/* ---- explain ---- */

static json_t *option_json(const struct weft_option *o)
{
	json_t *json = json_pack("{s:s, s:s, s:s, s:s?, s:b, s:b, s:b}", "name", o->name, "form",
		o->type == WEFT_OPTION_BOOL ? "on|off" : value_form(o), "help", o->help, "default", o->fallback, "required",
		!!(o->flags & WEFT_OPTION_REQUIRED), "address", !!(o->flags & WEFT_OPTION_ADDRESS), "live",
		!!(o->flags & WEFT_OPTION_LIVE));

	if (o->min != 0 || o->max != 0) {
		json_object_set_new(json, "min", json_integer((json_int_t)o->min));
		json_object_set_new(json, "max", json_integer((json_int_t)o->max));
	}
	return json;
}

static json_t *kind_json(const struct weft_kind *kind)
{
	json_t *options = json_array(), *ports = json_array(), *offers = json_array();

	for (const struct weft_option *o = kind->options; o != NULL && o->name != NULL; o++)
		json_array_append_new(options, option_json(o));
	for (const struct weft_port *p = kind->ports; p != NULL && p->name != NULL; p++)
		json_array_append_new(ports, json_pack("{s:s, s:s, s:i, s:i, s:b, s:s}", "name", p->name, "wants", p->wants->name,
			"min", (int)p->min, "max", (int)p->max, "exclusive", !!(p->flags & WEFT_PORT_EXCLUSIVE), "help", p->help));
	for (const struct weft_offer *o = kind->offers; o != NULL && o->iface != NULL; o++)
		json_array_append_new(offers, json_string(o->iface->name));
	return json_pack("{s:s, s:s, s:s, s:o, s:o, s:o}", "kind", kind->name, "type", type_of(kind), "summary", kind->summary,
		"options", options, "ports", ports, "offers", offers);
}

static void print_option(const struct weft_option *o)
{
	const char *form = o->type == WEFT_OPTION_BOOL ? "on|off" : value_form(o);
	char left[80];

	snprintf(left, sizeof(left), "%s=%s", o->name, form);
	printf("  %-30s %s", left, o->help);
	if (o->fallback != NULL)
		printf(" (%s)", o->fallback);
	if (o->flags & WEFT_OPTION_REQUIRED)
		printf(" [required]");
	if (o->flags & WEFT_OPTION_ADDRESS)
		printf(" [address]");
	if (o->flags & WEFT_OPTION_LIVE)
		printf(" [live]");
	printf("\n");
}

/* "mirror:[DEVICE],[DEVICE]..." */
static void print_form(const struct weft_kind *kind)
{
	bool address = false, first = true;

	printf("  %s", kind->name);
	for (const struct weft_option *o = kind->options; o != NULL && o->name != NULL; o++)
		if (o->flags & WEFT_OPTION_ADDRESS) {
			printf(":%s", value_form(o));
			address = true;
		}
	for (const struct weft_port *p = kind->ports; p != NULL && p->name != NULL; p++) {
		for (unsigned i = 0; i < p->min; i++, first = false)
			printf("%s[%s]", first && !address ? ":" : ",", p->name);
		printf(p->max > p->min ? "..." : "");
	}
	if (kind->options != NULL && kind->options->name != NULL)
		printf("[,option=value...]");
	printf("\n");
}

static void print_kind(const struct weft_kind *kind)
{
	printf("%s (%s): %s\n\n", kind->name, type_of(kind), kind->summary);
	print_form(kind);
	if (kind->options != NULL && kind->options->name != NULL)
		printf("\noptions:\n");
	for (const struct weft_option *o = kind->options; o != NULL && o->name != NULL; o++)
		print_option(o);
	if (kind->ports != NULL && kind->ports->name != NULL)
		printf("\nstands on:\n");
	for (const struct weft_port *p = kind->ports; p != NULL && p->name != NULL; p++) {
		char many[32];

		snprintf(many, sizeof(many), p->min == p->max ? "%u" : "%u to %u", p->min, p->max);
		printf("  %-30s %s; %s, interface %s\n", p->name, p->help, many, p->wants->name);
	}
	printf("\noffers:\n");
	for (const struct weft_offer *o = kind->offers; o != NULL && o->iface != NULL; o++)
		printf("  interface %s, version %u\n", o->iface->name, o->iface->version);
}

static int explain(struct list *l, const char *name)
{
	json_t *all = json_array();
	unsigned found = 0;

	for (const struct weft_kind *kind = NULL; (kind = objects_kind_next(l->w.core, kind)) != NULL;) {
		if (strcmp(kind->name, name) != 0)
			continue;
		if (l->json)
			json_array_append_new(all, kind_json(kind));
		else if (l->man)
			mdoc_options(kind->options);
		else {
			printf("%s", found > 0 ? "\n" : "");
			print_kind(kind);
		}
		found++;
	}
	if (l->json && found > 0)
		show_json(all, true);
	else
		json_decref(all);
	if (found == 0)
		objects_kind(l->w.core, name, NULL, &l->why);
	return found == 0 ? -EINVAL : 0;
}

static const struct weft_option explain_options[] = {
	{ .name = "json", .type = WEFT_OPTION_BOOL, AT(json), .help = "as JSON" },
	{ .name = "man", .type = WEFT_OPTION_BOOL, AT(man), .help = "the options for a manual page, in mdoc" },
	WORLD_LOOK_OPTIONS(struct list, world, "warn"),
	{ 0 },
};

static int explain_run(const struct args *args)
{
	int error = world_open(&asked.w, &asked.world, 0, 0, &asked.why);

	if (error != 0)
		return error;
	error = explain(&asked, args->plain[0]);
	world_close(&asked.w);
	return error;
}

static const struct command_example explain_examples[] = {
	{ "The options of a file", "weft explain file" },
	{ 0 },
};

const struct command command_explain = {
	.name = "explain",
	.words = { { "KIND", COMPLETE_KINDS, 1, 1 } },
	.summary = "the options of a component",
	.text = "Prints the tables of a component: how it is written, its options, what it stands on, what it offers. "
		"[live] options can be changed while it runs (weft ctl).",
	.options = explain_options,
	.examples = explain_examples,
	.into = &asked,
	.why = &asked.why,
	.run = explain_run,
};
