/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a program waits for a 4 KiB read through libweft, in whichever arrangement the text of the device makes; and what the
 * device's function alone takes, called in a loop. bench/arrangements.py puts the arrangements side by side.
 *
 * bench_arrangements loop|ask DEPTH SECONDS CPU[,CPU...] SERVICE-CPU DEVICE...
 *
 * ask: a thread on each CPU, with one reactor, and on it a queue of each device with DEPTH requests in flight. The service's
 * reactor polls if one of the devices lives there ("home:"), else it sleeps. loop: DEPTH hops are filled, submitted to the (leaf)
 * device's function, and taken from the list that it ends them into; nothing is checked, counted, timed or delivered.
 *
 * One line of JSON: of slices of half a millisecond, ns per request of a thread, the median and the fastest of fifty; and what all
 * threads together did per second.
 */
#include "bench/pinned.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <weft/weft.h>

#include "core/blk.h"
#include "lib/lib.h"

enum { LEN = 4096, DEVICES_MAX = 8, THREADS_MAX = 8, SLICE_NS = 500000, SLICES_MAX = 40000, DEPTH_MAX = 1024 };

struct bench {
	struct weft *weft;
	struct weft_device *device[DEVICES_MAX];
	unsigned devices, depth;
	double seconds;
	bool loop;
};

struct worker {
	struct bench *bench;
	pthread_t thread;
	struct weft_reactor *reactor;
	struct weft_queue *queue[DEVICES_MAX];
	struct weft_memory *memory;
	char *buffers;
	uint64_t blocks;               /* of the smallest device */
	uint64_t next;
	struct weft_hop *hops;         /* loop */
	float slice[SLICES_MAX];       /* ns per request */
	unsigned slices;
	uint64_t requests, took_ns;
};

