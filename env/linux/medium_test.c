/* SPDX-License-Identifier: BSD-2-Clause */
/* Media on both kinds of loop, on a disk's file system and in memory. */
#include "env/linux/test_linux.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define KIB 1024u
#define MIB (1024u * KIB)

struct request {
	struct env_io io;
	struct weft_seg seg[1280];
	volatile bool ended;
	int result;
};

static void request_done(struct env_io *io, int result)
{
	struct request *r = (struct request *)io;

	assert_false(r->ended);
	r->ended = true;
	r->result = result;
}

static void request_fill(
	struct request *r, struct env_medium *medium, unsigned op, uint64_t offset, void *data, uint32_t len)
{
	memset(&r->io, 0, sizeof(r->io));
	r->io.done = request_done;
	r->io.medium = medium;
	r->io.op = (uint8_t)op;
	r->io.offset = offset;
	r->io.len = len;
	r->io.segs = r->seg;
	r->seg[0] = (struct weft_seg){.base = data, .len = len};
	r->io.nsegs = data ? 1 : 0;
	r->ended = false;
}

static int request_run(struct world *w, struct request *r)
{
	env_medium_submit(w->loop, &r->io);
	assert_false(r->ended);
	world_until(w, &r->ended);
	return r->result;
}

static int transfer(
	struct world *w, struct env_medium *medium, unsigned op, uint64_t offset, void *data, uint32_t len)
{
	struct request *r = calloc(1, sizeof(*r));
	int rc;

	request_fill(r, medium, op, offset, data, len);
	rc = request_run(w, r);
	free(r);
	return rc;
}

static unsigned char *memory_make(size_t size, unsigned seed)
{
	unsigned char *memory = NULL;

	assert_int_equal(posix_memalign((void **)&memory, 4096, size), 0);
	for (size_t i = 0; i < size; i++)
		memory[i] = (unsigned char)((seed += 0x9e3779b9u) >> 24);
	return memory;
}

static struct env_medium *medium_make(struct world *w, uint64_t size, struct env_medium_info *info)
{
	struct env_medium_wants wants = {.create_size = size, .lock = true};
	struct env_medium *medium;

	if (env_medium_open(w->env, world_path(w, "disk"), &wants, &medium, info, &w->why))
		fail_msg("%s", w->why.text);
	return medium;
}

static int open_again(struct world *w, struct env_medium_wants wants, struct env_medium_info *info,
	struct env_medium **medium)
{
	memset(&w->why, 0, sizeof(w->why));
	return env_medium_open(w->env, world_path(w, "disk"), &wants, medium, info, &w->why);
}

/* ---- transfers ---- */

static void what_was_written_is_read(void **state)
{
	unsigned char *out = memory_make(MIB, 1), *in = memory_make(MIB, 2);
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, 4 * MIB, &info);

	assert_true(info.created);
	assert_int_equal(info.size, 4 * MIB);
	assert_int_equal(transfer(w, medium, WEFT_WRITE, MIB, out, MIB), 0);
	assert_int_equal(transfer(w, medium, WEFT_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(transfer(w, medium, WEFT_READ, MIB, in, MIB), 0);
	assert_memory_equal(in, out, MIB);
	assert_int_equal(transfer(w, medium, WEFT_READ, 0, in, MIB), 0);
	for (unsigned i = 0; i < MIB; i++)
		assert_int_equal(in[i], 0);
	env_medium_close(medium);
	free(out);
	free(in);
}

static void segments_are_gathered_from_the_skip_on(void **state)
{
	unsigned char *out = memory_make(512 * KIB, 3), *in = memory_make(512 * KIB, 4);
	struct request *r = calloc(1, sizeof(*r));
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, 4 * MIB, &info);
	uint32_t piece = info.block;
	unsigned n = 512 * KIB / piece / 2;

	/* Every other piece of `out` in order; the view begins one and a half pieces in. */
	request_fill(r, medium, WEFT_WRITE, 0, out, 0);
	for (unsigned i = 0; i < n; i++)
		r->seg[i] = (struct weft_seg){.base = out + 2 * (size_t)i * piece, .len = piece};
	r->io.nsegs = (uint16_t)n;
	r->io.seg_skip = piece;
	r->io.len = (uint64_t)(n - 2) * piece;
	assert_int_equal(request_run(w, r), 0);
	assert_int_equal(transfer(w, medium, WEFT_READ, 0, in, (n - 1) * piece), 0);
	for (unsigned i = 0; i < n - 2; i++)
		assert_memory_equal(in + (size_t)i * piece, out + 2 * (size_t)(i + 1) * piece, piece);
	for (unsigned i = 0; i < piece; i++)
		assert_int_equal(in[(size_t)(n - 2) * piece + i], 0);
	env_medium_close(medium);
	free(r);
	free(out);
	free(in);
}

