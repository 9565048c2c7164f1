/* SPDX-License-Identifier: BSD-2-Clause */
/* contract: catches a device that breaks its promises, and no other. */
#include "devices/contract/model.h"
#include "devices/rig_test.h"

RIG_FOR_EACH_TEST(1, 1)

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
		rig_conform("contract:[compare-write:[mem:1MiB]]", seed, 300);
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
	/* The number that says of a compare-and-write that nothing was written says nothing of the kind of a write. */
	rig_make(&rig, "contract:[error:[mem:1MiB],op=write,first=2,when=after,errno=EILSEQ]");
	assert_int_equal(ask(WEFT_ZERO, 0, 0), 0);
	assert_int_equal(ask(WEFT_WRITE, 0, 'b'), -EILSEQ);
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

static int compare(char was, char is)
{
	static char both[2 * sizeof(data)];
	struct rig_request r = { .op = WEFT_COMPARE_WRITE, .len = sizeof(data), .nsegs = 1 };

	memset(both, was, sizeof(data));
	memset(both + sizeof(data), is, sizeof(data));
	r.segs[0] = (struct weft_seg){ .base = both, .len = sizeof(both) };
	rig_start(&rig, &r);
	return rig_wait(&rig, &r);
}

static void a_compare_and_write_is_judged_by_what_is_there(void **state)
{
	(void)state;
	rig_make(&rig, "contract:[compare-write:[file:disk.img,create=1MiB]]");
	assert_int_equal(ask(WEFT_WRITE, 0, 'a'), 0);
	assert_int_equal(compare('b', 'c'), -EILSEQ);
	assert_int_equal(compare('a', 'b'), 0);
	assert_int_equal(ask(WEFT_READ, 0, 0), 0);
	assert_int_equal(back[0], 'b');
	sim_file_fault(rig.world, "disk.img", WEFT_WRITE, 1, SIM_FAULT_LOST, 0);
	assert_int_equal(compare('b', 'c'), 0);
	assert_int_equal(compare('c', 'd'), -EIO); /* it says that they differ: what it wrote is not there */
	sim_file_fault(rig.world, "disk.img", WEFT_WRITE, 1, SIM_FAULT_LOST, 0);
	assert_int_equal(ask(WEFT_WRITE, 0, 'e'), 0);
	assert_int_equal(compare('b', 'f'), -EIO); /* it says that they are equal: that has been overwritten */
	assert_string_equal(rig_fact(rig.object, "violations"), "2");
	rig_unmake(&rig);
}

