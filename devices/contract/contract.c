/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * contract: watches the device below from outside and asserts what every device promises. It runs at one home
 * reactor, so that it sees all requests in one order.
 *
 * What is asserted, block by block (model.c says how):
 *  C1  A read returns what the last write before it wrote; of writes that overlapped in time, any one of them.
 *  C2  A zeroed range reads as zeroes; a discarded one as anything, but always as the same.
 *  C3  A write that failed may have happened or not; a range that was never written reads as anything, but always
 *      as the same.
 *  C4  Nobody changes the memory of a write while it is under way.
 *  C5  A compare-and-write writes when the device holds what it compares, and else changes nothing and says so.
 * A read that overlaps in time with a change of the same blocks is not judged there. Memory that somebody outside
 * could change meanwhile is judged by a private copy.
 */
#include <inttypes.h>
#include <stdio.h>
#include <weft/export.h>
#include <weft/log.h>

#include "devices/bounce.h"
#include "devices/contract/model.h"
#include "devices/device.h"

enum { CONTRACT_FAIL, CONTRACT_ABORT };

struct contract {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_blk *lower;
	uint64_t memory;
	uint32_t violation;
	struct model model;
};

struct contract_request {
	struct model_access access;
	uint64_t digest; /* of a write's data when it was submitted */
	bool bounced, waiting;
	struct bounce bounce;
};

struct contract_shard {
	struct bounce_pool pool;
};

static struct contract *contract_of(struct weft_blk *blk)
{
	return DEVICE_OF(blk, struct contract);
}
static struct contract_request *request_of(struct weft_hop *hop)
{
	return weft_hop_request(hop);
}
static struct bounce *bounce_of(struct weft_hop *hop)
{
	return &request_of(hop)->bounce;
}
static struct bounce_pool *pool_of(struct weft_hop *hop)
{
	return &((struct contract_shard *)weft_hop_shard(hop))->pool;
}

/* The hop, or a view of the private copy instead. */
static struct weft_hop view_of(struct weft_hop *hop)
{
	struct weft_hop view = *hop;

	if (request_of(hop)->bounced)
		bounce_use(bounce_of(hop), &view);
	return view;
}

static int violated(struct contract *contract, const struct weft_hop *hop, uint64_t offset, const char *what)
{
	weft_log(contract->object.core, WEFT_LOG_ERROR,
		"%s: %s %" PRIu64 "@%" PRIu64 ": at offset %" PRIu64 ": %s", contract->object.name,
		weft_op_name(hop->op), hop->len, hop->offset, offset, what);
	WEFT_ASSERT(contract->violation != CONTRACT_ABORT &&
		"the device below broke the contract, and violation=abort is set");
	contract->model.violations++;
	return -EIO;
}

/* Do we know the bytes of the request's memory? Somebody outside may change those of a compare-and-write, which is not copied. */
static bool is_opaque(const struct weft_hop *hop)
{
	return hop->op == WEFT_COMPARE_WRITE && bounce_is_foreign(hop);
}

/* What a request that ended well, or found other bytes than it compared, tells: its status, or -EIO. */
static int judge(struct contract *contract, struct weft_hop *hop, int status)
{
	struct contract_request *request = request_of(hop);
	struct weft_hop view = view_of(hop);
	uint64_t where;

	if (hop->op == WEFT_READ && !model_read(&contract->model, &request->access, &view, &where))
		return violated(contract, hop, where, "the data is not what was last written there");
	if ((hop->op == WEFT_WRITE || hop->op == WEFT_COMPARE_WRITE) && model_digest(&view) != request->digest)
		return violated(contract, hop, hop->offset,
			"the memory of the write was changed while it was under way");
	if (hop->op == WEFT_COMPARE_WRITE && !model_compared(&contract->model, &request->access, &view, status, &where))
		return violated(contract, hop, where, status == 0 ? "it wrote, but compared something else than is there" :
			"it did not write, but compared what is there");
	return status;
}

static void contract_done(struct weft_hop *self, struct weft_hop *child, int status)
{
	struct contract *contract = contract_of(self->blk);
	struct contract_request *request = request_of(self);
	struct weft_hop view = view_of(self);

	(void)child;
	if (!is_opaque(self) && (status == 0 || (status == -EILSEQ && self->op == WEFT_COMPARE_WRITE)))
		status = judge(contract, self, status);
	model_end(&contract->model, &request->access, &view, is_opaque(self) ? -EIO : status);
	if (request->bounced) {
		if (self->op == WEFT_READ && status == 0)
			bounce_return(self, &request->bounce);
		bounce_give(pool_of(self), self);
	}
	weft_hop_complete(self, status);
}

static void contract_go(struct weft_hop *hop)
{
	struct contract *contract = contract_of(hop->blk);
	struct contract_request *request = request_of(hop);
	struct weft_hop *child = weft_hop_down(hop);

	if (request->bounced)
		bounce_use(&request->bounce, child);
	if (hop->op == WEFT_WRITE || hop->op == WEFT_COMPARE_WRITE)
		request->digest = model_digest(child);
	model_begin(&contract->model, &request->access, hop);
	weft_hop_submit(child, contract->lower, contract_done);
}

