/* SPDX-License-Identifier: BSD-2-Clause */
/* `weft serve`: a device, layers on it, exports of it, until told to stop. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "cli/command.h"
#include "cli/serve.h"
#include "cli/show.h"

#include "core/reactor.h"
#include "env/env.h"

#define AT(field) .offset = offsetof(struct serve, field)
static const struct weft_option options[] = {
	{ .name = "on", .type = WEFT_OPTION_STRING, .flags = ARGS_MANY, AT(on), .choices = "EXPORT:ADDRESS[,OPTION=VALUE...]",
	  .help = "where to serve it; at least one" },
	{ .name = "through", .type = WEFT_OPTION_STRING, .flags = ARGS_MANY, AT(through), .choices = "LAYER[:OPTION=VALUE...]",
	  .help = "a layer on the device, the last one on top" },
	{ .name = "config", .type = WEFT_OPTION_PATH, AT(config),
	  .help = "read the device from a file, YAML or (*.json) JSON, instead of the command line" },
	{ .name = "control", .type = WEFT_OPTION_PATH, AT(control_path), .help = "listen at this socket for `weft ctl`" },
	{ .name = "reactors", .type = WEFT_OPTION_UINT, AT(reactors), .fallback = "0", .max = CORE_REACTORS_MAX - 1,
	  .help = "threads that do I/O; 0: one for each of --cpus, else one" },
	{ .name = "grace", .type = WEFT_OPTION_DURATION, AT(grace_ns), .fallback = "5s", .max = 3600000000000ull,
	  .help = "when told to end, wait so long for requests in flight, then abort them" },
	WORLD_OPTIONS(struct serve, world),
	{ .name = "json", .type = WEFT_OPTION_BOOL, AT(json), .help = "tell what is served as JSON, an object on each line" },
	{ 0 },
};

/* ---- building ---- */

/* Puts `below` under what `text` says; it is the tree's from now on, also when it fails. */
static int parse_over(struct serve *s, const char *text, const struct weft_iface *wants, struct tree *below, struct tree **out)
{
	int error = world_parse(&s->w, text, wants, out, &s->why);

	if (error != 0) {
		tree_free(s->w.core, below);
		return error;
	}
	error = tree_add_below(s->w.core, *out, below);
	if (error != 0) {
		tree_free(s->w.core, *out);
		return weft_why(&s->why, error, "'%.60s': no memory for it: end something else, or raise the memory limit", text);
	}
	return 0;
}

static int device_parse(struct serve *s, struct tree **tree)
{
	int error = s->config != NULL ? world_parse_file(&s->w, s->config, &weft_blk_iface, tree, &s->why) :
		world_parse(&s->w, s->text, &weft_blk_iface, tree, &s->why);

	for (unsigned i = 0; error == 0 && i < s->through.n; i++)
		error = parse_over(s, s->through.text[i], &weft_blk_iface, *tree, tree);
	return error;
}

/* Exports that are written wrongly are found before anything is made. */
static int exports_check(struct serve *s)
{
	struct tree *tree;
	int error = 0;

	for (unsigned i = 0; i < s->on.n && error == 0; i++) {
		error = world_parse(&s->w, s->on.text[i], &weft_export_iface, &tree, &s->why);
		if (error == 0)
			tree_free(s->w.core, tree);
	}
	return error;
}

static int device_build(struct serve *s)
{
	struct tree *tree;
	int error = exports_check(s);

	if (error == 0)
		error = device_parse(s, &tree);
	if (error != 0)
		return error;
	error = world_build(&s->w, tree, &weft_blk_iface, &s->device, &s->why);
	tree_free(s->w.core, tree);
	return error;
}

static int export_build(struct serve *s, const char *text)
{
	struct tree *tree, *ref;
	int error = tree_new_ref(s->w.core, s->device->name, &ref);

	if (error != 0)
		return weft_why(&s->why, error, "'%.60s': no memory for it: end something else, or raise the memory limit", text);
	error = parse_over(s, text, &weft_export_iface, ref, &tree);
	if (error != 0)
		return error;
	error = world_build(&s->w, tree, &weft_export_iface, &s->export[s->exports], &s->why);
	tree_free(s->w.core, tree);
	if (error == 0)
		s->exports++;
	return error;
}

/* ---- telling ---- */

static void tell(struct serve *s)
{
	const struct weft_blk *blk = weft_object_query(s->device, &weft_blk_iface);
	const char *text = s->text != NULL ? s->text : s->config;
	char size[SHOW_TEXT];

	for (unsigned i = 0; i < s->exports; i++) {
		if (s->json)
			show_json(json_pack("{s:s, s:o, s:I, s:o, s:o}", "event", "serving", "device", show_string(text), "size",
				(json_int_t)blk->size, "export", show_string(s->on.text[i]), "name",
				show_string(s->export[i]->name)), false);
		else
			printf("serving %s (%s) on %s\n", text, show_size(blk->size, size), s->on.text[i]);
	}
	fflush(stdout);
}

