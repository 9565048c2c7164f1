/* SPDX-License-Identifier: BSD-2-Clause */
/* What of a medium the kernel keeps in its page cache. */
#include "env/linux/test_medium.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define SIZE (16 * MIB)
#define PIECE (64 * KIB)

static struct env_medium *open_cached(struct world *w, bool transient, struct env_medium_info *info)
{
	struct env_medium_wants wants = {
		.create_size = SIZE, .direct = ENV_DIRECT_OFF, .transient = transient, .lock = true};
	struct env_medium *medium;

	if (open_again(w, wants, info, &medium))
		fail_msg("%s", w->why.text);
	return medium;
}

/* Of the file, in bytes. */
static size_t resident(struct world *w)
{
	static unsigned char pages[SIZE / 4096];
	size_t page = (size_t)sysconf(_SC_PAGESIZE), sum = 0;
	int fd = open(world_path(w, "disk"), O_RDONLY);
	void *view = mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0);

	assert_true(view != MAP_FAILED);
	assert_int_equal(mincore(view, SIZE, pages), 0);
	for (size_t i = 0; i < SIZE / page; i++)
		sum += (pages[i] & 1) * page;
	munmap(view, SIZE);
	close(fd);
	return sum;
}

/* The kernel lets go of pages when they have been written, a moment after it has said so. */
static void until_few_are_resident(struct world *w)
{
	uint64_t end = env_now_ns(w->env) + UINT64_C(60000000000);

	while (resident(w) > SIZE / 4)
		assert_true(env_now_ns(w->env) < end);
}

static void forget(struct world *w)
{
	int fd = open(world_path(w, "disk"), O_RDONLY);

	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
	close(fd);
	assert_int_equal(resident(w), 0);
}

static void move_all(struct world *w, struct env_medium *medium, unsigned op, unsigned char *data)
{
	for (uint64_t at = 0; at < SIZE; at += PIECE)
		assert_int_equal(transfer(w, medium, op, at, data + at, PIECE), 0);
	if (op == WEFT_WRITE)
		assert_int_equal(transfer(w, medium, WEFT_FLUSH, 0, NULL, 0), 0);
}

/* By this process, in bytes. */
static uint64_t read_from_disk(void)
{
	struct rusage usage;

	assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
	return (uint64_t)usage.ru_inblock * 512;
}

static void what_is_transient_does_not_stay(void **state)
{
	unsigned char *out = memory_make(SIZE, 1), *in = memory_make(SIZE, 2);
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = open_cached(w, true, &info);

	if (info.transient) {
		move_all(w, medium, WEFT_WRITE, out);
		until_few_are_resident(w);
		move_all(w, medium, WEFT_READ, in);
		until_few_are_resident(w);
		assert_memory_equal(in, out, SIZE);
	}
	env_medium_close(medium);
	free(out);
	free(in);
	if (!info.transient)
		skip();
}

static void what_is_transient_is_read_once(void **state)
{
	unsigned char *data = memory_make(SIZE, 6);
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = open_cached(w, true, &info);
	uint64_t before;

	if (info.transient) {
		move_all(w, medium, WEFT_WRITE, data);
		forget(w);
		before = read_from_disk();
		move_all(w, medium, WEFT_READ, data);
		assert_in_range(read_from_disk() - before, SIZE, SIZE + SIZE / 16);
	}
	env_medium_close(medium);
	free(data);
	if (!info.transient)
		skip();
}

static void everything_else_does(void **state)
{
	unsigned char *data = memory_make(SIZE, 3);
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = open_cached(w, false, &info);

	assert_false(info.transient);
	move_all(w, medium, WEFT_WRITE, data);
	assert_true(resident(w) > SIZE / 2);
	forget(w);
	move_all(w, medium, WEFT_READ, data);
	assert_true(resident(w) > SIZE / 2);
	env_medium_close(medium);
	medium = open_cached(w, true, &info);
	move_all(w, medium, WEFT_READ, data); /* it was there before */
	assert_true(resident(w) > SIZE / 2);
	env_medium_close(medium);
	free(data);
}

static void past_the_page_cache_nothing_is(void **state)
{
	struct env_medium_wants wants = {.create_size = SIZE, .direct = ENV_DIRECT_ON, .transient = true, .lock = true};
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium;

	if (open_again(w, wants, &info, &medium))
		skip();
	assert_true(info.direct && !info.transient);
	env_medium_close(medium);
}

static void a_transient_write_may_be_durable_at_once(void **state)
{
	unsigned char *data = memory_make(PIECE, 4), *in = memory_make(PIECE, 5);
	struct request *r = calloc(1, sizeof(*r));
	struct env_medium_info info;
	struct world *w = *state;
	struct env_medium *medium = open_cached(w, true, &info);

	request_fill(r, medium, WEFT_WRITE, MIB, data, PIECE);
	r->io.flags = WEFT_FUA;
	assert_int_equal(request_run(w, r), 0);
	assert_int_equal(transfer(w, medium, WEFT_READ, MIB, in, PIECE), 0);
	assert_memory_equal(in, data, PIECE);
	env_medium_close(medium);
	free(data);
	free(in);
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(what_is_transient_does_not_stay),
		BOTH(what_is_transient_is_read_once),
		BOTH(everything_else_does),
		BOTH(past_the_page_cache_nothing_is),
		BOTH_TWICE(a_transient_write_may_be_durable_at_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
