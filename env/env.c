/* SPDX-License-Identifier: BSD-2-Clause */
/* The functions of env.h: a thin dispatch to the implementation (env_ops.h), and the place where tests make
 * calls fail. */
#include "env/env.h"

#include <errno.h>

#include "env/env_fault.h"
#include "env/env_ops.h"

void env_init(struct env *env, const struct env_ops *ops)
{
	WEFT_ASSERT(ops);
	env->ops = ops;
	atomic_init(&env->calls, 0);
	atomic_init(&env->fail_at, 0);
}

/* ---- faults ---- */

void env_fail_nth(struct env *env, uint64_t n)
{
	atomic_store(&env->fail_at, n ? atomic_load(&env->calls) + n : 0);
}

bool env_fail_hit(struct env *env)
{
	uint64_t at = atomic_load(&env->fail_at);

	return at && atomic_load(&env->calls) >= at;
}

uint64_t env_calls(struct env *env)
{
	return atomic_load(&env->calls);
}

static bool env_fault(struct env *env)
{
	uint64_t call = atomic_fetch_add_explicit(&env->calls, 1, memory_order_relaxed) + 1;

	return WEFT_UNLIKELY(call == atomic_load_explicit(&env->fail_at, memory_order_relaxed));
}

static int env_fault_why(struct weft_why *why, const char *call)
{
	return weft_why(why, -EIO, "%s: made to fail by a test (env_fail_nth)", call);
}

/* ---- memory, clock, randomness, log ---- */

void *env_alloc(struct env *env, size_t align, size_t size)
{
	return env_fault(env) ? NULL : env->ops->alloc(env, align, size);
}

void env_free(struct env *env, void *memory)
{
	env->ops->free(env, memory);
}

uint64_t env_now_ns(struct env *env)
{
	return env->ops->now_ns(env);
}

uint64_t env_random(struct env *env)
{
	return env->ops->random(env);
}

uint64_t env_wall_ns(struct env *env)
{
	return env->ops->wall_ns(env);
}

void env_log_line(struct env *env, int level, const char *line)
{
	env->ops->log_line(env, level, line);
}

unsigned env_cpu_count(struct env *env)
{
	return env->ops->cpu_count(env);
}

/* ---- loop ---- */

int env_loop_open(struct env *env, struct env_loop **out, struct weft_why *why)
{
	return env_fault(env) ? env_fault_why(why, "env_loop_open") : env->ops->loop_open(env, false, out, why);
}

int env_loop_open_movable(struct env *env, struct env_loop **out, struct weft_why *why)
{
	return env_fault(env) ? env_fault_why(why, "env_loop_open_movable") : env->ops->loop_open(env, true, out, why);
}

void env_loop_leave(struct env_loop *loop)
{
	if (loop->ops->leave)
		loop->ops->leave(loop);
}

void env_loop_close(struct env_loop *loop)
{
	loop->ops->close(loop);
}

bool env_loop_poll(struct env_loop *loop)
{
	return loop->ops->poll(loop);
}

void env_loop_submit(struct env_loop *loop)
{
	loop->ops->submit(loop);
}

void env_loop_wait(struct env_loop *loop, uint64_t timeout_ns)
{
	loop->ops->wait(loop, timeout_ns);
}

void env_loop_wake(struct env_loop *loop)
{
	loop->ops->wake(loop);
}

int env_loop_fd(struct env_loop *loop)
{
	return loop->ops->fd(loop);
}

int env_loop_alarm(struct env_loop *loop, uint64_t after_ns)
{
	return env_fault(loop->env) ? -EIO : loop->ops->alarm(loop, after_ns);
}

void env_loop_stats(const struct env_loop *loop, struct env_loop_stats *out)
{
	loop->ops->stats(loop, out);
}

uint64_t env_loop_wake_cost_ns(const struct env_loop *loop)
{
	return loop->ops->wake_cost_ns(loop);
}

int env_loop_pin(struct env_loop *loop, unsigned region, void *base, uint64_t size, struct weft_why *why)
{
	WEFT_ASSERT(region != WEFT_REGION_NONE && base && size);
	return env_fault(loop->env) ? env_fault_why(why, "env_loop_pin")
				    : loop->ops->pin(loop, region, base, size, why);
}

void env_loop_unpin(struct env_loop *loop, unsigned region)
{
	loop->ops->unpin(loop, region);
}

/* ---- threads, workers ---- */

int env_thread_start(struct env *env, const char *name, int cpu, struct env_loop *loop, env_step_fn *step,
	void *self, struct env_thread **out, struct weft_why *why)
{
	WEFT_ASSERT(step);
	return env_fault(env) ? env_fault_why(why, "env_thread_start")
			      : env->ops->thread_start(env, name, cpu, loop, step, self, out, why);
}

void env_thread_join(struct env_thread *thread)
{
	thread->env->ops->thread_join(thread);
}

