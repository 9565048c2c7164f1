/* SPDX-License-Identifier: BSD-2-Clause */
/* Block devices: what the core works out when one has started, the layout of its hops, its shards, its statistics. */
#include <errno.h>
#include <string.h>

#include <weft/memory.h>

#include "core/blk.h"
#include "core/core.h"
#include "core/counter.h"
#include "core/histogram.h"

const struct weft_iface weft_blk_iface = { "block", 1 };

#define OPS_CHANGING (WEFT_OP_BIT(WEFT_WRITE) | WEFT_OP_BIT(WEFT_DISCARD) | WEFT_OP_BIT(WEFT_ZERO) | \
	WEFT_OP_BIT(WEFT_COMPARE_WRITE) | WEFT_OP_BIT(WEFT_COPY))
/* What the adapter can make up from reads and writes; discard and compare-and-write are had or not. */
#define OPS_EMULATED (WEFT_OP_BIT(WEFT_FLUSH) | WEFT_OP_BIT(WEFT_ZERO) | WEFT_OP_BIT(WEFT_COPY) | WEFT_OP_BIT(WEFT_STATUS))

static bool power_of_two(uint64_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

/* A limit that the device left at 0 means none; a read-only device cannot change anything. */
static int check_and_normalise(struct weft_blk *blk, struct weft_why *why)
{
	const char *name = blk->object->name;

	WEFT_ASSERT(blk->ops != NULL && blk->ops->submit != NULL);
	if (!power_of_two(blk->block) || blk->block < 512 || blk->block > 1u << 20)
		return weft_why(why, -EINVAL, "%s: block size %u: must be a power of two from 512 to 1 MiB", name, blk->block);
	if (blk->size > INT64_MAX)
		return weft_why(why, -EINVAL, "%s: size %llu: at most 2^63 - 1 bytes", name, (unsigned long long)blk->size);
	if (blk->size % blk->block != 0)
		return weft_why(why, -EINVAL, "%s: size %llu is not a multiple of the block size %u: choose a multiple",
			name, (unsigned long long)blk->size, blk->block);
	if (blk->align != 0 && (!power_of_two(blk->align) || blk->align > 4096))
		return weft_why(why, -EINVAL, "%s: memory alignment %u: must be a power of two up to 4096", name,
			blk->align);
	if (blk->volatile_cache && (blk->ops_can & WEFT_OP_BIT(WEFT_FLUSH)) == 0)
		return weft_why(why, -EINVAL, "%s: has a volatile cache but no flush: one of the two is wrong", name);
	if (blk->max_len != 0 && blk->max_len < blk->block)
		return weft_why(why, -EINVAL, "%s: largest transfer %u is less than a block (%u)", name, blk->max_len,
			blk->block);
	if ((blk->ops_can & WEFT_OP_BIT(WEFT_COMPARE_WRITE)) != 0 && blk->max_compare != 0 && blk->max_compare < blk->block)
		return weft_why(why, -EINVAL, "%s: largest compare-and-write %u is less than a block (%u): say a block or more, or "
			"that it has none", name, blk->max_compare, blk->block);
	blk->max_len = blk->max_len == 0 || blk->max_len > WEFT_MAX_LEN ? WEFT_MAX_LEN : blk->max_len & ~(blk->block - 1);
	blk->max_compare = (blk->max_compare == 0 || blk->max_compare > blk->max_len ? blk->max_len : blk->max_compare) &
		~(blk->block - 1);
	blk->max_segs = blk->max_segs == 0 ? UINT16_MAX : blk->max_segs;
	blk->align = blk->align == 0 ? 1 : blk->align;
	blk->picky = blk->align > 1 || blk->max_segs < UINT16_MAX || blk->ops->at_home;
	blk->physical = blk->physical < blk->block ? blk->block : blk->physical;
	blk->discard_align = blk->discard_align < blk->block ? blk->block : blk->discard_align;
	if (blk->readonly)
		blk->ops_can &= (uint16_t)~OPS_CHANGING;
	for (unsigned op = 0; op < WEFT_OP_COUNT; op++) {
		blk->deny[op] = (blk->ops_can & WEFT_OP_BIT(op)) != 0 ? (uint8_t)(0x7f & ~blk->flags_can) : 0xff;
		blk->rare[op] = op > WEFT_WRITE || blk->picky ? 0xff : blk->deny[op];
	}
	blk->stray_bits = (blk->block - 1) | (uint64_t)1 << 63;
	return 0;
}

/* True when the device itself takes every request that the waist accepts. */
static bool is_complete(const struct weft_blk *blk)
{
	unsigned wanted = OPS_EMULATED | WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE);
	unsigned flags = WEFT_FUA | WEFT_NO_UNMAP;

	WEFT_ASSERT(blk->block > 0 && blk->max_len > 0);
	if (blk->readonly) {
		wanted &= ~OPS_CHANGING;
		flags = 0;
	}
	return (blk->ops_can & wanted) == wanted && (blk->flags_can & flags) == flags &&
		blk->max_len == WEFT_MAX_LEN && blk->max_segs == UINT16_MAX && blk->align == 1;
}

