/* SPDX-License-Identifier: BSD-2-Clause */
/* The io_uring loop from the inside: shared by the ring, its transfers, its watches and its fixed buffers. */
#ifndef ENV_LINUX_URING_H
#define ENV_LINUX_URING_H

#include <liburing.h>

#include "env/linux/gather.h"
#include "env/linux/internal.h"

#define URING_ENTRIES 256u
#define URING_COMPLETIONS 1024u
#define URING_IOVECS 2048u /* of one turn; what does not fit waits for the next system call */
#define URING_BUFFERS 1024u
#define URING_FILES 64u /* the bits of linux_env.files */
#define URING_SPINS 256u /* a loop that has not slept for so many turns spins */

/* user_data: a pointer to env_io, or one of these (pointers are aligned to 8). */
enum uring_tag {
	TAG_IGNORE = 0,
	TAG_WATCH = 1, /* with a pointer to struct watch */
	TAG_WAKE = 2,
	TAG_POLLER = 4,
	TAG_MASK = 7,
};

struct watch {
	struct watch *next, **at;
	void (*fn)(void *self); /* NULL: unwatched; freed when the kernel has said its last word */
	void *self;
	int fd;
	bool armed; /* the kernel watches; until it has said its last word */
};

struct pinned {
	char *base;
	uint64_t size;
	unsigned first, count; /* buffers; count 0: none */
};

struct uring {
	struct io_uring ring;
	bool bound;	   /* to one thread: the kernel wakes nobody else who watches the ring's descriptor */
	bool registered;   /* with `thread`, which may enter the kernel without looking its descriptor up */
	pthread_t thread;
	bool enabled;	   /* by the thread that runs the loop: the ring is its own from then on */
	bool fetched;	   /* completions have been asked for since the last poll */
	bool poller_ready; /* the epoll set has something */
	unsigned unarmed;  /* TAG_WAKE, TAG_POLLER, TAG_WATCH (some of the watches): to be polled for (again) */
	struct env_io *waiting, **waiting_tail; /* for room in the ring */
	unsigned awake;				/* turns since it last slept, up to URING_SPINS */
	uint64_t transfers;			/* asked of the kernel, or waiting; not ended */
	struct gather gather;
	struct iovec *iovecs;
	unsigned iovecs_used;
	struct watch *watches;
	struct pinned *pinned; /* by region */
	unsigned regions;
	bool buffers; /* the table of fixed buffers has been made */
	uint64_t buffers_used[URING_BUFFERS / 64];
	bool files_at_once; /* the kernel lets go of a file at once when it is taken out of the table */
	bool files_tried;   /* to make the table of files */
	bool files_made;
	uint64_t files; /* the media that are in it, by medium.file_bit */
};

/* A free entry; makes room by a system call if need be. NULL: the kernel takes none now. */
struct io_uring_sqe *uring_sqe(struct loop *loop);
/* Moves waiting requests into the ring for as long as there is room. */
void uring_fill(struct loop *loop);
/* The kernel has ended a transfer. */
void uring_io_done(struct loop *loop, struct env_io *io, int32_t result);
void uring_watch_done(struct loop *loop, struct watch *watch, bool more);
/* Watches what the kernel does not watch (any more), for as long as there is room. */
void uring_watches_arm(struct loop *loop);

int uring_pin(struct env_loop *loop, unsigned region, void *base, uint64_t size, struct weft_why *why);
void uring_unpin(struct env_loop *loop, unsigned region);
/* Index of the fixed buffer that holds all of the piece, -1: none does. */
int uring_fixed(const struct uring *uring, unsigned region, const void *base, uint64_t len);
/* On the thread that runs the loop, before the ring is used. */
void uring_enable(struct loop *loop);

#endif
