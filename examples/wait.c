/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Completion by blocking, with a time-out and a minimum: a batch is sent, and the thread sleeps until half of it has come back.
 * What takes too long is cancelled; each request still has its completion.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/weft.h>

enum { BATCH = 16, LEN = 4096 };
#define SECOND 1000000000ull

static void check(int got, const char *why)
{
	if (got >= 0)
		return;
	fprintf(stderr, "%s\n", why);
	exit(1);
}

int main(int argc, char **argv)
{
	static char data[BATCH][LEN];
	struct weft_completion done[BATCH];
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_why why;
	struct weft *weft;
	unsigned ended = 0, cancelled = 0;
	int n;

	check(weft_open(NULL, &weft, &why), why.text);
	check(weft_device_open(weft, argc > 1 ? argv[1] : "mem:64MiB", &device, &why), why.text);
	check(weft_queue_open(device, NULL, NULL, &queue, &why), why.text);

	for (unsigned i = 0; i < BATCH; i++) {
		memset(data[i], (int)('a' + i), LEN);
		/* WEFT_FUA: durable when it ends */
		check(weft_queue_write(queue, i * LEN, data[i], LEN, NULL, WEFT_FUA), weft_queue_why(queue));
	}
	n = weft_queue_submit(queue); /* all of them with one system call, or one notification */
	check(n, weft_queue_why(queue));
	printf("%d sent\n", n);

	/* At least half; fewer, when the time is over. (weft_reactor_wake, from another thread, ends it as well.) */
	for (unsigned wanted = BATCH / 2; ended < BATCH; wanted = BATCH - ended) {
		n = weft_queue_wait(queue, done, wanted, BATCH, SECOND);
		check(n, weft_queue_why(queue));
		if ((unsigned)n < wanted)
			check(weft_queue_cancel_all(queue), weft_queue_why(queue));
		for (int i = 0; i < n; i++)
			cancelled += done[i].status == -ECANCELED;
		ended += (unsigned)n;
	}
	printf("%u ended, %u cancelled\n", ended, cancelled);

	check(weft_queue_close(queue, &why), why.text);
	check(weft_device_close(device, &why), why.text);
	check(weft_close(weft, &why), why.text);
	return 0;
}
