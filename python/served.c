/* SPDX-License-Identifier: BSD-2-Clause */
/* Devices written in Python: the thread that calls their methods, and the views that these are given. */
#include "python/host.h"
#include "python/module.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static PyTypeObject *view_type;

/* ---- views ---- */

struct view {
	PyObject_HEAD
	struct host_request *request;
	void *base;
	Py_ssize_t len;
	bool readonly;
};

/* H3 */
static void let_go(struct host_request *request)
{
	WEFT_ASSERT(request->views > 0);
	if (--request->views == 0)
		host_answer(request);
}

static void view_dealloc(struct view *self)
{
	struct host_request *request = self->request;

	object_free(self);
	let_go(request);
}

static int view_getbuffer(struct view *self, Py_buffer *view, int flags)
{
	return PyBuffer_FillInfo(view, (PyObject *)self, self->base, self->len, self->readonly, flags);
}

static PyType_Slot view_slots[] = {
	{ Py_tp_dealloc, view_dealloc },
	{ Py_bf_getbuffer, view_getbuffer },
	{ 0, NULL },
};

/* ---- calling ---- */

enum { CALL_READ, CALL_WRITE, CALL_FLUSH, CALL_DISCARD, CALL_ZERO, CALL_COMPARE_WRITE, CALLS };
static const struct {
	const char *name;
	uint8_t op;
} calls[CALLS] = { { "read", WEFT_READ }, { "write", WEFT_WRITE }, { "flush", WEFT_FLUSH }, { "discard", WEFT_DISCARD },
	{ "zero", WEFT_ZERO }, { "compare_write", WEFT_COMPARE_WRITE } };

struct served {
	PyObject_HEAD
	struct host *host;       /* NULL: removed, or never there */
	bool running;
	PyObject *method[CALLS]; /* NULL: it has none */
};

/* What was raised, as -errno; what is no OSError is a bug of the device's, which is shown. */
static int status_of_exception(PyObject *method)
{
	PyObject *type, *error, *traceback, *number;
	long value = 0;

	if (PyErr_ExceptionMatches(PyExc_NotImplementedError)) {
		PyErr_Clear();
		return -EOPNOTSUPP;
	}
	if (!PyErr_ExceptionMatches(PyExc_OSError)) {
		PyErr_WriteUnraisable(method);
		return -EIO;
	}
	PyErr_Fetch(&type, &error, &traceback);
	PyErr_NormalizeException(&type, &error, &traceback);
	number = PyObject_GetAttrString(error, "errno");
	if (number != NULL && PyLong_Check(number))
		value = PyLong_AsLong(number);
	PyErr_Clear();
	Py_XDECREF(number);
	Py_XDECREF(type);
	Py_XDECREF(error);
	Py_XDECREF(traceback);
	return value > 0 && value < 4096 ? -(int)value : -EIO;
}

static int status_of(PyObject *method, PyObject *result)
{
	int status = result == NULL ? status_of_exception(method) : 0;

	Py_XDECREF(result);
	return status;
}

static PyObject *view_of(struct host_request *request, void *base, uint32_t len, bool readonly)
{
	struct view *view = PyObject_New(struct view, view_type);
	PyObject *memory;

	if (view == NULL)
		return NULL;
	request->views++;
	view->request = request;
	view->base = base;
	view->len = (Py_ssize_t)len;
	view->readonly = readonly;
	memory = PyMemoryView_FromObject((PyObject *)view);
	Py_DECREF(OBJECT(view));
	return memory;
}

static void view_close(PyObject *memory)
{
	PyObject *done = PyObject_CallMethod(memory, "release", NULL);

	if (done == NULL)
		PyErr_Clear(); /* somebody uses it: the request waits */
	Py_XDECREF(done);
	Py_DECREF(memory);
}

static int call_piece(PyObject *method, struct host_request *request, uint64_t offset, void *base, uint32_t len)
{
	PyObject *memory = view_of(request, base, len, request->hop->op == WEFT_WRITE);
	PyObject *at = memory != NULL ? PyLong_FromUnsignedLongLong(offset) : NULL;
	int status = -ENOMEM;

	if (at != NULL)
		status = status_of(method, PyObject_CallFunctionObjArgs(method, at, memory, NULL));
	PyErr_Clear();
	Py_XDECREF(at);
	if (memory != NULL)
		view_close(memory);
	return status;
}

