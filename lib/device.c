/* SPDX-License-Identifier: BSD-2-Clause */
/* Devices: opened and closed, waiting or not; their facts, size and statistics. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/blk.h"
#include "env/env.h"
#include "lib/lib.h"

/* A call that opens, closes or resizes. Begun, it is of the heap, and its note is what the program takes. */
struct device_call {
	struct note note;           /* first: the note is freed, and this with it */
	struct call call;
	struct weft_device *device;
	char *text;
	uint64_t size;
	int error;                  /* why it is taken apart again */
};

static struct device_call *device_call_of(struct call *call)
{
	return WEFT_CONTAINER(call, struct device_call, call);
}

/* ---- ending of what was begun ---- */

static void begun_ended(struct call *call)
{
	struct device_call *d = device_call_of(call);
	struct weft *weft = call->weft;

	WEFT_ASSERT(d->note.once);
	d->note.event.status = call->status;
	if (call->status == 0 && d->note.event.type == WEFT_EVENT_OPENED)
		d->note.event.device = d->device;
	if (call->status != 0)
		d->note.event.why = call->why;
	weft_free(weft->core, d->text);
	d->text = NULL;
	env_gate_enter(weft->gate);
	note_put(weft, &d->note);
	env_gate_leave(weft->gate);
}

static struct device_call *begin_new(struct weft *weft, uint32_t type, void *user_data, struct weft_why *why)
{
	struct device_call *d = weft_alloc(weft->core, sizeof(*d));

	if (d == NULL) {
		weft_why(why, -ENOMEM, "no memory to begin this: close something else, or raise the memory limit");
		return NULL;
	}
	d->note.once = true;
	d->note.event.type = type;
	d->note.event.user_data = user_data;
	d->call.ended = begun_ended;
	return d;
}

/* ---- opening, on the control reactor ---- */

int device_parse(struct weft *weft, const char *text, const struct weft_iface *wants, struct tree **out, struct weft_why *why)
{
	struct tree_reader reader = objects_reader(weft->core);

	while (*text == ' ' || *text == '\t' || *text == '\n' || *text == '\r')
		text++;
	return *text == '{' ? tree_from_json(&reader, text, strlen(text), wants, out, why) :
		grammar_parse(&reader, text, wants, out, why);
}

static void open_failed(struct device_call *d, int error)
{
	handle_close(&d->device->handle, HANDLE_DEVICE);
	call_end(&d->call, error);
}

static void open_released(struct weft_task *task, int status)
{
	struct device_call *d = device_call_of(call_of_job(task));

	(void)status;
	open_failed(d, d->error);
}

static void opened(struct device_call *d)
{
	struct weft *weft = d->call.weft;
	struct weft_device *device = d->device;

	device->note.event.type = WEFT_EVENT_RESIZED;
	device->note.event.device = device;
	env_gate_enter(weft->gate);
	device->next = weft->devices;
	device->link = &weft->devices;
	if (device->next != NULL)
		device->next->link = &device->next;
	weft->devices = device;
	handle_opened(&device->handle, HANDLE_DEVICE);
	env_gate_leave(weft->gate);
	call_end(&d->call, 0);
}

static void stack_failed(struct device_call *d, int error)
{
	d->call.why = d->call.job.task.why;
	d->error = error;
	d->call.job = (struct objects_job){ .task.done = open_released };
	objects_release(d->device->object, &d->call.job);
}

static void stack_opened(struct weft_task *task, int status)
{
	struct device_call *d = device_call_of(call_of_job(task));

	if (status == 0)
		opened(d);
	else
		stack_failed(d, status);
}

static void built(struct weft_task *task, int status)
{
	struct device_call *d = device_call_of(call_of_job(task));
	struct weft_device *device = d->device;

	if (status != 0) {
		d->call.why = task->why;
		open_failed(d, status);
		return;
	}
	device->blk = weft_object_query(device->object, &weft_blk_iface);
	WEFT_ASSERT(device->blk != NULL);
	d->call.job = (struct objects_job){ .task.done = stack_opened };
	status = stack_open(d->call.weft->core, device->blk, device->object->name, true, &device->stack, &d->call.job.task);
	if (status != 0)
		stack_failed(d, status);
}

static void open_run(struct call *call)
{
	struct device_call *d = device_call_of(call);
	struct tree *tree;
	int error = device_parse(call->weft, d->text, &weft_blk_iface, &tree, &call->why);

	if (error != 0) {
		open_failed(d, error);
		return;
	}
	call->job = (struct objects_job){ .task.done = built };
	objects_build(call->weft->core, tree, &weft_blk_iface, &d->device->object, &call->job);
	tree_free(call->weft->core, tree);
}

