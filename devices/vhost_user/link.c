/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The connection: bytes to messages, answers to their questions, losing it and trying again. While the server is away
 * requests wait on their reactors, and nothing is told to the layers above.
 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <weft/log.h>
#include <weft/memory.h>

#include "devices/vhost_user/link.h"

#include "core/core.h"

#define HEADER sizeof(struct vhost_user_header)

static struct weft_reactor *control(const struct vu_link *link)
{
	return link->device->object.core->reactor[0];
}

static void fds_close(struct vu_link *link, struct vu_stream_in *in)
{
	WEFT_ASSERT(in->nfds <= VHOST_USER_MAX_FDS);
	for (unsigned i = 0; i < in->nfds; i++)
		if (in->fds[i] >= 0)
			env_fd_close(link->device->object.core->env, in->fds[i]);
	in->nfds = 0;
}

static void streams_close(struct vu_link *link)
{
	WEFT_ASSERT(weft_reactor_here() == NULL || weft_reactor_here() == control(link));
	if (link->stream != NULL)
		env_stream_close(link->stream);
	if (link->requests != NULL)
		env_stream_close(link->requests);
	link->stream = link->requests = NULL;
	fds_close(link, &link->in);
	fds_close(link, &link->requests_in);
	link->in.have = link->requests_in.have = 0;
	link->awaited = 0;
	vu_identity_drop(link);
}

static void timer_at(struct vu_link *link, uint64_t after_ns)
{
	weft_timer_disarm(control(link), &link->timer);
	weft_timer_arm(control(link), &link->timer, weft_reactor_now(control(link)) + after_ns);
}

void vu_answer_expect(struct vu_link *link)
{
	timer_at(link, VU_ANSWER_NS);
}

static void task_end(struct vu_link *link, int status)
{
	struct weft_task *task = link->task;

	WEFT_ASSERT(task != NULL && status <= 0);
	link->task = NULL;
	task->done(task, status);
}

/* ---- losing it ---- */

/* The server touches nothing any more. */
static void link_gone(struct vu_link *link)
{
	WEFT_ASSERT(link->agreed_once && !link->stopping);
	streams_close(link);
	link->state = VU_AWAY;
	link->rings_given = false;
	vu_rings_lost(link);
	timer_at(link, link->device->reconnect_ns);
	vu_link_go_on(link);
}

/* What still comes is thrown away; the end is what matters. */
static void leaving(void *self)
{
	struct vu_link *link = self;
	struct vu_stream_in *in = &link->in;

	for (;;) {
		unsigned room = VHOST_USER_MAX_FDS;
		int64_t got = env_stream_read(link->stream, &in->msg, sizeof(in->msg), in->fds, &room);

		WEFT_ASSERT(link->state == VU_LEAVING && in->nfds == 0);
		if (got == 0 || got == -ECONNRESET) {
			link_gone(link);
			return;
		}
		if (got < 0)
			return;
		in->nfds = room;
		fds_close(link, in);
	}
}

/* It may still touch memory: it is asked to go, and waited for. */
static void link_leave(struct vu_link *link)
{
	WEFT_ASSERT(link->rings_given && link->stream != NULL);
	if (link->requests != NULL)
		env_stream_close(link->requests);
	link->requests = NULL;
	fds_close(link, &link->in);
	fds_close(link, &link->requests_in);
	link->in.have = link->requests_in.have = 0;
	link->awaited = 0;
	link->state = VU_LEAVING;
	env_stream_shut(link->stream);
	env_stream_watch(link->stream, leaving, link);
	timer_at(link, link->device->reconnect_ns);
	vu_link_go_on(link);
}

/* Have requests waited for long enough? */
static bool is_given_up(const struct vu_link *link)
{
	const struct vu_device *device = link->device;
	uint64_t away = weft_reactor_now(control(link)) - link->away_since_ns;

	WEFT_ASSERT(link->refused == 0 || link->away_since_ns != 0);
	return (device->timeout_ns != 0 && link->away_since_ns != 0 && away >= device->timeout_ns) ||
		(device->refusals != 0 && link->refused >= device->refusals);
}

/* Each reason is said once: the next attempt will meet it again. */
static void refusal_note(struct vu_link *link, const char *text)
{
	const struct vu_device *device = link->device;

	WEFT_ASSERT(link->agreed_once && !link->stopping);
	if (strcmp(link->refusal, text) != 0)
		weft_log(device->object.core, WEFT_LOG_WARN, "%s: %s: the server does not take us: %s: start one that takes what "
			"the first one took, or open this device again", device->object.name, device->path, text);
	snprintf(link->refusal, sizeof(link->refusal), "%s", text);
	link->rings_refused = link->rings_given;
	link->refused += link->refused < UINT_MAX;
	if (link->refused == device->refusals)
		weft_log(device->object.core, WEFT_LOG_ERROR, "%s: %s: refused %u times in a row (refusals=): requests fail until "
			"a server takes us", device->object.name, device->path, link->refused);
}

