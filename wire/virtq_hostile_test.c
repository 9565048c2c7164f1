/* SPDX-License-Identifier: BSD-2-Clause */
/* Rings that break the rules: each is refused with its reason, nothing outside the guest's memory is ever given out. */
#include "wire/virtq_rig.h"

#include "wire/virtq_walk.h"

enum { NUM = 8 };

struct entry {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next; /* next: buffer id when packed */
};

static struct rig rig;

static void put(void *table, uint32_t at, struct entry e)
{
	uint8_t *p = (uint8_t *)table + (size_t)at * DESC_BYTES;
	uint64_t word = rig.config.packed ? e.len | (uint64_t)e.next << 32 | (uint64_t)e.flags << 48
					  : e.len | (uint64_t)e.flags << 32 | (uint64_t)e.next << 48;

	memcpy(p, &e.addr, 8);
	memcpy(p + 8, &word, 8);
}

static void desc(uint32_t at, struct entry e)
{
	if (rig.config.packed)
		e.flags |= DESC_AVAIL;
	put(rig.config.desc, at, e);
}

/* Split: `count` heads become available, all of them `head`. */
static void offer(uint16_t head, uint16_t count)
{
	uint16_t *avail = rig.config.driver;

	for (uint16_t i = 0; i < count; i++)
		avail[2 + (avail[1] + i) % NUM] = head;
	avail[1] += count;
}

static uint64_t data(uint64_t at)
{
	return rig_gpa(&rig, rig.data) + at;
}

static void expect_broken(const char *fault)
{
	struct virtq_chain chain;

	assert_int_equal(rig_pop(&rig, &chain), -EPROTO);
	assert_string_equal(rig.vq.fault, fault);
	assert_int_equal(rig_pop(&rig, &chain), -EPROTO); /* for good */
	assert_false(virtq_has_work(&rig.vq));
	rig_end(&rig);
}

static void expect_chain(uint32_t nsegs, uint32_t nread)
{
	struct virtq_chain chain;

	assert_int_equal(rig_pop(&rig, &chain), 1);
	assert_int_equal(chain.nsegs, nsegs);
	assert_int_equal(chain.nread, nread);
	rig_end(&rig);
}

static void split(void)
{
	rig_start(&rig, NUM, false, false, false);
}

static void packed(void)
{
	rig_start(&rig, NUM, true, false, false);
}

static void test_split_rings(void **state)
{
	(void)state;
	split(), offer(NUM, 1);
	expect_broken("a descriptor's index is outside the ring");
	split(), desc(0, (struct entry){data(0), 8, DESC_NEXT, NUM}), offer(0, 1);
	expect_broken("a descriptor's index is outside the ring");
	split(), desc(0, (struct entry){data(0), 8, DESC_NEXT, 0}), offer(0, 1);
	expect_broken("a chain is longer than the ring, or loops");
	split(), desc(0, (struct entry){data(0), 8, DESC_NEXT, 1}), desc(1, (struct entry){data(0), 8, DESC_NEXT, 0});
	offer(0, 1);
	expect_broken("a chain is longer than the ring, or loops");
	split(), offer(0, NUM + 1);
	expect_broken("the available index is further ahead than the ring is long");
}

static void test_split_more_in_flight_than_the_ring_holds(void **state)
{
	struct virtq_chain chain;

	(void)state;
	split(), desc(0, (struct entry){data(0), 8, 0, 0}), offer(0, NUM);
	for (unsigned i = 0; i < NUM; i++)
		assert_int_equal(rig_pop(&rig, &chain), 1);
	offer(0, 1);
	expect_broken("the available index is further ahead than the ring is long");
}

