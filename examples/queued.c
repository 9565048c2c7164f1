/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queued to a service reactor of the process: the layer `home` has the device live at one reactor, whose thread the library runs.
 * This program's threads ask as they would ask any device; what the device costs is spent over there, and one connection (or ring,
 * or lock of a file) serves all threads.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft/weft.h>

enum { THREADS = 3, REQUESTS = 2000, DEPTH = 16, LEN = 4096 };

static void check(int got, const char *why)
{
	if (got >= 0)
		return;
	fprintf(stderr, "%s\n", why);
	exit(1);
}

static void *work(void *device)
{
	struct weft_completion done[DEPTH];
	struct weft_queue *queue;
	struct weft_why why;
	char data[LEN] = { 0 };
	unsigned asked = 0, ended = 0;

	check(weft_queue_open(device, NULL, NULL, &queue, &why), why.text);
	for (int n; ended < REQUESTS; ended += (unsigned)n) {
		for (; asked < REQUESTS && asked < ended + DEPTH; asked++)
			check(weft_queue_write(queue, asked % 64 * LEN, data, LEN, NULL, 0), weft_queue_why(queue));
		n = weft_queue_wait(queue, done, 1, DEPTH, WEFT_FOREVER);
		check(n, weft_queue_why(queue));
		for (int i = 0; i < n; i++)
			check(done[i].status, "a write failed");
	}
	check(weft_queue_close(queue, &why), why.text);
	return NULL;
}

int main(int argc, char **argv)
{
	struct weft_settings settings;
	struct weft_device *device;
	struct weft_stats stats;
	struct weft_why why;
	struct weft *weft;
	pthread_t thread[THREADS];
	char text[256];

	weft_settings_init(&settings);
	settings.service = 1;               /* reactors of the service, a thread each: settings.cpus says where */
	settings.mode = WEFT_MODE_ADAPTIVE; /* WEFT_MODE_POLL: never sleeps, and answers within 0.5 us */
	check(weft_open(&settings, &weft, &why), why.text);
	snprintf(text, sizeof(text), "home:[%s]", argc > 1 ? argv[1] : "mem:64MiB");
	check(weft_device_open(weft, text, &device, &why), why.text);
	for (unsigned i = 0; i < THREADS; i++)
		if (pthread_create(&thread[i], NULL, work, device) != 0)
			check(-1, "no thread can be had");
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	check(weft_device_stats(device, &stats), "no statistics");
	printf("%llu writes, %llu carried to the service\n", (unsigned long long)stats.of[WEFT_STAT_WRITE].requests,
		(unsigned long long)stats.carried);
	check(weft_device_close(device, &why), why.text);
	check(weft_close(weft, &why), why.text);
	return 0;
}
