/* SPDX-License-Identifier: BSD-2-Clause */
/* Command lines by table: the same tables as for components' options. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include <weft/object.h>

/* What stands on the line without "--"; at most this many. */
#define ARGS_PLAIN_MAX 64

struct args {
	const char *plain[ARGS_PLAIN_MAX];
	unsigned nplain;
};

/*
 * Fills `into` from the table's defaults and from "--name value", "--name=value" and, for BOOL, "--name" alone. "--" ends the options. The
 * strings stay argv's. -EINVAL with `why`.
 */
int args_parse(const char *who, const struct weft_option *table, void *into, int argc, char **argv, struct args *args,
	struct weft_why *why);

/* "  --name SIZE   help (default)" for each option, to standard output. */
void args_help(const struct weft_option *table);

#endif
