/* SPDX-License-Identifier: BSD-2-Clause */
/* Every call of libweft with what no program should pass: an error, a sentence that says what to do, and all goes on. */
#include "lib/rig_test.h"

#include "lib/lib.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft/reactor.h>

/* The call is refused so, and says why. */
#define REFUSED(u, call, error) \
	do { \
		(u)->why.text[0] = '\0'; \
		assert_int_equal(call, error); \
		assert_true(strlen((u)->why.text) > 10); \
	} while (0)

static void null_is_refused_by_control_calls(void **state)
{
	struct use *u = *state;
	struct weft_property property;
	struct weft_event event;
	struct weft *weft;
	char text[8];

	weft_settings_init(NULL);
	weft_reactor_settings_init(NULL);
	weft_queue_settings_init(NULL);
	REFUSED(u, weft_open(NULL, NULL, &u->why), -EINVAL);
	REFUSED(u, weft_close(NULL, &u->why), -EINVAL);
	assert_int_equal(weft_open(NULL, &weft, NULL), 0);
	assert_int_equal(weft_close(weft, NULL), 0);
	assert_int_equal(weft_control_step(NULL), -EINVAL);
	assert_int_equal(weft_control_fd(NULL), -EINVAL);
	assert_int_equal(weft_control_step(u->weft), -EINVAL);
	REFUSED(u, weft_module_add(NULL, NULL, &u->why), -EINVAL);
	REFUSED(u, weft_module_add(u->weft, NULL, &u->why), -EINVAL);
	REFUSED(u, weft_module_load(u->weft, NULL, &u->why), -EINVAL);
	assert_true(weft_module_load(u->weft, "/nowhere.so", &u->why) < 0);
	assert_null(weft_device_kind(NULL, 0));
	assert_null(weft_export_kind(NULL, 0));
	assert_int_equal(weft_event_next(NULL, &event), -EINVAL);
	assert_int_equal(weft_event_next(u->weft, NULL), -EINVAL);
	assert_int_equal(weft_event_wait(NULL, NULL, 0), -EINVAL);
	assert_int_equal(weft_event_fd(NULL), -EINVAL);
	struct weft_memory *memory;
	struct weft_device *device;
	REFUSED(u, weft_device_open(NULL, "mem:1MiB", &device, &u->why), -EINVAL);
	REFUSED(u, weft_device_open(u->weft, NULL, &device, &u->why), -EINVAL);
	assert_null(device);
	REFUSED(u, weft_device_open(u->weft, "mem:1MiB", NULL, &u->why), -EINVAL);
	REFUSED(u, weft_device_open_begin(u->weft, NULL, NULL, &u->why), -EINVAL);
	REFUSED(u, weft_device_open_begin(NULL, "mem:1MiB", NULL, &u->why), -EINVAL);
	REFUSED(u, weft_device_close(NULL, &u->why), -EINVAL);
	REFUSED(u, weft_device_close_begin(NULL, NULL, &u->why), -EINVAL);
	assert_int_equal(weft_device_info(NULL, NULL), -EINVAL);
	assert_int_equal(weft_device_stats(NULL, NULL), -EINVAL);
	REFUSED(u, weft_device_resize(NULL, 0, &u->why), -EINVAL);
	REFUSED(u, weft_device_resize_begin(NULL, 0, NULL, &u->why), -EINVAL);
	assert_int_equal(weft_device_property(NULL, 0, &property), -EINVAL);
	REFUSED(u, weft_device_get(NULL, "size", text, 8, &u->why), -EINVAL);
	REFUSED(u, weft_device_set(NULL, "size", text, &u->why), -EINVAL);
	assert_int_equal(weft_kind_property(NULL, 0, &property), -EINVAL);
	REFUSED(u, weft_export_open(NULL, NULL, NULL, NULL, &u->why), -EINVAL);
	REFUSED(u, weft_export_close(NULL, &u->why), -EINVAL);
	REFUSED(u, weft_memory_alloc(NULL, 1, 0, &memory, &u->why), -EINVAL);
	REFUSED(u, weft_memory_map(NULL, 0, 0, 1, 0, NULL, &u->why), -EINVAL);
	REFUSED(u, weft_memory_register(NULL, NULL, 1, -1, 0, 0, NULL, &u->why), -EINVAL);
	REFUSED(u, weft_memory_release(NULL, &u->why), -EINVAL);
}

