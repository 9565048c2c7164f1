/* SPDX-License-Identifier: BSD-2-Clause */
/* The check of vhost-user messages: whatever passes can be looked at without a further thought. */
#include "wire/vhost_user.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(int ok)
{
	if (!ok)
		abort();
}

static void check_accepted(const struct vhost_user_msg *msg, unsigned fds, enum vhost_user_way way)
{
	uint32_t size = msg->header.size;

	check(size <= sizeof(msg->payload) && fds <= VHOST_USER_MAX_FDS);
	check(strcmp(way == VHOST_USER_FRONT_REQUEST || way == VHOST_USER_FRONT_REPLY
			     ? vhost_user_name(msg->header.request)
			     : vhost_user_backend_name(msg->header.request),
		     "unknown") != 0);
	if (way != VHOST_USER_FRONT_REQUEST)
		return;
	if (msg->header.request == VHOST_USER_SET_MEM_TABLE)
		check(msg->payload.memory.nregions == fds && fds <= VHOST_USER_MAX_REGIONS && size >= 8 + 32 * fds);
	if (msg->header.request == VHOST_USER_SET_CONFIG)
		check(msg->payload.config.size <= VHOST_USER_MAX_CONFIG && size >= 12 + msg->payload.config.size);
	if (msg->header.request == VHOST_USER_GET_CONFIG)
		check(msg->payload.config.size <= VHOST_USER_MAX_CONFIG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum vhost_user_way way;
	unsigned fds;

	if (size < 2 + sizeof(struct vhost_user_header))
		return 0;
	way = data[0] & 3;
	fds = data[1] % 12;
	data += 2;
	size -= 2;
	for (unsigned i = 0; i < 2; i++) { /* as it came, and with a length that agrees */
		size_t payload = size - sizeof(struct vhost_user_header);
		struct vhost_user_msg *msg = calloc(1, sizeof(*msg));

		check(msg != NULL);
		memcpy(&msg->header, data, sizeof(msg->header));
		if (i == 1)
			msg->header.size = (uint32_t)payload;
		if (!vhost_user_check_header(&msg->header, way)) {
			check(msg->header.size <= sizeof(msg->payload));
			memcpy(&msg->payload, data + sizeof(msg->header), payload < msg->header.size ? payload : msg->header.size);
			if (!vhost_user_check(msg, fds, way))
				check_accepted(msg, fds, way);
		}
		free(msg);
	}
	return 0;
}