/* ---- running ---- */

void serve_stop(struct serve *s)
{
	s->stopping = true;
	grace_begin(&s->grace, s->w.core, s->grace_ns);
	if (s->running && !control_is_busy(s->control))
		core_quit(s->w.core);
}

static void interrupted(void *self, int signal)
{
	struct serve *s = self;

	(void)signal;
	if (s->stopping)
		world_leave();
	serve_stop(s);
}

static int begin(struct serve *s)
{
	int error = env_signals_watch(reactor_loop(s->w.core->reactor[0]), interrupted, s);

	if (error != 0)
		return weft_why(&s->why, error, "serve: signals cannot be watched: %s", strerrordesc_np(-error));
	if (s->control_path != NULL)
		error = control_open(s, s->control_path, &s->control, &s->why);
	if (error == 0)
		error = device_build(s);
	for (unsigned i = 0; error == 0 && i < s->on.n && !s->stopping; i++)
		error = export_build(s, s->on.text[i]);
	return error;
}

static void end(struct serve *s)
{
	s->w.core->abandoned = !s->running;
	if (s->control != NULL)
		control_close(s->control);
	while (s->exports > 0)
		world_release(&s->w, s->export[--s->exports]);
	world_release(&s->w, s->device);
	grace_end(&s->grace);
}

static int run(struct serve *s)
{
	int error = world_open(&s->w, &s->world, (unsigned)s->reactors, 0, &s->why);

	if (error != 0)
		return error;
	error = begin(s);
	if (error == 0 && !s->stopping) {
		tell(s);
		world_began(&s->w);
		s->running = true;
		if (s->control != NULL)
			control_begin(s->control);
		core_run(s->w.core);
	}
	end(s);
	world_close(&s->w);
	return error;
}

struct weft_object *serve_find(struct serve *s, const char *name, struct weft_why *why)
{
	struct weft_object *object = objects_find(s->w.core, name), *next = NULL;
	unsigned count = 0;

	if (object != NULL)
		return object;
	while ((next = objects_next(s->w.core, next)) != NULL)
		if (strcmp(next->kind->name, name) == 0) {
			object = next;
			count++;
		}
	if (count == 1)
		return object;
	weft_why(why, -ENOENT, count == 0 ? "'%.60s': there is no object of this name or kind: `weft ctl PATH info` shows them" :
		"'%.60s': there are several of this kind: give the name of one (`weft ctl PATH info` shows them)", name);
	return NULL;
}

static int serve_main(int argc, char **argv)
{
	static struct serve s;
	struct args args;
	int error = args_parse("serve", options, &s, argc, argv, &args, &s.why);

	if (error == 0)
		error = args_count("serve", &args, s.config == NULL, s.config == NULL, s.config != NULL ?
			"--config FILE --on EXPORT:ADDRESS" : "DEVICE --on EXPORT:ADDRESS", &s.why);
	if (error == 0 && s.on.n == 0)
		error = weft_why(&s.why, -EINVAL, "serve: --on is missing: say where to serve it, like --on "
			"vhost-user:/run/vm.sock");
	if (error == 0) {
		s.text = s.config != NULL ? NULL : args.plain[0];
		error = run(&s);
	}
	return error == 0 ? EXIT_DONE : world_failed(error, &s.why);
}

static const struct command_example examples[] = {
	{ "An image for a virtual machine", "weft serve file:disk.img --on vhost-user:/run/vm.sock" },
	{ "Made when it is not there, at most 1000 requests per second, with a control socket",
	  "weft serve file:disk.img,create=10GiB --through limit:iops=1000 --on vhost-user:/run/vm.sock --control /run/weft.ctl" },
	{ "The same device from a file", "weft serve --config disk.yaml --on vhost-user:/run/vm.sock" },
	{ 0 },
};

const struct command command_serve = {
	.name = "serve",
	.arguments = "DEVICE|--config FILE --on EXPORT:ADDRESS... [OPTION...]",
	.summary = "serve a device until told to stop",
	.text = "Opens a device, puts the layers of --through on it, and serves it at every address that --on names. When all of "
		"them are listening it prints a line for each.\n\n"
		"It ends at SIGTERM or SIGINT, or when weft-ctl says quit: requests in flight are carried out, sockets are "
		"removed. Requests that have not ended after the time of --grace, since a server below is away or slow, are "
		"aborted; what cannot be aborted, like a request to a disk, is waited for. A second signal ends it at once, as "
		"if it were killed. What was aborted or in flight then is not answered: a client that notes what is in flight "
		"has it carried out by the server that is started next. When it cannot begin, it leaves nothing behind.",
	.options = options,
	.examples = examples,
	.run = serve_main,
};
