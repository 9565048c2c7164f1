/* SPDX-License-Identifier: BSD-2-Clause */
/* Stacks from the inside: a pool of slots per reactor. */
#ifndef CORE_STACK_H
#define CORE_STACK_H

#include <weft/export.h>

#include "core/core.h"

/* One stack's slots on one reactor: virtual memory for a whole budget, touched only as far as it is used. Those of other reactors
 * lie in other cache lines. */
struct slot_pool {
	_Alignas(128) struct weft_slot *free;
	uint32_t given, back;            /* slots so far; the difference is in use */
	uint64_t turn;                   /* of the reactor, in which weft_session_share was asked last, */
	uint32_t turn_given;             /* ... `given` at its beginning, */
	uint64_t turn_bytes;             /* ... and what was asked for since (weft_session_asked) */
	char *base;
	uint64_t bytes;
	uint32_t slot_size, made, count; /* made: of count, so far */
	uint32_t users;                  /* of the stack on this reactor: an export, or a program's queues */
	struct weft_seg *longest;        /* SLOT_LONGEST_SEGS, behind the slots */
	struct weft_slot *longest_at;    /* the slot that has it */
	struct weft_slot *line, **line_tail; /* that wait for it, linked through `next` */
	struct slot_pool *next;          /* of the reactor */
};

struct stack_opening {
	struct weft_msg msg;
	struct weft_timer later;         /* on the reactor of `lane` */
	unsigned lane, homes;            /* homes: what lies behind so many (core/blk.h) */
	int error;
	bool closing;
	struct weft_task *task;
	struct weft_stack **out;
};

struct weft_stack {
	struct weft_blk root;      /* stands for the session in a slot's root hop */
	struct weft_core *core;
	struct weft_blk *device;
	bool homes_only;           /* on the core's own reactors */
	unsigned homes;            /* the most on a way down */
	char name[64];
	struct stack_opening opening;
	struct slot_pool pool[CORE_REACTORS_MAX];
};

/*
 * For programs: a stack that each reactor of theirs opens by itself, as often as wanted, at any time while the stack is open.
 * homes_only: the core's own reactors open what lives there, and nothing else. As weft_stack_open; closed by weft_stack_close
 * when it is open on no reactor of the program's.
 */
int stack_open(struct weft_core *core, struct weft_blk *device, const char *name, bool homes_only, struct weft_stack **out,
	struct weft_task *task);
int stack_open_here(struct weft_stack *stack, struct weft_reactor *reactor, struct weft_why *why);
void stack_close_here(struct weft_stack *stack, struct weft_reactor *reactor);

/* ---- slot_vectors.c: room for long requests. Vectors, of one reactor: as many as the requests of a guest with fragmented memory
 * in flight at once. ---- */
#define SLOT_VECTORS 32
struct slot_vectors {
	struct weft_seg *free;     /* linked through the first segment's base */
	struct weft_seg *base;
	uint32_t out;
};
int slot_vectors_open(struct weft_reactor *reactor, struct weft_why *why);
void slot_vectors_close(struct weft_reactor *reactor);
/* What is not the slot's own goes back. */
void slot_vector_give(struct weft_slot *slot);

/*
 * The longest vector, of a stack on one reactor: as long as the longest chain of a virtqueue, with a border for each memory
 * region of a guest. Requests take turns with it. It is there as long as the slots, its pages come as it is used. On the reactor.
 */
#define SLOT_LONGEST_SEGS (32768u + 256u)
/* False: another slot has it. This one stands in line: it will have it in a later turn, or leaves. */
bool slot_longest_borrow(struct weft_slot *slot);
/* Has not got it yet, and does not want it any more. */
void slot_longest_leave(struct weft_slot *slot);
static inline bool slot_has_longest(const struct weft_slot *slot)
{
	return slot->room == SLOT_LONGEST_SEGS;
}

/* Its stack has started in this turn what it may: what waits with a slot waits for the next turn. On the reactor. */
bool slots_turn_is_spent(struct weft_session *session);

/* Reactor's part: deadlines looked through. */
/* Ends what has waited beyond its deadline on this reactor; returns the earliest deadline left. */
uint64_t slots_expire(struct weft_reactor *reactor, uint64_t now_ns);
/* Aborts what is in flight on this reactor, for `session` (NULL: for all), with `status`; returns how many had not been asked to
 * end before. On the reactor. */
unsigned slots_abort(struct weft_reactor *reactor, const struct weft_session *session, int status);
/* Calls fn for each slot in use on the reactor. On the reactor. */
void slots_each(struct weft_reactor *reactor, void (*fn)(void *arg, struct weft_slot *slot), void *arg);

#endif
