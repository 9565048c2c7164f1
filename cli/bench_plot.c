/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A percentile curve as SVG: to the right the share of the requests, by nines (0, 90, 99, 99.9 ...), upwards how long that share
 * took at most; both axes are logarithmic. A curve ends where one request is all that is left.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cli/bench_plot.h"
#include "cli/show.h"

#include "core/histogram.h"
#include "env/env.h"

enum { WIDTH = 860, HEIGHT = 460, LEFT = 80, RIGHT = 830, TOP = 50, BOTTOM = 400 };

static const char *const colours[BENCH_CURVES_MAX] = { "#1f6fb4", "#d1662f", "#2c8c4a", "#8a4fb0", "#b03060", "#606060" };

struct plot {
	char *text;               /* of BENCH_PLOT_ROOM bytes */
	size_t used;
	double nines;             /* at the right edge */
	double lowest, highest;   /* powers of ten of ns at the edges */
};

static void WEFT_PRINTF(2, 3) put(struct plot *p, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(p->text + p->used, BENCH_PLOT_ROOM - p->used, format, args);
	va_end(args);
	p->used += n > 0 ? (size_t)n : 0;
	WEFT_ASSERT(p->used < BENCH_PLOT_ROOM);
}

/* Any text, as XML takes it; not more than a line of it. */
static void put_name(struct plot *p, const char *name)
{
	for (unsigned n = 0; *name != '\0' && n < 80; name++, n++) {
		if (*name == '<' || *name == '>' || *name == '&')
			put(p, "&#%d;", *name);
		else
			put(p, "%c", (unsigned char)*name < ' ' || (unsigned char)*name >= 0x7f ? '?' : *name);
	}
}

static double x_of(const struct plot *p, double nines)
{
	return LEFT + (RIGHT - LEFT) * (nines < p->nines ? nines : p->nines) / p->nines;
}

static double y_of(const struct plot *p, double ns)
{
	return BOTTOM - (BOTTOM - TOP) * (log10(ns) - p->lowest) / (p->highest - p->lowest);
}

static double upper(unsigned bucket)
{
	uint64_t ns = histogram_upper(bucket);

	return ns == 0 ? 1 : (double)ns;
}

/* What all curves need. */
static void edges(struct plot *p, const struct bench_curve *curves, unsigned n)
{
	p->nines = 1;
	p->lowest = 20;
	p->highest = 0;
	for (unsigned c = 0; c < n; c++) {
		double nines = log10((double)histogram_total(curves[c].latency));

		p->nines = nines > p->nines ? nines : p->nines;
		for (unsigned i = 0; i < WEFT_HISTOGRAM_BUCKETS; i++) {
			if (curves[c].latency->count[i] == 0)
				continue;
			p->lowest = fmin(p->lowest, floor(log10(upper(i))));
			p->highest = fmax(p->highest, ceil(log10(upper(i)) + 0.001));
		}
	}
}

static void put_grid(struct plot *p)
{
	char text[SHOW_TEXT];

	put(p, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n",
		WIDTH,
		HEIGHT);
	put(p, "<title>Latency by percentile</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n");
	for (double power = p->lowest; power <= p->highest; power++) {
		double y = y_of(p, pow(10, power));

		put(p, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/>\n", LEFT, y, RIGHT, y);
		put(p, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s</text>\n", LEFT - 8, y + 4,
			show_duration((uint64_t)(pow(10, power) + 0.5), text));
	}
	for (int nines = 0; nines <= (int)p->nines; nines++) {
		double x = x_of(p, nines);

		put(p, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#ddd\"/>\n", x, TOP, x, BOTTOM);
		put(p, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.*f %%</text>\n", x, BOTTOM + 18, nines < 3 ? 0 :
			nines - 2,
			100 - pow(10, 2 - nines));
	}
	put(p, "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" fill=\"none\" stroke=\"#999\"/>\n", LEFT, TOP, RIGHT - LEFT,
		BOTTOM - TOP);
	put(p, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">share of the requests that took no longer</text>\n",
		(LEFT + RIGHT) / 2,
		BOTTOM + 42);
}

static void put_curve(struct plot *p, const struct bench_curve *curve, unsigned number)
{
	uint64_t total = histogram_total(curve->latency), seen = 0;

	WEFT_ASSERT(total > 0);
	put(p, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colours[number]);
	for (unsigned i = 0; i < WEFT_HISTOGRAM_BUCKETS; i++) {
		uint64_t left = total - seen;

		if (curve->latency->count[i] == 0)
			continue;
		put(p, "%.1f,%.1f ", x_of(p, log10((double)total / (double)left)), y_of(p, upper(i)));
		seen += curve->latency->count[i];
		left = total > seen ? total - seen : 1; /* the last one, alone */
		put(p, "%.1f,%.1f ", x_of(p, log10((double)total / (double)left)), y_of(p, upper(i)));
	}
	put(p, "\"/>\n<text x=\"%d\" y=\"%u\" fill=\"%s\">", LEFT, 18 + 14 * number, colours[number]);
	put_name(p, curve->name);
	put(p, "</text>\n");
}

size_t bench_plot_text(char *text, const struct bench_curve *curves, unsigned n)
{
	struct plot p = { .text = text };

	WEFT_ASSERT(n > 0 && n <= BENCH_CURVES_MAX);
	edges(&p, curves, n);
	put_grid(&p);
	for (unsigned c = 0; c < n; c++)
		put_curve(&p, &curves[c], c);
	put(&p, "</svg>\n");
	return p.used;
}

int bench_plot(struct env *env, const char *path, const struct bench_curve *curves, unsigned n, struct weft_why *why)
{
	struct weft_why inner = { "" };
	char *text;
	int error;

	for (unsigned c = 0; c < n; c++)
		if (histogram_total(curves[c].latency) == 0)
			return weft_why(why, -ENODATA, "--plot: %.100s: no request was measured: let it run longer",
				curves[c].name);
	text = env_alloc(env, 16, BENCH_PLOT_ROOM);
	if (text == NULL)
		return weft_why(why, -ENOMEM, "--plot: no memory for a drawing");
	error = env_file_write(env, path, text, bench_plot_text(text, curves, n), &inner);
	env_free(env, text);
	return error == 0 ? 0 : weft_why(why, error, "--plot: %.220s", inner.text);
}
