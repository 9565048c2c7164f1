/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients that share one device and nothing else count in it by compare-and-write: each reads a counter, and replaces it by the
 * next number if it is still what was read. Counters are of one to three blocks; between them others write, some requests are
 * cancelled, and where the device is a server's, that is killed now and then. No count is lost, none is made twice, and all come
 * to an end. Every seed runs twice, with equal traces.
 *
 * `sim_compare_test [SEEDS [FIRST]]`
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

#include "lib/lib.h"
#include "sim/party.h"

#define DISK "/disk.img"
#define OTHER "/other.img"
#define BLOCK 512u
#define WORDS (BLOCK / 8)
#define CLIENTS 4u
#define COUNTERS 3u                 /* the c-th has c + 1 blocks, the first of them at the end of */
#define PLACE 4096u                 /* so many bytes: where a stripe has its seam */
#define COUNTS 25u                  /* of each client */
#define LONGEST (COUNTERS * BLOCK)
#define SERVER "vhost-user:/vm.sock,queues=4,device=[file:" DISK ",lock-wait=1s]"

extern const struct weft_module weft_module; /* tests/broken: what breaks promises on purpose */

static unsigned long seeds = 40, first_seed = 1;

enum doing { RESTS, READS, COMPARES, WRITES };

struct client {
	struct weft_queue *queue;
	enum doing doing;
	unsigned counter, left;
	bool torn;                  /* the last read saw a counter that never was */
	bool cancelled;
	uint64_t was[LONGEST / 8], is[LONGEST / 8];
};

struct scenario {
	struct sim_world *world;
	struct env *env;
	struct weft *weft;
	struct weft_device *device;
	struct client client[CLIENTS];
	unsigned clients;
	uint64_t counted[COUNTERS], unsure[COUNTERS]; /* unsure: cancelled, and may have happened */
	unsigned late, torn;
	struct party server;        /* where there is one */
	bool served, cancels;
	unsigned kills_left, kills;
};

static uint64_t length_of(unsigned counter)
{
	return (counter + 1) * BLOCK;
}

static uint64_t offset_of(unsigned counter)
{
	return (counter + 1) * PLACE - BLOCK;
}

/* ---- a client ---- */

static void begin_write(struct client *client)
{
	memset(client->is, 0x77, BLOCK);
	client->doing = WRITES;
	assert_int_equal(weft_queue_write(client->queue, offset_of(client->counter) + length_of(client->counter), client->is, BLOCK,
		NULL, 0), 0);
}

static void begin_read(struct client *client)
{
	client->doing = READS;
	assert_int_equal(weft_queue_read(client->queue, offset_of(client->counter), client->was, length_of(client->counter), NULL,
		0), 0);
}

static void begin(struct scenario *s, struct client *client)
{
	client->counter = (unsigned)(sim_rand(s->world) % COUNTERS);
	if (sim_chance(s->world, 1, 4))
		begin_write(client);
	else
		begin_read(client);
}

/* Each block holds one number, all over; when all blocks hold the same it is the counter's. */
static void has_read(struct scenario *s, struct client *client)
{
	unsigned words = (unsigned)(length_of(client->counter) / 8);

	client->torn = false;
	for (unsigned i = 0; i < words; i++) {
		assert_true(client->was[i] == client->was[i / WORDS * WORDS]);
		client->torn |= client->was[i] != client->was[0];
		client->is[i] = client->was[0] + 1;
	}
	s->torn += client->torn;
	client->doing = COMPARES;
	client->cancelled = false;
	assert_int_equal(weft_queue_compare_write(client->queue, offset_of(client->counter), client->was, client->is, words * 8,
		NULL, sim_chance(s->world, 1, 4) ? WEFT_FUA : 0), 0);
}

static void has_compared(struct scenario *s, struct client *client, int status)
{
	client->doing = RESTS;
	if (status == 0) {
		assert_false(client->torn);
		s->counted[client->counter]++;
		client->left--;
	} else if (status == -EILSEQ) {
		s->late++;
	} else {
		assert_true(status == -ECANCELED && client->cancelled);
		s->unsure[client->counter]++;
	}
}

