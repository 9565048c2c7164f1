/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A copy is killed at any moment, or the power goes, or a disk fails; it is begun again until it ends well. Whatever the state
 * file says is copied is there, after loss of power too (cli/copy.h, C2), and at the end all is. Every seed runs twice, with
 * equal traces.
 *
 * `sim_copy_test [SEEDS [FIRST]]`
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/copy.h"
#include "sim/party.h"

#define SOURCE "/source.img"
#define TARGET "/target.img"
#define STATE "/state"
#define SIZE (1u << 20)
#define PAGE 4096u

static unsigned long seeds = 300, first_seed = 1;

/* How the copies of a test end before they should. */
enum harm { HARM_NONE, HARM_KILL, HARM_POWER, HARM_ERROR, HARM_STOP };

struct run {
	struct sim_world *world;
	struct party party;
	struct copy copy;
	struct weft_msg stop_msg;
	bool ended;
	int status;
	unsigned mark; /* steps */
	uint8_t source[SIZE];
};

static struct run run;

/* ---- what is copied ---- */

/* Runs of pages: data, zeroes that are written, holes. The destination is full of something else, or has holes of its own. */
static void images_make(void)
{
	static char bytes[SIZE];
	struct env *env = sim_node_open(run.world, "before");
	struct weft_why why;

	for (unsigned page = 0; page < SIZE / PAGE;) {
		unsigned n = 1 + (unsigned)(sim_rand(run.world) % 24);
		bool data = sim_chance(run.world, 1, 2);

		for (; n > 0 && page < SIZE / PAGE; n--, page++)
			for (unsigned i = 0; i < PAGE; i += 8) {
				uint64_t word = data ? sim_rand(run.world) : 0;

				memcpy(run.source + page * PAGE + i, &word, 8);
			}
	}
	env_file_write(env, SOURCE, (const char *)run.source, SIZE, &why);
	for (unsigned page = 0; page < SIZE / PAGE; page++)
		memset(bytes + page * PAGE, sim_chance(run.world, 2, 3) ? 'x' : 0, PAGE);
	env_file_write(env, TARGET, bytes, SIZE, &why);
	sim_node_close(env);
}

static void options_choose(struct copy_options *o)
{
	*o = (struct copy_options){ .piece_bytes = PAGE << sim_rand(run.world) % 5, .depth = 1 + sim_rand(run.world) % 6,
		.queues = 1 + sim_rand(run.world) % 2, .checkpoint_ns = 1000000,
		.ahead_bytes = sim_chance(run.world, 1, 2) ? COPY_AHEAD : 16 * PAGE, .sparse = sim_chance(run.world, 1, 2),
		.verify = sim_chance(run.world, 1, 2), .resume = STATE };
}

/* ---- one attempt ---- */

static void copy_ended(struct copy *copy, int status)
{
	(void)copy;
	run.ended = true;
	run.status = status;
}

static void begin(void *self)
{
	struct weft_why why = { "" };

	(void)self;
	assert_int_equal(copy_check(&run.copy, &why), 0);
	copy_begin(&run.copy);
}

static void stop(void *self)
{
	copy_stop(self);
}

static bool has_ended(void *arg)
{
	(void)arg;
	return run.ended;
}

static bool has_come(void *arg)
{
	(void)arg;
	return run.ended || run.mark-- == 0;
}

static void state_load(struct copy_state *state)
{
	struct weft_why why = { "" };

	*state = (struct copy_state){ 0 };
	if (!sim_file_exists(run.world, STATE))
		return;
	if (copy_state_parse(sim_file_bytes(run.world, STATE), sim_file_size(run.world, STATE), SOURCE, TARGET, STATE, state,
			&why) != 0)
		fail_msg("%s", why.text);
}

static void attempt_open(const struct copy_options *o)
{
	struct weft_why why = { "" };

	memset(&run.copy, 0, sizeof(run.copy));
	party_open(&run.party, run.world, "copier", (unsigned)o->queues, WEFT_MODE_NOTIFY);
	run.copy.core = run.party.core;
	run.copy.options = *o;
	run.copy.source_text = SOURCE;
	run.copy.target_text = TARGET;
	run.copy.ended = copy_ended;
	state_load(&run.copy.before);
	assert_int_equal(copy_open(&run.copy, &why), 0);
	party_must_build(&run.party, "file:" SOURCE ",readonly=on", &weft_blk_iface);
	party_must_build(&run.party, "file:" TARGET, &weft_blk_iface);
	run.copy.source = weft_object_query(run.party.object[0], &weft_blk_iface);
	run.copy.target = weft_object_query(run.party.object[1], &weft_blk_iface);
	run.ended = false;
	party_on(&run.party, 0, begin, NULL);
}

static void attempt_close(void)
{
	if (!run.ended)
		assert_true(sim_run(run.world, has_ended, NULL, 10000000));
	copy_free(&run.copy);
	party_close(&run.party);
}

/* The state file is true of what the disk holds. */
static void state_check(void)
{
	const uint8_t *target = (const uint8_t *)sim_file_bytes(run.world, TARGET);
	struct copy_state state;

	state_load(&state);
	for (unsigned i = 0; i < state.n; i++)
		for (uint64_t at = state.range[i].from; at < state.range[i].to; at++)
			if (target[at] != run.source[at])
				fail_msg("byte %llu is said to be copied", (unsigned long long)at);
}

