/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One ring as control sees it: what the front end wants, and the movement towards it (drawing in DESIGN.md). A ring is only changed
 * while it is STOPPED.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <weft/log.h>

#include "exports/vhost_user/vux.h"

static struct weft_core *ring_core(const struct vux_ring *ring)
{
	return export_core(ring->connection->exp);
}

static struct weft_reactor *ring_control(const struct vux_ring *ring)
{
	return ring_core(ring)->reactor[0];
}

static struct env *ring_env(const struct vux_ring *ring)
{
	return ring_core(ring)->env;
}

/* ---- on the ring's reactor ---- */

static void ring_kicked(void *self)
{
	(void)self; /* waking up was all: the source is polled in each turn */
}

bool ring_watch(struct vux_ring *ring)
{
	if (ring->watched || ring->kick == NULL)
		return true;
	WEFT_ASSERT(weft_reactor_here() == ring->reactor);
	ring->watched = env_notifier_watch(reactor_loop(ring->reactor), ring->kick, ring_kicked, ring) == 0;
	return ring->watched;
}

static int ring_start_here(struct vux_ring *ring)
{
	int status = virtq_init(&ring->vq, &ring->config);

	WEFT_ASSERT(!ring->stopping && !ring->reported && ring->session.reactor == NULL);
	if (status != 0)
		return weft_why(&ring->why, status, "%s", ring->vq.fault);
	if (ring->logging && ring->log_used) {
		ring->vq.log = &ring->log;
		ring->vq.log_address = ring->log_address;
		ring->vq.log_event = ring->log_event;
		virtq_log_all(&ring->vq);
	}
	ring->session.source = (struct weft_source){ .poll = queue_poll, .arm = queue_arm, .disarm = queue_disarm,
		.flush = queue_flush, .always = ring->kick == NULL };
	status = weft_session_open(&ring->session, ring->reactor, ring->connection->exp->stack, &ring->why);
	if (status != 0)
		return status;
	virtq_notify_disable(&ring->vq);
	weft_source_flush_later(ring->reactor, &ring->session.source);
	return 0;
}

static void ring_start_msg(void *self)
{
	struct vux_ring *ring = self;

	WEFT_ASSERT(weft_reactor_here() == ring->reactor);
	ring->start_status = ring_start_here(ring);
	weft_reactor_post(ring_control(ring), &ring->started_msg);
}

/* Nobody waits for what is still in flight but the front end's next connection, which waits for the end of this one. */
static void ring_out_of_patience(void *self)
{
	struct vux_ring *ring = self;

	WEFT_ASSERT(weft_reactor_here() == ring->reactor && ring->stopping);
	slots_abort(ring->reactor, &ring->session, -ESHUTDOWN);
	weft_timer_arm(ring->reactor, &ring->patience, weft_reactor_now(ring->reactor) + VUX_PATIENCE_NS);
}

static void ring_stop_msg(void *self)
{
	struct vux_ring *ring = self;

	WEFT_ASSERT(weft_reactor_here() == ring->reactor);
	WEFT_ASSERT(!ring->stopping);
	ring->stopping = true;
	if (ring->session.slots == 0)
		ring_finish_later(ring);
}

/* Behind stop_msg; what it was to hurry may have ended meanwhile. */
static void ring_leave_msg(void *self)
{
	struct vux_ring *ring = self;

	WEFT_ASSERT(weft_reactor_here() == ring->reactor && ring->stopping && !ring->patience.armed);
	ring->completes = false;
	ring->patience = (struct weft_timer){ .fn = ring_out_of_patience, .self = ring };
	if (ring->session.reactor != NULL)
		weft_timer_arm(ring->reactor, &ring->patience, weft_reactor_now(ring->reactor) + VUX_PATIENCE_NS);
	weft_reactor_post(ring_control(ring), &ring->left_msg);
}

void ring_finish_later(struct vux_ring *ring)
{
	WEFT_ASSERT(ring->stopping && ring->session.slots == 0);
	if (ring->finishing || ring_has_left(ring))
		return;
	ring->finishing = true;
	weft_reactor_post(ring->reactor, &ring->finish_msg);
}

static void ring_finish_msg(void *self)
{
	struct vux_ring *ring = self;

	WEFT_ASSERT(weft_reactor_here() == ring->reactor && ring->finishing);
	WEFT_ASSERT(ring->session.slots == 0 && ring->parked == NULL && ring->vq.pending == 0);
	if (ring->watched)
		env_notifier_unwatch(reactor_loop(ring->reactor), ring->kick);
	ring->watched = false;
	weft_timer_disarm(ring->reactor, &ring->patience);
	weft_session_close(&ring->session);
	weft_reactor_post(ring_control(ring), &ring->stopped_msg);
}

