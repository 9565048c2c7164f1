/* SPDX-License-Identifier: BSD-2-Clause */
/* What fuzzers of the core's parsers share: memory, and kinds to read with (those of the unit tests). */
#ifndef FUZZ_FUZZ_CORE_H
#define FUZZ_FUZZ_CORE_H

#include <stdlib.h>
#include <string.h>

#include <weft/memory.h>

#include "core/core.h"
#include "core/kinds_test.h"
#include "core/tree.h"
#include "env/env_ops.h"

struct fuzz_core {
	struct env env;
	struct weft_core core;
	struct tree_reader reader;
};

static void *fuzz_alloc(struct env *env, size_t align, size_t size)
{
	void *memory = aligned_alloc(align, (size + align - 1) / align * align);

	(void)env;
	WEFT_ASSERT(memory);
	return memset(memory, 0, size);
}

static void fuzz_free(struct env *env, void *memory)
{
	(void)env;
	free(memory);
}

static const struct weft_kind *fuzz_kind(void *self, const char *name, const struct weft_iface *wants, struct weft_why *why)
{
	const struct weft_kind *kind = test_kind(name, wants);

	(void)self;
	if (!kind)
		weft_why(why, -1, "there is no kind '%.40s'", name);
	return kind;
}

static void fuzz_core_open(struct fuzz_core *fuzz)
{
	static const struct env_ops ops = { .alloc = fuzz_alloc, .free = fuzz_free };

	env_init(&fuzz->env, &ops);
	fuzz->core = (struct weft_core){ .env = &fuzz->env };
	fuzz->reader = (struct tree_reader){ .core = &fuzz->core, .kinds = fuzz_kind };
}

/* A sentence stands by each error, and nothing else does. */
static inline void fuzz_check_why(int error, const struct tree *tree, const struct weft_why *why)
{
	WEFT_ASSERT(error <= 0 && !tree == !!error);
	WEFT_ASSERT(!error || strlen(why->text) > 10);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
