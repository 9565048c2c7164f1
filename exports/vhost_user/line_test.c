/* SPDX-License-Identifier: BSD-2-Clause */
/* Long chains stand in line for one vector, and leave other devices their part of each turn (DESIGN.md, L3, L6). */
#include "exports/vhost_user/rig_test.h"

#define LENGTH 32768u /* descriptors of each chain, all of a ring */

/* In a slice of the memory: its parts, the request. */
enum { DRIVER = 16 * LENGTH, DEVICE = DRIVER + 128 * 1024, HEADER = DEVICE + 512 * 1024, DATA_AT = HEADER + 16 };

struct descriptor {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

/* A ring that is one chain, of a header, buffers of a byte, and the status. */
static void chain_up(unsigned index)
{
	struct ring *ring = &t.ring[index];
	struct virtio_blk_req_header header = { .type = VIRTIO_BLK_T_IN };
	uint8_t *base = ring->base = t.memory + (size_t)index * SLICE;
	struct descriptor *desc = (struct descriptor *)(void *)base;
	struct vhost_user_vring_addr addr = { .index = index, .desc = (uintptr_t)base, .avail = (uintptr_t)base + DRIVER,
		.used = (uintptr_t)base + DEVICE };
	uint64_t gpa = (uint64_t)index * SLICE;

	_Static_assert(sizeof(*desc) == 16 && DATA_AT + LENGTH < SLICE, "all of it fits");
	memcpy(base + HEADER, &header, sizeof(header));
	for (unsigned i = 0; i < LENGTH; i++)
		desc[i] = (struct descriptor){ gpa + DATA_AT + i, 1, i < LENGTH - 1 ? 3 : 2, (uint16_t)(i + 1) };
	desc[LENGTH - 2].len = 3; /* whole blocks */
	desc[0] = (struct descriptor){ gpa + HEADER, sizeof(header), 1, 1 };
	((uint16_t *)(void *)(base + DRIVER))[1] = 1; /* available, from the start: the chain from descriptor 0 */
	ring->kick = eventfd(0, EFD_NONBLOCK);
	ring->call = eventfd(0, EFD_NONBLOCK);
	say_state(VHOST_USER_SET_VRING_NUM, index, LENGTH);
	say_state(VHOST_USER_SET_VRING_BASE, index, 0);
	say(VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), -1);
	say_u64(VHOST_USER_SET_VRING_CALL, index, ring->call);
	say_u64(VHOST_USER_SET_VRING_KICK, index, ring->kick);
	say_state(VHOST_USER_SET_VRING_ENABLE, index, 1);
}

/* All of them start at once, and the first that is served has the vector, its read hanging. */
static void line_up(void)
{
	front_up(0, false);
	assert_int_equal(on_control(freeze_here), 0);
	for (unsigned i = 0; i < RINGS; i++)
		chain_up(i);
	sync_with_server();
	witness_hangs = WEFT_OP_BIT(WEFT_READ);
	witness_held = NULL;
	assert_int_equal(on_control(thaw_here), 0);
	while (witness_held == NULL)
		turn();
	for (unsigned i = 0; i < 20; i++)
		turn();
}

static unsigned answered(void)
{
	unsigned all = 0;

	for (unsigned i = 0; i < RINGS; i++)
		all += ((volatile uint16_t *)(void *)(t.ring[i].base + DEVICE))[1];
	return all;
}

static unsigned in_line(void)
{
	unsigned all = 0;

	for (unsigned i = 0; i < RINGS; i++)
		all += t.exp->connections->ring[i]->in_line;
	return all;
}

/* Each turn begins with another ring: which is it when the line goes on? */
static void go_on_after(unsigned turns_more)
{
	struct core_wants wants = { .io_reactors = 1, .mode = WEFT_MODE_POLL, .no_threads = true };
	unsigned before = RINGS - 1;

	open_as(&wants, "witness", "");
	neighbours_open();
	line_up();
	assert_int_equal(in_line(), before);
	assert_int_equal(answered(), 0);
	for (unsigned i = 0; i < RINGS; i++)
		t.ring[i].base[HEADER] = 99; /* not looked at yet, but for one */
	while (turns_more-- > 0)
		turn();
	witness_lets_go(0);
	for (unsigned turns = 0; answered() < RINGS; turns++) {
		turn();
		assert_in_range(in_line(), before - (before > 0), before);
		before = in_line();
		assert_true(turns < 100);
	}
	front_down(RINGS);
	neighbours_close();
	close_all();
}

/* What is refused is answered at once, and the vector goes on to the next in line, which may be polled later in this turn. */
static void in_a_turn_one_has_the_vector_where_there_are_others(void **state)
{
	(void)state;
	for (unsigned turns = 0; turns < RINGS; turns++)
		go_on_after(turns);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(in_a_turn_one_has_the_vector_where_there_are_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
