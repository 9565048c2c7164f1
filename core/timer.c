/* SPDX-License-Identifier: BSD-2-Clause */
/* Timers: a pairing heap embedded in its owners; the earliest on top. */
#include "core/reactor.h"

/* `prev` is the parent for a first child, else the sibling before. */
static struct weft_timer *meld(struct weft_timer *a, struct weft_timer *b)
{
	struct weft_timer *swap;

	WEFT_ASSERT(a == NULL || a != b);
	if (a == NULL || b == NULL)
		return a != NULL ? a : b;
	if (b->at_ns < a->at_ns)
		swap = a, a = b, b = swap;
	b->sibling = a->child;
	if (b->sibling != NULL)
		b->sibling->prev = b;
	b->prev = a;
	a->child = b;
	return a;
}

/* Melds siblings in pairs, then the pairs from the last to the first. */
static struct weft_timer *meld_siblings(struct weft_timer *first)
{
	struct weft_timer *pairs = NULL, *all = NULL;

	while (first != NULL) {
		struct weft_timer *a = first, *b = a->sibling, *pair;

		first = b != NULL ? b->sibling : NULL;
		a->sibling = a->prev = NULL;
		if (b != NULL)
			b->sibling = b->prev = NULL;
		pair = meld(a, b);
		pair->sibling = pairs;
		pairs = pair;
	}
	while (pairs != NULL) {
		struct weft_timer *next = pairs->sibling;

		pairs->sibling = NULL;
		all = meld(all, pairs);
		pairs = next;
	}
	return all;
}

void weft_timer_arm(struct weft_reactor *reactor, struct weft_timer *timer, uint64_t at_ns)
{
	WEFT_ASSERT(!timer->armed && timer->fn != NULL);
	timer->armed = true;
	timer->at_ns = at_ns;
	timer->child = timer->sibling = timer->prev = NULL;
	reactor->timers = meld(reactor->timers, timer);
}

void weft_timer_disarm(struct weft_reactor *reactor, struct weft_timer *timer)
{
	struct weft_timer *below;

	if (!timer->armed)
		return;
	timer->armed = false;
	below = meld_siblings(timer->child);
	if (reactor->timers == timer) {
		reactor->timers = below;
	} else {
		WEFT_ASSERT(timer->prev != NULL);
		if (timer->prev->child == timer)
			timer->prev->child = timer->sibling;
		else
			timer->prev->sibling = timer->sibling;
		if (timer->sibling != NULL)
			timer->sibling->prev = timer->prev;
		reactor->timers = meld(reactor->timers, below);
	}
	timer->child = timer->sibling = timer->prev = NULL;
}
