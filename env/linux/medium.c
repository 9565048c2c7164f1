/* SPDX-License-Identifier: BSD-2-Clause */
/* Media: regular files and block devices are opened, created, locked, measured, resized. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "env/linux/internal.h"

/* ---- sentences ---- */

static int open_why(struct weft_why *why, int rc, const struct medium *m, bool creating)
{
	char text[64];

	switch (rc) {
	case -ENOENT:
		if (creating)
			return weft_why(
				why, rc, "address: the folder of %s does not exist: make it first", m->name);
		return weft_why(why, rc,
			"address: no such file %s: name one that exists, or create it with create=SIZE",
			m->name);
	case -EACCES:
	case -EPERM:
		if (creating && access(m->path, F_OK) != 0)
			return weft_why(why, rc, "address: no permission to make %s: choose a folder that you may write to",
				m->name);
		return weft_why(why, rc,
			"address: no permission to open %s for %s: change its mode or owner%s", m->name,
			m->readonly ? "reading" : "writing", m->readonly ? "" : ", or open it read-only");
	case -EROFS:
		return weft_why(
			why, rc, "address: %s is on a read-only file system: open it read-only", m->name);
	case -EISDIR:
		return weft_why(
			why, rc, "address: %s is a directory: name a file or a block device", m->name);
	case -EBUSY:
		return weft_why(why, rc,
			"address: %s is in use, mounted or opened by another process: unmount it, stop that, or open it "
			"read-only",
			m->name);
	case -ENOSPC:
		return weft_why(why, rc,
			"create: the file system of %s is full: make room, or choose another", m->name);
	case -ENAMETOOLONG:
		return weft_why(why, rc,
			"address: %s is too long: a name has at most 255 bytes, a path 4095: choose a shorter one", m->name);
	case -ELOOP:
		return weft_why(why, rc, "address: %s leads through too many symbolic links: name the file itself", m->name);
	default:
		return weft_why(why, rc, "address: %s cannot be opened: %s", m->name,
			linux_error_text(rc, text, sizeof(text)));
	}
}

/* ---- opening ---- */

