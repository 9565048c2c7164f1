/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How legs are made equal again (R3 to R6): one thing at a time, each chosen anew by what is so then. So whatever interrupts it,
 * nothing is to be taken back: what the map says is still to be done.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <weft/log.h>

#include "core/blk.h"
#include "core/core.h"
#include "core/counter.h"
#include "devices/device.h"
#include "devices/mirror/mirror.h"
#include "env/env.h"

#define SECOND 1000000000ull
#define SWEEP_NS (5 * SECOND)          /* a region that was not used for so long is given back */
#define RETRY_NS (5 * SECOND)          /* a leg that was dropped is tried again after this, then after twice as long ... */
#define RETRY_MOST_NS (320 * SECOND)
#define STEADY_NS (600 * SECOND)       /* ... and at first again when it has done well for so long */
#define LEAVE_NS (SECOND / 20)         /* for somebody who wants to close what we use */
#define AGAIN_NS SECOND
#define YIELD_TIMES 4                  /* with other requests about, so many times as long is waited as a chunk took */
#define YIELD_MOST_NS (SECOND / 10)
#define TELL_NS (30 * SECOND)

static struct weft_reactor *control(const struct mirror *mirror)
{
	return mirror->object.core->reactor[0];
}

static uint64_t now_of(const struct mirror *mirror)
{
	return weft_reactor_now(control(mirror));
}

static uint64_t region_bytes(const struct mirror *mirror)
{
	return 1ull << mirror->record.facts.region_shift;
}

static unsigned lowest(unsigned legs)
{
	WEFT_ASSERT(legs != 0);
	return (unsigned)__builtin_ctz(legs);
}

/* ---- what lacks ---- */

/* The first region from `from` on whose bit is set; RECORD_REGIONS: none. */
static uint32_t next_marked(const uint64_t *map, uint32_t from)
{
	for (uint32_t word = from / 64; word < RECORD_WORDS; word++) {
		uint64_t bits = map[word] & (word == from / 64 ? ~0ull << (from % 64) : ~0ull);

		if (bits != 0)
			return word * 64 + (uint32_t)__builtin_ctzll(bits);
	}
	return RECORD_REGIONS;
}

#define EACH_MARKED(mirror, region) \
	(uint32_t region = next_marked((mirror)->record.map, 0); region < RECORD_REGIONS; \
		region = next_marked((mirror)->record.map, region + 1))

void rebuild_mark(struct mirror *mirror, uint32_t region, unsigned legs)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;

	WEFT_ASSERT(record_bit(mirror->record.map, region)); /* R3 */
	rebuild->lacks[region] |= (uint8_t)legs;
	if (region == rebuild->region)
		rebuild->torn = true;
}

static void mark_all(struct mirror *mirror, unsigned legs)
{
	for EACH_MARKED(mirror, region)
		rebuild_mark(mirror, region, legs);
}

unsigned rebuild_regions_lacking(const struct mirror *mirror, unsigned legs)
{
	unsigned count = 0;

	for EACH_MARKED(mirror, region)
		count += (mirror->rebuild.lacks[region] & legs) != 0;
	return count;
}

static bool any_lacks(const struct mirror *mirror, unsigned legs)
{
	for EACH_MARKED(mirror, region)
		if ((mirror->rebuild.lacks[region] & legs) != 0)
			return true;
	return false;
}

/* To which legs a region is to be copied from leg `source`. Where the source itself is in doubt, to all. */
static unsigned targets_of(const struct mirror *mirror, uint32_t region, unsigned source)
{
	unsigned lacks = mirror->rebuild.lacks[region], written = mirror_written(mirror) & ~(1u << source);

	return (lacks >> source & 1) != 0 ? written : lacks & written;
}

static bool clearable(const struct mirror *mirror, uint32_t region)
{
	return mirror->rebuild.holders[region] == 0 && mirror->rebuild.lacks[region] == 0;
}

/* Legs that receive and lack nothing any more. */
static unsigned promotable(const struct mirror *mirror)
{
	unsigned ready = 0;

	for (unsigned i = 0; i < mirror->legs; i++)
		if ((mirror_receiving(mirror) >> i & 1) != 0 && !any_lacks(mirror, 1u << i))
			ready |= 1u << i;
	return ready;
}

/* ---- legs that are out ---- */

