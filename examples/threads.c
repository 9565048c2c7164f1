/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread pool with a reactor per thread: each thread does the work of its own requests, shares nothing with the others on the way
 * down, and takes no lock. The device is opened once.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft/weft.h>

enum { THREADS = 4, REQUESTS = 5000, DEPTH = 16, LEN = 4096 };

struct worker {
	pthread_t thread;
	struct weft_device *device;
	unsigned number, ended;
};

static void check(int got, const char *why)
{
	if (got >= 0)
		return;
	fprintf(stderr, "%s\n", why);
	exit(1);
}

static void *work(void *arg)
{
	static char data[THREADS][DEPTH][LEN];
	struct worker *worker = arg;
	struct weft_completion done[DEPTH];
	struct weft_queue *queue;
	struct weft_why why;
	unsigned asked = 0;

	/* No reactor is named: the queue gets one of its own, which belongs to this thread. */
	check(weft_queue_open(worker->device, NULL, NULL, &queue, &why), why.text);
	while (worker->ended < REQUESTS) {
		while (asked < REQUESTS && asked < worker->ended + DEPTH) {
			char *buffer = data[worker->number][asked % DEPTH];
			uint64_t offset = (worker->number * 256ull + asked++ % 256) * LEN;

			check(weft_queue_write(queue, offset, buffer, LEN, NULL, 0), weft_queue_why(queue));
		}
		int n = weft_queue_wait(queue, done, DEPTH, DEPTH, WEFT_FOREVER);

		check(n, weft_queue_why(queue));
		for (int i = 0; i < n; i++)
			check(done[i].status, "a write failed");
		worker->ended += (unsigned)n;
	}
	check(weft_queue_close(queue, &why), why.text);
	return NULL;
}

int main(int argc, char **argv)
{
	struct worker worker[THREADS] = { 0 };
	struct weft_device *device;
	struct weft_why why;
	struct weft *weft;
	unsigned all = 0;

	check(weft_open(NULL, &weft, &why), why.text);
	check(weft_device_open(weft, argc > 1 ? argv[1] : "mem:64MiB", &device, &why), why.text);
	for (unsigned i = 0; i < THREADS; i++) {
		worker[i] = (struct worker){ .device = device, .number = i };
		if (pthread_create(&worker[i].thread, NULL, work, &worker[i]) != 0)
			check(-1, "no thread can be had");
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(worker[i].thread, NULL);
		all += worker[i].ended;
	}
	printf("%u writes by %d threads\n", all, THREADS);
	check(weft_device_close(device, &why), why.text);
	check(weft_close(weft, &why), why.text);
	return 0;
}
