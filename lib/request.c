/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests of a program: from a call to a slot and down, and back up into the queue's ring of completions. Nothing here
 * allocates, locks or enters the kernel; the clock is read once per batch.
 */
#include <errno.h>

#include "env/env.h"
#include "lib/lib.h"

static const uint8_t flags_of_op[WEFT_OP_COUNT] = {
	[WEFT_WRITE] = WEFT_FUA, [WEFT_DISCARD] = WEFT_FUA, [WEFT_ZERO] = WEFT_FUA | WEFT_NO_UNMAP | WEFT_FAST,
	[WEFT_COMPARE_WRITE] = WEFT_FUA, [WEFT_COPY] = WEFT_FUA,
};
_Static_assert(WEFT_IOV_MAX == WEFT_VECTOR_SEGS, "a request has at most as many pieces as a vector");

/* ---- memory ---- */

/* Among all areas: the one that holds the piece. */
static const struct area *area_search(const struct program *p, const char *base, const char *end)
{
	unsigned low = 0, high = p->nareas;

	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (p->areas[middle].end <= base)
			low = middle + 1;
		else
			high = middle;
	}
	return low < p->nareas && p->areas[low].base <= base && end <= p->areas[low].end ? &p->areas[low] : NULL;
}

static inline uint16_t region_of(struct weft_queue *queue, const void *memory, uint64_t len)
{
	struct program *p = queue->program;
	const char *base = memory, *end = (const char *)((uintptr_t)memory + len); /* an empty piece may be NULL */
	const struct area *area = p->last;

	if (WEFT_UNLIKELY(p->generation != atomic_load_explicit(&p->weft->areas_generation, memory_order_acquire))) {
		areas_refresh(p);
		area = NULL;
	}
	if (WEFT_UNLIKELY(area == NULL || base < area->base || end > area->end)) {
		area = area_search(p, base, end);
		if (area == NULL) {
			queue->outside++;
			return WEFT_REGION_NONE;
		}
		p->last = area;
	}
	__atomic_store_n(&p->uses[area->region], p->uses[area->region] + 1, __ATOMIC_RELAXED);
	return area->region;
}

static inline void memory_put(struct program *p, const struct weft_seg *segs, unsigned nsegs)
{
	for (unsigned i = 0; i < nsegs; i++)
		if (segs[i].region != WEFT_REGION_NONE)
			__atomic_store_n(&p->uses[segs[i].region], p->uses[segs[i].region] - 1, __ATOMIC_RELEASE);
}

/* ---- back up ---- */

static void ended(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(root, struct weft_slot, root);
	struct weft_queue *queue = WEFT_CONTAINER(slot->session, struct weft_queue, session);
	struct weft_completion *completion = &queue->ring[(queue->head + queue->ended) & queue->mask];

	(void)child;
	WEFT_ASSERT(queue->ended < queue->outstanding);
	completion->user_data = (void *)(uintptr_t)slot->tag;
	completion->status = status;
	completion->reserved = 0;
	queue->ended++;
	queue->program->ended++;
	memory_put(queue->program, slot->segs, root->nsegs);
	weft_slot_give(slot);
}

/* ---- down ---- */

struct request {
	unsigned op, flags;
	uint64_t offset, len, source;
	const struct iovec *iov;
	unsigned iovcnt;
	void *user_data;
};

static int refuse(struct weft_queue *queue, int error, const char *text)
{
	queue->refusal = text;
	return error;
}

static int full(struct weft_queue *queue)
{
	queue->full++;
	return refuse(queue, -EAGAIN, "the queue is full: take completions (weft_queue_poll), or open it with more depth");
}

static int flags_refused(struct weft_queue *queue, const struct request *r)
{
	weft_why(&queue->why, -EINVAL, "%s: flags 0x%x: of enum weft_flag it takes 0x%x", weft_op_name(r->op), r->flags,
		flags_of_op[r->op]);
	return refuse(queue, -EINVAL, queue->why.text);
}

/* Once per batch, that is between two turns: the time, for latencies and deadlines. */
static inline void batch_begin(struct weft_queue *queue)
{
	struct program *p = queue->program;

	if (queue->staged_at == p->sent)
		return;
	queue->staged_at = p->sent;
	queue->staged = 0;
	p->reactor->now = env_now_ns(p->weft->env);
}

