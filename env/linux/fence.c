/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fences of all threads at once: membarrier(2) interrupts the processors that run a thread of ours; a thread that does not run has
 * its fence when it is switched to. Where the call is denied or lacking, the others issue theirs themselves.
 */
#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "env/linux/internal.h"

#define WANTED (MEMBARRIER_CMD_PRIVATE_EXPEDITED | MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)

/* What the call answers, or -errno. */
static long membarrier(int command)
{
	long answer = syscall(SYS_membarrier, command, 0, 0);

	return answer < 0 ? -errno : answer;
}

bool fence_can_reach(void)
{
	long commands = membarrier(MEMBARRIER_CMD_QUERY);

	return commands > 0 && (commands & WANTED) == WANTED;
}

bool linux_fence_reaches(struct env *env)
{
	return linux_env_of(env)->fence_reaches;
}

void linux_fence_here(struct env *env)
{
	(void)env;
	atomic_thread_fence(memory_order_seq_cst);
}

/* The process is registered when it is first wanted: in a process with threads that takes the kernel a while. */
int linux_fence_all(struct env *env)
{
	long rc;

	if (!linux_env_of(env)->fence_reaches) {
		linux_fence_here(env);
		return 0;
	}
	rc = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	if (rc == -EPERM && (rc = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED)) == 0)
		rc = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	return (int)rc;
}
