/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One front end's connection: bytes to messages, one at a time; waiting until rings have settled; the end. What messages mean is in
 * messages.c.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <weft/log.h>

#include "exports/vhost_user/vux.h"

static void connection_readable(void *self);

static struct weft_core *connection_core(const struct vux_connection *c)
{
	return export_core(c->exp);
}

/* What has been read of the next message becomes the present one. */
static void connection_take_ahead(struct vux_connection *c)
{
	WEFT_ASSERT(c->nfds == 0 && c->received == 0 && c->ahead_received < sizeof(c->msg.header));
	memcpy(&c->msg.header, c->ahead, c->ahead_received);
	memcpy(c->fds, c->ahead_fds, c->ahead_nfds * sizeof(c->fds[0]));
	c->received = c->ahead_received;
	c->nfds = c->ahead_nfds;
	c->ahead_received = c->ahead_nfds = 0;
}

static void connection_drop_fds(struct vux_connection *c)
{
	WEFT_ASSERT(c->nfds <= WEFT_COUNT(c->fds));
	for (unsigned i = 0; i < c->nfds; i++)
		if (c->fds[i] >= 0)
			env_fd_close(connection_core(c)->env, c->fds[i]);
	c->nfds = 0;
}

int connection_take_fd(struct vux_connection *c)
{
	int fd = c->nfds > 0 ? c->fds[0] : -1;

	WEFT_ASSERT(c->nfds <= 1);
	c->nfds = 0;
	return fd;
}

/* ---- answers ---- */

int connection_reply(struct vux_connection *c, const void *payload, uint32_t size, int fd)
{
	struct vhost_user_msg answer;

	WEFT_ASSERT(control_is_here(c->exp) && size <= sizeof(answer.payload));
	if (c->state == VUX_CLOSING)
		return 0;
	vhost_user_reply(&answer, c->msg.header.request, size);
	memcpy(answer.payload.bytes, payload, size);
	if (env_stream_write(c->stream, &answer.header, sizeof(answer.header) + size, &fd, fd >= 0) != 0)
		connection_close(c, "it does not take our answers");
	return 0;
}

/* The front end wants a number as acknowledgement: 0 for success. */
static bool connection_wants_acknowledgement(const struct vux_connection *c)
{
	return connection_has(c, VHOST_USER_PROTOCOL_F_REPLY_ACK) && (c->msg.header.flags & VHOST_USER_NEED_REPLY) != 0 &&
		!vhost_user_replies(c->msg.header.request, VHOST_USER_FRONT_REQUEST);
}

static void connection_acknowledge(struct vux_connection *c, bool failed)
{
	uint64_t value = failed;

	WEFT_ASSERT(connection_wants_acknowledgement(c));
	connection_reply(c, &value, sizeof(value), -1);
}

/* Understood, but refused. Without an acknowledgement the front end would go on as if all were well. */
static void connection_refuse(struct vux_connection *c)
{
	WEFT_ASSERT(c->why.text[0] != '\0');
	if (!connection_wants_acknowledgement(c)) {
		connection_close(c, c->why.text);
		return;
	}
	weft_log(connection_core(c), WEFT_LOG_WARN, "%s: client %u: %s", c->exp->object.name, c->number, c->why.text);
	connection_acknowledge(c, true);
}

/* Not understood: what follows cannot be understood either. */
static void connection_protocol_error(struct vux_connection *c, const char *why)
{
	struct weft_why text;

	WEFT_ASSERT(c->received >= sizeof(c->msg.header) && why != NULL);
	weft_why(&text, 0, "message %s (%u): %s", vhost_user_name(c->msg.header.request),
		c->msg.header.request, why);
	connection_close(c, text.text);
}

/* ---- one message ---- */

