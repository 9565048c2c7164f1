/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A file becomes smaller while reactors submit at any moment (file.c, S1 to S4): the simulated world lets others run where threads
 * would meet, at the fences, and asserts that nothing is in flight beyond a cut. With real threads: lib/shrink_test.c.
 */
#include "devices/rig_test.h"

#include <weft/log.h>

#include "core/blk.h"

#define BIG (1u << 20)
#define SMALL (1u << 18)
#define LEN 4096u
#define MS 1000000ull
#define DISK "file:disk.img,create=1MiB"

RIG_FOR_EACH_TEST(1, 2)

static char data[LEN];

static struct rig_request request(unsigned lane, uint64_t offset)
{
	return (struct rig_request){ .op = WEFT_WRITE, .lane = lane, .offset = offset, .len = LEN,
		.segs = { { .base = data, .len = LEN } }, .nsegs = 1 };
}

static struct rig_resizing resizing(uint64_t size)
{
	return (struct rig_resizing){ .object = rig.object, .size = size };
}

static uint64_t size_of_disk(void)
{
	return sim_file_size(rig.world, "disk.img");
}

/* ---- one moment at a time ---- */

static void a_reactor_that_is_idle_takes_no_turn_for_it(void **state)
{
	uint64_t turns;

	(void)state;
	rig_make(&rig, DISK);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, BIG - LEN, LEN, data), 0);
	rig_run(&rig, MS);
	turns = rig.core->reactor[1]->stats.turns + rig.core->reactor[2]->stats.turns;
	assert_int_equal(rig_resize(&rig, rig.object, SMALL), 0);
	assert_int_equal(rig.core->reactor[1]->stats.turns + rig.core->reactor[2]->stats.turns, turns);
	assert_int_equal(size_of_disk(), SMALL);
	rig_unmake(&rig);
}

static void a_reactor_runs_while_control_has_its_fence(void *arg, bool all)
{
	(void)arg;
	if (all)
		rig_turn(&rig, 1);
}

/* S2: the size is published before. */
static void what_is_submitted_from_the_fence_on_is_refused(void **state)
{
	struct rig_request r = request(0, BIG - LEN);
	struct rig_resizing s;

	(void)state;
	sim_fence_hook(rig.world, a_reactor_runs_while_control_has_its_fence, NULL);
	rig_make(&rig, DISK);
	s = resizing(SMALL);
	rig_start(&rig, &r);
	rig_resize_start(&rig, &s);
	rig_turn(&rig, 0);
	assert_int_equal(rig_wait(&rig, &r), -ERANGE);
	assert_int_equal(rig_resize_wait(&rig, &s), 0);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, SMALL - LEN, LEN, data), 0);
	rig_unmake(&rig);
}

static void control_runs_while_a_reactor_has_its_fence(void *arg, bool all)
{
	struct rig_resizing *s = arg;

	if (all || s->msg.fn != NULL)
		return;
	rig_resize_start(&rig, s);
	rig_turn(&rig, 0);
	assert_int_equal(rig.blk->size, SMALL);
	assert_int_equal(size_of_disk(), BIG);
}

/* S1: it is counted before it looks, so that control waits; and looks afterwards, so that it is refused. */
static void what_is_counted_holds_up_the_cut_until_it_has_looked(void **state)
{
	struct rig_resizing s;

	(void)state;
	sim_fence_hook(rig.world, control_runs_while_a_reactor_has_its_fence, &s);
	rig_make(&rig, DISK);
	s = resizing(SMALL);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, BIG - LEN, LEN, data), -ERANGE);
	assert_int_equal(rig_resize_wait(&rig, &s), 0);
	assert_int_equal(size_of_disk(), SMALL);
	rig_unmake(&rig);
}

/* The device's own submit, held up: a thread that loses its processor there. */
static struct weft_blk_ops slow_ops;
static void (*submit)(struct weft_blk *blk, struct weft_hop *hop);

static void control_runs_before_it_is_counted(struct weft_blk *blk, struct weft_hop *hop)
{
	struct rig_resizing s = resizing(SMALL);

	rig_resize_start(&rig, &s);
	rig_turn(&rig, 0);
	rig_turn(&rig, 0); /* the answer */
	assert_true(s.done && s.status == 0);
	assert_int_equal(size_of_disk(), SMALL);
	submit(blk, hop);
}

/* S1: the waist has looked at the size, but nobody has seen that it is on its way. */
static void what_was_let_in_before_the_cut_and_comes_after_it_is_refused(void **state)
{
	struct rig_request r = request(0, BIG - LEN);
	const struct weft_blk_ops *usual;

	(void)state;
	rig_make(&rig, DISK);
	usual = rig.blk->ops;
	slow_ops = *usual;
	submit = usual->submit;
	slow_ops.submit = control_runs_before_it_is_counted;
	rig.blk->ops = &slow_ops;
	rig_start(&rig, &r);
	rig_turn(&rig, 1);
	rig.blk->ops = usual;
	assert_int_equal(rig_wait(&rig, &r), -ERANGE);
	rig_unmake(&rig);
}

