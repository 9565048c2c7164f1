/* SPDX-License-Identifier: BSD-2-Clause */
/* What a request of a program costs on null and mem: no allocation, no call of the environment that could fail, no system call;
 * and the control path with each call of the environment failing in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "env/env_fault.h"
#include "env/linux/linux.h"
#include "env/sim/sim.h"
#include "lib/lib.h"

#define DEPTH 32u
#define BATCHES 1000u

static void batches(struct weft_queue *queue, char *memory)
{
	struct weft_completion c[DEPTH];

	for (unsigned i = 0; i < BATCHES; i++) {
		for (unsigned j = 0; j < DEPTH; j++)
			assert_int_equal(weft_queue_read(queue, j * 4096, memory + (size_t)j * 4096, 4096, NULL, 0), 0);
		assert_int_equal(weft_queue_submit(queue), DEPTH);
		assert_int_equal(weft_queue_poll(queue, c, DEPTH), DEPTH);
	}
}

static void a_request_costs_no_call_on(const char *text)
{
	struct weft_reactor_settings settings;
	struct env_loop_stats before, after;
	struct weft_reactor *reactor;
	struct weft_device *device;
	struct weft_memory *memory;
	struct weft_queue *queue;
	struct weft *weft;
	uint64_t calls;

	weft_reactor_settings_init(&settings);
	settings.bound = true;
	assert_int_equal(weft_open(NULL, &weft, NULL), 0);
	assert_int_equal(weft_device_open(weft, text, &device, NULL), 0);
	assert_int_equal(weft_reactor_open(weft, &settings, &reactor, NULL), 0);
	assert_int_equal(weft_queue_open(device, reactor, NULL, &queue, NULL), 0);
	assert_int_equal(weft_memory_alloc(weft, DEPTH * 4096, 0, &memory, NULL), 0);
	memset(weft_memory_base(memory), 1, DEPTH * 4096);
	batches(queue, weft_memory_base(memory));
	calls = env_calls(weft->env);
	env_loop_stats(reactor->loop, &before);
	batches(queue, weft_memory_base(memory));
	env_loop_stats(reactor->loop, &after);
	assert_int_equal(env_calls(weft->env), calls);
	if (env_linux_fallback(weft->env) == NULL) /* epoll must be asked */
		assert_int_equal(after.system_calls, before.system_calls);
	assert_int_equal(weft_memory_release(memory, NULL), 0);
	assert_int_equal(weft_queue_close(queue, NULL), 0);
	assert_int_equal(weft_reactor_close(reactor, NULL), 0);
	assert_int_equal(weft_device_close(device, NULL), 0);
	assert_int_equal(weft_close(weft, NULL), 0);
}

static void a_request_costs_no_call(void **state)
{
	(void)state;
	a_request_costs_no_call_on("null:1MiB");
	a_request_costs_no_call_on("mem:1MiB");
}

/* Waits for the end of what was begun: its status. */
static int begun_ended(struct weft *weft, enum weft_event_type type, struct weft_event *event, struct weft_why *why)
{
	do
		assert_int_equal(weft_event_wait(weft, event, WEFT_FOREVER), 1);
	while (event->type == WEFT_EVENT_RESIZED);
	assert_int_equal(event->type, type);
	assert_ptr_equal(event->user_data, weft);
	if (event->status != 0)
		*why = event->why;
	return event->status;
}

/* A device opened, resized and closed without waiting in the calls: the first error. */
static int begun(struct weft *weft, struct weft_why *why)
{
	struct weft_event event;
	struct weft_device *device;
	int error = weft_device_open_begin(weft, "slice:[mem:2MiB],size=1MiB", weft, why);

	if (error == 0)
		error = begun_ended(weft, WEFT_EVENT_OPENED, &event, why);
	if (error != 0)
		return error;
	device = event.device;
	error = weft_device_resize_begin(device, 2 << 20, weft, why);
	if (error == 0)
		error = begun_ended(weft, WEFT_EVENT_RESIZE, &event, why);
	if (error != 0) {
		assert_int_equal(weft_device_close(device, NULL), 0);
		return error;
	}
	error = weft_device_close_begin(device, weft, why);
	if (error != 0) /* it is open as before */
		assert_int_equal(weft_device_close(device, NULL), 0);
	else
		assert_int_equal(begun_ended(weft, WEFT_EVENT_CLOSED, &event, why), 0);
	return error;
}

/* Asked once in a queue of its own, from memory that is shared; memory of the program's own is registered, too. */
static int asked(struct weft *weft, struct weft_device *device, struct weft_why *why)
{
	static char bytes[4096];
	struct weft_memory *memory = NULL, *own = NULL;
	struct weft_queue *queue = NULL;
	struct weft_completion c;
	int error = weft_memory_alloc(weft, 4096, 0, &memory, why);

	if (error == 0)
		error = weft_memory_register(weft, bytes, sizeof(bytes), -1, 0, 0, &own, why);
	if (error == 0)
		error = weft_queue_open(device, NULL, NULL, &queue, why);
	if (error == 0 && weft_reactor_mode(weft_queue_reactor(queue), WEFT_MODE_NOTIFY) == 0) {
		assert_int_equal(weft_queue_write(queue, 4096, weft_memory_base(memory), 4096, memory, WEFT_FUA), 0);
		assert_int_equal(weft_queue_wait(queue, &c, 1, 1, WEFT_FOREVER), 1);
		assert_int_equal(c.status, 0);
	}
	if (queue != NULL)
		assert_int_equal(weft_queue_close(queue, NULL), 0);
	if (own != NULL)
		assert_int_equal(weft_memory_release(own, NULL), 0);
	if (memory != NULL)
		assert_int_equal(weft_memory_release(memory, NULL), 0);
	return error;
}

