/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A load that knows what each cell of the disk may hold.
 *
 * A cell has versions, numbered from 0 (zeroes); each write, zeroing or discard of it makes the next one, one at a time. A
 * read may see,
 * sector by sector, any version from the one that was acknowledged when it was sent to the newest that had been sent when it
 * ended.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/memory.h>

#include "core/reactor.h"
#include "core/stack.h"
#include "sim/party.h"

#define SECTOR 512u
#define SPAN_MAX 4u          /* cells per request */
#define HISTORY 4096u

struct cell {
	uint32_t sent, acked;    /* versions */
	uint32_t durable;        /* acknowledged before a flush was sent that has ended, or forced (FUA) */
	bool changing;
	uint8_t zero[HISTORY / 8];    /* bit of a version: it is zeroes */
	uint8_t either[HISTORY / 8];  /* ... a discard: zeroes, or what was before */
};

struct request {
	struct load *load;
	unsigned op, flags, cell, cells;
	uint32_t version[SPAN_MAX]; /* sent with it, or acknowledged when a read was sent */
	uint32_t covers[LOAD_CELLS]; /* of a flush: acknowledged when it was sent */
	char *data;
};

struct load {
	struct party *party;
	struct weft_blk *blk;
	struct weft_stack *stack;
	struct weft_session session;
	struct weft_task task;
	unsigned lane, left, sent, answers;
	bool open, failed, busy;
	bool tolerant;
	unsigned violations;
	int fd, region;
	struct env_mapping *mapping;
	struct request request[LOAD_DEPTH];
	bool used[LOAD_DEPTH];
	struct cell cell[LOAD_CELLS];
	uint32_t covers[LOAD_CELLS]; /* of somebody else's flush */
};

static bool bit(const uint8_t *bits, uint32_t n)
{
	return (bits[n % HISTORY / 8] >> (n % 8) & 1) != 0;
}

static void set_bit(uint8_t *bits, uint32_t n, bool value)
{
	bits[n % HISTORY / 8] = (uint8_t)((bits[n % HISTORY / 8] & ~(1u << n % 8)) | (unsigned)value << n % 8);
}

/* ---- what a sector holds ---- */

static void fill_sector(char *at, unsigned cell, unsigned sector, uint32_t version)
{
	for (unsigned i = 0; i < SECTOR / 16; i++) {
		uint32_t words[4] = { 0x77656674, cell << 16 | sector, version, i };
		memcpy(at + i * 16, words, sizeof(words));
	}
}

static bool is_zero(const char *at)
{
	static const char zeroes[SECTOR];

	return memcmp(at, zeroes, SECTOR) == 0;
}

/* May this sector of the cell hold this, as one of versions first..last? */
static bool legal(const struct cell *cell, const char *at, unsigned index, unsigned sector, uint32_t first, uint32_t last)
{
	char expected[SECTOR];

	/* A discard may have left what was before it. */
	while (first > 0 && bit(cell->either, first))
		first--;
	for (uint32_t v = first; v <= last; v++) {
		if (v == 0 || bit(cell->zero, v)) {
			if (is_zero(at))
				return true;
			continue;
		}
		fill_sector(expected, index, sector, v);
		if (memcmp(at, expected, SECTOR) == 0)
			return true;
	}
	return false;
}

/* What may not be: is it only counted? */
static bool is_tolerated(struct load *load)
{
	load->violations += load->tolerant;
	return load->tolerant;
}

static void explain(struct load *load, const char *at, unsigned index, unsigned sector, uint32_t first, uint32_t last)
{
	uint32_t words[4];

	if (is_tolerated(load))
		return;
	memcpy(words, at, sizeof(words));
	fprintf(stderr, "sim: cell %u sector %u: versions %u to %u may be there, found %08x %08x version %u (sent %u)\n", index,
		sector, first, last, words[0], words[1], words[2], load->cell[index].sent);
	abort();
}

