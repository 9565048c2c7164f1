/* SPDX-License-Identifier: BSD-2-Clause */
/* Instances: a core with its control; devices are opened in them; their events. */
#include "python/module.h"

#include <errno.h>
#include <string.h>

/* Index of a word in "a|b|c"-like lists; -1 with an exception. */
static int choice(const char *what, const char *word, const char *const *words, int count)
{
	for (int i = 0; i < count; i++)
		if (strcmp(words[i], word) == 0)
			return i;
	PyErr_Format(PyExc_ValueError, "%s '%s': use one of %s ... %s", what, word, words[0], words[count - 1]);
	return -1;
}

static int instance_init(struct instance *self, PyObject *args, PyObject *names)
{
	static char *keys[] = { "service", "mode", "slots", "log", "quiet", NULL };
	static const char *const modes[] = { "poll", "adaptive", "notify" };
	static const char *const levels[] = { "error", "warn", "info", "debug" };
	const char *mode = "adaptive", *log = "warn";
	struct weft_settings settings;
	struct weft_why why;
	int quiet = 0, error, mode_index, level_index;

	weft_settings_init(&settings);
	if (self->weft != NULL || forked()) {
		if (!PyErr_Occurred())
			PyErr_SetString(PyExc_RuntimeError, "the instance is open already: make another");
		return -1;
	}
	if (!PyArg_ParseTupleAndKeywords(args, names, "|$O&sO&sp:Instance", keys, to_u32, &settings.service, &mode, to_u32,
		&settings.slots, &log, &quiet))
		return -1;
	mode_index = choice("mode", mode, modes, WEFT_COUNT(modes));
	level_index = mode_index < 0 ? -1 : choice("log", log, levels, WEFT_COUNT(levels));
	if (level_index < 0)
		return -1;
	settings.mode = (uint32_t)mode_index;
	settings.log_level = (uint32_t)level_index;
	settings.quiet = quiet != 0;
	Py_BEGIN_ALLOW_THREADS
	error = weft_open(&settings, &self->weft, &why);
	if (error == 0 && (error = weft_module_add(self->weft, &host_module, &why)) != 0) {
		weft_close(self->weft, NULL);
		self->weft = NULL;
	}
	Py_END_ALLOW_THREADS
	if (error != 0)
		raise_weft(error, why.text);
	return error == 0 ? 0 : -1;
}

/* ---- what ends by an event ---- */

struct begun *begun_new(struct instance *instance, PyObject *tag)
{
	struct begun *begun = PyMem_Malloc(sizeof(*begun));

	if (begun == NULL) {
		PyErr_NoMemory();
		return NULL;
	}
	*begun = (struct begun){ .tag = Py_NewRef(tag), .next = instance->begun, .link = &instance->begun };
	if (begun->next != NULL)
		begun->next->link = &begun->next;
	instance->begun = begun;
	return begun;
}

PyObject *begun_end(struct begun *begun)
{
	PyObject *tag = begun->tag;

	*begun->link = begun->next;
	if (begun->next != NULL)
		begun->next->link = begun->link;
	PyMem_Free(begun);
	return tag;
}

/* No event comes any more. Letting go of a tag may run Python. */
static void begun_forget(struct instance *self)
{
	while (self->begun != NULL)
		Py_DECREF(begun_end(self->begun));
}

/* Nobody will take the events: each is waited for, and a device that was opened meanwhile is closed. */
static void begun_drop(struct instance *self)
{
	struct weft_event event;

	while (self->begun != NULL) {
		int got;

		Py_BEGIN_ALLOW_THREADS
		got = weft_event_wait(self->weft, &event, WEFT_FOREVER);
		if (got > 0 && event.type == WEFT_EVENT_OPENED && event.status == 0)
			weft_device_close(event.device, NULL);
		Py_END_ALLOW_THREADS
		if (got <= 0)
			return;
		if (event.type != WEFT_EVENT_RESIZED)
			Py_DECREF(begun_end(event.user_data));
	}
}

