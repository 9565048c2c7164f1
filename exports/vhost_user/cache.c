/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The write cache is switched by the front end. From write-back to write-through: the rings are started anew so that each write
 * is durable before it is answered; then one flush through the stack makes durable what had been answered before; then the
 * message is answered. Rings serve while the flush runs.
 *
 * Invariants:
 *  W1  When the switch to write-through is answered with success, every write that was answered before is durable.
 *  W2  When the flush fails, the switch is refused and the cache is write-back again.
 *  W3  The flush is submitted after the last ring in write-back mode has stopped, while the stack is open (not frozen); the stack
 *      is not closed, and the connection not freed, before it has ended.
 *  W4  A flush that has not ended when patience is over is aborted, and counts as failed, whatever becomes of it: what is below may
 *      be unable to let it go, and then it is late. No other begins before it has ended.
 */
#include <errno.h>
#include <stdio.h>
#include <weft/log.h>

#include "core/stack.h"
#include "exports/vhost_user/vux.h"

static struct vux_connection *connection_of(struct vux_flush *flush)
{
	return WEFT_CONTAINER(flush, struct vux_connection, flush);
}

/* ---- on the flush's reactor ---- */

static void flush_end_msg(void *self)
{
	struct vux_flush *flush = self;
	struct vux_connection *c = connection_of(flush);

	WEFT_ASSERT(flush->session.slots == 0 && flush->status <= 0);
	if (flush->session.reactor != NULL)
		weft_session_close(&flush->session);
	weft_reactor_post(export_core(c->exp)->reactor[0], &flush->ended_msg);
}

/* The session is not closed inside of the unwinding that ends its slot. */
static void flush_end(struct vux_flush *flush, int status)
{
	WEFT_ASSERT(flush->session.slots == 0 && status <= 0);
	flush->status = status;
	weft_reactor_post(weft_reactor_here(), &flush->end_msg);
}

static void flush_done(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(root, struct weft_slot, root);
	struct vux_flush *flush = WEFT_CONTAINER(slot->session, struct vux_flush, session);

	(void)child;
	WEFT_ASSERT(slot->in_use && flush->session.slots == 1 && status <= 0);
	weft_slot_give(slot);
	if (status != 0)
		weft_why(&flush->why, status, "%s", strerrordesc_np(-status));
	flush_end(flush, status);
}

static bool flush_poll(struct weft_source *source)
{
	(void)source;
	return false; /* one request is all */
}

static void flush_begin_msg(void *self)
{
	struct vux_flush *flush = self;
	struct vux_connection *c = connection_of(flush);
	struct weft_slot *slot;
	int status;

	flush->session = (struct weft_session){ .source.poll = flush_poll, .slots_max = 1 };
	snprintf(flush->session.name, sizeof(flush->session.name), "%.20s.%u cache", c->exp->object.name, c->number % 10000);
	status = weft_session_open(&flush->session, weft_reactor_here(), c->exp->stack, &flush->why);
	if (status != 0) {
		flush_end(flush, status);
		return;
	}
	slot = weft_session_slot(&flush->session);
	WEFT_ASSERT(slot != NULL); /* a session is sure of one */
	weft_slot_submit(slot, WEFT_FLUSH, 0, 0, 0, 0, flush_done);
}

/* It may have ended meanwhile, or not have begun; what cannot be aborted goes on. */
static void flush_abort_msg(void *self)
{
	struct vux_flush *flush = self;

	if (flush->session.reactor != NULL)
		slots_abort(weft_reactor_here(), &flush->session, -ETIMEDOUT);
	weft_reactor_post(export_core(connection_of(flush)->exp)->reactor[0], &flush->aborted_msg);
}

/* ---- control ---- */

/* The message that waits may go on. */
static void flush_is_over(struct vux_flush *flush, int result, const char *reason)
{
	struct vux_connection *c = connection_of(flush);

	WEFT_ASSERT(control_is_here(c->exp) && flush->wanted && (result == 0 || reason[0] != '\0'));
	weft_timer_disarm(export_core(c->exp)->reactor[0], &flush->patience);
	flush->wanted = false;
	flush->result = result;
	flush->reason = reason;
}

static void flush_out_of_patience(void *self)
{
	struct vux_flush *flush = self;
	struct vux_connection *c = connection_of(flush);

	WEFT_ASSERT(flush->wanted && (flush->under_way || !flush->late));
	flush_is_over(flush, -ETIMEDOUT, "the device below has not answered a flush within 5 s");
	if (flush->under_way && !flush->late) {
		flush->late = flush->aborting = true;
		weft_reactor_post(flush->reactor, &flush->abort_msg);
	}
	connection_settled(c);
}

