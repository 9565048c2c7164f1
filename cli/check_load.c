/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many requests at once, on few blocks, so that they overlap in time and place. The layer `contract` knows what each read may
 * return (devices/contract/model.c) and that nobody changes the memory of a write.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/check.h"

enum { IN_FLIGHT = 32, REQUESTS = 6000, CELLS = 48, LONGEST = 8 };

struct item {
	struct check_request request;
	struct weft_seg seg;
	bool busy;
};

static const uint8_t mix[] = { WEFT_READ, WEFT_READ, WEFT_READ, WEFT_READ, WEFT_WRITE, WEFT_WRITE, WEFT_WRITE, WEFT_WRITE,
	WEFT_ZERO, WEFT_DISCARD, WEFT_FLUSH, WEFT_STATUS, WEFT_COMPARE_WRITE };

static unsigned pick(struct check *check)
{
	unsigned op = mix[check_rand(check, sizeof(mix))];

	if (op != WEFT_DISCARD && op != WEFT_COMPARE_WRITE)
		return op;
	return (check->blk->ops_can & WEFT_OP_BIT(op)) != 0 ? op : WEFT_READ;
}

/* Cells of a request, so that there is memory for all in flight. */
static uint64_t longest(uint64_t cell)
{
	uint64_t most = CHECK_LONG / IN_FLIGHT / cell;

	return most < LONGEST ? most : LONGEST;
}

/* A compare-and-write has two halves, and is not split. False: not even of one cell. */
static bool fit(const struct check *check, uint64_t *n, uint64_t cell)
{
	while (*n > 0 && (2 * *n > longest(cell) || *n * cell > check->blk->max_compare))
		--*n;
	if (*n > 0)
		return true;
	*n = 1;
	return false;
}

static void fill_words(struct check *check, uint8_t *memory, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += 512) {
		uint64_t word = check_rand(check, UINT64_MAX);

		memcpy(memory + i, &word, sizeof(word));
	}
}

static void begin(struct check *check, struct item *item, uint8_t *memory, uint64_t cell)
{
	struct check_request *r = &item->request;
	uint64_t cells = check->blk->size / cell < CELLS ? check->blk->size / cell : CELLS;
	uint64_t n = 1 + check_rand(check, longest(cell));

	n = n < cells ? n : cells;
	*r = (struct check_request){ .op = pick(check), .lane = (unsigned)check_rand(check, check->lanes), .segs = &item->seg };
	if (r->op == WEFT_COMPARE_WRITE && !fit(check, &n, cell))
		r->op = WEFT_WRITE;
	if (r->op != WEFT_FLUSH) {
		r->offset = check_rand(check, cells - n + 1) * cell;
		r->len = n * cell;
	}
	if (r->op == WEFT_WRITE || r->op == WEFT_ZERO || r->op == WEFT_COMPARE_WRITE)
		r->flags = check_rand(check, 8) == 0 ? WEFT_FUA : 0;
	r->nsegs = r->op == WEFT_READ || r->op == WEFT_WRITE || r->op == WEFT_COMPARE_WRITE || r->op == WEFT_STATUS;
	item->seg = (struct weft_seg){ .base = memory, .len = (uint32_t)(longest(cell) * cell) };
	if (r->op == WEFT_READ || r->op == WEFT_WRITE)
		item->seg.len = (uint32_t)r->len;
	if (r->op == WEFT_WRITE)
		fill_words(check, memory, r->len);
	if (r->op == WEFT_COMPARE_WRITE) { /* zeroes are there more often than anything else */
		item->seg.len = (uint32_t)(2 * r->len);
		memset(memory, 0, r->len);
		fill_words(check, memory + r->len, r->len);
	}
	item->busy = true;
	check_start(check, r);
}

static void end(struct check *check, struct item *item)
{
	int status;

	if (!item->busy)
		return;
	status = check_wait(check, &item->request);
	item->busy = false;
	if (status != 0 && (status != -EILSEQ || item->request.op != WEFT_COMPARE_WRITE))
		check_failed(check, "%s %" PRIu64 " bytes at %" PRIu64 ", others at once: %s", weft_op_name(item->request.op),
			item->request.len, item->request.offset, strerrordesc_np(-status));
}

static void violations_put(void *self, const char *name, const char *value)
{
	struct check *check = self;

	if (strcmp(name, "violations") == 0 && strcmp(value, "0") != 0) {
		check_verdict_begin(&check->verdict); /* this says more than the failure of the request that it was found by */
		check_failed(check, "%s times a read was not what it may be, or the memory of a write was changed", value);
	}
}

void check_load(struct check *check)
{
	static struct item items[IN_FLIGHT];
	uint64_t cell = check->blk->block < 4096 && check->blk->size >= 1 << 20 ? 4096 : check->blk->block, bytes = CELLS * cell,
		memory;
	char text[200];

	bytes = bytes < check->blk->size ? bytes : check->blk->size;
	bytes -= bytes % cell;
	memory = bytes / check->blk->block * 8 + (2 << 20);
	snprintf(text, sizeof(text), "contract:[slice:[@%s],size=%" PRIu64 "],memory=%" PRIu64, check->object->name, bytes, memory);
	if (check_swap(check, text) != 0)
		return;
	memset(items, 0, sizeof(items));
	memset(check->data, 0, IN_FLIGHT * longest(cell) * cell);
	for (unsigned n = 0; n < REQUESTS && check->verdict.result == CHECK_OK; n++) {
		unsigned i = (unsigned)check_rand(check, IN_FLIGHT);

		end(check, &items[i]);
		begin(check, &items[i], check->data + i * longest(cell) * cell, cell);
	}
	for (unsigned i = 0; i < IN_FLIGHT; i++)
		end(check, &items[i]);
	check->blk->object->kind->describe(check->blk->object, violations_put, check);
	check_swap(check, NULL);
}
