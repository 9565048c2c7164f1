/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Completion for shells, made from the same tables as parser, help and manual.
 *
 *   complete.c        what both shells need to know of the tables
 *   complete_bash.c   arrays, and one function that looks into them
 *   complete_zsh.c    a function for each command, by _arguments
 */
#ifndef CLI_COMPLETE_H
#define CLI_COMPLETE_H

#include <weft/object.h>

struct command;

/* What is to be completed at a place. */
enum complete_what {
	COMPLETE_NOTHING,  /* a number, a text */
	COMPLETE_WORDS,    /* one of a few */
	COMPLETE_FILES,
	COMPLETE_DEVICE,   /* in the grammar, */
	COMPLETE_LAYER,    /* ... a filter without what is below */
	COMPLETE_EXPORT,   /* ... an export */
	COMPLETE_KINDS,    /* the name of a component */
	COMPLETE_COMMANDS, /* the name of a command */
	COMPLETE_ORDERS,   /* of `weft ctl`, behind the socket */
};

/* The value of a command's option. */
enum complete_what complete_value(const struct weft_option *option);
/* The words on the line that are no options. */
enum complete_what complete_plain(const struct command *command);
/* "a|b|c" with another separator, for each place where words are listed. */
void complete_words(const char *choices, const char *separator);
/* The values of a component's or a command's option, when they are a few words; NULL: they are not. */
const char *complete_choices(const struct weft_option *option);

/* Components that come with the program; NULL ends it. `of`: COMPLETE_DEVICE, LAYER, EXPORT, KINDS (all). */
const struct weft_kind *complete_kind(enum complete_what of, unsigned *at);

void complete_bash(void);
void complete_zsh(void);

/* What may stand behind each option of a kind, as assignments to _weft_kind_values, which both shells understand. */
void complete_kind_values(const struct weft_kind *kind, const char *prefix);

#endif
