/* SPDX-License-Identifier: BSD-2-Clause */
/* The devices that are open in this process. Jobs that are threads share them: a device by its text, all in one instance. */
#ifndef FIO_DEVICES_H
#define FIO_DEVICES_H

#include <weft/weft.h>

struct open_device {
	struct weft *weft;
	struct weft_device *device;
	char *text;
	unsigned users;
	struct open_device *next;
};

/* Opens it, or finds that it is open. Any thread; 0 or -errno, with `why`. */
int device_take(const char *text, struct open_device **out, struct weft_why *why);
/* Nothing of the caller's is open on it any more. With the last device the instance is closed. NULL: nothing is done. */
void device_give(struct open_device *open);

#endif
