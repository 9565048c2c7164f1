/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The export on the real environment, with a front end of a few lines: what cannot be seen from outside the process. What can
 * be seen from outside is in tests/integration/vhost_user.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <linux/sockios.h>

#include "core/objects.h"
#include "devices/device.h"
#include "env/env_fault.h"
#include "env/linux/linux.h"
#include "exports/vhost_user/vux.h"
#include "wire/virtq_drv.h"

#define MEMORY (8u << 20)
#define NUM 256
#define RINGS 4
#define SLICE (MEMORY / RINGS)
#define DATA 4096u

extern const struct weft_kind mem_kind, null_kind, delay_kind, error_kind;

/* ---- a disk that notes in which order the rings ask: ring i asks for what lies from i * WITNESS_SPAN ---- */

#define WITNESS_SPAN (64u << 20)
static unsigned witnessed, witness[1024];

struct witness {
	struct weft_object object;
	struct weft_blk blk;
};

static void witness_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	(void)blk;
	assert_true(witnessed < WEFT_COUNT(witness));
	witness[witnessed++] = (unsigned)(hop->offset / WITNESS_SPAN);
	weft_hop_complete(hop, 0);
}

static const struct weft_blk_ops witness_ops = { .submit = witness_submit };

static void witness_start(struct weft_object *object, struct weft_task *task)
{
	struct weft_blk *blk = &DEVICE_OF_OBJECT(object, struct witness)->blk;

	*blk = (struct weft_blk){ .ops = &witness_ops, .size = 1u << 30, .block = 512, .align = 1,
		.ops_can = WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE) | WEFT_OP_BIT(WEFT_FLUSH) };
	device_end(task, 0);
}

static const struct weft_offer witness_offers[] = { { &weft_blk_iface, offsetof(struct witness, blk) }, { 0 } };
static const struct weft_kind witness_kind = { .name = "witness", .summary = "notes the order", .size = sizeof(struct witness),
	.offers = witness_offers, .start = witness_start };

static const struct weft_kind *const kinds[] = { &mem_kind, &null_kind, &delay_kind, &error_kind, &witness_kind,
	&export_vhost_user_kind, NULL };
static const struct weft_module module = { WEFT_ABI, sizeof(module), sizeof(struct weft_kind), "test", "0", kinds };

struct ring {
	struct virtq_drv drv;
	struct virtq_drv_slot slots[NUM];
	uint8_t *base; /* SLICE bytes: descriptors, driver, device, requests */
	int kick, call;
	uint64_t sector; /* where its requests begin */
	uint32_t large;  /* bytes of each, all in the same memory; 0: 4 KiB each for itself */
	unsigned in_flight;
};

static struct {
	struct env *env;
	struct weft_core *core;
	struct weft_object *export;
	struct vux_export *exp;
	struct objects_job job;
	struct weft_task task;
	struct weft_msg msg;
	bool done;
	int status;
	char path[64];
	int sock, memfd;
	uint8_t *memory;
	struct ring ring[RINGS];
	const char *text;
	bool may_be_cut_off;
	bool stepped;  /* there are no threads: the I/O reactor is stepped here, too */
} t;

/* ---- the control reactor, stepped here ---- */

static void turn(void)
{
	struct weft_reactor *control = t.core->reactor[0];
	uint64_t wait = reactor_step(control, env_now_ns(t.env));

	if (t.stepped) {
		reactor_step(t.core->reactor[1], env_now_ns(t.env));
		return;
	}
	if (wait != 0)
		env_loop_wait(control->loop, wait < 1000000 ? wait : 1000000);
}

static void wait_done(void)
{
	while (!t.done)
		turn();
	t.done = false;
}

static void task_done(struct weft_task *task, int status)
{
	if (status != 0)
		fprintf(stderr, "%s\n", task->why.text);
	t.status = status;
	t.done = true;
}

static int on_control(weft_reactor_fn *fn)
{
	t.job = (struct objects_job){ .task.done = task_done };
	t.task = (struct weft_task){ .done = task_done };
	t.msg = (struct weft_msg){ .fn = fn, .self = NULL };
	weft_reactor_post(t.core->reactor[0], &t.msg);
	wait_done();
	return t.status;
}

