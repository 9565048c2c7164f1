/* SPDX-License-Identifier: BSD-2-Clause */
/* Every call of a queue and a reactor in each state in which the caller may not make it: closed, another thread's, another
 * process's, and in the middle of a turn, which is where a component of the program's own runs. */
#include "lib/rig_test.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* The call, when it does not end so. */
#define ENDS(call, error) \
	do \
		if ((call) != (error)) \
			return #call; \
	while (0)

/* Those that a component may make as well: they only stage, ask and tell. */
static const char *asking_ends(struct weft_queue *queue, struct weft_reactor *reactor, int error)
{
	static char bytes[BLOCK];
	struct iovec iov = { bytes, BLOCK };
	struct weft_extent extent;
	struct weft_property property;
	struct weft_queue_info info;

	ENDS(weft_queue_read(queue, 0, bytes, BLOCK, NULL, 0), error);
	ENDS(weft_queue_write(queue, 0, bytes, BLOCK, NULL, 0), error);
	ENDS(weft_queue_readv(queue, 0, &iov, 1, NULL, 0), error);
	ENDS(weft_queue_writev(queue, 0, &iov, 1, NULL, 0), error);
	ENDS(weft_queue_flush(queue, NULL, 0), error);
	ENDS(weft_queue_discard(queue, 0, BLOCK, NULL, 0), error);
	ENDS(weft_queue_zero(queue, 0, BLOCK, NULL, 0), error);
	ENDS(weft_queue_compare_write(queue, 0, bytes, bytes, 512, NULL, 0), error);
	ENDS(weft_queue_copy(queue, 0, BLOCK, BLOCK, NULL, 0), error);
	ENDS(weft_queue_status(queue, 0, BLOCK, &extent, 1, NULL, 0), error);
	ENDS(weft_queue_submit(queue), error);
	ENDS(weft_queue_cancel(queue, NULL), error);
	ENDS(weft_queue_cancel_all(queue), error);
	ENDS(weft_queue_fd(queue), error);
	ENDS(weft_queue_info(queue, &info), error);
	ENDS(weft_queue_property(queue, 0, &property), error);
	ENDS(weft_queue_get(queue, "depth", bytes, BLOCK, NULL), error);
	ENDS(weft_reactor_mode(reactor, WEFT_MODE_NOTIFY), error);
	ENDS(weft_reactor_fd(reactor), error);
	return NULL;
}

/* Those that take a turn, or end something. */
static const char *turning_ends(struct weft_queue *queue, struct weft_reactor *reactor, int error)
{
	struct weft_completion done[2];

	ENDS(weft_queue_poll(queue, done, 2), error);
	ENDS(weft_queue_wait(queue, done, 1, 2, WEFT_FOREVER), error);
	ENDS(weft_queue_drain(queue, WEFT_FOREVER), error);
	ENDS(weft_queue_notify(queue, true), error);
	ENDS(weft_queue_notify(queue, false), error);
	ENDS(weft_queue_close(queue, NULL), error);
	ENDS(weft_reactor_poll(reactor), error);
	ENDS(weft_reactor_wait(reactor, WEFT_FOREVER), error);
	ENDS(weft_reactor_notify(reactor, true), error);
	ENDS(weft_reactor_notify(reactor, false), error);
	ENDS(weft_reactor_close(reactor, NULL), error);
	return NULL;
}

