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

/* ---- a request waits ---- */

static void write_facts(struct mirror *mirror, bool running)
{
	struct record_facts *facts = &mirror->record.facts;

	facts->in_sync = atomic_load(&mirror->live);
	facts->running = running;
	facts->suspect = atomic_load(&mirror->suspect);
	record_write(&mirror->record);
}

/* Sends those back that need not wait any more, or all when there is an error. True: some must go on waiting. */
static bool send_back(struct mirror *mirror, int error)
{
	struct mirror_request **link = &mirror->waiting, *request;
	unsigned recorded = atomic_load(&mirror->recorded);

	WEFT_ASSERT(weft_reactor_here() == control(mirror));
	while ((request = *link) != NULL) {
		if (error == 0 && (recorded & ~(unsigned)request->ok) != 0) {
			link = &request->next;
			continue;
		}
		*link = request->next;
		request->status = error;
		request->msg.fn = request->resume;
		request->msg.self = request->hop;
		weft_reactor_post(weft_hop_reactor(request->hop), &request->msg);
	}
	return mirror->waiting != NULL;
}

static void drops_written(struct record *record, int error)
{
	struct mirror *mirror = mirror_of(record);

	if (error == 0) /* M5, M6 */
		atomic_store(&mirror->recorded, record->facts.in_sync);
	else
		weft_log(mirror->object.core, WEFT_LOG_ERROR,
			"%s: state=%s cannot be written (%s): writes that a leg missed fail", mirror->object.name,
			mirror->state, device_error_name(error));
	if (send_back(mirror, error != 0 ? -EIO : 0))
		write_facts(mirror, true);
}

static void record_msg(void *self)
{
	struct mirror_request *request = self;
	struct mirror *mirror = WEFT_CONTAINER(request->hop->blk, struct mirror, blk);
	bool writing = mirror->waiting != NULL;

	WEFT_ASSERT(weft_reactor_here() == control(mirror) && mirror->record.medium != NULL && mirror->task == NULL);
	request->next = mirror->waiting;
	mirror->waiting = request;
	if (!writing && send_back(mirror, 0))
		write_facts(mirror, true);
}

void state_record(struct mirror *mirror, struct mirror_request *request)
{
	WEFT_ASSERT(mirror->state != NULL && request->hop != NULL && request->resume != NULL);
	request->msg = (struct weft_msg){ .fn = record_msg, .self = request };
	weft_reactor_post(control(mirror), &request->msg);
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
				"%s: leg %u (%s) has missed writes, says state=%s: it is not used; to have it back, stop, copy "
				"another leg over it, remove that file",
				name, i, mirror->leg[i]->object->name, mirror->state);
	if (mirror->record.facts.running && !mirror->record.facts.suspect)
		weft_log(core, WEFT_LOG_WARN,
			"%s: it was not stopped in order: legs may differ where writes were under way, and only one is read",
			name);
	atomic_store(&mirror->live, ours->in_sync);
	atomic_store(&mirror->recorded, ours->in_sync);
	atomic_store(&mirror->suspect, mirror->record.facts.running || mirror->record.facts.suspect);
}

static void state_opened(struct record *record, int error)
{
	struct mirror *mirror = mirror_of(record);
	struct weft_task *task = mirror->task;
	struct record_facts ours = { .legs = mirror->legs };

	for (unsigned i = 0; i < mirror->legs; i++)
		leg_name(mirror->leg[i]->object, ours.name[i]);
	if (error == 0 && record->fresh)
		ours.in_sync = (1u << mirror->legs) - 1;
	else if (error == 0 && (error = match_legs(mirror, &ours, &task->why)) != 0)
		record_close(record, false);
	if (error != 0) {
		mirror->task = NULL;
		device_end(task, error);
		return;
	}
	take_over(mirror, &ours);
	record->facts = ours;
	write_facts(mirror, true);
}

static void state_written(struct record *record, int error)
{
	struct mirror *mirror = mirror_of(record);
	struct weft_task *task = mirror->task;
	bool stopping = mirror->object.state == WEFT_OBJECT_STOPPING;

	if (task == NULL) {
		drops_written(record, error);
		return;
	}
	mirror->task = NULL;
	if (error != 0) /* at a stop this is all that can be done: the next start finds it running, and is careful */
		weft_why(&task->why, error, "mirror: state=%s cannot be written (%s): see what its disk says", mirror->state,
			device_error_name(error));
	if (error != 0 || stopping)
		record_close(record, stopping && (mirror->object.core->abandoned || !atomic_load(&mirror->opened)));
	device_end(task, stopping ? 0 : error);
}

void state_start(struct mirror *mirror, struct weft_task *task)
{
	WEFT_ASSERT(mirror->state != NULL && mirror->task == NULL);
	mirror->task = task;
	mirror->record = (struct record){ .core = mirror->object.core, .opened = state_opened, .written = state_written };
	record_open(&mirror->record, mirror->state, &task->why);
}

void state_stop(struct mirror *mirror, struct weft_task *task)
{
	WEFT_ASSERT(mirror->task == NULL && mirror->waiting == NULL);
	mirror->task = task;
	write_facts(mirror, false);
}
