/* SPDX-License-Identifier: BSD-2-Clause */
/* Rings and reactors: what a request costs, who is served when. */
#include "exports/vhost_user/rig_test.h"

#include <sys/syscall.h>

#include "env/env_fault.h"

/* Without io_uring the kernel has to be asked whether anything has happened. */
static bool uring_is_denied(void)
{
	return syscall(SYS_io_uring_setup, 0, NULL) < 0 && (errno == EPERM || errno == ENOSYS);
}

static void no_cost_per_request(const char *device, bool packed)
{
	struct env_loop_stats before, after;
	struct env_loop *loop;
	uint64_t calls, count;

	open_all(device, "", 1, WEFT_MODE_POLL);
	front_up(1, packed);
	load(&t.ring[0], 1000);
	eventfd_read(t.ring[0].call, &count);
	loop = t.core->reactor[1]->loop;
	env_loop_stats(loop, &before);
	calls = env_calls(t.env);
	load(&t.ring[0], 20000);
	env_loop_stats(loop, &after);
	if (!uring_is_denied())
		assert_int_equal(after.system_calls, before.system_calls);
	assert_int_equal(env_calls(t.env), calls);
	assert_int_equal(eventfd_read(t.ring[0].call, &count), -1); /* nobody asked for a notification */
	front_down(1);
	close_all();
}

static void a_request_on_null_makes_no_system_call_and_allocates_nothing(void **state)
{
	(void)state;
	no_cost_per_request("null:1GiB", false);
	no_cost_per_request("null:1GiB", true);
}

static void a_request_on_mem_makes_no_system_call_and_allocates_nothing(void **state)
{
	(void)state;
	no_cost_per_request("mem:1GiB", false);
	no_cost_per_request("mem:1GiB", true);
}

static void rings_are_spread_over_the_reactors(void **state)
{
	(void)state;
	open_all("mem:1MiB", "", 2, WEFT_MODE_NOTIFY);
	front_up(4, false);
	assert_int_equal(t.core->reactor[1]->sessions_open, 2);
	assert_int_equal(t.core->reactor[2]->sessions_open, 2);
	for (unsigned i = 0; i < 4; i++)
		load(&t.ring[i], 100);
	front_down(4);
	close_all();
}

struct run {
	unsigned second, requests;
};

/* Two rings have 80 requests each, of `large` bytes: in which runs are they served? */
static void expect_runs(uint32_t large, bool alone, const struct run *expected, unsigned runs)
{
	struct core_wants wants = { .io_reactors = 1, .mode = WEFT_MODE_POLL, .no_threads = true };
	unsigned at = 0;

	open_as(&wants, "witness", "");
	if (!alone)
		neighbours_open();
	front_up(2, false);
	assert_int_equal(on_control(freeze_here), 0);
	for (unsigned i = 0; i < 2; i++) {
		t.ring[i].sector = (uint64_t)i * WITNESS_SPAN / 512;
		t.ring[i].large = large;
		for (unsigned n = 0; n < 80; n++)
			add(&t.ring[i]);
		publish(&t.ring[i]);
	}
	witnessed = 0;
	assert_int_equal(on_control(thaw_here), 0);
	while (t.ring[0].in_flight + t.ring[1].in_flight > 0) {
		turn();
		take(&t.ring[0]);
		take(&t.ring[1]);
	}
	assert_int_equal(witnessed, 160);
	for (unsigned run = 0; run < runs; run++)
		for (unsigned i = 0; i < expected[run].requests; i++)
			assert_int_equal(witness[at++], expected[run].second ^ witness[0]);
	front_down(2);
	if (!alone)
		neighbours_close();
	close_all();
}

/* Each turn serves both rings, so many requests of each, and begins with the other one than the turn before. */
static void expect_turns(uint32_t large, unsigned share)
{
	const struct run expected[] = { { 0, share }, { 1, share }, { 1, share }, { 0, share }, { 0, 80 - 2 * share },
		{ 1, 80 - 2 * share } };

	expect_runs(large, true, expected, WEFT_COUNT(expected));
}

static void rings_are_served_in_turn_at_most_32_requests_each(void **state)
{
	(void)state;
	expect_turns(0, 32);
}

