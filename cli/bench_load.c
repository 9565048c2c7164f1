/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The data path of the load generator. A slot keeps its buffer for life; a completion is answered by the next request
 * at once (at most BENCH_BURST per turn, the rest in the next). No division, no logarithm, no clock of its own: time
 * is the reactor's.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <weft/memory.h>

#include "cli/bench.h"
#include "cli/bench_report.h"

/* root.scratch of a load's slot */
enum { SCRATCH_STARTED, SCRATCH_BLOCK };

/* ---- one request ---- */

static inline uint64_t rng_next(struct bench_load *load)
{
	uint64_t z = load->rng += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 32)) * 0xd6e8feb86659fd93u;
	return z ^ (z >> 32);
}

static inline uint64_t block_next(struct bench_load *load, uint64_t random)
{
	uint64_t at = load->at;

	if (load->random)
		return (uint64_t)(((unsigned __int128)random * load->blocks) >> 64);
	load->at = at + 1 < load->blocks ? at + 1 : 0;
	return at;
}

static unsigned rare_op(const struct bench_load *load, uint64_t random)
{
	static const uint8_t ops[4] = { WEFT_FLUSH, WEFT_ZERO, WEFT_DISCARD, WEFT_FLUSH };
	unsigned op = ops[random & 3];

	return op == WEFT_DISCARD && (load->bench->device->ops_can & WEFT_OP_BIT(op)) == 0 ? WEFT_FLUSH : op;
}

static weft_hop_done load_done;

static inline void send(struct bench_load *load, struct weft_slot *slot, uint64_t started_ns)
{
	uint64_t random = rng_next(load);
	uint32_t kind = (uint32_t)random;
	uint64_t block = block_next(load, random);
	unsigned op = WEFT_READ;

	/* The block comes from the high bits, what to do from the low ones. */
	if (kind >= load->read_below)
		op = kind < load->write_below ? WEFT_WRITE : rare_op(load, random >> 32);
	slot->root.scratch[SCRATCH_STARTED] = started_ns;
	load->left--;
	if (load->verify)
		bench_verify_sent(load, slot, op, block);
	if (op == WEFT_FLUSH)
		weft_slot_submit(slot, op, 0, 0, 0, 0, load_done);
	else
		weft_slot_submit(slot, op, 0, load->first_byte + block * load->block_bytes, load->block_bytes,
			op <= WEFT_WRITE ? 1 : 0, load_done);
}

static void load_done(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(root, struct weft_slot, root);
	struct bench_load *load = WEFT_CONTAINER(slot->session, struct bench_load, session);
	struct bench_counts *counts = &load->counts;
	uint64_t now = load->session.reactor->now;

	counts->requests++;
	counts->reads += child->op == WEFT_READ;
	counts->bytes += child->len;
	weft_histogram_add(&counts->latency, now - root->scratch[SCRATCH_STARTED]);
	if (WEFT_UNLIKELY(status != 0)) {
		counts->errors++;
		load->error = load->error != 0 ? load->error : status;
	}
	if (load->verify)
		bench_verify_done(load, slot, status);
	if (load->running && load->burst > 0 && load->left > 0 && load->gap_ns_256 == 0) {
		load->burst--;
		send(load, slot, now);
	} else {
		load->ready[load->nready++] = slot;
	}
}

/* ---- a turn ---- */

static void note(struct bench_load *load);

/* When the next request arrives, however many are still on their way: a slow answer does not slow the questions. */
static void arrival_next(struct bench_load *load)
{
	uint64_t gap = bench_gap(load->bench, load->gap_ns_256, rng_next(load)) + load->next_fraction;

	load->next_at_ns += gap >> 8;
	load->next_fraction = gap & 255;
}

static bool send_arrived(struct bench_load *load, uint64_t now)
{
	bool any = false;

	while (load->next_at_ns <= now && load->nready > 0 && load->burst > 0 && load->left > 0) {
		load->burst--;
		send(load, load->ready[--load->nready], load->next_at_ns);
		arrival_next(load);
		any = true;
	}
	return any;
}

