/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A front end whose requests are chains as long as their ring: a server has room for one at a time, so those of two rings take
 * turns. The server is killed between two of its stores to shared memory, again and again, and started anew: each request is
 * answered once, and each read finds what was written last. Every seed runs twice, with equal traces.
 *
 * `sim_long_chain_test [SEEDS [FIRST]]`
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "sim/party.h"
#include "wire/shm.h"
#include "wire/vhost_user.h"
#include "wire/virtio_blk.h"
#include "wire/virtq_drv.h"

#define DISK "/disk.img"
#define SOCKET "/vm.sock"
/* A ring's part of the disk, which each of its requests moves as a whole. */
#define DATA 8192u

enum { RINGS = 2, NUM = 2048, REQUESTS = 8, PIECES = NUM - 2, DRIVER_AT = 64 << 10, DEVICE_AT = 96 << 10, HEADER_AT = 160 << 10,
	STATUS_AT = HEADER_AT + 16, DATA_AT = HEADER_AT + 33, SLICE = 256 << 10, LOOK_NS = 20000 };

static unsigned long seeds = 100, first_seed = 1;
static uint64_t at_seed; /* told when the process aborts */

struct ring {
	struct virtq_drv drv;
	struct virtq_drv_slot slots[NUM];
	struct env_notifier *kick, *call;
	uint8_t *base;                 /* SLICE bytes */
	unsigned sent, answered;
};

struct front {
	struct scenario *scenario;
	struct env *env;
	struct env_loop *loop;
	struct env_stream *stream;     /* NULL: not connected */
	struct env_mapping *mapping;
	int memory_fd, area_fd;
	struct ring ring[RINGS];
	bool packed, leaves;
};

struct scenario {
	struct sim_world *world;
	struct party server;
	struct front *front;
	unsigned kills_left, kills, in_flight; /* in_flight: kills of a server that had not answered something */
	uint64_t stores_left;          /* of the server, until it is killed; 0: it is not */
};

static struct scenario *running; /* for the hook, which has no argument of its own */

/* ---- the front end ---- */

static void fill(uint8_t *data, unsigned ring, unsigned version)
{
	for (uint32_t i = 0; i < DATA; i++)
		data[i] = version == 0 ? 0 : (uint8_t)(i / 512 * 31 + i * 7 + ring * 101 + version * 13);
}

/* Of a request's number: writes and reads in turn. */
static unsigned version_of(unsigned request)
{
	return (request + 1) / 2;
}

static bool is_write(unsigned request)
{
	return request % 2 == 0;
}

static void say(struct front *f, uint32_t request, const void *payload, uint32_t size, int fd)
{
	struct vhost_user_msg msg;

	vhost_user_request(&msg, request, size, false);
	memcpy(msg.payload.bytes, payload, size);
	env_stream_write(f->stream, &msg.header, sizeof(msg.header) + size, &fd, fd >= 0); /* in vain: its end will be read */
}

static void say_u64(struct front *f, uint32_t request, uint64_t value, int fd)
{
	say(f, request, &value, sizeof(value), fd);
}

static void say_state(struct front *f, uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state state = { index, num };

	say(f, request, &state, sizeof(state), -1);
}

static void give_ring(struct front *f, unsigned index)
{
	struct ring *ring = &f->ring[index];
	uintptr_t base = (uintptr_t)ring->base;
	struct vhost_user_vring_addr addr = { .index = index, .desc = base, .avail = base + DRIVER_AT, .used = base + DEVICE_AT };

	say_state(f, VHOST_USER_SET_VRING_NUM, index, NUM);
	say_state(f, VHOST_USER_SET_VRING_BASE, index, f->packed ? 0x80008000 : 0); /* once it is used, the area knows better */
	say(f, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), -1);
	say_u64(f, VHOST_USER_SET_VRING_CALL, index, env_notifier_fd(ring->call));
	say_u64(f, VHOST_USER_SET_VRING_KICK, index, env_notifier_fd(ring->kick));
	say_state(f, VHOST_USER_SET_VRING_ENABLE, index, 1);
}

static void give_all(struct front *f)
{
	struct vhost_user_memory table = { .nregions = 1, .regions = { { .size = RINGS * SLICE,
		.uva = (uintptr_t)env_mapping_base(f->mapping) } } };
	struct vhost_user_inflight area = { .mmap_size = RINGS * virtq_inflight_size(f->packed, NUM), .num_queues = RINGS,
		.queue_size = NUM };

	say_u64(f, VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_P(MQ) | VHOST_USER_P(INFLIGHT_SHMFD), -1);
	say_u64(f, VHOST_USER_SET_FEATURES, VIRTIO_F(PROTOCOL_FEATURES) | VIRTIO_F(VERSION_1) | VIRTIO_BLK_F(FLUSH) |
		(f->packed ? VIRTIO_F(RING_PACKED) : 0), -1);
	say(f, VHOST_USER_SET_INFLIGHT_FD, &area, sizeof(area), f->area_fd);
	say(f, VHOST_USER_SET_MEM_TABLE, &table, 8 + sizeof(table.regions[0]), f->memory_fd);
	for (unsigned i = 0; i < RINGS; i++)
		give_ring(f, i);
}

