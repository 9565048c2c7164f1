/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The only door to the kernel, the clock, threads and randomness. Two implementations: env/linux and env/sim. Everything above is
 * written against these nouns: loop, medium, stream, shared memory, notifier, worker, clock, randomness.
 *
 * A `struct env` is one node's world: a process has one, a simulation has many. Descriptors (`int fd`) are the environment's:
 * only
 * env_* functions may be called on them. Errors are 0 or -errno, with `why` on control paths.
 */
#ifndef ENV_ENV_H
#define ENV_ENV_H

#include <weft/base.h>
#include <weft/hop.h>

struct env;
struct env_loop;
struct env_medium;
struct env_stream;
struct env_listener;
struct env_notifier;
struct env_mapping;
struct env_io;

#define ENV_FOREVER UINT64_MAX
/* What a step function returns to be called no more. */
#define ENV_STOP (UINT64_MAX - 1)

/* ---- memory (any thread) ---- */
void *env_alloc(struct env *env, size_t align, size_t size); /* zeroed; NULL when there is none */
void env_free(struct env *env, void *memory);

/* ---- clock and randomness (any thread) ---- */
uint64_t env_now_ns(struct env *env);    /* monotonic */
uint64_t env_random(struct env *env);    /* for seeds only */
uint64_t env_wall_ns(struct env *env);   /* since 1970, for logs only */

/* ---- log sink (any thread) ---- */
void env_log_line(struct env *env, int level, const char *line); /* one line without its end */

/* ---- loop: one per reactor; I/O ring, wake-up, waiting. All on the thread that steps the reactor, but env_loop_open and
 * env_loop_close (control thread, before that thread starts and after it has been joined) and env_loop_wake (any). ---- */
struct env_loop_stats {
	uint64_t system_calls, sleeps, wakes, completions, submissions;
	uint64_t in_flight; /* transfers that have not ended */
};
int env_loop_open(struct env *env, struct env_loop **out, struct weft_why *why);
/* The same, for a loop that has a descriptor (env_loop_fd), and that other threads may go on with: one after the other, each after
 * the one before has stopped. Costs a little more. */
int env_loop_open_movable(struct env *env, struct env_loop **out, struct weft_why *why);
/* The thread that has run the loop, and runs it no more, takes back what it holds for it; on that thread, unless that was
 * env_thread_start's or the same one closes it. */
void env_loop_leave(struct env_loop *loop);
void env_loop_close(struct env_loop *loop);
/* Delivers what has completed (env_io.done, watches, accepts); never sleeps. True if there was anything. */
bool env_loop_poll(struct env_loop *loop);
/* Sends what was gathered by env_medium_submit: at most one system call. */
void env_loop_submit(struct env_loop *loop);
/* Submits, then sleeps until something completes, env_loop_wake, or timeout_ns (ENV_FOREVER) have passed; rarely, for less. */
void env_loop_wait(struct env_loop *loop, uint64_t timeout_ns);
/* Ends the present or the next env_loop_wait. Any thread; async-signal-safe. */
void env_loop_wake(struct env_loop *loop);
/* A descriptor that polls readable when env_loop_poll would find something: for a program's own event loop. Of a movable loop;
 * else -ENOTSUP is allowed. Who sleeps on it may be interrupted (EINTR) when something has come. */
int env_loop_fd(struct env_loop *loop);
/* Makes that descriptor readable once in `after_ns` from now, instead of what was asked before; ENV_FOREVER: not at all. */
int env_loop_alarm(struct env_loop *loop, uint64_t after_ns);
void env_loop_stats(const struct env_loop *loop, struct env_loop_stats *out);
/* Measured cost of going to sleep and being woken, ns: for the adaptive mode. */
uint64_t env_loop_wake_cost_ns(const struct env_loop *loop);
/* Makes [base, base + size) a fixed buffer for media of this loop, known as `region`. -ENOTSUP, -ENOMEM (limit) ... */
int env_loop_pin(struct env_loop *loop, unsigned region, void *base, uint64_t size, struct weft_why *why);
void env_loop_unpin(struct env_loop *loop, unsigned region);

