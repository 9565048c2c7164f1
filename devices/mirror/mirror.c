/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mirror: two to eight devices that hold the same. A write goes to all live legs, and is acknowledged when
 * all have it; a read asks one. Invariants: mirror.h.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <weft/export.h>
#include <weft/log.h>
#include <weft/reactor.h>

#include "core/blk.h"
#include "core/core.h"
#include "core/counter.h"
#include "devices/device.h"
#include "devices/mirror/mirror.h"

#define MIRROR_AGAIN_US 5000000u /* how long a leg may take to do again what was aborted, when the request says nothing */

struct mirror_shard {
	struct bounce_pool pool; /* first: BOUNCE_KEPT */
	uint32_t next;
	uint32_t busy[MIRROR_LEGS];
	struct mirror_copier copier; /* with state= */
};

/* In hop->scratch. Legs by bit: done it, failed, of these aborted, of these become smaller (M8). */
struct mirror_state {
	uint8_t pending, ok, failed, cut, smaller; /* pending: children in flight */
	bool aborted, again, bounced, waiting, asks, leased, ordered; /* waiting: for room; asks, leased: R2; ordered: M9 */
	int error; /* the first one */
};
_Static_assert(sizeof(struct mirror_state) <= sizeof(((struct weft_hop *)0)->scratch), "fits");

static struct mirror *mirror_of(struct weft_blk *blk)
{
	return DEVICE_OF(blk, struct mirror);
}
static struct mirror_state *state_of(struct weft_hop *hop)
{
	return (void *)hop->scratch;
}
static struct mirror_request *request_of(struct weft_hop *hop)
{
	return weft_hop_request(hop);
}
static struct bounce *bounce_of(struct weft_hop *hop)
{
	return &request_of(hop)->bounce;
}

/* M8 */
bool mirror_leg_shrank(const struct weft_blk *leg, const struct weft_hop *hop, int status)
{
	return status == -ERANGE && hop->offset + hop->len > __atomic_load_n(&leg->size, __ATOMIC_RELAXED);
}

/* M7: without a record; with one it is the control thread that says so (R7). */
static void become_suspect(struct mirror *mirror)
{
	if (!atomic_exchange(&mirror->suspect, true))
		weft_log(mirror->object.core, WEFT_LOG_WARN,
			"%s: a write was cut short or failed: legs may differ there, and only one is read from now on",
			mirror->object.name);
}

/* M5: may it go on without a leg? */
static bool may_drop(const struct mirror *mirror)
{
	return mirror->state != NULL || mirror->unrecorded == MIRROR_ACKNOWLEDGE;
}

/* No leg is dropped, some have failed. */
static void tell_failed(const struct mirror *mirror, const struct weft_hop *hop, unsigned failed, int error)
{
	for (unsigned i = 0; i < mirror->legs; i++)
		if ((failed >> i & 1) != 0)
			weft_log(mirror->object.core, WEFT_LOG_ERROR,
				"%s: leg %u (%s) failed a %s with %s%s", mirror->object.name, i,
				mirror->leg[i]->object->name, weft_op_name(hop->op), device_error_name(error),
				hop->op == WEFT_READ || hop->op == WEFT_STATUS
					? "; another one answers it"
					: ", and so do we: without state= no leg can be done without");
}

static void tell_dropped(const struct mirror *mirror, unsigned leg, unsigned left, int error)
{
	const char *advice = mirror->state == NULL ?
		"; no state= records it: do not start the mirror with it again before it has been copied anew" :
		__atomic_load_n(&mirror->rebuilds, __ATOMIC_RELAXED) ? "; it is tried again" : "";

	weft_log(mirror->object.core, WEFT_LOG_ERROR, "%s: leg %u (%s) failed with %s: dropped, %d of %u left%s",
		mirror->object.name, leg, mirror->leg[leg]->object->name, device_error_name(error), __builtin_popcount(left),
		mirror->legs, advice);
}