static bool usable(struct instance *self)
{
	if (forked())
		return false;
	if (self->weft == NULL)
		raise_closed("instance");
	return self->weft != NULL;
}

static PyObject *instance_close(struct instance *self, PyObject *unused)
{
	struct weft_why why;
	struct weft *weft = self->weft;
	int error;

	(void)unused;
	if (weft == NULL)
		Py_RETURN_NONE;
	if (forked())
		return NULL;
	if (self->calls > 0)
		return raise_weft(-EBUSY, "instance: other threads are in calls of it: let them end first");
	self->weft = NULL;
	Py_BEGIN_ALLOW_THREADS
	error = weft_close(weft, &why);
	Py_END_ALLOW_THREADS
	if (error != 0) {
		self->weft = weft;
		return raise_weft(error, why.text);
	}
	begun_forget(self);
	Py_RETURN_NONE;
}

static void instance_dealloc(struct instance *self)
{
	PyObject *error_type, *error, *traceback;

	PyErr_Fetch(&error_type, &error, &traceback);
	if (self->weft != NULL && !forked_quiet()) {
		begun_drop(self);
		Py_BEGIN_ALLOW_THREADS
		weft_close(self->weft, NULL);
		Py_END_ALLOW_THREADS
	}
	begun_forget(self);
	PyErr_Restore(error_type, error, traceback);
	object_free(self);
}

/* ---- devices ---- */

static PyObject *instance_open(struct instance *self, PyObject *args)
{
	struct weft_device *handle;
	struct weft_why why;
	const char *text;
	PyTypeObject *type;
	int error;

	if (!PyArg_ParseTuple(args, "O!s:open", &PyType_Type, &type, &text) || !usable(self))
		return NULL;
	if (!PyType_IsSubtype(type, device_type)) {
		PyErr_SetString(PyExc_TypeError, "open: the type must be a kind of Device");
		return NULL;
	}
	WAITING_BEGIN(self)
	error = weft_device_open(self->weft, text, &handle, &why);
	WAITING_END(self)
	return error != 0 ? raise_weft(error, why.text) : device_new(type, self, handle);
}

/* Its end is an event with `tag`. */
static PyObject *instance_open_begin(struct instance *self, PyObject *args)
{
	struct weft_why why;
	struct begun *begun;
	const char *text;
	PyObject *tag;
	int error;

	if (!PyArg_ParseTuple(args, "sO:open_begin", &text, &tag) || !usable(self))
		return NULL;
	begun = begun_new(self, tag);
	if (begun == NULL)
		return NULL;
	error = weft_device_open_begin(self->weft, text, begun, &why);
	if (error != 0) {
		Py_DECREF(begun_end(begun));
		return raise_weft(error, why.text);
	}
	Py_RETURN_NONE;
}

static struct device *device_of(const struct instance *self, const struct weft_device *handle)
{
	struct device *device = self->devices;

	while (device != NULL && device->handle != handle)
		device = device->next;
	return device;
}

/* (type, status, tag, device, size, why); of a device that was just opened: its handle is in a bare Device of the type. */
static PyObject *event_tuple(struct instance *self, PyTypeObject *type, const struct weft_event *event)
{
	bool resized = event->type == WEFT_EVENT_RESIZED, made = event->type == WEFT_EVENT_OPENED && event->status == 0;
	PyObject *tag = resized ? NULL : begun_end(event->user_data);
	PyObject *device = NULL, *result = NULL;

	if (made) {
		device = device_new(type, self, event->device);
	} else {
		device = (PyObject *)device_of(self, event->device);
		device = device != NULL && event->device != NULL ? device : Py_None;
		Py_INCREF(OBJECT(device));
	}
	if (device != NULL)
		result = Py_BuildValue("(IiOOKs)", event->type, event->status, tag != NULL ? tag : Py_None, device,
			(unsigned long long)event->size, event->status != 0 ? event->why.text : "");
	Py_XDECREF(OBJECT(device));
	Py_XDECREF(tag);
	return result;
}