static void check(int error, const struct weft_why *why)
{
	if (error >= 0)
		return;
	fprintf(stderr, "bench_arrangements: %s\n", why->text);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Spread over the device, without a pattern that a prefetcher knows. */
static uint64_t offset_next(struct worker *w)
{
	return (w->next++ * 7919) % w->blocks * LEN;
}

static void ask(struct worker *w, struct weft_queue *queue, char *buffer)
{
	if (weft_queue_read(queue, offset_next(w), buffer, LEN, buffer, 0) != 0) {
		fprintf(stderr, "bench_arrangements: %s\n", weft_queue_why(queue));
		exit(1);
	}
}

/* What has ended is asked for again. How many that were. */
static unsigned round_of_queues(struct worker *w)
{
	struct weft_completion done[32];
	unsigned all = 0;

	for (unsigned i = 0; i < w->bench->devices; i++) {
		int n = weft_queue_poll(w->queue[i], done, WEFT_COUNT(done));

		for (int k = 0; k < n; k++) {
			if (done[k].status != 0)
				abort();
			ask(w, w->queue[i], done[k].user_data);
		}
		all += n > 0 ? (unsigned)n : 0;
	}
	return all;
}

static unsigned round_of_calls(struct worker *w)
{
	struct weft_blk *blk = w->bench->device[0]->blk;
	struct hop_list *ended = &w->reactor->ended;
	struct weft_seg seg = { .base = w->buffers, .len = LEN };
	struct weft_hop *hop;
	unsigned n = 0;

	for (unsigned i = 0; i < w->bench->depth; i++) {
		hop = &w->hops[i];
		hop->blk = blk;
		hop->offset = offset_next(w);
		hop->len = LEN;
		hop->segs = &seg;
		hop->view = (uint64_t)1 << 32;
		hop->progress = WEFT_HOP_PROGRESS(0, WEFT_HOP_ASKED, w->reactor->lane);
		blk->ops->submit(blk, hop);
	}
	for (hop = ended->head; hop != NULL; hop = hop->next_ended)
		n += hop->status == 0;
	hop_list_init(ended);
	if (n != w->bench->depth)
		abort();
	return n;
}

static void measure(struct worker *w)
{
	unsigned (*round)(struct worker *) = w->bench->loop ? round_of_calls : round_of_queues;
	uint64_t began = now_ns(), from = began, until = began + (uint64_t)(w->bench->seconds * 1e9), now = began;
	unsigned in_slice = 0;

	while (now < until && w->slices < SLICES_MAX) {
		for (unsigned i = 0; i < 64; i++)
			in_slice += round(w);
		now = now_ns();
		if (now - from < SLICE_NS || in_slice == 0)
			continue;
		w->slice[w->slices++] = (float)(now - from) / (float)in_slice;
		w->requests += in_slice;
		in_slice = 0;
		from = now;
	}
	w->took_ns = from - began;
}

static void worker_open(struct worker *w)
{
	struct bench *b = w->bench;
	struct weft_reactor_settings reactor;
	struct weft_queue_settings queue;
	struct weft_why why;

	weft_reactor_settings_init(&reactor);
	reactor.mode = WEFT_MODE_POLL;
	reactor.bound = true;
	weft_queue_settings_init(&queue);
	queue.depth = b->depth;
	check(weft_reactor_open(b->weft, &reactor, &w->reactor, &why), &why);
	check(weft_memory_alloc(b->weft, (uint64_t)b->devices * b->depth * LEN, 0, &w->memory, &why), &why);
	w->buffers = weft_memory_base(w->memory);
	w->blocks = UINT64_MAX;
	for (unsigned i = 0; i < b->devices; i++) {
		uint64_t blocks = b->device[i]->blk->size / LEN;

		w->blocks = blocks < w->blocks ? blocks : w->blocks;
		check(weft_queue_open(b->device[i], w->reactor, &queue, &w->queue[i], &why), &why);
	}
}

static void worker_close(struct worker *w)
{
	struct weft_completion done[32];
	struct weft_why why;

	for (unsigned i = 0; i < w->bench->devices; i++) {
		while (weft_queue_wait(w->queue[i], done, 1, WEFT_COUNT(done), WEFT_FOREVER) > 0)
			;
		check(weft_queue_close(w->queue[i], &why), &why);
	}
	check(weft_memory_release(w->memory, &why), &why);
	check(weft_reactor_close(w->reactor, &why), &why);
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct bench *b = w->bench;

	worker_open(w);
	w->hops = aligned_alloc(64, b->depth * sizeof(*w->hops));
	if (w->hops == NULL)
		abort();
	memset(w->hops, 0, b->depth * sizeof(*w->hops));
	for (unsigned i = 0; i < b->devices && !b->loop; i++)
		for (unsigned k = 0; k < b->depth; k++)
			ask(w, w->queue[i], w->buffers + ((size_t)i * b->depth + k) * LEN);
	measure(w);
	worker_close(w);
	free(w->hops);
	return NULL;
}

static int ascending(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static void tell(struct worker *w, unsigned workers)
{
	double median = 0, best = 0, per_s = 0;

	for (unsigned i = 0; i < workers; i++) {
		if (w[i].slices == 0)
			abort();
		qsort(w[i].slice, w[i].slices, sizeof(w[i].slice[0]), ascending);
		median += w[i].slice[w[i].slices / 2] / workers;
		best += w[i].slice[w[i].slices / 50] / workers;
		per_s += (double)w[i].requests * 1e9 / (double)w[i].took_ns;
	}
	printf("{\"ns\": %.1f, \"undisturbed_ns\": %.1f, \"per_s\": %.0f}\n", median, best, per_s);
}

static void bench_open(struct bench *b, int service_cpu, char **texts)
{
	struct weft_settings settings;
	struct weft_why why;

	weft_settings_init(&settings);
	settings.cpus = &service_cpu;
	settings.mode = WEFT_MODE_NOTIFY;
	for (unsigned i = 0; i < b->devices; i++)
		if (strncmp(texts[i], "home:", 5) == 0)
			settings.mode = WEFT_MODE_POLL;
	check(weft_open(&settings, &b->weft, &why), &why);
	for (unsigned i = 0; i < b->devices; i++)
		check(weft_device_open(b->weft, texts[i], &b->device[i], &why), &why);
}

int main(int argc, char **argv)
{
	static struct worker worker[THREADS_MAX];
	struct bench b = { 0 };
	struct weft_why why;
	unsigned workers = 0;

	if (argc < 7 || argc - 6 > DEVICES_MAX) {
		fprintf(stderr, "bench_arrangements loop|ask DEPTH SECONDS CPU[,CPU...] SERVICE-CPU DEVICE...\n");
		return 2;
	}
	b.loop = strcmp(argv[1], "loop") == 0;
	b.depth = (unsigned)atoi(argv[2]);
	b.seconds = atof(argv[3]);
	b.devices = (unsigned)argc - 6;
	if (b.depth < 1 || b.depth > DEPTH_MAX)
		return 2;
	bench_open(&b, atoi(argv[5]), argv + 6);
	for (char *cpu = strtok(argv[4], ","); cpu != NULL && workers < THREADS_MAX; cpu = strtok(NULL, ",")) {
		worker[workers].bench = &b;
		worker[workers].thread = pinned_start(atoi(cpu), work, &worker[workers]);
		workers++;
	}
	for (unsigned i = 0; i < workers; i++)
		pthread_join(worker[i].thread, NULL);
	for (unsigned i = 0; i < b.devices; i++)
		check(weft_device_close(b.device[i], &why), &why);
	check(weft_close(b.weft, &why), &why);
	tell(worker, workers);
	return 0;
}