static void build_here(void *self)
{
	struct tree_reader reader = objects_reader(t.core);
	struct weft_why why;
	struct tree *tree;

	(void)self;
	assert_int_equal(grammar_parse(&reader, t.text, &weft_export_iface, &tree, &why), 0);
	objects_build(t.core, tree, &weft_export_iface, &t.export, &t.job);
	tree_free(t.core, tree);
}

static void release_here(void *self)
{
	(void)self;
	objects_release(t.export, &t.job);
}

static void freeze_here(void *self)
{
	(void)self;
	t.exp->exp.ops->freeze(&t.exp->exp, &t.task);
}

static void thaw_here(void *self)
{
	(void)self;
	t.exp->exp.ops->thaw(&t.exp->exp, &t.task);
}

static void open_as(const struct core_wants *wants, const char *device, const char *more)
{
	struct weft_why why;
	char text[256];

	memset(&t, 0, sizeof(t));
	t.stepped = wants->no_threads;
	assert_int_equal(env_linux_open(&t.env, NULL, &why), 0);
	assert_int_equal(core_open(t.env, wants, &t.core, &why), 0);
	assert_int_equal(objects_module_add(t.core, &module, &why), 0);
	snprintf(t.path, sizeof(t.path), "/tmp/weft-export-%ld.sock", (long)getpid());
	snprintf(text, sizeof(text), "vhost-user:%s%s,device=[%s]", t.path, more, device);
	t.text = text;
	assert_int_equal(on_control(build_here), 0);
	t.exp = WEFT_CONTAINER(t.export, struct vux_export, object);
}

static void open_all(const char *device, const char *more, unsigned reactors, enum weft_mode mode)
{
	struct core_wants wants = { .io_reactors = reactors, .mode = mode };

	open_as(&wants, device, more);
}

static void close_all(void)
{
	assert_int_equal(on_control(release_here), 0);
	core_close(t.core);
	env_linux_close(t.env);
}

/* ---- the front end ---- */

