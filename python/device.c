/* SPDX-License-Identifier: BSD-2-Clause */
/* Devices: facts, properties, size; and exports of them. */
#include "python/module.h"

#include <errno.h>
#include <stdlib.h>

PyObject *device_new(PyTypeObject *type, struct instance *instance, struct weft_device *handle)
{
	struct device *self = object_alloc(type);

	if (self == NULL) {
		WAITING_BEGIN(instance)
		weft_device_close(handle, NULL);
		WAITING_END(instance)
		return NULL;
	}
	Py_INCREF(OBJECT(instance));
	self->instance = instance;
	self->handle = handle;
	self->next = instance->devices;
	self->link = &instance->devices;
	if (self->next != NULL)
		self->next->link = &self->next;
	instance->devices = self;
	return (PyObject *)self;
}

static bool usable(struct device *self)
{
	if (forked())
		return false;
	if (self->handle == NULL)
		raise_closed("device");
	return self->handle != NULL;
}

/* Nobody's any more. */
static void forget(struct device *self)
{
	*self->link = self->next;
	if (self->next != NULL)
		self->next->link = self->link;
	self->handle = NULL;
}

static PyObject *device_close(struct device *self, PyObject *unused)
{
	struct weft_device *handle = self->handle;
	struct weft_why why;
	int error;

	(void)unused;
	if (handle == NULL)
		Py_RETURN_NONE;
	if (forked())
		return NULL;
	WAITING_BEGIN(self->instance)
	error = weft_device_close(handle, &why);
	WAITING_END(self->instance)
	if (error != 0 && self->handle != NULL)
		return raise_weft(error, why.text);
	if (self->handle != NULL)
		forget(self);
	Py_RETURN_NONE;
}

static void device_dealloc(struct device *self)
{
	struct weft_device *handle = self->handle;

	if (handle != NULL) {
		forget(self);
		if (!forked_quiet()) {
			WAITING_BEGIN(self->instance)
			weft_device_close(handle, NULL);
			WAITING_END(self->instance)
		}
	}
	Py_XDECREF(OBJECT(self->instance));
	object_free(self);
}

/* ---- what ends by an event with `tag` ---- */

static PyObject *begun(int error, const struct weft_why *why, struct begun *begun)
{
	if (error == 0)
		Py_RETURN_NONE;
	Py_DECREF(begun_end(begun));
	return raise_weft(error, why->text);
}

static PyObject *device_close_begin(struct device *self, PyObject *tag)
{
	struct begun *call = usable(self) ? begun_new(self->instance, tag) : NULL;
	struct weft_why why;
	int error;

	if (call == NULL)
		return NULL;
	error = weft_device_close_begin(self->handle, call, &why);
	if (error == 0)
		forget(self);
	return begun(error, &why, call);
}

static PyObject *device_resize_begin(struct device *self, PyObject *args)
{
	struct weft_why why;
	struct begun *call;
	uint64_t size;
	PyObject *tag;

	if (!PyArg_ParseTuple(args, "O&O:resize_begin", to_u64, &size, &tag) || !usable(self))
		return NULL;
	call = begun_new(self->instance, tag);
	return call == NULL ? NULL : begun(weft_device_resize_begin(self->handle, size, call, &why), &why, call);
}

static PyObject *device_resize(struct device *self, PyObject *args)
{
	struct weft_why why;
	uint64_t size;
	int error;

	if (!PyArg_ParseTuple(args, "O&:resize", to_u64, &size) || !usable(self))
		return NULL;
	WAITING_BEGIN(self->instance)
	error = weft_device_resize(self->handle, size, &why);
	WAITING_END(self->instance)
	if (error != 0)
		return raise_weft(error, why.text);
	Py_RETURN_NONE;
}

/* ---- facts ---- */

/* In the order of weft.Info. */
static PyObject *device_info(struct device *self, PyObject *unused)
{
	struct weft_device_info i;
	int error;

	(void)unused;
	if (!usable(self))
		return NULL;
	error = weft_device_info(self->handle, &i);
	if (error != 0)
		return raise_weft(error, "device: it is being closed: use it before");
	return Py_BuildValue("(KIIIIIIIIIIOOOsI)", (unsigned long long)i.size, i.block, i.physical, i.optimal, i.align, i.max_len,
		i.max_segs, i.discard_align, i.ops, i.ops_own, i.flags_own, i.readonly ? Py_True : Py_False,
		i.volatile_cache ? Py_True : Py_False, i.rotational ? Py_True : Py_False, i.name,
		i.max_compare);
}

static PyObject *device_size(struct device *self, void *unused)
{
	struct weft_device_info info;

	(void)unused;
	if (!usable(self))
		return NULL;
	if (weft_device_info(self->handle, &info) != 0)
		return raise_closed("device");
	return PyLong_FromUnsignedLongLong(info.size);
}

