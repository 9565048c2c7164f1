/* SPDX-License-Identifier: BSD-2-Clause */
/* What is tried of a device. Each case writes what it needs, and counts on nothing that another one left. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "cli/check.h"

/* ---- data ---- */

static void fill(struct check *check, uint8_t *bytes, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += 8) {
		uint64_t word = check_rand(check, UINT64_MAX);

		memcpy(bytes + i, &word, len - i < 8 ? len - i : 8);
	}
}

static bool is_zero(const uint8_t *bytes, uint64_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* What is to be used of the device. */
static uint64_t span(const struct check *check)
{
	return check->blk->size < CHECK_SPAN ? check->blk->size : CHECK_SPAN;
}

static uint64_t blocks(const struct check *check, uint64_t bytes)
{
	uint64_t most = span(check) / 2, len = bytes > check->blk->block ? bytes : check->blk->block;

	len = len < most || most == 0 ? len : most;
	return len < check->blk->block ? check->blk->block : len - len % check->blk->block;
}

static bool went_well(struct check *check, int status, const char *what, uint64_t offset, uint64_t len)
{
	if (status != 0)
		check_failed(check, "%s %" PRIu64 " bytes at %" PRIu64 ": %s", what, len, offset, strerrordesc_np(-status));
	return status == 0;
}

static bool write_at(struct check *check, unsigned flags, uint64_t offset, uint64_t len)
{
	return went_well(check, check_ask(check, WEFT_WRITE, flags, offset, len, check->data), "writing", offset, len);
}

static bool read_at(struct check *check, uint64_t offset, uint64_t len)
{
	memset(check->back, 0xa5, len);
	return went_well(check, check_ask(check, WEFT_READ, 0, offset, len, check->back), "reading", offset, len);
}

/* Reads, and compares with `data`. */
static bool holds(struct check *check, uint64_t offset, uint64_t len, const uint8_t *data)
{
	uint64_t at = 0;

	if (!read_at(check, offset, len))
		return false;
	while (at < len && check->back[at] == data[at])
		at++;
	if (at < len)
		check_failed(check, "byte %" PRIu64 " reads as 0x%02x, it should be 0x%02x", offset + at, check->back[at],
			data[at]);
	return at == len;
}

static bool fill_and_write(struct check *check, uint64_t offset, uint64_t len)
{
	fill(check, check->data, len);
	return write_at(check, 0, offset, len);
}

static bool refused(struct check *check, int status, const char *what, uint64_t offset, uint64_t len)
{
	if (status == 0)
		check_failed(check, "%s %" PRIu64 " bytes at %" PRIu64 " was accepted", what, len, offset);
	return status != 0;
}

/* ---- the cases ---- */

static void geometry(struct check *check)
{
	const struct weft_blk *blk = check->blk;

	if (blk->size == 0 || blk->size % blk->block != 0)
		check_failed(check, "a size of %" PRIu64 " is no multiple of the block of %u", blk->size, blk->block);
	if (blk->physical != 0 && blk->physical % blk->block != 0)
		check_failed(check, "a physical block of %u is no multiple of the block of %u", blk->physical, blk->block);
	if (blk->optimal % blk->block != 0)
		check_failed(check, "an optimal transfer of %u is no multiple of the block of %u", blk->optimal, blk->block);
}

static void reads_see_writes(struct check *check)
{
	static const uint16_t lengths[] = { 1, 2, 3, 7, 8, 16, 33, 64, 129 };
	uint32_t block = check->blk->block;

	for (unsigned round = 0; round < 4; round++)
		for (unsigned i = 0; i < WEFT_COUNT(lengths); i++) {
			uint64_t len = blocks(check, (uint64_t)lengths[i] * block);
			uint64_t offset = check_rand(check, (span(check) - len) / block + 1) * block;

			if (!fill_and_write(check, offset, len) || !holds(check, offset, len, check->data))
				return;
		}
}

/* Writes do not reach their neighbours. */
static void neighbours(struct check *check)
{
	uint64_t block = check->blk->block, all = blocks(check, 9 * block), hole = all / block / 2 * block;

	if (all < 3 * block) {
		check_skipped(check, "the device has less than 6 blocks");
		return;
	}
	if (!fill_and_write(check, 0, all))
		return;
	fill(check, check->data + hole, block);
	if (went_well(check, check_ask(check, WEFT_WRITE, 0, hole, block, check->data + hole), "writing", hole, block))
		holds(check, 0, all, check->data);
}

static void end_of_device(struct check *check)
{
	uint64_t block = check->blk->block, size = check->blk->size, last = size - block;

	if (!fill_and_write(check, last, block) || !holds(check, last, block, check->data))
		return;
	refused(check, check_ask(check, WEFT_READ, 0, last, 2 * block, check->back), "reading", last, 2 * block);
	memset(check->back, 0, 2 * block);
	refused(check, check_ask(check, WEFT_WRITE, 0, last, 2 * block, check->back), "writing", last, 2 * block);
	holds(check, last, block, check->data);
}

static void out_of_range(struct check *check)
{
	uint64_t block = check->blk->block, size = check->blk->size;
	const uint64_t offsets[] = { size, size + block, UINT64_MAX - block + 1, (uint64_t)1 << 63, UINT64_MAX / block * block };

	if (!fill_and_write(check, 0, block))
		return;
	memset(check->back, 0, block);
	for (unsigned i = 0; i < WEFT_COUNT(offsets); i++) {
		refused(check, check_ask(check, WEFT_READ, 0, offsets[i], block, check->back), "reading", offsets[i], block);
		refused(check, check_ask(check, WEFT_WRITE, 0, offsets[i], block, check->back), "writing", offsets[i], block);
		refused(check, check_ask(check, WEFT_ZERO, 0, offsets[i], block, NULL), "zeroing", offsets[i], block);
		refused(check, check_ask(check, WEFT_DISCARD, 0, offsets[i], block, NULL), "discarding", offsets[i], block);
	}
	refused(check, check_ask(check, WEFT_ZERO, 0, block, UINT64_MAX - block + 1, NULL), "zeroing", block,
		UINT64_MAX - block + 1);
	holds(check, 0, block, check->data);
}

static void misaligned(struct check *check)
{
	uint64_t block = check->blk->block, len = blocks(check, 4 * block);
	const uint64_t wrong[][2] = { { 1, block }, { 0, 1 }, { 0, block - 1 }, { block / 2, block }, { 0, block + 1 } };

	if (!fill_and_write(check, 0, len))
		return;
	memset(check->back, 0, 2 * block);
	for (unsigned i = 0; i < WEFT_COUNT(wrong); i++) {
		uint64_t at = wrong[i][0], n = wrong[i][1];

		refused(check, check_ask(check, WEFT_READ, 0, at, n, check->back), "reading", at, n);
		refused(check, check_ask(check, WEFT_WRITE, 0, at, n, check->back), "writing", at, n);
		refused(check, check_ask(check, WEFT_ZERO, 0, at, n, NULL), "zeroing", at, n);
		refused(check, check_ask(check, WEFT_DISCARD, 0, at, n, NULL), "discarding", at, n);
	}
	holds(check, 0, len, check->data);
}

/* A write and a read with such segments, one after the other in memory, `shift` bytes off a page. */
static bool round_trip(struct check *check, struct weft_seg *segs, unsigned nsegs, uint64_t shift, uint64_t len)
{
	struct check_request request = { .op = WEFT_WRITE, .len = len, .segs = segs, .nsegs = nsegs };
	uint64_t at = 0;

	for (unsigned i = 0; i < nsegs; at += segs[i++].len)
		segs[i].base = check->data + shift + at;
	fill(check, check->data + shift, len);
	check_start(check, &request);
	if (!went_well(check, check_wait(check, &request), "writing", 0, len))
		return false;
	memset(check->back, 0, len + shift);
	request.op = WEFT_READ;
	at = 0;
	for (unsigned i = 0; i < nsegs; at += segs[i++].len)
		segs[i].base = check->back + shift + at;
	check_start(check, &request);
	if (!went_well(check, check_wait(check, &request), "reading", 0, len))
		return false;
	if (memcmp(check->data + shift, check->back + shift, len) != 0)
		check_failed(check, "%u segments, memory %" PRIu64 " bytes off a page: other data came back", nsegs, shift);
	return check->verdict.result == CHECK_OK;
}

static void misaligned_memory(struct check *check)
{
	static const uint16_t shifts[] = { 1, 2, 3, 4, 8, 64, 511, 512, 513, 4095 };
	uint64_t len = blocks(check, 16384);
	struct weft_seg whole = { .len = (uint32_t)len }, pieces[2] = { { .len = 1 }, { .len = (uint32_t)len - 1 } };

	for (unsigned i = 0; i < WEFT_COUNT(shifts); i++)
		if (!round_trip(check, &whole, 1, shifts[i], len) || !round_trip(check, pieces, 2, shifts[i], len))
			return;
	whole.foreign = 1;
	round_trip(check, &whole, 1, 0, len);
}

static void many_segments(struct check *check)
{
	static struct weft_seg segs[WEFT_VECTOR_SEGS];
	static const uint16_t numbers[] = { 2, 7, 8, 9, 64, 126, 128, 256, 1024, WEFT_VECTOR_SEGS };
	static const uint16_t sizes[] = { 512, 4096 };

	for (unsigned i = 0; i < WEFT_COUNT(numbers); i++)
		for (unsigned j = 0; j < WEFT_COUNT(sizes); j++) {
			uint64_t len = (uint64_t)numbers[i] * sizes[j];

			if (len % check->blk->block != 0 || len > span(check))
				continue;
			for (unsigned k = 0; k < numbers[i]; k++)
				segs[k] = (struct weft_seg){ .len = sizes[j] };
			if (!round_trip(check, segs, numbers[i], 0, len))
				return;
		}
}

static void long_requests(struct check *check)
{
	uint64_t least = check->blk->block > 256 << 10 ? check->blk->block : 256 << 10;

	for (uint64_t len = least; len <= CHECK_LONG && len <= span(check); len *= 2)
		if (!fill_and_write(check, 0, len) || !holds(check, 0, len, check->data))
			return;
}

/* How often the device has been made to put its cache away: asked for, or by us for a FUA that it does not know. */
static uint64_t flushes(const struct check *check)
{
	struct weft_stats stats;

	weft_blk_stats(check->blk, &stats);
	return stats.of[WEFT_STAT_FLUSH].requests + stats.fua_flushes;
}

static void flush(struct check *check)
{
	if (fill_and_write(check, 0, blocks(check, 65536)) &&
			went_well(check, check_ask(check, WEFT_FLUSH, 0, 0, 0, NULL), "flushing", 0, 0))
		holds(check, 0, blocks(check, 65536), check->data);
}

static void fua(struct check *check)
{
	uint64_t len = blocks(check, 65536), before = flushes(check);

	fill(check, check->data, len);
	if (!write_at(check, WEFT_FUA, 0, len) || !holds(check, 0, len, check->data))
		return;
	if (check->blk->volatile_cache && (check->blk->flags_can & WEFT_FUA) == 0 && flushes(check) == before)
		check_failed(check, "the device has a volatile cache and does not know FUA, but was not flushed");
	memset(check->data, 0, len);
	if (went_well(check, check_ask(check, WEFT_ZERO, WEFT_FUA, 0, len, NULL), "zeroing", 0, len))
		holds(check, 0, len, check->data);
}

static void discard(struct check *check)
{
	uint64_t block = check->blk->block, all = blocks(check, 1 << 20), len = all / 4 / block * block, at = len;
	uint8_t *data = check->data;

	if ((check->blk->ops_can & WEFT_OP_BIT(WEFT_DISCARD)) == 0 || len == 0) {
		check_skipped(check, len == 0 ? "the device is too small" : "the device does not discard");
		return;
	}
	if (!fill_and_write(check, 0, all) ||
			!went_well(check, check_ask(check, WEFT_DISCARD, 0, at, len, NULL), "discarding", at, len) ||
			!read_at(check, at, len))
		return;
	memcpy(data + at, check->back, len); /* whatever is there now stays there */
	if (!holds(check, 0, all, data))
		return;
	fill(check, data + at, len);
	if (went_well(check, check_ask(check, WEFT_WRITE, 0, at, len, data + at), "writing", at, len))
		holds(check, 0, all, data);
}

/* Zeroes in the middle of data, with `flags`. */
static void zeroes_with(struct check *check, unsigned flags, const char *name, uint64_t all)
{
	uint64_t block = check->blk->block, at = block, len = all - 2 * block;
	int status;

	if (all < 3 * block) {
		check_skipped(check, "the device is too small");
		return;
	}
	if (!fill_and_write(check, 0, all))
		return;
	status = check_ask(check, WEFT_ZERO, flags, at, len, NULL);
	if (status == -EOPNOTSUPP && (flags & WEFT_FAST) != 0) {
		holds(check, 0, all, check->data); /* refused: nothing may have happened */
		return;
	}
	if (!went_well(check, status, name, at, len))
		return;
	memset(check->data + at, 0, len);
	holds(check, 0, all, check->data);
}

static void zeroes(struct check *check)
{
	static const struct {
		unsigned flags;
		const char *name;
	} ways[] = { { 0, "zeroing" }, { WEFT_NO_UNMAP, "zeroing (no unmap)" }, { WEFT_FUA, "zeroing (FUA)" },
		{ WEFT_FAST, "zeroing (fast)" }, { WEFT_FAST | WEFT_NO_UNMAP, "zeroing (fast, no unmap)" },
		{ WEFT_FUA | WEFT_NO_UNMAP, "zeroing (FUA, no unmap)" } };

	for (unsigned i = 0; i < WEFT_COUNT(ways) && check->verdict.result == CHECK_OK; i++) {
		zeroes_with(check, ways[i].flags, ways[i].name, blocks(check, 65536));
		if (check->verdict.result == CHECK_OK)
			zeroes_with(check, ways[i].flags, ways[i].name, blocks(check, 8 << 20));
	}
}

static bool compares(struct check *check)
{
	return (check->blk->ops_can & WEFT_OP_BIT(WEFT_COMPARE_WRITE)) != 0;
}

/* `both`: what is compared, and behind it what is written. */
static struct check_request compare_request(uint64_t offset, uint64_t len, uint8_t *both, struct weft_seg *seg)
{
	*seg = (struct weft_seg){ .base = both, .len = (uint32_t)(2 * len) };
	return (struct check_request){ .op = WEFT_COMPARE_WRITE, .offset = offset, .len = len, .segs = seg, .nsegs = 1 };
}

static int compare_ask(struct check *check, unsigned flags, uint64_t offset, uint64_t len, uint8_t *both)
{
	struct weft_seg seg;
	struct check_request request = compare_request(offset, len, both, &seg);

	request.flags = flags;
	check_start(check, &request);
	return check_wait(check, &request);
}

static bool differed(struct check *check, int status)
{
	if (status != -EILSEQ)
		check_failed(check, "what differs was compared, and the answer was %d, not %d", status, -EILSEQ);
	return status == -EILSEQ;
}

/* What is there, what differs in one byte, and what is not there any more. */
static bool compare_length(struct check *check, unsigned flags, uint64_t len)
{
	const uint64_t wrong[] = { 0, len / 2, len - 1 };
	uint8_t *is = check->data, *both = is + len;

	if (!fill_and_write(check, 0, len))
		return false;
	fill(check, both + len, len);
	for (unsigned i = 0; i < WEFT_COUNT(wrong); i++) {
		memcpy(both, is, len);
		both[wrong[i]] ^= 1;
		if (!differed(check, compare_ask(check, flags, 0, len, both)) || !holds(check, 0, len, is))
			return false;
	}
	memcpy(both, is, len);
	return went_well(check, compare_ask(check, flags, 0, len, both), "comparing", 0, len) &&
		holds(check, 0, len, both + len) && differed(check, compare_ask(check, flags, 0, len, both)) &&
		holds(check, 0, len, both + len);
}

static void compare_refusals(struct check *check, uint64_t longest)
{
	uint64_t block = check->blk->block, size = check->blk->size;
	const uint64_t wrong[][2] = { { size - block, 2 * block }, { size, block }, { UINT64_MAX - block + 1, block }, { 1, block },
		{ 0, block - 1 }, { 0, longest + block } };

	if (!fill_and_write(check, 0, block))
		return;
	memcpy(check->data + block, check->data, block);
	for (unsigned i = 0; i < WEFT_COUNT(wrong); i++)
		if (wrong[i][1] <= CHECK_LONG / 2) {
			int status = compare_ask(check, 0, wrong[i][0], wrong[i][1], check->data);

			refused(check, status == -EILSEQ ? 0 : status, "comparing", wrong[i][0], wrong[i][1]);
		}
	holds(check, 0, block, check->data);
}

static void compare_and_write(struct check *check)
{
	uint64_t block = check->blk->block, longest = check->blk->max_compare, len;
	int status;

	if (!compares(check)) {
		fill(check, check->data + block, block);
		if (!fill_and_write(check, 0, block))
			return;
		status = compare_ask(check, 0, 0, block, check->data);
		if (status != -EOPNOTSUPP)
			check_failed(check, "the device does not compare, and the answer was %d, not %d", status, -EOPNOTSUPP);
		else if (holds(check, 0, block, check->data))
			check_skipped(check, "the device does not compare");
		return;
	}
	len = longest < CHECK_LONG / 4 ? longest : CHECK_LONG / 4;
	if (compare_length(check, 0, block) && compare_length(check, WEFT_FUA, block) &&
			compare_length(check, 0, blocks(check, len)))
		compare_refusals(check, longest);
}

enum { RIVALS = 15, RACES = 60, RACE_LONG = (CHECK_LONG + CHECK_GAP) / (2 * RIVALS + 3) /* more than the largest block */ };

/* Dealt out to all lanes from the `first` on, and begun in one turn on each. */
static void start_together(struct check *check, struct check_request *requests, unsigned n, unsigned first)
{
	struct check_request *of[CHECK_LANES] = { NULL };

	for (unsigned i = n; i-- > 0;) {
		struct check_request *request = &requests[(first + i) % n];

		request->lane = i % (unsigned)check->lanes;
		request->also = of[request->lane];
		of[request->lane] = request;
	}
	for (unsigned i = 0; i < check->lanes; i++)
		if (of[i] != NULL)
			check_start(check, of[i]);
}

/* Rivals compare with what is there, all at once: one may write. A plain write in their middle is not lost, whoever was first. */
static bool race(struct check *check, bool plain, uint64_t len)
{
	static struct check_request requests[RIVALS + 1];
	static struct weft_seg segs[RIVALS + 1];
	uint64_t block = check->blk->block, middle = len / block / 2 * block;
	uint8_t *is = check->data, *next = is + len;
	unsigned first = (unsigned)check_rand(check, RIVALS), won = 0, all = RIVALS + plain;

	if (!fill_and_write(check, 0, len))
		return false;
	fill(check, next, 2 * len * (RIVALS + 1));
	for (unsigned i = 0; i < RIVALS; i++, next += 2 * len) {
		memcpy(next, is, len);
		requests[i] = compare_request(0, len, next, &segs[i]);
	}
	segs[RIVALS] = (struct weft_seg){ .base = next, .len = (uint32_t)block };
	requests[RIVALS] = (struct check_request){ .op = WEFT_WRITE, .offset = middle, .len = block, .segs = &segs[RIVALS],
		.nsegs = 1 };
	start_together(check, requests, all, first % all);
	for (unsigned i = 0; i < all; i++) {
		int status = check_wait(check, &requests[i]);

		if (i == RIVALS ? !went_well(check, status, "writing", middle, block) : status != 0 && !differed(check, status))
			return false;
		if (i < RIVALS && status == 0 && won++ == 0)
			memcpy(is, (const uint8_t *)segs[i].base + len, len);
	}
	if (won > 1 || (won == 0 && !plain))
		check_failed(check, "%u at once compared with what was there, and %u of them wrote", RIVALS, won);
	if (plain)
		memcpy(is + middle, next, block);
	return won <= 1 && holds(check, 0, len, is);
}

static void compare_at_once(struct check *check)
{
	uint64_t block = check->blk->block, len = 3 * block;

	if (!compares(check)) {
		check_skipped(check, "the device does not compare");
		return;
	}
	len = len < check->blk->max_compare ? len : check->blk->max_compare;
	len = len < RACE_LONG ? len : RACE_LONG;
	len = blocks(check, len);
	for (unsigned i = 0; i < RACES; i++)
		if (!race(check, i % 2 != 0, len))
			return;
}

static void copy(struct check *check)
{
	uint64_t len = blocks(check, 256 << 10) / 2 / check->blk->block * check->blk->block;
	struct check_request request = { .op = WEFT_COPY, .offset = len, .len = len, .source = 0 };

	if (len == 0) {
		check_skipped(check, "the device is too small");
		return;
	}
	if (!fill_and_write(check, 0, 2 * len))
		return;
	check_start(check, &request);
	if (!went_well(check, check_wait(check, &request), "copying", len, len))
		return;
	memcpy(check->data + len, check->data, len);
	if (!holds(check, 0, 2 * len, check->data))
		return;
	request.source = check->blk->size;
	check_start(check, &request);
	if (refused(check, check_wait(check, &request), "copying from beyond the end", len, len))
		holds(check, 0, 2 * len, check->data);
}

/* The extents of [offset, offset + len): in order, without gaps, inside. How far they reach; 0: they are wrong. */
static uint64_t extents_of(struct check *check, uint64_t offset, uint64_t len, struct weft_extent *extents, unsigned most)
{
	uint64_t end = offset;

	memset(extents, 0, most * sizeof(*extents));
	if (!went_well(check, check_ask(check, WEFT_STATUS, 0, offset, len, extents), "asking for the status of", offset, len))
		return 0;
	for (unsigned i = 0; i < most && extents[i].len > 0 && end < offset + len; i++) {
		if (extents[i].offset != end || extents[i].len > offset + len - end) {
			check_failed(check, "the status of %" PRIu64 " bytes at %" PRIu64 " has an extent of %" PRIu64 " at "
				"%" PRIu64, len,
				offset, extents[i].len, extents[i].offset);
			return 0;
		}
		end += extents[i].len;
	}
	if (end == offset)
		check_failed(check, "the status of %" PRIu64 " bytes at %" PRIu64 " says nothing", len, offset);
	return end;
}

static void block_status(struct check *check)
{
	enum { MOST = 32 };
	static struct weft_extent extents[MOST];
	uint64_t block = check->blk->block, all = blocks(check, 4 << 20), at = 0, end;

	if (!fill_and_write(check, 0, all) ||
			!went_well(check, check_ask(check, WEFT_ZERO, 0, all / 4 / block * block, all / 4 / block * block, NULL),
				"zeroing",
			all / 4, all / 4))
		return;
	memset(check->data + all / 4 / block * block, 0, all / 4 / block * block);
	for (; at < all; at = end) {
		uint64_t from = at;

		end = check_ask(check, WEFT_FLUSH, 0, 0, 0, NULL) == 0 ? extents_of(check, at, all - at, extents, MOST) : 0;
		if (end <= at)
			return;
		for (unsigned i = 0; i < MOST && extents[i].len > 0 && from < end; from += extents[i++].len)
			if ((extents[i].flags & WEFT_EXTENT_ZERO) != 0 && !is_zero(check->data + from, extents[i].len)) {
				check_failed(check, "the status calls %" PRIu64 " bytes at %" PRIu64 " zeroes, but data was "
					"written there",
					extents[i].len, from);
				return;
			}
	}
	holds(check, 0, all, check->data);
}

static void resize(struct check *check)
{
	uint64_t size = check->blk->size, block = check->blk->block, more = block > 1 << 20 ? block : 1 << 20;
	int status;

	if (check->object->kind->resize == NULL) {
		check_skipped(check, "the device is not resized from here");
		return;
	}
	status = check_resize(check, size + more);
	if (status != 0) {
		check_skipped(check, "it cannot grow here: %s", strerrordesc_np(-status));
		return;
	}
	if (check->blk->size != size + more)
		check_failed(check, "it was made %" PRIu64 " bytes larger, and has %" PRIu64 " bytes still", more,
			check->blk->size);
	else if (fill_and_write(check, size + more - block, block))
		holds(check, size + more - block, block, check->data);
	if (went_well(check, check_resize(check, size), "making smaller again", 0, size) && check->blk->size != size)
		check_failed(check, "it was made as small as before, and has %" PRIu64 " bytes", check->blk->size);
	refused(check, check_ask(check, WEFT_READ, 0, size, block, check->back), "reading what is not there any more:", size,
		block);
}

/* A piece of the device, small enough that there are some. */
static uint64_t cell(const struct check *check)
{
	return check->blk->block < 4096 && span(check) >= 1 << 20 ? 4096 : check->blk->block;
}

/* As many of `n` as find room on the device and in our memory, each with `len` bytes. */
static unsigned fewer(const struct check *check, unsigned n, uint64_t len)
{
	while (n > 1 && (n * len > span(check) || n * len > CHECK_LONG))
		n /= 2;
	return n;
}

/* Many at once, each at a place of its own; `n` on each of `lanes`. */
static bool at_once(struct check *check, unsigned op, unsigned n, unsigned lanes, unsigned shift, uint64_t len, uint8_t *data)
{
	static struct check_request requests[CHECK_LANES * CHECK_SLOTS];
	static struct weft_seg segs[CHECK_LANES * CHECK_SLOTS];
	bool well = true;

	for (unsigned i = 0; i < n * lanes; i++) {
		segs[i] = (struct weft_seg){ .base = data + i * len, .len = (uint32_t)len };
		requests[i] = (struct check_request){ .op = op, .offset = i * len, .len = len, .segs = &segs[i], .nsegs = 1,
			.lane = (i / n + shift) % lanes };
		check_start(check, &requests[i]);
	}
	for (unsigned i = 0; i < n * lanes; i++) {
		int status = check_wait(check, &requests[i]);

		well &= went_well(check, status, weft_op_name(op), i * len, len);
	}
	return well;
}

static void depth(struct check *check)
{
	uint64_t len = cell(check);
	unsigned n = fewer(check, 128, len);

	fill(check, check->data, n * len);
	if (!at_once(check, WEFT_WRITE, n, 1, 0, len, check->data) || !at_once(check, WEFT_READ, n, 1, 0, len, check->back))
		return;
	if (memcmp(check->data, check->back, n * len) != 0)
		check_failed(check, "%u requests at once: other data came back", n);
}

/* What one queue has written, another one reads. */
static void queues(struct check *check)
{
	uint64_t len = cell(check);
	unsigned lanes = (unsigned)check->lanes, n = fewer(check, 32, lanes * len);

	if (lanes < 2 || lanes * len > span(check)) {
		check_skipped(check, lanes < 2 ? "--queues is 1" : "the device is too small");
		return;
	}
	for (unsigned shift = 1; shift < lanes; shift++) {
		fill(check, check->data, n * lanes * len);
		if (!at_once(check, WEFT_WRITE, n, lanes, 0, len, check->data) ||
				!at_once(check, WEFT_READ, n, lanes, shift, len, check->back))
			return;
		if (memcmp(check->data, check->back, n * lanes * len) != 0)
			check_failed(check, "what one queue wrote, another one did not read");
	}
}

/* The waist lets no such request through to a device; a server must refuse it by itself. */
static void server_out_of_range(struct check *check)
{
	uint64_t block = check->blk->block, size = check->blk->size, len = blocks(check, 4 * block);

	if (check_reopen(check, "beyond", "16MiB") != 0)
		return;
	fill(check, check->data, len);
	memset(check->back, 0, len);
	if (write_at(check, 0, size - len, len)) {
		refused(check, check_ask(check, WEFT_READ, 0, size, block, check->back), "reading", size, block);
		refused(check, check_ask(check, WEFT_READ, 0, size - block, 2 * block, check->back), "reading", size - block,
			2 * block);
		refused(check, check_ask(check, WEFT_WRITE, 0, size, block, check->back), "writing", size, block);
		refused(check, check_ask(check, WEFT_WRITE, 0, size - block, 2 * block, check->back), "writing", size - block,
			2 * block);
		holds(check, size - len, len, check->data);
	}
	check_reopen(check, NULL, NULL);
}

const struct check_case check_cases[] = {
	{ "geometry", geometry }, { "reads see writes", reads_see_writes }, { "neighbours stay", neighbours },
	{ "end of the device", end_of_device }, { "out of range is refused", out_of_range },
	{ "misaligned is refused", misaligned }, { "misaligned memory", misaligned_memory }, { "many segments", many_segments },
	{ "long requests", long_requests }, { "flush", flush }, { "FUA", fua }, { "discard", discard }, { "zeroes", zeroes },
	{ "compare and write", compare_and_write }, { "compare and write, at once", compare_at_once }, { "copy", copy },
	{ "block status", block_status }, { "resize", resize },
	{ "depth", depth }, { "queues", queues }, { "order, at once and overlapping", check_load },
	{ "the server refuses what is out of range", server_out_of_range }, { 0 },
};
