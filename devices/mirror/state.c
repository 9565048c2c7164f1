/* SPDX-License-Identifier: BSD-2-Clause */
/* Which legs are in sync: what the record says at the start, and what it must say before a request is acknowledged. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <weft/log.h>

#include "core/core.h"
#include "devices/device.h"
#include "devices/mirror/mirror.h"

static struct mirror *mirror_of(struct record *record)
{
	return WEFT_CONTAINER(record, struct mirror, record);
}

static struct weft_reactor *control(const struct mirror *mirror)
{
	return mirror->object.core->reactor[0];
}

/* ---- what waits ---- */

/* M6: a leg that is taken out before the second look is not recorded; whoever takes it out later sees it in `recorded`. */
static void write_facts(struct mirror *mirror, bool running)
{
	struct record_facts *facts = &mirror->record.facts;

	WEFT_ASSERT(!mirror->writing);
	atomic_fetch_or(&mirror->recorded, mirror_live(mirror));
	facts->in_sync = atomic_load(&mirror->in_use) & atomic_load(&mirror->recorded) & mirror_all(mirror);
	facts->running = running;
	facts->suspect = atomic_load(&mirror->suspect);
	mirror->writing = true;
	mirror->wanted = false;
	record_write(&mirror->record);
}

static unsigned lane_of(const struct mirror_request *request)
{
	return weft_reactor_lane(weft_hop_reactor(request->hop));
}

/* May it be granted what it waits for (R1, R2)? *unmarked: something of it is not durably marked; it is marked now. */
static bool grantable(struct mirror *mirror, const struct mirror_request *request, bool *unmarked)
{
	struct record *record = &mirror->record;
	bool may = (mirror->rebuild.sweeping >> lane_of(request) & 1) == 0;

	for (uint32_t i = 0; i < request->regions; i++) {
		uint32_t region = (request->region + i) % RECORD_REGIONS;

		record->map[region / 64] |= 1ull << (region % 64);
		if (!record_bit(record->durable, region))
			*unmarked = true, may = false;
		may = may && region != mirror->rebuild.locked;
	}
	return may;
}

static void grant(struct mirror *mirror, const struct mirror_request *request)
{
	unsigned lane = lane_of(request);

	for (uint32_t i = 0; i < request->regions; i++)
		mirror->rebuild.holders[(request->region + i) % RECORD_REGIONS] |= 1ull << lane;
	if (mirror->rebuild.leasing == 0)
		rebuild_wake(mirror); /* there is something to sweep */
	mirror->rebuild.leasing |= 1ull << lane;
}

/* *needs: it waits for the record to be written. A flush need not wait for a leg that has come back since: it was flushed then. */
static bool may_go(struct mirror *mirror, struct mirror_request *request, bool *needs)
{
	unsigned missing;

	if (request->wait == MIRROR_WAITS_LEASE) {
		if (!grantable(mirror, request, needs))
			return false;
		grant(mirror, request);
		return true;
	}
	missing = request->tears ? 0 : atomic_load(&mirror->recorded) & ~(unsigned)request->ok;
	if (request->regions == 0)
		missing &= ~mirror_live(mirror);
	*needs |= missing != 0;
	return missing == 0;
}

/* It has done nothing yet, and was aborted. */
static bool is_cut(struct mirror_request *request)
{
	return request->wait == MIRROR_WAITS_LEASE && atomic_load(&request->aborted);
}

static void send_back(struct mirror_request *request, int status)
{
	if (!request->tears)
		request->status = status;
	request->msg.fn = request->resume;
	request->msg.self = request->hop;
	weft_reactor_post(weft_hop_reactor(request->hop), &request->msg);
}

/* Answers those that need not wait any more; `error`: those that wait for the record fail. True: some wait for it. */
static bool serve(struct mirror *mirror, int error)
{
	struct mirror_request **link = &mirror->waiting, *request;
	bool needed = false;

	WEFT_ASSERT(weft_reactor_here() == control(mirror));
	while ((request = *link) != NULL) {
		bool cut = is_cut(request), needs = false, goes = !cut && may_go(mirror, request, &needs);

		if (!cut && !goes && !(needs && error != 0)) {
			needed |= needs;
			link = &request->next;
			continue;
		}
		*link = request->next;
		send_back(request, cut ? -ECANCELED : goes ? 0 : error);
	}
	mirror->waiting_tail = link;
	return needed;
}

void state_serve(struct mirror *mirror)
{
	bool needed = serve(mirror, 0);

	if (!mirror->writing && (needed || mirror->wanted))
		write_facts(mirror, true);
}

