/* SPDX-License-Identifier: BSD-2-Clause */
/* Space on the file system below a medium: discard, zeroes, status, and none left. */
#include "env/linux/test_medium.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

static uint64_t allocated(struct world *w)
{
	struct stat st;

	assert_int_equal(stat(world_path(w, "disk"), &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void ranges_are_punched_and_zeroed(void **state)
{
	unsigned char *data = memory_make(MIB, 12);
	struct request *r = calloc(1, sizeof(*r));
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, MIB, &info);

	assert_true(info.can_discard && info.can_zero);
	assert_int_equal(transfer(w, medium, WEFT_WRITE, 0, data, MIB), 0);
	assert_int_equal(transfer(w, medium, WEFT_FLUSH, 0, NULL, 0), 0);
	assert_true(allocated(w) >= MIB);
	assert_int_equal(transfer(w, medium, WEFT_DISCARD, 0, NULL, 512 * KIB), 0);
	assert_true(allocated(w) < 600 * KIB);
	request_fill(r, medium, WEFT_ZERO, 512 * KIB, NULL, 128 * KIB);
	r->io.flags = WEFT_NO_UNMAP;
	assert_int_equal(request_run(w, r), 0);
	assert_true(allocated(w) >= 512 * KIB);
	assert_int_equal(transfer(w, medium, WEFT_ZERO, 896 * KIB, NULL, 128 * KIB), 0);
	assert_true(allocated(w) < 500 * KIB);
	assert_int_equal(transfer(w, medium, WEFT_READ, 0, data, MIB), 0);
	for (unsigned i = 0; i < MIB; i++)
		assert_int_equal(i < 640 * KIB || i >= 896 * KIB ? data[i] : 0, 0);
	assert_int_not_equal(data[700 * KIB] | data[700 * KIB + 1] | data[700 * KIB + 2], 0);
	env_medium_close(medium);
	free(r);
	free(data);
}

static void status_tells_data_from_holes(void **state)
{
	unsigned char *data = memory_make(64 * KIB, 13);
	struct weft_extent extent[8];
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, MIB, &info);

	assert_true(info.can_status);
	assert_int_equal(transfer(w, medium, WEFT_WRITE, 256 * KIB, data, 64 * KIB), 0);
	assert_int_equal(transfer(w, medium, WEFT_FLUSH, 0, NULL, 0), 0);
	struct request *r = calloc(1, sizeof(*r));

	request_fill(r, medium, WEFT_STATUS, 0, extent, sizeof(extent));
	r->io.len = MIB;
	assert_int_equal(request_run(w, r), 0);
	assert_int_equal(extent[0].len, 256 * KIB);
	assert_int_equal(extent[0].flags, WEFT_EXTENT_HOLE | WEFT_EXTENT_ZERO);
	assert_int_equal(extent[1].offset, 256 * KIB);
	assert_int_equal(extent[1].len, 64 * KIB);
	assert_int_equal(extent[1].flags, 0);
	assert_int_equal(extent[2].len, MIB - 320 * KIB);
	assert_int_equal(extent[2].flags, WEFT_EXTENT_HOLE | WEFT_EXTENT_ZERO);
	assert_int_equal(extent[3].len, 0);

	/* Room for one, split over two segments; from the middle of a hole. */
	request_fill(r, medium, WEFT_STATUS, 64 * KIB, extent, 10);
	memset(extent, 0xee, sizeof(extent));
	r->seg[1] = (struct weft_seg){.base = (char *)extent + 10, .len = sizeof(extent[0]) - 10};
	r->io.nsegs = 2;
	r->io.len = 512 * KIB;
	assert_int_equal(request_run(w, r), 0);
	assert_int_equal(extent[0].offset, 64 * KIB);
	assert_int_equal(extent[0].len, 192 * KIB);
	assert_int_equal(((unsigned char *)&extent[1])[0], 0xee);
	env_medium_close(medium);
	free(r);
	free(data);
}

static int write_into_full(struct world *w, const char *dir)
{
	unsigned char *data = memory_make(MIB, 14);
	struct env_medium_wants wants = {.create_size = 4 * MIB};
	struct env_medium_info info;
	struct env_medium *medium;
	char path[100];
	bool ok;

	snprintf(path, sizeof(path), "%s/disk", dir);
	if (env_medium_open(w->env, path, &wants, &medium, &info, &w->why))
		return 2;
	ok = transfer(w, medium, WEFT_WRITE, 0, data, MIB) == -ENOSPC;
	/* What there is room for goes on, and after room has been made all does. */
	ok = ok && transfer(w, medium, WEFT_WRITE, 0, data, 4 * KIB) == 0;
	ok = ok && transfer(w, medium, WEFT_DISCARD, 0, NULL, 4 * MIB) == 0;
	ok = ok && transfer(w, medium, WEFT_WRITE, 2 * MIB, data, 256 * KIB) == 0;
	env_medium_close(medium);
	free(data);
	return ok ? 0 : 1;
}

static bool put(const char *path, const char *format, unsigned id)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && dprintf(fd, format, id) > 0;

	close(fd);
	return ok;
}

/* May mount: as root at once, as anybody else in a user name space, where there are such. */
static bool may_mount(void)
{
	unsigned uid = geteuid(), gid = getegid();

	if (uid == 0)
		return unshare(CLONE_NEWNS) == 0;
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && put("/proc/self/setgroups", "deny", 0) &&
		put("/proc/self/uid_map", "0 %u 1", uid) && put("/proc/self/gid_map", "0 %u 1", gid);
}

static int full_child(struct world *w)
{
	char dir[80];

	snprintf(dir, sizeof(dir), "%s/full", w->dir);
	mkdir(dir, 0700);
	if (!may_mount() || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
		mount("none", dir, "tmpfs", 0, "size=512k"))
		return 77;
	return write_into_full(w, dir);
}

static void a_full_file_system_fails_that_write_only(void **state)
{
	struct env_linux_wants wants = {.no_uring = false};
	struct world *w = *state;
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		struct world own = *w; /* a world without threads that the fork has lost */

		if (env_linux_open(&own.env, &wants, &own.why) || env_loop_open(own.env, &own.loop, &own.why))
			_exit(3);
		_exit(full_child(&own));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_TWICE(ranges_are_punched_and_zeroed),
		BOTH_TWICE(status_tells_data_from_holes),
		BOTH(a_full_file_system_fails_that_write_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
