/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The channel for our own requests to the front end (SET_BACKEND_REQ_FD). One use: the configuration space has changed. At most
 * one such request is unanswered; what changes meanwhile is told with the next. A front end that never
 * answers is told all the same, later.
 */
#include <errno.h>
#include <string.h>
#include <weft/log.h>

#include "exports/vhost_user/vux.h"

struct vux_channel {
	struct vux_connection *connection;
	struct env_listener *listener; /* that adopts the descriptor */
	struct env_stream *stream;
	uint8_t answer[sizeof(struct vhost_user_header) + sizeof(uint64_t)];
	uint32_t received;             /* bytes of it */
	struct weft_timer patience;    /* with an answer that does not come */
	bool unanswered, again;
};

#define PATIENCE_NS 1000000000ull

static struct weft_reactor *channel_control(const struct vux_channel *ch)
{
	return export_core(ch->connection->exp)->reactor[0];
}

static void channel_tell(struct vux_channel *ch)
{
	struct vux_connection *c = ch->connection;
	bool acknowledged = connection_has(c, VHOST_USER_PROTOCOL_F_REPLY_ACK);
	struct vhost_user_msg msg;
	int status;

	WEFT_ASSERT(ch->stream != NULL && !ch->unanswered && !ch->again);
	vhost_user_request(&msg, VHOST_USER_BACKEND_CONFIG_CHANGE, 0, acknowledged);
	status = env_stream_write(ch->stream, &msg.header, sizeof(msg.header), NULL, 0);

	if (status != 0) {
		weft_log(export_core(c->exp), WEFT_LOG_WARN,
			"%s: client %u cannot be told of the new size: its channel takes nothing (%s)", c->exp->object.name,
			c->number, strerrordesc_np(-status));
		return;
	}
	ch->unanswered = acknowledged;
	if (acknowledged)
		weft_timer_arm(channel_control(ch), &ch->patience, weft_reactor_now(channel_control(ch)) + PATIENCE_NS);
}

/* The answer has come, or is not waited for any more. */
static void channel_answered(void *self)
{
	struct vux_channel *ch = self;

	WEFT_ASSERT(ch->connection->channel == ch && ch->stream != NULL);
	weft_timer_disarm(channel_control(ch), &ch->patience);
	ch->unanswered = false;
	if (!ch->again)
		return;
	ch->again = false;
	channel_tell(ch);
}

static void channel_readable(void *self)
{
	struct vux_channel *ch = self;

	WEFT_ASSERT(ch->connection->channel == ch && ch->received < sizeof(ch->answer));
	/* Not for ever, for a front end that writes without end: other clients want to be heard, too. */
	for (unsigned i = 0; i < 64; i++) {
		int fds[1] = { -1 };
		unsigned nfds = 0;
		int64_t got = env_stream_read(ch->stream, ch->answer + ch->received, sizeof(ch->answer) - ch->received, fds, &nfds);

		if (got == -EAGAIN)
			return;
		if (got <= 0) {
			env_stream_watch(ch->stream, NULL, NULL);
			return;
		}
		ch->received += (uint32_t)got;
		if (ch->received < sizeof(ch->answer))
			continue;
		ch->received = 0;
		channel_answered(ch);
	}
}

static void channel_adopted(void *self, struct env_stream *stream)
{
	struct vux_channel *ch = self;

	WEFT_ASSERT(ch->stream == NULL);
	ch->stream = stream;
	env_stream_watch(stream, channel_readable, ch);
	if (ch->again) {
		ch->again = false;
		channel_tell(ch);
	}
}

int channel_open(struct vux_connection *c, int fd)
{
	struct weft_core *core = export_core(c->exp);
	struct env_listen_wants wants = { .mode = -1, .fd = fd, .connected = true };
	struct vux_channel *ch;
	int status;

	WEFT_ASSERT(control_is_here(c->exp) && c->state == VUX_OPEN);
	channel_close(c);
	ch = weft_alloc(core, sizeof(*ch));
	if (ch == NULL) {
		env_fd_close(core->env, fd);
		return weft_why(&c->why, -ENOMEM, "no memory for the channel to the front end");
	}
	ch->connection = c;
	ch->patience = (struct weft_timer){ .fn = channel_answered, .self = ch };
	status = env_listen(reactor_loop(core->reactor[0]), "unix:", &wants, channel_adopted, ch, &ch->listener, &c->why);
	if (status != 0) {
		weft_free(core, ch);
		return status;
	}
	c->channel = ch;
	return 0;
}

void channel_close(struct vux_connection *c)
{
	struct vux_channel *ch = c->channel;

	WEFT_ASSERT(ch == NULL || ch->connection == c);
	c->channel = NULL;
	if (ch == NULL)
		return;
	weft_timer_disarm(channel_control(ch), &ch->patience);
	if (ch->stream != NULL)
		env_stream_close(ch->stream);
	if (ch->listener != NULL)
		env_listener_close(ch->listener);
	weft_free(export_core(c->exp), ch);
}

void channel_config_changed(struct vux_connection *c)
{
	struct vux_channel *ch = c->channel;

	WEFT_ASSERT(control_is_here(c->exp) && (ch == NULL || ch->connection == c));
	if (ch == NULL || !connection_has(c, VHOST_USER_PROTOCOL_F_CONFIG))
		return;
	if (ch->unanswered || ch->stream == NULL)
		ch->again = true;
	else
		channel_tell(ch);
}
