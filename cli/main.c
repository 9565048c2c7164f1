/* SPDX-License-Identifier: BSD-2-Clause */
/* weft, the command: picks one of its commands. */
#include <stdio.h>
#include <string.h>

#include "cli/command.h"

static const struct command commands[] = {
	{ "serve", "DEVICE --on EXPORT...", "serve a device until told to stop", serve_main },
	{ "bench", "DEVICE", "measure a device, or verify it", bench_main },
};

static int usage(FILE *to)
{
	fprintf(to, "usage: weft COMMAND ...\n\n");
	for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(to, "  weft %s %-28s %s\n", commands[i].name, commands[i].arguments, commands[i].summary);
	return to == stdout ? EXIT_DONE : EXIT_USAGE;
}

int main(int argc, char **argv)
{
	if (argc < 2)
		return usage(stderr);
	for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 2, argv + 2);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)
		return usage(stdout);
	fprintf(stderr, "weft: there is no command '%s': `weft --help` lists them\n", argv[1]);
	return EXIT_USAGE;
}
