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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(write_through_begins_with_a_flush_and_its_failure_is_told),
		cmocka_unit_test(a_frozen_export_flushes_when_it_is_thawed),
		cmocka_unit_test(a_front_end_may_leave_while_its_cache_is_flushed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