static void receive(struct mirror *mirror, unsigned leg)
{
	atomic_fetch_or(&mirror->in_use, 1u << leg << MIRROR_RECEIVING);
	mark_all(mirror, 1u << leg); /* R4 */
	mirror->rebuild.told_ns = now_of(mirror);
	mirror->rebuild.unreadable = 0;
	mirror->rebuild.retry_at[leg] = 0;
	weft_log(mirror->object.core, WEFT_LOG_INFO, "%s: leg %u (%s) is being rebuilt: %u regions of %" PRIu64 " KiB",
		mirror->object.name, leg, mirror->leg[leg]->object->name, rebuild_regions_lacking(mirror, 1u << leg),
		region_bytes(mirror) >> 10);
}

static void plan_retry(struct mirror *mirror, unsigned leg, uint64_t now)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;
	uint64_t *wait = &rebuild->wait_ns[leg];

	if (*wait == 0 || (rebuild->back_at[leg] != 0 && now - rebuild->back_at[leg] > STEADY_NS))
		*wait = RETRY_NS;
	else if (*wait < RETRY_MOST_NS)
		*wait *= 2;
	rebuild->back_at[leg] = 0;
	rebuild->retry_at[leg] = now + *wait;
}

static void look_at_legs(struct mirror *mirror, uint64_t now)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;

	for (unsigned i = 0; i < mirror->legs; i++) {
		if ((mirror_written(mirror) >> i & 1) != 0)
			rebuild->retry_at[i] = 0;
		else if (rebuild->retry_at[i] == 0)
			plan_retry(mirror, i, now);
		else if (mirror->rebuilds && now >= rebuild->retry_at[i])
			receive(mirror, i);
	}
}

/* ---- one thing after the other ---- */

static void at_timer(void *self)
{
	rebuild_go_on(self);
}

static void go_on_at(struct mirror *mirror, uint64_t at_ns)
{
	mirror->rebuild.timer = (struct weft_timer){ .fn = at_timer, .self = mirror };
	weft_timer_arm(control(mirror), &mirror->rebuild.timer, at_ns);
}

static void send(struct mirror *mirror, struct mirror_errand errand)
{
	uint64_t lanes = atomic_load(&mirror->open_lanes);

	WEFT_ASSERT(lanes != 0);
	errand.mirror = mirror;
	errand.lane = (unsigned)__builtin_ctzll(lanes);
	mirror->rebuild.errand = errand;
	mirror->rebuild.began_ns = now_of(mirror);
	copier_send(&mirror->rebuild.errand);
}

static void sweep(struct mirror *mirror)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;

	WEFT_ASSERT(rebuild->sweeping == 0 && rebuild->leasing != 0);
	rebuild->doing = REBUILD_SWEEPS;
	rebuild->sweeping = rebuild->leasing;
	for (unsigned i = 0; i < mirror->object.core->reactors; i++)
		if ((rebuild->leasing >> i & 1) != 0)
			lease_sweep(mirror->lane[i]);
}

void rebuild_swept(struct mirror_lane *lane)
{
	struct mirror *mirror = lane->mirror;
	struct mirror_rebuild *rebuild = &mirror->rebuild;
	uint64_t bit = 1ull << lane->lane;

	WEFT_ASSERT(rebuild->doing == REBUILD_SWEEPS && (rebuild->sweeping & bit) != 0);
	rebuild->sweeping &= ~bit;
	for (uint32_t i = next_marked(lane->returned, 0); i < RECORD_REGIONS; i = next_marked(lane->returned, i + 1))
		rebuild->holders[i] &= ~bit;
	if (lane->empty)
		rebuild->leasing &= ~bit;
	state_serve(mirror); /* who was not granted anything meanwhile */
	if (rebuild->sweeping != 0)
		return;
	rebuild->doing = REBUILD_RESTS;
	rebuild->sweep_at = now_of(mirror) + SWEEP_NS;
	rebuild_go_on(mirror);
}

static bool any_clearable(const struct mirror *mirror)
{
	for EACH_MARKED(mirror, region)
		if (clearable(mirror, region))
			return true;
	return false;
}

static bool calms_down(const struct mirror *mirror)
{
	return atomic_load(&mirror->suspect) && !any_lacks(mirror, mirror_live(mirror));
}

