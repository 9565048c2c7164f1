/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * reader: an export built outside the tree. Nobody connects to it: it reads its device from end to end, over and over, as clients
 * would who want all that they can get, and tells what could not be read. What it shows is how an export shares a reactor: it
 * asks for its share (weft_session_share) before it starts anything, tells how much it has asked for, and so leaves the others on
 * the reactor their slots and their part of each turn, however long its own device takes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <weft/export.h>
#include <weft/memory.h>

#define LEN (64u << 10) /* of a read, or a block if that is larger */
#define TURN_MAX 32u

struct reader {
	struct weft_object object;
	struct weft_export exp;
	uint64_t depth;
	struct weft_stack *stack;
	struct weft_session session;
	void *memory;             /* that all reads go to: nobody looks at it */
	uint64_t at;              /* next byte to read */
	uint64_t reads, failures; /* written on the reactor, read by control */
	uint32_t in_flight;       /* the same */
	bool closing;             /* on the reactor */
	/* control */
	struct weft_task *task, stack_task;
	int status;               /* that the task ends with when the stack has been closed */
	struct weft_msg to_reactor, to_control;
	struct weft_reactor *control;
};

static struct reader *of_object(struct weft_object *object) { return WEFT_CONTAINER(object, struct reader, object); }
static struct reader *of_export(struct weft_export *e) { return WEFT_CONTAINER(e, struct reader, exp); }
static struct reader *of_session(struct weft_session *s) { return WEFT_CONTAINER(s, struct reader, session); }
static struct reader *of_stack_task(struct weft_task *task) { return WEFT_CONTAINER(task, struct reader, stack_task); }

static void end_task(struct reader *reader, int status)
{
	struct weft_task *task = reader->task;

	reader->task = NULL;
	task->done(task, status);
}

/* ---- on the reactor ---- */

static void close_when_drained(struct reader *reader)
{
	if (!reader->closing || reader->session.slots > 0)
		return;
	reader->closing = false;
	weft_session_close(&reader->session);
	weft_reactor_post(reader->control, &reader->to_control);
}

static void read_done(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(root, struct weft_slot, root);
	struct reader *reader = of_session(slot->session);

	(void)child;
	__atomic_store_n(&reader->reads, reader->reads + 1, __ATOMIC_RELAXED);
	__atomic_store_n(&reader->failures, reader->failures + (status != 0), __ATOMIC_RELAXED);
	weft_slot_give(slot);
	__atomic_store_n(&reader->in_flight, reader->session.slots, __ATOMIC_RELAXED);
	close_when_drained(reader);
}

static uint32_t read_next(struct reader *reader, struct weft_slot *slot)
{
	struct weft_blk *device = reader->exp.device;
	uint64_t size = __atomic_load_n(&device->size, __ATOMIC_RELAXED);
	uint32_t len = device->block > LEN ? device->block : LEN;

	reader->at = reader->at >= size ? 0 : reader->at;
	if (len > size - reader->at)
		len = (uint32_t)(size - reader->at);
	slot->segs[0] = (struct weft_seg){ .base = reader->memory, .len = len };
	weft_slot_submit(slot, WEFT_READ, 0, reader->at, len, 1, read_done);
	reader->at += len;
	return len;
}

static bool reader_poll(struct weft_source *source)
{
	struct reader *reader = of_session(WEFT_CONTAINER(source, struct weft_session, source));
	unsigned share, n = 0;
	uint64_t bytes = 0;
	struct weft_slot *slot;

	if (reader->closing)
		return false;
	share = weft_session_share(&reader->session, TURN_MAX);
	while (n < share && (slot = weft_session_slot(&reader->session)) != NULL) {
		bytes += read_next(reader, slot);
		n++;
	}
	weft_session_asked(&reader->session, bytes);
	__atomic_store_n(&reader->in_flight, reader->session.slots, __ATOMIC_RELAXED);
	return n > 0;
}

/* ---- control: a stack, then a session on a reactor; and back ---- */

static void stack_closed(struct weft_task *task, int status)
{
	struct reader *reader = of_stack_task(task);

	reader->stack = NULL;
	end_task(reader, reader->status != 0 ? reader->status : status);
}

static void stack_close(struct reader *reader)
{
	reader->stack_task = (struct weft_task){ .done = stack_closed };
	weft_stack_close(reader->stack, &reader->stack_task);
}

static void session_opened(void *self)
{
	struct reader *reader = self;

	if (reader->status == 0)
		end_task(reader, 0);
	else
		stack_close(reader);
}

