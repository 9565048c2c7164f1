/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control side of a copy, on the control reactor. Each step asks all workers and goes on when the last one has answered:
 *
 *   open -> copy -> settle -> (verify ->) close
 *
 * What was copied is settled at intervals, too: marks are read, then the destination is flushed, then the state file is written
 * by a worker of the environment (C2). One at a time: the last one of a phase waits for the one under way.
 */
#include <errno.h>
#include <string.h>

#include <weft/memory.h>

#include "cli/copy.h"

#include "core/reactor.h"

#define PART_GRAIN (64u << 10)

static struct weft_reactor *control(const struct copy *copy)
{
	return copy->core->reactor[0];
}

static void failed(struct copy *copy, int error, const struct weft_why *why)
{
	if (copy->status != 0 || error == 0)
		return;
	copy->status = error;
	copy->why = *why;
}

/* ---- memory, sizes ---- */

int copy_open(struct copy *copy, struct weft_why *why)
{
	const struct copy_options *o = &copy->options;
	uint64_t each = 2 * COPY_MAP_BYTES + o->depth * o->piece_bytes * (o->verify ? 2 : 1);
	int error = io_memory_open(&copy->memory, copy->core, "weft-copy", each * o->queues, "lower --depth, --bs or --queues",
		why);

	if (error != 0)
		return error;
	copy->worker = weft_alloc_aligned(copy->core, 128, o->queues * sizeof(copy->worker[0]));
	copy->text_room = 64 * COPY_RANGES_MAX + 6 * (strlen(copy->source_text) + strlen(copy->target_text)) + 256;
	copy->text = weft_alloc(copy->core, copy->text_room);
	for (unsigned i = 0; copy->worker != NULL && i < o->queues; i++) {
		copy->worker[i].memory = copy->memory.base + i * each;
		copy->worker[i].pieces = weft_alloc(copy->core, o->depth * sizeof(struct copy_piece));
		if (copy->worker[i].pieces == NULL)
			return weft_why(why, -ENOMEM, "no memory for %u workers: lower --queues", i + 1);
	}
	if (copy->worker == NULL || copy->text == NULL)
		return weft_why(why, -ENOMEM, "no memory for a copy: end something else, or raise the memory limit");
	if (o->resume != NULL && copy_state_print(&copy->before, copy->source_text, copy->target_text, copy->text,
			copy->text_room) < 0)
		return weft_why(why, -EINVAL, "--resume: the devices' names are no UTF-8: rename the files");
	return 0;
}

void copy_free(struct copy *copy)
{
	for (unsigned i = 0; copy->worker != NULL && i < copy->options.queues; i++)
		weft_free(copy->core, copy->worker[i].pieces);
	weft_free(copy->core, copy->worker);
	weft_free(copy->core, copy->text);
	io_memory_close(&copy->memory);
	copy->worker = NULL;
	copy->text = NULL;
}

static int check_state(struct copy *copy, struct weft_why *why)
{
	const struct copy_state *before = &copy->before;

	if (before->n > 0 && before->size != copy->size)
		return weft_why(why, -EINVAL, "--resume='%.80s': the source had %llu bytes then, it has %llu now: remove the "
			"file, and "
			"the copy begins anew", copy->options.resume, (unsigned long long)before->size,
			(unsigned long long)copy->size);
	for (unsigned i = 0; i < before->n; i++)
		if (((before->range[i].from | before->range[i].to) & (copy->align - 1)) != 0)
			return weft_why(why, -EINVAL, "--resume='%.80s': its ranges do not fit blocks of %llu bytes: remove the "
				"file, and the "
				"copy begins anew", copy->options.resume, (unsigned long long)copy->align);
	return 0;
}

