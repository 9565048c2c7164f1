/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that devices use in place. Requests find the region of their pieces in a table of their reactor's own, which is renewed
 * from the instance's when that has changed; what is in flight is counted there by region, so that nothing is released under it.
 */
#include <errno.h>
#include <string.h>

#include "env/env.h"
#include "lib/lib.h"

#define PAGE 4096u

struct weft_memory {
	struct handle handle;
	char *base;
	uint64_t size;
	int fd;                      /* -1: none */
	struct env_mapping *mapping; /* NULL: the program's own */
	bool own_fd;
	int region;
};

/* ---- the tables ---- */

void areas_refresh(struct program *p)
{
	struct weft *weft = p->weft;

	env_gate_enter(weft->gate);
	memcpy(p->areas, weft->areas, weft->nareas * sizeof(p->areas[0]));
	p->nareas = weft->nareas;
	p->generation = atomic_load(&weft->areas_generation);
	p->last = NULL;
	env_gate_leave(weft->gate);
}

/* Inside the gate: the first that ends behind `at`. */
static unsigned area_from(const struct weft *weft, const char *at)
{
	unsigned i = 0;

	while (i < weft->nareas && weft->areas[i].end <= at)
		i++;
	return i;
}

static bool overlaps(struct weft *weft, const char *base, uint64_t size)
{
	unsigned i;
	bool any;

	env_gate_enter(weft->gate);
	i = area_from(weft, base);
	any = i < weft->nareas && weft->areas[i].base < base + size;
	env_gate_leave(weft->gate);
	return any;
}

static void area_add(struct weft *weft, const struct weft_memory *memory)
{
	unsigned i;

	WEFT_ASSERT(memory->region > 0 && memory->region < REGIONS_MAX);
	env_gate_enter(weft->gate);
	i = area_from(weft, memory->base);
	memmove(weft->areas + i + 1, weft->areas + i, (weft->nareas - i) * sizeof(weft->areas[0]));
	weft->areas[i] = (struct area){ memory->base, memory->base + memory->size, (uint16_t)memory->region };
	weft->nareas++;
	atomic_fetch_add(&weft->areas_generation, 1);
	env_gate_leave(weft->gate);
}

/* False: a request uses it. */
static bool area_remove(struct weft *weft, const struct weft_memory *memory)
{
	uint64_t uses = 0;

	env_gate_enter(weft->gate);
	for (const struct program *p = weft->programs; p != NULL; p = p->next)
		uses += __atomic_load_n(&p->uses[memory->region], __ATOMIC_ACQUIRE);
	if (uses == 0) {
		unsigned i = area_from(weft, memory->base);

		WEFT_ASSERT(i < weft->nareas && weft->areas[i].region == memory->region);
		weft->nareas--;
		memmove(weft->areas + i, weft->areas + i + 1, (weft->nareas - i) * sizeof(weft->areas[0]));
		atomic_fetch_add(&weft->areas_generation, 1);
	}
	env_gate_leave(weft->gate);
	return uses == 0;
}

/* ---- making, on the control reactor ---- */

struct memory_call {
	struct call call;
	struct weft_memory *memory;
	int fd;
	uint64_t offset, size;
	void *base;                  /* of the program's own memory */
	bool pin;
};

static int make(struct memory_call *m, struct weft_why *why)
{
	struct weft *weft = m->call.weft;
	struct weft_memory *memory = m->memory;
	int error = 0;

	memory->fd = m->fd;
	memory->size = m->size;
	memory->base = m->base;
	if (m->base == NULL && m->fd < 0) {
		error = env_shm_create(weft->env, "weft-memory", m->size, &memory->fd);
		if (error != 0)
			return weft_why(why, error, "no shared memory of %llu bytes can be had: ask for less, or raise the limits",
				(unsigned long long)m->size);
		memory->own_fd = true;
	} else if (m->fd >= 0) { /* the program may close its own, and another file get the number */
		memory->fd = env_fd_copy(weft->env, m->fd);
		if (memory->fd < 0)
			return weft_why(why, memory->fd, "memory: no descriptor of our own for fd %d: raise the limit of open "
				"files (ulimit -n)", m->fd);
		memory->own_fd = true;
	}
	if (m->base == NULL) {
		error = env_map(weft->env, memory->fd, m->offset, m->size, true, &memory->mapping, why);
		if (error != 0) {
			memory->mapping = NULL;
			return error;
		}
		memory->base = env_mapping_base(memory->mapping);
	}
	if (overlaps(weft, memory->base, memory->size))
		return weft_why(why, -EEXIST, "some of these %llu bytes are registered already: release that first",
			(unsigned long long)m->size);
	memory->region = weft_region_add(weft->core, memory->base, memory->size, memory->fd, m->offset, m->pin, why);
	return memory->region < 0 ? memory->region : 0;
}

static void unmake(struct weft *weft, struct weft_memory *memory)
{
	if (memory->mapping != NULL)
		env_unmap(memory->mapping);
	if (memory->own_fd)
		env_fd_close(weft->env, memory->fd);
	memory->mapping = NULL;
	memory->own_fd = false;
}

static void make_run(struct call *call)
{
	struct memory_call *m = WEFT_CONTAINER(call, struct memory_call, call);
	int error = make(m, &call->why);

	if (error == 0)
		area_add(call->weft, m->memory);
	else
		unmake(call->weft, m->memory);
	call_end(call, error);
}

static void remove_run(struct call *call)
{
	struct memory_call *m = WEFT_CONTAINER(call, struct memory_call, call);

	weft_region_remove(call->weft->core, m->memory->region);
	unmake(call->weft, m->memory);
	call_end(call, 0);
}

