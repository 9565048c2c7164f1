/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Batches: many reads or writes of the same length in one call, offsets[i] from or to the i-th piece of one buffer. The GIL is away
 * for all of it. Their completions are told from those of single requests by user_data, which is odd.
 */
#include "python/module.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

/* A result that is not there yet. */
#define PENDING INT32_MIN
/* So often the main thread looks for signals, in requests. */
#define LOOK 65536u

struct batch {
	struct queue *queue;
	Py_buffer data, given, told; /* the buffer; offsets and results, when they are buffers */
	const uint64_t *offsets;
	uint64_t *own_offsets;
	int32_t *results, *own_results;
	size_t count, next, ended, in_flight, failed;
	uint64_t length;
	unsigned flags;
	bool write, stopping;
	int error;                   /* the queue's own: no more is staged */
};

/* ---- arguments ---- */

static bool offsets_from_numbers(struct batch *b, PyObject *object)
{
	Py_ssize_t count = PySequence_Size(object);

	if (count < 0)
		return false;
	b->own_offsets = PyMem_Malloc((size_t)count * sizeof(uint64_t) + 1);
	if (b->own_offsets == NULL) {
		PyErr_NoMemory();
		return false;
	}
	for (Py_ssize_t i = 0; i < count; i++) {
		PyObject *one = PySequence_GetItem(object, i);
		int good = one != NULL && to_u64(one, &b->own_offsets[i]);

		Py_XDECREF(one);
		if (!good)
			return false;
	}
	b->offsets = b->own_offsets;
	b->count = (size_t)count;
	return true;
}

/* A buffer of 64-bit numbers is used as it is, other sequences are converted. */
static bool offsets_get(struct batch *b, PyObject *object)
{
	if (!PyObject_CheckBuffer(object))
		return offsets_from_numbers(b, object);
	if (PyObject_GetBuffer(object, &b->given, PyBUF_ND | PyBUF_FORMAT) != 0)
		return false;
	if (b->given.itemsize != sizeof(uint64_t) || b->given.format == NULL || strchr("QqLlNn", b->given.format[0]) == NULL) {
		PyErr_SetString(PyExc_ValueError, "offsets: use a list of numbers, or a buffer of 64-bit ones: array('Q')");
		return false;
	}
	b->offsets = b->given.buf;
	b->count = (size_t)b->given.len / sizeof(uint64_t);
	return true;
}

static bool results_get(struct batch *b, PyObject *object)
{
	if (object == Py_None) {
		b->results = b->own_results = PyMem_Malloc(b->count * sizeof(int32_t) + 1);
		if (b->results == NULL)
			PyErr_NoMemory();
		return b->results != NULL;
	}
	if (PyObject_GetBuffer(object, &b->told, PyBUF_ND | PyBUF_WRITABLE | PyBUF_FORMAT) != 0)
		return false;
	if (b->told.itemsize != sizeof(int32_t) || b->told.format == NULL || strchr("il", b->told.format[0]) == NULL ||
		(size_t)b->told.len / sizeof(int32_t) < b->count) {
		PyErr_Format(PyExc_ValueError, "results: use a buffer of at least %zu 32-bit numbers: array('i')", b->count);
		return false;
	}
	b->results = b->told.buf;
	return true;
}

static bool lengths_fit(const struct batch *b)
{
	if (b->length == 0 || b->length > WEFT_MAX_LEN)
		PyErr_Format(PyExc_ValueError, "length %llu: use 1 to %u bytes, weft.MAX_LEN", (unsigned long long)b->length,
			WEFT_MAX_LEN);
	else if ((uint64_t)b->data.len / b->length < b->count)
		PyErr_Format(PyExc_ValueError, "buffer: %zd bytes for %zu requests of %llu: pass count * length bytes", b->data.len,
			b->count, (unsigned long long)b->length);
	else
		return true;
	return false;
}

static bool arguments(struct batch *b, PyObject *args, PyObject *names)
{
	static char *keys[] = { "offsets", "buffer", "length", "results", "flags", NULL };
	PyObject *offsets, *buffer, *results = Py_None;

	if (!PyArg_ParseTupleAndKeywords(args, names, "OOO&|O$O&:batch", keys, &offsets, &buffer, to_u64, &b->length, &results,
		to_u32, &b->flags))
		return false;
	return offsets_get(b, offsets) && PyObject_GetBuffer(buffer, &b->data, b->write ? PyBUF_SIMPLE : PyBUF_WRITABLE) == 0 &&
		lengths_fit(b) && results_get(b, results);
}

