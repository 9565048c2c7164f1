/* SPDX-License-Identifier: BSD-2-Clause */
/* What every device must do: random requests of all kinds, several at once, against a model in memory. */
#include <stdlib.h>

#include "devices/rig_test.h"

#define IN_FLIGHT 12
#define LEN_MAX (192u << 10)

/* A request in flight, and the memory that it uses. */
struct item {
	struct rig_request request;
	char *memory, *data; /* as allocated; where the request's bytes begin */
	char *copy;          /* of what is written */
	bool busy;
};

struct model {
	struct rig *rig;
	char *bytes;
	bool *known; /* by block: false: anything, to be learnt by the next read */
	uint64_t block, blocks;
	uint64_t kinds[WEFT_OP_COUNT]; /* how many went well */
	struct item item[IN_FLIGHT];
};

static bool overlaps(const struct model *model, uint64_t offset, uint64_t len)
{
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		const struct rig_request *r = &model->item[i].request;

		if (!model->item[i].busy)
			continue;
		if (offset < r->offset + r->len && offset + len > r->offset)
			return true;
		if (r->op == WEFT_COPY && offset < r->source + r->len && offset + len > r->source)
			return true;
	}
	return false;
}

static uint64_t random_range(struct model *model, uint64_t *len)
{
	uint64_t most = LEN_MAX / model->block, blocks = 1 + rig_rand(model->rig, 8);

	if (rig_rand(model->rig, 4) == 0)
		blocks = 1 + rig_rand(model->rig, most);
	if (blocks > model->blocks)
		blocks = model->blocks;
	*len = blocks * model->block;
	return rig_rand(model->rig, model->blocks - blocks + 1) * model->block;
}

/* Cuts the memory into segments, at any byte. */
static void cut(struct rig *rig, struct item *item)
{
	struct rig_request *r = &item->request;
	uint64_t at = 0;
	uint8_t foreign = rig_rand(rig, 3) == 0;

	uint64_t all = r->op == WEFT_COMPARE_WRITE ? 2 * r->len : r->len;

	for (r->nsegs = 0; at < all; r->nsegs++) {
		uint64_t left = all - at, len = left;

		if (r->nsegs + 1 < RIG_SEGS && left > 1 && rig_rand(rig, 2) == 0)
			len = rig_rand(rig, 2) == 0 ? 1 + rig_rand(rig, left - 1) : left < 1024 ? left : 512;
		r->segs[r->nsegs] = (struct weft_seg){ item->data + at, (uint32_t)len, 0, foreign, 0 };
		at += len;
	}
}

static void fill(struct rig *rig, struct item *item)
{
	for (uint64_t i = 0; i < item->request.len; i++)
		item->data[i] = (char)rig_rand(rig, 256);
	memcpy(item->copy, item->data, item->request.len);
}

static const uint8_t mix[] = { WEFT_READ, WEFT_READ, WEFT_READ, WEFT_WRITE, WEFT_WRITE, WEFT_WRITE,
	WEFT_WRITE, WEFT_ZERO, WEFT_DISCARD, WEFT_FLUSH, WEFT_COPY, WEFT_COMPARE_WRITE };

static bool is_known(const struct model *model, uint64_t offset, uint64_t len)
{
	for (uint64_t at = 0; at < len; at += model->block)
		if (!model->known[(offset + at) / model->block])
			return false;
	return true;
}

/* What is to be compared, then what is to be written: the model's bytes and others, one of them wrong in every other request. */
static void fill_both(struct model *model, struct item *item)
{
	uint64_t len = item->request.len;

	for (uint64_t i = 0; i < len; i++)
		item->data[len + i] = (char)rig_rand(model->rig, 256);
	memcpy(item->data, model->bytes + item->request.offset, len);
	if (rig_rand(model->rig, 2) == 0)
		item->data[rig_rand(model->rig, len)] ^= 1;
	memcpy(item->copy, item->data, 2 * len);
}

/* A compare-and-write of what the model knows, no longer than the device takes it. False: not now. */
static bool start_compare(struct model *model, struct item *item)
{
	struct rig_request *r = &item->request;

	if ((model->rig->blk->ops_can & WEFT_OP_BIT(WEFT_COMPARE_WRITE)) == 0)
		return false;
	r->len = r->len > model->rig->blk->max_compare ? model->rig->blk->max_compare : r->len;
	if (!is_known(model, r->offset, r->len))
		return false;
	fill_both(model, item);
	return true;
}

