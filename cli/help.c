/* SPDX-License-Identifier: BSD-2-Clause */
/* Help and manual pages, from the commands' tables. `weft help`. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/complete.h"
#include "cli/mdoc.h"

/* ---- help ---- */

void help_all(void)
{
	printf("usage: weft COMMAND ...\n\n");
	for (const struct command *const *at = commands; *at != NULL; at++)
		printf("  weft %-15s %s\n", (*at)->name, (*at)->summary);
	printf("\n`weft COMMAND --help` tells more. `weft demo` shows the main thing.\n");
}

/* Wrapped at 100 columns. */
static void print_paragraphs(const char *text)
{
	size_t column = 0;

	while (*text != '\0') {
		size_t len = strcspn(text, " \n");

		if (strncmp(text, "\n\n", 2) == 0) {
			printf("\n\n");
			column = 0;
			text += 2;
			continue;
		}
		if (len == 0) {
			text++;
			continue;
		}
		if (column + len + 1 > 100) {
			printf("\n");
			column = 0;
		}
		printf("%s%.*s", column > 0 ? " " : "", (int)len, text);
		column += len + (column > 0);
		text += len;
	}
	printf("\n");
}

void help_command(const struct command *command)
{
	char usage[COMMAND_USAGE];

	printf("usage: weft %s %s\n\n", command->name, command_usage(command, usage));
	print_paragraphs(command->text);
	if (command->options[0].name != NULL) {
		printf("\noptions:\n");
		args_help(command->options);
	}
	if (command->more != NULL)
		command->more();
	if (command->examples != NULL)
		printf("\nexamples:\n");
	for (const struct command_example *e = command->examples; e != NULL && e->what != NULL; e++)
		printf("  %s:\n    %s\n", e->what, e->line);
}

/* ---- manual pages ---- */

static void man_title(const char *name, const char *summary)
{
	printf(".\\\" SPDX-License-Identifier: BSD-2-Clause\n");
	printf(".\\\" Made by `weft help --man`: change the tables in cli/, not this page.\n");
	printf(".Dd November 20, 2026\n.Dt ");
	for (const char *at = name; *at != '\0'; at++)
		printf("%c", *at >= 'a' && *at <= 'z' ? *at - 'a' + 'A' : *at);
	printf(" 1\n.Os\n.Sh NAME\n.Nm %s\n.Nd %s\n.Sh SYNOPSIS\n", name, summary);
}

static void man_options(const struct weft_option *table)
{
	printf(".Bl -tag -width Ds\n");
	for (; table->name != NULL; table++) {
		printf(".It Fl -%s", table->name);
		if (*args_form(table) != '\0') {
			printf(" Ar ");
			mdoc_words(args_form(table));
		}
		printf("\n");
		mdoc_sentence(table->help);
		if (table->flags & ARGS_MANY)
			printf("May be given again.\n");
		if (table->fallback != NULL && table->type != WEFT_OPTION_BOOL) {
			printf("Default: ");
			mdoc_text(table->fallback);
			printf(".\n");
		}
	}
	printf(".El\n");
}

static void man_paragraphs(const char *text)
{
	const char *end;

	for (; (end = strstr(text, "\n\n")) != NULL; text = end + 2) {
		mdoc_lines(text, (size_t)(end - text));
		printf(".Pp\n");
	}
	mdoc_lines(text, strlen(text));
}

static void man_status(void)
{
	printf(".Sh EXIT STATUS\n.Bl -tag -width Ds\n"
	       ".It 0\nAll was done.\n"
	       ".It 1\nIt could not be done: one line on standard error says what, why, and what helps.\n"
	       ".It 2\nIt was asked for wrongly: one line says which parameter, which value, and what it should be.\n"
	       ".It 3\nNobody listens at the control socket.\n.El\n");
}

