/* SPDX-License-Identifier: BSD-2-Clause */
/* What a change that is under way waits for: which change of which device, since when, what for, and which requests hold it up. */
#include <stdio.h>
#include <string.h>

#include <weft/blk.h>

#include "cli/serve.h"
#include "cli/show.h"

#include "core/blk.h"
#include "core/reactor.h"
#include "core/stack.h"
#include "env/env.h"

/* The export that is to drain; NULL: that is not what it waits for. */
static const struct serve_export *drains(const struct order *change)
{
	return change->resized == NULL && change->change.step == CHANGE_FREEZES ? change->change.at : NULL;
}

void waits_begin(struct waits *waits, const struct order *change)
{
	const struct serve_export *e = change != NULL ? drains(change) : NULL;

	*waits = (struct waits){ .asked_ns = UINT64_MAX };
	if (e != NULL)
		snprintf(waits->stack, sizeof(waits->stack), "%s", e->object->name);
}

struct visit {
	struct waits *waits;
	const struct weft_reactor *reactor;
};

static void take_oldest(void *arg, struct weft_slot *slot)
{
	const struct visit *visit = arg;
	const struct weft_hop *top = hop_child(&slot->root, 0); /* a root is asked by nobody */
	struct waits *waits = visit->waits;

	if (strcmp(slot->session->stack->name, waits->stack) != 0)
		return;
	waits->requests++;
	if (top->state == WEFT_HOP_IDLE || top->asked_at >= waits->asked_ns)
		return; /* idle: it waits in line itself */
	waits->asked_ns = top->asked_at;
	weft_hop_path(&slot->root, weft_reactor_now(visit->reactor), waits->oldest, sizeof(waits->oldest));
}

void waits_visit(struct waits *waits, struct weft_reactor *reactor)
{
	struct visit visit = { waits, reactor };

	if (waits->stack[0] != '\0')
		slots_each(reactor, take_oldest, &visit);
}

/* ---- telling ---- */

static uint64_t in_flight(const struct weft_object *object)
{
	const struct weft_blk *blk = weft_object_query(object, &weft_blk_iface);
	struct weft_stats stats = { .in_flight = 0 };

	if (blk != NULL)
		weft_blk_stats(blk, &stats);
	return stats.in_flight;
}

/* The lowest device with requests in flight: they can have been left behind (timeout), and nobody above waits for them. */
static const struct weft_object *busy_below(const struct weft_object *object)
{
	const struct weft_object *below, *busy;

	for (unsigned i = 0; (below = objects_below(object, i, NULL)) != NULL; i++)
		if ((busy = busy_below(below)) != NULL)
			return busy;
	return in_flight(object) > 0 ? object : NULL;
}

static void tell_busy(const struct weft_object *object, json_t *told)
{
	const struct weft_object *busy = busy_below(object);

	if (busy != NULL)
		json_object_set_new(told, "busy", json_pack("{s:o, s:I}", "device", show_string(busy->name), "in_flight",
			(json_int_t)in_flight(busy)));
}

static void tell_requests(const struct waits *waits, const struct serve_export *e, json_t *told)
{
	if (strcmp(waits->stack, e->object->name) != 0)
		return; /* it got there after the reactors had been visited */
	json_object_set_new(told, "requests", json_integer(waits->requests));
	if (waits->oldest[0] != '\0')
		json_object_set_new(told, "oldest", show_string(waits->oldest));
	else
		tell_busy(e->of->device, told);
}

/* "vhost-user0 to come to rest" */
static void what_for(const struct order *order, char *text, size_t size)
{
	const struct change *c = &order->change;

	if (order->resized != NULL)
		snprintf(text, size, "%s to take its new size", order->resized->name);
	else if (c->step == CHANGE_FREEZES)
		snprintf(text, size, "%s to come to rest", c->at->object->name);
	else if (c->step == CHANGE_MAKES)
		snprintf(text, size, "%s to start", c->tree->kind != NULL ? c->tree->kind : "the layer");
	else if (c->step == CHANGE_ENDS)
		snprintf(text, size, "%s to stop", c->filter->name);
	else
		snprintf(text, size, "%s to open its device again", c->at->object->name);
}

static json_t *words_json(const struct order *order)
{
	json_t *words = json_array();

	for (unsigned i = 0; i < order->nwords; i++)
		json_array_append_new(words, show_string(order->words[i]));
	return words;
}

void waits_tell(const struct waits *waits, const struct order *change, json_t *told)
{
	const struct served *of;
	json_t *json;
	char text[128];

	if (change == NULL)
		return;
	of = change->resized != NULL ? change->of : change->change.of;
	WEFT_ASSERT(of != NULL);
	what_for(change, text, sizeof(text));
	json = json_pack("{s:s, s:o, s:o, s:I, s:o}", "command", change->kind->name, "args", words_json(change), "device",
		show_string(served_name(change->serve, of)), "for_ns",
		(json_int_t)(env_now_ns(change->serve->w.env) - change->began_ns), "waits_for", show_string(text));
	if (drains(change) != NULL)
		tell_requests(waits, drains(change), json);
	else if (change->resized != NULL)
		tell_busy(change->resized, json);
	json_object_set_new(told, "change", json);
}
