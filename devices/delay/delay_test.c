/* SPDX-License-Identifier: BSD-2-Clause */
/* delay: requests wait, others go on. */
#include "devices/rig_test.h"

RIG_FOR_EACH_TEST(1, 1)

static uint64_t took(unsigned op)
{
	static char data[512];
	struct rig_request r = { .op = op, .len = op == WEFT_FLUSH ? 0 : 512, .nsegs = 1 };
	uint64_t started = sim_now_ns(rig.world);

	r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
	rig_start(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), 0);
	return r.ended_ns - started;
}

static void conforms(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++)
		rig_conform("delay:[mem:1MiB],all=1ms,jitter=900us", seed, 300);
}

static void each_operation_has_its_time(void **state)
{
	(void)state;
	rig_make(&rig, "delay:[mem:1MiB],read=1ms,write=2ms,flush=3ms");
	assert_in_range(took(WEFT_READ), 1000000, 1100000);
	assert_in_range(took(WEFT_WRITE), 2000000, 2100000);
	assert_in_range(took(WEFT_DISCARD), 2000000, 2100000);
	assert_in_range(took(WEFT_ZERO), 2000000, 2100000);
	assert_in_range(took(WEFT_COPY), 2000000, 2100000);
	assert_in_range(took(WEFT_STATUS), 1000000, 1100000);
	assert_in_range(took(WEFT_FLUSH), 3000000, 3100000);
	rig_unmake(&rig);
}

static void all_counts_where_nothing_else_is_said(void **state)
{
	(void)state;
	rig_make(&rig, "delay:[mem:1MiB],all=5ms,read=1ms");
	assert_in_range(took(WEFT_READ), 1000000, 1100000);
	assert_in_range(took(WEFT_WRITE), 5000000, 5100000);
	rig_unmake(&rig);
}

static void jitter_stays_in_its_range(void **state)
{
	uint64_t least = UINT64_MAX, most = 0;

	(void)state;
	rig_make(&rig, "delay:[mem:1MiB],all=5ms,jitter=2ms");
	for (unsigned i = 0; i < 200; i++) {
		uint64_t ns = took(WEFT_READ);

		least = ns < least ? ns : least;
		most = ns > most ? ns : most;
	}
	assert_in_range(least, 3000000, 3500000);
	assert_in_range(most, 6500000, 7100000);
	rig_unmake(&rig);
}

static void without_a_time_it_passes_on_at_once(void **state)
{
	(void)state;
	rig_make(&rig, "delay:[mem:1MiB]");
	assert_in_range(took(WEFT_READ), 0, 10000);
	rig_unmake(&rig);
}

static void an_abort_ends_the_waiting(void **state)
{
	struct rig_request r = { .op = WEFT_FLUSH };
	uint64_t started;

	(void)state;
	rig_make(&rig, "delay:[mem:1MiB],all=10s");
	started = sim_now_ns(rig.world);
	rig_start(&rig, &r);
	rig_run(&rig, 1000000);
	rig_abort(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), -ECANCELED);
	assert_in_range(r.ended_ns - started, 1000000, 1100000);
	rig_unmake(&rig);
}

static void a_deadline_ends_the_waiting(void **state)
{
	struct rig_request r = { .op = WEFT_FLUSH, .deadline_us = 2000 };

	(void)state;
	rig_make(&rig, "delay:[mem:1MiB],all=10s");
	rig_start(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), -ETIMEDOUT);
	rig_unmake(&rig);
}

static void times_change_while_it_runs(void **state)
{
	(void)state;
	rig_make(&rig, "delay:[mem:1MiB],all=5ms");
	assert_int_equal(rig_set(&rig, rig.object, "all", "1ms"), 0);
	assert_in_range(took(WEFT_READ), 1000000, 1100000);
	rig_unmake(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		RIG_TEST(each_operation_has_its_time),
		RIG_TEST(all_counts_where_nothing_else_is_said),
		RIG_TEST(jitter_stays_in_its_range),
		RIG_TEST(without_a_time_it_passes_on_at_once),
		RIG_TEST(an_abort_ends_the_waiting),
		RIG_TEST(a_deadline_ends_the_waiting),
		RIG_TEST(times_change_while_it_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
