/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The hop: one layer's view of one request. A request is an array of hops in a slot that was reserved when the stack
 * was opened; a layer is handed its hop, asks for the next (weft_hop_down), changes what differs, submits it to the
 * device below and is called back with its own hop. The core checks, counts, times and unwinds.
 *
 * Thread: every function here is called on the reactor that runs the layer (weft_hop_reactor).
 */
#ifndef WEFT_HOP_H
#define WEFT_HOP_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weft_blk;
struct weft_hop;
struct weft_reactor;

enum weft_op {
	WEFT_READ,          /* segments receive `len` bytes at `offset` */
	WEFT_WRITE,         /* segments hold `len` bytes for `offset` */
	WEFT_FLUSH,         /* all that was acknowledged before it was submitted survives loss of power; offset = len = 0 */
	WEFT_DISCARD,       /* the range is not needed; reads may return anything stable afterwards */
	WEFT_ZERO,          /* the range reads as zeroes afterwards; may unmap unless WEFT_NO_UNMAP */
	WEFT_COMPARE_WRITE, /* segments hold `len` bytes to compare, then `len` bytes to write, without another change in between;
			     * -EILSEQ: the device holds other bytes, and nothing was written; -EMSGSIZE: longer than it takes */
	WEFT_COPY,          /* `len` bytes from `source` to `offset`, within the device */
	WEFT_STATUS,        /* segments receive struct weft_extent[], in order from `offset`, until `len` or room ends */
	WEFT_OP_COUNT
};

/* Flags of a request. A device says in weft_blk.flags which it honours; the waist emulates FUA and refuses FAST. */
enum weft_flag {
	WEFT_FUA = 1,      /* write, zero: durable before completion */
	WEFT_NO_UNMAP = 2, /* zero: keep the space allocated */
	WEFT_FAST = 4,     /* zero: fail with -EOPNOTSUPP rather than write zeroes */
};

/* One answer of WEFT_STATUS. An entry with len 0 ends the list early. */
struct weft_extent {
	uint64_t offset, len; /* bytes */
	uint32_t flags;       /* enum weft_extent_flag */
	uint32_t reserved;
};
enum weft_extent_flag {
	WEFT_EXTENT_HOLE = 1, /* no space is allocated */
	WEFT_EXTENT_ZERO = 2, /* reads as zeroes */
};

/* No registered memory: a segment that no leaf can use without mapping or copying through the kernel. */
#define WEFT_REGION_NONE 0

/* A piece of memory. Immutable while the request is in flight. Layout: 16 bytes. */
struct weft_seg {
	void *base;
	uint32_t len;     /* bytes */
	uint16_t region;  /* registered memory that holds it (weft_region_add), WEFT_REGION_NONE: none */
	uint8_t foreign;  /* 1: somebody outside (a guest) can change the bytes meanwhile; 0: stable */
	uint8_t reserved;
};

/*
 * Called when a child has ended, with the asking layer's own hop. status: 0 or -errno. The child is idle again:
 * weft_hop_down() may be asked for it anew.
 */
typedef void weft_hop_done(struct weft_hop *self, struct weft_hop *child, int status);

enum weft_hop_state {
	WEFT_HOP_IDLE,    /* owned by the layer above (or by nobody) */
	WEFT_HOP_READY,   /* filled by weft_hop_down, not yet submitted */
	WEFT_HOP_ASKED,   /* owned by the device asked */
	WEFT_HOP_ENDED,   /* completed, to be delivered by the reactor */
};

struct __attribute__((aligned(64))) weft_hop {
	/*
	 * One cache line: all that a layer needs which only passes requests on, down and up. A load that spans several recent
	 * stores is slow: what weft_hop_forward copies together (len and segs) is always read and written so there.
	 */
	struct weft_blk *blk;         /* the device asked */
	weft_hop_done *done;          /* of the layer that asks */
	uint64_t asked_at;            /* reactor's clock at submission, ns */
	uint64_t offset;              /* bytes */
	uint64_t len;                 /* bytes */
	__extension__ union {
		const struct weft_seg *segs; /* of the whole request; shared by all layers that do not own bytes. NULL once ended */
		struct weft_hop *next_ended; /* the core's, from when it ends until that is delivered */
	};
	__extension__ union {
		__extension__ struct {
			uint32_t up_at;    /* the asking layer's hop lies so many bytes before this one; 0 in a slot's root */
			uint8_t state;     /* enum weft_hop_state */
			uint8_t lane : 7;  /* index of the reactor that runs the layer asked: the layer's shard */
			uint8_t timed : 1; /* deadline_us counts (weft_hop_deadline) */
			int16_t status;    /* 0 or -errno, once ended */
		};
		uint64_t progress; /* all of these, for the core */
	};
	__extension__ union {
		__extension__ struct {
			uint32_t seg_skip; /* bytes of segs[] before this view begins */
			uint16_t nsegs;
			uint8_t op;        /* enum weft_op */
			uint8_t flags;     /* enum weft_flag */
		};
		uint64_t view; /* all of these, for the core */
	};
	/* The second line: of who holds the hop, and of rare requests. */
	struct weft_hop *queue;       /* link, for whoever holds the hop */
	uint64_t source;              /* WEFT_COPY: where to read, bytes; else undefined */
	uint64_t scratch[4];          /* the asked layer's own, for this request */
	uint32_t deadline_us;         /* in a slot's root: 0: none; else the request is aborted when it has waited for longer */
	uint32_t reserved[3];
};
/* weft_hop.progress of a hop that is not timed and has no status yet. */
#define WEFT_HOP_PROGRESS(up_at, state, lane) ((uint64_t)(up_at) | (uint64_t)(state) << 32 | (uint64_t)(lane) << 40)
#ifndef __cplusplus
_Static_assert(sizeof(struct weft_seg) == 16, "a segment is 16 bytes");
_Static_assert(sizeof(struct weft_hop) == 128, "a hop is two cache lines");
_Static_assert(offsetof(struct weft_hop, queue) == 64, "a layer that passes on touches the first of them");
#endif

