/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Completion by polling, in the application's own thread: the shortest way to a device. The thread never sleeps, so that this is
 * for threads that have a processor and other work to poll for.
 *
 * cc -o poll poll.c $(pkg-config --cflags --libs weft) && ./poll file:disk.img
 */
#include <stdio.h>
#include <stdlib.h>
#include <weft/weft.h>

enum { DEPTH = 32, REQUESTS = 10000, LEN = 4096 };

static void check(int got, const char *why)
{
	if (got >= 0)
		return;
	fprintf(stderr, "%s\n", why);
	exit(1);
}

int main(int argc, char **argv)
{
	struct weft_completion done[DEPTH];
	struct weft_device_info info;
	struct weft_device *device;
	struct weft_memory *memory;
	struct weft_queue *queue;
	struct weft_why why;
	struct weft *weft;
	unsigned asked = 0, ended = 0;
	char *buffer;

	check(weft_open(NULL, &weft, &why), why.text);
	check(weft_device_open(weft, argc > 1 ? argv[1] : "mem:64MiB", &device, &why), why.text);
	check(weft_queue_open(device, NULL, NULL, &queue, &why), why.text);
	check(weft_device_info(device, &info), "no facts");
	/* Any memory does; this is aligned, and a server in another process (vhost-user) uses it in place. */
	check(weft_memory_alloc(weft, DEPTH * LEN, 0, &memory, &why), why.text);
	buffer = weft_memory_base(memory);

	while (asked < DEPTH) {
		void *piece = buffer + (size_t)asked * LEN; /* comes back as user_data: free for the next request */

		check(weft_queue_read(queue, asked++ * (uint64_t)LEN % info.size, piece, LEN, piece, 0), weft_queue_why(queue));
	}
	while (ended < REQUESTS) {
		int n = weft_queue_poll(queue, done, DEPTH); /* sends what was staged, and never sleeps */

		check(n, weft_queue_why(queue));
		for (int i = 0; i < n; i++, ended++) {
			check(done[i].status, "a read failed");
			if (asked < REQUESTS)
				check(weft_queue_read(queue, asked++ * (uint64_t)LEN % info.size, done[i].user_data, LEN,
					done[i].user_data, 0), weft_queue_why(queue));
		}
	}
	printf("%u reads from %s\n", ended, info.name);

	check(weft_queue_close(queue, &why), why.text);
	check(weft_memory_release(memory, &why), why.text);
	check(weft_device_close(device, &why), why.text);
	check(weft_close(weft, &why), why.text);
	return 0;
}