/* The descriptor, so often. */
static void say_with(uint32_t request, const void *payload, uint32_t size, int fd, unsigned times, bool acknowledge)
{
	struct vhost_user_msg msg;
	struct iovec iov = { &msg.header, sizeof(msg.header) + size };
	union {
		char room[CMSG_SPACE(VUX_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	vhost_user_request(&msg, request, size, acknowledge);
	if (size > 0)
		memcpy(msg.payload.bytes, payload, size);
	assert_true(times <= VUX_FDS);
	if (times > 0) {
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(times * sizeof(fd));
		control.align = (struct cmsghdr){ CMSG_LEN(times * sizeof(fd)), SOL_SOCKET, SCM_RIGHTS };
		for (unsigned i = 0; i < times; i++)
			memcpy(CMSG_DATA(&control.align) + i * sizeof(fd), &fd, sizeof(fd));
	}
	if (sendmsg(t.sock, &m, MSG_NOSIGNAL) != (ssize_t)iov.iov_len)
		assert_true(t.may_be_cut_off);
}

static void say_and(uint32_t request, const void *payload, uint32_t size, int fd, bool acknowledge)
{
	say_with(request, payload, size, fd, fd >= 0, acknowledge);
}

static void say(uint32_t request, const void *payload, uint32_t size, int fd)
{
	say_and(request, payload, size, fd, false);
}

static void say_u64(uint32_t request, uint64_t value, int fd)
{
	say(request, &value, sizeof(value), fd);
}

static void say_state(uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state state = { index, num };

	say(request, &state, sizeof(state), -1);
}

/* The number that is answered to the message said last. */
static uint64_t answer_to(uint32_t request)
{
	struct vhost_user_msg msg;

	while (recv(t.sock, &msg.header, sizeof(msg.header) + sizeof(uint64_t), MSG_DONTWAIT) != 20)
		turn();
	assert_int_equal(msg.header.request, request);
	return msg.payload.u64;
}

/* Everything said before has been done when the answer comes. */
static void sync_with_server(void)
{
	say(VHOST_USER_GET_FEATURES, NULL, 0, -1);
	answer_to(VHOST_USER_GET_FEATURES);
}

static void say_write_cache(bool on)
{
	struct vhost_user_config config = { .offset = VIRTIO_BLK_CONFIG_WRITEBACK, .size = 1, .region = { on } };

	say_and(VHOST_USER_SET_CONFIG, &config, VHOST_USER_CONFIG_HEAD + 1, -1, true);
}

static uint64_t switch_write_cache(bool on)
{
	say_write_cache(on);
	return answer_to(VHOST_USER_SET_CONFIG);
}

static void ring_up(unsigned index, bool packed)
{
	struct ring *ring = &t.ring[index];
	struct virtq_drv_config config;
	struct vhost_user_vring_addr addr = { .index = index };

	ring->base = t.memory + (size_t)index * SLICE;
	config = (struct virtq_drv_config){ .num = NUM, .packed = packed, .event_idx = true, .desc = ring->base,
		.driver = ring->base + 4096, .device = ring->base + 8192, .slots = ring->slots };
	assert_int_equal(virtq_drv_init(&ring->drv, &config), 0);
	virtq_drv_notify_disable(&ring->drv);
	addr.desc = (uintptr_t)config.desc;
	addr.avail = (uintptr_t)config.driver;
	addr.used = (uintptr_t)config.device;
	ring->kick = eventfd(0, EFD_NONBLOCK);
	ring->call = eventfd(0, EFD_NONBLOCK);
	say_state(VHOST_USER_SET_VRING_NUM, index, NUM);
	say_state(VHOST_USER_SET_VRING_BASE, index, packed ? 0x80008000 : 0);
	say(VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), -1);
	say_u64(VHOST_USER_SET_VRING_CALL, index, ring->call);
	say_u64(VHOST_USER_SET_VRING_KICK, index, ring->kick);
	say_state(VHOST_USER_SET_VRING_ENABLE, index, 1);
}

static int front_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", t.path);
	assert_int_equal(connect(sock, (struct sockaddr *)&address, sizeof(address)), 0);
	return sock;
}

static void front_up(unsigned rings, bool packed)
{
	uint64_t features = VIRTIO_F(PROTOCOL_FEATURES) | VIRTIO_F(VERSION_1) | VIRTIO_F(EVENT_IDX) | VIRTIO_BLK_F(FLUSH) |
		VIRTIO_BLK_F(CONFIG_WCE) |
		(packed ? VIRTIO_F(RING_PACKED) : 0);
	struct vhost_user_memory table = { .nregions = 1 };

	t.sock = front_connect();
	t.memfd = memfd_create("guest", 0);
	assert_int_equal(ftruncate(t.memfd, MEMORY), 0);
	t.memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, t.memfd, 0);
	assert_ptr_not_equal(t.memory, MAP_FAILED);
	table.regions[0] = (struct vhost_user_region){ .gpa = 0, .size = MEMORY, .uva = (uintptr_t)t.memory };
	say_u64(VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_P(CONFIG) | VHOST_USER_P(BACKEND_REQ) | VHOST_USER_P(REPLY_ACK), -1);
	say_u64(VHOST_USER_SET_FEATURES, features, -1);
	say(VHOST_USER_SET_MEM_TABLE, &table, 8 + sizeof(table.regions[0]), t.memfd);
	for (unsigned i = 0; i < rings; i++)
		ring_up(i, packed);
	sync_with_server();
}

static void front_down(unsigned rings)
{
	close(t.sock);
	while (t.exp->connections != NULL)
		turn();
	for (unsigned i = 0; i < rings; i++) {
		close(t.ring[i].kick);
		close(t.ring[i].call);
	}
	munmap(t.memory, MEMORY);
	close(t.memfd);
}

/* Adds a read. */
static void add(struct ring *ring)
{
	unsigned id = virtq_drv_next_id(&ring->drv);
	uint8_t *at = ring->base + 16384 + id * (DATA + 64);
	struct virtio_blk_req_header header = { .type = VIRTIO_BLK_T_IN, .sector = ring->sector + 8ull * id };
	uint64_t gpa = (uint64_t)(at - t.memory);
	struct virtq_buf bufs[3] = { { gpa, sizeof(header) }, { gpa + 64, DATA }, { gpa + 16, 1 } };

	if (ring->large != 0)
		bufs[1] = (struct virtq_buf){ 0, ring->large };

	memcpy(at, &header, sizeof(header));
	at[16] = 0xff;
	assert_int_equal(virtq_drv_add(&ring->drv, bufs, 1, 2, NULL, at), id);
	ring->in_flight++;
}

