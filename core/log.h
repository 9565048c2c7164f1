/* SPDX-License-Identifier: BSD-2-Clause */
/* The log's state: made by core_open before anything that may want to say something, ended last. */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <weft/log.h>

/* Sets core->log. -ENOMEM with `why`. Until then, and after log_close, lines are written without a limit.
 * Control thread. */
int log_open(struct weft_core *core, struct weft_why *why);
/* Tells what was suppressed and not yet told, and forgets all messages: their formats may lie in a module that
 * goes. No other thread logs. */
void log_flush(struct weft_core *core);
void log_close(struct weft_core *core);

#endif