void env_thread_run_here(struct env *env, struct env_loop *loop, env_step_fn *step, void *self)
{
	WEFT_ASSERT(step);
	env->ops->thread_run_here(env, loop, step, self);
}

void env_work_submit(struct env_loop *loop, struct env_work *work)
{
	WEFT_ASSERT(work->run && work->done);
	loop->ops->work_submit(loop, work);
}

/* ---- medium ---- */

int env_medium_open(struct env *env, const char *path, const struct env_medium_wants *wants,
	struct env_medium **out, struct env_medium_info *info, struct weft_why *why)
{
	return env_fault(env) ? env_fault_why(why, "env_medium_open")
			      : env->ops->medium_open(env, path, wants, out, info, why);
}

void env_medium_attach(struct env_loop *loop, struct env_medium *medium)
{
	atomic_fetch_add(&medium->loops, 1);
	medium->ops->attach(loop, medium);
}

void env_medium_detach(struct env_loop *loop, struct env_medium *medium)
{
	WEFT_ASSERT(atomic_load(&medium->loops) > 0);
	medium->ops->detach(loop, medium);
	atomic_fetch_sub(&medium->loops, 1);
}

void env_medium_close(struct env_medium *medium)
{
	WEFT_ASSERT(atomic_load(&medium->loops) == 0);
	medium->ops->close(medium);
}

int env_medium_keep(struct env_medium *medium, struct weft_why *why)
{
	return env_fault(medium->env) ? env_fault_why(why, "env_medium_keep") : medium->ops->keep(medium, why);
}

void env_medium_unlink_created(struct env_medium *medium)
{
	medium->ops->unlink_created(medium);
}

int env_medium_size(struct env_medium *medium, uint64_t *size)
{
	return env_fault(medium->env) ? -EIO : medium->ops->size(medium, size);
}

int env_medium_resize(struct env_medium *medium, uint64_t size, struct weft_why *why)
{
	return env_fault(medium->env) ? env_fault_why(why, "env_medium_resize")
				      : medium->ops->resize(medium, size, why);
}

void env_medium_submit(struct env_loop *loop, struct env_io *io)
{
	io->medium->ops->submit(loop, io);
}

/* How often the thread's process was forked from another one since it began there. */
static _Thread_local uintptr_t forks;

const void *env_thread_mark(void)
{
	return (const char *)&forks + forks;
}

void env_thread_is_child(void)
{
	forks++;
}

bool env_forked(struct env *env)
{
	return env->ops->forked && env->ops->forked(env);
}

/* ---- gate ---- */

int env_gate_open(struct env *env, struct env_gate **out, struct weft_why *why)
{
	return env_fault(env) ? env_fault_why(why, "env_gate_open") : env->ops->gate_open(env, out, why);
}

void env_gate_close(struct env_gate *gate)
{
	gate->ops->close(gate);
}

void env_gate_enter(struct env_gate *gate)
{
	gate->ops->enter(gate);
}

void env_gate_leave(struct env_gate *gate)
{
	gate->ops->leave(gate);
}

bool env_gate_wait(struct env_gate *gate, uint64_t timeout_ns)
{
	return gate->ops->wait(gate, timeout_ns);
}

void env_gate_wake(struct env_gate *gate)
{
	gate->ops->wake(gate);
}

/* ---- fences ---- */

int env_fence_all(struct env *env)
{
	return env_fault(env) ? -EIO : env->ops->fence_all(env);
}

bool env_fence_reaches(struct env *env)
{
	return env->ops->fence_reaches(env);
}

void env_fence_here(struct env *env)
{
	env->ops->fence_here(env);
}

/* ---- notifier ---- */

int env_notifier_open(struct env *env, int fd, struct env_notifier **out)
{
	if (env_fault(env)) {
		if (fd >= 0)
			env->ops->fd_close(env, fd);
		return -EIO;
	}
	return env->ops->notifier_open(env, fd, out);
}

void env_notifier_close(struct env_notifier *notifier)
{
	notifier->ops->close(notifier);
}

int env_notifier_fd(const struct env_notifier *notifier)
{
	return notifier->ops->fd(notifier);
}

void env_notifier_signal(struct env_notifier *notifier)
{
	notifier->ops->signal(notifier);
}

void env_notifier_clear(struct env_notifier *notifier)
{
	notifier->ops->clear(notifier);
}

int env_notifier_watch(
	struct env_loop *loop, struct env_notifier *notifier, void (*fn)(void *self), void *self)
{
	WEFT_ASSERT(fn);
	return env_fault(loop->env) ? -EIO : notifier->ops->watch(loop, notifier, fn, self);
}

void env_notifier_unwatch(struct env_loop *loop, struct env_notifier *notifier)
{
	notifier->ops->unwatch(loop, notifier);
}

/* ---- shared memory, pages, descriptors ---- */

int env_shm_create(struct env *env, const char *name, uint64_t size, int *fd)
{
	return env_fault(env) ? -EIO : env->ops->shm_create(env, name, size, fd);
}

