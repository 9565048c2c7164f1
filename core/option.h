/* SPDX-License-Identifier: BSD-2-Clause */
/* Options of an instance: from text by its kind's table, back to text, changed while it runs. Control thread. */
#ifndef CORE_OPTION_H
#define CORE_OPTION_H

#include "core/tree.h"
#include <weft/object.h>

/*
 * Fills the fields of `object` (zeroed, with kind and core set) from the node's address and options; what is
 * not given gets its default. -EINVAL, -ERANGE, -ENOMEM with `why`; then all that was stored is freed.
 */
int option_apply(struct weft_object *object, const struct tree *node, struct weft_why *why);

/* Frees the strings and clears their fields. */
void option_free(struct weft_object *object);

/* Changes one option of a running object and tells it. When it refuses, the old value is back. -ENOENT: no
 * such option, -EPERM: not while running, ... with `why`. */
int option_change(struct weft_object *object, const char *name, const char *text, struct weft_why *why);

/* Adds to `node` (as address or option) what differs from the defaults. -ENOMEM. */
int option_list(const struct weft_object *object, struct tree *node);

/* -ENOENT with `why`: which option is unknown, what it may have meant, or what there is. */
int option_unknown(const struct weft_kind *kind, const char *name, struct weft_why *why);

/* By name; NULL: none. The one that may be given without its name; NULL: none. */
const struct weft_option *option_find(const struct weft_kind *kind, const char *name);
const struct weft_option *option_of_address(const struct weft_kind *kind);

#endif
