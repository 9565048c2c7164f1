/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fault injection for tests: each call of the control path that can fail can be made to fail, in whichever
 * environment. A test runs
 *
 *	for (n = 1;; n++) {
 *		env_fail_nth(env, n);
 *		rc = the control path under test, then all that is left is taken down;
 *		if (!env_fail_hit(env))
 *			break;              // it went through without reaching its n-th call: rc must be 0
 *		assert_int_not_equal(rc, 0);
 *	}
 *
 * The calls that count: env_alloc, env_pages_alloc (they return NULL), env_loop_open (also movable), env_loop_alarm,
 * env_loop_pin, env_gate_open,
 * env_thread_start, env_medium_open, env_medium_size, env_medium_resize, env_notifier_open,
 * env_notifier_watch, env_shm_create, env_map, env_fd_size, env_fd_copy, env_listen, env_connect,
 * env_stream_read, env_stream_write, env_signals_watch, env_file_read, env_file_write, env_file_try, env_file_remove (they
 * return -EIO, with `why`). A call that fails has done nothing, except that env_notifier_open and env_listen
 * have closed the descriptor that they were to adopt.
 */
#ifndef ENV_ENV_FAULT_H
#define ENV_ENV_FAULT_H

#include "env/env.h"

/* The n-th such call from now on fails, once (1: the next); 0: none does. */
void env_fail_nth(struct env *env, uint64_t n);
/* Has the call asked for by env_fail_nth been reached? */
bool env_fail_hit(struct env *env);
/* How many such calls there have been. */
uint64_t env_calls(struct env *env);

#endif
