/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A program that knows what it wrote: each block in turn is written with its next version, read back and compared, DEPTH of
 * them at once, by one of the styles of completion, until its standard input ends. Then every block is read once more and must
 * hold the version that was acknowledged last. A dot for each ROUND of requests says that it goes on. Whoever runs it kills the
 * server.
 *
 * `survivor poll|block|epoll DEVICE`
 */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <weft/weft.h>

enum { DEPTH = 32, EACH = 16, BLOCKS = DEPTH * EACH, WORDS = 512, LEN = WORDS * 8, ROUND = 500 };

/* One request at a time, on the blocks at `number`, `number` + DEPTH ... only. */
struct lane {
	unsigned number, block;
	enum { WRITING, READING, LAST } step;
	uint64_t words[WORDS];
};

struct survivor {
	struct weft_queue *queue;
	struct lane lane[DEPTH];
	uint32_t acknowledged[BLOCKS]; /* the version */
	uint64_t writes, reads;
	unsigned busy;
	int epoll;
};

static void check(int got, const char *why)
{
	if (got >= 0)
		return;
	fprintf(stderr, "%s\n", why);
	exit(1);
}

static uint64_t word(unsigned block, uint32_t version, unsigned i)
{
	return version == 0 ? 0 : ((uint64_t)version << 32 | block << 16 | i) * 0x9e3779b97f4a7c15u;
}

static void ask_read(struct survivor *s, struct lane *lane)
{
	memset(lane->words, 0xee, LEN);
	check(weft_queue_read(s->queue, (uint64_t)lane->block * LEN, lane->words, LEN, lane, 0), weft_queue_why(s->queue));
}

static void ask_write(struct survivor *s, struct lane *lane)
{
	lane->step = WRITING;
	for (unsigned i = 0; i < WORDS; i++)
		lane->words[i] = word(lane->block, s->acknowledged[lane->block] + 1, i);
	check(weft_queue_write(s->queue, (uint64_t)lane->block * LEN, lane->words, LEN, lane, 0), weft_queue_why(s->queue));
}

static void compare(const struct survivor *s, const struct lane *lane)
{
	uint32_t version = s->acknowledged[lane->block];

	for (unsigned i = 0; i < WORDS; i++)
		if (lane->words[i] != word(lane->block, version, i)) {
			fprintf(stderr, "block %u is not version %u at word %u: a write was lost\n", lane->block, version, i);
			exit(1);
		}
}

static bool told_to_end(void)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };

	return poll(&in, 1, 0) > 0;
}

/* What comes next for the lane whose request has ended. */
static void go_on(struct survivor *s, struct lane *lane, bool ending)
{
	if (lane->step == WRITING) {
		s->acknowledged[lane->block]++;
		s->writes++;
		lane->step = READING;
		ask_read(s, lane);
		return;
	}
	compare(s, lane);
	s->reads++;
	if (lane->step == READING && !ending) {
		lane->block = (lane->block + DEPTH) % BLOCKS;
		ask_write(s, lane);
		return;
	}
	lane->block = lane->step == READING ? lane->number : lane->block + DEPTH;
	lane->step = LAST;
	if (lane->block < BLOCKS)
		ask_read(s, lane);
	else
		s->busy--;
}

static int take_by_epoll(struct survivor *s, struct weft_completion *done)
{
	struct epoll_event event;
	int ready = weft_queue_notify(s->queue, true);

	check(ready, weft_queue_why(s->queue));
	if (epoll_wait(s->epoll, &event, 1, ready ? 0 : -1) < 0 && errno != EINTR)
		check(-1, "epoll_wait failed");
	weft_queue_notify(s->queue, false);
	return weft_queue_poll(s->queue, done, DEPTH);
}

static int take(struct survivor *s, const char *style, struct weft_completion *done)
{
	if (strcmp(style, "poll") == 0)
		return weft_queue_poll(s->queue, done, DEPTH);
	if (strcmp(style, "block") == 0)
		return weft_queue_wait(s->queue, done, 1, DEPTH, WEFT_FOREVER);
	return take_by_epoll(s, done);
}

static void run(struct survivor *s, const char *style)
{
	struct weft_completion done[DEPTH];
	unsigned round = 0;
	bool ending = false;

	for (unsigned i = 0; i < DEPTH; i++) {
		s->lane[i].number = s->lane[i].block = i;
		ask_write(s, &s->lane[i]);
	}
	for (s->busy = DEPTH; s->busy > 0;) {
		int n = take(s, style, done);

		check(n, weft_queue_why(s->queue));
		for (int i = 0; i < n; i++, round++) {
			check(done[i].status, "a request failed");
			if (round == ROUND) {
				round = 0;
				ending = ending || told_to_end();
				check(write(STDOUT_FILENO, ".", 1) == 1 ? 0 : -1, "nobody listens");
			}
			go_on(s, done[i].user_data, ending);
		}
	}
}

int main(int argc, char **argv)
{
	static struct survivor s;
	struct epoll_event event = { .events = EPOLLIN };
	struct weft_device *device;
	struct weft_why why;
	struct weft *weft;

	check(argc == 3 && strstr("poll block epoll", argv[1]) != NULL ? 0 : -1, "usage: survivor poll|block|epoll DEVICE");
	check(weft_open(NULL, &weft, &why), why.text);
	check(weft_device_open(weft, argv[2], &device, &why), why.text);
	check(weft_queue_open(device, NULL, NULL, &s.queue, &why), why.text);
	s.epoll = epoll_create1(EPOLL_CLOEXEC);
	check(epoll_ctl(s.epoll, EPOLL_CTL_ADD, weft_queue_fd(s.queue), &event), "epoll_ctl failed");
	run(&s, argv[1]);
	printf("\n%llu writes, %llu reads\n", (unsigned long long)s.writes, (unsigned long long)s.reads);
	check(weft_queue_close(s.queue, &why), why.text);
	check(weft_device_close(device, &why), why.text);
	check(weft_close(weft, &why), why.text);
	close(s.epoll);
	return 0;
}
