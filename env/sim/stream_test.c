/* SPDX-License-Identifier: BSD-2-Clause */
/* Streams of the simulated world end as real ones do (env/linux/stream_test.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>

#include "env/sim/sim.h"

struct pair {
	struct sim_world *world;
	struct env *env;
	struct env_loop *loop;
	struct env_listener *listener;
	struct env_stream *here, *there;
};

static void accepted(void *self, struct env_stream *stream)
{
	((struct pair *)self)->there = stream;
}

static int pair_open(void **state)
{
	static const struct env_listen_wants wants = { .mode = -1, .fd = -1 };
	static struct pair p;
	struct weft_why why;

	p = (struct pair){ .world = sim_world_open(1) };
	p.env = sim_node_open(p.world, "node");
	*state = &p;
	if (env_loop_open(p.env, &p.loop, &why) != 0 ||
			env_listen(p.loop, "unix:/s", &wants, accepted, &p, &p.listener, &why) != 0 ||
			env_connect(p.loop, "unix:/s", &p.here, &why) != 0)
		return -1;
	while (p.there == NULL)
		env_loop_poll(p.loop);
	return 0;
}

static int pair_close(void **state)
{
	struct pair *p = *state;

	env_stream_close(p->here);
	if (p->there != NULL)
		env_stream_close(p->there);
	env_listener_close(p->listener);
	env_loop_close(p->loop);
	sim_node_close(p->env);
	sim_world_close(p->world);
	return 0;
}

/* Reads come back short by chance. */
static void expect(struct env_stream *stream, const char *text, size_t len)
{
	char got[16];

	for (size_t at = 0; at < len;) {
		int64_t n = env_stream_read(stream, got + at, len - at, NULL, NULL);

		assert_true(n > 0);
		at += (size_t)n;
	}
	assert_memory_equal(got, text, len);
}

static void told(void *self)
{
	++*(unsigned *)self;
}

static void what_is_shut_is_read_to_its_end_and_still_reads(void **state)
{
	struct pair *p = *state;
	unsigned here = 0, there = 0;
	char byte;

	assert_int_equal(env_stream_write(p->here, "last", 4, NULL, 0), 0);
	env_stream_shut(p->here);
	env_stream_watch(p->there, told, &there);
	env_stream_watch(p->here, told, &here);
	while (there == 0)
		assert_true(env_loop_poll(p->loop));
	expect(p->there, "last", 4);
	assert_int_equal(env_stream_read(p->there, &byte, 1, NULL, NULL), 0);
	assert_int_equal(env_stream_write(p->here, "x", 1, NULL, 0), -EPIPE);
	env_stream_watch(p->there, NULL, NULL);
	assert_false(env_loop_poll(p->loop)); /* the peer has not closed */
	assert_int_equal(here, 0);
	assert_int_equal(env_stream_read(p->here, &byte, 1, NULL, NULL), -EAGAIN);
	assert_int_equal(env_stream_write(p->there, "answer", 6, NULL, 0), 0);
	expect(p->here, "answer", 6);
	env_stream_close(p->there);
	p->there = NULL;
	while (here == 0)
		assert_true(env_loop_poll(p->loop));
	assert_int_equal(env_stream_read(p->here, &byte, 1, NULL, NULL), 0);
	env_stream_shut(p->here); /* nobody is there: nothing to be done */
}

static void an_end_is_told_while_there_is_more_to_read(void **state)
{
	struct pair *p = *state;
	unsigned there = 0;

	env_stream_watch_end(p->there, told, &there);
	assert_int_equal(env_stream_write(p->here, "last", 4, NULL, 0), 0);
	assert_false(env_loop_poll(p->loop));
	assert_int_equal(there, 0);
	env_stream_shut(p->here);
	while (there == 0)
		assert_true(env_loop_poll(p->loop));
	expect(p->there, "last", 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_shut_is_read_to_its_end_and_still_reads, pair_open, pair_close),
		cmocka_unit_test_setup_teardown(an_end_is_told_while_there_is_more_to_read, pair_open, pair_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
