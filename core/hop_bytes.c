/* SPDX-License-Identifier: BSD-2-Clause */
/* The bytes that a hop views: copying in and out of its segments, comparing, zeroing; and its path as a text. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/blk.h"

enum direction { OUT, IN, EQUAL, ZERO };

/* Walks [at, at + len) of the view; each piece is copied to or from buf, compared, or cleared. False: they differ. */
static bool walk(const struct weft_hop *hop, uint64_t at, char *buf, size_t len, enum direction direction)
{
	uint64_t skip = hop->seg_skip + at;

	for (unsigned i = 0; len > 0; i++) {
		WEFT_ASSERT(i < hop->nsegs);
		uint64_t here = hop->segs[i].len;
		char *base = hop->segs[i].base;

		if (skip >= here) {
			skip -= here;
			continue;
		}
		here -= skip;
		if (here > len)
			here = len;
		if (direction == OUT)
			memcpy(buf, base + skip, here);
		else if (direction == IN)
			memcpy(base + skip, buf, here);
		else if (direction == EQUAL && memcmp(base + skip, buf, here) != 0)
			return false;
		else if (direction == ZERO)
			memset(base + skip, 0, here);
		skip = 0;
		if (direction != ZERO)
			buf += here;
		len -= here;
	}
	return true;
}

void weft_hop_copy_out(const struct weft_hop *self, uint64_t at, void *buf, size_t len)
{
	walk(self, at, buf, len, OUT);
}

void weft_hop_copy_in(const struct weft_hop *self, uint64_t at, const void *buf, size_t len)
{
	walk(self, at, (char *)(uintptr_t)buf, len, IN);
}

bool weft_hop_equals(const struct weft_hop *self, uint64_t at, const void *buf, size_t len)
{
	return walk(self, at, (char *)(uintptr_t)buf, len, EQUAL);
}

void weft_hop_zero_fill(const struct weft_hop *self, uint64_t at, size_t len)
{
	walk(self, at, NULL, len, ZERO);
}

const char *weft_op_name(unsigned op)
{
	static const char *const names[WEFT_OP_COUNT] = {
		"READ", "WRITE", "FLUSH", "DISCARD", "ZERO", "COMPARE-WRITE", "COPY", "STATUS",
	};

	return op < WEFT_OP_COUNT ? names[op] : "?";
}

struct text {
	char *at;
	size_t size, len;
};

static void WEFT_PRINTF(2, 3) put(struct text *text, const char *format, ...)
{
	size_t room = text->len < text->size ? text->size - text->len : 0;
	va_list args;
	int n;

	WEFT_ASSERT(text->at != NULL || text->size == 0);
	va_start(args, format);
	n = vsnprintf(room > 0 ? text->at + text->len : NULL, room, format, args);
	va_end(args);
	text->len += n > 0 ? (size_t)n : 0;
}

static const char *device_name(const struct weft_blk *blk)
{
	return blk != NULL && blk->object != NULL && blk->object->name != NULL ? blk->object->name : "?";
}

static void put_below(struct text *text, const struct weft_hop *hop, uint64_t now_ns)
{
	unsigned width = hop->up_at == 0 ? 1 : hop->blk->ops->width, shown = 0;
	const struct weft_hop *on = hop_goes_on(hop);

	WEFT_ASSERT(hop->up_at == 0 || hop->blk != NULL);
	for (unsigned i = 0; i < width; i++) {
		const struct weft_hop *child = hop_child(on, i);
		uint64_t waited = now_ns > child->asked_at ? now_ns - child->asked_at : 0;

		if (child->state != WEFT_HOP_ASKED && child->state != WEFT_HOP_ENDED)
			continue;
		if (width > 1)
			put(text, "%s%u: ", shown++ == 0 ? " -> " : ", ", i);
		else
			put(text, " | ");
		put(text, "%s", device_name(child->blk));
		if (child->state == WEFT_HOP_ENDED)
			put(text, " done");
		else if (child->blk->ops->width == 0)
			put(text, " waiting %" PRIu64 " us", waited / 1000);
		else
			put_below(text, child, now_ns);
	}
}

int weft_hop_path(const struct weft_hop *root, uint64_t now_ns, char *text, size_t size)
{
	struct text out = { text, size, 0 };

	WEFT_ASSERT(root->up_at == 0 && (text != NULL || size == 0));
	if (hop_child(root, 0)->state == WEFT_HOP_IDLE)
		put(&out, "waits for room for its segments"); /* what it is has not been looked at */
	else
		put(&out, "%s %" PRIu64 "@%" PRIu64, weft_op_name(root->op), root->len, root->offset);
	put_below(&out, root, now_ns);
	return (int)out.len;
}
