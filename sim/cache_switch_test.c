/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A front end switches the write cache of the vhost-user export off while the device below hangs: the flush with which that begins
 * holds nobody up for longer than patience lasts. Each scenario runs twice, with equal traces.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "sim/party.h"

#define DISK "/disk.img"
#define SOCKET "/vm.sock"
#define MS 1000000ull
#define PATIENCE (5000 * MS)
#define HANG (60000 * MS)

struct scene {
	struct sim_world *world;
	struct party server, guest;
};

static void serves(struct scene *s, const char *device)
{
	char text[128];

	party_open(&s->server, s->world, "server", 2, WEFT_MODE_NOTIFY);
	snprintf(text, sizeof(text), "vhost-user:" SOCKET ",clients=2,device=[%s]", device);
	party_must_build(&s->server, text, &weft_export_iface);
}

static void open_scene(struct scene *s, uint64_t seed, const char *device)
{
	memset(s, 0, sizeof(*s));
	s->world = sim_world_open(seed);
	sim_file_make(s->world, DISK, LOAD_CELLS * LOAD_CELL);
	serves(s, device);
}

/* Another server, after the first was killed. */
static void is_followed_by(struct scene *s, const char *device)
{
	sim_node_kill(s->server.env);
	party_forget(&s->server);
	serves(s, device);
}

static uint64_t close_scene(struct scene *s)
{
	uint64_t trace;

	party_close(&s->server);
	trace = sim_trace_hash(s->world);
	sim_world_close(s->world);
	return trace;
}

static void hangs(struct scene *s, uint64_t ns)
{
	sim_file_latency(s->world, DISK, ns, ns);
}

static struct weft_blk *disk_of(const struct party *guest)
{
	return weft_object_query(guest->object[0], &weft_blk_iface);
}

/* A guest that wants the cache off: it has a disk after so long, with a cache or without. */
static void connects(struct scene *s, uint64_t least_ns, uint64_t most_ns, bool cache)
{
	uint64_t began = sim_now_ns(s->world);

	party_open(&s->guest, s->world, "guest", 1, WEFT_MODE_NOTIFY);
	party_must_build(&s->guest, "vhost-user:" SOCKET ",cache=off", &weft_blk_iface);
	assert_in_range(sim_now_ns(s->world) - began, least_ns, most_ns);
	assert_int_equal(disk_of(&s->guest)->volatile_cache, cache);
}

static void guest_is_killed(struct scene *s)
{
	sim_node_kill(s->guest.env);
	party_forget(&s->guest);
}

static bool is_time(void *arg)
{
	const struct { struct sim_world *world; uint64_t at; } *until = arg;

	return sim_now_ns(until->world) >= until->at;
}

static void passes(struct scene *s, uint64_t ns)
{
	struct { struct sim_world *world; uint64_t at; } until = { s->world, sim_now_ns(s->world) + ns };

	sim_run(s->world, is_time, &until, 1000000);
}

/* The guest's disk works; what it acknowledges is durable, or says that it is not. */
static void works(struct scene *s)
{
	struct load *load = load_open(&s->guest, disk_of(&s->guest), 1, 60);

	assert_true(sim_run(s->world, load_ended, load, 1000000));
	load_close(load);
}

/* The disk answers after a minute. Who comes after that, or on a connection of his own, finds all as it should be. */
static uint64_t a_disk(uint64_t seed)
{
	struct scene s;

	open_scene(&s, seed, "file:" DISK);
	connects(&s, 0, 100 * MS, false);
	party_close(&s.guest);
	hangs(&s, HANG);
	connects(&s, PATIENCE, PATIENCE + 100 * MS, true);
	hangs(&s, MS);
	works(&s);
	party_close(&s.guest);
	connects(&s, 0, 100 * MS, false);
	party_close(&s.guest);
	passes(&s, HANG);
	connects(&s, 0, 100 * MS, false);
	party_close(&s.guest);
	return close_scene(&s);
}