static WEFT_PRINTF(4, 0) void link_lost(struct vu_link *link, int error, bool refused, const char *format, va_list args)
{
	struct vu_device *device = link->device;
	char text[sizeof(link->refusal)];

	WEFT_ASSERT(error < 0);
	vsnprintf(text, sizeof(text), format, args);
	weft_timer_disarm(control(link), &link->timer);
	if (link->stopping || !link->agreed_once) {
		streams_close(link);
		link->state = VU_AWAY;
	}
	if (link->stopping) {
		vu_link_go_on(link);
		return;
	}
	if (!link->agreed_once) {
		if (link->task != NULL) {
			weft_why(&link->task->why, error, "%s: path=%s: %s", device->object.name, device->path, text);
			task_end(link, error);
		}
		return;
	}
	if (link->away_since_ns == 0)
		link->away_since_ns = weft_reactor_now(control(link));
	if (refused)
		refusal_note(link, text);
	else if (!link->closed_said)
		weft_log(device->object.core, WEFT_LOG_WARN, "%s: %s: %s: requests wait until a server is back",
			device->object.name, device->path, text);
	link->closed_said = true;
	if (link->rings_given && !link->closed)
		link_leave(link);
	else
		link_gone(link);
}

void vu_link_lost(struct vu_link *link, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	link_lost(link, error, false, format, args);
	va_end(args);
}

void vu_link_refused(struct vu_link *link, int error, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	link_lost(link, error, true, format, args);
	va_end(args);
}

/* Some servers end the connection rather than refuse: what they were told may be why. The sentence is the same however far we
 * came meanwhile. */
static void connection_lost(struct vu_link *link, int error, const char *what)
{
	const struct vu_device *device = link->device;
	bool cut = error == -ECONNRESET || error == -EPIPE;

	WEFT_ASSERT(error < 0);
	if (link->taken || (cut ? link->heard == 0 : error != -EPROTO))
		vu_link_lost(link, error, "%s", what);
	else if (cut && link->rings_given)
		vu_link_refused(link, error, "depth=%llu: the connection was closed when the server was given a ring of %u "
			"entries: if that is too many for it, choose a smaller depth",
			(unsigned long long)device->depth, device->num);
	else if (cut)
		vu_link_refused(link, error, "the connection was closed when the server had answered %s",
			vhost_user_name(link->heard));
	else
		vu_link_refused(link, error, "%s", what);
}

/* ---- sending ---- */

void vu_send(struct vu_link *link, uint32_t request, const void *payload, uint32_t size, const int *fds, unsigned nfds,
	bool answer)
{
	bool ack = !answer && (link->device->protocol & VHOST_USER_P(REPLY_ACK)) != 0 &&
		request != VHOST_USER_SET_PROTOCOL_FEATURES;
	struct vhost_user_msg msg;
	char what[64];
	int error;

	WEFT_ASSERT(link->awaited == 0 && size <= VHOST_USER_MAX_PAYLOAD && link->stream != NULL);
	vhost_user_request(&msg, request, size, ack);
	if (size > 0)
		memcpy(&msg.payload, payload, size);
	error = env_stream_write(link->stream, &msg.header, HEADER + size, fds, nfds);
	if (error != 0) {
		snprintf(what, sizeof(what), "cannot send %s", vhost_user_name(request));
		connection_lost(link, error, what);
		return;
	}
	if (answer || ack) {
		link->awaited = request;
		vu_answer_expect(link);
	}
}

/* ---- receiving ---- */

/* One message, when all of it is there and it is sound: 1; 0: not yet; -errno: the stream is of no use, *what says
 * why. */
static int stream_read(struct env_stream *stream, struct vu_stream_in *in, enum vhost_user_way way, const char **what)
{
	struct vhost_user_header *header = &in->msg.header;

	for (;;) {
		size_t want = in->have < HEADER ? HEADER : HEADER + header->size;
		unsigned room = VHOST_USER_MAX_FDS - in->nfds;
		int64_t got;

		if (in->have == HEADER && (*what = vhost_user_check_header(header, way)) != NULL)
			return -EPROTO;
		if (in->have >= HEADER && in->have == want) {
			in->have = 0;
			*what = vhost_user_check(&in->msg, in->nfds, way);
			return *what == NULL ? 1 : -EPROTO;
		}
		*what = "the connection was closed";
		got = env_stream_read(stream, (uint8_t *)header + in->have, want - in->have, in->fds + in->nfds, &room);
		if (got == -EAGAIN)
			return 0;
		if (got <= 0)
			return got == 0 ? -ECONNRESET : (int)got;
		in->nfds += room;
		in->have += (size_t)got;
	}
}