static void test_buffers(void **state)
{
	static const struct {
		uint64_t addr, len;
		const char *fault;
	} bad[] = {
		{0, 0, "a buffer has length 0"},
		{UINT64_MAX, 2, "a buffer is outside the guest's memory"},
		{0, 1, "a buffer is outside the guest's memory"},
		{RIG_GPA - 1, 2, "a buffer is outside the guest's memory"},
		{UINT64_MAX - UINT32_MAX + 1, UINT32_MAX, "a buffer is outside the guest's memory"},
	};

	(void)state;
	for (unsigned format = 0; format < 2; format++) {
		for (size_t i = 0; i < WEFT_COUNT(bad); i++) {
			format ? packed() : split();
			desc(0, (struct entry){bad[i].addr ? bad[i].addr : i ? 0 : data(0), (uint32_t)bad[i].len, 0, 0});
			format ? (void)0 : offer(0, 1);
			expect_broken(bad[i].fault);
		}
		format ? packed() : split();
		desc(0, (struct entry){RIG_GPA + rig.bytes - 8, 9, 0, 0});
		format ? (void)0 : offer(0, 1);
		expect_broken("a buffer is outside the guest's memory");
		format ? packed() : split();
		desc(0, (struct entry){data(0), 8, DESC_WRITE | DESC_NEXT, 1}), desc(1, (struct entry){data(0), 8, 0, 0});
		format ? (void)0 : offer(0, 1);
		expect_broken("a readable buffer follows a writable one");
	}
}

/* One indirect descriptor pointing to `bytes` of table at `at`. */
static void indirect(uint64_t at, uint32_t bytes, uint16_t flags)
{
	desc(0, (struct entry){data(at), bytes, (uint16_t)(DESC_INDIRECT | flags), 0});
	if (!rig.config.packed)
		offer(0, 1);
}

static void test_indirect_tables(void **state)
{
	(void)state;
	for (unsigned format = 0; format < 2; format++) {
		void (*start)(void) = format ? packed : split;

		start(), rig.vq.indirect = false, indirect(0, 16, 0);
		expect_broken("an indirect table was not agreed on");
		start(), indirect(0, 16, DESC_NEXT);
		expect_broken("a chain continues after its indirect table");
		start(), indirect(0, 24, 0);
		expect_broken("an indirect table's size is not a multiple of 16");
		start(), indirect(0, 0, 0);
		expect_broken("an indirect table's size is not a multiple of 16");
		start(), indirect(0, 16 * (VIRTQ_MIN_CHAIN + 1), 0);
		expect_broken("an indirect table is longer than any chain may be");
		start(), indirect((uint64_t)-1 << 40, 16, 0);
		expect_broken("an indirect table is outside the guest's memory");
		start(), put(rig.memory + rig.bytes - 16, 0, (struct entry){data(64), 8, DESC_NEXT, 1});
		indirect(rig.bytes - 16 - (uint64_t)(rig.data - rig.memory), 32, 0);
		expect_broken("an indirect table is outside the guest's memory");
		start(), put(rig.data, 0, (struct entry){data(64), 0, 0, 0}), indirect(0, 16, 0);
		expect_broken("a buffer has length 0");
		start(), put(rig.data + 1, 0, (struct entry){data(64), 8, 0, 0}), indirect(1, 16, DESC_WRITE);
		expect_chain(1, 1); /* unaligned; and the table is not written */
	}
	split(), put(rig.data, 0, (struct entry){data(64), 8, DESC_INDIRECT, 0}), indirect(0, 16, 0);
	expect_broken("an indirect table points to another one");
	split(), put(rig.data, 0, (struct entry){data(64), 8, DESC_NEXT, 1}), indirect(0, 16, 0);
	expect_broken("an indirect table continues outside itself");
	split(), put(rig.data, 0, (struct entry){data(64), 8, DESC_NEXT, 0}), indirect(0, 16, 0);
	expect_broken("a chain is longer than the ring, or loops");
	split(), put(rig.data, 0, (struct entry){data(64), 8, DESC_WRITE, 1}), desc(1, (struct entry){data(0), 8, DESC_NEXT, 0});
	indirect(0, 16, 0), offer(1, 1);
	((uint16_t *)rig.config.driver)[2] = 1;
	expect_chain(2, 1); /* plain buffers, then a table */
	packed(), put(rig.data, 0, (struct entry){data(64), 8, DESC_INDIRECT | DESC_NEXT, 5}), indirect(0, 16, 0);
	expect_chain(1, 1); /* only WRITE counts in a packed ring's table */
	packed(), put(rig.data, 0, (struct entry){data(64), 8, 0, 0});
	desc(1, (struct entry){data(0), 16, DESC_INDIRECT, 0}), desc(0, (struct entry){data(0), 8, DESC_NEXT, 0});
	expect_broken("a chain of descriptors continues in an indirect table");
}