uint32_t blk_ops(const struct weft_blk *blk)
{
	return blk->ops_can | (blk->readonly ? OPS_EMULATED & ~OPS_CHANGING : OPS_EMULATED);
}

int blk_started(struct weft_blk *blk, struct weft_why *why)
{
	struct weft_core *core = blk->object->core;
	int error = check_and_normalise(blk, why);

	WEFT_ASSERT(blk->shard == NULL && blk->adapter == NULL && blk->carrier == NULL);
	if (error != 0)
		return error;
	blk->shard = shards_make(core);
	if (blk->shard == NULL)
		goto no_memory;
	if (!is_complete(blk) && (blk->adapter = adapter_make(blk)) == NULL)
		goto no_memory;
	if (blk->ops->at_home) {
		WEFT_ASSERT(blk->home != NULL);
		blk->carrier = carrier_make(blk);
		if (blk->carrier == NULL)
			goto no_memory;
	}
	blk_span(blk);
	return 0;
no_memory:
	blk_stopped(blk);
	return weft_why(why, -ENOMEM, "%s: no memory for its shards", blk->object->name);
}

static void stopped(struct weft_core *core, struct weft_blk *blk)
{
	for (unsigned i = 0; blk->shard != NULL && i < CORE_REACTORS_MAX; i++) {
		WEFT_ASSERT(blk->shard[i] == NULL);
		weft_free(core, shard_ever(blk, i));
	}
	weft_free(core, blk->shard);
	blk->shard = NULL;
}

void blk_stopped(struct weft_blk *blk)
{
	struct weft_core *core = blk->object->core;
	struct weft_blk *made[] = { blk->adapter, blk->carrier };

	WEFT_ASSERT(blk->object != NULL);
	for (unsigned i = 0; i < WEFT_COUNT(made); i++) {
		if (made[i] == NULL)
			continue;
		stopped(core, made[i]);
		weft_free(core, made[i]);
	}
	blk->adapter = blk->carrier = NULL;
	stopped(core, blk);
}

static bool is_block_port(const struct weft_port *port)
{
	return strcmp(port->wants->name, weft_blk_iface.name) == 0 && port->wants->version == weft_blk_iface.version;
}

/* Calls fn(arg, lower) for each device that `blk` is bound to. */
static void each_below(const struct weft_blk *blk, void (*fn)(void *arg, struct weft_blk *lower), void *arg)
{
	const struct weft_port *port = blk->object->kind->ports;

	WEFT_ASSERT(blk->object != NULL && fn != NULL);
	for (; port != NULL && port->name != NULL; port++) {
		struct weft_blk *const *bound = (void *)((char *)blk->object + port->offset);

		for (unsigned i = 0; is_block_port(port) && i < port->max; i++)
			if (bound[i] != NULL)
				fn(arg, bound[i]);
	}
}

static void widest(void *arg, struct weft_blk *lower)
{
	uint32_t *stride = arg, span = blk_span(lower);

	WEFT_ASSERT(span % 128 == 0);
	if (span > *stride)
		*stride = span;
}

static uint32_t round_to_hops(uint32_t size)
{
	return (size + 127) & ~127u;
}

static bool is_open_anywhere(struct weft_blk *blk)
{
	for (unsigned lane = 0; lane < CORE_REACTORS_MAX; lane++)
		if (__atomic_load_n(&blk->shard[lane], __ATOMIC_RELAXED) != NULL)
			return true;
	return false;
}

/* Behind a hop lie its children, and behind these the per-request state: what all layers touch lies together. The same for devices
 * that the core made. Reactors that have the device open read the layout at any moment: then it is the same as before, and is not
 * touched. */