static void step(struct scenario *s, struct client *client)
{
	struct weft_completion done;

	if (client->doing == RESTS) {
		if (client->left > 0)
			begin(s, client);
		return;
	}
	if (s->cancels && client->doing == COMPARES && !client->cancelled && sim_chance(s->world, 1, 30)) {
		client->cancelled = true;
		weft_queue_cancel_all(client->queue);
	}
	if (weft_queue_poll(client->queue, &done, 1) == 0)
		return;
	if (client->doing == COMPARES) {
		has_compared(s, client, done.status);
		return;
	}
	assert_int_equal(done.status, 0);
	if (client->doing == READS)
		has_read(s, client);
	else
		client->doing = RESTS;
}

/* ---- the server ---- */

static void server_open(struct scenario *s)
{
	enum weft_mode mode = (enum weft_mode)(sim_rand(s->world) % 3);

	party_open(&s->server, s->world, "server", 1 + (unsigned)(sim_rand(s->world) % 2), mode);
	party_build(&s->server, SERVER, &weft_export_iface);
}

/* Now and then it dies; then somebody starts it again. */
static void server_tend(struct scenario *s)
{
	if (!party_alive(&s->server) && sim_chance(s->world, 1, 10)) {
		party_forget(&s->server);
		server_open(s);
	} else if (party_alive(&s->server) && s->kills_left > 0 && sim_chance(s->world, 1, 100)) {
		s->kills_left--;
		s->kills++;
		sim_node_kill(s->server.env);
	}
}

static void server_close(struct scenario *s)
{
	if (!party_alive(&s->server)) {
		party_forget(&s->server);
		server_open(s);
	}
	party_wait(&s->server);
	party_close(&s->server);
}

/* ---- a scenario ---- */

static void open_all(struct scenario *s, const char *device)
{
	struct weft_settings settings;
	struct weft_why why = { "" };

	sim_file_make(s->world, DISK, 1 << 20);
	sim_file_make(s->world, OTHER, 1 << 20);
	sim_file_latency(s->world, DISK, 1000, 200000);
	sim_file_latency(s->world, OTHER, 1000, 200000);
	s->server.world = s->world;
	if (s->served) {
		server_open(s);
		party_wait(&s->server);
		s->kills_left = 1 + (unsigned)(sim_rand(s->world) % 3);
	}
	s->env = sim_node_open(s->world, "program");
	weft_settings_init(&settings);
	settings.service = 1 + (unsigned)(sim_rand(s->world) % 2);
	settings.mode = (uint32_t)(sim_rand(s->world) % 3);
	assert_int_equal(weft_open_in(s->env, &settings, &s->weft, &why), 0);
	assert_int_equal(weft_module_add(s->weft, &weft_module, &why), 0);
	if (weft_device_open(s->weft, device, &s->device, &why) != 0)
		fail_msg("%s", why.text);
	s->clients = 2 + (unsigned)(sim_rand(s->world) % (CLIENTS - 1));
	for (unsigned i = 0; i < s->clients; i++) {
		s->client[i].left = COUNTS;
		assert_int_equal(weft_queue_open(s->device, NULL, NULL, &s->client[i].queue, &why), 0);
	}
}

static bool is_at_end(const struct scenario *s)
{
	for (unsigned i = 0; i < s->clients; i++)
		if (s->client[i].left > 0 || s->client[i].doing != RESTS)
			return false;
	return true;
}

static void run(struct scenario *s)
{
	for (unsigned turns = 0; !is_at_end(s); turns++) {
		assert_in_range(turns, 0, 200000);
		step(s, &s->client[sim_rand(s->world) % s->clients]);
		for (uint64_t n = sim_rand(s->world) % 8; n > 0; n--)
			sim_step(s->world);
		if (s->served)
			server_tend(s);
	}
}

/* What the device holds is what was counted. */
static bool adds_up(struct scenario *s)
{
	struct client *client = &s->client[0];
	struct weft_completion done;

	for (unsigned c = 0; c < COUNTERS; c++) {
		client->counter = c;
		begin_read(client);
		while (weft_queue_poll(client->queue, &done, 1) == 0)
			sim_step(s->world);
		assert_int_equal(done.status, 0);
		for (unsigned i = 0; i < length_of(c) / 8; i++)
			if (client->was[i] < s->counted[c] || client->was[i] > s->counted[c] + s->unsure[c])
				return false;
	}
	return true;
}

