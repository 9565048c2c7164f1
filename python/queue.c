/* SPDX-License-Identifier: BSD-2-Clause */
/* Queues: opened, polled, waited for without the GIL, handed on, closed. Requests are in request.c, batches in batch.c. */
#include "python/module.h"

#include <errno.h>
#include <string.h>

/* ---- opening and closing ---- */

static int reactor_and_queue(struct queue *self, struct weft_device *device, struct weft_reactor_settings *r,
	struct weft_queue_settings *q, struct weft_why *why)
{
	struct weft_reactor *reactor;
	int error = weft_reactor_open(self->instance->weft, r, &reactor, why);

	if (error != 0)
		return error;
	error = weft_queue_open(device, reactor, q, &self->handle, why);
	if (error != 0)
		weft_reactor_close(reactor, NULL);
	return error;
}

static int queue_init(struct queue *self, PyObject *args, PyObject *names)
{
	static char *keys[] = { "device", "depth", "mode", "hold", NULL };
	static const char *const modes[] = { "poll", "adaptive", "notify" };
	struct weft_reactor_settings reactor;
	struct weft_queue_settings queue;
	const char *mode = "adaptive";
	struct device *device;
	struct weft_why why;
	int hold = 1, error;

	weft_reactor_settings_init(&reactor);
	weft_queue_settings_init(&queue);
	if (!PyArg_ParseTupleAndKeywords(args, names, "O!|O&$sp:Queue", keys, device_type, &device, to_u32, &queue.depth, &mode,
		&hold) || forked())
		return -1;
	for (reactor.mode = 0; reactor.mode < WEFT_COUNT(modes) && strcmp(modes[reactor.mode], mode) != 0; reactor.mode++)
		continue;
	if (reactor.mode == WEFT_COUNT(modes)) {
		PyErr_Format(PyExc_ValueError, "mode '%s': use poll, adaptive or notify", mode);
		return -1;
	}
	if (self->instance != NULL || device->handle == NULL) {
		raise_weft(-EBADF, self->instance != NULL ? "queue: it is open already: make another" :
			"device: it has been closed: open it again");
		return -1;
	}
	self->instance = (void *)Py_NewRef(OBJECT(device->instance));
	self->device = hold ? Py_NewRef(OBJECT(device)) : NULL;
	reactor.slots = queue.depth;
	WAITING_BEGIN(self->instance)
	error = reactor_and_queue(self, device->handle, &reactor, &queue, &why);
	WAITING_END(self->instance)
	if (error != 0) {
		raise_weft(error, why.text);
		return -1;
	}
	self->depth = queue.depth;
	self->done = PyMem_Calloc(self->depth, sizeof(self->done[0]));
	self->taken = PyMem_Calloc(self->depth, sizeof(self->taken[0]));
	if (self->done == NULL || self->taken == NULL) {
		PyErr_NoMemory();
		return -1;
	}
	return 0;
}

bool queue_enter(struct queue *self)
{
	if (forked())
		return false;
	if (self->handle == NULL)
		raise_closed("queue");
	else if (self->busy)
		raise_weft(-EBUSY, "queue: another thread is in a call of it: a queue is for one thread at a time");
	else
		return true;
	return false;
}

PyObject *queue_refused(struct queue *self, int error)
{
	if (error == -EPERM)
		return raise_weft(error, "queue: it belongs to another thread: call from that one, or adopt() it here first");
	return raise_weft(error, self->handle != NULL ? weft_queue_why(self->handle) : "queue: it has been closed");
}

static int end(struct weft_queue *handle, struct weft_why *why)
{
	struct weft_reactor *reactor = weft_queue_reactor(handle);
	int error = weft_queue_close(handle, why);

	return error != 0 ? error : weft_reactor_close(reactor, why);
}

static PyObject *queue_close(struct queue *self, PyObject *unused)
{
	struct weft_queue *handle = self->handle;
	struct weft_why why;
	int error;

	(void)unused;
	if (handle == NULL)
		Py_RETURN_NONE;
	if (!queue_enter(self))
		return NULL;
	if (self->outstanding > 0) {
		PyOS_snprintf(why.text, sizeof(why.text), "queue: %u requests are in flight or not taken: drain it first",
			self->outstanding);
		return raise_weft(-EBUSY, why.text);
	}
	self->busy = true;
	WAITING_BEGIN(self->instance)
	error = end(handle, &why);
	WAITING_END(self->instance)
	self->busy = false;
	if (error != 0)
		return raise_weft(error, why.text);
	self->handle = NULL;
	Py_RETURN_NONE;
}

