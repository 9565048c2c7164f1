/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * compare-write: gives any device compare-and-write. It lives at one home, where all changes of the device meet: what is to be
 * compared is read into a private copy, compared, and then the rest is written, while no other change of these blocks is under way.
 *
 * Invariants:
 *  W1  A compare-and-write and a change that overlaps it are never both below at once: between its read and the end of its write
 *      nothing else changes its blocks.
 *  W2  A change waits only for those that came before it (changes.c): nobody waits for ever, and there is no ring of those who
 *      wait. A compare-and-write takes room for its copy when its turn has come; who has both waits for nobody.
 *  W3  Reads, flushes, what does not overlap, and changes that meet no compare-and-write wait for nobody.
 *  W4  Nothing is written unless all that was to be compared has been read after its turn came, and was equal, and nobody has
 *      aborted it by then. From its write on it is a write like any other: if that fails, it may have happened or not.
 *      -EILSEQ says that the bytes differ, and nothing else does: a disk that fails with it (the checksum that it keeps beside a
 *      block is wrong) has failed with -EIO.
 *  W5  The write has the request's flags, and nothing else has: FUA costs nothing where nothing is written.
 *
 * Where the device below has the operation itself, all requests are passed on, from wherever they come.
 */
#include <inttypes.h>
#include <stdio.h>
#include <weft/export.h>

#include "core/blk.h"
#include "core/counter.h"
#include "devices/bounce.h"
#include "devices/compare_write/changes.h"
#include "devices/device.h"

#define COMPARE_MAX_LEN (64u << 10) /* the longest, unless a block is longer, bytes */

struct compare_write {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *lower;
};

/* At the home only. */
struct compare_shard {
	uint64_t compared, differed, waited; /* counters, kept */
	struct bounce_pool pool;
	struct changes changes;
};
#define COMPARE_KEPT offsetof(struct compare_shard, pool)

/* Behind the hop of a change. */
struct compare_request {
	struct change change;
	struct weft_hop *hop;
	bool aborted;
	struct bounce bounce; /* of a compare-and-write: what the device holds */
};

static struct weft_blk *lower_of(const struct weft_hop *hop)
{
	return DEVICE_OF(hop->blk, const struct compare_write)->lower;
}

static struct compare_request *request_of(struct weft_hop *hop)
{
	return weft_hop_request(hop);
}

static struct bounce *bounce_of(struct weft_hop *hop)
{
	return &request_of(hop)->bounce;
}

static struct compare_shard *shard_of(const struct weft_hop *hop)
{
	return weft_hop_shard(hop);
}

/* ---- a change, once its turn has come ---- */

static void end(struct weft_hop *hop, int status)
{
	change_leave(&shard_of(hop)->changes, &request_of(hop)->change);
	weft_hop_complete(hop, status);
}

static void changed(struct weft_hop *self, struct weft_hop *child, int status)
{
	(void)child;
	end(self, status);
}

/* W4: what the device below says of the read, or the write. */
static int of_lower(int status)
{
	return status == -EILSEQ ? -EIO : status;
}

static void has_written(struct weft_hop *self, struct weft_hop *child, int status)
{
	(void)child;
	end(self, of_lower(status));
}

/* The second half of what the request has. */
static void write_rest(struct weft_hop *hop)
{
	struct weft_hop *child = weft_hop_down(hop);
	uint64_t skip = hop->seg_skip + hop->len;

	for (; skip >= child->segs->len; child->segs++) {
		WEFT_ASSERT(child->nsegs > 1);
		skip -= child->segs->len;
		child->nsegs--;
	}
	child->seg_skip = (uint32_t)skip;
	child->op = WEFT_WRITE;
	weft_hop_submit(child, lower_of(hop), has_written);
}

static bool is_equal(struct weft_hop *hop)
{
	const struct bounce *bounce = bounce_of(hop);
	uint64_t at = 0;

	for (unsigned i = 0; i < bounce->nsegs; at += bounce->segs[i++].len)
		if (!weft_hop_equals(hop, at, bounce->segs[i].base, bounce->segs[i].len))
			return false;
	WEFT_ASSERT(at == hop->len);
	return true;
}

static void has_read(struct weft_hop *self, struct weft_hop *child, int status)
{
	(void)child;
	status = of_lower(status);
	if (request_of(self)->aborted)
		status = -ECANCELED;
	else if (status == 0 && !is_equal(self))
		status = -EILSEQ;
	counter_add(&shard_of(self)->differed, status == -EILSEQ);
	bounce_give(&shard_of(self)->pool, self);
	if (status == 0)
		write_rest(self);
	else
		end(self, status);
}

static void read_and_compare(struct weft_hop *hop)
{
	struct weft_hop *child = weft_hop_down(hop);

	counter_add(&shard_of(hop)->compared, 1);
	child->op = WEFT_READ;
	child->flags = 0;
	bounce_use(bounce_of(hop), child);
	weft_hop_submit(child, lower_of(hop), has_read);
}

static void go(struct change *change)
{
	struct weft_hop *hop = WEFT_CONTAINER(change, struct compare_request, change)->hop;

	WEFT_ASSERT(hop->state == WEFT_HOP_ASKED);
	if (!change->alone)
		weft_hop_submit(weft_hop_down(hop), lower_of(hop), changed);
	else if (bounce_take(&shard_of(hop)->pool, hop))
		read_and_compare(hop);
}

/* ---- requests ---- */