static inline void pieces_fill(struct weft_queue *queue, struct weft_slot *slot, const struct request *r)
{
	for (unsigned i = 0; i < r->iovcnt; i++)
		slot->segs[i] = (struct weft_seg){ .base = r->iov[i].iov_base, .len = (uint32_t)r->iov[i].iov_len,
			.region = region_of(queue, r->iov[i].iov_base, r->iov[i].iov_len) };
}

/* The pieces are sound. On the reactor. */
static inline int stage_here(struct weft_queue *queue, const struct request *r)
{
	struct weft_slot *slot = weft_session_slot(&queue->session);

	WEFT_ASSERT(slot != NULL); /* L5 */
	if (WEFT_UNLIKELY(r->iovcnt > WEFT_SLOT_SEGS) && !weft_slot_borrow(slot)) {
		weft_slot_give(slot);
		queue->full++;
		return refuse(queue, -EAGAIN, "as many requests of more than 8 pieces are in flight as a reactor takes: take "
			"completions first");
	}
	batch_begin(queue);
	pieces_fill(queue, slot, r);
	slot->tag = (uint64_t)(uintptr_t)r->user_data;
	slot->root.source = r->source;
	queue->outstanding++;
	queue->staged++;
	queue->requests++;
	weft_slot_submit(slot, r->op, r->flags, r->offset, r->len, r->iovcnt, ended);
	return 0;
}

static inline int stage(struct weft_queue *queue, const struct request *r)
{
	struct weft_reactor *before;
	int error;

	if (WEFT_UNLIKELY(queue->outstanding >= queue->depth))
		return full(queue);
	if (WEFT_UNLIKELY((r->flags & ~(unsigned)flags_of_op[r->op]) != 0))
		return flags_refused(queue, r);
	before = reactor_enter(queue->program->reactor);
	error = stage_here(queue, r);
	reactor_leave(before);
	return error;
}

/* ---- requests with data ---- */

static int piece_refused(struct weft_queue *queue, const void *base, uint64_t len)
{
	int error = len > WEFT_MAX_LEN ? -EMSGSIZE : -EINVAL;

	if (len > WEFT_MAX_LEN)
		weft_why(&queue->why, error, "%llu bytes: a request has at most %u: make several of it", (unsigned long long)len,
			WEFT_MAX_LEN);
	else
		weft_why(&queue->why, error, "%llu bytes at %p are none: pass memory of that size", (unsigned long long)len, base);
	return refuse(queue, error, queue->why.text);
}

static inline bool piece_is_sound(const void *base, uint64_t len)
{
	return len <= WEFT_MAX_LEN && (base != NULL || len == 0) && (uintptr_t)base <= UINTPTR_MAX - len;
}

static inline int stage_buffer(struct weft_queue *queue, unsigned op, uint64_t offset, const void *buf, size_t len, void *user_data,
	unsigned flags)
{
	struct iovec iov = { (void *)(uintptr_t)buf, len };
	struct request r = { .op = op, .flags = flags, .offset = offset, .len = len, .iov = &iov, .iovcnt = len > 0,
		.user_data = user_data };
	int error = queue_check(queue);

	if (WEFT_UNLIKELY(error != 0))
		return error;
	if (WEFT_UNLIKELY(!piece_is_sound(buf, len)))
		return piece_refused(queue, buf, len);
	return stage(queue, &r);
}

int weft_queue_read(struct weft_queue *queue, uint64_t offset, void *buf, size_t len, void *user_data, unsigned flags)
{
	return stage_buffer(queue, WEFT_READ, offset, buf, len, user_data, flags);
}

int weft_queue_write(struct weft_queue *queue, uint64_t offset, const void *buf, size_t len, void *user_data, unsigned flags)
{
	return stage_buffer(queue, WEFT_WRITE, offset, buf, len, user_data, flags);
}

static int vector_check(struct weft_queue *queue, const struct iovec *iov, unsigned iovcnt, uint64_t *len)
{
	*len = 0;
	if (iovcnt > WEFT_IOV_MAX || (iov == NULL && iovcnt > 0)) {
		weft_why(&queue->why, -EINVAL, "%u pieces at %p: pass at most WEFT_IOV_MAX (%d), and where they are", iovcnt,
			(const void *)iov, WEFT_IOV_MAX);
		return refuse(queue, -EINVAL, queue->why.text);
	}
	for (unsigned i = 0; i < iovcnt; i++) {
		if (!piece_is_sound(iov[i].iov_base, iov[i].iov_len))
			return piece_refused(queue, iov[i].iov_base, iov[i].iov_len);
		*len += iov[i].iov_len;
	}
	return *len > WEFT_MAX_LEN ? piece_refused(queue, NULL, *len) : 0;
}