static PyObject *device_closed(struct device *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(self->handle == NULL);
}

static PyObject *device_instance(struct device *self, void *unused)
{
	(void)unused;
	return Py_NewRef(OBJECT(self->instance));
}

static PyObject *latencies(const struct weft_histogram *h)
{
	return Py_BuildValue("{sKsKsK}", "p50", (unsigned long long)weft_histogram_quantile(h, 0.5), "p99",
		(unsigned long long)weft_histogram_quantile(h, 0.99), "p999",
		(unsigned long long)weft_histogram_quantile(h, 0.999));
}

static int put(PyObject *dict, const char *name, PyObject *value)
{
	int error = value == NULL ? -1 : PyDict_SetItemString(dict, name, value);

	Py_XDECREF(value);
	return error;
}

static PyObject *stats_dict(const struct weft_stats *stats)
{
	static const char *const classes[WEFT_STAT_COUNT] = { "read", "write", "flush", "other" };
	PyObject *dict = Py_BuildValue("{sKsKsKsKsKsKsKsK}", "in_flight", (unsigned long long)stats->in_flight, "refused",
		(unsigned long long)stats->refused, "splits", (unsigned long long)stats->splits, "bounces",
		(unsigned long long)stats->bounces, "bounced_bytes", (unsigned long long)stats->bounced_bytes, "zeroes_written",
		(unsigned long long)stats->zeroes_written, "fua_flushes", (unsigned long long)stats->fua_flushes, "carried",
		(unsigned long long)stats->carried);

	for (unsigned i = 0; dict != NULL && i < WEFT_STAT_COUNT; i++)
		if (put(dict, classes[i], Py_BuildValue("{sKsKsKsN}",
			"requests", (unsigned long long)stats->of[i].requests,
			"bytes", (unsigned long long)stats->of[i].bytes,
			"errors", (unsigned long long)stats->of[i].errors,
			"latency_ns", latencies(&stats->of[i].latency))) != 0)
			Py_CLEAR(dict);
	return dict;
}

static PyObject *device_stats(struct device *self, PyObject *unused)
{
	struct weft_stats *stats;
	PyObject *dict;
	int error;

	(void)unused;
	if (!usable(self))
		return NULL;
	stats = calloc(1, sizeof(*stats));
	if (stats == NULL)
		return PyErr_NoMemory();
	WAITING_BEGIN(self->instance)
	error = weft_device_stats(self->handle, stats);
	WAITING_END(self->instance)
	dict = error != 0 ? raise_closed("device") : stats_dict(stats);
	free(stats);
	return dict;
}

/* ---- properties ---- */

PyObject *property_dict(const struct weft_property *p)
{
	return Py_BuildValue("{ssszszszsIsI}", "name", p->name, "type", p->type, "default", p->fallback, "help", p->help, "access",
		p->access, "stage", p->stage);
}

static PyObject *device_property(struct device *self, PyObject *args)
{
	struct weft_property property;
	unsigned n;
	int got;

	if (!PyArg_ParseTuple(args, "O&:property", to_u32, &n) || !usable(self))
		return NULL;
	WAITING_BEGIN(self->instance)
	got = weft_device_property(self->handle, n, &property);
	WAITING_END(self->instance)
	if (got < 0)
		return raise_weft(got, "the device's properties cannot be asked for now: it is being closed");
	if (got == 0)
		Py_RETURN_NONE;
	return property_dict(&property);
}

static PyObject *device_get(struct device *self, PyObject *args)
{
	char few[256], *text = few, *more = NULL;
	size_t size = sizeof(few);
	struct weft_why why;
	const char *name;
	PyObject *result;
	int length;

	if (!PyArg_ParseTuple(args, "s:get", &name) || !usable(self))
		return NULL;
	for (;;) {
		WAITING_BEGIN(self->instance)
		length = weft_device_get(self->handle, name, text, size, &why);
		WAITING_END(self->instance)
		if (length < (int)size)
			break;
		size = (size_t)length + 1; /* it may be longer again the next time */
		free(more);
		text = more = malloc(size);
		if (text == NULL)
			return PyErr_NoMemory();
	}
	result = length < 0 ? raise_weft(length, why.text) : PyUnicode_FromStringAndSize(text, length);
	free(more);
	return result;
}

