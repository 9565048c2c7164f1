/* SPDX-License-Identifier: BSD-2-Clause */
/* The simulated world from the inside: shared by the files of this folder. */
#ifndef ENV_SIM_WORLD_H
#define ENV_SIM_WORLD_H

#include <setjmp.h>

#include "env/env_ops.h"
#include "env/sim/sim.h"

#define SIM_FDS_MAX 1024
#define SIM_PAGE 4096u

struct sim_file;
struct sim_node;
struct sim_loop;

/* What descriptors stand for; lives in the world, counted. */
enum sim_thing_type { SIM_SHM, SIM_EVENT, SIM_STREAM };
struct sim_thing {
	enum sim_thing_type type;
	unsigned refs;
	struct sim_thing *next; /* of the world, for finding what is left over */
	struct sim_world *world;
	/* SIM_SHM */
	char name[32];
	char *bytes;
	uint64_t size;
	/* SIM_EVENT */
	uint64_t count;
	/* SIM_STREAM: one end */
	struct sim_end *end;
};

struct sim_allocation {
	struct sim_allocation *next, *prev;
	void *raw;
	size_t size;
};

struct sim_thread {
	struct env_thread base;
	struct sim_thread *next;
	struct sim_node *node;
	struct sim_loop *loop;
	env_step_fn *step;
	void *self;
	uint64_t wake_at_ns;   /* 0: runnable; ENV_FOREVER: only by its loop */
	bool stopped;
};

struct sim_node {
	struct env env;
	struct sim_world *world;
	struct sim_node *next;
	char name[32];
	struct sim_allocation allocations; /* ring */
	struct sim_thread *threads;
	struct sim_loop *loops;
	struct sim_thing *fd[SIM_FDS_MAX];
	struct sim_medium *media;
	struct sim_stream *streams;
	struct sim_listener *listeners;
};

struct sim_loop {
	struct env_loop base;
	struct sim_node *node;
	struct sim_loop *next;
	bool woken;
	bool movable;                   /* a program's: who steps it is none of our threads */
	struct env_work *work;
	struct env_work **work_tail;
	struct sim_watch *watches;      /* notifiers */
	struct env_loop_stats stats;
};

struct sim_watch {
	struct sim_watch *next;
	struct env_notifier *notifier;
	void (*fn)(void *self);
	void *self;
};

struct sim_notifier {
	struct env_notifier base;
	struct sim_node *node;
	struct sim_thing *thing;
	int fd;
};

/* Holds its thing by a descriptor of its own, so that it goes with the node. */
struct sim_mapping {
	struct env_mapping base;
	int fd;
};

/* A file's operation that is under way; it outlives the node that asked. */
struct sim_op {
	struct sim_op *next;
	struct sim_file *file;
	struct env_io *io;        /* NULL: the node is dead */
	struct sim_loop *loop;
	uint64_t due_ns;
	uint8_t op, flags;
	uint64_t offset, len;
	char *data;               /* of a write whose node was killed: taken then */
	int result;
	bool ended;               /* result is there, to be delivered */
	bool shared_lock, exclusive_lock; /* what the dead node held */
};

/* A write that no flush has made durable; or one that forced itself (FUA), and must not be undone by an older one. */
struct sim_unflushed {
	struct sim_unflushed *next;
	bool forced;
	uint64_t offset, len;
	char data[];
};

struct sim_file {
	struct sim_file *next;
	char path[128];
	bool kept;                /* its name survives loss of power */
	uint64_t size;
	char *now, *durable;      /* images of `size` bytes */
	struct sim_unflushed *unflushed, **unflushed_tail;
	uint64_t latency_least_ns, latency_most_ns;
	unsigned shared, exclusive; /* locks */
	uint64_t room;
	uint8_t *page_used;
	uint64_t pages_used;
	unsigned fault_nth;
	uint8_t fault_op;
	enum sim_fault fault;
	int fault_error;
};

struct sim_medium {
	struct env_medium base;
	struct sim_node *node;
	struct sim_medium *next;
	struct sim_file *file;
	bool readonly, lock, created;
};

/* One direction of bytes with descriptors between two ends. */
struct sim_chunk {
	struct sim_chunk *next;
	size_t len, taken;
	unsigned nfds;
	struct sim_thing *fds[ENV_FDS_MAX];
	char data[];
};

struct sim_end {
	struct sim_end *peer;     /* NULL: closed */
	bool ended;               /* the peer writes nothing more */
	struct sim_chunk *in, **in_tail;
};

