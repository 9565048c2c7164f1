/* SPDX-License-Identifier: BSD-2-Clause */
/* libweft as a program uses it: a component of its own, and exports that it serves to itself. */
#include "lib/rig_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- components of the program's own, served to itself ---- */

struct own {
	struct weft_object object;
	struct weft_blk blk;
	unsigned char bytes[16 * BLOCK];
};

static void own_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct own *own = WEFT_CONTAINER(blk, struct own, blk);

	if (hop->op == WEFT_READ)
		weft_hop_copy_in(hop, 0, own->bytes + hop->offset, hop->len);
	else
		weft_hop_copy_out(hop, 0, own->bytes + hop->offset, hop->len);
	weft_hop_complete(hop, 0);
}

static const struct weft_blk_ops own_ops = { .submit = own_submit };

static void own_start(struct weft_object *object, struct weft_task *task)
{
	struct own *own = WEFT_CONTAINER(object, struct own, object);

	own->blk.ops = &own_ops;
	own->blk.size = sizeof(own->bytes);
	own->blk.block = 512;
	own->blk.ops_can = WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE);
	task->done(task, 0);
}

static const struct weft_offer own_offers[] = { { &weft_blk_iface, offsetof(struct own, blk) }, { NULL, 0 } };

static const struct weft_kind own_kind = { .name = "own", .summary = "memory of a test", .size = sizeof(struct own),
	.offers = own_offers, .start = own_start };

static const struct weft_kind *const own_kinds[] = { &own_kind, NULL };

static const struct weft_module own_module = { WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind), "own", "1",
	own_kinds };

static void a_device_of_the_programs_own_is_served_to_itself(void **state)
{
	struct use *u = *state;
	struct weft_server *server;
	struct weft_device *own, *guest;
	struct weft_queue *queue;
	struct weft_memory *m;
	char where[100];

	must(u, weft_module_add(u->weft, &own_module, &u->why));
	assert_int_equal(weft_module_add(u->weft, &own_module, &u->why), -EEXIST);
	must(u, weft_device_open(u->weft, "slice:[own:],offset=4KiB", &own, &u->why));
	use_socket(where, sizeof(where));
	must(u, weft_export_open(u->weft, where, own, &server, &u->why));
	assert_int_equal(weft_device_close(own, &u->why), -EBUSY);
	must(u, weft_device_open(u->weft, where, &guest, &u->why));
	must(u, weft_queue_open(guest, NULL, NULL, &queue, &u->why));
	for (unsigned i = 0; i < 3; i++) {
		must(u, weft_memory_alloc(u->weft, 2 * BLOCK, 0, &m, &u->why));
		char *base = weft_memory_base(m);
		memset(base, (int)(7 + i), BLOCK);
		assert_int_equal(weft_queue_write(queue, BLOCK, base, BLOCK, m, 0), 0);
		assert_int_equal(one(queue, m), 0);
		assert_int_equal(weft_queue_read(queue, BLOCK, base + BLOCK, BLOCK, m, 0), 0);
		assert_int_equal(one(queue, m), 0);
		assert_memory_equal(base, base + BLOCK, BLOCK);
		must(u, weft_memory_release(m, &u->why));
	}
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_queue_open(guest, NULL, NULL, &queue, &u->why));
	assert_int_equal(weft_queue_flush(queue, u, 0), 0);
	assert_int_equal(one(queue, u), 0);
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_device_close(guest, &u->why));
	must(u, weft_export_close(server, &u->why));
	must(u, weft_device_close(own, &u->why));
}

/* Until the device has that size, says an event. */
static void resized_to(struct use *u, const struct weft_device *device, uint64_t size)
{
	struct weft_event event;

	do {
		assert_int_equal(weft_event_wait(u->weft, &event, 10000000000), 1);
		assert_int_equal(event.type, WEFT_EVENT_RESIZED);
	} while (event.device != device || event.size != size);
}

