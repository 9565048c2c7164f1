/* SPDX-License-Identifier: BSD-2-Clause */
/* file: the glue between the waist and a medium; in the simulated world, and on real files. */
#include "devices/rig_test.h"
#include <stdlib.h>
#include <unistd.h>

#include "env/env_fault.h"

RIG_FOR_EACH_TEST(1, 1)

static char data[4096], back[4096];

static void conforms(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 3; seed++) {
		rig_conform("file:disk.img,create=2MiB", seed, 300);
		rig_conform("file:disk.img,create=2MiB,direct=off,block=4096,discard=off", seed, 300);
	}
}

/* ---- real files ---- */

static char folder[64];

static void conform_in(const char *where)
{
	static const char *const options[] = { "", ",direct=off", ",discard=off,block=4KiB" };
	char text[160], path[96];

	snprintf(folder, sizeof(folder), "%s/weft-file-XXXXXX", where);
	if (mkdtemp(folder) == NULL)
		return; /* no such place here */
	snprintf(path, sizeof(path), "%s/disk.img", folder);
	for (unsigned i = 0; i < WEFT_COUNT(options); i++) {
		snprintf(text, sizeof(text), "file:%s,create=4MiB%s", path, options[i]);
		rig_conform_linux(text, 1 + i, 600);
		assert_int_equal(unlink(path), 0);
	}
	assert_int_equal(rmdir(folder), 0);
}

static void conforms_on_a_disk(void **state)
{
	(void)state;
	conform_in("/var/tmp");
}

static void conforms_in_memory(void **state)
{
	(void)state;
	conform_in("/dev/shm");
}

/* ---- start ---- */

static void what_was_written_is_there_after_a_restart(void **state)
{
	(void)state;
	memset(data, 'f', sizeof(data));
	rig_make(&rig, "file:disk.img,create=1MiB");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 8192, sizeof(data), data), 0);
	rig_unmake(&rig);
	rig_make(&rig, "file:disk.img");
	assert_int_equal(rig.blk->size, 1 << 20);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 8192, sizeof(back), back), 0);
	assert_memory_equal(data, back, sizeof(data));
	rig_unmake(&rig);
}

static void a_file_that_is_not_there_is_refused(void **state)
{
	struct weft_why why;

	(void)state;
	assert_int_equal(rig_try(&rig, "file:none.img", &why), -ENOENT);
	assert_non_null(strstr(why.text, "none.img"));
	assert_false(sim_file_exists(rig.world, "none.img"));
}

static void a_file_of_odd_size_is_refused(void **state)
{
	struct weft_why why;

	(void)state;
	sim_file_make(rig.world, "odd.img", 1000);
	sim_file_make(rig.world, "empty.img", 0);
	assert_int_equal(rig_try(&rig, "file:odd.img", &why), -EINVAL);
	assert_string_equal(why.text,
		"file: path=odd.img has 1000 bytes, not a multiple of the block of 512: truncate -s 1024 "
		"odd.img");
	assert_int_equal(rig_try(&rig, "file:empty.img", &why), -EINVAL);
	assert_int_equal(rig_try(&rig, "file:odd.img,block=256", &why), -ERANGE);
}

static void what_was_made_in_vain_is_removed(void **state)
{
	struct weft_why why;

	(void)state;
	assert_int_equal(rig_try(&rig, "file:new.img,create=1000", &why), -EINVAL);
	assert_false(sim_file_exists(rig.world, "new.img"));
	assert_int_equal(rig_try(&rig, "slice:[file:new.img,create=1MiB],offset=2MiB", &why), -EINVAL);
	assert_false(sim_file_exists(rig.world, "new.img"));
	rig_make(&rig, "file:new.img,create=1MiB");
	rig_unmake(&rig);
	assert_true(sim_file_exists(rig.world, "new.img"));
}

/* All of it: name, size and what was flushed. */
static void survives_loss_of_power(void)
{
	rig_make(&rig, "file:disk.img,create=1MiB");
	memset(data, 'p', sizeof(data));
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 8192, sizeof(data), data), 0);
	assert_int_equal(rig_ask(&rig, WEFT_FLUSH, 0, 0, 0, NULL), 0);
	rig_unmake(&rig);
	sim_power_loss(rig.world, "disk.img");
	assert_true(sim_file_exists(rig.world, "disk.img"));
	assert_int_equal(sim_file_size(rig.world, "disk.img"), 1 << 20);
	assert_memory_equal(sim_file_bytes(rig.world, "disk.img") + 8192, data, sizeof(data));
}

