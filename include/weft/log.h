/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log: one line per event, with a level, rate-limited per message. Where lines go is the environment's
 * affair (standard error, a simulation's trace).
 */
#ifndef WEFT_LOG_H
#define WEFT_LOG_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weft_core;

enum weft_log_level {
	WEFT_LOG_ERROR, /* something that was asked for did not happen */
	WEFT_LOG_WARN,  /* it goes on, but not as wished: a fall-back, a retry, a peer that misbehaves */
	WEFT_LOG_INFO,  /* what an operator wants to see once: started, connected, resized (the default) */
	WEFT_LOG_DEBUG,
};

/* Of each message this many lines are written in each period; the others are counted and told with the next
 * one that is written. */
#define WEFT_LOG_BURST 5
#define WEFT_LOG_PERIOD_NS 10000000000ull

/*
 * Writes one line. `format` is a literal: its address is the message's identity for the rate limit. Control
 * characters (a guest's, a peer's) are written as '?', what is longer than 500 bytes is cut. Any thread; no
 * lock, no allocation.
 */
WEFT_API void weft_log(struct weft_core *core, enum weft_log_level level, const char *format, ...) WEFT_PRINTF(3, 4);

/* Messages above `level` are dropped from now on. Any thread. */
WEFT_API void weft_log_level_set(struct weft_core *core, enum weft_log_level level);

/* "error", "warn", "info", "debug" (what --log takes). */
WEFT_API const char *weft_log_level_name(enum weft_log_level level);

#ifdef __cplusplus
}
#endif
#endif
