/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every call of the environment that a control path makes is made to fail once, memory among them: a server is opened, a
 * device and an
 * export are built, a machine connects and does some work, all is taken down. Whatever failed was said, nothing is left behind
 * (closing a
 * simulated node asserts that), and no assertion trips.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "env/env_fault.h"
#include "sim/party.h"

#define SERVED "vhost-user:/vm.sock,queues=2,device=[slice:[file:/disk.img],offset=64KiB]"

struct scene {
	struct sim_world *world;
	struct party server, machine;
};

static struct scene scene_open(void)
{
	struct scene s = { .world = sim_world_open(7) };

	sim_file_make(s.world, "/disk.img", 1 << 20);
	return s;
}

static bool server_closed(void *arg)
{
	(void)arg;
	return false;
}

/* Some more of the world's time: what is under way comes to rest. */
static void settle(struct scene *s)
{
	sim_run(s->world, server_closed, NULL, 3000);
}

/* Builds the server with its n-th call failing. True: it was reached. */
static bool building_fails_at(uint64_t n)
{
	struct scene s = scene_open();
	bool reached;

	party_open(&s.server, s.world, "server", 1, WEFT_MODE_NOTIFY);
	party_build(&s.server, SERVED, &weft_export_iface);
	env_fail_nth(s.server.env, n);
	party_wait(&s.server);
	reached = env_fail_hit(s.server.env);
	env_fail_nth(s.server.env, 0);
	if (!reached)
		assert_int_equal(s.server.status, 0);
	settle(&s);
	party_close(&s.server);
	sim_world_close(s.world);
	return reached;
}

static void building_survives_the_failure_of_any_call(void **state)
{
	uint64_t n = 1;

	(void)state;
	while (building_fails_at(n))
		n++;
	assert_in_range(n, 20, 2000);
}

/* A machine connects, and the server's n-th call from then on fails: the machine may be refused, the server goes on, and the next
 * machine is served. */
static bool connecting_fails_at(uint64_t n)
{
	struct scene s = scene_open();
	struct load *load;
	bool reached;

	party_open(&s.server, s.world, "server", 1, WEFT_MODE_NOTIFY);
	party_must_build(&s.server, SERVED, &weft_export_iface);
	party_open(&s.machine, s.world, "machine", 1, WEFT_MODE_NOTIFY);
	env_fail_nth(s.server.env, n);
	party_build(&s.machine, "vhost-user:/vm.sock,reconnect=1ms", &weft_blk_iface);
	party_wait(&s.machine);
	reached = env_fail_hit(s.server.env);
	env_fail_nth(s.server.env, 0);
	if (s.machine.status != 0)
		party_must_build(&s.machine, "vhost-user:/vm.sock,reconnect=1ms", &weft_blk_iface);
	load = load_open(&s.machine, weft_object_query(s.machine.object[0], &weft_blk_iface), 1, 20);
	assert_true(sim_run(s.world, load_ended, load, 1000000));
	load_close(load);
	party_close(&s.machine);
	settle(&s);
	party_close(&s.server);
	sim_world_close(s.world);
	return reached;
}

static void serving_survives_the_failure_of_any_call(void **state)
{
	uint64_t n = 1;

	(void)state;
	while (connecting_fails_at(n))
		n++;
	assert_in_range(n, 10, 2000);
}

/* The machine's own n-th call fails while it connects: it says so, or it is connected. */
static bool the_machine_fails_at(uint64_t n)
{
	struct scene s = scene_open();
	bool reached;

	party_open(&s.server, s.world, "server", 1, WEFT_MODE_NOTIFY);
	party_must_build(&s.server, SERVED, &weft_export_iface);
	party_open(&s.machine, s.world, "machine", 1, WEFT_MODE_NOTIFY);
	party_build(&s.machine, "vhost-user:/vm.sock", &weft_blk_iface);
	env_fail_nth(s.machine.env, n);
	party_wait(&s.machine);
	reached = env_fail_hit(s.machine.env);
	env_fail_nth(s.machine.env, 0);
	party_close(&s.machine);
	settle(&s);
	party_close(&s.server);
	sim_world_close(s.world);
	return reached;
}

static void connecting_survives_the_failure_of_any_call(void **state)
{
	uint64_t n = 1;

	(void)state;
	while (the_machine_fails_at(n))
		n++;
	assert_in_range(n, 10, 2000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(building_survives_the_failure_of_any_call),
		cmocka_unit_test(serving_survives_the_failure_of_any_call),
		cmocka_unit_test(connecting_survives_the_failure_of_any_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
