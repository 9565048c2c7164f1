/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vhost-user-blk export from the inside ("vux": vhost-user export). DESIGN.md has the state drawings and the invariants.
 * Functions run on the control reactor unless they end in _msg or belong to queue.c.
 */
#ifndef EXPORTS_VHOST_USER_VUX_H
#define EXPORTS_VHOST_USER_VUX_H

#include <weft/export.h>
#include <weft/memory.h>

#include "core/core.h"
#include "core/listening.h"
#include "core/reactor.h"
#include "core/stack.h"
#include "wire/vhost_user.h"
#include "wire/virtio_blk.h"
#include "wire/virtq.h"

enum {
	VUX_QUEUES_MAX = 256,   /* the protocol's ring index has 8 bits */
	VUX_MEMORY_MAX = 256,   /* regions of one connection */
	VUX_WAITING_MAX = 64,   /* connections kept waiting when clients= are in */
	VUX_TURN_MAX = 32,      /* requests that one ring may start in a turn */
	VUX_TURN_BYTES = 16 << 20, /* no further one is started after so many: others wait for who copies them */
	VUX_CHAIN_ADVISED = 1024, /* descriptors of one chain: what drivers are asked to keep to */
	VUX_SEGS_MAX = WEFT_VECTOR_SEGS, /* segments of one chain of the ordinary kind: with borders between regions */
	VUX_LONG_SEG = 512,     /* bytes that a segment of a long chain counts for in a turn, however short it is */
};
_Static_assert(VUX_SEGS_MAX >= VUX_CHAIN_ADVISED + VUX_MEMORY_MAX, "a border for each region");
_Static_assert(SLOT_LONGEST_SEGS >= VIRTQ_MAX_NUM + VUX_MEMORY_MAX, "in the longest chain, too");

/* What has not ended by then is aborted: requests of a front end that has gone, the flush of a cache that is switched. */
#define VUX_PATIENCE_NS 5000000000ull

/* ---- memory.c: one region of guest memory, and the map of all ---- */
struct vux_memory {
	struct env_mapping *mapping;
	uint64_t gpa, uva, size; /* bytes */
	uint64_t fd_offset;
	uint8_t *hva;
	int fd;
	int region;              /* weft_region_add */
};

/* Immutable; made by control, read by rings while they run. */
struct vux_map {
	struct vmap vmap;
	uint32_t count;
	struct env_mapping **mappings; /* count of them, any order */
	struct vmap_region regions[];
};

/* ---- inflight.c, migration.c: a shared area that the front end gave ---- */
struct vux_area {
	struct env_mapping *mapping; /* NULL: none */
	uint8_t *base;
	uint64_t size;               /* bytes */
	uint16_t queues, queue_size; /* in-flight area only */
};

/* ---- ring.c, queue.c ---- */
enum vux_ring_state { VUX_STOPPED, VUX_STARTING, VUX_RUNNING, VUX_STOPPING };

/* What the front end wants of a ring. Control only. */
struct vux_setup {
	uint32_t num;            /* 0: not said yet */
	uint64_t desc, driver, device; /* in the front end's address space */
	uint64_t log_address;    /* guest address of the used ring, if it is a split one */
	uint32_t base;           /* where to go on: what the front end said, or where the ring was stopped */
	bool base_given;         /* by the front end, since the last start */
	bool has_addresses, has_kick, log_used;
	bool enable_said, enabled;
};

