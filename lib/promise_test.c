/* SPDX-License-Identifier: BSD-2-Clause */
/* What settings, lists of properties and registered memory promise is so. */
#include "lib/rig_test.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static struct use u; /* of which only `why`: each test opens instances of its own */

/* ---- settings ---- */

static void slots_limit_the_depths_of_a_reactor(void **state)
{
	struct weft_reactor_settings r;
	struct weft_queue_settings q;
	struct weft_settings s;
	struct weft_reactor *reactor[2];
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft *weft;

	(void)state;
	weft_settings_init(&s);
	s.slots = 8;
	must(&u, weft_open(&s, &weft, &u.why));
	must(&u, weft_device_open(weft, "null:1MiB", &device, &u.why));
	must(&u, weft_reactor_open(weft, NULL, &reactor[0], &u.why));
	weft_reactor_settings_init(&r);
	r.slots = 4;
	must(&u, weft_reactor_open(weft, &r, &reactor[1], &u.why));
	weft_queue_settings_init(&q);
	for (unsigned i = 0; i < 2; i++) {
		q.depth = i == 0 ? 9 : 5;
		assert_int_equal(weft_queue_open(device, reactor[i], &q, &queue, &u.why), -ENOSPC);
		q.depth--;
		must(&u, weft_queue_open(device, reactor[i], &q, &queue, &u.why));
		must(&u, weft_queue_close(queue, &u.why));
		must(&u, weft_reactor_close(reactor[i], &u.why));
	}
	must(&u, weft_device_close(device, &u.why));
	must(&u, weft_close(weft, &u.why));
}

static void *adopt(void *reactor)
{
	return (void *)(intptr_t)weft_reactor_adopt(reactor, NULL);
}

static void a_bound_reactor_stays_with_its_thread(void **state)
{
	struct weft_reactor_settings r;
	struct weft_reactor *reactor;
	struct weft *weft;
	pthread_t thread;
	void *got;

	(void)state;
	must(&u, weft_open(NULL, &weft, &u.why));
	weft_reactor_settings_init(&r);
	r.bound = true;
	must(&u, weft_reactor_open(weft, &r, &reactor, &u.why));
	assert_int_equal(pthread_create(&thread, NULL, adopt, reactor), 0);
	pthread_join(thread, &got);
	assert_int_equal((intptr_t)got, -EPERM);
	assert_int_equal(weft_reactor_fd(reactor), -ENOTSUP); /* with io_uring or without */
	assert_int_equal(weft_reactor_notify(reactor, true), -ENOTSUP);
	must(&u, weft_reactor_notify(reactor, false));
	must(&u, weft_reactor_poll(reactor));
	must(&u, weft_reactor_close(reactor, &u.why));
	must(&u, weft_close(weft, &u.why));
}

static void count_line(void *self, int level, const char *line)
{
	(void)level;
	if (strstr(line, "client") != NULL)
		atomic_fetch_add((_Atomic unsigned *)self, 1);
}

/* How often a guest's coming and going was logged. */
static unsigned lines_logged(uint32_t level, bool quiet)
{
	static _Atomic unsigned lines;
	struct weft_settings s;
	struct weft_device *device, *guest;
	struct weft_server *server;
	struct weft *weft;
	char where[100];

	atomic_store(&lines, 0);
	weft_settings_init(&s);
	s.log = count_line;
	s.log_self = &lines;
	s.log_level = level;
	s.quiet = quiet;
	use_socket(where, sizeof(where));
	must(&u, weft_open(&s, &weft, &u.why));
	must(&u, weft_device_open(weft, "mem:1MiB", &device, &u.why));
	must(&u, weft_export_open(weft, where, device, &server, &u.why));
	must(&u, weft_device_open(weft, where, &guest, &u.why));
	must(&u, weft_device_close(guest, &u.why));
	must(&u, weft_export_close(server, &u.why));
	must(&u, weft_device_close(device, &u.why));
	must(&u, weft_close(weft, &u.why));
	return atomic_load(&lines);
}

