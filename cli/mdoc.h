/* SPDX-License-Identifier: BSD-2-Clause */
/* Text in manual pages (mdoc), to standard output: escaped where mdoc would take it for something else. */
#ifndef CLI_MDOC_H
#define CLI_MDOC_H

#include <stddef.h>

#include <weft/object.h>

void mdoc_text(const char *text);
/* As the arguments of a macro. */
void mdoc_words(const char *text);
/* With a capital letter and a full stop, on a line of its own. */
void mdoc_sentence(const char *text);
/* Running text, a sentence on each line. */
void mdoc_lines(const char *text, size_t len);
/* The options of a component as a list. */
void mdoc_options(const struct weft_option *table);

#endif
