/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For the core's tests: a node of the simulated world with a control reactor and two that do I/O, a leaf that keeps what it is
 * asked
 * until the test answers, and a session to ask with.
 */
#ifndef CORE_RIG_TEST_H
#define CORE_RIG_TEST_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <weft/export.h>
#include <weft/memory.h>

#include "core/blk.h"
#include "core/core.h"
#include "core/stack.h"
#include "env/sim/sim.h"

#define RIG_SIZE (4u << 20)

struct rig {
	struct sim_world *world;
	struct env *env;
	struct weft_core *core;
	struct weft_stack *stack;
	struct weft_session session;
	struct weft_task task;
	unsigned lane;            /* of the session */
	int status;               /* of the task */
	bool ended;
	unsigned answers;
	int answer;               /* the last one */
};

/* Keeps hops until they are answered. */
struct leaf {
	struct weft_object object;
	struct weft_blk blk;
	struct weft_hop *asked[64];
	unsigned count;           /* asked and not answered */
	unsigned total, commits;
	bool at_once;             /* answer in submit, with `status` */
	int status;
	char *bytes;              /* RIG_SIZE */
};

static inline void leaf_move(struct leaf *leaf, struct weft_hop *hop)
{
	if (hop->op == WEFT_READ)
		weft_hop_copy_in(hop, 0, leaf->bytes + hop->offset, hop->len);
	else if (hop->op == WEFT_WRITE)
		weft_hop_copy_out(hop, 0, leaf->bytes + hop->offset, hop->len);
	else if (hop->op == WEFT_ZERO)
		memset(leaf->bytes + hop->offset, 0, hop->len);
}

static inline void leaf_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct leaf *leaf = WEFT_CONTAINER(blk, struct leaf, blk);

	leaf->total++;
	if (leaf->at_once) {
		leaf_move(leaf, hop);
		weft_hop_complete(hop, leaf->status);
		return;
	}
	assert_true(leaf->count < WEFT_COUNT(leaf->asked));
	leaf->asked[leaf->count++] = hop;
	if (blk->ops->commit != NULL)
		weft_hop_gather(hop);
}

static inline void leaf_commit(struct weft_blk *blk, void *shard)
{
	(void)shard;
	WEFT_CONTAINER(blk, struct leaf, blk)->commits++;
}

/* An abort ends a hop that is still here. */
static inline void leaf_abort(struct weft_blk *blk, struct weft_hop *hop)
{
	struct leaf *leaf = WEFT_CONTAINER(blk, struct leaf, blk);

	for (unsigned i = 0; i < leaf->count; i++) {
		if (leaf->asked[i] != hop)
			continue;
		leaf->asked[i] = leaf->asked[--leaf->count];
		weft_hop_complete(hop, -ECANCELED);
		return;
	}
}

static const struct weft_blk_ops leaf_ops = { .submit = leaf_submit, .commit = leaf_commit, .abort = leaf_abort };
static const struct weft_blk_ops leaf_home_ops = { .submit = leaf_submit, .abort = leaf_abort, .at_home = true };

/* Answers the i-th hop that waits (in order of submission). */
static inline void leaf_answer(struct leaf *leaf, unsigned i, int status)
{
	struct weft_hop *hop = leaf->asked[i];

	assert_true(i < leaf->count);
	memmove(leaf->asked + i, leaf->asked + i + 1, (--leaf->count - i) * sizeof(leaf->asked[0]));
	if (status == 0)
		leaf_move(leaf, hop);
	weft_hop_complete(hop, status);
}

/* One turn of all reactors, and a microsecond. */
static inline void rig_turn(struct rig *rig)
{
	static uint64_t now = 2000000000;

	now += 1000;
	for (unsigned lane = 0; lane < rig->core->reactors; lane++)
		reactor_step(rig->core->reactor[lane], now);
}

static inline void rig_turns(struct rig *rig, unsigned n)
{
	while (n-- > 0)
		rig_turn(rig);
}

static inline void rig_task_done(struct weft_task *task, int status)
{
	struct rig *rig = WEFT_CONTAINER(task, struct rig, task);

	rig->ended = true;
	rig->status = status;
}

static inline int rig_wait(struct rig *rig)
{
	for (unsigned i = 0; i < 100 && !rig->ended; i++)
		rig_turn(rig);
	assert_true(rig->ended);
	rig->ended = false;
	return rig->status;
}

