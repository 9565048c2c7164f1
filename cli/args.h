/* SPDX-License-Identifier: BSD-2-Clause */
/* Command lines by table: the same tables as for components' options. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <weft/object.h>

/* What stands on the line without "--"; at most this many. */
#define ARGS_PLAIN_MAX 256

struct args {
	const char *plain[ARGS_PLAIN_MAX];
	int at[ARGS_PLAIN_MAX]; /* which word of the line each one is, from 0 */
	unsigned nplain;
};

/* In weft_option.flags: a STRING or PATH that may be given again and again; its field is a struct args_list. */
enum { ARGS_MANY = 0x80 };
#define ARGS_LIST_MAX 256
struct args_list {
	const char *text[ARGS_LIST_MAX];
	int at[ARGS_LIST_MAX]; /* as in struct args: of the option's name */
	unsigned n;
};

/*
 * Fills `into` from the table's defaults and from "--name value", "--name=value" and, for BOOL, "--name" alone. "--" ends the
 * options. The strings stay argv's. -EINVAL with `why`. In these tables `choices` of a STRING or PATH says what its value looks
 * like.
 */
int args_parse(const char *who, const struct weft_option *table, void *into, int argc, char **argv, struct args *args,
	struct weft_why *why);
/* Between `least` and `most` plain arguments; `usage`: what they are. */
int args_count(const char *who, const struct args *args, unsigned least, unsigned most, const char *usage, struct weft_why *why);

/* What the value looks like; "" for BOOL. */
const char *args_form(const struct weft_option *option);
/* "  --name SIZE   help (default)" for each option, to standard output. */
void args_help(const struct weft_option *table);

#endif
