/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Python module's inside: weft._core, on libweft and nothing else of the project. Stable ABI of Python 3.11.
 *
 * Invariants:
 *  P1  The GIL is given away around every call that can wait: all control calls, turns of a reactor, waits. Staging a request
 *      does not wait. So no thread of the library ever waits for a thread that waits for it.
 *  P2  A buffer that the library may touch is exported from before its request is staged until the request's completion was
 *      taken, and its owner cannot move, shrink or free it meanwhile. Requests in flight are referenced by their queue.
 *  P3  A queue is in one call at a time (`busy`), although the GIL is away: others are refused with EBUSY.
 *  P4  A queue that is dropped cancels what is in flight and waits for it; nothing is torn down under a request.
 *  P5  In a child after fork() no call reaches the library, and handles are forgotten.
 *  P6  An instance is not closed while a call of it is under way in another thread.
 *  P7  What was begun is linked in its instance until its event was taken, or the instance is gone: so its tag is let go, once.
 */
#ifndef PYTHON_MODULE_H
#define PYTHON_MODULE_H

#include <Python.h>
#include <stdbool.h>
#include <weft/weft.h>

/* A call that ends by an event, whose user_data this is. */
struct begun {
	PyObject *tag; /* a reference */
	struct begun *next, **link; /* of the instance's */
};

struct instance {
	PyObject_HEAD
	struct weft *weft; /* NULL: closed */
	unsigned calls;    /* under way without the GIL */
	struct device *devices;
	struct begun *begun;
};
/* Around calls that can wait: the GIL is away, the instance stays (P1, P6). */
#define WAITING_BEGIN(instance) (instance)->calls++; Py_BEGIN_ALLOW_THREADS
#define WAITING_END(instance) Py_END_ALLOW_THREADS (instance)->calls--;

struct device {
	PyObject_HEAD
	struct instance *instance;
	struct weft_device *handle; /* NULL: closed */
	struct device *next, **link; /* of the instance's open ones */
};

struct export {
	PyObject_HEAD
	PyObject *device;
	struct weft_server *handle; /* NULL: closed */
};

struct request;
struct queue {
	PyObject_HEAD
	PyObject *device;
	struct instance *instance; /* keeps it alive */
	struct weft_queue *handle; /* NULL: closed */
	bool busy;
	uint32_t depth;
	uint32_t outstanding;      /* staged, in flight, or ended and not delivered: at most depth */
	struct request *requests;  /* those, each with a reference */
	/* Ended and not delivered; written without the GIL while `busy`. */
	struct weft_completion *done, *taken;
	uint32_t ndone;
};