/* ---- threads: linux: a thread that calls step and waits as it says; sim: the simulator steps it ---- */
/* step returns 0 (call again at once), how long to wait at most (ns, ENV_FOREVER), or ENV_STOP. cpu < 0: any. */
typedef uint64_t env_step_fn(void *self, uint64_t now_ns);
struct env_thread;
int env_thread_start(struct env *env, const char *name, int cpu, struct env_loop *loop, env_step_fn *step, void *self,
	struct env_thread **out, struct weft_why *why);
/* After step has returned ENV_STOP. */
void env_thread_join(struct env_thread *thread);
/* Calls step in the caller's own thread until ENV_STOP (the control reactor of a process). */
void env_thread_run_here(struct env *env, struct env_loop *loop, env_step_fn *step, void *self);
unsigned env_cpu_count(struct env *env);
/* Differs from thread to thread and stays the same in one. The thread that forks has another one in the child. */
const void *env_thread_mark(void);
/* Is this a child that was forked since the environment was opened? It has its memory and none of its threads. */
bool env_forked(struct env *env);

/* ---- gate: where threads take turns and wait for one another; control paths only, never on a reactor ---- */
struct env_gate;
int env_gate_open(struct env *env, struct env_gate **out, struct weft_why *why);
void env_gate_close(struct env_gate *gate);    /* nobody is in it */
void env_gate_enter(struct env_gate *gate);    /* one thread at a time */
void env_gate_leave(struct env_gate *gate);
/* Inside: leaves, sleeps until env_gate_wake (rarely, for less) or the time is over, enters. False: the time is over. */
bool env_gate_wait(struct env_gate *gate, uint64_t timeout_ns);
void env_gate_wake(struct env_gate *gate);     /* all who wait; inside */

/* ---- fences: for a data path and a control path that must not miss one another, where only the latter has time. Each stores, has
 * its fence, and loads: then at least one of the two sees what the other has stored. Any thread. ---- */
/* The control path's: before it returns, each thread of the process has had a full fence, whatever it does. Blocks for a moment.
 * -errno: it is denied, though it was not when the environment was opened. */
int env_fence_all(struct env *env);
/* Does env_fence_all reach the others? Then the compiler's order (atomic_signal_fence) is all that they need; else they call
 * env_fence_here. Never changes: to be asked once. */
bool env_fence_reaches(struct env *env);
void env_fence_here(struct env *env);

/* ---- worker: what blocks, off the reactors ---- */
struct env_work {
	struct env_work *next;
	void (*run)(struct env_work *work);  /* on a worker */
	void (*done)(struct env_work *work); /* back on the loop */
	struct env_loop *loop;
};
void env_work_submit(struct env_loop *loop, struct env_work *work);

/* ---- medium: a raw thing that stores: regular file, block device, simulated disk ---- */
enum env_direct { ENV_DIRECT_AUTO, ENV_DIRECT_ON, ENV_DIRECT_OFF };
struct env_medium_wants {
	bool readonly;
	uint8_t direct;          /* enum env_direct */
	uint64_t create_size;    /* 0: must exist */
	bool lock;               /* OFD/flock lock on the descriptor that does the I/O: shared when read-only, else exclusive */
	bool transient;          /* the kernel keeps no copy of what is moved, but what it had before, and reads nothing ahead */
};
struct env_medium_info {
	uint64_t size;
	uint32_t block;          /* offsets and lengths are multiples */
	uint32_t physical, optimal, align; /* align: of memory */
	uint32_t max_len;
	uint16_t max_segs;
	bool direct;             /* O_DIRECT is on */
	bool transient;          /* was wanted, goes through the page cache, and the kernel can */
	bool created;
	bool volatile_cache, rotational;
	bool can_discard, can_zero, can_status, can_fua;
	bool is_block_device;
	uint64_t id[2];          /* of the file or disk, whatever it is called; also when it could not be opened; 0: unknown */
	const char *how;         /* for humans: "io_uring, O_DIRECT", "preadv (tmpfs)" */
};
/* Control thread; may block for a moment. -EWOULDBLOCK: locked by another open descriptor. */
int env_medium_open(struct env *env, const char *path, const struct env_medium_wants *wants, struct env_medium **out,
	struct env_medium_info *info, struct weft_why *why);
