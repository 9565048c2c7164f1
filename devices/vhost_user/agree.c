/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The handshake: what both sides can, the configuration, in-flight tracking, memory. One step sends one message; a
 * step that does not apply is skipped. A later server must offer what the first one did: sizes and rings are fixed.
 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/log.h>

#include "devices/vhost_user/link.h"

#include "core/core.h"
#include "wire/virtio_blk.h"

#define VIRTIO_WANTED ( \
	VIRTIO_F(VERSION_1) | VIRTIO_F(INDIRECT_DESC) | VIRTIO_F(EVENT_IDX) | VIRTIO_F(RING_PACKED) | \
	VIRTIO_F(PROTOCOL_FEATURES) | VIRTIO_BLK_F(SIZE_MAX) | VIRTIO_BLK_F(SEG_MAX) | VIRTIO_BLK_F(RO) | \
	VIRTIO_BLK_F(BLK_SIZE) | VIRTIO_BLK_F(FLUSH) | VIRTIO_BLK_F(TOPOLOGY) | VIRTIO_BLK_F(CONFIG_WCE) | \
	VIRTIO_BLK_F(MQ) | VIRTIO_BLK_F(DISCARD) | VIRTIO_BLK_F(WRITE_ZEROES))
#define PROTOCOL_WANTED ( \
	VHOST_USER_P(MQ) | VHOST_USER_P(REPLY_ACK) | VHOST_USER_P(BACKEND_REQ) | VHOST_USER_P(CONFIG) | \
	VHOST_USER_P(INFLIGHT_SHMFD) | VHOST_USER_P(CONFIGURE_MEM_SLOTS))

enum step {
	STEP_FEATURES, STEP_PROTOCOL, STEP_PROTOCOL_SET, STEP_OWNER, STEP_QUEUES, STEP_SLOTS, STEP_REQUESTS,
	STEP_FEATURES_SET, STEP_CONFIG, STEP_CACHE, STEP_MAKE, STEP_INFLIGHT, STEP_INFLIGHT_SET, STEP_MEMORY, STEP_END,
};

static bool has(const struct vu_link *link, uint64_t protocol_bit)
{
	return (link->device->protocol & protocol_bit) != 0;
}

static void send_u64(struct vu_link *link, uint32_t request, uint64_t value)
{
	vu_send(link, request, &value, sizeof(value), NULL, 0, false);
}

static void requests_offer(struct vu_link *link)
{
	struct weft_core *core = link->device->object.core;
	struct env_stream *stream;
	int theirs;

	WEFT_ASSERT(link->requests == NULL && has(link, VHOST_USER_P(BACKEND_REQ)));
	if (env_stream_pair(reactor_loop(core->reactor[0]), &stream, &theirs) != 0)
		return; /* only news of a changed size will be missed */
	vu_requests_adopt(link, stream);
	vu_send(link, VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, &theirs, 1, false);
	env_fd_close(core->env, theirs);
}

void vu_config_ask(struct vu_link *link)
{
	struct vhost_user_config payload = { .size = VU_CONFIG_SIZE };

	vu_send(link, VHOST_USER_GET_CONFIG, &payload, VHOST_USER_CONFIG_HEAD + VU_CONFIG_SIZE, NULL, 0, true);
}

/* cache=on|off asks the server for it, where it lets itself be asked. */
static void cache_set(struct vu_link *link)
{
	bool on = link->device->cache_option == 1;
	struct vhost_user_config payload = {
		.offset = VIRTIO_BLK_CONFIG_WRITEBACK, .size = 1, .region = { on },
	};

	WEFT_ASSERT(link->device->cache_option != 0);
	link->device->config.writeback = on;
	vu_send(link, VHOST_USER_SET_CONFIG, &payload, VHOST_USER_CONFIG_HEAD + 1, NULL, 0, false);
}

/* It may hold back what it acknowledges: so that is believed, but for those to whom the opposite was said before. */
static void cache_refused(struct vu_link *link)
{
	struct vu_device *device = link->device;

	if (link->agreed_once && !device->blk.volatile_cache) {
		vu_link_refused(link, -EIO, "the server refuses to switch its write cache off again");
		return;
	}
	weft_log(device->object.core, WEFT_LOG_WARN, "%s: the server refuses to change its write cache", device->object.name);
	device->config.writeback = 1;
}

static void inflight_ask(struct vu_link *link)
{
	struct vhost_user_inflight payload = {
		.num_queues = (uint16_t)link->device->queues, .queue_size = link->device->num,
	};

	WEFT_ASSERT(link->inflight_fd < 0 && link->device->queues > 0);
	vu_send(link, VHOST_USER_GET_INFLIGHT_FD, &payload, sizeof(payload), NULL, 0, true);
}

