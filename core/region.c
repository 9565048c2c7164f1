/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registered memory. Entries are added and removed by the control thread and are immutable in between, while requests use
 * them. Pinning
 * goes to each reactor as a message, ahead of anything that the control thread tells it later about this memory; where it
 * fails (the limit
 * of locked memory) requests go the ordinary way, and the log says so.
 */
#include <errno.h>

#include <weft/log.h>

#include "core/core.h"
#include "core/reactor.h"
#include "core/region.h"

/* One reactor's errand; the last one of a removed region frees it. */
struct errand {
	struct weft_msg pin, unpin;
	struct pinning *pinning;
	struct weft_reactor *reactor; /* that was sent to pin, and not yet to unpin; NULL: none. Control's */
	struct weft_reactor *at;      /* where it is done */
	bool done;
};

struct pinning {
	void *base;
	uint64_t size;
	unsigned region;
	_Atomic unsigned left; /* errands that still have to unpin, and the region itself */
	struct errand errand[CORE_REACTORS_MAX];
};

struct entry {
	struct region region;
	struct pinning *pinning;
};

struct regions {
	struct entry *entry[REGIONS_MAX];
	uint32_t generation;
};

int regions_open(struct weft_core *core, struct weft_why *why)
{
	WEFT_ASSERT(core->regions == NULL);
	core->regions = weft_alloc(core, sizeof(*core->regions));
	if (core->regions == NULL)
		return weft_why(why, -ENOMEM, "no memory for the table of registered memory");
	return 0;
}

void regions_close(struct weft_core *core)
{
	for (unsigned i = 0; core->regions != NULL && i < REGIONS_MAX; i++)
		WEFT_ASSERT(core->regions->entry[i] == NULL);
	weft_free(core, core->regions);
	core->regions = NULL;
}

const struct region *region_get(struct weft_core *core, unsigned region)
{
	struct entry *entry;

	if (region == WEFT_REGION_NONE || region >= REGIONS_MAX)
		return NULL;
	entry = __atomic_load_n(&core->regions->entry[region], __ATOMIC_ACQUIRE);
	return entry != NULL ? &entry->region : NULL;
}

static void pin_msg(void *self)
{
	struct errand *errand = self;
	struct pinning *p = errand->pinning;
	struct weft_why why;

	WEFT_ASSERT(weft_reactor_here() == errand->at && !errand->done);
	errand->done = env_loop_pin(errand->at->loop, p->region, p->base, p->size, &why) == 0;
	if (!errand->done)
		weft_log(errand->at->core, WEFT_LOG_WARN, "pin: %s: requests in this memory take the ordinary way", why.text);
}

static void pinning_put(struct weft_core *core, struct pinning *p)
{
	WEFT_ASSERT(atomic_load(&p->left) > 0);
	if (atomic_fetch_sub(&p->left, 1) == 1)
		weft_free(core, p);
}

static void unpin_msg(void *self)
{
	struct errand *errand = self;

	WEFT_ASSERT(weft_reactor_here() == errand->at);
	if (errand->done)
		env_loop_unpin(errand->at->loop, errand->pinning->region);
	errand->done = false;
	pinning_put(errand->at->core, errand->pinning);
}

static void send_to_pin(struct pinning *p, struct weft_reactor *reactor)
{
	struct errand *errand = &p->errand[reactor->lane];

	WEFT_ASSERT(errand->reactor == NULL && p->size > 0);
	errand->pinning = p;
	errand->reactor = errand->at = reactor;
	errand->pin = (struct weft_msg){ .fn = pin_msg, .self = errand };
	errand->unpin = (struct weft_msg){ .fn = unpin_msg, .self = errand };
	atomic_fetch_add(&p->left, 1);
	weft_reactor_post(reactor, &errand->pin);
}

static void send_to_unpin(struct pinning *p, unsigned lane)
{
	struct errand *errand = &p->errand[lane];
	struct weft_reactor *reactor = errand->reactor;

	if (reactor == NULL)
		return;
	errand->reactor = NULL;
	weft_reactor_post(reactor, &errand->unpin);
}

void regions_lane_joins(struct weft_core *core, struct weft_reactor *reactor)
{
	for (unsigned i = 1; i < REGIONS_MAX; i++) {
		struct entry *entry = core->regions->entry[i];

		if (entry != NULL && entry->pinning != NULL)
			send_to_pin(entry->pinning, reactor);
	}
}

void regions_lane_leaves(struct weft_core *core, struct weft_reactor *reactor)
{
	for (unsigned i = 1; i < REGIONS_MAX; i++) {
		struct entry *entry = core->regions->entry[i];

		if (entry != NULL && entry->pinning != NULL)
			send_to_unpin(entry->pinning, reactor->lane);
	}
}

int weft_region_add(struct weft_core *core, void *base, uint64_t size, int fd, uint64_t fd_offset, bool pin,
	struct weft_why *why)
{
	struct regions *regions = core->regions;
	struct entry *entry;
	unsigned i = 1;

	WEFT_ASSERT(base != NULL && size > 0);
	while (i < REGIONS_MAX && regions->entry[i] != NULL)
		i++;
	if (i == REGIONS_MAX)
		return weft_why(why, -ENOSPC, "all %d numbers for registered memory are taken: use fewer, larger regions",
			REGIONS_MAX - 1);
	entry = weft_alloc(core, sizeof(*entry));
	if (entry != NULL && pin)
		entry->pinning = weft_alloc(core, sizeof(*entry->pinning));
	if (entry == NULL || (pin && entry->pinning == NULL)) {
		weft_free(core, entry);
		return weft_why(why, -ENOMEM, "no memory to register %llu bytes", (unsigned long long)size);
	}
	entry->region = (struct region){ base, size, fd_offset, fd, ++regions->generation, pin };
	if (pin) {
		entry->pinning->base = base;
		entry->pinning->size = size;
		entry->pinning->region = i;
		entry->pinning->left = 1;
		for (unsigned lane = 1; lane < CORE_REACTORS_MAX; lane++)
			if (core->reactor[lane] != NULL)
				send_to_pin(entry->pinning, core->reactor[lane]);
	}
	__atomic_store_n(&regions->entry[i], entry, __ATOMIC_RELEASE);
	return (int)i;
}

void weft_region_remove(struct weft_core *core, int region)
{
	struct entry *entry;

	WEFT_ASSERT(region > 0 && region < REGIONS_MAX && core->regions->entry[region] != NULL);
	entry = core->regions->entry[region];
	__atomic_store_n(&core->regions->entry[region], NULL, __ATOMIC_RELEASE);
	for (unsigned lane = 1; entry->pinning != NULL && lane < CORE_REACTORS_MAX; lane++)
		send_to_unpin(entry->pinning, lane);
	if (entry->pinning != NULL)
		pinning_put(core, entry->pinning);
	weft_free(core, entry);
}