static void close_all(struct scenario *s)
{
	for (unsigned i = 0; i < s->clients; i++)
		assert_int_equal(weft_queue_close(s->client[i].queue, NULL), 0);
	assert_int_equal(weft_device_close(s->device, NULL), 0);
	assert_int_equal(weft_close(s->weft, NULL), 0);
	sim_node_close(s->env);
	if (s->served)
		server_close(s);
	sim_files_settle(s->world);
}

struct seen {
	unsigned late, torn, kills, unsure;
};

/* right: the answer, for a device that is broken on purpose; NULL: it must be. */
static uint64_t run_seed(uint64_t seed, const char *device, struct seen *seen, bool *right)
{
	struct scenario s = { .world = sim_world_open(seed), .served = strstr(device, "vhost-user") != NULL,
		.cancels = strstr(device, "delay") != NULL };
	uint64_t trace;
	bool well;

	open_all(&s, device);
	run(&s);
	well = adds_up(&s);
	if (right != NULL)
		*right = well;
	else if (!well)
		fail_msg("seed %llu: what the device holds is not what was counted", (unsigned long long)seed);
	close_all(&s);
	seen->late += s.late;
	seen->torn += s.torn;
	seen->kills += s.kills;
	for (unsigned c = 0; c < COUNTERS; c++)
		seen->unsure += (unsigned)s.unsure[c];
	trace = sim_trace_hash(s.world);
	sim_world_close(s.world);
	return trace;
}

static struct seen no_count_is_lost_on(const char *device, unsigned long n)
{
	struct seen seen = { 0 }, again = { 0 };

	for (uint64_t seed = first_seed; seed < first_seed + n; seed++)
		assert_true(run_seed(seed, device, &seen, NULL) == run_seed(seed, device, &again, NULL));
	fprintf(stderr, "%lu seeds, %u times too late, %u torn reads, %u cancelled, %u kills\n", n, seen.late, seen.torn,
		seen.unsure, seen.kills);
	assert_true(seen.late > 10 * n); /* else nobody met anybody */
	return seen;
}

static void no_count_is_lost_on_a_file(void **state)
{
	(void)state;
	no_count_is_lost_on("compare-write:[file:" DISK "]", seeds);
}

/* Reads find one half of a counter before, and the other half after it was written: what never was is never equal. */
static void no_count_is_lost_on_a_stripe_where_reads_are_torn(void **state)
{
	struct seen seen = no_count_is_lost_on("compare-write:[stripe:[file:" DISK "],[file:" OTHER "],chunk=4KiB]", seeds);

	(void)state;
	assert_true(seen.torn > seeds / 4);
}

static void no_count_is_lost_when_requests_are_cancelled(void **state)
{
	struct seen seen = no_count_is_lost_on("slice:[compare-write:[delay:[file:" DISK "],all=50us,jitter=50us]]", seeds);

	(void)state;
	assert_true(seen.unsure > seeds);
}

/* The operation does not pass through vhost-user; the layer above the initiator has it for all clients of this program. */
static void no_count_is_lost_when_the_server_below_is_killed(void **state)
{
	struct seen seen = no_count_is_lost_on("compare-write:[vhost-user:/vm.sock,reconnect=1ms]", seeds);

	(void)state;
	assert_true(seen.kills >= seeds / 2);
}

/* Else what is above would say nothing. */
static void a_device_that_lets_others_in_between_is_found(void **state)
{
	struct seen seen = { 0 };
	unsigned found = 0;

	(void)state;
	for (uint64_t seed = first_seed; seed < first_seed + 50; seed++) {
		bool right = true;

		run_seed(seed, "broken:[file:" DISK "],how=racy-compare", &seen, &right);
		found += !right;
	}
	fprintf(stderr, "found in %u of 50 seeds\n", found);
	assert_true(found >= 40);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_count_is_lost_on_a_file),
		cmocka_unit_test(no_count_is_lost_on_a_stripe_where_reads_are_torn),
		cmocka_unit_test(no_count_is_lost_when_requests_are_cancelled),
		cmocka_unit_test(no_count_is_lost_when_the_server_below_is_killed),
		cmocka_unit_test(a_device_that_lets_others_in_between_is_found),
	};

	if (argc > 1)
		seeds = strtoul(argv[1], NULL, 10);
	if (argc > 2)
		first_seed = strtoul(argv[2], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
