/* SPDX-License-Identifier: BSD-2-Clause */
/* Requests: one object each, from being staged until its completion was delivered. */
#include "python/module.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/uio.h>

/* ---- the object ---- */

static void views_release(struct request *r)
{
	while (r->nviews > 0)
		PyBuffer_Release(&r->views[--r->nviews]);
	if (r->views != r->own)
		PyMem_Free(r->views);
	r->views = r->own;
}

static int request_traverse(struct request *r, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(OBJECT(r)));
	Py_VISIT(r->tag);
	return 0;
}

static int request_clear(struct request *r)
{
	Py_CLEAR(r->tag);
	return 0;
}

/* In flight its queue has a reference, so it is not. */
static void request_dealloc(struct request *r)
{

	PyObject_GC_UnTrack(OBJECT(r));
	views_release(r);
	Py_CLEAR(r->tag);
	Py_CLEAR(r->value);
	object_free(r);
}

static struct request *request_new(struct queue *queue, unsigned op, uint64_t offset, uint64_t len, PyObject *tag)
{
	struct request *r;

	if (!queue_enter(queue))
		return NULL;
	if (queue->outstanding >= queue->depth)
		return (void *)raise_weft(-EAGAIN, "the queue is full: take completions (poll, wait), or open it with more depth");
	r = object_alloc(request_type);
	if (r == NULL)
		return NULL;
	r->views = r->own;
	r->op = (uint8_t)op;
	r->offset = offset;
	r->len = len;
	r->tag = tag != NULL && tag != Py_None ? Py_NewRef(tag) : NULL;
	return r;
}

/* One buffer, or a list or tuple of them. */
static bool views_get(struct request *r, PyObject *object, int flags)
{
	bool many = PyList_Check(object) || PyTuple_Check(object);
	Py_ssize_t count = many ? PySequence_Size(object) : 1;

	if (count > WEFT_IOV_MAX) {
		PyErr_Format(PyExc_ValueError, "%zd buffers: use at most %d, weft.IOV_MAX", count, WEFT_IOV_MAX);
		return false;
	}
	if (r->nviews + (size_t)count > WEFT_COUNT(r->own)) {
		r->views = PyMem_Malloc((size_t)count * sizeof(Py_buffer));
		if (r->views == NULL) {
			r->views = r->own;
			PyErr_NoMemory();
			return false;
		}
	}
	for (Py_ssize_t i = 0; i < count; i++) {
		PyObject *one = many ? PySequence_GetItem(object, i) : Py_NewRef(object);
		int error = one == NULL ? -1 : PyObject_GetBuffer(one, &r->views[r->nviews], flags);

		Py_XDECREF(one);
		if (error != 0)
			return false;
		r->len += (uint64_t)r->views[r->nviews++].len;
	}
	return true;
}

/* `error` came of staging: 0: it is the queue's now as well. */
static PyObject *staged(struct queue *queue, struct request *r, int error)
{
	if (error != 0) {
		Py_DECREF(OBJECT(r));
		return queue_refused(queue, error);
	}
	r->queue = queue;
	r->next = queue->requests;
	r->link = &queue->requests;
	if (r->next != NULL)
		r->next->link = &r->next;
	queue->requests = r;
	queue->outstanding++;
	return Py_NewRef(OBJECT(r));
}

static PyObject *given_up(struct request *r)
{
	Py_XDECREF(OBJECT(r));
	return NULL;
}

/* ---- with data ---- */

PyObject *request_read(struct queue *queue, PyObject *args, PyObject *names)
{
	static char *keys[] = { "offset", "length", "tag", NULL };
	uint64_t offset, len;
	struct request *r;
	PyObject *tag = NULL;

	if (!PyArg_ParseTupleAndKeywords(args, names, "O&O&|O:read", keys, to_u64, &offset, to_u64, &len, &tag))
		return NULL;
	if (len > WEFT_MAX_LEN) {
		PyErr_Format(PyExc_ValueError, "length %llu: a request has at most %u bytes, weft.MAX_LEN: make several of it",
			(unsigned long long)len, WEFT_MAX_LEN);
		return NULL;
	}
	r = request_new(queue, WEFT_READ, offset, len, tag);
	if (r == NULL)
		return NULL;
	r->value = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)len); /* nobody sees it before it is full */
	if (r->value == NULL)
		return given_up(r);
	return staged(queue, r, weft_queue_read(queue->handle, offset, PyBytes_AsString(r->value), len, r, 0));
}