static void contract_bounced(struct weft_hop *hop)
{
	request_of(hop)->waiting = false;
	request_of(hop)->bounced = true;
	if (hop->op == WEFT_WRITE)
		bounce_fill(hop, bounce_of(hop));
	contract_go(hop);
}

static void contract_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct contract_request *request = request_of(hop);

	(void)blk;
	request->bounced = request->waiting = false;
	if ((hop->op != WEFT_READ && hop->op != WEFT_WRITE) || !bounce_is_foreign(hop))
		contract_go(hop);
	else if (bounce_take(pool_of(hop), hop))
		contract_bounced(hop);
	else
		request->waiting = true;
}

static void contract_abort(struct weft_blk *blk, struct weft_hop *hop)
{
	struct contract_request *request = request_of(hop);

	if (!request->waiting) {
		device_abort_children(blk, hop);
		return;
	}
	request->waiting = false;
	bounce_cancel(pool_of(hop), hop);
	weft_hop_complete(hop, -ECANCELED);
}

static int contract_shard_open(
	struct weft_blk *blk, void *shard, struct weft_reactor *reactor, struct weft_why *why)
{
	struct contract_shard *mine = shard;

	(void)blk;
	return bounce_open(&mine->pool, weft_reactor_core(reactor), contract_bounced, bounce_of, why);
}

static void contract_shard_close(struct weft_blk *blk, void *shard)
{
	(void)blk;
	bounce_close(&((struct contract_shard *)shard)->pool);
}

static const struct weft_blk_ops contract_ops = {
	.submit = contract_submit,
	.abort = contract_abort,
	.shard_open = contract_shard_open,
	.shard_close = contract_shard_close,
	.shard_size = sizeof(struct contract_shard),
	.request_size = sizeof(struct contract_request),
	.width = 1,
	.at_home = true,
};

/* ---- control ---- */

static void contract_start(struct weft_object *object, struct weft_task *task)
{
	struct contract *contract = DEVICE_OF_OBJECT(object, struct contract);
	struct weft_blk *blk = &contract->blk;
	uint64_t needed = model_bytes(contract->lower->size, contract->lower->block);

	weft_blk_like(blk, contract->lower);
	blk->ops = &contract_ops;
	blk->home = weft_reactor_pick_home(object->core);
	blk->max_len = BOUNCE_MAX_LEN;
	if (needed > contract->memory)
		device_end(task,
			weft_why(&task->why, -ENOMEM,
				"contract: memory=%" PRIu64 " is less than the %" PRIu64 " bytes that a "
				"model of the device below takes: give memory=%" PRIu64 ", or a slice of it",
				contract->memory, needed, needed));
	else
		device_end(
			task, model_open(&contract->model, object->core, blk->size, blk->block, &task->why));
}

static void contract_destroy(struct weft_object *object)
{
	model_close(&DEVICE_OF_OBJECT(object, struct contract)->model);
}

static void contract_lower_resized(struct weft_object *object)
{
	struct contract *contract = DEVICE_OF_OBJECT(object, struct contract);

	model_resized(&contract->model, contract->lower->size);
	weft_blk_resized(&contract->blk, contract->lower->size);
}

static void contract_describe(const struct weft_object *object, weft_describe_put *put, void *self)
{
	const struct contract *contract = WEFT_CONTAINER(object, const struct contract, object);
	const struct model *model = &contract->model;
	const struct {
		const char *name;
		uint64_t value;
	} facts[] = {
		{ "blocks judged", model->judged },
		{ "blocks not judged (overlap in time)", model->raced },
		{ "violations", model->violations },
		{ "writes acknowledged, not flushed", model->acknowledged - model->flushed },
	};
	char text[32];

	for (unsigned i = 0; i < WEFT_COUNT(facts); i++) {
		snprintf(text, sizeof(text), "%" PRIu64, facts[i].value);
		put(self, facts[i].name, text);
	}
}

static const struct weft_option contract_options[] = {
	{ .name = "memory",
		.type = WEFT_OPTION_SIZE,
		.offset = offsetof(struct contract, memory),
		.fallback = "64MiB",
		.help = "what the model may take: 8 bytes for each block, and 1 MiB",
		.min = 1 << 20,
		.max = 1ull << 40 },
	{ .name = "violation",
		.type = WEFT_OPTION_CHOICE,
		.offset = offsetof(struct contract, violation),
		.fallback = "fail",
		.help = "a broken promise: fail the request with EIO, or abort the process",
		.choices = "fail|abort" },
	{ 0 },
};

static const struct weft_port contract_ports[] = {
	{ .name = "lower",
		.wants = &weft_blk_iface,
		.min = 1,
		.max = 1,
		.flags = WEFT_PORT_EXCLUSIVE,
		.offset = offsetof(struct contract, lower),
		.help = "the device that is watched" },
	{ 0 },
};

static const struct weft_offer contract_offers[] = {
	{ &weft_blk_iface, offsetof(struct contract, blk) },
	{ 0 },
};

extern const struct weft_kind contract_kind;
const struct weft_kind contract_kind = {
	.name = "contract",
	.summary = "asserts from outside what every device promises",
	.size = sizeof(struct contract),
	.options = contract_options,
	.ports = contract_ports,
	.offers = contract_offers,
	.start = contract_start,
	.destroy = contract_destroy,
	.lower_resized = contract_lower_resized,
	.describe = contract_describe,
};
