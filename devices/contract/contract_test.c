/* SPDX-License-Identifier: BSD-2-Clause */
/* contract: catches a device that breaks its promises, and no other. */
#include "devices/rig_test.h"

static struct rig rig;

static int setup(void **state)
{
	(void)state;
	rig_open(&rig, 1, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	rig_close(&rig);
	return 0;
}

static char data[4096], back[4096];

static int ask(unsigned op, uint64_t offset, char byte)
{
	memset(data, byte, sizeof(data));
	if (op == WEFT_READ)
		return rig_ask(&rig, op, 0, offset, sizeof(back), back);
	return rig_ask(
		&rig, op, 0, offset, op == WEFT_FLUSH ? 0 : sizeof(data), op == WEFT_WRITE ? data : NULL);
}

static void conforms(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		rig_conform("contract:[mem:1MiB]", seed, 300);
		rig_conform("contract:[file:disk.img,create=1MiB]", seed, 300);
	}
}

static void describe_tells_what_was_seen(void **state)
{
	(void)state;
	rig_make(&rig, "contract:[mem:1MiB]");
	assert_int_equal(ask(WEFT_WRITE, 0, 'a'), 0);
	assert_int_equal(ask(WEFT_READ, 0, 0), 0);
	assert_string_equal(rig_fact(rig.object, "blocks judged"), "8");
	assert_string_equal(rig_fact(rig.object, "writes acknowledged, not flushed"), "1");
	assert_int_equal(ask(WEFT_FLUSH, 0, 0), 0);
	assert_string_equal(rig_fact(rig.object, "writes acknowledged, not flushed"), "0");
	assert_string_equal(rig_fact(rig.object, "violations"), "0");
	rig_unmake(&rig);
}

/* ---- broken disks ---- */

static void broken(enum sim_fault fault, unsigned op, int expected)
{
	rig_make(&rig, "contract:[file:disk.img,create=1MiB]");
	sim_file_fault(rig.world, "disk.img", op, 1, fault, -EIO);
	assert_int_equal(ask(WEFT_WRITE, 0, 'a'), fault == SIM_FAULT_ERROR ? -EIO : 0);
	assert_int_equal(ask(WEFT_READ, 0, 0), expected);
	assert_string_equal(rig_fact(rig.object, "violations"), expected == 0 ? "0" : "1");
	rig_unmake(&rig);
}

static void a_lost_write_is_caught(void **state)
{
	(void)state;
	broken(SIM_FAULT_LOST, WEFT_WRITE, -EIO);
}

static void a_misdirected_write_is_caught(void **state)
{
	(void)state;
	broken(SIM_FAULT_MISDIRECTED, WEFT_WRITE, -EIO);
}

static void a_flipped_bit_is_caught(void **state)
{
	(void)state;
	broken(SIM_FAULT_BIT_ROT, WEFT_READ, -EIO);
}

static void a_failed_write_may_have_happened_or_not(void **state)
{
	(void)state;
	broken(SIM_FAULT_ERROR, WEFT_WRITE, 0);
	rig_make(&rig, "contract:[error:[mem:1MiB],op=write,first=1,when=after]");
	assert_int_equal(ask(WEFT_WRITE, 0, 'b'), -EIO);
	assert_int_equal(ask(WEFT_READ, 0, 0), 0);
	assert_int_equal(back[0], 'b');
	rig_unmake(&rig);
}

/* A mirror whose second leg is another disk than before answers now this, now that. */
static void a_block_that_was_never_written_must_stay_as_it_was_read(void **state)
{
	(void)state;
	rig_make(&rig, "file:a.img,create=64KiB");
	assert_int_equal(ask(WEFT_WRITE, 0, 'a'), 0);
	rig_unmake(&rig);
	rig_make(&rig, "contract:[mirror:[file:a.img],[file:b.img,create=64KiB]]");
	assert_int_equal(ask(WEFT_READ, 0, 0), 0);
	assert_int_equal(ask(WEFT_READ, 0, 0), -EIO);
	assert_int_equal(ask(WEFT_READ, 4096, 0), 0);
	assert_int_equal(ask(WEFT_READ, 4096, 0), 0);
	rig_unmake(&rig);
}