static void other_start(struct weft_object *object, struct weft_task *task)
{
	(void)object;
	task->done(task, 0);
}

struct other {
	struct weft_object object;
	struct weft_blk blk;
};
static const struct weft_offer other_offers[] = { { &weft_blk_iface, offsetof(struct other, blk) }, { NULL, 0 } };
static const struct weft_kind other_kind = { .name = "other", .summary = "none is made", .size = sizeof(struct other),
	.offers = other_offers, .start = other_start };
static const struct weft_kind *const other_kinds[] = { &other_kind, NULL };
static const struct weft_module other_module = { WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind), "other", "1",
	other_kinds };

/* The control calls, one after the other; the first error, after which all that was opened is closed. */
static int program(struct env *env, struct weft_why *why)
{
	struct weft_device *device = NULL;
	struct weft_server *server = NULL;
	struct weft_settings settings;
	struct weft *weft;
	int error;

	weft_settings_init(&settings);
	settings.mode = WEFT_MODE_NOTIFY;
	error = weft_open_in(env, &settings, &weft, why);
	if (error != 0)
		return error;
	error = weft_module_add(weft, &other_module, why);
	if (error == 0)
		error = weft_device_open(weft, "slice:[delay:[file:/disk.img],all=0],offset=4KiB", &device, why);
	if (error == 0)
		error = weft_device_set(device, "lower.all", "1us", why);
	if (error == 0)
		error = asked(weft, device, why);
	if (error == 0)
		error = weft_device_resize(device, 8192, why);
	if (error == 0)
		error = weft_export_open(weft, "vhost-user:/vm.sock,queues=2", device, &server, why);
	if (server != NULL)
		assert_int_equal(weft_export_close(server, NULL), 0);
	if (error == 0)
		error = begun(weft, why);
	if (device != NULL)
		assert_int_equal(weft_device_close(device, NULL), 0);
	assert_int_equal(weft_close(weft, NULL), 0);
	return error;
}

static void the_control_path_survives_the_failure_of_any_call(void **state)
{
	unsigned n = 1, refused = 0;
	bool hit = true;

	(void)state;
	for (; hit; n++) {
		struct sim_world *world = sim_world_open(n);
		struct env *env = sim_node_open(world, "program");
		struct weft_why why = { "" };
		int error;

		sim_file_make(world, "/disk.img", 1 << 20);
		env_fail_nth(env, n);
		error = program(env, &why);
		hit = env_fail_hit(env);
		env_fail_nth(env, 0);
		refused += error != 0;
		if (!hit && error != 0)
			fail_msg("%s", why.text);
		assert_true(error == 0 || why.text[0] != '\0');
		sim_node_close(env);
		sim_world_close(world);
	}
	assert_in_range(refused, 20, 500);
}

/* The disk still has the request, and the memory that it was handed is the layer's. */
static void a_queue_is_not_closed_while_a_disk_that_hangs_has_its_request(void **state)
{
	struct sim_world *world = sim_world_open(1);
	struct env *env = sim_node_open(world, "program");
	struct weft_settings settings;
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_completion c;
	struct weft_why why;
	struct weft *weft;
	char data[4096] = { 7 };

	(void)state;
	sim_file_make(world, "/disk.img", 1 << 20);
	weft_settings_init(&settings);
	settings.mode = WEFT_MODE_NOTIFY;
	assert_int_equal(weft_open_in(env, &settings, &weft, &why), 0);
	assert_int_equal(weft_device_open(weft, "timeout:[file:/disk.img],after=50ms", &device, &why), 0);
	assert_int_equal(weft_queue_open(device, NULL, NULL, &queue, &why), 0);
	assert_int_equal(weft_reactor_mode(weft_queue_reactor(queue), WEFT_MODE_NOTIFY), 0);
	sim_file_latency(world, "/disk.img", 1000000000, 1000000000);
	assert_int_equal(weft_queue_write(queue, 0, data, sizeof(data), NULL, 0), 0);
	assert_int_equal(weft_queue_wait(queue, &c, 1, 1, WEFT_FOREVER), 1);
	assert_int_equal(c.status, -ETIMEDOUT);
	assert_int_equal(weft_queue_close(queue, &why), -EBUSY);
	assert_non_null(strstr(why.text, "poll until"));
	assert_int_equal(weft_reactor_wait(weft_queue_reactor(queue), 2000000000), 0);
	assert_int_equal(weft_queue_close(queue, &why), 0);
	assert_int_equal(weft_device_close(device, &why), 0);
	assert_int_equal(weft_close(weft, &why), 0);
	sim_node_close(env);
	sim_world_close(world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_costs_no_call),
		cmocka_unit_test(the_control_path_survives_the_failure_of_any_call),
		cmocka_unit_test(a_queue_is_not_closed_while_a_disk_that_hangs_has_its_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
