/* SPDX-License-Identifier: BSD-2-Clause */
/* What a device says of itself is read as far as it makes sense. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>

#include "core/extents.h"

#define ROOM 4

static struct weft_extent room[ROOM];

static struct extents told(const struct weft_extent *answer, uint64_t from, uint64_t to, int status)
{
	struct extents extents = { .extent = room, .room = ROOM };

	extents_take(&extents, answer, from, to, status);
	return extents;
}

static void runs_of_the_same_kind_are_one(void **state)
{
	const struct weft_extent answer[ROOM] = { { 4096, 4096, 0, 0 }, { 8192, 4096, WEFT_EXTENT_HOLE, 0 },
		{ 12288, 512, WEFT_EXTENT_HOLE | WEFT_EXTENT_ZERO, 0 }, { 12800, 512, WEFT_EXTENT_ZERO, 0 } };
	struct extents extents = told(answer, 4096, 65536, 0);
	bool zero = true;

	(void)state;
	assert_int_equal(extents.to, 13312); /* of the rest it has not said anything */
	assert_int_equal(extents_run(&extents, 4096, &zero), 12288); /* a hole that does not say that it reads as zeroes is data */
	assert_false(zero);
	assert_int_equal(extents_run(&extents, 9000, &zero), 12288);
	assert_int_equal(extents_run(&extents, 12288, &zero), 13312);
	assert_true(zero);
}

static void what_goes_beyond_the_question_is_cut_off(void **state)
{
	const struct weft_extent answer[ROOM] = { { 4096, UINT64_MAX, WEFT_EXTENT_ZERO, 0 }, { 8192, 4096, 0, 0 } };
	struct extents extents = told(answer, 4096, 8192, 0);
	bool zero = false;

	(void)state;
	assert_int_equal(extents.to, 8192);
	assert_int_equal(extents_run(&extents, 4096, &zero), 8192);
	assert_true(zero);
}

/* Each of these says that zeroes are there, and none is believed. */
static void an_answer_that_makes_no_sense_says_data(void **state)
{
	static const struct {
		struct weft_extent answer[ROOM];
		int status;
	} cases[] = {
		{ { { 0, 8192, WEFT_EXTENT_ZERO, 0 } }, 0 },           /* begins before the question */
		{ { { 4608, 512, WEFT_EXTENT_ZERO, 0 } }, 0 },         /* ... behind it */
		{ { { 4096, 0, WEFT_EXTENT_ZERO, 0 }, { 4096, 4096, WEFT_EXTENT_ZERO, 0 } }, 0 }, /* has ended */
		{ { { 4096, 4096, WEFT_EXTENT_ZERO, 0 } }, -EIO },
	};
	bool zero;

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(cases); i++) {
		struct extents extents = told(cases[i].answer, 4096, 8192, cases[i].status);

		zero = true;
		assert_int_equal(extents_run(&extents, 4096, &zero), 8192);
		assert_false(zero);
	}
}

static void a_gap_ends_what_is_known(void **state)
{
	const struct weft_extent answer[ROOM] = { { 0, 4096, WEFT_EXTENT_ZERO, 0 }, { 8192, 4096, WEFT_EXTENT_ZERO, 0 } };

	(void)state;
	assert_int_equal(told(answer, 0, 65536, 0).to, 4096);
}

static void a_block_is_zeroes_as_a_whole_or_not_at_all(void **state)
{
	const struct weft_extent answer[ROOM] = { { 0, 512, 0, 0 }, { 512, 4096 + 512, WEFT_EXTENT_ZERO, 0 },
		{ 5120, 3072, 0, 0 }, { 8192, 9216, WEFT_EXTENT_ZERO, 0 } };
	struct extents extents = told(answer, 0, 17408, 0);
	bool zero = true;

	(void)state;
	assert_int_equal(extents_run_of_blocks(&extents, 0, 4096, &zero), 4096);
	assert_false(zero);
	assert_int_equal(extents_run_of_blocks(&extents, 4096, 4096, &zero), 8192); /* 4096 to 5120 are, the rest is not */
	assert_false(zero);
	assert_int_equal(extents_run_of_blocks(&extents, 8192, 4096, &zero), 16384);
	assert_true(zero);
	assert_int_equal(extents_run_of_blocks(&extents, 16384, 4096, &zero), 20480);
	assert_false(zero);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_of_the_same_kind_are_one),
		cmocka_unit_test(what_goes_beyond_the_question_is_cut_off),
		cmocka_unit_test(an_answer_that_makes_no_sense_says_data),
		cmocka_unit_test(a_gap_ends_what_is_known),
		cmocka_unit_test(a_block_is_zeroes_as_a_whole_or_not_at_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
