/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * No lost notification: one side publishes while the other arms and looks again, in every order of their accesses to shared
 * memory. Each side runs on a stack of its own and is switched at each access, by the hook of wire/shm.h.
 *
 * Stores are done at once here, as if no processor delayed them; that a fence stands between the store and the load on either
 * side, which is what keeps delayed stores harmless, is a test of its own.
 */
#include "wire/virtq_rig.h"

#include <ucontext.h>

enum { NUM = 4, STACK = 64 << 10, MAX_STEPS = 64 };

struct side {
	ucontext_t context;
	uint8_t stack[STACK];
	void (*run)(void);
	bool ended;
};

static struct rig rig;
static struct side sides[2]; /* 0: publishes, 1: arms */
static ucontext_t scheduler;
static int running;          /* index of a side, or -1 */
static bool notify, arrived;

/* The schedule: at step i side choice[i] goes on. Tried in the order of a binary number, by depth-first search. */
static uint8_t choice[MAX_STEPS];
static bool forked[MAX_STEPS]; /* both sides could go on */
static uint32_t steps, fixed;

static void yield(enum shm_kind kind, const void *address, size_t bytes)
{
	(void)kind;
	(void)address;
	(void)bytes;
	if (running < 0)
		return;
	swapcontext(&sides[running].context, &scheduler);
}

static void side_main(int index)
{
	sides[index].run();
	sides[index].ended = true;
}

static void side_start(int index, void (*run)(void))
{
	struct side *s = &sides[index];

	getcontext(&s->context);
	s->context.uc_stack.ss_sp = s->stack;
	s->context.uc_stack.ss_size = STACK;
	s->context.uc_link = &scheduler;
	s->run = run;
	s->ended = false;
	makecontext(&s->context, (void (*)(void))side_main, 1, index);
}

/* Runs both sides to their ends by the schedule; what it does not say goes to side 0 first. */
static void play(void (*publisher)(void), void (*armer)(void))
{
	side_start(0, publisher);
	side_start(1, armer);
	for (steps = 0; !sides[0].ended || !sides[1].ended; steps++) {
		assert_true(steps < MAX_STEPS);
		forked[steps] = !sides[0].ended && !sides[1].ended;
		if (!forked[steps])
			choice[steps] = sides[0].ended;
		else if (steps >= fixed)
			choice[steps] = 0;
		running = choice[steps];
		swapcontext(&scheduler, &sides[running].context);
		running = -1;
	}
}

/* The next schedule: the last 0 that can be a 1 becomes one. False: all have been played. */
static bool next_schedule(void)
{
	for (fixed = steps; fixed > 0; fixed--)
		if (forked[fixed - 1] && choice[fixed - 1] == 0) {
			choice[fixed - 1] = 1;
			return true;
		}
	return false;
}

static void add_chains(uint16_t count)
{
	struct virtq_buf buf = {RIG_GPA, 8};

	for (uint16_t i = 0; i < count; i++)
		assert_in_range(virtq_drv_add(&rig.drv, &buf, 1, 0, NULL, NULL), 0, NUM - 1);
}

static void driver_publishes(void)
{
	notify = virtq_drv_publish(&rig.drv);
}

/* Part of it is shown before. */
static void driver_shows_first(void)
{
	virtq_drv_show(&rig.drv);
	if (virtq_drv_room(&rig.drv) > 0)
		add_chains(1);
	driver_publishes();
}

static void device_arms(void)
{
	arrived = virtq_notify_enable(&rig.vq);
}

static void device_publishes(void)
{
	notify = virtq_publish(&rig.vq);
}

static void device_shows_first(void)
{
	virtq_show(&rig.vq);
	device_publishes();
}

static void driver_arms(void)
{
	arrived = virtq_drv_notify_enable(&rig.drv);
}

/* Brings `count` chains all the way through, so that positions and laps vary. */
static void pass_chains(uint16_t count)
{
	struct virtq_chain chain;
	struct virtq_done done;

	add_chains(count);
	virtq_drv_publish(&rig.drv);
	for (uint16_t i = 0; i < count; i++) {
		assert_int_equal(rig_pop(&rig, &chain), 1);
		virtq_push(&rig.vq, chain.tag, 0);
	}
	virtq_publish(&rig.vq);
	while (virtq_drv_take(&rig.drv, &done) == 1)
		;
}

/* Moves an idle split ring to free-running index `at`. */
static void move_split(uint16_t at)
{
	uint16_t *avail = rig.config.driver, *used = rig.config.device;

	avail[1] = used[1] = at;
	rig.drv.avail = rig.drv.used = rig.drv.used_seen = at;
	rig.vq.avail = rig.vq.avail_seen = rig.vq.used = at;
}

static void start(bool packed, bool event_idx, uint16_t offset)
{
	rig_start(&rig, NUM, packed, event_idx, false);
	virtq_publish(&rig.vq); /* the one that is always notified */
	if (!packed)
		move_split((uint16_t)(65536 - NUM));
	virtq_notify_enable(&rig.vq);
	virtq_drv_notify_enable(&rig.drv);
	for (uint16_t i = 0; i < offset; i++)
		pass_chains(1);
	virtq_notify_disable(&rig.vq);
	virtq_drv_notify_disable(&rig.drv);
}

