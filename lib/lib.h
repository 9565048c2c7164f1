/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libweft from the inside.
 *
 * Invariants:
 *  L1  Objects, stacks, exports and regions are touched on the control reactor only: whoever wants something of them sends a call
 *      (call.c) and waits, or is told by an event.
 *  L2  What several threads share (lists, counts of open handles, events, areas) is read and written inside the gate. The gate
 *      is never held while a call is waited for.
 *  L3  A reactor, its program notes and its queues are touched by its owner only; others read `mark`, `owner`, `program` and
 *      `uses`, which are single words.
 *  L4  A handle's memory is a handle's as long as the instance is open: closed ones wait in a line, the longest closed is taken
 *      again. So a stale handle is found out and never followed.
 *  L5  A queue's requests outstanding (staged, in flight, ended and not taken) are at most its depth, so its ring of completions
 *      has room; the depths of a reactor's queues are together at most its slots, so there always is a slot.
 */
#ifndef LIB_LIB_H
#define LIB_LIB_H

#include <errno.h>
#include <stdatomic.h>
#include <weft/export.h>
#include <weft/memory.h>
#include <weft/weft.h>

#include "core/core.h"
#include "core/objects.h"
#include "core/reactor.h"
#include "core/region.h"
#include "core/stack.h"
#include "env/env.h"

/* ---- handles (handle.c) ---- */

enum handle_kind { HANDLE_DEVICE, HANDLE_QUEUE, HANDLE_MEMORY, HANDLE_SERVER, HANDLE_KINDS };

struct handle {
	_Atomic uint32_t mark;  /* HANDLE_OPEN + kind, or HANDLE_CLOSED */
	struct weft *weft;
	struct handle *next;    /* of the closed ones */
};
#define HANDLE_OPEN 0x77667430u
#define HANDLE_CLOSED 0x77667463u

/* A zeroed structure of `size` bytes that begins with a handle; not yet open. NULL: no memory. Any thread. */
void *handle_new(struct weft *weft, enum handle_kind kind, size_t size);
void handle_opened(struct handle *handle, enum handle_kind kind);
/* Open or not, it is closed from now on. */
void handle_close(struct handle *handle, enum handle_kind kind);
/* 0; -EINVAL: NULL; -EBADF: closed; with `why`. */
int handle_check(const void *handle, enum handle_kind kind, struct weft_why *why);
static inline bool handle_is(const struct handle *handle, enum handle_kind kind)
{
	return atomic_load_explicit(&handle->mark, memory_order_relaxed) == HANDLE_OPEN + kind;
}

/* ---- events (event.c) ---- */

struct note {
	struct note *next;
	struct weft_event event;
	bool queued;
	bool once;               /* freed when it has been taken */
};
/* Inside the gate. */
void note_put(struct weft *weft, struct note *note);
void note_drop(struct weft *weft, struct note *note);

/* ---- the instance ---- */

/* Registered memory by address: requests find the region of their pieces here. */
struct area {
	const char *base, *end;
	uint16_t region;
};

struct weft {
	struct env *env;
	bool own_env;
	bool caller;                     /* control is the thread that opened the instance */
	const void *owner;               /* that thread's mark */
	struct weft_core *core;
	struct env_gate *gate;
	struct env_notifier *notifier;   /* raised while there are events */
	void (*log)(void *log_self, int level, const char *line);
	void *log_self;
	/* inside the gate */
	struct note *events, **events_tail;
	struct weft_device *devices;
	struct program *programs;
	struct area *areas;              /* by address */
	unsigned nareas;
	unsigned calls, waiting;         /* threads that wait for a call, and for an event */
	bool closing;
	unsigned open[HANDLE_KINDS];
	struct handle *closed[HANDLE_KINDS], **closed_tail[HANDLE_KINDS];
	unsigned nclosed[HANDLE_KINDS];
	/* of all threads */
	_Atomic uint32_t areas_generation;
};

/* In an environment of somebody else's, who closes it: for tests. */
int weft_open_in(struct env *env, const struct weft_settings *settings, struct weft **out, struct weft_why *why);

/* ---- calls of the control side (call.c) ---- */

