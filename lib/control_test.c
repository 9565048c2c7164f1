/* SPDX-License-Identifier: BSD-2-Clause */
/* libweft as a program uses it: what is begun and ends by an event, sizes, properties, devices that need the control side. */
#include "lib/rig_test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void what_was_begun_ends_by_an_event(void **state)
{
	struct use *u = *state;
	struct weft_event event;
	unsigned seen = 0;

	assert_int_equal(weft_event_next(u->weft, &event), 0);
	assert_false(readable(weft_event_fd(u->weft), 0));
	must(u, weft_device_open_begin(u->weft, "null:2MiB", u, &u->why));
	assert_int_equal(weft_event_wait(u->weft, &event, WEFT_FOREVER), 1);
	assert_int_equal(event.type, WEFT_EVENT_OPENED);
	assert_int_equal(event.status, 0);
	assert_ptr_equal(event.user_data, u);
	struct weft_device *device = event.device;
	must(u, weft_device_resize_begin(device, 1 << 20, u, &u->why));
	for (unsigned i = 0; i < 2; i++) { /* one of the call, one of the device, in any order */
		assert_int_equal(weft_event_wait(u->weft, &event, WEFT_FOREVER), 1);
		assert_int_equal(event.status, 0);
		assert_ptr_equal(event.device, device);
		assert_int_equal(event.size, 1 << 20);
		seen |= 1u << event.type;
	}
	assert_int_equal(seen, 1u << WEFT_EVENT_RESIZE | 1u << WEFT_EVENT_RESIZED);
	must(u, weft_device_close_begin(device, device, &u->why));
	assert_int_equal(weft_device_close(device, &u->why), -EBADF);
	assert_int_equal(weft_event_wait(u->weft, &event, WEFT_FOREVER), 1);
	assert_int_equal(event.type, WEFT_EVENT_CLOSED);
	must(u, weft_device_open_begin(u->weft, "file:/nowhere/at/all", u, &u->why));
	assert_int_equal(weft_event_wait(u->weft, &event, WEFT_FOREVER), 1);
	assert_int_equal(event.status, -ENOENT);
	assert_non_null(strstr(event.why.text, "/nowhere"));
	assert_int_equal(weft_event_wait(u->weft, &event, 1000000), 0);
	assert_false(readable(weft_event_fd(u->weft), 0));
}

/* Between the check of the call and its turn another thread may have closed the device. */
static void a_resize_that_was_begun_finds_its_device_closed(void **state)
{
	struct use *u = *state;
	struct weft_device *device;
	struct weft_event event;
	unsigned seen = 0;

	must(u, weft_device_open(u->weft, "null:2MiB", &device, &u->why));
	must(u, weft_device_resize_begin(device, 1 << 20, u, &u->why));
	must(u, weft_device_close_begin(device, u, &u->why));
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(weft_event_wait(u->weft, &event, WEFT_FOREVER), 1);
		assert_int_equal(event.status, event.type == WEFT_EVENT_RESIZE ? -EBADF : 0);
		if (event.type == WEFT_EVENT_RESIZE)
			assert_non_null(strstr(event.why.text, "closed"));
		seen |= 1u << event.type;
	}
	assert_int_equal(seen, 1u << WEFT_EVENT_RESIZE | 1u << WEFT_EVENT_CLOSED);
}

/* What is in flight must end first; and the thread that would take the turns is the one that waits. */
static void a_file_becomes_smaller_whatever_its_reactors_do(void **state)
{
	struct use *u = *state;
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_device_info info;
	char path[96], text[160], *a = malloc(BLOCK);

	use_path(path, sizeof(path), "shrink");
	snprintf(text, sizeof(text), "file:%s,create=1MiB", path);
	must(u, weft_device_open(u->weft, text, &device, &u->why));
	must(u, weft_queue_open(device, NULL, NULL, &queue, &u->why));
	must(u, weft_device_resize(device, 512 << 10, &u->why)); /* idle */
	assert_int_equal(weft_queue_read(queue, 0, a, BLOCK, NULL, 0), 0);
	must(u, weft_device_resize(device, 256 << 10, &u->why)); /* with a request that is staged */
	assert_int_equal(one(queue, NULL), 0);
	assert_int_equal(weft_queue_read(queue, 256 << 10, a, BLOCK, NULL, 0), 0);
	assert_int_equal(one(queue, NULL), -ERANGE);
	must(u, weft_queue_close(queue, &u->why));
	must(u, weft_device_resize(device, 128 << 10, &u->why)); /* its reactor has gone */
	assert_int_equal(weft_device_info(device, &info), 0);
	assert_int_equal(info.size, 128 << 10);
	must(u, weft_device_close(device, &u->why));
	unlink(path);
	free(a);
}