/* What can be aborted is gone when patience is over. */
static uint64_t what_can_be_aborted(uint64_t seed)
{
	struct scene s;
	uint64_t began;

	open_scene(&s, seed, "delay:[file:" DISK "],flush=60s");
	began = sim_now_ns(s.world);
	connects(&s, PATIENCE, PATIENCE + 100 * MS, true);
	party_close(&s.guest);
	connects(&s, PATIENCE, PATIENCE + 100 * MS, true);
	guest_is_killed(&s);
	began = sim_now_ns(s.world) - began;
	assert_in_range(began, 2 * PATIENCE, 2 * PATIENCE + 300 * MS);
	passes(&s, 100 * MS);
	return close_scene(&s);
}

/* The guest is killed while it waits; those who come wait for no longer than they would for one another. */
static uint64_t a_guest_that_goes(uint64_t seed)
{
	struct scene s;

	open_scene(&s, seed, "delay:[file:" DISK "],flush=60s");
	party_open(&s.guest, s.world, "guest", 1, WEFT_MODE_NOTIFY);
	party_build(&s.guest, "vhost-user:" SOCKET ",cache=off", &weft_blk_iface);
	passes(&s, 1 + sim_rand(s.world) % PATIENCE);
	guest_is_killed(&s);
	connects(&s, PATIENCE, PATIENCE + 100 * MS, true);
	party_close(&s.guest);
	return close_scene(&s);
}

/* A guest that was told that there is no cache is not served by one that has it. */
static uint64_t what_was_promised(uint64_t seed)
{
	struct load *load;
	struct scene s;

	open_scene(&s, seed, "file:" DISK);
	connects(&s, 0, 100 * MS, false);
	is_followed_by(&s, "delay:[file:" DISK "],flush=60s");
	load = load_open(&s.guest, disk_of(&s.guest), 1, 60);
	passes(&s, 4 * PATIENCE);
	assert_int_equal(load_answers(load), 0);
	is_followed_by(&s, "file:" DISK);
	assert_true(sim_run(s.world, load_ended, load, 1000000));
	load_close(load);
	party_close(&s.guest);
	return close_scene(&s);
}

static void connection_put(void *self, const char *name, const char *value)
{
	bool *refused = self;

	if (strcmp(name, "connection") == 0)
		*refused = strstr(value, "refuses to switch its write cache off") != NULL && strstr(value, "requests fail") != NULL;
}

/* And he does not wait for ever for one who never will be. */
static uint64_t what_is_given_up(uint64_t seed)
{
	bool refused = false;
	struct scene s;

	open_scene(&s, seed, "file:" DISK);
	party_open(&s.guest, s.world, "guest", 1, WEFT_MODE_NOTIFY);
	party_must_build(&s.guest, "vhost-user:" SOCKET ",cache=off,refusals=2", &weft_blk_iface);
	is_followed_by(&s, "delay:[file:" DISK "],flush=60s");
	passes(&s, 4 * PATIENCE);
	s.guest.object[0]->kind->describe(s.guest.object[0], connection_put, &refused);
	assert_true(refused);
	party_close(&s.guest);
	return close_scene(&s);
}

static void ends_in_time(void **state)
{
	uint64_t (*scenario)(uint64_t seed) = (uint64_t (*)(uint64_t))*state;

	for (uint64_t seed = 1; seed <= 20; seed++)
		assert_true(scenario(seed) == scenario(seed));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		{ "ends_in_time, a disk", ends_in_time, NULL, NULL, (void *)a_disk },
		{ "ends_in_time, what can be aborted", ends_in_time, NULL, NULL, (void *)what_can_be_aborted },
		{ "ends_in_time, a guest that goes", ends_in_time, NULL, NULL, (void *)a_guest_that_goes },
		{ "ends_in_time, what was promised", ends_in_time, NULL, NULL, (void *)what_was_promised },
		{ "ends_in_time, what is given up", ends_in_time, NULL, NULL, (void *)what_is_given_up },
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