static void the_log_goes_where_it_is_wanted(void **state)
{
	(void)state;
	assert_true(lines_logged(WEFT_LOG_INFO, false) > 0);
	assert_int_equal(lines_logged(WEFT_LOG_WARN, false), 0);
	assert_int_equal(lines_logged(WEFT_LOG_INFO, true), 0);
}

static void instances_are_not_mixed(void **state)
{
	struct weft *one, *other;
	struct weft_device *device;
	struct weft_reactor *reactor;
	struct weft_queue *queue;
	struct weft_server *server;

	(void)state;
	must(&u, weft_open(NULL, &one, &u.why));
	must(&u, weft_open(NULL, &other, &u.why));
	must(&u, weft_device_open(one, "null:1MiB", &device, &u.why));
	must(&u, weft_reactor_open(other, NULL, &reactor, &u.why));
	assert_int_equal(weft_queue_open(device, reactor, NULL, &queue, &u.why), -EINVAL);
	assert_non_null(strstr(u.why.text, "another instance"));
	assert_int_equal(weft_export_open(other, "vhost-user:/nowhere.sock", device, &server, &u.why), -EINVAL);
	assert_non_null(strstr(u.why.text, "another instance"));
	must(&u, weft_reactor_close(reactor, &u.why));
	must(&u, weft_device_close(device, &u.why));
	must(&u, weft_close(other, &u.why));
	must(&u, weft_close(one, &u.why));
}

/* ---- events ---- */

static void the_descriptor_of_events_is_readable_while_there_are_some(void **state)
{
	struct weft_event event[2];
	struct weft *weft;

	(void)state;
	must(&u, weft_open(NULL, &weft, &u.why));
	for (unsigned round = 0; round < 2; round++) {
		assert_false(readable(weft_event_fd(weft), 0));
		must(&u, weft_device_open_begin(weft, "null:1MiB", NULL, &u.why));
		assert_true(readable(weft_event_fd(weft), 10000));
		must(&u, weft_device_open_begin(weft, "null:1MiB", NULL, &u.why));
		for (unsigned i = 0; i < 2; i++) {
			assert_int_equal(weft_event_wait(weft, &event[i], WEFT_FOREVER), 1);
			assert_int_equal(event[i].type, WEFT_EVENT_OPENED);
		}
		assert_false(readable(weft_event_fd(weft), 0));
		for (unsigned i = 0; i < 2; i++)
			must(&u, weft_device_close(event[i].device, &u.why));
	}
	must(&u, weft_close(weft, &u.why));
}

/* There is nothing yet that could be closed. */
static void what_is_being_opened_is_waited_for(void **state)
{
	struct weft_settings s;
	struct weft_event event;
	struct weft *weft;

	(void)state;
	weft_settings_init(&s);
	s.control = WEFT_CONTROL_CALLER; /* so that it goes on when we say so */
	must(&u, weft_open(&s, &weft, &u.why));
	must(&u, weft_device_open_begin(weft, "null:1MiB", NULL, &u.why));
	assert_int_equal(weft_close(weft, &u.why), -EBUSY);
	assert_string_equal(u.why.text, "there still are 1 devices that are open, or being opened or closed: weft_device_close "
		"them, or take the event (weft_event_next), first");
	assert_int_equal(weft_event_wait(weft, &event, WEFT_FOREVER), 1);
	must(&u, weft_device_close(event.device, &u.why));
	must(&u, weft_close(weft, &u.why));
}

/* ---- properties ---- */

static const struct weft_kind *kind_named(struct weft *weft, const char *name)
{
	const struct weft_kind *kind = NULL;

	for (unsigned n = 0; (kind = weft_device_kind(weft, n)) != NULL && strcmp(kind->name, name) != 0; n++)
		;
	assert_non_null(kind);
	return kind;
}

static struct weft_property option_named(const struct weft_kind *kind, const char *name)
{
	struct weft_property p = { .name = "" };

	for (unsigned n = 0; strcmp(p.name, name) != 0; n++)
		assert_int_equal(weft_kind_property(kind, n, &p), 1);
	return p;
}

static struct weft_property property_named(struct weft_device *device, const char *name)
{
	struct weft_property p = { .name = "" };