/* An acknowledgement says 0 or what was wrong; a reply goes to who asked. */
static void answered(struct vu_link *link, const struct vhost_user_msg *msg)
{
	if (link->awaited == 0 || msg->header.request != link->awaited) {
		vu_link_refused(link, -EPROTO, "the server answers %s, which was not asked",
			vhost_user_name(msg->header.request));
		return;
	}
	link->heard = link->awaited;
	link->awaited = 0;
	weft_timer_disarm(control(link), &link->timer);
	if (msg->header.request == VHOST_USER_GET_CONFIG)
		vu_config_take(link, msg);
	else if (link->state == VU_AGREEING)
		vu_agree_answer(link, msg);
	else
		vu_rings_answer(link, msg);
}

static void readable(void *self)
{
	struct vu_link *link = self;
	const char *what;

	while (link->stream != NULL && link->state != VU_LEAVING) {
		int got = stream_read(link->stream, &link->in, VHOST_USER_FRONT_REPLY, &what);

		if (got == 0)
			break;
		if (got < 0) {
			link->closed = got == -ECONNRESET;
			connection_lost(link, got, what);
			return;
		}
		answered(link, &link->in.msg);
		fds_close(link, &link->in);
	}
	vu_link_go_on(link);
}

/* A request of the server to us: only that its configuration has changed means anything to a block device. */
static void requested(void *self)
{
	struct vu_link *link = self;
	struct vu_stream_in *in = &link->requests_in;
	const char *what;

	while (link->requests != NULL) {
		int got = stream_read(link->requests, in, VHOST_USER_BACK_REQUEST, &what);
		bool known = in->msg.header.request == VHOST_USER_BACKEND_CONFIG_CHANGE;

		if (got == 0)
			break;
		if (got < 0) {
			env_stream_close(link->requests);
			link->requests = NULL;
			break;
		}
		fds_close(link, in);
		link->reread |= known;
		if ((in->msg.header.flags & VHOST_USER_NEED_REPLY) != 0) {
			struct vhost_user_msg ack;

			vhost_user_ack(&ack, in->msg.header.request, known);
			(void)env_stream_write(link->requests, &ack.header, HEADER + ack.header.size, NULL, 0);
		}
	}
	vu_link_go_on(link);
}

void vu_requests_adopt(struct vu_link *link, struct env_stream *stream)
{
	WEFT_ASSERT(link->requests == NULL);
	link->requests = stream;
	env_stream_watch(stream, requested, link);
}

/* ---- what is to be done next ---- */

/* It serves us (L5). */
static void taken(struct vu_link *link)
{
	const struct vu_device *device = link->device;

	WEFT_ASSERT(link->state == VU_READY && link->awaited == 0 && !link->taken);
	link->taken = true;
	if (link->away_since_ns != 0)
		weft_log(device->object.core, WEFT_LOG_INFO, "%s: %s: a server is back", device->object.name, device->path);
	link->away_since_ns = 0;
	link->refused = 0;
	link->refusal[0] = '\0';
	link->closed_said = link->given_up = false;
}

void vu_link_agreed(struct vu_link *link)
{
	WEFT_ASSERT(link->state == VU_READY && !link->agreed_once && link->task != NULL);
	link->agreed_once = true;
	task_end(link, 0);
}

/* Rings that the server still runs are stopped first, so that it sees an orderly end. */
static void go_on_to_stop(struct vu_link *link)
{
	WEFT_ASSERT(link->stopping);
	while (link->state == VU_READY && link->awaited == 0 && vu_rings_stop_step(link))
		;
	if (link->orders > 0 || link->task == NULL || (link->state == VU_READY && link->awaited != 0))
		return;
	streams_close(link);
	weft_timer_disarm(control(link), &link->timer);
	task_end(link, 0);
}

void vu_link_go_on(struct vu_link *link)
{
	bool more = true;

	WEFT_ASSERT(weft_reactor_here() == NULL || weft_reactor_here() == control(link));
	if (link->stopping) {
		go_on_to_stop(link);
		return;
	}
	while (more && link->awaited == 0) {
		if (link->state == VU_AGREEING) {
			if (!vu_agree_step(link))
				link->state = VU_READY;
		} else if (link->state == VU_READY && link->reread && link->agreed_once) {
			link->reread = false;
			vu_config_ask(link);
		} else {
			more = vu_rings_step(link);
		}
	}
	if (!more && link->state == VU_READY && link->agreed_once && !link->taken &&
			vu_rings_taken(link, link->rings_refused && link->refused > 0 ? 1 : 0))
		taken(link);
}

