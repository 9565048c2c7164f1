/* SPDX-License-Identifier: BSD-2-Clause */
/* Changes of a device that are under way at one reactor: who waits for whom. */
#ifndef DEVICES_COMPARE_WRITE_CHANGES_H
#define DEVICES_COMPARE_WRITE_CHANGES_H

#include <weft/base.h>

/* Of one request, from its coming to its end. Set offset, end and alone. */
struct change {
	uint64_t offset, end;  /* bytes */
	bool alone;            /* nothing that overlaps it may be under way meanwhile */
	uint32_t before;       /* earlier ones that it waits for */
	uint64_t number;       /* in the order of coming */
	struct change *next, *prev;
};

struct change_list {
	struct change *first, *last; /* in the order of coming */
};

struct changes {
	struct change_list list[2]; /* those that are not alone, those that are */
	uint64_t number;
	void (*go)(struct change *change); /* its turn has come; inside change_leave */
};

/* True: it may go on at once; false: `go` is called when its turn comes. */
bool change_enter(struct changes *changes, struct change *change);
/* It has ended, or waits no more. */
void change_leave(struct changes *changes, struct change *change);
static inline bool change_waits(const struct change *change) { return change->before > 0; }
static inline bool changes_none(const struct changes *changes)
{
	return changes->list[false].first == NULL && changes->list[true].first == NULL;
}

#endif