struct vux_ring {
	/* Of its reactor, from STARTING to its stopped message; else of control. */
	struct weft_session session;
	struct virtq vq;
	struct vux_connection *connection;
	const struct vux_map *map;
	struct weft_seg *segs;         /* VUX_SEGS_MAX: the chain that was popped last */
	struct virtq_chain chain;      /* of the parked request */
	struct weft_slot *parked;      /* waits for a vector; NULL: none */
	bool in_line;                  /* ... for the longest, with nothing popped (DESIGN.md, L3); else popped */
	struct env_notifier *call;     /* NULL: the front end polls */
	struct virtq_resubmit *resubmit;
	struct virtq_config config;    /* control fills it before the start */
	struct vhost_log log;
	const char *serial;
	struct env_notifier *kick;     /* NULL: polled. Replaced by control while STOPPED only */
	uint64_t log_address, log_event; /* as in vq: guest addresses */
	bool logging;                  /* guest pages that we write are marked */
	bool log_used;                 /* those of the used ring, too */
	bool starved;                  /* found no slot or vector: a completion will wake us */
	bool stopping, finishing;
	bool completes;                /* before it stops it does what the last server left in flight (DESIGN.md, invariant 1) */
	struct weft_timer patience;    /* with what a front end that has gone has left in flight */
	bool reported;                 /* the fault has been told to control */
	bool watched;                  /* the kick descriptor is watched */
	bool readonly, write_through;
	uint32_t discard_max, zero_max; /* sectors, as config space says */
	uint32_t look;                 /* mapping to look at in this turn */
	uint64_t turn_bytes;           /* that requests of this turn ask for */
	uint64_t requests, failures;   /* read by control meanwhile */

	/* Messages: one for each purpose, so that none is posted twice. */
	struct weft_msg start_msg, stop_msg, finish_msg, call_msg, leave_msg; /* to the ring's reactor */
	struct weft_msg started_msg, stopped_msg, called_msg, left_msg, fault_msg; /* to control */

	/* Of control. */
	uint8_t state;                 /* enum vux_ring_state */
	uint16_t index;
	bool call_exchange;            /* call_msg is under way */
	bool leaving, left;            /* leave_msg is under way; has been */
	uint64_t generation, live, failed; /* of setup; of what runs; that could not start */
	struct vux_setup setup;
	struct weft_reactor *reactor;
	struct env_notifier *kick_wanted, *error;
	struct env_notifier *call_wanted, *call_live, *call_old; /* live: what the reactor has in `call` */
	int start_status;
	struct weft_why why;
};

/* queue.c: the data path. On the ring's reactor. */
bool queue_poll(struct weft_source *source);
bool queue_arm(struct weft_source *source);
void queue_disarm(struct weft_source *source);
void queue_flush(struct weft_source *source);

/* ring.c. The ring, made when it is first mentioned; NULL: no memory. */
struct vux_ring *ring_get(struct vux_connection *c, unsigned index);
/* What is wanted has changed: a running ring will be started anew. */
void ring_changed(struct vux_ring *ring);
/* Moves towards what is wanted. */
void ring_settle(struct vux_ring *ring);
bool ring_is_settled(const struct vux_ring *ring);
/* On the ring's reactor, before it sleeps: true when a kick will wake it. */
bool ring_watch(struct vux_ring *ring);
/* Takes `fd` (-1: none, poll instead). 0 or -errno; the descriptor is gone in any case. */
int ring_set_kick(struct vux_ring *ring, int fd);
int ring_set_call(struct vux_ring *ring, int fd);
int ring_set_error(struct vux_ring *ring, int fd);
/* Not wanted until the front end enables (or, where it cannot, starts) it anew. */
void ring_disable(struct vux_ring *ring);
/* Forgets what the front end wanted, but not where the ring was: QEMU 7.2 sets status 0 before it asks for that. STOPPED. */
void ring_reset(struct vux_ring *ring);
void ring_destroy(struct vux_ring *ring);
/* On the ring's reactor: it is to stop, but what the last server left in flight comes first. */
static inline bool ring_has_left(const struct vux_ring *ring)
{
	return ring->completes && !ring->reported && virtq_left(&ring->vq) > 0;
}
/* From the ring's reactor: no slot is in use, and it is to stop; which it does unless it has something left. */
void ring_finish_later(struct vux_ring *ring);
/* From the ring's reactor: the driver or the front end's memory is broken. Once per start. */
void ring_report(struct vux_ring *ring);