static int text_check(const char *text, struct weft_why *why)
{
	return text != NULL ? 0 : weft_why(why, -EINVAL, "device: NULL: write one, KIND:ADDRESS,OPTION=VALUE (weft-grammar(7))");
}

static struct weft_device *device_new(struct weft *weft, struct weft_why *why)
{
	struct weft_device *device = handle_new(weft, HANDLE_DEVICE, sizeof(*device));

	if (device == NULL)
		weft_why(why, -ENOMEM, "no memory for a device: close something else, or raise the memory limit");
	return device;
}

int weft_device_open(struct weft *weft, const char *text, struct weft_device **out, struct weft_why *why)
{
	struct device_call d = { .call.run = open_run };
	int error = call_allowed(weft, why);

	if (error == 0)
		error = text_check(text, why);
	if (error == 0 && out == NULL)
		error = weft_why(why, -EINVAL, "device: NULL: pass where it is to be stored");
	if (out != NULL)
		*out = NULL;
	if (error != 0)
		return error;
	d.text = (char *)(uintptr_t)text; /* only read */
	d.device = device_new(weft, why);
	if (d.device == NULL)
		return -ENOMEM;
	error = call_wait(weft, &d.call, why);
	if (error == 0)
		*out = d.device;
	return error;
}

int weft_device_open_begin(struct weft *weft, const char *text, void *user_data, struct weft_why *why)
{
	struct device_call *d;
	int error = begin_allowed(weft, why);

	if (error == 0)
		error = text_check(text, why);
	if (error != 0)
		return error;
	d = begin_new(weft, WEFT_EVENT_OPENED, user_data, why);
	if (d == NULL)
		return -ENOMEM;
	d->text = weft_strdup(weft->core, text);
	d->device = d->text != NULL ? device_new(weft, why) : NULL;
	if (d->device == NULL) {
		weft_free(weft->core, d->text);
		weft_free(weft->core, d);
		return weft_why(why, -ENOMEM, "no memory to begin this: close something else, or raise the memory limit");
	}
	d->call.run = open_run;
	call_begin(weft, &d->call);
	return 0;
}

/* ---- closing ---- */

static void closed(struct weft_task *task, int status)
{
	struct device_call *d = device_call_of(call_of_job(task));

	WEFT_ASSERT(status == 0);
	handle_close(&d->device->handle, HANDLE_DEVICE);
	call_end(&d->call, status);
}

static void stack_closed(struct weft_task *task, int status)
{
	struct device_call *d = device_call_of(call_of_job(task));

	WEFT_ASSERT(status == 0);
	d->device->stack = NULL;
	d->call.job = (struct objects_job){ .task.done = closed };
	objects_release(d->device->object, &d->call.job);
}

static void close_run(struct call *call)
{
	call->job = (struct objects_job){ .task.done = stack_closed };
	weft_stack_close(device_call_of(call)->device->stack, &call->job.task);
}

/* From here on it is nobody's any more. */
static int close_allowed(struct weft_device *device, struct weft_why *why)
{
	struct weft *weft = device->handle.weft;
	int error;

	env_gate_enter(weft->gate);
	error = handle_check(device, HANDLE_DEVICE, why);
	if (error == 0 && device->queues > 0)
		error = weft_why(why, -EBUSY, "%s: %u queues of it are open: weft_queue_close them first", device->object->name,
			device->queues);
	if (error == 0 && device->servers > 0)
		error = weft_why(why, -EBUSY, "%s: %u exports of it are open: weft_export_close them first", device->object->name,
			device->servers);
	if (error == 0) {
		atomic_store(&device->handle.mark, HANDLE_CLOSED);
		note_drop(weft, &device->note);
		*device->link = device->next;
		if (device->next != NULL)
			device->next->link = device->link;
	}
	env_gate_leave(weft->gate);
	return error;
}

int weft_device_close(struct weft_device *device, struct weft_why *why)
{
	struct device_call d = { .call.run = close_run, .device = device };
	int error = handle_check(device, HANDLE_DEVICE, why);

	if (error == 0)
		error = call_allowed(device->handle.weft, why);
	if (error == 0)
		error = close_allowed(device, why);
	return error != 0 ? error : call_wait(device->handle.weft, &d.call, why);
}

int weft_device_close_begin(struct weft_device *device, void *user_data, struct weft_why *why)
{
	struct device_call *d;
	int error = handle_check(device, HANDLE_DEVICE, why);

	if (error == 0)
		error = begin_allowed(device->handle.weft, why);
	if (error != 0)
		return error;
	d = begin_new(device->handle.weft, WEFT_EVENT_CLOSED, user_data, why);
	if (d == NULL)
		return -ENOMEM;
	error = close_allowed(device, why);
	if (error != 0) {
		weft_free(device->handle.weft->core, d);
		return error;
	}
	d->call.run = close_run;
	d->device = device;
	call_begin(device->handle.weft, &d->call);
	return 0;
}

