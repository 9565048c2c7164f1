/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device has said of a range of itself (WEFT_STATUS): where it reads as zeroes. An answer is outside data, in memory that
 * others may change: it is read once and checked, and what it does not tell in order may hold anything.
 */
#ifndef CORE_EXTENTS_H
#define CORE_EXTENTS_H

#include <weft/hop.h>

struct extents {
	struct weft_extent *extent; /* `room` of them, the caller's */
	unsigned room;
	unsigned n, at;             /* how many are filled; where the last question was answered */
	uint64_t from, to;          /* what is known, bytes; to == from: nothing */
};

/* An answer to a request for [from, to), `room` entries that were zeroed before it was asked, has ended with `status`. Something of
 * the beginning is known afterwards. */
void extents_take(struct extents *extents, const struct weft_extent *answer, uint64_t from, uint64_t to, int status);
/* Where the run of the same kind that holds `at` ends; *zero: its kind. `at` is known, and not before the one asked last. */
uint64_t extents_run(struct extents *extents, uint64_t at, bool *zero);
/* The same in whole blocks, a power of two, of which `at` is a multiple: one that is not zeroes as a whole is none. */
uint64_t extents_run_of_blocks(struct extents *extents, uint64_t at, uint64_t block, bool *zero);

#endif
