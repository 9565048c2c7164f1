/* SPDX-License-Identifier: BSD-2-Clause */
/* The counters of a server, as `weft ctl PATH stats --json` tells them, for a human. */
#ifndef CLI_STATS_H
#define CLI_STATS_H

#include <jansson.h>

/* Since the server began; with `before` (an earlier answer): what happened between; with `first` (the earliest one): and what the
 * devices tell of themselves that has changed since. To standard output; returns the number of lines. */
unsigned stats_print(const json_t *stats, const json_t *before, const json_t *first);

#endif