/* A call for each piece of memory, in order. */
static int call_pieces(PyObject *method, struct host_request *request)
{
	const struct weft_hop *hop = request->hop;
	const struct weft_seg *seg = hop->segs;
	uint64_t offset = hop->offset, left = hop->len;
	uint32_t skip = hop->seg_skip;
	int status = 0;

	while (left > 0 && status == 0) {
		uint32_t len = seg->len - skip;

		len = left < len ? (uint32_t)left : len;
		if (len > 0)
			status = call_piece(method, request, offset, (char *)seg->base + skip, len);
		offset += len;
		left -= len;
		skip = 0;
		seg++;
	}
	return status;
}

/* `len` bytes from `at` on in the request's memory, as they are now. */
static PyObject *bytes_of(const struct weft_hop *hop, uint64_t at, uint64_t len)
{
	PyObject *bytes = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len);
	const struct weft_seg *seg = hop->segs;
	char *to = bytes != NULL ? PyBytes_AsString(bytes) : NULL;

	at += hop->seg_skip;
	while (to != NULL && len > 0) {
		uint64_t n = at < seg->len ? seg->len - at : 0;

		n = len < n ? len : n;
		if (n > 0)
			memcpy(to, (const char *)seg->base + at, n);
		to += n;
		len -= n;
		at = at > seg->len ? at - seg->len : 0;
		seg++;
	}
	return bytes;
}

/* Two halves of one view, which need not begin where a piece does: copies of them. */
static int call_compare_write(PyObject *method, const struct weft_hop *hop)
{
	PyObject *compare = bytes_of(hop, 0, hop->len), *write = bytes_of(hop, hop->len, hop->len);
	int status = -ENOMEM;

	if (compare != NULL && write != NULL)
		status = status_of(method, PyObject_CallFunction(method, "KOO", (unsigned long long)hop->offset, compare, write));
	PyErr_Clear();
	Py_XDECREF(compare);
	Py_XDECREF(write);
	return status;
}

static int call(struct served *self, struct host_request *request)
{
	const struct weft_hop *hop = request->hop;
	PyObject *method = NULL;

	for (unsigned i = 0; i < CALLS; i++)
		if (calls[i].op == hop->op)
			method = self->method[i];
	if (method == NULL)
		return -EOPNOTSUPP;
	if (hop->op == WEFT_READ || hop->op == WEFT_WRITE)
		return call_pieces(method, request);
	if (hop->op == WEFT_COMPARE_WRITE)
		return call_compare_write(method, hop);
	if (hop->op == WEFT_FLUSH)
		return status_of(method, PyObject_CallFunctionObjArgs(method, NULL));
	return status_of(method, PyObject_CallFunction(method, "KK", (unsigned long long)hop->offset,
		(unsigned long long)hop->len));
}

static void serve(struct served *self, struct host_request *request)
{
	request->views = 1;
	request->status = call(self, request);
	if (request->views > 1 && PyErr_WarnEx(PyExc_ResourceWarning, "a device written in Python has kept a part of a request's "
		"view: the request ends when that is released", 1) != 0)
		PyErr_WriteUnraisable((PyObject *)self);
	let_go(request);
}

/* The thread's body. */
static PyObject *served_run(struct served *self, PyObject *unused)
{
	struct host_request *request;

	(void)unused;
	if (self->host == NULL || self->running)
		return raise_weft(-EBUSY, "a device written in Python: its thread runs already, or it has been unregistered");
	self->running = true;
	do {
		Py_BEGIN_ALLOW_THREADS
		request = host_wait(self->host);
		Py_END_ALLOW_THREADS
		for (struct host_request *one = request, *next; one != NULL; one = next) {
			next = one->next; /* it is its reactor's once it is answered */
			serve(self, one);
		}
	} while (request != NULL);
	self->running = false;
	Py_RETURN_NONE;
}

/* ---- registering ---- */

static int methods_get(struct served *self, PyObject *object)
{
	for (unsigned i = 0; i < CALLS; i++) {
		self->method[i] = PyObject_GetAttrString(object, calls[i].name);
		if (self->method[i] == NULL && (calls[i].op == WEFT_READ || !PyErr_ExceptionMatches(PyExc_AttributeError)))
			return -1;
		PyErr_Clear();
		if (self->method[i] == Py_None)
			Py_CLEAR(self->method[i]);
		if (self->method[i] != NULL)
			self->host->ops |= (uint16_t)WEFT_OP_BIT(calls[i].op);
	}
	self->host->readonly = self->method[CALL_WRITE] == NULL;
	self->host->volatile_cache = self->method[CALL_FLUSH] != NULL;
	return 0;
}

