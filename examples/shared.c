/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory shared with another process: a vhost-user server (`weft serve ... --on vhost-user:SOCKET`) does the work, and reads and
 * writes this program's memory in place: nothing is copied between the two. Any vhost-user-blk server does.
 *
 * ./shared vhost-user:/run/vm.sock
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/weft.h>

enum { PIECES = 64, LEN = 65536 };

static void check(int got, const char *why)
{
	if (got >= 0)
		return;
	fprintf(stderr, "%s\n", why);
	exit(1);
}

/* Waits for all: the queue of a server that goes away keeps its requests, and sends them again when it is back. */
static void wait_for_all(struct weft_queue *queue)
{
	struct weft_completion done[PIECES];

	for (int n, left = PIECES; left > 0; left -= n) {
		n = weft_queue_wait(queue, done, 1, PIECES, WEFT_FOREVER);
		check(n, weft_queue_why(queue));
		for (int i = 0; i < n; i++)
			check(done[i].status, "a request failed");
	}
}

int main(int argc, char **argv)
{
	struct weft_device *device;
	struct weft_memory *memory;
	struct weft_queue *queue;
	struct weft_queue_info info;
	struct weft_why why;
	struct weft *weft;
	char *out, *in;

	if (argc != 2) {
		fprintf(stderr, "usage: shared vhost-user:SOCKET\n");
		return 2;
	}
	check(weft_open(NULL, &weft, &why), why.text);
	check(weft_device_open(weft, argv[1], &device, &why), why.text);
	check(weft_queue_open(device, NULL, NULL, &queue, &why), why.text);
	/* Shareable: a memfd, which the server maps too. weft_memory_map takes a descriptor of the program's own, and
	 * weft_memory_register memory that is mapped already. */
	check(weft_memory_alloc(weft, 2ull * PIECES * LEN, 0, &memory, &why), why.text);
	out = weft_memory_base(memory);
	in = out + (size_t)PIECES * LEN;
	for (size_t i = 0; i < (size_t)PIECES * LEN; i++)
		out[i] = (char)(i * 31 + i / LEN);

	for (unsigned i = 0; i < PIECES; i++)
		check(weft_queue_write(queue, (uint64_t)i * LEN, out + (size_t)i * LEN, LEN, NULL, 0), weft_queue_why(queue));
	wait_for_all(queue);
	for (unsigned i = 0; i < PIECES; i++)
		check(weft_queue_read(queue, (uint64_t)i * LEN, in + (size_t)i * LEN, LEN, NULL, 0), weft_queue_why(queue));
	wait_for_all(queue);
	check(memcmp(in, out, (size_t)PIECES * LEN) == 0 ? 0 : -1, "what came back differs");
	check(weft_queue_info(queue, &info), weft_queue_why(queue));
	printf("%d bytes there and back, %llu pieces outside shared memory\n", PIECES * LEN, (unsigned long long)info.outside);

	check(weft_queue_close(queue, &why), why.text);
	check(weft_memory_release(memory, &why), why.text);
	check(weft_device_close(device, &why), why.text);
	check(weft_close(weft, &why), why.text);
	return 0;
}
