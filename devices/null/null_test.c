/* SPDX-License-Identifier: BSD-2-Clause */
/* null: keeps nothing, answers at once. */
#include "devices/rig_test.h"

RIG_FOR_EACH_TEST(1, 1)

static void reads_leave_the_memory_as_it_is(void **state)
{
	char data[4096];

	(void)state;
	memset(data, 'x', sizeof(data));
	rig_make(&rig, "null:1GiB");
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 8192, sizeof(data), data), 0);
	assert_int_equal(data[0], 'x');
	assert_int_equal(data[4095], 'x');
	rig_unmake(&rig);
}

static void zero_fills_the_memory_of_reads(void **state)
{
	char data[4096];

	(void)state;
	memset(data, 'x', sizeof(data));
	rig_make(&rig, "null:1GiB,zero=on");
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 8192, 512, data), 0);
	assert_int_equal(data[0], 0);
	assert_int_equal(data[511], 0);
	assert_int_equal(data[512], 'x');
	rig_unmake(&rig);
}

static void every_operation_succeeds(void **state)
{
	static const unsigned ops[] = { WEFT_READ, WEFT_WRITE, WEFT_FLUSH, WEFT_DISCARD, WEFT_ZERO };
	char data[512] = { 0 };

	(void)state;
	rig_make(&rig, "null");
	assert_int_equal(rig.blk->size, 1ull << 40);
	for (unsigned i = 0; i < WEFT_COUNT(ops); i++) {
		unsigned len = ops[i] == WEFT_FLUSH ? 0 : 512;
		assert_int_equal(rig_ask(&rig, ops[i], 0, 0, len, ops[i] <= WEFT_WRITE ? data : NULL), 0);
	}
	rig_unmake(&rig);
}

static void beyond_the_end_is_refused(void **state)
{
	char data[512];

	(void)state;
	rig_make(&rig, "null:1MiB");
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 1 << 20, 512, data), -ERANGE);
	assert_int_equal(rig_resize(&rig, rig.object, 2 << 20), 0);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 1 << 20, 512, data), 0);
	rig_unmake(&rig);
}

static void sizes_that_make_no_sense_are_refused(void **state)
{
	struct weft_why why;

	(void)state;
	assert_int_equal(rig_try(&rig, "null:1000", &why), -EINVAL);
	assert_string_equal(why.text, "null: size=1000 is not a multiple of block=512: give size=1024");
	assert_int_equal(rig_try(&rig, "null:1MiB,block=3000", &why), -EINVAL);
	assert_string_equal(why.text, "null: block=3000: a power of two from 512 to 1MiB is needed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(reads_leave_the_memory_as_it_is),
		RIG_TEST(zero_fills_the_memory_of_reads),
		RIG_TEST(every_operation_succeeds),
		RIG_TEST(beyond_the_end_is_refused),
		RIG_TEST(sizes_that_make_no_sense_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
