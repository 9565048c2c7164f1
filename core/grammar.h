/* SPDX-License-Identifier: BSD-2-Clause */
/* What reading and printing the grammar share (the interface is core/tree.h). */
#ifndef CORE_GRAMMAR_H
#define CORE_GRAMMAR_H

/* The kind that takes a URI whole, as its address, when `text` begins with one that we know (nbd://, iscsi://,
 * ...); else NULL. */
const char *grammar_uri_kind(const char *text);

#endif