/* A reactor's counter of requests in flight, as the device has it. */
static uint64_t *counter(unsigned lane, unsigned slot)
{
	return (uint64_t *)(void *)rig.blk->shard[1 + lane]->own + slot;
}

static void a_count_is_seen_at_the_fence(void *arg, bool all)
{
	(void)arg;
	if (all)
		++*counter(0, 0);
}

/* S2: it was on its way from another processor until then. */
static void what_is_seen_at_the_fence_is_waited_for(void **state)
{
	struct rig_resizing s;

	(void)state;
	sim_fence_hook(rig.world, a_count_is_seen_at_the_fence, NULL);
	rig_make(&rig, DISK);
	s = resizing(SMALL);
	rig_resize_start(&rig, &s);
	rig_run(&rig, 30 * MS);
	assert_false(s.done);
	assert_int_equal(size_of_disk(), BIG);
	--*counter(0, 0);
	assert_int_equal(rig_resize_wait(&rig, &s), 0);
	rig_unmake(&rig);
}

/* S3. A reactor that read `turn` long ago counts where nobody else does any more: the test does it in its place. */
static void each_slot_is_waited_for(void **state)
{
	uint64_t size = BIG;

	(void)state;
	rig_make(&rig, DISK);
	for (unsigned i = 0; i < 8; i++) {
		struct rig_resizing s = resizing(size -= LEN);
		uint64_t *slot = counter(i / 4, i / 2 % 2); /* each takes new ones in every second round */

		++*slot;
		rig_resize_start(&rig, &s);
		rig_run(&rig, 30 * MS);
		assert_false(s.done);
		assert_int_equal(size_of_disk(), size + LEN);
		--*slot;
		assert_int_equal(rig_resize_wait(&rig, &s), 0);
		assert_int_equal(size_of_disk(), size);
	}
	rig_unmake(&rig);
}

static unsigned lines_told;

static void expect_told(const char *text)
{
	rig_run(&rig, 900 * MS);
	assert_int_equal(rig_lines, lines_told);
	rig_run(&rig, 5000 * MS);
	assert_int_equal(rig_lines, ++lines_told);
	assert_int_equal(rig_line[rig_lines - 1].level, WEFT_LOG_WARN);
	if (strstr(rig_line[rig_lines - 1].text, text) == NULL)
		fail_msg("told: %s", rig_line[rig_lines - 1].text);
}

/* Once for each time, when it takes longer than a disk does. Who has to run the reactor depends on whose it is. */
static void what_is_waited_for_is_told(void **state)
{
	unsigned reactors = rig.core->reactors;
	struct rig_resizing s;

	(void)state;
	lines_told = 0;
	rig_log_begin(&rig);
	rig_make(&rig, DISK);
	s = resizing(BIG - LEN);
	*counter(1, 0) += 3;
	rig_resize_start(&rig, &s);
	expect_told("to make disk.img smaller, the end of 3 requests on reactor 2 is waited for: the disk has them");
	*counter(1, 0) -= 3;
	assert_int_equal(rig_resize_wait(&rig, &s), 0);
	s = resizing(BIG - 2 * LEN);
	++*counter(1, 1);
	rig_resize_start(&rig, &s);
	rig.core->reactors = 2; /* as if it were a program's */
	expect_told("the end of 1 requests on reactor 2 is waited for: it is the program's own, which has to run it");
	rig.core->reactors = reactors;
	--*counter(1, 1);
	assert_int_equal(rig_resize_wait(&rig, &s), 0);
	assert_int_equal(rig_resize(&rig, rig.object, SMALL), 0);
	assert_int_equal(rig_lines, lines_told);
	rig_unmake(&rig);
	rig_log_end(&rig);
}

static bool has_ended(void *resizing)
{
	return ((struct rig_resizing *)resizing)->done;
}

#define STEADY 16
struct steady {
	struct rig_request r[STEADY];
	struct rig_resizing s;
	unsigned restarts;
};

static bool keep_asking(void *arg)
{
	struct steady *steady = arg;

	for (unsigned i = 0; i < STEADY; i++)
		if (steady->r[i].ended > 0) {
			assert_int_equal(steady->r[i].status, 0);
			rig_start(&rig, &steady->r[i]);
			steady->restarts++;
		}
	return has_ended(&steady->s);
}

