/* SPDX-License-Identifier: BSD-2-Clause */
/* stripe: chunks side by side. */
#include "devices/rig_test.h"

#include "core/blk.h"

RIG_FOR_EACH_TEST(1, 1)

static uint64_t requests_of(unsigned leg)
{
	struct weft_stats stats;

	weft_blk_stats(weft_object_query(rig_below(rig.object, leg), &weft_blk_iface), &stats);
	return stats.of[WEFT_STAT_READ].requests + stats.of[WEFT_STAT_WRITE].requests +
		stats.of[WEFT_STAT_FLUSH].requests + stats.of[WEFT_STAT_OTHER].requests;
}

static void conforms(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		rig_conform("stripe:[mem:1MiB],[mem:1MiB],[mem:2MiB]", seed, 300);
		rig_conform("stripe:[mem:1MiB],[mem:1MiB],chunk=512", seed, 300);
		rig_conform("stripe:[home:[slice:[mem:1MiB]]],[home:[slice:[mem:1MiB]]]", seed, 300);
		/* What each leaves behind a hop lies where the others have hops. */
		rig_conform("stripe:[compare-write:[mem:1MiB]],[compare-write:[mem:1MiB]],[slice:[slice:[mem:1MiB]]]", seed, 300);
		rig_conform("contract:[stripe:[delay:[mem:1MiB],all=50us],[mem:1MiB],[mem:1MiB],[mem:1MiB],["
			    "mem:1MiB],chunk=4KiB]",
			seed, 300);
	}
}

/* What one leg leaves behind a hop need not be cleared for the other only if their hops lie at the same places, to the bottom. */
static void legs_are_alike_where_their_hops_lie_at_the_same_places(void **state)
{
	static const struct {
		const char *legs;
		bool alike;
	} cases[] = {
		{ "[mem:1MiB],[mem:2MiB]", true },
		{ "[slice:[delay:[mem:1MiB]]],[slice:[delay:[mem:1MiB]]]", true },
		{ "[slice:[mem:1MiB]],[mem:1MiB]", false },
		{ "[slice:[delay:[mem:1MiB]]],[slice:[slice:[slice:[mem:1MiB]]]]", false }, /* as long, and other inside */
		{ "[mirror:[mem:1MiB],[mem:1MiB]],[stripe:[mem:1MiB],[mem:1MiB]]", false },
		{ "[home:[mem:1MiB]],[home:[mem:1MiB]]", false }, /* on each reactor another one lives */
	};

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(cases); i++) {
		const struct weft_blk *leg[2];
		char text[128];

		snprintf(text, sizeof(text), "stripe:%s", cases[i].legs);
		rig_make(&rig, text);
		for (unsigned n = 0; n < 2; n++)
			leg[n] = weft_object_query(rig_below(rig.object, n), &weft_blk_iface);
		if (blk_alike(leg[0], leg[1]) != cases[i].alike)
			fail_msg("%s", text);
		rig_unmake(&rig);
	}
}

/* Seen through slices of the same memory: chunk n lies on leg n % 3, at n / 3. */
static void chunks_lie_on_the_legs_in_turn(void **state)
{
	static char data[6 * 4096], back[4096];

	(void)state;
	for (unsigned i = 0; i < 6; i++)
		memset(data + (size_t)i * 4096, 'a' + (int)i, 4096);
	for (unsigned leg = 0; leg < 3; leg++) {
		char text[128];

		snprintf(text, sizeof(text),
			"stripe:[file:l0,create=8KiB],[file:l1,create=8KiB],[file:l2,create=8KiB],chunk="
			"4KiB");
		rig_make(&rig, text);
		assert_int_equal(rig.blk->size, sizeof(data));
		assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
		rig_unmake(&rig);
		for (unsigned chunk = 0; chunk < 2; chunk++) {
			snprintf(text, sizeof(text), "slice:[file:l%u],offset=%u", leg, chunk * 4096);
			rig_make(&rig, text);
			assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(back), back), 0);
			assert_memory_equal(back, data + (size_t)(chunk * 3 + leg) * 4096, sizeof(back));
			rig_unmake(&rig);
		}
	}
}

