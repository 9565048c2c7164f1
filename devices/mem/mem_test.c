/* SPDX-License-Identifier: BSD-2-Clause */
/* mem: what is written is read again; space comes and goes. */
#include "devices/rig_test.h"

RIG_FOR_EACH_TEST(1, 1)

static void conforms(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		rig_conform("mem:1MiB", seed, 300);
		rig_conform("mem:4MiB,huge=on,block=4096", seed, 300);
	}
}

static struct weft_extent extent_at(uint64_t offset, uint64_t len)
{
	struct weft_extent extents[2] = { 0 };
	struct rig_request r = { .op = WEFT_STATUS, .offset = offset, .len = len, .nsegs = 1 };

	r.segs[0] = (struct weft_seg){ .base = extents, .len = sizeof(extents) };
	rig_start(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), 0);
	assert_int_equal(extents[0].offset, offset);
	return extents[0];
}

static void fresh_memory_is_a_hole_that_reads_as_zeroes(void **state)
{
	char data[4096];

	(void)state;
	memset(data, 'x', sizeof(data));
	rig_make(&rig, "mem:1MiB");
	assert_int_equal(extent_at(0, 1 << 20).len, 1 << 20);
	assert_int_equal(extent_at(0, 1 << 20).flags, WEFT_EXTENT_HOLE | WEFT_EXTENT_ZERO);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(data), data), 0);
	assert_int_equal(data[0] | data[4095], 0);
	rig_unmake(&rig);
}

static void a_write_ends_the_hole_and_a_discard_makes_it_anew(void **state)
{
	char data[512] = { 1 };

	(void)state;
	rig_make(&rig, "mem:1MiB");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 65536 + 512, sizeof(data), data), 0);
	assert_int_equal(extent_at(0, 1 << 20).len, 65536);
	assert_int_equal(extent_at(65536, 1 << 19).flags, 0);
	assert_int_equal(extent_at(65536, 1 << 19).len, 65536);
	assert_string_equal(rig_fact(rig.object, "written"), "1 of 16 pieces of 64 KiB");
	assert_int_equal(rig_ask(&rig, WEFT_DISCARD, 0, 65536, 65536, NULL), 0);
	assert_int_equal(extent_at(0, 1 << 20).len, 1 << 20);
	rig_unmake(&rig);
}

static void a_discard_that_covers_no_page_leaves_the_data(void **state)
{
	char data[1024], back[1024];

	(void)state;
	memset(data, 'd', sizeof(data));
	rig_make(&rig, "mem:1MiB");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
	assert_int_equal(rig_ask(&rig, WEFT_DISCARD, 0, 512, 512, NULL), 0);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(back), back), 0);
	assert_memory_equal(data, back, sizeof(data));
	rig_unmake(&rig);
}

static void a_long_zeroing_reaches_both_ends_and_no_further(void **state)
{
	static char data[256 << 10];

	(void)state;
	memset(data, 'd', sizeof(data));
	rig_make(&rig, "mem:256KiB");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
	assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 512, sizeof(data) - 1024, NULL), 0);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(data), data), 0);
	assert_int_equal(data[511], 'd');
	assert_int_equal(data[sizeof(data) - 512], 'd');
	for (unsigned i = 512; i < sizeof(data) - 512; i++)
		assert_int_equal(data[i], 0);
	rig_unmake(&rig);
}

static void zeroing_that_keeps_the_space_makes_no_hole(void **state)
{
	(void)state;
	rig_make(&rig, "mem:1MiB");
	assert_int_equal(rig_ask(&rig, WEFT_ZERO, WEFT_NO_UNMAP, 0, 1 << 19, NULL), 0);
	assert_int_equal(extent_at(0, 1 << 20).flags, 0);
	assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 0, 1 << 19, NULL), 0);
	assert_int_equal(extent_at(0, 1 << 20).flags, WEFT_EXTENT_HOLE | WEFT_EXTENT_ZERO);
	rig_unmake(&rig);
}

static void a_size_that_is_no_multiple_of_the_block_is_refused(void **state)
{
	struct weft_why why;

	(void)state;
	assert_int_equal(rig_try(&rig, "mem:1000", &why), -EINVAL);
	assert_string_equal(why.text, "mem: size=1000 is not a multiple of block=512: give size=1024");
}

static void no_memory_is_told(void **state)
{
	(void)state;
	assert_true(rig_fail_each(&rig, "mem:1MiB", false, NULL) > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		RIG_TEST(fresh_memory_is_a_hole_that_reads_as_zeroes),
		RIG_TEST(a_write_ends_the_hole_and_a_discard_makes_it_anew),
		RIG_TEST(a_discard_that_covers_no_page_leaves_the_data),
		RIG_TEST(a_long_zeroing_reaches_both_ends_and_no_further),
		RIG_TEST(zeroing_that_keeps_the_space_makes_no_hole),
		RIG_TEST(a_size_that_is_no_multiple_of_the_block_is_refused),
		RIG_TEST(no_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