static uint32_t layout(struct weft_blk *blk, uint32_t stride)
{
	uint32_t request_at = (uint32_t)sizeof(struct weft_hop) + blk->ops->width * stride;

	WEFT_ASSERT(blk->ops->width == 0 || stride % 128 == 0);
	if (blk->request_at != request_at || blk->child_stride != stride) {
		WEFT_ASSERT(!is_open_anywhere(blk));
		blk->request_at = request_at;
		blk->child_stride = stride;
	}
	return request_at + round_to_hops(blk->ops->request_size);
}

uint32_t blk_span(struct weft_blk *blk)
{
	uint32_t stride = 0, span;

	each_below(blk, widest, &stride);
	WEFT_ASSERT((stride > 0) == (blk->ops->width > 0));
	span = layout(blk, stride);
	/* From the device outwards, as a request meets them: it is carried home, and adapted there. */
	if (blk->adapter != NULL)
		span = layout(blk->adapter, span);
	if (blk->carrier != NULL)
		span = layout(blk->carrier, span);
	return blk->span = span; /* control's alone */
}

/* What a hop meets first. */
static const struct weft_blk *outermost(const struct weft_blk *blk)
{
	return blk->carrier != NULL ? blk->carrier : blk->adapter != NULL ? blk->adapter : blk;
}

uint32_t blk_hops_behind(const struct weft_blk *blk)
{
	WEFT_ASSERT(outermost(blk)->request_at >= sizeof(struct weft_hop));
	return outermost(blk)->request_at - (uint32_t)sizeof(struct weft_hop);
}

struct nth {
	unsigned n;
	const struct weft_blk *found;
};

static void count_down(void *arg, struct weft_blk *lower)
{
	struct nth *nth = arg;

	WEFT_ASSERT(lower != NULL);
	if (nth->n-- == 0)
		nth->found = lower;
}

static const struct weft_blk *nth_below(const struct weft_blk *blk, unsigned n)
{
	struct nth nth = { .n = n };

	each_below(blk, count_down, &nth);
	return nth.found;
}

static bool children_alike(const struct weft_blk *a, const struct weft_blk *b)
{
	if (a == NULL || b == NULL)
		return a == b;
	WEFT_ASSERT(a->request_at == sizeof(struct weft_hop) + a->ops->width * a->child_stride);
	return a->ops->width == b->ops->width && a->child_stride == b->child_stride;
}

/* A carrier is used on some reactors only, and on which depends on the device. */
bool blk_alike(const struct weft_blk *a, const struct weft_blk *b)
{
	const struct weft_blk *below_a, *below_b;

	WEFT_ASSERT(a->shard != NULL && b->shard != NULL); /* both have started */
	if (a->carrier != NULL || b->carrier != NULL || !children_alike(a->adapter, b->adapter) || !children_alike(a, b))
		return false;
	for (unsigned i = 0;; i++) {
		below_a = nth_below(a, i);
		below_b = nth_below(b, i);
		if (below_a == NULL || below_b == NULL)
			return below_a == below_b;
		if (!blk_alike(below_a, below_b))
			return false;
	}
}

/* ---- shards ---- */

/* Requests that were submitted here and have not been delivered. */
static uint64_t shard_in_flight(const struct weft_shard *shard)
{
	uint64_t ended = 0, submitted;

	WEFT_ASSERT(shard->blk != NULL);
	for (unsigned i = 0; i < WEFT_STAT_COUNT; i++)
		ended += histogram_total(&shard->latency[i]);
	submitted = counter_read(&shard->submitted);
	return submitted > ended ? submitted - ended : 0;
}

/* The shard's memory, as its device is to find it. NULL: there is none. */
static struct weft_shard *shard_get(struct weft_blk *blk, struct weft_reactor *reactor)
{
	struct weft_shard *shard = shard_ever(blk, reactor->lane);

	WEFT_ASSERT(blk->ops->shard_kept <= blk->ops->shard_size);
	if (shard != NULL) {
		WEFT_ASSERT(shard->blk == blk && shard->users == 0 && !shard->gathered && !shard->yielding);
		shard->reactor = reactor; /* of a program: another than last time, on the same lane */
		memset(shard->own + blk->ops->shard_kept, 0, blk->ops->shard_size - blk->ops->shard_kept);
		return shard;
	}
	shard = weft_alloc_aligned(reactor->core, 64, sizeof(*shard) + blk->ops->shard_size);
	if (shard == NULL)
		return NULL;
	shard->blk = blk;
	shard->reactor = reactor;
	hop_list_init(&shard->yielded);
	__atomic_store_n(&blk->shard[CORE_REACTORS_MAX + reactor->lane], shard, __ATOMIC_RELEASE);
	return shard;
}

