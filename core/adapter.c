/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The adapter stands in front of a device and makes up what it lacks: splits at its limits, bounces misaligned memory, writes
 * zeroes,
 * copies, flushes for FUA, tells a block status. The waist hands it only requests that are sound (core/hop.c, refusal).
 *
 * Invariants:
 *  A1  At most WINDOW pieces of a request are in flight; pieces are handed out in order and never overlap.
 *  A2  Nothing is handed out after the first error, and the request ends when the last piece has ended, with the first error.
 *  A3  A bounce buffer belongs to one piece from its start to its end. Requests that wait for one are served in order, and
 * each pool
 *      has WINDOW of them, so that the first in the queue always gets one.
 *  A4  The flush of a FUA request is sent after its last piece has ended well.
 *  A5  A piece is whole blocks, and the device takes it as it is: the waist never hands a piece back to the adapter. So a bounce
 *      buffer, and each segment of zeroes, holds at least one block.
 *  A6  Of a request WEFT_TURN_BYTES are handed out; then it yields, and has as much again when its turn comes: who asks for much
 *      leaves others their turn also where all is answered at once. A piece may reach beyond.
 *  A7  What lies behind a hop is laid out in one way when the device is asked as it is, in another way when we are. Of what the
 *      other way uses, nothing is left behind: else its data would be taken for hops that are not idle.
 */
#include <errno.h>
#include <string.h>

#include <weft/memory.h>

#include "core/blk.h"
#include "core/core.h"
#include "core/counter.h"

#define WINDOW 4
#define BOUNCE_LEAST (128u << 10)
#define ZEROES_LEAST (64u << 10)
#define ZEROES_SEGS 16

struct adapter {
	struct weft_blk blk;
	struct weft_blk *device;
	uint32_t bounce_size;      /* of each buffer */
	uint32_t zeroes_size;      /* of each segment of zeroes: all are the same memory */
};

struct adapter_shard {
	uint64_t splits, bounces, bounced_bytes, zeroes_written, fua_flushes;
	char *pool;                /* WINDOW buffers, then zeroes, which nobody ever writes */
	unsigned pool_free;        /* bit mask */
	struct weft_seg zero_segs[ZEROES_SEGS];
	struct hop_list waiting;
};

struct piece {
	uint64_t at;               /* bytes into the request */
	uint32_t len;
	bool copying_back;         /* copy: the read has ended, the write is under way */
	char *bounce;
	struct weft_seg seg;       /* of the bounce buffer */
};

struct emulation {
	uint64_t at;               /* next byte to hand out, */
	uint64_t until;            /* ... and where that stops for now */
	uint64_t seg_at;           /* ... lies in this segment, */
	uint32_t seg_skip;         /* so far into it */
	int status;
	uint8_t in_flight;
	bool yielded;
	bool waiting;              /* in the shard's queue */
	bool turn;                 /* first in the queue: may take what others wait for */
	bool strip_fua;            /* FUA is wanted, the device cannot */
	bool flush;                /* ... and has a volatile cache */
	bool flushing;
	struct piece piece[WINDOW];
};

static void advance(struct weft_hop *hop);

static const struct adapter *adapter_of(const struct weft_hop *hop)
{
	return WEFT_CONTAINER(hop->blk, const struct adapter, blk);
}

static struct weft_blk *device_of(const struct weft_hop *hop)
{
	return adapter_of(hop)->device;
}

static struct adapter_shard *shard_of(const struct weft_hop *hop)
{
	return weft_hop_shard(hop);
}

static unsigned piece_index(struct weft_hop *hop, struct weft_hop *child)
{
	unsigned index = (unsigned)(((char *)child - (char *)(hop + 1)) / hop->blk->child_stride);

	WEFT_ASSERT(index < WINDOW && hop_child(hop, index) == child);
	return index;
}

static void status_emulated(struct weft_hop *hop)
{
	struct weft_extent all = { .offset = hop->offset, .len = hop->len };
	uint64_t room = 0;

	WEFT_ASSERT(hop->op == WEFT_STATUS && hop->len > 0);
	for (unsigned i = 0; i < hop->nsegs; i++)
		room += hop->segs[i].len;
	if (room < hop->seg_skip + sizeof(all)) {
		weft_hop_complete(hop, -EINVAL);
		return;
	}
	weft_hop_copy_in(hop, 0, &all, sizeof(all));
	weft_hop_complete(hop, 0);
}

/* ---- bounce buffers ---- */

