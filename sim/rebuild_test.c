/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A mirror under a load is killed, or stopped, or loses its power, at any moment, a rebuild's among them, again and again; legs
 * fail besides.
 * Each time every leg that the record calls in sync holds what was acknowledged (after a loss of power: what was flushed); at last
 * the mirror is left in peace, and then its legs are equal, byte by byte. Every seed runs twice, with equal traces.
 *
 * `sim_rebuild_test [SEEDS [FIRST]]`
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <inttypes.h>

#include "devices/mirror/mirror.h"
#include "sim/party.h"

#define LEG_A "/a.img"
#define LEG_B "/b.img"
#define STATE "/state"
#define MIRROR(before, behind) "mirror:[" before "file:" LEG_A ",lock-wait=1s" behind "]," \
	"[" before "file:" LEG_B ",lock-wait=1s" behind "],state=" STATE ",region="
#define LOAD_SIZE (LOAD_CELLS * LOAD_CELL)
/* A large one is a single region, copied by three errands of several pieces each. The load has a small part of it: where the copy
 * begins, where one errand ends and the next one begins, or where it ends. */
#define LARGE_SIZE (3u * MIRROR_CHUNK)
static const uint64_t large_at[] = { 0, MIRROR_CHUNK - LOAD_SIZE / 2, LARGE_SIZE - LOAD_SIZE };

static unsigned long seeds = 500, first_seed = 1;
static const char *const legs[] = { LEG_A, LEG_B };

struct scenario {
	struct sim_world *world;
	struct party machine;
	struct load *load;
	unsigned answers, steps;       /* until the end of a round: that many answers, then so many steps */
	bool live[2], all_read, idle;  /* as described */
	bool homes;                    /* each leg lives at a reactor */
	bool large;
	uint64_t size, load_at;        /* of the disk */
	unsigned amid;                 /* rounds that ended amid a rebuild */
};

static void look(void *self, const char *name, const char *value)
{
	struct scenario *s = self;

	if (strncmp(name, "leg ", 4) == 0)
		s->live[name[4] - '0'] = strstr(value, "live") != NULL;
	if (strcmp(name, "reads") == 0)
		s->all_read = strcmp(value, "all legs") == 0;
	if (strcmp(name, "rebuild") == 0)
		s->idle = strncmp(value, "idle", 4) == 0;
}

static struct weft_object *mirror_of(const struct scenario *s)
{
	return objects_below(s->machine.object[0], 0, NULL); /* the load's part of it is on top */
}

static const char *load_bytes(const struct scenario *s, unsigned leg)
{
	return sim_file_bytes(s->world, legs[leg]) + s->load_at;
}

static void describe(struct scenario *s)
{
	struct weft_object *mirror = mirror_of(s);

	mirror->kind->describe(mirror, look, s);
}

static bool round_ends(void *arg)
{
	struct scenario *s = arg;

	return load_answers(s->load) >= s->answers && s->steps-- == 0;
}

static bool is_whole(void *arg)
{
	struct scenario *s = arg;

	if (!load_ended(s->load))
		return false;
	describe(s);
	return s->live[0] && s->live[1] && s->all_read && s->idle;
}

static void look_home(void *self, const char *name, const char *value)
{
	if (strcmp(name, "lives at reactor") == 0)
		*(unsigned *)self = (unsigned)strtoul(value, NULL, 10);
}

static unsigned home_of(const struct scenario *s, unsigned leg)
{
	const struct weft_object *home = objects_below(mirror_of(s), leg, NULL);
	unsigned lane = 0;

	home->kind->describe(home, look_home, &lane);
	return lane;
}

/* They hold the same. What nobody writes is data: holes would not be copied. */
static void make_legs(const struct scenario *s)
{
	char *data = calloc(1, s->size);
	struct weft_why why;

	assert_non_null(data);
	memset(data, 'd', s->size);
	memset(data + s->load_at, 0, LOAD_SIZE);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(env_file_write(s->machine.env, legs[i], data, s->size, &why), 0);
	free(data);
}

/* Starts the mirror, looks at what it finds, then lets `requests` come. */
static void begin(struct scenario *s, unsigned requests)
{
	struct weft_blk *blk;
	char text[256];

	party_open(&s->machine, s->world, "machine", 1 + (unsigned)(sim_rand(s->world) % 2),
		(enum weft_mode)(sim_rand(s->world) % 3));
	if (!sim_file_exists(s->world, LEG_A))
		make_legs(s);
	snprintf(text, sizeof(text), "slice:[%s%s],offset=%" PRIu64 ",size=%u", s->homes ? MIRROR("home:[", "]") : MIRROR("", ""),
		s->large ? "1MiB" : "4KiB", s->load_at, LOAD_SIZE);
	party_must_build(&s->machine, text, &weft_blk_iface);
	if (s->homes) {
		assert_int_equal(home_of(s, 0), 1);
		assert_int_equal(home_of(s, 1), s->machine.core->reactors - 1); /* the other one, if there are two */
	}
	describe(s);
	assert_true(s->live[0] || s->live[1]);
	for (unsigned i = 0; s->load != NULL && i < 2; i++)
		if (s->live[i])
			load_check_survived(s->load, load_bytes(s, i));
	blk = weft_object_query(s->machine.object[0], &weft_blk_iface);
	if (s->load == NULL)
		s->load = load_open(&s->machine, blk, 1, requests);
	else
		load_again(s->load, &s->machine, blk, 1, requests);
}

