/* SPDX-License-Identifier: BSD-2-Clause */
/* log: a line for each request, or for the chosen ones. */
#include "devices/rig_test.h"
#include <weft/log.h>

RIG_FOR_EACH_TEST(1, 1)

static char data[4096];

static void conforms(void **state)
{
	(void)state;
	rig_conform("log:[mem:1MiB],slow=1h", 1, 300);
}

/* ---- what is written ---- */

/* What the clock says beyond the delay is the simulator's affair. */
static void assert_begins(const char *line, const char *beginning)
{
	assert_memory_equal(line, beginning, strlen(beginning));
}

static void make(const char *text)
{
	rig_make(&rig, text);
	rig_log_begin(&rig);
}

static void unmake(void)
{
	rig_log_end(&rig);
	rig_unmake(&rig);
}

static void a_line_tells_what_it_was_how_it_ended_and_how_long_it_took(void **state)
{
	(void)state;
	make("log:[delay:[mem:1MiB],all=2ms],name=watch");
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 8192, 4096, data), 0);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, WEFT_FUA, 0, 512, data), 0);
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), 0);
	assert_int_equal(rig_lines, 3);
	assert_begins(rig_line[0].text, "watch: READ 4096@8192: OK after 20");
	assert_begins(rig_line[1].text, "watch: WRITE 512@0 fua: OK after 20");
	assert_begins(rig_line[2].text, "watch: FLUSH 0@0: OK after 20");
	assert_int_equal(rig_line[0].level, WEFT_LOG_INFO);
	unmake();
}

static void a_line_tells_the_flags(void **state)
{
	static const struct {
		unsigned flags;
		const char *text;
	} cases[] = {
		{ 0, "watch: ZERO 4096@0: " }, { WEFT_FUA, "watch: ZERO 4096@0 fua: " },
		{ WEFT_NO_UNMAP, "watch: ZERO 4096@0 no-unmap: " },
		{ WEFT_FUA | WEFT_NO_UNMAP, "watch: ZERO 4096@0 fua no-unmap: " },
		{ WEFT_FAST, "watch: ZERO 4096@0 fast: " }, { WEFT_FUA | WEFT_FAST, "watch: ZERO 4096@0 fua fast: " },
		{ WEFT_NO_UNMAP | WEFT_FAST, "watch: ZERO 4096@0 no-unmap fast: " },
		{ WEFT_FUA | WEFT_NO_UNMAP | WEFT_FAST, "watch: ZERO 4096@0 fua no-unmap fast: " },
	};

	(void)state;
	make("log:[mem:1MiB],name=watch");
	for (unsigned i = 0; i < WEFT_COUNT(cases); i++) {
		assert_int_equal(rig_ask(&rig, WEFT_ZERO, cases[i].flags, 0, 4096, NULL), 0);
		assert_begins(rig_line[i].text, cases[i].text);
	}
	unmake();
}

static void errors_only(void **state)
{
	(void)state;
	make("log:[error:[mem:1MiB],op=write],name=watch,errors=on");
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, 4096, data), 0);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, 4096, data), -EIO);
	assert_int_equal(rig_lines, 1);
	assert_non_null(strstr(rig_line[0].text, "watch: WRITE 4096@0: EIO after "));
	assert_int_equal(rig_line[0].level, WEFT_LOG_WARN);
	unmake();
}

static void slow_ones_only(void **state)
{
	(void)state;
	make("log:[delay:[mem:1MiB],read=5ms,write=1ms],slow=2ms");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, 4096, data), 0);
	assert_int_equal(rig_lines, 0);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, 4096, data), 0);
	assert_int_equal(rig_lines, 1);
	unmake();
}

static void each_nth_only_and_changed_while_it_runs(void **state)
{
	(void)state;
	make("log:[mem:1MiB],every=4");
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, 4096, data), 0);
	assert_int_equal(rig_lines, 2);
	assert_int_equal(rig_set(&rig, rig.object, "every", "1"), 0);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, 4096, data), 0);
	assert_int_equal(rig_lines, 3);
	unmake();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		RIG_TEST(a_line_tells_what_it_was_how_it_ended_and_how_long_it_took),
		RIG_TEST(a_line_tells_the_flags),
		RIG_TEST(errors_only),
		RIG_TEST(slow_ones_only),
		RIG_TEST(each_nth_only_and_changed_while_it_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