/* Takes what has ended; false: nothing. */
static bool take(struct ring *ring)
{
	struct virtq_done done;
	int got = virtq_drv_take(&ring->drv, &done);

	assert_true(got >= 0);
	if (got == 0)
		return false;
	assert_int_equal(((uint8_t *)done.cookie)[16], VIRTIO_BLK_S_OK);
	ring->in_flight--;
	return true;
}

static void publish(struct ring *ring)
{
	if (virtq_drv_publish(&ring->drv))
		assert_int_equal(eventfd_write(ring->kick, 1), 0);
}

/* So many requests, eight at a time. */
static void load(struct ring *ring, unsigned requests)
{
	while (requests > 0 || ring->in_flight > 0) {
		while (ring->in_flight < 8 && requests > 0) {
			add(ring);
			requests--;
		}
		publish(ring);
		while (take(ring))
			;
	}
}

/* ---- facts ---- */

/* Without io_uring the kernel has to be asked whether anything has happened. */
static bool uring_is_denied(void)
{
	return syscall(SYS_io_uring_setup, 0, NULL) < 0 && (errno == EPERM || errno == ENOSYS);
}

static void no_cost_per_request(const char *device, bool packed)
{
	struct env_loop_stats before, after;
	struct env_loop *loop;
	uint64_t calls, count;

	open_all(device, "", 1, WEFT_MODE_POLL);
	front_up(1, packed);
	load(&t.ring[0], 1000);
	eventfd_read(t.ring[0].call, &count);
	loop = t.core->reactor[1]->loop;
	env_loop_stats(loop, &before);
	calls = env_calls(t.env);
	load(&t.ring[0], 20000);
	env_loop_stats(loop, &after);
	if (!uring_is_denied())
		assert_int_equal(after.system_calls, before.system_calls);
	assert_int_equal(env_calls(t.env), calls);
	assert_int_equal(eventfd_read(t.ring[0].call, &count), -1); /* nobody asked for a notification */
	front_down(1);
	close_all();
}

static void a_request_on_null_makes_no_system_call_and_allocates_nothing(void **state)
{
	(void)state;
	no_cost_per_request("null:1GiB", false);
	no_cost_per_request("null:1GiB", true);
}

static void a_request_on_mem_makes_no_system_call_and_allocates_nothing(void **state)
{
	(void)state;
	no_cost_per_request("mem:1GiB", false);
	no_cost_per_request("mem:1GiB", true);
}

static void rings_are_spread_over_the_reactors(void **state)
{
	(void)state;
	open_all("mem:1MiB", "", 2, WEFT_MODE_NOTIFY);
	front_up(4, false);
	assert_int_equal(t.core->reactor[1]->sessions_open, 2);
	assert_int_equal(t.core->reactor[2]->sessions_open, 2);
	for (unsigned i = 0; i < 4; i++)
		load(&t.ring[i], 100);
	front_down(4);
	close_all();
}

static void what_is_asked_of_a_frozen_export_is_answered_when_it_is_thawed(void **state)
{
	struct ring *ring = &t.ring[0];

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, true);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 8; i++)
			add(ring);
		publish(ring);
		assert_int_equal(on_control(freeze_here), 0);
		assert_null(t.exp->stack);
		while (take(ring))
			;
		add(ring);
		publish(ring);
		assert_false(take(ring));
		assert_int_equal(on_control(thaw_here), 0);
		while (ring->in_flight > 0)
			take(ring);
	}
	front_down(1);
	close_all();
}

static void a_frozen_export_can_be_stopped(void **state)
{
	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(2, false);
	assert_int_equal(on_control(freeze_here), 0);
	close_all();
	close(t.sock);
	munmap(t.memory, MEMORY);
	close(t.memfd);
}

/* ---- a folder that another process has locked ---- */

struct late {
	struct objects_job job;
	struct weft_msg msg;
	struct weft_object *object;
	char dir[32], text[96];
	bool done;
	int status, lock;
};

static void late_done(struct weft_task *task, int status)
{
	struct late *late = WEFT_CONTAINER(task, struct late, job.task);

	late->status = status;
	late->done = true;
}