/* ---- size ---- */

void device_resized(void *self, struct weft_blk *blk)
{
	struct weft *weft = self;

	env_gate_enter(weft->gate);
	for (struct weft_device *device = weft->devices; device != NULL; device = device->next)
		if (device->blk == blk) {
			device->note.event.size = blk->size;
			note_put(weft, &device->note);
		}
	env_gate_leave(weft->gate);
}

static void resize_run(struct call *call)
{
	struct device_call *d = device_call_of(call);
	int error = handle_check(d->device, HANDLE_DEVICE, &call->why); /* another thread may have closed it meanwhile */

	if (error != 0) {
		call_end(call, error);
		return;
	}
	call->job = (struct objects_job){ .task.done = call_job_done };
	objects_resize(d->device->object, d->size, &call->job);
}

/* Inside the gate from here on when it is open (0): nobody closes it meanwhile. */
static int device_enter(const struct weft_device *device, struct weft_why *why)
{
	int error = handle_check(device, HANDLE_DEVICE, why);

	if (error == 0)
		error = begin_allowed(device->handle.weft, why);
	if (error != 0)
		return error;
	env_gate_enter(device->handle.weft->gate);
	error = handle_check(device, HANDLE_DEVICE, why);
	if (error != 0)
		env_gate_leave(device->handle.weft->gate);
	return error;
}

static void device_leave(const struct weft_device *device)
{
	env_gate_leave(device->handle.weft->gate);
}

static int resize_check(const struct weft_device *device, uint64_t size, struct weft_why *why)
{
	int error = device_enter(device, why);

	if (error != 0)
		return error;
	if (size % device->blk->block != 0)
		error = weft_why(why, -EINVAL, "%s: size %llu is not a multiple of the block size %u: choose a multiple",
			device->object->name, (unsigned long long)size, device->blk->block);
	device_leave(device);
	return error;
}

int weft_device_resize(struct weft_device *device, uint64_t size, struct weft_why *why)
{
	struct device_call d = { .call.run = resize_run, .call.turns = true, .device = device, .size = size };
	int error = resize_check(device, size, why);

	if (error == 0)
		error = call_allowed(device->handle.weft, why);
	return error != 0 ? error : call_wait(device->handle.weft, &d.call, why);
}

int weft_device_resize_begin(struct weft_device *device, uint64_t size, void *user_data, struct weft_why *why)
{
	struct device_call *d;
	int error = resize_check(device, size, why);

	if (error != 0)
		return error;
	d = begin_new(device->handle.weft, WEFT_EVENT_RESIZE, user_data, why);
	if (d == NULL)
		return -ENOMEM;
	d->call.run = resize_run;
	d->device = d->note.event.device = device;
	d->size = d->note.event.size = size;
	call_begin(device->handle.weft, &d->call);
	return 0;
}

/* ---- facts ---- */

void device_info(const struct weft_device *device, struct weft_device_info *info)
{
	const struct weft_blk *blk = device->blk;

	*info = (struct weft_device_info){
		.size = __atomic_load_n(&blk->size, __ATOMIC_RELAXED), .block = blk->block, .physical = blk->physical,
		.optimal = blk->optimal, .align = blk->align, .max_len = blk->max_len, .max_segs = blk->max_segs,
		.discard_align = blk->discard_align, .ops = blk_ops(blk), .ops_own = blk->ops_can, .flags_own = blk->flags_can,
		.readonly = blk->readonly, .volatile_cache = blk->volatile_cache, .rotational = blk->rotational,
		.max_compare = (blk->ops_can & WEFT_OP_BIT(WEFT_COMPARE_WRITE)) != 0 ? blk->max_compare : 0,
	};
	snprintf(info->name, sizeof(info->name), "%s", device->object->name);
}

int weft_device_info(struct weft_device *device, struct weft_device_info *info)
{
	int error = device_enter(device, NULL);

	if (error != 0)
		return error;
	if (info != NULL)
		device_info(device, info);
	device_leave(device);
	return info != NULL ? 0 : -EINVAL;
}

int weft_device_stats(struct weft_device *device, struct weft_stats *stats)
{
	int error = device_enter(device, NULL);

	if (error != 0)
		return error;
	if (stats != NULL)
		weft_blk_stats(device->blk, stats);
	device_leave(device);
	return stats != NULL ? 0 : -EINVAL;
}
