/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Devices written in Python, between reactors and the thread that runs Python.
 *
 * Invariants:
 *  H1  A reactor never waits for the GIL, nor for a lock that is held with it: it pushes requests onto an atomic stack and raises
 *      a semaphore. Names are looked up on the control thread, under a lock that is never held across Python.
 *  H2  A request belongs to the thread from being pushed until it posts the request's message; then to its reactor.
 *  H3  Python sees a request's memory through views; the request ends when its last view is gone, whoever kept one.
 *  H4  While a device of it is open, a host is neither stopped nor freed.
 */
#ifndef PYTHON_HOST_H
#define PYTHON_HOST_H

#include <semaphore.h>
#include <stdatomic.h>
#include <weft/blk.h>
#include <weft/reactor.h>

#define HOST_NAME_MAX 64

/* One request, in the hop's own reservation. */
struct host_request {
	struct weft_msg msg;
	struct weft_hop *hop;
	struct weft_reactor *reactor;
	struct host_request *next;
	unsigned views; /* that are open, and the thread's own hold; under the GIL */
	int status;
};

struct host {
	/* What the Python object declares; constant, but for size. */
	char name[HOST_NAME_MAX];
	uint64_t size;
	uint32_t block, physical, optimal;
	uint16_t ops;
	bool volatile_cache, rotational, readonly;
	/* The line to the thread. */
	_Atomic(struct host_request *) pushed; /* the newest first */
	_Atomic bool awake;
	_Atomic bool stopped;
	sem_t wake;
	/* under the registry's lock */
	unsigned open;                         /* devices */
	struct host *next;
};

/* All under the registry's lock, none with the GIL needed. */
bool host_add(struct host *host);     /* false: the name is taken */
bool host_remove(struct host *host);  /* false: devices of it are open */
struct host *host_get(const char *name);
void host_put(struct host *host);

/* The thread's side. All that was pushed, the oldest first; NULL: stopped. Waits, without the GIL. */
struct host_request *host_wait(struct host *host);
/* A look without waiting: -EINPROGRESS never; the request goes back to its reactor with request->status. Any thread. */
void host_answer(struct host_request *request);
void host_stop(struct host *host);

#endif
