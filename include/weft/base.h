/* SPDX-License-Identifier: BSD-2-Clause */
/* What every other header stands on: visibility, assertions, error sentences. */
#ifndef WEFT_BASE_H
#define WEFT_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The component ABI: a shared object built against another number is refused (must match exactly until 1.0). */
#define WEFT_ABI 4
#define WEFT_VERSION "0.1.0"

#define WEFT_API __attribute__((visibility("default")))
#define WEFT_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define WEFT_LIKELY(x) __builtin_expect(!!(x), 1)
#define WEFT_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* From a member back to the structure that embeds it. */
#define WEFT_CONTAINER(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define WEFT_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/*
 * Our own invariants, asserted in release builds too. Never on what came from outside. Prints the expression and
 * its place to standard error and aborts.
 */
WEFT_API void weft_assert_failed(const char *expression, const char *file, int line, const char *function)
	__attribute__((noreturn, cold));
#define WEFT_ASSERT(x) \
	(WEFT_LIKELY(x) ? (void)0 : weft_assert_failed(#x, __FILE__, __LINE__, __func__))

/* One sentence for a human: parameter, value, rule, remedy. Owned by the caller; any thread that owns it. */
struct weft_why {
	char text[256];
};

/* Formats into `why` (which may be NULL) and returns `error` (0 or -errno), so that `return weft_why(...)` reads well. */
WEFT_API int weft_why(struct weft_why *why, int error, const char *format, ...) WEFT_PRINTF(3, 4);

/* One asynchronous operation of the control side, embedded by its caller. `done` is called exactly once, on the
 * reactor that asked, never inside the call that started the operation; status is 0 or -errno, and then `why` says it. */
struct weft_task {
	void (*done)(struct weft_task *task, int status);
	struct weft_why why;
};

#ifdef __cplusplus
}
#endif
#endif