static void a_new_file_survives_loss_of_power(void **state)
{
	(void)state;
	survives_loss_of_power();
}

/* Who had made it was killed right then. */
static void so_does_one_that_another_has_just_made(void **state)
{
	const struct env_medium_wants wants = { .create_size = 1 << 20, .lock = true };
	struct env *other = sim_node_open(rig.world, "other");
	struct env_medium_info info;
	struct env_medium *medium;

	(void)state;
	assert_int_equal(env_medium_open(other, "disk.img", &wants, &medium, &info, NULL), 0);
	assert_true(info.created);
	sim_node_kill(other);
	survives_loss_of_power();
}

static void a_new_file_cannot_be_readonly(void **state)
{
	struct weft_why why;

	(void)state;
	assert_int_equal(rig_try(&rig, "file:new.img,create=1MiB,readonly=on", &why), -EINVAL);
	assert_false(sim_file_exists(rig.world, "new.img"));
}

static void readonly_refuses_every_change(void **state)
{
	(void)state;
	sim_file_make(rig.world, "disk.img", 1 << 20);
	rig_make(&rig, "file:disk.img,readonly=on");
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), -EROFS);
	assert_int_equal(rig_ask(&rig, WEFT_ZERO, 0, 0, sizeof(data), NULL), -EROFS);
	assert_int_equal(rig_ask(&rig, WEFT_DISCARD, 0, 0, sizeof(data), NULL), -EROFS);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(back), back), 0);
	assert_int_equal(rig_resize(&rig, rig.object, 2 << 20), -EROFS);
	rig_unmake(&rig);
}

/* ---- locks ---- */

static void two_writers_are_refused_two_readers_are_not(void **state)
{
	struct weft_why why;
	uint64_t started;

	(void)state;
	rig_make(&rig, "file:disk.img,create=1MiB");
	rig_unmake(&rig);
	assert_int_equal(
		rig_try(&rig, "mirror:[file:disk.img,readonly=on],[file:disk.img,readonly=on]", &why), 0);
	started = sim_now_ns(rig.world);
	assert_int_equal(
		rig_try(&rig, "mirror:[file:disk.img,name=a],[file:disk.img,lock-wait=300ms]", &why), -EWOULDBLOCK);
	assert_in_range(sim_now_ns(rig.world) - started, 0, 100000000); /* there is nothing to wait for */
	assert_string_equal(why.text,
		"file: path=disk.img is open in this process already, as a: let both use that one (@a), or open both with "
		"readonly=on");
}

static void a_file_that_another_process_keeps_is_waited_for_in_vain(void **state)
{
	const struct env_medium_wants wants = { .lock = true };
	struct env_medium_info info;
	struct env_medium *medium;
	struct weft_why why;
	struct env *other;
	uint64_t started;

	(void)state;
	sim_file_make(rig.world, "disk.img", 1 << 20);
	other = sim_node_open(rig.world, "other");
	assert_int_equal(env_medium_open(other, "disk.img", &wants, &medium, &info, NULL), 0);
	started = sim_now_ns(rig.world);
	assert_int_equal(rig_try(&rig, "file:disk.img,lock-wait=300ms", &why), -EWOULDBLOCK);
	assert_in_range(sim_now_ns(rig.world) - started, 300000000, 330000000);
	assert_string_equal(why.text,
		"file: path=disk.img is locked by another process, also after lock-wait=300ms: stop "
		"the other (fuser disk.img shows it), or open both with readonly=on");
	env_medium_close(medium);
	sim_node_kill(other);
}

static void read_in_vain_done(struct env_io *io, int result)
{
	(void)io, (void)result;
	fail_msg("the node was killed");
}