static void rings_are_served_in_turn_at_most_16_mib_each(void **state)
{
	(void)state;
	expect_turns(600 << 10, 28); /* the first of which it is not less */
}

/* Where there is another device, many rings get no more of a turn than one. */
static void rings_of_a_device_that_is_not_alone_share_16_mib_of_a_turn(void **state)
{
	static const struct run expected[] = { { 0, 28 }, { 1, 28 }, { 0, 28 }, { 1, 28 }, { 0, 24 }, { 1, 24 } };

	(void)state;
	expect_runs(600 << 10, false, expected, WEFT_COUNT(expected));
}

/* Before its reactor sleeps, a ring says what came since it was looked at: nobody will kick for that. */
static void a_ring_that_is_armed_tells_of_what_has_come(void **state)
{
	struct core_wants wants = { .io_reactors = 1, .mode = WEFT_MODE_NOTIFY, .no_threads = true };
	struct weft_source *source;
	uint64_t kicks;

	(void)state;
	open_as(&wants, "witness", "");
	front_up(1, false);
	for (unsigned i = 0; i < 20; i++)
		turn();
	source = &t.exp->connections->ring[0]->session.source;
	assert_false(queue_arm(source));
	add(&t.ring[0]);
	assert_true(virtq_drv_publish(&t.ring[0].drv)); /* armed: a kick is asked for */
	assert_true(queue_arm(source));
	queue_disarm(source);
	assert_int_equal(eventfd_read(t.ring[0].kick, &kicks), -1);
	assert_true(queue_poll(source));
	assert_false(queue_arm(source));
	assert_int_equal(eventfd_write(t.ring[0].kick, 1), 0);
	while (t.ring[0].in_flight > 0) {
		turn();
		take(&t.ring[0]);
	}
	front_down(1);
	close_all();
}

/* A request that is done in parts, turn by turn (weft_hop_yield): a freeze waits for all of it. */
static void a_freeze_waits_for_a_request_that_takes_turns(void **state)
{
	struct core_wants wants = { .io_reactors = 1, .mode = WEFT_MODE_NOTIFY, .no_threads = true };
	const struct virtio_blk_req_header header = { .type = VIRTIO_BLK_T_IN };
	struct virtq_buf bufs[3];
	struct virtq_done done;
	uint8_t *at;

	(void)state;
	open_as(&wants, "mem:8MiB", "");
	front_up(1, false);
	at = t.ring[0].base + 16384;
	memcpy(at, &header, sizeof(header));
	at[16] = 0xff;
	bufs[0] = (struct virtq_buf){ (uint64_t)(at - t.memory), sizeof(header) };
	bufs[1] = (struct virtq_buf){ SLICE, 6 << 20 }; /* the other rings' part of the memory */
	bufs[2] = (struct virtq_buf){ (uint64_t)(at - t.memory) + 16, 1 };
	memset(t.memory + SLICE, 'x', 6 << 20);
	assert_int_equal(virtq_drv_add(&t.ring[0].drv, bufs, 1, 2, NULL, NULL), 0);
	publish(&t.ring[0]);
	while (t.exp->connections->ring[0]->session.slots == 0)
		turn();
	assert_int_equal(at[16], 0xff);
	assert_int_equal(t.memory[MEMORY - 1], 'x'); /* it has only begun */
	assert_int_equal(on_control(freeze_here), 0);
	assert_int_equal(t.memory[MEMORY - 1], 0);
	assert_int_equal(at[16], VIRTIO_BLK_S_OK);
	assert_int_equal(on_control(thaw_here), 0);
	while (virtq_drv_take(&t.ring[0].drv, &done) == 0)
		turn();
	front_down(1);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_on_null_makes_no_system_call_and_allocates_nothing),
		cmocka_unit_test(a_request_on_mem_makes_no_system_call_and_allocates_nothing),
		cmocka_unit_test(rings_are_spread_over_the_reactors),
		cmocka_unit_test(rings_are_served_in_turn_at_most_32_requests_each),
		cmocka_unit_test(rings_are_served_in_turn_at_most_16_mib_each),
		cmocka_unit_test(rings_of_a_device_that_is_not_alone_share_16_mib_of_a_turn),
		cmocka_unit_test(a_ring_that_is_armed_tells_of_what_has_come),
		cmocka_unit_test(a_freeze_waits_for_a_request_that_takes_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
