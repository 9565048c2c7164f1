/* SPDX-License-Identifier: BSD-2-Clause */
/* Data of more than a hop carries goes out part after part (DESIGN.md, L5). */
#include "exports/vhost_user/rig_test.h"

#include <sys/mman.h>

/* As much as the memory has, but for a page, so often: a part ends inside one of them. The last one is that page. */
#define PIECE (MEMORY - 4096u)
enum { PIECES = 200, SECTOR = 24 };
#define LEN ((uint64_t)PIECES * PIECE + 4096)

/* Not in what the parts are made of. */
static struct virtq_buf bufs[PIECES + 3];

static void begin(unsigned op)
{
	struct core_wants wants = { .io_reactors = 1, .mode = WEFT_MODE_POLL, .no_threads = true };

	open_as(&wants, "witness", "");
	front_up(1, false);
	witness_hangs = WEFT_OP_BIT(op);
	witness_held = NULL;
	witnessed = 0;
}

static uint8_t *status_byte(void)
{
	return t.ring[0].base + 16384 + 16;
}

static void ask(unsigned type)
{
	struct virtio_blk_req_header header = { .type = type, .sector = SECTOR };
	bool write = type == VIRTIO_BLK_T_OUT;

	memcpy(status_byte() - 16, &header, sizeof(header));
	*status_byte() = 0xff;
	bufs[0] = (struct virtq_buf){ (uint64_t)(status_byte() - 16 - t.memory), sizeof(header) };
	for (unsigned i = 0; i < PIECES; i++)
		bufs[1 + i] = (struct virtq_buf){ 0, PIECE };
	bufs[1 + PIECES] = (struct virtq_buf){ PIECE, 4096 };
	bufs[2 + PIECES] = (struct virtq_buf){ (uint64_t)(status_byte() - t.memory), 1 };
	assert_int_equal(virtq_drv_add(&t.ring[0].drv, bufs, write ? 2 + PIECES : 1, write ? 1 : 2 + PIECES, NULL, NULL), 0);
	publish(&t.ring[0]);
}

static void wait_for_part(void)
{
	while (witness_held == NULL)
		turn();
}

static uint64_t bytes_of(const struct weft_hop *hop)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < hop->nsegs; i++)
		all += hop->segs[i].len;
	return all - hop->seg_skip;
}

/* What the witness has is the part from `at` on, in the guest's own memory. */
static void expect_part(uint64_t at, uint64_t len)
{
	const struct weft_hop *hop = witness_held;
	uint64_t inside = at % PIECE;
	const uint8_t *base = (const uint8_t *)hop->segs[0].base + hop->seg_skip;
	struct vux_memory *memory = t.exp->connections->memory[0];

	assert_int_equal(hop->offset, SECTOR * 512 + at);
	assert_int_equal(hop->len, len);
	assert_int_equal(bytes_of(hop) >= len, 1);
	assert_ptr_equal(base, memory->hva + inside);
}

static void expect_answer(uint8_t status)
{
	struct virtq_done done;

	while (virtq_drv_take(&t.ring[0].drv, &done) == 0)
		turn();
	assert_int_equal(*status_byte(), status);
}

static void no_part_for_a_while(void)
{
	for (unsigned i = 0; i < 20; i++)
		turn();
	assert_null(witness_held);
}

static void each_part_begins_when_the_one_before_has_ended(void **state)
{
	(void)state;
	begin(WEFT_WRITE);
	ask(VIRTIO_BLK_T_OUT);
	wait_for_part();
	expect_part(0, WEFT_MAX_LEN);
	for (unsigned i = 0; i < 20; i++)
		turn(); /* a second one would not find the witness free */
	assert_int_equal(*status_byte(), 0xff);
	witness_lets_go(0);
	wait_for_part();
	expect_part(WEFT_MAX_LEN, LEN - WEFT_MAX_LEN);
	witness_lets_go(0);
	expect_answer(VIRTIO_BLK_S_OK);
	front_down(1);
	close_all();
}

static void after_an_error_no_part_goes_out(void **state)
{
	(void)state;
	begin(WEFT_WRITE);
	ask(VIRTIO_BLK_T_OUT);
	wait_for_part();
	witness_lets_go(-EIO);
	expect_answer(VIRTIO_BLK_S_IOERR);
	no_part_for_a_while();
	front_down(1);
	close_all();
}

static void after_its_client_has_left_no_part_goes_out(void **state)
{
	(void)state;
	begin(WEFT_WRITE);
	ask(VIRTIO_BLK_T_OUT);
	wait_for_part();
	shutdown(t.sock, SHUT_RDWR);
	while (t.exp->connections->ring[0]->left == false)
		turn();
	t.ahead_ns += VUX_PATIENCE_NS; /* it is aborted, too late */
	for (unsigned i = 0; i < 20; i++)
		turn();
	witness_lets_go(0);
	no_part_for_a_while();
	assert_int_equal(*status_byte(), 0xff);
	front_down(1);
	close_all();
}

/* A log of the whole memory; after a first part, what that part has written. */
static void a_part_is_in_the_dirty_log_before_the_next_begins(void **state)
{
	enum { PAGES = MEMORY / 4096 };
	struct vhost_user_log said = { .size = PAGES / 8 };
	int fd = memfd_create("log", 0);
	uint8_t bits[PAGES / 8];

	(void)state;
	begin(WEFT_READ);
	assert_int_equal(ftruncate(fd, PAGES / 8), 0);
	say(VHOST_USER_SET_LOG_BASE, &said, sizeof(said), fd);
	assert_int_equal(answer_to(VHOST_USER_SET_LOG_BASE), 0);
	say_u64(VHOST_USER_SET_FEATURES, VIRTIO_F(PROTOCOL_FEATURES) | VIRTIO_F(VERSION_1) | VIRTIO_F(EVENT_IDX) |
		VIRTIO_BLK_F(FLUSH) | VIRTIO_BLK_F(CONFIG_WCE) | (uint64_t)1 << VHOST_F_LOG_ALL, -1);
	sync_with_server();
	ask(VIRTIO_BLK_T_IN);
	wait_for_part();
	assert_int_equal(pread(fd, bits, sizeof(bits), 0), sizeof(bits));
	assert_int_equal(bits[0], 0);
	witness_lets_go(0);
	wait_for_part();
	assert_int_equal(pread(fd, bits, sizeof(bits), 0), sizeof(bits));
	for (unsigned i = 0; i < PAGES - 1; i++)
		assert_true((bits[i / 8] >> i % 8 & 1) != 0);
	assert_true((bits[sizeof(bits) - 1] & 0x80) == 0); /* the last page is the second part's */
	witness_lets_go(0);
	expect_answer(VIRTIO_BLK_S_OK);
	assert_int_equal(pread(fd, bits, sizeof(bits), 0), sizeof(bits));
	assert_int_equal(bits[sizeof(bits) - 1], 0xff);
	close(fd);
	front_down(1);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_part_begins_when_the_one_before_has_ended),
		cmocka_unit_test(after_an_error_no_part_goes_out),
		cmocka_unit_test(after_its_client_has_left_no_part_goes_out),
		cmocka_unit_test(a_part_is_in_the_dirty_log_before_the_next_begins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