static void connection_message_ended(struct vux_connection *c, int status)
{
	WEFT_ASSERT(status <= 0 && c->after == NULL);
	if (status < 0)
		connection_refuse(c);
	else if (connection_wants_acknowledgement(c))
		connection_acknowledge(c, false);
	connection_drop_fds(c);
	c->received = 0;
	connection_take_ahead(c);
}

/* With more said than has been read, which nobody waits for any longer. */
static void connection_left(void *self)
{
	connection_close(self, NULL);
}

/* While a message waits: the front end may leave. What else it says has to wait. */
static void connection_listen(void *self)
{
	struct vux_connection *c = self;
	unsigned nfds = (unsigned)WEFT_COUNT(c->ahead_fds) - c->ahead_nfds;
	int64_t got = env_stream_read(c->stream, c->ahead + c->ahead_received, sizeof(c->ahead) - c->ahead_received,
		c->ahead_fds + c->ahead_nfds, &nfds);

	WEFT_ASSERT(control_is_here(c->exp) && c->after != NULL && c->state == VUX_OPEN);
	if (got == -EAGAIN)
		return;
	if (got <= 0) {
		connection_close(c, got == 0 ? NULL : strerrordesc_np((int)-got));
		return;
	}
	c->ahead_received += (uint32_t)got;
	c->ahead_nfds += nfds;
	if (c->ahead_received == sizeof(c->ahead))
		env_stream_watch_end(c->stream, connection_left, c);
}

/* A message is there, whole. False: the rest has to wait. */
static bool connection_message(struct vux_connection *c)
{
	const char *why = vhost_user_check(&c->msg, c->nfds, VHOST_USER_FRONT_REQUEST);
	int status;

	WEFT_ASSERT(c->state == VUX_OPEN && c->received == sizeof(c->msg.header) + c->msg.header.size);
	if (why != NULL) {
		connection_protocol_error(c, why);
		return false;
	}
	status = message_handle(c);
	if (status != MESSAGE_WAITS) {
		connection_message_ended(c, status);
		return true;
	}
	WEFT_ASSERT(c->after != NULL);
	env_stream_watch(c->stream, connection_listen, c);
	connection_settle(c);
	connection_settled(c);
	return false;
}

/* Bytes of the present message that are still to come. The size in the header was checked when the header was complete. */
static uint32_t connection_missing(const struct vux_connection *c)
{
	uint32_t header = sizeof(c->msg.header);

	WEFT_ASSERT(c->received < header || c->received - header <= c->msg.header.size);
	return c->received < header ? header - c->received : header + c->msg.header.size - c->received;
}

/* Where the next byte goes. */
static uint8_t *connection_room(struct vux_connection *c)
{
	return (uint8_t *)&c->msg + offsetof(struct vhost_user_msg, header) + c->received;
}

/* Reads once. 1: something came; 0: nothing there, or the connection has been closed. */
static int connection_read(struct vux_connection *c)
{
	uint32_t missing = connection_missing(c);
	unsigned nfds = (unsigned)WEFT_COUNT(c->fds) - c->nfds;
	int64_t got = env_stream_read(c->stream, connection_room(c), missing, c->fds + c->nfds, &nfds);
	const char *why;

	WEFT_ASSERT(c->state != VUX_CLOSING && c->nfds <= WEFT_COUNT(c->fds) && missing > 0);
	if (got == -EAGAIN)
		return 0;
	if (got <= 0) {
		connection_close(c, got == 0 ? NULL : strerrordesc_np((int)-got));
		return 0;
	}
	WEFT_ASSERT(got <= missing);
	c->nfds += nfds;
	c->received += (uint32_t)got;
	if (c->received == sizeof(c->msg.header)) {
		why = vhost_user_check_header(&c->msg.header, VHOST_USER_FRONT_REQUEST);
		if (why != NULL) {
			connection_protocol_error(c, why);
			return 0;
		}
	}
	return 1;
}

static bool connection_has_message(const struct vux_connection *c)
{
	return c->received >= sizeof(c->msg.header) && connection_missing(c) == 0;
}

