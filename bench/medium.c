/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How fast a medium is by itself: random reads through env/linux at several depths, one polling thread.
 *
 * bench_medium FILE [block=4096] [seconds=2] [depth=1,32,128] [direct=auto|on|off] [mode=poll|wait]
 * [op=read|write] [uring=on|off]
 *
 * The same by fio: fio --name=x --filename=FILE --rw=randread --bs=4k --direct=1 --ioengine=io_uring
 * --iodepth=32 --time_based --runtime=2 (and --norandommap --randrepeat=0). FILE must exist; op=write
 * destroys what is in it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "env/env.h"
#include "env/linux/linux.h"

#define DEPTH_MAX 1024

struct bench;

struct request {
	struct env_io io;
	struct weft_seg seg;
	struct bench *bench;
};

struct bench {
	struct env *env;
	struct env_loop *loop;
	struct env_medium *medium;
	struct env_medium_info info;
	struct request request[DEPTH_MAX];
	uint64_t random, blocks, ended, in_flight;
	uint32_t block;
	uint8_t op;
	bool wait, stopping;
};

static uint64_t next_random(struct bench *b)
{
	b->random ^= b->random << 13;
	b->random ^= b->random >> 7;
	b->random ^= b->random << 17;
	return b->random;
}

static void request_send(struct request *r)
{
	r->io.offset = next_random(r->bench) % r->bench->blocks * r->bench->block;
	env_medium_submit(r->bench->loop, &r->io);
	r->bench->in_flight++;
}

static void request_done(struct env_io *io, int result)
{
	struct request *r = (struct request *)io;

	if (result) {
		fprintf(stderr, "bench_medium: a request failed: %s\n", strerror(-result));
		exit(1);
	}
	r->bench->ended++;
	r->bench->in_flight--;
	if (!r->bench->stopping)
		request_send(r);
}

static void turn(struct bench *b)
{
	env_loop_poll(b->loop);
	if (b->wait && b->in_flight)
		env_loop_wait(b->loop, ENV_FOREVER); /* submits as well */
	else
		env_loop_submit(b->loop);
}

static void run(struct bench *b, unsigned depth, double seconds)
{
	struct env_usage before, after;
	struct env_loop_stats s0, s1;
	uint64_t start, end;
	double took;

	b->ended = 0;
	b->stopping = false;
	env_usage(b->env, &before);
	env_loop_stats(b->loop, &s0);
	start = env_now_ns(b->env);
	end = start + (uint64_t)(seconds * 1e9);
	for (unsigned i = 0; i < depth; i++)
		request_send(&b->request[i]);
	for (unsigned i = 0; !b->stopping; i++) {
		turn(b);
		if (i % 64 == 0 || b->wait)
			b->stopping = env_now_ns(b->env) >= end;
	}
	while (b->in_flight)
		turn(b);
	took = (double)(env_now_ns(b->env) - start) / 1e9;
	env_usage(b->env, &after);
	env_loop_stats(b->loop, &s1);
	printf("depth %4u  %10.0f IOPS  %7.3f us CPU/request  %6.2f requests/system call\n", depth,
		(double)b->ended / took, (double)(after.cpu_ns - before.cpu_ns) / 1e3 / (double)b->ended,
		(double)b->ended / (double)(s1.system_calls - s0.system_calls + 1));
}

static void prepare(struct bench *b)
{
	char *memory = env_pages_alloc(b->env, (uint64_t)DEPTH_MAX * b->block, true);

	if (!memory) {
		fprintf(stderr, "bench_medium: no memory\n");
		exit(1);
	}
	memset(memory, 0x5a, (size_t)DEPTH_MAX * b->block);
	b->blocks = b->info.size / b->block;
	for (unsigned i = 0; i < DEPTH_MAX; i++) {
		struct request *r = &b->request[i];

		r->bench = b;
		r->seg = (struct weft_seg){.base = memory + (size_t)i * b->block, .len = b->block};
		r->io = (struct env_io){.done = request_done,
			.medium = b->medium,
			.segs = &r->seg,
			.nsegs = 1,
			.op = b->op,
			.len = b->block};
	}
}

static const char *option(int argc, char **argv, const char *name, const char *preset)
{
	size_t len = strlen(name);

	for (int i = 2; i < argc; i++)
		if (strncmp(argv[i], name, len) == 0 && argv[i][len] == '=')
			return argv[i] + len + 1;
	return preset;
}

static void open_all(struct bench *b, const char *path, const char *direct, bool uring)
{
	struct env_linux_wants linux_wants = {.no_uring = !uring};
	struct env_medium_wants wants = {.readonly = b->op == WEFT_READ, .lock = true};
	struct weft_why why = {""};

	wants.direct = !strcmp(direct, "on") ? ENV_DIRECT_ON
		: !strcmp(direct, "off")     ? ENV_DIRECT_OFF
					     : ENV_DIRECT_AUTO;
	if (env_linux_open(&b->env, &linux_wants, &why) || env_loop_open(b->env, &b->loop, &why) ||
		env_medium_open(b->env, path, &wants, &b->medium, &b->info, &why)) {
		fprintf(stderr, "bench_medium: %s\n", why.text);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	const char *depths;
	struct bench *b = calloc(1, sizeof(*b));
	char *end;

	if (argc < 2 || !b) {
		fprintf(stderr,
			"usage: bench_medium FILE [block=4096] [seconds=2] [depth=1,32,128] "
			"[direct=auto|on|off]\n"
			"                         [mode=poll|wait] [op=read|write] [uring=on|off]\n");
		return 2;
	}
	b->random = 88172645463325252u ^ (uint64_t)time(NULL);
	b->block = (uint32_t)strtoul(option(argc, argv, "block", "4096"), NULL, 10);
	b->op = strcmp(option(argc, argv, "op", "read"), "write") ? WEFT_READ : WEFT_WRITE;
	b->wait = !strcmp(option(argc, argv, "mode", "poll"), "wait");
	open_all(b, argv[1], option(argc, argv, "direct", "auto"),
		strcmp(option(argc, argv, "uring", "on"), "off") != 0);
	prepare(b);
	printf("%s, %u bytes, %s\n", b->info.how, b->block, b->wait ? "wait" : "poll");
	for (depths = option(argc, argv, "depth", "1,32,128"); *depths; depths = *end ? end + 1 : end) {
		unsigned depth = (unsigned)strtoul(depths, &end, 10);

		if (depth == 0 || depth > DEPTH_MAX)
			break;
		run(b, depth, strtod(option(argc, argv, "seconds", "2"), NULL));
	}
	env_medium_close(b->medium);
	env_loop_close(b->loop);
	env_linux_close(b->env);
	free(b);
	return 0;
}