static PyObject *device_set(struct device *self, PyObject *args)
{
	const char *name, *text;
	struct weft_why why;
	int error;

	if (!PyArg_ParseTuple(args, "ss:set", &name, &text) || !usable(self))
		return NULL;
	WAITING_BEGIN(self->instance)
	error = weft_device_set(self->handle, name, text, &why);
	WAITING_END(self->instance)
	if (error != 0)
		return raise_weft(error, why.text);
	Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
	{ "close", (PyCFunction)device_close, METH_NOARGS,
		SIGNATURE("close($self, /)", "Closes it. weft.BusyError: queues or exports of it are open.") },
	{ "_close_begin", (PyCFunction)device_close_begin, METH_O, SIGNATURE("_close_begin($self, ended, /)", "") },
	{ "_resize_begin", (PyCFunction)device_resize_begin, METH_VARARGS, SIGNATURE("_resize_begin($self, size, ended, /)", "") },
	{ "resize", (PyCFunction)device_resize, METH_VARARGS, SIGNATURE("resize($self, size, /)", "Changes its size, bytes.") },
	{ "_info", (PyCFunction)device_info, METH_NOARGS, SIGNATURE("_info($self, /)", "") },
	{ "stats", (PyCFunction)device_stats, METH_NOARGS,
		SIGNATURE("stats($self, /)", "Counters and latencies, of all queues and exports.") },
	{ "_property", (PyCFunction)device_property, METH_VARARGS, SIGNATURE("_property($self, n, /)", "") },
	{ "_get", (PyCFunction)device_get, METH_VARARGS, SIGNATURE("_get($self, name, /)", "") },
	{ "_set", (PyCFunction)device_set, METH_VARARGS, SIGNATURE("_set($self, name, text, /)", "") },
	{ 0 },
};

static PyGetSetDef facts[] = {
	{ "size", (getter)device_size, NULL, "Bytes; changes when it is resized.", NULL },
	{ "closed", (getter)device_closed, NULL, NULL, NULL },
	{ "instance", (getter)device_instance, NULL, NULL, NULL },
	{ 0 },
};

static PyType_Slot slots[] = {
	{ Py_tp_dealloc, device_dealloc },
	{ Py_tp_methods, methods },
	{ Py_tp_getset, facts },
	{ 0, NULL },
};

PyTypeObject *device_type_make(PyObject *module)
{
	static PyType_Spec spec = { "weft._core.Device", sizeof(struct device), 0,
		Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots };

	return (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
}

/* ---- exports ---- */

static int export_init(struct export *self, PyObject *args, PyObject *names)
{
	static char *keys[] = { "device", "text", NULL };
	struct weft_why why;
	struct device *device;
	const char *text;
	int error;

	if (!PyArg_ParseTupleAndKeywords(args, names, "O!s:Export", keys, device_type, &device, &text) || !usable(device))
		return -1;
	if (self->handle != NULL) {
		PyErr_SetString(PyExc_RuntimeError, "the export is open already: make another");
		return -1;
	}
	WAITING_BEGIN(device->instance)
	error = weft_export_open(device->instance->weft, text, device->handle, &self->handle, &why);
	WAITING_END(device->instance)
	if (error != 0) {
		raise_weft(error, why.text);
		return -1;
	}
	self->device = Py_NewRef(OBJECT(device));
	return 0;
}

static int export_end(struct export *self, struct weft_why *why)
{
	struct weft_server *handle = self->handle;
	struct instance *instance;
	int error;

	if (handle == NULL)
		return 0;
	self->handle = NULL;
	instance = ((struct device *)self->device)->instance;
	WAITING_BEGIN(instance)
	error = weft_export_close(handle, why);
	WAITING_END(instance)
	if (error != 0)
		self->handle = handle;
	return error;
}

static PyObject *export_close(struct export *self, PyObject *unused)
{
	struct weft_why why;
	int error;

	(void)unused;
	if (self->handle != NULL && forked())
		return NULL;
	error = export_end(self, &why);
	if (error != 0)
		return raise_weft(error, why.text);
	Py_RETURN_NONE;
}

static void export_dealloc(struct export *self)
{

	if (!forked_quiet())
		export_end(self, NULL);
	Py_XDECREF(OBJECT(self->device));
	object_free(self);
}

static PyObject *export_closed(struct export *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(self->handle == NULL);
}

static PyMethodDef export_methods[] = {
	{ "close", (PyCFunction)export_close, METH_NOARGS, SIGNATURE("close($self, /)", "Ends it: sessions drain first.") },
	{ 0 },
};

static PyGetSetDef export_facts[] = {
	{ "closed", (getter)export_closed, NULL, NULL, NULL },
	{ 0 },
};

static PyType_Slot export_slots[] = {
	{ Py_tp_init, export_init },
	TYPE_SIGNATURE("Export(device, text)"),
	{ Py_tp_new, PyType_GenericNew },
	{ Py_tp_dealloc, export_dealloc },
	{ Py_tp_methods, export_methods },
	{ Py_tp_getset, export_facts },
	{ 0, NULL },
};

PyTypeObject *export_type_make(PyObject *module)
{
	static PyType_Spec spec = { "weft._core.Export", sizeof(struct export), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
		export_slots };

	return (PyTypeObject *)PyType_FromModuleAndSpec(module, &spec, NULL);
}
