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

/* ---- in parts: requests that are longer than WEFT_TURN_BYTES ---- */

#define MIB ((uint64_t)1 << 20)

static char *pattern(uint64_t len, unsigned seed)
{
	char *data = test_malloc(len);

	for (uint64_t i = 0; i < len; i++)
		data[i] = (char)((i * 2654435761u + seed) >> 13);
	return data;
}

static void a_long_request_moves_each_byte_once(void **state)
{
	const uint64_t len = 5 * MIB + 1536, at = 512;
	char *data = pattern(len, 1), *back = test_malloc(len);
	struct rig_request r = { .op = WEFT_WRITE, .offset = at, .len = len, .nsegs = 2 };

	(void)state;
	rig_make(&rig, "mem:8MiB");
	r.segs[0] = (struct weft_seg){ .base = data, .len = (uint32_t)(MIB + 100) };
	r.segs[1] = (struct weft_seg){ .base = data + MIB + 100, .len = (uint32_t)(len - MIB - 100) };
	rig_start(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), 0);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, at, len, back), 0);
	assert_memory_equal(back, data, len);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, 512, back), 0);
	assert_int_equal(back[0] | back[511], 0);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, at + len, 512, back), 0);
	assert_int_equal(back[0] | back[511], 0);
	assert_string_equal(rig_fact(rig.object, "written"), "81 of 128 pieces of 64 KiB");
	rig_unmake(&rig);
	test_free(data);
	test_free(back);
}

static void expect_copied(uint64_t to, uint64_t from, uint64_t len)
{
	struct rig_request r = { .op = WEFT_COPY, .offset = to, .source = from, .len = len };
	char *data = pattern(8 * MIB, 2), *back = test_malloc(8 * MIB);

	rig_make(&rig, "mem:8MiB");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, 8 * MIB, data), 0);
	rig_start(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), 0);
	memmove(data + to, data + from, len);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, 8 * MIB, back), 0);
	assert_memory_equal(back, data, 8 * MIB);
	rig_unmake(&rig);
	test_free(data);
	test_free(back);
}

static void a_long_copy_may_overlap(void **state)
{
	(void)state;
	expect_copied(4 * MIB + 512, 512, 3 * MIB);
	expect_copied(512 * 3, 0, 5 * MIB);
	expect_copied(0, 512 * 3, 5 * MIB);
}

static void clear(uint64_t size, const char *text, unsigned op, uint64_t offset, uint64_t len, const char *written)
{
	char *data = pattern(size, 3), *back = test_malloc(size);

	rig_make(&rig, text);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, size, data), 0);
	assert_int_equal(rig_ask(&rig, op, 0, offset, len, NULL), 0);
	assert_string_equal(rig_fact(rig.object, "written"), written);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, size, back), 0);
	assert_memory_equal(back, data, offset);
	assert_memory_equal(back + offset + len, data + offset + len, size - offset - len);
	for (uint64_t i = offset; op == WEFT_ZERO && i < offset + len; i++)
		assert_int_equal(back[i], 0);
	rig_unmake(&rig);
	test_free(data);
	test_free(back);
}

/* Where parts meet nothing is left: whatever is whole pages is given back. */
static void what_is_given_back_in_parts_is_given_back_whole(void **state)
{
	(void)state;
	clear(40 * MIB, "mem:40MiB,huge=off", WEFT_ZERO, MIB + 512, 36 * MIB, "65 of 640 pieces of 64 KiB");
	clear(40 * MIB, "mem:40MiB,huge=off", WEFT_DISCARD, MIB + 512, 36 * MIB, "65 of 640 pieces of 64 KiB");
	clear(40 * MIB, "mem:40MiB,huge=on", WEFT_ZERO, MIB + 512, 36 * MIB, "3 of 20 pieces of 2048 KiB");
}

/* Who wants to know more asks again, from there on. */
static void an_answer_about_blocks_has_an_end(void **state)
{
	struct weft_extent extent;

	(void)state;
	rig_make(&rig, "mem:2GiB,huge=off");
	extent = extent_at(0, 2048 * MIB);
	assert_int_equal(extent.len, 1024 * MIB);
	assert_int_equal(extent.flags, WEFT_EXTENT_HOLE | WEFT_EXTENT_ZERO);
	assert_int_equal(extent_at(1024 * MIB, 1024 * MIB).len, 1024 * MIB);
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
		RIG_TEST(a_long_request_moves_each_byte_once),
		RIG_TEST(a_long_copy_may_overlap),
		RIG_TEST(what_is_given_back_in_parts_is_given_back_whole),
		RIG_TEST(an_answer_about_blocks_has_an_end),
		RIG_TEST(a_size_that_is_no_multiple_of_the_block_is_refused),
		RIG_TEST(no_memory_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