/* The killed node's requests hold its lock for up to 100 ms: we must not touch the file before. */
static void a_killed_server_is_waited_for(void **state)
{
	const struct env_medium_wants wants = { .lock = true };
	struct env_io io[8];
	struct weft_seg seg = { .base = data, .len = sizeof(data) };
	struct env_medium_info info;
	struct env_medium *medium;
	struct env_loop *loop;
	struct env *other;
	uint64_t killed;

	(void)state;
	sim_file_make(rig.world, "disk.img", 1 << 20);
	other = sim_node_open(rig.world, "other");
	assert_int_equal(env_loop_open(other, &loop, NULL), 0);
	assert_int_equal(env_medium_open(other, "disk.img", &wants, &medium, &info, NULL), 0);
	for (unsigned i = 0; i < WEFT_COUNT(io); i++) {
		io[i] = (struct env_io){ .done = read_in_vain_done,
			.medium = medium,
			.segs = &seg,
			.nsegs = 1,
			.offset = i * sizeof(data),
			.len = sizeof(data),
			.op = WEFT_WRITE };
		env_medium_submit(loop, &io[i]);
	}
	killed = sim_now_ns(rig.world);
	sim_node_kill(other);
	rig_make(&rig, "file:disk.img");
	assert_in_range(sim_now_ns(rig.world) - killed, 10000000, 120000000);
	rig_unmake(&rig);
}

/* ---- size ---- */

static void resize_makes_the_file_longer_and_shorter(void **state)
{
	(void)state;
	rig_make(&rig, "slice:[file:disk.img,create=1MiB]");
	assert_int_equal(rig_resize(&rig, rig_below(rig.object, 0), 2 << 20), 0);
	assert_int_equal(sim_file_size(rig.world, "disk.img"), 2 << 20);
	assert_int_equal(rig.blk->size, 2 << 20);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, (2 << 20) - 4096, sizeof(data), data), 0);
	assert_int_equal(rig_resize(&rig, rig_below(rig.object, 0), 4096), 0);
	assert_int_equal(rig.blk->size, 4096);
	assert_int_equal(rig_resize(&rig, rig_below(rig.object, 0), 1000), -EINVAL);
	assert_int_equal(rig_resize(&rig, rig_below(rig.object, 0), 0), -EINVAL);
	rig_unmake(&rig);
}

static void what_is_in_flight_beyond_the_new_end_ends_before_the_file_is_cut(void **state)
{
	struct rig_request r[2] = {
		{ .op = WEFT_WRITE, .offset = 3 << 18, .len = sizeof(data), .nsegs = 1 },
		{ .op = WEFT_WRITE, .offset = 0, .len = sizeof(data), .nsegs = 1 },
	};
	uint64_t started;

	(void)state;
	rig_make(&rig, "file:disk.img,create=1MiB");
	rig_reopen(&rig); /* what is in flight is counted through that */
	sim_file_latency(rig.world, "disk.img", 5000000, 5000000);
	started = sim_now_ns(rig.world);
	for (unsigned i = 0; i < 2; i++) {
		r[i].segs[0] = (struct weft_seg){ .base = data, .len = sizeof(data) };
		rig_start(&rig, &r[i]);
	}
	rig_run(&rig, 1000000);
	assert_int_equal(rig_resize(&rig, rig.object, 1 << 18), 0);
	assert_true(sim_now_ns(rig.world) - started >= 5000000);
	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(rig_wait(&rig, &r[i]), 0);
	assert_int_equal(sim_file_size(rig.world, "disk.img"), 1 << 18);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 3 << 18, sizeof(data), data), -ERANGE);
	assert_int_equal(rig_resize(&rig, rig.object, 1 << 17), 0);
	assert_int_equal(rig_resize(&rig, rig.object, 1 << 20), 0);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 3 << 18, sizeof(data), data), 0);
	rig_unmake(&rig);
}

static void a_file_that_cannot_be_cut_keeps_its_size(void **state)
{
	(void)state;
	rig_make(&rig, "file:disk.img,create=1MiB");
	for (unsigned n = 2; n <= 3; n++) { /* the first asks for the size; the fence, the cut */
		env_fail_nth(rig.env, n);
		assert_int_equal(rig_resize(&rig, rig.object, 1 << 18), -EIO);
		assert_true(env_fail_hit(rig.env));
		assert_int_equal(rig.blk->size, 1 << 20);
	}
	env_fail_nth(rig.env, 0);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 3 << 18, sizeof(data), data), 0);
	rig_unmake(&rig);
}

static void change_elsewhere(uint64_t size)
{
	const struct env_medium_wants wants = { 0 };
	struct env_medium_info info;
	struct env_medium *medium;

	assert_int_equal(env_medium_open(rig.env, "disk.img", &wants, &medium, &info, NULL), 0);
	assert_int_equal(env_medium_resize(medium, size, NULL), 0);
	env_medium_close(medium);
}

