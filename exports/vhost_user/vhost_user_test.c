/* SPDX-License-Identifier: BSD-2-Clause */
/* The export as a whole: frozen, thawed, stopped, failing. */
#include "exports/vhost_user/rig_test.h"

#include <sys/mman.h>

#include "env/env_fault.h"

static void what_is_asked_of_a_frozen_export_is_answered_when_it_is_thawed(void **state)
{
	struct ring *ring = &t.ring[0];

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, true);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 8; i++)
			add(ring);
		publish(ring);
		assert_int_equal(on_control(freeze_here), 0);
		assert_null(t.exp->stack);
		while (take(ring))
			;
		add(ring);
		publish(ring);
		assert_false(take(ring));
		assert_int_equal(on_control(thaw_here), 0);
		while (ring->in_flight > 0)
			take(ring);
	}
	front_down(1);
	close_all();
}

static void a_frozen_export_can_be_stopped(void **state)
{
	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(2, false);
	assert_int_equal(on_control(freeze_here), 0);
	close_all();
	close(t.sock);
	munmap(t.memory, MEMORY);
	close(t.memfd);
}

/* Memory that comes and goes, a log, an area, a channel, another cache; and what is answered last. */
static void say_what_is_said_later(void)
{
	uint64_t features = VIRTIO_F(PROTOCOL_FEATURES) | VIRTIO_F(VERSION_1) | (uint64_t)1 << VHOST_F_LOG_ALL;
	struct vhost_user_memreg more = { .region = { .gpa = MEMORY, .size = 4096, .uva = (uintptr_t)t.memory + MEMORY } };
	struct vhost_user_log log = { .size = 4096, .offset = MEMORY - 4096 };
	struct vhost_user_inflight area = { .mmap_size = 8192, .mmap_offset = MEMORY - 3 * 4096, .num_queues = 1,
		.queue_size = NUM };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	say(VHOST_USER_ADD_MEM_REG, &more, sizeof(more), t.memfd);
	say(VHOST_USER_SET_LOG_BASE, &log, sizeof(log), t.memfd);
	say_u64(VHOST_USER_SET_FEATURES, features, -1);
	say(VHOST_USER_SET_INFLIGHT_FD, &area, sizeof(area), t.memfd);
	say(VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, pair[1]);
	say_write_cache(false);
	say(VHOST_USER_REM_MEM_REG, &more, sizeof(more), -1);
	say(VHOST_USER_GET_FEATURES, NULL, 0, -1);
	close(pair[0]);
	close(pair[1]);
}

/* Until the last of all is answered; false: the connection has ended. */
static bool is_answered(void)
{
	struct vhost_user_header last = { 0 };
	uint8_t bytes[512];
	ssize_t n;

	while (last.request != VHOST_USER_GET_FEATURES) {
		turn();
		n = recv(t.sock, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			return false;
		if (n >= 20)
			memcpy(&last, bytes + n - 20, sizeof(last));
	}
	return true;
}

/* Makes the n-th call of the environment fail, from the connection to the end, until none is left to fail. */
static void a_failure_of_any_call_costs_a_connection_at_most(void **state)
{
	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	for (uint64_t n = 1;; n++) {
		struct vhost_user_memory table = { .nregions = 1 };
		struct vhost_user_inflight inflight = { .num_queues = 1, .queue_size = NUM };
		uint8_t bytes[64];
		bool hit, answered;

		t.memfd = memfd_create("guest", 0);
		assert_int_equal(ftruncate(t.memfd, MEMORY), 0);
		t.memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, t.memfd, 0);
		table.regions[0] = (struct vhost_user_region){ .size = MEMORY, .uva = (uintptr_t)t.memory };
		t.sock = front_connect();
		t.may_be_cut_off = true;
		env_fail_nth(t.env, n);
		say_u64(VHOST_USER_SET_FEATURES, VIRTIO_F(PROTOCOL_FEATURES) | VIRTIO_F(VERSION_1), -1);
		say(VHOST_USER_GET_INFLIGHT_FD, &inflight, sizeof(inflight), -1);
		say(VHOST_USER_SET_MEM_TABLE, &table, 8 + sizeof(table.regions[0]), t.memfd);
		ring_up(0, false);
		say_what_is_said_later();
		answered = is_answered();
		hit = env_fail_hit(t.env);
		assert_true(hit || answered);
		env_fail_nth(t.env, 0);
		shutdown(t.sock, SHUT_WR);
		while (t.exp->connections != NULL)
			turn();
		while (recv(t.sock, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			;
		close(t.sock);
		close(t.ring[0].kick);
		close(t.ring[0].call);
		munmap(t.memory, MEMORY);
		close(t.memfd);
		if (!hit)
			break;
		assert_true(n < 1000);
	}
	t.may_be_cut_off = false;
	front_up(1, false);
	load(&t.ring[0], 100);
	front_down(1);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_asked_of_a_frozen_export_is_answered_when_it_is_thawed),
		cmocka_unit_test(a_frozen_export_can_be_stopped),
		cmocka_unit_test(a_failure_of_any_call_costs_a_connection_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
