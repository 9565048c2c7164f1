/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the export's tests stand on: the export on the real environment, with a front end of a few lines. For what cannot be seen
 * from outside the process; what can is in tests/integration/vhost_user. Includes cmocka.
 */
#ifndef EXPORTS_VHOST_USER_RIG_TEST_H
#define EXPORTS_VHOST_USER_RIG_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/objects.h"
#include "exports/vhost_user/vux.h"
#include "wire/virtq_drv.h"

#define MEMORY (8u << 20)
#define NUM 256
#define RINGS 4
#define SLICE (MEMORY / RINGS)
#define DATA 4096u

/* A disk, `witness`, of WITNESS_SIZE, that notes in which order the rings ask: ring i asks for what lies from i * WITNESS_SPAN. It
 * can hang: then what is asked waits, and is not let go by an abort, until witness_lets_go (where there are no threads). */
#define WITNESS_SIZE ((uint64_t)1 << 40)
#define WITNESS_SPAN (64u << 20)
extern unsigned witnessed, witness[1024];
extern unsigned witness_hangs;        /* WEFT_OP_BIT of what waits */
extern struct weft_hop *witness_held; /* NULL: nothing waits */
void witness_lets_go(int status);

struct ring {
	struct virtq_drv drv;
	struct virtq_drv_slot slots[NUM];
	uint8_t *base; /* SLICE bytes: descriptors, driver, device, requests */
	int kick, call;
	uint64_t sector; /* where its requests begin */
	uint32_t large;  /* bytes of each, all in the same memory; 0: 4 KiB each for itself */
	unsigned in_flight;
};

extern struct rig {
	struct env *env;
	struct weft_core *core;
	struct weft_object *export;
	struct vux_export *exp;
	struct objects_job job;
	struct weft_task task;
	struct weft_msg msg;
	bool done;
	int status;
	char path[64];
	int sock, memfd;
	uint8_t *memory;
	struct ring ring[RINGS];
	const char *text;
	bool may_be_cut_off;
	bool stepped;  /* there are no threads: the I/O reactor is stepped here, too */
	uint64_t ahead_ns; /* the reactors that are stepped here believe that it is so much later */
} t;

/* One turn of the control reactor; of all, when there are no threads. */
void turn(void);
/* Runs fn there, as a message, and waits for the task that it ends: its status. */
int on_control(weft_reactor_fn *fn);
/* For on_control: the export is released, frozen, thawed. */
void release_here(void *self);
void freeze_here(void *self);
void thaw_here(void *self);
/* Makes an export of `device`; `more`: its options, ",name=value...". */
void open_as(const struct core_wants *wants, const char *device, const char *more);
void open_all(const char *device, const char *more, unsigned reactors, enum weft_mode mode);
void close_all(void);
/* Says something: with the descriptor, so often; asking for an acknowledgement or not. */
void say_with(uint32_t request, const void *payload, uint32_t size, int fd, unsigned times, bool acknowledge);
void say_and(uint32_t request, const void *payload, uint32_t size, int fd, bool acknowledge);
void say(uint32_t request, const void *payload, uint32_t size, int fd);
void say_u64(uint32_t request, uint64_t value, int fd);
void say_state(uint32_t request, uint32_t index, uint32_t num);
/* The number that is answered to the message said last. */
uint64_t answer_to(uint32_t request);
/* Everything said before has been done when it returns. */
void sync_with_server(void);
/* Switches the write cache; the second waits, and returns the acknowledgement. */
void say_write_cache(bool on);
uint64_t switch_write_cache(bool on);
void ring_up(unsigned index, bool packed);
/* Connects, and says nothing yet. */
int front_connect(void);
/* A front end with so many rings, all of them running. */
void front_up(unsigned rings, bool packed);
void front_down(unsigned rings);
/* Adds a read of 4 KiB. */
void add(struct ring *ring);
/* Takes what has ended; false: nothing. */
bool take(struct ring *ring);
void publish(struct ring *ring);
/* So many requests, eight at a time. */
void load(struct ring *ring, unsigned requests);
/* A message that waits until the export, which is frozen from now on, is thawed. */
void say_what_waits(void);
/* A stack of its own on the export's device: who shares the reactor with another counts bytes and requests of a turn. */
void neighbours_open(void);
void neighbours_close(void);

#endif
