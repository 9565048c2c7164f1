/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel tells about O_DIRECT. A file of its own: the C library's <sys/stat.h> lacks these fields
 * and clashes with the kernel's.
 */
#include <errno.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int dio_align(int fd, uint32_t *memory, uint32_t *offset);

int dio_align(int fd, uint32_t *memory, uint32_t *offset)
{
	struct statx sx;

	memset(&sx, 0, sizeof(sx));
	if (syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) || !(sx.stx_mask & STATX_DIOALIGN))
		return -ENODATA;
	*memory = sx.stx_dio_mem_align;
	*offset = sx.stx_dio_offset_align;
	return *memory && *offset ? 0 : -ENOTSUP;
}
