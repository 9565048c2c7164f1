/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the devices' tests stand on: a core in a simulated world, or in the real one, a device made from a text in
 * the grammar, a session on each reactor, and requests that are submitted there and waited for. The test runs as
 * the control thread. Includes cmocka.
 */
#ifndef DEVICES_RIG_TEST_H
#define DEVICES_RIG_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <weft/export.h>

#include "core/core.h"
#include "core/objects.h"
#include "env/sim/sim.h"

#define RIG_LANES 4
#define RIG_SEGS 8

struct rig {
	struct sim_world *world; /* NULL: the real one */
	struct env *env;
	struct weft_core *core;
	struct weft_object *object; /* the device under test */
	struct weft_blk *blk;
	struct weft_stack *stack;
	struct weft_session session[RIG_LANES];
	unsigned lanes;
	uint64_t rng;
};

/* One request. Fill what stands above the line (rig_ask does), start, wait. */
struct rig_request {
	unsigned op, flags;
	uint64_t offset, len, source;
	struct weft_seg segs[RIG_SEGS];
	unsigned nsegs;
	unsigned lane;        /* 0: the first that does I/O */
	uint32_t deadline_us; /* 0: none */
	/* ---- */
	struct rig *rig;
	struct weft_msg msg, back;
	struct weft_slot *slot;
	int status;
	unsigned ended; /* how often */
	uint64_t ended_ns;
};

/* A change of size that is under way. Fill the first two. */
struct rig_resizing {
	struct weft_object *object;
	uint64_t size;
	struct objects_job job;
	struct weft_msg msg;
	bool done;
	int status;
};

/* `rig`, opened anew for each test that is listed as RIG_TEST(function). */
#define RIG_FOR_EACH_TEST(seed, lanes) \
	static struct rig rig; \
	static int rig_setup(void **state) \
	{ \
		(void)state; \
		rig_open(&rig, seed, lanes); \
		return 0; \
	} \
	static int rig_teardown(void **state) \
	{ \
		(void)state; \
		rig_close(&rig); \
		return 0; \
	}
#define RIG_TEST(function) cmocka_unit_test_setup_teardown(function, rig_setup, rig_teardown)

void rig_open(struct rig *rig, uint64_t seed, unsigned lanes);
void rig_open_linux(struct rig *rig, uint64_t seed, unsigned lanes);
void rig_close(struct rig *rig);

/* Makes the device and opens a stack on it with a session on each reactor; asserts that it works. */
void rig_make(struct rig *rig, const char *text);
void rig_unmake(struct rig *rig);
/* Closes the stack and opens another one on the same device. */
void rig_reopen(struct rig *rig);
/* Makes and unmakes it: 0 or what it failed with. */
int rig_try(struct rig *rig, const char *text, struct weft_why *why);
/* The same, and opens a stack on it in between. */
int rig_try_stack(struct rig *rig, const char *text, struct weft_why *why);
/* Makes and unmakes it, with a stack on it in between if so asked, again and again, with the n-th call of the environment that can
 * fail failing (env/env_fault.h): each time it must say so, and leave no file `gone` (NULL: none is looked for) behind, until it
 * works. How many calls there are. */
unsigned rig_fail_each(struct rig *rig, const char *text, bool stack, const char *gone);
/* The instance that the n-th port place of `object` is bound to. */
struct weft_object *rig_below(struct weft_object *object, unsigned n);
/* Asks for another size; 0 or -errno. */
int rig_resize(struct rig *rig, struct weft_object *object, uint64_t size);
/* The same in two steps: a message to control, and the wait for its end. */
void rig_resize_start(struct rig *rig, struct rig_resizing *resizing);
int rig_resize_wait(struct rig *rig, struct rig_resizing *resizing);
/* Changes an option while the device runs; 0 or -errno. */
int rig_set(struct rig *rig, struct weft_object *object, const char *name, const char *value);
/* A fact that the device tells about itself; "" when it does not. Valid until the next call. */
const char *rig_fact(struct weft_object *object, const char *name);

/* Lines of the log from rig_log_begin to rig_log_end. */
extern struct rig_line {
	int level;
	char text[512];
} rig_line[64];
extern unsigned rig_lines;
void rig_log_begin(struct rig *rig);
void rig_log_end(struct rig *rig);

void rig_start(struct rig *rig, struct rig_request *request);
int rig_wait(struct rig *rig, struct rig_request *request);
void rig_abort(struct rig *rig, struct rig_request *request);
/* Start and wait, one segment. */
int rig_ask(struct rig *rig, unsigned op, unsigned flags, uint64_t offset, uint64_t len, void *data);
uint64_t rig_rand(struct rig *rig, uint64_t below);
/* Lets so much time pass. */
void rig_run(struct rig *rig, uint64_t ns);
/* A turn of a reactor (0: control) in the midst of another's, as if its thread ran just now. In the simulated world. */
void rig_turn(struct rig *rig, unsigned lane);

/* Random requests, several at once, against a model in memory: what every device must do. */
void rig_conform(const char *text, uint64_t seed, unsigned requests);
void rig_conform_linux(const char *text, uint64_t seed, unsigned requests);
/* The same in a rig that is open. */
void rig_conform_here(struct rig *rig, const char *text, unsigned requests);

#endif