/* P4. Completions without the GIL, then their requests with it. */
static void drop(struct queue *self)
{
	WAITING_BEGIN(self->instance)
	weft_reactor_adopt(weft_queue_reactor(self->handle), NULL);
	weft_queue_cancel_all(self->handle);
	weft_queue_drain(self->handle, WEFT_FOREVER);
	end(self->handle, NULL);
	WAITING_END(self->instance)
	self->handle = NULL;
	while (self->requests != NULL) {
		struct request *r = self->requests;

		request_ended(r, -ECANCELED);
		Py_DECREF(OBJECT(r));
	}
}

static void queue_dealloc(struct queue *self)
{
	PyObject *error_type, *error, *traceback;

	PyErr_Fetch(&error_type, &error, &traceback);
	if (self->handle != NULL && !forked_quiet())
		drop(self);
	PyErr_Restore(error_type, error, traceback);
	PyMem_Free(self->done);
	PyMem_Free(self->taken);
	Py_XDECREF(OBJECT(self->device));
	Py_XDECREF(OBJECT(self->instance));
	object_free(self);
}

/* ---- turns ---- */

static bool has_ended(const struct queue *self, const struct request *until)
{
	for (uint32_t i = 0; until != NULL && i < self->ndone; i++)
		if (self->done[i].user_data == until)
			return true;
	return false;
}

/* Without the GIL. */
static int take(struct queue *self, uint32_t min, uint64_t timeout_ns)
{
	uint32_t room = self->depth - self->ndone;
	int n = min == 0 ? weft_queue_poll(self->handle, self->done + self->ndone, room) :
		weft_queue_wait(self->handle, self->done + self->ndone, min, room, timeout_ns);

	if (n > 0)
		self->ndone += (uint32_t)n;
	return n;
}

static int signals(struct queue *self)
{
	int error;

	self->busy = false; /* a handler may look */
	error = PyErr_CheckSignals();
	if (error == 0 && self->handle == NULL) {
		raise_closed("queue");
		error = -1;
	}
	self->busy = self->handle != NULL;
	return error;
}

int queue_run(struct queue *self, uint32_t enough, uint64_t timeout_ns, const struct request *until)
{
	uint64_t deadline = timeout_ns == WEFT_FOREVER ? WEFT_FOREVER : now_ns() + timeout_ns;
	int n = 0;

	self->busy = true;
	for (;;) {
		uint32_t outstanding = self->outstanding - self->ndone, wants;
		uint64_t slice = wait_slice(timeout_ns);

		if (until != NULL)
			wants = 1;
		else
			wants = enough > self->ndone ? enough - self->ndone : 0;
		if (wants > outstanding)
			wants = outstanding;
		Py_BEGIN_ALLOW_THREADS
		n = take(self, timeout_ns == 0 ? 0 : wants, slice);
		Py_END_ALLOW_THREADS
		if (n < 0 || has_ended(self, until) || (until == NULL && self->ndone >= enough) ||
			self->ndone >= self->outstanding)
			break;
		if (signals(self) != 0) {
			self->busy = false;
			return -1;
		}
		if (until != NULL && until->queue == NULL)
			break; /* the handler had it delivered */
		if (deadline != WEFT_FOREVER) {
			uint64_t now = now_ns();

			if (now >= deadline)
				break;
			timeout_ns = deadline - now;
		}
	}
	self->busy = false;
	if (n < 0)
		queue_refused(self, n);
	else if (until != NULL && until->queue != NULL)
		queue_pick(self, until);
	return n < 0 ? -1 : 0;
}

struct request *queue_pick(struct queue *self, const struct request *wanted)
{
	for (uint32_t i = 0; i < self->ndone; i++)
		if (self->done[i].user_data == wanted) {
			struct request *r = self->done[i].user_data;
			int status = self->done[i].status;

			self->ndone--;
			memmove(self->done + i, self->done + i + 1, (self->ndone - i) * sizeof(self->done[0]));
			request_ended(r, status);
			Py_DECREF(OBJECT(r)); /* the caller of wait() has another */
			return r;
		}
	return NULL;
}