/* Nothing is known of what it has written, so that anything may be read. */
static void nothing_is_said_of_a_compare_and_write_in_memory_of_others(void **state)
{
	static char both[2 * sizeof(data)];
	struct rig_request r = { .op = WEFT_COMPARE_WRITE, .len = sizeof(data), .nsegs = 1 };

	(void)state;
	rig_make(&rig, "contract:[compare-write:[delay:[mem:1MiB],write=1ms]]");
	r.segs[0] = (struct weft_seg){ .base = both, .len = sizeof(both), .foreign = 1 };
	assert_int_equal(ask(WEFT_ZERO, 0, 0), 0);
	rig_start(&rig, &r);
	rig_run(&rig, 500000);
	memset(both, 'x', sizeof(both)); /* a guest does what it wants */
	assert_int_equal(rig_wait(&rig, &r), 0);
	assert_int_equal(ask(WEFT_READ, 0, 0), 0);
	assert_int_equal(back[0], 'x');
	assert_string_equal(rig_fact(rig.object, "violations"), "0");
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

/* ---- the model by itself: blocks of 512 bytes, each full of one letter ---- */

struct life {
	struct model_access access;
	struct weft_hop hop;
	struct weft_seg seg;
	char bytes[512];
};

static struct model model;

static void model_make(void)
{
	assert_int_equal(model_open(&model, rig.core, 65536 * 512, 512, NULL), 0);
}

static void begin(struct life *life, unsigned op, uint64_t block, char letter)
{
	memset(life, 0, sizeof(*life));
	memset(life->bytes, letter, sizeof(life->bytes));
	life->seg = (struct weft_seg){ .base = life->bytes, .len = sizeof(life->bytes) };
	life->hop.op = (uint8_t)op;
	life->hop.offset = block * 512;
	life->hop.len = 512;
	life->hop.segs = &life->seg;
	life->hop.nsegs = 1;
	model_begin(&model, &life->access, &life->hop);
}

static void end(struct life *life)
{
	model_end(&model, &life->access, &life->hop, 0);
}

static void write_block(uint64_t block, char letter)
{
	struct life life;

	begin(&life, WEFT_WRITE, block, letter);
	end(&life);
}

static bool may_end_reading(struct life *life, char letter)
{
	uint64_t where;
	bool may;

	memset(life->bytes, letter, sizeof(life->bytes));
	may = model_read(&model, &life->access, &life->hop, &where);
	end(life);
	return may;
}

static bool may_read(uint64_t block, char letter)
{
	struct life life;

	begin(&life, WEFT_READ, block, 0);
	return may_end_reading(&life, letter);
}

static void a_later_write_rules_out_those_that_ended_before_it_began(void **state)
{
	struct life a, b, c;

	(void)state;
	for (char seen = 'a'; seen <= 'c'; seen++) {
		model_make();
		begin(&a, WEFT_WRITE, 7, 'a');
		begin(&b, WEFT_WRITE, 7, 'b');
		end(&a);
		begin(&c, WEFT_WRITE, 7, 'c');
		end(&b);
		end(&c);
		assert_int_equal(may_read(7, seen), seen != 'a');
		model_close(&model);
	}
}

static void of_two_writes_at_once_the_old_content_is_gone(void **state)
{
	struct life a, b;

	(void)state;
	model_make();
	write_block(7, 'o');
	begin(&a, WEFT_WRITE, 7, 'a');
	begin(&b, WEFT_WRITE, 7, 'b');
	end(&b);
	end(&a);
	assert_false(may_read(7, 'o'));
	assert_true(may_read(7, 'b'));
	assert_false(may_read(7, 'a')); /* it was b */
	model_close(&model);
}

static void a_read_that_meets_a_write_is_not_judged(void **state)
{
	struct life read, change;

	(void)state;
	model_make();
	write_block(7, 'o');
	begin(&read, WEFT_READ, 7, 0);
	begin(&change, WEFT_WRITE, 7, 'a');
	end(&change);
	assert_true(may_end_reading(&read, 'o'));
	begin(&change, WEFT_WRITE, 7, 'b');
	begin(&read, WEFT_READ, 7, 0);
	end(&change);
	assert_true(may_end_reading(&read, 'a'));
	assert_int_equal(model.raced, 2);
	assert_false(may_read(7, 'a'));
	assert_true(may_read(7, 'b'));
	model_close(&model);
}

static void a_zeroed_block_is_zero(void **state)
{
	struct life zero;

	(void)state;
	model_make();
	begin(&zero, WEFT_ZERO, 7, 0);
	end(&zero);
	assert_false(may_read(7, 'x'));
	assert_true(may_read(7, 0));
	model_close(&model);
}

static void too_many_possibilities_are_none(void **state)
{
	struct life many[MODEL_VALUES + 1];

	(void)state;
	model_make();
	for (unsigned i = 0; i < WEFT_COUNT(many); i++)
		begin(&many[i], WEFT_WRITE, 7, (char)('a' + i));
	for (unsigned i = 0; i < WEFT_COUNT(many); i++)
		end(&many[i]);
	assert_true(may_read(7, 'a'));
	assert_false(may_read(7, 'b')); /* learnt */
	write_block(7, 'z');
	assert_false(may_read(7, 'a'));
	model_close(&model);
}

static void too_many_blocks_with_several_possibilities_are_not_judged(void **state)
{
	static struct life a, b;

	(void)state;
	model_make();
	for (uint64_t block = 0; block < MODEL_SETS; block++) {
		begin(&a, WEFT_WRITE, block, 'a');
		begin(&b, WEFT_WRITE, block, 'b');
		end(&a);
		end(&b);
	}
	assert_true(model.sets_used < MODEL_SETS);
	assert_false(may_read(0, 'x'));
	for (uint64_t block = 0; block < MODEL_SETS; block++)
		assert_true(may_read(block, 'a'));
	assert_int_equal(model.sets_used, 0);
	model_close(&model);
}

static void no_memory_is_told(void **state)
{
	(void)state;
	assert_true(rig_fail_each(&rig, "contract:[mem:1MiB]", true, NULL) > 20);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		RIG_TEST(describe_tells_what_was_seen),
		RIG_TEST(a_lost_write_is_caught),
		RIG_TEST(a_misdirected_write_is_caught),
		RIG_TEST(a_flipped_bit_is_caught),
		RIG_TEST(a_failed_write_may_have_happened_or_not),
		RIG_TEST(a_block_that_was_never_written_must_stay_as_it_was_read),
		RIG_TEST(a_zeroed_range_must_read_as_zeroes),
		RIG_TEST(a_compare_and_write_is_judged_by_what_is_there),
		RIG_TEST(nothing_is_said_of_a_compare_and_write_in_memory_of_others),
		RIG_TEST(of_two_writes_at_once_either_may_win_but_it_stays),
		RIG_TEST(a_client_that_changes_its_memory_is_caught_or_copied),
		RIG_TEST(a_later_write_rules_out_those_that_ended_before_it_began),
		RIG_TEST(of_two_writes_at_once_the_old_content_is_gone),
		RIG_TEST(a_read_that_meets_a_write_is_not_judged),
		RIG_TEST(a_zeroed_block_is_zero),
		RIG_TEST(too_many_possibilities_are_none),
		RIG_TEST(too_many_blocks_with_several_possibilities_are_not_judged),
		RIG_TEST(no_memory_is_told),
		RIG_TEST(a_model_that_takes_too_much_is_refused),
		RIG_TEST(a_range_that_went_away_is_not_judged_when_it_is_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