struct sim_stream {
	struct env_stream base;
	struct sim_node *node;
	struct sim_loop *loop;
	struct sim_stream *next;
	int fd;                   /* of its thing */
	void (*fn)(void *self);
	void *self;
	bool end;                 /* fn wants to hear of the end only */
};

struct sim_listener {
	struct env_listener base;
	struct sim_node *node;
	struct sim_loop *loop;
	struct sim_listener *next;
	char where[128];
	void (*accepted)(void *self, struct env_stream *stream);
	void *self;
	struct sim_thing *backlog[16];
	unsigned waiting;
};

struct sim_world {
	uint64_t now_ns, rng, trace;
	bool verbose;
	struct sim_node *nodes;
	struct sim_file *files;
	struct sim_thing *things;
	struct sim_op *ops;
	struct sim_node *stepping;
	jmp_buf killed;
	uint64_t steps;
	uint64_t alarm_ns;     /* of who waits outside (sim_wait); 0: nobody does */
	void (*fence)(void *arg, bool all); /* NULL: nobody listens */
	void *fence_arg;
};

static inline struct sim_node *node_of(struct env *env) { return (struct sim_node *)env; }

/* Nodes share nothing: what one of them does while it is stepped it does to itself. The test, between steps, may do anything. */
static inline void sim_node_check(const struct sim_node *node)
{
	WEFT_ASSERT(node->world->stepping == NULL || node->world->stepping == node);
}

/* node.c */
void *sim_node_alloc(struct env *env, size_t align, size_t size);
void sim_node_free(struct env *env, void *memory);

/* fd.c: descriptors, shared memory, notifiers */
struct sim_thing *sim_thing_make(struct sim_world *world, enum sim_thing_type type);
void sim_thing_put(struct sim_thing *thing);
int sim_fd_install(struct sim_node *node, struct sim_thing *thing); /* takes a reference; -EMFILE */
struct sim_thing *sim_fd_get(struct sim_node *node, int fd);
void sim_node_close_fds(struct sim_node *node);
int sim_notifier_open(struct env *env, int fd, struct env_notifier **out);
int sim_shm_create(struct env *env, const char *name, uint64_t size, int *fd);
int sim_map(struct env *env, int fd, uint64_t offset, uint64_t size, bool writable, struct env_mapping **out,
	struct weft_why *why);
void sim_unmap(struct env_mapping *mapping);
void sim_fd_close(struct env *env, int fd);
int64_t sim_fd_size(struct env *env, int fd);
int sim_fd_copy(struct env *env, int fd);

/* loop.c */
int sim_loop_open(struct env *env, bool movable, struct env_loop **out, struct weft_why *why);
int sim_gate_open(struct env *env, struct env_gate **out, struct weft_why *why);
/* A thread that the world does not step (a scenario's own) sleeps: the world goes on until cond, or for timeout_ns. True: cond. */
bool sim_wait(struct sim_node *node, bool (*cond)(void *arg), void *arg, uint64_t timeout_ns);
bool sim_loop_ready(struct sim_loop *loop);

/* medium.c */
int sim_medium_open(struct env *env, const char *path, const struct env_medium_wants *wants, struct env_medium **out,
	struct env_medium_info *info, struct weft_why *why);
void sim_ops_advance(struct sim_world *world);        /* ends what is due */
uint64_t sim_ops_next_ns(const struct sim_world *world);
bool sim_ops_deliver(struct sim_loop *loop);
bool sim_ops_ready(const struct sim_loop *loop);
void sim_media_orphan(struct sim_node *node);         /* the node dies */
int sim_file_write(struct env *env, const char *path, const char *text, size_t size, struct weft_why *why);
int sim_file_try(struct env *env, const char *path, struct weft_why *why);
int sim_file_remove(struct env *env, const char *path, struct weft_why *why);
void sim_files_free(struct sim_world *world);

/* stream.c */
int sim_listen(struct env_loop *loop, const char *where, const struct env_listen_wants *wants,
	void (*accepted)(void *self, struct env_stream *stream), void *self, struct env_listener **out,
	struct weft_why *why);
int sim_stream_pair(struct env_loop *loop, struct env_stream **out, int *fd);
int sim_connect(struct env_loop *loop, const char *where, struct env_stream **out, struct weft_why *why);
bool sim_streams_ready(struct sim_loop *loop);
bool sim_streams_deliver(struct sim_loop *loop);
void sim_end_free(struct sim_end *end);

#endif
