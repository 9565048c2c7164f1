/* SPDX-License-Identifier: BSD-2-Clause */
/* Reactors: timers, messages, sources, sleeping. Two of them step in the simulated world. */
#include "core/rig_test.h"

struct note {
	struct weft_timer timer;
	struct weft_msg msg;
	unsigned *next, order;   /* what came when */
	struct weft_reactor *ran_on;
};

static void note_fn(void *self)
{
	struct note *note = self;

	note->order = ++*note->next;
	note->ran_on = weft_reactor_here();
}

/* ---- timers ---- */

static void timers_fire_in_order_and_not_before_their_time(void **state)
{
	struct rig *rig = rig_open(0);
	struct weft_reactor *reactor = rig->core->reactor[1];
	struct note notes[200] = { 0 };
	uint64_t start;
	unsigned next = 0;

	(void)state;
	rig_turn(rig);
	start = reactor->now;
	for (unsigned i = 0; i < 200; i++) {
		notes[i].next = &next;
		notes[i].timer.fn = note_fn;
		notes[i].timer.self = &notes[i];
		weft_timer_arm(reactor, &notes[i].timer, start + 1000 * (1 + i * 77 % 200)); /* a permutation */
	}
	for (unsigned i = 0; i < 200; i += 3)
		weft_timer_disarm(reactor, &notes[i].timer);
	for (unsigned turn = 1; turn <= 201; turn++) {
		rig_turn(rig);
		for (unsigned i = 0; i < 200; i++)
			assert_int_equal(notes[i].order != 0, i % 3 != 0 && 1 + i * 77 % 200 <= turn);
	}
	for (unsigned i = 0; i < 200; i++)
		for (unsigned j = 0; j < 200; j++)
			if (notes[i].order != 0 && notes[j].order != 0 && i * 77 % 200 < j * 77 % 200)
				assert_true(notes[i].order < notes[j].order);
	assert_null(reactor->timers);
	rig_close(rig);
}

static void a_timer_that_is_armed_in_its_own_turn_fires_again(void **state)
{
	struct rig *rig = rig_open(0);
	struct weft_reactor *reactor = rig->core->reactor[1];
	unsigned next = 0;
	struct note note = { .timer = { .fn = note_fn, .self = &note }, .next = &next };

	(void)state;
	rig_turn(rig);
	for (unsigned i = 1; i < 5; i++) {
		weft_timer_arm(reactor, &note.timer, reactor->now + 1);
		rig_turn(rig);
		assert_int_equal(next, i);
	}
	rig_close(rig);
}

/* ---- messages ---- */

static void messages_arrive_in_order_on_the_reactor_they_were_sent_to(void **state)
{
	struct rig *rig = rig_open(0);
	struct note notes[10] = { 0 };
	unsigned next = 0;

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		notes[i].next = &next;
		notes[i].msg = (struct weft_msg){ .fn = note_fn, .self = &notes[i] };
		weft_reactor_post(rig->core->reactor[2], &notes[i].msg);
	}
	assert_int_equal(next, 0);
	rig_turn(rig);
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(notes[i].order, i + 1);
		assert_ptr_equal(notes[i].ran_on, rig->core->reactor[2]);
		assert_false(notes[i].msg.posted);
	}
	rig_close(rig);
}

/* ---- sources and sleep ---- */

struct fake {
	struct weft_source source;
	unsigned work, polls, arms, disarms, flushes;
	bool work_comes_while_arming;
	bool told_while_arming, stopped_while_arming; /* by another thread */
};

static bool fake_poll(struct weft_source *source)
{
	struct fake *fake = WEFT_CONTAINER(source, struct fake, source);

	fake->polls++;
	if (fake->work == 0)
		return false;
	fake->work--;
	weft_source_flush_later(weft_reactor_here(), source);
	weft_source_flush_later(weft_reactor_here(), source);
	return true;
}

