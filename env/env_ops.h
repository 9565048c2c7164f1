/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an implementation of env.h fills in: a table of functions for each noun, and the head that each of its
 * structures begins with. env.c checks the arguments, counts, injects faults (env_fault.h) and calls through
 * these tables; nobody else does. The contract of every entry is that of the function of the same name in
 * env.h; `env` and `loop` in a head are set by the implementation.
 */
#ifndef ENV_ENV_OPS_H
#define ENV_ENV_OPS_H

#include <stdatomic.h>

#include "env/env.h"

struct env_ops {
	void *(*alloc)(struct env *env, size_t align, size_t size);
	void (*free)(struct env *env, void *memory);
	uint64_t (*now_ns)(struct env *env);
	uint64_t (*random)(struct env *env);
	uint64_t (*wall_ns)(struct env *env);
	void (*log_line)(struct env *env, int level, const char *line);
	unsigned (*cpu_count)(struct env *env);

	int (*loop_open)(struct env *env, bool movable, struct env_loop **out, struct weft_why *why);
	bool (*forked)(struct env *env); /* NULL: never */
	int (*gate_open)(struct env *env, struct env_gate **out, struct weft_why *why);
	int (*fence_all)(struct env *env);
	bool (*fence_reaches)(struct env *env);
	void (*fence_here)(struct env *env);
	int (*thread_start)(struct env *env, const char *name, int cpu, struct env_loop *loop,
		env_step_fn *step, void *self, struct env_thread **out, struct weft_why *why);
	void (*thread_join)(struct env_thread *thread);
	void (*thread_run_here)(struct env *env, struct env_loop *loop, env_step_fn *step, void *self);

	int (*medium_open)(struct env *env, const char *path, const struct env_medium_wants *wants,
		struct env_medium **out, struct env_medium_info *info, struct weft_why *why);

	int (*notifier_open)(struct env *env, int fd, struct env_notifier **out);

	int (*shm_create)(struct env *env, const char *name, uint64_t size, int *fd);
	int (*map)(struct env *env, int fd, uint64_t offset, uint64_t size, bool writable,
		struct env_mapping **out, struct weft_why *why);
	void (*unmap)(struct env_mapping *mapping);
	void *(*pages_alloc)(struct env *env, uint64_t size, bool huge);
	void (*pages_free)(struct env *env, void *base, uint64_t size);
	void (*pages_drop)(struct env *env, void *base, uint64_t size);
	void (*fd_close)(struct env *env, int fd);
	int64_t (*fd_size)(struct env *env, int fd);
	int (*fd_copy)(struct env *env, int fd);

	void (*usage)(struct env *env, struct env_usage *out);
	bool (*is_terminal)(struct env *env); /* NULL: never */
	int (*file_read)(struct env *env, const char *path, char **text, size_t *size, struct weft_why *why);
	int (*file_write)(struct env *env, const char *path, const char *text, size_t size, struct weft_why *why);
	int (*file_try)(struct env *env, const char *path, struct weft_why *why);
	int (*file_remove)(struct env *env, const char *path, struct weft_why *why);
};

/* Called on the thread that has forked, in the child: its mark (env_thread_mark) changes. */
void env_thread_is_child(void);

/* The head of an environment. env_init fills it. */
struct env {
	const struct env_ops *ops;
	_Atomic uint64_t calls;	  /* that could have been made to fail, since env_init */
	_Atomic uint64_t fail_at; /* value of `calls` that fails; 0: none */
};

