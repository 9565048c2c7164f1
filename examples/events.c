/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Asynchronous open: what takes long (a server that is not there yet, a pool that is read in) is begun, and ends by an event. With
 * WEFT_CONTROL_CALLER there is no thread but the program's own: the control side runs in weft_control_step, when its descriptor is
 * readable. A program with such a loop needs no other thread for anything but the service.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft/weft.h>

static void check(int got, const char *why)
{
	if (got >= 0)
		return;
	fprintf(stderr, "%s\n", why);
	exit(1);
}

int main(int argc, char **argv)
{
	static const char *const usual[] = { "mem:64MiB", "null:1GiB", "file:/does/not/exist" };
	struct weft_settings settings;
	struct weft_event event;
	struct weft_why why;
	struct weft *weft;
	struct pollfd fd[2];
	int open = 0, waiting = 0;

	weft_settings_init(&settings);
	settings.control = WEFT_CONTROL_CALLER;
	check(weft_open(&settings, &weft, &why), why.text);
	for (int i = 0; i < (argc > 1 ? argc - 1 : 3); i++, waiting++) {
		const char *text = argc > 1 ? argv[i + 1] : usual[i];

		check(weft_device_open_begin(weft, text, (void *)text, &why), why.text); /* comes back with the event */
	}
	fd[0] = (struct pollfd){ .fd = weft_control_fd(weft), .events = POLLIN };
	fd[1] = (struct pollfd){ .fd = weft_event_fd(weft), .events = POLLIN };
	while (waiting > 0 || open > 0) {
		check(weft_control_step(weft), "the control side failed");
		while (weft_event_next(weft, &event) == 1) {
			if (event.type == WEFT_EVENT_OPENED && event.status == 0) {
				printf("%s is open\n", (const char *)event.user_data);
				check(weft_device_close_begin(event.device, event.user_data, &why), why.text);
				open++;
			} else if (event.type == WEFT_EVENT_OPENED) {
				printf("%s: %s\n", (const char *)event.user_data, event.why.text);
			} else if (event.type == WEFT_EVENT_CLOSED) {
				printf("%s is closed\n", (const char *)event.user_data);
				open--;
			}
			waiting -= event.type == WEFT_EVENT_OPENED;
		}
		if ((waiting > 0 || open > 0) && poll(fd, 2, -1) < 0 && errno != EINTR)
			check(-1, "poll failed");
	}
	check(weft_close(weft, &why), why.text);
	return 0;
}