static void more_segments_than_the_kernel_takes_at_once(void **state)
{
	unsigned char *out = memory_make(1280 * 4096, 5), *in = memory_make(1280 * 4096, 6);
	struct request *r = calloc(1, sizeof(*r));
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, 8 * MIB, &info);

	request_fill(r, medium, WEFT_WRITE, 0, out, 0);
	for (unsigned i = 0; i < 1280; i++)
		r->seg[i] = (struct weft_seg){.base = out + (size_t)(1279 - i) * 4096, .len = 4096};
	r->io.nsegs = 1280;
	r->io.len = 1280 * 4096;
	assert_int_equal(request_run(w, r), 0);
	assert_int_equal(transfer(w, medium, WEFT_READ, 0, in, 1280 * 4096), 0);
	for (unsigned i = 0; i < 1280; i++)
		assert_memory_equal(in + (size_t)i * 4096, out + (size_t)(1279 - i) * 4096, 4096);
	env_medium_close(medium);
	free(r);
	free(out);
	free(in);
}

/* Far more than the ring holds, some of several segments: none is refused, all end. */
static void thousands_of_requests_at_once(void **state)
{
	enum { COUNT = 3000 };
	unsigned char *data = memory_make(COUNT * 4096, 7), *in = memory_make(COUNT * 4096, 8);
	struct request *r = calloc(COUNT, sizeof(*r));
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, COUNT * 4096, &info);

	for (unsigned pass = 0; pass < 2; pass++) {
		unsigned char *memory = pass == 0 ? data : in;

		for (unsigned i = 0; i < COUNT; i++) {
			request_fill(&r[i], medium, pass == 0 ? WEFT_WRITE : WEFT_READ, (uint64_t)i * 4096,
				memory + (size_t)i * 4096, 4096);
			if (i % 3 == 0 && info.block <= 1024) {
				for (unsigned k = 0; k < 4; k++)
					r[i].seg[k] = (struct weft_seg){
						.base = memory + (size_t)i * 4096 + k * 1024, .len = 1024};
				r[i].io.nsegs = 4;
			}
			env_medium_submit(w->loop, &r[i].io);
		}
		for (unsigned i = 0; i < COUNT; i++) {
			world_until(w, &r[i].ended);
			assert_int_equal(r[i].result, 0);
		}
	}
	assert_memory_equal(data, in, COUNT * 4096);
	env_medium_close(medium);
	free(r);
	free(data);
	free(in);
}

static void a_read_behind_the_end_fails(void **state)
{
	unsigned char *data = memory_make(64 * KIB, 9);
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, MIB, &info);

	assert_int_equal(transfer(w, medium, WEFT_WRITE, 0, data, 64 * KIB), 0);
	assert_int_equal(truncate(world_path(w, "disk"), 8 * KIB), 0);
	assert_int_equal(transfer(w, medium, WEFT_READ, 0, data, 8 * KIB), 0);
	assert_int_equal(transfer(w, medium, WEFT_READ, 0, data, 64 * KIB), -EIO);
	assert_int_equal(transfer(w, medium, WEFT_READ, 128 * KIB, data, 64 * KIB), -EIO);
	assert_int_equal(truncate(world_path(w, "disk"), 8 * KIB + 100), 0);
	assert_int_equal(transfer(w, medium, WEFT_READ, 4 * KIB, data, 8 * KIB), -EIO);
	env_medium_close(medium);
	free(data);
}