/* A request in as many buffers as the ring has entries, of a few bytes each, on any address. */
static void send(struct front *f, struct ring *ring)
{
	static struct virtq_buf bufs[NUM];
	unsigned index = (unsigned)(ring - f->ring);
	bool write = is_write(ring->sent);
	struct virtio_blk_req_header header = { .type = write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, .sector = index * DATA / 512 };
	uint64_t gpa = (uint64_t)index * SLICE;
	uint32_t at = 0;

	memcpy(ring->base + HEADER_AT, &header, sizeof(header));
	ring->base[STATUS_AT] = 0xff;
	fill(ring->base + DATA_AT, index, write ? version_of(ring->sent) + 1 : 99);
	bufs[0] = (struct virtq_buf){ gpa + HEADER_AT, sizeof(header) };
	for (unsigned i = 0; i < PIECES; i++) {
		uint32_t len = i + 1 < PIECES ? 1 + i % 7 : DATA - at;

		bufs[1 + i] = (struct virtq_buf){ gpa + DATA_AT + at, len };
		at += len;
	}
	bufs[1 + PIECES] = (struct virtq_buf){ gpa + STATUS_AT, 1 };
	assert_true(virtq_drv_add(&ring->drv, bufs, write ? 1 + PIECES : 1, write ? 1 : 1 + PIECES, NULL, ring) >= 0);
	ring->sent++;
	virtq_drv_publish(&ring->drv);
}

static void take(struct front *f, struct ring *ring)
{
	static uint8_t expected[DATA];
	struct virtq_done done;
	int got = virtq_drv_take(&ring->drv, &done);

	assert_true(got >= 0); /* not once more, or of another ring */
	if (got == 0)
		return;
	assert_int_equal(ring->base[STATUS_AT], VIRTIO_BLK_S_OK);
	fill(expected, (unsigned)(ring - f->ring), version_of(ring->answered + 1));
	assert_memory_equal(ring->base + DATA_AT, expected, DATA);
	ring->answered++;
}

static void connect(struct front *f)
{
	struct weft_why why;

	if (env_connect(f->loop, "unix:" SOCKET, &f->stream, &why) != 0)
		f->stream = NULL;
	else
		give_all(f);
}

static bool is_cut_off(struct front *f)
{
	uint8_t byte;
	unsigned nfds = 0;
	int64_t got = env_stream_read(f->stream, &byte, 1, NULL, &nfds);

	assert_true(got <= 0); /* nothing was asked */
	return got != -EAGAIN;
}

static uint64_t front_step(void *self, uint64_t now_ns)
{
	struct front *f = self;

	(void)now_ns;
	env_loop_poll(f->loop);
	if (f->leaves)
		return ENV_STOP;
	if (f->stream == NULL)
		connect(f);
	if (f->stream != NULL && is_cut_off(f)) {
		env_stream_close(f->stream);
		f->stream = NULL;
	}
	for (unsigned i = 0; i < RINGS; i++) {
		struct ring *ring = &f->ring[i];

		take(f, ring);
		if (ring->sent == ring->answered && ring->sent < REQUESTS) {
			send(f, ring);
			env_notifier_signal(ring->kick);
		}
	}
	return LOOK_NS;
}

static void ring_open(struct front *f, unsigned index)
{
	struct ring *ring = &f->ring[index];
	struct virtq_drv_config config = { .num = NUM, .packed = f->packed, .slots = ring->slots };

	ring->base = (uint8_t *)env_mapping_base(f->mapping) + (size_t)index * SLICE;
	config.desc = ring->base;
	config.driver = ring->base + DRIVER_AT;
	config.device = ring->base + DEVICE_AT;
	assert_int_equal(virtq_drv_init(&ring->drv, &config), 0);
	assert_int_equal(env_notifier_open(f->env, -1, &ring->kick), 0);
	assert_int_equal(env_notifier_open(f->env, -1, &ring->call), 0);
}

static struct front *front_open(struct scenario *s, bool packed)
{
	struct front *f = test_calloc(1, sizeof(*f));
	struct weft_why why;

	*f = (struct front){ .scenario = s, .env = sim_node_open(s->world, "front"), .packed = packed };
	assert_int_equal(env_loop_open(f->env, &f->loop, &why), 0);
	assert_int_equal(env_shm_create(f->env, "memory", RINGS * SLICE, &f->memory_fd), 0);
	assert_int_equal(env_shm_create(f->env, "area", RINGS * virtq_inflight_size(packed, NUM), &f->area_fd), 0);
	assert_int_equal(env_map(f->env, f->memory_fd, 0, RINGS * SLICE, true, &f->mapping, &why), 0);
	for (unsigned i = 0; i < RINGS; i++)
		ring_open(f, i);
	sim_thread_add(f->env, f->loop, front_step, f);
	return f;
}

