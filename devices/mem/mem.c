/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mem: a disk in memory. Sparse: pages come when they are first written and go when they are discarded.
 * Callable everywhere: requests that overlap in time may mix, block by block, as on a disk.
 *
 * One byte per granule says whether the granule was written since it was last dropped: that is the block
 * status. A writer copies, then marks; a dropper clears the mark, then drops. So an unmarked granule never
 * holds data, whatever the interleaving.
 *
 * A long request is done in parts, one of a shard in a turn of the reactor (weft_hop_yield): a guest that asks for a
 * gigabyte holds nobody up. Parts are as long as what all of them do on average in some tenths of a millisecond.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <weft/memory.h>

#include "core/core.h"
#include "devices/device.h"
#include "env/env.h"

#define MEM_PAGE 4096u
#define MEM_HUGE (2u << 20)
#define MEM_GRANULE (64u << 10)
/* Shorter runs are zeroed by writing: giving pages back and faulting them in again costs more. */
#define MEM_DROP_MIN (64u << 10)
#define MEM_HUGE_AUTO (16u << 20)
/* Reads are copied at the end of the turn, one after the other, while the lines of the next are on their way:
 * a random block of a large device lies in no cache, and waiting for it is most of what it costs. They come into
 * the second cache: more of them can be under way to it than to the first. */
#define MEM_FIRST 4096u
/* What a part drops: much less work than copying as much. A multiple of each page and granule. */
#define MEM_DROP_PART (16u << 20)
/* Entries of an answer to a block status, and granules looked at for it: who wants to know more asks again. */
#define MEM_EXTENTS 4096u
#define MEM_LOOKS (16u << 10)
#define MEM_LINE 64u

enum { MEM_HUGE_CHOICE_AUTO, MEM_HUGE_CHOICE_ON, MEM_HUGE_CHOICE_OFF };

struct mem {
	struct weft_object object;
	struct weft_blk blk;
	uint64_t size, block;
	uint32_t huge_choice;
	bool huge;
	uint32_t granule_shift;
	struct env *env;
	char *base;
	_Atomic uint8_t *written;     /* by granule */
	uint64_t base_size, granules; /* bytes; entries */
};

struct mem_shard {
	struct weft_hop *head, **tail; /* reads, to be copied in this turn */
};

static void mem_mark(struct mem *mem, uint64_t offset, uint64_t len)
{
	uint64_t last = (offset + len - 1) >> mem->granule_shift;

	WEFT_ASSERT(len > 0 && last < mem->granules);
	for (uint64_t i = offset >> mem->granule_shift; i <= last; i++) {
		if (!atomic_load_explicit(&mem->written[i], memory_order_relaxed))
			atomic_store_explicit(&mem->written[i], 1, memory_order_release);
	}
}

/* Clears the marks of the granules that lie wholly inside. */
static void mem_unmark(struct mem *mem, uint64_t offset, uint64_t len)
{
	uint64_t granule = 1ull << mem->granule_shift, end = offset + len;
	uint64_t first = (offset + granule - 1) >> mem->granule_shift;
	uint64_t last = end == mem->size ? mem->granules : end >> mem->granule_shift;

	WEFT_ASSERT(last <= mem->granules);
	for (uint64_t i = first; i < last; i++)
		atomic_store_explicit(&mem->written[i], 0, memory_order_seq_cst);
}

/* Gives whole pages back; `edges` says whether what is left over at both ends is zeroed, too. */
static void mem_drop(struct mem *mem, uint64_t offset, uint64_t len, bool edges)
{
	uint64_t page = mem->huge ? MEM_HUGE : MEM_PAGE, end = offset + len;
	uint64_t from = (offset + page - 1) & ~(page - 1),
		 to = end == mem->size ? mem->base_size : end & ~(page - 1);

	WEFT_ASSERT(end <= mem->size && mem->base != NULL);
	mem_unmark(mem, offset, len);
	if (from >= to) {
		if (edges)
			memset(mem->base + offset, 0, len);
		return;
	}
	env_pages_drop(mem->env, mem->base + from, to - from);
	if (edges && offset < from)
		memset(mem->base + offset, 0, from - offset);
	if (edges && to < end)
		memset(mem->base + to, 0, end - to);
}