static void connection_readable(void *self)
{
	struct vux_connection *c = self;

	WEFT_ASSERT(control_is_here(c->exp) && c->state != VUX_WAITING);
	/* Several messages in a row, but not for ever: other clients want to be heard, too. */
	for (unsigned i = 0; i < 64 && c->state == VUX_OPEN && c->after == NULL; i++)
		if (connection_has_message(c) ? !connection_message(c) : connection_read(c) == 0)
			return;
}

/* Who waits may go away again, which only reading shows. A header is all that is read: the message waits, too. */
static void connection_waits(void *self)
{
	struct vux_connection *c = self;

	WEFT_ASSERT(control_is_here(c->exp) && c->state == VUX_WAITING);
	if (connection_read(c) != 0 && c->received == sizeof(c->msg.header))
		env_stream_watch_end(c->stream, connection_left, c);
}

/* ---- settling ---- */

void connection_changed(struct vux_connection *c)
{
	WEFT_ASSERT(control_is_here(c->exp));
	for (unsigned i = 0; i < c->exp->queues; i++)
		if (c->ring[i] != NULL)
			ring_changed(c->ring[i]);
}

void connection_settle(struct vux_connection *c)
{
	WEFT_ASSERT(control_is_here(c->exp));
	for (unsigned i = 0; i < c->exp->queues; i++)
		if (c->ring[i] != NULL)
			ring_settle(c->ring[i]);
	cache_settle(c);
}

static bool connection_rings_are_settled(const struct vux_connection *c)
{
	WEFT_ASSERT(control_is_here(c->exp));
	for (unsigned i = 0; i < c->exp->queues; i++)
		if (c->ring[i] != NULL && !ring_is_settled(c->ring[i]))
			return false;
	return true;
}

bool connection_is_settled(const struct vux_connection *c)
{
	return connection_rings_are_settled(c) && cache_is_settled(c);
}

static void connection_free(struct vux_connection *c)
{
	struct vux_export *exp = c->exp;
	struct vux_connection **link = &exp->connections;

	WEFT_ASSERT(c->state == VUX_CLOSING && c->channel == NULL && c->nfds == 0);
	cache_drop(c);
	/* Only now: who sees the end of the stream knows that nothing of ours touches his memory any more. */
	env_stream_close(c->stream);
	for (unsigned i = 0; i < exp->queues; i++)
		if (c->ring[i] != NULL)
			ring_destroy(c->ring[i]);
	memory_drop_all(c);
	area_drop(&c->inflight);
	area_drop(&c->old_inflight);
	area_drop(&c->log);
	area_drop(&c->old_log);
	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	WEFT_ASSERT(exp->open > 0);
	exp->open--;
	weft_free(export_core(exp), c);
}

/* When all has settled that the message waits for, what it wanted then is done; that may want to wait once more. */
static void connection_after(struct vux_connection *c)
{
	int status = MESSAGE_WAITS;

	while (status == MESSAGE_WAITS && connection_rings_are_settled(c) && !c->flush.wanted) {
		int (*after)(struct vux_connection *) = c->after;

		WEFT_ASSERT(after != NULL);
		c->after = NULL;
		status = after(c);
		if (status == MESSAGE_WAITS)
			connection_settle(c);
	}
	if (status == MESSAGE_WAITS)
		return;
	connection_message_ended(c, status);
	if (c->state == VUX_OPEN)
		env_stream_watch(c->stream, connection_readable, c);
}

void connection_settled(struct vux_connection *c)
{
	struct vux_export *exp = c->exp;

	WEFT_ASSERT(control_is_here(c->exp) && (c->after == NULL || c->state == VUX_OPEN));
	if (c->after != NULL)
		connection_after(c);
	if ((c->state == VUX_CLOSING && c->go_on_msg.posted) || !connection_is_settled(c))
		return;
	if (c->state == VUX_CLOSING)
		connection_free(c);
	export_settled(exp);
}