/* ---- the session ---- */

static inline bool rig_poll(struct weft_source *source)
{
	(void)source;
	return false;
}

static inline void rig_session_open_msg(void *self)
{
	struct rig *rig = self;

	rig->status = weft_session_open(&rig->session, rig->core->reactor[rig->lane], rig->stack, &rig->task.why);
	rig->ended = true;
}

static inline void rig_session_close_msg(void *self)
{
	struct rig *rig = self;

	weft_session_close(&rig->session);
	rig->ended = true;
}

static inline void rig_answered(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(root, struct weft_slot, root);
	struct rig *rig = WEFT_CONTAINER(slot->session, struct rig, session);

	(void)child;
	rig->answers++;
	rig->answer = status;
	weft_slot_give(slot);
}

/* Asks with one segment (of a compare-and-write, both halves); to be followed by turns. */
static inline struct weft_slot *rig_ask(struct rig *rig, unsigned op, unsigned flags, uint64_t offset, uint64_t len, void *memory)
{
	struct weft_slot *slot = weft_session_slot(&rig->session);

	assert_non_null(slot);
	slot->segs[0] = (struct weft_seg){ .base = memory, .len = (uint32_t)(op == WEFT_COMPARE_WRITE ? 2 * len : len) };
	weft_slot_submit(slot, op, flags, offset, len, memory != NULL ? 1 : 0, rig_answered);
	return slot;
}

static inline void rig_message(struct rig *rig, unsigned lane, weft_reactor_fn *fn)
{
	struct weft_msg msg = { .fn = fn, .self = rig };

	weft_reactor_post(rig->core->reactor[lane], &msg);
	rig_wait(rig);
}

/* Opens `top` and a session on reactor `lane`. */
static inline void rig_serve(struct rig *rig, struct weft_blk *top, unsigned lane, uint32_t depth)
{
	assert_int_equal(weft_stack_open(rig->core, top, "rig", &rig->stack, &rig->task), 0);
	assert_int_equal(rig_wait(rig), 0);
	rig->lane = lane;
	rig->session.slots_max = depth;
	rig->session.source.poll = rig_poll;
	rig_message(rig, lane, rig_session_open_msg);
	assert_int_equal(rig->status, 0);
}

static inline void rig_unserve(struct rig *rig)
{
	rig_message(rig, rig->lane, rig_session_close_msg);
	weft_stack_close(rig->stack, &rig->task);
	assert_int_equal(rig_wait(rig), 0);
}

/* ---- the node ---- */

static inline struct rig *rig_open(uint32_t budget)
{
	struct rig *rig = test_calloc(1, sizeof(*rig));
	struct core_wants wants = { .io_reactors = 2, .mode = WEFT_MODE_POLL, .budget = budget, .no_threads = true };
	struct weft_why why;

	rig->world = sim_world_open(1);
	rig->env = sim_node_open(rig->world, "node");
	assert_int_equal(core_open(rig->env, &wants, &rig->core, &why), 0);
	rig->task.done = rig_task_done;
	return rig;
}

static inline void rig_close(struct rig *rig)
{
	rig_turns(rig, 4);
	core_close(rig->core);
	sim_node_close(rig->env);
	sim_world_close(rig->world);
	test_free(rig);
}

/* ---- the leaf as an object: what leaf_open was given becomes its device ---- */

static struct weft_blk leaf_template;

static inline void leaf_start(struct weft_object *object, struct weft_task *task)
{
	struct leaf *leaf = WEFT_CONTAINER(object, struct leaf, object);

	leaf->blk = leaf_template;
	leaf->bytes = weft_alloc(object->core, RIG_SIZE);
	task->done(task, 0);
}

static inline void leaf_destroy(struct weft_object *object)
{
	struct leaf *leaf = WEFT_CONTAINER(object, struct leaf, object);

	assert_int_equal(leaf->count, 0);
	weft_free(object->core, leaf->bytes);
}

static const struct weft_offer leaf_offers[] = { { &weft_blk_iface, offsetof(struct leaf, blk) }, { 0 } };
static const struct weft_kind leaf_kind = { .name = "leaf", .summary = "a leaf for tests", .size = sizeof(struct leaf),
	.offers = leaf_offers, .start = leaf_start, .destroy = leaf_destroy };