int mirror_settle(struct mirror *mirror, unsigned ok, unsigned failed, int error)
{
	const unsigned live = (1u << MIRROR_RECEIVING) - 1;
	unsigned was = atomic_load(&mirror->in_use), is;

	do {
		WEFT_ASSERT((was & live) != 0);
		if ((was & live & ok) == 0)
			return error;
		is = was & ~(failed | failed << MIRROR_RECEIVING);
	} while (is != was && !atomic_compare_exchange_weak(&mirror->in_use, &was, is));
	for (unsigned i = 0; i < mirror->legs; i++)
		if (((was & ~is) >> i & 0x101) != 0)
			tell_dropped(mirror, i, is & live, error);
	if (is != was && mirror->state != NULL)
		rebuild_wake(mirror);
	return 0;
}

/* ---- reading ---- */

static unsigned pick(const struct mirror *mirror, struct mirror_shard *shard, unsigned candidates)
{
	unsigned best = (unsigned)__builtin_ctz(candidates);
	uint32_t policy = __atomic_load_n(&mirror->policy, __ATOMIC_RELAXED); /* changeable live */

	WEFT_ASSERT(candidates != 0);
	if (WEFT_UNLIKELY(atomic_load_explicit(&mirror->suspect, memory_order_relaxed)))
		policy = MIRROR_FIRST;
	if (policy == MIRROR_ROUND_ROBIN) {
		do
			shard->next = shard->next + 1 < mirror->legs ? shard->next + 1 : 0;
		while ((candidates >> shard->next & 1) == 0);
		return shard->next;
	}
	for (unsigned i = best + 1; policy == MIRROR_LEAST_BUSY && i < mirror->legs; i++)
		if ((candidates >> i & 1) != 0 && shard->busy[i] < shard->busy[best])
			best = i;
	return best;
}

static void read_done(struct weft_hop *self, struct weft_hop *child, int status);

static void read_from(struct mirror *mirror, struct weft_hop *hop, unsigned candidates)
{
	struct mirror_shard *shard = weft_hop_shard(hop);
	unsigned leg = pick(mirror, shard, candidates);

	shard->busy[leg]++;
	weft_hop_submit(weft_hop_fork(hop, leg), mirror->leg[leg], read_done);
}

static void read_done(struct weft_hop *self, struct weft_hop *child, int status)
{
	struct mirror *mirror = mirror_of(self->blk);
	struct mirror_state *state = state_of(self);
	struct mirror_shard *shard = weft_hop_shard(self);
	unsigned leg = device_child_index(self->blk, self, child), others;

	WEFT_ASSERT(shard->busy[leg] > 0);
	shard->busy[leg]--;
	if (WEFT_LIKELY(status == 0)) {
		if (WEFT_UNLIKELY(state->failed != 0)) {
			if (may_drop(mirror))
				mirror_settle(mirror, 1u << leg, state->failed, state->error);
			else
				tell_failed(mirror, self, state->failed, state->error);
		}
		weft_hop_complete(self, 0);
		return;
	}
	if (mirror_leg_shrank(mirror->leg[leg], self, status)) {
		weft_hop_complete(self, status);
		return;
	}
	state->failed |= (uint8_t)(1u << leg);
	if (state->error == 0)
		state->error = status;
	others = mirror_live(mirror) & ~(unsigned)state->failed;
	if (others == 0 || state->aborted)
		weft_hop_complete(self, state->aborted ? -ECANCELED : state->error);
	else
		read_from(mirror, self, others);
}

/* ---- writing, and all that changes what the legs hold ---- */

static void write_done(struct weft_hop *self, struct weft_hop *child, int status);

/* To the legs of `mask`, by bit. */
static void write_to(struct weft_hop *hop, unsigned mask, uint32_t deadline_us)
{
	struct mirror *mirror = mirror_of(hop->blk);
	struct mirror_state *state = state_of(hop);

	WEFT_ASSERT(mask != 0 && state->pending == 0);
	state->pending = (uint8_t)__builtin_popcount(mask);
	for (unsigned i = 0; i < mirror->legs; i++) {
		if ((mask >> i & 1) == 0)
			continue;
		struct weft_hop *child = weft_hop_fork(hop, i);
		if (hop->op == WEFT_DISCARD)
			child->op = WEFT_ZERO;
		if (deadline_us != 0)
			weft_hop_deadline(child, deadline_us);
		if (state->bounced)
			bounce_use(bounce_of(hop), child);
		weft_hop_submit(child, mirror->leg[i], write_done);
	}
}

