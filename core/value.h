/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The values of options as text: parse and print. Pure: no memory is allocated and nothing outside is looked
 * at. Strict: the whole text must be the value, and it must fit.
 */
#ifndef CORE_VALUE_H
#define CORE_VALUE_H

#include <weft/object.h>

/* A parsed value, not yet in an instance. */
struct value {
	union {
		bool on;          /* BOOL */
		uint64_t number;  /* UINT; SIZE: bytes; DURATION: ns */
		double real;      /* RATE, REAL */
		uint32_t index;   /* CHOICE; OCTAL: the mode */
		const char *text; /* STRING, PATH: what was parsed, still the caller's */
	};
};

/* The longest text of a value that is no STRING or PATH, with its end. */
#define VALUE_TEXT_MAX 64

/*
 * Parses `text` as `option` wants it. `who`: whose option, for the sentence ("mem"). -EINVAL (or -ERANGE: too
 * small or too large) with `why`: who, option, value, rule, remedy.
 */
int value_parse(const char *who, const struct weft_option *option, const char *text, struct value *out, struct weft_why *why);

/* Prints what value_parse reads as the same value: as a user would write it ("64MiB", "5ms"). Returns what
 * snprintf returns. A text of NULL prints as "". */
int value_print(const struct weft_option *option, const struct value *value, char *text, size_t size);

/* What a value of this option looks like, for help and sentences: "SIZE", "on|off", "PATH"; a choice's own list. */
const char *value_form(const struct weft_option *option);

/* Between the field of an instance and a value. Storing a STRING or PATH stores the pointer. */
void value_load(const struct weft_option *option, const void *instance, struct value *out);
void value_store(const struct weft_option *option, void *instance, const struct value *value);

/* Sizes outside option tables ("resize 2GiB"). `what` names the parameter. */
int value_parse_size(const char *what, const char *text, uint64_t *bytes, struct weft_why *why);

#endif