static bool start(struct model *model, struct item *item)
{
	struct rig *rig = model->rig;
	struct rig_request *r = &item->request;

	*r = (struct rig_request){ .op = mix[rig_rand(rig, sizeof(mix))],
		.lane = (unsigned)rig_rand(rig, rig->lanes) };
	if (r->op != WEFT_FLUSH) {
		r->offset = random_range(model, &r->len);
		if (overlaps(model, r->offset, r->len))
			return false;
	}
	item->data = item->memory + rig_rand(rig, 2) * rig_rand(rig, 4096);
	if (r->op == WEFT_COPY) {
		r->source = rig_rand(rig, model->blocks - r->len / model->block + 1) * model->block;
		if (overlaps(model, r->source, r->len) ||
			(r->source < r->offset + r->len && r->source + r->len > r->offset))
			return false;
	}
	if (r->op == WEFT_COMPARE_WRITE && !start_compare(model, item))
		return false;
	if (r->op == WEFT_READ || r->op == WEFT_WRITE || r->op == WEFT_COMPARE_WRITE)
		cut(rig, item);
	if (r->op == WEFT_WRITE)
		fill(rig, item);
	if ((r->op == WEFT_WRITE || r->op == WEFT_ZERO || r->op == WEFT_COMPARE_WRITE) && rig_rand(rig, 8) == 0)
		r->flags |= WEFT_FUA;
	if (r->op == WEFT_ZERO && rig_rand(rig, 2) == 0)
		r->flags |= WEFT_NO_UNMAP;
	item->busy = true;
	rig_start(rig, r);
	return true;
}

static void check_read(struct model *model, struct item *item)
{
	const struct rig_request *r = &item->request;

	for (uint64_t at = 0; at < r->len; at += model->block) {
		uint64_t offset = r->offset + at;

		if (!model->known[offset / model->block])
			memcpy(model->bytes + offset, item->data + at, model->block);
		else if (memcmp(model->bytes + offset, item->data + at, model->block) != 0)
			fail_msg("block at %llu differs (read %llu@%llu)", (unsigned long long)offset,
				(unsigned long long)r->len, (unsigned long long)r->offset);
		model->known[offset / model->block] = true;
	}
}

static void know(struct model *model, const struct rig_request *r, bool known)
{
	for (uint64_t at = 0; at < r->len; at += model->block)
		model->known[(r->offset + at) / model->block] = known;
}

/* Nobody has touched the range meanwhile. */
static void finish_compare(struct model *model, struct item *item, int status)
{
	const struct rig_request *r = &item->request;

	assert_int_equal(status, memcmp(model->bytes + r->offset, item->copy, r->len) == 0 ? 0 : -EILSEQ);
	if (status == 0)
		memcpy(model->bytes + r->offset, item->copy + r->len, r->len);
	model->kinds[WEFT_COMPARE_WRITE]++;
}

static void finish(struct model *model, struct item *item)
{
	struct rig_request *r = &item->request;
	int status = rig_wait(model->rig, r);

	item->busy = false;
	if (r->op == WEFT_COMPARE_WRITE) {
		finish_compare(model, item, status);
		return;
	}
	if (r->op == WEFT_DISCARD && status == -EOPNOTSUPP)
		return;
	if (status != 0)
		fail_msg("%s %llu@%llu failed with %d", weft_op_name(r->op), (unsigned long long)r->len,
			(unsigned long long)r->offset, status);
	model->kinds[r->op]++;
	if (r->op == WEFT_READ) {
		check_read(model, item);
	} else if (r->op == WEFT_WRITE) {
		memcpy(model->bytes + r->offset, item->copy, r->len);
		know(model, r, true);
	} else if (r->op == WEFT_ZERO) {
		memset(model->bytes + r->offset, 0, r->len);
		know(model, r, true);
	} else if (r->op == WEFT_DISCARD) {
		know(model, r, false);
	} else if (r->op == WEFT_COPY) {
		for (uint64_t at = 0; at < r->len; at += model->block)
			model->known[(r->offset + at) / model->block] =
				model->known[(r->source + at) / model->block];
		memcpy(model->bytes + r->offset, model->bytes + r->source, r->len);
	}
}