static void inflight_set(struct vu_link *link)
{
	struct vhost_user_inflight payload = {
		.mmap_size = link->inflight_size, .mmap_offset = link->inflight_offset,
		.num_queues = (uint16_t)link->device->queues, .queue_size = link->device->num,
	};

	WEFT_ASSERT(link->inflight_fd >= 0 && link->device->queues > 0);
	vu_send(link, VHOST_USER_SET_INFLIGHT_FD, &payload, sizeof(payload), &link->inflight_fd, 1, false);
}

static void make(struct vu_link *link)
{
	struct weft_why why;
	int error;

	WEFT_ASSERT(link->state == VU_AGREEING);
	if (link->agreed_once)
		return;
	error = vu_device_make(link->device, &why);
	if (error == 0)
		vu_regions_open(link);
	else
		vu_link_lost(link, error, "%s", why.text);
}

bool vu_agree_step(struct vu_link *link)
{
	struct vu_device *device = link->device;
	bool wce = (device->features & VIRTIO_BLK_F(CONFIG_WCE)) != 0;
	bool protocol = (device->features & VIRTIO_F(PROTOCOL_FEATURES)) != 0;

	WEFT_ASSERT(link->state == VU_AGREEING && link->awaited == 0 && link->step <= STEP_END);
	switch ((enum step)link->step++) {
	case STEP_FEATURES:
		vu_send(link, VHOST_USER_GET_FEATURES, NULL, 0, NULL, 0, true);
		break;
	case STEP_PROTOCOL:
		if (protocol)
			vu_send(link, VHOST_USER_GET_PROTOCOL_FEATURES, NULL, 0, NULL, 0, true);
		break;
	case STEP_PROTOCOL_SET:
		if (protocol)
			send_u64(link, VHOST_USER_SET_PROTOCOL_FEATURES, device->protocol);
		break;
	case STEP_OWNER:
		if (!has(link, VHOST_USER_P(CONFIG)))
			vu_link_refused(link, -ENOTSUP, "the server does not tell its configuration: it is no block device");
		else
			vu_send(link, VHOST_USER_SET_OWNER, NULL, 0, NULL, 0, false);
		break;
	case STEP_QUEUES:
		device->queues_offered = 1;
		if (has(link, VHOST_USER_P(MQ)))
			vu_send(link, VHOST_USER_GET_QUEUE_NUM, NULL, 0, NULL, 0, true);
		break;
	case STEP_SLOTS:
		link->regions_max = VHOST_USER_MAX_REGIONS;
		if (has(link, VHOST_USER_P(CONFIGURE_MEM_SLOTS)))
			vu_send(link, VHOST_USER_GET_MAX_MEM_SLOTS, NULL, 0, NULL, 0, true);
		break;
	case STEP_REQUESTS:
		if (has(link, VHOST_USER_P(BACKEND_REQ)))
			requests_offer(link);
		break;
	case STEP_FEATURES_SET:
		send_u64(link, VHOST_USER_SET_FEATURES, device->features);
		break;
	case STEP_CONFIG:
		vu_config_ask(link);
		break;
	case STEP_CACHE:
		if (wce && device->cache_option != 0)
			cache_set(link);
		break;
	case STEP_MAKE:
		make(link);
		break;
	case STEP_INFLIGHT:
		if (has(link, VHOST_USER_P(INFLIGHT_SHMFD)) && link->inflight_fd < 0)
			inflight_ask(link);
		break;
	case STEP_INFLIGHT_SET:
		if (link->inflight_fd >= 0)
			inflight_set(link);
		break;
	case STEP_MEMORY:
		if (!has(link, VHOST_USER_P(CONFIGURE_MEM_SLOTS)))
			vu_memory_set(link);
		break;
	case STEP_END:
		return false;
	}
	return true;
}

/* ---- answers ---- */

static void features_take(struct vu_link *link, uint64_t offered)
{
	struct vu_device *device = link->device;
	uint64_t wanted = VIRTIO_WANTED;

	WEFT_ASSERT(link->state == VU_AGREEING);
	if (device->packed_option != 1)
		wanted &= ~VIRTIO_F(RING_PACKED);
	if ((offered & VIRTIO_F(VERSION_1)) == 0) {
		vu_link_refused(link, -EPROTO, "the server does not offer virtio 1 (features %#llx)",
			(unsigned long long)offered);
	} else if (link->agreed_once && (device->features & ~offered) != 0) {
		vu_link_refused(link, -EPROTO, "the server that came back lacks features %#llx of the first one",
			(unsigned long long)(device->features & ~offered));
	} else if (!link->agreed_once) {
		device->features = offered & wanted;
		if (device->packed_option == 1 && (offered & VIRTIO_F(RING_PACKED)) == 0)
			vu_link_refused(link, -ENOTSUP, "packed=on, but the server offers no packed ring: leave it out");
	}
}