static void mem_zero(struct mem *mem, const struct weft_hop *hop, uint64_t offset, uint64_t len)
{
	WEFT_ASSERT(offset + len <= mem->size);
	if ((hop->flags & WEFT_NO_UNMAP) == 0 && hop->len >= MEM_DROP_MIN) {
		mem_drop(mem, offset, len, true);
		return;
	}
	memset(mem->base + offset, 0, len);
	mem_mark(mem, offset, len);
}

static void mem_copy(struct mem *mem, uint64_t to, uint64_t from, uint64_t len)
{
	WEFT_ASSERT(from + len <= mem->size);
	memmove(mem->base + to, mem->base + from, len);
	mem_mark(mem, to, len);
}

/* The run of granules in the same state that begins at `offset`; ends at `end` at the latest. */
static struct weft_extent mem_extent(const struct mem *mem, uint64_t offset, uint64_t end)
{
	uint64_t i = offset >> mem->granule_shift;
	uint8_t written = atomic_load_explicit(&mem->written[i], memory_order_acquire);
	uint64_t to;

	WEFT_ASSERT(offset < end && i < mem->granules);
	do {
		to = ++i << mem->granule_shift;
	} while (to < end && atomic_load_explicit(&mem->written[i], memory_order_acquire) == written);
	to = to < end ? to : end;
	return (struct weft_extent){ .offset = offset,
		.len = to - offset,
		.flags = written ? 0 : WEFT_EXTENT_HOLE | WEFT_EXTENT_ZERO };
}

static void mem_status(const struct mem *mem, const struct weft_hop *hop)
{
	uint64_t room = device_status_room(hop), end = hop->offset + hop->len, offset = hop->offset, at = 0;
	uint64_t last = ((offset >> mem->granule_shift) + MEM_LOOKS) << mem->granule_shift;
	struct weft_extent extent;

	end = end < last ? end : last;
	if (room > MEM_EXTENTS * sizeof(extent))
		room = MEM_EXTENTS * sizeof(extent);
	for (; at + sizeof(extent) <= room && offset < end; at += sizeof(extent)) {
		extent = mem_extent(mem, offset, end);
		WEFT_ASSERT(extent.len > 0);
		weft_hop_copy_in(hop, at, &extent, sizeof(extent));
		offset += extent.len;
	}
	extent = (struct weft_extent){ 0 };
	if (at + sizeof(extent) <= device_status_room(hop))
		weft_hop_copy_in(hop, at, &extent, sizeof(extent));
}

/* `len` bytes of the request, from `at` of it on. */
static inline __attribute__((always_inline)) void mem_part(struct mem *mem, struct weft_hop *hop, uint64_t at, uint64_t len)
{
	uint64_t offset = hop->offset + at;

	switch (hop->op) {
	case WEFT_READ:
		weft_hop_copy_in(hop, at, mem->base + offset, len);
		break;
	case WEFT_WRITE:
		weft_hop_copy_out(hop, at, mem->base + offset, len);
		mem_mark(mem, offset, len);
		break;
	case WEFT_DISCARD:
		mem_drop(mem, offset, len, false);
		break;
	case WEFT_ZERO:
		mem_zero(mem, hop, offset, len);
		break;
	case WEFT_COPY:
		mem_copy(mem, offset, hop->source + at, len);
		break;
	case WEFT_STATUS:
		mem_status(mem, hop);
		break;
	default:
		WEFT_ASSERT(hop->op == WEFT_FLUSH);
	}
}

static void mem_serve(struct mem *mem, struct weft_hop *hop)
{
	mem_part(mem, hop, 0, hop->len);
	weft_hop_complete(hop, 0);
}

/* ---- long requests, in parts ---- */

static __attribute__((noinline)) void mem_serve_long(struct mem *mem, struct weft_hop *hop)
{
	if (hop->op == WEFT_STATUS) { /* has limits of its own */
		mem_serve(mem, hop);
		return;
	}
	hop->scratch[0] = 0;
	weft_hop_yield(hop);
}

/* Bytes done are in scratch. Of parts that are dropped each but the last ends at a multiple of their length. A copy onto what it
 * reads begins at its end. */
