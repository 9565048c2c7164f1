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

/* The reactor of the same number; NULL: none. */
static const json_t *same(const json_t *reactors, const json_t *like)
{
	const json_t *item;
	size_t i;

	json_array_foreach(reactors, i, item)
		if (number(item, "reactor") == number(like, "reactor"))
			return item;
	return NULL;
}

/* The device of this name; NULL: there is none. */
static const json_t *named(const json_t *stats, const json_t *name)
{
	const json_t *device;
	size_t i;

	json_array_foreach(json_object_get(stats, "devices"), i, device)
		if (json_equal(json_object_get(device, "name"), name))
			return device;
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

/* What a device tells of itself, as far as it has changed since `first`: how far a rebuild is, which legs there are. */
static unsigned print_facts(const json_t *device, const json_t *first)
{
	const json_t *then = json_object_get(first, "facts"), *value;
	json_t *facts = json_object_get(device, "facts");
	const char *name;
	unsigned lines = 0;

	json_object_foreach(facts, name, value) {
		if (then == NULL || json_equal(value, json_object_get(then, name)))
			continue;
		printf("  %s: %s\n", name, json_string_value(value));
		lines++;
	}
	return lines;
}

/* In front of the devices of one of several stacks. */
static unsigned print_heading(const json_t *served)
{
	const json_t *on;
	size_t i;

	printf("%s on ", json_string_value(json_object_get(served, "device")));
	json_array_foreach(json_object_get(served, "on"), i, on)
		printf("%s%s", i > 0 ? ", " : "", json_string_value(on));
	printf("\n");
	return 1;
}

static unsigned print_served(const json_t *served, const json_t *stats, const json_t *before, const json_t *first, double seconds)
{
	const json_t *name;
	unsigned lines = 0;
	size_t i;

	json_array_foreach(json_object_get(served, "devices"), i, name) {
		const json_t *device = named(stats, name);

		lines += print_device(device, named(before, name), seconds);
		lines += print_facts(device, named(first, name));
	}
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

unsigned stats_print(const json_t *stats, const json_t *before, const json_t *first)
{
	const json_t *process = json_object_get(stats, "process"), *process_then = json_object_get(before, "process");
	const json_t *served = json_object_get(stats, "served"), *item;
	double seconds = before != NULL ? (double)(number(process, "at_ns") - number(process_then, "at_ns")) / 1e9 : 1;
	char anon[SHOW_TEXT], file[SHOW_TEXT];
	unsigned lines = 1 + show_change(stats);
	size_t i;

	if (seconds <= 0)
		seconds = 1e-9;
	json_array_foreach(served, i, item) {
		lines += json_array_size(served) > 1 ? print_heading(item) : 0;
		lines += print_served(item, stats, before, first, seconds);
	}
	json_array_foreach(json_object_get(stats, "reactors"), i, item) {
		print_reactor(item, same(json_object_get(before, "reactors"), item), seconds);
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