static void write_end(struct weft_hop *hop, int status)
{
	if (state_of(hop)->bounced)
		bounce_give(&((struct mirror_shard *)weft_hop_shard(hop))->pool, hop);
	if (state_of(hop)->ordered)
		order_give(mirror_of(hop->blk), hop);
	if (state_of(hop)->leased)
		lease_give(mirror_of(hop->blk), hop);
	weft_hop_complete(hop, status);
}

static void write_recorded(void *self)
{
	struct weft_hop *hop = self;

	WEFT_ASSERT(hop->state == WEFT_HOP_ASKED && weft_hop_reactor(hop) == weft_reactor_here());
	write_end(hop, request_of(hop)->status);
}

/* By way of the control thread: M5, or R7. */
static void write_tell(struct weft_hop *hop, bool tears, int status)
{
	struct mirror *mirror = mirror_of(hop->blk);
	struct mirror_request *request = request_of(hop);

	WEFT_ASSERT(mirror->state != NULL && tears == (status != 0));
	if (!state_of(hop)->leased)
		request->regions = 0;
	request->hop = hop;
	request->ok = state_of(hop)->ok;
	request->wait = MIRROR_WAITS_RECORD;
	request->tears = tears;
	request->status = status;
	request->resume = write_recorded;
	state_wait(mirror, request);
}

/* M5: legs that the record calls in sync have missed this one. */
static void write_missed(struct weft_hop *hop)
{
	struct mirror *mirror = mirror_of(hop->blk);

	WEFT_ASSERT(may_drop(mirror));
	if (mirror->state != NULL) {
		write_tell(hop, false, 0);
		return;
	}
	atomic_fetch_and(&mirror->recorded, mirror_live(mirror));
	write_end(hop, 0);
}

/* Legs may differ there now (M7, R7). */
static void write_torn(struct weft_hop *hop, int status)
{
	struct mirror *mirror = mirror_of(hop->blk);

	if (mirror->state != NULL) {
		write_tell(hop, true, status);
		return;
	}
	become_suspect(mirror);
	write_end(hop, status);
}

/* Did the device refuse what it was asked before it touched anything? */
static bool is_refusal(int status)
{
	return status == -EOPNOTSUPP || status == -EROFS || status == -EINVAL || status == -ERANGE;
}

/* All children have ended, and not all legs that should have done it. */
static void write_judge(struct weft_hop *hop)
{
	struct mirror *mirror = mirror_of(hop->blk);
	struct mirror_state *state = state_of(hop);
	unsigned failed = state->failed & ~(unsigned)state->smaller;
	int status = 0;

	WEFT_ASSERT(state->pending == 0 && (state->ok & state->failed) == 0);
	if (state->ok != 0 && state->cut != 0 && !state->again) { /* M7 */
		unsigned mask = state->cut;

		state->again = true;
		state->failed &= (uint8_t)~mask;
		state->cut = 0;
		write_to(hop, mask, hop->timed ? hop->deadline_us : MIRROR_AGAIN_US);
		return;
	}
	if (state->smaller != 0)
		status = -ERANGE;
	else if (state->ok == 0 || (failed != 0 && !may_drop(mirror)))
		status = state->aborted ? -ECANCELED : state->error;
	if (failed != 0 && state->ok != 0) {
		if (!may_drop(mirror))
			tell_failed(mirror, hop, failed, state->error);
		else if (mirror_settle(mirror, state->ok, failed, state->error) != 0 && status == 0)
			status = state->error; /* those that did it have been dropped meanwhile */
	}
	if (status != 0 && hop->op != WEFT_FLUSH && !(state->ok == 0 && is_refusal(state->error)))
		write_torn(hop, status);
	else if (status == 0 && (atomic_load(&mirror->recorded) & ~(unsigned)state->ok) != 0)
		write_missed(hop);
	else
		write_end(hop, status);
}

