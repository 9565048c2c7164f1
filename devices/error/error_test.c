/* SPDX-License-Identifier: BSD-2-Clause */
/* error: fails what it is told to, nothing else. */
#include "devices/rig_test.h"

RIG_FOR_EACH_TEST(1, 1)

static char data[4096];

static int ask(unsigned op, uint64_t offset)
{
	bool has_data = op == WEFT_READ || op == WEFT_WRITE;

	return rig_ask(&rig, op, 0, offset, op == WEFT_FLUSH ? 0 : sizeof(data), has_data ? data : NULL);
}

static void conforms_when_nothing_is_chosen(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++)
		rig_conform("error:[mem:1MiB],op=write+read,offset=1GiB", seed, 300);
}

static void operations_are_chosen_by_name(void **state)
{
	(void)state;
	rig_make(&rig, "error:[mem:1MiB],op=write+flush,errno=enospc");
	assert_int_equal(ask(WEFT_READ, 0), 0);
	assert_int_equal(ask(WEFT_WRITE, 0), -ENOSPC);
	assert_int_equal(ask(WEFT_FLUSH, 0), -ENOSPC);
	assert_int_equal(ask(WEFT_ZERO, 0), 0);
	assert_string_equal(rig_fact(rig.object, "failed"), "2");
	rig_unmake(&rig);
}

static void a_range_counts_when_it_is_touched(void **state)
{
	(void)state;
	rig_make(&rig, "error:[mem:1MiB],offset=6KiB,len=4KiB");
	assert_int_equal(ask(WEFT_READ, 0), 0);
	assert_int_equal(ask(WEFT_READ, 4096), -EIO);
	assert_int_equal(ask(WEFT_READ, 8192), -EIO);
	assert_int_equal(ask(WEFT_READ, 12288), 0);
	rig_unmake(&rig);
}

static void only_the_first_ones(void **state)
{
	(void)state;
	rig_make(&rig, "error:[mem:1MiB],op=read,first=2");
	assert_int_equal(ask(WEFT_READ, 0), -EIO);
	assert_int_equal(ask(WEFT_WRITE, 0), 0);
	assert_int_equal(ask(WEFT_READ, 0), -EIO);
	assert_int_equal(ask(WEFT_READ, 0), 0);
	rig_unmake(&rig);
}

static void only_each_nth(void **state)
{
	(void)state;
	rig_make(&rig, "error:[mem:1MiB],op=read,every=3,first=2");
	for (unsigned i = 1; i <= 12; i++)
		assert_int_equal(ask(WEFT_READ, 0), i == 3 || i == 6 ? -EIO : 0);
	rig_unmake(&rig);
}

static void only_by_chance(void **state)
{
	unsigned failed = 0;

	(void)state;
	rig_make(&rig, "error:[mem:1MiB],op=read,probability=25%");
	for (unsigned i = 0; i < 1000; i++)
		failed += ask(WEFT_READ, 0) != 0;
	assert_in_range(failed, 200, 300);
	rig_unmake(&rig);
}

static void only_in_a_window_of_time(void **state)
{
	(void)state;
	rig_make(&rig, "error:[delay:[mem:1MiB],all=1ms],from=10ms,for=20ms");
	assert_int_equal(ask(WEFT_READ, 0), 0);
	for (unsigned i = 0; i < 12; i++)
		ask(WEFT_READ, 0);
	assert_int_equal(ask(WEFT_READ, 0), -EIO);
	assert_int_equal(rig_set(&rig, rig.object, "from", "0"), 0);
	assert_int_equal(ask(WEFT_READ, 0), -EIO);
	assert_int_equal(rig_set(&rig, rig.object, "from", "1s"), 0);
	assert_int_equal(ask(WEFT_READ, 0), 0);
	rig_unmake(&rig);
}

static void before_or_after_the_device_below_did_it(void **state)
{
	char back[sizeof(data)];

	(void)state;
	memset(data, 'e', sizeof(data));
	rig_make(&rig, "error:[mem:1MiB],op=write");
	assert_int_equal(ask(WEFT_WRITE, 0), -EIO);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(back), back), 0);
	assert_int_equal(back[0], 0);
	assert_int_equal(rig_set(&rig, rig.object, "when", "after"), 0);
	assert_int_equal(ask(WEFT_WRITE, 0), -EIO);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(back), back), 0);
	assert_int_equal(back[0], 'e');
	rig_unmake(&rig);
}

static void names_that_do_not_exist_are_refused(void **state)
{
	struct weft_why why;

	(void)state;
	assert_int_equal(rig_try(&rig, "error:[mem:1MiB],op=write+reed", &why), -EINVAL);
	assert_string_equal(why.text,
		"error: op=write+reed: names joined by + are needed, of read, write, flush, discard, "
		"zero, compare-write, copy, status, all");
	assert_int_equal(rig_try(&rig, "error:[mem:1MiB],errno=EFOO", &why), -EINVAL);
	assert_int_equal(rig_try(&rig, "error:[mem:1MiB],probability=2", &why), -EINVAL);
}

static void a_refused_change_leaves_numbers_and_time_as_they_are(void **state)
{
	(void)state;
	rig_make(&rig, "error:[delay:[mem:1MiB],all=1ms],op=read,every=3,from=2ms");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(ask(WEFT_WRITE, 0), 0);
	assert_int_equal(ask(WEFT_READ, 0), 0);
	assert_int_equal(ask(WEFT_READ, 0), 0);
	assert_int_equal(rig_set(&rig, rig.object, "errno", "EFOO"), -EINVAL);
	assert_int_equal(ask(WEFT_READ, 0), -EIO);
	rig_unmake(&rig);
}

/* One change behind the other while a reactor is judging: none may be judged by parts of two rules. ThreadSanitizer
 * sees what chance does not hit. */
static void changes_may_follow_each_other_as_quickly_as_they_like(void **state)
{
	struct rig_request r[8];

	(void)state;
	rig_open_linux(&rig, 1, 1);
	rig_make(&rig, "error:[null:1MiB],op=read,len=4KiB");
	for (unsigned round = 0; round < 500; round++) {
		for (unsigned i = 0; i < WEFT_COUNT(r); i++) {
			r[i] = (struct rig_request){ .op = WEFT_READ, .offset = 4096, .len = sizeof(data), .nsegs = 1 };
			r[i].segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
			rig_start(&rig, &r[i]);
		}
		for (unsigned i = 0; i < 4; i++)
			assert_int_equal(rig_set(&rig, rig.object, "offset", i % 2 == 0 ? "8KiB" : "0"), 0);
		for (unsigned i = 0; i < WEFT_COUNT(r); i++)
			assert_int_equal(rig_wait(&rig, &r[i]), 0); /* it would fail by one's begin and the other's end */
	}
	rig_unmake(&rig);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms_when_nothing_is_chosen),
		RIG_TEST(operations_are_chosen_by_name),
		RIG_TEST(a_range_counts_when_it_is_touched),
		RIG_TEST(only_the_first_ones),
		RIG_TEST(only_each_nth),
		RIG_TEST(only_by_chance),
		RIG_TEST(only_in_a_window_of_time),
		RIG_TEST(before_or_after_the_device_below_did_it),
		RIG_TEST(names_that_do_not_exist_are_refused),
		RIG_TEST(a_refused_change_leaves_numbers_and_time_as_they_are),
		cmocka_unit_test(changes_may_follow_each_other_as_quickly_as_they_like),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
