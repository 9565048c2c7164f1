/* SPDX-License-Identifier: BSD-2-Clause */
/* Block requests cut out of chains, whatever the arrangement of descriptors. */
#include "wire/virtio_blk.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static uint8_t readable[64], writable[64];

/* Cuts `len` bytes at `base` into segments at the bits of `cuts`; returns how many. */
static uint32_t arrange(struct weft_seg *segs, uint8_t *base, uint32_t len, uint64_t cuts)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < len; i++) {
		if (i == 0 || cuts >> i & 1)
			segs[n++] = (struct weft_seg){.base = base + i, .region = 3, .foreign = 1};
		segs[n - 1].len++;
	}
	return n;
}

static void fill(void)
{
	struct virtio_blk_req_header header = {htole32(VIRTIO_BLK_T_OUT), 0, htole64(0x123456789a)};

	for (unsigned i = 0; i < 64; i++)
		readable[i] = (uint8_t)(i + 1), writable[i] = 0xff;
	memcpy(readable, &header, sizeof(header));
}

static void check(uint32_t read_len, uint32_t write_len, uint64_t read_cuts, uint64_t write_cuts)
{
	struct weft_seg segs[128];
	struct virtq_chain chain = {.read_len = read_len, .write_len = write_len};
	struct virtio_blk_request r;
	uint32_t at = 16;
	bool whole;

	fill();
	chain.nread = arrange(segs, readable, read_len, read_cuts);
	chain.nsegs = chain.nread + arrange(segs + chain.nread, writable, write_len, write_cuts);
	whole = virtio_blk_cut(segs, &chain, &r);
	assert_int_equal(whole, read_len >= 16);
	assert_ptr_equal(r.status, write_len > 0 ? writable + write_len - 1 : NULL);
	assert_int_equal(r.write_len, write_len > 0 ? write_len - 1 : 0);
	at = 0;
	for (uint32_t i = 0; i < r.nwrite; i++) {
		assert_ptr_equal(r.write[i].base, writable + at);
		assert_true(r.write[i].len > 0);
		at += r.write[i].len;
	}
	assert_int_equal(at, r.write_len);
	if (!whole)
		return;
	assert_int_equal(r.header.type, VIRTIO_BLK_T_OUT);
	assert_int_equal(r.header.sector, 0x123456789a);
	assert_int_equal(r.read_len, read_len - 16);
	at = 16;
	for (uint32_t i = 0; i < r.nread; i++) {
		assert_ptr_equal(r.read[i].base, readable + at);
		assert_true(r.read[i].len > 0);
		at += r.read[i].len;
	}
	assert_int_equal(at, read_len);
}

static void test_every_arrangement(void **state)
{
	uint64_t random = 1;

	(void)state;
	for (uint32_t read_len = 0; read_len <= 40; read_len++)
		for (uint32_t write_len = 0; write_len <= 40; write_len++)
			for (unsigned i = 0; i < 20; i++) {
				random = random * 6364136223846793005u + 1442695040888963407u;
				check(read_len, write_len, random & random >> (i % 30), random >> 17);
			}
	check(16, 1, 0, 0);
	check(64, 64, UINT64_MAX, UINT64_MAX); /* a segment for each byte */
}

static void test_take(void **state)
{
	struct weft_seg segs[64];
	struct virtq_chain chain = {.read_len = 48};
	struct virtio_blk_request r;
	uint8_t got[32];

	(void)state;
	fill();
	chain.nread = chain.nsegs = arrange(segs, readable, 48, 0x0000111100001111);
	assert_true(virtio_blk_cut(segs, &chain, &r));
	virtio_blk_take(&r, got, 16);
	virtio_blk_take(&r, got + 16, 16);
	assert_memory_equal(got, readable + 16, 32);
	assert_int_equal(r.read_len, 0);
	assert_int_equal(r.nread, 0);
}

static void test_status(void **state)
{
	(void)state;
	assert_int_equal(virtio_blk_status(0), VIRTIO_BLK_S_OK);
	assert_int_equal(virtio_blk_status(-EOPNOTSUPP), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(virtio_blk_status(-EIO), VIRTIO_BLK_S_IOERR);
	assert_int_equal(virtio_blk_status(-ENOSPC), VIRTIO_BLK_S_IOERR);
	for (unsigned status = 0; status < 256; status++) {
		int error = virtio_blk_error((uint8_t)status);

		assert_int_equal(error, status == 0 ? 0 : status == 2 ? -EOPNOTSUPP : -EIO);
	}
}

static const char *serial_of(const char *bytes, size_t n)
{
	static char text[VIRTIO_BLK_ID_TEXT];
	uint8_t id[VIRTIO_BLK_ID_BYTES] = { 0 };

	memcpy(id, bytes, n);
	memset(text, 'x', sizeof(text));
	virtio_blk_serial(id, text);
	return text;
}

static void test_serial(void **state)
{
	(void)state;
	assert_string_equal(serial_of("", 0), "");
	assert_string_equal(serial_of("disk-7", 6), "disk-7");
	assert_string_equal(serial_of("01234567890123456789", 20), "01234567890123456789");
	assert_string_equal(serial_of("two words  \0hidden", 18), "two words");
	assert_string_equal(serial_of("a\033[2J\n\177\377\200~", 10), "a?[2J????~");
	assert_string_equal(serial_of("                    ", 20), "");
	for (unsigned byte = 1; byte < 256; byte++) {
		char one = (char)byte;
		const char *text = serial_of(&one, 1);

		assert_true(text[0] == '\0' ? byte == ' ' : text[1] == '\0' && text[0] > ' ' && text[0] <= '~');
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_arrangement),
		cmocka_unit_test(test_take),
		cmocka_unit_test(test_status),
		cmocka_unit_test(test_serial),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
