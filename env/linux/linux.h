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
	bool no_membarrier; /* as if membarrier were denied */
	unsigned workers; /* threads for what blocks, started when needed; 0: 16 */
	void (*log)(void *self, int level, const char *line); /* where lines go; any thread; NULL: standard error */
	void *log_self;
	bool quiet;	  /* a fall-back is not said on standard error: the caller does, with env_linux_fallback */
};

/* `wants` may be NULL. Any thread; a process may have several. */
int env_linux_open(struct env **out, const struct env_linux_wants *wants, struct weft_why *why);
/* Everything opened in it is closed. Ends the workers. */
void env_linux_close(struct env *env);
/* What works in another way than it should, as a line; NULL: nothing. Control thread. */
const char *env_linux_fallback(struct env *env);

/* ---- for programs (program.c) ---- */

/* As many open files as the system lets this process have: each ring of a client needs three, and programs get 1024 by default,
 * for the sake of select(), which nobody here calls. */
void env_linux_files_raise(void);
/* What would make a file larger than `ulimit -f` allows fails with -EFBIG, instead of ending the process. */
void env_linux_file_limit_told(void);

/* A folder of our own in $TMPDIR, or /tmp: "PREFIX-XXXXXX". */
int env_linux_folder_make(const char *prefix, char *path, size_t size, struct weft_why *why);
/* With the files in it; folders in it are left. */
void env_linux_folder_remove(const char *path);

/* Another process, which runs this very program with these arguments (the last one is NULL). Its standard input and output are
 * /dev/null; it is told to end (SIGTERM) when we have gone. */
struct env_linux_child;
int env_linux_child_start(const char *const *argv, struct env_linux_child **out, struct weft_why *why);
uint64_t env_linux_child_pid(const struct env_linux_child *child);
bool env_linux_child_running(struct env_linux_child *child);
/* Tells it to end, waits; after `patience_ns` it is killed. Frees `child`. Its exit status; negative: minus the signal. */
int env_linux_child_end(struct env_linux_child *child, uint64_t patience_ns);

#endif