	for (unsigned n = 0; strcmp(p.name, name) != 0; n++)
		assert_int_equal(weft_device_property(device, n, &p), 1);
	return p;
}

static void a_property_says_when_it_can_be_set_and_to_what(void **state)
{
	struct weft *weft;
	struct weft_device *device;
	struct weft_property p;
	char text[32];

	(void)state;
	must(&u, weft_open(NULL, &weft, &u.why));
	p = option_named(kind_named(weft, "file"), "direct");
	assert_string_equal(p.type, "auto|on|off");
	assert_string_equal(p.fallback, "auto");
	assert_int_equal(p.access, WEFT_ACCESS_WRITE);
	assert_int_equal(p.stage, WEFT_STAGE_OPENING | WEFT_STAGE_OPEN);
	p = option_named(kind_named(weft, "delay"), "all");
	assert_int_equal(p.stage, WEFT_STAGE_OPENING | WEFT_STAGE_OPEN | WEFT_STAGE_LIVE);
	assert_string_equal(weft_export_kind(weft, 0)->name, "vhost-user");
	assert_null(weft_export_kind(weft, 1));
	must(&u, weft_device_open(weft, "mirror:[mem:1MiB],[delay:[mem:2MiB],all=1ms]", &device, &u.why));
	p = property_named(device, "leg.1.all");
	assert_int_equal(p.access, WEFT_ACCESS_READ | WEFT_ACCESS_WRITE);
	assert_int_equal(p.stage & WEFT_STAGE_LIVE, WEFT_STAGE_LIVE);
	p = property_named(device, "leg.1.lower.size");
	assert_int_equal(p.access, WEFT_ACCESS_READ);
	must(&u, weft_device_get(device, "leg.0.size", text, sizeof(text), &u.why));
	assert_string_equal(text, "1MiB");
	must(&u, weft_device_get(device, "leg.1.lower.size", text, sizeof(text), &u.why));
	assert_string_equal(text, "2MiB");
	assert_true(weft_device_set(device, "leg.1.lower.size", "3MiB", &u.why) < 0);
	must(&u, weft_device_set(device, "leg.1.all", "2ms", &u.why));
	assert_int_equal(weft_device_get(device, "leg.1.all", text, 2, &u.why), 3); /* cut, like snprintf */
	assert_string_equal(text, "2");
	p = property_named(device, "read-only");
	assert_int_equal(p.access, WEFT_ACCESS_READ);
	assert_int_equal(p.stage, WEFT_STAGE_OPEN);
	must(&u, weft_device_close(device, &u.why));
	must(&u, weft_close(weft, &u.why));
}

static void the_depth_of_a_queue_is_given_when_it_is_opened(void **state)
{
	struct weft *weft;
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_property p;
	unsigned n = 0;

	(void)state;
	must(&u, weft_open(NULL, &weft, &u.why));
	must(&u, weft_device_open(weft, "null:1MiB", &device, &u.why));
	must(&u, weft_queue_open(device, NULL, NULL, &queue, &u.why));
	for (; weft_queue_property(queue, n, &p) == 1; n++) {
		bool depth = strcmp(p.name, "depth") == 0;

		assert_int_equal(p.access, WEFT_ACCESS_READ);
		assert_int_equal(p.stage, depth ? WEFT_STAGE_OPENING | WEFT_STAGE_OPEN : WEFT_STAGE_OPEN);
		assert_int_equal(p.fallback != NULL, depth);
		assert_true(p.help[0] != '\0');
	}
	assert_int_equal(n, 7);
	must(&u, weft_queue_close(queue, &u.why));
	must(&u, weft_device_close(device, &u.why));
	must(&u, weft_close(weft, &u.why));
}

/* ---- memory ---- */

static int answer(struct weft_queue *queue, int staged)
{
	assert_int_equal(staged, 0);
	return one(queue, NULL);
}

