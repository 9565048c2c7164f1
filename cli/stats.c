/* SPDX-License-Identifier: BSD-2-Clause */
/* The counters of a server, for a human. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/show.h"
#include "cli/stats.h"

static int64_t number(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

/* The entry of `list` whose `key` is that of `like`; NULL: none. */
static const json_t *same(const json_t *list, const json_t *like, const char *key)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item)
		if (json_equal(json_object_get(item, key), json_object_get(like, key)))
			return item;
	return NULL;
}

/* A counter that is smaller than before began anew: its device was opened again, above or below another layer. */
static double rate(const json_t *now, const json_t *before, const char *name, double seconds)
{
	int64_t then = number(before, name), gone = number(now, name) - then;

	return (double)(gone >= 0 ? gone : gone + then) / seconds;
}

static unsigned print_class(const json_t *device, const json_t *before, const char *class, double seconds)
{
	const json_t *now = json_object_get(device, class), *then = json_object_get(before, class);
	char count[SHOW_TEXT], size[SHOW_TEXT], p50[SHOW_TEXT], p99[SHOW_TEXT], max[SHOW_TEXT];

	if (number(now, "requests") == 0)
		return 0;
	printf("  %-8s %10s%s %12s%s %6" PRId64 " errors  p50 %9s  p99 %9s  max %9s\n", class,
		show_count(rate(now, then, "requests", seconds), count), before != NULL ? "/s" : "",
		show_size((uint64_t)rate(now, then, "bytes", seconds), size), before != NULL ? "/s" : "", number(now, "errors"),
		show_duration((uint64_t)number(now, "p50_ns"), p50), show_duration((uint64_t)number(now, "p99_ns"), p99),
		show_duration((uint64_t)number(now, "max_ns"), max));
	return 1;
}

static unsigned print_device(const json_t *device, const json_t *before, double seconds)
{
	static const char *const classes[] = { "read", "write", "flush", "other" };
	static const char *const extra[] = { "refused", "splits", "bounces", "bounced_bytes", "zeroes_written", "fua_flushes",
		"carried" };
	unsigned lines = 1;
	bool any = false;

	printf("%s: %" PRId64 " in flight", json_string_value(json_object_get(device, "name")), number(device, "in_flight"));
	for (unsigned i = 0; i < WEFT_COUNT(extra); i++)
		if (number(device, extra[i]) != 0) {
			printf("%s %" PRId64 " %s", any ? "," : "; in all", number(device, extra[i]), extra[i]);
			any = true;
		}
	printf("\n");
	for (unsigned i = 0; i < WEFT_COUNT(classes); i++)
		lines += print_class(device, before, classes[i], seconds);
	return lines;
}

static void print_reactor(const json_t *reactor, const json_t *before, double seconds)
{
	static const char *const names[] = { "requests", "turns", "sleeps", "system_calls" };

	printf("reactor %" PRId64 ": %s, %" PRId64 " sessions", number(reactor, "reactor"),
		json_string_value(json_object_get(reactor, "mode")), number(reactor, "sessions"));
	for (unsigned i = 0; i < WEFT_COUNT(names); i++) {
		char text[SHOW_TEXT];

		printf(", %s%s %s", show_count(rate(reactor, before, names[i], seconds), text), before != NULL ? "/s" : "",
			names[i]);
	}
	printf("\n");
}

unsigned stats_print(const json_t *stats, const json_t *before)
{
	const json_t *process = json_object_get(stats, "process"), *process_then = json_object_get(before, "process"), *item;
	double seconds = before != NULL ? (double)(number(process, "at_ns") - number(process_then, "at_ns")) / 1e9 : 1;
	char anon[SHOW_TEXT], file[SHOW_TEXT];
	unsigned lines = 1;
	size_t i;

	if (seconds <= 0)
		seconds = 1e-9;
	json_array_foreach(json_object_get(stats, "devices"), i, item)
		lines += print_device(item, before != NULL ? same(json_object_get(before, "devices"), item, "name") : NULL,
			seconds);
	json_array_foreach(json_object_get(stats, "reactors"), i, item) {
		print_reactor(item, before != NULL ? same(json_object_get(before, "reactors"), item, "reactor") : NULL, seconds);
		lines++;
	}
	if (before != NULL)
		printf("process: %.0f %% of a processor", rate(process, process_then, "cpu_ns", seconds) / 1e7);
	else
		printf("process: %.2f s of a processor", (double)number(process, "cpu_ns") / 1e9);
	printf(", memory %s + %s of files\n", show_size((uint64_t)number(process, "rss_anon"), anon),
		show_size((uint64_t)number(process, "rss_file"), file));
	return lines;
}