static char *bounce_take(struct adapter_shard *shard, uint32_t size)
{
	int bit = __builtin_ffs((int)shard->pool_free) - 1;

	WEFT_ASSERT((shard->pool_free >> WINDOW) == 0);
	if (bit < 0)
		return NULL;
	shard->pool_free &= ~(1u << bit);
	return shard->pool + (size_t)bit * size;
}

static void bounce_give(struct weft_hop *hop, struct piece *piece)
{
	struct adapter_shard *shard = shard_of(hop);
	unsigned bit = (unsigned)((size_t)(piece->bounce - shard->pool) / adapter_of(hop)->bounce_size);

	WEFT_ASSERT((shard->pool_free & (1u << bit)) == 0 && bit < WINDOW);
	shard->pool_free |= 1u << bit;
	piece->bounce = NULL;
}

static void wait_for_bounce(struct weft_hop *hop, struct emulation *e)
{
	WEFT_ASSERT(!e->waiting && !e->yielded);
	e->waiting = true;
	hop_queue_add(&shard_of(hop)->waiting, hop);
}

static void serve_waiting(struct adapter_shard *shard)
{
	while (shard->pool_free != 0 && shard->waiting.head != NULL) {
		struct weft_hop *hop = hop_queue_take(&shard->waiting);
		struct emulation *e = weft_hop_request(hop);

		WEFT_ASSERT(!e->turn && e->waiting);
		e->waiting = false;
		e->turn = true;
		advance(hop);
		e->turn = false;
	}
}

/* ---- pieces ---- */

/* How much of what comes next the device can take in place: bytes (0: it must be bounced), and in how many segments. */
static uint32_t in_place(const struct weft_hop *hop, const struct emulation *e, uint32_t most, uint16_t *nsegs)
{
	const struct weft_blk *device = device_of(hop);
	uint32_t len = 0, skip = e->seg_skip, whole = device->align > 1 ? device->block - 1 : 0;
	uint64_t i = e->seg_at;

	WEFT_ASSERT(e->at < hop->len && most <= device->max_len);
	for (*nsegs = 0; len < most && *nsegs < device->max_segs; i++, skip = 0) {
		WEFT_ASSERT(i < hop->nsegs);
		uint32_t here = hop->segs[i].len - skip;

		if (here > most - len)
			here = most - len;
		if ((((uintptr_t)hop->segs[i].base + skip) & (device->align - 1)) != 0 || (here & whole) != 0)
			break;
		len += here;
		++*nsegs;
	}
	return len & ~(device->block - 1);
}

static void move_cursor(const struct weft_hop *hop, struct emulation *e, uint32_t len)
{
	WEFT_ASSERT(len <= hop->len - e->at);
	e->at += len;
	if (hop->nsegs == 0)
		return;
	for (len += e->seg_skip; e->seg_at < hop->nsegs && len >= hop->segs[e->seg_at].len; e->seg_at++)
		len -= hop->segs[e->seg_at].len;
	e->seg_skip = len;
}

static uint32_t least(uint64_t a, uint64_t b)
{
	return (uint32_t)(a < b ? a : b);
}

/* Takes a buffer and points the child at it; false: none is free. */
static bool use_bounce(struct weft_hop *hop, struct weft_hop *child, struct piece *piece)
{
	struct adapter_shard *shard = shard_of(hop);
	const struct emulation *e = weft_hop_request(hop);

	WEFT_ASSERT(piece->bounce == NULL && piece->len <= adapter_of(hop)->bounce_size);
	if (shard->waiting.head != NULL && !e->turn)
		return false;
	piece->bounce = bounce_take(shard, adapter_of(hop)->bounce_size);
	if (piece->bounce == NULL)
		return false;
	counter_add(&shard->bounces, 1);
	counter_add(&shard->bounced_bytes, piece->len);
	piece->seg = (struct weft_seg){ .base = piece->bounce, .len = piece->len };
	child->segs = &piece->seg;
	child->seg_skip = 0;
	child->nsegs = 1;
	return true;
}

