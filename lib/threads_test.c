/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two reactors on threads of their own, sessions on both on one device (one that is called everywhere, one that lives on a home
 * reactor), while the control thread switches their modes, reads statistics, and opens and closes another stack on it. Made for
 * ThreadSanitizer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <weft/export.h>
#include <weft/memory.h>

#include "core/core.h"
#include "core/reactor.h"
#include "env/env.h"
#include "env/linux/linux.h"
#include "lib/builtin.h"

#define REQUESTS 20000u
#define DEPTH 8u
#define BLOCK 4096u
#define HALF (512u << 10)

struct user {
	struct weft_session session;
	struct weft_msg open, close;
	struct weft_stack *stack;
	uint64_t first_byte;
	unsigned sent, answered;
	unsigned busy;                /* bit of a slot's buffer */
	char memory[DEPTH][BLOCK];
	uint8_t expected[HALF / BLOCK];
	bool taken[HALF / BLOCK];
	_Atomic bool ended, closed;
};

struct test {
	struct env *env;
	struct weft_core *core;
	struct weft_object *device;
	struct weft_stack *stack;
	struct objects_job job;
	struct weft_task task;
	bool done;
	int status;
	struct user user[2];
};

/* ---- the users' side, on their reactors ---- */

static void answered(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(root, struct weft_slot, root);
	struct user *user = WEFT_CONTAINER(slot->session, struct user, session);
	unsigned block = (unsigned)((root->offset - user->first_byte) / BLOCK), buffer = (unsigned)slot->tag;

	(void)child;
	assert_int_equal(status, 0);
	if (root->op == WEFT_READ)
		for (unsigned i = 0; i < BLOCK; i++)
			assert_int_equal((uint8_t)user->memory[buffer][i], user->expected[block]);
	user->taken[block] = false;
	user->busy &= ~(1u << buffer);
	user->answered++;
	weft_slot_give(slot);
}

static bool user_poll(struct weft_source *source)
{
	struct user *user = WEFT_CONTAINER(WEFT_CONTAINER(source, struct weft_session, source), struct user, session);
	unsigned block, buffer;
	struct weft_slot *slot;
	bool write;

	if (user->answered == REQUESTS)
		atomic_store(&user->ended, true);
	if (user->sent == REQUESTS)
		return false;
	block = (unsigned)(weft_reactor_rand(user->session.reactor) % (HALF / BLOCK));
	write = (weft_reactor_rand(user->session.reactor) & 1) != 0;
	if (user->taken[block] || (slot = weft_session_slot(&user->session)) == NULL)
		return false;
	buffer = (unsigned)__builtin_ctz(~user->busy);
	user->busy |= 1u << buffer;
	user->taken[block] = true;
	if (write)
		memset(user->memory[buffer], user->expected[block] = (uint8_t)user->sent, BLOCK);
	slot->tag = buffer;
	slot->segs[0] = (struct weft_seg){ .base = user->memory[buffer], .len = BLOCK };
	weft_slot_submit(slot, write ? WEFT_WRITE : WEFT_READ, 0, user->first_byte + block * BLOCK, BLOCK, 1, answered);
	user->sent++;
	return true;
}

static bool user_arm(struct weft_source *source)
{
	struct user *user = WEFT_CONTAINER(WEFT_CONTAINER(source, struct weft_session, source), struct user, session);

	return user->sent < REQUESTS || (user->answered == REQUESTS && !atomic_load(&user->ended));
}

static void user_open_msg(void *self)
{
	struct user *user = self;
	struct weft_why why;

	user->session.slots_max = DEPTH;
	user->session.source.poll = user_poll;
	user->session.source.arm = user_arm;
	assert_int_equal(weft_session_open(&user->session, weft_reactor_here(), user->stack, &why), 0);
}

static void user_close_msg(void *self)
{
	struct user *user = self;

	weft_session_close(&user->session);
	atomic_store(&user->closed, true);
}

/* ---- the control thread ---- */

static void step(struct test *t)
{
	struct weft_reactor *control = t->core->reactor[0];
	uint64_t wait = reactor_step(control, env_now_ns(t->env));

	if (wait != 0)
		env_loop_wait(control->loop, 100000);
}

