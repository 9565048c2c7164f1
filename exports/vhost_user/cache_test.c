/* SPDX-License-Identifier: BSD-2-Clause */
/* The write cache is switched. */
#include "exports/vhost_user/rig_test.h"

/* Every second flush fails: so each switch to write-through, and no other, is seen to make one. */
static void write_through_begins_with_a_flush_and_its_failure_is_told(void **state)
{
	(void)state;
	open_all("error:[mem:1MiB],op=flush,every=2", "", 2, WEFT_MODE_NOTIFY);
	front_up(2, false);
	for (unsigned round = 0; round < 5; round++) {
		assert_int_equal(switch_write_cache(false), 0);
		assert_true(t.exp->connections->ring[0]->write_through && !t.exp->connections->write_cache);
		load(&t.ring[0], 10);
		assert_int_equal(switch_write_cache(true), 0);
		assert_int_equal(switch_write_cache(false), 1);
		assert_true(!t.exp->connections->ring[1]->write_through && t.exp->connections->write_cache);
		load(&t.ring[1], 10);
	}
	front_down(2);
	close_all();
}

static void a_frozen_export_flushes_when_it_is_thawed(void **state)
{
	(void)state;
	open_all("error:[mem:1MiB],op=flush", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	say_what_waits();
	assert_int_equal(on_control(thaw_here), 0);
	assert_int_equal(answer_to(VHOST_USER_SET_CONFIG), 1);
	front_down(1);
	close_all();
}

static void a_front_end_may_leave_while_its_cache_is_flushed(void **state)
{
	(void)state;
	open_all("delay:[mem:1MiB],flush=20ms", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	say_write_cache(false);
	while (!t.exp->connections->flush.under_way)
		turn();
	front_down(1);
	close_all();
}

/* ---- a flush that hangs ---- */

static struct vux_flush *flush(void)
{
	return &t.exp->connections->flush;
}

static void open_hanging(const char *device)
{
	struct core_wants wants = { .io_reactors = 1, .mode = WEFT_MODE_POLL, .no_threads = true };

	witness_hangs = WEFT_OP_BIT(WEFT_FLUSH);
	witness_held = NULL;
	witnessed = 0;
	open_as(&wants, device, "");
	front_up(1, false);
}

/* The switch is asked for, and patience is over. */
static void switch_in_vain(void)
{
	say_write_cache(false);
	while (!flush()->patience.armed)
		turn();
	t.ahead_ns += VUX_PATIENCE_NS - 1000000000;
	for (unsigned i = 0; i < 50; i++)
		turn();
	assert_true(flush()->wanted);
	t.ahead_ns += 1000000000;
	assert_int_equal(answer_to(VHOST_USER_SET_CONFIG), 1);
	assert_true(t.exp->connections->write_cache && !t.exp->connections->ring[0]->write_through);
	assert_non_null(strstr(t.exp->connections->why.text, "cannot be flushed: the device below has not answered"));
}

/* The disk cannot let it go: nobody waits for it but the next switch. */
static void a_flush_that_hangs_is_given_up(void **state)
{
	struct weft_hop *first;

	(void)state;
	open_hanging("witness:");
	switch_in_vain();
	first = witness_held;
	assert_true(first != NULL && flush()->late);
	load(&t.ring[0], 10);
	sync_with_server();
	say_state(VHOST_USER_SET_VRING_ENABLE, 0, 0); /* a message that waits for rings does not wait for it */
	say_state(VHOST_USER_SET_VRING_ENABLE, 0, 1);
	load(&t.ring[0], 10);
	switch_in_vain();
	assert_ptr_equal(witness_held, first);
	say_write_cache(false);
	while (!flush()->wanted)
		turn();
	witness_lets_go(0); /* what was acknowledged meanwhile is not made durable by this one */
	while (witness_held == NULL)
		turn();
	assert_true(flush()->wanted && !flush()->late);
	witness_lets_go(0);
	assert_int_equal(answer_to(VHOST_USER_SET_CONFIG), 0);
	assert_true(!t.exp->connections->write_cache && t.exp->connections->ring[0]->write_through);
	front_down(1);
	close_all();
}

static void a_flush_that_can_be_aborted_is(void **state)
{
	(void)state;
	open_hanging("delay:[mem:1MiB],flush=1h");
	switch_in_vain();
	while (!cache_is_settled(t.exp->connections))
		turn();
	assert_int_equal(t.core->reactor[1]->sessions_open, 1); /* the ring's */
	front_down(1);
	close_all();
}

/* Its connection is there until the disk has let go. */
static void a_front_end_may_leave_while_a_flush_is_late(void **state)
{
	(void)state;
	open_hanging("witness:");
	switch_in_vain();
	shutdown(t.sock, SHUT_WR);
	for (unsigned i = 0; i < 50; i++)
		turn();
	assert_true(t.exp->connections != NULL && t.exp->connections->state == VUX_CLOSING);
	witness_lets_go(0);
	while (t.exp->connections != NULL)
		turn();
	front_down(1);
	close_all();
}

/* Or before patience is over: what can be aborted is, when it is. */
static void a_front_end_that_leaves_is_not_waited_for_longer_than_that(void **state)
{
	(void)state;
	open_hanging("delay:[mem:1MiB],flush=1h");
	say_write_cache(false);
	while (!flush()->under_way)
		turn();
	shutdown(t.sock, SHUT_WR);
	for (unsigned i = 0; i < 50; i++)
		turn();
	assert_non_null(t.exp->connections);
	t.ahead_ns += VUX_PATIENCE_NS;
	while (t.exp->connections != NULL)
		turn();
	front_down(1);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(write_through_begins_with_a_flush_and_its_failure_is_told),
		cmocka_unit_test(a_frozen_export_flushes_when_it_is_thawed),
		cmocka_unit_test(a_front_end_may_leave_while_its_cache_is_flushed),
		cmocka_unit_test(a_flush_that_hangs_is_given_up),
		cmocka_unit_test(a_flush_that_can_be_aborted_is),
		cmocka_unit_test(a_front_end_may_leave_while_a_flush_is_late),
		cmocka_unit_test(a_front_end_that_leaves_is_not_waited_for_longer_than_that),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
