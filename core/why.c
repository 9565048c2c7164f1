/* SPDX-License-Identifier: BSD-2-Clause */
/* Error sentences and assertions. */
#include <weft/base.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int weft_why(struct weft_why *why, int error, const char *format, ...)
{
	va_list args;
	struct weft_why said; /* the arguments may lie in *why: a sentence put in front of another */

	WEFT_ASSERT(error <= 0);
	if (!why)
		return error;
	va_start(args, format);
	int len = vsnprintf(said.text, sizeof(said.text), format, args);
	va_end(args);
	WEFT_ASSERT(len >= 0);
	if ((size_t)len >= sizeof(said.text))
		memcpy(said.text + sizeof(said.text) - 4, "...", 4);
	for (char *c = said.text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?'; /* one line, whatever a name from outside holds */
	*why = said;
	return error;
}

void weft_assert_failed(const char *expression, const char *file, int line, const char *function)
{
	fprintf(stderr, "weft: %s:%d: %s: this should always hold: %s\n", file, line, function, expression);
	abort();
}
