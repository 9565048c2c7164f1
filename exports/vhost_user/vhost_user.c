/* SPDX-License-Identifier: BSD-2-Clause */
/* The export as an object: options, start and stop, freeze and thaw, who is let in. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <weft/log.h>

#include "exports/vhost_user/vux.h"

static struct vux_export *of_object(const struct weft_object *object)
{
	return WEFT_CONTAINER((uintptr_t)object, struct vux_export, object);
}

static struct vux_export *of_export(struct weft_export *exp)
{
	return WEFT_CONTAINER(exp, struct vux_export, exp);
}

static struct vux_export *of_stack_task(struct weft_task *task)
{
	return WEFT_CONTAINER(task, struct vux_export, stack_task);
}

/* Ends the operation under way. */
static void export_task_ends(struct vux_export *exp, int status)
{
	struct weft_task *task = exp->task;

	WEFT_ASSERT(control_is_here(exp));
	WEFT_ASSERT(task != NULL && status <= 0);
	exp->task = NULL;
	task->done(task, status);
}

/* ---- start ---- */

static void export_accepted(void *self, struct env_stream *stream)
{
	struct vux_export *exp = self;

	WEFT_ASSERT(!exp->stopping);
	connection_open(exp, stream);
}

static void start_undone_done(struct weft_task *task, int status)
{
	struct vux_export *exp = of_stack_task(task);

	WEFT_ASSERT(exp->start_status < 0 && exp->listener == NULL && exp->connections == NULL);
	(void)status;
	exp->stack = NULL;
	export_task_ends(exp, exp->start_status);
}

static void start_listening_done(struct weft_task *task, int status)
{
	struct vux_export *exp = of_stack_task(task);

	WEFT_ASSERT(exp->task != NULL && exp->stack != NULL && (status == 0) == (exp->listener != NULL));
	if (status == 0) {
		export_task_ends(exp, 0);
		return;
	}
	exp->task->why = task->why;
	exp->start_status = status;
	exp->stack_task = (struct weft_task){ .done = start_undone_done };
	weft_stack_close(exp->stack, &exp->stack_task);
}

static void start_stack_done(struct weft_task *task, int status)
{
	struct vux_export *exp = of_stack_task(task);

	WEFT_ASSERT(exp->task != NULL && exp->listener == NULL && status <= 0);
	if (status != 0) {
		exp->stack = NULL;
		exp->task->why = task->why;
		export_task_ends(exp, status);
		return;
	}
	exp->listening = (struct listening){ .core = export_core(exp), .where = exp->where, .accepted = export_accepted,
		.self = exp, .out = &exp->listener, .wants = { .mode = exp->mode != 0 ? (int)exp->mode : -1,
		.group = exp->group, .fd = exp->fd != 0 ? (int)exp->fd : -1 } };
	exp->stack_task = (struct weft_task){ .done = start_listening_done };
	listening_start(&exp->listening, &exp->stack_task);
}

static int export_check(struct vux_export *exp, struct weft_why *why)
{
	size_t len = (size_t)snprintf(exp->where, sizeof(exp->where), "unix:%s", exp->path != NULL ? exp->path : "");

	if (len >= sizeof(exp->where))
		return weft_why(why, -ENAMETOOLONG,
			"vhost-user: path '%.60s...' is longer than a socket's name can be (107 bytes): "
			"choose a shorter one", exp->path);
	if (exp->path == NULL && exp->fd == 0)
		return weft_why(why, -EINVAL,
			"vhost-user: no address: give a socket's path (vhost-user:/run/vm.sock) or fd=NUMBER");
	if (exp->path != NULL && exp->fd != 0)
		return weft_why(why, -EINVAL, "vhost-user: path '%.60s' and fd=%" PRIu64 " are both given: leave one out",
			exp->path, exp->fd);
	if (exp->fd != 0 && (exp->mode != 0 || exp->group != NULL))
		return weft_why(why, -EINVAL, "vhost-user: fd=%" PRIu64 ": mode= and group= are for a socket that is made here: "
			"leave them out", exp->fd);
	if (exp->mode > 07777)
		return weft_why(why, -EINVAL, "vhost-user: mode=%o is no file mode: give one like 0660", exp->mode);
	if (exp->serial != NULL && strlen(exp->serial) > VIRTIO_BLK_ID_BYTES)
		return weft_why(why, -EINVAL, "vhost-user: serial='%.40s' is longer than %d bytes: shorten it", exp->serial,
			VIRTIO_BLK_ID_BYTES);
	return 0;
}

static const struct weft_export_ops export_ops;

