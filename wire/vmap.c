/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest memory map: made once, then only looked at. */
#include "wire/vmap.h"

#include "wire/shm.h"

#include <weft/base.h>

#include <errno.h>

/* In place and without recursion: a table has at most some hundred regions and is made rarely. */
static void vmap_sort(struct vmap_region *regions, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++) {
		struct vmap_region moving = regions[i];
		uint32_t at = i;

		for (; at > 0 && regions[at - 1].gpa > moving.gpa; at--)
			regions[at] = regions[at - 1];
		regions[at] = moving;
	}
}

static bool vmap_overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size)
{
	return a < b ? b - a < a_size : a - b < b_size;
}

static int vmap_refuse(const char **why, const char *reason)
{
	*why = reason;
	return -EINVAL;
}

int vmap_init(struct vmap *map, struct vmap_region *regions, uint32_t count, const char **why)
{
	WEFT_ASSERT(regions != NULL || count == 0);
	for (uint32_t i = 0; i < count; i++) {
		const struct vmap_region *r = &regions[i];

		WEFT_ASSERT(r->hva != NULL);
		if (r->size == 0)
			return vmap_refuse(why, "a memory region has no bytes");
		if (r->gpa > UINT64_MAX - r->size || r->uva > UINT64_MAX - r->size)
			return vmap_refuse(why, "a memory region goes beyond the end of the address space");
		for (uint32_t j = 0; j < i; j++) {
			if (vmap_overlap(r->gpa, r->size, regions[j].gpa, regions[j].size))
				return vmap_refuse(why, "two memory regions overlap in guest memory");
			if (vmap_overlap(r->uva, r->size, regions[j].uva, regions[j].size))
				return vmap_refuse(why, "two memory regions overlap in the front end's memory");
		}
	}
	vmap_sort(regions, count);
	for (uint32_t i = 1; i < count; i++)
		WEFT_ASSERT(regions[i - 1].gpa + regions[i - 1].size <= regions[i].gpa);
	map->regions = regions;
	map->count = count;
	return 0;
}

int vmap_find(const struct vmap *map, uint64_t gpa)
{
	uint32_t low = 0, high = map->count;

	WEFT_ASSERT(map->regions != NULL || map->count == 0);
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (vmap_holds(map, middle, gpa, 1))
			return (int)middle;
		if (gpa < map->regions[middle].gpa)
			high = middle;
		else
			low = middle + 1;
	}
	return -1;
}

void *vmap_ring(const struct vmap *map, uint64_t uva, uint64_t bytes)
{
	WEFT_ASSERT(bytes > 0);
	for (uint32_t i = 0; i < map->count; i++) {
		const struct vmap_region *r = &map->regions[i];
		uint64_t at = uva - r->uva;

		if (at < r->size)
			return bytes <= r->size - at ? r->hva + at : NULL;
	}
	return NULL;
}

bool vmap_copy_in(const struct vmap *map, void *local, uint64_t gpa, size_t bytes)
{
	uint32_t hint = 0;
	uint8_t *to = local;

	while (bytes > 0) {
		uint64_t part = bytes;
		const void *from = vmap_translate(map, &hint, gpa, &part);

		if (!from)
			return false;
		WEFT_ASSERT(part > 0 && part <= bytes);
		shm_copy_in(to, from, part);
		to += part;
		gpa += part;
		bytes -= part;
	}
	return true;
}

bool vmap_gpa_of(const struct vmap *map, const void *hva, uint64_t *gpa)
{
	for (uint32_t i = 0; i < map->count; i++) {
		uint64_t at = (uint64_t)((uintptr_t)hva - (uintptr_t)map->regions[i].hva);

		if (at < map->regions[i].size) {
			*gpa = map->regions[i].gpa + at;
			return true;
		}
	}
	return false;
}
