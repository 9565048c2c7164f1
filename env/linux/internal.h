/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of env/linux share. */
#ifndef ENV_LINUX_INTERNAL_H
#define ENV_LINUX_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "env/env_ops.h"

#define THREAD_STACK (256u << 10)

struct uring; /* loop_uring.c */
struct workers;

/* ---- the environment ---- */

struct linux_env {
	struct env head;
	bool no_uring;
	bool fence_reaches;
	pid_t pid; /* that opened it */
	void (*log)(void *self, int level, const char *line);
	void *log_self;
	_Atomic bool fallback_said;
	_Atomic unsigned lines_lost; /* of the log, since nobody read them */
	bool quiet;
	char fallback[200]; /* what was, or would have been said */
	struct workers *workers;
	_Atomic uint64_t files; /* slots of media in the loops' tables of files: taken (uring_file.c) */
};

static inline struct linux_env *linux_env_of(struct env *env)
{
	return (struct linux_env *)env;
}

/* Says once per environment that it goes on without io_uring. */
void linux_fallback_say(struct linux_env *env, int error);
const char *linux_error_text(int error, char *text, size_t size);

/* ---- threads and workers (thread.c, worker.c) ---- */

/* A thread of ours: small stack, every signal blocked but those that a fault raises. 0 or -errno. */
int linux_thread_make(pthread_t *thread, int cpu, void *(*fn)(void *), void *arg);
/* Names the calling thread. */
void linux_thread_name(const char *name);
int linux_thread_start(struct env *env, const char *name, int cpu, struct env_loop *loop, env_step_fn *step,
	void *self, struct env_thread **out, struct weft_why *why);
void linux_thread_join(struct env_thread *thread);
void linux_thread_run_here(struct env *env, struct env_loop *loop, env_step_fn *step, void *self);
unsigned linux_cpu_count(struct env *env);
int gate_open(struct env *env, struct env_gate **out, struct weft_why *why);

/* ---- fences (fence.c) ---- */

/* Does the kernel let one thread issue fences for all? */
bool fence_can_reach(void);
int linux_fence_all(struct env *env);
bool linux_fence_reaches(struct env *env);
void linux_fence_here(struct env *env);

struct workers *workers_open(unsigned max);
void workers_close(struct workers *workers);
void workers_submit(struct workers *workers, struct env_work *work);

/* ---- poller: descriptors of the control path, in epoll; both kinds of loop have one ---- */

struct source {
	void (*fn)(struct source *source, uint32_t events); /* EPOLL... */
	int fd;
};

#define POLLER_BATCH 16
struct poller {
	int fd;
	unsigned count, at; /* of events fetched, and not yet dispatched */
	struct epoll_event events[POLLER_BATCH];
};

int poller_open(struct poller *poller);
void poller_close(struct poller *poller);
int poller_add(struct poller *poller, struct source *source, uint32_t events);
void poller_change(struct poller *poller, struct source *source, uint32_t events);
/* After it returns the source's fn runs no more, though the event may have been fetched. */
void poller_remove(struct poller *poller, struct source *source);
/* Fetches events; sleeps for up to timeout_ns. True if there are any now. */
bool poller_fetch(struct poller *poller, uint64_t timeout_ns);
/* Calls fn for what was fetched. True if there was anything. */
bool poller_dispatch(struct poller *poller);

/* ---- loop: what both kinds share (loop.c) ---- */

struct stream;

struct loop {
	struct env_loop head;
	struct linux_env *env;
	struct uring *uring;		    /* NULL: epoll and workers */
	struct env_io *ready, **ready_tail; /* ended without the kernel telling */
	unsigned cold;			    /* reads of cached files that are not tried in place */
	_Atomic bool fd_used;		    /* somebody else polls us: always raise the descriptor */
	struct poller poller;
	struct source wake_source;
	struct source alarm_source; /* a timer; made when it is first wanted */
	struct stream *lingering; /* closed by their owner, with output yet to be sent */
	struct signals *signals;
	struct env_loop_stats stats;
	/* of all threads */
	_Alignas(64) _Atomic(struct env_work *) worked; /* ended by workers */
	_Atomic bool sleeping;
	_Atomic bool woken;
	_Atomic unsigned guests; /* workers that may still touch this loop, though what they ran has been delivered */
};

static inline struct loop *loop_of(struct env_loop *loop)
{
	return (struct loop *)loop;
}

int loop_open(struct env *env, bool movable, struct env_loop **out, struct weft_why *why);
void loop_wake(struct env_loop *loop);
/* Delivers what ended without the kernel: inline transfers, workers. */
bool loop_deliver(struct loop *loop);
/* Something has ended that env_loop_poll delivers without asking the kernel. */
bool loop_has_ended(struct loop *loop);
/* A worker has run it; the loop may be closed once it has left (`guests`). Any thread. */
void loop_worked(struct loop *loop, struct env_work *work);

/* The two kinds. uring_open: -errno when the kernel denies or lacks it. */
int uring_open(struct loop *loop, bool movable);
void uring_close(struct loop *loop);
extern const struct env_loop_ops uring_ops;
extern const struct env_loop_ops epoll_ops;

/* The entries that do not differ. */
void loop_close(struct env_loop *loop);
void loop_stats(const struct env_loop *loop, struct env_loop_stats *out);
uint64_t loop_wake_cost_ns(const struct env_loop *loop);
int loop_alarm(struct env_loop *loop, uint64_t after_ns);
void loop_work_submit(struct env_loop *loop, struct env_work *work);

