/* SPDX-License-Identifier: BSD-2-Clause */
/* Option values: what each type takes, what it refuses and with which sentence, and that what is printed reads
 * back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "core/nearest.h"
#include "core/value.h"

static struct weft_option option_of(uint8_t type)
{
	return (struct weft_option){ .name = "opt", .type = type, .choices = "auto|on|off" };
}

static void whole_numbers_with_units(void **state)
{
	static const struct {
		uint8_t type;
		const char *text;
		uint64_t number;
		const char *printed;
	} cases[] = {
		{ WEFT_OPTION_UINT, "0", 0, "0" },
		{ WEFT_OPTION_UINT, "18446744073709551615", UINT64_MAX, "18446744073709551615" },
		{ WEFT_OPTION_SIZE, "4096", 4096, "4KiB" },
		{ WEFT_OPTION_SIZE, "4k", 4096, "4KiB" },
		{ WEFT_OPTION_SIZE, "4K", 4096, "4KiB" },
		{ WEFT_OPTION_SIZE, "512", 512, "512" },
		{ WEFT_OPTION_SIZE, "512B", 512, "512" },
		{ WEFT_OPTION_SIZE, "64KiB", 65536, "64KiB" },
		{ WEFT_OPTION_SIZE, "1.5k", 1536, "1536" },
		{ WEFT_OPTION_SIZE, "1.50MiB", 1572864, "1536KiB" },
		{ WEFT_OPTION_SIZE, "10MB", 10000000, "10000000" },
		{ WEFT_OPTION_SIZE, "1T", 1ull << 40, "1TiB" },
		{ WEFT_OPTION_SIZE, "15EiB", 15ull << 60, "15EiB" },
		{ WEFT_OPTION_SIZE, "0", 0, "0" },
		{ WEFT_OPTION_DURATION, "0", 0, "0" },
		{ WEFT_OPTION_DURATION, "10us", 10000, "10us" },
		{ WEFT_OPTION_DURATION, "1.5s", 1500000000, "1500ms" },
		{ WEFT_OPTION_DURATION, "1min", 60000000000, "1min" },
		{ WEFT_OPTION_DURATION, "90s", 90000000000, "90s" },
		{ WEFT_OPTION_DURATION, "1d", 86400000000000, "1d" },
	};

	(void)state;
	for (size_t i = 0; i < WEFT_COUNT(cases); i++) {
		struct weft_option option = option_of(cases[i].type);
		struct value value;
		struct weft_why why;
		char printed[VALUE_TEXT_MAX];

		if (value_parse("kind", &option, cases[i].text, &value, &why))
			fail_msg("%s", why.text);
		assert_int_equal(value.number, cases[i].number);
		value_print(&option, &value, printed, sizeof(printed));
		assert_string_equal(printed, cases[i].printed);
		assert_int_equal(value_parse("kind", &option, printed, &value, &why), 0);
		assert_int_equal(value.number, cases[i].number);
	}
}

static void real_numbers(void **state)
{
	static const struct {
		uint8_t type;
		const char *text;
		double number;
		const char *printed;
	} cases[] = {
		{ WEFT_OPTION_RATE, "1000", 1000, "1000" },
		{ WEFT_OPTION_RATE, "1.5k", 1500, "1500" },
		{ WEFT_OPTION_RATE, "2M/s", 2000000, "2000000" },
		{ WEFT_OPTION_RATE, "1MiB/s", 1048576, "1048576" },
		{ WEFT_OPTION_RATE, "0.1", 0.1, "0.1" },
		{ WEFT_OPTION_REAL, "5%", 0.05, "0.05" },
		{ WEFT_OPTION_REAL, "1e-3", 1e-3, "0.001" },
		{ WEFT_OPTION_REAL, "1E0", -1, NULL },
		{ WEFT_OPTION_REAL, "0.3333333333333333", 0.3333333333333333, "0.3333333333333333" },
	};

	(void)state;
	for (size_t i = 0; i < WEFT_COUNT(cases); i++) {
		struct weft_option option = option_of(cases[i].type);
		struct value value;
		char printed[VALUE_TEXT_MAX];
		int error = value_parse("kind", &option, cases[i].text, &value, NULL);

		assert_int_equal(error, cases[i].printed ? 0 : -EINVAL);
		if (error)
			continue;
		assert_true(value.real == cases[i].number);
		value_print(&option, &value, printed, sizeof(printed));
		assert_string_equal(printed, cases[i].printed);
		assert_int_equal(value_parse("kind", &option, printed, &value, NULL), 0);
		assert_true(value.real == cases[i].number);
	}
}

static void words(void **state)
{
	static const char *const on[] = { "on", "true", "yes", "1" }, *const off[] = { "off", "false", "no", "0" };
	struct weft_option option = option_of(WEFT_OPTION_BOOL);
	struct value value;

	(void)state;
	for (size_t i = 0; i < WEFT_COUNT(on); i++) {
		assert_int_equal(value_parse("kind", &option, on[i], &value, NULL), 0);
		assert_true(value.on);
		assert_int_equal(value_parse("kind", &option, off[i], &value, NULL), 0);
		assert_false(value.on);
	}
	option = option_of(WEFT_OPTION_CHOICE);
	assert_int_equal(value_parse("kind", &option, "off", &value, NULL), 0);
	assert_int_equal(value.index, 2);
	char printed[VALUE_TEXT_MAX];
	value_print(&option, &value, printed, sizeof(printed));
	assert_string_equal(printed, "off");
	option = option_of(WEFT_OPTION_OCTAL);
	assert_int_equal(value_parse("kind", &option, "660", &value, NULL), 0);
	assert_int_equal(value.index, 0660);
	value_print(&option, &value, printed, sizeof(printed));
	assert_string_equal(printed, "0660");
}

/* The sentences are part of the interface: a change of one is seen here. */
static void refusals(void **state)
{
	static const char size_rule[] = "is not a size: write bytes, or a number with KiB, MiB, GiB, TiB (or KB, MB: of "
			"1000), as in 64MiB";
	static const struct {
		uint8_t type;
		const char *text;
		int error;
		const char *sentence;
	} cases[] = {
		{ WEFT_OPTION_BOOL, "On", -EINVAL, "k: opt='On' is neither on nor off: write on or off" },
		{ WEFT_OPTION_UINT, "", -EINVAL, "k: opt='' is not a whole number: write digits only, as in 16" },
		{ WEFT_OPTION_UINT, "-1", -EINVAL, "k: opt='-1' is not a whole number: write digits only, as in 16" },
		{ WEFT_OPTION_UINT, " 1", -EINVAL, "k: opt=' 1' is not a whole number: write digits only, as in 16" },
		{ WEFT_OPTION_UINT, "1.5", -EINVAL, "k: opt='1.5' is not a whole number: write digits only, as in 16" },
		{ WEFT_OPTION_UINT, "18446744073709551616", -ERANGE,
		  "k: opt='18446744073709551616' is too large or too fine: give a smaller number" },
		{ WEFT_OPTION_SIZE, "1.3k", -EINVAL, NULL }, { WEFT_OPTION_SIZE, "12 MiB", -EINVAL, NULL },
		{ WEFT_OPTION_SIZE, "MiB", -EINVAL, NULL }, { WEFT_OPTION_SIZE, "1MiBs", -EINVAL, NULL },
		{ WEFT_OPTION_SIZE, ".5k", -EINVAL, NULL }, { WEFT_OPTION_SIZE, "5.k", -EINVAL, NULL },
		{ WEFT_OPTION_SIZE, "1.2.3", -EINVAL, NULL }, { WEFT_OPTION_SIZE, "0x10", -EINVAL, NULL },
		{ WEFT_OPTION_SIZE, "16EiB", -ERANGE,
		  "k: opt='16EiB' is too large or too fine: give a smaller number" },
		{ WEFT_OPTION_DURATION, "5", -EINVAL,
		  "k: opt='5' is not a duration: write a number with ns, us, ms, s, min, h or d, as in 10ms" },
		{ WEFT_OPTION_DURATION, "0.5ns", -EINVAL,
		  "k: opt='0.5ns' is not a duration: write a number with ns, us, ms, s, min, h or d, as in 10ms" },
		{ WEFT_OPTION_RATE, "fast", -EINVAL,
		  "k: opt='fast' is not a rate: write a number per second, with k, M, G (of 1000) or KiB, MiB, GiB, as in 1.5k" },
		{ WEFT_OPTION_REAL, "nan", -EINVAL, "k: opt='nan' is not a number: write it as in 0.01, 1e-3 or 5%" },
		{ WEFT_OPTION_REAL, "1e400", -ERANGE,
		  "k: opt='1e400' is too large or too fine: give a smaller number" },
		{ WEFT_OPTION_PATH, "", -EINVAL, "k: opt='' is empty: write a name" },
		{ WEFT_OPTION_CHOICE, "of", -EINVAL,
		  "k: opt='of' is none of the choices: write one of auto|on|off; did you mean 'off'?" },
		{ WEFT_OPTION_CHOICE, "never", -EINVAL, "k: opt='never' is none of the choices: write one of auto|on|off" },
		{ WEFT_OPTION_OCTAL, "0668", -EINVAL, "k: opt='0668' is not a file mode: write octal digits, as in 0660" },
		{ WEFT_OPTION_OCTAL, "10000", -ERANGE,
		  "k: opt='10000' is too large or too fine: give a mode up to 7777" },
	};

	(void)state;
	for (size_t i = 0; i < WEFT_COUNT(cases); i++) {
		struct weft_option option = option_of(cases[i].type);
		struct value value;
		struct weft_why why = { "" };

		assert_int_equal(value_parse("k", &option, cases[i].text, &value, &why), cases[i].error);
		if (cases[i].sentence)
			assert_string_equal(why.text, cases[i].sentence);
		else
			assert_non_null(strstr(why.text, size_rule));
	}
}