/* ---- beginning and end: never inside of what found the reason for it ---- */

static void connection_go_on_msg(void *self)
{
	struct vux_connection *c = self;

	WEFT_ASSERT(control_is_here(c->exp));
	if (c->state == VUX_OPEN) {
		connection_readable(c);
		return;
	}
	WEFT_ASSERT(c->state == VUX_CLOSING);
	connection_settle(c);
	connection_settled(c);
}

static void connection_go_on_later(struct vux_connection *c)
{
	WEFT_ASSERT(c->state != VUX_WAITING);
	if (c->go_on_msg.posted)
		return;
	c->go_on_msg = (struct weft_msg){ .fn = connection_go_on_msg, .self = c };
	weft_reactor_post(connection_core(c)->reactor[0], &c->go_on_msg);
}

/* Who has sent a message and left cannot be told from who waits: the one that has waited longest makes room. */
static void connection_turn_away_oldest(struct vux_export *exp)
{
	struct vux_connection *c = exp->connections;

	WEFT_ASSERT(exp->waiting > 0);
	while (c->state != VUX_WAITING)
		c = c->next;
	connection_close(c, "too many wait");
}

void connection_open(struct vux_export *exp, struct env_stream *stream)
{
	struct weft_core *core = export_core(exp);
	struct vux_connection **link = &exp->connections, *c = weft_alloc(core, sizeof(*c));

	WEFT_ASSERT(control_is_here(exp) && exp->waiting <= VUX_WAITING_MAX);
	if (c == NULL) {
		weft_log(core, WEFT_LOG_WARN, "%s: a client is turned away: there is no memory for it", exp->object.name);
		env_stream_close(stream);
		return;
	}
	if (exp->waiting == VUX_WAITING_MAX)
		connection_turn_away_oldest(exp);
	c->exp = exp;
	c->stream = stream;
	c->number = ++exp->numbers;
	c->write_cache = true;
	c->state = VUX_WAITING;
	while (*link != NULL)
		link = &(*link)->next;
	*link = c;
	exp->waiting++;
	env_stream_watch(stream, connection_waits, c);
	if (exp->open >= exp->clients)
		weft_log(core, WEFT_LOG_INFO, "%s: client %u waits until one of %u leaves (clients=)", exp->object.name,
			c->number, exp->open);
	export_settled(exp);
}

void connection_admit(struct vux_connection *c)
{
	WEFT_ASSERT(c->state == VUX_WAITING && c->exp->waiting > 0 && c->exp->open < c->exp->clients);
	c->state = VUX_OPEN;
	c->exp->waiting--;
	c->exp->open++;
	weft_log(connection_core(c), WEFT_LOG_INFO, "%s: client %u has connected", c->exp->object.name, c->number);
	env_stream_watch(c->stream, connection_readable, c);
	connection_go_on_later(c); /* a message may be there already */
}

void connection_close(struct vux_connection *c, const char *why)
{
	WEFT_ASSERT(control_is_here(c->exp) && (c->state != VUX_WAITING || c->exp->waiting > 0));
	if (c->state == VUX_CLOSING)
		return;
	if (why != NULL)
		weft_log(connection_core(c), WEFT_LOG_WARN, "%s: client %u is disconnected: %s", c->exp->object.name,
			c->number, why);
	else
		weft_log(connection_core(c), WEFT_LOG_INFO, "%s: client %u has left", c->exp->object.name, c->number);
	if (c->state == VUX_WAITING) {
		c->exp->waiting--;
		c->exp->open++; /* until it is freed */
	}
	c->state = VUX_CLOSING;
	c->after = NULL;
	connection_drop_fds(c);
	c->received = 0;
	connection_take_ahead(c);
	connection_drop_fds(c);
	channel_close(c);
	env_stream_watch(c->stream, NULL, NULL);
	connection_go_on_later(c);
}
