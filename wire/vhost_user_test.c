/* SPDX-License-Identifier: BSD-2-Clause */
/* Every message with every wrong length and number of descriptors, against a list kept apart from the table. */
#include "wire/vhost_user.h"

#include <weft/base.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* What a well-formed request looks like: lengths min to max, descriptors min to max (with a payload that agrees). */
struct expect {
	uint32_t request, min, max;
	unsigned fd_min, fd_max;
	bool replies;
};

static const struct expect front[] = {
	{VHOST_USER_GET_FEATURES, 0, 0, 0, 0, true},
	{VHOST_USER_SET_FEATURES, 8, 8, 0, 0, false},
	{VHOST_USER_SET_OWNER, 0, 0, 0, 0, false},
	{VHOST_USER_RESET_OWNER, 0, 0, 0, 0, false},
	{VHOST_USER_SET_MEM_TABLE, 8 + 64, 264, 2, 2, false}, /* the payload below has two regions */
	{VHOST_USER_SET_LOG_BASE, 16, 16, 1, 1, true},
	{VHOST_USER_SET_LOG_FD, 0, 8, 1, 1, false},
	{VHOST_USER_SET_VRING_NUM, 8, 8, 0, 0, false},
	{VHOST_USER_SET_VRING_ADDR, 40, 40, 0, 0, false},
	{VHOST_USER_SET_VRING_BASE, 8, 8, 0, 0, false},
	{VHOST_USER_GET_VRING_BASE, 8, 8, 0, 0, true},
	{VHOST_USER_SET_VRING_KICK, 8, 8, 1, 1, false},
	{VHOST_USER_SET_VRING_CALL, 8, 8, 1, 1, false},
	{VHOST_USER_SET_VRING_ERR, 8, 8, 1, 1, false},
	{VHOST_USER_GET_PROTOCOL_FEATURES, 0, 0, 0, 0, true},
	{VHOST_USER_SET_PROTOCOL_FEATURES, 8, 8, 0, 0, false},
	{VHOST_USER_GET_QUEUE_NUM, 0, 0, 0, 0, true},
	{VHOST_USER_SET_VRING_ENABLE, 8, 8, 0, 0, false},
	{VHOST_USER_SEND_RARP, 8, 8, 0, 0, false},
	{VHOST_USER_NET_SET_MTU, 8, 8, 0, 0, false},
	{VHOST_USER_SET_BACKEND_REQ_FD, 0, 8, 1, 1, false},
	{VHOST_USER_IOTLB_MSG, 26, 32, 0, 0, true},
	{VHOST_USER_SET_VRING_ENDIAN, 8, 8, 0, 0, false},
	{VHOST_USER_GET_CONFIG, 12, 268, 0, 0, true},
	{VHOST_USER_SET_CONFIG, 12, 268, 0, 0, false},
	{VHOST_USER_CREATE_CRYPTO_SESSION, 0, 268, 0, 0, true},
	{VHOST_USER_CLOSE_CRYPTO_SESSION, 8, 8, 0, 0, false},
	{VHOST_USER_POSTCOPY_ADVISE, 0, 0, 0, 0, true},
	{VHOST_USER_POSTCOPY_LISTEN, 0, 0, 0, 0, false},
	{VHOST_USER_POSTCOPY_END, 0, 0, 0, 0, true},
	{VHOST_USER_GET_INFLIGHT_FD, 20, 24, 0, 0, true},
	{VHOST_USER_SET_INFLIGHT_FD, 20, 24, 1, 1, false},
	{VHOST_USER_GPU_SET_SOCKET, 0, 0, 1, 1, false},
	{VHOST_USER_RESET_DEVICE, 0, 0, 0, 0, false},
	{VHOST_USER_VRING_KICK, 8, 8, 0, 0, false},
	{VHOST_USER_GET_MAX_MEM_SLOTS, 0, 0, 0, 0, true},
	{VHOST_USER_ADD_MEM_REG, 40, 40, 1, 1, false},
	{VHOST_USER_REM_MEM_REG, 40, 40, 0, 1, false},
	{VHOST_USER_SET_STATUS, 8, 8, 0, 0, false},
	{VHOST_USER_GET_STATUS, 0, 0, 0, 0, true},
	{VHOST_USER_GET_SHARED_OBJECT, 16, 16, 0, 0, true},
	{VHOST_USER_SET_DEVICE_STATE_FD, 8, 8, 1, 1, true},
	{VHOST_USER_CHECK_DEVICE_STATE, 0, 0, 0, 0, true},
};

