/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory of components: the environment's, so that a simulated node's can be taken away whole. */
#include <string.h>

#include <weft/memory.h>

#include "core/core.h"
#include "env/env.h"

void *weft_alloc(struct weft_core *core, size_t size)
{
	return weft_alloc_aligned(core, 16, size);
}

void *weft_alloc_aligned(struct weft_core *core, size_t align, size_t size)
{
	WEFT_ASSERT(align >= 16 && (align & (align - 1)) == 0 && align <= 2u << 20);
	return env_alloc(core->env, align, size == 0 ? align : size);
}

void weft_free(struct weft_core *core, void *memory)
{
	if (memory != NULL)
		env_free(core->env, memory);
}

char *weft_strdup(struct weft_core *core, const char *text)
{
	size_t size = strlen(text) + 1;
	char *copy = weft_alloc(core, size);

	WEFT_ASSERT(text && size > 0);
	if (copy != NULL)
		memcpy(copy, text, size);
	return copy;
}
