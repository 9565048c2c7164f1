/* SPDX-License-Identifier: BSD-2-Clause */
/* mirror: changes that overlap (M9). */
#include "devices/mirror/legs_test.h"

/* Starts `b` while `a` is under way, on the last reactor; both are acknowledged. */
static void do_both(struct rig_request *a, struct rig_request *b)
{
	rig_start(&rig, a);
	b->lane = rig.lanes - 1;
	rig_start(&rig, b);
	assert_int_equal(rig_wait(&rig, a), 0);
	assert_int_equal(rig_wait(&rig, b), 0);
}

/* What each leg holds, with read=round-robin. */
static void legs_agree(uint64_t offset, uint64_t len, char back[2][8192])
{
	for (unsigned leg = 0; leg < 2; leg++)
		assert_int_equal(rig_ask(&rig, WEFT_READ, 0, offset, len, back[leg]), 0);
	assert_memory_equal(back[0], back[1], len);
}

static void legs_agree_after_overlapping_changes(const char *text, unsigned lanes)
{
	static const unsigned ops[] = { WEFT_WRITE, WEFT_WRITE, WEFT_ZERO, WEFT_DISCARD };
	static char data[2][8192], back[2][8192];

	rig_close(&rig);
	rig_open(&rig, 1, lanes);
	for (unsigned leg = 0; leg < 2; leg++) {
		const char *path = leg == 0 ? "a.img" : "b.img";

		sim_file_make(rig.world, path, 32 << 20);
		sim_file_latency(rig.world, path, 1000, 2000000);
	}
	rig_make(&rig, text);
	for (unsigned i = 0; i < 80; i++) {
		/* around where the turns' numbers begin again; now the same place, now a part of it */
		struct rig_request r[2] = { { .op = WEFT_WRITE, .offset = (3946 - i % 3) * 4096ull, .len = 8192, .nsegs = 1 },
			{ .op = ops[i % 4], .offset = 3946 * 4096ull, .len = 4096, .nsegs = ops[i % 4] == WEFT_WRITE } };

		if (i % 3 == 2) /* they share the last block of the first one */
			r[1].offset -= 512, r[1].op = WEFT_WRITE, r[1].nsegs = 1;
		for (unsigned n = 0; n < 2; n++) {
			memset(data[n], (int)(1 + 2 * i + n), sizeof(data[n]));
			r[n].segs[0] = (struct weft_seg){ .base = data[n], .len = (uint32_t)r[n].len };
		}
		do_both(&r[0], &r[1]);
		legs_agree(3944 * 4096ull, 8192, back);
		legs_agree(3946 * 4096ull, 8192, back);
		if (i % 3 == 2 || back[0][0] != data[0][0]) /* one of them */
			assert_int_equal(back[0][0], r[1].op == WEFT_WRITE ? data[1][0] : 0);
	}
	rig_unmake(&rig);
}

static void legs_agree_whatever_overlaps(void **state)
{
	(void)state;
	for (unsigned lanes = 1; lanes <= 3; lanes += 2) {
		legs_agree_after_overlapping_changes("mirror:[file:a.img],[file:b.img],state=s,rebuild=off", lanes);
		legs_agree_after_overlapping_changes("mirror:[file:a.img],[file:b.img],state=s,region=4KiB", lanes);
		legs_agree_after_overlapping_changes("mirror:[file:a.img],[file:b.img]", lanes);
	}
}

/* A queue at one place, from several reactors, and something long that needs every turn; one of them is aborted. */
static void overlapping_changes_go_one_by_one_and_others_at_once(void **state)
{
	static const struct { uint64_t offset, len; unsigned op, ends_ms; int status; } of[] = {
		{ 1 << 20, 4096, WEFT_WRITE, 1, 0 },
		{ (1 << 20) + 4096, 4096, WEFT_WRITE, 1, 0 },
		{ (1 << 20) + 2048, 4096, WEFT_WRITE, 2, 0 },
		{ 1 << 20, 512, WEFT_WRITE, 2, -ECANCELED },
		{ 1 << 20, 4096, WEFT_WRITE, 3, 0 },
		{ 0, 32 << 20, WEFT_ZERO, 4, 0 },
		{ 31 << 20, 4096, WEFT_WRITE, 5, 0 },
		{ 0, 4096, WEFT_WRITE, 5, 0 },
	};
	enum { N = sizeof(of) / sizeof(of[0]) };
	static char data[4096], back[2][8192];
	struct rig_request r[N];
	uint64_t began;

	(void)state;
	rig_close(&rig);
	rig_open(&rig, 1, 3);
	rig_make(&rig, "mirror:[delay:[mem:32MiB],all=1ms],[mem:32MiB]");
	began = sim_now_ns(rig.world);
	for (unsigned i = 0; i < N; i++) {
		memset(data, (int)i + 1, sizeof(data));
		r[i] = (struct rig_request){ .op = of[i].op, .offset = of[i].offset, .len = of[i].len, .lane = i % 3,
			.nsegs = of[i].op == WEFT_WRITE };
		r[i].segs[0] = (struct weft_seg){ .base = data, .len = (uint32_t)of[i].len, .foreign = 1 };
		rig_start(&rig, &r[i]);
		rig_run(&rig, 10000);
	}
	rig_abort(&rig, &r[3]);
	for (unsigned i = 0; i < N; i++) {
		assert_int_equal(rig_wait(&rig, &r[i]), of[i].status);
		assert_in_range(r[i].ended_ns - began, of[i].ends_ms * 1000000u, of[i].ends_ms * 1000000u + 200000);
	}
	legs_agree(0, 8192, back);
	assert_int_equal(back[0][4096], 0);
	legs_agree(31 << 20, 8192, back);
	rig_unmake(&rig);
}

/* Real reactors hand turns to each other. */
static void legs_agree_whatever_overlaps_on_threads(void **state)
{
	enum { N = 24 };
	static char data[N][16384], back[2][8192];
	struct rig_request r[N];

	(void)state;
	rig_close(&rig);
	rig_open_linux(&rig, 1, 3);
	rig_make(&rig, "mirror:[delay:[mem:1MiB],write=20us,jitter=20us],[delay:[mem:1MiB],write=20us,jitter=20us]");
	for (unsigned round = 0; round < 40; round++) {
		for (unsigned i = 0; i < N; i++) {
			memset(data[i], (int)(round + i), sizeof(data[i]));
			r[i] = (struct rig_request){ .op = WEFT_WRITE, .lane = i % 3, .offset = i % 4 * 4096,
				.len = sizeof(data[i]) - i % 4 * 4096, .nsegs = 1 };
			r[i].segs[0] = (struct weft_seg){ .base = data[i], .len = (uint32_t)r[i].len };
			rig_start(&rig, &r[i]);
		}
		for (unsigned i = 0; i < N; i++)
			assert_int_equal(rig_wait(&rig, &r[i]), 0);
		legs_agree(0, 8192, back);
		legs_agree(8192, 8192, back);
	}
	rig_unmake(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(legs_agree_whatever_overlaps),
		RIG_TEST(legs_agree_whatever_overlaps_on_threads),
		RIG_TEST(overlapping_changes_go_one_by_one_and_others_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
