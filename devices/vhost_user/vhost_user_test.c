/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost-user: against our own export, on another node of a simulated world, which can be killed. */
#include "devices/vhost_user/server_test.h"

#include <weft/memory.h>

#include "core/reactor.h"
#include "devices/vhost_user/link.h"

#define DISK "/disk.img"
#define BLOCK 4096u
#define BLOCKS (SERVER_DISK_SIZE / BLOCK)

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	rig_open(&rig, 7, 2);
	sim_file_make(rig.world, DISK, SERVER_DISK_SIZE);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_close(&rig);
	return 0;
}

/* ---- what every device must do ---- */

static void conforms_to(const char *options, const char *device_options, unsigned lanes)
{
	for (uint64_t seed = 1; seed <= 2; seed++) {
		char text[64];

		rig_open(&rig, seed, lanes);
		server_start(&rig, "mem:1MiB", options);
		snprintf(text, sizeof(text), "vhost-user:" SOCKET "%s", device_options);
		rig_conform_here(&rig, text, 300);
		server_kill();
		rig_close(&rig);
	}
}

static void conforms_with_split_rings(void **state)
{
	(void)state;
	conforms_to("", "", 2);
}

static void conforms_with_packed_rings(void **state)
{
	(void)state;
	conforms_to("", ",packed=on", 1);
}

static void conforms_with_fewer_queues_than_reactors(void **state)
{
	(void)state;
	conforms_to(",queues=1", "", 3);
}

static void conforms_with_a_ring_that_is_always_full(void **state)
{
	(void)state;
	conforms_to("", ",depth=1", 1);
}

/* ---- the server goes away ---- */

static void fill(char *data, unsigned block, unsigned version)
{
	for (unsigned i = 0; i < BLOCK; i++)
		data[i] = (char)(block * 7 + version * 31 + i / 16);
}

enum { IN_FLIGHT = 24 };

struct write {
	struct rig_request request;
	char data[BLOCK];
};

static struct write writes[IN_FLIGHT];

static void writes_start(unsigned round)
{
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		struct write *w = &writes[i];

		w->request = (struct rig_request){ .op = WEFT_WRITE, .offset = (uint64_t)i * BLOCK, .len = BLOCK, .nsegs = 1,
			.lane = i % 2 };
		w->request.segs[0] = (struct weft_seg){ .base = w->data, .len = BLOCK };
		fill(w->data, i, round);
		rig_start(&rig, &w->request);
	}
}

static void writes_check(unsigned round)
{
	static char data[BLOCK], expected[BLOCK];

	for (unsigned i = 0; i < IN_FLIGHT; i++)
		assert_int_equal(rig_wait(&rig, &writes[i].request), 0);
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		assert_int_equal(rig_ask(&rig, WEFT_READ, 0, (uint64_t)i * BLOCK, BLOCK, data), 0);
		fill(expected, i, round);
		assert_memory_equal(data, expected, BLOCK);
	}
}

/* Killed at any step while requests are in flight, and started again: each request ends well, once. */
static void killed_at_any_step(const char *device_options)
{
	char text[64];

	server_start(&rig, "file:" DISK, "");
	snprintf(text, sizeof(text), "vhost-user:" SOCKET "%s", device_options);
	rig_make(&rig, text);
	for (unsigned round = 0; round < 40; round++) {
		uint64_t steps = rig_rand(&rig, 400);

		writes_start(round);
		for (uint64_t i = 0; i < steps; i++)
			sim_step(rig.world);
		server_kill();
		server_start(&rig, "file:" DISK, "");
		writes_check(round);
	}
	rig_unmake(&rig);
	server_kill();
}

static void a_killed_server_is_waited_for_with_split_rings(void **state)
{
	(void)state;
	killed_at_any_step("");
}

static void a_killed_server_is_waited_for_with_packed_rings(void **state)
{
	(void)state;
	killed_at_any_step(",packed=on");
}

