/* SPDX-License-Identifier: BSD-2-Clause */
/* Handles: how a program's mistakes with them are found out (L4). */
#include <errno.h>
#include <string.h>

#include "env/env.h"
#include "lib/lib.h"

/* So many closed handles of a kind keep their memory before one of them becomes another; weft.h promises half as many. */
#define CLOSED_MAX 64

static const char *const names[HANDLE_KINDS] = { "device", "queue", "memory", "export" };

static struct handle *closed_take(struct weft *weft, enum handle_kind kind)
{
	struct handle *handle = weft->closed[kind];

	if (weft->nclosed[kind] < CLOSED_MAX)
		return NULL;
	WEFT_ASSERT(handle != NULL && handle->mark == HANDLE_CLOSED);
	weft->closed[kind] = handle->next;
	weft->nclosed[kind]--;
	return handle;
}

void *handle_new(struct weft *weft, enum handle_kind kind, size_t size)
{
	struct handle *handle;

	WEFT_ASSERT(size >= sizeof(*handle) && kind < HANDLE_KINDS);
	env_gate_enter(weft->gate);
	handle = closed_take(weft, kind);
	weft->open[kind]++;
	env_gate_leave(weft->gate);
	if (handle != NULL) { /* but for what those read who still have it */
		WEFT_ASSERT(handle->weft == weft && handle->mark == HANDLE_CLOSED);
		memset(handle + 1, 0, size - sizeof(*handle));
		return handle;
	}
	handle = weft_alloc_aligned(weft->core, 64, size);
	if (handle == NULL) {
		env_gate_enter(weft->gate);
		weft->open[kind]--;
		env_gate_leave(weft->gate);
		return NULL;
	}
	handle->weft = weft;
	atomic_store(&handle->mark, HANDLE_CLOSED);
	return handle;
}

void handle_opened(struct handle *handle, enum handle_kind kind)
{
	WEFT_ASSERT(handle->mark == HANDLE_CLOSED && kind < HANDLE_KINDS);
	atomic_store(&handle->mark, HANDLE_OPEN + kind);
}

void handle_close(struct handle *handle, enum handle_kind kind)
{
	struct weft *weft = handle->weft;

	WEFT_ASSERT(handle->mark == HANDLE_CLOSED || handle->mark == HANDLE_OPEN + kind);
	atomic_store(&handle->mark, HANDLE_CLOSED);
	env_gate_enter(weft->gate);
	WEFT_ASSERT(weft->open[kind] > 0);
	weft->open[kind]--;
	handle->next = NULL;
	if (weft->nclosed[kind]++ == 0)
		weft->closed[kind] = handle;
	else
		*weft->closed_tail[kind] = handle;
	weft->closed_tail[kind] = &handle->next;
	env_gate_leave(weft->gate);
}

int handle_check(const void *pointer, enum handle_kind kind, struct weft_why *why)
{
	const struct handle *handle = pointer;

	WEFT_ASSERT(kind < HANDLE_KINDS);
	if (handle == NULL)
		return weft_why(why, -EINVAL, "%s: NULL: pass what opening it gave", names[kind]);
	if (!handle_is(handle, kind))
		return weft_why(why, -EBADF, "%s: it has been closed, or is being closed: use it before, or open it again",
			names[kind]);
	return 0;
}