static int open_one(struct weft_blk *blk, struct weft_reactor *reactor, struct weft_why *why)
{
	struct weft_shard *shard = blk->shard[reactor->lane];
	int error = 0;

	WEFT_ASSERT(shard == NULL || (shard->blk == blk && shard->reactor == reactor && shard->users > 0));
	if (shard == NULL) {
		shard = shard_get(blk, reactor);
		if (shard == NULL)
			return weft_why(why, -ENOMEM, "%s: no memory for its part on a reactor", blk->object->name);
		if (blk->ops->shard_open != NULL)
			error = blk->ops->shard_open(blk, shard->own, reactor, why);
		WEFT_ASSERT(error <= 0);
		if (error != 0)
			return error;
		__atomic_store_n(&blk->shard[reactor->lane], shard, __ATOMIC_RELEASE);
	}
	shard->users++;
	return 0;
}

static void close_one(struct weft_blk *blk, struct weft_reactor *reactor)
{
	struct weft_shard *shard = blk->shard[reactor->lane];

	WEFT_ASSERT(shard != NULL && shard->users > 0);
	if (--shard->users > 0)
		return;
	WEFT_ASSERT(shard_in_flight(shard) == 0 && !shard->gathered && !shard->yielding);
	if (blk->ops->shard_close != NULL)
		blk->ops->shard_close(blk, shard->own);
	__atomic_store_n(&blk->shard[reactor->lane], NULL, __ATOMIC_RELEASE);
}

struct opening {
	struct weft_reactor *reactor;
	struct weft_why *why;
	bool asked;      /* the reactor's hops reach the devices */
	unsigned homes;  /* on the way to them */
	unsigned wanted; /* such as lie behind so many are opened */
	unsigned opened;
	int error;
};

/*
 * What a device has on a reactor. Where it runs, all of it; where its home is, it runs, whoever asks. Where hops only leave for its
 * home, that which carries them, and nothing of what is below, unless that lives here.
 */
struct parts {
	bool run;
	unsigned homes;  /* on the way to it, its own among them */
	struct weft_blk *part[2];
};

static struct parts parts_of(struct weft_blk *blk, const struct opening *above)
{
	struct parts parts = { .run = blk->carrier == NULL ? above->asked : above->reactor == blk->home,
		.homes = above->homes + (blk->carrier != NULL) };

	if (parts.run && parts.homes == above->wanted) {
		parts.part[0] = blk;
		parts.part[1] = blk->adapter;
	} else if (!parts.run && above->asked && above->homes == above->wanted) {
		parts.part[0] = blk->carrier;
	}
	return parts;
}

static int open_on(struct weft_blk *blk, const struct opening *above);
static void close_on(struct weft_blk *blk, const struct opening *above);

static void open_below(void *arg, struct weft_blk *lower)
{
	struct opening *o = arg;

	WEFT_ASSERT(o->reactor != NULL && o->error <= 0);
	if (o->error != 0)
		return;
	o->error = open_on(lower, o);
	if (o->error == 0)
		o->opened++;
}

static void close_opened(void *arg, struct weft_blk *lower)
{
	struct opening *o = arg;

	WEFT_ASSERT(o->opened == 0 || o->reactor != NULL);
	if (o->opened == 0)
		return;
	o->opened--;
	close_on(lower, o);
}

static int open_on(struct weft_blk *blk, const struct opening *above)
{
	struct parts mine = parts_of(blk, above);
	struct opening o = { above->reactor, above->why, mine.run, mine.homes, above->wanted, 0, 0 };
	unsigned n = 0;

	WEFT_ASSERT(weft_reactor_here() == o.reactor);
	each_below(blk, open_below, &o);
	for (; o.error == 0 && n < WEFT_COUNT(mine.part); n++)
		if (mine.part[n] != NULL && (o.error = open_one(mine.part[n], o.reactor, o.why)) != 0)
			break;
	if (o.error == 0)
		return 0;
	while (n-- > 0)
		if (mine.part[n] != NULL)
			close_one(mine.part[n], o.reactor);
	each_below(blk, close_opened, &o);
	return o.error;
}

static void close_on(struct weft_blk *blk, const struct opening *above)
{
	struct parts mine = parts_of(blk, above);
	struct opening all = { above->reactor, NULL, mine.run, mine.homes, above->wanted, UINT32_MAX, 0 };

	WEFT_ASSERT(weft_reactor_here() == all.reactor);
	for (unsigned n = WEFT_COUNT(mine.part); n-- > 0;)
		if (mine.part[n] != NULL)
			close_one(mine.part[n], all.reactor);
	each_below(blk, close_opened, &all);
}