static void wait_msg(void *self)
{
	struct mirror_request *request = self;
	struct mirror *mirror = WEFT_CONTAINER(request->hop->blk, struct mirror, blk);

	WEFT_ASSERT(weft_reactor_here() == control(mirror) && mirror->record.medium != NULL && mirror->task == NULL);
	if (request->tears) { /* R7 */
		atomic_store(&mirror->suspect, true);
		weft_log(mirror->object.core, WEFT_LOG_WARN,
			"%s: a write was cut short or failed: legs may differ there, and only one is read%s", mirror->object.name,
			mirror->rebuilds ? " until they have been made equal" : " from now on");
		for (uint32_t i = 0; i < request->regions; i++)
			rebuild_mark(mirror, (request->region + i) % RECORD_REGIONS, mirror_all(mirror));
		rebuild_wake(mirror);
	}
	request->next = NULL;
	*mirror->waiting_tail = request;
	mirror->waiting_tail = &request->next;
	state_serve(mirror);
}

void state_wait(struct mirror *mirror, struct mirror_request *request)
{
	WEFT_ASSERT(mirror->state != NULL && request->hop != NULL && request->resume != NULL);
	request->msg = (struct weft_msg){ .fn = wait_msg, .self = request };
	weft_reactor_post(control(mirror), &request->msg);
}

/* The record was written while the mirror runs. */
static void facts_written(struct mirror *mirror, int error)
{
	if (error == 0) /* M5, M6 */
		atomic_store(&mirror->recorded, mirror->record.facts.in_sync);
	else
		weft_log(mirror->object.core, WEFT_LOG_ERROR,
			"%s: state=%s cannot be written (%s): what waits for it fails", mirror->object.name,
			mirror->state, device_error_name(error));
	if (serve(mirror, error != 0 ? -EIO : 0) || mirror->wanted)
		write_facts(mirror, true);
}

/* ---- start ---- */

/* What a leg is called in the record: kinds and addresses down to its leaf, without options, which may change. */
static void leg_name(const struct weft_object *object, char *name)
{
	size_t at = 0;

	name[0] = '\0';
	for (; object != NULL && at < RECORD_NAME; object = objects_below(object, 0, NULL)) {
		const struct weft_option *option = object->kind->options;
		const char *address = NULL;

		for (; option != NULL && option->name != NULL; option++)
			if ((option->flags & WEFT_OPTION_ADDRESS) != 0 &&
				(option->type == WEFT_OPTION_PATH || option->type == WEFT_OPTION_STRING))
				memcpy(&address, (const char *)object + option->offset, sizeof(address));
		at += (size_t)snprintf(name + at, RECORD_NAME - at, "%s%s%s%s", at > 0 ? " on " : "", object->kind->name,
			address != NULL ? ":" : "", address != NULL ? address : "");
	}
}

/* Which leg of the record this is, among those that no other is: the first of its name. */
static int find_leg(const struct record_facts *facts, const char *name, unsigned taken)
{
	for (unsigned i = 0; i < facts->legs; i++)
		if ((taken >> i & 1) == 0 && strcmp(facts->name[i], name) == 0)
			return (int)i;
	return -1;
}

/* The legs may stand in another order than in the record; each must be there. *in_sync: by our order. */
static int match_legs(struct mirror *mirror, struct record_facts *ours, struct weft_why *why)
{
	const struct record_facts *facts = &mirror->record.facts;
	unsigned taken = 0;

	WEFT_ASSERT(ours->in_sync == 0);
	for (unsigned i = 0; i < mirror->legs; i++) {
		int found = find_leg(facts, ours->name[i], taken);

		if (found < 0)
			return weft_why(why, -EINVAL,
				"mirror: leg %u (%.80s) is not one of those that state=%s knows: give the legs that it was made "
				"with; or, when all legs hold the same for sure, remove it",
				i, ours->name[i], mirror->state);
		taken |= 1u << found;
		ours->in_sync |= (facts->in_sync >> found & 1) << i;
	}
	if (mirror->legs != facts->legs)
		return weft_why(why, -EINVAL,
			"mirror: state=%s knows %u legs, and %u are given: give the legs that it was made with; or, when all legs "
			"hold the same for sure, remove it",
			mirror->state, facts->legs, mirror->legs);
	return 0;
}