static int stage_vector(struct weft_queue *queue, unsigned op, uint64_t offset, const struct iovec *iov, unsigned iovcnt,
	void *user_data, unsigned flags)
{
	struct request r = { .op = op, .flags = flags, .offset = offset, .iov = iov, .iovcnt = iovcnt, .user_data = user_data };
	int error = queue_check(queue);

	if (error == 0)
		error = vector_check(queue, iov, iovcnt, &r.len);
	return error != 0 ? error : stage(queue, &r);
}

int weft_queue_readv(struct weft_queue *queue, uint64_t offset, const struct iovec *iov, unsigned iovcnt, void *user_data,
	unsigned flags)
{
	return stage_vector(queue, WEFT_READ, offset, iov, iovcnt, user_data, flags);
}

int weft_queue_writev(struct weft_queue *queue, uint64_t offset, const struct iovec *iov, unsigned iovcnt, void *user_data,
	unsigned flags)
{
	return stage_vector(queue, WEFT_WRITE, offset, iov, iovcnt, user_data, flags);
}

int weft_queue_compare_write(struct weft_queue *queue, uint64_t offset, const void *compare, const void *write, size_t len,
	void *user_data, unsigned flags)
{
	struct iovec iov[2] = { { (void *)(uintptr_t)compare, len }, { (void *)(uintptr_t)write, len } };
	struct request r = { .op = WEFT_COMPARE_WRITE, .flags = flags, .offset = offset, .len = len, .iov = iov,
		.iovcnt = len > 0 ? 2 : 0, .user_data = user_data };
	int error = queue_check(queue);

	if (error != 0)
		return error;
	if (!piece_is_sound(compare, len) || !piece_is_sound(write, len))
		return piece_refused(queue, piece_is_sound(compare, len) ? write : compare, len);
	return stage(queue, &r);
}

int weft_queue_status(struct weft_queue *queue, uint64_t offset, uint64_t len, struct weft_extent *extents, unsigned count,
	void *user_data, unsigned flags)
{
	uint64_t bytes = count * (uint64_t)sizeof(*extents);
	struct iovec iov = { extents, (size_t)bytes };
	struct request r = { .op = WEFT_STATUS, .flags = flags, .offset = offset, .len = len, .iov = &iov, .iovcnt = 1,
		.user_data = user_data };
	int error = queue_check(queue);

	if (error != 0)
		return error;
	if (extents == NULL || count == 0)
		return refuse(queue, -EINVAL, "extents: NULL, or none: pass room for at least one");
	if (!piece_is_sound(extents, bytes))
		return piece_refused(queue, extents, bytes);
	return stage(queue, &r);
}

/* ---- requests without ---- */

static int stage_plain(struct weft_queue *queue, unsigned op, uint64_t offset, uint64_t len, uint64_t source, void *user_data,
	unsigned flags)
{
	struct request r = { .op = op, .flags = flags, .offset = offset, .len = len, .source = source, .user_data = user_data };
	int error = queue_check(queue);

	return error != 0 ? error : stage(queue, &r);
}

int weft_queue_flush(struct weft_queue *queue, void *user_data, unsigned flags)
{
	return stage_plain(queue, WEFT_FLUSH, 0, 0, 0, user_data, flags);
}

int weft_queue_discard(struct weft_queue *queue, uint64_t offset, uint64_t len, void *user_data, unsigned flags)
{
	return stage_plain(queue, WEFT_DISCARD, offset, len, 0, user_data, flags);
}

int weft_queue_zero(struct weft_queue *queue, uint64_t offset, uint64_t len, void *user_data, unsigned flags)
{
	return stage_plain(queue, WEFT_ZERO, offset, len, 0, user_data, flags);
}

int weft_queue_copy(struct weft_queue *queue, uint64_t offset, uint64_t source, uint64_t len, void *user_data, unsigned flags)
{
	return stage_plain(queue, WEFT_COPY, offset, len, source, user_data, flags);
}