static void test_packed_list_longer_than_the_ring(void **state)
{
	(void)state;
	packed();
	for (uint32_t i = 0; i < NUM; i++)
		desc(i, (struct entry){data(0), 8, DESC_NEXT, 0});
	expect_broken("more descriptors are available than the ring holds");
}

static void test_packed_list_over_slots_in_flight(void **state)
{
	struct virtq_chain chain;

	(void)state;
	packed();
	for (uint32_t i = 0; i < NUM; i++)
		desc(i, (struct entry){data(0), 8, i == NUM - 2 || i == NUM - 1 ? DESC_NEXT : 0, 0});
	for (uint32_t i = 0; i < NUM - 2; i++)
		assert_int_equal(rig_pop(&rig, &chain), 1);
	expect_broken("more descriptors are available than the ring holds"); /* it would end in slot 0 */
}

static void test_chain_as_long_as_the_ring(void **state)
{
	(void)state;
	for (unsigned format = 0; format < 2; format++) {
		format ? packed() : split();
		for (uint16_t i = 0; i < NUM; i++)
			desc(i, (struct entry){data(i), 8, i + 1 < NUM ? DESC_NEXT : 0, i + 1});
		format ? (void)0 : offer(0, 1);
		expect_chain(NUM, NUM);
	}
}

static void test_longer_chain_than_the_vector(void **state)
{
	struct virtq_chain chain;

	(void)state;
	for (unsigned format = 0; format < 2; format++) {
		format ? packed() : split();
		for (uint16_t i = 0; i < NUM; i++)
			desc(i, (struct entry){data(i), 8, i + 1 < NUM ? DESC_NEXT : 0, i + 1});
		format ? (void)0 : offer(0, 1);
		for (uint32_t max = 0; max < NUM; max++)
			assert_int_equal(virtq_pop(&rig.vq, &rig.map, rig.segs, max, &chain), -E2BIG);
		assert_null(rig.vq.fault);
		assert_int_equal(virtq_in_use(&rig.vq), 0);
		expect_chain(NUM, NUM); /* nothing was consumed */
	}
}

/* Guest memory in two adjacent regions, which need not be adjacent here. */
static void test_buffer_over_a_border(void **state)
{
	struct vmap_region regions[2];
	uint8_t *second;
	const char *why;
	struct virtq_chain chain;

	(void)state;
	for (unsigned table = 0; table < 2; table++) {
		split();
		second = malloc(4096);
		regions[0] = rig.regions[0];
		regions[1] = (struct vmap_region){.gpa = RIG_GPA + rig.bytes, .uva = 1, .size = 4096, .hva = second,
						  .region = 8, .fd = -1};
		assert_int_equal(vmap_init(&rig.map, regions, 2, &why), 0);
		if (table) { /* its second entry, and half of its first, are in the other region */
			struct entry e = {RIG_GPA + rig.bytes - 100, 200, 0, 0};
			uint8_t both[32];

			put(both, 0, (struct entry){data(0), 8, DESC_NEXT, 1});
			put(both, 1, e);
			memcpy(rig.memory + rig.bytes - 8, both, 8);
			memcpy(second, both + 8, 24);
			indirect(rig.bytes - 8 - (uint64_t)(rig.data - rig.memory), 32, 0);
		} else {
			desc(0, (struct entry){RIG_GPA + rig.bytes - 100, 200, 0, 0}), offer(0, 1);
		}
		assert_int_equal(rig_pop(&rig, &chain), 1);
		assert_int_equal(chain.nsegs, 2 + table);
		assert_int_equal(chain.read_len, 200 + 8 * table);
		assert_ptr_equal(rig.segs[table].base, rig.memory + rig.bytes - 100);
		assert_int_equal(rig.segs[table].len, 100);
		assert_int_equal(rig.segs[table].region, 7);
		assert_ptr_equal(rig.segs[table + 1].base, second);
		assert_int_equal(rig.segs[table + 1].len, 100);
		assert_int_equal(rig.segs[table + 1].region, 8);
		free(second);
		rig_end(&rig);
	}
}