void ring_report(struct vux_ring *ring)
{
	WEFT_ASSERT(weft_reactor_here() == ring->reactor);
	if (ring->reported)
		return;
	ring->reported = true;
	weft_reactor_post(ring_control(ring), &ring->fault_msg);
}

/* Interrupts for what was published while the former descriptor was there may have been lost with it: one more is harmless. */
static void ring_call_msg(void *self)
{
	struct vux_ring *ring = self;

	WEFT_ASSERT(weft_reactor_here() == ring->reactor && !ring->finishing);
	ring->call = ring->call_live;
	if (ring->call != NULL)
		env_notifier_signal(ring->call);
	weft_reactor_post(ring_control(ring), &ring->called_msg);
}

/* ---- control: messages back ---- */

static void ring_notifier_close(struct env_notifier **notifier)
{
	if (*notifier != NULL)
		env_notifier_close(*notifier);
	*notifier = NULL;
}

static void ring_started_msg(void *self)
{
	struct vux_ring *ring = self;

	WEFT_ASSERT(control_is_here(ring->connection->exp));
	WEFT_ASSERT(ring->state == VUX_STARTING && ring->reactor->coming > 0);
	ring->reactor->coming--;
	if (ring->start_status == 0) {
		ring->state = VUX_RUNNING;
	} else {
		ring->state = VUX_STOPPED;
		ring->failed = ring->live;
		weft_log(ring_core(ring), WEFT_LOG_WARN, "%s: the ring cannot be started: %s", ring->session.name, ring->why.text);
	}
	ring_settle(ring);
	connection_settled(ring->connection);
}

static void ring_stopped_msg(void *self)
{
	struct vux_ring *ring = self;

	WEFT_ASSERT(control_is_here(ring->connection->exp) && ring->stopping && ring->session.slots == 0);
	WEFT_ASSERT(ring->state == VUX_STOPPING && !ring->call_exchange);
	ring->state = VUX_STOPPED;
	if (!ring->setup.base_given)
		ring->setup.base = virtq_base(&ring->vq);
	ring_settle(ring);
	connection_settled(ring->connection);
}

static void ring_left_msg(void *self)
{
	struct vux_ring *ring = self;

	WEFT_ASSERT(control_is_here(ring->connection->exp) && ring->leaving && ring->connection->state == VUX_CLOSING);
	ring->leaving = false;
	connection_settled(ring->connection);
}

static void ring_called_msg(void *self)
{
	struct vux_ring *ring = self;

	WEFT_ASSERT(control_is_here(ring->connection->exp) && ring->state == VUX_RUNNING);
	WEFT_ASSERT(ring->call_exchange);
	ring->call_exchange = false;
	ring_notifier_close(&ring->call_old);
	ring_settle(ring);
	connection_settled(ring->connection);
}

static void ring_fault_msg(void *self)
{
	struct vux_ring *ring = self;
	struct vux_connection *c = ring->connection;

	WEFT_ASSERT(control_is_here(ring->connection->exp) && (ring->state == VUX_RUNNING || ring->state == VUX_STOPPING));
	if (memory_is_broken(ring->map)) {
		connection_close(c, "the front end has taken away memory that it had shared");
		return;
	}
	WEFT_ASSERT(ring->vq.fault != NULL);
	ring->failed = ring->live;
	c->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	weft_log(ring_core(ring), WEFT_LOG_WARN, "%s: the ring is broken and is stopped: %s", ring->session.name, ring->vq.fault);
	if (ring->error != NULL)
		env_notifier_signal(ring->error);
	ring_settle(ring);
	connection_settled(c);
}

/* ---- control: towards what is wanted ---- */

struct vux_ring *ring_get(struct vux_connection *c, unsigned index)
{
	struct vux_ring *ring;