/* Its rings are stopped and started again on the same connection. */
static void opened_again_and_again(const char *device_options)
{
	char text[64], data[512];

	server_start(&rig, "mem:1MiB", "");
	snprintf(text, sizeof(text), "vhost-user:" SOCKET "%s", device_options);
	rig_make(&rig, text);
	for (unsigned i = 0; i < 300; i++) {
		memset(data, (int)i, sizeof(data));
		assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 512 * (uint64_t)i, 512, data), 0);
		if (i % 23 == 0)
			rig_reopen(&rig);
	}
	rig_unmake(&rig);
	server_kill();
}

static void opens_again_with_split_rings(void **state)
{
	(void)state;
	opened_again_and_again("");
}

static void opens_again_with_packed_rings(void **state)
{
	(void)state;
	opened_again_and_again(",packed=on");
}

/* The server (or who else writes to the ring) tells nonsense: the connection is dropped, and everything is asked again. */
static void a_broken_ring_is_begun_anew(void **state)
{
	uint64_t again = 0;

	(void)state;
	server_start(&rig, "file:" DISK, "");
	rig_make(&rig, "vhost-user:" SOCKET);
	for (unsigned round = 0; round < 8; round++) {
		struct vu_device *device = WEFT_CONTAINER(rig.object, struct vu_device, object);
		uint16_t *used = (uint16_t *)(void *)(device->queue[round % 2].drv.device + 2);

		writes_start(round);
		for (uint64_t steps = rig_rand(&rig, 200); steps > 0; steps--)
			sim_step(rig.world);
		*used = (uint16_t)(*used + 1000);
		writes_check(round);
		again = device->queue[0].resubmitted + device->queue[1].resubmitted;
	}
	assert_true(again > 0);
	rig_unmake(&rig);
	server_kill();
}

static void requests_wait_while_the_server_is_away(void **state)
{
	struct rig_request r = { .op = WEFT_FLUSH };

	(void)state;
	server_start(&rig, "mem:1MiB", "");
	rig_make(&rig, "vhost-user:" SOCKET);
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), 0);
	server_kill();
	rig_start(&rig, &r);
	rig_run(&rig, 60000000000ull);
	assert_int_equal(r.ended, 0);
	server_start(&rig, "mem:1MiB", "");
	assert_int_equal(rig_wait(&rig, &r), 0);
	rig_unmake(&rig);
	server_kill();
}

static void timeout_fails_them_and_the_next_server_serves_again(void **state)
{
	struct rig_request r = { .op = WEFT_FLUSH };

	(void)state;
	server_start(&rig, "mem:1MiB", "");
	rig_make(&rig, "vhost-user:" SOCKET ",timeout=5s");
	server_kill();
	rig_start(&rig, &r);
	rig_run(&rig, 4000000000ull);
	assert_int_equal(r.ended, 0);
	assert_int_equal(rig_wait(&rig, &r), -EIO);
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), -EIO);
	server_start(&rig, "mem:1MiB", "");
	rig_run(&rig, 1000000000);
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), 0);
	rig_unmake(&rig);
	server_kill();
}

/* ---- requests that do not end ---- */

#define SECOND 1000000000ull

/* Memory that the server is given, so that requests in it are not copied. */
struct shared {
	struct env_mapping *mapping;
	int fd, region;
	char *base;
};

static struct shared shared_make(void)
{
	struct shared m;
	struct weft_why why;

	assert_int_equal(env_shm_create(rig.env, "test", BLOCK, &m.fd), 0);
	assert_int_equal(env_map(rig.env, m.fd, 0, BLOCK, true, &m.mapping, &why), 0);
	m.base = env_mapping_base(m.mapping);
	m.region = weft_region_add(rig.core, m.base, BLOCK, m.fd, 0, false, &why);
	assert_true(m.region > 0);
	return m;
}

static void shared_drop(struct shared *m)
{
	weft_region_remove(rig.core, m->region);
	env_unmap(m->mapping);
	env_fd_close(rig.env, m->fd);
}

static struct rig_request read_into(const struct shared *m, uint32_t deadline_us)
{
	struct rig_request r = { .op = WEFT_READ, .len = BLOCK, .nsegs = 1, .deadline_us = deadline_us };