/* Embedded first by what a call needs further. */
struct call {
	struct weft_msg msg;
	struct weft *weft;
	void (*run)(struct call *call);  /* on the control reactor; ends the call (call_end) now or later */
	void (*ended)(struct call *call);/* begun: on the control reactor, instead of waking the caller */
	struct objects_job job;
	struct weft_why why;
	int status;
	bool done;                       /* inside the gate */
	bool turns;                      /* control may wait for requests of the program's reactors: the caller's take turns */
};
/* May a control call be begun here, on a reactor or not? -EINVAL, -EPERM with `why`. */
int begin_allowed(const struct weft *weft, struct weft_why *why);
/* May one be waited for here, too? The same, and -EDEADLK. */
int call_allowed(const struct weft *weft, struct weft_why *why);
/* Runs it, and waits until it has ended: its status. */
int call_wait(struct weft *weft, struct call *call, struct weft_why *why);
/* Begins it; `ended` is called. */
void call_begin(struct weft *weft, struct call *call);
void call_end(struct call *call, int status);
/* The call whose job has ended. */
static inline struct call *call_of_job(struct weft_task *task) { return WEFT_CONTAINER(task, struct call, job.task); }
/* Ends the call as its job has ended: as job.task.done. */
void call_job_done(struct weft_task *task, int status);

/* ---- devices (device.c) ---- */

struct weft_device {
	struct handle handle;
	struct weft_object *object;
	struct weft_blk *blk;
	struct weft_stack *stack;
	/* inside the gate */
	unsigned queues, servers;
	struct note note;                /* of WEFT_EVENT_RESIZED */
	struct weft_device *next, **link;
};
/* The text as a tree: grammar, or JSON. On the control reactor. */
int device_parse(struct weft *weft, const char *text, const struct weft_iface *wants, struct tree **out, struct weft_why *why);
/* As weft_device_info; while nobody closes the device. */
void device_info(const struct weft_device *device, struct weft_device_info *info);
/* As weft_core.resized. */
void device_resized(void *self, struct weft_blk *blk);

/* ---- the program's reactors (reactor.c) ---- */

/* What the library notes of one. */
struct program {
	struct weft *weft;
	struct weft_reactor *reactor;
	unsigned queues;
	uint32_t reserved;               /* depths of the queues */
	uint32_t ended;                  /* completions that wait in the queues */
	uint64_t sent;                   /* how often what was staged has been sent */
	bool notify, alarm;
	_Atomic bool waits;              /* the owner does, in program_run; read by others */
	/* registered memory as it was at `generation` */
	const struct area *last;         /* that was found */
	uint32_t generation;
	unsigned nareas;
	struct area *areas;              /* REGIONS_MAX of them */
	uint32_t *uses;                  /* by region: pieces in flight; read by others */
	struct program *next, **link;    /* inside the gate */
};
static inline struct program *program_of(const struct weft_reactor *reactor) { return reactor->program; }
/* 0, -EINVAL: NULL, -EBADF: closed, -EPERM: another thread's. */
int reactor_check(const struct weft_reactor *reactor);
/* What those mean. */
const char *reactor_check_text(int error);
/* Turns until *count is at least `enough`, a nudge (0), or the time is over (-ETIMEDOUT). The thread is not on the reactor. */
int program_run(struct program *p, const uint32_t *count, uint32_t enough, uint64_t timeout_ns);
/* One turn, and the descriptor as it has to be. */
void program_turn(struct program *p);
/* Sends what was staged; the same. */
void program_send(struct program *p);
/* The descriptor as it has to be, after something else than a turn or a sending has changed what there is. */
void program_look(struct program *p);

/* ---- queues (queue.c, request.c) ---- */

struct weft_queue {
	struct handle handle;
	struct program *program;
	struct weft_session session;
	struct weft_device *device;
	struct weft_completion *ring;    /* of mask + 1 */
	uint32_t head, ended, mask;
	uint32_t depth, outstanding;
	uint32_t staged;                 /* since `staged_at` was program->sent */
	uint64_t staged_at;
	uint64_t requests, full, outside;
	bool own_reactor;
	const char *refusal;             /* a literal, or why.text */
	struct weft_why why;
};
/* 0, -EINVAL, -EBADF, -EPERM. */
static inline int queue_check(const struct weft_queue *queue)
{
	const struct weft_reactor *reactor;

	if (WEFT_UNLIKELY(queue == NULL))
		return -EINVAL;
	if (WEFT_UNLIKELY(!handle_is(&queue->handle, HANDLE_QUEUE)))
		return -EBADF;
	reactor = queue->session.reactor;
	return WEFT_LIKELY(reactor->owner == env_thread_mark()) ? 0 : -EPERM;
}
static inline uint32_t queue_staged(const struct weft_queue *queue)
{
	return queue->staged_at == queue->program->sent ? queue->staged : 0;
}
/* Until now, what is in memory that requests use is not released. Refreshes the program's areas. */
void areas_refresh(struct program *p);

#endif
