/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The block device interface: what a component offers as &weft_blk_iface. A device embeds struct weft_blk in its
 * instance, fills the first part in start(), and the core works out the second.
 */
#ifndef WEFT_BLK_H
#define WEFT_BLK_H

#include <weft/hop.h>
#include <weft/object.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_OP_BIT(op) (1u << (op))
#define WEFT_OPS_ALL ((1u << WEFT_OP_COUNT) - 1)

/* The largest data transfer that the waist accepts in one request, bytes. */
#define WEFT_MAX_LEN (1u << 30)

/* How a device works. Static and const. Thread: submit, commit, abort and shard_* run on the shard's reactor. */
struct weft_blk_ops {
	/* Takes a checked request; never blocks, never fails: errors are completions, and completion is never inside. */
	void (*submit)(struct weft_blk *blk, struct weft_hop *hop);
	/* Once per turn after weft_hop_gather: sends what was gathered. Optional. */
	void (*commit)(struct weft_blk *blk, void *shard);
	/* The request should end sooner (weft_hop_abort). Optional; default: the children in flight are asked; of a leaf, a request
	 * that has yielded ends. */
	void (*abort)(struct weft_blk *blk, struct weft_hop *hop);
	/* On each reactor that will submit, before the first request and after the last. Optional. 0 or -errno with `why`. The
	 * memory is aligned to 64 and zeroed, but for the first shard_kept bytes when it is opened again. */
	int (*shard_open)(struct weft_blk *blk, void *shard, struct weft_reactor *reactor, struct weft_why *why);
	void (*shard_close)(struct weft_blk *blk, void *shard);
	/* Is something of the device still under way below it, though its own requests have ended? Then closing waits. Optional. */
	bool (*shard_busy)(const struct weft_blk *blk, const void *shard);
	uint32_t shard_size;   /* bytes of per-reactor state */
	uint32_t shard_kept;   /* the first of them that outlive closing: counters */
	uint32_t request_size; /* bytes of per-request state beyond hop->scratch (weft_hop_request) */
	/* For a layer that asks below with hops of its own memory: where in the per-request state (bytes; 0: nowhere) a request
	 * says with which hop it goes on, its children behind it: a struct weft_hop *, NULL: none now. By it deadlines below are
	 * found, and paths shown, also by a debugger. */
	uint32_t goes_on_at;
	uint8_t width;         /* children in flight at once per request; 0: a leaf */
	bool at_home;          /* submit is called on weft_blk.home only: the waist carries hops there and back */
	/* Goes on with a request that has yielded (weft_hop_yield): the next WEFT_TURN_BYTES of it, then it yields again. One of a
	 * device in a turn of the reactor, after all that others wait for, and in the order in which they yielded. */
	void (*resume)(struct weft_blk *blk, struct weft_hop *hop);
};

struct __attribute__((aligned(64))) weft_blk {
	/* One cache line: what the waist looks at for each request. The device fills the first four, the core the others. */
	const struct weft_blk_ops *ops;
	uint64_t size;         /* bytes; may change while open (weft_blk_resized); out of range is an error completion */
	uint32_t block;        /* logical block, bytes: a power of two >= 512; offsets and lengths are multiples */
	uint32_t max_len;      /* bytes of data per request; 0: WEFT_MAX_LEN; longer ones are split */
	struct weft_shard **shard; /* by lane; NULL where no reactor has it open */
	uint64_t stray_bits;       /* that no offset and no length has: those below a block, and the sign */
	uint8_t deny[WEFT_OP_COUNT]; /* per operation the flags that submit() does not take; 0xff: not the operation */
	uint8_t rare[WEFT_OP_COUNT]; /* the same, but 0xff as well for all that weft_hop_forward has not at once */
	bool picky;                /* a limit to segments or to the alignment of memory, or a home */

	/* Filled by the device in start(), as ops, size, block and max_len are. */
	uint32_t physical;     /* physical block, bytes; 0: same as block */
	uint32_t optimal;      /* optimal transfer, bytes; 0: unknown */
	uint32_t align;        /* of memory, bytes: a power of two; from 2 on, segments that do not begin so, or are not whole
				* blocks, are bounced */
	uint32_t discard_align;/* granularity of discards, bytes; 0: block */
	uint16_t max_segs;     /* segments per request; 0: no limit */
	uint16_t ops_can;      /* WEFT_OP_BIT()s that submit() takes; others are emulated or refused by the waist */
	uint8_t flags_can;     /* enum weft_flag */
	bool readonly;         /* writing is refused with -EROFS */
	bool volatile_cache;   /* acknowledged writes need a flush to survive loss of power */
	bool rotational;
	uint32_t max_compare;  /* bytes of a compare-and-write, which is never split; 0: as max_len */
	struct weft_reactor *home; /* when ops->at_home */

