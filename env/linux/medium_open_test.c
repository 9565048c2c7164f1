/* SPDX-License-Identifier: BSD-2-Clause */
/* Opening a medium: its lock, and what cannot be opened. */
#include "env/linux/test_medium.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>

static void a_second_writer_is_locked_out(void **state)
{
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *first = medium_make(w, MIB, &info), *second;

	assert_int_equal(
		open_again(w, (struct env_medium_wants){.lock = true}, &info, &second), -EWOULDBLOCK);
	assert_why(w, "is locked by another process: stop it, or open it read-only");
	assert_int_equal(
		open_again(w, (struct env_medium_wants){.lock = true, .readonly = true}, &info, &second),
		-EWOULDBLOCK);
	assert_int_equal(open_again(w, (struct env_medium_wants){.lock = false}, &info, &second), 0);
	env_medium_close(second);
	env_medium_close(first);
	assert_int_equal(open_again(w, (struct env_medium_wants){.lock = true}, &info, &second), 0);
	env_medium_close(second);
}

static void readers_share_the_lock(void **state)
{
	const struct env_medium_wants reader = {.lock = true, .readonly = true};
	struct env_medium_info info;
	struct env_medium *first, *second, *writer;
	struct world *w = *state;

	env_medium_close(medium_make(w, MIB, &info));
	assert_int_equal(open_again(w, reader, &info, &first), 0);
	assert_int_equal(open_again(w, reader, &info, &second), 0);
	assert_int_equal(
		open_again(w, (struct env_medium_wants){.lock = true}, &info, &writer), -EWOULDBLOCK);
	env_medium_close(first);
	env_medium_close(second);
	assert_int_equal(open_again(w, (struct env_medium_wants){.lock = true}, &info, &writer), 0);
	env_medium_close(writer);
}

/* Another descriptor of the same file, opened and closed by this process, would drop a POSIX lock. */
static void the_lock_survives_other_descriptors(void **state)
{
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, MIB, &info), *second;

	close(open(world_path(w, "disk"), O_RDWR));
	assert_int_equal(
		open_again(w, (struct env_medium_wants){.lock = true}, &info, &second), -EWOULDBLOCK);
	env_medium_close(medium);
}

static void a_lock_that_ends_soon_is_waited_for(void **state)
{
	struct env_medium_info info;
	struct env_medium *medium;
	struct world *w = *state;
	int ready[2], go[2], error;
	char byte;

	env_medium_close(medium_make(w, MIB, &info));
	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	pid_t pid = fork();

	if (pid == 0) {
		struct flock lock = {.l_type = F_WRLCK};
		int fd = open(world_path(w, "disk"), O_RDWR);

		if (fcntl(fd, F_OFD_SETLK, &lock))
			_exit(1);
		if (write(ready[1], "x", 1) != 1)
			_exit(1);
		/* Holds it until the parent has been refused once. */
		_exit(read(go[0], &byte, 1) != 1);
	}
	assert_int_equal(read(ready[0], &byte, 1), 1);
	assert_int_equal(
		open_again(w, (struct env_medium_wants){.lock = true}, &info, &medium), -EWOULDBLOCK);
	assert_int_equal(write(go[1], "x", 1), 1);
	do /* until the child has ended */
		error = open_again(w, (struct env_medium_wants){.lock = true}, &info, &medium);
	while (error == -EWOULDBLOCK);
	assert_int_equal(error, 0);
	env_medium_close(medium);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	for (unsigned i = 0; i < 2; i++) {
		close(ready[i]);
		close(go[i]);
	}
}

