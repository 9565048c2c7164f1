/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guard of shared mappings. Whoever shares a file with us can truncate it, and the next touch raises
 * SIGBUS in whatever thread that is. The handler, one for the process, finds the mapping by the
 * address in a table; maps zeroes from that page to the mapping's end, and marks it broken. Any other SIGBUS
 * goes to the handler that was there before. A handler may read the table at any time: to add, a longer copy
 * takes its place; to remove, which must not fail, the entry is emptied where it stands, and is not copied.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "env/linux/internal.h"

struct guarded {
	char *base;
	_Atomic uint64_t size; /* 0: empty; all else of an entry never changes */
	uint64_t page;
	_Atomic bool *broken;
};

struct guard_table {
	unsigned count;
	struct guarded at[];
};

/* Process-wide by nature: a signal handler has nowhere else to look. */
static struct {
	pthread_mutex_t lock;
	_Atomic(struct guard_table *) table;
	_Atomic unsigned readers; /* handlers that may be looking at a table */
	struct sigaction before;
} guard = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- in the handler: async-signal-safe ---- */

static bool guard_mend(char *address)
{
	struct guard_table *table = atomic_load(&guard.table);

	for (unsigned i = 0; table && i < table->count; i++) {
		const struct guarded *g = &table->at[i];
		uint64_t at = (uint64_t)(address - g->base), size = atomic_load(&g->size);

		if (address < g->base || at >= size)
			continue;
		at -= at % g->page;
		atomic_store(g->broken, true);
		return mmap(g->base + at, size - at, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
	}
	return false;
}

static void guard_pass_on(int signal, siginfo_t *info, void *context)
{
	static _Thread_local unsigned depth; /* the handler of before may itself pass on to us: a circle */

	if (depth++ > 32) {
		struct sigaction none = {.sa_handler = SIG_DFL};

		sigaction(signal, &none, NULL);
	} else if (guard.before.sa_flags & SA_SIGINFO) {
		guard.before.sa_sigaction(signal, info, context);
	} else if (guard.before.sa_handler != SIG_DFL && guard.before.sa_handler != SIG_IGN) {
		guard.before.sa_handler(signal);
	} else {
		/* The default: the fault happens again when we return, and ends the process where it was. */
		sigaction(signal, &guard.before, NULL);
		if (info->si_code <= 0)
			raise(signal);
	}
	depth--;
}

static void guard_handler(int signal, siginfo_t *info, void *context)
{
	int saved = errno;
	bool mended;

	atomic_fetch_add(&guard.readers, 1);
	mended = info->si_code == BUS_ADRERR && guard_mend(info->si_addr);
	atomic_fetch_sub(&guard.readers, 1);
	if (!mended)
		guard_pass_on(signal, info, context);
	errno = saved;
}

/* ---- outside ---- */

/*
 * Looked at each time: somebody may have put a handler in our place meanwhile, which then is the one
 * before.
 */
static int guard_install(void)
{
	struct sigaction action = {.sa_sigaction = guard_handler, .sa_flags = SA_SIGINFO | SA_NODEFER}, now;

	if (sigaction(SIGBUS, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) &&
		now.sa_sigaction == guard_handler)
		return 0;
	guard.before = now;
	sigemptyset(&action.sa_mask);
	return sigaction(SIGBUS, &action, NULL) ? -errno : 0;
}

/* No handler that began before is still looking at a table. */
static void guard_quiesce(void)
{
	while (atomic_load(&guard.readers))
		sched_yield();
}

static void guard_replace(struct guard_table *table)
{
	struct guard_table *old = atomic_exchange(&guard.table, table);

	guard_quiesce();
	free(old);
}

static void guard_append(struct guard_table *table, char *base, uint64_t size, uint64_t page, _Atomic bool *broken)
{
	struct guarded *g = &table->at[table->count++];

	g->base = base;
	atomic_init(&g->size, size);
	g->page = page;
	g->broken = broken;
}

static int guard_add_locked(char *base, uint64_t size, uint64_t page, _Atomic bool *broken)
{
	const struct guard_table *old = atomic_load(&guard.table);
	unsigned count = old ? old->count : 0;
	struct guard_table *table = malloc(sizeof(*table) + (count + 1) * sizeof(table->at[0]));
	int rc = table ? guard_install() : -ENOMEM;

	WEFT_ASSERT(size > 0);
	if (rc) {
		free(table);
		return rc;
	}
	table->count = 0;
	for (unsigned i = 0; i < count; i++) {
		const struct guarded *g = &old->at[i];

		if (g->size == 0)
			continue;
		WEFT_ASSERT(base + size <= g->base || base >= g->base + g->size); /* whose page is gone must be plain */
		guard_append(table, g->base, g->size, g->page, g->broken);
	}
	guard_append(table, base, size, page, broken);
	guard_replace(table);
	return 0;
}

int guard_add(void *base, uint64_t size, uint64_t page, _Atomic bool *broken)
{
	int rc;

	pthread_mutex_lock(&guard.lock);
	rc = guard_add_locked(base, size, page, broken);
	pthread_mutex_unlock(&guard.lock);
	return rc;
}

/* No memory is asked for: there is nobody to tell that there is none. */
void guard_remove(void *base)
{
	struct guard_table *table;
	unsigned i = 0;

	pthread_mutex_lock(&guard.lock);
	table = atomic_load(&guard.table);
	WEFT_ASSERT(table);
	while (i < table->count && (table->at[i].base != base || table->at[i].size == 0))
		i++;
	WEFT_ASSERT(i < table->count);
	atomic_store(&table->at[i].size, 0);
	guard_quiesce();
	pthread_mutex_unlock(&guard.lock);
}
