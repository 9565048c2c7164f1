/* SPDX-License-Identifier: BSD-2-Clause */
/* The first failure of a case counts, and a run is good when there was none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/check_verdict.h"

static void WEFT_PRINTF(3, 4) say(struct check_verdict *v, enum check_result result, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	check_verdict_add(v, result, format, args);
	va_end(args);
}

/* A case of which is said, in this order: 'f': it has failed, 's': it is skipped; with the place as its reason. */
static void run(struct check_verdict *v, const char *said, enum check_result result, const char *detail)
{
	check_verdict_begin(v);
	for (unsigned i = 0; said[i] != '\0'; i++)
		say(v, said[i] == 'f' ? CHECK_FAILED : CHECK_SKIPPED, "%c%u", said[i], i);
	check_verdict_end(v);
	assert_int_equal(v->result, result);
	assert_string_equal(v->detail, detail);
}

static void the_first_failure_counts(void **state)
{
	struct check_verdict v = { 0 };

	(void)state;
	run(&v, "", CHECK_OK, "");
	run(&v, "s", CHECK_SKIPPED, "s0");
	run(&v, "ss", CHECK_SKIPPED, "s0");
	run(&v, "f", CHECK_FAILED, "f0");
	run(&v, "ff", CHECK_FAILED, "f0");
	run(&v, "fs", CHECK_FAILED, "f0");
	run(&v, "ssfsf", CHECK_FAILED, "f2");
	run(&v, "", CHECK_OK, "");
	assert_int_equal(v.counts[CHECK_OK], 2);
	assert_int_equal(v.counts[CHECK_SKIPPED], 2);
	assert_int_equal(v.counts[CHECK_FAILED], 4);
}

static void a_run_is_good_when_nothing_has_failed(void **state)
{
	struct check_verdict v = { 0 };

	(void)state;
	assert_true(check_verdict_good(&v));
	run(&v, "", CHECK_OK, "");
	run(&v, "s", CHECK_SKIPPED, "s0");
	assert_true(check_verdict_good(&v));
	run(&v, "f", CHECK_FAILED, "f0");
	assert_false(check_verdict_good(&v));
	run(&v, "", CHECK_OK, "");
	assert_false(check_verdict_good(&v));
}

static void a_reason_that_is_too_long_is_cut(void **state)
{
	struct check_verdict v = { 0 };
	char long_text[1000];

	(void)state;
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	check_verdict_begin(&v);
	say(&v, CHECK_FAILED, "%s", long_text);
	check_verdict_end(&v);
	assert_int_equal(strlen(v.detail), sizeof(v.detail) - 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_failure_counts), cmocka_unit_test(a_run_is_good_when_nothing_has_failed),
		cmocka_unit_test(a_reason_that_is_too_long_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
