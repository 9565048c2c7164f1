/* SPDX-License-Identifier: BSD-2-Clause */
/* weft._core: the module, its exceptions, and what arguments have in common. */
#include "python/module.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

static PyObject *error_maker; /* weft._errors.error(errno, sentence) */
static unsigned long main_thread;
static volatile bool in_child;

/* ---- errors ---- */

PyObject *raise_weft(int error, const char *text)
{
	PyObject *exception = PyObject_CallFunction(error_maker, "is", -error, text);

	if (exception != NULL) {
		PyErr_SetObject((PyObject *)Py_TYPE(OBJECT(exception)), exception);
		Py_DECREF(OBJECT(exception));
	}
	return NULL;
}

PyObject *raise_closed(const char *what)
{
	char text[128];

	PyOS_snprintf(text, sizeof(text), "%s: it has been closed: use it before, or open it again", what);
	return raise_weft(-EBADF, text);
}

static void child_begins(void)
{
	in_child = true;
}

bool forked_quiet(void)
{
	return in_child;
}

bool forked(void)
{
	if (in_child)
		raise_weft(-EPERM, "this process was forked after weft was loaded, and has none of its threads: start Python anew "
			"(multiprocessing: use the spawn method)");
	return in_child;
}

/* ---- arguments ---- */

int to_u64(PyObject *number, void *out)
{
	PyObject *index = PyNumber_Index(number);
	unsigned long long value;

	if (index == NULL)
		return 0;
	value = PyLong_AsUnsignedLongLong(index);
	if (PyErr_Occurred()) {
		PyErr_Clear();
		PyErr_Format(PyExc_ValueError, "%S: offsets, lengths and sizes are numbers from 0 to 2**64 - 1", index);
		Py_DECREF(index);
		return 0;
	}
	Py_DECREF(index);
	*(uint64_t *)out = value;
	return 1;
}

int to_u32(PyObject *number, void *out)
{
	uint64_t value;

	if (!to_u64(number, &value))
		return 0;
	if (value > UINT32_MAX) {
		PyErr_Format(PyExc_ValueError, "%llu: flags, counts and depths are numbers from 0 to 2**32 - 1",
			(unsigned long long)value);
		return 0;
	}
	*(uint32_t *)out = (uint32_t)value;
	return 1;
}

bool to_timeout(PyObject *seconds, uint64_t *ns)
{
	double value;

	*ns = WEFT_FOREVER;
	if (seconds == NULL || seconds == Py_None)
		return true;
	value = PyFloat_AsDouble(seconds);
	if (value == -1.0 && PyErr_Occurred())
		return false;
	if (!(value >= 0)) {
		PyErr_Format(PyExc_ValueError, "timeout %S: use seconds from 0 on, or None: forever", seconds);
		return false;
	}
	if (value < 1e10)
		*ns = (uint64_t)(value * 1e9);
	return true;
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* A signal's handler only leaves a note for the interpreter, which looks at it in the main thread: there we come by. */
#define SLICE_NS 100000000u

uint64_t wait_slice(uint64_t left_ns)
{
	return left_ns > SLICE_NS && PyThread_get_thread_ident() == main_thread ? SLICE_NS : left_ns;
}

/* ---- the module ---- */

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "weft._core",
	.m_doc = "libweft for Python: what the package weft is made of.",
	.m_size = -1,
};

PyTypeObject *instance_type, *device_type, *export_type, *queue_type, *request_type, *memory_type;

static int types_make(PyObject *module)
{
	static const struct {
		PyTypeObject **type;
		PyTypeObject *(*make)(PyObject *module);
		const char *name;
	} types[] = {
		{ &instance_type, instance_type_make, "Instance" }, { &device_type, device_type_make, "Device" },
		{ &export_type, export_type_make, "Export" }, { &queue_type, queue_type_make, "Queue" },
		{ &request_type, request_type_make, "Request" }, { &memory_type, memory_type_make, "Memory" },
	};

	for (size_t i = 0; i < WEFT_COUNT(types); i++) {
		*types[i].type = types[i].make(module);
		if (*types[i].type == NULL || PyModule_AddObjectRef(module, types[i].name, (PyObject *)*types[i].type) != 0)
			return -1;
	}
	return host_types_make(module);
}

static int constants_make(PyObject *module)
{
	static const struct {
		const char *name;
		long value;
	} constants[] = {
		{ "FUA", WEFT_FUA }, { "NO_UNMAP", WEFT_NO_UNMAP }, { "FAST", WEFT_FAST },
		{ "HOLE", WEFT_EXTENT_HOLE }, { "ZERO", WEFT_EXTENT_ZERO }, { "MAX_LEN", WEFT_MAX_LEN },
		{ "IOV_MAX", WEFT_IOV_MAX },
		{ "OPENED", WEFT_EVENT_OPENED }, { "CLOSED", WEFT_EVENT_CLOSED },
		{ "RESIZE", WEFT_EVENT_RESIZE }, { "RESIZED", WEFT_EVENT_RESIZED },
	};

	for (size_t i = 0; i < WEFT_COUNT(constants); i++)
		if (PyModule_AddIntConstant(module, constants[i].name, constants[i].value) != 0)
			return -1;
	return PyModule_AddStringConstant(module, "version", WEFT_VERSION);
}

static int borrow_from_python(void)
{
	PyObject *errors = PyImport_ImportModule("weft._errors"), *threading = PyImport_ImportModule("threading");
	PyObject *thread = threading != NULL ? PyObject_CallMethod(threading, "main_thread", NULL) : NULL;
	PyObject *ident = thread != NULL ? PyObject_GetAttrString(thread, "ident") : NULL;

	if (errors != NULL && ident != NULL) {
		error_maker = PyObject_GetAttrString(errors, "error");
		main_thread = PyLong_AsUnsignedLong(ident);
	}
	Py_XDECREF(ident);
	Py_XDECREF(thread);
	Py_XDECREF(threading);
	Py_XDECREF(errors);
	return error_maker != NULL && !PyErr_Occurred() ? 0 : -1;
}

PyMODINIT_FUNC PyInit__core(void); /* what Python looks for */
PyMODINIT_FUNC PyInit__core(void)
{
	PyObject *module = PyModule_Create(&definition);

	if (module == NULL || borrow_from_python() != 0 || types_make(module) != 0 || constants_make(module) != 0 ||
		pthread_atfork(NULL, NULL, child_begins) != 0) {
		Py_XDECREF(module);
		return NULL;
	}
	return module;
}