static void write_done(struct weft_hop *self, struct weft_hop *child, int status)
{
	struct mirror *mirror = mirror_of(self->blk);
	struct mirror_state *state = state_of(self);
	unsigned leg = device_child_index(self->blk, self, child);
	uint8_t bit = (uint8_t)(1u << leg);

	WEFT_ASSERT(state->pending > 0 && ((state->ok | state->failed) & bit) == 0);
	if (WEFT_LIKELY(status == 0)) {
		state->ok |= bit;
	} else {
		state->failed |= bit;
		if (mirror_leg_shrank(mirror->leg[leg], self, status))
			state->smaller |= bit;
		else if (state->aborted && status == -ECANCELED)
			state->cut |= bit;
		state->error = state->error == 0 ? status : state->error;
	}
	if (--state->pending > 0)
		return;
	if (WEFT_LIKELY(state->failed == 0 &&
		    (atomic_load_explicit(&mirror->recorded, memory_order_acquire) & ~(unsigned)state->ok) == 0))
		write_end(self, 0);
	else
		write_judge(self);
}

static void write_all(struct weft_hop *hop)
{
	write_to(hop, mirror_written(mirror_of(hop->blk)), 0);
}

/* The copy has room: now, or after waiting. */
static void write_bounced(struct weft_hop *hop)
{
	WEFT_ASSERT(state_of(hop)->pending == 0 && !state_of(hop)->bounced);
	state_of(hop)->waiting = false;
	state_of(hop)->bounced = true;
	bounce_fill(hop, bounce_of(hop));
	write_all(hop);
}

/* Everything that it needs but room for a copy is there. */
static void write_begin(struct weft_hop *hop)
{
	struct mirror *mirror = mirror_of(hop->blk);
	unsigned written = mirror_written(mirror);

	if (hop->op != WEFT_WRITE || (written & (written - 1)) == 0 || !bounce_is_foreign(hop))
		write_all(hop);
	else if (bounce_take(&((struct mirror_shard *)weft_hop_shard(hop))->pool, hop))
		write_bounced(hop);
	else
		state_of(hop)->waiting = true;
}

static void write_ordered(void *self)
{
	struct weft_hop *hop = self;

	WEFT_ASSERT(hop->state == WEFT_HOP_ASKED && !state_of(hop)->ordered);
	state_of(hop)->ordered = true;
	if (WEFT_UNLIKELY(state_of(hop)->aborted))
		write_end(hop, -ECANCELED);
	else
		write_begin(hop);
}

static void write_order(struct weft_hop *hop)
{
	request_of(hop)->resume = write_ordered;
	if (order_take(mirror_of(hop->blk), hop))
		write_ordered(hop);
}

static void write_leased(void *self)
{
	struct weft_hop *hop = self;
	int status = request_of(hop)->status;

	WEFT_ASSERT(hop->state == WEFT_HOP_ASKED && state_of(hop)->asks && !state_of(hop)->leased);
	state_of(hop)->asks = false;
	if (status == 0) {
		lease_enter(mirror_of(hop->blk), hop);
		state_of(hop)->leased = true;
		status = state_of(hop)->aborted ? -ECANCELED : 0;
	}
	if (status == 0)
		write_order(hop);
	else
		write_end(hop, status);
}

static void mirror_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct mirror *mirror = mirror_of(blk);

	*state_of(hop) = (struct mirror_state){ 0 };
	if (hop->op == WEFT_READ || hop->op == WEFT_STATUS) {
		read_from(mirror, hop, mirror_live(mirror));
		return;
	}
	if (hop->op == WEFT_FLUSH) {
		write_begin(hop);
		return;
	}
	if (mirror->state != NULL) {
		request_of(hop)->resume = write_leased;
		state_of(hop)->asks = !lease_take(mirror, hop);
		if (state_of(hop)->asks)
			return;
		state_of(hop)->leased = true;
	}
	write_order(hop);
}

