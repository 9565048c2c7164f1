/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an opened file or block device can do: O_DIRECT and its alignments, discard, zeroes, cache, kind of
 * disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "env/linux/internal.h"

#define PROBE_SIZE 65536u
#define DIRECT_BLOCK_MAX 65536u

/* Linux 6.14; the C library has no name for it yet. */
#ifndef RWF_DONTCACHE
#define RWF_DONTCACHE 0x80
#endif

static bool power_of_two(uint32_t n)
{
	return n && !(n & (n - 1));
}

/* ---- O_DIRECT ---- */

/* Would the kernel read so? Any other error than "not so aligned" is not about alignment. */
static bool direct_reads(int fd, char *memory, uint32_t len, uint32_t offset)
{
	return pread(fd, memory, len, offset) >= 0 || (errno != EINVAL && errno != EOPNOTSUPP);
}

/* By trying, where the kernel does not tell. The offset tried is no multiple of the next larger power. */
static int direct_try(int fd, char *memory, uint32_t *align, uint32_t *block)
{
	for (*block = 512; *block <= 4096; *block *= 2)
		if (direct_reads(fd, memory, *block, *block))
			break;
	if (*block > 4096)
		return -ENOTSUP;
	for (*align = 512; *align < 4096; *align *= 2)
		if (direct_reads(fd, memory + *align, *block, *block))
			break;
	return 0;
}

static int direct_probe(int fd, uint32_t *align, uint32_t *block)
{
	char *memory = NULL;
	int rc;

	if (posix_memalign((void **)&memory, PROBE_SIZE, 2 * PROBE_SIZE))
		return -ENOMEM;
	rc = dio_align(fd, align, block);
	if (rc == -ENODATA)
		rc = direct_try(fd, memory, align, block);
	/* What was told is believed when one read has shown it. */
	if (rc == 0 &&
		(!power_of_two(*align) || !power_of_two(*block) || *block > DIRECT_BLOCK_MAX ||
			*align > PROBE_SIZE || !direct_reads(fd, memory + *align % PROBE_SIZE, *block, 0)))
		rc = -ENOTSUP;
	free(memory);
	return rc;
}

static int direct_why(
	struct weft_why *why, const struct env_medium_info *info, uint32_t block, const char *name)
{
	if (block)
		return weft_why(why, -EINVAL,
			"direct: on needs a size in multiples of %u bytes, and %s has %llu: use direct=auto, "
			"or change the size",
			block, name, (unsigned long long)info->size);
	return weft_why(why, -EINVAL,
		"direct: on is not possible for %s, its file system has no O_DIRECT: use direct=auto", name);
}

/* Switches O_DIRECT on if it is wanted and possible; clears O_NONBLOCK in any case. */
static int direct_choose(struct medium *m, const struct env_medium_wants *wants, struct env_medium_info *info,
	struct weft_why *why)
{
	int flags = fcntl(m->fd, F_GETFL) & ~O_NONBLOCK;
	uint32_t align = 1, block = 512, refused = 0;

	info->block = 512;
	info->align = 1;
	if (wants->direct != ENV_DIRECT_OFF && !m->in_memory &&
		fcntl(m->fd, F_SETFL, flags | O_DIRECT) == 0 && direct_probe(m->fd, &align, &block) == 0) {
		if (block < 512)
			block = 512;
		if (info->size % block == 0) {
			info->block = block;
			info->align = align > 1 ? align : 2; /* each piece of memory must be whole blocks in any case */
			m->direct = true;
			return 0;
		}
		refused = block;
	}
	if (wants->direct == ENV_DIRECT_ON)
		return direct_why(why, info, refused, m->name);
	fcntl(m->fd, F_SETFL, flags);
	return 0;
}

/* ---- the page cache ---- */

/* Behind the end there is nothing to read: it only says whether the kernel and the file system know the flag. */
static bool transient_probe(const struct medium *m, uint64_t size)
{
	struct iovec nowhere = {&(char){0}, 1};

	return preadv2(m->fd, &nowhere, 1, (off_t)size, RWF_DONTCACHE) == 0;
}

/*
 * Pages that go with their transfer, and no reading ahead: that makes folios larger than a request, which go with the first
 * request that touches them, and are read again for the next.
 */