/* A slice that took much longer than it should was no slice: we did not run. */
static void slice_end(struct bench_load *load, uint64_t now)
{
	uint64_t took = now - load->slice_at_ns, done = load->counts.requests - load->slice_requests;

	if (took < BENCH_SLICE_NS + BENCH_SLICE_NS / 2 && load->slice_at_ns != 0)
		load->slice[load->nslices++ % BENCH_SLICES] = (float)((double)done * 1e9 / (double)took);
	load->slice_at_ns = now;
	load->slice_requests = load->counts.requests;
}

static bool load_poll(struct weft_source *source)
{
	struct weft_session *session = WEFT_CONTAINER(source, struct weft_session, source);
	struct bench_load *load = WEFT_CONTAINER(session, struct bench_load, session);
	uint64_t now = session->reactor->now;
	bool any = false;

	load->burst = BENCH_BURST;
	load->ending |= load->running && load->left == 0;
	if (WEFT_LIKELY(load->running && load->left > 0)) {
		if (WEFT_UNLIKELY(now - load->slice_at_ns >= BENCH_SLICE_NS))
			slice_end(load, now);
		if (load->gap_ns_256 != 0)
			return send_arrived(load, now);
		while (load->nready > 0 && load->burst > 0 && load->left > 0) {
			load->burst--;
			send(load, load->ready[--load->nready], now);
			any = true;
		}
		return any;
	}
	if (load->ending && load->nready == load->nslots && !load->told)
		note(load);
	return false;
}

static void nothing(void *self)
{
	(void)self;
}

/* About to sleep: only an arrival wakes us, and answers do. */
static bool load_arm(struct weft_source *source)
{
	struct weft_session *session = WEFT_CONTAINER(source, struct weft_session, source);
	struct bench_load *load = WEFT_CONTAINER(session, struct bench_load, session);

	if (!load->running || load->left == 0)
		return load->ending && !load->told && load->nready == load->nslots;
	if (load->gap_ns_256 == 0)
		return load->nready > 0;
	if (load->nready == 0)
		return false;
	if (load->timer.armed)
		weft_timer_disarm(session->reactor, &load->timer);
	weft_timer_arm(session->reactor, &load->timer, load->next_at_ns);
	return false;
}

/* ---- beginning and end of a load, on its reactor ---- */

static void load_warm_msg(void *self);

/* Before the clock runs each slot has read once: connections are up, memory is there and known to the device. */
static void warm_done(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(root, struct weft_slot, root);
	struct bench_load *load = WEFT_CONTAINER(slot->session, struct bench_load, session);

	(void)child;
	(void)status; /* will be seen again */
	load->ready[load->nready++] = slot;
	if (load->nready < load->nslots)
		return;
	load->start_msg = (struct weft_msg){ .fn = load_warm_msg, .self = load };
	weft_reactor_post(load->bench->core->reactor[0], &load->start_msg);
}

static void start_msg(void *self)
{
	struct bench_load *load = self;
	struct bench *bench = load->bench;
	struct weft_reactor *reactor = bench->core->reactor[1 + load->index % bench->options.queues];
	struct weft_slot *slot;

	load->session.slots_max = load->depth;
	load->session.source = (struct weft_source){ .poll = load_poll, .arm = load_arm };
	load->timer = (struct weft_timer){ .fn = nothing, .self = load };
	load->error = weft_session_open(&load->session, reactor, bench->stack, &load->why);
	load->open = load->error == 0;
	while (load->open && (slot = weft_session_slot(&load->session)) != NULL) {
		slot->tag = load->nslots;
		slot->segs[0] = (struct weft_seg){ .base = load->memory + load->nslots * load->block_bytes,
			.len = (uint32_t)load->block_bytes, .region = (uint16_t)bench->memory.region };
		load->nslots++;
		load->ready[load->nready++] = slot;
	}
	if (load->open && load->nslots < load->depth)
		load->error = weft_why(&load->why, -ENOSPC, "only %u of %u slots: the reactor's budget is spent", load->nslots,
			load->depth);
	if (load->error != 0) {
		load->ending = true;
		if (!load->open)
			note(load);
		return;
	}
	for (unsigned n = load->nready; n > 0; n--) {
		slot = load->ready[--load->nready];
		weft_slot_submit(slot, WEFT_READ, 0, load->first_byte + slot->tag % load->blocks * load->block_bytes,
			load->block_bytes, 1, warm_done);
	}
}