/* Those that wait for the control side, and those that begin what it does. */
static const char *control_ends(struct use *u, int error)
{
	const struct weft_module none = { .abi = WEFT_ABI };
	struct weft_property property;
	struct weft_device *device;
	struct weft_reactor *reactor;
	struct weft_queue *queue;
	struct weft_memory *memory;
	struct weft_server *server;
	struct weft_event event;
	char text[64];

	ENDS(weft_device_open(u->weft, "null:1MiB", &device, NULL), error);
	ENDS(weft_device_close(u->device, NULL), error);
	ENDS(weft_device_resize(u->device, BLOCK, NULL), error);
	ENDS(weft_device_property(u->device, 0, &property), error);
	ENDS(weft_device_get(u->device, "size", text, sizeof(text), NULL), error);
	ENDS(weft_device_set(u->device, "size", "1", NULL), error);
	ENDS(weft_module_add(u->weft, &none, NULL), error);
	ENDS(weft_module_load(u->weft, "/nowhere.so", NULL), error);
	ENDS(weft_event_next(u->weft, &event), error);
	ENDS(weft_event_wait(u->weft, &event, WEFT_FOREVER), error);
	ENDS(weft_reactor_open(u->weft, NULL, &reactor, NULL), error);
	ENDS(weft_queue_open(u->device, NULL, NULL, &queue, NULL), error);
	ENDS(weft_memory_alloc(u->weft, BLOCK, 0, &memory, NULL), error);
	ENDS(weft_memory_map(u->weft, weft_memory_fd(u->memory), 0, BLOCK, 0, &memory, NULL), error);
	ENDS(weft_memory_register(u->weft, u, BLOCK, -1, 0, 0, &memory, NULL), error);
	ENDS(weft_memory_release(u->memory, NULL), error);
	ENDS(weft_export_open(u->weft, "vhost-user:/nowhere.sock", u->device, &server, NULL), error);
	ENDS(weft_close(u->weft, NULL), error);
	return NULL;
}

/* NULL, or the call that was not refused so. */
static const char *none(const char *first, const char *second)
{
	return first != NULL ? first : second;
}

static void assert_none(const char *call)
{
	if (call != NULL)
		fail_msg("%s", call);
}

static void of_what_is_closed(void **state)
{
	struct use *u = *state;
	struct weft_queue *queue;
	struct weft_reactor *reactor;

	assert_int_equal(weft_queue_open(u->device, NULL, NULL, &queue, &u->why), 0);
	reactor = weft_queue_reactor(queue);
	assert_int_equal(weft_queue_close(queue, &u->why), 0);
	assert_none(none(asking_ends(queue, reactor, -EBADF), turning_ends(queue, reactor, -EBADF)));
	assert_int_equal(weft_reactor_wake(reactor), -EBADF);
	assert_int_equal(weft_reactor_adopt(reactor, &u->why), -EBADF);
	assert_null(weft_queue_reactor(queue));
	assert_null(weft_queue_device(queue));
}

static void *another_thread(void *arg)
{
	struct use *u = arg;

	return (void *)(uintptr_t)none(asking_ends(u->queue, u->reactor, -EPERM), turning_ends(u->queue, u->reactor, -EPERM));
}

static void of_another_thread(void **state)
{
	struct use *u = *state;
	pthread_t thread;
	void *call;

	assert_int_equal(pthread_create(&thread, NULL, another_thread, u), 0);
	pthread_join(thread, &call);
	assert_none(call);
}

/* It has the queue's memory, and the ring that the kernel shares with the parent: what it staged there would be the parent's. */
static const char *child_ends(struct use *u)
{
	const char *call = none(asking_ends(u->queue, u->reactor, -EPERM), turning_ends(u->queue, u->reactor, -EPERM));

	ENDS(weft_reactor_adopt(u->reactor, &u->why), -EPERM);
	ENDS(weft_reactor_wake(u->reactor), -EPERM);
	return none(call, control_ends(u, -EPERM));
}