static int facts_check(const struct host *host)
{
	if (host->block < 512 || host->block > 1u << 20 || (host->block & (host->block - 1)) != 0)
		PyErr_Format(PyExc_ValueError, "block %u: use a power of two from 512 to 1048576", host->block);
	else if (host->size == 0 || host->size % host->block != 0 || host->size > INT64_MAX)
		PyErr_Format(PyExc_ValueError, "size %llu: use a multiple of the block size, %u", (unsigned long long)host->size,
			host->block);
	else if (host->name[0] == '\0')
		PyErr_Format(PyExc_ValueError, "name: use 1 to %d bytes", HOST_NAME_MAX - 1);
	else
		return 0;
	return -1;
}

static int host_make(struct served *self, PyObject *object, const char *name)
{
	struct host *host = self->host;

	if (strlen(name) < sizeof(host->name))
		memcpy(host->name, name, strlen(name));
	if (facts_check(host) != 0 || methods_get(self, object) != 0)
		return -1;
	if (sem_init(&host->wake, 0, 0) != 0) {
		PyErr_SetFromErrno(PyExc_OSError);
		return -1;
	}
	if (!host_add(host)) {
		sem_destroy(&host->wake);
		raise_weft(-EEXIST, "name: another object has been registered so: choose another name, or unregister that one");
		return -1;
	}
	return 0;
}

static int served_init(struct served *self, PyObject *args, PyObject *names)
{
	static char *keys[] = { "name", "object", "size", "block", "physical", "optimal", "rotational", NULL };
	PyObject *object;
	const char *name;
	struct host *host;
	int rotational = 0;

	if (self->host != NULL || forked()) {
		if (!PyErr_Occurred())
			PyErr_SetString(PyExc_RuntimeError, "it is registered already: make another");
		return -1;
	}
	host = calloc(1, sizeof(*host));
	if (host == NULL) {
		PyErr_NoMemory();
		return -1;
	}
	self->host = host;
	host->block = 512;
	if (PyArg_ParseTupleAndKeywords(args, names, "sOO&|O&O&O&p:Served", keys, &name, &object, to_u64, &host->size, to_u32,
		&host->block, to_u32, &host->physical, to_u32, &host->optimal, &rotational)) {
		host->rotational = rotational != 0;
		if (host_make(self, object, name) == 0)
			return 0;
	}
	self->host = NULL;
	free(host);
	return -1;
}

static PyObject *served_remove(struct served *self, PyObject *unused)
{
	(void)unused;
	if (self->host == NULL || atomic_load(&self->host->stopped) || forked_quiet())
		Py_RETURN_NONE;
	if (!host_remove(self->host))
		return raise_weft(-EBUSY, "a device written in Python: it is open: close the devices that use it first");
	host_stop(self->host);
	Py_RETURN_NONE;
}

/* Its thread has a reference as long as it runs; that ends when it has been removed. */
static void served_dealloc(struct served *self)
{

	if (self->host != NULL && (atomic_load(&self->host->stopped) || host_remove(self->host))) {
		sem_destroy(&self->host->wake);
		free(self->host);
	}
	for (unsigned i = 0; i < CALLS; i++)
		Py_XDECREF(self->method[i]);
	object_free(self);
}

static PyMethodDef methods[] = {
	{ "run", (PyCFunction)served_run, METH_NOARGS, SIGNATURE("run($self, /)", "The body of the device's thread.") },
	{ "remove", (PyCFunction)served_remove, METH_NOARGS, SIGNATURE("remove($self, /)", "weft.BusyError: it is open.") },
	{ 0 },
};

static PyType_Slot served_slots[] = {
	{ Py_tp_init, served_init },
	TYPE_SIGNATURE("Served(name, object, size, block=512, physical=0, optimal=0, rotational=False)"),
	{ Py_tp_new, PyType_GenericNew },
	{ Py_tp_dealloc, served_dealloc },
	{ Py_tp_methods, methods },
	{ 0, NULL },
};

int host_types_make(PyObject *module)
{
	static PyType_Spec view = { "weft._core.View", sizeof(struct view), 0,
		Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, view_slots };
	static PyType_Spec served = { "weft._core.Served", sizeof(struct served), 0, Py_TPFLAGS_DEFAULT, served_slots };
	PyObject *type = PyType_FromModuleAndSpec(module, &served, NULL);
	int error = type == NULL ? -1 : PyModule_AddObjectRef(module, "Served", type);

	Py_XDECREF(type);
	view_type = (PyTypeObject *)PyType_FromModuleAndSpec(module, &view, NULL);
	return view_type == NULL ? -1 : error;
}
