/* SPDX-License-Identifier: BSD-2-Clause */
/* Which regions a reactor may change (R2): each has its own table, so that a request that holds what it needs asks nobody. */
#include <errno.h>

#include "core/core.h"
#include "devices/mirror/mirror.h"
#include "env/env.h"

static struct mirror_lane *lane_of(const struct mirror *mirror, const struct weft_hop *hop)
{
	return mirror->lane[hop->lane];
}

static uint32_t nth(const struct mirror_request *request, uint32_t i)
{
	return (request->region + i) % RECORD_REGIONS;
}

static void enter(struct mirror_lane *lane, uint32_t region)
{
	WEFT_ASSERT(record_bit(lane->held, region) && lane->changes[region] < UINT16_MAX);
	lane->used[region / 64] |= 1ull << (region % 64);
	lane->changes[region]++;
}

bool lease_take(struct mirror *mirror, struct weft_hop *hop)
{
	struct mirror_request *request = weft_hop_request(hop);
	struct mirror_lane *lane = lane_of(mirror, hop);
	unsigned shift = mirror->record.facts.region_shift; /* does not change while running */
	uint64_t first = hop->offset >> shift, last = (hop->offset + hop->len - (hop->len > 0)) >> shift;

	request->region = (uint32_t)(first % RECORD_REGIONS);
	request->regions = last - first >= RECORD_REGIONS ? RECORD_REGIONS : (uint32_t)(last - first + 1);
	for (uint32_t i = 0; i < request->regions; i++) {
		if (WEFT_LIKELY(record_bit(lane->held, nth(request, i))))
			continue;
		request->hop = hop;
		request->wait = MIRROR_WAITS_LEASE;
		request->tears = false;
		atomic_store_explicit(&request->aborted, false, memory_order_relaxed);
		state_wait(mirror, request);
		return false;
	}
	for (uint32_t i = 0; i < request->regions; i++)
		enter(lane, nth(request, i));
	return true;
}

void lease_enter(struct mirror *mirror, struct weft_hop *hop)
{
	const struct mirror_request *request = weft_hop_request(hop);
	struct mirror_lane *lane = lane_of(mirror, hop);

	WEFT_ASSERT(request->regions > 0);
	for (uint32_t i = 0; i < request->regions; i++) {
		uint32_t region = nth(request, i);

		WEFT_ASSERT(lane->recalled != region); /* R2: it is not granted while it is called back */
		lane->held[region / 64] |= 1ull << (region % 64);
		enter(lane, region);
	}
}

static void recall_back(void *self)
{
	rebuild_recalled(self);
}

static void recall_answer(struct mirror_lane *lane)
{
	lane->recalled = MIRROR_NO_REGION;
	lane->recall.fn = recall_back;
	weft_reactor_post(lane->mirror->object.core->reactor[0], &lane->recall);
}

void lease_give(struct mirror *mirror, struct weft_hop *hop)
{
	const struct mirror_request *request = weft_hop_request(hop);
	struct mirror_lane *lane = lane_of(mirror, hop);

	for (uint32_t i = 0; i < request->regions; i++) {
		uint32_t region = nth(request, i);

		WEFT_ASSERT(lane->changes[region] > 0);
		if (--lane->changes[region] == 0 && WEFT_UNLIKELY(lane->recalled == region))
			recall_answer(lane);
	}
}

static void recall_here(void *self)
{
	struct mirror_lane *lane = self;

	WEFT_ASSERT(lane->recalled == MIRROR_NO_REGION && lane->asked < RECORD_REGIONS);
	lane->recalled = lane->asked;
	lane->held[lane->asked / 64] &= ~(1ull << (lane->asked % 64));
	if (lane->changes[lane->asked] == 0)
		recall_answer(lane);
}

void lease_recall(struct mirror_lane *lane, uint32_t region)
{
	lane->asked = region;
	lane->recall = (struct weft_msg){ .fn = recall_here, .self = lane };
	weft_reactor_post(lane->mirror->object.core->reactor[lane->lane], &lane->recall);
}

static void sweep_back(void *self)
{
	rebuild_swept(self);
}

/* What is in `held`, has not been used since the last sweep, and has no change under way. */
static uint64_t quiet(const struct mirror_lane *lane, unsigned word)
{
	uint64_t left = lane->held[word] & ~lane->used[word], found = 0;

	for (; left != 0; left &= left - 1)
		if (lane->changes[word * 64 + (unsigned)__builtin_ctzll(left)] == 0)
			found |= left & -left;
	return found;
}

static void sweep_here(void *self)
{
	struct mirror_lane *lane = self;

	lane->empty = true;
	for (unsigned i = 0; i < RECORD_WORDS; i++) {
		lane->returned[i] = lane->held[i] != 0 ? quiet(lane, i) : 0;
		lane->held[i] &= ~lane->returned[i];
		lane->empty = lane->empty && lane->held[i] == 0;
		lane->used[i] = 0;
	}
	lane->sweep.fn = sweep_back;
	weft_reactor_post(lane->mirror->object.core->reactor[0], &lane->sweep);
}

void lease_sweep(struct mirror_lane *lane)
{
	WEFT_ASSERT(!lane->sweep.posted);
	lane->sweep = (struct weft_msg){ .fn = sweep_here, .self = lane };
	weft_reactor_post(lane->mirror->object.core->reactor[lane->lane], &lane->sweep);
}

void leases_close(struct mirror *mirror)
{
	struct weft_core *core = mirror->object.core;

	for (unsigned i = 0; mirror->lane != NULL && i < core->reactors; i++)
		if (mirror->lane[i] != NULL)
			env_pages_free(core->env, mirror->lane[i], sizeof(*mirror->lane[i]));
	weft_free(core, mirror->lane);
	mirror->lane = NULL;
}

int leases_open(struct mirror *mirror, struct weft_why *why)
{
	struct weft_core *core = mirror->object.core;

	WEFT_ASSERT(mirror->lane == NULL);
	mirror->lane = weft_alloc(core, core->reactors * sizeof(struct mirror_lane *));
	for (unsigned i = 1; mirror->lane != NULL && i < core->reactors; i++) {
		struct mirror_lane *lane = env_pages_alloc(core->env, sizeof(*lane), false); /* most of it is never touched */

		mirror->lane[i] = lane;
		if (lane == NULL) {
			leases_close(mirror);
			break;
		}
		lane->mirror = mirror;
		lane->lane = i;
		lane->recalled = MIRROR_NO_REGION;
	}
	if (mirror->lane == NULL)
		return weft_why(why, -ENOMEM,
			"mirror: no memory for the regions that reactors write into: raise the memory limit");
	return 0;
}
