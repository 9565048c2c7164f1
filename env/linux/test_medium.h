/* SPDX-License-Identifier: BSD-2-Clause */
/* What the tests of media share: a medium in the world's folder, and requests to it. */
#ifndef ENV_LINUX_TEST_MEDIUM_H
#define ENV_LINUX_TEST_MEDIUM_H

#include "env/linux/test_linux.h"

#define KIB 1024u
#define MIB (1024u * KIB)

struct request {
	struct env_io io;
	struct weft_seg seg[1280];
	volatile bool ended;
	int result;
};

static inline void request_done(struct env_io *io, int result)
{
	struct request *r = (struct request *)io;

	assert_false(r->ended);
	r->ended = true;
	r->result = result;
}

static inline void request_fill(
	struct request *r, struct env_medium *medium, unsigned op, uint64_t offset, void *data, uint32_t len)
{
	memset(&r->io, 0, sizeof(r->io));
	r->io.done = request_done;
	r->io.medium = medium;
	r->io.op = (uint8_t)op;
	r->io.offset = offset;
	r->io.len = len;
	r->io.segs = r->seg;
	r->seg[0] = (struct weft_seg){.base = data, .len = len};
	r->io.nsegs = data ? 1 : 0;
	r->ended = false;
}

static inline int request_run(struct world *w, struct request *r)
{
	env_medium_submit(w->loop, &r->io);
	assert_false(r->ended);
	world_until(w, &r->ended);
	return r->result;
}

static inline int transfer(
	struct world *w, struct env_medium *medium, unsigned op, uint64_t offset, void *data, uint32_t len)
{
	struct request *r = calloc(1, sizeof(*r));
	int rc;

	request_fill(r, medium, op, offset, data, len);
	rc = request_run(w, r);
	free(r);
	return rc;
}

static inline unsigned char *memory_make(size_t size, unsigned seed)
{
	unsigned char *memory = NULL;

	assert_int_equal(posix_memalign((void **)&memory, 4096, size), 0);
	for (size_t i = 0; i < size; i++)
		memory[i] = (unsigned char)((seed += 0x9e3779b9u) >> 24);
	return memory;
}

static inline struct env_medium *medium_make(struct world *w, uint64_t size, struct env_medium_info *info)
{
	struct env_medium_wants wants = {.create_size = size, .lock = true};
	struct env_medium *medium;

	if (env_medium_open(w->env, world_path(w, "disk"), &wants, &medium, info, &w->why))
		fail_msg("%s", w->why.text);
	return medium;
}

static inline int open_again(struct world *w, struct env_medium_wants wants, struct env_medium_info *info,
	struct env_medium **medium)
{
	memset(&w->why, 0, sizeof(w->why));
	return env_medium_open(w->env, world_path(w, "disk"), &wants, medium, info, &w->why);
}

#endif
