/* SPDX-License-Identifier: BSD-2-Clause */
/* Answers to WEFT_STATUS, checked. */
#include "core/extents.h"

#include <string.h>

/* The next entry, when it goes on where the last one ended. */
static bool take_one(const struct extents *extents, const struct weft_extent *from, uint64_t to, struct weft_extent *extent)
{
	memcpy(extent, from, sizeof(*extent));
	if (extent->len == 0 || extent->offset != extents->to)
		return false;
	if (extent->len > to - extents->to)
		extent->len = to - extents->to;
	return extent->len > 0;
}

void extents_take(struct extents *extents, const struct weft_extent *answer, uint64_t from, uint64_t to, int status)
{
	WEFT_ASSERT(from < to && extents->room > 0);
	extents->from = extents->to = from;
	extents->n = extents->at = 0;
	while (status == 0 && extents->n < extents->room &&
		take_one(extents, &answer[extents->n], to, &extents->extent[extents->n]))
		extents->to += extents->extent[extents->n++].len;
	if (extents->n > 0)
		return;
	extents->extent[extents->n++] = (struct weft_extent){ .offset = from, .len = to - from };
	extents->to = to;
}

static bool is_zero(const struct extents *extents, unsigned n)
{
	return (extents->extent[n].flags & WEFT_EXTENT_ZERO) != 0;
}

uint64_t extents_run(struct extents *extents, uint64_t at, bool *zero)
{
	unsigned i;

	WEFT_ASSERT(at >= extents->from && at < extents->to);
	while (at >= extents->extent[extents->at].offset + extents->extent[extents->at].len)
		extents->at++;
	WEFT_ASSERT(extents->at < extents->n && at >= extents->extent[extents->at].offset);
	*zero = is_zero(extents, extents->at);
	for (i = extents->at + 1; i < extents->n; i++)
		if (is_zero(extents, i) != *zero)
			return extents->extent[i].offset;
	return extents->to;
}

uint64_t extents_run_of_blocks(struct extents *extents, uint64_t at, uint64_t block, bool *zero)
{
	uint64_t end = extents_run(extents, at, zero);

	WEFT_ASSERT((block & (block - 1)) == 0 && (at & (block - 1)) == 0);
	if (*zero && end - at >= block)
		return end & ~(block - 1);
	*zero = false;
	return (end + block - 1) & ~(block - 1);
}