/* Is there anything that a flush of all legs would let us conclude (R5, R6)? */
static bool flush_helps(const struct mirror *mirror)
{
	return promotable(mirror) != 0 || calms_down(mirror) ||
		(mirror_written(mirror) == mirror_all(mirror) && any_clearable(mirror));
}

static void promote(struct mirror *mirror, unsigned legs)
{
	for (unsigned i = 0; i < mirror->legs; i++) {
		unsigned was = atomic_load(&mirror->in_use), receives = 1u << i << MIRROR_RECEIVING;

		if ((legs >> i & 1) == 0)
			continue;
		while ((was & receives) != 0 &&
			!atomic_compare_exchange_weak(&mirror->in_use, &was, (was & ~receives) | 1u << i))
			;
		if ((was & receives) == 0)
			continue;
		mirror->rebuild.back_at[i] = now_of(mirror);
		weft_log(mirror->object.core, WEFT_LOG_INFO, "%s: leg %u (%s) is rebuilt, and in sync again",
			mirror->object.name, i, mirror->leg[i]->object->name);
	}
}

/* All legs that are written have been flushed since it was last worth to. */
static void conclude(struct mirror *mirror)
{
	bool all = mirror_written(mirror) == mirror_all(mirror);

	if (calms_down(mirror)) {
		atomic_store(&mirror->suspect, false);
		weft_log(mirror->object.core, WEFT_LOG_INFO, "%s: what the legs differed in has been made equal: all are read",
			mirror->object.name);
	}
	promote(mirror, promotable(mirror));
	for EACH_MARKED(mirror, region)
		if (all && clearable(mirror, region))
			mirror->record.map[region / 64] &= ~(1ull << (region % 64));
	mirror->wanted = true;
	state_serve(mirror);
}

/* ---- copying a region ---- */

static bool choose_region(struct mirror *mirror)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;
	unsigned source = lowest(mirror_live(mirror));

	if (rebuild->region != MIRROR_NO_REGION)
		return true;
	for EACH_MARKED(mirror, region)
		if (targets_of(mirror, region, source) != 0) {
			rebuild->region = region;
			rebuild->torn = true; /* it begins */
			return true;
		}
	return false;
}

/* What of the region lies at or behind `at`, in one piece: regions repeat (record.h). */
static bool find_piece(const struct mirror *mirror, uint64_t *at, uint64_t *len)
{
	uint64_t bytes = region_bytes(mirror), size = mirror->blk.size;

	if ((*at >> mirror->record.facts.region_shift) % RECORD_REGIONS != mirror->rebuild.region)
		*at += (RECORD_REGIONS - 1) * bytes;
	if (*at >= size)
		return false;
	*len = bytes - *at % bytes;
	*len = size - *at < *len ? size - *at : *len;
	return true;
}

static void unlock(struct mirror *mirror)
{
	mirror->rebuild.locked = MIRROR_NO_REGION;
	mirror->rebuild.doing = REBUILD_RESTS;
	state_serve(mirror);
}

/* All of it has been copied to `targets`, and nothing came between. */
static void end_region(struct mirror *mirror)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;
	uint8_t *lacks = &rebuild->lacks[rebuild->region];
	unsigned equal = 1u << rebuild->source | rebuild->targets;

	if ((*lacks >> rebuild->source & 1) != 0)
		*lacks = (uint8_t)mirror_all(mirror);
	*lacks &= (uint8_t)~equal;
	rebuild->region = MIRROR_NO_REGION;
}

/* Nobody holds the region. */
static void copy(struct mirror *mirror)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;
	unsigned readable = mirror_live(mirror) & ~rebuild->unreadable;
	unsigned source = lowest(readable != 0 ? readable : mirror_live(mirror));
	unsigned targets = targets_of(mirror, rebuild->region, source);
	struct mirror_errand errand = { .op = WEFT_COPY, .source = source, .targets = targets };

	WEFT_ASSERT(rebuild->holders[rebuild->region] == 0 && rebuild->locked == rebuild->region);
	if (rebuild->torn || source != rebuild->source || targets != rebuild->targets) {
		rebuild->torn = false;
		rebuild->source = source;
		rebuild->targets = targets;
		rebuild->at = (uint64_t)rebuild->region << mirror->record.facts.region_shift;
	}
	errand.offset = rebuild->at;
	if (targets == 0 || !find_piece(mirror, &errand.offset, &errand.len)) {
		if (targets != 0)
			end_region(mirror);
		rebuild->region = MIRROR_NO_REGION;
		unlock(mirror);
		rebuild_wake(mirror);
	} else if (atomic_load(&mirror->open_lanes) == 0) {
		unlock(mirror);
		rebuild_go_on(mirror);
	} else {
		rebuild->at = errand.offset;
		rebuild->doing = REBUILD_COPIES;
		send(mirror, errand);
	}
}

