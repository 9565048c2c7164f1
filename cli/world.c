/* SPDX-License-Identifier: BSD-2-Clause */
/* What every command that opens devices needs around it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/log.h>

#include "cli/command.h"
#include "cli/world.h"

#include "core/kind.h"
#include "core/option.h"
#include "core/value.h"
#include "env/env.h"
#include "lib/builtin.h"

/* A command that is refused says one line, and that is the reason. */
const struct env_linux_wants world_env_wants = { .quiet = true };

/* "0,2-3" into cpus[]; returns how many, or -EINVAL. */
static int cpus_parse(struct env *env, const char *text, int *cpus, struct weft_why *why)
{
	const char *at = text;
	unsigned long count = env_cpu_count(env);
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
		return weft_why(why, -EINVAL, "--cpus='%.60s' is no list of processors: write numbers and ranges, like 0,2-3 "
			"(there are %lu)",
			text, count);
	return n;
}

static int modules_load(struct world *world, const struct args_list *list, struct weft_why *why)
{
	int error = objects_module_add(world->core, &builtin_module, why);

	for (unsigned i = 0; i < list->n && error == 0; i++)
		error = objects_module_load(world->core, list->text[i], why);
	return error;
}

int world_open(struct world *world, const struct world_options *options, unsigned reactors, uint32_t budget,
	struct weft_why *why)
{
	struct core_wants wants = { .mode = (enum weft_mode)options->mode, .budget = budget };
	int cpus[CORE_REACTORS_MAX], n = 0, error;

	*world = (struct world){ 0 };
	env_linux_files_raise();
	env_linux_file_limit_told();
	error = env_linux_open(&world->env, &world_env_wants, why);
	if (error == 0 && options->cpus != NULL && (n = cpus_parse(world->env, options->cpus, cpus, why)) < 0)
		error = n;
	if (error == 0) {
		wants.io_reactors = reactors != 0 ? reactors : n != 0 ? (unsigned)n : 1;
		for (unsigned i = (unsigned)n; n > 0 && i < wants.io_reactors && i < CORE_REACTORS_MAX; i++)
			cpus[i] = cpus[i % (unsigned)n];
		wants.cpus = n > 0 ? cpus : NULL;
		error = core_open(world->env, &wants, &world->core, why);
	}
	if (error == 0) {
		weft_log_level_set(world->core, (enum weft_log_level)options->log);
		error = modules_load(world, &options->load, why);
	}
	if (error != 0)
		world_close(world);
	return error;
}

void world_began(struct world *world)
{
	const char *fallback = env_linux_fallback(world->env);

	if (fallback != NULL)
		weft_log(world->core, WEFT_LOG_INFO, "%s", fallback);
}

void world_close(struct world *world)
{
	if (world->core != NULL)
		core_close(world->core);
	if (world->env != NULL)
		env_linux_close(world->env);
	*world = (struct world){ 0 };
}

/* ---- trees ---- */

static int check_option(const struct weft_kind *kind, const struct weft_option *option, const char *text, struct weft_why *why)
{
	struct value value;

	return value_parse(kind->name, option, text, &value, why);
}

static int check_options(const struct weft_kind *kind, const struct tree *tree, struct weft_why *why)
{
	const struct weft_option *option = option_of_address(kind);
	int error = 0;

	if (tree->address != NULL && option != NULL)
		error = check_option(kind, option, tree->address, why);
	for (unsigned i = 0; i < tree->noptions && error == 0; i++) {
		option = option_find(kind, tree->options[i].name);
		error = option == NULL ? option_unknown(kind, tree->options[i].name, why) :
			check_option(kind, option, tree->options[i].value, why);
	}
	return error;
}

int world_check(struct world *world, const struct tree *tree, const struct weft_iface *wants, struct weft_why *why)
{
	const struct weft_kind *kind;
	int error;

	if (tree->ref != NULL)
		return 0;
	kind = objects_kind(world->core, tree->kind, wants, why);
	if (kind == NULL)
		return -EINVAL;
	error = check_options(kind, tree, why);
	for (unsigned i = 0; i < tree->nchildren && error == 0; i++) {
		const struct weft_port *port = tree->children[i]->port != NULL ? kind_port(kind, tree->children[i]->port) :
			kind_port_at(kind, i, tree->nchildren, NULL);

		if (port != NULL) /* else building says it */
			error = world_check(world, tree->children[i], port->wants, why);
	}
	return error == -ENOENT ? -EINVAL : error;
}

static int checked(struct world *world, int error, const struct weft_iface *wants, struct tree **out, struct weft_why *why)
{
	if (error == 0) {
		error = world_check(world, *out, wants, why);
		if (error != 0) {
			tree_free(world->core, *out);
			*out = NULL;
		}
	}
	return error == -ENOENT ? -EINVAL : error;
}

int world_parse(struct world *world, const char *text, const struct weft_iface *wants, struct tree **out, struct weft_why *why)
{
	struct tree_reader reader = objects_reader(world->core);

	return checked(world, grammar_parse(&reader, text, wants, out, why), wants, out, why);
}

/* ---- building ---- */

static void ended(struct weft_task *task, int status)
{
	struct world *world = WEFT_CONTAINER(task, struct world, job.task);

	world->status = status;
	core_quit(world->core);
}

int world_build(struct world *world, const struct tree *tree, const struct weft_iface *wants, struct weft_object **out,
	struct weft_why *why)
{
	world->job = (struct objects_job){ .task.done = ended };
	objects_build(world->core, tree, wants, out, &world->job);
	core_run(world->core);
	if (world->status != 0) {
		*why = world->job.task.why;
		*out = NULL;
	}
	return world->status;
}

void world_release(struct world *world, struct weft_object *object)
{
	if (object == NULL)
		return;
	world->job = (struct objects_job){ .task.done = ended };
	objects_release(object, &world->job);
	core_run(world->core);
}

int world_listen(struct world *world, struct listening *listening, struct weft_why *why)
{
	world->job = (struct objects_job){ .task.done = ended };
	listening->core = world->core;
	listening_start(listening, &world->job.task);
	core_run(world->core);
	if (world->status != 0)
		*why = world->job.task.why;
	return world->status;
}

/* ---- errors ---- */

#define SAME_ASKING_NS 100000000u

bool world_is_to_end(struct world *world, bool ending)
{
	uint64_t now = env_now_ns(world->env);

	if (ending && (world->asked_ns == 0 || now - world->asked_ns >= SAME_ASKING_NS)) {
		fprintf(stderr, "weft: asked twice: ending without waiting for requests in flight\n");
		exit(EXIT_FAILED);
	}
	if (!ending)
		world->asked_ns = now;
	return !ending;
}

int world_failed(int error, const struct weft_why *why)
{
	const char *text = why->text[0] != '\0' ? why->text : strerrordesc_np(-error);

	fprintf(stderr, "weft: ");
	for (; *text != '\0'; text++)
		fputc((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text, stderr);
	fprintf(stderr, "\n");
	return error == -EINVAL || error == -ERANGE || error == -ENAMETOOLONG ? EXIT_USAGE : EXIT_FAILED;
}
