/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands of weft: each is a table, from which come its parser, its help and its manual page. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <weft/object.h>

/* Exit status: 0; 1: it could not be done; 2: it was asked for wrongly; 3: there is no server at the control socket. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_ABSENT = 3 };

struct command_example {
	const char *what, *line; /* what it does; what is typed */
};

struct command {
	const char *name, *arguments, *summary;
	const char *text;                         /* paragraphs, an empty line between them */
	const struct weft_option *options;        /* see args.h */
	const struct command_example *examples;   /* what == NULL ends it; may be NULL */
	void (*more)(void);                       /* prints another table behind the options; may be NULL */
	void (*more_man)(void);                   /* the same in mdoc */
	int (*run)(int argc, char **argv);        /* what follows the command's name */
};

/* Ends with NULL. */
extern const struct command *const commands[];

extern const struct command command_bench, command_check, command_copy, command_ctl, command_demo, command_explain, command_info,
	command_list, command_serve, command_top, command_help;

/* ---- help.c ---- */
const struct command *command_find(const char *name);
/* To standard error; EXIT_USAGE. */
int command_unknown(const char *name);
void help_all(void);
void help_command(const struct command *command);
/* The manual page of a command (NULL: of weft itself) in mdoc. */
void help_man(const struct command *command);

#endif