static void forced_unit_access_is_taken(void **state)
{
	unsigned char *data = memory_make(4096, 10);
	struct request *r = calloc(1, sizeof(*r));
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, MIB, &info);

	assert_true(info.can_fua);
	request_fill(r, medium, WEFT_WRITE, 4096, data, 4096);
	r->io.flags = WEFT_FUA;
	assert_int_equal(request_run(w, r), 0);
	request_fill(r, medium, WEFT_ZERO, 0, NULL, 4096);
	r->io.flags = WEFT_FUA;
	assert_int_equal(request_run(w, r), 0);
	env_medium_close(medium);
	free(r);
	free(data);
}

static void a_write_to_a_read_only_medium_fails(void **state)
{
	unsigned char *data = memory_make(4096, 11);
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium;

	env_medium_close(medium_make(w, MIB, &info));
	assert_int_equal(open_again(w, (struct env_medium_wants){.readonly = true}, &info, &medium), 0);
	assert_int_equal(transfer(w, medium, WEFT_WRITE, 0, data, 4096), -EBADF);
	assert_int_equal(transfer(w, medium, WEFT_READ, 0, data, 4096), 0);
	assert_false(info.can_discard || info.can_zero || info.can_fua);
	env_medium_close(medium);
	free(data);
}

/* ---- discard, zeroes, status ---- */

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

static void size_follows_the_file(void **state)
{
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, MIB, &info);
	uint64_t size;

	assert_int_equal(env_medium_resize(medium, 2 * MIB, &w->why), 0);
	assert_int_equal(env_medium_size(medium, &size), 0);
	assert_int_equal(size, 2 * MIB);
	assert_int_equal(truncate(world_path(w, "disk"), 3 * MIB), 0);
	assert_int_equal(env_medium_size(medium, &size), 0);
	assert_int_equal(size, 3 * MIB);
	assert_int_equal(env_medium_resize(medium, 1000, &w->why), -EINVAL);
	assert_why(w, "size: 1000 is not a multiple of");
	env_medium_close(medium);
}

/* ---- a full file system ---- */

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

/* ---- O_DIRECT ---- */

static void direct_is_used_where_it_can_be(void **state)
{
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, MIB, &info);
	bool in_memory = strstr(w->dir, "/dev/shm") != NULL;

	if (in_memory)
		assert_false(info.direct);
	if (info.direct)
		assert_non_null(strstr(info.how, "O_DIRECT"));
	assert_true(info.align >= 1 && (info.align & (info.align - 1)) == 0);
	assert_true(info.block >= 512);
	env_medium_close(medium);
	if (in_memory) {
		assert_int_equal(
			open_again(w, (struct env_medium_wants){.direct = ENV_DIRECT_ON}, &info, &medium),
			-EINVAL);
		assert_why(w, "direct: on is not possible for");
		return;
	}
	assert_int_equal(
		open_again(w, (struct env_medium_wants){.direct = ENV_DIRECT_OFF}, &info, &medium), 0);
	assert_false(info.direct);
	assert_int_equal(info.align, 1);
	env_medium_close(medium);
}

static void memory_as_misaligned_as_declared_is_fine(void **state)
{
	unsigned char *data = memory_make(64 * KIB, 15), *in = memory_make(64 * KIB, 16);
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, MIB, &info);

	assert_int_equal(transfer(w, medium, WEFT_WRITE, info.block, data + info.align, info.block), 0);
	assert_int_equal(transfer(w, medium, WEFT_READ, info.block, in + info.align, info.block), 0);
	assert_memory_equal(in + info.align, data + info.align, info.block);
	env_medium_close(medium);
	free(data);
	free(in);
}

/* ---- fixed buffers ---- */

