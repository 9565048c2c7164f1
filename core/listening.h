/* SPDX-License-Identifier: BSD-2-Clause */
/* Listening, without ever holding up the control thread: sockets are made one at a time in a folder, by whichever process. */
#ifndef CORE_LISTENING_H
#define CORE_LISTENING_H

#include <weft/object.h>
#include <weft/reactor.h>

#include "env/env.h"

/* Embedded by who wants to listen, and not to be touched until the task has ended. What stands above the line is the caller's to
 * fill. */
struct listening {
	struct weft_core *core;
	const char *where;     /* as of env_listen */
	struct env_listen_wants wants;
	void (*accepted)(void *self, struct env_stream *stream);
	void *self;
	struct env_listener **out;
	/* ---- */
	struct weft_task *task;
	struct weft_timer retry;
	unsigned tries;
};

/* env_listen on the control reactor. While another process makes a socket in the same folder it is tried again every millisecond;
 * who holds the folder for longer than LISTENING_TRIES of them is after something else, and is no longer heeded. task->done may be
 * called inside; with a status as of env_listen. Control. */
#define LISTENING_TRIES 500u
void listening_start(struct listening *listening, struct weft_task *task);

#endif