/* S3: it ends, although there is always something in flight. */
static void requests_that_keep_coming_hold_nothing_up(void **state)
{
	struct steady steady = { .restarts = 0 };

	(void)state;
	rig_make(&rig, DISK);
	sim_file_latency(rig.world, "disk.img", MS, 5 * MS);
	steady.s = resizing(SMALL);
	for (unsigned i = 0; i < STEADY; i++) {
		steady.r[i] = request(i % 2, i * LEN);
		rig_start(&rig, &steady.r[i]);
	}
	rig_run(&rig, MS);
	rig_resize_start(&rig, &steady.s);
	assert_true(sim_run(rig.world, keep_asking, &steady, 20000));
	assert_int_equal(steady.s.status, 0);
	assert_true(steady.restarts >= STEADY);
	for (unsigned i = 0; i < STEADY; i++)
		assert_int_equal(rig_wait(&rig, &steady.r[i]), 0);
	rig_unmake(&rig);
}

/* ---- by chance ---- */

#define CHANCE_REQUESTS 8u
#define CHANCE_SIZES 60u
struct chance {
	struct rig_request r[CHANCE_REQUESTS];
	struct rig_resizing s;
	bool inside[3]; /* the reactors that are in the midst of a turn */
	unsigned sizes, nested, refused;
};

/* Another reactor runs, or two, while this one is between storing and loading. */
static void others_run(void *arg, bool all)
{
	struct chance *chance = arg;
	unsigned here = weft_reactor_lane(weft_reactor_here());

	(void)all;
	chance->inside[here] = true;
	for (unsigned tries = 0; tries < 2; tries++) {
		unsigned other = (unsigned)(sim_rand(rig.world) % 3);

		if (chance->inside[other] || sim_chance(rig.world, 1, 2))
			continue;
		rig_turn(&rig, other);
		chance->nested++;
	}
	chance->inside[here] = false;
}

/* Asks again, beyond the end as well; and for another size. */
static bool go_on(void *arg)
{
	struct chance *chance = arg;

	for (unsigned i = 0; i < CHANCE_REQUESTS; i++) {
		struct rig_request *r = &chance->r[i];

		if (r->rig != NULL && r->ended == 0)
			continue;
		assert_true(r->rig == NULL || r->status == 0 || r->status == -ERANGE);
		chance->refused += r->status == -ERANGE;
		*r = request(i % 2, sim_rand(rig.world) % (BIG / LEN) * LEN);
		r->op = sim_chance(rig.world, 1, 2) ? WEFT_READ : WEFT_WRITE;
		rig_start(&rig, r);
	}
	if (!chance->s.done)
		return false;
	assert_int_equal(chance->s.status, 0);
	assert_int_equal(size_of_disk(), chance->s.size);
	if (chance->sizes++ == CHANCE_SIZES)
		return true;
	chance->s = resizing((1 + sim_rand(rig.world) % (BIG / LEN)) * LEN);
	rig_resize_start(&rig, &chance->s);
	return false;
}

static uint64_t at_random(uint64_t seed, unsigned *nested, unsigned *refused)
{
	struct chance chance = { .s.done = true };
	uint64_t trace;

	rig_open(&rig, seed, 2);
	sim_fence_hook(rig.world, others_run, &chance);
	rig_make(&rig, DISK);
	chance.s.size = BIG;
	sim_file_latency(rig.world, "disk.img", 1000, 300000);
	assert_true(sim_run(rig.world, go_on, &chance, 1000000));
	for (unsigned i = 0; i < CHANCE_REQUESTS; i++)
		rig_wait(&rig, &chance.r[i]);
	rig_unmake(&rig);
	trace = sim_trace_hash(rig.world);
	rig_close(&rig);
	*nested += chance.nested;
	*refused += chance.refused;
	return trace;
}

static void nothing_is_in_flight_beyond_a_cut_whoever_runs_when(void **state)
{
	unsigned nested = 0, refused = 0;

	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++)
		assert_true(at_random(seed, &nested, &refused) == at_random(seed, &nested, &refused));
	assert_true(nested > 1000 && refused > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIG_TEST(a_reactor_that_is_idle_takes_no_turn_for_it),
		RIG_TEST(what_is_submitted_from_the_fence_on_is_refused),
		RIG_TEST(what_is_counted_holds_up_the_cut_until_it_has_looked),
		RIG_TEST(what_was_let_in_before_the_cut_and_comes_after_it_is_refused),
		RIG_TEST(what_is_seen_at_the_fence_is_waited_for),
		RIG_TEST(each_slot_is_waited_for),
		RIG_TEST(what_is_waited_for_is_told),
		RIG_TEST(requests_that_keep_coming_hold_nothing_up),
		cmocka_unit_test(nothing_is_in_flight_beyond_a_cut_whoever_runs_when),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