int blk_open_here(struct weft_blk *blk, struct weft_reactor *reactor, bool asked, unsigned homes, struct weft_why *why)
{
	return open_on(blk, &(struct opening){ .reactor = reactor, .why = why, .asked = asked, .wanted = homes });
}

void blk_close_here(struct weft_blk *blk, struct weft_reactor *reactor, bool asked, unsigned homes)
{
	close_on(blk, &(struct opening){ .reactor = reactor, .asked = asked, .wanted = homes });
}

struct looking {
	struct opening above;
	bool busy;
};

static void look_at(void *arg, struct weft_blk *blk)
{
	struct looking *looking = arg, below = *looking;
	struct parts mine = parts_of(blk, &looking->above);

	below.above.asked = mine.run;
	below.above.homes = mine.homes;
	if (mine.part[0] == blk && blk->ops->shard_busy != NULL) {
		unsigned lane = looking->above.reactor->lane;

		WEFT_ASSERT(blk->shard[lane] != NULL);
		below.busy |= blk->ops->shard_busy(blk, blk->shard[lane]->own);
	}
	if (!below.busy)
		each_below(blk, look_at, &below);
	looking->busy |= below.busy;
}

bool blk_is_busy_here(struct weft_blk *blk, struct weft_reactor *reactor, bool asked, unsigned homes)
{
	struct looking looking = { { .reactor = reactor, .asked = asked, .wanted = homes }, false };

	WEFT_ASSERT(weft_reactor_here() == reactor);
	look_at(&looking, blk);
	return looking.busy;
}

static void most_homes(void *arg, struct weft_blk *lower)
{
	unsigned *most = arg, homes = blk_homes(lower);

	if (homes > *most)
		*most = homes;
}

unsigned blk_homes(const struct weft_blk *blk)
{
	unsigned most = 0;

	each_below(blk, most_homes, &most);
	return most + (blk->carrier != NULL);
}

/* ---- facts ---- */

void weft_blk_like(struct weft_blk *blk, const struct weft_blk *lower)
{
	WEFT_ASSERT(lower->block > 0 && blk != lower);
	blk->size = __atomic_load_n(&lower->size, __ATOMIC_RELAXED);
	blk->block = lower->block;
	blk->physical = lower->physical;
	blk->optimal = lower->optimal;
	blk->align = 1; /* the waist below bounces, splits and emulates where it is needed */
	blk->max_len = 0;
	blk->max_segs = 0;
	blk->discard_align = lower->discard_align;
	blk->ops_can = lower->ops_can | OPS_EMULATED;
	blk->flags_can = lower->flags_can | WEFT_FUA | WEFT_NO_UNMAP;
	blk->readonly = lower->readonly;
	blk->volatile_cache = lower->volatile_cache;
	blk->rotational = lower->rotational;
	blk->max_compare = lower->max_compare;
}

void weft_blk_resized(struct weft_blk *blk, uint64_t size)
{
	struct weft_core *core = blk->object->core;

	WEFT_ASSERT(size % blk->block == 0);
	__atomic_store_n(&blk->size, size, __ATOMIC_RELAXED);
	objects_resized(blk->object);
	if (core->resized != NULL)
		core->resized(core->resized_self, blk);
}

void weft_blk_stats(const struct weft_blk *blk, struct weft_stats *out)
{
	memset(out, 0, sizeof(*out));
	for (unsigned lane = 0; blk->shard != NULL && lane < CORE_REACTORS_MAX; lane++) {
		const struct weft_shard *shard = shard_ever(blk, lane);

		if (shard == NULL)
			continue;
		for (unsigned i = 0; i < WEFT_STAT_COUNT; i++) {
			out->of[i].requests += histogram_total(&shard->latency[i]);
			out->of[i].bytes += counter_read(&shard->bytes[i]);
			out->of[i].errors += counter_read(&shard->errors[i]);
			weft_histogram_merge(&out->of[i].latency, &shard->latency[i]);
		}
		out->in_flight += shard_in_flight(shard);
		out->refused += counter_read(&shard->refused);
	}
	if (blk->adapter != NULL)
		adapter_stats(blk->adapter, out);
	if (blk->carrier != NULL)
		carrier_stats(blk->carrier, out);
}
