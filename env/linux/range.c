/* SPDX-License-Identifier: BSD-2-Clause */
/* Discard, write zeroes, block status: on workers, since they may take long. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "env/linux/internal.h"

#define ZEROES (64u << 10)

static int range_fallocate(struct medium *medium, int mode, const struct env_io *io)
{
	int rc;

	do
		rc = fallocate(medium->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)io->offset, (off_t)io->len);
	while (rc && errno == EINTR);
	return rc ? -errno : 0;
}

static int range_ioctl(struct medium *medium, unsigned long request, const struct env_io *io)
{
	uint64_t range[2] = {io->offset, io->len};

	return ioctl(medium->fd, request, range) ? -errno : 0;
}

static int range_discard(struct medium *medium, const struct env_io *io)
{
	if (medium->block_device)
		return range_ioctl(medium, BLKDISCARD, io);
	return range_fallocate(medium, FALLOC_FL_PUNCH_HOLE, io);
}

/* Where nothing better keeps the space allocated. */
static int range_write_zeroes(struct medium *medium, const struct env_io *io)
{
	static const char zeroes[ZEROES] __attribute__((aligned(4096)));
	uint64_t at = io->offset, end = io->offset + io->len;

	while (at < end) {
		size_t len = end - at < ZEROES ? end - at : ZEROES;
		ssize_t rc = pwrite(medium->fd, zeroes, len, (off_t)at);

		if (rc < 0 && errno != EINTR)
			return -errno;
		if (rc == 0)
			return -EIO;
		at += rc > 0 ? (uint64_t)rc : 0;
	}
	return 0;
}

static int range_zero_keep(struct medium *medium, const struct env_io *io)
{
	int rc = -EOPNOTSUPP;

	if (medium->block_device)
		return range_ioctl(medium, BLKZEROOUT, io);
	if (!atomic_load_explicit(&medium->no_zero_range, memory_order_relaxed))
		rc = range_fallocate(medium, FALLOC_FL_ZERO_RANGE, io);
	if (rc != -EOPNOTSUPP)
		return rc;
	atomic_store_explicit(&medium->no_zero_range, true, memory_order_relaxed);
	return range_write_zeroes(medium, io);
}

static int range_zero(struct medium *medium, const struct env_io *io)
{
	int rc = -EOPNOTSUPP;

	if (!(io->flags & WEFT_NO_UNMAP))
		rc = range_fallocate(medium, FALLOC_FL_PUNCH_HOLE, io);
	if (rc == -EOPNOTSUPP)
		rc = range_zero_keep(medium, io);
	if (rc == 0 && (io->flags & WEFT_FUA) && !medium->durable)
		rc = fdatasync(medium->fd) ? -errno : 0;
	return rc;
}

/* ---- block status ---- */

/* Stores `len` bytes at `at` of the request's memory; what has no room is dropped. */
static void segs_put(const struct env_io *io, uint64_t at, const void *data, size_t len)
{
	at += io->seg_skip;
	for (unsigned i = 0; i < io->nsegs && len > 0; i++) {
		const struct weft_seg *seg = &io->segs[i];
		size_t part;

		if (at >= seg->len) {
			at -= seg->len;
			continue;
		}
		part = seg->len - at < len ? seg->len - at : len;
		memcpy((char *)seg->base + at, data, part);
		data = (const char *)data + part;
		len -= part;
		at = 0;
	}
}

static uint64_t segs_room(const struct env_io *io)
{
	uint64_t room = 0;

	for (unsigned i = 0; i < io->nsegs; i++)
		room += io->segs[i].len;
	return room - io->seg_skip;
}

/* The extent that begins at `at`. The file's position, which lseek changes, is used by nobody else. */
static int extent_at(struct medium *medium, uint64_t at, uint64_t end, struct weft_extent *extent)
{
	off_t data = lseek(medium->fd, (off_t)at, SEEK_DATA), next;

	if (data < 0 && errno != ENXIO)
		return -errno;
	*extent = (struct weft_extent){.offset = at};
	if (data < 0 || (uint64_t)data > at) {
		extent->flags = WEFT_EXTENT_HOLE | WEFT_EXTENT_ZERO;
		next = data;
	} else {
		next = lseek(medium->fd, (off_t)at, SEEK_HOLE);
		if (next < 0 && errno != ENXIO)
			return -errno;
	}
	extent->len = (next < 0 || (uint64_t)next > end ? end : (uint64_t)next) - at;
	if (extent->len == 0) /* punched this very moment */
		extent->len = end - at < medium->block ? end - at : medium->block;
	return 0;
}

static int range_status(struct medium *medium, const struct env_io *io)
{
	uint64_t at = io->offset, end = io->offset + io->len, room = segs_room(io), put = 0;
	struct weft_extent extent;

	while (at < end && put + sizeof(extent) <= room) {
		int rc = extent_at(medium, at, end, &extent);

		if (rc)
			return rc;
		WEFT_ASSERT(extent.len > 0);
		segs_put(io, put, &extent, sizeof(extent));
		put += sizeof(extent);
		at += extent.len;
	}
	if (put + sizeof(extent) <= room) {
		memset(&extent, 0, sizeof(extent));
		segs_put(io, put, &extent, sizeof(extent));
	}
	return 0;
}

int medium_range(struct env_io *io)
{
	struct medium *medium = medium_of(io);

	switch (io->op) {
	case WEFT_DISCARD:
		return range_discard(medium, io);
	case WEFT_ZERO:
		return range_zero(medium, io);
	case WEFT_STATUS:
		return range_status(medium, io);
	default:
		return -EOPNOTSUPP;
	}
}
