/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Completion from libuv's loop: the reactor's descriptor is a uv_poll_t, and a uv_prepare_t, which libuv calls right before it
 * sleeps, arms it. A uv_idle_t keeps the loop from sleeping while there is something to do already.
 *
 * cc -o uv libuv.c $(pkg-config --cflags --libs weft libuv)
 */
#define _XOPEN_SOURCE 700 /* uv.h wants it */
#include <stdio.h>
#include <stdlib.h>
#include <uv.h>
#include <weft/weft.h>

enum { DEPTH = 8, REQUESTS = 1000, LEN = 4096 };

struct disk {
	struct weft_queue *queue;
	uv_poll_t poll;
	uv_prepare_t prepare;
	uv_idle_t idle;
	unsigned asked, ended;
	char data[DEPTH][LEN];
};

static void check(int got, const char *why)
{
	if (got >= 0)
		return;
	fprintf(stderr, "%s\n", why);
	exit(1);
}

static void ask(struct disk *disk, void *buffer)
{
	check(weft_queue_read(disk->queue, disk->asked++ % 1024 * LEN, buffer, LEN, buffer, 0), weft_queue_why(disk->queue));
}

static void take(struct disk *disk)
{
	struct weft_completion done[DEPTH];
	int n = weft_queue_poll(disk->queue, done, DEPTH);

	check(n, weft_queue_why(disk->queue));
	for (int i = 0; i < n; i++, disk->ended++) {
		check(done[i].status, "a read failed");
		if (disk->asked < REQUESTS)
			ask(disk, done[i].user_data);
	}
	if (disk->ended < REQUESTS)
		return;
	uv_close((uv_handle_t *)&disk->poll, NULL);
	uv_close((uv_handle_t *)&disk->prepare, NULL);
	uv_close((uv_handle_t *)&disk->idle, NULL);
}

static void ready(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	take(poll->data);
}

static void idle(uv_idle_t *handle)
{
	uv_idle_stop(handle);
	take(handle->data);
}

static void before_sleep(uv_prepare_t *prepare)
{
	struct disk *disk = prepare->data;
	int due = weft_queue_notify(disk->queue, true);

	check(due, weft_queue_why(disk->queue));
	if (due)
		uv_idle_start(&disk->idle, idle);
}

int main(int argc, char **argv)
{
	static struct disk disk;
	struct weft_device *device;
	struct weft_why why;
	struct weft *weft;
	uv_loop_t *loop = uv_default_loop();

	check(weft_open(NULL, &weft, &why), why.text);
	check(weft_device_open(weft, argc > 1 ? argv[1] : "mem:64MiB", &device, &why), why.text);
	check(weft_queue_open(device, NULL, NULL, &disk.queue, &why), why.text);
	disk.poll.data = disk.prepare.data = disk.idle.data = &disk;
	check(uv_poll_init(loop, &disk.poll, weft_queue_fd(disk.queue)), "uv_poll_init failed");
	uv_prepare_init(loop, &disk.prepare);
	uv_idle_init(loop, &disk.idle);
	uv_poll_start(&disk.poll, UV_READABLE, ready);
	uv_prepare_start(&disk.prepare, before_sleep);

	while (disk.asked < DEPTH)
		ask(&disk, disk.data[disk.asked]);
	uv_run(loop, UV_RUN_DEFAULT);
	printf("%u reads by libuv\n", disk.ended);

	check(weft_queue_close(disk.queue, &why), why.text);
	check(weft_device_close(device, &why), why.text);
	check(weft_close(weft, &why), why.text);
	return uv_loop_close(loop);
}
