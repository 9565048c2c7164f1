/* SPDX-License-Identifier: BSD-2-Clause */
/* Command lines by table. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"

#include "core/nearest.h"
#include "core/value.h"

static int set(const char *who, const struct weft_option *option, const char *text, void *into, struct weft_why *why)
{
	struct value value;
	int error = value_parse(who, option, text, &value, why);

	if (error == 0)
		value_store(option, into, &value);
	return error;
}

static int defaults(const char *who, const struct weft_option *table, void *into, struct weft_why *why)
{
	int error = 0;

	for (; table->name != NULL && error == 0; table++)
		if (table->fallback != NULL)
			error = set(who, table, table->fallback, into, why);
	return error;
}

static const struct weft_option *find(const struct weft_option *table, const char *name, size_t len)
{
	for (; table->name != NULL; table++)
		if (strlen(table->name) == len && memcmp(table->name, name, len) == 0)
			return table;
	return NULL;
}

static int unknown(const char *who, const struct weft_option *table, const char *name, struct weft_why *why)
{
	struct nearest nearest = { .wanted = name };

	for (; table->name != NULL; table++)
		nearest_try(&nearest, table->name, strlen(table->name));
	return weft_why(why, -EINVAL, "%s: there is no option --%.40s: %s `weft %s --help` lists them", who, name,
		nearest_phrase(&nearest), who);
}

int args_parse(const char *who, const struct weft_option *table, void *into, int argc, char **argv, struct args *args,
	struct weft_why *why)
{
	bool options = true;
	int error = defaults(who, table, into, why);

	args->nplain = 0;
	for (int i = 0; i < argc && error == 0; i++) {
		const char *text = argv[i], *name, *value;
		const struct weft_option *option;

		if (options && strcmp(text, "--") == 0) {
			options = false;
			continue;
		}
		if (!options || strncmp(text, "--", 2) != 0) {
			if (args->nplain == ARGS_PLAIN_MAX)
				return weft_why(why, -EINVAL, "%s: more than %d arguments", who, ARGS_PLAIN_MAX);
			args->plain[args->nplain++] = text;
			continue;
		}
		name = text + 2;
		value = strchr(name, '=');
		option = find(table, name, value != NULL ? (size_t)(value - name) : strlen(name));
		if (option == NULL)
			return unknown(who, table, name, why);
		if (value != NULL)
			value++;
		else if (option->type == WEFT_OPTION_BOOL)
			value = "on";
		else if (++i < argc)
			value = argv[i];
		else
			return weft_why(why, -EINVAL, "%s: --%s: a value is missing: give --%s %s", who, option->name,
				option->name, value_form(option));
		error = set(who, option, value, into, why);
	}
	return error;
}

void args_help(const struct weft_option *table)
{
	for (; table->name != NULL; table++) {
		char left[80];

		snprintf(left, sizeof(left), "--%s%s%s", table->name, table->type == WEFT_OPTION_BOOL ? "" : " ",
			table->type == WEFT_OPTION_BOOL ? "" : value_form(table));
		printf("  %-32s %s", left, table->help);
		if (table->fallback != NULL && table->type != WEFT_OPTION_BOOL)
			printf(" (%s)", table->fallback);
		printf("\n");
	}
}
