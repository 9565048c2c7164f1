/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who waits for whom. A change waits for those that came before it, overlap it, and of which one is alone (W1, W2). Each knows only
 * how many these are: when one ends, it is found by those that came after it. As long as none is alone nobody looks at anybody.
 */
#include "devices/compare_write/changes.h"

static bool overlap(const struct change *a, const struct change *b)
{
	return a->offset < b->end && b->offset < a->end;
}

static void add(struct change_list *list, struct change *change)
{
	change->next = NULL;
	change->prev = list->last;
	*(list->last != NULL ? &list->last->next : &list->first) = change;
	list->last = change;
}

static void take_out(struct change_list *list, struct change *change)
{
	WEFT_ASSERT(change->prev != NULL || list->first == change);
	*(change->prev != NULL ? &change->prev->next : &list->first) = change->next;
	*(change->next != NULL ? &change->next->prev : &list->last) = change->prev;
}

static uint32_t count(const struct change_list *list, const struct change *late)
{
	uint32_t n = 0;

	for (const struct change *change = list->first; change != NULL; change = change->next)
		n += overlap(change, late);
	return n;
}

bool change_enter(struct changes *changes, struct change *change)
{
	WEFT_ASSERT(change->offset < change->end);
	change->number = changes->number++;
	change->before = count(&changes->list[true], change);
	if (WEFT_UNLIKELY(change->alone))
		change->before += count(&changes->list[false], change);
	add(&changes->list[change->alone], change);
	return change->before == 0;
}

/* Those that came after it have one less before them. */
static void let_go(struct changes *changes, const struct change_list *list, const struct change *gone)
{
	for (struct change *change = list->first; change != NULL; change = change->next) {
		if (change->number < gone->number || !overlap(change, gone))
			continue;
		WEFT_ASSERT(change->before > 0); /* W1 */
		if (--change->before == 0)
			changes->go(change);
	}
}

void change_leave(struct changes *changes, struct change *change)
{
	take_out(&changes->list[change->alone], change);
	let_go(changes, &changes->list[true], change);
	if (WEFT_UNLIKELY(change->alone))
		let_go(changes, &changes->list[false], change);
}