void env_medium_close(struct env_medium *medium);       /* no env_io in flight, and detached from every loop */
/* Makes requests of this loop cheaper where the kernel can; on the loop. What is attached is detached, with no env_io in flight
 * here, before the medium or the loop is closed. Not attached, or in vain: all works the same. */
void env_medium_attach(struct env_loop *loop, struct env_medium *medium);
void env_medium_detach(struct env_loop *loop, struct env_medium *medium);
/* What open was to create (create_size) is durable when this returns, its size and its name: it may be there because another made
 * it, and was killed before it got here. Any thread; blocks. */
int env_medium_keep(struct env_medium *medium, struct weft_why *why);
/* Deletes what open created (a start that failed later leaves nothing behind). */
void env_medium_unlink_created(struct env_medium *medium);
int env_medium_size(struct env_medium *medium, uint64_t *size);                        /* asks again */
/* Regular files. Smaller: with no env_io beyond the new end in flight, which might make it longer again. */
int env_medium_resize(struct env_medium *medium, uint64_t size, struct weft_why *why);

/*
 * One operation, embedded by its caller. Ops: WEFT_READ, WRITE, FLUSH, DISCARD, ZERO, STATUS; flags: WEFT_FUA, NO_UNMAP.
 * done is called by env_loop_poll (or by env_loop_submit's next poll), never inside submit, with result 0 (all of len was
 * moved) or
 * -errno; short transfers are continued by the environment. A read past the end of a file fails with -EIO.
 */
struct env_io {
	struct env_io *next;
	void (*done)(struct env_io *io, int result);
	struct env_medium *medium;
	const struct weft_seg *segs;
	uint64_t offset, len;
	uint32_t seg_skip;
	uint16_t nsegs;
	uint8_t op, flags;
	uint64_t own[6];         /* the environment's */
};
void env_medium_submit(struct env_loop *loop, struct env_io *io);

/* ---- notifier: an eventfd, or what stands for one in the simulation ---- */
/* fd: adopted, also when it fails; -1: a new one. */
int env_notifier_open(struct env *env, int fd, struct env_notifier **out);
void env_notifier_close(struct env_notifier *notifier);                    /* not watched */
int env_notifier_fd(const struct env_notifier *notifier);                  /* stays owned by the notifier */
void env_notifier_signal(struct env_notifier *notifier);                   /* any thread; one system call */
/* Takes the count: its descriptor is readable no more. Not of one that is watched. */
void env_notifier_clear(struct env_notifier *notifier);
/* fn runs on the loop when it was signalled (the count is taken). One watch per notifier. */
int env_notifier_watch(struct env_loop *loop, struct env_notifier *notifier, void (*fn)(void *self), void *self);
/* After it returns fn runs no more. On the loop. */
void env_notifier_unwatch(struct env_loop *loop, struct env_notifier *notifier);

/* ---- shared memory ---- */
int env_shm_create(struct env *env, const char *name, uint64_t size, int *fd); /* sealed against shrinking where possible */
/* Maps [offset, offset + size) of fd, shared; fd stays the caller's. A page that has gone (the file was truncated) reads as
 * zeroes from
 * then on and marks the mapping broken; nobody gets a signal. */
int env_map(struct env *env, int fd, uint64_t offset, uint64_t size, bool writable, struct env_mapping **out,
	struct weft_why *why);
void env_unmap(struct env_mapping *mapping);
void *env_mapping_base(const struct env_mapping *mapping);
bool env_mapping_broken(const struct env_mapping *mapping);    /* cheap: for every turn */
/* Private memory in bulk: zeroed, page-aligned, sparse; huge: transparent huge pages wanted. NULL when there is none. */
void *env_pages_alloc(struct env *env, uint64_t size, bool huge);
void env_pages_free(struct env *env, void *base, uint64_t size);
/* Gives the pages back; they read as zeroes. */
void env_pages_drop(struct env *env, void *base, uint64_t size);
void env_fd_close(struct env *env, int fd);
int64_t env_fd_size(struct env *env, int fd);
/* Another descriptor of the same, close-on-exec; -errno. */
int env_fd_copy(struct env *env, int fd);