static void pinned_memory_is_used_in_place(void **state)
{
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, MIB, &info);
	unsigned char *memory = env_pages_alloc(w->env, MIB, false);
	struct request *r = calloc(1, sizeof(*r));
	int rc;

	memset(memory, 0x5a, MIB);
	rc = env_loop_pin(w->loop, 7, memory, MIB, &w->why);
	if (rc == -ENOTSUP) {
		assert_why(w, "pin:");
	} else {
		assert_int_equal(rc, 0);
	}
	request_fill(r, medium, WEFT_WRITE, 0, memory, 64 * KIB);
	r->seg[0].region = 7;
	assert_int_equal(request_run(w, r), 0);
	request_fill(r, medium, WEFT_READ, 0, memory + 512 * KIB, 64 * KIB);
	r->seg[0].region = 7;
	memset(memory + 512 * KIB, 0, 64 * KIB);
	assert_int_equal(request_run(w, r), 0);
	assert_memory_equal(memory, memory + 512 * KIB, 64 * KIB);
	env_loop_unpin(w->loop, 7);
	/* A region that is no longer pinned is read and written all the same. */
	request_fill(r, medium, WEFT_READ, 0, memory + 768 * KIB, 64 * KIB);
	r->seg[0].region = 7;
	assert_int_equal(request_run(w, r), 0);
	assert_memory_equal(memory, memory + 768 * KIB, 64 * KIB);
	env_medium_close(medium);
	env_pages_free(w->env, memory, MIB);
	free(r);
}

/* ---- attached media ---- */

static void write_flush_read(struct world *w, struct env_medium *medium, unsigned seed)
{
	unsigned char *out = memory_make(64 * KIB, seed), *in = memory_make(64 * KIB, ~seed);
	struct request *r = calloc(1, sizeof(*r));

	assert_int_equal(transfer(w, medium, WEFT_WRITE, 64 * KIB, out, 64 * KIB), 0);
	assert_int_equal(transfer(w, medium, WEFT_FLUSH, 0, NULL, 0), 0);
	request_fill(r, medium, WEFT_READ, 64 * KIB, in, 64 * KIB);
	for (unsigned i = 0; i < 16; i++)
		r->seg[i] = (struct weft_seg){.base = in + i * 4 * KIB, .len = 4 * KIB};
	r->io.nsegs = 16;
	assert_int_equal(request_run(w, r), 0);
	assert_memory_equal(in, out, 64 * KIB);
	free(out);
	free(in);
	free(r);
}

static void an_attached_medium_works_and_is_free_when_it_is_closed(void **state)
{
	struct env_medium_wants wants = {.lock = true};
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = medium_make(w, MIB, &info), *second;

	for (unsigned i = 0; i < 100; i++) {
		write_flush_read(w, medium, 3 * i);
		env_medium_attach(w->loop, medium);
		write_flush_read(w, medium, 3 * i + 1);
		assert_int_equal(open_again(w, wants, &info, &second), -EWOULDBLOCK);
		env_medium_detach(w->loop, medium);
		write_flush_read(w, medium, 3 * i + 2);
		env_medium_close(medium);
		assert_int_equal(open_again(w, wants, &info, &medium), 0);
	}
	env_medium_close(medium);
}