static PyObject *transfer(struct queue *queue, unsigned op, uint64_t offset, PyObject *buffers, PyObject *tag, unsigned flags)
{
	struct iovec few[WEFT_COUNT(((struct request *)0)->own)], *iov = few;
	struct request *r = request_new(queue, op, offset, 0, tag);
	int error;

	if (r == NULL || !views_get(r, buffers, op == WEFT_READ ? PyBUF_WRITABLE : PyBUF_SIMPLE))
		return given_up(r);
	if (!queue_enter(queue)) /* getting a buffer may have run Python */
		return given_up(r);
	if (op == WEFT_READ)
		r->value = PyLong_FromUnsignedLongLong(r->len);
	if (r->nviews > WEFT_COUNT(few))
		iov = PyMem_Malloc(r->nviews * sizeof(*iov));
	if (iov == NULL) {
		PyErr_NoMemory();
		return given_up(r);
	}
	for (unsigned i = 0; i < r->nviews; i++)
		iov[i] = (struct iovec){ r->views[i].buf, (size_t)r->views[i].len };
	if (op == WEFT_READ)
		error = weft_queue_readv(queue->handle, offset, iov, r->nviews, r, flags);
	else
		error = weft_queue_writev(queue->handle, offset, iov, r->nviews, r, flags);
	if (iov != few)
		PyMem_Free(iov);
	return staged(queue, r, error);
}

PyObject *request_readinto(struct queue *queue, PyObject *args, PyObject *names)
{
	static char *keys[] = { "offset", "buffer", "tag", NULL };
	PyObject *buffer, *tag = NULL;
	uint64_t offset;

	if (!PyArg_ParseTupleAndKeywords(args, names, "O&O|O:readinto", keys, to_u64, &offset, &buffer, &tag))
		return NULL;
	return transfer(queue, WEFT_READ, offset, buffer, tag, 0);
}

PyObject *request_write(struct queue *queue, PyObject *args, PyObject *names)
{
	static char *keys[] = { "offset", "buffer", "tag", "flags", NULL };
	PyObject *buffer, *tag = NULL;
	unsigned flags = 0;
	uint64_t offset;

	if (!PyArg_ParseTupleAndKeywords(args, names, "O&O|O$O&:write", keys, to_u64, &offset, &buffer, &tag, to_u32, &flags))
		return NULL;
	return transfer(queue, WEFT_WRITE, offset, buffer, tag, flags);
}

PyObject *request_compare_write(struct queue *queue, PyObject *args, PyObject *names)
{
	static char *keys[] = { "offset", "compare", "write", "tag", "flags", NULL };
	PyObject *compare, *write, *tag = NULL;
	struct request *r;
	unsigned flags = 0;
	uint64_t offset;

	if (!PyArg_ParseTupleAndKeywords(args, names, "O&OO|O$O&:compare_write", keys, to_u64, &offset, &compare, &write, &tag,
		to_u32, &flags))
		return NULL;
	r = request_new(queue, WEFT_COMPARE_WRITE, offset, 0, tag);
	if (r == NULL || PyObject_GetBuffer(compare, &r->views[0], PyBUF_SIMPLE) != 0)
		return given_up(r);
	r->nviews++;
	if (PyObject_GetBuffer(write, &r->views[1], PyBUF_SIMPLE) != 0)
		return given_up(r);
	r->nviews++;
	r->len = (uint64_t)r->views[0].len;
	if (r->views[0].len != r->views[1].len) {
		PyErr_Format(PyExc_ValueError, "compare has %zd bytes, write %zd: pass as many of each", r->views[0].len,
			r->views[1].len);
		return given_up(r);
	}
	if (!queue_enter(queue))
		return given_up(r);
	return staged(queue, r,
		weft_queue_compare_write(queue->handle, offset, r->views[0].buf, r->views[1].buf, r->len, r, flags));
}

/* ---- without ---- */

PyObject *request_flush(struct queue *queue, PyObject *args, PyObject *names)
{
	static char *keys[] = { "tag", NULL };
	PyObject *tag = NULL;
	struct request *r;

	if (!PyArg_ParseTupleAndKeywords(args, names, "|O:flush", keys, &tag))
		return NULL;
	r = request_new(queue, WEFT_FLUSH, 0, 0, tag);
	return r == NULL ? NULL : staged(queue, r, weft_queue_flush(queue->handle, r, 0));
}