static void export_start(struct weft_object *object, struct weft_task *task)
{
	struct vux_export *exp = of_object(object);
	int status = export_check(exp, &task->why);

	WEFT_ASSERT(exp->task == NULL && exp->stack == NULL && exp->connections == NULL);
	exp->exp.ops = &export_ops;
	if (status != 0) {
		task->done(task, status);
		return;
	}
	exp->task = task;
	exp->stack_task = (struct weft_task){ .done = start_stack_done };
	status = weft_stack_open(export_core(exp), exp->exp.device, object->name, &exp->stack, &exp->stack_task);
	if (status != 0)
		start_stack_done(&exp->stack_task, status);
}

/* ---- stop ---- */

static void close_stack_done(struct weft_task *task, int status)
{
	struct vux_export *exp = of_stack_task(task);

	WEFT_ASSERT(exp->closing && exp->stack != NULL);
	exp->closing = false;
	exp->stack = NULL;
	export_task_ends(exp, status);
}

static void export_close_stack(struct vux_export *exp)
{
	WEFT_ASSERT(exp->stack != NULL && !exp->closing);
	exp->closing = true;
	exp->stack_task = (struct weft_task){ .done = close_stack_done };
	weft_stack_close(exp->stack, &exp->stack_task);
}

static void export_stop(struct weft_object *object, struct weft_task *task)
{
	struct vux_export *exp = of_object(object);

	WEFT_ASSERT(control_is_here(exp));
	WEFT_ASSERT(exp->task == NULL && !exp->stopping);
	exp->task = task;
	exp->stopping = true;
	env_listener_close(exp->listener);
	exp->listener = NULL;
	for (struct vux_connection *c = exp->connections; c != NULL; c = c->next)
		connection_close(c, "the export is stopped");
	export_settled(exp);
}

/* ---- freeze and thaw ---- */

static void export_freeze(struct weft_export *e, struct weft_task *task)
{
	struct vux_export *exp = of_export(e);

	WEFT_ASSERT(control_is_here(exp));
	WEFT_ASSERT(exp->task == NULL && !exp->frozen && !exp->stopping);
	exp->task = task;
	exp->frozen = true;
	for (struct vux_connection *c = exp->connections; c != NULL; c = c->next)
		connection_settle(c);
	export_settled(exp);
}

static void thaw_stack_done(struct weft_task *task, int status)
{
	struct vux_export *exp = of_stack_task(task);

	WEFT_ASSERT(exp->frozen && exp->task != NULL && status <= 0);
	if (status != 0) {
		exp->stack = NULL;
		exp->task->why = task->why;
		export_task_ends(exp, status);
		return;
	}
	exp->frozen = false;
	for (struct vux_connection *c = exp->connections; c != NULL; c = c->next) {
		connection_settle(c);
		if (c->state == VUX_OPEN)
			channel_config_changed(c);
	}
	export_task_ends(exp, 0);
}

static void export_thaw(struct weft_export *e, struct weft_task *task)
{
	struct vux_export *exp = of_export(e);
	int status;

	WEFT_ASSERT(control_is_here(exp));
	WEFT_ASSERT(exp->task == NULL && exp->frozen && exp->stack == NULL);
	exp->task = task;
	exp->stack_task = (struct weft_task){ .done = thaw_stack_done };
	status = weft_stack_open(export_core(exp), exp->exp.device, exp->object.name, &exp->stack, &exp->stack_task);
	if (status != 0)
		thaw_stack_done(&exp->stack_task, status);
}

static bool export_is_drained(const struct vux_export *exp)
{
	for (struct vux_connection *c = exp->connections; c != NULL; c = c->next)
		if (!connection_is_settled(c))
			return false;
	return true;
}

void export_settled(struct vux_export *exp)
{
	WEFT_ASSERT(control_is_here(exp) && exp->waiting <= VUX_WAITING_MAX);
	if (exp->closing)
		return;
	if (exp->stopping) {
		if (exp->connections != NULL)
			return;
		if (exp->stack != NULL)
			export_close_stack(exp);
		else
			export_task_ends(exp, 0); /* stopped while frozen */
		return;
	}
	if (exp->frozen && exp->task != NULL && exp->stack != NULL && export_is_drained(exp)) {
		export_close_stack(exp);
		return;
	}
	for (struct vux_connection *c = exp->connections; c != NULL && exp->open < exp->clients; c = c->next)
		if (c->state == VUX_WAITING)
			connection_admit(c);
}

/* ---- the rest ---- */

static void export_resized(struct weft_export *e)
{
	for (struct vux_connection *c = of_export(e)->connections; c != NULL; c = c->next)
		if (c->state == VUX_OPEN)
			channel_config_changed(c);
}

static void export_lower_resized(struct weft_object *object)
{
	export_resized(&of_object(object)->exp);
}

