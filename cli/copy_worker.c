/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker: a session on each of the two devices, on one reactor. It goes through its part and hands out one piece after the
 * other, as long as there are free ones; what both devices say of themselves decides what a piece is.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/copy.h"

/* ---- where the worker stands ---- */

/* Pieces that have ended make room, in order; C1. */
static void mark_move(struct copy_worker *w)
{
	struct copy_piece *piece;

	while ((piece = w->order) != NULL && piece->ended && !piece->failed) {
		w->order = piece->next;
		if (w->order == NULL)
			w->order_tail = &w->order;
		piece->next = w->free;
		w->free = piece;
	}
	atomic_store_explicit(&w->mark, w->order != NULL ? w->order->from : w->at, memory_order_release);
}

/* What all have written is about so many times what worker 0 has. */
static void count_unflushed(const struct copy_piece *piece)
{
	struct copy *copy = piece->worker->copy;

	if (copy->phase == COPY_COPYING && piece->worker == &copy->worker[0] && !piece->zero && copy->target->volatile_cache)
		piece->worker->unflushed += piece->len * copy->options.queues;
}

void copy_piece_ended(struct copy_piece *piece)
{
	WEFT_ASSERT(piece->in_flight == 0 && !piece->ended && piece->worker->in_flight > 0);
	count_unflushed(piece);
	piece->ended = true;
	piece->worker->in_flight--;
	mark_move(piece->worker);
}

void copy_failed(struct copy_worker *w, int error, const char *what, uint64_t offset, uint64_t len, bool target)
{
	const struct copy *copy = w->copy;

	w->running = false;
	if (w->error != 0)
		return;
	w->error = error;
	weft_why(&w->why, error, "copy: %s %llu bytes at %llu of %s '%.60s' failed: %s: mend it, then %s", what,
		(unsigned long long)len, (unsigned long long)offset, target ? "the destination" : "the source",
		target ? copy->target_text : copy->source_text, strerrordesc_np(-error),
		copy->options.resume != NULL ? "give the same command again" : "copy again (--resume FILE goes on where it "
		"stopped)");
}

/* ---- what the devices say of themselves ---- */

static void map_ask(struct copy_map *map, uint64_t from, uint64_t to, weft_hop_done *done)
{
	WEFT_ASSERT(from < to && map->slot != NULL && !map->asking);
	map->asking = true;
	memset(map->slot->segs[0].base, 0, COPY_MAP_BYTES);
	weft_slot_submit(map->slot, WEFT_STATUS, 0, from, to - from, 1, done);
}

static void map_told(struct copy_map *map, const struct weft_hop *child, int status)
{
	WEFT_ASSERT(map->asking && child->op == WEFT_STATUS);
	map->asking = false;
	extents_take(&map->told, map->slot->segs[0].base, child->offset, child->offset + child->len, status);
}

static struct copy_worker *worker_of_slot(struct weft_hop *root)
{
	return (struct copy_worker *)(uintptr_t)WEFT_CONTAINER(root, struct weft_slot, root)->tag;
}

static void source_told(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct copy_worker *w = worker_of_slot(root);

	w->in_flight--;
	map_told(&w->source_map, child, status);
}

static void target_told(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct copy_worker *w = worker_of_slot(root);

	w->in_flight--;
	map_told(&w->target_map, child, status);
}

/* Is what the device says of `at` known? Else it is asked. */
static bool is_known(struct copy_worker *w, struct copy_map *map, weft_hop_done *done)
{
	if (w->at >= map->told.from && w->at < map->told.to)
		return true;
	if (!map->asking) {
		w->in_flight++;
		map_ask(map, w->at, w->to, done);
	}
	return false;
}

/* ---- what comes next ---- */

