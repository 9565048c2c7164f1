/* SPDX-License-Identifier: BSD-2-Clause */
/* What every command that does I/O needs around it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/world.h"

#include "core/objects.h"
#include "env/env.h"
#include "env/linux/linux.h"
#include "lib/builtin.h"

/* "0,2-3" into cpus[]; returns how many, or -EINVAL. */
static int cpus_parse(const char *text, int *cpus, struct weft_why *why)
{
	const char *at = text;
	int n = 0;

	while (*at != '\0') {
		char *end;
		unsigned long first = strtoul(at, &end, 10), last = first;

		if (end == at || first > 4095)
			break;
		if (*end == '-') {
			at = end + 1;
			last = strtoul(at, &end, 10);
			if (end == at || last < first || last > 4095)
				break;
		}
		for (; first <= last && n < CORE_REACTORS_MAX - 1; first++)
			cpus[n++] = (int)first;
		at = end;
		if (*at == ',')
			at++;
		else if (*at != '\0')
			break;
	}
	if (*at != '\0' || n == 0)
		return weft_why(why, -EINVAL, "cpus=%s: a list of numbers and ranges is needed: 0,2-3", text);
	return n;
}

int world_open(struct world *world, const struct world_options *options, unsigned reactors, uint32_t budget,
	struct weft_why *why)
{
	struct core_wants wants = { .mode = (enum weft_mode)options->mode, .budget = budget };
	int cpus[CORE_REACTORS_MAX], n = 0, error;

	*world = (struct world){ 0 };
	if (options->cpus != NULL && (n = cpus_parse(options->cpus, cpus, why)) < 0)
		return n;
	wants.io_reactors = reactors != 0 ? reactors : n != 0 ? (unsigned)n : 1;
	for (unsigned i = (unsigned)n; n > 0 && i < wants.io_reactors && i < CORE_REACTORS_MAX; i++)
		cpus[i] = cpus[i % (unsigned)n];
	wants.cpus = n > 0 ? cpus : NULL;
	error = env_linux_open(&world->env, NULL, why);
	if (error != 0)
		return error;
	error = core_open(world->env, &wants, &world->core, why);
	if (error == 0)
		error = objects_module_add(world->core, &builtin_module, why);
	if (error != 0)
		world_close(world);
	return error;
}

void world_close(struct world *world)
{
	if (world->core != NULL)
		core_close(world->core);
	if (world->env != NULL)
		env_linux_close(world->env);
	*world = (struct world){ 0 };
}

int world_failed(const char *who, int error, const struct weft_why *why)
{
	fprintf(stderr, "weft %s: %s\n", who, why->text[0] != '\0' ? why->text : strerror(-error));
	return error == -EINVAL || error == -ERANGE || error == -ENOENT ? EXIT_USAGE : EXIT_FAILED;
}
