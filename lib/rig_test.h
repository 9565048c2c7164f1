/* SPDX-License-Identifier: BSD-2-Clause */
/* One of each handle of libweft, open: for tests that do to them what no program should. */
#ifndef LIB_RIG_TEST_H
#define LIB_RIG_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <weft/weft.h>

#define BLOCK 4096u

struct use {
	struct weft *weft;
	struct weft_device *device;   /* 1 MiB of memory */
	struct weft_reactor *reactor;
	struct weft_queue *queue;
	struct weft_memory *memory;   /* BLOCK bytes */
	struct weft_server *server;   /* none; for the test */
	struct weft_why why;
};

/* *state: a struct use. */
int use_open(void **state);
/* Whatever was refused, all goes on, only what was asked for is answered, and all can be closed. */
int use_close(void **state);

#define USE_TEST(function) cmocka_unit_test_setup_teardown(function, use_open, use_close)

#endif