static void a_zeroed_range_must_read_as_zeroes(void **state)
{
	(void)state;
	rig_make(&rig, "contract:[file:disk.img,create=64KiB]");
	assert_int_equal(ask(WEFT_WRITE, 0, 'a'), 0);
	assert_int_equal(ask(WEFT_ZERO, 0, 0), 0);
	assert_int_equal(ask(WEFT_READ, 0, 0), 0);
	assert_int_equal(back[0], 0);
	sim_file_fault(rig.world, "disk.img", WEFT_READ, 1, SIM_FAULT_BIT_ROT, 0);
	assert_int_equal(ask(WEFT_READ, 0, 0), -EIO);
	rig_unmake(&rig);
}

static void of_two_writes_at_once_either_may_win_but_it_stays(void **state)
{
	static char other[4096];
	struct rig_request r[2] = { 0 };

	(void)state;
	rig_make(&rig, "contract:[delay:[mem:1MiB],write=1ms,jitter=900us]");
	for (unsigned round = 0; round < 20; round++) {
		memset(data, 'a', sizeof(data));
		memset(other, 'b', sizeof(other));
		for (unsigned i = 0; i < 2; i++) {
			r[i] = (struct rig_request){ .op = WEFT_WRITE, .len = sizeof(data), .nsegs = 1 };
			r[i].segs[0] =
				(struct weft_seg){ .base = i == 0 ? data : other, .len = sizeof(data) };
			rig_start(&rig, &r[i]);
		}
		assert_int_equal(rig_wait(&rig, &r[0]), 0);
		assert_int_equal(rig_wait(&rig, &r[1]), 0);
		assert_int_equal(ask(WEFT_READ, 0, 0), 0);
		assert_int_equal(ask(WEFT_READ, 0, 0), 0);
	}
	assert_string_equal(rig_fact(rig.object, "blocks not judged (overlap in time)"), "0");
	assert_string_equal(rig_fact(rig.object, "violations"), "0");
	rig_unmake(&rig);
}

static void a_client_that_changes_its_memory_is_caught_or_copied(void **state)
{
	struct rig_request r = { .op = WEFT_WRITE, .len = sizeof(data), .nsegs = 1 };

	(void)state;
	rig_make(&rig, "contract:[delay:[mem:1MiB],write=1ms]");
	for (uint8_t foreign = 0; foreign < 2; foreign++) {
		memset(data, 'a', sizeof(data));
		r.segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data), .foreign = foreign };
		rig_start(&rig, &r);
		rig_run(&rig, 500000);
		data[7] = 'x';
		assert_int_equal(rig_wait(&rig, &r), foreign ? 0 : -EIO);
	}
	rig_unmake(&rig);
}

static void a_model_that_takes_too_much_is_refused(void **state)
{
	struct weft_why why;

	(void)state;
	assert_int_equal(rig_try(&rig, "contract:[null:1TiB]", &why), -ENOMEM);
	assert_non_null(strstr(why.text, "memory=67108864 is less than"));
}

static void a_range_that_went_away_is_not_judged_when_it_is_back(void **state)
{
	(void)state;
	rig_make(&rig, "contract:[file:disk.img,create=64KiB]");
	assert_int_equal(ask(WEFT_WRITE, 32768, 'a'), 0);
	assert_int_equal(rig_resize(&rig, rig_below(rig.object, 0), 16384), 0);
	assert_int_equal(rig_resize(&rig, rig_below(rig.object, 0), 65536), 0);
	assert_int_equal(ask(WEFT_READ, 32768, 0), 0);
	rig_unmake(&rig);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		TEST(describe_tells_what_was_seen),
		TEST(a_lost_write_is_caught),
		TEST(a_misdirected_write_is_caught),
		TEST(a_flipped_bit_is_caught),
		TEST(a_failed_write_may_have_happened_or_not),
		TEST(a_block_that_was_never_written_must_stay_as_it_was_read),
		TEST(a_zeroed_range_must_read_as_zeroes),
		TEST(of_two_writes_at_once_either_may_win_but_it_stays),
		TEST(a_client_that_changes_its_memory_is_caught_or_copied),
		TEST(a_model_that_takes_too_much_is_refused),
		TEST(a_range_that_went_away_is_not_judged_when_it_is_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
