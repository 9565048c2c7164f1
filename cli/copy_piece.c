/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The data path of a piece. Copying: it is read, then written, run by run where zeroes are looked for, one request at a time;
 * or zeroed. Verifying: it is read from both at once, and compared, whatever they say of themselves.
 */
#include <errno.h>
#include <string.h>

#include "cli/copy.h"

bool copy_is_zero(const uint8_t *bytes, uint64_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

static struct copy_piece *piece_of(struct weft_hop *root)
{
	return (struct copy_piece *)(uintptr_t)WEFT_CONTAINER(root, struct weft_slot, root)->tag;
}

static bool is_verifying(const struct copy_piece *piece)
{
	return piece->worker->copy->phase == COPY_VERIFYING;
}

static void submit(struct copy_piece *piece, struct weft_slot *slot, unsigned op, uint8_t *data, uint64_t offset, uint64_t len,
	weft_hop_done *done)
{
	slot->segs[0] = (struct weft_seg){ .base = data, .len = data != NULL ? (uint32_t)len : 0,
		.region = (uint16_t)piece->worker->copy->memory.region };
	piece->in_flight++;
	weft_slot_submit(slot, op, 0, offset, len, data != NULL ? 1 : 0, done);
}

static void fail(struct copy_piece *piece, int error, const char *what, uint64_t offset, uint64_t len, bool target)
{
	piece->failed = true;
	copy_failed(piece->worker, error, what, offset, len, target);
}

/* ---- copying ---- */

static void write_next(struct copy_piece *piece);

static void written(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct copy_piece *piece = piece_of(root);
	struct copy_counts *counts = &piece->worker->counts;
	bool zeroed = child->op == WEFT_ZERO;

	piece->in_flight--;
	if (status != 0)
		fail(piece, status, zeroed ? "zeroing" : "writing", child->offset, child->len, true);
	else
		*(zeroed ? &counts->zeroed : &counts->data) += piece->run;
	piece->done += piece->run;
	if (piece->failed || piece->done == piece->len)
		copy_piece_ended(piece);
	else
		write_next(piece);
}

/* How much from `done` on is of the same kind; *zero: zeroes. */
static uint64_t next_run(const struct copy_piece *piece, bool *zero)
{
	const struct copy *copy = piece->worker->copy;
	uint64_t grain = copy->align > COPY_GRAIN ? copy->align : COPY_GRAIN, at = piece->done;
	bool first = true;

	*zero = false;
	if (!copy->options.sparse)
		return piece->len;
	for (; at < piece->len; first = false) {
		uint64_t here = piece->len - at < grain ? piece->len - at : grain;
		bool zeroes = copy_is_zero(piece->data + at, here);

		if (!first && zeroes != *zero)
			break;
		*zero = zeroes;
		at += here;
	}
	return at - piece->done;
}

static void write_next(struct copy_piece *piece)
{
	bool zero;

	while (piece->done < piece->len) {
		piece->run = next_run(piece, &zero);
		if (!zero || !piece->target_zero) {
			submit(piece, piece->target, zero ? WEFT_ZERO : WEFT_WRITE, zero ? NULL : piece->data + piece->done,
				piece->from + piece->done, piece->run, written);
			return;
		}
		piece->worker->counts.left_zero += piece->run;
		piece->done += piece->run;
	}
	copy_piece_ended(piece);
}

/* ---- verifying ---- */

/* They differed a moment ago: where? A server that shares this memory may have changed it since. */
static void tell_difference(struct copy_piece *piece)
{
	struct copy_worker *worker = piece->worker;
	bool first = worker->error == 0;
	uint64_t at = 0;

	while (at + 1 < piece->len && piece->data[at] == piece->other[at])
		at++;
	fail(piece, -EILSEQ, "comparing", piece->from + at, 1, true);
	if (first)
		weft_why(&worker->why, -EILSEQ, "copy: --verify: byte %llu differs: the source holds 0x%02x, the destination "
			"0x%02x: "
			"see that nobody writes to either, then copy again", (unsigned long long)(piece->from + at),
			piece->data[at], piece->other[at]);
}

static void both_read(struct copy_piece *piece)
{
	if (piece->in_flight > 0)
		return;
	if (!piece->failed && memcmp(piece->data, piece->other, piece->len) == 0)
		piece->worker->counts.compared += piece->len;
	else if (!piece->failed)
		tell_difference(piece);
	copy_piece_ended(piece);
}

static void target_read(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct copy_piece *piece = piece_of(root);

	piece->in_flight--;
	if (status != 0)
		fail(piece, status, "reading", child->offset, child->len, true);
	both_read(piece);
}

/* ---- both ---- */

static void source_read(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct copy_piece *piece = piece_of(root);

	piece->in_flight--;
	if (status != 0)
		fail(piece, status, "reading", child->offset, child->len, false);
	if (is_verifying(piece))
		both_read(piece);
	else if (piece->failed)
		copy_piece_ended(piece);
	else
		write_next(piece);
}

void copy_piece_begin(struct copy_piece *piece)
{
	WEFT_ASSERT(piece->in_flight == 0 && piece->len > 0);
	piece->done = 0;
	piece->run = piece->len;
	piece->ended = piece->failed = false;
	WEFT_ASSERT(!is_verifying(piece) || !piece->zero);
	if (piece->zero)
		submit(piece, piece->target, WEFT_ZERO, NULL, piece->from, piece->len, written);
	else
		submit(piece, piece->source, WEFT_READ, piece->data, piece->from, piece->len, source_read);
	if (is_verifying(piece))
		submit(piece, piece->target, WEFT_READ, piece->other, piece->from, piece->len, target_read);
}