static void go_msg(void *self)
{
	struct bench_load *load = self;

	load->started_ns = load->next_at_ns = load->session.reactor->now;
	load->running = !load->ending;
}

static void close_here(struct bench_load *load)
{
	struct weft_reactor *reactor = load->session.reactor;

	weft_timer_disarm(reactor, &load->timer);
	while (load->nready > 0)
		weft_slot_give(load->ready[--load->nready]);
	weft_session_close(&load->session);
}

static void stop_msg(void *self)
{
	struct bench_load *load = self;

	load->running = false;
	load->ending = true;
}

/* ---- together, on the control reactor ---- */

static void stack_closed(struct weft_task *task, int status)
{
	struct bench *bench = WEFT_CONTAINER(task, struct bench, task);

	(void)status;
	bench->ended(bench, bench->status);
}

static void time_is_over(void *self)
{
	bench_stop(self);
}

/* All are warm, or have failed to be: now the clock runs. */
static void begin(struct bench *bench)
{
	struct env_usage usage;

	env_usage(bench->core->env, &usage);
	bench->cpu_before_ns = usage.cpu_ns;
	bench->server_before_ns = bench_cpu_of(bench->core->env, bench->server_pid);
	bench->begun_ns = weft_reactor_now(bench->core->reactor[0]);
	bench->timer = (struct weft_timer){ .fn = time_is_over, .self = bench };
	if (bench->status != 0)
		bench_stop(bench);
	else if (bench->options.time_ns != 0)
		weft_timer_arm(bench->core->reactor[0], &bench->timer, bench->begun_ns + bench->options.time_ns);
	for (unsigned i = 0; i < bench->nloads && bench->status == 0; i++) {
		struct bench_load *load = &bench->load[i];

		if (load->told)
			continue;
		load->start_msg = (struct weft_msg){ .fn = go_msg, .self = load };
		weft_reactor_post(bench->core->reactor[1 + i % bench->options.queues], &load->start_msg);
	}
}

static void load_warm(struct bench_load *load)
{
	struct bench *bench = load->bench;

	if (load->warm)
		return;
	load->warm = true;
	WEFT_ASSERT(bench->loads_cold > 0);
	if (--bench->loads_cold == 0)
		begin(bench);
}

static void load_warm_msg(void *self)
{
	load_warm(self);
}

static double undisturbed(const struct bench *bench);

static void load_ended_msg(void *self)
{
	struct bench_load *load = self;
	struct bench *bench = load->bench;
	struct env_usage usage;

	if (load->error != 0 && bench->status == 0) {
		bench->status = load->error;
		bench->why = load->why;
		if (load->why.text[0] == '\0')
			weft_why(&bench->why, load->error, "bench: a request failed: %s: see what the device, or its server, says "
				"of it", strerrordesc_np(-load->error));
	}
	load_warm(load);
	if (load->started_ns != 0 && load->ended_ns - load->started_ns > bench->elapsed_ns)
		bench->elapsed_ns = load->ended_ns - load->started_ns;
	WEFT_ASSERT(bench->loads_open > 0);
	if (--bench->loads_open > 0)
		return;
	env_usage(bench->core->env, &usage);
	bench_sum(bench, &bench->result);
	bench->result.undisturbed = undisturbed(bench);
	bench->result.cpu_ns = usage.cpu_ns - bench->cpu_before_ns;
	bench->result.server_cpu_ns = bench_cpu_of(bench->core->env, bench->server_pid) - bench->server_before_ns;
	weft_timer_disarm(bench->core->reactor[0], &bench->timer);
	bench->task.done = stack_closed;
	weft_stack_close(bench->stack, &bench->task);
}

