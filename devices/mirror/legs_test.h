/* SPDX-License-Identifier: BSD-2-Clause */
/* What the mirror's tests share: a look at its legs, and two files as legs. */
#ifndef DEVICES_MIRROR_LEGS_TEST_H
#define DEVICES_MIRROR_LEGS_TEST_H

#include "devices/rig_test.h"

#include <stdlib.h>

RIG_FOR_EACH_TEST(1, 1)

static inline struct weft_blk *leg_of(unsigned n)
{
	return weft_object_query(rig_below(rig.object, n), &weft_blk_iface);
}

static inline uint64_t asked(unsigned leg, enum weft_stat_class class)
{
	struct weft_stats stats;

	weft_blk_stats(leg_of(leg), &stats);
	return stats.of[class].requests;
}

static inline void make_files(void)
{
	sim_file_make(rig.world, "a.img", 1 << 20);
	sim_file_make(rig.world, "b.img", 1 << 20);
}

/* Leg `path` misses a write of `fill`, which is acknowledged. */
static inline void miss_a_write(const char *path, char fill)
{
	char data[4096];

	memset(data, fill, sizeof(data));
	sim_file_fault(rig.world, path, WEFT_WRITE, 1, SIM_FAULT_ERROR, -EIO);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 8192, sizeof(data), data), 0);
}

static inline void reads_back(char fill)
{
	char back[4096];

	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 8192, sizeof(back), back), 0);
		assert_int_equal(back[0], fill);
		assert_memory_equal(back, back + 1, sizeof(back) - 1);
	}
}

static inline unsigned marked(void)
{
	return (unsigned)strtoul(rig_fact(rig.object, "marked regions"), NULL, 10);
}

#endif