static void mem_resume(struct weft_blk *blk, struct weft_hop *hop)
{
	struct mem *mem = DEVICE_OF(blk, struct mem);
	bool drops = hop->op == WEFT_DISCARD || (hop->op == WEFT_ZERO && (hop->flags & WEFT_NO_UNMAP) == 0);
	uint64_t done = hop->scratch[0], left = hop->len - done, len = WEFT_TURN_BYTES;

	WEFT_ASSERT(done < hop->len && hop->len > WEFT_TURN_BYTES);
	if (drops)
		len = MEM_DROP_PART - (hop->offset + done) % MEM_DROP_PART;
	len = len < left ? len : left;
	mem_part(mem, hop, hop->op == WEFT_COPY && hop->source < hop->offset ? left - len : done, len);
	hop->scratch[0] = done + len;
	if (len < left)
		weft_hop_yield(hop);
	else
		weft_hop_complete(hop, 0);
}

/* ---- reads in a pipeline ---- */

static void prefetch(const char *at, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += MEM_LINE)
		__builtin_prefetch(at + i, 0, 2);
}

/* Serves a read, and meanwhile has the lines come that `ahead` (NULL: nobody) will read. */
static void read_and_prefetch(struct mem *mem, struct weft_hop *hop, const struct weft_hop *ahead)
{
	const char *from = mem->base + hop->offset, *next = ahead != NULL ? mem->base + ahead->offset : from;
	char *to = (char *)hop->segs[0].base + hop->seg_skip;
	uint64_t both = ahead == NULL ? 0 : ahead->len < hop->len ? ahead->len : hop->len, at = 0;

	for (; at < both; at += MEM_LINE) {
		__builtin_prefetch(next + at, 0, 2);
		memcpy(to + at, from + at, MEM_LINE); /* in line */
	}
	memcpy(to + at, from + at, hop->len - at);
	weft_hop_complete(hop, 0);
}

static void mem_commit(struct weft_blk *blk, void *shard)
{
	struct mem *mem = DEVICE_OF(blk, struct mem);
	struct weft_hop *hop = ((struct mem_shard *)shard)->head;

	WEFT_ASSERT(hop != NULL);
	((struct mem_shard *)shard)->head = NULL;
	prefetch(mem->base + hop->offset, hop->len < MEM_FIRST ? hop->len : MEM_FIRST);
	while (hop != NULL) {
		struct weft_hop *next = hop->queue; /* which completing overwrites */

		read_and_prefetch(mem, hop, next);
		hop = next;
	}
}

/* A read into one segment, as the upper half of weft_hop.view has it. */
#define MEM_READ_ONE (1u | (uint32_t)WEFT_READ << 16)

static void mem_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct mem_shard *shard;

	if (WEFT_UNLIKELY(hop->len > WEFT_TURN_BYTES)) {
		mem_serve_long(DEVICE_OF(blk, struct mem), hop);
		return;
	}
	if (hop->view >> 32 != MEM_READ_ONE) {
		mem_serve(DEVICE_OF(blk, struct mem), hop);
		return;
	}
	shard = weft_hop_shard(hop);
	if (shard->head == NULL)
		shard->tail = &shard->head;
	hop->queue = NULL;
	*shard->tail = hop;
	shard->tail = &hop->queue;
	weft_hop_gather(hop);
}

static const struct weft_blk_ops mem_ops = {
	.submit = mem_submit,
	.commit = mem_commit,
	.resume = mem_resume,
	.shard_size = sizeof(struct mem_shard),
};

static void mem_fill_blk(struct mem *mem)
{
	struct weft_blk *blk = &mem->blk;

	WEFT_ASSERT(mem->base != NULL && mem->written != NULL);
	blk->ops = &mem_ops;
	blk->size = mem->size;
	blk->block = (uint32_t)mem->block;
	blk->physical = mem->block > MEM_PAGE ? (uint32_t)mem->block : MEM_PAGE;
	blk->align = 1;
	blk->discard_align = mem->huge ? MEM_HUGE : MEM_PAGE;
	if (blk->discard_align < blk->block)
		blk->discard_align = blk->block;
	blk->ops_can = WEFT_OPS_ALL & ~WEFT_OP_BIT(WEFT_COMPARE_WRITE);
	blk->flags_can = WEFT_FUA | WEFT_NO_UNMAP | WEFT_FAST;
}

