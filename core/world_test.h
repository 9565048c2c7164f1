/* SPDX-License-Identifier: BSD-2-Clause */
/* For unit tests of the core: a small environment in memory (a clock that the test moves, a log that it reads,
 * allocations that are counted and can be made to fail), and a core with a control reactor that the test steps. */
#ifndef CORE_WORLD_TEST_H
#define CORE_WORLD_TEST_H

#include "core/core.h"
#include "env/env_fault.h"

#define WORLD_LOG_MAX 64

struct world {
	struct weft_core core;
	uint64_t now_ns;
	char log[WORLD_LOG_MAX][640];
	int log_level[WORLD_LOG_MAX];
	unsigned logs; /* in all; the first WORLD_LOG_MAX are kept */
};

/* Opens log, control reactor and objects. */
struct world *world_open(void);
/* Closes all; fails the test when anything is still allocated. */
void world_close(struct world *world);
uint64_t world_allocated(const struct world *world); /* pieces of memory */
/* Of a test, in *state: a world; one that knows test_module (core/kinds_test.h). */
int world_setup(void **state);
int world_setup_kinds(void **state);
int world_teardown(void **state);
#define WORLD_TEST(function) cmocka_unit_test_setup_teardown(function, world_setup, world_teardown)
#define WORLD_KINDS_TEST(function) cmocka_unit_test_setup_teardown(function, world_setup_kinds, world_teardown)
/* Steps the control reactor until it has nothing to do. */
void world_run(struct world *world);

#endif
