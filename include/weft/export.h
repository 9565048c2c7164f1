/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Protocol servers: what an export component offers as &weft_export_iface; and what it builds on: stacks opened on reactors,
 * sessions,
 * slots.
 */
#ifndef WEFT_EXPORT_H
#define WEFT_EXPORT_H

#include <weft/blk.h>
#include <weft/reactor.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weft_export;

/* Thread: control. Each ends through its task. */
struct weft_export_ops {
	/* Admits nothing more and ends when every session has drained. Devices below may then be rewired. */
	void (*freeze)(struct weft_export *exp, struct weft_task *task);
	/* `exp->device` is (again) what is to be served: reopens the stack and lets the sessions go on. */
	void (*thaw)(struct weft_export *exp, struct weft_task *task);
	/* The device has a new size: tells the clients. */
	void (*resized)(struct weft_export *exp);
	/* A line for each session (weft ctl sessions). Optional. */
	void (*describe)(struct weft_export *exp, weft_describe_put *put, void *self);
};

/* Embedded by an export's instance; its port `device` fills the pointer. */
struct weft_export {
	const struct weft_export_ops *ops;
	struct weft_blk *device;
};
WEFT_API extern const struct weft_iface weft_export_iface;

/* ---- stacks, sessions, slots ---- */

/* Segments that every slot has room for; longer requests borrow a vector of WEFT_VECTOR_SEGS. */
#define WEFT_SLOT_SEGS 8
#define WEFT_VECTOR_SEGS 1280

struct weft_stack;   /* a device opened with all that is below it, on some reactors */
struct weft_session; /* one client (a connection, a vring) on one reactor */

/* weft_slot.in_use: its session, or the end of the server, has aborted the request, and why it ends need not be the device's. */
#define WEFT_SLOT_ABORTED 2u

/* One admitted request. root.scratch is the session's own; the request goes out by weft_hop_down(&slot->root). */
struct weft_slot {
	struct weft_seg *segs;        /* own, or the borrowed vector */
	struct weft_session *session;
	uint64_t tag;                 /* the session's own: e.g. the descriptor head */
	struct weft_slot *next;       /* free list */
	uint32_t room;                /* of segs, entries */
	uint32_t in_use;              /* 0: free; else 1, or WEFT_SLOT_ABORTED */
	struct weft_seg own[WEFT_SLOT_SEGS];
	struct weft_hop root;         /* last: its child lies behind it */
};

/* Opens `device` on every reactor that does I/O: shards of all devices of the stack, slots. Control thread; 0: ends through
 * `task`
 * with *out set (or a failure); -ENOMEM: not begun. The stack holds a reference to the device's object. */
WEFT_API int weft_stack_open(struct weft_core *core, struct weft_blk *device, const char *name, struct weft_stack **out,
	struct weft_task *task);
/* All sessions are gone or drained. Control thread. */
WEFT_API void weft_stack_close(struct weft_stack *stack, struct weft_task *task);
WEFT_API struct weft_blk *weft_stack_device(const struct weft_stack *stack);

struct weft_session {
	struct weft_source source;     /* what its reactor polls; filled by the export */
	struct weft_reactor *reactor;
	struct weft_stack *stack;
	uint32_t slots;                /* in use */
	uint32_t slots_max;            /* its own limit: the ring's size, the queue depth */
	uint64_t waits;                /* how often there was no slot */
	struct weft_session *link[2];
	char name[32];                 /* for paths: "vm#0" */
};

/* Joins a reactor: one slot of the budget is its own from now on. On the reactor. -ENOSPC with `why`: too many sessions for the
 * budget. Adds session->source. */
WEFT_API int weft_session_open(struct weft_session *session, struct weft_reactor *reactor, struct weft_stack *stack,
	struct weft_why *why);
/* No slot is in use. On the reactor. */
WEFT_API void weft_session_close(struct weft_session *session);
/*
 * How many requests, up to `most`, may be started for the session now, so that its stack leaves the others on the reactor room. Who
 * starts what others ask for (a client's ring, a connection) looks before it starts any: they may ask for all there is. A stack
 * that is not alone starts WEFT_SHARE_REQUESTS in a turn, none when its sessions have asked for WEFT_SHARE_BYTES in this turn, and
 * has at most as many slots as it leaves free. 0: the next turn (this one has had work) or a completion will bring more. On the
 * reactor.
 */
#define WEFT_SHARE_REQUESTS 32u
#define WEFT_SHARE_BYTES (16u << 20)
WEFT_API unsigned weft_session_share(struct weft_session *session, unsigned most);
/* The session has started requests for so many bytes since it asked for its share. On the reactor. */
WEFT_API void weft_session_asked(struct weft_session *session, uint64_t bytes);
/* A free slot, or NULL: stop reading the wire until the next turn. On the reactor. */
WEFT_API struct weft_slot *weft_session_slot(struct weft_session *session);
/* Gives slot->segs room for WEFT_VECTOR_SEGS; false: all vectors are out, give the slot back and try in a later turn. */
WEFT_API bool weft_slot_borrow(struct weft_slot *slot);
WEFT_API void weft_slot_give(struct weft_slot *slot);

/* Fills the root with the request and submits it to the stack's device. `segs` (nsegs of them) are slot->segs. done(root,
 * child, status)
 * is where the session answers and gives the slot back. */
WEFT_API void weft_slot_submit(struct weft_slot *slot, unsigned op, unsigned flags, uint64_t offset, uint64_t len,
	unsigned nsegs, weft_hop_done *done);

/* The reactor with the least load among those that do I/O, for a new session. Control thread. */
WEFT_API struct weft_reactor *weft_reactor_pick(struct weft_core *core);
/* The same for a device that lives at one (weft_blk.home): home to the fewest devices; of these the first, so that the same
 * devices, made in the same order, always live at the same. Control thread. */
WEFT_API struct weft_reactor *weft_reactor_pick_home(struct weft_core *core);

#ifdef __cplusplus
}
#endif
#endif