static void note(struct bench_load *load)
{
	load->told = true;
	load->ended_ns = load->bench->core->reactor[1 + load->index % load->bench->options.queues]->now;
	if (load->open)
		close_here(load);
	load->note_msg = (struct weft_msg){ .fn = load_ended_msg, .self = load };
	weft_reactor_post(load->bench->core->reactor[0], &load->note_msg);
}

void bench_stop(struct bench *bench)
{
	for (unsigned i = 0; i < bench->nloads; i++) {
		struct bench_load *load = &bench->load[i];

		if (load->stop_msg.fn != NULL)
			continue;
		load->stop_msg = (struct weft_msg){ .fn = stop_msg, .self = load };
		weft_reactor_post(bench->core->reactor[1 + i % bench->options.queues], &load->stop_msg);
	}
}

/* Shares of the device, of the rate and of the amount. */
static int load_fill(struct bench *bench, unsigned index, struct weft_why *why)
{
	const struct bench_options *o = &bench->options;
	struct bench_load *load = &bench->load[index];
	uint64_t range = o->range_bytes != 0 ? o->range_bytes : bench->device->size;
	uint64_t blocks = range / o->block_bytes, requests = (o->amount_bytes + o->block_bytes - 1) / o->block_bytes;
	uint64_t reads = o->rw == BENCH_READ || o->rw == BENCH_RANDREAD ? 100 :
		o->rw == BENCH_WRITE || o->rw == BENCH_RANDWRITE ? 0 : o->read_percent;

	load->bench = bench;
	load->index = index;
	load->block_bytes = o->block_bytes;
	load->verify = o->verify;
	load->random = o->rw >= BENCH_RANDREAD;
	load->blocks = blocks / bench->nloads;
	load->first_byte = index * load->blocks * o->block_bytes;
	if (!o->verify && load->random) { /* all over the device */
		load->blocks = blocks;
		load->first_byte = 0;
	}
	if (o->range_bytes > bench->device->size)
		return weft_why(why, -EINVAL, "bench: range=%llu: the device has %llu bytes: give a smaller --range",
			(unsigned long long)o->range_bytes, (unsigned long long)bench->device->size);
	if (load->blocks == 0)
		return weft_why(why, -EINVAL, "bench: bs=%llu: in %llu bytes there is no block for each of %u connections: give a "
			"smaller --bs, fewer --queues or --connections, or a larger --range or device",
			(unsigned long long)o->block_bytes, (unsigned long long)range, bench->nloads);
	if (reads != 100 && bench->device->readonly)
		return weft_why(why, -EINVAL, "bench: rw: it would write, and the device is read-only: measure --rw read or "
			"randread, or open it for writing (readonly=off)");
	load->read_below = reads == 100 ? UINT32_MAX : (uint32_t)(reads * (UINT32_MAX / 100));
	load->write_below = o->rw != BENCH_MIXED ? UINT32_MAX : load->read_below + (UINT32_MAX - load->read_below) / 20 * 19;
	load->rng = o->seed + index * 0x5851f42d4c957f2du;
	load->left = o->amount_bytes != 0 ? requests / bench->nloads + (index < requests % bench->nloads) : UINT64_MAX;
	load->gap_ns_256 = o->rate > 0 ? (uint64_t)(256e9 * bench->nloads / o->rate) : 0;
	return o->verify ? bench_verify_open(load, why) : 0;
}