static uint64_t down(const struct copy_worker *w, uint64_t at)
{
	return at & ~(w->copy->align - 1);
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Timers are late, and devices stop for a moment: what is lost by that is made good, but no more than of so long. */
#define RATE_LATE_NS 100000000u

static void rate_spend(struct copy_worker *w, uint64_t len)
{
	const struct copy_options *o = &w->copy->options;
	uint64_t now = weft_reactor_now(w->reactor), from = now < RATE_LATE_NS ? 0 : now - RATE_LATE_NS;

	WEFT_ASSERT(o->rate > 0);
	if (from < w->next_at_ns)
		from = w->next_at_ns;
	w->next_at_ns = from + (uint64_t)((double)len * 1e9 * (double)o->queues / (double)o->rate);
}

static void hand_out(struct copy_worker *w, uint64_t to, bool zero, bool target_zero)
{
	const struct copy_options *o = &w->copy->options;
	struct copy_piece *piece = w->free;

	WEFT_ASSERT(piece != NULL && w->at < to && to <= w->to);
	w->free = piece->next;
	piece->next = NULL;
	*w->order_tail = piece;
	w->order_tail = &piece->next;
	piece->from = w->at;
	piece->len = to - w->at;
	piece->zero = zero;
	piece->target_zero = target_zero;
	w->at = to;
	w->in_flight++;
	if (o->rate != 0 && (!zero || (w->copy->target->ops_can & WEFT_OP_BIT(WEFT_ZERO)) == 0))
		rate_spend(w, piece->len);
	copy_piece_begin(piece);
}

/* Zeroes up to `to`: nothing to do where the destination has them, too. */
static void zeroes_next(struct copy_worker *w, uint64_t to)
{
	const struct copy *copy = w->copy;
	bool target_zero;
	uint64_t same = extents_run(&w->target_map.told, w->at, &target_zero);

	if (copy->options.target_is_zero) {
		target_zero = true;
		same = to;
	}
	if (target_zero && (same >= to || down(w, same) > w->at)) {
		same = same >= to ? to : down(w, same);
		w->counts.left_zero += same - w->at;
		w->at = same;
		mark_move(w);
		return;
	}
	same = least(to, target_zero ? w->at + copy->align : down(w, same + copy->align - 1));
	hand_out(w, least(same, w->at + COPY_ZERO_MAX), true, false);
}

static void data_next(struct copy_worker *w, uint64_t to)
{
	bool target_zero;
	uint64_t same = extents_run(&w->target_map.told, w->at, &target_zero);

	to = least(to, w->at + w->copy->options.piece_bytes);
	hand_out(w, to, false, w->copy->options.target_is_zero || (target_zero && same >= to));
}

/* One step through the part; false: nothing can be done now. */
static bool step(struct copy_worker *w)
{
	const struct copy_range *settled = copy_state_at(&w->copy->before, w->at);
	uint64_t to = w->to, run;
	bool zero, known;

	if (w->free == NULL || w->at == w->to)
		return false;
	if (w->copy->phase == COPY_VERIFYING) { /* C9 */
		hand_out(w, least(to, w->at + w->copy->options.piece_bytes), false, false);
		return true;
	}
	if (settled != NULL) {
		to = least(to, settled->from > w->at ? settled->from : settled->to);
		if (settled->from <= w->at) {
			w->counts.settled += to - w->at;
			w->at = to;
			mark_move(w);
			return true;
		}
	}
	known = is_known(w, &w->source_map, source_told);
	if (!is_known(w, &w->target_map, target_told) || !known) /* both are asked at once */
		return false;
	run = extents_run(&w->source_map.told, w->at, &zero);
	if (zero && (run >= to || down(w, run) > w->at))
		zeroes_next(w, run >= to ? to : down(w, run));
	else
		data_next(w, least(to, down(w, (zero ? w->at + 1 : run) + w->copy->align - 1)));
	return true;
}

/* ---- flushes: worker 0 ---- */

static void flushed(struct weft_hop *root, struct weft_hop *child, int status);

static void flush(struct copy_worker *w)
{
	WEFT_ASSERT(!w->flushing && w == &w->copy->worker[0]);
	w->flushing = true;
	w->flush_answers = w->flush_asked;
	w->unflushed = 0;
	weft_slot_submit(w->flush, WEFT_FLUSH, 0, 0, 0, 0, flushed);
}

/* Control gets its answer, or the flush that it waits for begins. */
static void flush_next(struct copy_worker *w)
{
	if (!w->flush_asked || w->flushing)
		return;
	if (!w->flush_answers && w->flush_error == 0) {
		flush(w);
		return;
	}
	w->flush_asked = w->flush_answers = false;
	weft_reactor_post(w->copy->core->reactor[0], &w->flushed_msg);
}

int copy_flush_why(const struct copy *copy, int error, struct weft_why *why)
{
	return weft_why(why, error, "copy: flushing the destination '%.80s' failed: %s: mend it, then copy again",
		copy->target_text, strerrordesc_np(-error));
}

/* Control hears of it with the worker's answer, or, when that has been given (w->error is control's to read then), with the
 * flush's. */
static void flush_failed(struct copy_worker *w, int error)
{
	WEFT_ASSERT(w->flush_error == 0);
	w->flush_error = error;
	w->running = false;
	if (!w->told && w->error == 0)
		w->error = copy_flush_why(w->copy, error, &w->why);
}

static void flushed(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct copy_worker *w = worker_of_slot(root);

	(void)child;
	w->flushing = false;
	if (status != 0)
		flush_failed(w, status);
	flush_next(w);
}

void copy_worker_flush(void *worker)
{
	struct copy_worker *w = worker;

	WEFT_ASSERT(w->open && !w->flush_asked);
	w->flush_asked = true;
	flush_next(w);
}

static void flush_ahead(struct copy_worker *w)
{
	if (w->unflushed >= w->copy->options.ahead_bytes && !w->flushing && w->flush_error == 0)
		flush(w);
}

/* ---- a turn ---- */

static bool is_early(const struct copy_worker *w)
{
	return w->copy->options.rate != 0 && weft_reactor_now(w->reactor) < w->next_at_ns;
}

static struct copy_worker *worker_of(struct weft_source *source)
{
	return WEFT_CONTAINER(WEFT_CONTAINER(source, struct weft_session, source), struct copy_worker, source);
}

static void answer(struct copy_worker *w)
{
	weft_reactor_post(w->copy->core->reactor[0], &w->up_msg);
}

static bool is_over(const struct copy_worker *w)
{
	return !w->told && w->in_flight == 0 && !w->flushing && (!w->running || w->at == w->to);
}

static bool worker_poll(struct weft_source *source)
{
	struct copy_worker *w = worker_of(source);
	bool any = false;

	flush_ahead(w);
	while (w->running && !is_early(w) && step(w))
		any = true;
	if (!is_over(w))
		return any;
	w->running = false;
	w->told = true;
	answer(w);
	return true;
}

static void nothing(void *self)
{
	(void)self;
}

/* About to sleep: is there work that nothing will wake us for? */
static bool worker_arm(struct weft_source *source)
{
	struct copy_worker *w = worker_of(source);

	if (!w->running || w->free == NULL || w->at == w->to || w->source_map.asking || w->target_map.asking)
		return is_over(w);
	if (!is_early(w))
		return true;
	weft_timer_disarm(w->reactor, &w->timer);
	weft_timer_arm(w->reactor, &w->timer, w->next_at_ns);
	return false;
}

/* The destination's session: what comes back there is looked at by the other one. */
static bool quiet_poll(struct weft_source *source)
{
	(void)source;
	return false;
}

/* ---- messages ---- */

static struct weft_slot *take_slot(struct weft_session *session, const void *tag)
{
	struct weft_slot *slot = weft_session_slot(session);

	if (slot != NULL)
		slot->tag = (uintptr_t)tag;
	return slot;
}

static bool map_open(struct copy_worker *w, struct copy_map *map, struct weft_session *session, uint8_t *memory)
{
	map->slot = take_slot(session, w);
	if (map->slot == NULL)
		return false;
	map->told = (struct extents){ .extent = map->extent, .room = COPY_EXTENTS };
	map->slot->segs[0] = (struct weft_seg){ .base = memory, .len = COPY_MAP_BYTES,
		.region = (uint16_t)w->copy->memory.region };
	return true;
}

static bool slots_open(struct copy_worker *w)
{
	const struct copy_options *o = &w->copy->options;
	uint8_t *memory = w->memory + 2 * COPY_MAP_BYTES;

	if (!map_open(w, &w->source_map, &w->source, w->memory) ||
			!map_open(w, &w->target_map, &w->target, w->memory + COPY_MAP_BYTES))
		return false;
	w->flush = take_slot(&w->target, w);
	for (w->npieces = 0; w->npieces < o->depth; w->npieces++) {
		struct copy_piece *piece = &w->pieces[w->npieces];

		*piece = (struct copy_piece){ .worker = w, .next = w->free, .data = memory };
		memory += o->piece_bytes;
		if (o->verify) {
			piece->other = memory;
			memory += o->piece_bytes;
		}
		piece->source = take_slot(&w->source, piece);
		piece->target = take_slot(&w->target, piece);
		if (piece->source == NULL || piece->target == NULL)
			return false;
		w->free = piece;
	}
	return w->flush != NULL;
}

static void session_fill(struct weft_session *session, const struct copy_worker *w, const char *name)
{
	*session = (struct weft_session){ .slots_max = (uint32_t)w->copy->options.depth + 2 };
	snprintf(session->name, sizeof(session->name), "copy %s", name);
}

void copy_worker_open(void *worker)
{
	struct copy_worker *w = worker;

	w->told = true;
	w->timer = (struct weft_timer){ .fn = nothing };
	session_fill(&w->source, w, "from");
	session_fill(&w->target, w, "to");
	w->source.source = (struct weft_source){ .poll = worker_poll, .arm = worker_arm };
	w->target.source = (struct weft_source){ .poll = quiet_poll };
	w->error = weft_session_open(&w->source, w->reactor, w->copy->source_stack, &w->why);
	if (w->error == 0) {
		w->error = weft_session_open(&w->target, w->reactor, w->copy->target_stack, &w->why);
		if (w->error != 0)
			weft_session_close(&w->source);
	}
	w->open = w->error == 0;
	if (w->open && !slots_open(w))
		w->error = weft_why(&w->why, -ENOSPC, "--depth=%llu: the reactor has not so many slots: lower it",
			(unsigned long long)w->copy->options.depth);
	answer(w);
}

void copy_worker_go(void *worker)
{
	struct copy_worker *w = worker;

	WEFT_ASSERT(w->open && w->told && w->in_flight == 0 && w->order == NULL);
	w->order_tail = &w->order;
	w->at = w->from;
	atomic_store_explicit(&w->mark, w->from, memory_order_release);
	w->source_map.told.to = w->source_map.told.from;
	w->target_map.told.to = w->target_map.told.from;
	w->next_at_ns = weft_reactor_now(w->reactor);
	w->running = true;
	w->told = false;
}

void copy_worker_stop(void *worker)
{
	((struct copy_worker *)worker)->running = false;
}

static void give(struct weft_slot **slot)
{
	if (*slot != NULL)
		weft_slot_give(*slot);
	*slot = NULL;
}

void copy_worker_close(void *worker)
{
	struct copy_worker *w = worker;

	WEFT_ASSERT(!w->running && w->in_flight == 0);
	weft_timer_disarm(w->reactor, &w->timer);
	for (unsigned i = 0; i < w->copy->options.depth; i++) {
		give(&w->pieces[i].source);
		give(&w->pieces[i].target);
	}
	give(&w->source_map.slot);
	give(&w->target_map.slot);
	give(&w->flush);
	if (w->open) {
		weft_session_close(&w->source);
		weft_session_close(&w->target);
	}
	w->open = false;
	answer(w);
}
