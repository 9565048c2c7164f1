/* SPDX-License-Identifier: BSD-2-Clause */
/* Counters that one reactor writes while others read them: a reading may be a moment old, never torn. */
#ifndef CORE_COUNTER_H
#define CORE_COUNTER_H

#include <stdint.h>

/* By the one thread that owns the counter: not an atomic addition, which would cost as much as a whole layer. */
static inline void counter_add(uint64_t *counter, uint64_t n)
{
#if defined(__x86_64__)
	/* One instruction where the compiler makes three of an atomic store: a nanosecond per layer. */
	__asm__("addq %1, %0" : "+m"(*counter) : "er"(n) : "cc");
#else
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
#endif
}

/* By any thread. */
static inline uint64_t counter_read(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

#endif
