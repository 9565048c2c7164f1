/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs a command in a world where io_uring_setup(2) answers EPERM, as container runtimes do. */
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "env/linux/test_deny.h"

int main(int argc, char **argv)
{
	int rc;

	if (argc < 2) {
		fprintf(stderr, "usage: deny_uring COMMAND [ARGUMENT...]\n");
		return 2;
	}
	rc = test_deny(__NR_io_uring_setup);
	if (rc != 0) {
		fprintf(stderr, "deny_uring: seccomp: %s\n", strerror(-rc));
		return 1;
	}
	execvp(argv[1], argv + 1);
	perror(argv[1]);
	return 127;
}
