/* SPDX-License-Identifier: BSD-2-Clause */
/* What several devices of this folder share: checks of sizes, children by index, answers of WEFT_STATUS. */
#ifndef DEVICES_DEVICE_H
#define DEVICES_DEVICE_H

#include <errno.h>
#include <weft/blk.h>

/* Is `block` a legal logical block, and `size` a multiple of it (and not 0)? 0 or -EINVAL with `why`. */
int device_check_geometry(const char *kind, uint64_t size, uint64_t block, struct weft_why *why);

/* Narrows `blk`, which was made like one device below, to what `lower` can take as well: for fan-out. */
void device_narrow(struct weft_blk *blk, const struct weft_blk *lower);

/* Bytes of answer that a WEFT_STATUS request has room for. */
uint64_t device_status_room(const struct weft_hop *hop);

/* `hop`: our own WEFT_STATUS, answered from below: moves its extents by `shift` bytes, from a lower device's
 * offsets to ours. */
void device_status_shift(const struct weft_hop *hop, int64_t shift);

/* Is it an operation that changes what a device holds? */
static inline bool device_changes(unsigned op)
{
	return op != WEFT_READ && op != WEFT_FLUSH && op != WEFT_STATUS;
}

/* Child `index` of a hop of `blk`, whatever its state. */
static inline struct weft_hop *device_child(const struct weft_blk *blk, struct weft_hop *hop, unsigned index)
{
	WEFT_ASSERT(index < blk->ops->width);
	return (struct weft_hop *)(void *)((char *)(hop + 1) + (size_t)index * blk->child_stride);
}

/* What the waist does when a device has no abort of its own: asks the children in flight to end. */
void device_abort_children(const struct weft_blk *blk, struct weft_hop *hop);

/* "EIO" for -EIO; and back: 0 when the name is not known. */
const char *device_error_name(int status);
int device_error_value(const char *name);

/* Which child of its own hop has ended (the index that weft_hop_fork was given). */
static inline unsigned device_child_index(
	const struct weft_blk *blk, const struct weft_hop *self, const struct weft_hop *child)
{
	size_t at = (size_t)((const char *)child - (const char *)(self + 1));

	WEFT_ASSERT(at % blk->child_stride == 0);
	return (unsigned)(at / blk->child_stride);
}

/* The instance behind what it offers, and behind its object. */
#define DEVICE_OF(blk_ptr, type) WEFT_CONTAINER(blk_ptr, type, blk)
#define DEVICE_OF_OBJECT(object_ptr, type) WEFT_CONTAINER(object_ptr, type, object)

/* Ends a control operation: `return device_end(task, weft_why(&task->why, -EINVAL, ...))`. */
static inline void device_end(struct weft_task *task, int status)
{
	WEFT_ASSERT(status <= 0);
	task->done(task, status);
}

#endif
