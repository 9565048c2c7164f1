/* SPDX-License-Identifier: BSD-2-Clause */
/* The state file of a copy: ranges add up, what was printed is read again, and nothing else is. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/copy_state.h"

static struct copy_state filled(unsigned n, const uint64_t *bounds)
{
	struct copy_state state = { .size = 1 << 20 };

	for (unsigned i = 0; i < n; i += 2)
		copy_state_add(&state, bounds[i], bounds[i + 1]);
	return state;
}

static void ranges_that_touch_become_one(void **state)
{
	struct copy_state s = filled(6, (const uint64_t[]){ 0, 10, 20, 30, 10, 20 });

	(void)state;
	assert_int_equal(s.n, 1);
	assert_int_equal(s.range[0].from, 0);
	assert_int_equal(s.range[0].to, 30);
	copy_state_add(&s, 40, 50);
	copy_state_add(&s, 5, 45);
	copy_state_add(&s, 7, 7);
	assert_int_equal(s.n, 1);
	assert_int_equal(copy_state_bytes(&s), 50);
}

static void ranges_stay_in_order(void **state)
{
	struct copy_state s = filled(6, (const uint64_t[]){ 40, 50, 0, 10, 20, 30 });

	(void)state;
	assert_int_equal(s.n, 3);
	assert_int_equal(s.range[1].from, 20);
	assert_int_equal(copy_state_at(&s, 0)->from, 0);
	assert_int_equal(copy_state_at(&s, 10)->from, 20);
	assert_int_equal(copy_state_at(&s, 49)->from, 40);
	assert_null(copy_state_at(&s, 50));
}

/* The same numbers each time (Knuth's multiplier), whatever the C library has. */
static uint64_t chance(uint64_t *seed, uint64_t below)
{
	*seed = *seed * UINT64_C(6364136223846793005) + 1;
	return (*seed >> 33) % below;
}

static void random_ranges_are_what_a_bitmap_says(void **state)
{
	static struct copy_state s;
	uint8_t map[300] = { 0 };
	uint64_t seed = 1;

	(void)state;
	for (unsigned n = 0; n < 2000; n++) {
		uint64_t from = chance(&seed, 300), to = from + chance(&seed, 4);

		if (n % 100 == 0) {
			memset(map, 0, sizeof(map));
			s = (struct copy_state){ .size = 300 };
		}
		to = to < 300 ? to : 300;
		memset(map + from, 1, to - from);
		copy_state_add(&s, from, to);
		for (unsigned at = 0; at < 300; at++) {
			const struct copy_range *range = copy_state_at(&s, at);

			assert_int_equal(range != NULL && range->from <= at, map[at]);
		}
	}
}

static void without_room_the_shortest_is_forgotten(void **state)
{
	static struct copy_state s;

	(void)state;
	s = (struct copy_state){ .size = 1 << 20 };
	for (unsigned i = 0; i < COPY_RANGES_MAX; i++)
		copy_state_add(&s, i * 100, i * 100 + (i == 7 ? 3 : 50));
	copy_state_add(&s, 90000, 90050);
	assert_int_equal(s.n, COPY_RANGES_MAX);
	assert_int_equal(copy_state_at(&s, 700)->from, 800);
	assert_int_equal(copy_state_at(&s, 90000)->from, 90000);
}

/* ---- text ---- */

static const uint64_t some[] = { 0, 4096, 8192, 16384, 65536, 1 << 20 };
static char text[4096];

static size_t printed(const struct copy_state *s)
{
	long len = copy_state_print(s, "file:a\"b.img", "mem:1MiB", text, sizeof(text));

	assert_in_range(len, 1, sizeof(text));
	return (size_t)len;
}

static void what_was_printed_is_read_again(void **state)
{
	struct copy_state s = filled(6, some), back;
	size_t len = printed(&s);
	struct weft_why why;

	(void)state;
	assert_int_equal(copy_state_parse(text, len, "file:a\"b.img", "mem:1MiB", "st", &back, &why), 0);
	assert_int_equal(back.size, s.size);
	assert_int_equal(back.n, s.n);
	assert_memory_equal(back.range, s.range, s.n * sizeof(s.range[0]));
}

static void other_devices_are_refused(void **state)
{
	struct copy_state s = filled(6, some), back;
	size_t len = printed(&s);
	struct weft_why why;

	(void)state;
	assert_int_equal(copy_state_parse(text, len, "file:c.img", "mem:1MiB", "st", &back, &why), -EINVAL);
	assert_non_null(strstr(why.text, "belongs to a copy of"));
	assert_int_equal(copy_state_parse(text, len, "file:a\"b.img", "mem:2MiB", "st", &back, &why), -EINVAL);
}

static void each_byte_that_is_changed_or_missing_is_noticed(void **state)
{
	struct copy_state s = filled(6, some), back;
	size_t len = printed(&s);
	struct weft_why why;

	(void)state;
	for (size_t i = 0; i < len; i++) {
		char was = text[i];

		for (unsigned bit = 0; bit < 8; bit++) {
			text[i] = (char)(was ^ 1 << bit);
			assert_int_equal(copy_state_parse(text, len, "file:a\"b.img", "mem:1MiB", "st", &back, &why), -EINVAL);
		}
		text[i] = was;
		assert_int_equal(copy_state_parse(text, i, "file:a\"b.img", "mem:1MiB", "st", &back, &why), -EINVAL);
	}
	assert_non_null(strstr(why.text, "damaged: remove it"));
}

/* Whoever can make the checksum still cannot say nonsense. */
static void nonsense_is_refused(void **state)
{
	static struct copy_state s, back;
	const struct copy_range bad[][2] = { { { 4096, 4096 }, { 8192, 9000 } }, { { 8192, 9000 }, { 0, 4096 } },
		{ { 0, 4096 }, { 1000, 9000 } }, { { 0, 4096 }, { 8192, (1 << 20) + 1 } } };
	struct weft_why why;

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(bad); i++) {
		s = (struct copy_state){ .size = 1 << 20, .n = 2, .range = { bad[i][0], bad[i][1] } };
		assert_int_equal(copy_state_parse(text, printed(&s), "file:a\"b.img", "mem:1MiB", "st", &back, &why), -EINVAL);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ranges_that_touch_become_one),
		cmocka_unit_test(ranges_stay_in_order),
		cmocka_unit_test(random_ranges_are_what_a_bitmap_says),
		cmocka_unit_test(without_room_the_shortest_is_forgotten),
		cmocka_unit_test(what_was_printed_is_read_again),
		cmocka_unit_test(other_devices_are_refused),
		cmocka_unit_test(each_byte_that_is_changed_or_missing_is_noticed),
		cmocka_unit_test(nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
