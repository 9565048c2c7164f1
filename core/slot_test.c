/* SPDX-License-Identifier: BSD-2-Clause */
/* Slots: what a session is sure of, and what stacks leave to one another. */
#include "core/rig_test.h"

/* ---- slots ---- */

static void a_session_is_sure_of_one_slot_and_shares_the_rest(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 1000);
	struct weft_slot *slot[32];
	unsigned n = 0;

	(void)state;
	while ((slot[n] = weft_session_slot(&s.rig->session)) != NULL)
		n++;
	assert_int_equal(n, 16); /* the reactor's budget */
	assert_int_equal(s.rig->session.waits, 1);
	while (n > 0)
		weft_slot_give(slot[--n]);
	assert_int_equal(s.rig->core->reactor[1]->taken, 0);
	unserve(s);
}

static struct weft_session latecomer;

static void latecomer_open_msg(void *self)
{
	struct rig *rig = self;

	latecomer = (struct weft_session){ .slots_max = 1000, .source.poll = rig_poll };
	rig->status = weft_session_open(&latecomer, rig->core->reactor[rig->lane], rig->stack, &rig->task.why);
	rig->ended = true;
}

static void latecomer_close_msg(void *self)
{
	weft_session_close(&latecomer);
	((struct rig *)self)->ended = true;
}

static void a_session_that_opens_while_all_is_lent_is_sure_of_a_slot_too(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 1000);
	struct weft_slot *slot[32], *sure;
	unsigned n = 0;

	(void)state;
	while ((slot[n] = weft_session_slot(&s.rig->session)) != NULL)
		n++;
	rig_message(s.rig, 1, latecomer_open_msg);
	assert_int_equal(s.rig->status, 0);
	sure = weft_session_slot(&latecomer);
	assert_non_null(sure);
	assert_null(weft_session_slot(&latecomer)); /* the rest is lent */
	weft_slot_give(slot[--n]);
	assert_null(weft_session_slot(&s.rig->session)); /* what came back is the latecomer's sure slot */
	weft_slot_give(slot[--n]);
	slot[n] = weft_session_slot(&latecomer);
	assert_non_null(slot[n]);
	weft_slot_give(slot[n]);
	while (n > 0)
		weft_slot_give(slot[--n]);
	weft_slot_give(sure);
	assert_int_equal(s.rig->core->reactor[1]->taken, 0);
	rig_message(s.rig, 1, latecomer_close_msg);
	unserve(s);
}

/* ---- shares: what clients of one stack leave to those of another ---- */

static struct weft_stack *neighbours;
static struct weft_session neighbour;

static void neighbour_open_msg(void *self)
{
	struct rig *rig = self;

	neighbour = (struct weft_session){ .slots_max = 1000, .source.poll = rig_poll };
	rig->status = weft_session_open(&neighbour, rig->core->reactor[rig->lane], neighbours, &rig->task.why);
	rig->ended = true;
}

static void neighbour_close_msg(void *self)
{
	weft_session_close(&neighbour);
	((struct rig *)self)->ended = true;
}

/* Takes what may be taken at once, up to `most`; returns how many. */
static unsigned take_share(struct weft_session *session, struct weft_slot **slot, unsigned most)
{
	unsigned share = weft_session_share(session, most);

	for (unsigned i = 0; i < share; i++)
		assert_non_null(slot[i] = weft_session_slot(session));
	return share;
}

static void neighbours_open(struct served s)
{
	assert_int_equal(weft_stack_open(s.rig->core, weft_stack_device(s.rig->stack), "neighbours", &neighbours, &s.rig->task), 0);
	assert_int_equal(rig_wait(s.rig), 0);
	rig_message(s.rig, 1, neighbour_open_msg);
	assert_int_equal(s.rig->status, 0);
}

static void neighbours_close(struct served s)
{
	rig_message(s.rig, 1, neighbour_close_msg);
	weft_stack_close(neighbours, &s.rig->task);
	assert_int_equal(rig_wait(s.rig), 0);
}

/* One stack of two, on a reactor with so many slots. */
static struct served serve_beside(uint32_t slots)
{
	struct served s = served_open(slots, &leaf_ops, NULL, leaf_build, 1, 1000);

	neighbours_open(s);
	return s;
}

static void give_all(struct weft_slot **slot, unsigned n)
{
	while (n > 0)
		weft_slot_give(slot[--n]);
}

static void a_stack_that_is_alone_may_have_all(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 1000);
	struct weft_slot *slot[16];

	(void)state;
	assert_int_equal(take_share(&s.rig->session, slot, 16), 16);
	give_all(slot, 16);
	unserve(s);
}

static void a_stack_that_takes_all_it_can_leaves_half_to_its_neighbour(void **state)
{
	struct weft_slot *mine[64], *its[64];
	unsigned n = 0, more, m = 0;
	struct served s;

	(void)state;
	s = serve_beside(64);
	while ((more = take_share(&s.rig->session, mine + n, 32)) > 0) {
		n += more;
		rig_turn(s.rig);
	}
	assert_in_range(n, 30, 33);
	while ((more = take_share(&neighbour, its + m, 32)) > 0) {
		m += more;
		rig_turn(s.rig);
	}
	assert_in_range(m, 14, 17); /* and leaves half of that to the next */
	assert_true(weft_session_share(&s.rig->session, 32) == 0 && weft_session_share(&neighbour, 32) == 0);
	give_all(its, m);
	m = 0;
	give_all(mine, n);
	rig_turn(s.rig);
	assert_in_range(weft_session_share(&s.rig->session, 32), 30, 32); /* it has come back */
	neighbours_close(s);
	unserve(s);
}