/* All that have ended, oldest first. */
static PyObject *deliver(struct queue *self)
{
	PyObject *list = PyList_New((Py_ssize_t)self->ndone);

	if (list == NULL)
		return NULL;
	for (uint32_t i = 0; i < self->ndone; i++) {
		struct request *r = self->done[i].user_data;

		request_ended(r, self->done[i].status);
		PyList_SetItem(list, (Py_ssize_t)i, (PyObject *)r); /* the queue's reference */
	}
	self->ndone = 0;
	return list;
}

static PyObject *queue_poll(struct queue *self, PyObject *unused)
{
	(void)unused;
	if (!queue_enter(self) || queue_run(self, 0, 0, NULL) != 0)
		return NULL;
	return deliver(self);
}

static PyObject *queue_wait(struct queue *self, PyObject *args, PyObject *names)
{
	static char *keys[] = { "min", "timeout", NULL };
	PyObject *seconds = Py_None;
	uint64_t timeout;
	unsigned min = 1;

	if (!PyArg_ParseTupleAndKeywords(args, names, "|O&O:wait", keys, to_u32, &min, &seconds) ||
		!to_timeout(seconds, &timeout) || !queue_enter(self) ||
		queue_run(self, min < self->depth ? min : self->depth, timeout, NULL) != 0)
		return NULL;
	return deliver(self);
}

static PyObject *queue_submit(struct queue *self, PyObject *unused)
{
	int n;

	(void)unused;
	if (!queue_enter(self))
		return NULL;
	self->busy = true;
	Py_BEGIN_ALLOW_THREADS
	n = weft_queue_submit(self->handle);
	Py_END_ALLOW_THREADS
	self->busy = false;
	return n < 0 ? queue_refused(self, n) : PyLong_FromLong(n);
}

static PyObject *queue_cancel_all(struct queue *self, PyObject *unused)
{
	int n;

	(void)unused;
	if (!queue_enter(self))
		return NULL;
	n = weft_queue_cancel_all(self->handle);
	return n < 0 ? queue_refused(self, n) : PyLong_FromLong(n);
}

static PyObject *queue_adopt(struct queue *self, PyObject *unused)
{
	struct weft_why why;
	int error;

	(void)unused;
	if (!queue_enter(self))
		return NULL;
	error = weft_reactor_adopt(weft_queue_reactor(self->handle), &why);
	if (error != 0)
		return raise_weft(error, why.text);
	Py_RETURN_NONE;
}

static PyObject *queue_fileno(struct queue *self, PyObject *unused)
{
	int fd;

	(void)unused;
	if (!queue_enter(self))
		return NULL;
	fd = weft_queue_fd(self->handle);
	return fd < 0 ? queue_refused(self, fd) : PyLong_FromLong(fd);
}

static PyObject *queue_notify(struct queue *self, PyObject *enable)
{
	int on = PyObject_IsTrue(enable), error;

	if (on < 0 || !queue_enter(self))
		return NULL;
	error = weft_queue_notify(self->handle, on != 0);
	if (error != 0)
		return queue_refused(self, error);
	Py_RETURN_NONE;
}

/* ---- looking ---- */

static PyObject *queue_info(struct queue *self, PyObject *unused)
{
	struct weft_queue_info i;
	int error;

	(void)unused;
	if (!queue_enter(self))
		return NULL;
	error = weft_queue_info(self->handle, &i);
	if (error != 0)
		return queue_refused(self, error);
	return Py_BuildValue("{sIsIsIsIsKsKsK}", "depth", i.depth, "staged", i.staged, "in_flight", i.in_flight, "ended",
		i.ended + self->ndone, "requests", (unsigned long long)i.requests, "full", (unsigned long long)i.full, "outside",
		(unsigned long long)i.outside);
}

static PyObject *queue_outstanding(struct queue *self, void *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLong(self->outstanding);
}

static PyObject *queue_depth(struct queue *self, void *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLong(self->depth);
}

static PyObject *queue_closed(struct queue *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(self->handle == NULL);
}

static PyObject *queue_read_batch(struct queue *self, PyObject *args, PyObject *names)
{
	return queue_batch(self, args, names, false);
}

static PyObject *queue_write_batch(struct queue *self, PyObject *args, PyObject *names)
{
	return queue_batch(self, args, names, true);
}

#define WITH_NAMES(function) (PyCFunction)(void (*)(void))(function), METH_VARARGS | METH_KEYWORDS