	WEFT_ASSERT(control_is_here(c->exp));
	WEFT_ASSERT(index < c->exp->queues);
	if (c->ring[index] != NULL)
		return c->ring[index];
	ring = weft_alloc_aligned(export_core(c->exp), 128, sizeof(*ring));
	if (ring == NULL)
		return NULL;
	ring->connection = c;
	ring->index = (uint16_t)index;
	ring->generation = 1;
	ring->start_msg = (struct weft_msg){ .fn = ring_start_msg, .self = ring };
	ring->stop_msg = (struct weft_msg){ .fn = ring_stop_msg, .self = ring };
	ring->finish_msg = (struct weft_msg){ .fn = ring_finish_msg, .self = ring };
	ring->call_msg = (struct weft_msg){ .fn = ring_call_msg, .self = ring };
	ring->leave_msg = (struct weft_msg){ .fn = ring_leave_msg, .self = ring };
	ring->left_msg = (struct weft_msg){ .fn = ring_left_msg, .self = ring };
	ring->started_msg = (struct weft_msg){ .fn = ring_started_msg, .self = ring };
	ring->stopped_msg = (struct weft_msg){ .fn = ring_stopped_msg, .self = ring };
	ring->called_msg = (struct weft_msg){ .fn = ring_called_msg, .self = ring };
	ring->fault_msg = (struct weft_msg){ .fn = ring_fault_msg, .self = ring };
	c->ring[index] = ring;
	return ring;
}

static bool ring_packed(const struct vux_ring *ring)
{
	return connection_acked(ring->connection, VIRTIO_F_RING_PACKED);
}

/* Where the parts of the ring lie in our memory. False: not (wholly) in it. */
static bool ring_translate(const struct vux_ring *ring, struct virtq_config *config)
{
	const struct vux_setup *setup = &ring->setup;
	const struct vmap *map = &ring->connection->map->vmap;
	bool packed = ring_packed(ring);
	uint16_t num = (uint16_t)setup->num;

	WEFT_ASSERT(ring->connection->map != NULL && setup->num > 0 && setup->num <= VIRTQ_MAX_NUM);
	config->desc = vmap_ring(map, setup->desc, virtq_desc_size(packed, num));
	config->driver = vmap_ring(map, setup->driver, virtq_driver_size(packed, num));
	config->device = vmap_ring(map, setup->device, virtq_device_size(packed, num));
	return config->desc != NULL && config->driver != NULL && config->device != NULL;
}

static bool ring_wanted(const struct vux_ring *ring)
{
	const struct vux_connection *c = ring->connection;
	const struct vux_setup *setup = &ring->setup;
	bool enabled = setup->enable_said ? setup->enabled :
		!connection_acked(c, VHOST_USER_F_PROTOCOL_FEATURES);

	return c->state == VUX_OPEN && export_serves(c->exp) && setup->num != 0 && setup->has_addresses && setup->has_kick &&
		enabled && c->map != NULL && ring->failed != ring->generation;
}

bool ring_is_settled(const struct vux_ring *ring)
{
	WEFT_ASSERT(!ring->call_exchange || ring->state == VUX_RUNNING);
	if (ring->call_exchange || ring->leaving)
		return false;
	switch (ring->state) {
	case VUX_STOPPED:
		return !ring_wanted(ring);
	case VUX_RUNNING:
		return ring_wanted(ring) && ring->live == ring->generation && ring->call_live == ring->call_wanted;
	default:
		return false;
	}
}

void ring_changed(struct vux_ring *ring)
{
	ring->generation++;
}

/* What is written into the guest's memory is to be marked in the dirty log. */
static bool ring_logs(const struct vux_ring *ring)
{
	return ring->connection->log.base != NULL && connection_acked(ring->connection, VHOST_F_LOG_ALL);
}

/* All that the reactor will read. 0 or -errno with ring->why. */
static int ring_prepare(struct vux_ring *ring)
{
	struct vux_connection *c = ring->connection;
	struct virtq_config *config = &ring->config;
	uint16_t num = (uint16_t)ring->setup.num;

	WEFT_ASSERT(ring->state == VUX_STOPPED && c->state == VUX_OPEN);
	*config = (struct virtq_config){ .num = num, .packed = ring_packed(ring), .base = ring->setup.base,
		.event_idx = connection_acked(c, VIRTIO_F_EVENT_IDX), .indirect = connection_acked(c, VIRTIO_F_INDIRECT_DESC) };
	if (!ring_translate(ring, config))
		return weft_why(&ring->why, -EFAULT, "its addresses (descriptors 0x%" PRIx64 ", driver 0x%" PRIx64 ", device 0x%"
			PRIx64 ", %u entries) are not in the memory that was shared", ring->setup.desc, ring->setup.driver,
			ring->setup.device, num);
	if (ring_logs(ring) && ring->setup.log_used && !config->packed &&
			!vhost_log_covers(c->log.size, ring->setup.log_address, virtq_device_size(false, num)))
		return weft_why(&ring->why, -EINVAL, "its used ring is to be logged at guest address 0x%" PRIx64 ", where the "
			"dirty log of %" PRIu64 " bytes has no bits: give its address in the guest's memory",
			ring->setup.log_address, c->log.size);
	if (inflight_is_short(c, ring->index)) /* untracked, it would lose requests when we are killed */
		return weft_why(&ring->why, -EINVAL, "the area for requests in flight, %" PRIu64 " bytes for %u queues of %u "
			"entries, is too short for it: the front end must give the one that it was given", c->inflight.size,
			c->inflight.queues, c->inflight.queue_size);
	config->inflight = inflight_region(c, ring->index, &config->inflight_num);
	weft_free(ring_core(ring), ring->resubmit);
	ring->resubmit = NULL;
	if (config->inflight != NULL)
		ring->resubmit = weft_alloc(ring_core(ring), num * sizeof(*ring->resubmit));
	if (ring->segs == NULL)
		ring->segs = weft_alloc(ring_core(ring), VUX_SEGS_MAX * sizeof(*ring->segs));
	if (ring->segs == NULL || (config->inflight != NULL && ring->resubmit == NULL))
		return weft_why(&ring->why, -ENOMEM, "no memory for a ring of %u entries: lower queue-size= of the front end", num);
	config->resubmit = ring->resubmit;
	return 0;
}

