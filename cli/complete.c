/* SPDX-License-Identifier: BSD-2-Clause */
/* What completion needs to know of the tables. */
#include <stdio.h>
#include <string.h>

#include <weft/export.h>

#include "cli/complete.h"

#include "core/objects.h"
#include "lib/builtin.h"

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

const char *complete_choices(const struct weft_option *option)
{
	if (option->type == WEFT_OPTION_CHOICE)
		return option->choices;
	return option->type == WEFT_OPTION_BOOL ? "on|off" : NULL;
}

enum complete_what complete_value(const struct weft_option *option)
{
	const char *form = args_form(option);

	if (complete_choices(option) != NULL)
		return COMPLETE_WORDS;
	if (option->type == WEFT_OPTION_PATH)
		return COMPLETE_FILES;
	return begins(form, "EXPORT") ? COMPLETE_EXPORT : begins(form, "LAYER") ? COMPLETE_LAYER : COMPLETE_NOTHING;
}

void complete_words(const char *choices, const char *separator)
{
	for (; *choices != '\0'; choices++)
		if (*choices == '|')
			printf("%s", separator);
		else
			printf("%c", *choices);
}

static bool is_of(const struct weft_kind *kind, enum complete_what of)
{
	bool block = objects_kind_offers(kind, &weft_blk_iface), filter = kind->ports != NULL && kind->ports->name != NULL;

	switch (of) {
	case COMPLETE_DEVICE:
		return block;
	case COMPLETE_LAYER:
		return block && filter;
	case COMPLETE_EXPORT:
		return objects_kind_offers(kind, &weft_export_iface);
	default:
		return true;
	}
}

const struct weft_kind *complete_kind(enum complete_what of, unsigned *at)
{
	const struct weft_kind *kind;

	while ((kind = builtin_module.kinds[*at]) != NULL) {
		++*at;
		if (is_of(kind, of))
			return kind;
	}
	return NULL;
}

void complete_kind_values(const struct weft_kind *kind, const char *prefix)
{
	for (const struct weft_option *o = kind->options; o != NULL && o->name != NULL; o++) {
		const char *choices = complete_choices(o), *what = o->type == WEFT_OPTION_PATH ? "@files" : "";

		printf("_weft_kind_values[%s%s:%s]='", prefix, kind->name, o->name);
		if (choices != NULL)
			complete_words(choices, " ");
		printf("%s'\n", choices == NULL ? what : "");
		if (o->flags & WEFT_OPTION_ADDRESS)
			printf("_weft_kind_values[%s%s:]='%s'\n", prefix, kind->name, what);
	}
}
