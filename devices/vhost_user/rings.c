/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is done on an agreed connection: regions are shared and taken back, rings are started and stopped as reactors
 * open and close their queues. A region is shared before any ring starts whose requests may lie in it.
 */
#include <errno.h>
#include <string.h>

#include <weft/log.h>

#include "devices/vhost_user/link.h"

#include "core/core.h"
#include "core/region.h"

static void region_wanted(struct vu_link *link, unsigned number);

/* What was in flight cannot be found by another server: the rings begin anew, and we ask again. */
void vu_inflight_drop(struct vu_link *link)
{
	struct vu_device *device = link->device;

	if (link->inflight_fd >= 0)
		env_fd_close(device->object.core->env, link->inflight_fd);
	link->inflight_fd = -1;
	for (unsigned i = 0; i < device->queues; i++)
		device->queue[i].ring_dirty = true;
}

/* ---- rings ---- */

static void order(struct vu_link *link, struct vu_queue *q, enum vu_order what, enum vu_ring_state state)
{
	WEFT_ASSERT(!q->order_msg.posted && !link->stopping);
	q->state = (uint8_t)state;
	link->orders++;
	vu_queue_order(q, what);
}

bool vu_ring_step(struct vu_link *link, struct vu_queue *q)
{
	const uint64_t memory = (uintptr_t)q->memory;
	const struct vhost_user_vring_addr address = {
		.index = q->index, .desc = memory + q->at.desc, .used = memory + q->at.device, .avail = memory + q->at.driver,
	};
	const struct vhost_user_vring_state num = { q->index, link->device->num }, base = { q->index, q->base };
	const struct vhost_user_vring_state enable = { q->index, 1 };
	const uint64_t index = q->index;
	const int kick = env_notifier_fd(q->kick), call = env_notifier_fd(q->call);

	WEFT_ASSERT(q->state == VU_RING_PREPARED && link->state == VU_READY);
	link->rings_given = true;
	switch (q->step++) {
	case 0:
		vu_send(link, VHOST_USER_SET_VRING_NUM, &num, sizeof(num), NULL, 0, false);
		break;
	case 1:
		vu_send(link, VHOST_USER_SET_VRING_BASE, &base, sizeof(base), NULL, 0, false);
		break;
	case 2:
		vu_send(link, VHOST_USER_SET_VRING_ADDR, &address, sizeof(address), NULL, 0, false);
		break;
	case 3:
		vu_send(link, VHOST_USER_SET_VRING_CALL, &index, sizeof(index), &call, 1, false);
		break;
	case 4:
		vu_send(link, VHOST_USER_SET_VRING_KICK, &index, sizeof(index), &kick, 1, false);
		break;
	case 5:
		if (link->device->protocol != 0)
			vu_send(link, VHOST_USER_SET_VRING_ENABLE, &enable, sizeof(enable), NULL, 0, false);
		break;
	case 6: /* who acknowledges nothing answers this when it has taken what came before, or ends the connection */
		if ((link->device->protocol & VHOST_USER_P(REPLY_ACK)) == 0)
			vu_send(link, VHOST_USER_GET_FEATURES, NULL, 0, NULL, 0, true);
		break;
	default:
		return false;
	}
	return true;
}

void vu_ring_stop(struct vu_link *link, struct vu_queue *q)
{
	const struct vhost_user_vring_state state = { q->index, 0 };

	WEFT_ASSERT(q->state == VU_RING_ON && link->turn == NULL);
	q->state = VU_RING_STOPPING;
	link->turn = q;
	vu_send(link, VHOST_USER_GET_VRING_BASE, &state, sizeof(state), NULL, 0, true);
}

static void ring_up(struct vu_link *link, struct vu_queue *q)
{
	WEFT_ASSERT(q->state == VU_RING_PREPARED || q->state == VU_RING_ON);
	atomic_store(&q->opened, false);
	q->failed = VU_FAILED_NOTHING;
	order(link, q, VU_ORDER_UP, VU_RING_STARTING);
}