static void a_long_request_has_at_most_four_children(void **state)
{
	static char data[16 * 4096];
	struct rig_request r = { .op = WEFT_WRITE, .len = sizeof(data), .nsegs = 1 };
	uint64_t started = sim_now_ns(rig.world);

	(void)state;
	rig_make(&rig, "stripe:[delay:[mem:1MiB],all=1ms],[delay:[mem:1MiB],all=1ms],chunk=4KiB");
	started = sim_now_ns(rig.world);
	r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
	rig_start(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), 0);
	assert_true(r.ended_ns - started >= 4000000 &&
		r.ended_ns - started < 5000000); /* 16 pieces, 4 at a time */
	rig_unmake(&rig);
}

static void a_long_discard_asks_each_leg_once(void **state)
{
	(void)state;
	rig_make(&rig, "stripe:[mem:1MiB],[mem:1MiB],[mem:1MiB],[mem:1MiB],[mem:1MiB],[mem:1MiB],chunk=4KiB");
	assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 0, 6 << 20, NULL), 0);
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), 0);
	for (unsigned leg = 0; leg < 6; leg++)
		assert_int_equal(requests_of(leg), 2);
	rig_unmake(&rig);
}

static void the_first_error_ends_it(void **state)
{
	static char data[16 * 4096];

	(void)state;
	rig_make(&rig, "stripe:[mem:1MiB],[error:[mem:1MiB],errno=ENOSPC],chunk=4KiB");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), -ENOSPC);
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), -ENOSPC);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, 4096, data), 0);
	assert_true(requests_of(1) <= 5);
	rig_unmake(&rig);
}

static void an_abort_ends_it_early(void **state)
{
	static char data[16 * 4096];
	struct rig_request r = { .op = WEFT_WRITE, .len = sizeof(data), .nsegs = 1 };
	uint64_t started;

	(void)state;
	rig_make(&rig, "stripe:[delay:[mem:1MiB],all=1s],[delay:[mem:1MiB],all=1s],chunk=4KiB");
	started = sim_now_ns(rig.world);
	r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
	rig_start(&rig, &r);
	rig_run(&rig, 1000000);
	rig_abort(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), -ECANCELED);
	assert_true(r.ended_ns - started < 100000000);
	rig_unmake(&rig);
}

/* A disk cannot take back what it was asked; but nothing more is asked. */
static void after_an_abort_nothing_more_is_started(void **state)
{
	static _Alignas(4096) char data[16 * 4096];
	struct rig_request r = { .op = WEFT_WRITE, .len = sizeof(data), .nsegs = 1 };

	(void)state;
	rig_make(&rig, "stripe:[file:a.img,create=1MiB],[file:b.img,create=1MiB],chunk=4KiB");
	sim_file_latency(rig.world, "a.img", 10000000, 10000000);
	sim_file_latency(rig.world, "b.img", 10000000, 10000000);
	r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
	rig_start(&rig, &r);
	rig_run(&rig, 1000000);
	rig_abort(&rig, &r);
	assert_int_equal(rig_wait(&rig, &r), -ECANCELED);
	assert_int_equal(requests_of(0) + requests_of(1), 4);
	rig_unmake(&rig);
}

static void only_whole_rows_count(void **state)
{
	struct weft_why why;

	(void)state;
	rig_make(&rig, "stripe:[null:1MiB],[null:100KiB]");
	assert_int_equal(rig.blk->size, 2 * 65536);
	assert_int_equal(rig_resize(&rig, rig_below(rig.object, 1), 1 << 20), 0);
	assert_int_equal(rig.blk->size, 2 << 20);
	rig_unmake(&rig);
	assert_int_equal(rig_try(&rig, "stripe:[null:1MiB],[null:32KiB]", &why), -EINVAL);
	assert_int_equal(rig_try(&rig, "stripe:[null:1MiB],[null:1MiB],chunk=3KiB", &why), -EINVAL);
	assert_string_equal(why.text,
		"stripe: chunk=3072: a power of two, not less than the legs' block of 512 bytes, is "
		"needed");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		RIG_TEST(legs_are_alike_where_their_hops_lie_at_the_same_places),
		RIG_TEST(chunks_lie_on_the_legs_in_turn),
		RIG_TEST(a_long_request_has_at_most_four_children),
		RIG_TEST(a_long_discard_asks_each_leg_once),
		RIG_TEST(the_first_error_ends_it),
		RIG_TEST(an_abort_ends_it_early),
		RIG_TEST(after_an_abort_nothing_more_is_started),
		RIG_TEST(only_whole_rows_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