static bool fake_arm(struct weft_source *source)
{
	struct fake *fake = WEFT_CONTAINER(source, struct fake, source);

	fake->arms++;
	if (fake->told_while_arming)
		reactor_mode_set(weft_reactor_here(), WEFT_MODE_POLL);
	if (fake->stopped_while_arming)
		reactor_stop(weft_reactor_here());
	return fake->work_comes_while_arming;
}

static void fake_disarm(struct weft_source *source)
{
	WEFT_CONTAINER(source, struct fake, source)->disarms++;
}

static void fake_flush(struct weft_source *source)
{
	WEFT_CONTAINER(source, struct fake, source)->flushes++;
}

static struct rig *with_source(struct fake *fake, enum weft_mode mode)
{
	struct rig *rig = rig_open(0);

	*fake = (struct fake){ .source = { .poll = fake_poll, .arm = fake_arm, .disarm = fake_disarm, .flush = fake_flush } };
	reactor_mode_set(rig->core->reactor[1], mode);
	weft_source_add(rig->core->reactor[1], &fake->source);
	return rig;
}

static uint64_t step(struct rig *rig, uint64_t after_ns)
{
	struct weft_reactor *reactor = rig->core->reactor[1];

	return reactor_step(reactor, reactor->now + after_ns);
}

static void without_source(struct rig *rig, struct fake *fake)
{
	weft_source_remove(rig->core->reactor[1], &fake->source);
	rig_close(rig);
}

static void a_source_is_flushed_once_in_a_turn_with_work(void **state)
{
	struct fake fake;
	struct rig *rig = with_source(&fake, WEFT_MODE_POLL);

	(void)state;
	fake.work = 1;
	step(rig, 1000);
	assert_int_equal(fake.flushes, 1);
	step(rig, 1000);
	assert_int_equal(fake.flushes, 1);
	without_source(rig, &fake);
}

static void in_poll_mode_it_never_sleeps(void **state)
{
	struct fake fake;
	struct rig *rig = with_source(&fake, WEFT_MODE_POLL);

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		assert_int_equal(step(rig, 1000), 0);
	assert_int_equal(fake.arms, 0);
	without_source(rig, &fake);
}

static void in_notify_mode_it_sleeps_when_there_is_nothing_to_do(void **state)
{
	struct fake fake;
	struct rig *rig = with_source(&fake, WEFT_MODE_NOTIFY);

	(void)state;
	assert_true(step(rig, 1000) == ENV_FOREVER);
	assert_int_equal(fake.arms, 1);
	fake.work = 1;
	assert_int_equal(step(rig, 1000), 0);
	assert_int_equal(fake.disarms, 1);
	without_source(rig, &fake);
}

static void work_that_comes_while_arming_keeps_it_awake(void **state)
{
	struct fake fake;
	struct rig *rig = with_source(&fake, WEFT_MODE_NOTIFY);

	(void)state;
	fake.work_comes_while_arming = true;
	assert_int_equal(step(rig, 1000), 0);
	assert_int_equal(fake.disarms, 1);
	without_source(rig, &fake);
}

static void a_mode_that_is_set_while_arming_is_looked_at_before_sleeping(void **state)
{
	struct fake fake;
	struct rig *rig = with_source(&fake, WEFT_MODE_NOTIFY);

	(void)state;
	fake.told_while_arming = true;
	assert_int_equal(step(rig, 1000), 0);
	assert_int_equal(fake.disarms, 1);
	without_source(rig, &fake);
}

static void a_reactor_that_is_stopped_while_arming_does_not_sleep(void **state)
{
	struct fake fake;
	struct rig *rig = with_source(&fake, WEFT_MODE_NOTIFY);
	struct weft_reactor *reactor = rig->core->reactor[1];

	(void)state;
	fake.stopped_while_arming = true;
	assert_int_equal(step(rig, 1000), 0);
	assert_true(step(rig, 1000) == ENV_STOP);
	atomic_store(&reactor->stopping, false);
	without_source(rig, &fake);
}