static PyMethodDef methods[] = {
	{ "read", WITH_NAMES(request_read), SIGNATURE("read($self, /, offset, length, tag=None)", "Its result is bytes.") },
	{ "readinto", WITH_NAMES(request_readinto),
		SIGNATURE("readinto($self, /, offset, buffer, tag=None)", "A writable buffer, or a list of them.") },
	{ "write", WITH_NAMES(request_write),
		SIGNATURE("write($self, /, offset, buffer, tag=None, *, flags=0)", "A buffer, or a list of them; flags: FUA.") },
	{ "flush", WITH_NAMES(request_flush), SIGNATURE("flush($self, /, tag=None)", "") },
	{ "discard", WITH_NAMES(request_discard), SIGNATURE("discard($self, /, offset, length, tag=None, *, flags=0)", "") },
	{ "zero", WITH_NAMES(request_zero),
		SIGNATURE("zero($self, /, offset, length, tag=None, *, flags=0)", "flags: FUA, NO_UNMAP, FAST.") },
	{ "compare_write", WITH_NAMES(request_compare_write),
		SIGNATURE("compare_write($self, /, offset, compare, write, tag=None, *, flags=0)", "") },
	{ "copy", WITH_NAMES(request_copy), SIGNATURE("copy($self, /, offset, source, length, tag=None, *, flags=0)", "") },
	{ "status", WITH_NAMES(request_status),
		SIGNATURE("status($self, /, offset, length, count=256, tag=None)", "Its result is [(offset, length, flags)].") },
	{ "read_batch", WITH_NAMES(queue_read_batch),
		SIGNATURE("read_batch($self, /, offsets, buffer, length, results=None)", "How many failed.") },
	{ "write_batch", WITH_NAMES(queue_write_batch),
		SIGNATURE("write_batch($self, /, offsets, buffer, length, results=None, *, flags=0)", "How many failed.") },
	{ "submit", (PyCFunction)queue_submit, METH_NOARGS,
		SIGNATURE("submit($self, /)", "Sends what was staged; how many that were.") },
	{ "poll", (PyCFunction)queue_poll, METH_NOARGS, SIGNATURE("poll($self, /)", "One turn; the requests that have ended.") },
	{ "wait", WITH_NAMES(queue_wait),
		SIGNATURE("wait($self, /, min=1, timeout=None)", "The requests that have ended; fewer: the time is over.") },
	{ "cancel_all", (PyCFunction)queue_cancel_all, METH_NOARGS,
		SIGNATURE("cancel_all($self, /)", "Asks all requests to end sooner; each still ends.") },
	{ "adopt", (PyCFunction)queue_adopt, METH_NOARGS,
		SIGNATURE("adopt($self, /)", "The calling thread owns the queue from now on.") },
	{ "fileno", (PyCFunction)queue_fileno, METH_NOARGS,
		SIGNATURE("fileno($self, /)", "Readable, while notify is on, when a poll would find something.") },
	{ "notify", (PyCFunction)queue_notify, METH_O, SIGNATURE("notify($self, enable, /)", "Whether the descriptor tells.") },
	{ "info", (PyCFunction)queue_info, METH_NOARGS, SIGNATURE("info($self, /)", "Counters.") },
	{ "close", (PyCFunction)queue_close, METH_NOARGS,
		SIGNATURE("close($self, /)", "Closes it. weft.BusyError: requests are in flight or not taken.") },
	{ 0 },
};

static PyGetSetDef facts[] = {
	{ "outstanding", (getter)queue_outstanding, NULL, "Requests that were staged and not delivered.", NULL },
	{ "depth", (getter)queue_depth, NULL, NULL, NULL },
	{ "closed", (getter)queue_closed, NULL, NULL, NULL },
	{ 0 },
};

static PyType_Slot slots[] = {
	{ Py_tp_init, queue_init },
	TYPE_SIGNATURE("Queue(device, depth=128, *, mode='adaptive', hold=True)"),
	{ Py_tp_new, PyType_GenericNew },
	{ Py_tp_dealloc, queue_dealloc },
	{ Py_tp_methods, methods },
	{ Py_tp_getset, facts },
	{ 0, NULL },
};

PyTypeObject *queue_type_make(PyObject *module)
{
	static PyType_Spec spec = { "weft._core.Queue", sizeof(struct queue), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots };

	return (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
}