	r.segs[0] = (struct weft_seg){ .base = m->base, .len = BLOCK, .region = (uint16_t)m->region };
	return r;
}

static bool stubborn_has_it(void *arg)
{
	(void)arg;
	return stubborn.held != NULL;
}

/* The device is there, memory is shared, and the server has taken a read in it and keeps it. */
static struct shared make_with_a_stubborn_server(const char *device_options, struct rig_request *r, uint32_t deadline_us)
{
	struct shared m = shared_make();
	char text[64];

	memset(&stubborn, 0, sizeof(stubborn));
	server_start(&rig, "stubborn", ",clients=4");
	snprintf(text, sizeof(text), "vhost-user:" SOCKET "%s", device_options);
	rig_make(&rig, text);
	*r = read_into(&m, 0);
	rig_start(&rig, r);
	assert_int_equal(rig_wait(&rig, r), 0);
	rig_run(&rig, SECOND); /* now it is shared */
	stubborn.hold = true;
	*r = read_into(&m, deadline_us);
	rig_start(&rig, r);
	assert_true(sim_run(rig.world, stubborn_has_it, NULL, 1000000));
	return m;
}

/* The server goes on at last; nothing is written to memory whose request has ended. */
static void nothing_is_written_late(struct shared *m, struct rig_request *r)
{
	static const char zeroes[BLOCK];

	memset(m->base, 1, BLOCK);
	rig_run(&rig, 100 * SECOND);
	assert_int_equal(r->ended, 0);
	stubborn_go_on();
	assert_int_equal(rig_wait(&rig, r), 0); /* too late to abort or to fail: it was carried out */
	assert_memory_equal(m->base, zeroes, BLOCK);
	memset(m->base, 1, BLOCK);
	rig_run(&rig, 100 * SECOND);
	assert_int_equal(m->base[0] + m->base[BLOCK - 1], 2);
	assert_int_equal(r->ended, 1);
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), 0);
	rig_unmake(&rig);
	shared_drop(m);
	server_kill();
}

static void an_aborted_request_ends_when_the_server_has_given_it_back(void **state)
{
	struct rig_request r;
	struct shared m = make_with_a_stubborn_server("", &r, 1000000);

	(void)state;
	nothing_is_written_late(&m, &r);
}

static void nothing_is_asked_again_of_others_while_the_server_lives(void **state)
{
	struct rig_request r, flush = { .op = WEFT_FLUSH };
	struct shared m = make_with_a_stubborn_server("", &r, 0);
	struct vu_device *device = WEFT_CONTAINER(rig.object, struct vu_device, object);
	uint16_t *used = (uint16_t *)(void *)(device->queue[0].drv.device + 2);

	(void)state;
	*used = (uint16_t)(*used + 1000);
	rig_start(&rig, &flush); /* somebody looks at the ring: the connection is given up */
	rig_run(&rig, SECOND);
	assert_true(atomic_load(&device->queue[0].broken));
	nothing_is_written_late(&m, &r);
}

/* What waits outside of the ring fails, what the server has does not. */
static void timeout_fails_only_what_the_server_does_not_have(void **state)
{
	struct rig_request r, flush = { .op = WEFT_FLUSH };
	struct shared m = make_with_a_stubborn_server(",timeout=20s", &r, 1000000);

	(void)state;
	rig_run(&rig, 10 * SECOND);
	rig_start(&rig, &flush);
	rig_run(&rig, 30 * SECOND);
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), -EIO);
	nothing_is_written_late(&m, &r);
}

