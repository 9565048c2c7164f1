/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file becomes smaller, and larger again, while threads open queues on it, write up to its end, leave their queues alone and
 * close them: with real threads what devices/file/shrink_test.c does in the simulated world. Made for ThreadSanitizer, too.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <weft/weft.h>

#include "env/linux/test_deny.h"

#define BLOCK 4096u
#define BIG (1u << 20)
#define SMALL (1u << 19)
#define THREADS 3u
#define DEPTH 8u
#define ROUNDS 400u

struct shrink {
	struct weft *weft;
	struct weft_device *device;
	struct weft_why why;
	char path[96];
	_Atomic bool over;
	sem_t idle, go_on;
};

static void must(struct shrink *s, int got)
{
	if (got < 0)
		fail_msg("%d: %s", got, s->why.text);
}

static void begin(struct shrink *s)
{
	const char *folder = getenv("TMPDIR");
	char text[160];

	memset(s, 0, sizeof(*s));
	sem_init(&s->idle, 0, 0);
	sem_init(&s->go_on, 0, 0);
	snprintf(s->path, sizeof(s->path), "%s/weft-shrink-%d.img", folder != NULL ? folder : "/tmp", (int)getpid());
	snprintf(text, sizeof(text), "file:%s,create=1MiB", s->path);
	must(s, weft_open(NULL, &s->weft, &s->why));
	must(s, weft_device_open(s->weft, text, &s->device, &s->why));
}

static void end(struct shrink *s)
{
	must(s, weft_device_close(s->device, &s->why));
	must(s, weft_close(s->weft, &s->why));
	unlink(s->path);
}

static uint64_t size_of(const struct shrink *s)
{
	struct stat st;

	assert_int_equal(stat(s->path, &st), 0);
	return (uint64_t)st.st_size;
}

/* ---- a queue that nobody drives ---- */

/* Asks, gets its answer, and looks after its queue no more until it is told to. */
static void *leave_alone(void *arg)
{
	struct shrink *s = arg;
	char *block = calloc(1, BLOCK);
	struct weft_completion c = { .status = -1 };
	struct weft_queue *queue = NULL;
	bool well = weft_queue_open(s->device, NULL, NULL, &queue, NULL) == 0 &&
		weft_queue_write(queue, BIG - BLOCK, block, BLOCK, NULL, 0) == 0 &&
		weft_queue_wait(queue, &c, 1, 1, WEFT_FOREVER) == 1 && c.status == 0;

	sem_post(&s->idle);
	sem_wait(&s->go_on);
	well = well && weft_queue_write(queue, BIG - BLOCK, block, BLOCK, NULL, 0) == 0 &&
		weft_queue_wait(queue, &c, 1, 1, WEFT_FOREVER) == 1 && c.status == -ERANGE;
	well = weft_queue_close(queue, NULL) == 0 && well;
	free(block);
	return well ? s : NULL;
}

static void a_queue_that_is_left_alone_holds_nothing_up(void **state)
{
	struct shrink s;
	pthread_t thread;
	void *well;

	(void)state;
	begin(&s);
	assert_int_equal(pthread_create(&thread, NULL, leave_alone, &s), 0);
	sem_wait(&s.idle);
	must(&s, weft_device_resize(s.device, SMALL, &s.why));
	assert_int_equal(size_of(&s), SMALL);
	sem_post(&s.go_on);
	pthread_join(thread, &well);
	assert_ptr_equal(well, &s);
	end(&s);
}

/* ---- queues that come and go, and ask without a pause ---- */

/* Writes around the smaller end and up to the larger one: done, or refused. */
static bool write_a_while(struct shrink *s, struct weft_queue *queue, char *block)
{
	struct weft_completion c[DEPTH];
	unsigned out = 0;

	for (unsigned i = 0; i < 200 && !atomic_load_explicit(&s->over, memory_order_relaxed); i++) {
		int n;

		while (out < DEPTH) {
			uint64_t offset = BIG - (out + 1) * BLOCK - (i % 3 == 0 ? BIG - SMALL - BLOCK : 0);

			if (weft_queue_write(queue, offset, block, BLOCK, NULL, 0) != 0)
				return false;
			out++;
		}
		n = weft_queue_wait(queue, c, 1, DEPTH, WEFT_FOREVER);
		for (int k = 0; k < n; k++)
			if (c[k].status != 0 && c[k].status != -ERANGE)
				return false;
		if (n <= 0)
			return false;
		out -= (unsigned)n;
	}
	return weft_queue_drain(queue, WEFT_FOREVER) == 0 && weft_queue_poll(queue, c, DEPTH) == (int)out;
}

static void *come_and_go(void *arg)
{
	struct shrink *s = arg;
	char *block = aligned_alloc(BLOCK, BLOCK);
	bool well = true;

	memset(block, 1, BLOCK);
	while (well && !atomic_load(&s->over)) {
		struct weft_queue *queue;

		well = weft_queue_open(s->device, NULL, NULL, &queue, NULL) == 0;
		if (!well)
			break;
		well = write_a_while(s, queue, block);
		well = weft_queue_close(queue, NULL) == 0 && well;
	}
	free(block);
	return well ? s : NULL;
}

static void nothing_makes_it_longer_again(void **state)
{
	struct shrink s;
	pthread_t thread[THREADS];

	(void)state;
	begin(&s);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, come_and_go, &s), 0);
	for (unsigned round = 0; round < ROUNDS; round++) {
		must(&s, weft_device_resize(s.device, SMALL, &s.why));
		assert_int_equal(size_of(&s), SMALL);
		sched_yield();
		assert_int_equal(size_of(&s), SMALL);
		must(&s, weft_device_resize(s.device, BIG, &s.why));
	}
	atomic_store(&s.over, true);
	for (unsigned i = 0; i < THREADS; i++) {
		void *well;

		pthread_join(thread[i], &well);
		assert_ptr_equal(well, &s);
	}
	end(&s);
}

/* Where membarrier is denied, each submission has a fence of its own. */
static void nor_where_the_kernel_denies_membarrier(void **state)
{
	pid_t child = fork();
	int status;

	if (child == 0) {
		if (test_deny(SYS_membarrier) != 0)
			_exit(1);
		nothing_makes_it_longer_again(state);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nor_where_the_kernel_denies_membarrier),
		cmocka_unit_test(a_queue_that_is_left_alone_holds_nothing_up),
		cmocka_unit_test(nothing_makes_it_longer_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
