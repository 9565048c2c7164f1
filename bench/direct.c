/* SPDX-License-Identifier: BSD-2-Clause */
/* ns per request through libweft on null, in the program's own thread, by depth; and of a function called in a loop instead. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <weft/weft.h>

#define REQUESTS 4000000u
#define DEPTH_MAX 128u

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int answer(void *self, uint64_t offset, void *buf, size_t len)
{
	return self != NULL && offset + len > 0 && buf != NULL ? 0 : -1;
}

static double of_a_function(char *memory)
{
	int (*volatile fn)(void *, uint64_t, void *, size_t) = answer;
	double began = now_ns();

	for (unsigned i = 0; i < REQUESTS; i++)
		if (fn(memory, i * 4096ull, memory, 4096) != 0)
			abort();
	return (now_ns() - began) / REQUESTS;
}

static double of_a_queue(struct weft_queue *queue, char *memory, unsigned depth)
{
	struct weft_completion c[DEPTH_MAX];
	double began = now_ns();

	for (unsigned done = 0; done < REQUESTS; done += depth) {
		for (unsigned i = 0; i < depth; i++)
			if (weft_queue_read(queue, (done + i) % 1024 * 4096, memory + (size_t)i * 4096, 4096, NULL, 0) != 0)
				abort();
		for (unsigned got = 0; got < depth;)
			got += (unsigned)weft_queue_poll(queue, c, DEPTH_MAX);
	}
	return (now_ns() - began) / REQUESTS;
}

int main(void)
{
	static const unsigned depths[] = { 1, 4, 32, 128 };
	struct weft_reactor_settings settings;
	struct weft_reactor *reactor;
	struct weft_device *device;
	struct weft_memory *memory;
	struct weft_queue *queue;
	struct weft *weft;
	struct weft_why why;
	double function;

	weft_reactor_settings_init(&settings);
	settings.bound = true;
	if (weft_open(NULL, &weft, &why) != 0 || weft_device_open(weft, "null", &device, &why) != 0 ||
			weft_reactor_open(weft, &settings, &reactor, &why) != 0 ||
			weft_queue_open(device, reactor, NULL, &queue, &why) != 0 ||
			weft_memory_alloc(weft, DEPTH_MAX * 4096, 0, &memory, &why) != 0) {
		fprintf(stderr, "%s\n", why.text);
		return 1;
	}
	function = of_a_function(weft_memory_base(memory));
	printf("a function in a loop   %6.1f ns per request\n", function);
	for (unsigned i = 0; i < sizeof(depths) / sizeof(depths[0]); i++)
		printf("libweft, null, depth %3u %4.1f ns per request\n", depths[i],
			of_a_queue(queue, weft_memory_base(memory), depths[i]));
	return weft_queue_close(queue, NULL) != 0 || weft_reactor_close(reactor, NULL) != 0 ||
		weft_memory_release(memory, NULL) != 0 || weft_device_close(device, NULL) != 0 || weft_close(weft, NULL) != 0;
}
