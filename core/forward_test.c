/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * weft_hop_forward is weft_hop_down and weft_hop_submit in one: a layer that does the one and a layer that does the other look the
 * same from above and from below, whatever is asked of whatever device.
 */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/rig_test.h"

/* ---- the layer ---- */

struct layer {
	struct weft_object object;
	struct weft_blk blk, *lower;
};

static enum way { FORWARD, DOWN_AND_SUBMIT, FORWARD_TWICE } way;
static struct weft_blk *elsewhere; /* in place of the device below, if not NULL */
static uint64_t shift;

static void layer_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct weft_blk *lower = elsewhere != NULL ? elsewhere : WEFT_CONTAINER(blk, struct layer, blk)->lower;
	struct weft_hop *child;

	if (way != DOWN_AND_SUBMIT) {
		for (unsigned i = 0; i <= (way == FORWARD_TWICE); i++)
			weft_hop_forward(hop, lower, shift);
		return;
	}
	child = weft_hop_down(hop);
	if (hop->op != WEFT_FLUSH)
		child->offset += shift;
	if (hop->op == WEFT_COPY)
		child->source += shift;
	weft_hop_submit(child, lower, weft_hop_pass);
}

static const struct weft_blk_ops layer_ops = { .submit = layer_submit, .width = 1 };

/* It takes everything at any place: what the device below refuses or wants help with is up to the waist between them. */
static void layer_start(struct weft_object *object, struct weft_task *task)
{
	struct layer *layer = WEFT_CONTAINER(object, struct layer, object);

	layer->blk = (struct weft_blk){ .ops = &layer_ops, .size = 1ull << 40, .block = 512, .ops_can = WEFT_OPS_ALL,
		.flags_can = WEFT_FUA | WEFT_NO_UNMAP | WEFT_FAST };
	task->done(task, 0);
}

static const struct weft_port layer_ports[] = {
	{ .name = "lower", .wants = &weft_blk_iface, .min = 1, .max = 1, .offset = offsetof(struct layer, lower), .help = "data" },
	{ 0 },
};
static const struct weft_offer layer_offers[] = { { &weft_blk_iface, offsetof(struct layer, blk) }, { 0 } };
static const struct weft_kind layer_kind = { .name = "layer", .summary = "passes on", .size = sizeof(struct layer),
	.ports = layer_ports, .offers = layer_offers, .start = layer_start };
static const struct weft_kind *const layer_kinds[] = { &layer_kind, NULL };
static const struct weft_module layer_module = { WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind), "layers", "0",
	layer_kinds };

static struct weft_object *layer_build(struct rig *rig)
{
	struct tree *tree, *below;
	struct weft_why why;

	assert_int_equal(objects_module_add(rig->core, &layer_module, &why), 0);
	assert_int_equal(tree_new(rig->core, "layer", &tree), 0);
	assert_int_equal(tree_new(rig->core, "leaf", &below), 0);
	assert_int_equal(tree_add_child(rig->core, tree, below), 0);
	return rig_build(rig, tree);
}

typedef void change_fn(struct weft_core *core, struct weft_blk *blk);

static struct served serve_way(enum way how, const struct weft_blk_ops *leaf_has, change_fn *change)
{
	way = how;
	shift = 0;
	return served_open(16, leaf_has, change, layer_build, 1, 4);
}

/* ---- what the device below sees ---- */

struct seen {
	uint64_t offset, len, source;
	unsigned op, flags, lane, nsegs, skip, timed;
};

struct outcome {
	int status;
	unsigned asked;         /* of the device below */
	struct seen first, last;
	uint64_t sum;           /* of the memory, afterwards */
};

static struct outcome *now;

static void seen_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	now->last = (struct seen){ .offset = hop->offset, .len = hop->len, .source = hop->op == WEFT_COPY ? hop->source : 0,
		.op = hop->op, .flags = hop->flags, .lane = hop->lane, .nsegs = hop->nsegs, .skip = hop->seg_skip,
		.timed = hop->timed };
	if (now->asked++ == 0)
		now->first = now->last;
	leaf_submit(blk, hop);
}

static const struct weft_blk_ops seen_ops = { .submit = seen_submit, .commit = leaf_commit, .abort = leaf_abort };
static const struct weft_blk_ops seen_home_ops = { .submit = seen_submit, .abort = leaf_abort, .at_home = true };

