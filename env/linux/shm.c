/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared memory: memfds, and mappings that survive it when the other side truncates the file. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "env/linux/internal.h"

#define PAGE UINT64_C(4096)

struct mapping {
	struct env_mapping head;
	uint64_t size;
	char *start; /* of the pages mapped: base may lie within the first */
	uint64_t length;
};

int shm_create(struct env *env, const char *name, uint64_t size, int *out)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING), rc;

	(void)env;
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size)) {
		rc = -errno;
		close(fd);
		return rc;
	}
	/* Where seals are not to be had the guard of env_map does. */
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
	*out = fd;
	return 0;
}

static uint64_t page_of(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == 0 && (unsigned long)fs.f_type == HUGETLBFS_MAGIC && fs.f_bsize > 0)
		return (uint64_t)fs.f_bsize;
	return PAGE;
}

static int map_check(int fd, uint64_t offset, uint64_t size, struct weft_why *why)
{
	struct stat st;

	if (size == 0 || offset + size < offset || offset + size > INT64_MAX)
		return weft_why(why, -EINVAL, "memory: %llu bytes at offset %llu are not possible",
			(unsigned long long)size, (unsigned long long)offset);
	if (fstat(fd, &st))
		return weft_why(why, -errno, "memory: descriptor %d is not open", fd);
	if (S_ISREG(st.st_mode) && offset + size > (uint64_t)st.st_size)
		return weft_why(why, -EINVAL,
			"memory: %llu bytes at offset %llu lie behind the end of the file, which has %llu",
			(unsigned long long)size, (unsigned long long)offset, (unsigned long long)st.st_size);
	return 0;
}

static int map_pages(struct mapping *m, int fd, uint64_t offset, bool writable, struct weft_why *why)
{
	uint64_t page = page_of(fd), before = offset % page;
	char text[64];
	int rc;

	m->length = (before + m->size + page - 1) / page * page;
	WEFT_ASSERT(before < page && m->length - before >= m->size);
	m->start = mmap(NULL, m->length, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED | MAP_NORESERVE,
		fd, (off_t)(offset - before));
	if (m->start == MAP_FAILED)
		return weft_why(why, -errno, "memory: %llu bytes cannot be mapped: %s: end something else, or raise the memory "
			"limit", (unsigned long long)m->size, linux_error_text(errno, text, sizeof(text)));
	m->head.base = m->start + before;
	madvise(m->start, m->length, MADV_DONTDUMP); /* a guest's memory is not for our core files */
	rc = guard_add(m->start, m->length, page, &m->head.broken);
	if (rc) {
		munmap(m->start, m->length);
		return weft_why(why, rc, "memory: the mapping cannot be guarded: no memory");
	}
	return 0;
}

int shm_map(struct env *env, int fd, uint64_t offset, uint64_t size, bool writable, struct env_mapping **out,
	struct weft_why *why)
{
	struct mapping *m;
	int rc = map_check(fd, offset, size, why);

	if (rc)
		return rc;
	m = calloc(1, sizeof(*m));
	if (!m)
		return weft_why(why, -ENOMEM, "memory: none for a mapping");
	m->head.env = env;
	m->size = size;
	rc = map_pages(m, fd, offset, writable, why);
	if (rc) {
		free(m);
		return rc;
	}
	*out = &m->head;
	return 0;
}

void shm_unmap(struct env_mapping *head)
{
	struct mapping *m = (struct mapping *)head;

	WEFT_ASSERT((char *)m->head.base >= m->start && m->length >= m->size);
	guard_remove(m->start);
	munmap(m->start, m->length);
	free(m);
}
