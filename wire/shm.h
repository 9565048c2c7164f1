/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one accessor for memory that others can change: rings, tables and tracking areas shared with a guest, a front
 * end or a server. All values are little-endian in memory (virtio 1.x) and in host order in registers. Nothing else
 * in weft dereferences such memory, payload apart.
 *
 * Built with -DWEFT_SIM=1 each access first calls shm_hook (when set), so that a test can change the memory between
 * two loads, or end the server (longjmp) between two stores. Without it the hook does not exist and costs nothing.
 */
#ifndef WIRE_SHM_H
#define WIRE_SHM_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if WEFT_SIM
enum shm_kind { SHM_LOAD, SHM_STORE, SHM_FENCE, SHM_COPY_IN, SHM_COPY_OUT };

/* Called before the access happens. One per thread; NULL: nobody listens. Defined in wire/shm_sim.c. */
extern _Thread_local void (*shm_hook)(enum shm_kind kind, const void *address, size_t bytes);

static inline void shm_note(enum shm_kind kind, const void *address, size_t bytes)
{
	if (shm_hook)
		shm_hook(kind, address, bytes);
}
#define SHM_NOTE(kind, address, bytes) shm_note(kind, address, bytes)
#else
#define SHM_NOTE(kind, address, bytes) ((void)0)
#endif

/*
 * Typed loads and stores. The address is aligned to the type (ring parts are checked when a ring is set up).
 * Each is a single access of the machine: the compiler neither repeats, tears nor drops it.
 */
#define SHM_ACCESSORS(bits, decode, encode)                                                                    \
	static inline uint##bits##_t shm_load##bits(const void *p)                                             \
	{                                                                                                      \
		SHM_NOTE(SHM_LOAD, p, bits / 8);                                                               \
		return decode(__atomic_load_n((const uint##bits##_t *)p, __ATOMIC_RELAXED));                   \
	}                                                                                                      \
	static inline uint##bits##_t shm_load##bits##_acquire(const void *p)                                   \
	{                                                                                                      \
		SHM_NOTE(SHM_LOAD, p, bits / 8);                                                               \
		return decode(__atomic_load_n((const uint##bits##_t *)p, __ATOMIC_ACQUIRE));                   \
	}                                                                                                      \
	static inline void shm_store##bits(void *p, uint##bits##_t v)                                          \
	{                                                                                                      \
		SHM_NOTE(SHM_STORE, p, bits / 8);                                                              \
		__atomic_store_n((uint##bits##_t *)p, encode(v), __ATOMIC_RELAXED);                            \
	}                                                                                                      \
	static inline void shm_store##bits##_release(void *p, uint##bits##_t v)                                \
	{                                                                                                      \
		SHM_NOTE(SHM_STORE, p, bits / 8);                                                              \
		__atomic_store_n((uint##bits##_t *)p, encode(v), __ATOMIC_RELEASE);                            \
	}

#define SHM_SAME(v) (v)
SHM_ACCESSORS(8, SHM_SAME, SHM_SAME)
SHM_ACCESSORS(16, le16toh, htole16)
SHM_ACCESSORS(32, le32toh, htole32)
SHM_ACCESSORS(64, le64toh, htole64)
#undef SHM_ACCESSORS
#undef SHM_SAME

/* Stores when the value differs: a line that both sides only read stays in both caches. Only for fields of our own. */
static inline void shm_update32(void *p, uint32_t v)
{
	if (shm_load32(p) != v)
		shm_store32(p, v);
}

static inline void shm_update64(void *p, uint64_t v)
{
	if (shm_load64(p) != v)
		shm_store64(p, v);
}

/* Stores before it are seen by others before loads after it are done: needed between "published" and "must I notify?". */
static inline void shm_fence(void)
{
	SHM_NOTE(SHM_FENCE, NULL, 0);
#if defined(__x86_64__)
	__asm__ __volatile__("lock; orl $0, -4(%%rsp)" ::: "memory", "cc"); /* several times as fast as mfence */
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/*
 * Keeps the program's order of stores without any instruction. Enough where only the death of this process matters:
 * a killed process has done all stores before one point of its program and none after it.
 */
static inline void shm_order(void)
{
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

/* Any alignment. After shm_copy_in the local copy alone is looked at: the compiler cannot read the source again. */
static inline void shm_copy_in(void *local, const void *shared, size_t bytes)
{
	SHM_NOTE(SHM_COPY_IN, shared, bytes);
	memcpy(local, shared, bytes);
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
}

static inline void shm_copy_out(void *shared, const void *local, size_t bytes)
{
	SHM_NOTE(SHM_COPY_OUT, shared, bytes);
	memcpy(shared, local, bytes);
}

/* The line will be read, or written, soon. Never faults. */
static inline void shm_prefetch(const void *p)
{
	__builtin_prefetch(p, 0, 3);
}

static inline void shm_prefetch_write(void *p)
{
#if defined(__x86_64__)
	__asm__ __volatile__("prefetchw %0" : : "m"(*(const char *)p));
#else
	__builtin_prefetch(p, 1, 3);
#endif
}

#endif