static void null_is_refused_by_reactors_and_queues(void **state)
{
	struct use *u = *state;
	struct weft_completion c;
	char text[8];

	REFUSED(u, weft_reactor_open(NULL, NULL, NULL, &u->why), -EINVAL);
	REFUSED(u, weft_reactor_open(u->weft, NULL, NULL, &u->why), -EINVAL);
	REFUSED(u, weft_reactor_close(NULL, &u->why), -EINVAL);
	REFUSED(u, weft_reactor_adopt(NULL, &u->why), -EINVAL);
	assert_int_equal(weft_reactor_mode(NULL, WEFT_MODE_POLL), -EINVAL);
	assert_int_equal(weft_reactor_mode(u->reactor, (enum weft_mode)7), -EINVAL);
	assert_int_equal(weft_reactor_poll(NULL), -EINVAL);
	assert_int_equal(weft_reactor_wait(NULL, 0), -EINVAL);
	assert_int_equal(weft_reactor_wake(NULL), -EINVAL);
	assert_int_equal(weft_reactor_fd(NULL), -EINVAL);
	assert_int_equal(weft_reactor_notify(NULL, true), -EINVAL);
	assert_non_null(weft_reactor_why(NULL));
	REFUSED(u, weft_queue_open(NULL, NULL, NULL, NULL, &u->why), -EINVAL);
	REFUSED(u, weft_queue_open(u->device, NULL, NULL, NULL, &u->why), -EINVAL);
	REFUSED(u, weft_queue_close(NULL, &u->why), -EINVAL);
	assert_int_equal(weft_queue_read(NULL, 0, text, 8, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_write(NULL, 0, text, 8, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_readv(NULL, 0, NULL, 0, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_writev(NULL, 0, NULL, 0, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_flush(NULL, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_discard(NULL, 0, 0, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_zero(NULL, 0, 0, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_compare_write(NULL, 0, NULL, NULL, 0, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_copy(NULL, 0, 0, 0, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_status(NULL, 0, 0, NULL, 0, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_submit(NULL), -EINVAL);
	assert_int_equal(weft_queue_poll(NULL, &c, 1), -EINVAL);
	assert_int_equal(weft_queue_poll(u->queue, NULL, 1), -EINVAL);
	assert_int_equal(weft_queue_wait(NULL, &c, 1, 1, 0), -EINVAL);
	assert_int_equal(weft_queue_wait(u->queue, &c, 2, 1, 0), -EINVAL);
	assert_non_null(strstr(weft_queue_why(u->queue), "min"));
	assert_int_equal(weft_queue_cancel(NULL, NULL), -EINVAL);
	assert_int_equal(weft_queue_cancel_all(NULL), -EINVAL);
	assert_int_equal(weft_queue_drain(NULL, 0), -EINVAL);
	assert_null(weft_queue_reactor(NULL));
	assert_null(weft_queue_device(NULL));
	assert_int_equal(weft_queue_fd(NULL), -EINVAL);
	assert_int_equal(weft_queue_notify(NULL, true), -EINVAL);
	assert_int_equal(weft_queue_info(NULL, NULL), -EINVAL);
	assert_int_equal(weft_queue_info(u->queue, NULL), -EINVAL);
	assert_non_null(weft_queue_why(NULL));
	assert_int_equal(weft_queue_property(NULL, 0, NULL), -EINVAL);
	REFUSED(u, weft_queue_get(NULL, "depth", text, 8, &u->why), -EINVAL);
	REFUSED(u, weft_queue_get(u->queue, NULL, text, 8, &u->why), -EINVAL);
	REFUSED(u, weft_queue_get(u->queue, "colour", text, 8, &u->why), -ENOENT);
	assert_null(weft_memory_base(NULL));
	assert_int_equal(weft_memory_size(NULL), 0);
	assert_int_equal(weft_memory_fd(NULL), -1);
}

static void bad_requests_are_not_staged(void **state)
{
	struct use *u = *state;
	struct iovec iov[2] = { { NULL, 512 }, { u, SIZE_MAX } };
	struct weft_extent extent;
	struct weft_queue_info info;
	char text[512];

	assert_int_equal(weft_queue_read(u->queue, 0, NULL, 512, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_read(u->queue, 0, text, SIZE_MAX, NULL, 0), -EMSGSIZE);
	assert_int_equal(weft_queue_read(u->queue, 0, (void *)(UINTPTR_MAX - 10), 512, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_write(u->queue, 0, text, 512, NULL, 1u << 31), -EINVAL);
	assert_int_equal(weft_queue_readv(u->queue, 0, iov, 1, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_readv(u->queue, 0, iov + 1, 1, NULL, 0), -EMSGSIZE);
	assert_int_equal(weft_queue_readv(u->queue, 0, NULL, 1, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_writev(u->queue, 0, iov, WEFT_IOV_MAX + 1, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_flush(u->queue, NULL, WEFT_FUA), -EINVAL);
	assert_int_equal(weft_queue_discard(u->queue, 0, 512, NULL, WEFT_FAST), -EINVAL);
	assert_int_equal(weft_queue_compare_write(u->queue, 0, text, NULL, 512, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_status(u->queue, 0, 512, NULL, 1, NULL, 0), -EINVAL);
	assert_int_equal(weft_queue_status(u->queue, 0, 512, &extent, 0, NULL, 0), -EINVAL);
	assert_true(strlen(weft_queue_why(u->queue)) > 10);
	assert_int_equal(weft_queue_info(u->queue, &info), 0);
	assert_int_equal(info.staged + info.in_flight + info.ended + (uint32_t)info.requests, 0);
}

static void settings_and_memory_are_checked(void **state)
{
	struct use *u = *state;
	struct weft_settings s = { 0 };
	struct weft_reactor_settings r = { 0 };
	struct weft_queue_settings q = { 0 };
	struct weft_reactor *reactor;
	struct weft_memory *memory;
	struct weft_queue *queue;
	struct weft *weft;

	REFUSED(u, weft_open(&s, &weft, &u->why), -EINVAL);
	weft_settings_init(&s);
	s.service = 0;
	REFUSED(u, weft_open(&s, &weft, &u->why), -EINVAL);
	weft_settings_init(&s);
	s.mode = 9;
	REFUSED(u, weft_open(&s, &weft, &u->why), -EINVAL);
	weft_settings_init(&s);
	s.cpus = &(const int){ -5 };
	REFUSED(u, weft_open(&s, &weft, &u->why), -EINVAL);
	REFUSED(u, weft_reactor_open(u->weft, &r, &reactor, &u->why), -EINVAL);
	REFUSED(u, weft_queue_open(u->device, u->reactor, &q, &queue, &u->why), -EINVAL);
	weft_queue_settings_init(&q);
	q.depth = 0;
	REFUSED(u, weft_queue_open(u->device, u->reactor, &q, &queue, &u->why), -EINVAL);
	q.depth = 1024;
	REFUSED(u, weft_queue_open(u->device, u->reactor, &q, &queue, &u->why), -ENOSPC);
	REFUSED(u, weft_memory_alloc(u->weft, 0, 0, &memory, &u->why), -EINVAL);
	REFUSED(u, weft_memory_alloc(u->weft, UINT64_MAX, 0, &memory, &u->why), -EINVAL);
	assert_non_null(strstr(u->why.text, "size 18446744073709551615"));
	REFUSED(u, weft_memory_alloc(u->weft, 4096, 0x80, &memory, &u->why), -EINVAL);
	REFUSED(u, weft_memory_map(u->weft, -1, 0, 4096, 0, &memory, &u->why), -EBADF);
	REFUSED(u, weft_memory_map(u->weft, weft_memory_fd(u->memory), 0, 1 << 20, 0, &memory, &u->why), -EINVAL);
	REFUSED(u, weft_memory_map(u->weft, weft_memory_fd(u->memory), UINT64_MAX, 4096, 0, &memory, &u->why), -EINVAL);
	REFUSED(u, weft_memory_register(u->weft, NULL, 4096, -1, 0, 0, &memory, &u->why), -EINVAL);
	REFUSED(u, weft_memory_register(u->weft, u, UINT64_MAX, -1, 0, 0, &memory, &u->why), -EINVAL);
	REFUSED(u, weft_device_resize(u->device, 1000, &u->why), -EINVAL);
	REFUSED(u, weft_export_open(u->weft, "nowhere:", u->device, &u->server, &u->why), -EINVAL);
	REFUSED(u, weft_export_open(u->weft, "@mem0", u->device, &u->server, &u->why), -EINVAL);
	REFUSED(u, weft_export_open(u->weft, "vhost-user:[mem:1MiB]", u->device, &u->server, &u->why), -EINVAL);
	REFUSED(u, weft_close(u->weft, &u->why), -EBUSY);
	REFUSED(u, weft_device_close(u->device, &u->why), -EBUSY);
	REFUSED(u, weft_reactor_close(u->reactor, &u->why), -EBUSY);
}

static void what_was_closed_is_found_out(void **state)
{
	struct use *u = *state;
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_device_info info;
	struct weft_completion c;

	assert_int_equal(weft_device_open(u->weft, "null:1MiB", &device, &u->why), 0);
	assert_int_equal(weft_queue_open(device, NULL, NULL, &queue, &u->why), 0);
	struct weft_reactor *own = weft_queue_reactor(queue);
	assert_int_equal(weft_queue_close(queue, &u->why), 0);
	REFUSED(u, weft_queue_close(queue, &u->why), -EBADF);
	assert_int_equal(weft_queue_flush(queue, NULL, 0), -EBADF);
	assert_int_equal(weft_queue_poll(queue, &c, 1), -EBADF);
	assert_true(strlen(weft_queue_why(queue)) > 10);
	assert_int_equal(weft_reactor_poll(own), -EBADF);
	REFUSED(u, weft_reactor_close(own, &u->why), -EBADF);
	assert_int_equal(weft_device_close(device, &u->why), 0);
	REFUSED(u, weft_device_close(device, &u->why), -EBADF);
	assert_int_equal(weft_device_info(device, &info), -EBADF);
	REFUSED(u, weft_queue_open(device, NULL, NULL, &queue, &u->why), -EBADF);
	REFUSED(u, weft_device_resize(device, 0, &u->why), -EBADF);
	REFUSED(u, weft_export_open(u->weft, "vhost-user:/tmp/x", device, &u->server, &u->why), -EBADF);
}

static void *other_thread(void *arg)
{
	struct use *u = arg;
	struct weft_completion c;
	char text[512];

	bool good = weft_queue_read(u->queue, 0, text, 512, NULL, 0) == -EPERM && weft_queue_poll(u->queue, &c, 1) == -EPERM &&
		weft_queue_submit(u->queue) == -EPERM && weft_reactor_poll(u->reactor) == -EPERM &&
		weft_queue_close(u->queue, NULL) == -EPERM && weft_reactor_close(u->reactor, NULL) == -EPERM &&
		strstr(weft_queue_why(u->queue), "another thread") != NULL && weft_reactor_wake(u->reactor) == 0 &&
		/* until it is this thread's */
		weft_reactor_adopt(u->reactor, NULL) == 0 && weft_queue_flush(u->queue, u, 0) == 0 &&
		weft_queue_drain(u->queue, WEFT_FOREVER) == 0 && weft_queue_poll(u->queue, &c, 1) == 1 && c.status == 0;

	return good ? u : NULL;
}

static void another_threads_queue_is_refused_until_it_is_adopted(void **state)
{
	struct use *u = *state;
	struct weft_reactor_settings settings;
	struct weft_reactor *bound;
	pthread_t thread;
	void *good;

	assert_int_equal(pthread_create(&thread, NULL, other_thread, u), 0);
	pthread_join(thread, &good);
	assert_ptr_equal(good, u);
	assert_int_equal(weft_reactor_poll(u->reactor), -EPERM);
	assert_int_equal(weft_reactor_adopt(u->reactor, &u->why), 0);
	weft_reactor_settings_init(&settings);
	settings.bound = true;
	assert_int_equal(weft_reactor_open(u->weft, &settings, &bound, &u->why), 0);
	assert_int_equal(weft_reactor_close(bound, &u->why), 0);
}

static void *wait_for_events(void *weft)
{
	struct weft_event event;

	return (void *)(intptr_t)weft_event_wait(weft, &event, WEFT_FOREVER);
}

static bool somebody_waits(const struct weft *weft)
{
	bool waits;

	env_gate_enter(weft->gate);
	waits = weft->waiting > 0;
	env_gate_leave(weft->gate);
	return waits;
}

static void *ask_for_a_kind(void *weft)
{
	return (void *)(uintptr_t)weft_device_kind(weft, 0);
}

/* Others are in the instance that is to be closed: one waits for an event, and goes; one for an answer, and is waited for. */
static void an_instance_is_not_closed_under_another_thread(void **state)
{
	struct use *u = *state;
	struct weft_settings settings;
	struct weft *weft;
	pthread_t waits, asks;
	void *got;

	weft_settings_init(&settings);
	settings.control = WEFT_CONTROL_CALLER; /* so that its answer comes when we say so */
	assert_int_equal(weft_open(&settings, &weft, &u->why), 0);
	assert_int_equal(weft_control_step(weft), 0);
	assert_int_equal(pthread_create(&asks, NULL, ask_for_a_kind, weft), 0);
	assert_true(readable(weft_control_fd(weft), 10000));
	REFUSED(u, weft_close(weft, &u->why), -EBUSY);
	assert_int_equal(weft_control_step(weft), 0);
	pthread_join(asks, &got);
	assert_non_null(got);
	assert_int_equal(weft_close(weft, &u->why), 0);
	assert_int_equal(weft_open(NULL, &weft, &u->why), 0);
	assert_int_equal(pthread_create(&waits, NULL, wait_for_events, weft), 0);
	while (!somebody_waits(weft))
		sched_yield();
	assert_int_equal(weft_close(weft, &u->why), 0);
	pthread_join(waits, &got);
	assert_int_equal((intptr_t)got, -ECANCELED);
}

/* In the child: each call that would wait for a thread that is not there, or be forgotten by one, is refused. */
static int in_the_child(struct use *u, bool waits)
{
	struct weft_device *device;
	struct weft_event event;
	int refused = waits ? -EPERM : -EDEADLK;

	u->why.text[0] = '\0';
	if (weft_device_open_begin(u->weft, "null:1MiB", NULL, &u->why) != -EPERM || strstr(u->why.text, "forked") == NULL)
		return 1;
	if (weft_device_close_begin(u->device, NULL, NULL) != -EPERM ||
			weft_device_resize_begin(u->device, 0, NULL, NULL) != -EPERM)
		return 2;
	if (weft_device_open(u->weft, "null:1MiB", &device, NULL) != -EPERM || weft_close(u->weft, NULL) != -EPERM)
		return 3;
	return weft_event_next(u->weft, &event) == refused ? 0 : 4;
}

static void fork_here(void *self)
{
	struct use *u = self;
	bool waits = weft_reactor_here() == NULL;
	int status;
	pid_t child = fork();

	if (child == 0)
		_exit(in_the_child(u, waits));
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void a_forked_child_is_told_so(void **state)
{
	fork_here(*state);
}

static void a_child_that_was_forked_on_a_reactor_is_told_so(void **state)
{
	struct use *u = *state;
	struct weft_msg msg = { .fn = fork_here, .self = u };

	weft_reactor_post(u->reactor, &msg);
	assert_int_equal(weft_reactor_poll(u->reactor), 0);
}

static void a_forked_child_does_not_step_its_parents_control(void **state)
{
	struct use *u = *state;
	struct weft_settings settings;
	struct weft *weft;
	pid_t child;
	int status;

	weft_settings_init(&settings);
	settings.control = WEFT_CONTROL_CALLER;
	assert_int_equal(weft_open(&settings, &weft, &u->why), 0);
	child = fork();
	if (child == 0)
		_exit(weft_control_step(weft) != -EPERM || weft_control_fd(weft) != -EPERM);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(weft_control_step(weft), 0);
	assert_int_equal(weft_close(weft, &u->why), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		USE_TEST(null_is_refused_by_control_calls),
		USE_TEST(null_is_refused_by_reactors_and_queues),
		USE_TEST(bad_requests_are_not_staged),
		USE_TEST(settings_and_memory_are_checked),
		USE_TEST(what_was_closed_is_found_out),
		USE_TEST(another_threads_queue_is_refused_until_it_is_adopted),
		USE_TEST(an_instance_is_not_closed_under_another_thread),
		USE_TEST(a_forked_child_is_told_so),
		USE_TEST(a_child_that_was_forked_on_a_reactor_is_told_so),
		USE_TEST(a_forked_child_does_not_step_its_parents_control),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
