/* SPDX-License-Identifier: BSD-2-Clause */
/* The drawing is XML, whatever was measured and whatever it is called; its curves lie inside, and rise. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <expat.h>

#include "cli/bench_plot.h"

/* What was found in a drawing. */
struct drawing {
	unsigned curves, depth, deepest;
	unsigned points[BENCH_CURVES_MAX];
	bool in_text;
	char texts[8192];        /* of all text elements, a newline after each */
	size_t used;
};

static void points_take(struct drawing *d, const char *points)
{
	double x = 0, y = 1e9, next_x, next_y;
	int n;

	assert_true(d->curves < BENCH_CURVES_MAX);
	for (; sscanf(points, "%lf,%lf %n", &next_x, &next_y, &n) == 2; points += n) {
		assert_true(next_x >= 80 && next_x <= 830 && next_y >= 50 && next_y <= 400);
		assert_true(next_x >= x && next_y <= y); /* a larger share takes longer: y goes down the page */
		x = next_x;
		y = next_y;
		d->points[d->curves]++;
	}
	assert_string_equal(points, "");
	d->curves++;
}

static void element(void *self, const char *name, const char **attributes)
{
	struct drawing *d = self;

	d->depth++;
	d->deepest = d->depth > d->deepest ? d->depth : d->deepest;
	d->in_text = strcmp(name, "text") == 0;
	assert_true(d->depth > 1 || strcmp(name, "svg") == 0);
	for (; *attributes != NULL; attributes += 2) {
		assert_null(strstr(attributes[1], "nan"));
		assert_null(strstr(attributes[1], "inf"));
		if (strcmp(attributes[0], "points") == 0)
			points_take(d, attributes[1]);
	}
}

static void element_end(void *self, const char *name)
{
	struct drawing *d = self;

	(void)name;
	d->depth--;
	if (d->in_text)
		d->texts[d->used++] = '\n';
	d->in_text = false;
}

static void characters(void *self, const char *text, int len)
{
	struct drawing *d = self;

	if (!d->in_text)
		return;
	assert_true(d->used + (size_t)len + 2 < sizeof(d->texts));
	memcpy(d->texts + d->used, text, (size_t)len);
	d->used += (size_t)len;
}

static void draw(struct drawing *d, const struct bench_curve *curves, unsigned n)
{
	char *text = malloc(BENCH_PLOT_ROOM);
	XML_Parser parser = XML_ParserCreate("UTF-8");
	size_t len = bench_plot_text(text, curves, n);

	memset(d, 0, sizeof(*d));
	XML_SetUserData(parser, d);
	XML_SetElementHandler(parser, element, element_end);
	XML_SetCharacterDataHandler(parser, characters);
	if (XML_Parse(parser, text, (int)len, 1) != XML_STATUS_OK)
		fail_msg("line %lu: %s", XML_GetCurrentLineNumber(parser), XML_ErrorString(XML_GetErrorCode(parser)));
	assert_int_equal(d->depth, 0);
	assert_int_equal(d->curves, n);
	XML_ParserFree(parser);
	free(text);
}

static void one(struct drawing *d, const struct weft_histogram *latency, const char *name)
{
	draw(d, &(struct bench_curve){ .name = name, .latency = latency }, 1);
}

static void one_request_is_a_curve(void **state)
{
	static const uint64_t latencies[] = { 0, 1, 9, 10, 999, 1000, 1000000000, (uint64_t)1 << 41, UINT64_MAX };
	struct drawing d;

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(latencies); i++) {
		struct weft_histogram h = { 0 };

		weft_histogram_add(&h, latencies[i]);
		one(&d, &h, "x");
		assert_int_equal(d.points[0], 2);
		assert_non_null(strstr(d.texts, "0 %\n90 %\n"));
	}
}

static void a_curve_goes_as_far_as_there_are_requests(void **state)
{
	struct weft_histogram h = { .count = { [20] = 900, [40] = 90, [60] = 9, [80] = 1 } };
	struct drawing d;

	(void)state;
	one(&d, &h, "x");
	assert_int_equal(d.points[0], 8);
	assert_non_null(strstr(d.texts, "99.9 %\n"));
	assert_null(strstr(d.texts, "99.99 %\n"));
}

static void all_there_can_be_is_drawn(void **state)
{
	struct bench_curve curves[BENCH_CURVES_MAX];
	struct weft_histogram h;
	struct drawing d;
	char name[200];

	(void)state;
	memset(name, '<', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	for (unsigned i = 0; i < WEFT_HISTOGRAM_BUCKETS; i++)
		h.count[i] = (uint64_t)1 << 44;
	for (unsigned i = 0; i < BENCH_CURVES_MAX; i++)
		curves[i] = (struct bench_curve){ .name = name, .latency = &h };
	draw(&d, curves, BENCH_CURVES_MAX);
	assert_int_equal(d.points[BENCH_CURVES_MAX - 1], 2 * WEFT_HISTOGRAM_BUCKETS);
}

static void a_name_may_be_anything(void **state)
{
	static const struct {
		const char *name, *shown;
	} cases[] = {
		{ "mem:1MiB", "mem:1MiB\n" }, { "<b>&\"']]>", "<b>&\"']]>\n" }, { "&amp;", "&amp;\n" }, { "", "\n" },
		{ "a\tb\nc\x01\x1b\x7f", "a?b?c???\n" }, { "\xff\xc3\xa4", "???\n" }, { "</svg><script>", "</svg><script>\n" },
	};
	struct weft_histogram h = { .count = { [20] = 1 } };
	struct drawing d;

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(cases); i++) {
		size_t len = strlen(cases[i].shown);

		one(&d, &h, cases[i].name);
		assert_true(d.used >= len);
		assert_memory_equal(d.texts + d.used - len, cases[i].shown, len);
		assert_int_equal(d.deepest, 2);
	}
}

static void a_run_without_a_request_is_refused(void **state)
{
	struct weft_histogram h[2] = { { .count = { [20] = 1 } } };
	struct bench_curve curves[2] = { { "a", &h[0] }, { "b", &h[1] } };
	struct weft_why why;

	(void)state;
	assert_int_equal(bench_plot(NULL, "/nowhere", curves, 2, &why), -ENODATA);
	assert_non_null(strstr(why.text, "b: no request was measured"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_request_is_a_curve), cmocka_unit_test(a_curve_goes_as_far_as_there_are_requests),
		cmocka_unit_test(all_there_can_be_is_drawn), cmocka_unit_test(a_name_may_be_anything),
		cmocka_unit_test(a_run_without_a_request_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