struct env_loop_ops {
	void (*close)(struct env_loop *loop);
	void (*leave)(struct env_loop *loop); /* NULL: a thread holds nothing */
	bool (*poll)(struct env_loop *loop);
	void (*submit)(struct env_loop *loop);
	void (*wait)(struct env_loop *loop, uint64_t timeout_ns);
	void (*wake)(struct env_loop *loop);
	int (*fd)(struct env_loop *loop);
	int (*alarm)(struct env_loop *loop, uint64_t after_ns);
	void (*stats)(const struct env_loop *loop, struct env_loop_stats *out);
	uint64_t (*wake_cost_ns)(const struct env_loop *loop);
	int (*pin)(struct env_loop *loop, unsigned region, void *base, uint64_t size, struct weft_why *why);
	void (*unpin)(struct env_loop *loop, unsigned region);
	void (*work_submit)(struct env_loop *loop, struct env_work *work);
	int (*listen)(struct env_loop *loop, const char *where, const struct env_listen_wants *wants,
		void (*accepted)(void *self, struct env_stream *stream), void *self,
		struct env_listener **out, struct weft_why *why);
	int (*connect)(
		struct env_loop *loop, const char *where, struct env_stream **out, struct weft_why *why);
	int (*stream_pair)(struct env_loop *loop, struct env_stream **out, int *fd); /* NULL: there is none */
	int (*signals_watch)(struct env_loop *loop, void (*fn)(void *self, int signal), void *self);
};
struct env_loop {
	const struct env_loop_ops *ops;
	struct env *env;
};

/* A thread's structure begins with this head, too. */
struct env_thread {
	struct env *env;
};

struct env_gate_ops {
	void (*close)(struct env_gate *gate);
	void (*enter)(struct env_gate *gate);
	void (*leave)(struct env_gate *gate);
	bool (*wait)(struct env_gate *gate, uint64_t timeout_ns);
	void (*wake)(struct env_gate *gate);
};
struct env_gate {
	const struct env_gate_ops *ops;
	struct env *env;
};

struct env_medium_ops {
	void (*submit)(struct env_loop *loop, struct env_io *io);
	void (*close)(struct env_medium *medium);
	void (*attach)(struct env_loop *loop, struct env_medium *medium);
	void (*detach)(struct env_loop *loop, struct env_medium *medium);
	int (*keep)(struct env_medium *medium, struct weft_why *why);
	void (*unlink_created)(struct env_medium *medium);
	int (*size)(struct env_medium *medium, uint64_t *size);
	int (*resize)(struct env_medium *medium, uint64_t size, struct weft_why *why);
};
struct env_medium {
	const struct env_medium_ops *ops;
	struct env *env;
	_Atomic unsigned loops; /* that it is attached to; env.c counts */
};

struct env_notifier_ops {
	void (*close)(struct env_notifier *notifier);
	int (*fd)(const struct env_notifier *notifier);
	void (*signal)(struct env_notifier *notifier);
	void (*clear)(struct env_notifier *notifier);
	int (*watch)(
		struct env_loop *loop, struct env_notifier *notifier, void (*fn)(void *self), void *self);
	void (*unwatch)(struct env_loop *loop, struct env_notifier *notifier);
};
struct env_notifier {
	const struct env_notifier_ops *ops;
	struct env *env;
};

/* Read without a call in every turn (env_mapping_base, env_mapping_broken). */
struct env_mapping {
	struct env *env;
	void *base;
	_Atomic bool broken;
};

struct env_stream_ops {
	void (*close)(struct env_stream *stream);
	void (*shut)(struct env_stream *stream);
	void (*watch)(struct env_stream *stream, bool end, void (*fn)(void *self), void *self); /* end: of nothing else */
	int64_t (*read)(struct env_stream *stream, void *buf, size_t len, int *fds, unsigned *nfds);
	int (*write)(struct env_stream *stream, const void *buf, size_t len, const int *fds, unsigned nfds);
};
struct env_stream {
	const struct env_stream_ops *ops;
	struct env *env;
};

struct env_listener_ops {
	void (*close)(struct env_listener *listener);
};
struct env_listener {
	const struct env_listener_ops *ops;
	struct env *env;
};

/* Makes `env` an environment of this implementation. Nothing to undo. */
void env_init(struct env *env, const struct env_ops *ops);

#endif