static void submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct compare_request *request = request_of(hop);

	(void)blk;
	if (!device_changes(hop->op)) {
		weft_hop_forward(hop, lower_of(hop), 0);
		return;
	}
	request->change.offset = hop->offset;
	request->change.end = hop->offset + hop->len;
	request->change.alone = hop->op == WEFT_COMPARE_WRITE;
	request->hop = hop;
	request->aborted = false;
	request->bounce.waiting = false;
	if (WEFT_LIKELY(change_enter(&shard_of(hop)->changes, &request->change)))
		go(&request->change);
	else
		counter_add(&shard_of(hop)->waited, 1);
}

static void abort_one(struct weft_blk *blk, struct weft_hop *hop)
{
	struct compare_request *request = request_of(hop);

	WEFT_ASSERT(hop->state == WEFT_HOP_ASKED);
	if (!device_changes(hop->op)) {
		device_abort_children(blk, hop);
	} else if (change_waits(&request->change)) {
		end(hop, -ECANCELED);
	} else if (request->bounce.waiting) {
		bounce_cancel(&shard_of(hop)->pool, hop);
		end(hop, -ECANCELED);
	} else {
		request->aborted = true; /* W4 */
		device_abort_children(blk, hop);
	}
}

static int shard_open(struct weft_blk *blk, void *shard, struct weft_reactor *reactor, struct weft_why *why)
{
	struct compare_shard *mine = shard;

	WEFT_ASSERT(weft_reactor_here() == blk->home && reactor == blk->home);
	mine->changes.go = go;
	return bounce_open(&mine->pool, weft_reactor_core(reactor), read_and_compare, bounce_of, why);
}

static void shard_close(struct weft_blk *blk, void *shard)
{
	struct compare_shard *mine = shard;

	(void)blk;
	WEFT_ASSERT(changes_none(&mine->changes));
	bounce_close(&mine->pool);
}

static const struct weft_blk_ops compare_ops = {
	.submit = submit,
	.abort = abort_one,
	.shard_open = shard_open,
	.shard_close = shard_close,
	.shard_size = sizeof(struct compare_shard),
	.shard_kept = COMPARE_KEPT,
	.request_size = sizeof(struct compare_request),
	.width = 1,
	.at_home = true,
};

/* ---- where the device below compares by itself ---- */

static void pass(struct weft_blk *blk, struct weft_hop *hop)
{
	(void)blk;
	weft_hop_forward(hop, lower_of(hop), 0);
}

static const struct weft_blk_ops passing_ops = { .submit = pass, .width = 1 };

/* ---- control ---- */

static void compare_write_start(struct weft_object *object, struct weft_task *task)
{
	struct compare_write *self = DEVICE_OF_OBJECT(object, struct compare_write);
	struct weft_blk *blk = &self->blk, *lower = self->lower;

	WEFT_ASSERT(lower != NULL);
	weft_blk_like(blk, lower);
	blk->ops = &passing_ops;
	if ((lower->ops_can & WEFT_OP_BIT(WEFT_COMPARE_WRITE)) == 0) {
		blk->ops = &compare_ops;
		blk->ops_can |= WEFT_OP_BIT(WEFT_COMPARE_WRITE);
		blk->max_compare = blk->block > COMPARE_MAX_LEN ? blk->block : COMPARE_MAX_LEN;
		/* Requests for a device that lives somewhere are carried there anyway. */
		blk->home = lower->ops->at_home ? lower->home : weft_reactor_pick_home(object->core);
	}
	device_end(task, 0);
}

static void compare_write_lower_resized(struct weft_object *object)
{
	struct compare_write *self = DEVICE_OF_OBJECT(object, struct compare_write);

	WEFT_ASSERT(self->lower->size % self->blk.block == 0);
	weft_blk_resized(&self->blk, self->lower->size);
}

static void put_count(weft_describe_put *put, void *to, const char *name, uint64_t count)
{
	char text[32];

	snprintf(text, sizeof(text), "%" PRIu64, count);
	put(to, name, text);
}

static void compare_write_describe(const struct weft_object *object, weft_describe_put *put, void *to)
{
	const struct compare_write *self = DEVICE_OF_OBJECT(object, const struct compare_write);
	const struct weft_shard *there;
	const struct compare_shard *shard;

	if (self->blk.home == NULL) {
		put(to, "compares", "the device below, by itself");
		return;
	}
	put_count(put, to, "lives at reactor", weft_reactor_lane(self->blk.home));
	there = self->blk.shard != NULL ? shard_ever(&self->blk, weft_reactor_lane(self->blk.home)) : NULL;
	shard = there != NULL ? (const void *)there->own : NULL;
	put_count(put, to, "compared", shard != NULL ? counter_read(&shard->compared) : 0);
	put_count(put, to, "found to differ", shard != NULL ? counter_read(&shard->differed) : 0);
	put_count(put, to, "changes that waited for another", shard != NULL ? counter_read(&shard->waited) : 0);
}

static const struct weft_port compare_write_ports[] = {
	{ .name = "lower",
		.wants = &weft_blk_iface,
		.min = 1,
		.max = 1,
		.flags = WEFT_PORT_EXCLUSIVE,
		.offset = offsetof(struct compare_write, lower),
		.help = "the device that is to compare; nothing else may change it" },
	{ 0 },
};

static const struct weft_offer compare_write_offers[] = {
	{ &weft_blk_iface, offsetof(struct compare_write, blk) },
	{ 0 },
};

extern const struct weft_kind compare_write_kind;
const struct weft_kind compare_write_kind = {
	.name = "compare-write",
	.summary = "gives a device compare-and-write, atomic among all requests",
	.size = sizeof(struct compare_write),
	.ports = compare_write_ports,
	.offers = compare_write_offers,
	.start = compare_write_start,
	.lower_resized = compare_write_lower_resized,
	.describe = compare_write_describe,
};