static void expect_refused(struct virtq_config config, const char *fault)
{
	struct virtq vq;

	assert_int_equal(virtq_init(&vq, &config), -EINVAL);
	assert_string_equal(vq.fault, fault);
}

static void test_setup(void **state)
{
	struct virtq_config c;

	(void)state;
	rig_start(&rig, NUM, false, false, true);
	c = rig.config, c.num = 0, expect_refused(c, "a ring has 1 to 32768 entries");
	c = rig.config, c.num = 32769, expect_refused(c, "a ring has 1 to 32768 entries");
	c = rig.config, c.num = 6, expect_refused(c, "a split ring's size is a power of two");
	c = rig.config, c.desc = rig.memory + 8, expect_refused(c, "a part of the ring is not aligned");
	c = rig.config, c.driver = rig.memory + 1, expect_refused(c, "a part of the ring is not aligned");
	c = rig.config, c.device = rig.memory + 2, expect_refused(c, "a part of the ring is not aligned");
	c = rig.config, c.inflight_num = NUM - 1;
	expect_refused(c, "the in-flight region is not aligned or smaller than the ring");
	c = rig.config, rig.region[8] = 2, expect_refused(c, "the in-flight region has an unknown version");
	rig.region[8] = 1, rig.region[10] = NUM - 1;
	expect_refused(c, "the in-flight region was made for another ring size");
	rig_end(&rig);
	rig_start(&rig, NUM, true, false, false);
	c = rig.config, c.base = NUM | 0x8000, expect_refused(c, "the ring's base is outside the ring");
	c = rig.config, c.base = (0x8000u | NUM) << 16 | 0x8000, expect_refused(c, "the ring's base is outside the ring");
	rig_end(&rig);
}

/* A region that its front end has damaged is refused or survived; recovery ends. Every byte of it, some values each. */
static void test_damaged_region(void **state)
{
	static const uint8_t values[] = {0, 1, 2, NUM - 1, NUM, 0x7f, 0x80, 0xff};
	struct virtq_chain chain;

	(void)state;
	for (unsigned format = 0; format < 2; format++)
		for (size_t at = 0; at < virtq_inflight_size(format, NUM); at++)
			for (size_t v = 0; v < WEFT_COUNT(values); v++) {
				rig_start(&rig, NUM, format, false, true);
				for (uint16_t i = 0; i < 4; i++)
					desc(i, (struct entry){data(i), 8, 0, i});
				format ? (void)0 : offer(0, 4);
				for (unsigned i = 0; i < 4; i++)
					assert_int_equal(rig_pop(&rig, &chain), 1);
				rig.region[at] = values[v];
				if (virtq_init(&rig.vq, &rig.config) != 0)
					assert_non_null(rig.vq.fault);
				else
					for (unsigned i = 0; i < 2 * NUM && rig_pop(&rig, &chain) == 1; i++)
						virtq_push(&rig.vq, chain.tag, 0), virtq_publish(&rig.vq);
				rig_end(&rig);
			}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split_rings),
		cmocka_unit_test(test_split_more_in_flight_than_the_ring_holds),
		cmocka_unit_test(test_buffers),
		cmocka_unit_test(test_indirect_tables),
		cmocka_unit_test(test_packed_list_longer_than_the_ring),
		cmocka_unit_test(test_packed_list_over_slots_in_flight),
		cmocka_unit_test(test_chain_as_long_as_the_ring),
		cmocka_unit_test(test_longer_chain_than_the_vector),
		cmocka_unit_test(test_buffer_over_a_border),
		cmocka_unit_test(test_setup),
		cmocka_unit_test(test_damaged_region),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