static void end_badly(struct scenario *s)
{
	bool power = sim_chance(s->world, 1, 2);

	describe(s);
	s->amid += !s->idle;
	if (load_ended(s->load) && sim_chance(s->world, 1, 2)) { /* stopped in order, amid a rebuild all the same */
		load_close_keep(s->load);
		party_close(&s->machine);
	} else {
		sim_node_kill(s->machine.env);
		party_forget(&s->machine);
	}
	sim_files_settle(s->world);
	if (power) {
		sim_power_loss(s->world, LEG_A);
		sim_power_loss(s->world, LEG_B);
		sim_power_loss(s->world, STATE);
	}
	load_was_cut_off(s->load, power);
}

/* One leg at most, and only while the other one holds everything. */
static void let_a_leg_fail(struct scenario *s)
{
	static const unsigned ops[] = { WEFT_WRITE, WEFT_WRITE, WEFT_FLUSH, WEFT_READ };

	for (unsigned i = 0; i < 2; i++)
		sim_file_mend(s->world, legs[i]);
	if (s->live[0] && s->live[1] && sim_chance(s->world, 2, 3))
		sim_file_fault(s->world, legs[sim_rand(s->world) % 2], ops[sim_rand(s->world) % 4],
			1 + (unsigned)(sim_rand(s->world) % 30), SIM_FAULT_ERROR, -EIO);
}

static bool legs_are_equal(const struct scenario *s)
{
	return memcmp(sim_file_bytes(s->world, LEG_A), sim_file_bytes(s->world, LEG_B), s->size) == 0;
}

static void open_world(struct scenario *s, uint64_t seed, bool large)
{
	*s = (struct scenario){ .world = sim_world_open(seed), .live = { true, true }, .homes = seed % 4 == 0, .large = large,
		.size = large ? LARGE_SIZE : LOAD_SIZE, .load_at = large ? large_at[seed % WEFT_COUNT(large_at)] : 0 };
}

static void end_badly_some_times(struct scenario *s)
{
	for (unsigned rounds = 1 + (unsigned)(sim_rand(s->world) % 4); rounds > 0; rounds--) {
		unsigned requests = 1 + (unsigned)(sim_rand(s->world) % 200);

		begin(s, requests);
		let_a_leg_fail(s);
		s->answers = (unsigned)(sim_rand(s->world) % (requests + 1));
		s->steps = (unsigned)(sim_rand(s->world) % 600);
		assert_true(sim_run(s->world, round_ends, s, 1000000) || load_ended(s->load)); /* and nothing was left to do */
		end_badly(s);
	}
}

/* In peace: until all is well again. */
static void end_well(struct scenario *s, unsigned requests)
{
	begin(s, requests);
	assert_true(sim_run(s->world, is_whole, s, 1000000));
	load_close_keep(s->load);
	party_close(&s->machine);
	for (unsigned i = 0; i < 2; i++)
		load_check_survived(s->load, load_bytes(s, i));
}

static uint64_t run_seed(uint64_t seed, unsigned *amid)
{
	struct scenario s;
	uint64_t trace;

	open_world(&s, seed, seed % 8 >= 4);
	end_badly_some_times(&s);
	for (unsigned i = 0; i < 2; i++)
		sim_file_mend(s.world, legs[i]);
	end_well(&s, (unsigned)(sim_rand(s.world) % 100));
	if (!legs_are_equal(&s))
		fprintf(stderr, "sim: seed %llu: legs differ\n", (unsigned long long)seed);
	assert_true(legs_are_equal(&s));
	load_forget(s.load);
	*amid = s.amid;
	trace = sim_trace_hash(s.world);
	sim_world_close(s.world);
	return trace;
}

static void whatever_ends_a_mirror_its_legs_become_equal(void **state)
{
	unsigned all = 0, amid = 0;

	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++) {
		uint64_t trace = run_seed(seed, &amid);

		all += amid;
		assert_true(trace == run_seed(seed, &amid));
	}
	fprintf(stderr, "%lu seeds, %u ends amid a rebuild\n", seeds, all);
	assert_true(all >= seeds / 4);
}

/* A rebuild one piece of which never comes to the disk, though it was acknowledged. True: the legs differ then. */
static bool run_skipping(uint64_t seed)
{
	struct scenario s;
	bool found;

	open_world(&s, seed, false);
	begin(&s, 150);
	s.answers = 20 + (unsigned)(sim_rand(s.world) % 100);
	sim_file_fault(s.world, LEG_B, WEFT_WRITE, 5, SIM_FAULT_ERROR, -EIO); /* from then on it misses what is written */
	assert_true(sim_run(s.world, round_ends, &s, 1000000));
	end_badly(&s);
	sim_file_mend(s.world, LEG_B);
	sim_file_fault(s.world, LEG_B, WEFT_WRITE, 1 + (unsigned)(sim_rand(s.world) % 4), SIM_FAULT_LOST, 0);
	begin(&s, 0);
	assert_true(sim_run(s.world, is_whole, &s, 1000000));
	load_close_keep(s.load);
	party_close(&s.machine);
	found = !legs_are_equal(&s);
	load_forget(s.load);
	sim_world_close(s.world);
	return found;
}

/* Else what is above would say nothing. */
static void a_rebuild_that_skips_a_region_is_found(void **state)
{
	unsigned found = 0;

	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + 50; seed++)
		found += run_skipping(seed);
	fprintf(stderr, "found in %u of 50 seeds\n", found);
	assert_true(found >= 20);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_ends_a_mirror_its_legs_become_equal),
		cmocka_unit_test(a_rebuild_that_skips_a_region_is_found),
	};

	if (argc > 1)
		seeds = strtoul(argv[1], NULL, 10);
	if (argc > 2)
		first_seed = strtoul(argv[2], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