static void transient_choose(struct medium *m, const struct env_medium_wants *wants, struct env_medium_info *info)
{
	info->transient = wants->transient && m->cached && transient_probe(m, info->size) &&
		posix_fadvise(m->fd, 0, 0, POSIX_FADV_RANDOM) == 0;
	m->transient = info->transient ? RWF_DONTCACHE : 0;
}

/* ---- the disk ---- */

/* A line of /sys/dev/block/MAJOR:MINOR/queue, of the whole disk for a partition. False: there is none. */
static bool queue_read(dev_t dev, const char *name, char *text, size_t size)
{
	static const char *const where[] = {"", "../"};
	ssize_t n = -1;

	for (unsigned i = 0; i < 2 && n < 0; i++) {
		char path[128];
		int fd;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/%s", major(dev), minor(dev),
			where[i], name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		n = read(fd, text, size - 1);
		close(fd);
	}
	text[n > 0 ? n : 0] = 0;
	return n > 0;
}

static unsigned long long queue_number(dev_t dev, const char *name)
{
	char text[64];

	return queue_read(dev, name, text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
}

static void probe_block_device(struct medium *m, const struct stat *st, struct env_medium_info *info)
{
	unsigned physical = 0, optimal = 0;
	char text[64];
	int logical = 0;

	if (ioctl(m->fd, BLKSSZGET, &logical) == 0 && logical > (int)info->block && m->direct)
		info->block = (uint32_t)logical;
	ioctl(m->fd, BLKPBSZGET, &physical);
	ioctl(m->fd, BLKIOOPT, &optimal);
	info->physical = physical;
	info->optimal = optimal;
	info->rotational = queue_number(st->st_rdev, "rotational") != 0;
	info->can_discard = !m->readonly && queue_number(st->st_rdev, "discard_max_bytes") != 0;
	info->can_zero = !m->readonly;
	info->can_status = false;
	info->volatile_cache = !m->direct || !queue_read(st->st_rdev, "write_cache", text, sizeof(text)) ||
		strncmp(text, "write through", 13) != 0;
}

static void probe_file(struct medium *m, const struct stat *st, struct env_medium_info *info)
{
	off_t end = (off_t)((info->size + 4095) & ~UINT64_C(4095));

	info->physical = st->st_blksize >= 512 && st->st_blksize <= 65536 ? (uint32_t)st->st_blksize : 0;
	info->rotational = !m->in_memory && queue_number(st->st_dev, "rotational") != 0;
	/* Behind the end there is nothing to punch: it only says whether it can be done. */
	info->can_discard =
		!m->readonly && fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, 4096) == 0;
	info->can_zero = info->can_discard;
	info->can_status = lseek(m->fd, 0, SEEK_DATA) >= 0 || errno == ENXIO;
	info->volatile_cache = !m->in_memory;
}

static const char *probe_how(const struct medium *m)
{
	struct linux_env *env = linux_env_of(m->head.env);

	if (m->in_memory)
		return "in place (memory file system)";
	if (env->no_uring || atomic_load(&env->fallback_said))
		return m->direct ? "worker threads, O_DIRECT" : "worker threads, page cache";
	return m->direct ? "io_uring, O_DIRECT" : "io_uring, page cache";
}

static bool on_memory(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) == 0 &&
		((unsigned long)fs.f_type == TMPFS_MAGIC || (unsigned long)fs.f_type == RAMFS_MAGIC);
}

int medium_probe(struct medium *m, const struct env_medium_wants *wants, struct env_medium_info *info,
	struct weft_why *why)
{
	struct stat st;
	int rc;

	if (fstat(m->fd, &st))
		return weft_why(why, -errno, "address: %s cannot be examined", m->name);
	m->in_memory = !m->block_device && on_memory(m->fd);
	rc = direct_choose(m, wants, info, why);
	if (rc)
		return rc;
	if (m->block_device)
		probe_block_device(m, &st, info);
	else
		probe_file(m, &st, info);
	m->block = info->block;
	m->cached = !m->direct && !m->in_memory;
	transient_choose(m, wants, info);
	m->durable = m->in_memory;
	info->direct = m->direct;
	info->created = m->created;
	info->is_block_device = m->block_device;
	info->can_fua = !m->readonly;
	/* While the kernel takes a request it pins its memory, or copies. */
	info->max_len = m->direct ? 4 * WEFT_TURN_BYTES : WEFT_TURN_BYTES;
	info->max_segs = 1024;
	info->how = probe_how(m);
	return 0;
}
