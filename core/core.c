/* SPDX-License-Identifier: BSD-2-Clause */
/* One weft: opened and closed as a whole. */
#include <errno.h>
#include <stdio.h>

#include <weft/export.h>
#include <weft/log.h>
#include <weft/memory.h>

#include "core/blk.h"
#include "core/core.h"
#include "core/log.h"
#include "core/object.h"
#include "core/reactor.h"
#include "core/region.h"
#include "env/env.h"

#define BUDGET_DEFAULT 1024

static int reactors_start(struct weft_core *core, const struct core_wants *wants, struct weft_why *why)
{
	int error = 0;

	WEFT_ASSERT(wants->io_reactors >= 1 && wants->io_reactors < CORE_REACTORS_MAX);
	core->budget = wants->budget != 0 ? wants->budget : BUDGET_DEFAULT;
	for (unsigned lane = 0; error == 0 && lane <= wants->io_reactors; lane++) {
		error = reactor_open(core, lane, core->budget, lane == 0 && wants->control_fd, &core->reactor[lane], why);
		if (error == 0)
			core->reactors = lane + 1;
	}
	if (error != 0)
		return error;
	/* The control reactor has nobody to wait for in a hurry. */
	reactor_mode_set(core->reactor[0], WEFT_MODE_NOTIFY);
	for (unsigned lane = 1; error == 0 && lane < core->reactors; lane++) {
		struct weft_reactor *reactor = core->reactor[lane];
		char name[16];

		snprintf(name, sizeof(name), "weft/%u", lane);
		reactor_mode_set(reactor, wants->mode);
		if (wants->no_threads)
			continue;
		error = env_thread_start(core->env, name, wants->cpus != NULL ? wants->cpus[lane - 1] : -1, reactor->loop,
			reactor_step, reactor, &reactor->thread, why);
	}
	return error;
}

/* ---- what the core does for what objects offer ---- */

static int device_started(struct weft_object *object, void *offer, struct weft_why *why)
{
	struct weft_blk *blk = offer;

	WEFT_ASSERT(blk->object == NULL || blk->object == object);
	blk->object = object;
	return blk_started(blk, why);
}

static void device_stopped(struct weft_object *object, void *offer)
{
	(void)object;
	blk_stopped(offer);
}

static void export_resized(struct weft_object *object, void *offer)
{
	struct weft_export *exp = offer;

	WEFT_ASSERT(exp->ops != NULL);
	(void)object;
	if (exp->ops->resized != NULL)
		exp->ops->resized(exp);
}

static void hooks_add(struct weft_core *core)
{
	WEFT_ASSERT(core->objects != NULL);
	core->blk_hook = (struct objects_hook){ .iface = &weft_blk_iface, .started = device_started,
		.stopped = device_stopped };
	core->export_hook = (struct objects_hook){ .iface = &weft_export_iface, .lower_resized = export_resized };
	objects_hook_add(core, &core->blk_hook);
	objects_hook_add(core, &core->export_hook);
}

/* ---- reactors that were closed ---- */

#define RETIRED_MAX 32

static void retired_put(struct weft_core *core, struct weft_reactor *reactor)
{
	WEFT_ASSERT(reactor->program == NULL && *core->retired_tail == NULL);
	reactor->next_retired = NULL;
	*core->retired_tail = reactor;
	core->retired_tail = &reactor->next_retired;
	core->nretired++;
}

static struct weft_reactor *retired_take(struct weft_core *core)
{
	struct weft_reactor *reactor = core->retired;

	WEFT_ASSERT(reactor != NULL && core->nretired > 0);
	core->retired = reactor->next_retired;
	if (core->retired == NULL)
		core->retired_tail = &core->retired;
	core->nretired--;
	return reactor;
}

/* ---- life ---- */

int core_open(struct env *env, const struct core_wants *wants, struct weft_core **out, struct weft_why *why)
{
	struct weft_core *core = env_alloc(env, 16, sizeof(*core));
	int error;

	WEFT_ASSERT(wants->io_reactors >= 1 && wants->io_reactors < CORE_REACTORS_MAX);
	if (core == NULL)
		return weft_why(why, -ENOMEM, "no memory for the core");
	core->env = env;
	core->retired_tail = &core->retired;
	error = log_open(core, why);
	if (error == 0)
		error = regions_open(core, why);
	if (error == 0)
		error = objects_open(core, why);
	if (error == 0) {
		hooks_add(core);
		error = reactors_start(core, wants, why);
	}
	if (error != 0) {
		core_close(core);
		return error;
	}
	*out = core;
	return 0;
}