int copy_check(struct copy *copy, struct weft_why *why)
{
	const struct weft_blk *source = copy->source, *target = copy->target;

	copy->size = source->size;
	copy->align = source->block > target->block ? source->block : target->block;
	if (target->readonly)
		return weft_why(why, -EINVAL, "'%.80s': the destination is read-only: open it for writing (readonly=off)",
			copy->target_text);
	if (target->size < source->size)
		return weft_why(why, -EINVAL, "'%.60s': the destination has %llu bytes, less than the %llu of the source: give a "
			"larger "
			"one, or copy a part (slice:[SOURCE],size=%llu)", copy->target_text, (unsigned long long)target->size,
			(unsigned long long)source->size, (unsigned long long)target->size);
	if (copy->size % copy->align != 0)
		return weft_why(why, -EINVAL, "'%.60s': the source has %llu bytes, no multiple of the destination's block of "
			"%llu: give a "
			"destination with smaller blocks, or a longer source", copy->source_text, (unsigned long long)copy->size,
			(unsigned long long)copy->align);
	if (copy->options.piece_bytes % copy->align != 0)
		return weft_why(why, -EINVAL, "--bs=%llu: must be a multiple of the blocks of both devices: give --bs %llu",
			(unsigned long long)copy->options.piece_bytes,
			(unsigned long long)((copy->options.piece_bytes / copy->align + 1) * copy->align));
	return check_state(copy, why);
}

/* Whole grains, and the last one takes what is left over. */
static void parts_fill(struct copy *copy)
{
	uint64_t n = copy->options.queues, grain = copy->align > PART_GRAIN ? copy->align : PART_GRAIN;
	uint64_t each = copy->size / n / grain * grain;

	for (unsigned i = 0; i < n; i++) {
		struct copy_worker *w = &copy->worker[i];

		w->copy = copy;
		w->reactor = copy->core->reactor[1 + i];
		w->from = i * each;
		w->to = i + 1 < n ? (i + 1) * each : copy->size;
		w->order_tail = &w->order;
		atomic_store(&w->mark, w->from);
		w->up_msg = (struct weft_msg){ .fn = copy_worker_answers, .self = w };
		w->flushed_msg = (struct weft_msg){ .fn = copy_worker_flushed, .self = w };
	}
}

/* ---- asking all workers ---- */

static void ask_all(struct copy *copy, weft_reactor_fn *what)
{
	WEFT_ASSERT(copy->busy == 0);
	copy->busy = (unsigned)copy->options.queues;
	for (unsigned i = 0; i < copy->options.queues; i++) {
		copy->worker[i].down_msg = (struct weft_msg){ .fn = what, .self = &copy->worker[i] };
		weft_reactor_post(copy->worker[i].reactor, &copy->worker[i].down_msg);
	}
}

static void stop_all(struct copy *copy)
{
	for (unsigned i = 0; i < copy->options.queues; i++) {
		struct copy_worker *w = &copy->worker[i];

		if (w->stop_msg.fn != NULL) /* no phase follows one that was stopped */
			continue;
		w->stop_msg = (struct weft_msg){ .fn = copy_worker_stop, .self = w };
		weft_reactor_post(w->reactor, &w->stop_msg);
	}
}

/* ---- the end ---- */

static void target_closed(struct weft_task *task, int status)
{
	struct copy *copy = WEFT_CONTAINER(task, struct copy, task);

	(void)status;
	copy->ended(copy, copy->status);
}

static void source_closed(struct weft_task *task, int status)
{
	struct copy *copy = WEFT_CONTAINER(task, struct copy, task);

	copy->task.done = target_closed;
	if (copy->target_stack != NULL)
		weft_stack_close(copy->target_stack, task);
	else
		target_closed(task, status);
}

static void stacks_close(struct copy *copy)
{
	copy->elapsed_ns = copy->begun_ns == 0 ? 0 : weft_reactor_now(control(copy)) - copy->begun_ns;
	copy->task.done = source_closed;
	if (copy->source_stack != NULL)
		weft_stack_close(copy->source_stack, &copy->task);
	else
		source_closed(&copy->task, 0);
}

static void sessions_close(struct copy *copy)
{
	WEFT_ASSERT(!copy->settling);
	weft_timer_disarm(control(copy), &copy->timer);
	copy->phase = COPY_CLOSING;
	ask_all(copy, copy_worker_close);
}

/* ---- settling ---- */

static void settled(struct copy *copy);

