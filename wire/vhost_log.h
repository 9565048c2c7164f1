/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dirty log of live migration (vhost-user.rst, "Migration"): one bit per page of 4096 bytes of guest memory, set with
 * atomic operations after the page was written; the front end clears it concurrently.
 */
#ifndef WIRE_VHOST_LOG_H
#define WIRE_VHOST_LOG_H

#include "wire/shm.h"

#include <stdbool.h>
#include <stdint.h>

#define VHOST_LOG_PAGE 4096u

struct vhost_log {
	uint8_t *bits;  /* the mapped log */
	uint64_t bytes; /* its size */
};

/* Has a log of so many bytes a bit for each page of [gpa, gpa + bytes)? */
static inline bool vhost_log_covers(uint64_t log_bytes, uint64_t gpa, uint64_t bytes)
{
	return bytes == 0 || (bytes - 1 <= UINT64_MAX - gpa && (gpa + (bytes - 1)) / VHOST_LOG_PAGE / 8 < log_bytes);
}

/* Marks the pages of [gpa, gpa + bytes) dirty. Call it after the write. Pages outside the log have no bit: whoever takes a log sees
 * to it that nothing is written there. */
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
