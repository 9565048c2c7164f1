/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A filter that breaks one promise, to see whether the scenarios find it: `careless:[DEVICE],what=flush` answers a flush without
 * passing it on, `what=fua` takes FUA off writes. Not part of the product.
 */
#ifndef SIM_CARELESS_H
#define SIM_CARELESS_H

#include <weft/object.h>

/* For objects_module_add. */
extern const struct weft_module careless_module;

#endif