/* Each in its own place of the table, and those that find none. */
static void more_media_than_a_ring_holds_work_all_the_same(void **state)
{
	struct env_medium_wants wants = {.create_size = MIB, .lock = true};
	struct env_medium *media[80];
	struct env_medium_info info;
	struct world *w = *state;
	unsigned char *data = memory_make(4 * KIB, 1);
	char name[16];

	for (unsigned i = 0; i < WEFT_COUNT(media); i++) {
		snprintf(name, sizeof(name), "disk%u", i);
		assert_int_equal(env_medium_open(w->env, world_path(w, name), &wants, &media[i], &info, &w->why), 0);
		env_medium_attach(w->loop, media[i]);
	}
	for (unsigned i = 0; i < WEFT_COUNT(media); i++) {
		memset(data, (int)i, 4 * KIB);
		assert_int_equal(transfer(w, media[i], WEFT_WRITE, 0, data, 4 * KIB), 0);
	}
	for (unsigned i = 0; i < WEFT_COUNT(media); i++) {
		if (i % 2)
			env_medium_detach(w->loop, media[i]);
		assert_int_equal(transfer(w, media[i], WEFT_READ, 0, data, 4 * KIB), 0);
		assert_int_equal(data[0], i);
		assert_int_equal(data[4 * KIB - 1], i);
	}
	for (unsigned i = 0; i < WEFT_COUNT(media); i++) {
		if (i % 2 == 0)
			env_medium_detach(w->loop, media[i]);
		env_medium_unlink_created(media[i]);
		env_medium_close(media[i]);
	}
	free(data);
}

/* In a process of its own, for the limit is for good. How far it came, 0: to the end. */
static int transfers_where_the_table_is_refused(const char *path)
{
	struct env_linux_wants wants = {.no_uring = false};
	struct rlimit limit = {60, 60};
	struct request *r = calloc(1, sizeof(*r));
	unsigned char *data = memory_make(4 * KIB, 1);
	struct env_medium_info info;
	struct env_medium *medium;
	struct world w = {.calls = 0};

	if (setrlimit(RLIMIT_NOFILE, &limit) || env_linux_open(&w.env, &wants, &w.why) ||
		env_loop_open(w.env, &w.loop, &w.why))
		return 1;
	if (env_medium_open(w.env, path, &(struct env_medium_wants){.lock = true}, &medium, &info, &w.why))
		return 2;
	env_medium_attach(w.loop, medium);
	request_fill(r, medium, WEFT_READ, 0, data, 4 * KIB);
	env_medium_submit(w.loop, &r->io);
	while (!r->ended)
		world_turn(&w);
	env_medium_detach(w.loop, medium);
	env_medium_close(medium);
	env_loop_close(w.loop);
	return r->result ? 3 : 0;
}

/* The kernel makes no table of more files than the process may have open. */
static void a_table_that_is_refused_is_done_without(void **state)
{
	struct env_medium_info info;
	struct world *w = *state;
	int status;
	pid_t pid;

	env_medium_close(medium_make(w, MIB, &info));
	pid = fork();
	if (pid == 0)
		_exit(transfers_where_the_table_is_refused(world_path(w, "disk")));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void pinning_beyond_the_limit_says_so(void **state)
{
	struct world *w = *state;
	struct rlimit limit;
	unsigned char *memory;

	getrlimit(RLIMIT_MEMLOCK, &limit);
	if (geteuid() == 0 || limit.rlim_cur > 64 * MIB)
		skip();
	memory = env_pages_alloc(w->env, 128 * MIB, false);
	if (env_loop_pin(w->loop, 1, memory, 128 * MIB, &w->why) == -ENOMEM)
		assert_why(w, "raise it (ulimit -l)");
	else
		assert_why(w, "pin: on needs io_uring");
	env_pages_free(w->env, memory, 128 * MIB);
}

/* ---- locks ---- */

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

/* ---- block devices ---- */

/* A loop device over the world's file "disk", detached when its last user closes it; -1: this test may not have one. */
static int loop_device(struct world *w, char *path, size_t size)
{
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), number, device, file;
	struct loop_info64 info = {.lo_flags = LO_FLAGS_AUTOCLEAR};

	if (control < 0)
		return -1;
	number = ioctl(control, LOOP_CTL_GET_FREE);
	close(control);
	snprintf(path, size, "/dev/loop%d", number);
	device = open(path, O_RDWR | O_CLOEXEC);
	file = open(world_path(w, "disk"), O_RDWR | O_CLOEXEC);
	if (device >= 0 && (ioctl(device, LOOP_SET_FD, file) || ioctl(device, LOOP_SET_STATUS64, &info))) {
		close(device);
		device = -1;
	}
	close(file);
	return device;
}