static void work_done(struct env_work *work)
{
	struct copy *copy = WEFT_CONTAINER(work, struct copy, work);

	failed(copy, copy->work_error, &copy->work_why);
	settled(copy);
}

static void state_write(struct env_work *work)
{
	struct copy *copy = WEFT_CONTAINER(work, struct copy, work);

	copy->work_error = env_file_write(copy->core->env, copy->options.resume, copy->text, copy->text_len, &copy->work_why);
}

static void state_remove(struct env_work *work)
{
	struct copy *copy = WEFT_CONTAINER(work, struct copy, work);

	copy->work_error = env_file_remove(copy->core->env, copy->options.resume, &copy->work_why);
}

static void work_start(struct copy *copy, void (*run)(struct env_work *work))
{
	copy->work = (struct env_work){ .run = run, .done = work_done, .loop = copy->core->reactor[0]->loop };
	env_work_submit(copy->work.loop, &copy->work);
}

void copy_worker_flushed(void *worker)
{
	struct copy *copy = ((struct copy_worker *)worker)->copy;
	int error = ((struct copy_worker *)worker)->flush_error;
	struct weft_why why;
	long len;

	if (error != 0)
		failed(copy, copy_flush_why(copy, error, &why), &why);
	if (error != 0 || copy->options.resume == NULL) {
		settled(copy);
		return;
	}
	len = copy_state_print(&copy->now, copy->source_text, copy->target_text, copy->text, copy->text_room);
	if (len < 0 || (size_t)len > copy->text_room) {
		copy->work_error = weft_why(&copy->work_why, -ENOMEM, "--resume='%.80s': no memory for it", copy->options.resume);
		work_done(&copy->work);
		return;
	}
	copy->text_len = (size_t)len;
	work_start(copy, state_write);
}

static void settle(struct copy *copy)
{
	WEFT_ASSERT(!copy->settling);
	copy->settling = true;
	copy->now = copy->before;
	copy->now.size = copy->size;
	for (unsigned i = 0; i < copy->options.queues; i++)
		copy_state_add(&copy->now, copy->worker[i].from,
			atomic_load_explicit(&copy->worker[i].mark, memory_order_acquire));
	copy->worker[0].flush_msg = (struct weft_msg){ .fn = copy_worker_flush, .self = &copy->worker[0] };
	weft_reactor_post(copy->worker[0].reactor, &copy->worker[0].flush_msg);
}

static void interval_begin(struct copy *copy)
{
	if (copy->options.resume != NULL)
		weft_timer_arm(control(copy), &copy->timer, weft_reactor_now(control(copy)) + copy->options.checkpoint_ns);
}

static void interval_over(void *self)
{
	struct copy *copy = self;

	WEFT_ASSERT(copy->phase == COPY_COPYING && copy->busy > 0);
	settle(copy);
}

/* ---- phases ---- */

static void phase_begin(struct copy *copy, enum copy_phase phase)
{
	WEFT_ASSERT(!copy->stopping && copy->status == 0);
	copy->phase = phase;
	ask_all(copy, copy_worker_go);
	if (phase == COPY_COPYING)
		interval_begin(copy);
}

/* All of this phase was done, and no phase is left. */
static bool is_through(const struct copy *copy)
{
	if (copy->phase != (copy->options.verify ? COPY_VERIFYING : COPY_COPYING))
		return false;
	for (unsigned i = 0; i < copy->options.queues; i++)
		if (atomic_load_explicit(&copy->worker[i].mark, memory_order_acquire) != copy->worker[i].to)
			return false;
	return true;
}

/* No worker is running. What says where to go on goes when all has been done, or when it was not true (verifying). */
static void finish(struct copy *copy)
{
	if (copy->status == 0 && !is_through(copy))
		copy->status = -EINTR;
	if (copy->options.resume == NULL || (copy->status != 0 && copy->status != -EILSEQ)) {
		sessions_close(copy);
		return;
	}
	copy->settling = copy->removing = true;
	work_start(copy, state_remove);
}

