/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libweft: block devices inside any program. A program opens an instance (struct weft), devices in it by the grammar of the
 * command line, and queues on devices; it stages requests on a queue, submits them together, and takes completions by polling,
 * by waiting, or from its own event loop.
 *
 * Threads: instance, device, memory, export and property calls may come from any thread and take turns. A reactor, and every
 * queue on it, belongs to the thread that opened it (weft_reactor_adopt moves it); a call from another thread ends with -EPERM.
 *
 * Errors: calls return 0 or a count, or -errno. Control calls take a struct weft_why (may be NULL) that then holds one sentence:
 * what was wrong, and what to do about it. Calls of the data path take none: weft_queue_why() has the sentence of the last one
 * that was refused. Every pointer that a call wants may be NULL, and a handle that was closed may be passed again, until the
 * instance is closed (or 32 more of its kind: then the memory may be another handle's): that is refused with -EINVAL or -EBADF.
 *
 * Not after fork(): the child has the memory, but neither the threads nor the rings, which stay the parent's; calls end with
 * -EPERM there.
 */
#ifndef WEFT_WEFT_H
#define WEFT_WEFT_H

#include <sys/uio.h>
#include <weft/blk.h>
#include <weft/log.h>
#include <weft/object.h>
#include <weft/reactor.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weft;        /* an instance: a core, its control, its service reactors. One per process is enough */
struct weft_device; /* an open device, with all that is below it */
struct weft_queue;  /* where one thread asks one device */
struct weft_memory; /* memory that devices can use in place */
struct weft_server; /* an export: a device offered by a protocol */

#define WEFT_FOREVER UINT64_MAX

/* ---- the instance ---- */

enum weft_control {
	WEFT_CONTROL_THREAD, /* a thread of its own (the default) */
	WEFT_CONTROL_CALLER, /* the thread that called weft_open: by weft_control_step, and inside its own control calls */
};

/* Fill by weft_settings_init, then change. */
struct weft_settings {
	uint32_t size;           /* sizeof, by weft_settings_init */
	uint32_t control;        /* enum weft_control */
	uint32_t service;        /* service reactors, a thread each: for exports and devices that live on one reactor; at least 1 */
	uint32_t mode;           /* enum weft_mode of the service reactors: WEFT_MODE_ADAPTIVE */
	uint32_t slots;          /* requests in flight per reactor: 1024 */
	uint32_t log_level;      /* enum weft_log_level: WEFT_LOG_WARN */
	const int *cpus;         /* `service` processors; NULL: anywhere */
	void (*log)(void *log_self, int level, const char *line); /* any thread; NULL: standard error */
	void *log_self;
	bool quiet;              /* nothing is logged */
};
WEFT_API void weft_settings_init(struct weft_settings *settings);

/* `settings` may be NULL. -EINVAL, -ENOMEM, -EMFILE ... */
WEFT_API int weft_open(const struct weft_settings *settings, struct weft **out, struct weft_why *why);
/* Ends the threads and frees all that is left of closed handles. -EBUSY: devices, exports, reactors or memory are open, or another
 * thread is in a call; but who waits for events is sent back. After 0 no call may be made with `weft` or anything that was opened
 * in it. */
WEFT_API int weft_close(struct weft *weft, struct weft_why *why);

/* WEFT_CONTROL_CALLER only, on the thread that called weft_open: does what there is to do for the control side. Then the
 * descriptor becomes readable when there is more. 0 or -errno. */
WEFT_API int weft_control_step(struct weft *weft);
WEFT_API int weft_control_fd(struct weft *weft);

/* More components: the program's own table (it and its kinds stay as long as the instance), or a shared object. */
WEFT_API int weft_module_add(struct weft *weft, const struct weft_module *module, struct weft_why *why);
WEFT_API int weft_module_load(struct weft *weft, const char *path, struct weft_why *why);
/* The n-th kind by name that offers a device (or an export); NULL: there are not so many. */
WEFT_API const struct weft_kind *weft_device_kind(struct weft *weft, unsigned n);
WEFT_API const struct weft_kind *weft_export_kind(struct weft *weft, unsigned n);

/* ---- events: the ends of calls that were begun, and what happens to devices ---- */

enum weft_event_type {
	WEFT_EVENT_OPENED,  /* of weft_device_open_begin: `device` when status is 0 */
	WEFT_EVENT_CLOSED,  /* of weft_device_close_begin */
	WEFT_EVENT_RESIZE,  /* of weft_device_resize_begin */
	WEFT_EVENT_RESIZED, /* `device` has `size` bytes now, whoever changed it; one event for changes in a row */
};
struct weft_event {
	uint32_t type;              /* enum weft_event_type */
	int32_t status;             /* 0 or -errno, then `why` says it */
	void *user_data;            /* of the call */
	struct weft_device *device;
	uint64_t size;              /* bytes */
	struct weft_why why;
};
/* Takes the oldest event: 1, or 0: there is none. Any thread. */
WEFT_API int weft_event_next(struct weft *weft, struct weft_event *event);
/* The same, waiting for one: 0 when the time is over, -ECANCELED: the instance is being closed. Any thread but, with
 * WEFT_CONTROL_CALLER, only that one. */
WEFT_API int weft_event_wait(struct weft *weft, struct weft_event *event, uint64_t timeout_ns);
/* Readable while there are events. The instance's; not to be read. */
WEFT_API int weft_event_fd(struct weft *weft);

/* ---- devices ---- */

/* `text`: a device as the command line writes it ("file:disk.img,direct=on", "slice:[mem:1GiB],offset=4KiB", a URI that some
 * kind knows), or as JSON ("{...}"). */
WEFT_API int weft_device_open(struct weft *weft, const char *text, struct weft_device **out, struct weft_why *why);
/* -EBUSY: queues or exports of it are open. */
WEFT_API int weft_device_close(struct weft_device *device, struct weft_why *why);
/* The same without waiting: 0: ends by an event with `user_data`; else nothing was begun. */
WEFT_API int weft_device_open_begin(struct weft *weft, const char *text, void *user_data, struct weft_why *why);
WEFT_API int weft_device_close_begin(struct weft_device *device, void *user_data, struct weft_why *why);

struct weft_device_info {
	uint64_t size;           /* bytes */
	uint32_t block;          /* offsets and lengths are multiples of it, bytes */
	uint32_t physical;       /* physical block, bytes */
	uint32_t optimal;        /* optimal transfer, bytes; 0: unknown */
	uint32_t align;          /* memory that begins so is used in place, bytes; other memory works, too */
	uint32_t max_len;        /* longer requests are split, bytes */
	uint32_t max_segs;       /* more pieces are split or copied */
	uint32_t discard_align;  /* granularity of discards, bytes */
	uint32_t ops;            /* WEFT_OP_BIT()s that can be asked for, emulated ones included */
	uint32_t ops_own;        /* those that the device does itself */
	uint32_t flags_own;      /* enum weft_flag that it honours itself; WEFT_FUA and WEFT_NO_UNMAP always work */
	bool readonly;
	bool volatile_cache;     /* acknowledged writes need a flush, or WEFT_FUA, to survive loss of power */
	bool rotational;
	char name[64];           /* among the instance's objects: "file0" */
	uint32_t max_compare;    /* longest compare-and-write, bytes; 0: the device has none */
};
WEFT_API int weft_device_info(struct weft_device *device, struct weft_device_info *info);
/* -ENOTSUP: this device cannot. It becomes smaller when the requests in flight have ended: those of the calling thread's reactors,
 * which take turns meanwhile; the others' when they are polled. Queues with nothing in flight need not be. */
WEFT_API int weft_device_resize(struct weft_device *device, uint64_t size, struct weft_why *why);
WEFT_API int weft_device_resize_begin(struct weft_device *device, uint64_t size, void *user_data, struct weft_why *why);
/* Counters and latencies of the device, of all its queues and exports. */
WEFT_API int weft_device_stats(struct weft_device *device, struct weft_stats *stats);

/* ---- properties: what can be said of a device or a queue, and changed ---- */

enum weft_access { WEFT_ACCESS_READ = 1, WEFT_ACCESS_WRITE = 2 };
enum weft_stage {
	WEFT_STAGE_OPENING = 1, /* can be set in the text that opens it */
	WEFT_STAGE_OPEN = 2,    /* can be read once it is open */
	WEFT_STAGE_LIVE = 4,    /* can be set while it is open */
};
struct weft_property {
	char name[64];          /* "direct"; of a device below, behind its port and place: "device.direct", "leg.1.path" */
	const char *type;       /* "SIZE", "UINT", "on|off", "PATH", a choice's list "auto|on|off" */
	const char *fallback;   /* the default as a user would write it; NULL: none */
	const char *help;       /* one line */
	uint32_t access;        /* enum weft_access bits, now */
	uint32_t stage;         /* enum weft_stage bits */
};
/* The n-th: 1, or 0: there are not so many. Options first, then limits and other facts. */
WEFT_API int weft_device_property(struct weft_device *device, unsigned n, struct weft_property *out);
/* Its value as text. Its length; `size` bytes of it are stored, NUL-terminated (text may be NULL when size is 0). -ENOENT. */
WEFT_API int weft_device_get(struct weft_device *device, const char *name, char *text, size_t size, struct weft_why *why);
WEFT_API int weft_device_set(struct weft_device *device, const char *name, const char *text, struct weft_why *why);
/* Before it is open: the options of a kind. */
WEFT_API int weft_kind_property(const struct weft_kind *kind, unsigned n, struct weft_property *out);

WEFT_API int weft_queue_property(struct weft_queue *queue, unsigned n, struct weft_property *out);
WEFT_API int weft_queue_get(struct weft_queue *queue, const char *name, char *text, size_t size, struct weft_why *why);

/* ---- reactors: event loops of the program's own threads ---- */

/* Fill by weft_reactor_settings_init, then change. */
struct weft_reactor_settings {
	uint32_t size;  /* sizeof, by weft_reactor_settings_init */
	uint32_t mode;  /* enum weft_mode, how weft_reactor_wait and weft_queue_wait wait: WEFT_MODE_ADAPTIVE */
	uint32_t slots; /* requests in flight of all queues together; 0: as the instance has it */
	bool bound;     /* polled and waited for on one thread only: no descriptor, no adopting; io_uring costs less then */
};
WEFT_API void weft_reactor_settings_init(struct weft_reactor_settings *settings);

/* A reactor of the calling thread. `settings` may be NULL. -ENOSPC: there are as many as an instance can have. */
WEFT_API int weft_reactor_open(struct weft *weft, const struct weft_reactor_settings *settings, struct weft_reactor **out,
	struct weft_why *why);
/* -EBUSY: queues are open on it. */
WEFT_API int weft_reactor_close(struct weft_reactor *reactor, struct weft_why *why);
/* The calling thread owns the reactor from now on; its owner until now makes no call meanwhile. -EPERM: it is `bound`; -EBUSY: its
 * owner is waiting on it. */
WEFT_API int weft_reactor_adopt(struct weft_reactor *reactor, struct weft_why *why);
WEFT_API int weft_reactor_mode(struct weft_reactor *reactor, enum weft_mode mode);

/* One turn; never sleeps. How many completions wait in the reactor's queues, or -errno. */
WEFT_API int weft_reactor_poll(struct weft_reactor *reactor);
/* Turns until a completion waits in one of its queues, weft_reactor_wake, or the time is over. As weft_reactor_poll. */
WEFT_API int weft_reactor_wait(struct weft_reactor *reactor, uint64_t timeout_ns);
/* Ends the present or the next weft_reactor_wait or weft_queue_wait, and makes the descriptor readable. Any thread. */
WEFT_API int weft_reactor_wake(struct weft_reactor *reactor);
/* For the program's own event loop: a descriptor that is readable, while weft_reactor_notify is enabled, whenever a poll would
 * find something: a completion, or a turn that is due. The reactor's; not to be read: polling clears it. io_uring may interrupt
 * who sleeps on it (EINTR: sleep again). -ENOTSUP: it is `bound`. */
WEFT_API int weft_reactor_fd(struct weft_reactor *reactor);
/* Disabled (the default), nobody need notify us, which is cheaper for who polls or waits. 0 or -errno. */
WEFT_API int weft_reactor_notify(struct weft_reactor *reactor, bool enable);
/* Why the last call with `reactor` was refused. Any thread. Never NULL. */
WEFT_API const char *weft_reactor_why(struct weft_reactor *reactor);

/* ---- queues ---- */

/* Fill by weft_queue_settings_init, then change. */
struct weft_queue_settings {
	uint32_t size;  /* sizeof, by weft_queue_settings_init */
	uint32_t depth; /* requests staged, in flight or not yet taken: 128 */
};
WEFT_API void weft_queue_settings_init(struct weft_queue_settings *settings);

/* A queue on a reactor of this thread; NULL: on one of its own. Any number on one reactor and one device, at any time. */
WEFT_API int weft_queue_open(struct weft_device *device, struct weft_reactor *reactor, const struct weft_queue_settings *settings,
	struct weft_queue **out, struct weft_why *why);
/* -EBUSY: requests are in flight. Completions that were not taken are dropped. */
WEFT_API int weft_queue_close(struct weft_queue *queue, struct weft_why *why);

struct weft_completion {
	void *user_data;
	int32_t status;    /* 0: all of it was done; -errno */
	uint32_t reserved;
};

/*
 * Requests. Each stages one, which may begin at once and is sure to have begun after weft_queue_submit or the next poll or wait.
 * Memory stays the device's until the completion was taken. 0, or -errno and nothing was staged: -EAGAIN: the queue is full
 * (take completions), -EINVAL: flags, pieces, pointers, -EPERM: not this thread's queue. What is wrong with the request itself
 * (-ERANGE beyond the device, -EINVAL not whole blocks, -EROFS, -EOPNOTSUPP) is told by its completion. flags: enum weft_flag.
 */
WEFT_API int weft_queue_read(struct weft_queue *queue, uint64_t offset, void *buf, size_t len, void *user_data, unsigned flags);
WEFT_API int weft_queue_write(struct weft_queue *queue, uint64_t offset, const void *buf, size_t len, void *user_data,
	unsigned flags);
/* At most WEFT_IOV_MAX pieces; the array itself is not needed afterwards. */
#define WEFT_IOV_MAX 1280
WEFT_API int weft_queue_readv(struct weft_queue *queue, uint64_t offset, const struct iovec *iov, unsigned iovcnt, void *user_data,
	unsigned flags);
WEFT_API int weft_queue_writev(struct weft_queue *queue, uint64_t offset, const struct iovec *iov, unsigned iovcnt,
	void *user_data, unsigned flags);
/* All writes whose completions were taken before are durable afterwards. */
WEFT_API int weft_queue_flush(struct weft_queue *queue, void *user_data, unsigned flags);
WEFT_API int weft_queue_discard(struct weft_queue *queue, uint64_t offset, uint64_t len, void *user_data, unsigned flags);
/* The range reads as zeroes afterwards. WEFT_NO_UNMAP: space stays allocated; WEFT_FAST: -EOPNOTSUPP rather than writing them. */
WEFT_API int weft_queue_zero(struct weft_queue *queue, uint64_t offset, uint64_t len, void *user_data, unsigned flags);
/* Atomically: `write` is written if the device holds `compare`, both of `len` bytes; else -EILSEQ, and nothing is. Of the devices
 * `compare-write:[DEVICE]` has it. -EOPNOTSUPP: this one does not; -EMSGSIZE: more than max_compare bytes. */
WEFT_API int weft_queue_compare_write(struct weft_queue *queue, uint64_t offset, const void *compare, const void *write, size_t len,
	void *user_data, unsigned flags);
/* Within the device, from `source` to `offset`. Ranges that overlap: -EINVAL, where the device does not copy by itself. */
WEFT_API int weft_queue_copy(struct weft_queue *queue, uint64_t offset, uint64_t source, uint64_t len, void *user_data,
	unsigned flags);
/* What is allocated and what is zero, in order from `offset`; an entry with len 0 ends the list. */
WEFT_API int weft_queue_status(struct weft_queue *queue, uint64_t offset, uint64_t len, struct weft_extent *extents, unsigned count,
	void *user_data, unsigned flags);

/* Sends what was staged. How many that were, or -errno. */
WEFT_API int weft_queue_submit(struct weft_queue *queue);
/* Takes up to `max` completions, and a turn of the reactor when there are none yet. How many, or -errno. */
WEFT_API int weft_queue_poll(struct weft_queue *queue, struct weft_completion *completions, unsigned max);
/* The same until there are `min` (of those outstanding, if they are fewer), the time is over, or weft_reactor_wake. */
WEFT_API int weft_queue_wait(struct weft_queue *queue, struct weft_completion *completions, unsigned min, unsigned max,
	uint64_t timeout_ns);

/* Asks the requests with this user_data (all requests) to end sooner: with -ECANCELED, or as they would have ended. Each still
 * has its completion. How many were asked, or -errno. */
WEFT_API int weft_queue_cancel(struct weft_queue *queue, void *user_data);
WEFT_API int weft_queue_cancel_all(struct weft_queue *queue);
/* Until nothing is in flight; completions stay to be taken. 0, -ETIMEDOUT. */
WEFT_API int weft_queue_drain(struct weft_queue *queue, uint64_t timeout_ns);

WEFT_API struct weft_reactor *weft_queue_reactor(struct weft_queue *queue);
WEFT_API struct weft_device *weft_queue_device(struct weft_queue *queue);
/* For weft_reactor_fd(weft_queue_reactor()), weft_reactor_notify(...): the queue's own, or shared with other queues. */
WEFT_API int weft_queue_fd(struct weft_queue *queue);
WEFT_API int weft_queue_notify(struct weft_queue *queue, bool enable);

struct weft_queue_info {
	uint32_t depth;
	uint32_t staged, in_flight, ended; /* not yet sent; with the device; not yet taken */
	uint64_t requests, full;           /* so far; how often it was full */
	uint64_t outside;                  /* pieces in memory that is not registered */
};
WEFT_API int weft_queue_info(struct weft_queue *queue, struct weft_queue_info *info);
/* The sentence of the last call with `queue` that was refused; valid until the next one. On the queue's thread. Never NULL. */
WEFT_API const char *weft_queue_why(struct weft_queue *queue);

/* ---- memory ---- */

enum weft_memory_flag { WEFT_MEMORY_PIN = 1 /* fixed buffers of every reactor's ring: saves work per request, locks the memory */ };

/* Zeroed, aligned to 4096, shareable with servers (vhost-user) that so read and write it in place. */
WEFT_API int weft_memory_alloc(struct weft *weft, uint64_t size, unsigned flags, struct weft_memory **out, struct weft_why *why);
/* [offset, offset + size) of a descriptor, mapped and shared. `fd` stays the caller's, who may close it at once. */
WEFT_API int weft_memory_map(struct weft *weft, int fd, uint64_t offset, uint64_t size, unsigned flags, struct weft_memory **out,
	struct weft_why *why);
/* Memory of the program's own; `fd` (-1: none) and `fd_offset` say what it is a mapping of. Both stay the caller's: the memory
 * until after weft_memory_release, the descriptor may be closed at once. */
WEFT_API int weft_memory_register(struct weft *weft, void *base, uint64_t size, int fd, uint64_t fd_offset, unsigned flags,
	struct weft_memory **out, struct weft_why *why);
/* -EBUSY: requests use it: staged or in flight, by this thread, or by another before it let this one know. As with free(), no
 * thread stages requests in it meanwhile: a request that is staged during the call may be overlooked. */
WEFT_API int weft_memory_release(struct weft_memory *memory, struct weft_why *why);
WEFT_API void *weft_memory_base(const struct weft_memory *memory);
WEFT_API uint64_t weft_memory_size(const struct weft_memory *memory);
/* What it is a mapping of: to be sent to others; stays owned by `memory`. -1: nothing. */
WEFT_API int weft_memory_fd(const struct weft_memory *memory);

/* ---- exports ---- */

/* Serves `device` where `text` says ("vhost-user:/run/vm.sock"), on the service reactors. */
WEFT_API int weft_export_open(struct weft *weft, const char *text, struct weft_device *device, struct weft_server **out,
	struct weft_why *why);
WEFT_API int weft_export_close(struct weft_server *server, struct weft_why *why);

#ifdef __cplusplus
}
#endif
#endif