/* ... whoever changed it: here the server, of which the guest knows nothing. */
static void a_size_that_a_server_has_changed_is_an_event(void **state)
{
	struct use *u = *state;
	struct weft_server *server;
	struct weft_device *served, *guest;
	struct weft_queue *queue;
	struct weft_device_info info;
	char path[96], text[160], where[100], *a = malloc(BLOCK);

	use_path(path, sizeof(path), "size");
	snprintf(text, sizeof(text), "file:%s,create=1MiB", path);
	use_socket(where, sizeof(where));
	must(u, weft_device_open(u->weft, text, &served, &u->why));
	must(u, weft_export_open(u->weft, where, served, &server, &u->why));
	must(u, weft_device_open(u->weft, where, &guest, &u->why));
	must(u, weft_queue_open(guest, NULL, NULL, &queue, &u->why));
	assert_int_equal(weft_queue_read(queue, 1 << 20, a, BLOCK, a, 0), 0);
	assert_int_equal(one(queue, a), -ERANGE);
	must(u, weft_device_resize(served, 2 << 20, &u->why));
	resized_to(u, guest, 2 << 20);
	assert_int_equal(weft_device_info(guest, &info), 0);
	assert_int_equal(info.size, 2 << 20);
	assert_int_equal(weft_queue_read(queue, 1 << 20, a, BLOCK, a, 0), 0);
	assert_int_equal(one(queue, a), 0);
	must(u, weft_device_resize(served, 512 << 10, &u->why));
	resized_to(u, guest, 512 << 10);
	assert_int_equal(weft_queue_read(queue, 512 << 10, a, BLOCK, a, 0), 0);
	assert_int_equal(one(queue, a), -ERANGE);
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_device_close(guest, &u->why));
	must(u, weft_export_close(server, &u->why));
	must(u, weft_device_close(served, &u->why));
	unlink(path);
	free(a);
}

static void a_server_with_one_queue_serves_one_reactor_at_a_time(void **state)
{
	struct use *u = *state;
	struct weft_server *server;
	struct weft_device *guest;
	struct weft_reactor *reactor;
	struct weft_queue *first, *second;
	char where[100];

	use_socket(where, sizeof(where));
	snprintf(where + strlen(where), 20, "%s", ",queues=1");
	must(u, weft_export_open(u->weft, where, u->device, &server, &u->why));
	*strchr(where, ',') = '\0';
	must(u, weft_device_open(u->weft, where, &guest, &u->why));
	must(u, weft_reactor_open(u->weft, NULL, &reactor, &u->why));
	must(u, weft_queue_open(guest, reactor, NULL, &first, &u->why));
	assert_int_equal(weft_queue_open(guest, NULL, NULL, &second, &u->why), -ENOSPC);
	assert_non_null(strstr(u->why.text, "share a reactor"));
	/* as it says */
	must(u, weft_queue_open(guest, reactor, NULL, &second, &u->why));
	assert_int_equal(weft_queue_flush(second, u, 0), 0);
	assert_int_equal(one(second, u), 0);
	must(u, weft_queue_close(second, &u->why));
	must(u, weft_queue_close(first, &u->why));
	/* and it is free for another one */
	must(u, weft_queue_open(guest, NULL, NULL, &second, &u->why));
	assert_int_equal(weft_queue_flush(second, u, 0), 0);
	assert_int_equal(one(second, u), 0);
	must(u, weft_queue_close(second, &u->why));
	must(u, weft_reactor_close(reactor, &u->why));
	must(u, weft_device_close(guest, &u->why));
	must(u, weft_export_close(server, &u->why));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		USE_TEST(a_device_of_the_programs_own_is_served_to_itself),
		USE_TEST(a_size_that_a_server_has_changed_is_an_event),
		USE_CALLER_TEST(a_size_that_a_server_has_changed_is_an_event),
		USE_TEST(a_server_with_one_queue_serves_one_reactor_at_a_time),
		USE_CALLER_TEST(a_device_of_the_programs_own_is_served_to_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