/* It keeps books for each reactor of the service; a program's come and go. */
static void a_mirror_with_a_record_serves_a_program(void **state)
{
	struct use *u = *state;
	struct weft_device *device;
	struct weft_queue *queue;
	char path[96], text[160], *a = malloc(BLOCK);

	use_path(path, sizeof(path), "mirror");
	snprintf(text, sizeof(text), "mirror:[mem:1MiB],[mem:1MiB],state=%s", path);
	must(u, weft_device_open(u->weft, text, &device, &u->why));
	for (unsigned i = 0; i < 3; i++) {
		must(u, weft_queue_open(device, NULL, NULL, &queue, &u->why));
		memset(a, 'a' + (int)i, BLOCK);
		assert_int_equal(weft_queue_write(queue, (uint64_t)i * BLOCK, a, BLOCK, NULL, 0), 0);
		assert_int_equal(one(queue, NULL), 0);
		memset(a, 0, BLOCK);
		assert_int_equal(weft_queue_read(queue, (uint64_t)i * BLOCK, a, BLOCK, NULL, 0), 0);
		assert_int_equal(one(queue, NULL), 0);
		assert_int_equal(a[BLOCK - 1], 'a' + (int)i);
		must(u, weft_queue_close(queue, &u->why));
	}
	must(u, weft_device_close(device, &u->why));
	unlink(path);
	free(a);
}

static void properties_are_listed_read_and_written(void **state)
{
	struct use *u = *state;
	struct weft_device *device;
	struct weft_property p;
	bool live = false, below = false, size = false;
	char text[64];

	must(u, weft_device_open(u->weft, "{\"kind\":\"delay\",\"options\":{\"all\":\"5ms\"},\"devices\":[\"mem:1MiB\"]}", &device,
		&u->why));
	for (unsigned i = 0; weft_device_property(device, i, &p) == 1; i++) {
		assert_true(p.type[0] != '\0' && p.help[0] != '\0' && (p.access & WEFT_ACCESS_READ) != 0);
		assert_true(weft_device_get(device, p.name, text, sizeof(text), &u->why) >= 0);
		live |= strcmp(p.name, "all") == 0 && (p.stage & WEFT_STAGE_LIVE) != 0;
		below |= strcmp(p.name, "lower.size") == 0;
		size |= strcmp(p.name, "size") == 0;
	}
	assert_true(live && below && size);
	assert_int_equal(weft_device_get(device, "all", text, sizeof(text), &u->why), 3);
	assert_string_equal(text, "5ms");
	must(u, weft_device_set(device, "all", "0", &u->why));
	assert_true(weft_device_get(device, "all", text, sizeof(text), &u->why) > 0);
	assert_string_equal(text, "0");
	assert_int_equal(weft_device_set(device, "size", "1", &u->why), -EPERM);
	assert_int_equal(weft_device_get(device, "colour", text, sizeof(text), &u->why), -ENOENT);
	assert_int_equal(weft_queue_get(u->queue, "depth", text, sizeof(text), &u->why), 3);
	assert_string_equal(text, "128");
	assert_int_equal(weft_kind_property(weft_device_kind(u->weft, 1), 0, &p), 1); /* the first has none */
	assert_null(weft_device_kind(u->weft, 1000));
	assert_non_null(weft_export_kind(u->weft, 0));
	must(u, weft_device_close(device, &u->why));
}