/* ---- what is asked ---- */

static const uint64_t shifts[] = { 0, 512, 100, 8192, RIG_SIZE - 4096, RIG_SIZE, 1ull << 63, UINT64_MAX - 511, UINT64_MAX };
static const uint64_t offsets[] = { 0, 512, 4096, RIG_SIZE - 4096, RIG_SIZE };
static const uint64_t lens[] = { 0, 512, 4096, 131072 };
static const struct {
	unsigned op, flags;
} ops[] = {
	{ WEFT_READ, 0 }, { WEFT_WRITE, 0 }, { WEFT_WRITE, WEFT_FUA }, { WEFT_FLUSH, 0 }, { WEFT_DISCARD, 0 }, { WEFT_ZERO, 0 },
	{ WEFT_ZERO, WEFT_NO_UNMAP }, { WEFT_ZERO, WEFT_FAST }, { WEFT_COPY, 0 },
};
enum { ASKED = WEFT_COUNT(shifts) * WEFT_COUNT(offsets) * WEFT_COUNT(lens) * WEFT_COUNT(ops) };

static char memory[131072 + 512] __attribute__((aligned(4096)));

static void ask(struct rig *rig, unsigned op, unsigned flags, uint64_t offset, uint64_t len)
{
	struct weft_slot *slot = weft_session_slot(&rig->session);
	bool data = op == WEFT_READ || op == WEFT_WRITE;
	unsigned before = rig->answers;

	assert_non_null(slot);
	memset(memory, (int)(offset / 512 + len), sizeof(memory));
	slot->segs[0] = (struct weft_seg){ .base = memory + 256, .len = (uint32_t)len };
	slot->root.source = offset + 8192;
	slot->root.deadline_us = len == 4096 ? 1000000 : 0;
	weft_slot_submit(slot, op, flags, op == WEFT_FLUSH ? 0 : offset, op == WEFT_FLUSH ? 0 : len, data ? 1 : 0, rig_answered);
	for (unsigned turns = 0; rig->answers == before; turns++) {
		assert_true(turns < 1000);
		rig_turn(rig);
	}
	slot->root.source = 0;
	now->status = rig->answer;
	for (unsigned i = 0; i < sizeof(memory); i++)
		now->sum = now->sum * 31 + (unsigned char)memory[i];
}

static void ask_all(struct rig *rig, struct outcome *outcomes)
{
	now = outcomes;
	for (unsigned s = 0; s < WEFT_COUNT(shifts); s++)
		for (unsigned o = 0; o < WEFT_COUNT(offsets); o++)
			for (unsigned l = 0; l < WEFT_COUNT(lens); l++)
				for (unsigned i = 0; i < WEFT_COUNT(ops); i++) {
					shift = shifts[s];
					ask(rig, ops[i].op, ops[i].flags, offsets[o], lens[l]);
					now++;
				}
}

/* ---- both ways ---- */

static void run(enum way how, const struct weft_blk_ops *leaf_has, change_fn *change, struct outcome *outcomes,
	struct weft_stats *stats)
{
	struct served s = serve_way(how, leaf_has, change);

	for (unsigned i = 0; i < RIG_SIZE; i++)
		s.leaf->bytes[i] = (char)(i / 512);
	s.leaf->at_once = true;
	ask_all(s.rig, outcomes);
	weft_blk_stats(&s.leaf->blk, stats);
	unserve(s);
}

static void same(const struct weft_blk_ops *leaf_has, change_fn *change)
{
	struct outcome *a = test_calloc(ASKED, sizeof(*a)), *b = test_calloc(ASKED, sizeof(*b));
	struct weft_stats stats_a, stats_b;
	unsigned served = 0;

	run(FORWARD, leaf_has, change, a, &stats_a);
	run(DOWN_AND_SUBMIT, leaf_has, change, b, &stats_b);
	for (unsigned i = 0; i < ASKED; i++) {
		if (memcmp(&a[i], &b[i], sizeof(a[i])) != 0)
			fail_msg("request %u: status %d, not %d; asked %u times, not %u; first at %llu, not %llu", i, a[i].status,
				b[i].status, a[i].asked, b[i].asked, (unsigned long long)a[i].first.offset,
				(unsigned long long)b[i].first.offset);
		served += a[i].status == 0;
	}
	assert_in_range(served, ASKED / 20, ASKED - 1);
	for (unsigned class = 0; class < WEFT_STAT_COUNT; class++) {
		assert_int_equal(stats_a.of[class].requests, stats_b.of[class].requests);
		assert_int_equal(stats_a.of[class].bytes, stats_b.of[class].bytes);
		assert_int_equal(stats_a.of[class].errors, stats_b.of[class].errors);
	}
	assert_int_equal(stats_a.refused, stats_b.refused);
	assert_int_equal(stats_a.in_flight, 0);
	test_free(a);
	test_free(b);
}