static int memory_new(struct weft *weft, struct memory_call *m, unsigned flags, struct weft_memory **out, struct weft_why *why)
{
	int error = call_allowed(weft, why);

	if (out != NULL)
		*out = NULL;
	if (error == 0 && out == NULL)
		error = weft_why(why, -EINVAL, "memory: NULL: pass where it is to be stored");
	if (error == 0 && (flags & ~(unsigned)WEFT_MEMORY_PIN) != 0)
		error = weft_why(why, -EINVAL, "memory: flags 0x%x: use 0 or WEFT_MEMORY_PIN", flags);
	if (error == 0 && (m->size == 0 || m->size > (uint64_t)1 << 46))
		error = weft_why(why, -EINVAL, "memory: size %llu: use 1 to 2^46 bytes", (unsigned long long)m->size);
	if (error != 0)
		return error;
	m->pin = (flags & WEFT_MEMORY_PIN) != 0;
	m->call.run = make_run;
	m->memory = handle_new(weft, HANDLE_MEMORY, sizeof(*m->memory));
	if (m->memory == NULL)
		return weft_why(why, -ENOMEM, "no memory for a handle: close something else, or raise the memory limit");
	error = call_wait(weft, &m->call, why);
	if (error != 0) {
		handle_close(&m->memory->handle, HANDLE_MEMORY);
		return error;
	}
	handle_opened(&m->memory->handle, HANDLE_MEMORY);
	*out = m->memory;
	return 0;
}

int weft_memory_alloc(struct weft *weft, uint64_t size, unsigned flags, struct weft_memory **out, struct weft_why *why)
{
	uint64_t up = size > UINT64_MAX - PAGE ? size : (size + PAGE - 1) & ~(uint64_t)(PAGE - 1); /* refused as it was passed */
	struct memory_call m = { .fd = -1, .size = up };

	return memory_new(weft, &m, flags, out, why);
}

/* Does the descriptor have these bytes? */
static int backing_check(struct weft *weft, int fd, uint64_t offset, uint64_t size, struct weft_why *why)
{
	int64_t has;
	uint64_t end;

	if (weft == NULL)
		return weft_why(why, -EINVAL, "weft: NULL: pass what weft_open gave");
	has = fd < 0 ? -EBADF : env_fd_size(weft->env, fd);
	if (has < 0)
		return weft_why(why, (int)has, "memory: fd %d is no open descriptor of memory or a file: pass one", fd);
	if (__builtin_add_overflow(offset, size, &end) || end > (uint64_t)has)
		return weft_why(why, -EINVAL, "memory: %llu bytes at %llu of a descriptor of %lld: stay inside, or make it larger",
			(unsigned long long)size, (unsigned long long)offset, (long long)has);
	if (offset % PAGE != 0)
		return weft_why(why, -EINVAL, "memory: offset %llu: must be a multiple of %u", (unsigned long long)offset, PAGE);
	return 0;
}

int weft_memory_map(struct weft *weft, int fd, uint64_t offset, uint64_t size, unsigned flags, struct weft_memory **out,
	struct weft_why *why)
{
	struct memory_call m = { .fd = fd, .offset = offset, .size = size };
	int error = backing_check(weft, fd, offset, size, why);

	if (out != NULL)
		*out = NULL;
	return error != 0 ? error : memory_new(weft, &m, flags, out, why);
}

int weft_memory_register(struct weft *weft, void *base, uint64_t size, int fd, uint64_t fd_offset, unsigned flags,
	struct weft_memory **out, struct weft_why *why)
{
	struct memory_call m = { .fd = fd < 0 ? -1 : fd, .offset = fd_offset, .size = size, .base = base };
	int error = fd >= 0 ? backing_check(weft, fd, fd_offset, size, why) : 0;

	if (out != NULL)
		*out = NULL;
	if (error == 0 && (base == NULL || (uintptr_t)base > UINTPTR_MAX - size))
		error = weft_why(why, -EINVAL, "memory: %llu bytes at %p are none: pass memory of the program's own",
			(unsigned long long)size, base);
	return error != 0 ? error : memory_new(weft, &m, flags, out, why);
}

int weft_memory_release(struct weft_memory *memory, struct weft_why *why)
{
	struct memory_call m = { .call.run = remove_run, .memory = memory };
	uint32_t open = HANDLE_OPEN + HANDLE_MEMORY;
	int error = handle_check(memory, HANDLE_MEMORY, why);

	if (error == 0)
		error = call_allowed(memory->handle.weft, why);
	if (error != 0)
		return error;
	if (!atomic_compare_exchange_strong(&memory->handle.mark, &open, HANDLE_CLOSED))
		return handle_check(memory, HANDLE_MEMORY, why);
	if (!area_remove(memory->handle.weft, memory)) {
		atomic_store(&memory->handle.mark, open);
		return weft_why(why, -EBUSY, "requests in flight use this memory: wait first (weft_queue_drain)");
	}
	error = call_wait(memory->handle.weft, &m.call, why);
	handle_close(&memory->handle, HANDLE_MEMORY);
	return error;
}

void *weft_memory_base(const struct weft_memory *memory)
{
	return handle_check(memory, HANDLE_MEMORY, NULL) != 0 ? NULL : memory->base;
}

uint64_t weft_memory_size(const struct weft_memory *memory)
{
	return handle_check(memory, HANDLE_MEMORY, NULL) != 0 ? 0 : memory->size;
}

int weft_memory_fd(const struct weft_memory *memory)
{
	return handle_check(memory, HANDLE_MEMORY, NULL) != 0 ? -1 : memory->fd;
}
