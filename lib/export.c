/* SPDX-License-Identifier: BSD-2-Clause */
/* Exports: an open device served by a protocol, on the service reactors. */
#include <errno.h>

#include "env/env.h"
#include "lib/lib.h"

struct weft_server {
	struct handle handle;
	struct weft_object *object;
	struct weft_device *device;
};

struct export_call {
	struct call call;
	struct weft_server *server;
	const char *text;
};

static struct export_call *export_call_of(struct call *call)
{
	return WEFT_CONTAINER(call, struct export_call, call);
}

static int tree_make(struct export_call *e, struct tree **out)
{
	struct weft *weft = e->call.weft;
	struct weft_why *why = &e->call.why;
	struct tree *ref;
	int error = device_parse(weft, e->text, &weft_export_iface, out, why);

	if (error != 0)
		return error;
	error = tree_new_ref(weft->core, e->server->device->object->name, &ref);
	if (error != 0)
		weft_why(why, error, "'%.60s': no memory for it: close something else, or raise the memory limit", e->text);
	else
		error = tree_add_below(weft->core, *out, ref, why);
	if (error != 0)
		tree_free(weft->core, *out);
	return error;
}

static void open_run(struct call *call)
{
	struct export_call *e = export_call_of(call);
	struct tree *tree;
	int error = tree_make(e, &tree);

	if (error != 0) {
		call_end(call, error);
		return;
	}
	call->job = (struct objects_job){ .task.done = call_job_done };
	objects_build(call->weft->core, tree, &weft_export_iface, &e->server->object, &call->job);
	tree_free(call->weft->core, tree);
}

static void close_run(struct call *call)
{
	call->job = (struct objects_job){ .task.done = call_job_done };
	objects_release(export_call_of(call)->server->object, &call->job);
}

/* The device stays open from here on, until `servers` is taken down again. */
static int device_hold(struct weft *weft, struct weft_device *device, struct weft_why *why)
{
	int error;

	env_gate_enter(weft->gate);
	error = handle_check(device, HANDLE_DEVICE, why);
	if (error == 0 && device->handle.weft != weft)
		error = weft_why(why, -EINVAL, "device: it is open in another instance: export it there");
	if (error == 0)
		device->servers++;
	env_gate_leave(weft->gate);
	return error;
}

static void device_let_go(struct weft_device *device)
{
	struct weft *weft = device->handle.weft;

	env_gate_enter(weft->gate);
	WEFT_ASSERT(device->servers > 0);
	device->servers--;
	env_gate_leave(weft->gate);
}

int weft_export_open(struct weft *weft, const char *text, struct weft_device *device, struct weft_server **out,
	struct weft_why *why)
{
	struct export_call e = { .call.run = open_run, .text = text };
	int error = call_allowed(weft, why);

	if (out != NULL)
		*out = NULL;
	if (error == 0 && (text == NULL || out == NULL))
		error = weft_why(why, -EINVAL, "export: NULL: write one, KIND:ADDRESS (vhost-user:/run/vm.sock), and where to "
			"store it");
	if (error == 0)
		error = device_hold(weft, device, why);
	if (error != 0)
		return error;
	e.server = handle_new(weft, HANDLE_SERVER, sizeof(*e.server));
	if (e.server == NULL) {
		device_let_go(device);
		return weft_why(why, -ENOMEM, "no memory for an export: close something else, or raise the memory limit");
	}
	e.server->device = device;
	error = call_wait(weft, &e.call, why);
	if (error != 0) {
		device_let_go(device);
		handle_close(&e.server->handle, HANDLE_SERVER);
		return error;
	}
	handle_opened(&e.server->handle, HANDLE_SERVER);
	*out = e.server;
	return 0;
}

int weft_export_close(struct weft_server *server, struct weft_why *why)
{
	struct export_call e = { .call.run = close_run, .server = server };
	uint32_t open = HANDLE_OPEN + HANDLE_SERVER;
	int error = handle_check(server, HANDLE_SERVER, why);

	if (error == 0)
		error = call_allowed(server->handle.weft, why);
	if (error != 0)
		return error;
	if (!atomic_compare_exchange_strong(&server->handle.mark, &open, HANDLE_CLOSED))
		return handle_check(server, HANDLE_SERVER, why);
	error = call_wait(server->handle.weft, &e.call, why);
	device_let_go(server->device);
	handle_close(&server->handle, HANDLE_SERVER);
	return error;
}
