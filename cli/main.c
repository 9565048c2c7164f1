/* SPDX-License-Identifier: BSD-2-Clause */
/* weft, the command: picks one of its commands. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/command.h"
#include "cli/world.h"

const struct command *const commands[] = {
	&command_serve, &command_ctl, &command_top, &command_bench, &command_copy, &command_check, &command_info,
	&command_list, &command_explain, &command_demo, &command_help, NULL,
};

/* Before "--" ends the options. */
static bool asks_for_help(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

/* What was to be told has to have got there; but a server goes on serving though nobody reads where. */
static int told(int status, const struct command *command)
{
	struct weft_why why;

	if (command == &command_serve || status == EXIT_USAGE || (fflush(stdout) == 0 && !ferror(stdout)))
		return status;
	return world_failed(weft_why(&why, -EIO, "what is told cannot be written to standard output: make room there, or send it "
		"elsewhere"), &why);
}

int main(int argc, char **argv)
{
	const struct command *command;
	struct weft_why why;

	if (argc < 2) {
		help_all();
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("weft %s\n", WEFT_VERSION);
		return EXIT_DONE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		help_all();
		return EXIT_DONE;
	}
	command = command_find(argv[1], &why);
	if (command == NULL)
		return world_failed(-EINVAL, &why);
	if (asks_for_help(argc - 2, argv + 2)) {
		help_command(command);
		return EXIT_DONE;
	}
	return told(command_run(command, argc - 2, argv + 2), command);
}
