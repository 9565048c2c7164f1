/* SPDX-License-Identifier: BSD-2-Clause */
/* A vhost-user server with a device of its own: memory whose every block counts how often it was written, in its first byte. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <weft/weft.h>

#define BLOCK 512u
#define BLOCKS 2048u

struct counter {
	struct weft_object object; /* first */
	struct weft_blk blk;
	unsigned char bytes[BLOCKS * BLOCK];
};

static void counter_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct counter *counter = WEFT_CONTAINER(blk, struct counter, blk);
	unsigned char *at = counter->bytes + hop->offset;

	if (hop->op == WEFT_READ)
		weft_hop_copy_in(hop, 0, at, hop->len);
	for (uint64_t i = 0; hop->op == WEFT_WRITE && i < hop->len; i += BLOCK) {
		unsigned char count = (unsigned char)(at[i] + 1);

		weft_hop_copy_out(hop, i, at + i, BLOCK);
		at[i] = count;
	}
	weft_hop_complete(hop, 0);
}

static const struct weft_blk_ops counter_ops = { .submit = counter_submit };

static void counter_start(struct weft_object *object, struct weft_task *task)
{
	struct counter *counter = WEFT_CONTAINER(object, struct counter, object);

	counter->blk.ops = &counter_ops;
	counter->blk.size = sizeof(counter->bytes);
	counter->blk.block = BLOCK;
	counter->blk.ops_can = WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE);
	task->done(task, 0);
}

static const struct weft_offer offers[] = { { &weft_blk_iface, offsetof(struct counter, blk) }, { NULL, 0 } };
static const struct weft_kind counter_kind = { .name = "counter", .summary = "counts the writes of each block",
	.size = sizeof(struct counter), .offers = offers, .start = counter_start };
static const struct weft_kind *const kinds[] = { &counter_kind, NULL };
static const struct weft_module module = { WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind), "host", "1", kinds };

int main(int argc, char **argv)
{
	struct weft_server *server;
	struct weft_device *device;
	struct weft *weft;
	struct weft_why why;
	sigset_t set;
	int got;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	if (argc != 2 || weft_open(NULL, &weft, &why) != 0 || weft_module_add(weft, &module, &why) != 0 ||
			weft_device_open(weft, "log:[counter:]", &device, &why) != 0 ||
			weft_export_open(weft, argv[1], device, &server, &why) != 0) {
		fprintf(stderr, "host: %s\n", argc != 2 ? "usage: host vhost-user:PATH" : why.text);
		return 1;
	}
	printf("serving on %s\n", argv[1]);
	fflush(stdout);
	sigwait(&set, &got);
	return weft_export_close(server, &why) != 0 || weft_device_close(device, &why) != 0 || weft_close(weft, &why) != 0;
}