/* What the record says becomes what is so. */
static void take_over(struct mirror *mirror, const struct record_facts *ours)
{
	struct weft_core *core = mirror->object.core;
	const char *name = mirror->object.name;

	WEFT_ASSERT(ours->in_sync != 0);
	for (unsigned i = 0; i < mirror->legs; i++)
		if ((ours->in_sync >> i & 1) == 0)
			weft_log(core, WEFT_LOG_ERROR,
				"%s: leg %u (%s) has missed writes, says state=%s: it is not read%s", name, i,
				mirror->leg[i]->object->name, mirror->state, mirror->rebuilds ?
				" before it has been rebuilt" : "; to have it back, set rebuild=on");
	if (mirror->record.facts.running && !mirror->record.facts.suspect)
		weft_log(core, WEFT_LOG_WARN,
			"%s: it was not stopped in order: legs may differ where writes were under way, and only one is read%s",
			name, mirror->rebuilds ? " until they have been made equal" : "");
	atomic_store(&mirror->in_use, ours->in_sync);
	atomic_store(&mirror->recorded, ours->in_sync);
	atomic_store(&mirror->suspect, mirror->record.facts.running || mirror->record.facts.suspect);
	rebuild_take_over(mirror);
}

static void state_opened(struct record *record, int error)
{
	struct mirror *mirror = mirror_of(record);
	struct weft_task *task = mirror->task;
	struct record_facts ours = { .legs = mirror->legs, .region_shift = record->facts.region_shift };

	if (error == 0 && record->fresh)
		ours.region_shift = mirror->region_size == 0 ? record_region_shift(mirror->blk.size) :
			(uint32_t)__builtin_ctzll(mirror->region_size);
	for (unsigned i = 0; i < mirror->legs; i++)
		leg_name(mirror->leg[i]->object, ours.name[i]);
	if (error == 0 && record->fresh)
		ours.in_sync = mirror_all(mirror);
	else if (error == 0)
		error = match_legs(mirror, &ours, &task->why);
	if (error == 0 && mirror->blk.block >> ours.region_shift > 1)
		error = weft_why(&task->why, -EINVAL,
			"mirror: state=%s has regions that are smaller than a block (%u): give the legs that it was made with, "
			"with the blocks that they had",
			mirror->state, mirror->blk.block);
	if (error == 0 && (error = rebuild_open(mirror, &task->why)) == 0 && (error = leases_open(mirror, &task->why)) != 0)
		rebuild_close(mirror);
	if (error != 0) {
		if (record->medium != NULL)
			record_close(record, record->fresh);
		mirror->task = NULL;
		device_end(task, error);
		return;
	}
	take_over(mirror, &ours);
	record->facts = ours;
	write_facts(mirror, true);
}

static void state_end(struct mirror *mirror, bool unlink, int status)
{
	struct weft_task *task = mirror->task;

	leases_close(mirror);
	rebuild_close(mirror);
	record_close(&mirror->record, unlink);
	mirror->task = NULL;
	device_end(task, status);
}

static void state_written(struct record *record, int error)
{
	struct mirror *mirror = mirror_of(record);
	struct weft_task *task = mirror->task;
	bool stopping = mirror->object.state == WEFT_OBJECT_STOPPING;

	mirror->writing = false;
	if (task == NULL) {
		facts_written(mirror, error);
		rebuild_go_on(mirror);
		return;
	}
	if (stopping && mirror->record.facts.running) { /* it was being written when the stop came */
		state_stop_now(mirror);
		return;
	}
	if (error != 0) /* at a stop this is all that can be done: the next start finds it running, and is careful */
		weft_why(&task->why, error, "mirror: state=%s cannot be written (%s): see what its disk says", mirror->state,
			device_error_name(error));
	if (stopping || error != 0) {
		state_end(mirror, stopping && (mirror->object.core->abandoned || !atomic_load(&mirror->opened)),
			stopping ? 0 : error);
		return;
	}
	mirror->task = NULL;
	device_end(task, 0);
}

void state_start(struct mirror *mirror, struct weft_task *task)
{
	WEFT_ASSERT(mirror->state != NULL && mirror->task == NULL);
	mirror->task = task;
	mirror->waiting_tail = &mirror->waiting;
	mirror->record = (struct record){ .core = mirror->object.core, .opened = state_opened, .written = state_written };
	record_open(&mirror->record, mirror->state, &task->why);
}

void state_stop_now(struct mirror *mirror)
{
	WEFT_ASSERT(mirror->task != NULL && mirror->waiting == NULL);
	if (!mirror->writing && !rebuild_is_busy(mirror))
		write_facts(mirror, false);
}

void state_stop(struct mirror *mirror, struct weft_task *task)
{
	WEFT_ASSERT(mirror->task == NULL && mirror->waiting == NULL);
	mirror->task = task;
	weft_timer_disarm(control(mirror), &mirror->rebuild.timer);
	state_stop_now(mirror);
}
