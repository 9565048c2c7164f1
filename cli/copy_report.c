/* SPDX-License-Identifier: BSD-2-Clause */
/* What a copy shows of itself: the bar on the terminal, JSON, the line at the end. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/copy_report.h"
#include "cli/show.h"

enum { BAR_NS = 250000000, JSON_NS = 1000000000, BAR_CELLS = 24 };

/* 75 s: "1:15", 2 h: "2:00:00" */
static void remaining(const struct copy_progress *p, double rate, char *text, size_t size)
{
	uint64_t seconds = rate <= 0 ? UINT64_MAX : (uint64_t)((double)(p->size - p->at) / rate + 0.5);

	if (seconds >= 100 * 3600)
		snprintf(text, size, "-:--");
	else if (seconds >= 3600)
		snprintf(text, size, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, seconds / 3600, seconds / 60 % 60, seconds % 60);
	else
		snprintf(text, size, "%" PRIu64 ":%02" PRIu64, seconds / 60, seconds % 60);
}

void copy_bar_text(const struct copy_progress *p, double rate, char *text, size_t size)
{
	unsigned full = p->size == 0 ? 0 : (unsigned)((double)p->at / (double)p->size * BAR_CELLS);
	char bar[BAR_CELLS + 1], done[SHOW_TEXT], all[SHOW_TEXT], speed[SHOW_TEXT], left[16];

	memset(bar, ' ', BAR_CELLS);
	memset(bar, '=', full < BAR_CELLS ? full : BAR_CELLS);
	if (full < BAR_CELLS)
		bar[full] = '>';
	bar[BAR_CELLS] = '\0';
	remaining(p, rate, left, sizeof(left));
	snprintf(text, size, "%s [%s] %3u%%  %s of %s  %s/s  %s left", p->phase == COPY_VERIFYING ? "verify" : "copy", bar,
		p->size == 0 ? 0 : (unsigned)((double)p->at * 100 / (double)p->size), show_size(p->at, done),
		show_size(p->size, all), show_size((uint64_t)rate, speed), left);
}

static void show_bar(struct copy_bar *bar, const struct copy_progress *p)
{
	char text[160];

	copy_bar_text(p, bar->rate, text, sizeof(text));
	fprintf(stderr, "\r%s\033[K", text);
	fflush(stderr);
	bar->shown = true;
}

static void show_event(const struct copy_bar *bar, const struct copy_progress *p)
{
	show_json(json_pack("{s:s, s:s, s:I, s:I, s:f}", "event", "progress", "phase", p->phase == COPY_VERIFYING ? "verify" :
		"copy",
		"done", (json_int_t)p->at, "size", (json_int_t)p->size, "bytes_per_second", bar->rate), false);
}

static void tick(void *self)
{
	struct copy_bar *bar = self;
	struct weft_reactor *control = bar->copy->core->reactor[0];
	uint64_t now = weft_reactor_now(control);
	struct copy_progress p;

	copy_sum(bar->copy, &p);
	if (p.phase != bar->phase)
		*bar = (struct copy_bar){ .copy = bar->copy, .timer = bar->timer, .json = bar->json, .shown = bar->shown,
			.phase = p.phase, .at = p.at, .at_ns = now };
	if (now > bar->at_ns && p.at >= bar->at) { /* half of what it was, half of what it is */
		double rate = (double)(p.at - bar->at) * 1e9 / (double)(now - bar->at_ns);

		bar->rate = bar->rate == 0 ? rate : (bar->rate + rate) / 2;
	}
	bar->at = p.at;
	bar->at_ns = now;
	if (p.phase == COPY_COPYING || p.phase == COPY_VERIFYING) {
		if (bar->json)
			show_event(bar, &p);
		else
			show_bar(bar, &p);
	}
	weft_timer_arm(control, &bar->timer, now + (bar->json ? JSON_NS : BAR_NS));
}

void copy_bar_start(struct copy_bar *bar, const struct copy *copy, bool json)
{
	struct weft_reactor *control = copy->core->reactor[0];

	*bar = (struct copy_bar){ .copy = copy, .json = json, .at_ns = weft_reactor_now(control) };
	bar->timer = (struct weft_timer){ .fn = tick, .self = bar };
	if (json || env_is_terminal(copy->core->env))
		weft_timer_arm(control, &bar->timer, bar->at_ns + (json ? JSON_NS : BAR_NS));
}

void copy_bar_stop(struct copy_bar *bar)
{
	weft_timer_disarm(bar->copy->core->reactor[0], &bar->timer);
	if (bar->shown)
		fprintf(stderr, "\r\033[K");
}

/* ---- at the end ---- */

static json_t *result_json(const struct copy *copy, const struct copy_progress *p, double seconds)
{
	const struct copy_counts *c = &p->counts;

	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:f, s:f}", "event", "done", "size", (json_int_t)p->size,
		"data", (json_int_t)c->data, "zeroed", (json_int_t)c->zeroed, "left_zero", (json_int_t)c->left_zero,
		"settled_before", (json_int_t)c->settled, "compared", (json_int_t)c->compared, "verified", copy->options.verify,
		"seconds", seconds, "bytes_per_second", seconds > 0 ? (double)(p->size - c->settled) / seconds : 0);
}

void copy_report(const struct copy *copy, bool json)
{
	char size[SHOW_TEXT], data[SHOW_TEXT], speed[SHOW_TEXT], before[SHOW_TEXT];
	double seconds = (double)copy->elapsed_ns / 1e9;
	struct copy_progress p;

	copy_sum(copy, &p);
	if (json) {
		show_json(result_json(copy, &p, seconds), false);
		return;
	}
	printf("copied %s in %.1f s (%s/s), %s of it data", show_size(p.size - p.counts.settled, size), seconds,
		show_size(seconds > 0 ? (uint64_t)((double)(p.size - p.counts.settled) / seconds) : 0, speed),
		show_size(p.counts.data, data));
	if (p.counts.settled > 0)
		printf("; %s had been copied before", show_size(p.counts.settled, before));
	printf("%s\n", copy->options.verify ? "; verified" : "");
	fflush(stdout);
}
