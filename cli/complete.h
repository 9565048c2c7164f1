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

#include "cli/command.h"

/* The value of a command's option. */
enum complete_what complete_value(const struct weft_option *option);
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