static void bounds(void **state)
{
	struct weft_option option = { .name = "opt", .type = WEFT_OPTION_SIZE, .min = 512, .max = 1 << 20 };
	struct value value;
	struct weft_why why;

	(void)state;
	assert_int_equal(value_parse("k", &option, "512", &value, &why), 0);
	assert_int_equal(value_parse("k", &option, "1MiB", &value, &why), 0);
	assert_int_equal(value_parse("k", &option, "511", &value, &why), -ERANGE);
	assert_string_equal(why.text, "k: opt='511' is too small: give at least 512");
	assert_int_equal(value_parse("k", &option, "2MiB", &value, &why), -ERANGE);
	assert_string_equal(why.text, "k: opt='2MiB' is too large: give at most 1MiB");
	option = (struct weft_option){ .name = "opt", .type = WEFT_OPTION_REAL, .max = 1 };
	assert_int_equal(value_parse("k", &option, "100%", &value, &why), 0);
	assert_int_equal(value_parse("k", &option, "101%", &value, &why), -ERANGE);
	assert_string_equal(why.text, "k: opt='101%' is too large: give at most 1");
}

static void a_field_keeps_its_value(void **state)
{
	struct {
		bool on;
		uint32_t index;
		uint64_t number;
		const char *text;
	} instance;
	struct weft_option option = { .name = "opt", .type = WEFT_OPTION_CHOICE, .offset = 4 };
	struct value value = { .index = 0x01020304 };

	(void)state;
	memset(&instance, 0xa5, sizeof(instance));
	value_store(&option, &instance, &value);
	assert_int_equal(instance.index, 0x01020304);
	assert_int_equal(((unsigned char *)&instance)[0], 0xa5);
	assert_int_equal(((unsigned char *)&instance)[8], 0xa5);
	value.number = 0;
	value_load(&option, &instance, &value);
	assert_int_equal(value.index, 0x01020304);
}

static void nearest_word(void **state)
{
	static const char *const words_known[] = { "file", "mirror", "vhost-user", "null", "slice" };
	static const struct {
		const char *wanted, *best;
	} cases[] = {
		{ "flie", "file" }, { "mirorr", "mirror" }, { "vhost", "vhost-user" }, { "nul", "null" }, { "x", NULL },
		{ "splice", "slice" }, { "crypt", NULL }, { "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < WEFT_COUNT(cases); i++) {
		struct nearest nearest = { .wanted = cases[i].wanted };

		for (size_t j = 0; j < WEFT_COUNT(words_known); j++)
			nearest_try(&nearest, words_known[j], strlen(words_known[j]));
		if (cases[i].best)
			assert_string_equal(nearest.best, cases[i].best);
		else
			assert_null(nearest.best);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whole_numbers_with_units), cmocka_unit_test(real_numbers), cmocka_unit_test(words),
		cmocka_unit_test(refusals), cmocka_unit_test(bounds), cmocka_unit_test(a_field_keeps_its_value),
		cmocka_unit_test(nearest_word),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