static void front_close(struct front *f)
{
	sim_node_kill(f->env);
	test_free(f);
}

/* ---- the server ---- */

static bool front_waits(const struct front *f)
{
	return f != NULL && (f->ring[0].sent > f->ring[0].answered || f->ring[1].sent > f->ring[1].answered);
}

static void kill_between_stores(enum shm_kind kind, const void *address, size_t bytes)
{
	struct scenario *s = running;

	(void)address;
	(void)bytes;
	if (kind == SHM_LOAD || kind == SHM_COPY_IN || s->stores_left == 0 || sim_node_here(s->world) != s->server.env)
		return;
	if (--s->stores_left == 0) {
		s->kills_left--;
		s->kills++;
		s->in_flight += front_waits(s->front);
		sim_kill_here(s->world);
	}
}

static void server_start(struct scenario *s)
{
	party_open(&s->server, s->world, "server", 1, (enum weft_mode)(sim_rand(s->world) % 3));
	/* In a packed ring each descriptor is noted by two stores; else a chain takes some ten in all. */
	s->stores_left = s->kills_left > 0 ? 1 + sim_rand(s->world) % (s->front->packed ? 4 * 2 * NUM : 60) : 0;
	party_build(&s->server, "vhost-user:" SOCKET ",queues=2,device=[file:" DISK ",lock-wait=1s]", &weft_export_iface);
}

static bool all_answered(void *arg)
{
	struct scenario *s = arg;

	if (!party_alive(&s->server)) {
		party_forget(&s->server);
		server_start(s);
	}
	for (unsigned i = 0; i < RINGS; i++)
		if (s->front->ring[i].answered < REQUESTS)
			return false;
	return true;
}

static bool server_waits(void *arg)
{
	struct scenario *s = arg;

	return all_answered(s) && !s->server.busy;
}

static void check_disk(const struct scenario *s)
{
	static uint8_t expected[DATA];

	for (unsigned i = 0; i < RINGS; i++) {
		fill(expected, i, version_of(REQUESTS));
		assert_memory_equal(sim_file_bytes(s->world, DISK) + (size_t)i * DATA, expected, DATA);
	}
}

struct tally {
	unsigned kills, in_flight;
};

static uint64_t run_seed(uint64_t seed, bool packed, struct tally *tally)
{
	struct scenario s = { .world = sim_world_open(seed) };
	uint64_t trace;

	running = &s;
	shm_hook = kill_between_stores;
	sim_file_make(s.world, DISK, RINGS * DATA);
	s.kills_left = 1 + (unsigned)(sim_rand(s.world) % 4);
	s.front = front_open(&s, packed);
	server_start(&s);
	assert_true(sim_run(s.world, all_answered, &s, 3000000));
	s.stores_left = s.kills_left = 0;
	assert_true(sim_run(s.world, server_waits, &s, 3000000));
	sim_files_settle(s.world);
	check_disk(&s);
	front_close(s.front);
	party_close(&s.server);
	trace = sim_trace_hash(s.world);
	tally->kills += s.kills;
	tally->in_flight += s.in_flight;
	sim_world_close(s.world);
	shm_hook = NULL;
	return trace;
}

static void each_is_answered_once(bool packed)
{
	struct tally tally = { 0, 0 };

	for (uint64_t seed = first_seed; seed < first_seed + seeds; seed++) {
		uint64_t trace;

		at_seed = seed;
		trace = run_seed(seed, packed, &tally);
		assert_true(trace == run_seed(seed, packed, &tally));
	}
	fprintf(stderr, "%lu seeds, %u kills, %u with requests in flight\n", seeds, tally.kills / 2, tally.in_flight / 2);
	assert_true(tally.in_flight / 2 >= seeds / 2);
}

static void split_rings(void **state)
{
	(void)state;
	each_is_answered_once(false);
}

static void packed_rings(void **state)
{
	(void)state;
	each_is_answered_once(true);
}

static void aborted(int signal)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "seed %llu\n", (unsigned long long)at_seed);

	if (write(STDERR_FILENO, line, (size_t)n) == n)
		raise(signal);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(split_rings), cmocka_unit_test(packed_rings) };

	sigaction(SIGABRT, &(struct sigaction){ .sa_handler = aborted, .sa_flags = SA_RESETHAND }, NULL);
	if (argc > 1)
		seeds = strtoul(argv[1], NULL, 10);
	if (argc > 2)
		first_seed = strtoul(argv[2], NULL, 10);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
