/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that devices use in place: of the library's making, a descriptor's, or a buffer of the program's own. */
#include "python/module.h"

#include <errno.h>
#include <string.h>

struct memory {
	PyObject_HEAD
	struct instance *instance;
	struct weft_memory *handle; /* NULL: closed */
	Py_buffer buffer;           /* registered; obj NULL: none */
	Py_ssize_t exports;         /* views of it that are open */
};

static PyObject *finish(struct instance *instance, struct weft_memory *handle, Py_buffer *buffer)
{
	struct memory *self = object_alloc(memory_type);

	if (self == NULL) {
		WAITING_BEGIN(instance)
		weft_memory_release(handle, NULL);
		WAITING_END(instance)
		if (buffer != NULL)
			PyBuffer_Release(buffer);
		return NULL;
	}
	self->instance = (void *)Py_NewRef(OBJECT(instance));
	self->handle = handle;
	if (buffer != NULL)
		self->buffer = *buffer;
	return (PyObject *)self;
}

PyObject *memory_new_alloc(struct instance *instance, uint64_t size, unsigned flags)
{
	struct weft_memory *handle;
	struct weft_why why;
	int error;

	WAITING_BEGIN(instance)
	error = weft_memory_alloc(instance->weft, size, flags, &handle, &why);
	WAITING_END(instance)
	return error != 0 ? raise_weft(error, why.text) : finish(instance, handle, NULL);
}

PyObject *memory_new_map(struct instance *instance, int fd, uint64_t offset, uint64_t size, unsigned flags)
{
	struct weft_memory *handle;
	struct weft_why why;
	int error;

	WAITING_BEGIN(instance)
	error = weft_memory_map(instance->weft, fd, offset, size, flags, &handle, &why);
	WAITING_END(instance)
	return error != 0 ? raise_weft(error, why.text) : finish(instance, handle, NULL);
}

PyObject *memory_new_register(struct instance *instance, PyObject *object, unsigned flags)
{
	struct weft_memory *handle;
	struct weft_why why;
	Py_buffer buffer;
	int error;

	if (PyObject_GetBuffer(object, &buffer, PyBUF_WRITABLE) != 0)
		return NULL;
	WAITING_BEGIN(instance)
	error = weft_memory_register(instance->weft, buffer.buf, (uint64_t)buffer.len, -1, 0, flags, &handle, &why);
	WAITING_END(instance)
	if (error != 0) {
		PyBuffer_Release(&buffer);
		return raise_weft(error, why.text);
	}
	return finish(instance, handle, &buffer);
}

static int release(struct memory *self, struct weft_why *why)
{
	struct weft_memory *handle = self->handle;
	int error;

	if (handle == NULL)
		return 0;
	self->handle = NULL; /* nobody may take a view meanwhile */
	WAITING_BEGIN(self->instance)
	error = weft_memory_release(handle, why);
	WAITING_END(self->instance)
	if (error != 0)
		self->handle = handle;
	else if (self->buffer.obj != NULL)
		PyBuffer_Release(&self->buffer);
	return error;
}

static PyObject *memory_close(struct memory *self, PyObject *unused)
{
	struct weft_why why;
	int error;

	(void)unused;
	if (self->handle != NULL && forked())
		return NULL;
	if (self->exports > 0)
		return raise_weft(-EBUSY, "memory: there are views of it (memoryview, requests in flight): release them first");
	error = release(self, &why);
	if (error != 0)
		return raise_weft(error, why.text);
	Py_RETURN_NONE;
}

static void memory_dealloc(struct memory *self)
{

	if (!forked_quiet())
		release(self, NULL);
	Py_XDECREF(OBJECT(self->instance));
	object_free(self);
}

static int memory_getbuffer(struct memory *self, Py_buffer *view, int flags)
{
	if (self->handle == NULL) {
		raise_closed("memory");
		view->obj = NULL;
		return -1;
	}
	if (PyBuffer_FillInfo(view, (PyObject *)self, weft_memory_base(self->handle), (Py_ssize_t)weft_memory_size(self->handle), 0,
		flags) != 0)
		return -1;
	self->exports++;
	return 0;
}

static void memory_releasebuffer(struct memory *self, Py_buffer *view)
{
	(void)view;
	self->exports--;
}

static Py_ssize_t memory_length(struct memory *self)
{
	return self->handle == NULL ? 0 : (Py_ssize_t)weft_memory_size(self->handle);
}

static PyObject *memory_fileno(struct memory *self, PyObject *unused)
{
	int fd = self->handle == NULL ? -1 : weft_memory_fd(self->handle);

	(void)unused;
	if (self->handle == NULL)
		return raise_closed("memory");
	if (fd < 0)
		return raise_weft(-EINVAL, "memory: no descriptor is behind it: make it by Instance.memory or Instance.map");
	return PyLong_FromLong(fd);
}

static PyObject *memory_closed(struct memory *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(self->handle == NULL);
}

static PyObject *memory_enter(PyObject *self, PyObject *unused)
{
	(void)unused;
	return Py_NewRef(self);
}

static PyObject *memory_exit(struct memory *self, PyObject *args)
{
	(void)args;
	return memory_close(self, NULL);
}

static PyMethodDef methods[] = {
	{ "close", (PyCFunction)memory_close, METH_NOARGS,
		SIGNATURE("close($self, /)", "Lets go of it. weft.BusyError: there are views of it.") },
	{ "fileno", (PyCFunction)memory_fileno, METH_NOARGS,
		SIGNATURE("fileno($self, /)", "The descriptor behind it; stays the memory's.") },
	{ "__enter__", memory_enter, METH_NOARGS, SIGNATURE("__enter__($self, /)", "") },
	{ "__exit__", (PyCFunction)memory_exit, METH_VARARGS, SIGNATURE("__exit__($self, /, *error)", "") },
	{ 0 },
};

static PyGetSetDef facts[] = {
	{ "closed", (getter)memory_closed, NULL, NULL, NULL },
	{ 0 },
};

static PyType_Slot slots[] = {
	{ Py_tp_dealloc, memory_dealloc },
	{ Py_tp_methods, methods },
	{ Py_tp_getset, facts },
	{ Py_sq_length, memory_length },
	{ Py_bf_getbuffer, memory_getbuffer },
	{ Py_bf_releasebuffer, memory_releasebuffer },
	{ 0, NULL },
};

PyTypeObject *memory_type_make(PyObject *module)
{
	static PyType_Spec spec = { "weft._core.Memory", sizeof(struct memory), 0,
		Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots };

	return (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
}
