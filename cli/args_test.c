/* SPDX-License-Identifier: BSD-2-Clause */
/* Command lines by table. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cli/args.h"

struct into {
	uint64_t size, count;
	bool json;
	uint32_t mode;
	const char *name;
	struct args_list on;
};

#define AT(field) .offset = offsetof(struct into, field)
static const struct weft_option table[] = {
	{ .name = "size", .type = WEFT_OPTION_SIZE, AT(size), .fallback = "4KiB", .help = "bytes" },
	{ .name = "count", .type = WEFT_OPTION_UINT, AT(count), .min = 1, .max = 9, .help = "how many" },
	{ .name = "json", .type = WEFT_OPTION_BOOL, AT(json), .help = "as JSON" },
	{ .name = "mode", .type = WEFT_OPTION_CHOICE, AT(mode), .choices = "a|b", .help = "which" },
	{ .name = "name", .type = WEFT_OPTION_STRING, AT(name), .choices = "TEXT", .help = "what" },
	{ .name = "on", .type = WEFT_OPTION_STRING, .flags = ARGS_MANY, AT(on), .help = "where" },
	{ 0 },
};

static struct into into;
static struct args args;
static struct weft_why why;

/* The words of `line`, which are separated by a space each. */
static int parse(const char *line)
{
	static char text[8192];
	char *argv[1024], *rest = text;
	int argc = 0;

	snprintf(text, sizeof(text), "%s", line);
	memset(&into, 0, sizeof(into));
	while (*text != '\0' && rest != NULL)
		argv[argc++] = strsep(&rest, " ");
	return args_parse("tool", table, &into, argc, argv, &args, &why);
}

static void nothing_gives_the_defaults(void **state)
{
	(void)state;
	assert_int_equal(parse(""), 0);
	assert_int_equal(into.size, 4096);
	assert_int_equal(args.nplain, 0);
}

static void a_value_stands_behind_a_space_or_a_sign(void **state)
{
	(void)state;
	assert_int_equal(parse("--size 1MiB --count=7 --name=a=b --mode b"), 0);
	assert_int_equal(into.size, 1 << 20);
	assert_int_equal(into.count, 7);
	assert_string_equal(into.name, "a=b");
	assert_int_equal(into.mode, 1);
}

static void a_switch_needs_no_value(void **state)
{
	(void)state;
	assert_int_equal(parse("--json word"), 0);
	assert_true(into.json);
	assert_int_equal(args.nplain, 1);
	assert_int_equal(parse("--json=off"), 0);
	assert_false(into.json);
}

static void plain_words_keep_their_order(void **state)
{
	(void)state;
	assert_int_equal(parse("one --count 2 two - -- --three"), 0);
	assert_int_equal(args.nplain, 4);
	assert_string_equal(args.plain[0], "one");
	assert_string_equal(args.plain[1], "two");
	assert_string_equal(args.plain[2], "-");
	assert_string_equal(args.plain[3], "--three");
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(args.at[i], ((const int[]){ 0, 3, 4, 6 })[i]);
}

static void what_may_come_again_is_collected(void **state)
{
	(void)state;
	assert_int_equal(parse("--on x word --on=y"), 0);
	assert_int_equal(into.on.n, 2);
	assert_string_equal(into.on.text[0], "x");
	assert_string_equal(into.on.text[1], "y");
	assert_true(into.on.at[0] == 0 && args.at[0] == 2 && into.on.at[1] == 3);
}

static void too_many_are_refused(void **state)
{
	char line[4096] = "--on x", words[1024] = "x";

	(void)state;
	for (unsigned i = 0; i < ARGS_LIST_MAX; i++)
		strcat(line, " --on x");
	assert_int_equal(parse(line), -EINVAL);
	assert_non_null(strstr(why.text, "--on"));
	for (unsigned i = 0; i < ARGS_PLAIN_MAX; i++)
		strcat(words, " x");
	assert_int_equal(parse(words), -EINVAL);
}

static void refused(const char *line, const char *sentence)
{
	assert_true(parse(line) < 0);
	assert_string_equal(why.text, sentence);
}

static void each_refusal_says_what_helps(void **state)
{
	(void)state;
	refused("--sise 1", "tool: there is no option '--sise': did you mean 'size'? `weft tool --help` lists them");
	refused("-s", "tool: there is no option '-s': `weft tool --help` lists them");
	refused("--count", "tool: --count: its value is missing: give --count NUMBER");
	refused("--name", "tool: --name: its value is missing: give --name TEXT");
	refused("--count 10", "tool: count='10' is too large: give at most 9");
	refused("--mode c", "tool: mode='c' is none of the choices: write one of a|b");
}

static void the_number_of_words_is_checked(void **state)
{
	(void)state;
	assert_int_equal(parse("a b"), 0);
	assert_int_equal(args_count("tool", &args, 1, 2, "WORD [WORD]", &why), 0);
	assert_int_equal(args_count("tool", &args, 0, 1, "[WORD]", &why), -EINVAL);
	assert_string_equal(why.text, "tool: 'b' is one argument too many: write `weft tool [WORD]`");
	assert_int_equal(args_count("tool", &args, 3, 3, "A B C", &why), -EINVAL);
	assert_string_equal(why.text, "tool: an argument is missing: write `weft tool A B C`");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_gives_the_defaults),
		cmocka_unit_test(a_value_stands_behind_a_space_or_a_sign),
		cmocka_unit_test(a_switch_needs_no_value),
		cmocka_unit_test(plain_words_keep_their_order),
		cmocka_unit_test(what_may_come_again_is_collected),
		cmocka_unit_test(too_many_are_refused),
		cmocka_unit_test(each_refusal_says_what_helps),
		cmocka_unit_test(the_number_of_words_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
