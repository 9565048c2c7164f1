/* SPDX-License-Identifier: BSD-2-Clause */
/* broken: a filter that breaks one promise, for tests of those who must notice. Sees the installed headers only. */
#include <errno.h>
#include <string.h>
#include <weft/blk.h>

enum how { LOST_WRITE, STALE_READ, MISDIRECTED, SHORT, LONG_DISCARD, KEPT_ZEROES, LONG_ZEROES, NO_COPY, BLIND_COMPARE, STATUS_LIES,
	STATUS_GAP, NO_FLUSH, NO_FUA, NO_DISCARD, WRITES_MEMORY, SMALL_DEPTH, NO_GROWTH, LAST_SEGMENT, HALF_COMPARE,
	RACY_COMPARE, MUTE_FLUSH, MUTE_START, MUTE_STOP, MUTE_RESIZE };
#define HOW "lost-write|stale-read|misdirected|short|long-discard|kept-zeroes|long-zeroes|no-copy|blind-compare|status-lies|" \
	"status-gap|no-flush|no-fua|no-discard|writes-memory|small-depth|no-growth|last-segment|" \
	"half-compare|racy-compare|mute-flush|mute-start|mute-stop|mute-resize"

struct broken { struct weft_object object; struct weft_blk blk, *lower; uint32_t how; uint64_t count, in_flight; };
static struct broken *broken_of(struct weft_blk *blk) { return WEFT_CONTAINER(blk, struct broken, blk); }

static void done(struct weft_hop *self, struct weft_hop *child, int status)
{
	struct broken *b = broken_of(self->blk);
	char byte = 'X';

	(void)child;
	__atomic_fetch_sub(&b->in_flight, 1, __ATOMIC_RELAXED);
	if (b->how == STALE_READ && self->op == WEFT_READ && self->len > b->blk.block)
		weft_hop_zero_fill(self, self->len - b->blk.block, b->blk.block);
	if (b->how == WRITES_MEMORY && self->op == WEFT_WRITE && self->offset % 8192 == 0)
		weft_hop_copy_in(self, self->len / 2, &byte, 1);
	weft_hop_complete(self, status);
}

/* What is asked of the device below instead; true: nothing, it is answered already. */
static bool is_answered(struct broken *b, struct weft_hop *hop, struct weft_hop *n)
{
	uint64_t number = __atomic_add_fetch(&b->count, 1, __ATOMIC_RELAXED);
	static const struct weft_extent gap[2] = { { .offset = 512, .len = 512 }, { 0 } };
	struct weft_extent all = { .offset = hop->offset, .len = hop->len, .flags = WEFT_EXTENT_ZERO };

	if (b->how == LOST_WRITE && hop->op == WEFT_WRITE)
		return number % 50 == 0;
	if (b->how == MISDIRECTED && hop->op == WEFT_WRITE && number % 50 == 0 && hop->offset >= hop->len)
		n->offset -= hop->len;
	if (b->how == LONG_DISCARD && hop->op == WEFT_DISCARD && hop->offset > 0) {
		n->op = WEFT_ZERO;
		n->offset -= b->blk.block;
	}
	if (b->how == LONG_ZEROES && hop->op == WEFT_ZERO && hop->offset > 0)
		n->offset -= b->blk.block;
	if ((b->how == STATUS_LIES || b->how == STATUS_GAP) && hop->op == WEFT_STATUS) {
		weft_hop_copy_in(hop, 0, b->how == STATUS_GAP ? (const void *)gap : &all, sizeof(all));
		return true;
	}
	return (b->how == KEPT_ZEROES && hop->op == WEFT_ZERO && (hop->flags & WEFT_NO_UNMAP) != 0) ||
		(b->how == NO_COPY && hop->op == WEFT_COPY);
}

static bool is_refused(const struct broken *b, const struct weft_hop *hop)
{
	return (b->how == SHORT && hop->offset + hop->len == b->blk.size && hop->op != WEFT_FLUSH) ||
		(b->how == NO_FLUSH && hop->op == WEFT_FLUSH) || (b->how == NO_DISCARD && hop->op == WEFT_DISCARD) ||
		(b->how == NO_FUA && (hop->flags & WEFT_FUA) != 0) ||
		(b->how == SMALL_DEPTH && __atomic_load_n(&b->in_flight, __ATOMIC_RELAXED) > 60) ||
		(b->how == LAST_SEGMENT && hop->nsegs > 100);
}

