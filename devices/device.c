/* SPDX-License-Identifier: BSD-2-Clause */
/* What several devices of this folder share. */
#include "devices/device.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

int device_check_geometry(const char *kind, uint64_t size, uint64_t block, struct weft_why *why)
{
	if (block < 512 || block > (1u << 20) || (block & (block - 1)) != 0)
		return weft_why(why, -EINVAL,
			"%s: block=%" PRIu64 ": a power of two from 512 to 1MiB is needed", kind, block);
	if (size == 0)
		return weft_why(why, -EINVAL, "%s: size=0: at least one block of %" PRIu64 " bytes is needed",
			kind, block);
	if (size % block != 0)
		return weft_why(why, -EINVAL,
			"%s: size=%" PRIu64 " is not a multiple of block=%" PRIu64 ": give size=%" PRIu64,
			kind, size, block, (size / block + 1) * block);
	return 0;
}

static uint32_t larger(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

void device_narrow(struct weft_blk *blk, const struct weft_blk *lower)
{
	struct weft_blk other = { 0 };

	weft_blk_like(&other, lower);
	WEFT_ASSERT(blk->block >= 512 && other.block >= 512);
	blk->size = blk->size < other.size ? blk->size : other.size;
	blk->block = larger(blk->block, other.block);
	blk->physical = larger(blk->physical, other.physical);
	blk->optimal = larger(blk->optimal, other.optimal);
	blk->discard_align = larger(blk->discard_align, other.discard_align);
	blk->ops_can &= other.ops_can;
	blk->flags_can &= other.flags_can;
	blk->readonly |= other.readonly;
	blk->volatile_cache |= other.volatile_cache;
	blk->rotational |= other.rotational;
}

uint64_t device_status_room(const struct weft_hop *hop)
{
	uint64_t room = 0;

	WEFT_ASSERT(hop->op == WEFT_STATUS);
	for (unsigned i = 0; i < hop->nsegs; i++)
		room += hop->segs[i].len;
	WEFT_ASSERT(room >= hop->seg_skip);
	return room - hop->seg_skip;
}

void device_status_shift(const struct weft_hop *hop, int64_t shift)
{
	uint64_t room = device_status_room(hop), end = hop->offset;
	struct weft_extent extent;

	for (uint64_t at = 0; at + sizeof(extent) <= room && end < hop->offset + hop->len;
		at += sizeof(extent)) {
		weft_hop_copy_out(hop, at, &extent, sizeof(extent));
		if (extent.len == 0)
			break;
		extent.offset += (uint64_t)shift;
		end = extent.offset + extent.len;
		weft_hop_copy_in(hop, at, &extent, sizeof(extent));
	}
}

void device_abort_children(const struct weft_blk *blk, struct weft_hop *hop)
{
	WEFT_ASSERT(hop->blk == blk && hop->state == WEFT_HOP_ASKED);
	for (unsigned i = 0; i < blk->ops->width; i++) {
		struct weft_hop *child = device_child(blk, hop, i);

		if (child->state == WEFT_HOP_ASKED)
			weft_hop_abort(child, -ECANCELED);
	}
}

const char *device_error_name(int status)
{
	const char *name = status == 0 ? "OK" : strerrorname_np(-status);

	return name != NULL ? name : "an unknown error";
}

int device_error_value(const char *name)
{
	WEFT_ASSERT(name != NULL);
	for (int i = 1; i < 200; i++) {
		const char *known = strerrorname_np(i);

		if (known != NULL && strcasecmp(known, name) == 0)
			return -i;
	}
	return 0;
}
