/* SPDX-License-Identifier: BSD-2-Clause */
/* `weft serve`: devices, layers on them, exports of them, until told to stop. */
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
	  .help = "where to serve the device before it; at least one for each" },
	{ .name = "through", .type = WEFT_OPTION_STRING, .flags = ARGS_MANY, AT(through), .choices = "LAYER[:OPTION=VALUE...]",
	  .help = "a layer on the device before it, the last one on top" },
	{ .name = "config", .type = WEFT_OPTION_PATH, .flags = ARGS_MANY, AT(config),
	  .help = "a device, or a list of devices with layers and exports, from a file, YAML or (*.json) JSON" },
	{ .name = "control", .type = WEFT_OPTION_PATH, AT(control_path), .help = "listen at this socket for `weft ctl`" },
	{ .name = "reactors", .type = WEFT_OPTION_UINT, AT(reactors), .fallback = "0", .max = CORE_REACTORS_MAX - 1,
	  .help = "threads that do I/O; 0: one for each of --cpus, else one" },
	{ .name = "grace", .type = WEFT_OPTION_DURATION, AT(grace_ns), .fallback = "5s", .max = 3600000000000ull,
	  .help = "when told to end, wait so long for requests in flight, then abort them" },
	WORLD_OPTIONS(struct serve, world),
	{ .name = "json", .type = WEFT_OPTION_BOOL, AT(json), .help = "tell what is served as JSON, an object on each line" },
	{ 0 },
};

/* ---- telling ---- */

static void tell_export(const struct serve *s, const struct serve_export *e)
{
	const struct weft_blk *blk = weft_object_query(e->of->device, &weft_blk_iface);
	char size[SHOW_TEXT];

	if (s->json)
		show_json(json_pack("{s:s, s:o, s:I, s:o, s:o}", "event", "serving", "device", show_string(e->of->text), "size",
			(json_int_t)blk->size, "export", show_string(e->text), "name", show_string(e->object->name)), false);
	else
		printf("serving %s (%s) on %s\n", e->of->text, show_size(blk->size, size), e->text);
}

static void tell(const struct serve *s)
{
	for (unsigned d = 0; d < s->devices; d++)
		for (unsigned i = 0; i < s->exports; i++)
			if (s->export[i].of == &s->served[d])
				tell_export(s, &s->export[i]);
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
	if (world_is_to_end(&s->w, s->stopping))
		serve_stop(s);
}

static int begin(struct serve *s)
{
	int error = env_signals_watch(reactor_loop(s->w.core->reactor[0]), interrupted, s);

	if (error != 0)
		return weft_why(&s->why, error, "serve: signals cannot be watched: %s", strerrordesc_np(-error));
	error = written_read(s);
	if (error == 0 && s->control_path != NULL)
		error = control_open(s, s->control_path, &s->control, &s->why);
	if (error == 0)
		error = served_build(s);
	return error;
}

static void end(struct serve *s)
{
	s->w.core->abandoned = !s->running;
	if (s->control != NULL)
		control_close(s->control);
	served_end(s);
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

static struct serve asked;

static int serve_run(const struct args *args)
{
	asked.args = args;
	return run(&asked);
}

static const struct command_example examples[] = {
	{ "An image for a virtual machine", "weft serve file:disk.img --on vhost-user:/run/vm.sock" },
	{ "Made when it is not there, at most 1000 requests per second, with a control socket",
	  "weft serve file:disk.img,create=10GiB --through limit:iops=1000 --on vhost-user:/run/vm.sock --control /run/weft.ctl" },
	{ "Two disks of one machine from one server, each at a socket of its own; the second one slower",
	  "weft serve file:system.img --on vhost-user:/run/a.sock file:data.img --through limit:iops=1000 --on "
	  "vhost-user:/run/b.sock" },
	{ "A device that a file tells", "weft serve --config disk.yaml --on vhost-user:/run/vm.sock" },
	{ "All that a file lists: devices with their layers and exports, as `weft ctl PATH config` tells them",
	  "weft serve --config all.yaml" },
	{ 0 },
};

const struct command command_serve = {
	.name = "serve",
	.words = { { "DEVICE", COMPLETE_DEVICE, 0, SERVE_DEVICES_MAX } },
	.usage = "DEVICE --on EXPORT:ADDRESS... [DEVICE --on ...]|--config FILE... [OPTION...]",
	.summary = "serve devices until told to stop",
	.text = "Opens a device, puts the layers of --through on it, and serves it at every address that --on names. When all of "
		"them are listening it prints a line for each.\n\n"
		"One server can serve several devices: each is written with its --through and --on behind it, up to the next "
		"device; or a file of --config lists them: a list of {device: DEVICE, through: [LAYER, ...], on: [EXPORT, ...]}, "
		"of which through may be left out. All are opened before the first is served; when one of them cannot be, none is. "
		"They share the reactors: queues of clients are spread over them as they come, and on each reactor the devices are "
		"served in turn.\n\n"
		"It ends at SIGTERM or SIGINT, or when weft-ctl says quit: requests in flight are carried out, sockets are "
		"removed. Requests that have not ended after the time of --grace, since a server below is away or slow, are "
		"aborted; what cannot be aborted, like a request to a disk, is waited for. A second signal ends it at once, as "
		"if it were killed. What was aborted or in flight then is not answered: a client that notes what is in flight "
		"has it carried out by the server that is started next. When it cannot begin, it leaves nothing behind.",
	.options = options,
	.examples = examples,
	.into = &asked,
	.why = &asked.why,
	.run = serve_run,
};