	/* Worked out by the core when the device has started. Read-only to components. */
	struct weft_object *object;
	struct weft_blk *adapter;  /* emulates what is lacking; NULL: nothing is */
	struct weft_blk *carrier;  /* takes hops to `home` and back; NULL: callable everywhere */
	uint32_t child_stride;     /* bytes from child to child; child 0 lies right behind the hop itself */
	uint32_t request_at;       /* bytes from a hop of this device to its per-request state, behind the children */
	uint32_t span;             /* bytes that one request to this device takes: hops of all below, adapter included */
};

WEFT_API extern const struct weft_iface weft_blk_iface;

/*
 * Child `index` (0 to width - 1, see weft_blk_ops.width) of the layer's own hop, filled with the same view. The child must be
 * idle. From the reservation: cannot fail. Inline, since every layer does it: what is copied stays in registers.
 */
static inline struct weft_hop *weft_hop_fork(struct weft_hop *self, unsigned index)
{
	uint32_t at = (uint32_t)sizeof(*self) + (index == 0 ? 0 : index * self->blk->child_stride);
	struct weft_hop *child = (struct weft_hop *)(void *)((char *)self + at);

	WEFT_ASSERT(child->state == WEFT_HOP_IDLE);
	child->offset = self->offset;
	child->len = self->len;
	child->segs = self->segs;
	child->view = self->view;
	child->progress = WEFT_HOP_PROGRESS(at, WEFT_HOP_READY, self->lane);
	if (WEFT_UNLIKELY(self->op == WEFT_COPY))
		child->source = self->source;
	return child;
}

/* Child 0: all that a filter needs. */
static inline struct weft_hop *weft_hop_down(struct weft_hop *self)
{
	return weft_hop_fork(self, 0);
}

/* weft_blk_ops.request_size bytes, aligned to 64, not cleared. */
static inline void *weft_hop_request(struct weft_hop *self)
{
	return (char *)self + self->blk->request_at;
}

/* What the devices below say, for a filter that changes little: copies limits, size and abilities of `lower`. Start only. */
WEFT_API void weft_blk_like(struct weft_blk *blk, const struct weft_blk *lower);

/* The size has changed: stores it, tells the filters above and the exports (struct weft_kind.lower_resized). Control thread. */
WEFT_API void weft_blk_resized(struct weft_blk *blk, uint64_t size);

/* Latency histogram: log-linear, 8 buckets per power of two, exact below 16 ns. */
#define WEFT_HISTOGRAM_BUCKETS 320
struct weft_histogram {
	uint64_t count[WEFT_HISTOGRAM_BUCKETS];
};
WEFT_API void weft_histogram_add(struct weft_histogram *h, uint64_t ns);
WEFT_API void weft_histogram_merge(struct weft_histogram *into, const struct weft_histogram *from);
/* Upper bound of the bucket that holds the quantile q (0..1), ns; 0 when empty. */
WEFT_API uint64_t weft_histogram_quantile(const struct weft_histogram *h, double q);

enum weft_stat_class { WEFT_STAT_READ, WEFT_STAT_WRITE, WEFT_STAT_FLUSH, WEFT_STAT_OTHER, WEFT_STAT_COUNT };
struct weft_stats {
	struct {
		uint64_t requests, bytes, errors;
		struct weft_histogram latency;
	} of[WEFT_STAT_COUNT];
	uint64_t in_flight, refused;              /* refused: by the waist's checks */
	uint64_t splits, bounces, bounced_bytes;  /* emulation */
	uint64_t zeroes_written, fua_flushes;
	uint64_t carried;                         /* hops taken to the home reactor */
};
/* Sums the shards of all lanes since the device started, closed ones as well. Control thread; a snapshot while I/O goes on. */
WEFT_API void weft_blk_stats(const struct weft_blk *blk, struct weft_stats *out);

#ifdef __cplusplus
}
#endif
#endif