/* ---- cache.c: a session of its own, for one flush ---- */
struct vux_flush {
	/* Of its reactor, from the start to the ended message; else of control. */
	struct weft_session session;
	struct weft_why why;
	int status;
	/* Of control. */
	bool wanted;                   /* a message waits for it */
	bool under_way, aborting;      /* until ended_msg; until aborted_msg */
	bool late;                     /* under way, but nobody waits for it any longer */
	int result;                    /* of the one that was wanted last */
	const char *reason;            /* why it failed */
	struct weft_reactor *reactor;
	struct weft_timer patience;
	struct weft_msg begin_msg, end_msg, ended_msg, abort_msg, aborted_msg;
};

/* ---- connection.c ---- */
enum { VUX_FDS = VHOST_USER_MAX_FDS + 1 }; /* of a message: one more, so that a surplus one is noticed */
enum vux_connection_state { VUX_WAITING, VUX_OPEN, VUX_CLOSING };

struct vux_connection {
	struct vux_export *exp;
	struct vux_connection *next;
	struct env_stream *stream;     /* open until the last ring has stopped, but not read any more when CLOSING */
	uint8_t state;                 /* enum vux_connection_state */
	unsigned number;               /* for names and the log */
	/* The message that is being received or handled. */
	struct vhost_user_msg msg;
	uint32_t received;             /* bytes of it: header, then payload */
	int fds[VUX_FDS];
	unsigned nfds;
	/* Of the next message, while this one waits: not all of its header, so that the front end's leaving is noticed. */
	uint8_t ahead[sizeof(struct vhost_user_header) - 1];
	uint32_t ahead_received;
	int ahead_fds[VUX_FDS];
	unsigned ahead_nfds;
	int (*after)(struct vux_connection *c); /* handled: to be run when all rings have settled; NULL: none */
	/* Negotiated. */
	uint64_t features, protocol;
	uint8_t status;                /* virtio device status */
	bool write_cache;              /* config space: 1: write back */
	struct vux_flush flush;        /* of what was acknowledged in write-back mode */
	/* What the front end gave. */
	struct vux_memory *memory[VUX_MEMORY_MAX];
	unsigned memories;
	struct vux_map *map, *old_map; /* old_map: until no ring uses it */
	struct vux_memory *old_memory[VUX_MEMORY_MAX];
	unsigned old_memories;
	struct vux_area inflight, old_inflight;
	struct vux_area log, old_log;
	struct vux_channel *channel;   /* channel.c; NULL: none */
	struct vux_ring *ring[VUX_QUEUES_MAX];
	struct weft_msg go_on_msg;     /* to ourselves: admitted, or closed */
	struct weft_why why;
};

/* A stream has been accepted. */
void connection_open(struct vux_export *exp, struct env_stream *stream);
/* A WAITING connection is let in. */
void connection_admit(struct vux_connection *c);
/* Closes for `why` (a sentence for the log; NULL: the front end went away). Freed when its rings have stopped. */
void connection_close(struct vux_connection *c, const char *why);
/* A ring has moved: goes on with what waits for it. May free the connection. */
void connection_settled(struct vux_connection *c);
/* What is wanted of all rings has changed. */
void connection_changed(struct vux_connection *c);
/* Settles all rings, and the flush. */
void connection_settle(struct vux_connection *c);
bool connection_is_settled(const struct vux_connection *c);
/* Answers the present message with a payload (and a descriptor, -1: none). */
int connection_reply(struct vux_connection *c, const void *payload, uint32_t size, int fd);
/* Takes the only descriptor of the present message; -1: it has none. */
int connection_take_fd(struct vux_connection *c);
static inline bool connection_has(const struct vux_connection *c, unsigned protocol_feature)
{
	return (c->protocol >> protocol_feature & 1) != 0;
}
static inline bool connection_acked(const struct vux_connection *c, unsigned feature)
{
	return (c->features >> feature & 1) != 0;
}

/* messages.c: handles c->msg, which the checker has passed. 0: done; MESSAGE_WAITS: c->after ends it; -errno with c->why:
 * refused. */
#define MESSAGE_WAITS 1
int message_handle(struct vux_connection *c);

/* cache.c: the front end switches the write cache; a handler as above. */
int cache_switch(struct vux_connection *c, bool on);
/* Begins the flush when one is wanted and can be. */
void cache_settle(struct vux_connection *c);
/* Nothing of a flush is under way. */
bool cache_is_settled(const struct vux_connection *c);
/* The connection is freed. */
void cache_drop(struct vux_connection *c);

