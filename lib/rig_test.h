/* SPDX-License-Identifier: BSD-2-Clause */
/* One of each handle of libweft, open: for tests that use them, and for those that do to them what no program should. */
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

/* *state: a struct use; of the second one the control side is this thread (WEFT_CONTROL_CALLER). */
int use_open(void **state);
int use_open_caller(void **state);
/* Whatever was refused, all goes on, only what was asked for is answered, and all can be closed. */
int use_close(void **state);

#define USE_TEST(function) cmocka_unit_test_setup_teardown(function, use_open, use_close)
#define USE_CALLER_TEST(function) cmocka_unit_test_setup_teardown(function, use_open_caller, use_close)

/* `got`, of a call that was given u->why, is no error. */
void must(struct use *u, int got);
/* Waits for one completion, which is for `user_data`: its status. */
int one(struct weft_queue *queue, void *user_data);
/* Can be read within so many milliseconds? */
bool readable(int fd, int timeout_ms);
/* A file's path, and the address of an export, which no other process has. */
void use_path(char *path, size_t size, const char *name);
void use_socket(char *text, size_t size);

#endif