static void ring_take_kick(struct vux_ring *ring)
{
	WEFT_ASSERT(ring->state == VUX_STOPPED && !ring->watched);
	if (ring->kick != ring->kick_wanted)
		ring_notifier_close(&ring->kick);
	ring->kick = ring->kick_wanted;
}

static void ring_take_call(struct vux_ring *ring)
{
	WEFT_ASSERT(ring->state == VUX_STOPPED && ring->call_old == NULL);
	if (ring->call_live != ring->call_wanted)
		ring_notifier_close(&ring->call_live);
	ring->call = ring->call_live = ring->call_wanted;
}

/*
 * What the front end gives is the address of the used ring. A packed ring has none: QEMU gives that of the device event, others
 * that of the descriptors. So it is found out here.
 */
static void ring_log_addresses(struct vux_ring *ring)
{
	const struct virtq_config *config = &ring->config;
	bool found = true;

	ring->log_address = ring->setup.log_address;
	if (config->packed)
		found = vmap_gpa_of(&ring->map->vmap, config->desc, &ring->log_address) &&
			vmap_gpa_of(&ring->map->vmap, config->device, &ring->log_event);
	WEFT_ASSERT(found); /* translated by this very map */
}

static void ring_start(struct vux_ring *ring)
{
	struct vux_connection *c = ring->connection;
	int status;

	WEFT_ASSERT(control_is_here(c->exp) && export_serves(c->exp));
	WEFT_ASSERT(ring->state == VUX_STOPPED && ring->session.slots == 0 && ring->parked == NULL);
	memset(&ring->session, 0, sizeof(ring->session));
	snprintf(ring->session.name, sizeof(ring->session.name), "%.20s.%u#%u", c->exp->object.name, c->number % 10000,
		ring->index);
	ring->live = ring->generation;
	status = ring_prepare(ring);
	if (status != 0) {
		ring->failed = ring->live;
		weft_log(ring_core(ring), WEFT_LOG_WARN, "%s: the ring cannot be started: %s", ring->session.name, ring->why.text);
		return;
	}
	ring_take_kick(ring);
	ring_take_call(ring);
	ring->session.slots_max = ring->setup.num;
	ring->map = c->map;
	ring->log = (struct vhost_log){ .bits = c->log.base, .bytes = c->log.size };
	ring->logging = ring_logs(ring);
	ring->log_used = ring->setup.log_used;
	ring_log_addresses(ring);
	ring->serial = c->exp->serial != NULL ? c->exp->serial : c->exp->object.name;
	ring->readonly = export_readonly(c->exp);
	ring->write_through = config_write_through(c);
	ring->discard_max = config_range_max(false);
	ring->zero_max = config_range_max(true);
	ring->starved = ring->stopping = ring->finishing = ring->reported = ring->watched = ring->in_line = false;
	ring->look = 0;
	ring->setup.base_given = false;
	ring->reactor = weft_reactor_pick(ring_core(ring));
	ring->reactor->coming++;
	ring->state = VUX_STARTING;
	weft_reactor_post(ring->reactor, &ring->start_msg);
}

static void ring_exchange_call(struct vux_ring *ring)
{
	WEFT_ASSERT(!ring->call_exchange && ring->call_live != ring->call_wanted);
	WEFT_ASSERT(ring->state == VUX_RUNNING && ring->call_old == NULL);
	ring->call_old = ring->call_live;
	ring->call_live = ring->call_wanted;
	ring->call_exchange = true;
	weft_reactor_post(ring->reactor, &ring->call_msg);
}