static void lock(struct mirror *mirror)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;
	uint64_t holders = rebuild->holders[rebuild->region];

	WEFT_ASSERT(rebuild->locked == MIRROR_NO_REGION && rebuild->awaited == 0);
	rebuild->doing = REBUILD_LOCKS;
	rebuild->locked = rebuild->region;
	rebuild->awaited = (unsigned)__builtin_popcountll(holders);
	for (; holders != 0; holders &= holders - 1)
		lease_recall(mirror->lane[__builtin_ctzll(holders)], rebuild->region);
	if (rebuild->awaited == 0)
		copy(mirror);
}

void rebuild_recalled(struct mirror_lane *lane)
{
	struct mirror_rebuild *rebuild = &lane->mirror->rebuild;

	WEFT_ASSERT(rebuild->doing == REBUILD_LOCKS && rebuild->awaited > 0);
	rebuild->holders[rebuild->locked] &= ~(1ull << lane->lane);
	if (--rebuild->awaited == 0)
		copy(lane->mirror);
}

/* ---- pace ---- */

static uint64_t foreground(const struct mirror *mirror)
{
	uint64_t requests = 0;

	for (unsigned lane = 0; lane < CORE_REACTORS_MAX; lane++) {
		const struct weft_shard *shard = shard_ever(&mirror->blk, lane);

		requests += shard != NULL ? counter_read(&shard->submitted) : 0;
	}
	return requests;
}

/* When the next chunk may come. */
static void pace(struct mirror *mirror, uint64_t len)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;
	uint64_t now = now_of(mirror), took = now - rebuild->began_ns, requests = foreground(mirror), pause = 0;

	if (requests != rebuild->foreground)
		pause = took * YIELD_TIMES < YIELD_MOST_NS ? took * YIELD_TIMES : YIELD_MOST_NS;
	rebuild->foreground = requests;
	if (mirror->rate != 0) {
		uint64_t due = (uint64_t)((double)len / (double)mirror->rate * (double)SECOND);

		pause = due > took && due - took > pause ? due - took : pause;
	}
	if (atomic_exchange(&mirror->leaving, false) && pause < LEAVE_NS)
		pause = LEAVE_NS;
	rebuild->not_before = now + pause;
}

static void tell_progress(struct mirror *mirror)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;
	uint64_t now = now_of(mirror);

	if (now - rebuild->told_ns < TELL_NS)
		return;
	rebuild->told_ns = now;
	weft_log(mirror->object.core, WEFT_LOG_INFO, "%s: rebuilding: %u regions left, %" PRIu64 " MiB copied", mirror->object.name,
		rebuild_regions_lacking(mirror, mirror_written(mirror)), rebuild->copied >> 20);
}

/* ---- errands come back ---- */

/* On a leg that cannot zero by itself, zeroing is writing. */
static bool zeroes_are_written(const struct mirror *mirror, unsigned targets)
{
	for (unsigned i = 0; i < mirror->legs; i++)
		if ((targets >> i & 1) != 0 && (mirror->leg[i]->ops_can & WEFT_OP_BIT(WEFT_ZERO)) == 0)
			return true;
	return false;
}

/* No live leg can be read there: those that receive must do without. */
static void give_up(struct mirror *mirror, const struct mirror_errand *errand)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;

	weft_log(mirror->object.core, WEFT_LOG_ERROR,
		"%s: rebuilding: no leg can be read at offset %" PRIu64 " (%s): it is tried again later", mirror->object.name,
		errand->offset, device_error_name(errand->error));
	atomic_fetch_and(&mirror->in_use, (1u << MIRROR_RECEIVING) - 1);
	rebuild->unreadable = 0;
	rebuild->region = MIRROR_NO_REGION;
	rebuild->not_before = now_of(mirror) + RETRY_MOST_NS;
}