static void man_all(void)
{
	char usage[COMMAND_USAGE];

	man_title("weft", "serve block devices from user space");
	printf(".Nm\n.Ar command\n.Op Ar argument ...\n.Sh DESCRIPTION\n");
	man_paragraphs("weft composes block devices out of small components and serves the result to virtual machines and "
		"programs, through shared memory, without root and without huge pages.\n\n"
		"A device is written as kind:address, options behind commas, a device below in brackets: file:disk.img,direct=on; "
		"mirror:[file:a.img],[file:b.img]. A value may be quoted ('...') when it holds commas, colons or brackets. `weft "
		"list` names the kinds, `weft explain KIND` their options.");
	printf(".Bl -tag -width Ds\n");
	for (const struct command *const *at = commands; *at != NULL; at++) {
		printf(".It Nm weft %s", (*at)->name);
		if (*command_usage(*at, usage) != '\0') {
			printf(" Ar ");
			mdoc_words(usage);
		}
		printf("\n");
		mdoc_sentence((*at)->summary);
	}
	printf(".El\n");
	man_status();
	printf(".Sh SEE ALSO\n"
	       ".Xr weft-bench 1 ,\n.Xr weft-check-contract 1 ,\n.Xr weft-copy 1 ,\n"
	       ".Xr weft-ctl 1 ,\n.Xr weft-demo 1 ,\n.Xr weft-explain 1 ,\n.Xr weft-info 1 ,\n"
	       ".Xr weft-list 1 ,\n.Xr weft-serve 1 ,\n.Xr weft-top 1\n");
}

void help_man(const struct command *command)
{
	char name[32], usage[COMMAND_USAGE];

	if (command == NULL) {
		man_all();
		return;
	}
	snprintf(name, sizeof(name), "weft-%s", command->name);
	man_title(name, command->summary);
	printf(".Nm weft %s\n", command->name);
	if (*command_usage(command, usage) != '\0') {
		printf(".Ar ");
		mdoc_words(usage);
		printf("\n");
	}
	printf(".Sh DESCRIPTION\n");
	man_paragraphs(command->text);
	if (command->options[0].name != NULL)
		man_options(command->options);
	if (command->more_man != NULL)
		command->more_man();
	man_status();
	if (command->examples != NULL)
		printf(".Sh EXAMPLES\n");
	for (const struct command_example *e = command->examples; e != NULL && e->what != NULL; e++) {
		mdoc_lines(e->what, strlen(e->what));
		printf(".Bd -literal -offset indent\n");
		mdoc_text(e->line);
		printf("\n.Ed\n");
	}
	printf(".Sh SEE ALSO\n.Xr weft 1\n");
}

/* ---- the command ---- */

enum { SHELL_NONE, SHELL_BASH, SHELL_ZSH };

static struct help {
	bool man;
	uint32_t completion; /* SHELL_* */
	struct weft_why why;
} asked;

static const struct weft_option options[] = {
	{ .name = "man", .type = WEFT_OPTION_BOOL, .offset = offsetof(struct help, man), .help = "the manual page, in mdoc" },
	{ .name = "completion", .type = WEFT_OPTION_CHOICE, .offset = offsetof(struct help, completion), .fallback = "none",
	  .choices = "none|bash|zsh", .help = "what this shell needs to complete commands, options and devices" },
	{ 0 },
};

static int help_run(const struct args *args)
{
	const struct command *command = args->nplain == 1 ? command_find(args->plain[0], &asked.why) : NULL;

	if (args->nplain == 1 && command == NULL)
		return -EINVAL;
	if (asked.completion == SHELL_BASH)
		complete_bash();
	else if (asked.completion == SHELL_ZSH)
		complete_zsh();
	else if (asked.man)
		help_man(command);
	else if (command != NULL)
		help_command(command);
	else
		help_all();
	return EXIT_DONE;
}

const struct command command_help = {
	.name = "help",
	.words = { { "COMMAND", COMPLETE_COMMANDS, 0, 1 } },
	.summary = "what the commands do",
	.text = "Tells what a command does and which options it takes.",
	.options = options,
	.into = &asked,
	.why = &asked.why,
	.run = help_run,
};