/* ---- streams: unix sockets (TCP for the network exports); non-blocking; also carry descriptors ---- */
#define ENV_FDS_MAX 32
struct env_listen_wants {
	int mode;            /* of the socket file; < 0: as umask has it */
	const char *group;   /* NULL: unchanged */
	int fd;              /* >= 0: an inherited listening (or, with `connected`, connected) socket; adopted, also on failure */
	bool connected;
	bool unlocked;       /* another process in the same folder is not waited for any longer */
};
/* where: "unix:/path". accepted(self, stream) runs on the loop; the callee owns the stream. A stale socket file that nobody
 * listens on
 * is replaced; -EADDRINUSE otherwise. -EWOULDBLOCK: another process is making a socket in the same folder: try again in a moment
 * (core/listening.h does), or with `unlocked`. */
int env_listen(struct env_loop *loop, const char *where, const struct env_listen_wants *wants,
	void (*accepted)(void *self, struct env_stream *stream), void *self, struct env_listener **out, struct weft_why *why);
void env_listener_close(struct env_listener *listener); /* removes its socket file */
int env_connect(struct env_loop *loop, const char *where, struct env_stream **out, struct weft_why *why);
/* A connected pair: one end as a stream, the other as a descriptor, the caller's, to be sent to a peer. -ENOTSUP where there
 * is none. */
int env_stream_pair(struct env_loop *loop, struct env_stream **out, int *fd);
void env_stream_close(struct env_stream *stream);
/* Nothing more will be written: the peer reads the end behind what was sent before; what a slow peer has not taken is dropped.
 * Reading goes on, and shows when the peer has closed. */
void env_stream_shut(struct env_stream *stream);
/* fn runs on the loop while the stream is readable (level-triggered) or closed by the peer; NULL: stop watching. */
void env_stream_watch(struct env_stream *stream, void (*fn)(void *self), void *self);
/* In place of that: only while the peer has closed or shut it, however much is still to be read. */
void env_stream_watch_end(struct env_stream *stream, void (*fn)(void *self), void *self);
/* Up to len bytes and *nfds descriptors (in: room; out: received, the caller's). Bytes read, 0: closed, -EAGAIN: none now,
 * -errno. */
int64_t env_stream_read(struct env_stream *stream, void *buf, size_t len, int *fds, unsigned *nfds);
/* Sends all of it or -errno; descriptors stay the caller's. -EAGAIN when the peer does not read (nothing was sent). */
int env_stream_write(struct env_stream *stream, const void *buf, size_t len, const int *fds, unsigned nfds);

/* ---- process-wide things of the program ---- */
/* fn(self, signal) on the loop for SIGINT and SIGTERM. Ignores SIGPIPE from then on. */
int env_signals_watch(struct env_loop *loop, void (*fn)(void *self, int signal), void *self);
struct env_usage {
	uint64_t cpu_ns, rss_anon, rss_file;
};
void env_usage(struct env *env, struct env_usage *out);
/* Is standard error a terminal? */
bool env_is_terminal(struct env *env);
/* The whole of a small file (configuration, spec), NUL-terminated, to be freed by env_free. */
int env_file_read(struct env *env, const char *path, char **text, size_t *size, struct weft_why *why);
/* Makes `text` the whole of a small file. Durable when it returns; whoever reads it, also after loss of power at any moment, finds
 * all of the old text or all of the new one. Any thread; blocks. */
int env_file_write(struct env *env, const char *path, const char *text, size_t size, struct weft_why *why);
/* Could it be written now? What stands there stays as it is. For what is to be written at the end of long work. Any thread;
 * blocks. */
int env_file_try(struct env *env, const char *path, struct weft_why *why);
/* Durably; that there is none is no error. Any thread; blocks. */
int env_file_remove(struct env *env, const char *path, struct weft_why *why);

#endif