static void sentences_name_the_remedy(void **state)
{
	struct env_medium_wants plain = {.lock = true};
	struct env_medium_info info;
	struct env_medium *medium;
	struct world *w = *state;
	char name[300] = "";

	assert_int_equal(open_again(w, plain, &info, &medium), -ENOENT);
	assert_why(w, "address: no such file");
	assert_why(w, "create it with create=SIZE");
	assert_int_equal(env_medium_open(w->env, w->dir, &plain, &medium, &info, &w->why), -EISDIR);
	assert_why(w, "is a directory");
	plain.readonly = true;
	assert_int_equal(env_medium_open(w->env, w->dir, &plain, &medium, &info, &w->why), -EISDIR);
	assert_int_equal(env_medium_open(w->env, "/dev/null", &plain, &medium, &info, &w->why), -EINVAL);
	assert_why(w, "neither a regular file nor a block device");
	plain.readonly = false;
	plain.create_size = MIB;
	assert_int_equal(
		env_medium_open(w->env, world_path(w, "no/disk"), &plain, &medium, &info, &w->why), -ENOENT);
	assert_why(w, "the folder of");
	env_medium_close(medium_make(w, MIB, &info));
	plain.create_size = 2 * MIB;
	assert_int_equal(open_again(w, plain, &info, &medium), -EEXIST);
	assert_why(w, "is there already and has 1048576 bytes, not 2097152");
	plain.create_size = MIB;
	assert_int_equal(open_again(w, plain, &info, &medium), 0);
	assert_false(info.created);
	env_medium_close(medium);
	plain.create_size = 513;
	assert_int_equal(env_medium_open(w->env, world_path(w, "odd"), &plain, &medium, &info, &w->why), -EINVAL);
	assert_why(w, "create: 513 bytes are not a multiple of 512: give 1024");
	assert_int_equal(access(world_path(w, "odd"), F_OK), -1);
	plain.create_size = 0;
	memset(name, 'x', sizeof(name) - 1);
	assert_int_equal(env_medium_open(w->env, name, &plain, &medium, &info, &w->why), -ENAMETOOLONG);
	assert_why(w, "is too long: a name has at most 255 bytes, a path 4095: choose a shorter one");
	assert_int_equal(symlink("loop", world_path(w, "loop")), 0);
	assert_int_equal(env_medium_open(w->env, world_path(w, "loop"), &plain, &medium, &info, &w->why), -ELOOP);
	assert_why(w, "leads through too many symbolic links: name the file itself");
	assert_int_equal(unlink(world_path(w, "loop")), 0);
	assert_int_equal(truncate(world_path(w, "disk"), 0), 0);
	assert_int_equal(open_again(w, plain, &info, &medium), -EINVAL);
	assert_why(w, "is empty: give it a size");
	assert_int_equal(truncate(world_path(w, "disk"), 1000), 0);
	assert_int_equal(open_again(w, plain, &info, &medium), -EINVAL);
	assert_why(w, "has 1000 bytes, not a multiple of 512");
}

static void a_file_without_permission_is_refused(void **state)
{
	struct env_medium_info info;
	struct env_medium *medium;
	struct world *w = *state;

	if (geteuid() == 0)
		skip();
	env_medium_close(medium_make(w, MIB, &info));
	assert_int_equal(chmod(world_path(w, "disk"), 0400), 0);
	assert_int_equal(open_again(w, (struct env_medium_wants){.lock = true}, &info, &medium), -EACCES);
	assert_why(w, "no permission to open");
	assert_why(w, "or open it read-only");
	assert_int_equal(open_again(w, (struct env_medium_wants){.readonly = true}, &info, &medium), 0);
	env_medium_close(medium);
}

static void nothing_half_made_is_left(void **state)
{
	struct env_medium_wants wants = {.create_size = 1000, .lock = true};
	struct env_medium_info info;
	struct env_medium *medium;
	struct world *w = *state;

	assert_int_equal(open_again(w, wants, &info, &medium), -EINVAL);
	assert_int_equal(access(world_path(w, "disk"), F_OK), -1);
	wants.create_size = UINT64_C(1) << 62;
	assert_true(open_again(w, wants, &info, &medium) < 0);
	assert_why(w, "create: 4611686018427387904 bytes are not possible for");
	assert_int_equal(access(world_path(w, "disk"), F_OK), -1);
	medium = medium_make(w, MIB, &info);
	env_medium_unlink_created(medium);
	env_medium_close(medium);
	assert_int_equal(access(world_path(w, "disk"), F_OK), -1);
	/* A long name is shown by its end, and the remedy is still there. */
	char path[400];

	memset(path, 'a', sizeof(path));
	memcpy(path, "/tmp/", 5);
	strcpy(path + 390, "the-end");
	assert_true(env_medium_open(w->env, path, &(struct env_medium_wants){.lock = true}, &medium, &info,
			    &w->why) < 0);
	assert_why(w, "athe-end");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_TWICE(a_second_writer_is_locked_out),
		BOTH_TWICE(readers_share_the_lock),
		BOTH(the_lock_survives_other_descriptors),
		BOTH(a_lock_that_ends_soon_is_waited_for),
		BOTH(sentences_name_the_remedy),
		BOTH(a_file_without_permission_is_refused),
		BOTH(nothing_half_made_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
