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

/* Makes the n-th call of the environment fail, from the connection to the end, until none is left to fail. */
static void a_failure_of_any_call_costs_a_connection_at_most(void **state)
{
	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	for (uint64_t n = 1;; n++) {
		struct vhost_user_memory table = { .nregions = 1 };
		struct vhost_user_inflight inflight = { .num_queues = 1, .queue_size = NUM };
		uint8_t bytes[64];
		bool hit;

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
		for (unsigned i = 0; i < 200; i++)
			turn();
		hit = env_fail_hit(t.env);
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
