/* SPDX-License-Identifier: BSD-2-Clause */
/* Command lines by table. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/args.h"

#include "core/nearest.h"
#include "core/value.h"

/* `at`: which word of the line it is. */
static int set(const char *who, const struct weft_option *option, const char *text, int at, void *into, struct weft_why *why)
{
	struct args_list *list = (void *)((char *)into + option->offset);
	struct value value;
	int error = 0;

	if (option->flags & ARGS_MANY) {
		if (list->n == ARGS_LIST_MAX)
			return weft_why(why, -EINVAL, "%s: --%s: it is given more than %d times: leave some out", who, option->name,
				ARGS_LIST_MAX);
		list->at[list->n] = at;
		list->text[list->n++] = text;
		return 0;
	}
	error = value_parse(who, option, text, &value, why);
	if (error == 0)
		value_store(option, into, &value);
	return error;
}

static int defaults(const char *who, const struct weft_option *table, void *into, struct weft_why *why)
{
	int error = 0;

	for (; table->name != NULL && error == 0; table++)
		if (table->fallback != NULL)
			error = set(who, table, table->fallback, -1, into, why);
	return error;
}

static const struct weft_option *find(const struct weft_option *table, const char *name, size_t len)
{
	for (; table->name != NULL; table++)
		if (strlen(table->name) == len && memcmp(table->name, name, len) == 0)
			return table;
	return NULL;
}

static int unknown(const char *who, const struct weft_option *table, const char *text, size_t len, struct weft_why *why)
{
	char name[64];
	struct nearest nearest = { .wanted = name };
	const char *phrase;

	snprintf(name, sizeof(name), "%.*s", (int)len, text + strspn(text, "-"));
	for (; table->name != NULL; table++)
		nearest_try(&nearest, table->name, strlen(table->name));
	phrase = nearest_phrase(&nearest);
	return weft_why(why, -EINVAL, "%s: there is no option '%.40s': %s%s`weft %s --help` lists them", who, text, phrase,
		*phrase != '\0' ? " " : "", who);
}

/* argv[i] is an option; returns how many words it took, or -EINVAL. */
static int parse_option(const char *who, const struct weft_option *table, void *into, int argc, char **argv, int i,
	struct weft_why *why)
{
	const char *text = argv[i], *value = strchr(text, '=');
	size_t len = value != NULL ? (size_t)(value - text) : strlen(text);
	const struct weft_option *option = strncmp(text, "--", 2) == 0 ? find(table, text + 2, len - 2) : NULL;
	int error, words = 1;

	if (option == NULL)
		return unknown(who, table, text, len - strspn(text, "-"), why);
	if (value != NULL) {
		value++;
	} else if (option->type == WEFT_OPTION_BOOL) {
		value = "on";
	} else if (i + 1 < argc) {
		value = argv[i + 1];
		words = 2;
	} else {
		return weft_why(why, -EINVAL, "%s: --%s: its value is missing: give --%s %s", who, option->name, option->name,
			args_form(option));
	}
	error = set(who, option, value, i, into, why);
	return error != 0 ? error : words;
}

int args_parse(const char *who, const struct weft_option *table, void *into, int argc, char **argv, struct args *args,
	struct weft_why *why)
{
	bool options = true;
	int error = defaults(who, table, into, why);

	args->nplain = 0;
	for (int i = 0; i < argc && error == 0;) {
		int words = 1;

		if (options && strcmp(argv[i], "--") == 0) {
			options = false;
		} else if (options && argv[i][0] == '-' && argv[i][1] != '\0') {
			words = parse_option(who, table, into, argc, argv, i, why);
		} else {
			if (args->nplain == ARGS_PLAIN_MAX)
				return weft_why(why, -EINVAL, "%s: there are more than %d arguments: leave some out", who,
					ARGS_PLAIN_MAX);
			args->at[args->nplain] = i;
			args->plain[args->nplain++] = argv[i];
		}
		if (words < 0)
			return words;
		i += words;
	}
	return error;
}

int args_count(const char *who, const struct args *args, unsigned least, unsigned most, const char *usage, struct weft_why *why)
{
	if (args->nplain < least)
		return weft_why(why, -EINVAL, "%s: %s missing: write `weft %s %s`", who, args->nplain + 1 < least ?
			"arguments are" : "an argument is", who, usage);
	if (args->nplain > most)
		return weft_why(why, -EINVAL, "%s: '%.60s' is one argument too many: write `weft %s %s`", who, args->plain[most],
			who, usage);
	return 0;
}

const char *args_form(const struct weft_option *option)
{
	if (option->type == WEFT_OPTION_BOOL)
		return "";
	return option->choices != NULL ? option->choices : value_form(option);
}

void args_help(const struct weft_option *table)
{
	for (; table->name != NULL; table++) {
		const char *form = args_form(table);
		char left[80];

		snprintf(left, sizeof(left), "--%s%s%s", table->name, *form != '\0' ? " " : "", form);
		printf("  %-34s %s%s", left, table->help, table->flags & ARGS_MANY ? "; may be given again" : "");
		if (table->fallback != NULL && table->type != WEFT_OPTION_BOOL)
			printf(" (%s)", table->fallback);
		printf("\n");
	}
}
