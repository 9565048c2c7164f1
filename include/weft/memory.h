/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory of components, and memory that leaves can use in place: regions. */
#ifndef WEFT_MEMORY_H
#define WEFT_MEMORY_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weft_core;

/* Zeroed, aligned to 16. NULL when there is no memory (control paths report it; the data path never allocates). Any thread. */
WEFT_API void *weft_alloc(struct weft_core *core, size_t size);
/* The same aligned to `align`, a power of two up to 2 MiB. */
WEFT_API void *weft_alloc_aligned(struct weft_core *core, size_t align, size_t size);
WEFT_API void weft_free(struct weft_core *core, void *memory); /* NULL is allowed */
WEFT_API char *weft_strdup(struct weft_core *core, const char *text);

/*
 * Registers [base, base + size) so that leaves may use it in place: `fd` (-1: none) and `fd_offset` say what backs it; with
 * `pin` each
 * reactor's I/O ring gets it as fixed buffers of at most 1 GiB each (that pins the memory). Returns the region's number (> 0), or
 * -errno with `why`. Control thread. The caller keeps the memory and the descriptor until weft_region_remove, which the caller
 * calls
 * only when no request uses it.
 */
WEFT_API int weft_region_add(struct weft_core *core, void *base, uint64_t size, int fd, uint64_t fd_offset, bool pin,
	struct weft_why *why);
WEFT_API void weft_region_remove(struct weft_core *core, int region);

#ifdef __cplusplus
}
#endif
#endif
