/* SPDX-License-Identifier: BSD-2-Clause */
/* Front ends are told of a new size. */
#include "exports/vhost_user/rig_test.h"

#include <linux/sockios.h>
#include <sys/ioctl.h>

static void resize(void)
{
	t.exp->exp.ops->resized(&t.exp->exp);
}

/* A channel on which the server asks us. */
static int channel_up(void)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	say(VHOST_USER_SET_BACKEND_REQ_FD, NULL, 0, pair[1]);
	close(pair[1]);
	sync_with_server();
	for (unsigned i = 0; i < 10; i++) /* the channel is taken into use in a turn of its own */
		turn();
	return pair[0];
}

/* The same; and it has been told five times that the size is another. */
static int resized_five_times(void)
{
	int channel = channel_up();

	for (unsigned i = 0; i < 5; i++)
		resize();
	return channel;
}

static void expect_config_change(int channel)
{
	struct vhost_user_msg msg;

	while (recv(channel, &msg.header, sizeof(msg.header), 0) != sizeof(msg.header))
		turn();
	assert_int_equal(msg.header.request, VHOST_USER_BACKEND_CONFIG_CHANGE);
	assert_true(msg.header.flags & VHOST_USER_NEED_REPLY);
	assert_int_equal(recv(channel, &msg.header, sizeof(msg.header), 0), -1);
}

static void resize_is_told_once_at_a_time(void **state)
{
	struct vhost_user_msg msg;
	int channel;

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	channel = resized_five_times();
	for (unsigned told = 0; told < 2; told++) {
		expect_config_change(channel);
		vhost_user_ack(&msg, VHOST_USER_BACKEND_CONFIG_CHANGE, true);
		assert_int_equal(send(channel, &msg.header, 20, 0), 20);
	}
	for (unsigned i = 0; i < 10; i++)
		turn();
	assert_int_equal(recv(channel, &msg.header, sizeof(msg.header), 0), -1);
	close(channel);
	front_down(1);
	close_all();
}

static void resize_is_told_to_who_never_answers(void **state)
{
	int channel;

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	channel = resized_five_times();
	expect_config_change(channel); /* of the first */
	expect_config_change(channel); /* of the others, when an answer has been waited for long enough */
	for (unsigned later = 0; later < 2; later++) {
		resize();
		expect_config_change(channel);
	}
	close(channel);
	front_down(1);
	close_all();
}

/* It would not know what changed. */
static void who_cannot_read_the_configuration_is_not_told_of_it(void **state)
{
	uint8_t byte;
	int channel;

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	say_u64(VHOST_USER_SET_PROTOCOL_FEATURES, VHOST_USER_P(BACKEND_REQ) | VHOST_USER_P(REPLY_ACK), -1);
	channel = resized_five_times();
	for (unsigned i = 0; i < 10; i++)
		turn();
	assert_int_equal(recv(channel, &byte, 1, 0), -1);
	close(channel);
	front_down(1);
	close_all();
}

/* The device may be another one now: a layer more, or less. */
static void a_thaw_tells_of_a_new_configuration(void **state)
{
	int channel;

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	channel = channel_up();
	assert_int_equal(on_control(freeze_here), 0);
	assert_int_equal(on_control(thaw_here), 0);
	expect_config_change(channel);
	close(channel);
	front_down(1);
	close_all();
}

/* Answers that nobody waits for, more of them all the time: others are heard meanwhile. */
static void who_floods_the_channel_holds_up_nobody(void **state)
{
	static const uint8_t answers[65536];
	int channel, unread = 0;

	(void)state;
	open_all("mem:1MiB", "", 1, WEFT_MODE_NOTIFY);
	front_up(1, false);
	channel = resized_five_times();
	for (unsigned i = 0; i < 100; i++) {
		while (send(channel, answers, sizeof(answers), MSG_DONTWAIT) > 0)
			;
		turn();
		assert_int_equal(ioctl(channel, SIOCOUTQ, &unread), 0);
		assert_true(unread > 0);
	}
	close(channel);
	front_down(1);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resize_is_told_once_at_a_time),
		cmocka_unit_test(resize_is_told_to_who_never_answers),
		cmocka_unit_test(who_cannot_read_the_configuration_is_not_told_of_it),
		cmocka_unit_test(a_thaw_tells_of_a_new_configuration),
		cmocka_unit_test(who_floods_the_channel_holds_up_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
