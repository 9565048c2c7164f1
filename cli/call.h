/* SPDX-License-Identifier: BSD-2-Clause */
/* The client's side of the control socket. */
#ifndef CLI_CALL_H
#define CLI_CALL_H

#include <jansson.h>

#include <weft/base.h>

struct env;
struct call;

/* Connects. -ENOENT, -ECONNREFUSED with `why`: nobody is there. */
int call_open(struct env *env, const char *path, struct call **out, struct weft_why *why);
void call_close(struct call *call);
/*
 * Asks, and waits for the answer. 0 with *result (NULL: nothing was told), the caller's. -EIO: refused, with the server's sentence
 * in `why` and its status in *status; others: the server has gone, or makes no sense.
 */
int call_ask(struct call *call, const char *command, const char *const *args, unsigned nargs, json_t **result, int *status,
	struct weft_why *why);

#endif
