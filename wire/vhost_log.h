/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log of live migration (vhost-user.rst, "Migration"): one bit per page of 4096 bytes of guest memory, set with
 * atomic operations after the page was written; the front end clears it concurrently.
 */
#ifndef WIRE_VHOST_LOG_H
#define WIRE_VHOST_LOG_H

#include "wire/shm.h"

#include <stdint.h>

#define VHOST_LOG_PAGE 4096u

struct vhost_log {
	uint8_t *bits;  /* the mapped log */
	uint64_t bytes; /* its size: what lies beyond is not logged */
};

/* Marks the pages of [gpa, gpa + bytes) dirty. Call it after the write. Pages outside the log are ignored. */
static inline void vhost_log_mark(const struct vhost_log *log, uint64_t gpa, uint64_t bytes)
{
	uint64_t page = gpa / VHOST_LOG_PAGE, last;

	if (bytes == 0)
		return;
	last = bytes - 1 > UINT64_MAX - gpa ? UINT64_MAX / VHOST_LOG_PAGE : (gpa + bytes - 1) / VHOST_LOG_PAGE;
	for (; page <= last && page / 8 < log->bytes; page++) {
		SHM_NOTE(SHM_STORE, &log->bits[page / 8], 1);
		__atomic_fetch_or(&log->bits[page / 8], (uint8_t)(1u << page % 8), __ATOMIC_SEQ_CST);
	}
}

#endif