static void of_a_process_that_was_forked(void **state)
{
	struct use *u = *state;
	const char *call;
	int told[2], status;
	char text[128] = "";
	pid_t child;

	assert_int_equal(pipe(told), 0);
	child = fork();
	if (child == 0) {
		call = child_ends(u);
		_exit(call != NULL && write(told[1], call, strlen(call)) >= 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (status != 0 && read(told[0], text, sizeof(text) - 1) >= 0)
		fail_msg("status 0x%x: %s", (unsigned)status, text);
	close(told[0]);
	close(told[1]);
}

/* ---- in a turn: a device of the program's own ---- */

struct own {
	struct weft_object object;
	struct weft_blk blk;
};

static struct use *present;
static const char *wrong;

static void own_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	(void)blk;
	wrong = none(turning_ends(present->queue, present->reactor, -EDEADLK), control_ends(present, -EDEADLK));
	weft_hop_complete(hop, 0);
}

static const struct weft_blk_ops own_ops = { .submit = own_submit };
static const struct weft_blk_ops *ops = &own_ops;

static void own_start(struct weft_object *object, struct weft_task *task)
{
	struct own *own = WEFT_CONTAINER(object, struct own, object);

	wrong = control_ends(present, -EDEADLK); /* the control side's turn */
	own->blk.ops = ops;
	own->blk.size = BLOCK;
	own->blk.block = 512;
	own->blk.ops_can = WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE);
	task->done(task, 0);
}

static const struct weft_offer own_offers[] = { { &weft_blk_iface, offsetof(struct own, blk) }, { NULL, 0 } };
static const struct weft_kind own_kind = { .name = "own", .summary = "misuses libweft", .size = sizeof(struct own),
	.offers = own_offers, .start = own_start };
static const struct weft_kind *const own_kinds[] = { &own_kind, NULL };
static const struct weft_module own_module = { WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind), "own", "1",
	own_kinds };

/* ---- in a wait: another thread would have the reactor ---- */

static void *adopt(void *reactor)
{
	return (void *)(intptr_t)weft_reactor_adopt(reactor, NULL);
}

static void adopted_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	pthread_t thread;
	void *got;

	(void)blk;
	assert_int_equal(pthread_create(&thread, NULL, adopt, present->reactor), 0);
	pthread_join(thread, &got);
	wrong = (intptr_t)got == -EBUSY ? NULL : "weft_reactor_adopt";
	weft_hop_complete(hop, 0);
}

static const struct weft_blk_ops adopted_ops = { .submit = adopted_submit };

static void in_a_turn(void **state)
{
	struct use *u = *state;
	struct weft_completion done;
	struct weft_device *own;
	struct weft_queue *queue;
	char bytes[512];

	present = u;
	assert_int_equal(weft_module_add(u->weft, &own_module, &u->why), 0);
	assert_int_equal(weft_device_open(u->weft, "own:", &own, &u->why), 0);
	assert_none(wrong);
	wrong = "nothing was tried";
	assert_int_equal(weft_queue_open(own, u->reactor, NULL, &queue, &u->why), 0);
	assert_int_equal(weft_queue_read(queue, 0, bytes, sizeof(bytes), NULL, 0), 0);
	assert_int_equal(weft_queue_wait(queue, &done, 1, 1, WEFT_FOREVER), 1);
	assert_none(wrong);
	assert_int_equal(weft_queue_close(queue, &u->why), 0);
	assert_int_equal(weft_device_close(own, &u->why), 0);
}

static void in_a_wait(void **state)
{
	struct use *u = *state;
	struct weft_device *own;
	struct weft_queue *queue;
	char bytes[512];

	present = u;
	ops = &adopted_ops;
	must(u, weft_module_add(u->weft, &own_module, &u->why));
	must(u, weft_device_open(u->weft, "delay:[own:],all=1ms", &own, &u->why));
	must(u, weft_queue_open(own, u->reactor, NULL, &queue, &u->why));
	wrong = "nothing was tried";
	assert_int_equal(weft_queue_read(queue, 0, bytes, sizeof(bytes), u, 0), 0);
	assert_int_equal(one(queue, u), 0);
	assert_none(wrong);
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_device_close(own, &u->why));
	ops = &own_ops;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		USE_TEST(of_what_is_closed),
		USE_TEST(of_another_thread),
		USE_TEST(of_a_process_that_was_forked),
		USE_TEST(in_a_turn),
		USE_TEST(in_a_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
