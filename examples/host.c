/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program as a component's host: its own device, here a disk of which each block says its own number until it is written,
 * composed with built-in layers, and exported over vhost-user from this very process.
 *
 * ./host /run/vm.sock        serves until its standard input ends
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/export.h>
#include <weft/weft.h>

enum { BLOCK = 4096, BLOCKS = 1024 };

struct numbers {
	struct weft_object object; /* first */
	struct weft_blk blk;
	char data[BLOCKS][BLOCK];
};

/* Range, alignment and operation have been checked. Ends now, as here, or later: each request exactly once. */
static void numbers_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	char *data = WEFT_CONTAINER(blk, struct numbers, blk)->data[0];

	if (hop->op == WEFT_READ)
		weft_hop_copy_in(hop, 0, data + hop->offset, hop->len); /* into the client's memory */
	else
		weft_hop_copy_out(hop, 0, data + hop->offset, hop->len);
	weft_hop_complete(hop, 0);
}

/* At one reactor: requests come one after the other, and there is nothing to lock. */
static const struct weft_blk_ops numbers_ops = { .submit = numbers_submit, .at_home = true };

static void numbers_start(struct weft_object *object, struct weft_task *task)
{
	struct numbers *n = (struct numbers *)object;

	for (unsigned i = 0; i < BLOCKS; i++)
		snprintf(n->data[i], BLOCK, "block %u\n", i);
	n->blk.ops = &numbers_ops;
	n->blk.size = sizeof(n->data);
	n->blk.block = BLOCK;
	n->blk.ops_can = WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE); /* the rest is emulated */
	n->blk.home = weft_reactor_pick_home(object->core);
	task->done(task, 0);
}

static const struct weft_offer offers[] = { { &weft_blk_iface, offsetof(struct numbers, blk) }, { NULL, 0 } };
static const struct weft_kind kind = { .name = "numbers", .summary = "blocks that say their number",
	.size = sizeof(struct numbers), .offers = offers, .start = numbers_start };
static const struct weft_kind *const kinds[] = { &kind, NULL };
static const struct weft_module module = { .abi = WEFT_ABI, .size = sizeof(module), .kind_size = sizeof(kind), .name = "host",
	.version = "1", .kinds = kinds };

int main(int argc, char **argv)
{
	struct weft_why why = { "usage: host SOCKET" };
	struct weft_device *device;
	struct weft_server *server;
	struct weft *weft;
	char where[256];

	snprintf(where, sizeof(where), "vhost-user:%s", argc == 2 ? argv[1] : "");
	if (argc != 2 || weft_open(NULL, &weft, &why) != 0 || weft_module_add(weft, &module, &why) != 0 ||
			weft_device_open(weft, "limit:[slice:[numbers:],offset=1MiB],iops=1M", &device, &why) != 0 ||
			weft_export_open(weft, where, device, &server, &why) != 0) {
		fprintf(stderr, "%s\n", why.text);
		return 1;
	}
	puts("serving");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return weft_export_close(server, &why) != 0 || weft_device_close(device, &why) != 0 || weft_close(weft, &why) != 0;
}
