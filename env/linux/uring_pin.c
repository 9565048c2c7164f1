/* SPDX-License-Identifier: BSD-2-Clause */
/* Fixed buffers: registered memory cut into pieces of at most 1 GiB in the ring's table. */
#include "env/linux/uring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define PIECE (UINT64_C(1) << 30)

static bool buffer_used(const struct uring *u, unsigned i)
{
	return u->buffers_used[i / 64] >> (i % 64) & 1;
}

static void buffers_mark(struct uring *u, unsigned first, unsigned count, bool used)
{
	for (unsigned i = first; i < first + count; i++) {
		uint64_t bit = UINT64_C(1) << (i % 64);

		WEFT_ASSERT(buffer_used(u, i) != used);
		if (used)
			u->buffers_used[i / 64] |= bit;
		else
			u->buffers_used[i / 64] &= ~bit;
	}
}

/* The first of `count` free buffers in a row, -1: there are none. */
static int buffers_find(const struct uring *u, unsigned count)
{
	unsigned run = 0;

	for (unsigned i = 0; i < URING_BUFFERS; i++) {
		run = buffer_used(u, i) ? 0 : run + 1;
		if (run == count)
			return (int)(i + 1 - count);
	}
	return -1;
}

static int region_room(struct uring *u, unsigned region)
{
	struct pinned *more;

	if (region < u->regions)
		return 0;
	more = realloc(u->pinned, (region + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	memset(more + u->regions, 0, (region + 1 - u->regions) * sizeof(*more));
	u->pinned = more;
	u->regions = region + 1;
	return 0;
}

/* Puts memory (or, with base NULL, nothing) into the table's entries. */
static int buffers_update(struct uring *u, unsigned first, unsigned count, char *base, uint64_t size)
{
	__u64 tag = 0;

	for (unsigned i = 0; i < count; i++) {
		uint64_t at = i * PIECE, len = size - at < PIECE ? size - at : PIECE;
		struct iovec iov = {base ? base + at : NULL, base ? len : 0};
		int rc = io_uring_register_buffers_update_tag(&u->ring, first + i, &iov, &tag, 1);

		if (rc < 0) {
			if (base)
				buffers_update(u, first, i, NULL, 0);
			return rc;
		}
	}
	return 0;
}

static int pin_why(struct weft_why *why, int rc, uint64_t size)
{
	unsigned long long mib = (size + 0xfffff) >> 20;
	struct rlimit limit = {0, 0};
	char text[64];

	getrlimit(RLIMIT_MEMLOCK, &limit);
	if (rc == -ENOMEM)
		return weft_why(why, rc,
			"pin: locking %llu MiB exceeds the limit of locked memory, %llu MiB: raise it "
			"(ulimit -l), or use pin=off",
			mib, (unsigned long long)limit.rlim_cur >> 20);
	return weft_why(why, rc, "pin: %llu MiB cannot be made fixed buffers of the ring: %s: use pin=off",
		mib, linux_error_text(rc, text, sizeof(text)));
}

int uring_pin(struct env_loop *head, unsigned region, void *base, uint64_t size, struct weft_why *why)
{
	struct loop *loop = loop_of(head);
	struct uring *u = loop->uring;
	unsigned count = (unsigned)((size + PIECE - 1) / PIECE);
	int rc = 0, first;

	uring_enable(loop);
	if (!u->buffers)
		rc = io_uring_register_buffers_sparse(&u->ring, URING_BUFFERS);
	if (rc)
		return pin_why(why, rc == -EINVAL ? -ENOTSUP : rc, size);
	u->buffers = true;
	rc = region_room(u, region);
	if (rc)
		return weft_why(why, rc, "pin: no memory");
	WEFT_ASSERT(u->pinned[region].count == 0);
	first = size > URING_BUFFERS * PIECE ? -1 : buffers_find(u, count);
	if (first < 0)
		return weft_why(why, -ENOSPC, "pin: at most %u pieces of 1 GiB can be pinned: use pin=off",
			URING_BUFFERS);
	rc = buffers_update(u, (unsigned)first, count, base, size);
	if (rc)
		return pin_why(why, rc, size);
	buffers_mark(u, (unsigned)first, count, true);
	u->pinned[region] = (struct pinned){base, size, (unsigned)first, count};
	return 0;
}

void uring_unpin(struct env_loop *head, unsigned region)
{
	struct uring *u = loop_of(head)->uring;
	struct pinned *p;

	if (region >= u->regions || u->pinned[region].count == 0)
		return;
	p = &u->pinned[region];
	buffers_update(u, p->first, p->count, NULL, 0);
	buffers_mark(u, p->first, p->count, false);
	p->count = 0;
}

int uring_fixed(const struct uring *u, unsigned region, const void *base, uint64_t len)
{
	const struct pinned *p;
	uint64_t at;

	if (region == WEFT_REGION_NONE || region >= u->regions)
		return -1;
	p = &u->pinned[region];
	at = (uint64_t)((const char *)base - p->base);
	if (p->count == 0 || at >= p->size || len > p->size - at || at / PIECE != (at + len - 1) / PIECE)
		return -1;
	return (int)(p->first + at / PIECE);
}