static void late_build_here(void *self)
{
	struct tree_reader reader = objects_reader(t.core);
	struct late *late = self;
	struct weft_why why;
	struct tree *tree;

	assert_int_equal(grammar_parse(&reader, late->text, &weft_export_iface, &tree, &why), 0);
	objects_build(t.core, tree, &weft_export_iface, &late->object, &late->job);
	tree_free(t.core, tree);
}

/* Another export, in a folder that we have locked, has begun to start. */
static void late_begin(struct late *late)
{
	*late = (struct late){ .job.task.done = late_done, .dir = "/tmp/weft-late-XXXXXX" };
	assert_non_null(mkdtemp(late->dir));
	late->lock = open(late->dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(flock(late->lock, LOCK_EX | LOCK_NB), 0);
	snprintf(late->text, sizeof(late->text), "vhost-user:%s/vm.sock,device=[null:1MiB]", late->dir);
	late->msg = (struct weft_msg){ .fn = late_build_here, .self = late };
	weft_reactor_post(t.core->reactor[0], &late->msg);
}

static void late_end(struct late *late)
{
	struct weft_object *first = t.export;

	while (!late->done)
		turn();
	assert_int_equal(late->status, 0);
	t.export = late->object;
	assert_int_equal(on_control(release_here), 0);
	t.export = first;
	close(late->lock);
	assert_int_equal(rmdir(late->dir), 0); /* nothing is left in it */
}

static void an_export_waits_for_its_folder_while_control_goes_on(void **state)
{
	struct late late;

	(void)state;
	open_all("null:1MiB", "", 1, WEFT_MODE_NOTIFY);
	late_begin(&late);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(on_control(freeze_here), 0);
		assert_int_equal(on_control(thaw_here), 0);
		assert_false(late.done);
	}
	assert_int_equal(flock(late.lock, LOCK_UN), 0);
	late_end(&late);
	close_all();
}

static void a_folder_that_stays_locked_is_used_all_the_same(void **state)
{
	struct late late;

	(void)state;
	open_all("null:1MiB", "", 1, WEFT_MODE_NOTIFY);
	late_begin(&late);
	late_end(&late);
	close_all();
}

/* A channel on which the server asks us; and it has been told five times that the size is another. */
static int resized_five_times(void)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	say(VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, pair[1]);
	close(pair[1]);
	sync_with_server();
	for (unsigned i = 0; i < 10; i++) /* the channel is taken into use in a turn of its own */
		turn();
	for (unsigned i = 0; i < 5; i++)
		t.exp->exp.ops->resized(&t.exp->exp);
	return pair[0];
}

static void expect_config_change(int channel)
{
	struct vhost_user_msg msg;

	while (recv(channel, &msg.header, sizeof(msg.header), 0) != sizeof(msg.header))
		turn();
	assert_int_equal(msg.header.request, VHOST_USER_BACKEND_CONFIG_CHANGE);
	assert_true(msg.header.flags & VHOST_USER_NEED_REPLY);
	assert_int_equal(recv(channel, &msg.header, sizeof(msg.header), 0), -1);
}

static void resize_is_told_once_at_a_time(void **state)
{
	struct vhost_user_msg msg;
	int channel;

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	channel = resized_five_times();
	for (unsigned told = 0; told < 2; told++) {
		expect_config_change(channel);
		vhost_user_ack(&msg, VHOST_USER_BACKEND_CONFIG_CHANGE, true);
		assert_int_equal(send(channel, &msg.header, 20, 0), 20);
	}
	for (unsigned i = 0; i < 10; i++)
		turn();
	assert_int_equal(recv(channel, &msg.header, sizeof(msg.header), 0), -1);
	close(channel);
	front_down(1);
	close_all();
}

static void resize_is_told_to_who_never_answers(void **state)
{
	int channel;

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	channel = resized_five_times();
	expect_config_change(channel);
	expect_config_change(channel);
	close(channel);
	front_down(1);
	close_all();
}