/* The first sector that holds what it may not; LOAD_CELL / SECTOR: none does. */
static unsigned illegal_sector(const struct load *load, const char *data, unsigned index, uint32_t first, uint32_t last)
{
	unsigned s = 0;

	while (s < LOAD_CELL / SECTOR && legal(&load->cell[index], data + s * SECTOR, index, s, first, last))
		s++;
	return s;
}

static void check_cell(struct load *load, const char *data, unsigned index, uint32_t first, uint32_t last)
{
	unsigned s = illegal_sector(load, data, index, first, last);

	if (s < LOAD_CELL / SECTOR)
		explain(load, data + s * SECTOR, index, s, first, last);
}

void load_check_image(struct load *load, const char *bytes)
{
	for (unsigned i = 0; i < LOAD_CELLS; i++) {
		WEFT_ASSERT(!load->cell[i].changing);
		check_cell(load, bytes + i * LOAD_CELL, i, load->cell[i].acked, load->cell[i].acked);
	}
}

void load_check_after_power_loss(struct load *load, const char *bytes)
{
	for (unsigned i = 0; i < LOAD_CELLS; i++)
		check_cell(load, bytes + i * LOAD_CELL, i, load->cell[i].durable, load->cell[i].sent);
}

void load_check_survived(struct load *load, const char *bytes)
{
	for (unsigned i = 0; i < LOAD_CELLS; i++)
		check_cell(load, bytes + i * LOAD_CELL, i, load->cell[i].acked, load->cell[i].sent);
}

void load_was_cut_off(struct load *load, bool power)
{
	for (unsigned i = 0; i < LOAD_CELLS; i++) {
		load->cell[i].changing = false;
		if (power)
			load->cell[i].acked = load->cell[i].durable;
	}
}

void load_tolerate(struct load *load)
{
	load->tolerant = true;
}

unsigned load_violations(const struct load *load)
{
	return load->violations;
}

bool load_survived_power_loss(const struct load *load, const char *bytes)
{
	for (unsigned i = 0; i < LOAD_CELLS; i++)
		if (illegal_sector(load, bytes + i * LOAD_CELL, i, load->cell[i].durable, load->cell[i].sent) < LOAD_CELL / SECTOR)
			return false;
	return true;
}

void load_forget(struct load *load)
{
	free(load);
}

/* ---- what is durable ---- */

static void covers_note(const struct load *load, uint32_t *covers)
{
	for (unsigned i = 0; i < LOAD_CELLS; i++)
		covers[i] = load->cell[i].acked;
}

static void covers_are_durable(struct load *load, const uint32_t *covers)
{
	for (unsigned i = 0; i < LOAD_CELLS; i++)
		if (covers[i] > load->cell[i].durable)
			load->cell[i].durable = covers[i];
}

void load_flush_begins(struct load *load)
{
	covers_note(load, load->covers);
}

void load_flush_ended(struct load *load)
{
	covers_are_durable(load, load->covers);
}

/* ---- sending ---- */

static void answered(struct weft_hop *root, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(root, struct weft_slot, root);
	struct load *load = WEFT_CONTAINER(slot->session, struct load, session);
	struct request *request = &load->request[slot->tag];

	(void)child;
	if (status != 0 && !is_tolerated(load)) {
		fprintf(stderr, "sim: %s of cell %u ended with %d\n", weft_op_name(request->op), request->cell, status);
		abort();
	}
	for (unsigned i = 0; i < request->cells; i++) {
		struct cell *cell = &load->cell[request->cell + i];

		if (request->op == WEFT_READ) {
			check_cell(load, request->data + i * LOAD_CELL, request->cell + i, request->version[i], cell->sent);
		} else if (request->op != WEFT_FLUSH) {
			WEFT_ASSERT(cell->changing && cell->sent == request->version[i]);
			cell->acked = request->version[i];
			cell->changing = false;
			if ((request->flags & WEFT_FUA) != 0 && cell->acked > cell->durable)
				cell->durable = cell->acked;
		}
	}
	if (request->op == WEFT_FLUSH)
		covers_are_durable(load, request->covers);
	sim_trace(load->party->world, "load: %s %u+%u ended", weft_op_name(request->op), request->cell, request->cells);
	load->used[slot->tag] = false;
	load->answers++;
	weft_slot_give(slot);
}