static void a_size_changed_elsewhere_is_noticed_when_asked_for(void **state)
{
	(void)state;
	rig_make(&rig, "file:disk.img,create=1MiB");
	change_elsewhere(3 << 20);
	assert_int_equal(rig.blk->size, 1 << 20);
	assert_int_equal(rig_resize(&rig, rig.object, 3 << 20), 0);
	assert_int_equal(rig.blk->size, 3 << 20);
	rig_unmake(&rig);
}

static void a_failed_request_has_the_size_looked_at(void **state)
{
	(void)state;
	rig_make(&rig, "file:disk.img,create=1MiB");
	change_elsewhere(1 << 19);
	sim_file_fault(rig.world, "disk.img", WEFT_READ, 1, SIM_FAULT_ERROR, -EIO);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(back), back), -EIO);
	rig_run(&rig, 1000000);
	assert_int_equal(rig.blk->size, 1 << 19);
	rig_unmake(&rig);
}

static void a_size_changed_elsewhere_is_noticed_by_who_works(void **state)
{
	(void)state;
	rig_make(&rig, "file:disk.img,create=1MiB");
	for (uint64_t size = 2 << 20; size >= 1 << 18; size /= 2) {
		change_elsewhere(size);
		rig_run(&rig, 1100000000);
		assert_int_not_equal(rig.blk->size, size); /* nobody has asked anything */
		assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(back), back), 0);
		rig_run(&rig, 1000000);
		assert_int_equal(rig.blk->size, size);
	}
	rig_unmake(&rig);
}

static void a_read_of_what_was_cut_off_fails_and_has_the_size_looked_at(void **state)
{
	(void)state;
	rig_make(&rig, "file:disk.img,create=1MiB");
	change_elsewhere(1 << 19);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 3 << 18, sizeof(back), back), -EIO);
	rig_run(&rig, 1000000);
	assert_int_equal(rig.blk->size, 1 << 19);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 3 << 18, sizeof(back), back), -ERANGE);
	assert_int_equal(rig_ask(&rig, WEFT_READ, 0, 0, sizeof(back), back), 0);
	rig_unmake(&rig);
}

static void a_full_disk_fails_the_writes_that_find_no_room(void **state)
{
	(void)state;
	rig_make(&rig, "file:disk.img,create=1MiB");
	sim_file_room(rig.world, "disk.img", 8192);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 0, sizeof(data), data), 0);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 65536, sizeof(data), data), 0);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 131072, sizeof(data), data), -ENOSPC);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 65536, sizeof(data), data), 0);
	sim_file_room(rig.world, "disk.img", 0);
	assert_int_equal(rig_ask(&rig, WEFT_WRITE, 0, 131072, sizeof(data), data), 0);
	rig_unmake(&rig);
}

/* ---- failures of the environment ---- */

static void a_start_that_fails_leaves_nothing_behind(void **state)
{
	(void)state;
	assert_true(rig_fail_each(&rig, "file:new.img,create=1MiB", false, "new.img") > 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(conforms),
		cmocka_unit_test(conforms_on_a_disk),
		cmocka_unit_test(conforms_in_memory),
		RIG_TEST(what_was_written_is_there_after_a_restart),
		RIG_TEST(a_file_that_is_not_there_is_refused),
		RIG_TEST(a_file_of_odd_size_is_refused),
		RIG_TEST(what_was_made_in_vain_is_removed),
		RIG_TEST(a_new_file_survives_loss_of_power),
		RIG_TEST(so_does_one_that_another_has_just_made),
		RIG_TEST(a_new_file_cannot_be_readonly),
		RIG_TEST(readonly_refuses_every_change),
		RIG_TEST(two_writers_are_refused_two_readers_are_not),
		RIG_TEST(a_file_that_another_process_keeps_is_waited_for_in_vain),
		RIG_TEST(a_killed_server_is_waited_for),
		RIG_TEST(resize_makes_the_file_longer_and_shorter),
		RIG_TEST(what_is_in_flight_beyond_the_new_end_ends_before_the_file_is_cut),
		RIG_TEST(a_file_that_cannot_be_cut_keeps_its_size),
		RIG_TEST(a_size_changed_elsewhere_is_noticed_when_asked_for),
		RIG_TEST(a_failed_request_has_the_size_looked_at),
		RIG_TEST(a_size_changed_elsewhere_is_noticed_by_who_works),
		RIG_TEST(a_read_of_what_was_cut_off_fails_and_has_the_size_looked_at),
		RIG_TEST(a_full_disk_fails_the_writes_that_find_no_room),
		RIG_TEST(a_start_that_fails_leaves_nothing_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
