/* SPDX-License-Identifier: BSD-2-Clause */
/* Two results against each other: rows, verdict, and files that are none of ours. */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli/bench_judge.h"

static struct weft_why why;

/* A result, and what `changes` (an object, taken) says instead. */
static json_t *result(json_t *changes)
{
	json_t *run = json_pack("{s:s, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:f, s:i, s:i, s:{s:i, s:i, s:i, s:i, s:i}}", "rw",
		"randread", "bs", 4096, "depth", 32, "queues", 1, "connections", 1, "rate", 0, "iops", 1000.0,
		"cpu_us_per_request", 2.0, "server_cpu_us_per_request", 0.0, "errors", 0, "mismatches", 0, "latency_ns", "p50", 100,
		"p90", 200, "p99", 300, "p999", 400, "max", 500);

	assert_non_null(run);
	assert_non_null(changes);
	assert_int_equal(json_object_update(run, changes), 0);
	json_decref(changes);
	return run;
}

static int judge(json_t *changes, double tolerance, struct bench_verdict *out)
{
	json_t *a = result(json_object()), *b = result(changes);
	int error;

	why.text[0] = '\0';
	error = bench_judge(a, b, tolerance, out, &why);
	json_decref(a);
	json_decref(b);
	return error;
}

static const struct bench_row *row(const struct bench_verdict *verdict, const char *name)
{
	for (unsigned i = 0; i < verdict->n; i++)
		if (strcmp(verdict->row[i].name, name) == 0)
			return &verdict->row[i];
	return NULL;
}

static void the_same_is_not_worse(void **state)
{
	struct bench_verdict v;

	(void)state;
	assert_int_equal(judge(json_object(), 0, &v), 0);
	assert_false(v.worse);
	assert_int_equal(v.n, 7); /* the server's CPU, errors and mismatches are nothing in both */
	assert_null(row(&v, "errors"));
	assert_true(bench_ratio(row(&v, "p50")) == 1);
	assert_true(row(&v, "p50")->is_time && !row(&v, "requests per s")->is_time);
}

static void the_tolerance_is_the_edge(void **state)
{
	static const struct {
		const char *key;
		double value, tolerance;
		bool worse;
	} cases[] = {
		{ "iops", 950, 0.05, false }, { "iops", 949, 0.05, true }, { "iops", 999, 0, true }, { "iops", 2000, 0, false },
		{ "iops", 0, 0.05, true }, { "iops", 0, 1, false }, { "cpu_us_per_request", 2.1, 0.05, false },
		{ "cpu_us_per_request", 2.11, 0.05, true }, { "cpu_us_per_request", 0, 0, false },
		{ "cpu_us_per_request", 4, 1, false }, { "cpu_us_per_request", 4.1, 1, true },
		{ "server_cpu_us_per_request", 0.001, 1, true }, { "errors", 1, 1, true }, { "mismatches", 1, 1, true },
	};
	struct bench_verdict v;

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(cases); i++) {
		assert_int_equal(judge(json_pack("{s:f}", cases[i].key, cases[i].value), cases[i].tolerance, &v), 0);
		if (v.worse != cases[i].worse)
			fail_msg("%s %g, tolerance %g: worse %d", cases[i].key, cases[i].value, cases[i].tolerance, v.worse);
	}
}

static void what_is_rare_is_shown_and_not_judged(void **state)
{
	struct bench_verdict v;

	(void)state;
	assert_int_equal(judge(json_pack("{s:{s:i, s:i, s:i, s:i, s:i}}", "latency_ns", "p50", 100, "p90", 200, "p99", 300, "p999",
		4000000, "max", 5000000), 0, &v), 0);
	assert_false(v.worse || row(&v, "p99.9")->worse || row(&v, "longest")->worse);
	assert_true(bench_ratio(row(&v, "p99.9")) == 10000);
}

static void a_run_without_a_request_is_judged(void **state)
{
	json_t *none[2];
	struct bench_verdict v;

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		none[i] = result(json_pack("{s:f, s:f, s:{s:i, s:i, s:i, s:i, s:i}}", "iops", 0.0, "cpu_us_per_request", 0.0,
			"latency_ns", "p50", 0, "p90", 0, "p99", 0, "p999", 0, "max", 0));
	assert_int_equal(bench_judge(none[0], none[1], 0.05, &v, &why), 0);
	assert_int_equal(v.n, 0);
	assert_false(v.worse);
	json_decref(none[0]);
	json_decref(none[1]);
}

/* There is no ratio to nothing, nor one that no number holds; the row is there all the same. */
static void a_ratio_need_not_be(void **state)
{
	struct bench_verdict v;
	json_t *a, *b;

	(void)state;
	assert_int_equal(judge(json_pack("{s:i}", "errors", 3), 0.05, &v), 0);
	assert_true(bench_ratio(row(&v, "errors")) < 0 && row(&v, "errors")->b == 3);
	a = result(json_pack("{s:f}", "iops", 5e-324));
	b = result(json_pack("{s:f}", "iops", 1e300));
	assert_int_equal(bench_judge(a, b, 0.05, &v, &why), 0);
	assert_true(bench_ratio(row(&v, "requests per s")) < 0 && row(&v, "requests per s")->b == 1e300);
	assert_false(v.worse);
	json_decref(a);
	json_decref(b);
}