/* Reads, compares (half of it), and writes; others may write meanwhile. */
struct compared { struct weft_seg seg; char bytes[4096]; };

static void compare_read(struct weft_hop *self, struct weft_hop *child, int status)
{
	struct broken *b = broken_of(self->blk);
	struct compared *compared = weft_hop_request(self);

	if (status == 0 && !weft_hop_equals(self, 0, compared->bytes, b->how == HALF_COMPARE ? self->len / 2 : self->len))
		status = -EILSEQ;
	if (status != 0) {
		weft_hop_complete(self, status);
		return;
	}
	child = weft_hop_down(self);
	child->op = WEFT_WRITE;
	child->seg_skip += (uint32_t)self->len;
	weft_hop_submit(child, b->lower, weft_hop_pass);
}

static void compare(struct broken *b, struct weft_hop *hop)
{
	struct compared *compared = weft_hop_request(hop);
	struct weft_hop *n = weft_hop_down(hop);

	compared->seg = (struct weft_seg){ .base = compared->bytes, .len = (uint32_t)hop->len };
	n->op = WEFT_READ;
	n->flags = 0;
	n->segs = &compared->seg;
	n->seg_skip = 0;
	n->nsegs = 1;
	weft_hop_submit(n, b->lower, compare_read);
}

static void submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct broken *b = broken_of(blk);
	struct weft_hop *n;

	if (b->how == MUTE_FLUSH && hop->op == WEFT_FLUSH)
		return;
	if (is_refused(b, hop)) {
		weft_hop_complete(hop, -EIO);
		return;
	}
	if (hop->op == WEFT_COMPARE_WRITE && b->how != BLIND_COMPARE) {
		compare(b, hop);
		return;
	}
	n = weft_hop_down(hop);
	if (hop->op == WEFT_COMPARE_WRITE) { /* writes without looking, what is to be compared at that */
		n->op = WEFT_WRITE;
	} else if (is_answered(b, hop, n)) {
		n->op = WEFT_FLUSH; /* a turn later, as it should be */
		n->offset = n->len = 0;
		n->flags = 0;
	}
	__atomic_fetch_add(&b->in_flight, 1, __ATOMIC_RELAXED);
	weft_hop_submit(n, b->lower, done);
}

static const struct weft_blk_ops ops = { .submit = submit, .request_size = sizeof(struct compared), .width = 1 };

static void start(struct weft_object *object, struct weft_task *task)
{
	struct broken *b = (void *)object;

	weft_blk_like(&b->blk, b->lower);
	b->blk.ops = &ops;
	b->blk.max_compare = sizeof(((struct compared *)0)->bytes);
	if (b->how == BLIND_COMPARE || b->how == HALF_COMPARE || b->how == RACY_COMPARE)
		b->blk.ops_can |= 1 << WEFT_COMPARE_WRITE;
	if (b->how == MUTE_FLUSH)
		b->blk.volatile_cache = true;
	if (b->how != MUTE_START)
		task->done(task, 0);
}

static void stop(struct weft_object *object, struct weft_task *task)
{
	if (((struct broken *)(void *)object)->how != MUTE_STOP)
		task->done(task, 0);
}

/* Says that it has grown, and has not. */
static void resize(struct weft_object *object, uint64_t size, struct weft_task *task)
{
	unsigned how = ((struct broken *)(void *)object)->how;

	(void)size;
	if (how != MUTE_RESIZE)
		task->done(task, how == NO_GROWTH ? 0 : -ENOTSUP);
}

static const struct weft_option options[] = {
	{ .name = "how", .type = WEFT_OPTION_CHOICE, .flags = WEFT_OPTION_REQUIRED, .offset = offsetof(struct broken, how),
	  .help = "which promise", .choices = HOW }, { 0 } };
static const struct weft_port ports[] = { { "lower", &weft_blk_iface, 1, 1, 0, offsetof(struct broken, lower), "data" }, { 0 } };
static const struct weft_offer offers[] = { { &weft_blk_iface, offsetof(struct broken, blk) }, { 0 } };
static const struct weft_kind kind = { .name = "broken", .summary = "breaks a promise", .size = sizeof(struct broken),
	.options = options, .ports = ports, .offers = offers, .start = start, .stop = stop,
	.resize = resize };
WEFT_MODULE("broken", "1", &kind);