static void session_open(void *self)
{
	struct reader *reader = self;

	reader->status = weft_session_open(&reader->session, weft_reactor_here(), reader->stack, &reader->task->why);
	weft_reactor_post(reader->control, &reader->to_control);
}

static void stack_opened(struct weft_task *task, int status)
{
	struct reader *reader = of_stack_task(task);

	if (status != 0) {
		reader->stack = NULL;
		reader->task->why = task->why;
		end_task(reader, status);
		return;
	}
	reader->session = (struct weft_session){ .source.poll = reader_poll, .slots_max = (uint32_t)reader->depth };
	snprintf(reader->session.name, sizeof(reader->session.name), "reader");
	reader->to_reactor = (struct weft_msg){ .fn = session_open, .self = reader };
	reader->to_control = (struct weft_msg){ .fn = session_opened, .self = reader };
	weft_reactor_post(weft_reactor_pick(reader->object.core), &reader->to_reactor);
}

static void begin(struct reader *reader, struct weft_task *task)
{
	int error;

	reader->task = task;
	reader->stack_task = (struct weft_task){ .done = stack_opened };
	error = weft_stack_open(reader->object.core, reader->exp.device, reader->object.name, &reader->stack, &reader->stack_task);
	if (error != 0)
		stack_opened(&reader->stack_task, error);
}

static void session_closed(void *self)
{
	stack_close(self);
}

static void session_close(void *self)
{
	struct reader *reader = self;

	reader->closing = true;
	close_when_drained(reader);
}

static void finish(struct reader *reader, struct weft_task *task)
{
	reader->task = task;
	reader->status = 0;
	if (reader->stack == NULL) { /* frozen */
		end_task(reader, 0);
		return;
	}
	reader->to_reactor = (struct weft_msg){ .fn = session_close, .self = reader };
	reader->to_control = (struct weft_msg){ .fn = session_closed, .self = reader };
	weft_reactor_post(reader->session.reactor, &reader->to_reactor);
}

static void reader_freeze(struct weft_export *e, struct weft_task *task) { finish(of_export(e), task); }
static void reader_thaw(struct weft_export *e, struct weft_task *task) { begin(of_export(e), task); }
static void reader_resized(struct weft_export *e) { (void)e; /* each read looks at the size */ }

static const struct weft_export_ops ops = { .freeze = reader_freeze, .thaw = reader_thaw, .resized = reader_resized };

static void reader_start(struct weft_object *object, struct weft_task *task)
{
	struct reader *reader = of_object(object);
	uint32_t block = reader->exp.device->block;

	reader->exp.ops = &ops;
	reader->control = weft_reactor_here();
	reader->memory = weft_alloc_aligned(object->core, 4096, block > LEN ? block : LEN);
	if (reader->memory == NULL)
		task->done(task, weft_why(&task->why, -ENOMEM, "reader: no memory to read into"));
	else
		begin(reader, task);
}

static void reader_stop(struct weft_object *object, struct weft_task *task) { finish(of_object(object), task); }
static void reader_destroy(struct weft_object *object) { weft_free(object->core, of_object(object)->memory); }

static void reader_describe(const struct weft_object *object, weft_describe_put *put, void *self)
{
	const struct reader *reader = WEFT_CONTAINER(object, const struct reader, object);
	char text[96];

	snprintf(text, sizeof(text), "%" PRIu64 " ended, %" PRIu64 " failed, %" PRIu32 " in flight",
		__atomic_load_n(&reader->reads, __ATOMIC_RELAXED), __atomic_load_n(&reader->failures, __ATOMIC_RELAXED),
		__atomic_load_n(&reader->in_flight, __ATOMIC_RELAXED));
	put(self, "reads", text);
}

static const struct weft_option options[] = {
	{ .name = "depth", .type = WEFT_OPTION_UINT, .flags = WEFT_OPTION_ADDRESS, .offset = offsetof(struct reader, depth),
		.fallback = "32", .help = "reads in flight at most", .min = 1, .max = 65536 },
	{ 0 },
};
static const struct weft_port ports[] = {
	{ .name = "device", .wants = &weft_blk_iface, .min = 1, .max = 1, .offset = offsetof(struct reader, exp.device),
		.help = "what is read" },
	{ 0 },
};
static const struct weft_offer offers[] = { { &weft_export_iface, offsetof(struct reader, exp) }, { 0 } };
static const struct weft_kind kind = {
	.name = "reader", .summary = "reads its device over and over, to find what cannot be read", .size = sizeof(struct reader),
	.options = options, .ports = ports, .offers = offers, .start = reader_start, .stop = reader_stop,
	.destroy = reader_destroy, .describe = reader_describe,
};
WEFT_MODULE("reader", "1", &kind);