static void a_tolerance_that_is_none_is_refused(void **state)
{
	static const double tolerances[] = { -0.01, 1.01, NAN, -NAN, INFINITY, -INFINITY };
	struct bench_verdict v;

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(tolerances); i++) {
		assert_int_equal(judge(json_pack("{s:f}", "iops", 1.0), tolerances[i], &v), -EINVAL);
		assert_non_null(strstr(why.text, "from 0 to 1"));
	}
}

/* JSON of somebody else's, and of ours with one thing wrong. */
static void what_is_no_result_is_refused(void **state)
{
	static const struct {
		const char *json, *says;
	} cases[] = {
		{ "{}", "'rw' is missing" }, { "[]", "'rw' is missing" }, { "7", "'rw' is missing" }, { "null", "'rw' is missing" },
		{ "{\"fio version\": \"fio-3.33\", \"jobs\": []}", "'rw' is missing" },
	};
	static const struct {
		const char *change, *says;
	} changes[] = {
		{ "{\"iops\": null}", "'iops' is missing" }, { "{\"iops\": \"1000\"}", "'iops' is missing" },
		{ "{\"iops\": -1}", "'iops' is missing" }, { "{\"iops\": [1]}", "'iops' is missing" },
		{ "{\"latency_ns\": []}", "'p50' is missing" }, { "{\"latency_ns\": null}", "'p50' is missing" },
		{ "{\"latency_ns\": {\"p50\": 1}}", "'p90' is missing" }, { "{\"depth\": \"32\"}", "differ in 'depth'" },
		{ "{\"rw\": {}}", "differ in 'rw'" }, { "{\"rate\": 1e308}", "differ in 'rate'" },
	};
	json_t *good = result(json_object());
	struct bench_verdict v;

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(cases); i++) {
		json_t *foreign = json_loads(cases[i].json, JSON_DECODE_ANY, NULL);

		assert_int_equal(bench_judge(good, foreign, 0.05, &v, &why), -EINVAL);
		assert_non_null(strstr(why.text, cases[i].says));
		assert_int_equal(bench_judge(foreign, good, 0.05, &v, &why), -EINVAL);
		json_decref(foreign);
	}
	for (unsigned i = 0; i < WEFT_COUNT(changes); i++) {
		assert_int_equal(judge(json_loads(changes[i].change, 0, NULL), 0.05, &v), -EINVAL);
		if (strstr(why.text, changes[i].says) == NULL)
			fail_msg("%s: %s", changes[i].change, why.text);
	}
	json_decref(good);
}

static int curve(const char *json, struct weft_histogram *out)
{
	json_t *run = json_loads(json, 0, NULL);
	int error;

	memset(out, 0, sizeof(*out));
	assert_non_null(run);
	error = bench_curve_read(run, "a.json", out, &why);
	json_decref(run);
	return error;
}

static uint64_t total(const struct weft_histogram *h)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < WEFT_HISTOGRAM_BUCKETS; i++)
		sum += h->count[i];
	return sum;
}

static void a_curve_is_what_was_told(void **state)
{
	static const char *const empty[] = { "{}", "{\"histogram_ns\": []}", "{\"histogram_ns\": [[5, 0]]}" };
	struct weft_histogram h;

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(empty); i++) {
		assert_int_equal(curve(empty[i], &h), 0);
		assert_int_equal(total(&h), 0);
	}
	assert_int_equal(curve("{\"histogram_ns\": [[1023, 1]]}", &h), 0);
	assert_int_equal(total(&h), 1);
	assert_int_equal(weft_histogram_quantile(&h, 0.5), 1023);
	assert_int_equal(curve("{\"histogram_ns\": [[7, 9007199254740991], [9223372036854775807, 1]]}", &h), 0);
	assert_int_equal(total(&h), 9007199254740992);
	assert_int_equal(h.count[WEFT_HISTOGRAM_BUCKETS - 1], 1);
}

static void a_curve_that_is_none_is_refused(void **state)
{
	static const char *const wrong[] = {
		"{\"histogram_ns\": [1]}", "{\"histogram_ns\": [[1]]}", "{\"histogram_ns\": [[1, 2, 3]]}",
		"{\"histogram_ns\": [[-1, 2]]}", "{\"histogram_ns\": [[1, -2]]}", "{\"histogram_ns\": [[1.5, 2]]}",
		"{\"histogram_ns\": [[1, null]]}", "{\"histogram_ns\": [{\"ns\": 1}]}",
		"{\"histogram_ns\": [[1, 9223372036854775807], [2, 9223372036854775807], [3, 2]]}",
		"{\"histogram_ns\": [[7, 9007199254740992], [8, 1]]}",
	};
	struct weft_histogram h;

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(wrong); i++) {
		why.text[0] = '\0';
		if (curve(wrong[i], &h) != -EINVAL || strstr(why.text, "'a.json': histogram_ns") == NULL)
			fail_msg("%s: %s", wrong[i], why.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_is_not_worse), cmocka_unit_test(the_tolerance_is_the_edge),
		cmocka_unit_test(what_is_rare_is_shown_and_not_judged), cmocka_unit_test(a_run_without_a_request_is_judged),
		cmocka_unit_test(a_ratio_need_not_be), cmocka_unit_test(a_tolerance_that_is_none_is_refused),
		cmocka_unit_test(what_is_no_result_is_refused), cmocka_unit_test(a_curve_is_what_was_told),
		cmocka_unit_test(a_curve_that_is_none_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