static void settled(struct copy *copy)
{
	copy->settling = false;
	if (copy->removing) {
		sessions_close(copy);
	} else if (copy->busy > 0) {
		if (copy->status != 0)
			stop_all(copy);
		else
			interval_begin(copy);
	} else if (!copy->last) { /* the workers have ended meanwhile */
		copy->last = true;
		settle(copy);
	} else if (copy->status == 0 && !copy->stopping && copy->options.verify) {
		phase_begin(copy, COPY_VERIFYING);
	} else {
		finish(copy);
	}
}

static void workers_ended(struct copy *copy)
{
	weft_timer_disarm(control(copy), &copy->timer);
	if (copy->phase == COPY_VERIFYING) {
		finish(copy);
	} else if (!copy->settling) {
		copy->last = true;
		settle(copy);
	}
}

static void workers_opened(struct copy *copy)
{
	copy->begun_ns = weft_reactor_now(control(copy));
	if (copy->status == 0 && !copy->stopping)
		phase_begin(copy, COPY_COPYING);
	else if (copy->status == 0)
		finish(copy);
	else
		sessions_close(copy);
}

void copy_worker_answers(void *worker)
{
	struct copy_worker *w = worker;
	struct copy *copy = w->copy;

	failed(copy, w->error, &w->why);
	WEFT_ASSERT(copy->busy > 0);
	copy->busy--;
	if (copy->status != 0 && copy->phase != COPY_OPENING && copy->phase != COPY_CLOSING)
		stop_all(copy);
	if (copy->busy > 0)
		return;
	if (copy->phase == COPY_OPENING)
		workers_opened(copy);
	else if (copy->phase == COPY_CLOSING)
		stacks_close(copy);
	else
		workers_ended(copy);
}

void copy_stop(struct copy *copy)
{
	copy->stopping = true;
	if (copy->phase == COPY_COPYING || copy->phase == COPY_VERIFYING)
		stop_all(copy);
}

/* ---- the beginning ---- */

static void target_opened(struct weft_task *task, int status)
{
	struct copy *copy = WEFT_CONTAINER(task, struct copy, task);

	failed(copy, status, &task->why);
	if (status != 0)
		stacks_close(copy);
	else
		ask_all(copy, copy_worker_open);
}

static void source_opened(struct weft_task *task, int status)
{
	struct copy *copy = WEFT_CONTAINER(task, struct copy, task);

	failed(copy, status, &task->why);
	if (status == 0) {
		task->done = target_opened;
		status = weft_stack_open(copy->core, copy->target, "copy to", &copy->target_stack, task);
		failed(copy, status, &task->why);
	}
	if (status != 0)
		stacks_close(copy);
}

void copy_begin(struct copy *copy)
{
	int error;

	WEFT_ASSERT(copy->size > 0 && copy->core->reactors > copy->options.queues);
	parts_fill(copy);
	copy->timer = (struct weft_timer){ .fn = interval_over, .self = copy };
	copy->task.done = source_opened;
	error = weft_stack_open(copy->core, copy->source, "copy from", &copy->source_stack, &copy->task);
	if (error != 0)
		source_opened(&copy->task, error);
}

void copy_sum(const struct copy *copy, struct copy_progress *out)
{
	*out = (struct copy_progress){ .phase = copy->phase, .size = copy->size };
	for (unsigned i = 0; copy->worker != NULL && i < copy->options.queues; i++) {
		const struct copy_worker *w = &copy->worker[i];

		out->at += atomic_load_explicit(&w->mark, memory_order_relaxed) - w->from;
		out->counts.data += __atomic_load_n(&w->counts.data, __ATOMIC_RELAXED);
		out->counts.zeroed += __atomic_load_n(&w->counts.zeroed, __ATOMIC_RELAXED);
		out->counts.left_zero += __atomic_load_n(&w->counts.left_zero, __ATOMIC_RELAXED);
		out->counts.settled += __atomic_load_n(&w->counts.settled, __ATOMIC_RELAXED);
		out->counts.compared += __atomic_load_n(&w->counts.compared, __ATOMIC_RELAXED);
	}
}