static void let_go(struct batch *b)
{
	PyMem_Free(b->own_offsets);
	PyMem_Free(b->own_results);
	PyBuffer_Release(&b->given); /* those that were not got are NULL */
	PyBuffer_Release(&b->told);
	PyBuffer_Release(&b->data);
}

/* ---- without the GIL ---- */

static void end_one(struct batch *b, size_t index, int status)
{
	WEFT_ASSERT(index < b->count && b->ended < b->count && b->results[index] == PENDING);
	b->results[index] = status;
	b->failed += status != 0;
	b->ended++;
}

static bool stage_one(struct batch *b)
{
	struct queue *q = b->queue;
	void *tag = (void *)((uintptr_t)b->next << 1 | 1);
	char *at = (char *)b->data.buf + b->next * b->length;
	int error;

	b->results[b->next] = PENDING;
	if (b->write)
		error = weft_queue_write(q->handle, b->offsets[b->next], at, b->length, tag, b->flags);
	else
		error = weft_queue_read(q->handle, b->offsets[b->next], at, b->length, tag, 0);
	if (error != 0) {
		b->error = error == -EAGAIN ? 0 : error;
		return false;
	}
	b->in_flight++;
	b->next++;
	return true;
}

static void stage(struct batch *b)
{
	size_t room = b->queue->depth - b->queue->outstanding;

	while (!b->stopping && b->error == 0 && b->next < b->count && b->in_flight < room && stage_one(b))
		continue;
}

static int collect(struct batch *b, uint64_t timeout_ns)
{
	struct queue *q = b->queue;
	int n = weft_queue_wait(q->handle, q->taken, 1, q->depth, timeout_ns);

	for (int i = 0; i < n; i++) {
		uintptr_t tag = (uintptr_t)q->taken[i].user_data;

		if ((tag & 1) == 0) {
			WEFT_ASSERT(q->ndone < q->depth);
			q->done[q->ndone++] = q->taken[i];
			continue;
		}
		end_one(b, tag >> 1, q->taken[i].status);
		b->in_flight--;
	}
	return n;
}

/* Until all have ended, or it is time to look for signals. */
static void run(struct batch *b)
{
	size_t until = b->ended + LOOK;
	int n = 1;

	do {
		stage(b);
		if (b->in_flight > 0)
			n = collect(b, wait_slice(WEFT_FOREVER));
	} while (b->in_flight > 0 && n > 0 && b->ended < until);
}

/* ---- with it ---- */

static void stop(struct batch *b)
{
	b->stopping = true;
	for (size_t i = 0; i < b->next; i++)
		if (b->results[i] == PENDING)
			weft_queue_cancel(b->queue->handle, (void *)((uintptr_t)i << 1 | 1));
}

/* 0, or -1 with an exception; either way nothing of the batch is in flight. */
static int run_all(struct batch *b)
{
	PyObject *type = NULL, *error = NULL, *traceback = NULL;

	b->queue->busy = true;
	do {
		Py_BEGIN_ALLOW_THREADS
		run(b);
		Py_END_ALLOW_THREADS
		if (!b->stopping && PyErr_CheckSignals() != 0) {
			PyErr_Fetch(&type, &error, &traceback);
			stop(b);
		}
	} while (b->in_flight > 0 || (!b->stopping && b->error == 0 && b->next < b->count && b->ended == b->next));
	b->queue->busy = false;
	PyErr_Restore(type, error, traceback);
	return type == NULL ? 0 : -1;
}

static PyObject *first_error(const struct batch *b)
{
	char text[160];
	size_t i = 0;

	while (b->results[i] == 0)
		i++;
	PyOS_snprintf(text, sizeof(text), "%s of %llu bytes at %llu, the %zu. of a batch (%zu failed)", b->write ? "WRITE" : "READ",
		(unsigned long long)b->length, (unsigned long long)b->offsets[i], i, b->failed);
	return raise_weft(b->results[i], text);
}

static PyObject *outcome(struct batch *b)
{
	if (b->error != 0)
		return queue_refused(b->queue, b->error);
	if (b->failed > 0 && b->own_results != NULL)
		return first_error(b);
	return PyLong_FromSize_t(b->failed);
}

PyObject *queue_batch(struct queue *queue, PyObject *args, PyObject *names, bool write)
{
	struct batch b = { .queue = queue, .write = write };
	PyObject *result = NULL;

	if (arguments(&b, args, names) && queue_enter(queue)) {
		if (queue->outstanding >= queue->depth)
			raise_weft(-EAGAIN, "the queue is full: take completions (poll, wait), or open it with more depth");
		else if (run_all(&b) == 0)
			result = outcome(&b);
	}
	let_go(&b);
	return result;
}
