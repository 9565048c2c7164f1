/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest memory map, against a search byte by byte; and the dirty log. */
#include "wire/vmap.h"

#include "wire/vhost_log.h"

#include <weft/base.h>

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>

static uint8_t memory[4][4096];

static struct vmap_region region(uint64_t gpa, uint64_t uva, uint64_t size, unsigned which)
{
	return (struct vmap_region){.gpa = gpa, .uva = uva, .size = size, .hva = memory[which],
				    .region = (uint16_t)(which + 1), .fd = -1};
}

static void expect_refused(struct vmap_region a, struct vmap_region b, const char *reason)
{
	struct vmap_region regions[] = {a, b};
	const char *why = NULL;
	struct vmap map;

	assert_int_equal(vmap_init(&map, regions, 2, &why), -EINVAL);
	assert_string_equal(why, reason);
}

static void test_refused(void **state)
{
	struct vmap_region ok = region(0x10000, 0x100000, 4096, 0);

	(void)state;
	expect_refused(ok, region(0, 0, 0, 1), "a memory region has no bytes");
	expect_refused(ok, region(UINT64_MAX - 10, 0, 100, 1), "a memory region goes beyond the end of the address space");
	expect_refused(ok, region(0, UINT64_MAX - 10, 100, 1), "a memory region goes beyond the end of the address space");
	expect_refused(ok, region(0x10fff, 0, 4096, 1), "two memory regions overlap in guest memory");
	expect_refused(ok, region(0xf001, 0, 4096, 1), "two memory regions overlap in guest memory");
	expect_refused(ok, region(0x10000, 0, 4096, 1), "two memory regions overlap in guest memory");
	expect_refused(ok, region(0, 0x100fff, 4096, 1), "two memory regions overlap in the front end's memory");
}

/* Four regions, given out of order: 0 and 1 adjacent, a hole, 2, a hole, 3. */
static void four_regions(struct vmap *map, struct vmap_region regions[4])
{
	const char *why = NULL;

	regions[0] = region(0x9000, 0x40000, 100, 3);
	regions[1] = region(0x1000, 0x20000, 4096, 1);
	regions[2] = region(0x4000, 0x30000, 4096, 2);
	regions[3] = region(0x0, 0x50000, 4096, 0);
	assert_int_equal(vmap_init(map, regions, 4, &why), 0);
}

static const uint8_t *slow_search(const struct vmap *map, uint64_t gpa, uint32_t *which)
{
	for (*which = 0; *which < map->count; ++*which) {
		const struct vmap_region *r = &map->regions[*which];

		if (gpa >= r->gpa && gpa < r->gpa + r->size)
			return r->hva + (gpa - r->gpa);
	}
	return NULL;
}

static void test_translate(void **state)
{
	static const uint64_t lengths[] = {1, 2, 99, 100, 101, 4095, 4096, 4097, 8192, UINT32_MAX, UINT64_MAX};
	struct vmap_region regions[4];
	struct vmap map;

	(void)state;
	four_regions(&map, regions);
	for (uint64_t gpa = 0; gpa < 0xa000; gpa += 1 + gpa % 7)
		for (size_t i = 0; i < WEFT_COUNT(lengths); i++)
			for (uint32_t start = 0; start <= 4; start++) { /* any hint, a wrong one too */
				uint32_t which, hint = start;
				uint64_t bytes = lengths[i];
				const uint8_t *expected = slow_search(&map, gpa, &which);
				uint64_t rest;

				assert_ptr_equal(vmap_translate(&map, &hint, gpa, &bytes), expected);
				if (!expected)
					continue;
				rest = map.regions[which].size - (gpa - map.regions[which].gpa);
				assert_int_equal(bytes, lengths[i] < rest ? lengths[i] : rest);
				assert_int_equal(hint, which);
			}
}

static void test_rings(void **state)
{
	struct vmap_region regions[4];
	struct vmap map;

	(void)state;
	four_regions(&map, regions);
	assert_ptr_equal(vmap_ring(&map, 0x20010, 16), memory[1] + 16);
	assert_ptr_equal(vmap_ring(&map, 0x20000, 4096), memory[1]);
	assert_null(vmap_ring(&map, 0x20001, 4096));
	assert_null(vmap_ring(&map, 0x20000, UINT64_MAX));
	assert_null(vmap_ring(&map, 0x1ffff, 1));
	assert_null(vmap_ring(&map, 0x1000, 1)); /* a guest address is none of the front end's */
}

static void test_copy_and_back(void **state)
{
	struct vmap_region regions[4];
	struct vmap map;
	uint8_t local[200];
	uint64_t gpa;

	(void)state;
	four_regions(&map, regions);
	for (unsigned i = 0; i < 4096; i++)
		memory[0][i] = (uint8_t)i, memory[1][i] = (uint8_t)(i + 1);
	assert_true(vmap_copy_in(&map, local, 0x1000 - 100, 200));
	assert_memory_equal(local, memory[0] + 4096 - 100, 100);
	assert_memory_equal(local + 100, memory[1], 100);
	assert_false(vmap_copy_in(&map, local, 0x2000 - 100, 200));
	assert_true(vmap_gpa_of(&map, memory[2] + 7, &gpa));
	assert_int_equal(gpa, 0x4007);
	assert_false(vmap_gpa_of(&map, memory[3] + 100, &gpa));
}

static void test_empty_map(void **state)
{
	struct vmap map;
	const char *why;
	uint64_t bytes = 1;
	uint32_t hint = 0;

	(void)state;
	assert_int_equal(vmap_init(&map, NULL, 0, &why), 0);
	assert_null(vmap_translate(&map, &hint, 0, &bytes));
}

static void test_log(void **state)
{
	uint8_t bits[4];
	struct vhost_log log = {bits, 3};

	(void)state;
	for (uint64_t gpa = 0; gpa < 40 * 4096; gpa += 1000)
		for (uint64_t bytes = 0; bytes < 20000; bytes += 777) {
			memset(bits, 0, sizeof(bits));
			vhost_log_mark(&log, gpa, bytes);
			assert_int_equal(vhost_log_covers(3, gpa, bytes), bytes == 0 || gpa + bytes <= 24 * 4096);
			for (uint64_t page = 0; page < 32; page++) {
				bool dirty = bytes > 0 && page < 24 && page >= gpa / 4096 && page <= (gpa + bytes - 1) / 4096;

				assert_int_equal(bits[page / 8] >> page % 8 & 1, dirty);
			}
		}
	memset(bits, 0, sizeof(bits));
	vhost_log_mark(&log, UINT64_MAX - 4096, UINT64_MAX); /* wraps: nothing is touched */
	vhost_log_mark(&log, UINT64_MAX, 1);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(bits[i], 0);
	vhost_log_mark(&log, 0, UINT64_MAX);
	assert_int_equal(bits[2], 0xff);
	assert_int_equal(bits[3], 0);
	assert_false(vhost_log_covers(3, UINT64_MAX - 4096, 4098)); /* wraps */
	assert_false(vhost_log_covers(3, 0, UINT64_MAX));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_translate),
		cmocka_unit_test(test_rings),
		cmocka_unit_test(test_copy_and_back),
		cmocka_unit_test(test_empty_map),
		cmocka_unit_test(test_log),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