static void copied(struct mirror *mirror, const struct mirror_errand *errand)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;
	uint64_t at = errand->offset + errand->done, len;
	bool shrank = errand->offset + errand->len > mirror->blk.size || errand->error == -ERANGE; /* M8 */

	pace(mirror, errand->copied + (zeroes_are_written(mirror, errand->targets) ? errand->zeroed : 0));
	if (errand->error != 0 && shrank) {
		rebuild->torn = true;
		rebuild->not_before = now_of(mirror) + AGAIN_NS;
		return;
	}
	if (errand->read_failed) {
		rebuild->unreadable |= 1u << errand->source;
		if ((mirror_live(mirror) & ~rebuild->unreadable) == 0)
			give_up(mirror, errand);
		return;
	}
	if (rebuild->unreadable != 0)
		mirror_settle(mirror, 1u << errand->source, rebuild->unreadable, -EIO);
	rebuild->unreadable = 0;
	if (errand->failed != 0) {
		mirror_settle(mirror, 1u << errand->source, errand->failed, errand->error);
		rebuild->torn = true;
		return;
	}
	WEFT_ASSERT(errand->done > 0 && errand->done == errand->copied + errand->zeroed + errand->left);
	rebuild->at = at;
	rebuild->copied += errand->copied;
	rebuild->zeroed += errand->zeroed;
	if (!rebuild->torn && !find_piece(mirror, &at, &len))
		end_region(mirror);
	tell_progress(mirror);
}

static void flushed(struct mirror *mirror, const struct mirror_errand *errand)
{
	unsigned ok = errand->targets & ~errand->failed;

	if (errand->failed == 0) {
		conclude(mirror);
	} else if (mirror_settle(mirror, ok, errand->failed, errand->error) != 0) {
		mirror->rebuild.sweep_at = now_of(mirror) + SWEEP_NS;
		mirror->rebuild.not_before = now_of(mirror) + SWEEP_NS;
	}
}

/* R11: not at once again where it is still open. */
static void cut(struct mirror *mirror)
{
	mirror->rebuild.torn = true;
	mirror->rebuild.not_before = now_of(mirror) + AGAIN_NS;
}

void rebuild_errand_done(struct mirror_errand *errand)
{
	struct mirror *mirror = errand->mirror;
	enum mirror_doing did = mirror->rebuild.doing;

	WEFT_ASSERT(did == REBUILD_COPIES || did == REBUILD_FLUSHES);
	mirror->rebuild.doing = REBUILD_RESTS;
	if (errand->cut)
		cut(mirror);
	else if (!errand->closed && did == REBUILD_COPIES)
		copied(mirror, errand);
	else if (!errand->closed)
		flushed(mirror, errand);
	if (did == REBUILD_COPIES)
		unlock(mirror);
	rebuild_go_on(mirror);
}

/* ---- what is next ---- */

/* Until something changes by itself; else until somebody wakes us. */
static void rest(struct mirror *mirror, uint64_t now, bool copies)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;
	uint64_t at = copies ? rebuild->not_before : ENV_FOREVER;

	if (rebuild->leasing != 0 && mirror_written(mirror) == mirror_all(mirror) && rebuild->sweep_at < at)
		at = rebuild->sweep_at;
	for (unsigned i = 0; mirror->rebuilds && i < mirror->legs; i++)
		if (rebuild->retry_at[i] != 0 && rebuild->retry_at[i] < at)
			at = rebuild->retry_at[i];
	if (at != ENV_FOREVER)
		go_on_at(mirror, at > now ? at : now + 1);
}

