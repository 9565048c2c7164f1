/* SPDX-License-Identifier: BSD-2-Clause */
/* Nodes of the simulated world, their memory and threads; what happens next. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/sim/world.h"

/* ---- chance and trace ---- */

uint64_t sim_rand(struct sim_world *world)
{
	uint64_t z = world->rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

bool sim_chance(struct sim_world *world, unsigned n, unsigned m)
{
	return sim_rand(world) % m < n;
}

void sim_trace(struct sim_world *world, const char *format, ...)
{
	char line[256];
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	for (const char *c = line; *c != '\0'; c++)
		world->trace = (world->trace ^ (uint8_t)*c) * 0x100000001b3u;
	world->trace ^= world->now_ns;
	if (world->verbose)
		fprintf(stderr, "%12llu %s\n", (unsigned long long)world->now_ns, line);
}

uint64_t sim_trace_hash(const struct sim_world *world)
{
	return world->trace;
}

uint64_t sim_now_ns(const struct sim_world *world)
{
	return world->now_ns;
}

/* ---- memory of a node: known, so that it can be taken away ---- */

void *sim_node_alloc(struct env *env, size_t align, size_t size)
{
	struct sim_node *node = node_of(env);
	size_t head = sizeof(struct sim_allocation) + sizeof(void *), room = size + head + align;
	struct sim_allocation *a;
	void *raw;

	if (room < size)
		return NULL;
	raw = calloc(1, room);
	if (raw == NULL)
		return NULL;
	uintptr_t at = ((uintptr_t)raw + head + align - 1) & ~(uintptr_t)(align - 1);
	a = (struct sim_allocation *)(at - sizeof(*a));
	if (((uintptr_t)a & (_Alignof(struct sim_allocation) - 1)) != 0)
		abort();
	a->raw = raw;
	a->size = size;
	a->next = node->allocations.next;
	a->prev = &node->allocations;
	a->next->prev = a->prev->next = a;
	return (void *)at;
}

void sim_node_free(struct env *env, void *memory)
{
	struct sim_allocation *a = (struct sim_allocation *)memory - 1;

	(void)env;
	a->next->prev = a->prev;
	a->prev->next = a->next;
	free(a->raw);
}

static void *pages_alloc(struct env *env, uint64_t size, bool huge)
{
	(void)huge;
	return sim_node_alloc(env, SIM_PAGE, size);
}

static void pages_free(struct env *env, void *base, uint64_t size)
{
	(void)size;
	sim_node_free(env, base);
}

static void pages_drop(struct env *env, void *base, uint64_t size)
{
	(void)env;
	memset(base, 0, size);
}

/* ---- clock and the like ---- */

static uint64_t now_ns(struct env *env)
{
	return node_of(env)->world->now_ns;
}

static uint64_t random_seed(struct env *env)
{
	return sim_rand(node_of(env)->world);
}

static uint64_t wall_ns(struct env *env)
{
	return 1700000000000000000u + node_of(env)->world->now_ns;
}

static void log_line(struct env *env, int level, const char *line)
{
	sim_trace(node_of(env)->world, "%s: log %d: %s", node_of(env)->name, level, line);
}

static unsigned cpu_count(struct env *env)
{
	(void)env;
	return 2;
}

static void usage(struct env *env, struct env_usage *out)
{
	(void)env;
	memset(out, 0, sizeof(*out));
}

static int file_read(struct env *env, const char *path, char **text, size_t *size, struct weft_why *why)
{
	struct sim_world *world = node_of(env)->world;

	if (!sim_file_exists(world, path))
		return weft_why(why, -ENOENT, "%s: no such file", path);
	*size = sim_file_size(world, path);
	*text = sim_node_alloc(env, 16, *size + 1);
	if (*text == NULL)
		return weft_why(why, -ENOMEM, "%s: no memory to read it", path);
	memcpy(*text, sim_file_bytes(world, path), *size);
	return 0;
}

/* ---- fences: one thread needs none. They are where a test has others run. ---- */

void sim_fence_hook(struct sim_world *world, void (*fn)(void *arg, bool all), void *arg)
{
	world->fence = fn;
	world->fence_arg = arg;
}

static int fence_all(struct env *env)
{
	struct sim_world *world = node_of(env)->world;

	if (world->fence != NULL)
		world->fence(world->fence_arg, true);
	return 0;
}

static void fence_here(struct env *env)
{
	struct sim_world *world = node_of(env)->world;

	if (world->fence != NULL)
		world->fence(world->fence_arg, false);
}

/* Else we would not be asked. */
static bool fence_reaches(struct env *env)
{
	return node_of(env)->world->fence == NULL;
}

/* ---- threads ---- */

static struct sim_thread *thread_add(struct env *env, struct env_loop *loop, env_step_fn *step, void *self)
{
	struct sim_node *node = node_of(env);
	struct sim_thread *thread = calloc(1, sizeof(*thread));
	struct sim_thread **link = &node->threads;

	WEFT_ASSERT(thread != NULL);
	thread->base.env = env;
	thread->node = node;
	thread->loop = (struct sim_loop *)loop;
	thread->step = step;
	thread->self = self;
	while (*link != NULL)
		link = &(*link)->next;
	*link = thread;
	return thread;
}

void sim_thread_add(struct env *env, struct env_loop *loop, env_step_fn *step, void *self)
{
	thread_add(env, loop, step, self);
}

static int thread_start(struct env *env, const char *name, int cpu, struct env_loop *loop, env_step_fn *step, void *self,
	struct env_thread **out, struct weft_why *why)
{
	(void)name;
	(void)cpu;
	(void)why;
	*out = &thread_add(env, loop, step, self)->base;
	return 0;
}

static void thread_step(struct sim_thread *thread)
{
	struct sim_world *world = thread->node->world;
	struct sim_node *before = world->stepping;
	uint64_t wait;

	world->stepping = thread->node;
	world->now_ns += 200 + sim_rand(world) % 4000;
	sim_ops_advance(world);
	wait = thread->step(thread->self, world->now_ns);
	world->stepping = before;
	if (wait == ENV_STOP)
		thread->stopped = true;
	else if (wait == 0)
		thread->wake_at_ns = 0;
	else
		thread->wake_at_ns = wait == ENV_FOREVER ? ENV_FOREVER : world->now_ns + wait;
}

static void thread_join(struct env_thread *base)
{
	struct sim_thread *thread = (struct sim_thread *)base;
	struct sim_thread **link = &thread->node->threads;

	while (!thread->stopped)
		thread_step(thread);
	while (*link != thread)
		link = &(*link)->next;
	*link = thread->next;
	free(thread);
}

static void thread_run_here(struct env *env, struct env_loop *loop, env_step_fn *step, void *self)
{
	struct sim_thread *thread = thread_add(env, loop, step, self);

	while (!thread->stopped)
		sim_step(node_of(env)->world);
	thread_join(&thread->base);
}

/* ---- nodes ---- */

static const struct env_ops sim_ops = {
	.alloc = sim_node_alloc, .free = sim_node_free, .now_ns = now_ns, .random = random_seed, .wall_ns = wall_ns,
	.log_line = log_line, .cpu_count = cpu_count, .loop_open = sim_loop_open,
	.gate_open = sim_gate_open, .fence_all = fence_all, .fence_reaches = fence_reaches, .fence_here = fence_here,
	.thread_start = thread_start,
	.thread_join = thread_join, .thread_run_here = thread_run_here, .medium_open = sim_medium_open,
	.notifier_open = sim_notifier_open, .shm_create = sim_shm_create, .map = sim_map, .unmap = sim_unmap,
	.pages_alloc = pages_alloc, .pages_free = pages_free, .pages_drop = pages_drop, .fd_close = sim_fd_close,
	.fd_size = sim_fd_size, .fd_copy = sim_fd_copy, .usage = usage, .file_read = file_read,
	.file_write = sim_file_write, .file_try = sim_file_try,
	.file_remove = sim_file_remove,
};

struct env *sim_node_open(struct sim_world *world, const char *name)
{
	struct sim_node *node = calloc(1, sizeof(*node)), **link = &world->nodes;

	WEFT_ASSERT(node != NULL);
	env_init(&node->env, &sim_ops);
	node->world = world;
	snprintf(node->name, sizeof(node->name), "%s", name);
	node->allocations.next = node->allocations.prev = &node->allocations;
	while (*link != NULL)
		link = &(*link)->next;
	*link = node;
	return &node->env;
}

static void node_remove(struct sim_node *node)
{
	struct sim_node **link = &node->world->nodes;

	while (node->threads != NULL) {
		struct sim_thread *next = node->threads->next;
		free(node->threads);
		node->threads = next;
	}
	while (*link != node)
		link = &(*link)->next;
	*link = node->next;
	free(node);
}

void sim_node_close(struct env *env)
{
	struct sim_node *node = node_of(env);

	WEFT_ASSERT(node->media == NULL && node->streams == NULL && node->listeners == NULL && node->loops == NULL);
	for (int fd = 0; fd < SIM_FDS_MAX; fd++)
		WEFT_ASSERT(node->fd[fd] == NULL);
	WEFT_ASSERT(node->allocations.next == &node->allocations);
	node_remove(node);
}

void sim_node_kill(struct env *env)
{
	struct sim_node *node = node_of(env);

	WEFT_ASSERT(node->world->stepping != node);
	sim_trace(node->world, "%s: killed", node->name);
	sim_media_orphan(node);
	sim_node_close_fds(node);
	while (node->allocations.next != &node->allocations)
		sim_node_free(env, node->allocations.next + 1);
	node_remove(node);
}

void sim_kill_here(struct sim_world *world)
{
	WEFT_ASSERT(world->stepping != NULL);
	longjmp(world->killed, 1);
}

struct env *sim_node_here(struct sim_world *world)
{
	return world->stepping != NULL ? &world->stepping->env : NULL;
}

bool sim_node_alive(struct sim_world *world, const struct env *env)
{
	for (struct sim_node *node = world->nodes; node != NULL; node = node->next)
		if (&node->env == env)
			return true;
	return false;
}

/* ---- what happens next ---- */

static bool runnable(struct sim_thread *thread)
{
	const struct sim_world *world = thread->node->world;

	return !thread->stopped && (thread->wake_at_ns == 0 || thread->wake_at_ns <= world->now_ns ||
		sim_loop_ready(thread->loop));
}

/* The pick-th runnable thread of all, or with pick = UINT_MAX their number. */
static struct sim_thread *find_runnable(struct sim_world *world, unsigned pick, unsigned *count)
{
	*count = 0;
	for (struct sim_node *node = world->nodes; node != NULL; node = node->next)
		for (struct sim_thread *thread = node->threads; thread != NULL; thread = thread->next)
			if (runnable(thread) && (*count)++ == pick)
				return thread;
	return NULL;
}

static bool jump_clock(struct sim_world *world)
{
	uint64_t next = sim_ops_next_ns(world);

	if (world->alarm_ns != 0 && world->alarm_ns < next)
		next = world->alarm_ns;
	for (struct sim_node *node = world->nodes; node != NULL; node = node->next)
		for (struct sim_thread *thread = node->threads; thread != NULL; thread = thread->next)
			if (!thread->stopped && thread->wake_at_ns < next)
				next = thread->wake_at_ns;
	if (next == ENV_FOREVER)
		return false;
	if (next > world->now_ns)
		world->now_ns = next;
	sim_ops_advance(world);
	return true;
}

bool sim_step(struct sim_world *world)
{
	struct sim_thread *thread;
	unsigned count;

	WEFT_ASSERT(world->stepping == NULL);
	world->steps++;
	sim_ops_advance(world);
	find_runnable(world, UINT32_MAX, &count);
	if (count == 0)
		return jump_clock(world);
	thread = find_runnable(world, (unsigned)(sim_rand(world) % count), &count);
	if (setjmp(world->killed) == 0) {
		thread_step(thread);
	} else {
		struct sim_node *node = world->stepping;

		world->stepping = NULL;
		sim_node_kill(&node->env);
	}
	return true;
}

bool sim_run(struct sim_world *world, bool (*cond)(void *arg), void *arg, uint64_t steps)
{
	while (!cond(arg)) {
		if (steps-- == 0 || !sim_step(world))
			return cond(arg);
	}
	return true;
}

bool sim_wait(struct sim_node *node, bool (*cond)(void *arg), void *arg, uint64_t timeout_ns)
{
	struct sim_world *world = node->world;
	uint64_t until = timeout_ns < ENV_FOREVER - world->now_ns ? world->now_ns + timeout_ns : ENV_FOREVER;

	WEFT_ASSERT(world->alarm_ns == 0 && world->stepping == NULL);
	world->alarm_ns = until;
	while (!cond(arg) && world->now_ns < until && sim_step(world))
		;
	world->alarm_ns = 0;
	WEFT_ASSERT(cond(arg) || world->now_ns >= until); /* else it waits for what never comes */
	return cond(arg);
}

struct sim_world *sim_world_open(uint64_t seed)
{
	struct sim_world *world = calloc(1, sizeof(*world));

	WEFT_ASSERT(world != NULL);
	world->rng = seed * 0x2545f4914f6cdd1du + 1;
	world->now_ns = 1000000000;
	world->trace = 0xcbf29ce484222325u;
	world->verbose = getenv("WEFT_SIM_TRACE") != NULL;
	return world;
}

void sim_world_close(struct sim_world *world)
{
	WEFT_ASSERT(world->nodes == NULL);
	while (world->ops != NULL)
		jump_clock(world);
	WEFT_ASSERT(world->things == NULL);
	sim_files_free(world);
	free(world);
}
