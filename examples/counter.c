/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that count together, in a block of a device: each reads the block, and writes the next number if the block still holds
 * what it has read. Whoever comes too late is told so, and looks again. No count is lost, and nobody takes a lock.
 */
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft/weft.h>

enum { THREADS = 4, COUNTS = 500 };

union block {
	uint64_t count;
	char bytes[4096];
};

struct counter {
	pthread_t thread;
	struct weft_device *device;
	unsigned late; /* how often somebody else was faster */
};

static void check(int got, const char *why)
{
	if (got >= 0)
		return;
	fprintf(stderr, "%s\n", why);
	exit(1);
}

/* Waits for the one request that was staged: its status. */
static int one(struct weft_queue *queue, int staged)
{
	struct weft_completion done;

	check(staged, weft_queue_why(queue));
	check(weft_queue_wait(queue, &done, 1, 1, WEFT_FOREVER), weft_queue_why(queue));
	return done.status;
}

static void *count(void *arg)
{
	struct counter *counter = arg;
	struct weft_queue *queue;
	struct weft_why why;

	check(weft_queue_open(counter->device, NULL, NULL, &queue, &why), why.text);
	for (unsigned counted = 0; counted < COUNTS;) {
		union block was, is;
		int status;

		check(one(queue, weft_queue_read(queue, 0, &was, sizeof(was), NULL, 0)), "the read failed");
		is = was;
		is.count++;
		status = one(queue, weft_queue_compare_write(queue, 0, &was, &is, sizeof(is), NULL, 0));
		if (status != -EILSEQ)
			check(status, "the device cannot compare, or failed");
		counted += status == 0;
		counter->late += status != 0;
	}
	check(weft_queue_close(queue, &why), why.text);
	return NULL;
}

int main(int argc, char **argv)
{
	struct counter counter[THREADS] = { 0 };
	struct weft_device_info info;
	struct weft_device *device;
	struct weft_queue *queue;
	struct weft_why why;
	struct weft *weft;
	union block end;
	unsigned late = 0;
	char text[512];

	snprintf(text, sizeof(text), "compare-write:[%s]", argc > 1 ? argv[1] : "mem:64MiB");
	check(weft_open(NULL, &weft, &why), why.text);
	check(weft_device_open(weft, text, &device, &why), why.text);
	check(weft_device_info(device, &info), "no information");
	if (info.max_compare < sizeof(end))
		check(-1, "the device does not compare so much at once");
	for (unsigned i = 0; i < THREADS; i++) {
		counter[i].device = device;
		if (pthread_create(&counter[i].thread, NULL, count, &counter[i]) != 0)
			check(-1, "no thread can be had");
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(counter[i].thread, NULL);
		late += counter[i].late;
	}
	check(weft_queue_open(device, NULL, NULL, &queue, &why), why.text);
	check(one(queue, weft_queue_read(queue, 0, &end, sizeof(end), NULL, 0)), "the read failed");
	printf("%llu counted by %d threads, too late %u times\n", (unsigned long long)end.count, THREADS, late);
	check(weft_queue_close(queue, &why), why.text);
	check(weft_device_close(device, &why), why.text);
	check(weft_close(weft, &why), why.text);
	return 0;
}