/* Reads and writes: the same memory where that is possible. False: no buffer. */
static bool shape_data(struct weft_hop *hop, struct emulation *e, struct weft_hop *child, struct piece *piece)
{
	uint32_t most = least(hop->len - e->at, device_of(hop)->max_len);
	uint16_t nsegs;
	uint32_t len = in_place(hop, e, most, &nsegs);

	WEFT_ASSERT(e->seg_at < hop->nsegs && (child->op == WEFT_READ || child->op == WEFT_WRITE));
	if (len > 0) {
		piece->len = len;
		child->segs = hop->segs + e->seg_at;
		child->seg_skip = e->seg_skip;
		child->nsegs = nsegs;
		return true;
	}
	piece->len = least(most, adapter_of(hop)->bounce_size);
	if (!use_bounce(hop, child, piece))
		return false;
	if (child->op == WEFT_WRITE)
		weft_hop_copy_out(hop, e->at, piece->bounce, piece->len);
	return true;
}

static bool shape_copy(struct weft_hop *hop, struct emulation *e, struct weft_hop *child, struct piece *piece)
{
	WEFT_ASSERT(hop->op == WEFT_COPY && !e->flushing);
	piece->len = least(least(hop->len - e->at, device_of(hop)->max_len), adapter_of(hop)->bounce_size);
	piece->copying_back = false;
	child->op = WEFT_READ;
	child->flags = 0;
	child->offset = hop->source + e->at;
	return use_bounce(hop, child, piece);
}

static void shape_zeroes(struct weft_hop *hop, struct emulation *e, struct weft_hop *child, struct piece *piece)
{
	const struct weft_blk *device = device_of(hop);
	uint32_t size = adapter_of(hop)->zeroes_size;
	uint64_t most = (uint64_t)size * least(ZEROES_SEGS, device->max_segs);

	WEFT_ASSERT(hop->op == WEFT_ZERO && device->max_segs > 0);
	piece->len = least(least(hop->len - e->at, device->max_len), most);
	child->op = WEFT_WRITE;
	child->flags &= (uint8_t)~(WEFT_NO_UNMAP | WEFT_FAST);
	child->segs = shard_of(hop)->zero_segs;
	child->seg_skip = 0;
	child->nsegs = (uint16_t)((piece->len + size - 1) / size);
	counter_add(&shard_of(hop)->zeroes_written, 1);
}

static void piece_done(struct weft_hop *hop, struct weft_hop *child, int status);

/* The next piece, if it can be had now. False: no buffer. */
static bool start_piece(struct weft_hop *hop, struct emulation *e, unsigned index)
{
	struct weft_blk *device = device_of(hop);
	struct weft_hop *child = weft_hop_fork(hop, index);
	struct piece *piece = &e->piece[index];
	bool got = true;

	WEFT_ASSERT(index < WINDOW && e->at < hop->len && e->in_flight < WINDOW);
	piece->at = e->at;
	piece->bounce = NULL;
	child->offset = hop->offset + e->at;
	if (e->strip_fua)
		child->flags &= (uint8_t)~WEFT_FUA;
	if (hop->op == WEFT_READ || hop->op == WEFT_WRITE) {
		got = shape_data(hop, e, child, piece);
	} else if (hop->op == WEFT_COPY) {
		got = shape_copy(hop, e, child, piece);
	} else if ((device->ops_can & WEFT_OP_BIT(hop->op)) != 0 && (child->flags & ~device->flags_can) == 0) {
		piece->len = least(hop->len - e->at, 1u << 30); /* as it is, only the FUA was missing */
		if (hop->op != WEFT_COMPARE_WRITE)
			child->nsegs = 0;
	} else {
		shape_zeroes(hop, e, child, piece);
	}
	if (!got) {
		child->state = WEFT_HOP_IDLE;
		return false;
	}
	WEFT_ASSERT(piece->len > 0 && (piece->len & (device->block - 1)) == 0);
	child->len = piece->len;
	if (piece->len < hop->len)
		counter_add(&shard_of(hop)->splits, 1);
	move_cursor(hop, e, piece->len);
	e->in_flight++;
	weft_hop_submit(child, device, piece_done);
	return true;
}

static void piece_done(struct weft_hop *hop, struct weft_hop *child, int status)
{
	struct emulation *e = weft_hop_request(hop);
	struct piece *piece = &e->piece[piece_index(hop, child)];

	if (status != 0 && e->status == 0)
		e->status = status;
	if (hop->op == WEFT_COPY && status == 0 && e->status == 0 && !piece->copying_back) {
		piece->copying_back = true;
		child = weft_hop_fork(hop, piece_index(hop, child));
		child->op = WEFT_WRITE;
		child->offset = hop->offset + piece->at;
		child->flags = e->strip_fua ? 0 : hop->flags & WEFT_FUA;
		child->len = piece->len;
		child->segs = &piece->seg;
		child->seg_skip = 0;
		child->nsegs = 1;
		weft_hop_submit(child, device_of(hop), piece_done);
		return;
	}
	if (piece->bounce != NULL) {
		if (hop->op == WEFT_READ && status == 0)
			weft_hop_copy_in(hop, piece->at, piece->bounce, piece->len);
		bounce_give(hop, piece);
	}
	WEFT_ASSERT(e->in_flight > 0);
	e->in_flight--;
	struct adapter_shard *shard = shard_of(hop);
	if (!e->waiting)
		advance(hop);
	serve_waiting(shard);
}

