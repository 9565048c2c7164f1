/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands of weft. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

/* Exit status: 0; 1: it could not be done; 2: it was asked for wrongly. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command {
	const char *name, *arguments, *summary;
	int (*run)(int argc, char **argv); /* what follows the command's name */
};

int bench_main(int argc, char **argv);
int serve_main(int argc, char **argv);

#endif
