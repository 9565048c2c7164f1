/* SPDX-License-Identifier: BSD-2-Clause */
/* The components that every weft has. */
#ifndef LIB_BUILTIN_H
#define LIB_BUILTIN_H

#include <weft/object.h>

/* For objects_module_add(), like a shared object's. */
extern const struct weft_module builtin_module;

#endif