/* Nanoseconds from a signal until a sleeping thread runs; measured once per process. */
uint64_t wake_cost_ns(void);

/* ---- transfers ---- */

/* What lies in env_io.own. */
struct io_own {
	uint64_t moved; /* bytes so far */
	struct env_work work;
	int32_t result;
	uint32_t tries;
};
_Static_assert(sizeof(struct io_own) <= sizeof(((struct env_io *)0)->own), "fits into env_io");

static inline struct io_own *io_own(struct env_io *io)
{
	return (struct io_own *)(void *)io->own;
}

static inline void io_ended(struct loop *loop, struct env_io *io)
{
	WEFT_ASSERT(loop->stats.in_flight > 0);
	loop->stats.in_flight--;
	loop->stats.completions++;
	io->done(io, io_own(io)->result);
}

/* Up to `max` pieces of what remains of `io`. Returns how many; *bytes: their length. */
unsigned io_pieces(const struct env_io *io, struct iovec *iov, unsigned max, uint64_t *bytes);
/*
 * Takes the result of one transfer. True: the request has ended, with io_own(io)->result; false: the rest
 * is to be asked for.
 */
bool io_moved(struct env_io *io, int64_t result);
/* Ends `io` with its result at the next env_loop_poll. */
void io_ready(struct loop *loop, struct env_io *io, int result);
/* By the ring: takes the request, always. */
void uring_submit_io(struct loop *loop, struct env_io *io);

/* ---- media ---- */

struct medium {
	struct env_medium head;
	int fd;
	int file;	   /* its slot in every loop's table of files; it need not be there */
	uint64_t file_bit; /* the same as a bit, 0: it has none */
	uint32_t block;
	bool readonly, direct, block_device, created;
	bool in_memory;		    /* tmpfs: the ring would pass it to kernel threads */
	bool cached;		    /* reads that hit the page cache are done in place */
	uint8_t transient;	    /* 0, or the flag of transfers whose pages go again */
	_Atomic bool no_zero_range; /* found out when it was first wanted */
	bool durable;		    /* nothing to flush */
	char *path;
	char name[96]; /* the path for sentences: its end, when it is long */
};

static inline struct medium *medium_of(const struct env_io *io)
{
	return (struct medium *)io->medium;
}

int medium_open(struct env *env, const char *path, const struct env_medium_wants *wants,
	struct env_medium **out, struct env_medium_info *info, struct weft_why *why);
/* What the device or file can do; fills `info` but for size. */
int medium_probe(struct medium *medium, const struct env_medium_wants *wants, struct env_medium_info *info,
	struct weft_why *why);
/*
 * Alignments that the kernel tells for O_DIRECT: 0, -ENOTSUP: it cannot be done, -ENODATA: it does not
 * tell.
 */
int dio_align(int fd, uint32_t *memory, uint32_t *offset);
void medium_submit(struct env_loop *loop, struct env_io *io);
/* A slot for the medium in the rings' tables of files, if one is free, for as long as it is open. */
void file_slot_take(struct medium *medium);
void file_slot_give(struct medium *medium);
void medium_attach(struct env_loop *loop, struct env_medium *medium);
void medium_detach(struct env_loop *loop, struct env_medium *medium);
/* DISCARD, ZERO, STATUS: in the calling thread, blocking. 0 or -errno. */
int medium_range(struct env_io *io);

/* ---- the other nouns ---- */

int notifier_open(struct env *env, int fd, struct env_notifier **out);
int uring_watch(struct loop *loop, int fd, void (*fn)(void *self), void *self, void **watch);
void uring_unwatch(struct loop *loop, void *watch);

int shm_create(struct env *env, const char *name, uint64_t size, int *fd);
int shm_map(struct env *env, int fd, uint64_t offset, uint64_t size, bool writable, struct env_mapping **out,
	struct weft_why *why);
void shm_unmap(struct env_mapping *mapping);

/*
 * SIGBUS guard: `broken` is raised when a page of [base, base + size) is gone, and zeroes are mapped from
 * it to the end.
 */
int guard_add(void *base, uint64_t size, uint64_t page, _Atomic bool *broken);
void guard_remove(void *base);

int stream_listen(struct env_loop *loop, const char *where, const struct env_listen_wants *wants,
	void (*accepted)(void *self, struct env_stream *stream), void *self, struct env_listener **out,
	struct weft_why *why);
int stream_pair(struct env_loop *loop, struct env_stream **out, int *fd);
int stream_connect(struct env_loop *loop, const char *where, struct env_stream **out, struct weft_why *why);
/* Adopts a connected socket. NULL: no memory; the descriptor is closed then. */
struct env_stream *stream_adopt(struct loop *loop, int fd);
void stream_abandon_all(struct loop *loop);
/* The address of "unix:/path". */
struct sockaddr_un;
int stream_address(const char *where, struct sockaddr_un *address, struct weft_why *why);

int signals_watch(struct env_loop *loop, void (*fn)(void *self, int signal), void *self);
void signals_close(struct loop *loop);

void linux_usage(struct env *env, struct env_usage *out);
bool linux_is_terminal(struct env *env);
/* What was made, renamed or removed in the folder of `path` stays so. 0 or -errno. */
int linux_folder_sync(const char *path);
int linux_file_read(struct env *env, const char *path, char **text, size_t *size, struct weft_why *why);
int linux_file_write(struct env *env, const char *path, const char *text, size_t size, struct weft_why *why);
int linux_file_try(struct env *env, const char *path, struct weft_why *why);
int linux_file_remove(struct env *env, const char *path, struct weft_why *why);

#endif
