/* SPDX-License-Identifier: BSD-2-Clause */
/* What the last server left in flight, and a front end that wants the ring to stop (DESIGN.md, invariant 1). */
#include "exports/vhost_user/rig_test.h"

#include <sys/mman.h>

/* More than a ring starts in two turns. */
enum { LEFT = 80, STATES = 16 };

static int area_fd;
static uint8_t *area;

static bool is_in_flight(unsigned head)
{
	return area[STATES + 16 * head] != 0;
}

/* The in-flight area as a server that was killed has left it: what the ring holds has been taken, and nothing answered. */
static void area_make(void)
{
	const struct ring *ring = &t.ring[0];
	struct vhost_user_inflight said = { .mmap_size = virtq_inflight_size(false, NUM), .num_queues = 1, .queue_size = NUM };
	const uint16_t head[2] = { 1, NUM }; /* version, entries */

	area_fd = memfd_create("area", 0);
	assert_int_equal(ftruncate(area_fd, (off_t)said.mmap_size), 0);
	area = mmap(NULL, said.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, area_fd, 0);
	assert_ptr_not_equal(area, MAP_FAILED);
	memcpy(area + 8, head, sizeof(head));
	for (uint64_t i = 0; i < LEFT; i++) {
		uint16_t at;

		memcpy(&at, ring->base + 4096 + 4 + 2 * i, sizeof(at));
		area[STATES + 16 * at] = 1;
		memcpy(area + STATES + 16 * at + 8, &i, sizeof(i));
	}
	say(VHOST_USER_SET_INFLIGHT_FD, &said, sizeof(said), area_fd);
}

static void begin(const char *device, unsigned budget)
{
	struct core_wants wants = { .io_reactors = 1, .mode = WEFT_MODE_POLL, .no_threads = true, .budget = budget };

	open_as(&wants, device, "");
	front_up(1, false);
	say_state(VHOST_USER_SET_VRING_ENABLE, 0, 0);
	sync_with_server();
	for (unsigned i = 0; i < LEFT; i++)
		add(&t.ring[0]);
	publish(&t.ring[0]);
	area_make();
	sync_with_server();
}

static void end(void)
{
	close(area_fd);
	munmap(area, virtq_inflight_size(false, NUM));
	front_down(1);
	close_all();
}

static void what_was_left_is_done_before_the_ring_stops(void **state)
{
	struct vhost_user_vring_state which = { 0, 0 };
	struct vhost_user_msg msg;

	(void)state;
	begin("null:1GiB", 0);
	say_state(VHOST_USER_SET_VRING_ENABLE, 0, 1);
	say(VHOST_USER_GET_VRING_BASE, &which, sizeof(which), -1);
	while (recv(t.sock, &msg.header, sizeof(msg.header) + sizeof(which), MSG_DONTWAIT) <= 0)
		turn();
	assert_int_equal(msg.payload.state.num, LEFT);
	for (unsigned i = 0; i < NUM; i++)
		assert_false(is_in_flight(i));
	while (take(&t.ring[0]))
		;
	assert_int_equal(t.ring[0].in_flight, 0);
	end();
}

/* It does what there is room for; when that has been aborted, nothing more: its next connection, or the next server, finds it. */
static void leave(bool while_it_stops)
{
	const struct vhost_user_vring_state which = { 0, 0 };
	const struct vux_ring *ring;
	unsigned left = 0;

	begin("delay:[null:1GiB],read=1h", LEFT / 4);
	ring = t.exp->connections->ring[0];
	say_state(VHOST_USER_SET_VRING_ENABLE, 0, 1);
	while (!ring->starved)
		turn();
	if (while_it_stops) {
		say(VHOST_USER_GET_VRING_BASE, &which, sizeof(which), -1);
		while (!ring->stopping)
			turn();
		assert_true(ring_has_left(ring));
	}
	shutdown(t.sock, SHUT_RDWR);
	while (!ring->left)
		turn();
	t.ahead_ns += VUX_PATIENCE_NS;
	for (unsigned turns = 0; t.exp->connections != NULL; turns++) {
		turn();
		assert_true(turns < 1000000);
	}
	for (unsigned i = 0; i < NUM; i++)
		left += is_in_flight(i);
	assert_int_equal(left, LEFT);
	end();
}

static void a_front_end_that_has_left_is_not_kept_waiting(void **state)
{
	(void)state;
	leave(false);
	leave(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_left_is_done_before_the_ring_stops),
		cmocka_unit_test(a_front_end_that_has_left_is_not_kept_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