static void mirror_abort(struct weft_blk *blk, struct weft_hop *hop)
{
	struct mirror_state *state = state_of(hop);

	WEFT_ASSERT(hop->state == WEFT_HOP_ASKED && !state->aborted);
	state->aborted = true;
	if (state->asks) { /* who copies there may do so for long */
		atomic_store(&request_of(hop)->aborted, true);
		rebuild_wake(mirror_of(blk));
		return;
	}
	if (!state->waiting) {
		device_abort_children(blk, hop);
		return;
	}
	state->waiting = false;
	bounce_cancel(&((struct mirror_shard *)weft_hop_shard(hop))->pool, hop);
	write_end(hop, -ECANCELED);
}

static int mirror_shard_open(
	struct weft_blk *blk, void *shard, struct weft_reactor *reactor, struct weft_why *why)
{
	struct mirror *mirror = mirror_of(blk);
	struct mirror_shard *mine = shard;
	int error = bounce_open(&mine->pool, weft_reactor_core(reactor), write_bounced, bounce_of, why);

	WEFT_ASSERT(weft_reactor_here() == reactor);
	if (error == 0 && mirror->state != NULL && (error = copier_open(mirror, &mine->copier, reactor, why)) != 0)
		bounce_close(&mine->pool);
	if (error != 0)
		return error;
	atomic_store(&mirror->opened, true);
	if (mirror->state != NULL) {
		atomic_fetch_or(&mirror->open_lanes, 1ull << weft_reactor_lane(reactor));
		rebuild_wake(mirror);
	}
	return 0;
}

static void mirror_shard_close(struct weft_blk *blk, void *shard)
{
	struct mirror *mirror = mirror_of(blk);
	struct mirror_shard *mine = shard;

	bounce_close(&mine->pool);
	if (mirror->state == NULL)
		return;
	atomic_fetch_and(&mirror->open_lanes, ~(1ull << weft_reactor_lane(weft_reactor_here())));
	copier_close(mirror, &mine->copier);
}

/* Asked by who wants to close it: the next errand comes later. */
static bool mirror_shard_busy(const struct weft_blk *blk, const void *shard)
{
	struct mirror *mirror = mirror_of((struct weft_blk *)(uintptr_t)blk);
	struct mirror_shard *mine = (void *)(uintptr_t)shard;

	atomic_store(&mirror->leaving, true);
	return !copier_is_to_close(&mine->copier, weft_reactor_now(weft_reactor_here()));
}

struct mirror_copier *mirror_copier_of(struct weft_hop *own)
{
	return &((struct mirror_shard *)weft_hop_shard(own))->copier;
}

struct mirror_copier *mirror_copier_here(struct mirror *mirror, unsigned lane)
{
	struct weft_shard *shard = mirror->blk.shard[lane];

	WEFT_ASSERT(weft_reactor_lane(weft_reactor_here()) == lane && mirror->state != NULL);
	return shard != NULL ? &((struct mirror_shard *)(void *)shard->own)->copier : NULL;
}

#define OPS \
	.submit = mirror_submit, .abort = mirror_abort, .shard_open = mirror_shard_open, .shard_close = mirror_shard_close, \
	.shard_busy = mirror_shard_busy, .shard_size = sizeof(struct mirror_shard), .shard_kept = BOUNCE_KEPT, \
	.request_size = sizeof(struct mirror_request), .width = MIRROR_LEGS

static const struct weft_blk_ops mirror_ops = { OPS };
/* With state=, in a program: its own reactors come and go, and what they hold of the mirror would go with them. So it lives at one
 * of the service's. */
static const struct weft_blk_ops mirror_ops_at_home = { OPS, .at_home = true };

/* ---- control ---- */