static unsigned choose_op(struct sim_world *world)
{
	uint64_t n = sim_rand(world) % 100;

	return n < 40 ? WEFT_WRITE : n < 80 ? WEFT_READ : n < 87 ? WEFT_FLUSH : n < 95 ? WEFT_ZERO : WEFT_DISCARD;
}

static void change(struct load *load, struct request *request)
{
	for (unsigned i = 0; i < request->cells; i++) {
		struct cell *cell = &load->cell[request->cell + i];

		WEFT_ASSERT(!cell->changing && cell->sent < HISTORY - 1);
		cell->changing = true;
		request->version[i] = ++cell->sent;
		set_bit(cell->zero, cell->sent, request->op != WEFT_WRITE);
		set_bit(cell->either, cell->sent, request->op == WEFT_DISCARD);
		for (unsigned s = 0; request->op == WEFT_WRITE && s < LOAD_CELL / SECTOR; s++)
			fill_sector(request->data + i * LOAD_CELL + s * SECTOR, request->cell + i, s, cell->sent);
	}
}

/* Fills a request by chance; false: its cells are being changed. */
static bool choose(struct load *load, struct request *request)
{
	struct sim_world *world = load->party->world;

	request->op = choose_op(world);
	request->flags = (request->op == WEFT_WRITE || request->op == WEFT_ZERO) && sim_chance(world, 1, 8) ? WEFT_FUA : 0;
	request->cells = request->op == WEFT_FLUSH ? 0 : 1 + (unsigned)(sim_rand(world) % SPAN_MAX);
	request->cell = (unsigned)(sim_rand(world) % (LOAD_CELLS - SPAN_MAX));
	if (request->op == WEFT_READ) {
		for (unsigned i = 0; i < request->cells; i++)
			request->version[i] = load->cell[request->cell + i].acked;
		memset(request->data, 0xee, request->cells * LOAD_CELL);
		return true;
	}
	for (unsigned i = 0; i < request->cells; i++)
		if (load->cell[request->cell + i].changing)
			return false;
	if (request->op == WEFT_FLUSH)
		covers_note(load, request->covers);
	change(load, request);
	return true;
}

static bool load_poll(struct weft_source *source)
{
	struct load *load = WEFT_CONTAINER(WEFT_CONTAINER(source, struct weft_session, source), struct load, session);
	struct request *request;
	struct weft_slot *slot;
	unsigned index = 0;
	uint64_t len;

	if (load->sent == load->left || !sim_chance(load->party->world, 1, 2))
		return false;
	while (index < LOAD_DEPTH && load->used[index])
		index++;
	if (index == LOAD_DEPTH || !choose(load, &load->request[index]))
		return false;
	slot = weft_session_slot(&load->session);
	WEFT_ASSERT(slot != NULL);
	load->used[index] = true;
	load->sent++;
	slot->tag = index;
	request = &load->request[index];
	len = request->cells * LOAD_CELL;
	slot->segs[0] = (struct weft_seg){ .base = request->data, .len = (uint32_t)len,
		.region = (uint16_t)load->region };
	weft_slot_submit(slot, request->op, request->flags, request->cell * LOAD_CELL * (len > 0), len,
		request->op == WEFT_READ || request->op == WEFT_WRITE ? 1 : 0, answered);
	return true;
}

/* It has something to do of its own accord as long as it is not at its end. */
static bool load_arm(struct weft_source *source)
{
	struct load *load = WEFT_CONTAINER(WEFT_CONTAINER(source, struct weft_session, source), struct load, session);

	return load->sent != load->left;
}

