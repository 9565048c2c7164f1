/* SPDX-License-Identifier: BSD-2-Clause */
/* slice: a range of the device below. */
#include "devices/rig_test.h"

RIG_FOR_EACH_TEST(1, 1)

static void conforms(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++)
		rig_conform("slice:[mem:4MiB],offset=1MiB,size=1MiB", seed, 300);
}

static void it_touches_its_range_only(void **state)
{
	char data[512], back[512];

	(void)state;
	memset(data, 's', sizeof(data));
	rig_make(&rig, "mirror:[slice:[mem:1MiB],offset=4096,size=8192],[mem:8192]");
	assert_int_equal(rig.blk->size, 8192);
	rig_unmake(&rig);
	rig_make(&rig, "slice:[mem:64KiB,name=m],offset=4096,size=8192");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 512, sizeof(data), data), 0);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 8192, sizeof(back), back), -ERANGE);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 512, sizeof(back), back), 0);
	assert_memory_equal(data, back, sizeof(data));
	rig_unmake(&rig);
}

static void block_status_is_told_in_its_own_offsets(void **state)
{
	struct weft_extent extents[4] = { 0 };
	char data[512] = { 1 };
	struct rig_request r = { .op = WEFT_STATUS, .len = 1 << 20, .nsegs = 1 };

	(void)state;
	rig_make(&rig, "slice:[mem:4MiB],offset=1MiB,size=1MiB");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 131072, sizeof(data), data), 0);
	r.segs[0] = (struct weft_seg){ .base = extents, .len = sizeof(extents) };
	rig_start(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), 0);
	assert_int_equal(extents[0].offset, 0);
	assert_int_equal(extents[0].len, 131072);
	assert_int_equal(extents[1].offset, 131072);
	assert_int_equal(extents[1].flags, 0);
	assert_int_equal(extents[2].offset, 131072 + 65536);
	assert_int_equal(extents[2].offset + extents[2].len, 1 << 20);
	assert_int_equal(extents[3].len, 0);
	rig_unmake(&rig);
}

static void a_range_beyond_the_device_below_is_refused(void **state)
{
	struct weft_why why;

	(void)state;
	assert_int_equal(rig_try(&rig, "slice:[mem:1MiB],offset=1MiB", &why), -EINVAL);
	assert_string_equal(why.text,
		"slice: offset=1048576 is not inside the device below, which has 1048576 bytes: "
		"give a smaller offset");
	assert_int_equal(rig_try(&rig, "slice:[mem:1MiB],offset=512KiB,size=1MiB", &why), -EINVAL);
	assert_string_equal(why.text,
		"slice: size=1048576 from offset=524288 ends beyond the device below, which has "
		"1048576 bytes: give size=524288 or less");
	assert_int_equal(rig_try(&rig, "slice:[mem:1MiB],offset=1000", &why), -EINVAL);
}

static void without_a_size_it_follows_the_end_of_the_device_below(void **state)
{
	(void)state;
	rig_make(&rig, "slice:[null:1MiB],offset=4096");
	assert_int_equal(rig.blk->size, (1 << 20) - 4096);
	assert_int_equal(rig_resize(&rig, rig_below(rig.object, 0), 2 << 20), 0);
	assert_int_equal(rig.blk->size, (2 << 20) - 4096);
	assert_int_equal(rig_resize(&rig, rig.object, 8192), 0);
	assert_int_equal(rig.blk->size, 8192);
	assert_int_equal(rig_resize(&rig, rig_below(rig.object, 0), 8192), 0);
	assert_int_equal(rig.blk->size, 4096);
	assert_int_equal(rig_resize(&rig, rig.object, 1 << 20), -EINVAL);
	rig_unmake(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		RIG_TEST(it_touches_its_range_only),
		RIG_TEST(block_status_is_told_in_its_own_offsets),
		RIG_TEST(a_range_beyond_the_device_below_is_refused),
		RIG_TEST(without_a_size_it_follows_the_end_of_the_device_below),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
