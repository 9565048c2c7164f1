/* SPDX-License-Identifier: BSD-2-Clause */
/* Front ends that leave, or say what they should not, while something waits. */
#include "exports/vhost_user/rig_test.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

/* More than is read ahead has been said meanwhile. */
static void a_front_end_that_has_said_more_may_leave_while_a_message_waits(void **state)
{
	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	say_what_waits();
	say_u64(VHOST_USER_SET_FEATURES, 0, -1);
	while (t.exp->connections->ahead_received < sizeof(t.exp->connections->ahead))
		turn();
	shutdown(t.sock, SHUT_WR);
	for (unsigned i = 0; i < 1000 && t.exp->connections != NULL; i++)
		turn();
	assert_null(t.exp->connections);
	front_down(1);
	close_all();
}

/* It is read up to the header of its first message, and more is there. */
static void a_client_that_waits_and_has_spoken_may_leave(void **state)
{
	int first;

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	first = t.sock;
	t.sock = front_connect();
	for (unsigned i = 0; i < 3; i++)
		say_u64(VHOST_USER_SET_FEATURES, 0, -1);
	while (t.exp->waiting == 0 || t.exp->connections->next->received < sizeof(struct vhost_user_header))
		turn();
	close(t.sock);
	for (unsigned i = 0; i < 1000 && t.exp->connections->next != NULL; i++)
		turn();
	assert_null(t.exp->connections->next);
	assert_int_equal(t.exp->waiting, 0);
	t.sock = first;
	load(&t.ring[0], 10);
	front_down(1);
	close_all();
}

/* Messages that need no answer, more of them all the time: others are heard meanwhile. */
static void who_says_no_end_of_messages_holds_up_nobody(void **state)
{
	struct vhost_user_header messages[4096];
	size_t at = 0;
	int unread;

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	for (size_t i = 0; i < WEFT_COUNT(messages); i++)
		messages[i] = (struct vhost_user_header){ .request = VHOST_USER_SET_OWNER, .flags = VHOST_USER_VERSION };
	for (unsigned i = 0; i < 100; i++) {
		ssize_t n;

		while ((n = send(t.sock, (char *)messages + at, sizeof(messages) - at, MSG_DONTWAIT)) > 0)
			at = (at + (size_t)n) % sizeof(messages[0]);
		turn();
		assert_int_equal(ioctl(t.sock, SIOCOUTQ, &unread), 0);
		assert_true(unread > 0);
	}
	front_down(1);
	close_all();
}

/* Nine of them, of which eight would do. */
static void a_surplus_descriptor_is_an_error_also_behind_a_message_that_waits(void **state)
{
	struct vhost_user_memory table = { .nregions = VHOST_USER_MAX_FDS };
	uint8_t byte;
	ssize_t n;

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	for (unsigned i = 0; i < VHOST_USER_MAX_FDS; i++)
		table.regions[i] = (struct vhost_user_region){ .gpa = i * 4096, .size = 4096,
			.uva = (uintptr_t)t.memory + i * 4096, .mmap_offset = i * 4096 };
	say_what_waits();
	say_with(VHOST_USER_SET_MEM_TABLE, &table, 8 + sizeof(table.regions), t.memfd, VUX_FDS, false);
	while (t.exp->connections->ahead_received == 0)
		turn();
	assert_int_equal(on_control(thaw_here), 0);
	assert_int_equal(answer_to(VHOST_USER_SET_CONFIG), 0);
	say(VHOST_USER_GET_FEATURES, NULL, 0, -1);
	while ((n = recv(t.sock, &byte, 1, MSG_DONTWAIT)) < 0 && errno == EAGAIN)
		turn();
	assert_true(n <= 0); /* no answer: the connection has ended */
	front_down(1);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_front_end_that_has_said_more_may_leave_while_a_message_waits),
		cmocka_unit_test(a_client_that_waits_and_has_spoken_may_leave),
		cmocka_unit_test(who_says_no_end_of_messages_holds_up_nobody),
		cmocka_unit_test(a_surplus_descriptor_is_an_error_also_behind_a_message_that_waits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