static void note_msg(void *self)
{
	struct vu_queue *q = self;
	struct vu_link *link = q->device->link;

	WEFT_ASSERT(weft_reactor_here() == control(link));
	atomic_store(&q->noted, false);
	vu_ring_noted(link, q);
	if (link->state == VU_READY && atomic_load(&q->aborting) && !link->stopping) /* whatever it has been asked just now */
		vu_link_lost(link, -ECANCELED, "a request that it has is to be aborted");
	else
		vu_link_go_on(link);
}

void vu_link_note(struct vu_queue *q)
{
	if (atomic_exchange(&q->noted, true))
		return;
	q->note_msg = (struct weft_msg){ .fn = note_msg, .self = q };
	weft_reactor_post(q->device->object.core->reactor[0], &q->note_msg);
}

void vu_link_tell(const struct vu_link *link, char *text, size_t size)
{
	const char *how = link->given_up ? "fail" : "wait";
	uint64_t away = weft_reactor_now(control(link)) - link->away_since_ns;

	if (link->refused > 0)
		snprintf(text, size, "refused %u times: %s: requests %s", link->refused, link->refusal, how);
	else if (link->away_since_ns != 0)
		snprintf(text, size, "none for %llu s: requests %s", (unsigned long long)(away / 1000000000u), how);
	else
		snprintf(text, size, "up");
}

/* ---- beginning and ending ---- */

static int link_connect(struct vu_link *link, struct weft_why *why)
{
	struct vu_device *device = link->device;
	char where[256];
	int error;

	WEFT_ASSERT(link->stream == NULL && link->awaited == 0);
	snprintf(where, sizeof(where), "unix:%s", device->path);
	error = env_connect(reactor_loop(control(link)), where, &link->stream, why);
	if (error != 0) {
		link->stream = NULL;
		return error;
	}
	link->state = VU_AGREEING;
	link->rings_given = link->closed = link->taken = false;
	link->heard = 0;
	link->step = 0;
	device->protocol = 0;
	env_stream_watch(link->stream, readable, link);
	return 0;
}

static void timer_fired(void *self)
{
	struct vu_link *link = self;
	struct weft_why why;

	link->given_up = is_given_up(link);
	if (link->state == VU_AGREEING || link->state == VU_READY) {
		vu_link_lost(link, -ETIMEDOUT, "the server does not answer %s", link->awaited != 0 ?
			vhost_user_name(link->awaited) : "get-id, the first request in its ring");
		return;
	}
	vu_link_go_on(link); /* what is to fail does not wait for what may come of the next attempt */
	if (link->state == VU_LEAVING || link_connect(link, &why) != 0)
		timer_at(link, link->device->reconnect_ns);
	vu_link_go_on(link);
}

int vu_link_start(struct vu_device *device, struct weft_task *task)
{
	struct weft_core *core = device->object.core;
	struct vu_link *link = weft_alloc(core, sizeof(*link));
	int error;

	WEFT_ASSERT(device->link == NULL);
	if (link == NULL)
		return weft_why(&task->why, -ENOMEM, "%s: no memory", device->object.name);
	device->link = link;
	link->device = device;
	link->task = task;
	link->inflight_fd = -1;
	link->timer = (struct weft_timer){ .fn = timer_fired, .self = link };
	error = link_connect(link, &task->why);
	if (error != 0) {
		link->task = NULL;
		return error;
	}
	vu_link_go_on(link);
	return 0;
}

void vu_link_stop(struct vu_device *device, struct weft_task *task)
{
	struct vu_link *link = device->link;

	WEFT_ASSERT(link->task == NULL);
	link->stopping = true;
	link->task = task;
	if (link->state == VU_AWAY || link->state == VU_LEAVING)
		weft_timer_disarm(control(link), &link->timer); /* nothing is tried any more */
	vu_link_go_on(link);
}

void vu_link_free(struct vu_device *device)
{
	struct vu_link *link = device->link;

	if (link == NULL)
		return;
	WEFT_ASSERT(link->orders == 0);
	streams_close(link);
	weft_timer_disarm(control(link), &link->timer);
	if (link->inflight_fd >= 0)
		env_fd_close(device->object.core->env, link->inflight_fd);
	weft_free(device->object.core, link);
	device->link = NULL;
}