static int mem_allocate(struct mem *mem, struct weft_why *why)
{
	uint64_t page = mem->huge ? MEM_HUGE : MEM_PAGE;

	WEFT_ASSERT(mem->size > 0 && mem->base == NULL && mem->written == NULL);
	mem->base_size = (mem->size + page - 1) & ~(page - 1);
	mem->granule_shift = (uint32_t)__builtin_ctz(mem->huge ? MEM_HUGE : MEM_GRANULE);
	mem->granules = ((mem->size - 1) >> mem->granule_shift) + 1;
	mem->base = env_pages_alloc(mem->env, mem->base_size, mem->huge);
	mem->written = env_pages_alloc(mem->env, mem->granules, false);
	if (mem->base == NULL || mem->written == NULL)
		return weft_why(why, -ENOMEM,
			"mem: size=%llu: the system does not give that much address space: "
			"give a smaller size, or raise `ulimit -v` or vm.overcommit_memory",
			(unsigned long long)mem->size);
	return 0;
}

static void mem_destroy(struct weft_object *object)
{
	struct mem *mem = DEVICE_OF_OBJECT(object, struct mem);

	if (mem->base != NULL)
		env_pages_free(mem->env, mem->base, mem->base_size);
	if (mem->written != NULL)
		env_pages_free(mem->env, (void *)mem->written, mem->granules);
	mem->base = NULL;
	mem->written = NULL;
}

static void mem_start(struct weft_object *object, struct weft_task *task)
{
	struct mem *mem = DEVICE_OF_OBJECT(object, struct mem);
	int status = device_check_geometry("mem", mem->size, mem->block, &task->why);

	mem->env = object->core->env;
	mem->huge = mem->huge_choice == MEM_HUGE_CHOICE_ON ||
		(mem->huge_choice == MEM_HUGE_CHOICE_AUTO && mem->size >= MEM_HUGE_AUTO);
	if (status == 0)
		status = mem_allocate(mem, &task->why);
	if (status == 0)
		mem_fill_blk(mem);
	else
		mem_destroy(object);
	device_end(task, status);
}

static void mem_describe(const struct weft_object *object, weft_describe_put *put, void *self)
{
	const struct mem *mem = WEFT_CONTAINER(object, const struct mem, object);
	uint64_t written = 0;
	char text[64];

	for (uint64_t i = 0; mem->written != NULL && i < mem->granules; i++)
		written += atomic_load_explicit(&mem->written[i], memory_order_relaxed);
	snprintf(text, sizeof(text), "%llu of %llu pieces of %u KiB", (unsigned long long)written,
		(unsigned long long)mem->granules, 1u << mem->granule_shift >> 10);
	put(self, "written", text);
	put(self, "huge pages", mem->huge ? "asked for" : "not asked for");
	put(self, "keeps", "until the process ends");
}

static const struct weft_option mem_options[] = {
	{ .name = "size",
		.type = WEFT_OPTION_SIZE,
		.flags = WEFT_OPTION_ADDRESS | WEFT_OPTION_REQUIRED,
		.offset = offsetof(struct mem, size),
		.help = "size of the device; memory is taken as it is written",
		.min = 512,
		.max = 1ull << 46 },
	{ .name = "block",
		.type = WEFT_OPTION_SIZE,
		.offset = offsetof(struct mem, block),
		.fallback = "512",
		.help = "logical block, a power of two",
		.min = 512,
		.max = 1 << 20 },
	{ .name = "huge",
		.type = WEFT_OPTION_CHOICE,
		.offset = offsetof(struct mem, huge_choice),
		.fallback = "auto",
		.help = "transparent huge pages; auto: from 16MiB on",
		.choices = "auto|on|off" },
	{ 0 },
};

static const struct weft_offer mem_offers[] = {
	{ &weft_blk_iface, offsetof(struct mem, blk) },
	{ 0 },
};

extern const struct weft_kind mem_kind;
const struct weft_kind mem_kind = {
	.name = "mem",
	.summary = "a disk in memory, gone with the process",
	.size = sizeof(struct mem),
	.options = mem_options,
	.offers = mem_offers,
	.start = mem_start,
	.destroy = mem_destroy,
	.describe = mem_describe,
};