static PyObject *range(struct queue *queue, PyObject *args, PyObject *names, unsigned op)
{
	static char *keys[] = { "offset", "length", "tag", "flags", NULL };
	int (*ask)(struct weft_queue *, uint64_t, uint64_t, void *, unsigned) =
		op == WEFT_DISCARD ? weft_queue_discard : weft_queue_zero;
	PyObject *tag = NULL;
	uint64_t offset, len;
	struct request *r;
	unsigned flags = 0;

	if (!PyArg_ParseTupleAndKeywords(args, names, "O&O&|O$O&", keys, to_u64, &offset, to_u64, &len, &tag, to_u32, &flags))
		return NULL;
	r = request_new(queue, op, offset, len, tag);
	return r == NULL ? NULL : staged(queue, r, ask(queue->handle, offset, len, r, flags));
}

PyObject *request_discard(struct queue *queue, PyObject *args, PyObject *names)
{
	return range(queue, args, names, WEFT_DISCARD);
}

PyObject *request_zero(struct queue *queue, PyObject *args, PyObject *names)
{
	return range(queue, args, names, WEFT_ZERO);
}

PyObject *request_copy(struct queue *queue, PyObject *args, PyObject *names)
{
	static char *keys[] = { "offset", "source", "length", "tag", "flags", NULL };
	uint64_t offset, source, len;
	PyObject *tag = NULL;
	struct request *r;
	unsigned flags = 0;

	if (!PyArg_ParseTupleAndKeywords(args, names, "O&O&O&|O$O&:copy", keys, to_u64, &offset, to_u64, &source, to_u64, &len,
		&tag, to_u32, &flags))
		return NULL;
	r = request_new(queue, WEFT_COPY, offset, len, tag);
	return r == NULL ? NULL : staged(queue, r, weft_queue_copy(queue->handle, offset, source, len, r, flags));
}

#define EXTENTS_MAX 65536u

/* The extents land in bytes, which become a list when it has ended. */
PyObject *request_status(struct queue *queue, PyObject *args, PyObject *names)
{
	static char *keys[] = { "offset", "length", "count", "tag", NULL };
	unsigned count = 256;
	uint64_t offset, len;
	PyObject *tag = NULL;
	struct request *r;

	if (!PyArg_ParseTupleAndKeywords(args, names, "O&O&|O&O:status", keys, to_u64, &offset, to_u64, &len, to_u32, &count, &tag))
		return NULL;
	if (count == 0 || count > EXTENTS_MAX) {
		PyErr_Format(PyExc_ValueError, "count %u: use 1 to %u extents", count, EXTENTS_MAX);
		return NULL;
	}
	r = request_new(queue, WEFT_STATUS, offset, len, tag);
	if (r == NULL)
		return NULL;
	r->value = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)(count * sizeof(struct weft_extent)));
	if (r->value == NULL)
		return given_up(r);
	return staged(queue, r, weft_queue_status(queue->handle, offset, len, (void *)PyBytes_AsString(r->value), count, r, 0));
}

static PyObject *extents_list(PyObject *bytes)
{
	const struct weft_extent *extent = (void *)PyBytes_AsString(bytes);
	const struct weft_extent *end = extent + (size_t)PyBytes_Size(bytes) / sizeof(*extent);
	PyObject *list = PyList_New(0);

	for (; list != NULL && extent < end && extent->len > 0; extent++) {
		PyObject *one = Py_BuildValue("(KKI)", (unsigned long long)extent->offset, (unsigned long long)extent->len,
			extent->flags);

		if (one == NULL || PyList_Append(list, one) != 0)
			Py_CLEAR(list);
		Py_XDECREF(one);
	}
	return list;
}

/* ---- its end ---- */

void request_ended(struct request *r, int status)
{
	WEFT_ASSERT(r->queue != NULL && r->queue->outstanding > 0 && status <= 0);
	*r->link = r->next;
	if (r->next != NULL)
		r->next->link = r->link;
	r->queue->outstanding--;
	r->queue = NULL;
	r->status = status;
	views_release(r);
	if (r->op == WEFT_STATUS && status == 0) {
		PyObject *raw = r->value;

		r->value = extents_list(raw);
		Py_DECREF(raw);
	}
	if (status != 0)
		Py_CLEAR(r->value);
	if (PyErr_Occurred()) { /* no memory for the extents */
		PyErr_Clear();
		r->status = -ENOMEM;
	}
}