static void a_block_device_does_all(void **state)
{
	unsigned char *data = memory_make(MIB, 17), *in = memory_make(MIB, 18);
	struct env_medium_wants wants = {.lock = true};
	struct env_medium_info info;
	struct env_medium *medium, *second;
	struct world *w = *state;
	char path[40];
	int device;

	env_medium_close(medium_make(w, 4 * MIB, &info));
	device = loop_device(w, path, sizeof(path));
	if (device < 0)
		skip();
	if (env_medium_open(w->env, path, &wants, &medium, &info, &w->why))
		fail_msg("%s", w->why.text);
	assert_true(info.is_block_device && info.can_zero && !info.can_status);
	assert_int_equal(info.size, 4 * MIB);
	assert_int_equal(env_medium_open(w->env, path, &wants, &second, &info, &w->why), -EBUSY);
	assert_why(w, "is in use, mounted or opened by another process");
	assert_int_equal(transfer(w, medium, WEFT_WRITE, MIB, data, MIB), 0);
	assert_int_equal(transfer(w, medium, WEFT_ZERO, MIB, NULL, 64 * KIB), 0);
	if (info.can_discard)
		assert_int_equal(transfer(w, medium, WEFT_DISCARD, MIB + 64 * KIB, NULL, 64 * KIB), 0);
	assert_int_equal(transfer(w, medium, WEFT_FLUSH, 0, NULL, 0), 0);
	assert_int_equal(transfer(w, medium, WEFT_READ, MIB, in, MIB), 0);
	for (unsigned i = 0; i < 64 * KIB; i++)
		assert_int_equal(in[i], 0);
	assert_memory_equal(in + 128 * KIB, data + 128 * KIB, MIB - 128 * KIB);
	assert_int_equal(env_medium_resize(medium, MIB, &w->why), -ENOTSUP);
	assert_why(w, "is a block device: resize it by its own means");
	env_medium_close(medium);
	close(device);
	free(data);
	free(in);
}

/* ---- what cannot be opened ---- */

static void sentences_name_the_remedy(void **state)
{
	struct env_medium_wants plain = {.lock = true};
	struct env_medium_info info;
	struct env_medium *medium;
	struct world *w = *state;

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
	plain.create_size = 0;
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
		BOTH_TWICE(what_was_written_is_read),
		BOTH_TWICE(segments_are_gathered_from_the_skip_on),
		BOTH_TWICE(more_segments_than_the_kernel_takes_at_once),
		BOTH_TWICE(thousands_of_requests_at_once),
		BOTH_TWICE(a_read_behind_the_end_fails),
		BOTH_TWICE(forced_unit_access_is_taken),
		BOTH_TWICE(a_write_to_a_read_only_medium_fails),
		BOTH_TWICE(ranges_are_punched_and_zeroed),
		BOTH_TWICE(status_tells_data_from_holes),
		BOTH_TWICE(size_follows_the_file),
		BOTH(a_full_file_system_fails_that_write_only),
		BOTH_TWICE(direct_is_used_where_it_can_be),
		BOTH_TWICE(memory_as_misaligned_as_declared_is_fine),
		BOTH_TWICE(pinned_memory_is_used_in_place),
		BOTH_TWICE(an_attached_medium_works_and_is_free_when_it_is_closed),
		BOTH(more_media_than_a_ring_holds_work_all_the_same),
		ENTRY(a_table_that_is_refused_is_done_without, ", io_uring", WORLD_URING),
		BOTH(pinning_beyond_the_limit_says_so),
		BOTH_TWICE(a_second_writer_is_locked_out),
		BOTH_TWICE(readers_share_the_lock),
		BOTH(the_lock_survives_other_descriptors),
		BOTH(a_lock_that_ends_soon_is_waited_for),
		BOTH(a_block_device_does_all),
		BOTH(sentences_name_the_remedy),
		BOTH(a_file_without_permission_is_refused),
		BOTH(nothing_half_made_is_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
