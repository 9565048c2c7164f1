/* SPDX-License-Identifier: BSD-2-Clause */
/* One of each handle of libweft, open. */
#include "lib/rig_test.h"

#include <stdlib.h>

int use_open(void **state)
{
	struct use *u = calloc(1, sizeof(*u));

	assert_non_null(u);
	if (weft_open(NULL, &u->weft, &u->why) != 0 || weft_device_open(u->weft, "mem:1MiB", &u->device, &u->why) != 0 ||
			weft_reactor_open(u->weft, NULL, &u->reactor, &u->why) != 0 ||
			weft_queue_open(u->device, u->reactor, NULL, &u->queue, &u->why) != 0 ||
			weft_memory_alloc(u->weft, BLOCK, 0, &u->memory, &u->why) != 0)
		fail_msg("%s", u->why.text);
	*state = u;
	return 0;
}

int use_close(void **state)
{
	struct use *u = *state;
	struct weft_completion done[2];

	assert_int_equal(weft_queue_read(u->queue, 0, weft_memory_base(u->memory), BLOCK, u, 0), 0);
	assert_int_equal(weft_queue_wait(u->queue, done, 2, 2, WEFT_FOREVER), 1);
	assert_ptr_equal(done[0].user_data, u);
	assert_int_equal(done[0].status, 0);
	assert_int_equal(weft_queue_close(u->queue, &u->why), 0);
	assert_int_equal(weft_reactor_close(u->reactor, &u->why), 0);
	assert_int_equal(weft_memory_release(u->memory, &u->why), 0);
	assert_int_equal(weft_device_close(u->device, &u->why), 0);
	assert_int_equal(weft_close(u->weft, &u->why), 0);
	free(u);
	return 0;
}