static void harm(enum harm how)
{
	static const uint8_t ops[] = { WEFT_WRITE, WEFT_ZERO, WEFT_FLUSH };

	run.mark = (unsigned)(sim_rand(run.world) % 1500);
	sim_file_mend(run.world, TARGET);
	if (how == HARM_ERROR)
		sim_file_fault(run.world, TARGET, ops[sim_rand(run.world) % 3], 1 + (unsigned)(sim_rand(run.world) % 20),
			SIM_FAULT_ERROR, -EIO);
	else
		sim_run(run.world, has_come, NULL, 10000000);
	if (run.ended || how == HARM_ERROR || how == HARM_NONE) {
		attempt_close();
	} else if (how == HARM_STOP) {
		run.stop_msg = (struct weft_msg){ .fn = stop, .self = &run.copy };
		weft_reactor_post(run.party.core->reactor[0], &run.stop_msg);
		attempt_close();
		assert_true(run.status == 0 || run.status == -EINTR);
	} else {
		sim_node_kill(run.party.env);
		party_forget(&run.party);
		sim_files_settle(run.world);
		if (how == HARM_POWER)
			sim_power_loss(run.world, TARGET);
		run.status = -EIO;
	}
}

static uint64_t run_seed(uint64_t seed, enum harm how)
{
	struct copy_options o;
	uint64_t trace;

	memset(&run, 0, sizeof(run));
	run.world = sim_world_open(seed);
	images_make();
	options_choose(&o);
	for (unsigned attempt = 0; attempt < 4; attempt++) {
		attempt_open(&o);
		harm(how);
		if (run.status == 0)
			break;
		state_check();
	}
	sim_file_mend(run.world, TARGET);
	if (run.status != 0) {
		attempt_open(&o);
		attempt_close();
	}
	assert_int_equal(run.status, 0);
	assert_memory_equal(sim_file_bytes(run.world, TARGET), run.source, SIZE);
	sim_power_loss(run.world, TARGET);
	assert_memory_equal(sim_file_bytes(run.world, TARGET), run.source, SIZE);
	assert_false(sim_file_exists(run.world, STATE));
	trace = sim_trace_hash(run.world);
	sim_world_close(run.world);
	return trace;
}

static void all_is_copied_at_last(void **state)
{
	enum harm how = (enum harm)(uintptr_t)*state;

	for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++) {
		uint64_t trace = run_seed(seed, how);

		assert_true(trace == run_seed(seed, how));
	}
}

/* C8 with a flush that nobody has asked for: the worker that does not flush stops, too, long before its end. */
static void a_flush_ahead_that_fails_stops_all_workers(void **state)
{
	static const struct copy_options o = { .piece_bytes = PAGE, .depth = 1, .queues = 2, .ahead_bytes = 8 * PAGE };

	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + 20; seed++) {
		memset(&run, 0, sizeof(run));
		run.world = sim_world_open(seed);
		images_make();
		sim_file_fault(run.world, TARGET, WEFT_FLUSH, 1, SIM_FAULT_ERROR, -EIO);
		attempt_open(&o);
		assert_true(sim_run(run.world, has_ended, NULL, 10000000));
		assert_int_equal(run.status, -EIO);
		assert_non_null(strstr(run.copy.why.text, "flushing the destination '" TARGET "' failed"));
		for (unsigned i = 0; i < o.queues; i++)
			assert_true(run.copy.worker[i].mark < run.copy.worker[i].to);
		attempt_close();
		sim_world_close(run.world);
	}
}

/* Threads of the simulated world are late for each timer. */
static void a_limit_is_kept_and_made_use_of(void **state)
{
	static const struct copy_options o = { .piece_bytes = PAGE, .depth = 8, .queues = 1, .ahead_bytes = COPY_AHEAD,
		.rate = 100u << 20 };
	const uint64_t wanted_ns = (uint64_t)SIZE * 1000000000 / o.rate, piece_ns = wanted_ns / (SIZE / PAGE);

	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + 20; seed++) {
		struct weft_why why;
		struct env *env;

		memset(&run, 0, sizeof(run));
		run.world = sim_world_open(seed);
		images_make();
		memset(run.source, 'd', SIZE); /* zeroes are not counted */
		env = sim_node_open(run.world, "before, too");
		assert_int_equal(env_file_write(env, SOURCE, (const char *)run.source, SIZE, &why), 0);
		sim_node_close(env);
		attempt_open(&o);
		assert_true(sim_run(run.world, has_ended, NULL, 10000000));
		assert_int_equal(run.status, 0);
		assert_in_range(run.copy.elapsed_ns, wanted_ns - piece_ns, wanted_ns + wanted_ns / 20);
		attempt_close();
		sim_world_close(run.world);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		{ "all_is_copied_at_last", all_is_copied_at_last, NULL, NULL, (void *)HARM_NONE },
		{ "all_is_copied_at_last, killed", all_is_copied_at_last, NULL, NULL, (void *)HARM_KILL },
		{ "all_is_copied_at_last, without power", all_is_copied_at_last, NULL, NULL, (void *)HARM_POWER },
		{ "all_is_copied_at_last, the disk fails", all_is_copied_at_last, NULL, NULL, (void *)HARM_ERROR },
		{ "all_is_copied_at_last, stopped", all_is_copied_at_last, NULL, NULL, (void *)HARM_STOP },
		cmocka_unit_test(a_flush_ahead_that_fails_stops_all_workers),
		cmocka_unit_test(a_limit_is_kept_and_made_use_of),
	};

	if (argc > 1)
		seeds = strtoul(argv[1], NULL, 10);
	if (argc > 2)
		first_seed = strtoul(argv[2], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
