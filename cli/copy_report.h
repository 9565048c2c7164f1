/* SPDX-License-Identifier: BSD-2-Clause */
/* What a copy shows of itself. */
#ifndef CLI_COPY_REPORT_H
#define CLI_COPY_REPORT_H

#include "cli/copy.h"

/* A bar on standard error, on a terminal; or objects of JSON on standard output, one a line. */
struct copy_bar {
	const struct copy *copy;
	struct weft_timer timer;
	bool json, shown;
	uint64_t at, at_ns;    /* when the rate was looked at last */
	double rate;           /* bytes per second, of late */
	enum copy_phase phase;
};
void copy_bar_start(struct copy_bar *bar, const struct copy *copy, bool json);
void copy_bar_stop(struct copy_bar *bar);

/* It has ended well: a line, or an object of JSON. */
void copy_report(const struct copy *copy, bool json);

/* "copy [=====>    ]  42%", sizes, rate and remaining time. */
void copy_bar_text(const struct copy_progress *progress, double rate, char *text, size_t size);

#endif
