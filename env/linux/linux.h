/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The real environment: the Linux kernel, by io_uring or, where that is denied, by epoll and worker
 * threads.
 */
#ifndef ENV_LINUX_LINUX_H
#define ENV_LINUX_LINUX_H

#include "env/env.h"

struct env_linux_wants {
	bool no_uring;	  /* as if io_uring_setup were denied */
	unsigned workers; /* threads for what blocks, started when needed; 0: 16 */
};

/* `wants` may be NULL. Any thread; a process may have several. */
int env_linux_open(struct env **out, const struct env_linux_wants *wants, struct weft_why *why);
/* Everything opened in it is closed. Ends the workers. */
void env_linux_close(struct env *env);

#endif
