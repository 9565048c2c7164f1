/* SPDX-License-Identifier: BSD-2-Clause */
/* What is created is durable: what is synced, in which order, as seen from below: fsync and syncfs are this file's. */
#include "env/linux/test_medium.h"

#include <sys/stat.h>
#include <sys/syscall.h>

static struct {
	unsigned count;
	ino_t what[8]; /* 0: a whole file system */
	int error;     /* of the next fsync */
} synced;

static void note(ino_t what)
{
	assert_true(synced.count < sizeof(synced.what) / sizeof(synced.what[0]));
	synced.what[synced.count++] = what;
}

int fsync(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	note(st.st_ino);
	if (synced.error) {
		errno = synced.error;
		synced.error = 0;
		return -1;
	}
	return (int)syscall(SYS_fsync, fd);
}

int syncfs(int fd)
{
	note(0);
	return (int)syscall(SYS_syncfs, fd);
}

static ino_t inode(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_ino;
}

static struct env_medium *make(struct world *w)
{
	struct env_medium_info info;
	struct env_medium *medium = medium_make(w, MIB, &info);

	assert_true(info.created);
	memset(&synced, 0, sizeof(synced));
	return medium;
}

static void a_new_file_is_synced_and_then_its_folder(void **state)
{
	struct world *w = *state;
	struct env_medium *medium = make(w);

	assert_int_equal(env_medium_keep(medium, &w->why), 0);
	assert_int_equal(synced.count, 2);
	assert_int_equal(synced.what[0], inode(world_path(w, "disk")));
	assert_int_equal(synced.what[1], inode(w->dir));
	env_medium_close(medium);
}

/* Another may have made it, and been killed before it got here. */
static void one_that_is_there_is_synced_as_well(void **state)
{
	struct env_medium_wants wants = {.create_size = MIB};
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = make(w);

	env_medium_close(medium);
	assert_int_equal(open_again(w, wants, &info, &medium), 0);
	assert_false(info.created);
	assert_int_equal(env_medium_keep(medium, &w->why), 0);
	assert_int_equal(synced.count, 2);
	assert_int_equal(synced.what[0], inode(world_path(w, "disk")));
	assert_int_equal(synced.what[1], inode(w->dir));
	env_medium_close(medium);
}

static void what_cannot_be_made_durable_is_an_error(void **state)
{
	struct world *w = *state;
	struct env_medium *medium = make(w);

	synced.error = EIO;
	assert_int_equal(env_medium_keep(medium, &w->why), -EIO);
	assert_why(w, "cannot be made durable: Input/output error: choose another file system");
	assert_int_equal(synced.count, 1);
	env_medium_close(medium);
}

/* It may be written to, though not be read: then all of the file system is synced. */
static void a_folder_that_cannot_be_read_is_no_hindrance(void **state)
{
	struct world *w = *state;
	struct env_medium *medium;

	if (geteuid() == 0)
		skip();
	assert_int_equal(chmod(w->dir, 0300), 0);
	medium = make(w);
	assert_int_equal(env_medium_keep(medium, &w->why), 0);
	assert_int_equal(synced.count, 2);
	assert_int_equal(synced.what[1], 0);
	assert_int_equal(chmod(w->dir, 0700), 0);
	env_medium_close(medium);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ENTRY(a_new_file_is_synced_and_then_its_folder, "", WORLD_EPOLL),
		ENTRY(one_that_is_there_is_synced_as_well, "", WORLD_EPOLL),
		ENTRY(what_cannot_be_made_durable_is_an_error, "", WORLD_EPOLL),
		ENTRY(a_folder_that_cannot_be_read_is_no_hindrance, "", WORLD_EPOLL),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
