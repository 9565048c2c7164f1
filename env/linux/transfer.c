/* SPDX-License-Identifier: BSD-2-Clause */
/* Transfers: where a request stands, what remains of it, and how it is done in place or by a worker. */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <unistd.h>

#include "env/linux/internal.h"

#define PIECES 64

unsigned io_pieces(const struct env_io *io, struct iovec *iov, unsigned max, uint64_t *bytes)
{
	uint64_t moved = ((const struct io_own *)(const void *)io->own)->moved;
	uint64_t skip = io->seg_skip + moved, left = io->len - moved;
	unsigned n = 0;

	*bytes = 0;
	for (unsigned i = 0; i < io->nsegs && left > 0 && n < max; i++) {
		const struct weft_seg *seg = &io->segs[i];
		uint64_t len;

		if (skip >= seg->len) {
			skip -= seg->len;
			continue;
		}
		len = seg->len - skip < left ? seg->len - skip : left;
		iov[n++] = (struct iovec){(char *)seg->base + skip, len};
		skip = 0;
		left -= len;
		*bytes += len;
	}
	WEFT_ASSERT(n > 0);
	return n;
}

/* Nothing came, or (O_DIRECT reads whole blocks but for the last) less than a block: there is no more. */
static bool io_at_end(const struct env_io *io, int64_t result)
{
	const struct medium *medium = medium_of(io);

	return result == 0 || (medium->direct && (uint64_t)result % medium->block != 0);
}

bool io_moved(struct env_io *io, int64_t result)
{
	struct io_own *own = io_own(io);

	if (result == -EINTR || result == -EAGAIN) {
		own->tries++;
		return false;
	}
	own->result = result < 0 ? (int)result : 0;
	if (result < 0 || io->op == WEFT_FLUSH)
		return true;
	own->moved += (uint64_t)result;
	WEFT_ASSERT(own->moved <= io->len);
	if (WEFT_LIKELY(own->moved == io->len))
		return true;
	/* The file was cut: zeroes in place of what was there would be lies. */
	if (result != 0 && (io->op == WEFT_WRITE || !io_at_end(io, result)))
		return false;
	own->result = -EIO;
	return true;
}

static int64_t io_once(struct env_io *io, int rw_flags)
{
	struct medium *medium = medium_of(io);
	struct iovec iov[PIECES];
	uint64_t bytes;
	ssize_t rc;
	int n;

	if (io->op == WEFT_FLUSH)
		return fdatasync(medium->fd) ? -errno : 0;
	rw_flags |= medium->transient;
	n = (int)io_pieces(io, iov, PIECES, &bytes);
	if (io->op == WEFT_READ)
		rc = preadv2(medium->fd, iov, n, (off_t)(io->offset + io_own(io)->moved), rw_flags);
	else
		rc = pwritev2(medium->fd, iov, n, (off_t)(io->offset + io_own(io)->moved), rw_flags);
	return rc < 0 ? -errno : rc;
}

/* The whole request in the calling thread, blocking. */
static int io_blocking(struct env_io *io)
{
	bool sync = io->op == WEFT_WRITE && (io->flags & WEFT_FUA) && !medium_of(io)->durable;

	while (!io_moved(io, io_once(io, sync ? RWF_DSYNC : 0)))
		;
	return io_own(io)->result;
}

/* ---- by a worker ---- */

static struct env_io *io_of(struct env_work *work)
{
	return WEFT_CONTAINER(work, struct env_io, own[offsetof(struct io_own, work) / sizeof(uint64_t)]);
}

static void io_work_run(struct env_work *work)
{
	struct env_io *io = io_of(work);

	if (io->op == WEFT_READ || io->op == WEFT_WRITE || io->op == WEFT_FLUSH)
		io_blocking(io);
	else
		io_own(io)->result = medium_range(io);
}

static void io_work_done(struct env_work *work)
{
	struct env_io *io = io_of(work);

	io_ended(loop_of(work->loop), io);
}

static void io_work(struct loop *loop, struct env_io *io)
{
	io_own(io)->work = (struct env_work){NULL, io_work_run, io_work_done, &loop->head};
	loop_work_submit(&loop->head, &io_own(io)->work);
}

/* ---- which way ---- */

/*
 * A read that the page cache can answer is cheaper in place than through the ring. After a miss the next
 * few are not tried.
 */
static bool read_cached(struct loop *loop, struct env_io *io)
{
	int64_t result;

	if (loop->cold) {
		loop->cold--;
		return false;
	}
	loop->stats.system_calls++;
	result = io_once(io, RWF_NOWAIT);
	if (result < 0) {
		loop->cold = 15;
		return false;
	}
	if (!io_moved(io, result))
		return false;
	io_ready(loop, io, io_own(io)->result);
	return true;
}

static void transfer(struct loop *loop, struct env_io *io)
{
	struct medium *medium = medium_of(io);

	if (medium->in_memory) {
		loop->stats.system_calls++;
		io_ready(loop, io, io_blocking(io));
		return;
	}
	if (medium->cached && io->op == WEFT_READ && read_cached(loop, io))
		return;
	if (loop->uring)
		uring_submit_io(loop, io);
	else
		io_work(loop, io);
}

void medium_submit(struct env_loop *head, struct env_io *io)
{
	struct loop *loop = loop_of(head);

	loop->stats.in_flight++;
	io_own(io)->moved = 0;
	io_own(io)->tries = 0;
	if (io->op == WEFT_READ || io->op == WEFT_WRITE) {
		WEFT_ASSERT(io->len > 0 && io->nsegs > 0);
		transfer(loop, io);
	} else if (io->op == WEFT_FLUSH && medium_of(io)->durable) {
		io_ready(loop, io, 0);
	} else if (io->op == WEFT_FLUSH && loop->uring) {
		uring_submit_io(loop, io);
	} else {
		io_work(loop, io);
	}
}