/* There is no server, or one that is to go: requests may have to end without it. */
static bool ring_tend_away(struct vu_link *link, struct vu_queue *q)
{
	uint8_t failed = !link->given_up ? VU_FAILED_NOTHING : link->state == VU_AWAY ? VU_FAILED_ALL : VU_FAILED_WAITING;

	WEFT_ASSERT(link->state == VU_AWAY || link->state == VU_LEAVING);
	if (link->state == VU_AWAY && atomic_exchange(&q->aborting, false)) {
		vu_inflight_drop(link); /* what the next server would find there has ended */
		q->reset = true;
		q->ring_dirty = false;
		order(link, q, VU_ORDER_PREPARE, VU_RING_PREPARING);
	} else if (q->failed < failed) {
		q->failed = failed;
		if (failed == VU_FAILED_ALL)
			vu_inflight_drop(link);
		order(link, q, failed == VU_FAILED_ALL ? VU_ORDER_FAIL : VU_ORDER_FAIL_WAITING, VU_RING_FAILING);
	} else {
		return false;
	}
	return true;
}

/* The server runs it. */
static bool ring_tend_on(struct vu_link *link, struct vu_queue *q, bool wanted)
{
	WEFT_ASSERT(link->state == VU_READY && q->state == VU_RING_ON);
	if (atomic_load(&q->broken)) {
		vu_inflight_drop(link);
		vu_link_lost(link, -EPROTO, "the server has broken ring %u: %s", q->index, q->drv.fault);
	} else if (!wanted) {
		vu_ring_stop(link, q);
	} else if (atomic_load(&q->opened)) {
		ring_up(link, q); /* closed and opened so fast that it was never stopped */
	} else {
		return false;
	}
	return true;
}

/* Something to do for this ring? */
static bool ring_tend(struct vu_link *link, struct vu_queue *q)
{
	bool wanted = atomic_load(&q->wanted);

	switch ((enum vu_ring_state)q->state) {
	case VU_RING_OFF:
		if (!wanted) {
			vu_queue_off(q);
			return false;
		}
		if (link->state != VU_READY)
			return ring_tend_away(link, q);
		if (atomic_load(&q->aborting)) {
			vu_link_lost(link, -ECANCELED, "a request that it would find in flight is to be aborted");
			return true;
		}
		q->reset = q->ring_dirty || link->inflight_fd < 0;
		q->ring_dirty = false;
		order(link, q, VU_ORDER_PREPARE, VU_RING_PREPARING);
		return true;
	case VU_RING_PREPARED:
		if (link->state != VU_READY)
			q->state = VU_RING_OFF;
		else if (!vu_ring_step(link, q) && q->state == VU_RING_PREPARED)
			ring_up(link, q);
		return true;
	case VU_RING_ON:
		return link->state == VU_READY ? ring_tend_on(link, q, wanted) : ring_tend_away(link, q);
	case VU_RING_PREPARING:
	case VU_RING_STARTING:
	case VU_RING_STOPPING:
	case VU_RING_FAILING:
		return false;
	}
	return false;
}

void vu_ring_noted(struct vu_link *link, struct vu_queue *q)
{
	static const uint8_t next[] = {
		[VU_RING_PREPARING] = VU_RING_PREPARED, [VU_RING_STARTING] = VU_RING_ON, [VU_RING_FAILING] = VU_RING_OFF,
	};

	unsigned number = atomic_exchange(&q->region_wanted, 0);

	if (number != 0)
		region_wanted(link, number);
	if (!atomic_exchange(&q->answered, false))
		return;
	WEFT_ASSERT(link->orders > 0);
	link->orders--;
	q->step = 0;
	if ((q->lost && q->state != VU_RING_FAILING) || (q->skipped && q->state == VU_RING_PREPARING))
		q->state = VU_RING_OFF;
	else
		q->state = next[q->state];
	q->lost = false;
}

void vu_rings_lost(struct vu_link *link)
{
	struct vu_device *device = link->device;

	link->turn = NULL;
	link->region_turn = NULL;
	for (unsigned i = 0; i < WEFT_COUNT(link->region); i++) {
		struct vu_region *region = &link->region[i];

		region->sent = false;
		if (region->state == VU_REGION_GONE)
			region->state = VU_REGION_FREE;
		else if (region->state != VU_REGION_FREE)
			region->state = VU_REGION_NEW;
	}
	for (unsigned i = 0; i < device->queues; i++) {
		struct vu_queue *q = &device->queue[i];

		q->ring_dirty |= link->inflight_fd < 0;
		if (q->state == VU_RING_PREPARING || q->state == VU_RING_STARTING)
			q->lost = true; /* it is being told: the answer finds it off */
		else if (q->state != VU_RING_FAILING)
			q->state = VU_RING_OFF;
	}
}

/* ---- regions ---- */

static bool by_slots(const struct vu_link *link)
{
	return (link->device->protocol & VHOST_USER_P(CONFIGURE_MEM_SLOTS)) != 0;
}