/* A7: as if it had never been used. The device's own span is what one child of ours takes. */
static void clear_layout(struct weft_hop *hop)
{
	WEFT_ASSERT(hop->blk->child_stride >= sizeof(*hop) && hop->blk->ops->width == WINDOW);
	memset(hop + 1, 0, hop->blk->child_stride - sizeof(*hop));
}

static void flush_done(struct weft_hop *hop, struct weft_hop *child, int status)
{
	WEFT_ASSERT(hop->op != WEFT_FLUSH && status <= 0);
	(void)child;
	clear_layout(hop);
	weft_hop_complete(hop, status);
}

static void end(struct weft_hop *hop, struct emulation *e)
{
	struct weft_hop *child;

	WEFT_ASSERT(e->in_flight == 0 && !e->waiting && !e->flushing);
	if (e->status != 0 || !e->flush) {
		int status = e->status;

		clear_layout(hop);
		weft_hop_complete(hop, status);
		return;
	}
	e->flushing = true;
	counter_add(&shard_of(hop)->fua_flushes, 1);
	child = weft_hop_down(hop);
	child->op = WEFT_FLUSH;
	child->flags = 0;
	child->offset = child->len = 0;
	child->nsegs = 0;
	weft_hop_submit(child, device_of(hop), flush_done);
}

static void advance(struct weft_hop *hop)
{
	struct emulation *e = weft_hop_request(hop);

	WEFT_ASSERT(e->in_flight <= WINDOW && !e->flushing);
	for (unsigned i = 0; i < WINDOW && e->status == 0 && e->at < e->until; i++) {
		if (hop_child(hop, i)->state != WEFT_HOP_IDLE)
			continue;
		if (!start_piece(hop, e, i)) {
			wait_for_bounce(hop, e);
			return;
		}
	}
	if (e->status == 0 && e->at < hop->len && e->at >= e->until && !e->yielded) { /* A6 */
		e->yielded = true;
		weft_hop_yield(hop);
	}
	if (e->in_flight == 0 && !e->yielded)
		end(hop, e);
}

static uint64_t turn_end(const struct weft_hop *hop, uint64_t at)
{
	return hop->len - at < WEFT_TURN_BYTES ? hop->len : at + WEFT_TURN_BYTES;
}

static void adapter_resume(struct weft_blk *blk, struct weft_hop *hop)
{
	struct emulation *e = weft_hop_request(hop);

	WEFT_ASSERT(hop->blk == blk && e->yielded && !e->waiting && !e->flushing);
	e->yielded = false;
	e->until = turn_end(hop, e->at);
	advance(hop);
}

static bool copy_overlaps(const struct weft_hop *hop)
{
	return hop->op == WEFT_COPY && hop->source < hop->offset + hop->len && hop->offset < hop->source + hop->len;
}

static void adapter_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	const struct weft_blk *device = WEFT_CONTAINER(blk, struct adapter, blk)->device;
	struct emulation *e = weft_hop_request(hop);

	WEFT_ASSERT(hop->blk == blk && hop->state == WEFT_HOP_ASKED);
	if (hop->op == WEFT_STATUS) {
		status_emulated(hop);
		return;
	}
	if (hop->op == WEFT_FLUSH) {
		weft_hop_complete(hop, 0); /* no volatile cache: blk_started saw to it */
		return;
	}
	if (copy_overlaps(hop)) {
		weft_hop_complete(hop, -EINVAL);
		return;
	}
	clear_layout(hop);
	memset(e, 0, offsetof(struct emulation, piece));
	e->until = turn_end(hop, 0);
	e->seg_skip = hop->seg_skip;
	e->strip_fua = (hop->flags & ~device->flags_can & WEFT_FUA) != 0;
	e->flush = e->strip_fua && device->volatile_cache;
	move_cursor(hop, e, 0);
	advance(hop);
}