static void a_device_that_takes_everything(void **state)
{
	(void)state;
	same(&seen_ops, NULL);
}

static void readonly(struct weft_core *core, struct weft_blk *blk)
{
	(void)core;
	blk->readonly = true;
}

static void a_device_that_is_only_read(void **state)
{
	(void)state;
	same(&seen_ops, readonly);
}

static void helpless(struct weft_core *core, struct weft_blk *blk)
{
	(void)core;
	blk->flags_can = 0;
	blk->volatile_cache = true;
	blk->max_len = 16384;
	blk->ops_can = WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE) | WEFT_OP_BIT(WEFT_FLUSH);
}

static void a_device_that_is_helped(void **state)
{
	(void)state;
	same(&seen_ops, helpless);
}

static void particular(struct weft_core *core, struct weft_blk *blk)
{
	(void)core;
	blk->align = 4096;
	blk->block = 4096;
}

static void a_device_that_is_particular_about_memory(void **state)
{
	(void)state;
	same(&seen_ops, particular);
}

static void at_reactor_2(struct weft_core *core, struct weft_blk *blk)
{
	blk->home = core->reactor[2];
}

static void a_device_at_home_elsewhere(void **state)
{
	(void)state;
	same(&seen_home_ops, at_reactor_2);
}

/* ---- while it waits ---- */

static void what_waits_is_counted_and_timed(void **state)
{
	struct served s = serve_way(FORWARD, &leaf_ops, NULL);
	struct weft_stats stats;

	(void)state;
	rig_ask(s.rig, WEFT_READ, 0, 0, 4096, memory);
	rig_turns(s.rig, 20);
	weft_blk_stats(&s.leaf->blk, &stats);
	assert_int_equal(stats.in_flight, 1);
	leaf_answer(s.leaf, 0, 0);
	rig_turn(s.rig);
	weft_blk_stats(&s.leaf->blk, &stats);
	assert_int_equal(stats.in_flight, 0);
	/* Twenty turns of a microsecond, within a bucket's width of 12.5 %. */
	assert_in_range(weft_histogram_quantile(&stats.of[WEFT_STAT_READ].latency, 0.5), 19000, 24000);
	unserve(s);
}

/* ---- what must not be ---- */

/* In a process of its own. */
static bool a_request_meets_an_assertion(struct served s)
{
	pid_t child = fork();
	int status;

	assert_true(child >= 0);
	if (child == 0) {
		close(STDERR_FILENO);
		rig_ask(s.rig, WEFT_READ, 0, 0, 4096, memory);
		rig_turns(s.rig, 3);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
}

static void a_request_is_not_forwarded_twice(void **state)
{
	struct served s = serve_way(FORWARD_TWICE, &leaf_ops, NULL);

	(void)state;
	assert_true(a_request_meets_an_assertion(s));
	way = FORWARD;
	assert_false(a_request_meets_an_assertion(s));
	unserve(s);
}

static void a_device_that_is_not_open_here_is_not_asked(void **state)
{
	struct served s = serve_way(FORWARD, &leaf_ops, NULL);
	struct weft_object *other = leaf_build(s.rig);

	(void)state;
	elsewhere = weft_object_query(other, &weft_blk_iface);
	assert_true(a_request_meets_an_assertion(s));
	elsewhere = NULL;
	rig_release(s.rig, other);
	unserve(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_device_that_takes_everything),
		cmocka_unit_test(a_device_that_is_only_read),
		cmocka_unit_test(a_device_that_is_helped),
		cmocka_unit_test(a_device_that_is_particular_about_memory),
		cmocka_unit_test(a_device_at_home_elsewhere),
		cmocka_unit_test(what_waits_is_counted_and_timed),
		cmocka_unit_test(a_request_is_not_forwarded_twice),
		cmocka_unit_test(a_device_that_is_not_open_here_is_not_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
