/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Transfers on the ring: entries made from segments, short ones continued, a full ring waited for in order.
 */
#include "env/linux/uring.h"

#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <string.h>

#define PIECES_MAX 1024u /* of one entry: the kernel's limit (IOV_MAX) */

static void prep_one(struct uring *u, struct io_uring_sqe *sqe, const struct env_io *io, int fd,
	const struct weft_seg *seg, void *base, unsigned len, uint64_t offset)
{
	int fixed = uring_fixed(u, seg->region, base, len);

	if (io->op == WEFT_READ && fixed < 0)
		io_uring_prep_read(sqe, fd, base, len, offset);
	else if (io->op == WEFT_READ)
		io_uring_prep_read_fixed(sqe, fd, base, len, offset, fixed);
	else if (fixed < 0)
		io_uring_prep_write(sqe, fd, base, len, offset);
	else
		io_uring_prep_write_fixed(sqe, fd, base, len, offset, fixed);
}

/*
 * Several segments need a vector that lasts until the kernel has taken the entry. False: no room for it in
 * this turn.
 */
static bool prep_vector(
	struct uring *u, struct io_uring_sqe **sqe, const struct env_io *io, int fd, uint64_t offset)
{
	unsigned room = URING_IOVECS - u->iovecs_used, want, n;
	struct iovec *iov = u->iovecs + u->iovecs_used;
	uint64_t bytes;

	want = io->nsegs < PIECES_MAX ? io->nsegs : PIECES_MAX;
	if (room < want)
		return false;
	*sqe = io_uring_get_sqe(&u->ring);
	if (!*sqe)
		return false;
	n = io_pieces(io, iov, want, &bytes);
	u->iovecs_used += n;
	if (io->op == WEFT_READ)
		io_uring_prep_readv(*sqe, fd, iov, n, offset);
	else
		io_uring_prep_writev(*sqe, fd, iov, n, offset);
	return true;
}

/* Puts what remains of the request into the ring. False: no room now. */
static bool uring_prep(struct loop *loop, struct env_io *io)
{
	struct uring *u = loop->uring;
	struct medium *medium = medium_of(io);
	uint64_t moved = io_own(io)->moved, skip = io->seg_skip + moved;
	bool attached = u->files & medium->file_bit;
	int fd = attached ? medium->file : medium->fd;
	struct io_uring_sqe *sqe;

	if (io->op == WEFT_FLUSH) {
		sqe = io_uring_get_sqe(&u->ring);
		if (!sqe)
			return false;
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	} else if (WEFT_LIKELY(skip + (io->len - moved) <= io->segs[0].len)) {
		sqe = io_uring_get_sqe(&u->ring);
		if (!sqe)
			return false;
		prep_one(u, sqe, io, fd, &io->segs[0], (char *)io->segs[0].base + skip,
			(unsigned)(io->len - moved), io->offset + moved);
	} else if (!prep_vector(u, &sqe, io, fd, io->offset + moved)) {
		return false;
	}
	if (io->op != WEFT_FLUSH)
		sqe->rw_flags = medium->transient;
	if (io->op == WEFT_WRITE && (io->flags & WEFT_FUA))
		sqe->rw_flags |= RWF_DSYNC;
	if (attached)
		sqe->flags |= IOSQE_FIXED_FILE;
	if (io_own(io)->tries)
		sqe->flags |= IOSQE_ASYNC; /* it would not go at once: a kernel thread may wait for it */
	io_uring_sqe_set_data64(sqe, (uintptr_t)io);
	loop->stats.submissions++;
	return true;
}

static void uring_io_wait(struct uring *u, struct env_io *io)
{
	WEFT_ASSERT(!*u->waiting_tail);
	io->next = NULL;
	*u->waiting_tail = io;
	u->waiting_tail = &io->next;
}

static void uring_ask(struct loop *loop, struct env_io *io)
{
	if (WEFT_UNLIKELY(loop->uring->waiting) || !uring_prep(loop, io))
		uring_io_wait(loop->uring, io);
}

void uring_submit_io(struct loop *loop, struct env_io *io)
{
	loop->uring->transfers++;
	uring_ask(loop, io);
}

void uring_fill(struct loop *loop)
{
	struct uring *u = loop->uring;

	while (u->waiting) {
		struct env_io *io = u->waiting, *next = io->next;

		if (!uring_prep(loop, io))
			return;
		u->waiting = next;
		if (!next)
			u->waiting_tail = &u->waiting;
	}
}

void uring_io_done(struct loop *loop, struct env_io *io, int32_t result)
{
	if (!io_moved(io, result)) {
		uring_ask(loop, io);
		return;
	}
	WEFT_ASSERT(loop->uring->transfers > 0);
	loop->uring->transfers--;
	gather_ended(&loop->uring->gather);
	io_ended(loop, io);
}
