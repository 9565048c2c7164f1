/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The map of a guest's memory: from guest-physical addresses (in descriptors) and from the front end's own addresses
 * (of rings) to ours. Immutable once made and replaced whole; any number of threads may read it.
 */
#ifndef WIRE_VMAP_H
#define WIRE_VMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vmap_region {
	uint64_t gpa;       /* guest-physical address */
	uint64_t uva;       /* the same byte in the front end's address space */
	uint64_t size;      /* bytes, not 0 */
	uint64_t fd_offset; /* where the region starts in its file; kept for the owner, not used here */
	uint8_t *hva;       /* where it starts in our address space */
	uint16_t region;    /* number of the registered memory, copied into segments */
	int fd;             /* the owner's descriptor, or -1; not used here */
};

struct vmap {
	const struct vmap_region *regions; /* ascending by gpa, no two overlap, the caller's memory */
	uint32_t count;
};

/*
 * Sorts `regions` in place, checks them and makes `map` point to them. Control path.
 * Returns 0, or -EINVAL and a reason in *why (a constant sentence): empty region, an address range that wraps, regions
 * that overlap by guest address or by the front end's address.
 */
int vmap_init(struct vmap *map, struct vmap_region *regions, uint32_t count, const char **why);

/* Index of the region that holds `gpa`, or -1. */
int vmap_find(const struct vmap *map, uint64_t gpa);

/*
 * The front end's address range [uva, uva + bytes) in our address space; NULL when it is not wholly inside one region.
 * For ring addresses; virtq_init checks their alignment.
 */
void *vmap_ring(const struct vmap *map, uint64_t uva, uint64_t bytes);

/* Copies from guest memory, across adjacent regions if need be. False: part of the range is not mapped. */
bool vmap_copy_in(const struct vmap *map, void *local, uint64_t gpa, size_t bytes);

/* From our address back to the guest's (for the dirty log): false when no region holds it. */
bool vmap_gpa_of(const struct vmap *map, const void *hva, uint64_t *gpa);

/* Whether region `index` holds all of [gpa, gpa + bytes). Never overflows. */
static inline bool vmap_holds(const struct vmap *map, uint32_t index, uint64_t gpa, uint64_t bytes)
{
	const struct vmap_region *r = &map->regions[index];
	uint64_t at = gpa - r->gpa; /* wraps to something huge when gpa is below */

	return at < r->size && bytes <= r->size - at;
}

/*
 * Our address of `gpa`. *bytes: wanted; becomes fewer when the region ends before. *hint: index of the region to try
 * first, updated; any value is good. NULL: not mapped.
 */
static inline void *vmap_translate(const struct vmap *map, uint32_t *hint, uint64_t gpa, uint64_t *bytes)
{
	if (__builtin_expect(*hint >= map->count || !vmap_holds(map, *hint, gpa, *bytes), 0)) {
		int found = vmap_find(map, gpa);
		uint64_t rest;

		if (found < 0)
			return NULL;
		*hint = (uint32_t)found;
		rest = map->regions[found].size - (gpa - map->regions[found].gpa);
		if (*bytes > rest)
			*bytes = rest;
	}
	return map->regions[*hint].hva + (gpa - map->regions[*hint].gpa);
}

#endif
