/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Opening a core while each call of the environment that it makes fails in turn, memory among them: it says what failed, and
 * leaves nothing behind (closing the simulated node asserts that; in the real world AddressSanitizer does).
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <weft/export.h>

#include "core/core.h"
#include "core/reactor.h"
#include "env/env_fault.h"
#include "env/linux/linux.h"
#include "env/sim/sim.h"

#define REACTORS 3u

/* Opens and closes a core with the n-th call failing. True: it was reached. */
static bool opening_fails_at(struct env *env, uint64_t n)
{
	const struct core_wants wants = { .io_reactors = REACTORS, .mode = WEFT_MODE_NOTIFY };
	struct weft_core *core = NULL;
	struct weft_why why = { .text = "" };
	bool reached;
	int error;

	env_fail_nth(env, n);
	error = core_open(env, &wants, &core, &why);
	reached = env_fail_hit(env);
	env_fail_nth(env, 0);
	if (error == 0) {
		assert_false(reached); /* nothing that it asks for is dispensable */
		core_close(core);
		return false;
	}
	assert_true(reached);
	assert_true(error == -ENOMEM || error == -EIO);
	assert_string_not_equal(why.text, "");
	assert_null(core);
	return true;
}

static uint64_t failures(struct env *env)
{
	uint64_t n = 1;

	while (opening_fails_at(env, n))
		n++;
	return n - 1;
}

static void in_the_simulation(void **state)
{
	struct sim_world *world = sim_world_open(3);
	struct env *env = sim_node_open(world, "node");

	(void)state;
	/* For each reactor itself, its loop, its vectors; a thread for each that does I/O. */
	assert_in_range(failures(env), 4 * (REACTORS + 1), 100);
	sim_node_close(env);
	sim_world_close(world);
}

static void on_linux(void **state)
{
	const struct env_linux_wants wants[] = { { .no_uring = false }, { .no_uring = true } };
	struct weft_why why;
	struct env *env;

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(wants); i++) {
		assert_int_equal(env_linux_open(&env, &wants[i], &why), 0);
		assert_in_range(failures(env), 4 * (REACTORS + 1), 100);
		env_linux_close(env);
	}
}

/* Those of several exports are sent in one turn of the control reactor, before the first of them has arrived. */
static void sessions_that_are_on_their_way_count_for_the_reactor(void **state)
{
	const struct core_wants wants = { .io_reactors = REACTORS, .mode = WEFT_MODE_NOTIFY };
	struct sim_world *world = sim_world_open(3);
	struct env *env = sim_node_open(world, "node");
	struct weft_core *core;
	struct weft_why why;

	(void)state;
	assert_int_equal(core_open(env, &wants, &core, &why), 0);
	for (unsigned i = 0; i < 2 * REACTORS; i++) {
		struct weft_reactor *picked = weft_reactor_pick(core);

		assert_int_equal(picked->lane, 1 + i % REACTORS);
		picked->coming++;
	}
	core_close(core);
	sim_node_close(env);
	sim_world_close(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_the_simulation),
		cmocka_unit_test(on_linux),
		cmocka_unit_test(sessions_that_are_on_their_way_count_for_the_reactor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