static PyObject *outcome(struct request *r)
{
	char text[192];

	if (r->status == 0)
		return Py_NewRef(r->value != NULL ? r->value : Py_None);
	PyOS_snprintf(text, sizeof(text), "%s of %llu bytes at %llu", weft_op_name(r->op), (unsigned long long)r->len,
		(unsigned long long)r->offset);
	return raise_weft(r->status, text);
}

static PyObject *request_result(struct request *r, PyObject *unused)
{
	(void)unused;
	if (r->queue != NULL)
		return raise_weft(-EINPROGRESS, "request: it is in flight: wait for it, or have its queue polled");
	return outcome(r);
}

/* Until it has ended, however long that takes: its memory is the device's so long. */
static int run_until_ended(struct queue *queue, struct request *r)
{
	if (queue_pick(queue, r) != NULL)
		return 0;
	return queue_run(queue, queue->depth, WEFT_FOREVER, r);
}

static PyObject *request_wait(struct request *r, PyObject *unused)
{
	struct queue *queue = r->queue;
	int error;

	(void)unused;
	if (queue == NULL)
		return outcome(r);
	if (!queue_enter(queue))
		return NULL;
	Py_INCREF(OBJECT(queue));
	error = run_until_ended(queue, r);
	Py_DECREF(OBJECT(queue));
	if (error < 0)
		return NULL;
	WEFT_ASSERT(r->queue == NULL);
	return outcome(r);
}

static PyObject *request_cancel(struct request *r, PyObject *unused)
{
	struct queue *queue = r->queue;
	int asked;

	(void)unused;
	if (queue == NULL)
		Py_RETURN_FALSE;
	if (!queue_enter(queue))
		return NULL;
	asked = weft_queue_cancel(queue->handle, r);
	return asked < 0 ? queue_refused(queue, asked) : PyBool_FromLong(asked > 0);
}

static PyObject *request_done(struct request *r, void *unused)
{
	(void)unused;
	return PyBool_FromLong(r->queue == NULL);
}

static PyObject *request_errno(struct request *r, void *unused)
{
	(void)unused;
	if (r->queue != NULL)
		Py_RETURN_NONE;
	return PyLong_FromLong(-r->status);
}

static PyObject *request_tag(struct request *r, void *unused)
{
	(void)unused;
	return Py_NewRef(r->tag != NULL ? r->tag : Py_None);
}

static PyObject *request_repr(struct request *r)
{
	return PyUnicode_FromFormat("<weft.Request %s of %llu bytes at %llu, %s>", weft_op_name(r->op), (unsigned long long)r->len,
		(unsigned long long)r->offset, r->queue != NULL ? "in flight" : r->status == 0 ? "done" : "failed");
}

static PyMethodDef methods[] = {
	{ "wait", (PyCFunction)request_wait, METH_NOARGS,
		SIGNATURE("wait($self, /)", "Until it has ended; gives its result, or raises.") },
	{ "result", (PyCFunction)request_result, METH_NOARGS,
		SIGNATURE("result($self, /)", "Of a request that has ended: bytes, a count, extents or None.") },
	{ "cancel", (PyCFunction)request_cancel, METH_NOARGS,
		SIGNATURE("cancel($self, /)", "Asks it to end sooner; it still ends. False: it has.") },
	{ 0 },
};

static PyGetSetDef facts[] = {
	{ "done", (getter)request_done, NULL, "Has its completion been taken?", NULL },
	{ "errno", (getter)request_errno, NULL, "0, or what went wrong; None: in flight.", NULL },
	{ "tag", (getter)request_tag, NULL, "What the program gave.", NULL },
	{ 0 },
};

static PyType_Slot slots[] = {
	{ Py_tp_dealloc, request_dealloc },
	{ Py_tp_traverse, request_traverse },
	{ Py_tp_clear, request_clear },
	{ Py_tp_repr, request_repr },
	{ Py_tp_methods, methods },
	{ Py_tp_getset, facts },
	{ 0, NULL },
};

PyTypeObject *request_type_make(PyObject *module)
{
	static PyType_Spec spec = { "weft._core.Request", sizeof(struct request), 0,
		Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots };

	return (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
}
