/* SPDX-License-Identifier: BSD-2-Clause */
/* The log: formats a line, counts it against its message's limit, hands it to the environment. */
#include <weft/log.h>

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>

#include "core/core.h"
#include "core/log.h"
#include "env/env.h"

#define LINE_MAX_BYTES 500
#define MESSAGES 256 /* a power of two */
#define PROBES 8

/* One message's limit. Several threads may log it at once: a slot is claimed by its format, the window by its
 * start; a race costs a line more or less, never more. */
struct log_message {
	_Atomic(const char *) format;
	_Atomic uint64_t since_ns; /* start of the period, plus one; 0: none yet */
	_Atomic uint32_t lines;    /* in this period */
	_Atomic uint32_t dropped;  /* since a line was last written */
};

struct log {
	_Atomic int level;
	struct log_message message[MESSAGES];
};

int log_open(struct weft_core *core, struct weft_why *why)
{
	WEFT_ASSERT(!core->log);
	struct log *log = weft_alloc(core, sizeof(*log));

	if (!log)
		return weft_why(why, -ENOMEM, "log: no memory for %zu bytes: end something else, or raise the memory limit",
				sizeof(*log));
	atomic_init(&log->level, WEFT_LOG_INFO);
	core->log = log;
	return 0;
}

static void put_line(struct weft_core *core, int level, char *line)
{
	WEFT_ASSERT(core->env && line);
	for (char *c = line; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	env_log_line(core->env, level, line);
}

void log_flush(struct weft_core *core)
{
	for (unsigned i = 0; core->log && i < MESSAGES; i++) {
		struct log_message *message = &core->log->message[i];
		uint32_t dropped = atomic_exchange(&message->dropped, 0);
		const char *format = atomic_exchange(&message->format, NULL);
		char line[LINE_MAX_BYTES];

		atomic_store(&message->since_ns, 0);
		if (!dropped)
			continue;
		snprintf(line, sizeof(line), "%" PRIu32 " more suppressed: %s", dropped, format);
		put_line(core, WEFT_LOG_INFO, line);
	}
}

void log_close(struct weft_core *core)
{
	struct log *log = core->log;

	log_flush(core);
	core->log = NULL;
	weft_free(core, log);
}

/* The message's slot; when all places that it may have are taken, it shares the last one. */
static struct log_message *find_message(struct log *log, const char *format)
{
	uint64_t hash = (uint64_t)(uintptr_t)format * 0x9e3779b97f4a7c15ull >> 32;
	struct log_message *message = NULL;

	WEFT_ASSERT(format);
	for (unsigned i = 0; i < PROBES; i++) {
		const char *there = NULL;

		message = &log->message[(hash + i) % MESSAGES];
		if (atomic_compare_exchange_strong(&message->format, &there, format) || there == format)
			break;
	}
	return message;
}

/* May a line be written now? Then *dropped is how many were not, before it. */
static bool admit(struct log_message *message, uint64_t now_ns, uint32_t *dropped)
{
	uint64_t since = atomic_load(&message->since_ns);

	WEFT_ASSERT(dropped);
	if (!since || now_ns + 1 - since >= WEFT_LOG_PERIOD_NS) {
		if (atomic_compare_exchange_strong(&message->since_ns, &since, now_ns + 1))
			atomic_store(&message->lines, 0);
	}
	if (atomic_fetch_add(&message->lines, 1) >= WEFT_LOG_BURST) {
		atomic_fetch_add(&message->dropped, 1);
		return false;
	}
	*dropped = atomic_exchange(&message->dropped, 0);
	return true;
}

void weft_log(struct weft_core *core, enum weft_log_level level, const char *format, ...)
{
	struct log *log = core->log;
	uint32_t dropped = 0;
	char line[LINE_MAX_BYTES + 1];
	va_list args;

	if (log && (int)level > atomic_load_explicit(&log->level, memory_order_relaxed))
		return;
	if (log && !admit(find_message(log, format), env_now_ns(core->env), &dropped))
		return;
	va_start(args, format);
	int len = vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	WEFT_ASSERT(len >= 0);
	if (dropped && len < LINE_MAX_BYTES - 40)
		snprintf(line + len, sizeof(line) - (size_t)len, " (%" PRIu32 " more suppressed)", dropped);
	put_line(core, level, line);
}

void weft_log_level_set(struct weft_core *core, enum weft_log_level level)
{
	WEFT_ASSERT(core->log);
	WEFT_ASSERT(level <= WEFT_LOG_DEBUG);
	atomic_store(&core->log->level, level);
}

const char *weft_log_level_name(enum weft_log_level level)
{
	static const char *const names[] = { "error", "warn", "info", "debug" };

	WEFT_ASSERT((unsigned)level < WEFT_COUNT(names));
	return names[level];
}
