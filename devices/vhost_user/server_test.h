/* SPDX-License-Identifier: BSD-2-Clause */
/* The server that the initiator's tests ask: our own export on a node of its own, which can be killed. One at a time. */
#ifndef DEVICES_VHOST_USER_SERVER_TEST_H
#define DEVICES_VHOST_USER_SERVER_TEST_H

#include "devices/rig_test.h"

#define SOCKET "/vm.sock"
#define SERVER_DISK_SIZE (1u << 20)

extern struct server {
	struct env *env;
	struct weft_core *core;
	struct weft_object *export;
	struct objects_job job;
	struct weft_msg msg;
	const char *device, *options;
	bool built;
} server;

/*
 * Of a disk in the server, `stubborn`, that keeps the next read until it is told, and cannot be aborted. It can read, write and
 * flush.
 */
extern struct stubborn {
	struct weft_hop *held;
	struct weft_msg msg;
	bool hold;
} stubborn;

/* Listens on SOCKET when it returns. `options`: of the export, ",name=value..." */
void server_start(struct rig *rig, const char *device, const char *options);
/* As by SIGKILL. */
void server_kill(void);
/* The read that is held goes on. */
void stubborn_go_on(void);

#endif