static void prepare_used(uint16_t count)
{
	struct virtq_chain chain;

	add_chains(count);
	virtq_drv_publish(&rig.drv);
	for (uint16_t i = 0; i < count; i++) {
		assert_int_equal(rig_pop(&rig, &chain), 1);
		virtq_push(&rig.vq, chain.tag, 0);
	}
}

/* Every schedule, at every position of two laps, with every number of chains. */
static void every_order(void (*prepare)(uint16_t), void (*publisher)(void), void (*armer)(void))
{
	uint32_t played = 0;

	shm_hook = yield;
	for (unsigned f = 0; f < 4; f++)
		for (uint16_t offset = 0; offset < 2 * NUM + 1; offset++)
			for (uint16_t batch = 1; batch <= NUM; batch++) {
				fixed = 0;
				do {
					start(f & 1, f & 2, offset);
					prepare(batch);
					play(publisher, armer);
					assert_true(notify || arrived);
					rig_end(&rig);
					played++;
				} while (next_schedule());
			}
	shm_hook = NULL;
	assert_true(played > 1000);
}

static void test_driver_to_device(void **state)
{
	(void)state;
	every_order(add_chains, driver_publishes, device_arms);
	every_order(add_chains, driver_shows_first, device_arms);
}

static void test_device_to_driver(void **state)
{
	(void)state;
	every_order(prepare_used, device_publishes, driver_arms);
	every_order(prepare_used, device_shows_first, driver_arms);
}

/* Between the last store and the first load after it: a fence. */
static enum shm_kind kinds[256];
static uint32_t nkinds;

static void record(enum shm_kind kind, const void *address, size_t bytes)
{
	(void)address;
	(void)bytes;
	assert_true(nkinds < WEFT_COUNT(kinds));
	kinds[nkinds++] = kind;
}

static void expect_fence(void (*run)(void))
{
	uint32_t last_store = 0, fence = 0, load_after = 0;

	nkinds = 0;
	shm_hook = record;
	run();
	shm_hook = NULL;
	for (uint32_t i = 0; i < nkinds; i++) {
		if (kinds[i] == SHM_STORE)
			last_store = i + 1, load_after = 0;
		else if (kinds[i] == SHM_FENCE)
			fence = i + 1;
		else if (load_after == 0)
			load_after = i + 1;
	}
	assert_true(last_store > 0 && fence > last_store && load_after > fence);
}

static void test_fences(void **state)
{
	(void)state;
	for (unsigned f = 0; f < 4; f++) {
		start(f & 1, f & 2, 0);
		expect_fence(device_arms);
		add_chains(1);
		expect_fence(driver_publishes);
		expect_fence(driver_arms);
		rig_end(&rig);
		start(f & 1, f & 2, 0);
		prepare_used(1);
		expect_fence(device_publishes);
		rig_end(&rig);
	}
}

/* Armed once and then left: one notification, not one for each chain. */
static void test_event_index_notifies_once(void **state)
{
	(void)state;
	for (unsigned format = 0; format < 2; format++) {
		unsigned kicks = 0, calls = 0;
		struct virtq_chain chain;
		struct virtq_done done;

		start(format, true, 1);
		assert_false(virtq_notify_enable(&rig.vq));
		assert_false(virtq_drv_notify_enable(&rig.drv));
		for (unsigned i = 0; i < 3 * NUM; i++) {
			add_chains(1);
			kicks += virtq_drv_publish(&rig.drv);
			if (i == 0)
				virtq_notify_disable(&rig.vq);
			assert_int_equal(rig_pop(&rig, &chain), 1);
			virtq_push(&rig.vq, chain.tag, 0);
			calls += virtq_publish(&rig.vq);
			if (i == 0)
				virtq_drv_notify_disable(&rig.drv);
			assert_int_equal(virtq_drv_take(&rig.drv, &done), 1);
		}
		assert_int_equal(kicks, 1);
		assert_int_equal(calls, 1);
		rig_end(&rig);
	}
}

static void test_disabled_is_not_notified(void **state)
{
	struct virtq_chain chain;

	(void)state;
	for (unsigned f = 0; f < 4; f++) {
		start(f & 1, f & 2, 1);
		add_chains(1);
		assert_false(virtq_drv_publish(&rig.drv));
		assert_int_equal(rig_pop(&rig, &chain), 1);
		virtq_push(&rig.vq, chain.tag, 0);
		assert_false(virtq_publish(&rig.vq));
		rig_end(&rig);
	}
}

static void test_first_publish_always_notifies(void **state)
{
	(void)state;
	for (unsigned f = 0; f < 4; f++) {
		start(f & 1, f & 2, 0);
		rig_device_start(&rig);
		assert_true(virtq_publish(&rig.vq)); /* the last server may have died before it notified */
		assert_false(virtq_publish(&rig.vq));
		rig_end(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_driver_to_device),
		cmocka_unit_test(test_device_to_driver),
		cmocka_unit_test(test_fences),
		cmocka_unit_test(test_event_index_notifies_once),
		cmocka_unit_test(test_disabled_is_not_notified),
		cmocka_unit_test(test_first_publish_always_notifies),
	};

	running = -1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