/* When the export is to end, those who end it have a patience of their own. */
static void ring_tell_left(struct vux_ring *ring)
{
	const struct vux_connection *c = ring->connection;

	WEFT_ASSERT(ring->state == VUX_STOPPING && (ring->left || !ring->leaving));
	if (c->state != VUX_CLOSING || c->exp->stopping || ring->left)
		return;
	ring->left = ring->leaving = true;
	weft_reactor_post(ring->reactor, &ring->leave_msg);
}

void ring_settle(struct vux_ring *ring)
{
	WEFT_ASSERT(control_is_here(ring->connection->exp));
	if (ring->call_exchange)
		return;
	switch (ring->state) {
	case VUX_STOPPED:
		if (ring_wanted(ring))
			ring_start(ring);
		break;
	case VUX_RUNNING:
		if (!ring_wanted(ring) || ring->live != ring->generation) {
			ring->state = VUX_STOPPING;
			/* Else who takes the ring over from here, another machine, would never answer it. */
			ring->completes = ring->connection->state == VUX_OPEN && export_serves(ring->connection->exp);
			weft_reactor_post(ring->reactor, &ring->stop_msg);
		} else if (ring->call_live != ring->call_wanted) {
			ring_exchange_call(ring);
		}
		break;
	default:
		break; /* the message back settles it again */
	}
	if (ring->state == VUX_STOPPING)
		ring_tell_left(ring);
}

/* Adopts a descriptor. 0 or -errno. */
static int ring_notifier_open(struct vux_ring *ring, int fd, struct env_notifier **out)
{
	*out = NULL;
	return fd < 0 ? 0 : env_notifier_open(ring_env(ring), fd, out);
}

int ring_set_kick(struct vux_ring *ring, int fd)
{
	struct env_notifier *notifier;
	int status = ring_notifier_open(ring, fd, &notifier);

	WEFT_ASSERT(control_is_here(ring->connection->exp));
	if (status != 0)
		return status;
	if (ring->kick_wanted != ring->kick)
		ring_notifier_close(&ring->kick_wanted);
	ring->kick_wanted = notifier;
	ring->setup.has_kick = true;
	ring_changed(ring);
	return 0;
}

int ring_set_call(struct vux_ring *ring, int fd)
{
	struct env_notifier *notifier;
	int status = ring_notifier_open(ring, fd, &notifier);

	WEFT_ASSERT(control_is_here(ring->connection->exp));
	if (status != 0)
		return status;
	if (ring->call_wanted != ring->call_live)
		ring_notifier_close(&ring->call_wanted);
	ring->call_wanted = notifier;
	return 0;
}

int ring_set_error(struct vux_ring *ring, int fd)
{
	struct env_notifier *notifier;
	int status = ring_notifier_open(ring, fd, &notifier);

	WEFT_ASSERT(control_is_here(ring->connection->exp));
	if (status != 0)
		return status;
	ring_notifier_close(&ring->error);
	ring->error = notifier;
	return 0;
}

void ring_disable(struct vux_ring *ring)
{
	WEFT_ASSERT(control_is_here(ring->connection->exp));
	if (connection_acked(ring->connection, VHOST_USER_F_PROTOCOL_FEATURES))
		ring->setup.enable_said = !(ring->setup.enabled = false);
	else
		ring->setup.has_kick = false; /* it cannot be enabled, only started */
}

void ring_reset(struct vux_ring *ring)
{
	WEFT_ASSERT(ring->state == VUX_STOPPED);
	ring->setup = (struct vux_setup){ .base = ring->setup.base, .base_given = true };
}

void ring_destroy(struct vux_ring *ring)
{
	WEFT_ASSERT(ring->connection->state == VUX_CLOSING && ring->session.slots == 0);
	WEFT_ASSERT(ring->state == VUX_STOPPED && !ring->call_exchange && !ring->leaving && ring->call_old == NULL);
	if (ring->kick_wanted != ring->kick)
		ring_notifier_close(&ring->kick_wanted);
	ring_notifier_close(&ring->kick);
	if (ring->call_wanted != ring->call_live)
		ring_notifier_close(&ring->call_wanted);
	ring_notifier_close(&ring->call_live);
	ring_notifier_close(&ring->error);
	weft_free(ring_core(ring), ring->resubmit);
	weft_free(ring_core(ring), ring->segs);
	weft_free(ring_core(ring), ring);
}
