/* SPDX-License-Identifier: BSD-2-Clause */
/* A small environment in memory, for unit tests of the core. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/kinds_test.h"
#include "core/log.h"
#include "core/objects.h"
#include "core/reactor.h"
#include "core/world_test.h"
#include "env/env_ops.h"

struct world_env {
	struct env env;
	struct env_loop loop;
	struct world world;
	uint64_t allocated;
};

static struct world_env *of(struct env *env)
{
	return (struct world_env *)env;
}

static void *world_alloc(struct env *env, size_t align, size_t size)
{
	size_t padded = (size + align - 1) / align * align;
	void *memory = aligned_alloc(align, padded);

	if (!memory)
		return NULL;
	of(env)->allocated++;
	return memset(memory, 0, padded);
}

static void world_free(struct env *env, void *memory)
{
	if (memory)
		of(env)->allocated--;
	free(memory);
}

static void *world_pages(struct env *env, uint64_t size, bool huge)
{
	(void)huge;
	return world_alloc(env, 4096, size);
}

static void world_pages_free(struct env *env, void *base, uint64_t size)
{
	(void)size;
	world_free(env, base);
}

static uint64_t world_now(struct env *env)
{
	return of(env)->world.now_ns;
}

static uint64_t world_random(struct env *env)
{
	(void)env;
	return 4; /* a seed is a seed */
}

static void world_log(struct env *env, int level, const char *line)
{
	struct world *world = &of(env)->world;

	if (world->logs < WORLD_LOG_MAX) {
		world->log_level[world->logs] = level;
		snprintf(world->log[world->logs], sizeof(world->log[0]), "%s", line);
	}
	world->logs++;
}

static bool loop_poll(struct env_loop *loop)
{
	(void)loop;
	return false;
}

static void loop_nothing(struct env_loop *loop)
{
	(void)loop;
}

static void loop_wait(struct env_loop *loop, uint64_t timeout_ns)
{
	(void)loop;
	(void)timeout_ns;
}

static uint64_t loop_wake_cost(const struct env_loop *loop)
{
	(void)loop;
	return 5000;
}

static void loop_stats(const struct env_loop *loop, struct env_loop_stats *out)
{
	(void)loop;
	*out = (struct env_loop_stats){ 0 };
}

static const struct env_loop_ops loop_ops = {
	.close = loop_nothing, .poll = loop_poll, .submit = loop_nothing, .wait = loop_wait, .wake = loop_nothing,
	.wake_cost_ns = loop_wake_cost, .stats = loop_stats,
};

static int world_loop_open(struct env *env, bool movable, struct env_loop **out, struct weft_why *why)
{
	(void)movable;
	(void)why;
	of(env)->loop = (struct env_loop){ &loop_ops, env };
	*out = &of(env)->loop;
	return 0;
}

static const struct env_ops ops = {
	.alloc = world_alloc, .free = world_free, .now_ns = world_now, .random = world_random, .wall_ns = world_now,
	.log_line = world_log, .loop_open = world_loop_open, .pages_alloc = world_pages, .pages_free = world_pages_free,
};

struct world *world_open(void)
{
	struct world_env *env = calloc(1, sizeof(*env));
	struct weft_core *core = &env->world.core;
	struct weft_why why = { "" };

	assert_non_null(env);
	env_init(&env->env, &ops);
	core->env = &env->env;
	assert_int_equal(log_open(core, &why), 0);
	assert_int_equal(objects_open(core, &why), 0);
	assert_int_equal(reactor_open(core, 0, 16, false, &core->reactor[0], &why), 0);
	reactor_mode_set(core->reactor[0], WEFT_MODE_NOTIFY);
	core->reactors = 1;
	return &env->world;
}

void world_close(struct world *world)
{
	struct world_env *env = WEFT_CONTAINER(world, struct world_env, world);

	env_fail_nth(&env->env, 0);
	world_run(world);
	objects_close(&world->core);
	reactor_close(world->core.reactor[0]);
	log_close(&world->core);
	assert_int_equal(env->allocated, 0);
	free(env);
}

int world_setup(void **state)
{
	*state = world_open();
	return 0;
}

int world_setup_kinds(void **state)
{
	struct world *world = world_open();

	*state = world;
	return objects_module_add(&world->core, &test_module, NULL);
}

int world_teardown(void **state)
{
	world_close(*state);
	return 0;
}

uint64_t world_allocated(const struct world *world)
{
	return WEFT_CONTAINER(world, struct world_env, world)->allocated;
}

void world_run(struct world *world)
{
	while (reactor_step(world->core.reactor[0], world->now_ns) == 0)
		continue;
}