static const struct weft_kind *const leaf_kinds[] = { &leaf_kind, NULL };
static const struct weft_module leaf_module = { WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind), "rig", "0",
	leaf_kinds };

struct rig_job {
	struct objects_job job;
	bool ended;
	int status;
};

static inline void rig_job_done(struct weft_task *task, int status)
{
	struct rig_job *job = (struct rig_job *)task;

	job->ended = true;
	job->status = status;
}

static inline int rig_job_wait(struct rig *rig, struct rig_job *job)
{
	for (unsigned i = 0; i < 100 && !job->ended; i++)
		rig_turn(rig);
	assert_true(job->ended);
	return job->status;
}

/* Takes the tree. */
static inline struct weft_object *rig_build(struct rig *rig, struct tree *tree)
{
	struct rig_job job = { .job.task.done = rig_job_done };
	struct weft_object *object;

	objects_build(rig->core, tree, &weft_blk_iface, &object, &job.job);
	assert_int_equal(rig_job_wait(rig, &job), 0);
	tree_free(rig->core, tree);
	return object;
}

static inline void rig_release(struct rig *rig, struct weft_object *object)
{
	struct rig_job job = { .job.task.done = rig_job_done };

	objects_release(object, &job.job);
	assert_int_equal(rig_job_wait(rig, &job), 0);
}

/* From now on there is the kind `leaf`: it takes everything but what `change` (may be NULL) takes away. */
static inline void leaf_module_add(struct rig *rig, const struct weft_blk_ops *ops,
	void (*change)(struct weft_core *core, struct weft_blk *blk))
{
	struct weft_why why;

	leaf_template = (struct weft_blk){ .ops = ops, .size = RIG_SIZE, .block = 512, .ops_can = WEFT_OPS_ALL,
		.flags_can = WEFT_FUA | WEFT_NO_UNMAP | WEFT_FAST };
	if (change != NULL)
		change(rig->core, &leaf_template);
	assert_int_equal(objects_module_add(rig->core, &leaf_module, &why), 0);
}

static inline struct weft_object *leaf_build(struct rig *rig)
{
	struct tree *tree;

	assert_int_equal(tree_new(rig->core, "leaf", &tree), 0);
	return rig_build(rig, tree);
}

/* ---- all of it ---- */

struct served {
	struct rig *rig;
	struct weft_object *top; /* what is asked: the leaf, or what stands on it */
	struct leaf *leaf;
};

/* A session of `depth` on reactor `lane`, which has `budget` slots, on what `build` makes (leaf_build, or something on such a leaf;
 * ops and change: leaf_module_add). */
static inline struct served served_open(uint32_t budget, const struct weft_blk_ops *ops,
	void (*change)(struct weft_core *core, struct weft_blk *blk), struct weft_object *(*build)(struct rig *rig), unsigned lane,
	uint32_t depth)
{
	struct served s = { .rig = rig_open(budget) };
	struct weft_object *lowest, *next;

	leaf_module_add(s.rig, ops, change);
	s.top = build(s.rig);
	for (lowest = s.top; (next = objects_below(lowest, 0, NULL)) != NULL; lowest = next)
		;
	s.leaf = WEFT_CONTAINER(lowest, struct leaf, object);
	rig_serve(s.rig, weft_object_query(s.top, &weft_blk_iface), lane, depth);
	return s;
}

/* The same on the leaf itself, with 16 slots. */
static inline struct served serve(void (*change)(struct weft_core *core, struct weft_blk *blk), const struct weft_blk_ops *ops,
	unsigned lane, uint32_t depth)
{
	return served_open(16, ops, change, leaf_build, lane, depth);
}

static inline void unserve(struct served s)
{
	rig_unserve(s.rig);
	rig_release(s.rig, s.top);
	rig_close(s.rig);
}

/* Asks a leaf that answers at once; the answer. */
static inline int ask_once(struct served s, unsigned op, unsigned flags, uint64_t offset, uint64_t len, void *at)
{
	unsigned before = s.rig->answers;

	s.leaf->at_once = true;
	rig_ask(s.rig, op, flags, offset, len, at);
	rig_turns(s.rig, 3);
	assert_int_equal(s.rig->answers, before + 1);
	return s.rig->answer;
}

#endif
