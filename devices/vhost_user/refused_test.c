/* SPDX-License-Identifier: BSD-2-Clause */
/* vhost-user: a server comes back and does not take what the first one took. Requests wait, but not for ever. */
#include "devices/vhost_user/server_test.h"

#include <weft/log.h>

#define SECOND 1000000000ull
#define GOOD "mem:1MiB"
#define OTHER "stubborn" /* fewer features than GOOD */

RIG_FOR_EACH_TEST(7, 2)

static unsigned lines_with(const char *part, int level)
{
	unsigned n = 0;

	for (unsigned i = 0; i < rig_lines; i++)
		n += rig_line[i].level == level && strstr(rig_line[i].text, part) != NULL;
	return n;
}

static void replace(const char *device)
{
	server_kill();
	server_start(&rig, device, "");
}

static void make(const char *options)
{
	char text[64];

	server_start(&rig, GOOD, "");
	snprintf(text, sizeof(text), "vhost-user:" SOCKET "%s", options);
	rig_make(&rig, text);
	rig_log_begin(&rig);
	assert_string_equal(rig_fact(rig.object, "connection"), "up");
}

static void unmake(void)
{
	rig_log_end(&rig);
	rig_unmake(&rig);
	server_kill();
}

static void flush_is_served(void)
{
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), 0);
	rig_run(&rig, SECOND / 100); /* the other rings come as well */
	assert_string_equal(rig_fact(rig.object, "connection"), "up");
}

static void requests_wait_for_some_refusals_and_fail_then(void **state)
{
	struct rig_request r = { .op = WEFT_FLUSH };

	(void)state;
	make(",refusals=10");
	replace(OTHER);
	rig_start(&rig, &r);
	rig_run(&rig, SECOND / 2);
	assert_int_equal(r.ended, 0);
	assert_non_null(strstr(rig_fact(rig.object, "connection"), "lacks features"));
	assert_non_null(strstr(rig_fact(rig.object, "connection"), "requests wait"));
	rig_run(&rig, SECOND);
	assert_int_equal(r.ended, 1);
	assert_int_equal(r.status, -EIO);
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), -EIO);
	assert_non_null(strstr(rig_fact(rig.object, "connection"), "requests fail"));
	unmake();
}

/* Why, and what to do, and that requests fail. */
static void the_log_says_it_once(void **state)
{
	(void)state;
	make(",refusals=10");
	replace(OTHER);
	rig_run(&rig, 100 * SECOND);
	assert_int_equal(lines_with("does not take us", WEFT_LOG_WARN), 1);
	assert_int_equal(lines_with("lacks features", WEFT_LOG_WARN), 1);
	assert_int_equal(lines_with("open this device again", WEFT_LOG_WARN), 1);
	assert_int_equal(lines_with("refused 10 times in a row", WEFT_LOG_ERROR), 1);
	assert_int_equal(lines_with("is back", WEFT_LOG_INFO), 0);
	assert_in_range(rig_lines, 2, 3); /* and that the first one has gone */
	unmake();
}

static void a_server_that_takes_us_serves_again(void **state)
{
	(void)state;
	make(",refusals=3");
	replace(OTHER);
	rig_run(&rig, SECOND);
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), -EIO);
	replace(GOOD);
	rig_run(&rig, SECOND);
	flush_is_served();
	assert_int_equal(lines_with("is back", WEFT_LOG_INFO), 1);
	unmake();
}

static void only_refusals_in_a_row_count(void **state)
{
	struct rig_request r = { .op = WEFT_FLUSH };

	(void)state;
	make(",refusals=10");
	for (unsigned round = 0; round < 4; round++) {
		replace(OTHER);
		r = (struct rig_request){ .op = WEFT_FLUSH };
		rig_start(&rig, &r);
		rig_run(&rig, 6 * SECOND / 10);
		assert_non_null(strstr(rig_fact(rig.object, "connection"), "refused"));
		assert_int_equal(r.ended, 0);
		replace(GOOD);
		assert_int_equal(rig_wait(&rig, &r), 0);
		flush_is_served();
	}
	unmake();
}

static void absence_is_no_refusal(void **state)
{
	struct rig_request r = { .op = WEFT_FLUSH };

	(void)state;
	make(",refusals=1");
	server_kill();
	rig_start(&rig, &r);
	rig_run(&rig, 99 * SECOND + SECOND / 2);
	assert_int_equal(r.ended, 0);
	assert_string_equal(rig_fact(rig.object, "connection"), "none for 99 s: requests wait");
	server_start(&rig, GOOD, "");
	assert_int_equal(rig_wait(&rig, &r), 0);
	flush_is_served();
	unmake();
}

static void they_may_be_allowed_for_ever_and_are_absence(void **state)
{
	struct rig_request r = { .op = WEFT_FLUSH };

	(void)state;
	make(",refusals=0,timeout=5s,reconnect=1ms");
	replace(OTHER);
	rig_start(&rig, &r);
	rig_run(&rig, 4 * SECOND);
	assert_int_equal(r.ended, 0);
	rig_run(&rig, 2 * SECOND);
	assert_int_equal(r.ended, 1);
	assert_int_equal(r.status, -EIO);
	unmake();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(requests_wait_for_some_refusals_and_fail_then),
		RIG_TEST(the_log_says_it_once),
		RIG_TEST(a_server_that_takes_us_serves_again),
		RIG_TEST(only_refusals_in_a_row_count),
		RIG_TEST(absence_is_no_refusal),
		RIG_TEST(they_may_be_allowed_for_ever_and_are_absence),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
