/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The first look at a server, before the device has started: the control reactor itself runs ring 0 for a single request, get-id,
 * and stops it again. So a server that refuses our rings makes the start fail, with a reason, instead of being tried again for
 * ever; and the serial number is known to whoever asks.
 *
 *      OFF --> PREPARED --> ON --------> STOPPING --> OFF
 *         ring 0 is set up   get-id is asked, and has ended
 *
 * No reactor has a queue open yet (the device has not started), so ring 0 is the control reactor's alone. Its first reactor
 * continues it where it was stopped, so that what the server has noted in the in-flight area stays right.
 */
#include <errno.h>

#include "devices/vhost_user/link.h"

#include "core/core.h"
#include "wire/shm.h"
#include "wire/virtio_blk.h"

/* Where the request lies in the bounce buffer of its id, bytes. */
enum { AT_HEADER = 0, AT_STATUS = 16, AT_SERIAL = 64 };

static struct weft_reactor *control(const struct vu_link *link)
{
	return link->device->object.core->reactor[0];
}

static uint8_t *request_of(const struct vu_queue *q, uint16_t id)
{
	return q->memory + q->at.bounce + (uint64_t)VU_BOUNCE * id;
}

static void watch_end(struct vu_link *link)
{
	if (link->identity == VU_IDENTITY_ASKED)
		env_notifier_unwatch(reactor_loop(control(link)), link->device->queue[0].call);
}

/* The answer is there: read once. A server that has no serial number says so by its status. */
static void serial_take(struct vu_link *link, uint16_t id)
{
	struct vu_queue *q = &link->device->queue[0];
	const uint8_t *request = request_of(q, id);
	uint8_t serial[VIRTIO_BLK_ID_BYTES];

	WEFT_ASSERT(id < link->device->num && link->identity == VU_IDENTITY_ASKED);
	shm_copy_in(serial, request + AT_SERIAL, sizeof(serial));
	if (virtio_blk_error(shm_load8(request + AT_STATUS)) == 0)
		virtio_blk_serial(serial, link->device->serial);
	watch_end(link);
	virtq_drv_notify_disable(&q->drv);
	link->identity = VU_IDENTITY_KNOWN;
}

/* Something may have come. */
static void called(void *self)
{
	struct vu_link *link = self;
	struct vu_queue *q = &link->device->queue[0];
	struct virtq_done done;
	int got;

	WEFT_ASSERT(link->identity == VU_IDENTITY_ASKED && q->state == VU_RING_ON && q->reactor == NULL);
	got = virtq_drv_take(&q->drv, &done);
	if (got < 0) {
		vu_link_lost(link, -EPROTO, "the server has broken ring 0: %s", q->drv.fault);
		return;
	}
	if (got == 1)
		serial_take(link, done.id);
	vu_link_go_on(link);
}

static void serial_ask(struct vu_link *link)
{
	struct vu_queue *q = &link->device->queue[0];
	uint16_t id = virtq_drv_next_id(&q->drv);
	uint8_t *request = request_of(q, id);
	const struct virtq_buf bufs[] = {
		{ (uintptr_t)request + AT_HEADER, 16 }, { (uintptr_t)request + AT_SERIAL, VIRTIO_BLK_ID_BYTES },
		{ (uintptr_t)request + AT_STATUS, 1 },
	};
	int error = env_notifier_watch(reactor_loop(control(link)), q->call, called, link);

	WEFT_ASSERT(q->in_flight == 0 && virtq_drv_room(&q->drv) >= WEFT_COUNT(bufs));
	if (error != 0) {
		vu_link_lost(link, error, "cannot watch the call descriptor of queue 0");
		return;
	}
	shm_store32(request + AT_HEADER, VIRTIO_BLK_T_GET_ID);
	shm_store32(request + AT_HEADER + 4, 0);
	shm_store64(request + AT_HEADER + 8, 0);
	error = virtq_drv_add(&q->drv, bufs, 1, 2, NULL, NULL);
	WEFT_ASSERT(error == id);
	virtq_drv_notify_enable(&q->drv);
	virtq_drv_publish(&q->drv);
	env_notifier_signal(q->kick);
	q->state = VU_RING_ON;
	link->identity = VU_IDENTITY_ASKED;
	vu_answer_expect(link);
}

bool vu_identity_step(struct vu_link *link)
{
	struct vu_queue *q = &link->device->queue[0];

	WEFT_ASSERT(link->state == VU_READY && !link->agreed_once && q->reactor == NULL);
	switch (q->state) {
	case VU_RING_OFF:
		if (link->identity == VU_IDENTITY_KNOWN) {
			vu_link_agreed(link);
			return true;
		}
		q->ring_dirty = false;
		q->base = vu_queue_base(q);
		q->step = 0;
		q->state = VU_RING_PREPARED;
		return true;
	case VU_RING_PREPARED:
		if (!vu_ring_step(link, q) && q->state == VU_RING_PREPARED)
			serial_ask(link);
		return true;
	case VU_RING_ON:
		if (link->identity != VU_IDENTITY_KNOWN)
			return false;
		vu_ring_stop(link, q);
		return true;
	default:
		WEFT_ASSERT(q->state == VU_RING_STOPPING);
		return false;
	}
}

void vu_identity_drop(struct vu_link *link)
{
	watch_end(link);
	link->identity = VU_IDENTITY_UNKNOWN;
}
