/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading the tables of a kind: what the readers of trees and the builder share. Pure. */
#ifndef CORE_KIND_H
#define CORE_KIND_H

#include <weft/object.h>

/* Interfaces are the same when name and version are. */
bool iface_same(const struct weft_iface *a, const struct weft_iface *b);

bool kind_has_ports(const struct weft_kind *kind);
/* By name; NULL: none. */
const struct weft_port *kind_port(const struct weft_kind *kind, const char *name);
/* -ENOENT with `why`: there is no such port, which there are. */
int kind_port_unknown(const struct weft_kind *kind, const char *name, struct weft_why *why);
/* How many devices all ports together take at most. */
unsigned kind_places(const struct weft_kind *kind);
/* The port for the n-th of `count` devices that are written without a port's name: in order; each port leaves
 * to those behind it what they need at least. `taken[i]`: places of the i-th port that are taken by name, or
 * NULL. NULL: there are too many. */
const struct weft_port *kind_port_at(const struct weft_kind *kind, unsigned n, unsigned count, const unsigned *taken);
#define KIND_PORTS_MAX 8

/* Do the tables make sense? -EINVAL with `why`: whose, which entry, the rule. For modules from outside. */
int kind_check(const struct weft_kind *kind, const char *module, struct weft_why *why);

#endif
