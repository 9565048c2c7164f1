/* SPDX-License-Identifier: BSD-2-Clause */
/* Two ways, tried by turns: which is kept, and what trying costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "env/linux/trial.h"

#define BEGIN_NS 1000000000u
#define STEP_NS 1000u

/* Work of `ns` at rates of so many per step. -> how many steps the second way was used */
static uint64_t work(struct trial *t, uint64_t *done, uint64_t *now, uint64_t ns, uint64_t first, uint64_t second)
{
	uint64_t seconds = 0;

	for (uint64_t end = *now + ns; *now < end; *now += STEP_NS) {
		trial_look(t, *done, *now);
		*done += t->second ? second : first;
		seconds += t->second;
	}
	return seconds;
}

static void the_better_way_is_kept(void **state)
{
	struct trial t = {0};
	uint64_t done = 0, now = BEGIN_NS;

	(void)state;
	work(&t, &done, &now, 10 * (uint64_t)TRIAL_WINDOW_NS, 100, 110);
	assert_true(t.left == 0 && t.kept && t.second);
	work(&t, &done, &now, 8 * (uint64_t)TRIAL_EVERY_NS, 110, 100);
	assert_false(t.kept);
}

static void the_other_must_be_clearly_better(void **state)
{
	struct trial t = {0};
	uint64_t done = 0, now = BEGIN_NS;

	(void)state;
	work(&t, &done, &now, 3 * (uint64_t)TRIAL_EVERY_NS, 100, 102);
	assert_false(t.kept);
	work(&t, &done, &now, 3 * (uint64_t)TRIAL_EVERY_NS, 100, 104);
	assert_true(t.kept);
}

/* The rate rises steadily: whoever comes later would win, if they did not come in turns. */
static void a_rate_that_rises_by_itself_decides_nothing(void **state)
{
	struct trial t = {0};
	uint64_t done = 0, now = BEGIN_NS;

	(void)state;
	for (unsigned i = 0; i < 100; i++)
		work(&t, &done, &now, TRIAL_WINDOW_NS / 10, 100 + i, 100 + i);
	assert_true(t.left == 0);
	assert_false(t.kept);
}

/* One trial in which everything was the other way round, say as somebody else used the disk. */
static void one_odd_trial_changes_nothing(void **state)
{
	struct trial t = {0};
	uint64_t done = 0, now = BEGIN_NS;

	(void)state;
	work(&t, &done, &now, 4 * (uint64_t)TRIAL_EVERY_NS, 100, 110);
	while (t.left == 0)
		work(&t, &done, &now, STEP_NS, 100, 110);
	while (t.left > 0)
		work(&t, &done, &now, STEP_NS, 110, 100);
	assert_true(t.kept);
}

static void trying_costs_little(void **state)
{
	struct trial t = {0};
	uint64_t done = 0, now = BEGIN_NS, steps = 10 * (uint64_t)TRIAL_EVERY_NS / STEP_NS;

	(void)state;
	assert_in_range(work(&t, &done, &now, steps * STEP_NS, 100, 50), 1, steps / 60);
}

static void a_pause_is_not_held_against_a_way(void **state)
{
	struct trial t = {0};
	uint64_t done = 0, now = BEGIN_NS;

	(void)state;
	while (!t.second)
		work(&t, &done, &now, STEP_NS, 100, 110);
	for (unsigned i = 0; i < 20 && t.left > 0; i++) { /* amid each window of the second */
		work(&t, &done, &now, TRIAL_WINDOW_NS / 4, 100, 110);
		if (t.second) {
			trial_spoilt(&t);
			now += 10 * (uint64_t)TRIAL_WINDOW_NS;
		}
		work(&t, &done, &now, TRIAL_WINDOW_NS, 100, 110);
	}
	assert_int_equal(t.left, 0);
	assert_true(t.kept);
}

/* A disk that stands still for seconds, while the loop spins: the way that was in use then would be thought slow for a minute. */
static void a_stall_is_not_held_against_a_way(void **state)
{
	struct trial t = {0};
	uint64_t done = 0, now = BEGIN_NS;

	(void)state;
	while (!t.second)
		work(&t, &done, &now, STEP_NS, 100, 110);
	work(&t, &done, &now, TRIAL_WINDOW_NS / 2, 100, 110);
	now += 10000000000;
	work(&t, &done, &now, 10 * (uint64_t)TRIAL_WINDOW_NS, 100, 110);
	assert_int_equal(t.left, 0);
	assert_true(t.kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_better_way_is_kept),
		cmocka_unit_test(the_other_must_be_clearly_better),
		cmocka_unit_test(a_rate_that_rises_by_itself_decides_nothing),
		cmocka_unit_test(one_odd_trial_changes_nothing),
		cmocka_unit_test(trying_costs_little),
		cmocka_unit_test(a_pause_is_not_held_against_a_way),
		cmocka_unit_test(a_stall_is_not_held_against_a_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