/* The child that weft_hop_down (or weft_hop_fork: <weft/blk.h>) gave is aborted when it has waited for `us` (not 0). */
static inline void weft_hop_deadline(struct weft_hop *child, uint32_t us)
{
	WEFT_ASSERT(child->state == WEFT_HOP_READY && us != 0);
	child->deadline_us = us;
	child->timed = 1;
}

/*
 * The waist. Asks `blk` (bound below the layer) for what the child says; `done` is called later, exactly once, never inside this
 * call. Checks range, alignment, operation and flags (an error completion, never an assertion, when the request is wrong),
 * counts,
 * times, and emulates what `blk` lacks.
 */
WEFT_API void weft_hop_submit(struct weft_hop *child, struct weft_blk *blk, weft_hop_done *done);

/*
 * For a layer that only passes on: the request goes to `lower`, `shift` bytes further on (a flush as it is), with nothing to do on
 * the way up. The same as weft_hop_down and weft_hop_submit with weft_hop_pass, and cheaper.
 */
WEFT_API void weft_hop_forward(struct weft_hop *self, struct weft_blk *lower, uint64_t shift);

/* The `done` of a layer that has nothing to do on the way up: completes its own hop with the child's status. */
WEFT_API void weft_hop_pass(struct weft_hop *self, struct weft_hop *child, int status);

/* Ends the layer's own hop: status 0 or -errno (never positive). Exactly once. Delivery is later, by the reactor. */
WEFT_API void weft_hop_complete(struct weft_hop *self, int status);

/* Asks for `hop` (in flight) to end sooner with `status` (-ECANCELED, -ETIMEDOUT). It still ends exactly once, and never while
 * anything below may touch its memory; it may end well if it was too late. */
WEFT_API void weft_hop_abort(struct weft_hop *hop, int status);

/* Has the device commit()ed once in this turn of the reactor: for leaves that gather requests. `self`: the leaf's own hop. */
WEFT_API void weft_hop_gather(struct weft_hop *self);

/*
 * How much of one request a device that works on the processor (copies, clears, digests) does at a stretch, bytes: then others have
 * their turn. A device that has no way to do it in parts says no more in weft_blk.max_len.
 */
#define WEFT_TURN_BYTES (1u << 20)

/* A long request does not hold up others: the device goes on with it (weft_blk_ops.resume) at the end of this turn, or in one of
 * the next. Until then hop->queue is the core's. `self`: the layer's own hop, which has not yielded. */
WEFT_API void weft_hop_yield(struct weft_hop *self);
/* Takes back that it has yielded: it is not gone on with. False: it had not. */
WEFT_API bool weft_hop_unyield(struct weft_hop *self);

/* The reactor that runs the layer asked. `self`: the layer's own hop. */
WEFT_API struct weft_reactor *weft_hop_reactor(const struct weft_hop *self);

/* The asked device's shard on this reactor (weft_blk_ops.shard_size bytes). */
WEFT_API void *weft_hop_shard(const struct weft_hop *self);

/* Copies between the hop's view of its segments and `buf`: `at` bytes into the view, `len` bytes. */
WEFT_API void weft_hop_copy_out(const struct weft_hop *self, uint64_t at, void *buf, size_t len);
WEFT_API void weft_hop_copy_in(const struct weft_hop *self, uint64_t at, const void *buf, size_t len);

/* Are these bytes of the view those of `buf`? */
WEFT_API bool weft_hop_equals(const struct weft_hop *self, uint64_t at, const void *buf, size_t len);

/* Fills `len` bytes of the view from `at` with zeroes. */
WEFT_API void weft_hop_zero_fill(const struct weft_hop *self, uint64_t at, size_t len);

/* The path of a request for a human, from `root` down: "vm#0 WRITE 4096@8192 | rate | file waiting 180 us". Returns what snprintf
 * returns. Reading another reactor's request gives a snapshot that may be torn; never a crash. */
WEFT_API int weft_hop_path(const struct weft_hop *root, uint64_t now_ns, char *text, size_t size);

WEFT_API const char *weft_op_name(unsigned op);

#ifdef __cplusplus
}
#endif
#endif
