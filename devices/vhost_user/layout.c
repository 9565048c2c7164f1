/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory of a queue. A line that one core writes and the other reads costs more than all instructions of a
 * request, so the parts are laid out by who writes when:
 *
 *   ring descriptors   written once per id: they point to tables that never move, and stay in both caches
 *   line of an id      header and table, 64 bytes: the only line that goes to the server per request, beside the available index
 *   status bytes       of all ids together: come back 64 to a line
 *
 * A small ring goes further: the headers of its first ids fill the line of the available index (14 bytes are the ring's, then
 * three headers), the status bytes that of the used index. A request on its own then costs one line each way.
 */
#include "devices/vhost_user/vhost_user.h"

#include "wire/virtq.h"

/* Entries of a ring whose parts leave room in their lines. */
#define SMALL 4

static uint64_t part(uint64_t *at, uint64_t bytes, uint64_t align)
{
	uint64_t start = (*at + align - 1) & ~(align - 1);

	*at = start + bytes;
	return start;
}

void vu_layout_make(struct vu_layout *layout, bool packed, uint16_t num)
{
	uint64_t at = 0;

	WEFT_ASSERT(num > 0);
	layout->desc = part(&at, virtq_desc_size(packed, num), 64);
	layout->driver = part(&at, virtq_driver_size(packed, num), 128);
	layout->near_headers = packed || num > SMALL ? 0 : 3;
	layout->device = part(&at, virtq_device_size(packed, num), 128);
	layout->status = part(&at, num, packed || num > SMALL ? 128 : 1);
	layout->lines = part(&at, 64 * (uint64_t)num, 128);
	layout->tables = part(&at, 1024 * (uint64_t)num, 4096);
	layout->bounce = part(&at, (uint64_t)VU_BOUNCE * num, 4096);
	layout->bytes = part(&at, 0, 2 << 20);
	WEFT_ASSERT(layout->bytes >= at);
}