static int medium_open_file(struct medium *m, const struct env_medium_wants *wants)
{
	int flags = O_CLOEXEC | O_NONBLOCK | O_NOCTTY | (m->readonly ? O_RDONLY : O_RDWR);
	struct stat st;

	m->fd = -1;
	if (wants->create_size && !m->readonly) {
		m->fd = open(m->path, flags | O_CREAT | O_EXCL, 0600);
		m->created = m->fd >= 0;
		if (m->fd < 0 && errno != EEXIST)
			return -errno;
	}
	/* A block device that the system uses (mounted, part of a volume) must not be written by us. */
	if (m->fd < 0 && !m->readonly && stat(m->path, &st) == 0 && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	if (m->fd < 0)
		m->fd = open(m->path, flags);
	return m->fd < 0 ? -errno : 0;
}

static int medium_kind(struct medium *m, struct weft_why *why)
{
	struct stat st;

	if (fstat(m->fd, &st))
		return open_why(why, -errno, m, false);
	if (S_ISDIR(st.st_mode))
		return open_why(why, -EISDIR, m, false);
	m->block_device = S_ISBLK(st.st_mode);
	if (!m->block_device && !S_ISREG(st.st_mode))
		return weft_why(why, -EINVAL,
			"address: %s is neither a regular file nor a block device: name one of these",
			m->name);
	return 0;
}

/*
 * The lock belongs to the open file description, thus to the descriptor that does the I/O: when the process
 * is killed it stays until the last request in flight has ended. A POSIX lock would be gone at once. Where
 * the file system has no such locks, flock.
 */
static int lock_try(struct medium *m)
{
	struct flock lock = {.l_type = m->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(m->fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return -EWOULDBLOCK;
	if (flock(m->fd, (m->readonly ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0)
		return 0;
	return -errno;
}

static int medium_lock(struct medium *m, struct weft_why *why)
{
	char text[64];
	int rc = lock_try(m);

	if (rc == -EWOULDBLOCK)
		return weft_why(why, rc, "address: %s is locked by another process: stop it%s", m->name,
			m->readonly ? "" : ", or open it read-only in both");
	if (rc)
		return weft_why(why, rc,
			"address: %s cannot be locked: %s: choose another file system", m->name,
			linux_error_text(rc, text, sizeof(text)));
	return 0;
}

static int medium_ask_size(struct env_medium *head, uint64_t *size)
{
	struct medium *m = (struct medium *)head;
	struct stat st;

	if (m->block_device)
		return ioctl(m->fd, BLKGETSIZE64, size) ? -errno : 0;
	if (fstat(m->fd, &st))
		return -errno;
	*size = (uint64_t)st.st_size;
	return 0;
}

static int medium_set_size(struct medium *m, const struct env_medium_wants *wants,
	struct env_medium_info *info, struct weft_why *why)
{
	int rc = 0;

	if (m->created && wants->create_size % 512 != 0)
		return weft_why(why, -EINVAL, "create: %llu bytes are not a multiple of 512: give %llu",
			(unsigned long long)wants->create_size, (unsigned long long)(wants->create_size / 512 + 1) * 512);
	if (m->created && ftruncate(m->fd, (off_t)wants->create_size))
		return weft_why(why, -errno,
			"create: %llu bytes are not possible for %s: choose less, or another file system",
			(unsigned long long)wants->create_size, m->name);
	rc = medium_ask_size(&m->head, &info->size);
	if (rc)
		return open_why(why, rc, m, false);
	if (wants->create_size && info->size != wants->create_size)
		return weft_why(why, -EEXIST,
			"create: %s is there already and has %llu bytes, not %llu: leave create= out, or "
			"remove it",
			m->name, (unsigned long long)info->size, (unsigned long long)wants->create_size);
	if (info->size == 0)
		return weft_why(
			why, -EINVAL, "address: %s is empty: give it a size (truncate -s SIZE)", m->name);
	if (info->size % 512)
		return weft_why(why, -EINVAL,
			"address: %s has %llu bytes, not a multiple of 512: change its size (truncate -s "
			"%%512)",
			m->name, (unsigned long long)info->size);
	return 0;
}

/* A long path is shown by its end, so that the sentence has room for the remedy. */
static const char *path_short(const char *path, char *name, size_t size)
{
	size_t len = strlen(path);

	if (len < size)
		return strcpy(name, path);
	memcpy(name, "...", 3);
	memcpy(name + 3, path + len - (size - 4), size - 3);
	return name;
}

static const struct env_medium_ops medium_ops;

/* A disk is the same whatever its node is called. */
static void medium_identify(const struct medium *m, struct env_medium_info *info)
{
	struct stat st;

	if ((m->fd >= 0 ? fstat(m->fd, &st) : stat(m->path, &st)) != 0)
		return;
	info->id[0] = S_ISBLK(st.st_mode) ? (uint64_t)st.st_rdev : (uint64_t)st.st_ino;
	info->id[1] = S_ISBLK(st.st_mode) ? UINT64_MAX : (uint64_t)st.st_dev;
}

static int medium_start(struct medium *m, const struct env_medium_wants *wants, struct env_medium_info *info,
	struct weft_why *why)
{
	int rc;

	rc = medium_open_file(m, wants);
	medium_identify(m, info);
	if (rc)
		return open_why(why, rc, m, wants->create_size != 0);
	rc = medium_kind(m, why);
	if (rc == 0 && wants->lock)
		rc = medium_lock(m, why);
	if (rc == 0)
		rc = medium_set_size(m, wants, info, why);
	if (rc == 0)
		rc = medium_probe(m, wants, info, why);
	return rc;
}

static void medium_close(struct env_medium *head)
{
	struct medium *m = (struct medium *)head;

	if (m->fd >= 0)
		close(m->fd);
	file_slot_give(m);
	free(m->path);
	free(m);
}

/* Its size, whoever gave it that, then its name. A folder that we may change but not read cannot be synced: then all of the file
 * system is. */
static int medium_keep(struct env_medium *head, struct weft_why *why)
{
	struct medium *m = (struct medium *)head;
	char text[64];
	int rc = !m->block_device && fsync(m->fd) ? -errno : 0;

	if (rc == 0 && !m->block_device)
		rc = linux_folder_sync(m->path);
	if (rc == -EACCES)
		rc = syncfs(m->fd) ? -errno : 0;
	return rc == 0 ? 0 : weft_why(why, rc, "create: %s cannot be made durable: %s: choose another file system", m->name,
		linux_error_text(rc, text, sizeof(text)));
}

/* Only what open created and is still there under that name. */
static void medium_unlink_created(struct env_medium *head)
{
	struct medium *m = (struct medium *)head;
	struct stat ours, there;

	if (m->created && fstat(m->fd, &ours) == 0 && stat(m->path, &there) == 0 &&
		ours.st_ino == there.st_ino && ours.st_dev == there.st_dev)
		unlink(m->path);
	m->created = false;
}

int medium_open(struct env *env, const char *path, const struct env_medium_wants *wants,
	struct env_medium **out, struct env_medium_info *info, struct weft_why *why)
{
	struct medium *m = calloc(1, sizeof(*m));
	int rc;

	memset(info, 0, sizeof(*info));
	if (!m)
		return weft_why(why, -ENOMEM, "no memory to open %s", path);
	m->head = (struct env_medium){.ops = &medium_ops, .env = env};
	m->fd = -1;
	m->readonly = wants->readonly;
	m->path = strdup(path);
	path_short(path, m->name, sizeof(m->name));
	rc = m->path ? medium_start(m, wants, info, why)
		     : weft_why(why, -ENOMEM, "no memory to open %s", path);
	if (rc) {
		medium_unlink_created(&m->head);
		medium_close(&m->head);
		return rc;
	}
	file_slot_take(m);
	*out = &m->head;
	return 0;
}

static int medium_resize(struct env_medium *head, uint64_t size, struct weft_why *why)
{
	struct medium *m = (struct medium *)head;
	char text[64];

	if (m->block_device)
		return weft_why(
			why, -ENOTSUP, "size: %s is a block device: resize it by its own means", m->name);
	if (m->readonly)
		return weft_why(why, -EROFS, "size: %s is open read-only: open it for writing", m->name);
	if (size == 0 || size % m->block)
		return weft_why(why, -EINVAL, "size: %llu is not a multiple of %u, the block of %s: round it",
			(unsigned long long)size, m->block, m->name);
	if (ftruncate(m->fd, (off_t)size))
		return weft_why(why, -errno, "size: %llu bytes are not possible for %s: %s: choose less",
			(unsigned long long)size, m->name, linux_error_text(errno, text, sizeof(text)));
	return 0;
}

static const struct env_medium_ops medium_ops = {
	.submit = medium_submit,
	.close = medium_close,
	.attach = medium_attach,
	.detach = medium_detach,
	.keep = medium_keep,
	.unlink_created = medium_unlink_created,
	.size = medium_ask_size,
	.resize = medium_resize,
};
