/* SPDX-License-Identifier: BSD-2-Clause */
/* The server that the initiator's tests ask: our own export on a node of its own. */
#include "devices/vhost_user/server_test.h"

#include "core/reactor.h"
#include "core/tree.h"
#include "devices/device.h"

extern const struct weft_kind file_kind, mem_kind, delay_kind, export_vhost_user_kind;

struct server server;

/* ---- a disk in the server that keeps the next read until it is told, and cannot be aborted ---- */

struct stubborn_device {
	struct weft_object object;
	struct weft_blk blk;
};

struct stubborn stubborn;

static void stubborn_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	(void)blk;
	if (hop->op == WEFT_READ && stubborn.hold) {
		stubborn.held = hop;
		stubborn.hold = false;
	} else {
		weft_hop_complete(hop, 0);
	}
}

/* Late, it does what it was asked to do. */
static void stubborn_go_on_msg(void *self)
{
	(void)self;
	weft_hop_zero_fill(stubborn.held, 0, stubborn.held->len);
	weft_hop_complete(stubborn.held, 0);
	stubborn.held = NULL;
}

void stubborn_go_on(void)
{
	stubborn.msg = (struct weft_msg){ .fn = stubborn_go_on_msg };
	weft_reactor_post(server.core->reactor[1], &stubborn.msg);
}

static const struct weft_blk_ops stubborn_ops = { .submit = stubborn_submit };

static void stubborn_start(struct weft_object *object, struct weft_task *task)
{
	struct weft_blk *blk = &DEVICE_OF_OBJECT(object, struct stubborn_device)->blk;

	*blk = (struct weft_blk){ .ops = &stubborn_ops, .size = SERVER_DISK_SIZE, .block = 512, .align = 1,
		.ops_can = WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE) | WEFT_OP_BIT(WEFT_FLUSH) };
	device_end(task, 0);
}

static const struct weft_offer stubborn_offers[] = { { &weft_blk_iface, offsetof(struct stubborn_device, blk) }, { 0 } };
static const struct weft_kind stubborn_kind = { .name = "stubborn", .summary = "keeps a read",
	.size = sizeof(struct stubborn_device), .offers = stubborn_offers, .start = stubborn_start };

/* ---- the server ---- */

static const struct weft_kind *const server_kinds[] = { &file_kind, &mem_kind, &delay_kind, &stubborn_kind,
	&export_vhost_user_kind, NULL };
static const struct weft_module server_module = { WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind),
	"server", WEFT_VERSION, server_kinds };

static void server_built(struct weft_task *task, int status)
{
	if (status != 0)
		fail_msg("%s", task->why.text);
	server.built = true;
}

static void server_build_msg(void *self)
{
	struct tree_reader reader = objects_reader(server.core);
	struct tree *tree, *device;
	struct weft_why why;
	char text[128];

	(void)self;
	snprintf(text, sizeof(text), "vhost-user:" SOCKET "%s", server.options);
	assert_int_equal(grammar_parse(&reader, server.device, &weft_blk_iface, &device, &why), 0);
	assert_int_equal(grammar_parse(&reader, text, &weft_export_iface, &tree, &why), 0);
	assert_int_equal(tree_add_child(server.core, tree, device), 0);
	server.job = (struct objects_job){ .task.done = server_built };
	objects_build(server.core, tree, &weft_export_iface, &server.export, &server.job);
	tree_free(server.core, tree);
}

static bool server_is_built(void *arg)
{
	(void)arg;
	return server.built;
}

void server_start(struct rig *rig, const char *device, const char *options)
{
	struct core_wants wants = { .io_reactors = 1, .mode = WEFT_MODE_NOTIFY };
	struct weft_why why;

	server = (struct server){ .device = device, .options = options };
	server.env = sim_node_open(rig->world, "server");
	assert_int_equal(core_open(server.env, &wants, &server.core, &why), 0);
	assert_int_equal(objects_module_add(server.core, &server_module, &why), 0);
	sim_thread_add(server.env, server.core->reactor[0]->loop, reactor_step, server.core->reactor[0]);
	server.msg = (struct weft_msg){ .fn = server_build_msg };
	weft_reactor_post(server.core->reactor[0], &server.msg);
	assert_true(sim_run(rig->world, server_is_built, NULL, 1000000));
}

void server_kill(void)
{
	sim_node_kill(server.env);
}
