/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters that one reactor writes while others read them: a reading may be a moment old, never torn. */
#ifndef CORE_COUNTER_H
#define CORE_COUNTER_H

#include <stdint.h>

/* By the one thread that owns the counter: not an atomic addition, which would cost as much as a whole layer. */
static inline void counter_add(uint64_t *counter, uint64_t n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

/* By any thread. */
static inline uint64_t counter_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

#endif