static const struct expect back[] = {
	{VHOST_USER_BACKEND_IOTLB_MSG, 26, 32, 0, 0, false},
	{VHOST_USER_BACKEND_CONFIG_CHANGE, 0, 0, 0, 0, false},
	{VHOST_USER_BACKEND_VRING_HOST_NOTIFIER, 24, 24, 0, 1, false},
	{VHOST_USER_BACKEND_VRING_CALL, 8, 8, 0, 0, false},
	{VHOST_USER_BACKEND_VRING_ERR, 8, 8, 0, 0, false},
	{VHOST_USER_BACKEND_SHARED_OBJECT_ADD, 16, 16, 0, 0, false},
	{VHOST_USER_BACKEND_SHARED_OBJECT_REMOVE, 16, 16, 0, 0, false},
	{VHOST_USER_BACKEND_SHARED_OBJECT_LOOKUP, 16, 16, 0, 0, true},
};

static struct vhost_user_msg message(uint32_t request, uint32_t size)
{
	struct vhost_user_msg msg;

	memset(&msg, 0, sizeof(msg));
	vhost_user_request(&msg, request, 0, false);
	msg.header.size = size;
	if (request == VHOST_USER_SET_MEM_TABLE)
		msg.payload.memory.nregions = 2;
	return msg;
}

static void check_all(const struct expect *list, size_t count, enum vhost_user_way way)
{
	for (size_t i = 0; i < count; i++) {
		const struct expect *e = &list[i];

		assert_int_equal(vhost_user_replies(e->request, way), e->replies);
		for (uint32_t size = 0; size <= 300; size++)
			for (unsigned fds = 0; fds <= VHOST_USER_MAX_FDS + 1; fds++) {
				struct vhost_user_msg msg = message(e->request, size);
				bool good = size >= e->min && size <= e->max && fds >= e->fd_min && fds <= e->fd_max;

				if (way == VHOST_USER_FRONT_REQUEST && e->request == VHOST_USER_SET_LOG_BASE)
					good |= size == 8 && fds == 0; /* its form without LOG_SHMFD */
				assert_int_equal(vhost_user_check(&msg, fds, way) == NULL, good);
			}
	}
}

static void test_every_size_and_descriptor_count(void **state)
{
	(void)state;
	assert_int_equal(WEFT_COUNT(front), VHOST_USER_FRONT_END - 1);
	assert_int_equal(WEFT_COUNT(back), VHOST_USER_BACKEND_END - 1);
	check_all(front, WEFT_COUNT(front), VHOST_USER_FRONT_REQUEST);
	check_all(back, WEFT_COUNT(back), VHOST_USER_BACK_REQUEST);
}

static void test_unknown_requests(void **state)
{
	static const uint32_t unknown[] = {0, VHOST_USER_FRONT_END, 100, UINT32_MAX};

	(void)state;
	for (size_t i = 0; i < WEFT_COUNT(unknown); i++)
		for (enum vhost_user_way way = VHOST_USER_FRONT_REQUEST; way <= VHOST_USER_BACK_REPLY; way++) {
			struct vhost_user_msg msg = message(unknown[i], 0);

			if (way == VHOST_USER_FRONT_REPLY || way == VHOST_USER_BACK_REPLY)
				msg.header.flags |= VHOST_USER_REPLY;
			assert_string_equal(vhost_user_check(&msg, 0, way), "an unknown request");
			assert_string_equal(vhost_user_name(unknown[i]), "unknown");
			assert_false(vhost_user_replies(unknown[i], way));
		}
}

static void test_flags(void **state)
{
	struct vhost_user_msg msg = message(VHOST_USER_GET_FEATURES, 0);

	(void)state;
	for (uint32_t version = 0; version < 4; version++) {
		msg.header.flags = version;
		assert_int_equal(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REQUEST) == NULL, version == 1);
	}
	msg.header.flags = VHOST_USER_VERSION | VHOST_USER_NEED_REPLY;
	assert_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REQUEST));
	msg.header.flags = VHOST_USER_VERSION | 0xfffffff0;
	assert_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REQUEST));
	msg.header.flags = VHOST_USER_VERSION | VHOST_USER_REPLY;
	assert_non_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REQUEST));
	msg.header.size = 8;
	assert_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REPLY));
	msg.header.flags = VHOST_USER_VERSION;
	assert_non_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REPLY));
}