int env_map(struct env *env, int fd, uint64_t offset, uint64_t size, bool writable, struct env_mapping **out,
	struct weft_why *why)
{
	return env_fault(env) ? env_fault_why(why, "env_map")
			      : env->ops->map(env, fd, offset, size, writable, out, why);
}

void env_unmap(struct env_mapping *mapping)
{
	mapping->env->ops->unmap(mapping);
}

void *env_mapping_base(const struct env_mapping *mapping)
{
	return mapping->base;
}

bool env_mapping_broken(const struct env_mapping *mapping)
{
	return atomic_load_explicit(&mapping->broken, memory_order_relaxed);
}

void *env_pages_alloc(struct env *env, uint64_t size, bool huge)
{
	return env_fault(env) ? NULL : env->ops->pages_alloc(env, size, huge);
}

void env_pages_free(struct env *env, void *base, uint64_t size)
{
	env->ops->pages_free(env, base, size);
}

void env_pages_drop(struct env *env, void *base, uint64_t size)
{
	env->ops->pages_drop(env, base, size);
}

void env_fd_close(struct env *env, int fd)
{
	env->ops->fd_close(env, fd);
}

int64_t env_fd_size(struct env *env, int fd)
{
	return env_fault(env) ? -EIO : env->ops->fd_size(env, fd);
}

int env_fd_copy(struct env *env, int fd)
{
	return env_fault(env) ? -EIO : env->ops->fd_copy(env, fd);
}

/* ---- streams ---- */

int env_listen(struct env_loop *loop, const char *where, const struct env_listen_wants *wants,
	void (*accepted)(void *self, struct env_stream *stream), void *self, struct env_listener **out,
	struct weft_why *why)
{
	WEFT_ASSERT(accepted);
	if (env_fault(loop->env)) {
		if (wants->fd >= 0)
			loop->env->ops->fd_close(loop->env, wants->fd);
		return env_fault_why(why, "env_listen");
	}
	return loop->ops->listen(loop, where, wants, accepted, self, out, why);
}

void env_listener_close(struct env_listener *listener)
{
	listener->ops->close(listener);
}

int env_connect(struct env_loop *loop, const char *where, struct env_stream **out, struct weft_why *why)
{
	return env_fault(loop->env) ? env_fault_why(why, "env_connect")
				    : loop->ops->connect(loop, where, out, why);
}

int env_stream_pair(struct env_loop *loop, struct env_stream **out, int *fd)
{
	if (!loop->ops->stream_pair)
		return -ENOTSUP;
	return env_fault(loop->env) ? -EIO : loop->ops->stream_pair(loop, out, fd);
}

void env_stream_close(struct env_stream *stream)
{
	stream->ops->close(stream);
}

void env_stream_shut(struct env_stream *stream)
{
	stream->ops->shut(stream);
}

void env_stream_watch(struct env_stream *stream, void (*fn)(void *self), void *self)
{
	stream->ops->watch(stream, false, fn, self);
}

void env_stream_watch_end(struct env_stream *stream, void (*fn)(void *self), void *self)
{
	WEFT_ASSERT(fn);
	stream->ops->watch(stream, true, fn, self);
}

int64_t env_stream_read(struct env_stream *stream, void *buf, size_t len, int *fds, unsigned *nfds)
{
	return env_fault(stream->env) ? -EIO : stream->ops->read(stream, buf, len, fds, nfds);
}

int env_stream_write(struct env_stream *stream, const void *buf, size_t len, const int *fds, unsigned nfds)
{
	WEFT_ASSERT(nfds <= ENV_FDS_MAX);
	return env_fault(stream->env) ? -EIO : stream->ops->write(stream, buf, len, fds, nfds);
}

/* ---- the process ---- */

int env_signals_watch(struct env_loop *loop, void (*fn)(void *self, int signal), void *self)
{
	WEFT_ASSERT(fn);
	return env_fault(loop->env) ? -EIO : loop->ops->signals_watch(loop, fn, self);
}

void env_usage(struct env *env, struct env_usage *out)
{
	env->ops->usage(env, out);
}

bool env_is_terminal(struct env *env)
{
	return env->ops->is_terminal && env->ops->is_terminal(env);
}

int env_file_read(struct env *env, const char *path, char **text, size_t *size, struct weft_why *why)
{
	return env_fault(env) ? env_fault_why(why, "env_file_read")
			      : env->ops->file_read(env, path, text, size, why);
}

int env_file_write(struct env *env, const char *path, const char *text, size_t size, struct weft_why *why)
{
	return env_fault(env) ? env_fault_why(why, "env_file_write")
			      : env->ops->file_write(env, path, text, size, why);
}

int env_file_try(struct env *env, const char *path, struct weft_why *why)
{
	return env_fault(env) ? env_fault_why(why, "env_file_try") : env->ops->file_try(env, path, why);
}

int env_file_remove(struct env *env, const char *path, struct weft_why *why)
{
	return env_fault(env) ? env_fault_why(why, "env_file_remove") : env->ops->file_remove(env, path, why);
}