static void it_sleeps_until_its_next_timer(void **state)
{
	struct fake fake;
	struct rig *rig = with_source(&fake, WEFT_MODE_NOTIFY);
	unsigned next = 0;
	struct note note = { .timer = { .fn = note_fn, .self = &note }, .next = &next };
	struct weft_reactor *reactor = rig->core->reactor[1];

	(void)state;
	step(rig, 1000);
	weft_timer_arm(reactor, &note.timer, reactor->now + 5000);
	assert_int_equal(step(rig, 2000), 3000);
	without_source(rig, &fake);
}

static void a_message_that_is_posted_while_it_sleeps_wakes_it(void **state)
{
	struct fake fake;
	struct rig *rig = with_source(&fake, WEFT_MODE_NOTIFY);
	struct weft_reactor *reactor = rig->core->reactor[1];
	unsigned next = 0;
	struct note a = { .msg = { .fn = note_fn, .self = &a }, .next = &next };
	struct note b = { .msg = { .fn = note_fn, .self = &b }, .next = &next };
	struct env_loop_stats before, after;

	(void)state;
	assert_true(step(rig, 1000) == ENV_FOREVER);
	env_loop_stats(reactor->loop, &before);
	weft_reactor_post(reactor, &a.msg);
	weft_reactor_post(reactor, &b.msg);
	env_loop_stats(reactor->loop, &after);
	assert_int_equal(after.wakes - before.wakes, 1); /* the second one need not */
	step(rig, 1000);
	assert_int_equal(next, 2);
	without_source(rig, &fake);
}

static void a_source_that_cannot_notify_keeps_it_polling(void **state)
{
	struct fake fake;
	struct rig *rig = with_source(&fake, WEFT_MODE_NOTIFY);
	struct fake mute = { .source = { .poll = fake_poll, .flush = fake_flush, .always = true } };

	(void)state;
	weft_source_add(rig->core->reactor[1], &mute.source);
	assert_int_equal(step(rig, 1000), 0);
	weft_source_remove(rig->core->reactor[1], &mute.source);
	assert_true(step(rig, 1000) == ENV_FOREVER);
	without_source(rig, &fake);
}

static void every_source_is_polled_each_turn(void **state)
{
	struct fake fakes[5];
	struct rig *rig = with_source(&fakes[0], WEFT_MODE_POLL);

	(void)state;
	for (unsigned i = 1; i < 5; i++) {
		fakes[i] = (struct fake){ .source = { .poll = fake_poll, .flush = fake_flush } };
		weft_source_add(rig->core->reactor[1], &fakes[i].source);
	}
	for (unsigned turn = 0; turn < 10; turn++)
		step(rig, 1000);
	for (unsigned i = 0; i < 5; i++) {
		assert_int_equal(fakes[i].polls, 10);
		if (i > 0)
			weft_source_remove(rig->core->reactor[1], &fakes[i].source);
	}
	without_source(rig, &fakes[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_in_order_and_not_before_their_time),
		cmocka_unit_test(a_timer_that_is_armed_in_its_own_turn_fires_again),
		cmocka_unit_test(messages_arrive_in_order_on_the_reactor_they_were_sent_to),
		cmocka_unit_test(a_source_is_flushed_once_in_a_turn_with_work),
		cmocka_unit_test(in_poll_mode_it_never_sleeps),
		cmocka_unit_test(in_notify_mode_it_sleeps_when_there_is_nothing_to_do),
		cmocka_unit_test(work_that_comes_while_arming_keeps_it_awake),
		cmocka_unit_test(a_mode_that_is_set_while_arming_is_looked_at_before_sleeping),
		cmocka_unit_test(a_reactor_that_is_stopped_while_arming_does_not_sleep),
		cmocka_unit_test(it_sleeps_until_its_next_timer),
		cmocka_unit_test(a_message_that_is_posted_while_it_sleeps_wakes_it),
		cmocka_unit_test(a_source_that_cannot_notify_keeps_it_polling),
		cmocka_unit_test(every_source_is_polled_each_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