static bool is_zero(const char *bytes, uint64_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* The extents come in order, without gaps, inside the range; what they call zero is. */
static void check_status(struct model *model)
{
	struct weft_extent extents[16];
	struct rig_request r = { .op = WEFT_STATUS, .nsegs = 1 };
	uint64_t end;

	r.offset = random_range(model, &r.len);
	r.segs[0] = (struct weft_seg){ .base = extents, .len = sizeof(extents) };
	memset(extents, 0, sizeof(extents));
	rig_start(model->rig, &r);
	assert_int_equal(rig_wait(model->rig, &r), 0);
	assert_true(extents[0].len > 0);
	end = r.offset;
	for (unsigned i = 0; i < WEFT_COUNT(extents) && extents[i].len > 0 && end < r.offset + r.len; i++) {
		const struct weft_extent *e = &extents[i];

		assert_int_equal(e->offset, end);
		end += e->len;
		for (uint64_t at = e->offset; (e->flags & WEFT_EXTENT_ZERO) != 0 && at < end;
			at += model->block)
			if (model->known[at / model->block])
				assert_true(is_zero(model->bytes + at, model->block));
	}
	assert_true(end <= r.offset + r.len);
	model->kinds[WEFT_STATUS]++;
}

/* What no device may accept. */
static void check_refusals(struct model *model)
{
	struct rig *rig = model->rig;
	uint64_t size = model->blocks * model->block;
	char *data = model->item[0].memory;

	assert_int_equal(rig_ask(rig, WEFT_READ, 0, size, model->block, data), -ERANGE);
	assert_int_equal(rig_ask(rig, WEFT_WRITE, 0, size - model->block, 2 * model->block, data), -ERANGE);
	assert_int_equal(
		rig_ask(rig, WEFT_READ, 0, UINT64_MAX - model->block + 1, model->block, data), -ERANGE);
	assert_int_equal(rig_ask(rig, WEFT_ZERO, 0, size, model->block, NULL), -ERANGE);
	assert_int_equal(rig_ask(rig, WEFT_READ, 0, 1, model->block, data), -EINVAL);
	assert_int_equal(rig_ask(rig, WEFT_ZERO, 0, 0, 1, NULL), -EINVAL);
	assert_int_equal(rig_ask(rig, WEFT_ZERO, 0, 0, 0, NULL), 0);
}

static void model_open(struct model *model, struct rig *rig)
{
	memset(model, 0, sizeof(*model));
	model->rig = rig;
	model->block = rig->blk->block;
	model->blocks = rig->blk->size / model->block;
	model->bytes = calloc(model->blocks, model->block);
	model->known = calloc(model->blocks, 1);
	assert_non_null(model->bytes);
	assert_non_null(model->known);
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		model->item[i].memory = aligned_alloc(4096, 2 * LEN_MAX + 8192);
		model->item[i].copy = malloc(2 * LEN_MAX);
		assert_non_null(model->item[i].memory);
		assert_non_null(model->item[i].copy);
	}
}

static void model_close(struct model *model)
{
	for (unsigned i = 0; i < IN_FLIGHT; i++) {
		free(model->item[i].memory);
		free(model->item[i].copy);
	}
	free(model->bytes);
	free(model->known);
}

void rig_conform_here(struct rig *rig, const char *text, unsigned requests)
{
	struct model model;

	rig_make(rig, text);
	model_open(&model, rig);
	for (unsigned n = 1; n <= requests; n++) {
		struct item *item = &model.item[rig_rand(rig, IN_FLIGHT)];

		if (item->busy)
			finish(&model, item);
		start(&model, item);
		if (n % 32 == 0 || n == requests) {
			for (unsigned i = 0; i < IN_FLIGHT; i++)
				if (model.item[i].busy)
					finish(&model, &model.item[i]);
			check_status(&model);
		}
	}
	check_refusals(&model);
	for (unsigned op = WEFT_READ; op <= WEFT_FLUSH; op++)
		assert_true(model.kinds[op] > 0);
	assert_int_equal(model.kinds[WEFT_COMPARE_WRITE] > 0, (rig->blk->ops_can & WEFT_OP_BIT(WEFT_COMPARE_WRITE)) != 0);
	model_close(&model);
	rig_unmake(rig);
}

void rig_conform(const char *text, uint64_t seed, unsigned requests)
{
	struct rig rig;

	rig_open(&rig, seed, 1 + seed % 3);
	rig_conform_here(&rig, text, requests);
	rig_close(&rig);
}

void rig_conform_linux(const char *text, uint64_t seed, unsigned requests)
{
	struct rig rig;

	rig_open_linux(&rig, seed, 1 + seed % 2);
	rig_conform_here(&rig, text, requests);
	rig_close(&rig);
}