/* The server lets go of what it has been left with. The other requests are asked again. */
static void an_abort_in_the_ring_ends_and_the_others_go_on(const char *device_options)
{
	struct rig_request hangs = { .op = WEFT_FLUSH, .deadline_us = 1000000 }, other = { .op = WEFT_FLUSH };
	struct vu_device *device;
	char text[64], data[512];

	server_start(&rig, "delay:[mem:1MiB],flush=1min", "");
	snprintf(text, sizeof(text), "vhost-user:" SOCKET "%s", device_options);
	rig_make(&rig, text);
	device = WEFT_CONTAINER(rig.object, struct vu_device, object);
	rig_start(&rig, &hangs);
	rig_start(&rig, &other);
	rig_run(&rig, 20 * SECOND);
	assert_int_equal(hangs.ended, 1);
	assert_int_equal(hangs.status, -ETIMEDOUT);
	assert_int_equal(other.ended, 0);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, 512, data), 0);
	assert_int_equal(rig_wait(&rig, &other), 0);
	assert_int_equal(device->queue[0].resubmitted, 1);
	rig_unmake(&rig);
	server_kill();
}

static void an_abort_in_the_ring_ends_with_split_rings(void **state)
{
	(void)state;
	an_abort_in_the_ring_ends_and_the_others_go_on("");
}

static void an_abort_in_the_ring_ends_with_packed_rings(void **state)
{
	(void)state;
	an_abort_in_the_ring_ends_and_the_others_go_on(",packed=on");
}

static void an_abort_while_the_server_is_away_ends(void **state)
{
	struct rig_request r = { .op = WEFT_FLUSH };

	(void)state;
	server_start(&rig, "delay:[mem:1MiB],flush=1min", "");
	rig_make(&rig, "vhost-user:" SOCKET);
	rig_start(&rig, &r);
	rig_run(&rig, SECOND); /* it is in the ring */
	server_kill();
	rig_run(&rig, SECOND);
	assert_int_equal(r.ended, 0);
	rig_abort(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), -ECANCELED);
	server_start(&rig, "mem:1MiB", "");
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), 0);
	rig_unmake(&rig);
	server_kill();
}

/* ---- the size ---- */

static struct {
	struct objects_job job;
	struct weft_msg msg;
} resizing;

static void resized(struct weft_task *task, int status)
{
	(void)task;
	assert_int_equal(status, 0);
}

static void server_resize_msg(void *size)
{
	struct weft_object *device = rig_below(server.export, 0);

	resizing.job = (struct objects_job){ .task.done = resized };
	objects_resize(device, *(const uint64_t *)size, &resizing.job);
}

static void a_new_size_arrives_while_running(void **state)
{
	static uint64_t size = 2u << 20;
	char data[512] = "there";

	(void)state;
	server_start(&rig, "file:" DISK, "");
	rig_make(&rig, "vhost-user:" SOCKET);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, size - 512, 512, data), -ERANGE);
	resizing.msg = (struct weft_msg){ .fn = server_resize_msg, .self = &size };
	weft_reactor_post(server.core->reactor[0], &resizing.msg);
	rig_run(&rig, 1000000000);
	assert_int_equal(rig.blk->size, size);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, size - 512, 512, data), 0);
	rig_unmake(&rig);
	server_kill();
}

/* ---- the end ---- */

static struct {
	struct weft_msg msg;
	struct weft_timer timer;
	struct vu_link *link;
	bool tried;
} late;

/* The reactor has carried out its order at last. */
static void late_answer(void *self)
{
	(void)self;
	late.tried = late.link->state != VU_AWAY || late.link->stream != NULL;
	late.link->orders--;
	vu_link_go_on(late.link);
}

static void late_begin_msg(void *self)
{
	struct weft_reactor *control = rig.core->reactor[0];

	(void)self;
	late.link->orders++;
	late.timer = (struct weft_timer){ .fn = late_answer };
	weft_timer_arm(control, &late.timer, weft_reactor_now(control) + 30 * SECOND);
}

static void no_server_is_tried_while_a_stop_waits_for_a_reactor(void **state)
{
	(void)state;
	server_start(&rig, "mem:1MiB", "");
	rig_make(&rig, "vhost-user:" SOCKET ",reconnect=10s");
	server_kill();
	late.link = WEFT_CONTAINER(rig.object, struct vu_device, object)->link;
	late.msg = (struct weft_msg){ .fn = late_begin_msg };
	weft_reactor_post(rig.core->reactor[0], &late.msg);
	rig_run(&rig, SECOND);
	server_start(&rig, "mem:1MiB", "");
	assert_int_equal(late.link->state, VU_AWAY);
	assert_int_equal(late.link->orders, 1);
	rig_unmake(&rig);
	server_kill();
	assert_false(late.tried);
}

