/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared memory: mappings, and what happens when the other side takes the pages away. */
#include "env/linux/internal.h"
#include "env/linux/test_linux.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE 4096

/* Memory that its owner can truncate, as a guest's can be. */
static int shrinkable(uint64_t size)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void two_mappings_show_the_same_bytes(void **state)
{
	struct world *w = *state;
	struct env_mapping *a, *b;
	int first, fd;

	assert_int_equal(env_shm_create(w->env, "test", 16 * PAGE, &first), 0);
	fd = env_fd_copy(w->env, first);
	assert_true(fd >= 0 && fd != first);
	env_fd_close(w->env, first);
	assert_int_equal(env_fd_copy(w->env, first), -EBADF);
	assert_int_equal(env_fd_size(w->env, fd), 16 * PAGE);
	assert_int_equal(env_map(w->env, fd, 0, 16 * PAGE, true, &a, &w->why), 0);
	assert_int_equal(
		env_map(w->env, fd, PAGE + 16, PAGE, true, &b, &w->why), 0); /* not on a page's boundary */
	strcpy((char *)env_mapping_base(a) + PAGE + 16, "shared");
	assert_string_equal(env_mapping_base(b), "shared");
	assert_false(env_mapping_broken(a));
	env_unmap(b);
	env_unmap(a);
	/* Sealed: whoever we share it with cannot take it away. */
	assert_int_equal(ftruncate(fd, PAGE), -1);
	env_fd_close(w->env, fd);
}

static void a_mapping_behind_the_end_is_refused(void **state)
{
	struct world *w = *state;
	struct env_mapping *m;
	int fd = shrinkable(4 * PAGE);

	assert_int_equal(env_map(w->env, fd, 2 * PAGE, 3 * PAGE, true, &m, &w->why), -EINVAL);
	assert_why(w, "lie behind the end of the file");
	assert_int_equal(env_map(w->env, fd, UINT64_MAX - PAGE, 2 * PAGE, true, &m, &w->why), -EINVAL);
	assert_int_equal(env_map(w->env, fd, 0, 0, true, &m, &w->why), -EINVAL);
	assert_int_equal(env_map(w->env, 1000, 0, PAGE, true, &m, &w->why), -EBADF);
	close(fd);
}

static void pages_that_are_gone_read_as_zeroes(void **state)
{
	struct world *w = *state;
	struct env_mapping *m, *other;
	int fd = shrinkable(8 * PAGE), fd2 = shrinkable(8 * PAGE);
	volatile unsigned char *base;

	assert_int_equal(env_map(w->env, fd2, 0, 8 * PAGE, true, &other, &w->why), 0);
	assert_int_equal(env_map(w->env, fd, 0, 8 * PAGE, true, &m, &w->why), 0);
	base = env_mapping_base(m);
	memset(env_mapping_base(m), 0x5a, 8 * PAGE);
	memset(env_mapping_base(other), 0x11, 8 * PAGE);
	assert_int_equal(ftruncate(fd, 4 * PAGE), 0);
	assert_int_equal(base[3 * PAGE], 0x5a);
	assert_false(env_mapping_broken(m));
	assert_int_equal(base[6 * PAGE + 7], 0);
	assert_true(env_mapping_broken(m));
	base[6 * PAGE + 7] = 9; /* and can be written to no effect for anybody */
	assert_int_equal(base[6 * PAGE + 7], 9);
	assert_int_equal(base[4 * PAGE], 0);
	assert_int_equal(base[7 * PAGE], 0);
	assert_int_equal(base[3 * PAGE], 0x5a);
	assert_false(env_mapping_broken(other));
	assert_int_equal(((unsigned char *)env_mapping_base(other))[7 * PAGE], 0x11);
	env_unmap(m);
	env_unmap(other);
	close(fd);
	close(fd2);
}

/* The address of a mapping that has gone lies amidst a later one: what was known of it is forgotten. */
static void a_mapping_may_span_where_another_was(void **state)
{
	char *room = mmap(NULL, 16 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	_Atomic bool broken[2] = {false, false};
	int fd = shrinkable(16 * PAGE);

	(void)state;
	assert_ptr_not_equal(room, MAP_FAILED);
	assert_int_equal(guard_add(room + 4 * PAGE, 4 * PAGE, PAGE, &broken[0]), 0);
	guard_remove(room + 4 * PAGE);
	assert_ptr_equal(mmap(room, 16 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0), room);
	assert_int_equal(guard_add(room, 16 * PAGE, PAGE, &broken[1]), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(((volatile char *)room)[5 * PAGE], 0);
	assert_true(broken[1] && !broken[0]);
	guard_remove(room);
	munmap(room, 16 * PAGE);
	close(fd);
}

/* ---- many threads, mappings coming and going ---- */

struct toucher {
	struct world *w;
	_Atomic bool stop;
	_Atomic unsigned broken;
};

static void *touch_main(void *arg)
{
	struct toucher *t = arg;

	while (!atomic_load(&t->stop)) {
		int fd = memfd_create("test", MFD_CLOEXEC);
		struct env_mapping *m;

		if (ftruncate(fd, 64 * PAGE) || env_map(t->w->env, fd, 0, 64 * PAGE, true, &m, NULL))
			abort();
		if (ftruncate(fd, 0))
			abort();
		for (unsigned i = 64; i-- > 0;)
			if (((volatile char *)env_mapping_base(m))[i * PAGE] != 0)
				abort();
		atomic_fetch_add(&t->broken, env_mapping_broken(m));
		env_unmap(m);
		close(fd);
	}
	return NULL;
}

static void every_thread_is_guarded(void **state)
{
	struct toucher t = {.w = *state};
	pthread_t thread[4];

	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, touch_main, &t), 0);
	while (atomic_load(&t.broken) < 400)
		sched_yield();
	atomic_store(&t.stop, true);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
}