/* Written by a guest whose server has the memory mapped, too; read without the server. */
static void written_in_place(struct weft_queue *guest, struct weft_queue *direct, char *memory, char byte)
{
	static char got[BLOCK];

	memset(memory, byte, BLOCK);
	assert_int_equal(answer(guest, weft_queue_write(guest, BLOCK, memory, BLOCK, NULL, 0)), 0);
	assert_int_equal(answer(direct, weft_queue_read(direct, BLOCK, got, BLOCK, NULL, 0)), 0);
	assert_memory_equal(got, memory, BLOCK);
	memset(got, ~byte, BLOCK);
	assert_int_equal(answer(direct, weft_queue_write(direct, BLOCK, got, BLOCK, NULL, 0)), 0);
	assert_int_equal(answer(guest, weft_queue_read(guest, BLOCK, memory, BLOCK, NULL, 0)), 0);
	assert_memory_equal(got, memory, BLOCK);
}

static void memory_lies_where_its_descriptor_says(void **state)
{
	struct weft_device *device, *guest;
	struct weft_queue *direct, *asked;
	struct weft_queue_info info;
	struct weft_memory *mapped, *own;
	struct weft_server *server;
	struct weft *weft;
	char where[100], *base;
	struct stat facts;
	int fd = memfd_create("promise", MFD_CLOEXEC), other;

	(void)state;
	assert_int_equal(ftruncate(fd, (off_t)(8 * BLOCK)), 0);
	base = mmap(NULL, 2 * BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(5 * BLOCK));
	assert_ptr_not_equal(base, MAP_FAILED);
	use_socket(where, sizeof(where));
	must(&u, weft_open(NULL, &weft, &u.why));
	must(&u, weft_device_open(weft, "mem:1MiB", &device, &u.why));
	must(&u, weft_export_open(weft, where, device, &server, &u.why));
	must(&u, weft_device_open(weft, where, &guest, &u.why));
	must(&u, weft_queue_open(device, NULL, NULL, &direct, &u.why));
	must(&u, weft_queue_open(guest, NULL, NULL, &asked, &u.why));
	must(&u, weft_memory_map(weft, fd, (uint64_t)2 * BLOCK, (uint64_t)3 * BLOCK, 0, &mapped, &u.why));
	must(&u, weft_memory_register(weft, base, (uint64_t)2 * BLOCK, fd, (uint64_t)5 * BLOCK, 0, &own, &u.why));
	other = memfd_create("another", MFD_CLOEXEC);
	assert_int_equal(dup2(other, fd), fd); /* it is the caller's, who has something else in mind for the number */
	close(other);
	assert_int_equal(fstat(weft_memory_fd(mapped), &facts), 0);
	assert_int_equal(facts.st_size, 8 * BLOCK);
	assert_int_equal(fstat(weft_memory_fd(own), &facts), 0);
	assert_int_equal(facts.st_size, 8 * BLOCK);
	for (unsigned i = 0; i < 3; i++)
		written_in_place(asked, direct, (char *)weft_memory_base(mapped) + (size_t)i * BLOCK, (char)('a' + i));
	for (unsigned i = 0; i < 2; i++)
		written_in_place(asked, direct, base + (size_t)i * BLOCK, (char)('p' + i));
	must(&u, weft_queue_info(asked, &info));
	assert_int_equal(info.outside, 0);
	must(&u, weft_queue_close(asked, &u.why));
	must(&u, weft_queue_close(direct, &u.why));
	must(&u, weft_memory_release(own, &u.why));
	must(&u, weft_memory_release(mapped, &u.why));
	must(&u, weft_device_close(guest, &u.why));
	must(&u, weft_export_close(server, &u.why));
	must(&u, weft_device_close(device, &u.why));
	must(&u, weft_close(weft, &u.why));
	munmap(base, 2 * BLOCK);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(slots_limit_the_depths_of_a_reactor),
		cmocka_unit_test(a_bound_reactor_stays_with_its_thread),
		cmocka_unit_test(the_log_goes_where_it_is_wanted),
		cmocka_unit_test(instances_are_not_mixed),
		cmocka_unit_test(the_descriptor_of_events_is_readable_while_there_are_some),
		cmocka_unit_test(what_is_being_opened_is_waited_for),
		cmocka_unit_test(a_property_says_when_it_can_be_set_and_to_what),
		cmocka_unit_test(the_depth_of_a_queue_is_given_when_it_is_opened),
		cmocka_unit_test(memory_lies_where_its_descriptor_says),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