static void flush_aborted_msg(void *self)
{
	struct vux_flush *flush = self;
	struct vux_connection *c = connection_of(flush);

	WEFT_ASSERT(control_is_here(c->exp) && flush->aborting);
	flush->aborting = false;
	cache_settle(c);
	connection_settled(c);
}

static void flush_ended_msg(void *self)
{
	struct vux_flush *flush = self;
	struct vux_connection *c = connection_of(flush);

	WEFT_ASSERT(control_is_here(c->exp) && flush->under_way && flush->session.reactor == NULL);
	flush->under_way = false;
	if (flush->late)
		weft_log(export_core(c->exp), WEFT_LOG_INFO, "%s: client %u: the flush that took too long has ended: %s",
			c->exp->object.name, c->number, flush->status == 0 ? "well" : flush->why.text);
	else
		flush_is_over(flush, flush->status, flush->why.text);
	flush->late = false;
	cache_settle(c);
	connection_settled(c);
}

static void flush_begin(struct vux_flush *flush)
{
	struct weft_core *core = export_core(connection_of(flush)->exp);

	WEFT_ASSERT(!flush->late && flush->session.reactor == NULL);
	flush->under_way = true;
	flush->reactor = weft_reactor_pick(core);
	flush->begin_msg = (struct weft_msg){ .fn = flush_begin_msg, .self = flush };
	flush->end_msg = (struct weft_msg){ .fn = flush_end_msg, .self = flush };
	flush->ended_msg = (struct weft_msg){ .fn = flush_ended_msg, .self = flush };
	flush->abort_msg = (struct weft_msg){ .fn = flush_abort_msg, .self = flush };
	flush->aborted_msg = (struct weft_msg){ .fn = flush_aborted_msg, .self = flush };
	weft_reactor_post(flush->reactor, &flush->begin_msg);
}

void cache_settle(struct vux_connection *c)
{
	struct weft_reactor *control = export_core(c->exp)->reactor[0];
	struct vux_flush *flush = &c->flush;

	WEFT_ASSERT(control_is_here(c->exp) && (flush->wanted || !flush->under_way || flush->late));
	if (!flush->wanted || c->state != VUX_OPEN || !export_serves(c->exp))
		return;
	if (!flush->patience.armed) {
		flush->patience = (struct weft_timer){ .fn = flush_out_of_patience, .self = flush };
		weft_timer_arm(control, &flush->patience, weft_reactor_now(control) + VUX_PATIENCE_NS);
	}
	if (cache_is_settled(c))
		flush_begin(flush);
}

bool cache_is_settled(const struct vux_connection *c)
{
	return !c->flush.under_way && !c->flush.aborting;
}

void cache_drop(struct vux_connection *c)
{
	WEFT_ASSERT(c->state == VUX_CLOSING && cache_is_settled(c));
	weft_timer_disarm(export_core(c->exp)->reactor[0], &c->flush.patience);
}

static int after_switch(struct vux_connection *c)
{
	WEFT_ASSERT(!c->flush.wanted);
	return 0;
}

/* The rings are in write-back mode again, as if nothing had been asked. */
static int after_switch_back(struct vux_connection *c)
{
	WEFT_ASSERT(c->write_cache && c->flush.result < 0);
	return weft_why(&c->why, c->flush.result, "SET_CONFIG: the write cache stays on: what it holds cannot be flushed: %s",
		c->flush.reason);
}

static int after_flush(struct vux_connection *c)
{
	WEFT_ASSERT(!c->write_cache && !c->flush.wanted);
	if (c->flush.result == 0)
		return 0;
	c->write_cache = true;
	connection_changed(c);
	c->after = after_switch_back;
	return MESSAGE_WAITS;
}

static int after_write_through(struct vux_connection *c)
{
	WEFT_ASSERT(!c->write_cache && !c->flush.wanted);
	c->flush.wanted = true;
	c->after = after_flush;
	return MESSAGE_WAITS;
}

int cache_switch(struct vux_connection *c, bool on)
{
	WEFT_ASSERT(c->after == NULL && c->write_cache != on);
	c->write_cache = on;
	connection_changed(c);
	c->after = on ? after_switch : after_write_through;
	return MESSAGE_WAITS;
}