static void a_device_that_lives_at_the_service_is_asked_from_here(void **state)
{
	static const char *const texts[] = { "home:[mem:1MiB]", "slice:[home:[contract:[home:[mem:1MiB]]]]" };
	struct use *u = *state;
	struct weft_completion done[4];
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_stats stats;
	char a[BLOCK], b[BLOCK];

	for (unsigned i = 0; i < 2 * WEFT_COUNT(texts); i++) { /* opened anew: once more */
		must(u, weft_device_open(u->weft, texts[i / 2], &device, &u->why));
		must(u, weft_queue_open(device, NULL, NULL, &queue, &u->why));
		memset(a, (int)('a' + i), sizeof(a));
		assert_int_equal(weft_queue_write(queue, BLOCK, a, sizeof(a), a, 0), 0);
		assert_int_equal(one(queue, a), 0);
		for (unsigned k = 0; k < 4; k++)
			assert_int_equal(weft_queue_read(queue, BLOCK, b, sizeof(b), b, 0), 0);
		assert_int_equal(weft_queue_wait(queue, done, 4, 4, WEFT_FOREVER), 4);
		assert_memory_equal(a, b, sizeof(a));
		assert_int_equal(weft_device_stats(device, &stats), 0);
		assert_int_equal(stats.carried, i / 2 == 0 ? 5 : 0); /* the slice runs here, what is below it does not */
		must(u, weft_queue_close(queue, &u->why));
		must(u, weft_device_close(device, &u->why));
	}
}

/* None has started when the next is begun: still they count. */
static void homes_that_are_begun_at_once_are_spread(void **state)
{
	struct weft_settings settings;
	struct weft_device *device[3];
	struct weft_event event;
	struct use u = { 0 };
	char text[3][8];

	(void)state;
	weft_settings_init(&settings);
	settings.control = WEFT_CONTROL_CALLER;
	settings.service = 3;
	must(&u, weft_open(&settings, &u.weft, &u.why));
	for (unsigned i = 0; i < 3; i++)
		must(&u, weft_device_open_begin(u.weft, "home:[mem:1MiB]", NULL, &u.why));
	for (unsigned i = 0; i < 3; i++) {
		must(&u, weft_event_wait(u.weft, &event, WEFT_FOREVER));
		assert_int_equal(event.status, 0);
		device[i] = event.device;
		must(&u, weft_device_get(device[i], "lives at reactor", text[i], sizeof(text[i]), &u.why));
	}
	assert_string_not_equal(text[0], text[1]);
	assert_string_not_equal(text[0], text[2]);
	assert_string_not_equal(text[1], text[2]);
	for (unsigned i = 0; i < 3; i++)
		must(&u, weft_device_close(device[i], &u.why));
	must(&u, weft_close(u.weft, &u.why));
}

static void the_callers_thread_can_be_the_control_side(void **state)
{
	struct use *u = *state;
	struct weft_event event;

	assert_true(weft_control_fd(u->weft) >= 0);
	must(u, weft_control_step(u->weft));
	must(u, weft_device_open_begin(u->weft, "mem:1MiB", u, &u->why));
	assert_true(readable(weft_control_fd(u->weft), 10000));
	while (weft_event_next(u->weft, &event) == 0)
		must(u, weft_control_step(u->weft));
	assert_int_equal(event.status, 0);
	must(u, weft_device_close(event.device, &u->why));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		USE_TEST(what_was_begun_ends_by_an_event),
		USE_TEST(a_file_becomes_smaller_whatever_its_reactors_do),
		USE_CALLER_TEST(a_file_becomes_smaller_whatever_its_reactors_do),
		USE_TEST(a_mirror_with_a_record_serves_a_program),
		USE_CALLER_TEST(a_mirror_with_a_record_serves_a_program),
		USE_TEST(properties_are_listed_read_and_written),
		USE_TEST(a_device_that_lives_at_the_service_is_asked_from_here),
		USE_CALLER_TEST(what_was_begun_ends_by_an_event),
		USE_CALLER_TEST(a_resize_that_was_begun_finds_its_device_closed), /* nobody but us makes it take its turn */
		USE_CALLER_TEST(a_device_that_lives_at_the_service_is_asked_from_here),
		USE_CALLER_TEST(the_callers_thread_can_be_the_control_side),
		cmocka_unit_test(homes_that_are_begun_at_once_are_spread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