void rebuild_go_on(struct mirror *mirror)
{
	struct mirror_rebuild *rebuild = &mirror->rebuild;
	uint64_t now = now_of(mirror);
	bool copies, flushes;

	WEFT_ASSERT(weft_reactor_here() == control(mirror));
	if (mirror->task != NULL && mirror->object.state == WEFT_OBJECT_STOPPING) {
		state_stop_now(mirror);
		return;
	}
	if (mirror->task != NULL || rebuild->doing != REBUILD_RESTS)
		return;
	weft_timer_disarm(control(mirror), &rebuild->timer);
	if (atomic_load(&mirror->open_lanes) == 0 || mirror->blk.readonly)
		return; /* whoever opens it wakes us */
	look_at_legs(mirror, now);
	copies = mirror->rebuilds && choose_region(mirror);
	flushes = !copies && flush_helps(mirror);
	if (rebuild->leasing != 0 && now >= rebuild->sweep_at && mirror_written(mirror) == mirror_all(mirror)) {
		sweep(mirror);
	} else if (now < rebuild->not_before && (copies || flushes)) {
		rest(mirror, now, true);
	} else if (copies) {
		lock(mirror);
	} else if (flushes) {
		rebuild->doing = REBUILD_FLUSHES;
		send(mirror, (struct mirror_errand){ .op = WEFT_FLUSH, .targets = mirror_written(mirror) });
	} else {
		rest(mirror, now, false);
	}
}

static void wake_msg(void *self)
{
	struct mirror *mirror = self;

	atomic_store(&mirror->waking, false);
	if (mirror->waiting != NULL)
		state_serve(mirror); /* some of them may have been aborted */
	rebuild_go_on(mirror);
}

void rebuild_wake(struct mirror *mirror)
{
	if (atomic_exchange(&mirror->waking, true))
		return;
	mirror->wake = (struct weft_msg){ .fn = wake_msg, .self = mirror };
	weft_reactor_post(control(mirror), &mirror->wake);
}

bool rebuild_is_busy(const struct mirror *mirror)
{
	return mirror->rebuild.doing != REBUILD_RESTS || atomic_load(&mirror->waking);
}

/* ---- life ---- */

void rebuild_take_over(struct mirror *mirror)
{
	mark_all(mirror, mirror_all(mirror));
	for (unsigned i = 0; i < mirror->legs; i++)
		mirror->rebuild.retry_at[i] = (mirror_live(mirror) >> i & 1) != 0 ? 0 : 1; /* at once */
}

int rebuild_open(struct mirror *mirror, struct weft_why *why)
{
	struct env *env = mirror->object.core->env;
	struct mirror_rebuild *rebuild = &mirror->rebuild;

	*rebuild = (struct mirror_rebuild){ .locked = MIRROR_NO_REGION, .region = MIRROR_NO_REGION };
	rebuild->holders = env_pages_alloc(env, RECORD_REGIONS * sizeof(*rebuild->holders), false);
	rebuild->lacks = env_pages_alloc(env, RECORD_REGIONS, false);
	if (rebuild->holders != NULL && rebuild->lacks != NULL)
		return 0;
	rebuild_close(mirror);
	return weft_why(why, -ENOMEM, "mirror: no memory for the map of regions: raise the memory limit");
}

void rebuild_close(struct mirror *mirror)
{
	struct env *env = mirror->object.core->env;
	struct mirror_rebuild *rebuild = &mirror->rebuild;

	WEFT_ASSERT(rebuild->doing == REBUILD_RESTS && !rebuild->timer.armed);
	if (rebuild->holders != NULL)
		env_pages_free(env, rebuild->holders, RECORD_REGIONS * sizeof(*rebuild->holders));
	if (rebuild->lacks != NULL)
		env_pages_free(env, rebuild->lacks, RECORD_REGIONS);
	rebuild->holders = NULL;
	rebuild->lacks = NULL;
}

void rebuild_describe(const struct mirror *mirror, weft_describe_put *put, void *self)
{
	unsigned marked = 0, left = rebuild_regions_lacking(mirror, mirror_all(mirror));
	char text[128];

	for (unsigned i = 0; i < RECORD_WORDS; i++)
		marked += (unsigned)__builtin_popcountll(mirror->record.map[i]);
	snprintf(text, sizeof(text), "%u of %" PRIu64 " KiB, since they are written", marked, region_bytes(mirror) >> 10);
	put(self, "marked regions", text);
	snprintf(text, sizeof(text), "%s, %u regions left, %" PRIu64 " bytes copied, %" PRIu64 " zeroed",
		!mirror->rebuilds ? "off" : left == 0 ? "idle" :
		atomic_load(&mirror->open_lanes) == 0 ? "waits until the mirror is used" : "on", left, mirror->rebuild.copied,
		mirror->rebuild.zeroed);
	put(self, "rebuild", text);
	snprintf(text, sizeof(text), "%" PRIu64, mirror->record.writes);
	put(self, "records written", text);
}