static uint64_t smallest(const struct mirror *mirror, uint32_t block)
{
	uint64_t size = UINT64_MAX;

	WEFT_ASSERT(mirror->legs > 0 && block > 0);
	for (unsigned i = 0; i < mirror->legs; i++)
		size = mirror->leg[i]->size < size ? mirror->leg[i]->size : size;
	return size - size % block;
}

static void mirror_start(struct weft_object *object, struct weft_task *task)
{
	struct mirror *mirror = DEVICE_OF_OBJECT(object, struct mirror);
	struct weft_blk *blk = &mirror->blk;

	WEFT_ASSERT(mirror->leg[0] != NULL && mirror->leg[1] != NULL);
	weft_blk_like(blk, mirror->leg[0]);
	for (mirror->legs = 1; mirror->legs < MIRROR_LEGS && mirror->leg[mirror->legs] != NULL;
		mirror->legs++)
		device_narrow(blk, mirror->leg[mirror->legs]);
	atomic_store(&mirror->in_use, mirror_all(mirror));
	atomic_store(&mirror->recorded, mirror_all(mirror));
	blk->ops = mirror->state != NULL && object->core->lanes_come ? &mirror_ops_at_home : &mirror_ops;
	blk->home = blk->ops->at_home ? weft_reactor_pick_home(object->core) : NULL;
	blk->size = smallest(mirror, blk->block);
	blk->max_len = BOUNCE_MAX_LEN;
	blk->ops_can &= (uint16_t)~(WEFT_OP_BIT(WEFT_COMPARE_WRITE) | WEFT_OP_BIT(WEFT_COPY)); /* M3 */
	blk->ops_can |= WEFT_OP_BIT(WEFT_DISCARD);
	if (mirror->region_size != 0 && ((mirror->region_size & (mirror->region_size - 1)) != 0 ||
		mirror->region_size < 4096 || mirror->region_size < blk->block))
		device_end(task, weft_why(&task->why, -EINVAL,
			"mirror: region=%" PRIu64 ": must be a power of two, at least 4096 and a block (%u): choose 1MiB, or "
			"leave it out",
			mirror->region_size, blk->block));
	else if (mirror->state != NULL)
		state_start(mirror, task);
	else
		device_end(task, 0);
}

static void mirror_stop(struct weft_object *object, struct weft_task *task)
{
	struct mirror *mirror = DEVICE_OF_OBJECT(object, struct mirror);

	WEFT_ASSERT(mirror_live(mirror) != 0);
	if (mirror->state != NULL)
		state_stop(mirror, task);
	else
		device_end(task, 0);
}

static void mirror_lower_resized(struct weft_object *object)
{
	struct mirror *mirror = DEVICE_OF_OBJECT(object, struct mirror);
	uint64_t size = smallest(mirror, mirror->blk.block);

	WEFT_ASSERT(mirror->legs >= 2 && mirror->legs <= MIRROR_LEGS);
	if (size != mirror->blk.size)
		weft_blk_resized(&mirror->blk, size);
}

static void describe_leg(const struct mirror *mirror, unsigned leg, weft_describe_put *put, void *self)
{
	char name[16], text[160];

	snprintf(name, sizeof(name), "leg %u", leg);
	if ((mirror_receiving(mirror) >> leg & 1) != 0)
		snprintf(text, sizeof(text), "%s, being rebuilt: %u regions left", mirror->leg[leg]->object->name,
			rebuild_regions_lacking(mirror, 1u << leg));
	else
		snprintf(text, sizeof(text), "%s, %s", mirror->leg[leg]->object->name,
			(mirror_live(mirror) >> leg & 1) != 0 ? "live" : "dropped");
	put(self, name, text);
}

