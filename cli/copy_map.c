/* SPDX-License-Identifier: BSD-2-Clause */
/* What a device says of itself: where it reads as zeroes. */
#include <string.h>

#include "cli/copy.h"

void copy_map_ask(struct copy_map *map, uint64_t from, uint64_t to, weft_hop_done *done)
{
	WEFT_ASSERT(from < to && map->slot != NULL && !map->asking);
	map->asking = true;
	memset(map->slot->segs[0].base, 0, COPY_MAP_BYTES);
	weft_slot_submit(map->slot, WEFT_STATUS, 0, from, to - from, 1, done);
}

/* The next answer, when it goes on where the last one ended. */
static bool extent_take(const struct copy_map *map, const struct weft_extent *from, uint64_t to, struct weft_extent *extent)
{
	memcpy(extent, from, sizeof(*extent));
	if (extent->len == 0 || extent->offset != map->to)
		return false;
	if (extent->len > to - map->to)
		extent->len = to - map->to;
	return extent->len > 0;
}

void copy_map_fill(struct copy_map *map, uint64_t from, uint64_t to, int status)
{
	const struct weft_extent *answers = map->slot->segs[0].base;

	WEFT_ASSERT(from < to && map->asking);
	map->asking = false;
	map->from = map->to = from;
	map->n = map->at = 0;
	while (status == 0 && map->n < COPY_EXTENTS && extent_take(map, &answers[map->n], to, &map->extent[map->n]))
		map->to += map->extent[map->n++].len;
	if (map->n > 0)
		return;
	map->extent[map->n++] = (struct weft_extent){ .offset = from, .len = to - from };
	map->to = to;
}

uint64_t copy_map_run(struct copy_map *map, uint64_t at, bool *zero)
{
	unsigned i;

	WEFT_ASSERT(at >= map->from && at < map->to);
	while (at >= map->extent[map->at].offset + map->extent[map->at].len)
		map->at++;
	WEFT_ASSERT(map->at < map->n && at >= map->extent[map->at].offset);
	*zero = (map->extent[map->at].flags & WEFT_EXTENT_ZERO) != 0;
	for (i = map->at + 1; i < map->n; i++)
		if (((map->extent[i].flags & WEFT_EXTENT_ZERO) != 0) != *zero)
			return map->extent[i].offset;
	return map->to;
}