static void protocol_take(struct vu_link *link, uint64_t offered)
{
	struct vu_device *device = link->device;

	WEFT_ASSERT(link->state == VU_AGREEING);
	device->protocol = offered & PROTOCOL_WANTED;
	/* A server without tracking cannot find what was in flight: the rings begin anew. */
	if ((device->protocol & VHOST_USER_P(INFLIGHT_SHMFD)) == 0)
		vu_inflight_drop(link);
}

static void inflight_take(struct vu_link *link, const struct vhost_user_msg *msg)
{
	const struct vhost_user_inflight *payload = &msg->payload.inflight;

	WEFT_ASSERT(link->inflight_fd < 0);
	if (link->in.nfds == 0 || payload->mmap_size == 0)
		return; /* the server changed its mind: no tracking */
	link->inflight_fd = link->in.fds[0];
	link->in.fds[0] = -1;
	link->inflight_size = payload->mmap_size;
	link->inflight_offset = payload->mmap_offset;
}

void vu_agree_answer(struct vu_link *link, const struct vhost_user_msg *msg)
{
	uint64_t value = msg->payload.u64;

	WEFT_ASSERT(link->state == VU_AGREEING && link->awaited == 0);
	switch (msg->header.request) {
	case VHOST_USER_GET_FEATURES:
		features_take(link, value);
		break;
	case VHOST_USER_GET_PROTOCOL_FEATURES:
		protocol_take(link, value);
		break;
	case VHOST_USER_GET_QUEUE_NUM:
		link->device->queues_offered = value == 0 ? 1 : value > VU_QUEUES_MAX ? VU_QUEUES_MAX : (unsigned)value;
		break;
	case VHOST_USER_GET_MAX_MEM_SLOTS:
		link->regions_max = value > VU_SHARED_MAX ? VU_SHARED_MAX : (unsigned)value;
		break;
	case VHOST_USER_GET_INFLIGHT_FD:
		inflight_take(link, msg);
		break;
	case VHOST_USER_SET_CONFIG:
		if (value != 0)
			cache_refused(link);
		break;
	default:
		vu_rings_answer(link, msg);
	}
}

/* ---- configuration ---- */

static void config_parse(const struct vu_device *device, const void *bytes, struct vu_config *config)
{
	struct virtio_blk_config in = { 0 };
	uint64_t f = device->features;

	memcpy(&in, bytes, VU_CONFIG_SIZE);
	memset(config, 0, sizeof(*config));
	config->capacity = le64toh(in.capacity);
	config->size_max = (f & VIRTIO_BLK_F(SIZE_MAX)) != 0 ? le32toh(in.size_max) : 0;
	config->seg_max = (f & VIRTIO_BLK_F(SEG_MAX)) != 0 ? le32toh(in.seg_max) : 0;
	config->blk_size = (f & VIRTIO_BLK_F(BLK_SIZE)) != 0 ? le32toh(in.blk_size) : VIRTIO_BLK_SECTOR;
	if ((f & VIRTIO_BLK_F(TOPOLOGY)) != 0) {
		config->physical_exp = in.physical_block_exp;
		config->opt_blocks = le32toh(in.opt_io_size);
	}
	config->writeback = (f & VIRTIO_BLK_F(CONFIG_WCE)) != 0 ? in.writeback : (f & VIRTIO_BLK_F(FLUSH)) != 0;
	if ((f & VIRTIO_BLK_F(DISCARD)) != 0) {
		config->max_discard = le32toh(in.max_discard_sectors);
		config->discard_align = le32toh(in.discard_sector_alignment);
	}
	if ((f & VIRTIO_BLK_F(WRITE_ZEROES)) != 0) {
		config->max_zero = le32toh(in.max_write_zeroes_sectors);
		config->may_unmap = in.write_zeroes_may_unmap != 0;
	}
}

void vu_config_take(struct vu_link *link, const struct vhost_user_msg *msg)
{
	struct vu_device *device = link->device;
	struct vu_config config;

	if (msg->payload.config.size < VU_CONFIG_SIZE) {
		vu_link_refused(link, -EPROTO, "the server's configuration has only %u bytes", msg->payload.config.size);
		return;
	}
	config_parse(device, msg->payload.config.region, &config);
	if (config.capacity > INT64_MAX / VIRTIO_BLK_SECTOR) {
		vu_link_refused(link, -EPROTO, "the server tells a size of %llu sectors", (unsigned long long)config.capacity);
		return;
	}
	if (!link->agreed_once) {
		device->config = config;
		return;
	}
	if (config.blk_size != device->config.blk_size) {
		vu_link_refused(link, -EPROTO, "the server's block size has changed from %u to %u", device->config.blk_size,
			config.blk_size);
		return;
	}
	if (config.capacity != device->config.capacity) {
		device->config.capacity = config.capacity;
		weft_blk_resized(&device->blk, vu_size(device, &config));
	}
}