/* The server has a region now (or refuses it): requests may lie in it. Our own memory it must have. */
static void region_settle(struct vu_link *link, struct vu_region *region, bool taken)
{
	struct vu_device *device = link->device;

	region->sent = false;
	if (region->state == VU_REGION_GONE) {
		region->state = VU_REGION_FREE;
	} else if (taken) {
		region->state = VU_REGION_SHARED;
		if (region != &link->region[0])
			atomic_store_explicit(&device->shared[region->number], region->generation, memory_order_release);
	} else if (region == &link->region[0]) {
		vu_link_refused(link, -EPROTO, "the server refuses the memory of our rings");
	} else if (atomic_exchange(&device->shared[region->number], 0) == region->generation) {
		vu_inflight_drop(link); /* what is in the rings may lie in it */
		vu_link_lost(link, -EPROTO, "the server refuses memory that the one before it had");
	} else {
		weft_log(device->object.core, WEFT_LOG_WARN, "%s: the server refuses a region of %llu bytes: requests in it "
			"are copied", device->object.name, (unsigned long long)region->size);
		region->state = VU_REGION_REFUSED;
	}
}

static void regions_settle_all(struct vu_link *link)
{
	for (unsigned i = 0; i < WEFT_COUNT(link->region); i++)
		if (link->region[i].sent)
			region_settle(link, &link->region[i], true);
}

static struct vhost_user_region message_region(const struct vu_region *r)
{
	return (struct vhost_user_region){ .gpa = r->base, .size = r->size, .uva = r->base, .mmap_offset = r->fd_offset };
}

static void region_send(struct vu_link *link, struct vu_region *region, uint32_t request)
{
	const struct vhost_user_memreg payload = { .region = message_region(region) };
	unsigned nfds = request == VHOST_USER_ADD_MEM_REG ? 1 : 0;

	WEFT_ASSERT(link->awaited == 0 && by_slots(link));
	link->region_turn = region;
	region->sent = true;
	vu_send(link, request, &payload, sizeof(payload), &region->fd, nfds, false);
	if (vu_sent(link)) /* the server acknowledges nothing */
		region_settle(link, region, true);
}

/* Regions that were removed, or whose number means other memory now. */
static void regions_sweep(struct vu_link *link)
{
	for (unsigned i = 1; i < WEFT_COUNT(link->region); i++) {
		struct vu_region *region = &link->region[i];
		const struct region *now = region_get(link->device->object.core, (unsigned)region->number);

		if (region->sent || region->state == VU_REGION_FREE || region->state == VU_REGION_GONE ||
				(now != NULL && now->generation == region->generation))
			continue;
		region->state = region->state == VU_REGION_SHARED ? VU_REGION_GONE : VU_REGION_FREE;
	}
}

void vu_memory_set(struct vu_link *link)
{
	struct vhost_user_memory memory = { 0 };
	int fds[VHOST_USER_MAX_REGIONS];

	regions_sweep(link); /* the descriptor of a region that has gone may mean another file by now */
	for (unsigned i = 0; i < WEFT_COUNT(link->region) && memory.nregions < VHOST_USER_MAX_REGIONS; i++) {
		struct vu_region *r = &link->region[i];

		r->sent = r->state == VU_REGION_NEW || r->state == VU_REGION_GONE;
		if (r->state != VU_REGION_NEW && r->state != VU_REGION_SHARED)
			continue;
		fds[memory.nregions] = r->fd;
		memory.regions[memory.nregions++] = message_region(r);
	}
	vu_send(link, VHOST_USER_SET_MEM_TABLE, &memory, (uint32_t)offsetof(struct vhost_user_memory, regions) +
		memory.nregions * (uint32_t)sizeof(memory.regions[0]), fds, memory.nregions, false);
	if (vu_sent(link))
		regions_settle_all(link);
}

static struct vu_region *region_in(struct vu_link *link, enum vu_region_state state)
{
	for (unsigned i = 0; i < WEFT_COUNT(link->region); i++)
		if (link->region[i].state == state)
			return &link->region[i];
	return NULL;
}

/* What has gone goes first: what is new may lie where it was. */
static bool regions_step(struct vu_link *link)
{
	struct vu_region *gone, *new;

	regions_sweep(link);
	gone = region_in(link, VU_REGION_GONE);
	new = region_in(link, VU_REGION_NEW);
	if (gone == NULL && new == NULL)
		return false;
	if (!by_slots(link))
		vu_memory_set(link);
	else if (gone != NULL)
		region_send(link, gone, VHOST_USER_REM_MEM_REG);
	else
		region_send(link, new, VHOST_USER_ADD_MEM_REG);
	return true;
}