static void mirror_describe(const struct weft_object *object, weft_describe_put *put, void *self)
{
	const struct mirror *mirror = WEFT_CONTAINER(object, const struct mirror, object);
	uint64_t copies = 0, waited = 0;
	char copied[64];

	WEFT_ASSERT(mirror->legs <= MIRROR_LEGS && mirror_live(mirror) != 0);
	for (unsigned i = 0; i < mirror->legs; i++)
		describe_leg(mirror, i, put, self);
	put(self, "state", mirror->state != NULL ? mirror->state : "none");
	put(self, "reads",
		atomic_load(&mirror->suspect) ? "one leg: the others may differ where a write was cut short" : "all legs");
	for (unsigned lane = 0; mirror->blk.shard != NULL && lane < CORE_REACTORS_MAX; lane++) {
		const struct weft_shard *shard = shard_ever(&mirror->blk, lane);

		if (shard == NULL)
			continue;
		copies += counter_read(&((const struct mirror_shard *)(const void *)shard->own)->pool.taken);
		waited += counter_read(&((const struct mirror_shard *)(const void *)shard->own)->pool.waited);
	}
	snprintf(copied, sizeof(copied), "%" PRIu64 ", of which %" PRIu64 " had to wait for room", copies,
		waited);
	put(self, "copied writes", copied);
	if (mirror->state != NULL)
		rebuild_describe(mirror, put, self);
}

static int mirror_changed(struct weft_object *object, const struct weft_option *option, struct weft_why *why)
{
	struct mirror *mirror = DEVICE_OF_OBJECT(object, struct mirror);

	(void)option;
	(void)why;
	if (mirror->state != NULL)
		rebuild_wake(mirror);
	return 0;
}

static const struct weft_option mirror_options[] = {
	{ .name = "read",
		.type = WEFT_OPTION_CHOICE,
		.flags = WEFT_OPTION_LIVE,
		.offset = offsetof(struct mirror, policy),
		.fallback = "round-robin",
		.help = "which leg a read asks",
		.choices = "round-robin|first|least-busy" },
	{ .name = "state",
		.type = WEFT_OPTION_PATH,
		.offset = offsetof(struct mirror, state),
		.help = "small file that records which legs are in sync, and where they may differ; made when there is none" },
	{ .name = "rebuild",
		.type = WEFT_OPTION_BOOL,
		.flags = WEFT_OPTION_LIVE,
		.offset = offsetof(struct mirror, rebuilds),
		.fallback = "on",
		.help = "with state=: copy to a leg what it has missed, and make legs equal where a write was cut short" },
	{ .name = "rebuild-rate",
		.type = WEFT_OPTION_SIZE,
		.flags = WEFT_OPTION_LIVE,
		.offset = offsetof(struct mirror, rate),
		.fallback = "0",
		.help = "bytes per second that a rebuild copies at most; 0: what the legs can do besides other requests" },
	{ .name = "region",
		.type = WEFT_OPTION_SIZE,
		.offset = offsetof(struct mirror, region_size),
		.fallback = "0",
		.help = "a new state= notes in regions of so many bytes where legs may differ: a power of two; 0: by the size",
		.max = 1ull << 40 },
	{ .name = "unrecorded",
		.type = WEFT_OPTION_CHOICE,
		.offset = offsetof(struct mirror, unrecorded),
		.fallback = "fail",
		.help = "without state=: what becomes of writes that a leg has missed",
		.choices = "fail|acknowledge" },
	{ 0 },
};

static const struct weft_port mirror_ports[] = {
	{ .name = "leg",
		.wants = &weft_blk_iface,
		.min = 2,
		.max = MIRROR_LEGS,
		.offset = offsetof(struct mirror, leg),
		.help = "the devices that hold the same" },
	{ 0 },
};

static const struct weft_offer mirror_offers[] = {
	{ &weft_blk_iface, offsetof(struct mirror, blk) },
	{ 0 },
};

extern const struct weft_kind mirror_kind;
const struct weft_kind mirror_kind = {
	.name = "mirror",
	.summary = "two to eight devices that hold the same",
	.size = sizeof(struct mirror),
	.options = mirror_options,
	.ports = mirror_ports,
	.offers = mirror_offers,
	.start = mirror_start,
	.stop = mirror_stop,
	.lower_resized = mirror_lower_resized,
	.changed = mirror_changed,
	.describe = mirror_describe,
};