/* ---- a SIGBUS that is not ours ---- */

static int in_child(int (*fn)(struct world *w), struct world *w)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(fn(w));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static volatile char *foreign_page(void)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	char *page;

	if (ftruncate(fd, PAGE))
		return NULL;
	page = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	return ftruncate(fd, 0) ? NULL : page;
}

static int touch_guarded_and_foreign(struct world *w)
{
	struct env_mapping *m;
	int fd = memfd_create("test", MFD_CLOEXEC);

	if (ftruncate(fd, PAGE) || env_map(w->env, fd, 0, PAGE, true, &m, NULL))
		return 1;
	return *foreign_page() ? 2 : 3;
}

static int touch_foreign(struct world *w)
{
	signal(SIGBUS, SIG_DFL);
	return touch_guarded_and_foreign(w);
}

static sigjmp_buf back;

static void handler_of_before(int signal)
{
	(void)signal;
	siglongjmp(back, 1);
}

static int touch_foreign_handled(struct world *w)
{
	signal(SIGBUS, handler_of_before);
	if (sigsetjmp(back, 1) == 0)
		return touch_guarded_and_foreign(w);
	return 42;
}

static volatile char *foreign;

static void handler_with_address(int signal, siginfo_t *info, void *context)
{
	(void)signal;
	(void)context;
	siglongjmp(back, info->si_code == BUS_ADRERR && info->si_addr == (void *)(uintptr_t)foreign ? 1 : 2);
}

/* A program that sets its own handler when ours is there already: ours is behind it, until the next mapping puts it in front. */
static int touch_foreign_handled_late(struct world *w)
{
	struct sigaction action = {.sa_sigaction = handler_with_address, .sa_flags = SA_SIGINFO};
	struct env_mapping *m[2];
	int fd = memfd_create("test", MFD_CLOEXEC), came;

	foreign = foreign_page();
	if (ftruncate(fd, PAGE) || env_map(w->env, fd, 0, PAGE, true, &m[0], NULL) || sigaction(SIGBUS, &action, NULL) ||
		env_map(w->env, fd, 0, PAGE, true, &m[1], NULL) || ftruncate(fd, 0))
		return 1;
	for (unsigned i = 0; i < 2; i++)
		if (*(volatile char *)env_mapping_base(m[i]) != 0 || !env_mapping_broken(m[i]))
			return 2;
	came = sigsetjmp(back, 1);
	if (came == 0)
		return *foreign ? 3 : 4;
	return came == 1 ? 42 : 5;
}

static void another_fault_goes_where_it_went_before(void **state)
{
	int status = in_child(touch_foreign, *state);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
}

static void an_earlier_handler_is_called(void **state)
{
	int status = in_child(touch_foreign_handled, *state);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
}

static void a_handler_that_came_later_is_told_the_address(void **state)
{
	int status = in_child(touch_foreign_handled_late, *state);

	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);
}

/* ---- private pages ---- */

static void dropped_pages_read_as_zeroes(void **state)
{
	struct world *w = *state;

	for (unsigned huge = 0; huge < 2; huge++) {
		unsigned char *pages = env_pages_alloc(w->env, 3u << 20, huge);

		assert_non_null(pages);
		assert_int_equal((uintptr_t)pages % (huge ? 2u << 20 : PAGE), 0);
		assert_int_equal(pages[12345], 0);
		memset(pages, 0x77, 3u << 20);
		env_pages_drop(w->env, pages + (1u << 20), 1u << 20);
		assert_int_equal(pages[(1u << 20) - 1], 0x77);
		assert_int_equal(pages[1u << 20], 0);
		assert_int_equal(pages[(2u << 20) - 1], 0);
		assert_int_equal(pages[2u << 20], 0x77);
		env_pages_free(w->env, pages, 3u << 20);
	}
	assert_null(env_pages_alloc(w->env, UINT64_MAX / 4, false));
	assert_null(env_pages_alloc(w->env, 0, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		ENTRY(another_fault_goes_where_it_went_before, "", WORLD_EPOLL),
		ENTRY(an_earlier_handler_is_called, "", WORLD_EPOLL),
		ENTRY(a_handler_that_came_later_is_told_the_address, "", WORLD_EPOLL),
		ENTRY(two_mappings_show_the_same_bytes, "", WORLD_EPOLL),
		ENTRY(a_mapping_behind_the_end_is_refused, "", WORLD_EPOLL),
		ENTRY(pages_that_are_gone_read_as_zeroes, "", WORLD_EPOLL),
		ENTRY(a_mapping_may_span_where_another_was, "", WORLD_EPOLL),
		ENTRY(every_thread_is_guarded, "", WORLD_EPOLL),
		ENTRY(dropped_pages_read_as_zeroes, "", WORLD_EPOLL),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