static PyObject *instance_event(struct instance *self, PyObject *args)
{
	struct weft_event event;
	PyObject *seconds = Py_None;
	PyTypeObject *type;
	uint64_t timeout, until;
	int got;

	if (!PyArg_ParseTuple(args, "O!|O:event", &PyType_Type, &type, &seconds) || !to_timeout(seconds, &timeout) || !usable(self))
		return NULL;
	until = timeout == WEFT_FOREVER ? WEFT_FOREVER : now_ns() + timeout;
	for (;;) {
		WAITING_BEGIN(self)
		got = weft_event_wait(self->weft, &event, wait_slice(timeout));
		WAITING_END(self)
		if (got < 0)
			return raise_weft(got, "events cannot be waited for here");
		if (got > 0)
			return event_tuple(self, type, &event);
		if (PyErr_CheckSignals() != 0)
			return NULL;
		timeout = until == WEFT_FOREVER ? WEFT_FOREVER : until - now_ns();
		if (timeout == 0 || (until != WEFT_FOREVER && now_ns() >= until))
			Py_RETURN_NONE;
		if (!usable(self))
			return NULL;
	}
}

static PyObject *instance_event_fd(struct instance *self, PyObject *unused)
{
	(void)unused;
	return usable(self) ? PyLong_FromLong(weft_event_fd(self->weft)) : NULL;
}

/* ---- memory ---- */

static PyObject *instance_memory(struct instance *self, PyObject *args, PyObject *names)
{
	static char *keys[] = { "size", "pin", NULL };
	uint64_t size;
	int pin = 0;

	if (!PyArg_ParseTupleAndKeywords(args, names, "O&|$p:memory", keys, to_u64, &size, &pin) || !usable(self))
		return NULL;
	return memory_new_alloc(self, size, pin ? WEFT_MEMORY_PIN : 0);
}

static PyObject *instance_map(struct instance *self, PyObject *args, PyObject *names)
{
	static char *keys[] = { "fd", "offset", "size", "pin", NULL };
	uint64_t offset, size;
	int fd, pin = 0;

	if (!PyArg_ParseTupleAndKeywords(args, names, "iO&O&|$p:map", keys, &fd, to_u64, &offset, to_u64, &size, &pin) ||
		!usable(self))
		return NULL;
	return memory_new_map(self, fd, offset, size, pin ? WEFT_MEMORY_PIN : 0);
}

static PyObject *instance_register(struct instance *self, PyObject *args, PyObject *names)
{
	static char *keys[] = { "buffer", "pin", NULL };
	PyObject *buffer;
	int pin = 0;

	if (!PyArg_ParseTupleAndKeywords(args, names, "O|$p:register", keys, &buffer, &pin) || !usable(self))
		return NULL;
	return memory_new_register(self, buffer, pin ? WEFT_MEMORY_PIN : 0);
}

/* ---- components ---- */

static PyObject *instance_load(struct instance *self, PyObject *args)
{
	struct weft_why why;
	PyObject *path;
	int error;

	if (!PyArg_ParseTuple(args, "O&:load", PyUnicode_FSConverter, &path))
		return NULL;
	if (!usable(self)) {
		Py_DECREF(path);
		return NULL;
	}
	WAITING_BEGIN(self)
	error = weft_module_load(self->weft, PyBytes_AsString(path), &why);
	WAITING_END(self)
	Py_DECREF(path);
	if (error != 0)
		return raise_weft(error, why.text);
	Py_RETURN_NONE;
}

static PyObject *kind_tuple(const struct weft_kind *kind)
{
	PyObject *options = PyList_New(0);
	struct weft_property property;

	for (unsigned n = 0; options != NULL && weft_kind_property(kind, n, &property) == 1; n++) {
		PyObject *one = property_dict(&property);

		if (one == NULL || PyList_Append(options, one) != 0)
			Py_CLEAR(options);
		Py_XDECREF(one);
	}
	return options == NULL ? NULL : Py_BuildValue("(ssN)", kind->name, kind->summary, options);
}