static void test_memory_table(void **state)
{
	(void)state;
	for (uint32_t regions = 0; regions <= 10; regions++)
		for (uint32_t size = 8; size <= 264; size += 8)
			for (unsigned fds = 0; fds <= 8; fds++) {
				struct vhost_user_msg msg = message(VHOST_USER_SET_MEM_TABLE, size);
				bool good = regions <= 8 && size >= 8 + 32 * regions && fds == regions;

				msg.payload.memory.nregions = regions;
				assert_int_equal(vhost_user_check(&msg, fds, VHOST_USER_FRONT_REQUEST) == NULL, good);
			}
	struct vhost_user_msg msg = message(VHOST_USER_SET_MEM_TABLE, 264);
	msg.payload.memory.nregions = UINT32_MAX / 32 + 2; /* whose length overflows */
	assert_non_null(vhost_user_check(&msg, 1, VHOST_USER_FRONT_REQUEST));
}

static void test_ring_descriptors(void **state)
{
	static const uint32_t requests[] = {VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL, VHOST_USER_SET_VRING_ERR};

	(void)state;
	for (size_t i = 0; i < WEFT_COUNT(requests); i++) {
		struct vhost_user_msg msg = message(requests[i], 8);

		msg.payload.u64 = 255 | VHOST_USER_VRING_NO_FD;
		assert_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REQUEST));
		assert_non_null(vhost_user_check(&msg, 1, VHOST_USER_FRONT_REQUEST));
	}
}

static void test_config(void **state)
{
	struct vhost_user_msg msg = message(VHOST_USER_GET_CONFIG, 268);

	(void)state;
	for (uint32_t size = 0; size <= 300; size++)
		for (uint32_t len = 12; len <= 268; len++) {
			msg.header.request = VHOST_USER_GET_CONFIG;
			msg.header.size = len;
			msg.payload.config.size = size;
			assert_int_equal(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REQUEST) == NULL,
					 size <= 256 && (len == 12 || len >= 12 + size));
			msg.header.request = VHOST_USER_SET_CONFIG;
			assert_int_equal(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REQUEST) == NULL,
					 size <= 256 && len >= 12 + size);
		}
	msg.payload.config.size = UINT32_MAX;
	assert_non_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REQUEST));
}

static void test_replies(void **state)
{
	struct vhost_user_msg msg;

	(void)state;
	memset(&msg, 0, sizeof(msg));
	vhost_user_ack(&msg, VHOST_USER_SET_MEM_TABLE, false);
	assert_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REPLY));
	assert_int_equal(msg.payload.u64, 1);
	assert_int_equal(msg.header.flags, VHOST_USER_VERSION | VHOST_USER_REPLY);
	msg.header.size = 4;
	assert_non_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REPLY));
	vhost_user_reply(&msg, VHOST_USER_GET_INFLIGHT_FD, 24);
	assert_null(vhost_user_check(&msg, 1, VHOST_USER_FRONT_REPLY));
	assert_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REPLY)); /* refused: no area */
	assert_non_null(vhost_user_check(&msg, 2, VHOST_USER_FRONT_REPLY));
	vhost_user_reply(&msg, VHOST_USER_GET_CONFIG, 0); /* how a back end says that it failed */
	assert_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REPLY));
	vhost_user_reply(&msg, VHOST_USER_GET_CONFIG, 11);
	assert_non_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REPLY));
	vhost_user_reply(&msg, VHOST_USER_GET_CONFIG, 12);
	msg.payload.config.size = 60; /* announced and not there */
	assert_non_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REPLY));
	vhost_user_reply(&msg, VHOST_USER_SET_LOG_BASE, 0);
	assert_null(vhost_user_check(&msg, 0, VHOST_USER_FRONT_REPLY));
	vhost_user_ack(&msg, VHOST_USER_BACKEND_CONFIG_CHANGE, true);
	assert_null(vhost_user_check(&msg, 0, VHOST_USER_BACK_REPLY));
}

static void test_names(void **state)
{
	(void)state;
	for (uint32_t i = 1; i < VHOST_USER_FRONT_END; i++)
		assert_string_not_equal(vhost_user_name(i), "unknown");
	assert_string_equal(vhost_user_name(VHOST_USER_SET_MEM_TABLE), "SET_MEM_TABLE");
	assert_string_equal(vhost_user_backend_name(VHOST_USER_BACKEND_CONFIG_CHANGE), "CONFIG_CHANGE");
	assert_string_equal(vhost_user_backend_name(VHOST_USER_BACKEND_END), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_size_and_descriptor_count),
		cmocka_unit_test(test_unknown_requests),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_memory_table),
		cmocka_unit_test(test_ring_descriptors),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_replies),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
