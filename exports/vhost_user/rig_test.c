/* SPDX-License-Identifier: BSD-2-Clause */
/* What the export's tests stand on: the export, its control reactor, the front end. */
#include "exports/vhost_user/rig_test.h"

#include <sys/mman.h>
#include <sys/un.h>

#include "devices/device.h"
#include "env/linux/linux.h"

extern const struct weft_kind mem_kind, null_kind, delay_kind, error_kind;

struct rig t;

/* ---- a disk that notes in which order the rings ask ---- */

unsigned witnessed, witness[1024];
unsigned witness_hangs;
struct weft_hop *witness_held;

struct witness {
	struct weft_object object;
	struct weft_blk blk;
};

static void witness_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	(void)blk;
	if ((witness_hangs & WEFT_OP_BIT(hop->op)) != 0) {
		assert_null(witness_held);
		witness_held = hop;
		return;
	}
	assert_true(witnessed < WEFT_COUNT(witness));
	witness[witnessed++] = (unsigned)(hop->offset / WITNESS_SPAN);
	weft_hop_complete(hop, 0);
}

void witness_lets_go(int status)
{
	struct weft_hop *hop = witness_held;

	witness_held = NULL;
	weft_hop_complete(hop, status);
}

static const struct weft_blk_ops witness_ops = { .submit = witness_submit };

static void witness_start(struct weft_object *object, struct weft_task *task)
{
	struct weft_blk *blk = &DEVICE_OF_OBJECT(object, struct witness)->blk;

	*blk = (struct weft_blk){ .ops = &witness_ops, .size = WITNESS_SIZE, .block = 512, .align = 1,
		.ops_can = WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE) | WEFT_OP_BIT(WEFT_FLUSH) };
	device_end(task, 0);
}

static const struct weft_offer witness_offers[] = { { &weft_blk_iface, offsetof(struct witness, blk) }, { 0 } };
static const struct weft_kind witness_kind = { .name = "witness", .summary = "notes the order", .size = sizeof(struct witness),
	.offers = witness_offers, .start = witness_start };

static const struct weft_kind *const kinds[] = { &mem_kind, &null_kind, &delay_kind, &error_kind, &witness_kind,
	&export_vhost_user_kind, NULL };
static const struct weft_module module = { WEFT_ABI, sizeof(module), sizeof(struct weft_kind), "test", "0", kinds };

/* ---- the control reactor, stepped here ---- */

void turn(void)
{
	struct weft_reactor *control = t.core->reactor[0];
	uint64_t wait = reactor_step(control, env_now_ns(t.env) + t.ahead_ns);

	if (t.stepped) {
		reactor_step(t.core->reactor[1], env_now_ns(t.env) + t.ahead_ns);
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

int on_control(weft_reactor_fn *fn)
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

void release_here(void *self)
{
	(void)self;
	objects_release(t.export, &t.job);
}

void freeze_here(void *self)
{
	(void)self;
	t.exp->exp.ops->freeze(&t.exp->exp, &t.task);
}

void thaw_here(void *self)
{
	(void)self;
	t.exp->exp.ops->thaw(&t.exp->exp, &t.task);
}

void open_as(const struct core_wants *wants, const char *device, const char *more)
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

void open_all(const char *device, const char *more, unsigned reactors, enum weft_mode mode)
{
	struct core_wants wants = { .io_reactors = reactors, .mode = mode };

	open_as(&wants, device, more);
}

void close_all(void)
{
	assert_int_equal(on_control(release_here), 0);
	core_close(t.core);
	env_linux_close(t.env);
}

static struct weft_stack *neighbours;

static void neighbours_open_here(void *self)
{
	(void)self;
	assert_int_equal(weft_stack_open(t.core, weft_stack_device(t.exp->stack), "neighbours", &neighbours, &t.task), 0);
}

static void neighbours_close_here(void *self)
{
	(void)self;
	weft_stack_close(neighbours, &t.task);
}

void neighbours_open(void)
{
	assert_int_equal(on_control(neighbours_open_here), 0);
}

void neighbours_close(void)
{
	assert_int_equal(on_control(neighbours_close_here), 0);
}

/* ---- the front end ---- */

void say_with(uint32_t request, const void *payload, uint32_t size, int fd, unsigned times, bool acknowledge)
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

void say_and(uint32_t request, const void *payload, uint32_t size, int fd, bool acknowledge)
{
	say_with(request, payload, size, fd, fd >= 0, acknowledge);
}

void say(uint32_t request, const void *payload, uint32_t size, int fd)
{
	say_and(request, payload, size, fd, false);
}

void say_u64(uint32_t request, uint64_t value, int fd)
{
	say(request, &value, sizeof(value), fd);
}

void say_state(uint32_t request, uint32_t index, uint32_t num)
{
	struct vhost_user_vring_state state = { index, num };

	say(request, &state, sizeof(state), -1);
}

uint64_t answer_to(uint32_t request)
{
	struct vhost_user_msg msg;

	while (recv(t.sock, &msg.header, sizeof(msg.header) + sizeof(uint64_t), MSG_DONTWAIT) != 20)
		turn();
	assert_int_equal(msg.header.request, request);
	return msg.payload.u64;
}

void sync_with_server(void)
{
	say(VHOST_USER_GET_FEATURES, NULL, 0, -1);
	answer_to(VHOST_USER_GET_FEATURES);
}

void say_write_cache(bool on)
{
	struct vhost_user_config config = { .offset = VIRTIO_BLK_CONFIG_WRITEBACK, .size = 1, .region = { on } };

	say_and(VHOST_USER_SET_CONFIG, &config, VHOST_USER_CONFIG_HEAD + 1, -1, true);
}

uint64_t switch_write_cache(bool on)
{
	say_write_cache(on);
	return answer_to(VHOST_USER_SET_CONFIG);
}

void ring_up(unsigned index, bool packed)
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

int front_connect(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", t.path);
	assert_int_equal(connect(sock, (struct sockaddr *)&address, sizeof(address)), 0);
	return sock;
}

void front_up(unsigned rings, bool packed)
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

void front_down(unsigned rings)
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

void add(struct ring *ring)
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

bool take(struct ring *ring)
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

void publish(struct ring *ring)
{
	if (virtq_drv_publish(&ring->drv))
		assert_int_equal(eventfd_write(ring->kick, 1), 0);
}

void load(struct ring *ring, unsigned requests)
{
	while (requests > 0 || ring->in_flight > 0) {
		while (ring->in_flight < 8 && requests > 0) {
			add(ring);
			requests--;
		}
		publish(ring);
		if (t.stepped)
			turn();
		while (take(ring))
			;
	}
}

void say_what_waits(void)
{
	assert_int_equal(on_control(freeze_here), 0);
	say_write_cache(false);
	while (!t.exp->connections->flush.wanted)
		turn();
}