static void export_describe_sessions(struct weft_export *e, weft_describe_put *put, void *self)
{
	static const char *const states[] = { "waits", "open", "closing" };
	struct vux_export *exp = of_export(e);

	WEFT_ASSERT(control_is_here(exp));
	for (struct vux_connection *c = exp->connections; c != NULL; c = c->next) {
		unsigned running = 0, all = 0;
		uint64_t requests = 0, failures = 0;
		char name[32], value[160];

		for (unsigned i = 0; i < exp->queues; i++) {
			if (c->ring[i] == NULL)
				continue;
			all++;
			running += c->ring[i]->state == VUX_RUNNING;
			requests += __atomic_load_n(&c->ring[i]->requests, __ATOMIC_RELAXED);
			failures += __atomic_load_n(&c->ring[i]->failures, __ATOMIC_RELAXED);
		}
		snprintf(name, sizeof(name), "client %u", c->number);
		snprintf(value, sizeof(value),
			"%s, %u of %u rings running (%s), %u memory regions, %" PRIu64 " requests, %" PRIu64 " failed",
			states[c->state], running, all, connection_acked(c, VIRTIO_F_RING_PACKED) ? "packed" : "split", c->memories,
			requests, failures);
		put(self, name, value);
	}
}

static void export_describe(const struct weft_object *object, weft_describe_put *put, void *self)
{
	const struct vux_export *exp = of_object(object);
	char value[64];

	WEFT_ASSERT(control_is_here(exp) && exp->waiting <= VUX_WAITING_MAX);
	if (exp->path != NULL)
		put(self, "socket", exp->path);
	snprintf(value, sizeof(value), "%u of %" PRIu64 ", %u waiting", exp->open, exp->clients, exp->waiting);
	put(self, "clients", value);
	snprintf(value, sizeof(value), "%" PRIu64, exp->queues);
	put(self, "queues", value);
	put(self, "access", export_readonly(exp) ? "read-only" : "read and write");
}

static const struct weft_export_ops export_ops = {
	.freeze = export_freeze,
	.thaw = export_thaw,
	.resized = export_resized,
	.describe = export_describe_sessions,
};

static const struct weft_option options[] = {
	{ "path", WEFT_OPTION_PATH, WEFT_OPTION_ADDRESS, offsetof(struct vux_export, path), NULL,
		"socket that front ends connect to; made by us, removed at the end", NULL, 0, 0 },
	{ "mode", WEFT_OPTION_OCTAL, 0, offsetof(struct vux_export, mode), NULL,
		"permissions of the socket, like 0660 (default: as umask has it)", NULL, 0, 0 },
	{ "group", WEFT_OPTION_STRING, 0, offsetof(struct vux_export, group), NULL,
		"group that owns the socket", NULL, 0, 0 },
	{ "fd", WEFT_OPTION_UINT, 0, offsetof(struct vux_export, fd), NULL,
		"number of an inherited socket that listens already, instead of a path", NULL, 3, 65535 },
	{ "clients", WEFT_OPTION_UINT, 0, offsetof(struct vux_export, clients), "1",
		"front ends served at once; further ones wait", NULL, 1, 256 },
	{ "queues", WEFT_OPTION_UINT, 0, offsetof(struct vux_export, queues), "256",
		"rings that a front end may use", NULL, 1, VUX_QUEUES_MAX },
	{ "queue-size", WEFT_OPTION_UINT, 0, offsetof(struct vux_export, queue_size), "128",
		"entries of the largest ring that front ends use (QEMU's queue-size=): how long requests may be follows from it",
		NULL, 4, 32768 },
	{ "serial", WEFT_OPTION_STRING, 0, offsetof(struct vux_export, serial), NULL,
		"what the guest sees as the disk's serial number, up to 20 bytes (default: the export's name)", NULL, 0, 0 },
	{ "readonly", WEFT_OPTION_BOOL, 0, offsetof(struct vux_export, readonly), "off",
		"the guest may not write", NULL, 0, 0 },
	{ "pin", WEFT_OPTION_BOOL, 0, offsetof(struct vux_export, pin), "off",
		"register guest memory with the I/O ring: faster on disks, but locks all of it in RAM", NULL, 0, 0 },
	{ .name = NULL },
};

static const struct weft_port ports[] = {
	{ "device", &weft_blk_iface, 1, 1, 0, offsetof(struct vux_export, exp.device), "the disk that is served" },
	{ .name = NULL },
};

static const struct weft_offer offers[] = {
	{ &weft_export_iface, offsetof(struct vux_export, exp) },
	{ .iface = NULL },
};

const struct weft_kind export_vhost_user_kind = {
	.name = "vhost-user",
	.summary = "serve a disk to virtual machines through shared memory (vhost-user-blk)",
	.size = sizeof(struct vux_export),
	.options = options,
	.ports = ports,
	.offers = offers,
	.start = export_start,
	.stop = export_stop,
	.lower_resized = export_lower_resized,
	.describe = export_describe,
};
