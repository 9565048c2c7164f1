/* SPDX-License-Identifier: BSD-2-Clause */
/* What all commands have in common: how they are found, how their lines are read. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/world.h"

#include "core/nearest.h"

const struct command *command_find(const char *name, struct weft_why *why)
{
	struct nearest nearest = { .wanted = name };
	const char *phrase;

	for (const struct command *const *at = commands; *at != NULL; at++) {
		if (strcmp((*at)->name, name) == 0)
			return *at;
		nearest_try(&nearest, (*at)->name, strlen((*at)->name));
	}
	phrase = nearest_phrase(&nearest);
	weft_why(why, -EINVAL, "there is no command '%.40s': %s%s`weft help` lists them", name, phrase, *phrase != '\0' ? " " : "");
	return NULL;
}

/* ---- usage ---- */

static void WEFT_PRINTF(2, 3) put(char text[COMMAND_USAGE], const char *format, ...)
{
	size_t at = strlen(text);
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(text + at, COMMAND_USAGE - at, format, args);
	va_end(args);
	WEFT_ASSERT(n >= 0 && (size_t)n < COMMAND_USAGE - at);
}

const char *command_usage(const struct command *command, char text[COMMAND_USAGE])
{
	text[0] = '\0';
	if (command->usage != NULL) {
		put(text, "%s", command->usage);
		return text;
	}
	for (const struct command_word *w = command->words; w < command->words + COMMAND_WORDS && w->name != NULL; w++)
		put(text, w->least == 0 ? "%s[%s%s]" : "%s%s%s", text[0] != '\0' ? " " : "", w->name, w->most > 1 ? "..." : "");
	for (const struct weft_option *o = command->options; o->name != NULL; o++)
		if (o->flags & WEFT_OPTION_REQUIRED)
			put(text, " --%s%s%s", o->name, *args_form(o) != '\0' ? " " : "", args_form(o));
	if (command->options[0].name != NULL)
		put(text, "%s[OPTION...]", text[0] != '\0' ? " " : "");
	return text;
}

/* ---- the line ---- */

static int words_check(const struct command *command, const struct args *args)
{
	char usage[COMMAND_USAGE];
	unsigned least = 0, most = 0;

	for (unsigned i = 0; i < COMMAND_WORDS; i++) {
		WEFT_ASSERT(i == 0 || command->words[i].name == NULL || command->words[i - 1].least == command->words[i - 1].most);
		least += command->words[i].least;
		most += command->words[i].most;
	}
	return args_count(command->name, args, least, most, command_usage(command, usage), command->why);
}

int command_run(const struct command *command, int argc, char **argv)
{
	struct args args;
	int status = args_parse(command->name, command->options, command->into, argc, argv, &args, command->why);

	if (status == 0)
		status = words_check(command, &args);
	if (status == 0)
		status = command->run(&args);
	return status < 0 ? world_failed(status, command->why) : status;
}