/* memory.c: handlers as above. */
int memory_set_table(struct vux_connection *c);
int memory_add(struct vux_connection *c);
int memory_remove(struct vux_connection *c);
bool memory_is_broken(const struct vux_map *map);
void memory_drop_all(struct vux_connection *c);

/* inflight.c */
int inflight_get(struct vux_connection *c);
int inflight_set(struct vux_connection *c);
/* The ring's region; NULL: not tracked. *num: its entries. */
void *inflight_region(const struct vux_connection *c, unsigned index, uint16_t *num);
/* The ring is to be tracked, and the area ends before its region does. */
bool inflight_is_short(const struct vux_connection *c, unsigned index);
/* All regions are as if never used: the device was reset. */
void inflight_reset(struct vux_connection *c);

/* migration.c */
int migration_set_log_base(struct vux_connection *c);
int migration_set_log_fd(struct vux_connection *c);
/* 0, or -EINVAL with c->why: the map has pages that the log has no bit for. Without one of the two, 0. */
int migration_covers(struct vux_connection *c, const struct vux_area *log, const struct vux_map *map);

/* An area mapped from a descriptor that is closed in any case. */
int area_map(struct vux_connection *c, struct vux_area *area, int fd, uint64_t offset, uint64_t size);
void area_drop(struct vux_area *area);
/* Puts it where c->inflight or c->log is; the one that was there waits in `old` until the rings have let go of it: then `after` is
 * called. What the message's function returns. */
int area_replace(struct vux_connection *c, const struct vux_area *area, struct vux_area *live, struct vux_area *old,
	int (*after)(struct vux_connection *c));

/* channel.c: requests from us to the front end. */
int channel_open(struct vux_connection *c, int fd);
void channel_close(struct vux_connection *c);
/* The configuration space has changed. */
void channel_config_changed(struct vux_connection *c);

/* ---- features.c ---- */
uint64_t features_offered(const struct vux_export *exp);
uint64_t protocol_offered(void);
void config_fill(const struct vux_connection *c, struct virtio_blk_config *config);
/* The longest range of one discard or write-zeroes request, sectors. */
uint32_t config_range_max(bool zero);
/* Whether a write must be durable before it is answered (virtio 1.2, 5.2.6.2). */
bool config_write_through(const struct vux_connection *c);

/* ---- vhost_user.c ---- */
struct vux_export {
	struct weft_object object;
	struct weft_export exp;
	/* options */
	char *path, *group, *serial;
	uint64_t fd, clients, queues, queue_size;
	uint32_t mode;
	bool readonly, pin;
	/* control */
	struct weft_stack *stack;
	struct env_listener *listener;
	struct listening listening;         /* while it starts */
	char where[256];
	struct vux_connection *connections; /* in order of arrival */
	unsigned open;                      /* not WAITING */
	unsigned waiting;
	unsigned numbers;                   /* connections so far */
	bool frozen, stopping;
	bool closing;                       /* the stack */
	int start_status;                   /* why the stack is closed again by start */
	struct weft_task *task;             /* start, stop, freeze or thaw under way */
	struct weft_task stack_task;
};

extern const struct weft_kind export_vhost_user_kind;

/* A connection or a ring has moved: goes on with a freeze or stop, lets in who waits. */
void export_settled(struct vux_export *exp);
/* True while rings may run. */
static inline bool export_serves(const struct vux_export *exp)
{
	return !exp->frozen && !exp->stopping && exp->stack != NULL;
}
static inline struct weft_core *export_core(const struct vux_export *exp) { return exp->object.core; }
/* For assertions: what belongs to control is touched on its reactor only, or while no reactor is stepped in this thread. */
static inline bool control_is_here(const struct vux_export *exp)
{
	const struct weft_reactor *here = weft_reactor_here();

	return here == NULL || here == export_core(exp)->reactor[0];
}
static inline bool export_readonly(const struct vux_export *exp)
{
	return exp->readonly || exp->exp.device->readonly;
}

#endif