static void job_done(struct weft_task *task, int status)
{
	struct test *t = WEFT_CONTAINER(task, struct test, job.task);

	t->done = true;
	t->status = status;
}

static void task_done(struct weft_task *task, int status)
{
	struct test *t = WEFT_CONTAINER(task, struct test, task);

	t->done = true;
	t->status = status;
}

static void wait_done(struct test *t)
{
	while (!t->done)
		step(t);
	t->done = false;
	assert_int_equal(t->status, 0);
}

static void open_all(struct test *t, const char *text)
{
	struct core_wants wants = { .io_reactors = 2, .mode = WEFT_MODE_ADAPTIVE };
	struct tree_reader reader;
	struct weft_why why;
	struct tree *tree;

	assert_int_equal(env_linux_open(&t->env, NULL, &why), 0);
	assert_int_equal(core_open(t->env, &wants, &t->core, &why), 0);
	assert_int_equal(objects_module_add(t->core, &builtin_module, &why), 0);
	reader = objects_reader(t->core);
	assert_int_equal(grammar_parse(&reader, text, &weft_blk_iface, &tree, &why), 0);
	t->job.task.done = job_done;
	objects_build(t->core, tree, &weft_blk_iface, &t->device, &t->job);
	wait_done(t);
	tree_free(t->core, tree);
	t->task.done = task_done;
	assert_int_equal(weft_stack_open(t->core, weft_object_query(t->device, &weft_blk_iface), "test", &t->stack, &t->task), 0);
	wait_done(t);
}

static void close_all(struct test *t)
{
	weft_stack_close(t->stack, &t->task);
	wait_done(t);
	t->job = (struct objects_job){ .task.done = job_done };
	objects_release(t->device, &t->job);
	wait_done(t);
	core_close(t->core);
	env_linux_close(t->env);
}

/* What another export does when it comes and goes. */
static void open_and_close_another(struct test *t)
{
	struct weft_stack *another;

	assert_int_equal(weft_stack_open(t->core, weft_object_query(t->device, &weft_blk_iface), "another", &another, &t->task), 0);
	wait_done(t);
	weft_stack_close(another, &t->task);
	wait_done(t);
}

static void two_users_of(const char *device)
{
	struct test *t = test_calloc(1, sizeof(*t));
	struct weft_stats stats;
	unsigned turns = 0;

	open_all(t, device);
	for (unsigned i = 0; i < 2; i++) {
		struct user *user = &t->user[i];

		user->stack = t->stack;
		user->first_byte = i * HALF;
		user->open = (struct weft_msg){ .fn = user_open_msg, .self = user };
		user->close = (struct weft_msg){ .fn = user_close_msg, .self = user };
		weft_reactor_post(t->core->reactor[1 + i], &user->open);
	}
	while (!atomic_load(&t->user[0].ended) || !atomic_load(&t->user[1].ended)) {
		reactor_mode_set(t->core->reactor[1 + turns % 2], (enum weft_mode)(turns / 2 % 3));
		weft_blk_stats(weft_object_query(t->device, &weft_blk_iface), &stats);
		if (turns++ % 16 == 0)
			open_and_close_another(t);
		step(t);
	}
	for (unsigned i = 0; i < 2; i++)
		weft_reactor_post(t->core->reactor[1 + i], &t->user[i].close);
	while (!atomic_load(&t->user[0].closed) || !atomic_load(&t->user[1].closed))
		step(t);
	weft_blk_stats(weft_object_query(t->device, &weft_blk_iface), &stats);
	assert_int_equal(stats.of[WEFT_STAT_READ].requests + stats.of[WEFT_STAT_WRITE].requests, 2 * REQUESTS);
	close_all(t);
	test_free(t);
}

static void of_a_device_that_is_called_everywhere(void **state)
{
	(void)state;
	two_users_of("slice:[mem:1MiB]");
}

static void of_a_device_that_lives_on_one_reactor(void **state)
{
	(void)state;
	two_users_of("contract:[mem:1MiB]");
}

static void of_a_device_that_works_on_copies(void **state)
{
	(void)state;
	two_users_of("timeout:[mem:1MiB],after=60s");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(of_a_device_that_is_called_everywhere),
		cmocka_unit_test(of_a_device_that_lives_on_one_reactor),
		cmocka_unit_test(of_a_device_that_works_on_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