void core_run(struct weft_core *core)
{
	WEFT_ASSERT(core->reactors > 0 && weft_reactor_here() == NULL);
	env_thread_run_here(core->env, core->reactor[0]->loop, reactor_step, core->reactor[0]);
	atomic_store(&core->reactor[0]->stopping, false);
}

void core_quit(struct weft_core *core)
{
	reactor_stop(core->reactor[0]);
}

void core_close(struct weft_core *core)
{
	WEFT_ASSERT(weft_reactor_here() == NULL && core->reactors <= CORE_REACTORS_MAX);
	if (core->objects != NULL)
		objects_close(core);
	for (unsigned lane = core->reactors; lane < CORE_REACTORS_MAX; lane++)
		WEFT_ASSERT(core->reactor[lane] == NULL);
	for (unsigned lane = 0; lane < core->reactors; lane++) {
		if (core->reactor[lane]->thread == NULL)
			continue;
		reactor_stop(core->reactor[lane]);
		env_thread_join(core->reactor[lane]->thread);
	}
	for (unsigned lane = 0; lane < core->reactors; lane++)
		reactor_close(core->reactor[lane]);
	while (core->retired != NULL)
		weft_free(core, retired_take(core));
	if (core->regions != NULL)
		regions_close(core);
	if (core->log != NULL)
		log_close(core);
	env_free(core->env, core);
}

/* ---- the program's reactors ---- */

int core_lane_open(struct weft_core *core, uint32_t budget, bool movable, struct weft_reactor **out, struct weft_why *why)
{
	unsigned lane = core->reactors;
	int error;

	WEFT_ASSERT(core->reactors >= 2);
	while (lane < CORE_REACTORS_MAX && (core->reactor[lane] != NULL || core->leaving[lane]))
		lane++;
	if (lane == CORE_REACTORS_MAX)
		return weft_why(why, -ENOSPC, "all %u reactors that a program can have are open: let several queues share one, or "
			"close some", CORE_REACTORS_MAX - core->reactors);
	*out = core->nretired >= RETIRED_MAX ? retired_take(core) : NULL;
	error = reactor_open(core, lane, budget != 0 ? budget : core->budget, movable, out, why);
	if (error != 0) {
		if (*out != NULL)
			retired_put(core, *out);
		return error;
	}
	core->reactor[lane] = *out;
	regions_lane_joins(core, *out);
	return 0;
}

void core_lane_leave(struct weft_core *core, struct weft_reactor *reactor)
{
	WEFT_ASSERT(reactor->lane >= core->reactors && core->reactor[reactor->lane] == reactor);
	regions_lane_leaves(core, reactor);
	core->reactor[reactor->lane] = NULL;
	core->leaving[reactor->lane] = true;
}

void core_lane_close(struct weft_core *core, struct weft_reactor *reactor)
{
	WEFT_ASSERT(core->leaving[reactor->lane] && core->reactor[reactor->lane] == NULL);
	core->leaving[reactor->lane] = false;
	reactor_retire(reactor);
	retired_put(core, reactor);
}

/* A reading that is a moment old does no harm; but many sessions are sent at once, of several exports. */
struct weft_reactor *weft_reactor_pick(struct weft_core *core)
{
	struct weft_reactor *best = core->reactor[1];

	WEFT_ASSERT(core->reactors >= 2);
	for (unsigned lane = 2; lane < core->reactors; lane++)
		if (core->reactor[lane]->sessions_open + core->reactor[lane]->coming < best->sessions_open + best->coming)
			best = core->reactor[lane];
	return best;
}

/* Devices count from when they have said where they live: also those that are still starting, in whichever build. */
struct weft_reactor *weft_reactor_pick_home(struct weft_core *core)
{
	unsigned homes[CORE_REACTORS_MAX] = { 0 }, best = 1;

	object_control_assert(core);
	WEFT_ASSERT(core->reactors >= 2);
	for (struct weft_object *object = core->objects->first; object != NULL; object = object->link[0]) {
		const struct weft_blk *blk = weft_object_query(object, &weft_blk_iface);

		if (blk != NULL && blk->ops != NULL && blk->ops->at_home && blk->home != NULL)
			homes[blk->home->lane]++;
	}
	for (unsigned lane = 2; lane < core->reactors; lane++)
		if (homes[lane] < homes[best])
			best = lane;
	return core->reactor[best];
}