/* Answers that nobody waits for, more of them all the time: others are heard meanwhile. */
static void who_floods_the_channel_holds_up_nobody(void **state)
{
	static const uint8_t answers[65536];
	int channel, unread = 0;

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	channel = resized_five_times();
	for (unsigned i = 0; i < 100; i++) {
		while (send(channel, answers, sizeof(answers), MSG_DONTWAIT) > 0)
			;
		turn();
		assert_int_equal(ioctl(channel, SIOCOUTQ, &unread), 0);
		assert_true(unread > 0);
	}
	close(channel);
	front_down(1);
	close_all();
}

/* Two rings are full: each turn serves both, so many requests of each, and begins with the other one than the turn before. */
static void expect_turns(uint32_t large, unsigned share)
{
	const struct {
		unsigned second, requests;
	} expected[] = { { 0, share }, { 1, share }, { 1, share }, { 0, share }, { 0, 80 - 2 * share }, { 1, 80 - 2 * share } };
	struct core_wants wants = { .io_reactors = 1, .mode = WEFT_MODE_POLL, .no_threads = true };
	unsigned at = 0;

	open_as(&wants, "witness", "");
	front_up(2, false);
	assert_int_equal(on_control(freeze_here), 0);
	for (unsigned i = 0; i < 2; i++) {
		t.ring[i].sector = (uint64_t)i * WITNESS_SPAN / 512;
		t.ring[i].large = large;
		for (unsigned n = 0; n < 80; n++)
			add(&t.ring[i]);
		publish(&t.ring[i]);
	}
	witnessed = 0;
	assert_int_equal(on_control(thaw_here), 0);
	while (t.ring[0].in_flight + t.ring[1].in_flight > 0) {
		turn();
		take(&t.ring[0]);
		take(&t.ring[1]);
	}
	assert_int_equal(witnessed, 160);
	for (unsigned run = 0; run < WEFT_COUNT(expected); run++)
		for (unsigned i = 0; i < expected[run].requests; i++)
			assert_int_equal(witness[at++], expected[run].second ^ witness[0]);
	front_down(2);
	close_all();
}

static void rings_are_served_in_turn_at_most_32_requests_each(void **state)
{
	(void)state;
	expect_turns(0, 32);
}

static void rings_are_served_in_turn_at_most_16_mib_each(void **state)
{
	(void)state;
	expect_turns(600 << 10, 28); /* the first of which it is not less */
}

/* Before its reactor sleeps, a ring says what came since it was looked at: nobody will kick for that. */
static void a_ring_that_is_armed_tells_of_what_has_come(void **state)
{
	struct core_wants wants = { .io_reactors = 1, .mode = WEFT_MODE_NOTIFY, .no_threads = true };
	struct weft_source *source;
	uint64_t kicks;

	(void)state;
	open_as(&wants, "witness", "");
	front_up(1, false);
	for (unsigned i = 0; i < 20; i++)
		turn();
	source = &t.exp->connections->ring[0]->session.source;
	assert_false(queue_arm(source));
	add(&t.ring[0]);
	assert_true(virtq_drv_publish(&t.ring[0].drv)); /* armed: a kick is asked for */
	assert_true(queue_arm(source));
	queue_disarm(source);
	assert_int_equal(eventfd_read(t.ring[0].kick, &kicks), -1);
	assert_true(queue_poll(source));
	assert_false(queue_arm(source));
	assert_int_equal(eventfd_write(t.ring[0].kick, 1), 0);
	while (t.ring[0].in_flight > 0) {
		turn();
		take(&t.ring[0]);
	}
	front_down(1);
	close_all();
}

/* Every second flush fails: so each switch to write-through, and no other, is seen to make one. */
static void write_through_begins_with_a_flush_and_its_failure_is_told(void **state)
{
	(void)state;
	open_all("error:[mem:1MiB],op=flush,every=2", "", 2, WEFT_MODE_NOTIFY);
	front_up(2, false);
	for (unsigned round = 0; round < 5; round++) {
		assert_int_equal(switch_write_cache(false), 0);
		assert_true(t.exp->connections->ring[0]->write_through && !t.exp->connections->write_cache);
		load(&t.ring[0], 10);
		assert_int_equal(switch_write_cache(true), 0);
		assert_int_equal(switch_write_cache(false), 1);
		assert_true(!t.exp->connections->ring[1]->write_through && t.exp->connections->write_cache);
		load(&t.ring[1], 10);
	}
	front_down(2);
	close_all();
}