/* Its sure slot a session has whatever others do. */
static void a_share_is_one_slot_at_least_where_none_is_in_use(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 1000);
	struct weft_slot *slot[16], *sure[2];
	unsigned n = 0;

	(void)state;
	neighbours_open(s);
	while ((slot[n] = weft_session_slot(&s.rig->session)) != NULL) /* who does not ask may take all */
		n++;
	rig_turn(s.rig);
	assert_int_equal(take_share(&neighbour, sure, 2), 1);
	assert_int_equal(weft_session_share(&neighbour, 2), 0);
	weft_slot_give(sure[0]);
	give_all(slot, n);
	neighbours_close(s);
	unserve(s);
}

static void a_stack_starts_so_many_in_a_turn_when_there_are_others(void **state)
{
	struct weft_slot *slot[3 * WEFT_SHARE_REQUESTS];
	struct served s;

	(void)state;
	s = serve_beside(512);
	rig_turn(s.rig);
	assert_int_equal(take_share(&s.rig->session, slot, 20), 20);
	assert_int_equal(take_share(&s.rig->session, slot + 20, 32), WEFT_SHARE_REQUESTS - 20);
	assert_int_equal(weft_session_share(&s.rig->session, 32), 0);
	assert_int_equal(weft_session_share(&neighbour, 32), 32);
	rig_turn(s.rig);
	assert_int_equal(take_share(&s.rig->session, slot + WEFT_SHARE_REQUESTS, 32), 32);
	give_all(slot, 2 * WEFT_SHARE_REQUESTS);
	neighbours_close(s);
	unserve(s);
}

/* Many sessions ask for no more bytes in a turn than one may. */
static void a_stack_starts_no_more_in_a_turn_when_it_has_asked_for_many_bytes(void **state)
{
	struct weft_slot *slot[2];
	struct served s;

	(void)state;
	s = serve_beside(512);
	rig_turn(s.rig);
	assert_int_equal(take_share(&s.rig->session, slot, 1), 1);
	weft_session_asked(&s.rig->session, WEFT_SHARE_BYTES - 1);
	assert_int_equal(take_share(&s.rig->session, slot + 1, 1), 1);
	weft_session_asked(&s.rig->session, 1);
	assert_int_equal(weft_session_share(&s.rig->session, 32), 0);
	assert_int_equal(weft_session_share(&neighbour, 32), 32);
	rig_turn(s.rig);
	assert_int_equal(weft_session_share(&s.rig->session, 32), 32);
	give_all(slot, 2);
	neighbours_close(s);
	unserve(s);
}

static void long_requests_borrow_one_of_a_few_vectors(void **state)
{
	struct weft_slot *slot[2 * SLOT_VECTORS + 1];
	unsigned borrowed = 0, n = 0;
	struct served s = served_open(2 * SLOT_VECTORS, &leaf_ops, NULL, leaf_build, 1, 1000);

	(void)state;
	while ((slot[n] = weft_session_slot(&s.rig->session)) != NULL)
		borrowed += weft_slot_borrow(slot[n++]);
	assert_int_equal(borrowed, SLOT_VECTORS);
	assert_int_equal(slot[0]->room, WEFT_VECTOR_SEGS);
	while (n > 0)
		weft_slot_give(slot[--n]);
	unserve(s);
}

static void the_longest_vector_goes_along_its_line(void **state)
{
	struct served s = serve(NULL, &leaf_ops, 1, 8);
	struct weft_slot *slot[6];

	(void)state;
	for (unsigned i = 0; i < WEFT_COUNT(slot); i++) {
		slot[i] = weft_session_slot(&s.rig->session);
		assert_int_equal(slot_longest_borrow(slot[i]), i == 0);
	}
	assert_int_equal(slot[0]->room, SLOT_LONGEST_SEGS);
	slot[0]->segs[SLOT_LONGEST_SEGS - 1].len = 1;
	slot_longest_leave(slot[2]);
	slot_longest_leave(slot[5]);
	weft_slot_give(slot[2]); /* it has room of its own only */
	assert_false(slot_has_longest(slot[1]));
	for (unsigned i = 0; i < 5; i = i == 1 ? 3 : i + 1) {
		assert_true(slot_has_longest(slot[i]));
		weft_slot_give(slot[i]);
		assert_false(slot_has_longest(slot[i]));
	}
	assert_true(slot_longest_borrow(slot[5])); /* the line had a right end after the last had left it, too */
	slot[1] = weft_session_slot(&s.rig->session);
	assert_false(slot_longest_borrow(slot[1]));
	weft_slot_give(slot[5]);
	assert_true(slot_has_longest(slot[1]));
	weft_slot_give(slot[1]);
	unserve(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_is_sure_of_one_slot_and_shares_the_rest),
		cmocka_unit_test(a_session_that_opens_while_all_is_lent_is_sure_of_a_slot_too),
		cmocka_unit_test(a_stack_that_is_alone_may_have_all),
		cmocka_unit_test(a_stack_that_takes_all_it_can_leaves_half_to_its_neighbour),
		cmocka_unit_test(a_share_is_one_slot_at_least_where_none_is_in_use),
		cmocka_unit_test(a_stack_starts_so_many_in_a_turn_when_there_are_others),
		cmocka_unit_test(a_stack_starts_no_more_in_a_turn_when_it_has_asked_for_many_bytes),
		cmocka_unit_test(long_requests_borrow_one_of_a_few_vectors),
		cmocka_unit_test(the_longest_vector_goes_along_its_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
