/* SPDX-License-Identifier: BSD-2-Clause */
/* How a ring gets at memory and files: O_DIRECT, pinned memory, attached media. */
#include "env/linux/test_medium.h"

#include <sys/resource.h>
#include <sys/wait.h>

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_TWICE(direct_is_used_where_it_can_be),
		BOTH_TWICE(memory_as_misaligned_as_declared_is_fine),
		BOTH_TWICE(pinned_memory_is_used_in_place),
		BOTH_TWICE(an_attached_medium_works_and_is_free_when_it_is_closed),
		BOTH(more_media_than_a_ring_holds_work_all_the_same),
		ENTRY(a_table_that_is_refused_is_done_without, ", io_uring", WORLD_URING),
		BOTH(pinning_beyond_the_limit_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