/* A message that waits until the export, which is frozen from now on, is thawed. */
static void say_what_waits(void)
{
	assert_int_equal(on_control(freeze_here), 0);
	say_write_cache(false);
	while (!t.exp->connections->flush.wanted)
		turn();
}

static void a_frozen_export_flushes_when_it_is_thawed(void **state)
{
	(void)state;
	open_all("error:[mem:1MiB],op=flush", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	say_what_waits();
	assert_int_equal(on_control(thaw_here), 0);
	assert_int_equal(answer_to(VHOST_USER_SET_CONFIG), 1);
	front_down(1);
	close_all();
}

/* More than is read ahead has been said meanwhile. */
static void a_front_end_that_has_said_more_may_leave_while_a_message_waits(void **state)
{
	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	say_what_waits();
	say_u64(VHOST_USER_SET_FEATURES, 0, -1);
	while (t.exp->connections->ahead_received < sizeof(t.exp->connections->ahead))
		turn();
	shutdown(t.sock, SHUT_WR);
	for (unsigned i = 0; i < 1000 && t.exp->connections != NULL; i++)
		turn();
	assert_null(t.exp->connections);
	front_down(1);
	close_all();
}

/* It is read up to the header of its first message, and more is there. */
static void a_client_that_waits_and_has_spoken_may_leave(void **state)
{
	int first;

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	first = t.sock;
	t.sock = front_connect();
	for (unsigned i = 0; i < 3; i++)
		say_u64(VHOST_USER_SET_FEATURES, 0, -1);
	while (t.exp->waiting == 0 || t.exp->connections->next->received < sizeof(struct vhost_user_header))
		turn();
	close(t.sock);
	for (unsigned i = 0; i < 1000 && t.exp->connections->next != NULL; i++)
		turn();
	assert_null(t.exp->connections->next);
	assert_int_equal(t.exp->waiting, 0);
	t.sock = first;
	load(&t.ring[0], 10);
	front_down(1);
	close_all();
}

/* Nine of them, of which eight would do. */
static void a_surplus_descriptor_is_an_error_also_behind_a_message_that_waits(void **state)
{
	struct vhost_user_memory table = { .nregions = VHOST_USER_MAX_FDS };
	uint8_t byte;
	ssize_t n;

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	for (unsigned i = 0; i < VHOST_USER_MAX_FDS; i++)
		table.regions[i] = (struct vhost_user_region){ .gpa = i * 4096, .size = 4096,
			.uva = (uintptr_t)t.memory + i * 4096, .mmap_offset = i * 4096 };
	say_what_waits();
	say_with(VHOST_USER_SET_MEM_TABLE, &table, 8 + sizeof(table.regions), t.memfd, VUX_FDS, false);
	while (t.exp->connections->ahead_received == 0)
		turn();
	assert_int_equal(on_control(thaw_here), 0);
	assert_int_equal(answer_to(VHOST_USER_SET_CONFIG), 0);
	say(VHOST_USER_GET_FEATURES, NULL, 0, -1);
	while ((n = recv(t.sock, &byte, 1, MSG_DONTWAIT)) < 0 && errno == EAGAIN)
		turn();
	assert_true(n <= 0); /* no answer: the connection has ended */
	front_down(1);
	close_all();
}

static void a_front_end_may_leave_while_its_cache_is_flushed(void **state)
{
	(void)state;
	open_all("delay:[mem:1MiB],flush=20ms", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	say_write_cache(false);
	while (!t.exp->connections->flush.under_way)
		turn();
	front_down(1);
	close_all();
}

/* Makes the n-th call of the environment fail, from the connection to the end, until none is left to fail. */
static void a_failure_of_any_call_costs_a_connection_at_most(void **state)
{
	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	for (uint64_t n = 1;; n++) {
		struct vhost_user_memory table = { .nregions = 1 };
		struct vhost_user_inflight inflight = { .num_queues = 1, .queue_size = NUM };
		uint8_t bytes[64];
		bool hit;

		t.memfd = memfd_create("guest", 0);
		assert_int_equal(ftruncate(t.memfd, MEMORY), 0);
		t.memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, t.memfd, 0);
		table.regions[0] = (struct vhost_user_region){ .size = MEMORY, .uva = (uintptr_t)t.memory };
		t.sock = front_connect();
		t.may_be_cut_off = true;
		env_fail_nth(t.env, n);
		say_u64(VHOST_USER_SET_FEATURES, VIRTIO_F(PROTOCOL_FEATURES) | VIRTIO_F(VERSION_1), -1);
		say(VHOST_USER_GET_INFLIGHT_FD, &inflight, sizeof(inflight), -1);
		say(VHOST_USER_SET_MEM_TABLE, &table, 8 + sizeof(table.regions[0]), t.memfd);
		ring_up(0, false);
		for (unsigned i = 0; i < 200; i++)
			turn();
		hit = env_fail_hit(t.env);
		env_fail_nth(t.env, 0);
		shutdown(t.sock, SHUT_WR);
		while (t.exp->connections != NULL)
			turn();
		while (recv(t.sock, bytes, sizeof(bytes), MSG_DONTWAIT) > 0)
			;
		close(t.sock);
		close(t.ring[0].kick);
		close(t.ring[0].call);
		munmap(t.memory, MEMORY);
		close(t.memfd);
		if (!hit)
			break;
		assert_true(n < 1000);
	}
	t.may_be_cut_off = false;
	front_up(1, false);
	load(&t.ring[0], 100);
	front_down(1);
	close_all();
}

/* ---- configuration space ---- */

static uint32_t seg_max(uint64_t queue_size, uint16_t device_segs)
{
	struct weft_blk blk = { .block = 512, .max_segs = device_segs, .size = 1u << 20 };
	struct vux_export exp = { .exp.device = &blk, .queue_size = queue_size, .queues = 1 };
	struct vux_connection c = { .exp = &exp };
	struct virtio_blk_config config;

	config_fill(&c, &config);
	return le32toh(config.seg_max);
}

static void segments_follow_the_ring_and_the_device(void **state)
{
	(void)state;
	assert_int_equal(seg_max(128, UINT16_MAX), 126);
	assert_int_equal(seg_max(1024, UINT16_MAX), 1022);
	assert_int_equal(seg_max(32768, UINT16_MAX), 1022);
	assert_int_equal(seg_max(4, UINT16_MAX), 2);
	assert_int_equal(seg_max(1024, 512), 512);
	assert_int_equal(seg_max(256, 512), 254);
	assert_int_equal(seg_max(1024, 62), 126); /* split for the device: one request for four of them */
	assert_int_equal(seg_max(64, 8), 62);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_on_null_makes_no_system_call_and_allocates_nothing),
		cmocka_unit_test(a_request_on_mem_makes_no_system_call_and_allocates_nothing),
		cmocka_unit_test(rings_are_spread_over_the_reactors),
		cmocka_unit_test(what_is_asked_of_a_frozen_export_is_answered_when_it_is_thawed),
		cmocka_unit_test(a_frozen_export_can_be_stopped),
		cmocka_unit_test(an_export_waits_for_its_folder_while_control_goes_on),
		cmocka_unit_test(a_folder_that_stays_locked_is_used_all_the_same),
		cmocka_unit_test(resize_is_told_once_at_a_time),
		cmocka_unit_test(resize_is_told_to_who_never_answers),
		cmocka_unit_test(who_floods_the_channel_holds_up_nobody),
		cmocka_unit_test(rings_are_served_in_turn_at_most_32_requests_each),
		cmocka_unit_test(rings_are_served_in_turn_at_most_16_mib_each),
		cmocka_unit_test(a_ring_that_is_armed_tells_of_what_has_come),
		cmocka_unit_test(write_through_begins_with_a_flush_and_its_failure_is_told),
		cmocka_unit_test(a_frozen_export_flushes_when_it_is_thawed),
		cmocka_unit_test(a_front_end_that_has_said_more_may_leave_while_a_message_waits),
		cmocka_unit_test(a_client_that_waits_and_has_spoken_may_leave),
		cmocka_unit_test(a_surplus_descriptor_is_an_error_also_behind_a_message_that_waits),
		cmocka_unit_test(a_front_end_may_leave_while_its_cache_is_flushed),
		cmocka_unit_test(segments_follow_the_ring_and_the_device),
		cmocka_unit_test(a_failure_of_any_call_costs_a_connection_at_most),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
