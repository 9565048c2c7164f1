/* SPDX-License-Identifier: BSD-2-Clause */
/* The log: levels, the limit for each message, what becomes of bytes from outside. Error sentences. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>


#include "core/log.h"
#include "core/world_test.h"

static void say(struct world *world, unsigned n)
{
	weft_log(&world->core, WEFT_LOG_WARN, "ring %u is broken", n);
}

static void a_message_is_limited(void **state)
{
	struct world *world = *state;

	for (unsigned i = 0; i < 100; i++)
		say(world, i);
	assert_int_equal(world->logs, WEFT_LOG_BURST);
	assert_string_equal(world->log[4], "ring 4 is broken");
	assert_int_equal(world->log_level[4], WEFT_LOG_WARN);
	weft_log(&world->core, WEFT_LOG_ERROR, "another one is not");
	assert_int_equal(world->logs, WEFT_LOG_BURST + 1);
	world->now_ns += WEFT_LOG_PERIOD_NS;
	say(world, 100);
	assert_string_equal(world->log[WEFT_LOG_BURST + 1], "ring 100 is broken (95 more suppressed)");
	say(world, 101);
	assert_string_equal(world->log[WEFT_LOG_BURST + 2], "ring 101 is broken");
}

static void what_was_suppressed_is_told_at_last(void **state)
{
	struct world *world = *state;

	for (unsigned i = 0; i < 7; i++)
		say(world, i);
	world->logs = 0;
	log_flush(&world->core);
	assert_string_equal(world->log[0], "2 more suppressed: ring %u is broken");
	log_flush(&world->core);
	assert_int_equal(world->logs, 1);
}

static void more_messages_than_places(void **state)
{
	static char formats[2000][8];
	struct world *world = *state;
	unsigned written = 0;

	for (unsigned i = 0; i < WEFT_COUNT(formats); i++) {
		snprintf(formats[i], sizeof(formats[i]), "m %u", i);
		world->logs = 0;
		weft_log(&world->core, WEFT_LOG_INFO, formats[i], 0); /* NOLINT: the address is what counts */
		written += world->logs;
	}
	assert_true(written >= 256 && written <= 256 + 256 * WEFT_LOG_BURST);
}

static void levels(void **state)
{
	struct world *world = *state;

	weft_log(&world->core, WEFT_LOG_DEBUG, "details");
	assert_int_equal(world->logs, 0);
	weft_log_level_set(&world->core, WEFT_LOG_DEBUG);
	weft_log(&world->core, WEFT_LOG_DEBUG, "details");
	assert_int_equal(world->logs, 1);
	weft_log_level_set(&world->core, WEFT_LOG_ERROR);
	weft_log(&world->core, WEFT_LOG_WARN, "warning");
	assert_int_equal(world->logs, 1);
	assert_string_equal(weft_log_level_name(WEFT_LOG_WARN), "warn");
}

static void one_line_whatever_is_in_it(void **state)
{
	struct world *world = *state;
	char text[1000];

	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	memcpy(text, "a\nb\033[31m\xc3\xa4", 10);
	weft_log(&world->core, WEFT_LOG_INFO, "%s", text);
	assert_int_equal(strlen(world->log[0]), 500);
	assert_memory_equal(world->log[0], "a?b?[31m\xc3\xa4x", 11);
}

static void sentences(void **state)
{
	struct weft_why why;
	char text[400];

	(void)state;
	assert_int_equal(weft_why(NULL, -EIO, "x"), -EIO);
	assert_int_equal(weft_why(&why, -EINVAL, "file: path='%s'", "a\nb"), -EINVAL);
	assert_string_equal(why.text, "file: path='a?b'");
	weft_why(&why, -EINVAL, "line 1: %s", why.text); /* in front of what is there */
	assert_string_equal(why.text, "line 1: file: path='a?b'");
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	weft_why(&why, 0, "%s", text);
	assert_int_equal(strlen(why.text), sizeof(why.text) - 1);
	assert_string_equal(why.text + sizeof(why.text) - 5, "x...");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_message_is_limited),
		WORLD_TEST(what_was_suppressed_is_told_at_last),
		WORLD_TEST(more_messages_than_places),
		WORLD_TEST(levels),
		WORLD_TEST(one_line_whatever_is_in_it),
		cmocka_unit_test(sentences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
