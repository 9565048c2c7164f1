/* SPDX-License-Identifier: BSD-2-Clause */
/* Media on both kinds of loop, on a disk's file system, in memory, and on a block device: transfers. */
#include "env/linux/test_medium.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

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
		BOTH_TWICE(size_follows_the_file),
		BOTH(a_block_device_does_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