static void stack_opened(struct weft_task *task, int status)
{
	struct bench *bench = WEFT_CONTAINER(task, struct bench, task);

	for (unsigned i = 0; status == 0 && i < bench->nloads; i++)
		status = load_fill(bench, i, &task->why);
	if (status != 0) {
		bench->status = status;
		bench->why = task->why;
		bench->task.done = stack_closed;
		if (bench->stack != NULL)
			weft_stack_close(bench->stack, &bench->task);
		else
			bench->ended(bench, status);
		return;
	}
	bench->loads_open = bench->loads_cold = bench->nloads;
	for (unsigned i = 0; i < bench->nloads; i++) {
		struct bench_load *load = &bench->load[i];

		load->start_msg = (struct weft_msg){ .fn = start_msg, .self = load };
		weft_reactor_post(bench->core->reactor[1 + i % bench->options.queues], &load->start_msg);
	}
}

void bench_start(struct bench *bench)
{
	int error;

	bench_gaps_fill(bench);
	bench->task.done = stack_opened;
	error = weft_stack_open(bench->core, bench->device, "bench", &bench->stack, &bench->task);
	if (error != 0)
		stack_opened(&bench->task, error);
}

int bench_memory_open(struct bench *bench, struct weft_why *why)
{
	struct weft_core *core = bench->core;
	const struct bench_options *o = &bench->options;
	uint64_t each = o->depth * o->block_bytes;
	int error;

	bench->nloads = (unsigned)(o->queues * o->connections);
	bench->load = weft_alloc_aligned(core, 128, bench->nloads * sizeof(bench->load[0]));
	if (bench->load == NULL)
		return weft_why(why, -ENOMEM, "no memory for %u connections", bench->nloads);
	error = io_memory_open(&bench->memory, core, "weft-bench", each * bench->nloads, "lower depth or bs", why);
	for (unsigned i = 0; error == 0 && i < bench->nloads; i++) {
		bench->load[i].depth = (unsigned)o->depth;
		bench->load[i].memory = bench->memory.base + i * each;
		bench->load[i].ready = weft_alloc(core, o->depth * sizeof(struct weft_slot *));
		bench->load[i].slice = weft_alloc(core, BENCH_SLICES * sizeof(float));
		if (bench->load[i].ready == NULL || bench->load[i].slice == NULL)
			return weft_why(why, -ENOMEM, "no memory for %u connections", bench->nloads);
	}
	return error;
}

void bench_memory_close(struct bench *bench)
{
	struct weft_core *core = bench->core;

	io_memory_close(&bench->memory);
	for (unsigned i = 0; bench->load != NULL && i < bench->nloads; i++) {
		bench_verify_close(&bench->load[i]);
		weft_free(core, bench->load[i].ready);
		weft_free(core, bench->load[i].slice);
	}
	weft_free(core, bench->load);
	bench->load = NULL;
}

static int by_rate(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return x < y ? -1 : x > y;
}

/* The loads have ended. Sorts their slices. */
static double undisturbed(const struct bench *bench)
{
	double sum = 0;

	for (unsigned i = 0; i < bench->nloads; i++) {
		const struct bench_load *load = &bench->load[i];
		unsigned n = load->nslices < BENCH_SLICES ? load->nslices : BENCH_SLICES;

		if (n == 0)
			continue;
		qsort(load->slice, n, sizeof(load->slice[0]), by_rate);
		sum += (double)load->slice[(uint64_t)n * 98 / 100];
	}
	return sum;
}

void bench_sum(const struct bench *bench, struct bench_result *out)
{
	*out = (struct bench_result){ .elapsed_ns = bench->elapsed_ns };
	for (unsigned i = 0; bench->load != NULL && i < bench->nloads; i++) {
		const struct bench_counts *counts = &bench->load[i].counts;

		out->requests += __atomic_load_n(&counts->requests, __ATOMIC_RELAXED);
		out->bytes += __atomic_load_n(&counts->bytes, __ATOMIC_RELAXED);
		out->errors += counts->errors;
		out->mismatches += counts->mismatches;
		weft_histogram_merge(&out->latency, &counts->latency);
	}
}