static PyObject *kinds(struct instance *self, const struct weft_kind *(*get)(struct weft *weft, unsigned n))
{
	PyObject *list = usable(self) ? PyList_New(0) : NULL;

	for (unsigned n = 0; list != NULL; n++) {
		const struct weft_kind *kind;
		PyObject *one;

		WAITING_BEGIN(self)
		kind = get(self->weft, n);
		WAITING_END(self)
		if (kind == NULL)
			break;
		one = kind_tuple(kind);
		if (one == NULL || PyList_Append(list, one) != 0)
			Py_CLEAR(list);
		Py_XDECREF(one);
	}
	return list;
}

static PyObject *instance_device_kinds(struct instance *self, PyObject *unused)
{
	(void)unused;
	return kinds(self, weft_device_kind);
}

static PyObject *instance_export_kinds(struct instance *self, PyObject *unused)
{
	(void)unused;
	return kinds(self, weft_export_kind);
}

static PyObject *instance_closed(struct instance *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(self->weft == NULL);
}

static PyMethodDef methods[] = {
	{ "_open", (PyCFunction)instance_open, METH_VARARGS, SIGNATURE("_open($self, type, text, /)", "") },
	{ "_open_begin", (PyCFunction)instance_open_begin, METH_VARARGS, SIGNATURE("_open_begin($self, text, ended, /)", "") },
	{ "_event", (PyCFunction)instance_event, METH_VARARGS, SIGNATURE("_event($self, type, timeout=None, /)", "") },
	{ "_kinds", (PyCFunction)instance_device_kinds, METH_NOARGS, SIGNATURE("_kinds($self, /)", "") },
	{ "_export_kinds", (PyCFunction)instance_export_kinds, METH_NOARGS, SIGNATURE("_export_kinds($self, /)", "") },
	{ "close", (PyCFunction)instance_close, METH_NOARGS,
		SIGNATURE("close($self, /)", "Ends it. weft.BusyError: something in it is open.") },
	{ "event_fd", (PyCFunction)instance_event_fd, METH_NOARGS,
		SIGNATURE("event_fd($self, /)", "Readable while there are events.") },
	{ "memory", (PyCFunction)(void (*)(void))instance_memory, METH_VARARGS | METH_KEYWORDS,
		SIGNATURE("memory($self, /, size, *, pin=False)", "Zeroed shared memory that devices use in place.") },
	{ "map", (PyCFunction)(void (*)(void))instance_map, METH_VARARGS | METH_KEYWORDS,
		SIGNATURE("map($self, /, fd, offset, size, *, pin=False)", "The memory of a descriptor.") },
	{ "register", (PyCFunction)(void (*)(void))instance_register, METH_VARARGS | METH_KEYWORDS,
		SIGNATURE("register($self, /, buffer, *, pin=False)",
			"A writable buffer of the program's own, so that devices use it in place.") },
	{ "load", (PyCFunction)instance_load, METH_VARARGS, SIGNATURE("load($self, path, /)", "Components from a shared object.") },
	{ 0 },
};

static PyGetSetDef facts[] = {
	{ "closed", (getter)instance_closed, NULL, NULL, NULL },
	{ 0 },
};

static PyType_Slot slots[] = {
	{ Py_tp_init, instance_init },
	TYPE_SIGNATURE("Instance(*, service=1, mode='adaptive', slots=1024, log='warn', quiet=False)"),
	{ Py_tp_new, PyType_GenericNew },
	{ Py_tp_dealloc, instance_dealloc },
	{ Py_tp_methods, methods },
	{ Py_tp_getset, facts },
	{ 0, NULL },
};

PyTypeObject *instance_type_make(PyObject *module)
{
	static PyType_Spec spec = { "weft._core.Instance", sizeof(struct instance), 0,
		Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots };

	return (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
}
