/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The commands of weft: each is a table, from which come its parser, its help, its manual page and the shells' completion.
 *
 *   main.c      picks the command
 *   command.c   the frame: the line is read by the table, checked, and what is refused is said
 *   args.c      options
 *   help.c      help and manual page
 *   complete.c  completion
 */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "cli/args.h"

/* Exit status: 0; 1: it could not be done; 2: it was asked for wrongly; 3: there is no server at the control socket. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_ABSENT = 3 };

struct command_example {
	const char *what, *line; /* what it does; what is typed */
};

/* What is to be completed at a place of the line. */
enum complete_what {
	COMPLETE_NOTHING,  /* a number, a text */
	COMPLETE_WORDS,    /* one of a few */
	COMPLETE_FILES,
	COMPLETE_DEVICE,   /* in the grammar, */
	COMPLETE_LAYER,    /* ... a filter without what is below */
	COMPLETE_EXPORT,   /* ... an export */
	COMPLETE_KINDS,    /* the name of a component */
	COMPLETE_COMMANDS, /* the name of a command */
	COMPLETE_ORDERS,   /* of `weft ctl` */
};

/* Words on the line that are no options, one behind the other. */
struct command_word {
	const char *name;           /* as help shows it; of COMPLETE_WORDS: the words, "a|b" */
	enum complete_what what;
	unsigned least, most;       /* so many of them */
};
#define COMMAND_WORDS 3

struct command {
	const char *name, *summary;
	struct command_word words[COMMAND_WORDS]; /* only the last may be given more than once, or left out */
	const char *usage;                        /* the words that stand behind the name; NULL: as the tables have it */
	const char *text;                         /* paragraphs, an empty line between them */
	const struct weft_option *options;        /* see args.h */
	void *into;                               /* where they go; zeroes before */
	struct weft_why *why;                     /* where it is said that something is wrong */
	const struct command_example *examples;   /* what == NULL ends it; may be NULL */
	void (*more)(void);                       /* prints another table behind the options; may be NULL */
	void (*more_man)(void);                   /* the same in mdoc */
	/* The line has been read. An exit status, all being said; or -errno with `why`. */
	int (*run)(const struct args *args);
};

/* Ends with NULL. */
extern const struct command *const commands[];

extern const struct command command_bench, command_check, command_copy, command_ctl, command_demo, command_explain, command_info,
	command_list, command_serve, command_top, command_help;

/* ---- command.c ---- */
/* NULL with `why`: there is none of this name. */
const struct command *command_find(const char *name, struct weft_why *why);
/* argv: what follows the command's name. An exit status. */
int command_run(const struct command *command, int argc, char **argv);
/* "SOURCE DESTINATION [OPTION...]"; the text given is returned. */
#define COMMAND_USAGE 160
const char *command_usage(const struct command *command, char text[COMMAND_USAGE]);

/* ---- help.c ---- */
void help_all(void);
void help_command(const struct command *command);
/* The manual page of a command (NULL: of weft itself) in mdoc. */
void help_man(const struct command *command);

#endif