/* ---- life ---- */

bool load_ended(void *arg)
{
	struct load *load = arg;

	return load->answers == load->left;
}

unsigned load_answers(const struct load *load)
{
	return load->answers;
}

static void task_done(struct weft_task *task, int status)
{
	struct load *load = WEFT_CONTAINER(task, struct load, task);

	WEFT_ASSERT(status == 0);
	load->busy = false;
}

static bool not_busy(void *arg)
{
	return !((struct load *)arg)->busy;
}

static void stack_open_msg(void *self)
{
	struct load *load = self;

	load->busy = true;
	load->task.done = task_done;
	WEFT_ASSERT(weft_stack_open(load->party->core, load->blk, "load", &load->stack, &load->task) == 0);
}

static void stack_close_msg(void *self)
{
	struct load *load = self;

	load->busy = true;
	weft_stack_close(load->stack, &load->task);
}

static void session_open_msg(void *self)
{
	struct load *load = self;
	struct weft_why why;

	load->session.slots_max = LOAD_DEPTH;
	load->session.source.poll = load_poll;
	load->session.source.arm = load_arm;
	snprintf(load->session.name, sizeof(load->session.name), "load");
	WEFT_ASSERT(weft_session_open(&load->session, weft_reactor_here(), load->stack, &why) == 0);
}

static void session_close_msg(void *self)
{
	weft_session_close(&((struct load *)self)->session);
}

static void memory_msg(void *self)
{
	struct load *load = self;
	struct env *env = load->party->env;
	uint64_t bytes = LOAD_DEPTH * SPAN_MAX * LOAD_CELL;
	struct weft_why why;

	WEFT_ASSERT(env_shm_create(env, "load", bytes, &load->fd) == 0);
	WEFT_ASSERT(env_map(env, load->fd, 0, bytes, true, &load->mapping, &why) == 0);
	load->region = weft_region_add(load->party->core, env_mapping_base(load->mapping), bytes, load->fd, 0, false, &why);
	WEFT_ASSERT(load->region > 0);
	for (unsigned i = 0; i < LOAD_DEPTH; i++)
		load->request[i].data = (char *)env_mapping_base(load->mapping) + i * SPAN_MAX * LOAD_CELL;
}

static void memory_end_msg(void *self)
{
	struct load *load = self;

	weft_region_remove(load->party->core, load->region);
	env_unmap(load->mapping);
	env_fd_close(load->party->env, load->fd);
}

void load_again(struct load *load, struct party *party, struct weft_blk *blk, unsigned lane, unsigned requests)
{
	memset(&load->session, 0, sizeof(load->session));
	memset(load->request, 0, sizeof(load->request));
	memset(load->used, 0, sizeof(load->used));
	load->sent = load->answers = 0;
	load->busy = false;
	load->party = party;
	load->blk = blk;
	load->lane = lane;
	load->left = requests;
	party_on(party, 0, memory_msg, load);
	party_on(party, 0, stack_open_msg, load);
	WEFT_ASSERT(sim_run(party->world, not_busy, load, 1000000));
	party_on(party, lane, session_open_msg, load);
}

struct load *load_open(struct party *party, struct weft_blk *blk, unsigned lane, unsigned requests)
{
	struct load *load = aligned_alloc(64, (sizeof(*load) + 63) & ~(size_t)63);

	WEFT_ASSERT(load != NULL);
	memset(load, 0, sizeof(*load));
	load_again(load, party, blk, lane, requests);
	return load;
}

void load_close_keep(struct load *load)
{
	struct party *party = load->party;

	WEFT_ASSERT(load_ended(load));
	party_on(party, load->lane, session_close_msg, load);
	party_on(party, 0, stack_close_msg, load);
	WEFT_ASSERT(sim_run(party->world, not_busy, load, 1000000));
	party_on(party, 0, memory_end_msg, load);
}

void load_close(struct load *load)
{
	load_close_keep(load);
	load_forget(load);
}
