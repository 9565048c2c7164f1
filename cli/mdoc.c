/* SPDX-License-Identifier: BSD-2-Clause */
/* Text in manual pages. */
#include <stdio.h>
#include <string.h>

#include "cli/mdoc.h"

#include "core/value.h"

static void put(char c)
{
	if (c == '\\')
		printf("\\e");
	else if (c == '-')
		printf("\\-");
	else
		printf("%c", c);
}

void mdoc_text(const char *text)
{
	if (*text == '.' || *text == '\'')
		printf("\\&");
	for (; *text != '\0'; text++)
		put(*text);
}

/* Words that mdoc would take for macros or punctuation are made harmless. */
void mdoc_words(const char *text)
{
	for (bool first = true; *text != '\0'; first = false) {
		size_t len = strcspn(text, " ");

		printf("%s\\&", first ? "" : " ");
		for (size_t i = 0; i < len; i++)
			put(text[i]);
		text += len;
		text += strspn(text, " ");
	}
}

void mdoc_sentence(const char *text)
{
	size_t len = strlen(text);
	char c = *text;

	if (c >= 'a' && c <= 'z' && (text[1] == ' ' || (text[1] >= 'a' && text[1] <= 'z')))
		c = (char)(c - 'a' + 'A');
	if (c == '.' || c == '\'')
		printf("\\&");
	put(c);
	for (text++; *text != '\0'; text++)
		put(*text);
	printf("%s\n", len > 0 && text[-1] != '.' ? "." : "");
}

void mdoc_lines(const char *text, size_t len)
{
	bool begin = true;
	unsigned column = 0;

	for (size_t i = 0; i < len; i++, column++) {
		if (begin && (text[i] == '.' || text[i] == '\''))
			printf("\\&");
		begin = false;
		if (text[i] == ' ' && i > 0 && (strchr(".;:", text[i - 1]) != NULL || column > 90)) {
			printf("\n");
			begin = true;
			column = 0;
		} else {
			put(text[i] == '\n' ? ' ' : text[i]);
		}
	}
	printf("\n");
}

void mdoc_options(const struct weft_option *table)
{
	printf(".Bl -tag -width Ds\n");
	for (; table != NULL && table->name != NULL; table++) {
		printf(".It Cm %s Ns = Ns Ar ", table->name);
		mdoc_words(table->type == WEFT_OPTION_BOOL ? "on|off" : value_form(table));
		printf("\n");
		mdoc_sentence(table->help);
		if (table->flags & WEFT_OPTION_ADDRESS)
			printf("May be written without its name, right behind the colon.\n");
		if (table->flags & WEFT_OPTION_REQUIRED)
			printf("Required.\n");
		if (table->flags & WEFT_OPTION_LIVE)
			printf("May be changed while running.\n");
		if (table->fallback != NULL) {
			printf("Default: ");
			mdoc_text(table->fallback);
			printf(".\n");
		}
	}
	printf(".El\n");
}