/* A docstring that help() and inspect.signature() take apart: "name($self, /, parameters)", and a sentence. */
#define SIGNATURE(call, text) call "\n--\n\n" text
/* The same of a type, as one of its slots: "Name(parameters)". */
#define TYPE_SIGNATURE(call) { Py_tp_doc, (void *)(uintptr_t)SIGNATURE(call, "") }
#define OBJECT(x) ((PyObject *)(void *)(x))
/* Zeroed, but for what Python wants; NULL with an exception. */
static inline void *object_alloc(PyTypeObject *type)
{
	return ((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
}
/* The end of a dealloc. */
static inline void object_free(void *self)
{
	PyTypeObject *type = Py_TYPE(OBJECT(self));

	((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
	Py_DECREF(OBJECT(type));
}

/* What the module makes when it is loaded, once per process. */
extern PyTypeObject *instance_type, *device_type, *export_type, *queue_type, *request_type, *memory_type;
PyTypeObject *instance_type_make(PyObject *module);
PyTypeObject *device_type_make(PyObject *module);
PyTypeObject *export_type_make(PyObject *module);
PyTypeObject *queue_type_make(PyObject *module);
PyTypeObject *request_type_make(PyObject *module);
PyTypeObject *memory_type_make(PyObject *module);
int host_types_make(PyObject *module);

/* The kind `python`: devices whose work is done by Python (host.c). */
extern const struct weft_module host_module;

/* ---- errors and arguments (module.c) ---- */

/* Raises the OSError that belongs to `error` (-errno) with the sentence. NULL. */
PyObject *raise_weft(int error, const char *text);
/* `error` of a closed handle. */
PyObject *raise_closed(const char *what);
/* True after fork() in the child; raises. */
bool forked(void);
bool forked_quiet(void);
/* For PyArg_Parse's "O&": a number from 0 on, of 64 bits; ValueError that names what is wrong. */
int to_u64(PyObject *number, void *out);
/* The same of 32 bits. */
int to_u32(PyObject *number, void *out);
/* Seconds, None: forever -> ns; false with an exception. */
bool to_timeout(PyObject *seconds, uint64_t *ns);
/* The main thread is to see signals, while it waits: at most so long at a time. */
uint64_t wait_slice(uint64_t left_ns);
uint64_t now_ns(void);

/* ---- what ends by an event (instance.c) ---- */

/* NULL with an exception. */
struct begun *begun_new(struct instance *instance, PyObject *tag);
/* Its event was taken, or will not come: the tag's reference is the caller's. */
PyObject *begun_end(struct begun *begun);

/* ---- devices ---- */

/* Takes over the handle. NULL: an exception, the handle is closed. */
PyObject *device_new(PyTypeObject *type, struct instance *instance, struct weft_device *handle);
PyObject *memory_new_alloc(struct instance *instance, uint64_t size, unsigned flags);
PyObject *memory_new_map(struct instance *instance, int fd, uint64_t offset, uint64_t size, unsigned flags);
PyObject *memory_new_register(struct instance *instance, PyObject *buffer, unsigned flags);
/* "SIZE" and so on -> a dict of one property. */
PyObject *property_dict(const struct weft_property *property);

/* ---- requests (request.c) ---- */

struct request {
	PyObject_HEAD
	struct queue *queue;       /* borrowed; NULL: delivered */
	struct request *next, **link; /* of the queue's */
	PyObject *tag;             /* the program's own, NULL: none */
	PyObject *value;           /* what result() gives; NULL: None */
	Py_buffer *views, own[2];  /* exported while in flight */
	unsigned nviews;
	uint8_t op;
	uint64_t offset, len;
	int32_t status;
};
/* Stages it; a new reference, or NULL with an exception. */
PyObject *request_read(struct queue *queue, PyObject *args, PyObject *names);
PyObject *request_readinto(struct queue *queue, PyObject *args, PyObject *names);
PyObject *request_write(struct queue *queue, PyObject *args, PyObject *names);
PyObject *request_compare_write(struct queue *queue, PyObject *args, PyObject *names);
PyObject *request_flush(struct queue *queue, PyObject *args, PyObject *names);
PyObject *request_discard(struct queue *queue, PyObject *args, PyObject *names);
PyObject *request_zero(struct queue *queue, PyObject *args, PyObject *names);
PyObject *request_copy(struct queue *queue, PyObject *args, PyObject *names);
PyObject *request_status(struct queue *queue, PyObject *args, PyObject *names);
/* Its completion was taken: buffers are let go, the queue's reference is the caller's now. */
void request_ended(struct request *request, int status);

/* ---- queues (queue.c) ---- */

/* A call may begin: open, not busy, not after fork. False with an exception. */
bool queue_enter(struct queue *queue);
/* The library refused something: raises with its sentence. */
PyObject *queue_refused(struct queue *queue, int error);
/* Turns without the GIL until `enough` completions wait in queue->done, or the time is over. 0; -1 with an exception (a signal's
 * handler raised). */
int queue_run(struct queue *queue, uint32_t enough, uint64_t timeout_ns, const struct request *until);
/* The request's completion, if it waits in queue->done, is taken out and delivered: its reference; or NULL, no exception. */
struct request *queue_pick(struct queue *queue, const struct request *request);
PyObject *queue_batch(struct queue *queue, PyObject *args, PyObject *names, bool write);

#endif