static void adapter_abort(struct weft_blk *blk, struct weft_hop *hop)
{
	struct emulation *e = weft_hop_request(hop);
	bool held = e->waiting || e->yielded;

	WEFT_ASSERT(hop->state == WEFT_HOP_ASKED && hop->blk == blk);
	(void)blk;
	if (e->status == 0)
		e->status = -ECANCELED;
	for (unsigned i = 0; i < WINDOW; i++)
		if (hop_child(hop, i)->state == WEFT_HOP_ASKED)
			weft_hop_abort(hop_child(hop, i), -ECANCELED);
	if (e->waiting)
		e->waiting = !hop_queue_remove(&shard_of(hop)->waiting, hop);
	if (e->yielded)
		e->yielded = !weft_hop_unyield(hop);
	WEFT_ASSERT(!e->waiting && !e->yielded);
	if (held && e->in_flight == 0)
		end(hop, e);
}

static uint64_t pool_bytes(const struct adapter *adapter)
{
	return (uint64_t)WINDOW * adapter->bounce_size + adapter->zeroes_size;
}

static int adapter_shard_open(struct weft_blk *blk, void *own, struct weft_reactor *reactor, struct weft_why *why)
{
	const struct adapter *adapter = WEFT_CONTAINER(blk, const struct adapter, blk);
	struct adapter_shard *shard = own;

	WEFT_ASSERT(weft_reactor_here() == reactor);
	hop_list_init(&shard->waiting);
	shard->pool_free = (1u << WINDOW) - 1;
	shard->pool = env_pages_alloc(reactor->core->env, pool_bytes(adapter), false);
	if (shard->pool == NULL)
		return weft_why(why, -ENOMEM, "%s: no memory for bounce buffers (%llu KiB)", blk->object->name,
			(unsigned long long)pool_bytes(adapter) / 1024);
	for (unsigned i = 0; i < ZEROES_SEGS; i++)
		shard->zero_segs[i] = (struct weft_seg){ .base = shard->pool + (size_t)WINDOW * adapter->bounce_size,
			.len = adapter->zeroes_size, .region = WEFT_REGION_NONE };
	return 0;
}

static void adapter_shard_close(struct weft_blk *blk, void *own)
{
	struct adapter_shard *shard = own;

	WEFT_ASSERT(shard->waiting.head == NULL && shard->pool_free == (1u << WINDOW) - 1);
	env_pages_free(blk->object->core->env, shard->pool, pool_bytes(WEFT_CONTAINER(blk, const struct adapter, blk)));
}

static const struct weft_blk_ops adapter_ops = {
	.submit = adapter_submit,
	.abort = adapter_abort,
	.resume = adapter_resume,
	.shard_open = adapter_shard_open,
	.shard_close = adapter_shard_close,
	.shard_size = sizeof(struct adapter_shard),
	.shard_kept = offsetof(struct adapter_shard, pool),
	.request_size = sizeof(struct emulation),
	.width = WINDOW,
};

struct weft_blk *adapter_make(struct weft_blk *device)
{
	struct weft_core *core = device->object->core;
	struct adapter *adapter = weft_alloc_aligned(core, 64, sizeof(*adapter));

	WEFT_ASSERT(device->adapter == NULL && device->block > 0);
	if (adapter == NULL)
		return NULL;
	adapter->device = device;
	adapter->bounce_size = device->block > BOUNCE_LEAST ? device->block : BOUNCE_LEAST;
	adapter->zeroes_size = device->block > ZEROES_LEAST ? device->block : ZEROES_LEAST;
	adapter->blk.ops = &adapter_ops;
	adapter->blk.object = device->object;
	adapter->blk.shard = shards_make(core);
	if (adapter->blk.shard == NULL) {
		weft_free(core, adapter);
		return NULL;
	}
	return &adapter->blk;
}

void adapter_stats(const struct weft_blk *blk, struct weft_stats *out)
{
	WEFT_ASSERT(blk->shard != NULL);
	for (unsigned lane = 0; lane < CORE_REACTORS_MAX; lane++) {
		const struct weft_shard *shard = shard_ever(blk, lane);
		const struct adapter_shard *own;

		if (shard == NULL)
			continue;
		own = (const void *)shard->own;
		out->splits += counter_read(&own->splits);
		out->bounces += counter_read(&own->bounces);
		out->bounced_bytes += counter_read(&own->bounced_bytes);
		out->zeroes_written += counter_read(&own->zeroes_written);
		out->fua_flushes += counter_read(&own->fua_flushes);
	}
}