/* A reactor has met a request in a region that the server does not have. Until it has, such requests are copied. */
static void region_wanted(struct vu_link *link, unsigned number)
{
	const struct region *r = region_get(link->device->object.core, number);
	struct vu_region *free = NULL;
	unsigned used = 0;

	regions_sweep(link);
	if (r == NULL || r->fd < 0)
		return;
	for (unsigned i = 0; i < WEFT_COUNT(link->region); i++) {
		struct vu_region *region = &link->region[i];

		if (region->state == VU_REGION_FREE)
			free = free != NULL ? free : region;
		else if (i > 0 && region->number == (int)number && region->generation == r->generation)
			return;
		else
			used += region->state != VU_REGION_REFUSED;
	}
	if (free == NULL || used >= link->regions_max)
		return;
	*free = (struct vu_region){
		.base = (uintptr_t)r->base, .size = r->size, .fd_offset = r->fd_offset, .fd = r->fd, .number = (int)number,
		.generation = r->generation, .state = VU_REGION_NEW,
	};
}

void vu_regions_open(struct vu_link *link)
{
	struct vu_device *device = link->device;

	WEFT_ASSERT(device->mapping != NULL && link->region[0].state == VU_REGION_FREE);
	link->region[0] = (struct vu_region){
		.base = (uintptr_t)env_mapping_base(device->mapping), .size = device->queues * device->layout.bytes,
		.fd = device->memory_fd, .number = -1, .state = VU_REGION_NEW,
	};
}

/* ---- together ---- */

bool vu_rings_step(struct vu_link *link)
{
	struct vu_device *device = link->device;

	if (link->state == VU_READY) {
		regions_sweep(link);
		if (regions_step(link))
			return true;
		if (!link->agreed_once)
			return vu_identity_step(link);
	}
	if (!link->agreed_once)
		return false; /* there may be no rings: the beginning has failed */
	for (unsigned i = 0; i < device->queues; i++)
		if (ring_tend(link, &device->queue[i]))
			return true;
	return false;
}

bool vu_rings_stop_step(struct vu_link *link)
{
	struct vu_device *device = link->device;

	for (unsigned i = 0; i < device->queues; i++) {
		WEFT_ASSERT(!atomic_load(&device->queue[i].wanted));
		if (device->queue[i].state != VU_RING_ON)
			continue;
		vu_ring_stop(link, &device->queue[i]);
		return true;
	}
	return false;
}

bool vu_rings_taken(const struct vu_link *link, unsigned least)
{
	const struct vu_device *device = link->device;
	unsigned taken = 0;

	WEFT_ASSERT(link->agreed_once);
	for (unsigned i = 0; i < device->queues; i++) {
		const struct vu_queue *q = &device->queue[i];

		if (!atomic_load(&q->wanted))
			continue;
		if (q->lost || (q->state != VU_RING_STARTING && q->state != VU_RING_ON))
			return false;
		taken++;
	}
	return taken >= least;
}

void vu_rings_answer(struct vu_link *link, const struct vhost_user_msg *msg)
{
	bool good = msg->payload.u64 == 0; /* of an acknowledgement */

	switch (msg->header.request) {
	case VHOST_USER_GET_VRING_BASE:
		link->turn->state = VU_RING_OFF;
		link->turn = NULL;
		break;
	case VHOST_USER_GET_FEATURES: /* that it answers is enough */
		break;
	case VHOST_USER_ADD_MEM_REG:
	case VHOST_USER_REM_MEM_REG:
		region_settle(link, link->region_turn, good);
		break;
	case VHOST_USER_SET_MEM_TABLE:
		if (good)
			regions_settle_all(link);
		else
			vu_link_refused(link, -EPROTO, "the server refuses our memory");
		break;
	case VHOST_USER_SET_VRING_NUM:
		if (!good)
			vu_link_refused(link, -EPROTO, "depth=%llu: the server refuses a ring of %u entries: choose a smaller "
				"depth", (unsigned long long)link->device->depth, link->device->num);
		break;
	default:
		if (!good)
			vu_link_refused(link, -EPROTO, "the server refuses %s",
				vhost_user_name(msg->header.request));
	}
}