/* ---- what is said when it cannot be ---- */

static void without_a_server_start_says_so(void **state)
{
	struct weft_why why;

	(void)state;
	assert_true(rig_try(&rig, "vhost-user:/nobody.sock", &why) < 0);
	assert_non_null(strstr(why.text, "/nobody.sock"));
}

static void more_queues_than_the_server_has_are_refused(void **state)
{
	struct weft_why why;

	(void)state;
	server_start(&rig, "mem:1MiB", ",queues=2");
	assert_int_equal(rig_try(&rig, "vhost-user:" SOCKET ",queues=3", &why), -EINVAL);
	assert_non_null(strstr(why.text, "queues=3"));
	server_kill();
}

static void it_is_as_large_as_the_server_says(void **state)
{
	(void)state;
	server_start(&rig, "mem:3MiB", ",readonly=on");
	rig_make(&rig, "vhost-user:" SOCKET);
	assert_int_equal(rig.blk->size, 3u << 20);
	assert_true(rig.blk->readonly);
	rig_unmake(&rig);
	server_kill();
}

/* Asked before the device has started; the ring that it was asked in goes on. */
static void it_tells_the_serial_number(const char *device_options)
{
	char text[64], data[512];

	server_start(&rig, "mem:1MiB", ",serial=disk 7 of this rack!");
	snprintf(text, sizeof(text), "vhost-user:" SOCKET "%s", device_options);
	rig_make(&rig, text);
	assert_string_equal(rig_fact(rig.object, "serial"), "disk 7 of this rack!");
	memset(data, 7, sizeof(data));
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 512, 512, data), 0);
	rig_unmake(&rig);
	server_kill();
}

static void it_tells_the_serial_number_with_split_rings(void **state)
{
	(void)state;
	it_tells_the_serial_number("");
}

static void it_tells_the_serial_number_with_packed_rings(void **state)
{
	(void)state;
	it_tells_the_serial_number(",packed=on");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms_with_split_rings),
		cmocka_unit_test(conforms_with_packed_rings),
		cmocka_unit_test(conforms_with_fewer_queues_than_reactors),
		cmocka_unit_test(conforms_with_a_ring_that_is_always_full),
		cmocka_unit_test_setup_teardown(a_killed_server_is_waited_for_with_split_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(a_killed_server_is_waited_for_with_packed_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(opens_again_with_split_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(opens_again_with_packed_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(a_broken_ring_is_begun_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(requests_wait_while_the_server_is_away, setup, teardown),
		cmocka_unit_test_setup_teardown(timeout_fails_them_and_the_next_server_serves_again, setup, teardown),
		cmocka_unit_test_setup_teardown(an_aborted_request_ends_when_the_server_has_given_it_back, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_asked_again_of_others_while_the_server_lives, setup, teardown),
		cmocka_unit_test_setup_teardown(timeout_fails_only_what_the_server_does_not_have, setup, teardown),
		cmocka_unit_test_setup_teardown(an_abort_in_the_ring_ends_with_split_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(an_abort_in_the_ring_ends_with_packed_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(an_abort_while_the_server_is_away_ends, setup, teardown),
		cmocka_unit_test_setup_teardown(a_new_size_arrives_while_running, setup, teardown),
		cmocka_unit_test_setup_teardown(no_server_is_tried_while_a_stop_waits_for_a_reactor, setup, teardown),
		cmocka_unit_test_setup_teardown(without_a_server_start_says_so, setup, teardown),
		cmocka_unit_test_setup_teardown(more_queues_than_the_server_has_are_refused, setup, teardown),
		cmocka_unit_test_setup_teardown(it_is_as_large_as_the_server_says, setup, teardown),
		cmocka_unit_test_setup_teardown(it_tells_the_serial_number_with_split_rings, setup, teardown),
		cmocka_unit_test_setup_teardown(it_tells_the_serial_number_with_packed_rings, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
