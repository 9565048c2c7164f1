/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The power goes at any moment under a file that is in use: unflushed writes are kept, dropped or torn by chance. What was
 * acknowledged
 * before a flush that ended is there. Every seed runs twice, with equal traces.
 *
 * `sim_power_loss_test [SEEDS [FIRST]]`
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sim/party.h"

#define DISK "/disk.img"
#define SOCKET "/vm.sock"

static unsigned long seeds = 500, first_seed = 1;

struct moment {
	struct load *load;
	unsigned answers;
};

static bool has_come(void *arg)
{
	const struct moment *moment = arg;

	return load_answers(moment->load) >= moment->answers;
}

static uint64_t run_seed(uint64_t seed, const char *device)
{
	struct sim_world *world = sim_world_open(seed);
	struct party machine;
	struct moment moment;
	uint64_t trace;

	sim_file_make(world, DISK, LOAD_CELLS * LOAD_CELL);
	party_open(&machine, world, "machine", 1, WEFT_MODE_NOTIFY);
	party_must_build(&machine, device, &weft_blk_iface);
	moment.load = load_open(&machine, weft_object_query(machine.object[0], &weft_blk_iface), 1, 400);
	moment.answers = 1 + (unsigned)(sim_rand(world) % 300);
	assert_true(sim_run(world, has_come, &moment, 1000000));
	sim_node_kill(machine.env);
	party_forget(&machine);
	sim_files_settle(world);
	sim_power_loss(world, DISK);
	load_check_after_power_loss(moment.load, sim_file_bytes(world, DISK));
	load_forget(moment.load);
	trace = sim_trace_hash(world);
	sim_world_close(world);
	return trace;
}

static void what_was_flushed_is_there(void **state)
{
	for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++) {
		uint64_t trace = run_seed(seed, *state);

		assert_true(trace == run_seed(seed, *state));
	}
}

/* The power goes as soon as a front end has been told that the write cache is off: what was acknowledged before is durable. */
static uint64_t run_write_through(uint64_t seed)
{
	struct sim_world *world = sim_world_open(seed);
	struct party server, guest, other;
	struct moment moment;
	uint64_t trace;

	sim_file_make(world, DISK, LOAD_CELLS * LOAD_CELL);
	party_open(&server, world, "server", 2, WEFT_MODE_NOTIFY);
	party_must_build(&server, "vhost-user:" SOCKET ",clients=2,device=[file:" DISK "]", &weft_export_iface);
	party_open(&guest, world, "guest", 1, WEFT_MODE_NOTIFY);
	party_must_build(&guest, "vhost-user:" SOCKET, &weft_blk_iface);
	moment.load = load_open(&guest, weft_object_query(guest.object[0], &weft_blk_iface), 1, 400);
	moment.answers = 1 + (unsigned)(sim_rand(world) % 300);
	assert_true(sim_run(world, has_come, &moment, 1000000));
	party_open(&other, world, "other", 1, WEFT_MODE_NOTIFY);
	load_flush_begins(moment.load);
	party_must_build(&other, "vhost-user:" SOCKET ",cache=off", &weft_blk_iface);
	load_flush_ended(moment.load);
	sim_node_kill(server.env);
	sim_node_kill(guest.env);
	sim_node_kill(other.env);
	party_forget(&server);
	party_forget(&guest);
	party_forget(&other);
	sim_files_settle(world);
	sim_power_loss(world, DISK);
	load_check_after_power_loss(moment.load, sim_file_bytes(world, DISK));
	load_forget(moment.load);
	trace = sim_trace_hash(world);
	sim_world_close(world);
	return trace;
}

static void what_was_acknowledged_before_write_through_is_there(void **state)
{
	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + seeds / 5; seed++) {
		uint64_t trace = run_write_through(seed);

		assert_true(trace == run_write_through(seed));
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		{ "what_was_flushed_is_there, file", what_was_flushed_is_there, NULL, NULL, "file:" DISK },
		{ "what_was_flushed_is_there, through layers", what_was_flushed_is_there, NULL, NULL,
		  "mirror:[slice:[file:" DISK "]],[mem:64KiB]" },
		cmocka_unit_test(what_was_acknowledged_before_write_through_is_there),
	};

	if (argc > 1)
		seeds = strtoul(argv[1], NULL, 10);
	if (argc > 2)
		first_seed = strtoul(argv[2], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
