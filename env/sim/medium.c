/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Simulated disks. A file has an image that reads see, a durable one, and the list of writes between the two, in the order in
 * which they
 * ended. An operation ends at a time of its own between the least and the most latency, so in any order. What the file of a
 * killed node
 * was asked ends later, or is lost, and holds its lock until then.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/sim/world.h"

static struct sim_file *file_find(const struct sim_world *world, const char *path)
{
	for (struct sim_file *file = world->files; file != NULL; file = file->next)
		if (strcmp(file->path, path) == 0)
			return file;
	return NULL;
}

static struct sim_file *file_get(const struct sim_world *world, const char *path)
{
	struct sim_file *file = file_find(world, path);

	WEFT_ASSERT(file != NULL);
	return file;
}

static uint64_t pages(uint64_t size)
{
	return (size + SIM_PAGE - 1) / SIM_PAGE;
}

static void file_resize(struct sim_file *file, uint64_t size)
{
	uint64_t old = pages(file->size), new = pages(size);

	file->now = realloc(file->now, new * SIM_PAGE + 1);
	file->durable = realloc(file->durable, new * SIM_PAGE + 1);
	file->page_used = realloc(file->page_used, new + 1);
	WEFT_ASSERT(file->now != NULL && file->durable != NULL && file->page_used != NULL);
	if (size > file->size) {
		memset(file->now + file->size, 0, size - file->size);
		memset(file->durable + file->size, 0, size - file->size);
	}
	if (new > old)
		memset(file->page_used + old, 0, new - old);
	file->size = size;
}

void sim_file_make(struct sim_world *world, const char *path, uint64_t size)
{
	struct sim_file *file = calloc(1, sizeof(*file)), **link = &world->files;

	WEFT_ASSERT(file != NULL && file_find(world, path) == NULL);
	snprintf(file->path, sizeof(file->path), "%s", path);
	file->kept = true;
	file->latency_least_ns = 20000;
	file->latency_most_ns = 200000;
	file->unflushed_tail = &file->unflushed;
	file_resize(file, size);
	while (*link != NULL)
		link = &(*link)->next;
	*link = file;
}

bool sim_file_exists(const struct sim_world *world, const char *path)
{
	return file_find(world, path) != NULL;
}

uint64_t sim_file_size(const struct sim_world *world, const char *path)
{
	return file_get(world, path)->size;
}

const char *sim_file_bytes(const struct sim_world *world, const char *path)
{
	return file_get(world, path)->now;
}

void sim_file_latency(struct sim_world *world, const char *path, uint64_t least_ns, uint64_t most_ns)
{
	struct sim_file *file = file_get(world, path);

	WEFT_ASSERT(least_ns <= most_ns);
	file->latency_least_ns = least_ns;
	file->latency_most_ns = most_ns;
}

void sim_file_fault(struct sim_world *world, const char *path, unsigned op, unsigned nth, enum sim_fault fault, int error)
{
	struct sim_file *file = file_get(world, path);

	WEFT_ASSERT(file->fault_nth == 0 && nth > 0);
	file->fault_op = (uint8_t)op;
	file->fault_nth = nth;
	file->fault = fault;
	file->fault_error = error;
}

void sim_file_mend(struct sim_world *world, const char *path)
{
	file_get(world, path)->fault_nth = 0;
}

void sim_file_room(struct sim_world *world, const char *path, uint64_t bytes)
{
	file_get(world, path)->room = bytes;
}

uint64_t sim_file_used(const struct sim_world *world, const char *path)
{
	return file_get(world, path)->pages_used * SIM_PAGE;
}

static void unflushed_free(struct sim_file *file);
static void use_pages_with_data(struct sim_file *file);

static void file_free(struct sim_file *file)
{
	unflushed_free(file);
	free(file->now);
	free(file->durable);
	free(file->page_used);
	free(file);
}

/* As a whole, durable at once: a crash in between is one before or after. */
int sim_file_write(struct env *env, const char *path, const char *text, size_t size, struct weft_why *why)
{
	struct sim_world *world = node_of(env)->world;
	struct sim_file *file = file_find(world, path);

	(void)why;
	if (file == NULL) {
		sim_file_make(world, path, size);
		file = file_get(world, path);
	}
	sim_trace(world, "%s: %s is written: %zu bytes", node_of(env)->name, path, size);
	file_resize(file, size);
	memcpy(file->now, text, size);
	memcpy(file->durable, text, size);
	use_pages_with_data(file);
	return 0;
}

int sim_file_try(struct env *env, const char *path, struct weft_why *why)
{
	(void)env;
	(void)path;
	(void)why;
	return 0; /* there, each file can be written */
}

static void file_remove(struct sim_world *world, struct sim_file *file)
{
	struct sim_file **link = &world->files;

	WEFT_ASSERT(file->shared == 0 && file->exclusive == 0);
	while (*link != file)
		link = &(*link)->next;
	*link = file->next;
	file_free(file);
}

int sim_file_remove(struct env *env, const char *path, struct weft_why *why)
{
	struct sim_world *world = node_of(env)->world;
	struct sim_file *file = file_find(world, path);

	(void)why;
	if (file != NULL)
		file_remove(world, file);
	return 0;
}

static void unflushed_free(struct sim_file *file)
{
	while (file->unflushed != NULL) {
		struct sim_unflushed *next = file->unflushed->next;
		free(file->unflushed);
		file->unflushed = next;
	}
	file->unflushed_tail = &file->unflushed;
}

void sim_files_free(struct sim_world *world)
{
	while (world->files != NULL) {
		struct sim_file *file = world->files;

		world->files = file->next;
		file_free(file);
	}
}

/* A hole that was punched and not flushed is none any more: what it held is back. */
static void use_pages_with_data(struct sim_file *file)
{
	for (uint64_t at = 0; at < file->size; at++)
		if (file->now[at] != 0 && !file->page_used[at / SIM_PAGE]) {
			file->page_used[at / SIM_PAGE] = 1;
			file->pages_used++;
		}
}

void sim_power_loss(struct sim_world *world, const char *path)
{
	struct sim_file *file = file_get(world, path);

	WEFT_ASSERT(file->shared == 0 && file->exclusive == 0);
	if (!file->kept) {
		file_remove(world, file);
		return;
	}
	for (struct sim_unflushed *w = file->unflushed; w != NULL; w = w->next) {
		uint64_t kept = w->len;

		if (!w->forced && sim_chance(world, 1, 3))
			continue;
		if (!w->forced && sim_chance(world, 1, 3)) /* torn at a sector */
			kept = sim_rand(world) % (w->len / 512 + 1) * 512;
		if (w->offset + kept <= file->size)
			memcpy(file->durable + w->offset, w->data, kept);
	}
	unflushed_free(file);
	memcpy(file->now, file->durable, file->size);
	use_pages_with_data(file);
}

/* ---- what an operation does when it ends ---- */

static void write_bytes(struct sim_file *file, uint64_t offset, const char *data, uint64_t len, bool forced)
{
	struct sim_unflushed *w;

	memcpy(file->now + offset, data, len);
	if (forced && file->unflushed == NULL) {
		memcpy(file->durable + offset, data, len);
		return;
	}
	w = malloc(sizeof(*w) + len);
	WEFT_ASSERT(w != NULL);
	w->next = NULL;
	w->forced = forced;
	w->offset = offset;
	w->len = len;
	memcpy(w->data, data, len);
	*file->unflushed_tail = w;
	file->unflushed_tail = &w->next;
}

/* Takes the pages that a write needs; false: the disk is full. */
static bool take_pages(struct sim_file *file, uint64_t offset, uint64_t len)
{
	uint64_t wanted = 0;

	for (uint64_t p = offset / SIM_PAGE; p < pages(offset + len); p++)
		wanted += !file->page_used[p];
	if (file->room != 0 && (file->pages_used + wanted) * SIM_PAGE > file->room)
		return false;
	for (uint64_t p = offset / SIM_PAGE; p < pages(offset + len); p++)
		file->page_used[p] = 1;
	file->pages_used += wanted;
	return true;
}

static void give_pages(struct sim_file *file, uint64_t offset, uint64_t len)
{
	for (uint64_t p = pages(offset); (p + 1) * SIM_PAGE <= offset + len; p++) {
		file->pages_used -= file->page_used[p];
		file->page_used[p] = 0;
	}
}

static char *bytes_of(const struct sim_op *op)
{
	char *data = malloc(op->len + 1);
	uint64_t skip = op->io->seg_skip, done = 0;

	WEFT_ASSERT(data != NULL);
	for (unsigned i = 0; done < op->len; i++) {
		WEFT_ASSERT(i < op->io->nsegs);
		uint64_t here = op->io->segs[i].len;

		if (skip >= here) {
			skip -= here;
			continue;
		}
		here = here - skip < op->len - done ? here - skip : op->len - done;
		memcpy(data + done, (char *)op->io->segs[i].base + skip, here);
		skip = 0;
		done += here;
	}
	return data;
}

static void scatter(const struct sim_op *op, const char *data, uint64_t len)
{
	uint64_t skip = op->io->seg_skip, done = 0;

	for (unsigned i = 0; done < len; i++) {
		WEFT_ASSERT(i < op->io->nsegs);
		uint64_t here = op->io->segs[i].len;

		if (skip >= here) {
			skip -= here;
			continue;
		}
		here = here - skip < len - done ? here - skip : len - done;
		memcpy((char *)op->io->segs[i].base + skip, data + done, here);
		skip = 0;
		done += here;
	}
}

static int end_write(struct sim_world *world, struct sim_op *op, bool fault)
{
	struct sim_file *file = op->file;
	uint64_t offset = op->offset;
	char *data = op->data != NULL ? op->data : bytes_of(op);

	op->data = NULL;
	if (!take_pages(file, offset, op->len)) {
		free(data);
		return -ENOSPC;
	}
	if (fault && file->fault == SIM_FAULT_MISDIRECTED)
		offset = sim_rand(world) % ((file->size - op->len) / 512 + 1) * 512;
	if (fault && file->fault == SIM_FAULT_BIT_ROT)
		data[sim_rand(world) % op->len] ^= (char)(1 << sim_rand(world) % 8);
	if (!fault || file->fault != SIM_FAULT_LOST)
		write_bytes(file, offset, data, op->len, (op->flags & WEFT_FUA) != 0);
	free(data);
	return 0;
}

static void end_zero(struct sim_op *op)
{
	char *zeroes = calloc(1, op->len + 1);

	WEFT_ASSERT(zeroes != NULL);
	write_bytes(op->file, op->offset, zeroes, op->len, (op->flags & WEFT_FUA) != 0);
	free(zeroes);
	if ((op->flags & WEFT_NO_UNMAP) == 0)
		give_pages(op->file, op->offset, op->len);
}

static void end_flush(struct sim_file *file)
{
	for (struct sim_unflushed *w = file->unflushed; w != NULL; w = w->next)
		if (w->offset + w->len <= file->size)
			memcpy(file->durable + w->offset, w->data, w->len);
	unflushed_free(file);
}

static void end_status(struct sim_op *op)
{
	struct weft_extent extents[64] = { 0 };
	unsigned n = 0;

	for (uint64_t at = op->offset; at < op->offset + op->len && n < WEFT_COUNT(extents);) {
		uint64_t end = at;
		uint8_t used = op->file->page_used[at / SIM_PAGE];

		while (end < op->offset + op->len && op->file->page_used[end / SIM_PAGE] == used)
			end = (end / SIM_PAGE + 1) * SIM_PAGE;
		if (end > op->offset + op->len)
			end = op->offset + op->len;
		extents[n++] = (struct weft_extent){ at, end - at, used ? 0 : WEFT_EXTENT_HOLE | WEFT_EXTENT_ZERO, 0 };
		at = end;
	}
	uint64_t room = 0;
	for (unsigned i = 0; i < op->io->nsegs; i++)
		room += op->io->segs[i].len;
	room -= op->io->seg_skip;
	scatter(op, (const char *)extents, room < sizeof(extents) ? room / sizeof(extents[0]) * sizeof(extents[0]) :
		sizeof(extents));
}

static int end_op(struct sim_world *world, struct sim_op *op)
{
	struct sim_file *file = op->file;
	bool fault = file->fault_nth > 0 && file->fault_op == op->op && --file->fault_nth == 0;

	if (fault && file->fault == SIM_FAULT_ERROR)
		return file->fault_error;
	if (op->offset + op->len > file->size)
		return -EIO;
	switch (op->op) {
	case WEFT_READ:
		if (op->io != NULL) {
			char *data = malloc(op->len);
			WEFT_ASSERT(data != NULL);
			memcpy(data, file->now + op->offset, op->len);
			if (fault && file->fault == SIM_FAULT_BIT_ROT)
				data[sim_rand(world) % op->len] ^= (char)(1 << sim_rand(world) % 8);
			scatter(op, data, op->len);
			free(data);
		}
		return 0;
	case WEFT_WRITE:
		return end_write(world, op, fault);
	case WEFT_FLUSH:
		end_flush(file);
		return 0;
	case WEFT_DISCARD:
	case WEFT_ZERO:
		end_zero(op);
		return 0;
	case WEFT_STATUS:
		if (op->io != NULL)
			end_status(op);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* ---- operations under way ---- */

static void op_free(struct sim_world *world, struct sim_op *op)
{
	struct sim_op **link = &world->ops;

	WEFT_ASSERT(op->file->shared >= op->shared_lock && op->file->exclusive >= op->exclusive_lock);
	while (*link != op)
		link = &(*link)->next;
	*link = op->next;
	op->file->shared -= op->shared_lock;
	op->file->exclusive -= op->exclusive_lock;
	free(op->data);
	free(op);
}

void sim_ops_advance(struct sim_world *world)
{
	for (struct sim_op *op = world->ops, *next; op != NULL; op = next) {
		next = op->next;
		if (op->ended || op->due_ns > world->now_ns)
			continue;
		op->result = end_op(world, op);
		op->ended = true;
		if (op->io == NULL)
			op_free(world, op);
	}
}

void sim_files_settle(struct sim_world *world)
{
	for (struct sim_op *op = world->ops; op != NULL; op = op->next)
		if (op->io == NULL)
			op->due_ns = world->now_ns;
	sim_ops_advance(world);
}

uint64_t sim_ops_next_ns(const struct sim_world *world)
{
	uint64_t next = ENV_FOREVER;

	for (const struct sim_op *op = world->ops; op != NULL; op = op->next)
		if (!op->ended && op->due_ns < next)
			next = op->due_ns;
	return next;
}

bool sim_ops_ready(const struct sim_loop *loop)
{
	for (const struct sim_op *op = loop->node->world->ops; op != NULL; op = op->next)
		if (op->ended && op->loop == loop && op->io != NULL)
			return true;
	return false;
}

bool sim_ops_deliver(struct sim_loop *loop)
{
	struct sim_world *world = loop->node->world;
	bool any = false;

	for (struct sim_op *op = world->ops; op != NULL;) {
		struct env_io *io = op->io;
		int result = op->result;

		if (!op->ended || op->loop != loop || io == NULL) {
			op = op->next;
			continue;
		}
		sim_trace(world, "%s: op %u %llu+%llu ended %d", loop->node->name, op->op,
			(unsigned long long)op->offset, (unsigned long long)op->len, result);
		op_free(world, op);
		WEFT_ASSERT(loop->stats.in_flight > 0);
		loop->stats.in_flight--;
		io->done(io, result);
		any = true;
		op = world->ops;
	}
	return any;
}

static void medium_submit(struct env_loop *loop, struct env_io *io)
{
	struct sim_medium *medium = (struct sim_medium *)io->medium;
	struct sim_world *world = medium->node->world;
	struct sim_op *op = calloc(1, sizeof(*op)), **link = &world->ops;
	uint64_t spread = medium->file->latency_most_ns - medium->file->latency_least_ns;

	WEFT_ASSERT(op != NULL && loop->env == io->medium->env && io->done != NULL);
	sim_node_check(medium->node);
	*op = (struct sim_op){
		.file = medium->file, .io = io, .loop = (struct sim_loop *)loop, .op = io->op, .flags = io->flags,
		.offset = io->offset, .len = io->len,
		.due_ns = world->now_ns + medium->file->latency_least_ns + sim_rand(world) % (spread + 1),
	};
	while (*link != NULL)
		link = &(*link)->next;
	*link = op;
	((struct sim_loop *)loop)->stats.in_flight++;
}

/* SIGKILL: what was asked of the disk ends within 100 ms, or is lost; the lock stays with it. */
void sim_media_orphan(struct sim_node *node)
{
	struct sim_world *world = node->world;

	for (struct sim_op *op = world->ops, *next; op != NULL; op = next) {
		struct sim_medium *medium;

		next = op->next;
		if (op->loop == NULL || op->loop->node != node || op->io == NULL)
			continue;
		medium = (struct sim_medium *)op->io->medium;
		if (op->ended || sim_chance(world, 1, 2)) {
			op_free(world, op);
			continue;
		}
		if (op->op == WEFT_WRITE)
			op->data = bytes_of(op);
		op->io = NULL;
		op->loop = NULL;
		op->due_ns = world->now_ns + sim_rand(world) % (sim_chance(world, 1, 2) ? 2000000 : 100000000);
		if (medium->lock) {
			op->shared_lock = medium->readonly;
			op->exclusive_lock = !medium->readonly;
			op->file->shared += op->shared_lock;
			op->file->exclusive += op->exclusive_lock;
		}
	}
	for (struct sim_medium *medium = node->media; medium != NULL; medium = medium->next) {
		medium->file->shared -= medium->lock && medium->readonly;
		medium->file->exclusive -= medium->lock && !medium->readonly;
	}
	node->media = NULL;
}

/* ---- media ---- */

static void medium_close(struct env_medium *base)
{
	struct sim_medium *medium = (struct sim_medium *)base, **link = &medium->node->media;

	medium->file->shared -= medium->lock && medium->readonly;
	medium->file->exclusive -= medium->lock && !medium->readonly;
	while (*link != medium)
		link = &(*link)->next;
	*link = medium->next;
	sim_node_free(base->env, medium);
}

static int medium_keep(struct env_medium *base, struct weft_why *why)
{
	(void)why;
	((struct sim_medium *)base)->file->kept = true;
	return 0;
}

static void medium_unlink_created(struct env_medium *base)
{
	struct sim_medium *medium = (struct sim_medium *)base;

	if (medium->created) /* nobody finds it any more; the image goes with the world */
		medium->file->path[0] = '\0';
}

static int medium_size(struct env_medium *base, uint64_t *size)
{
	*size = ((struct sim_medium *)base)->file->size;
	return 0;
}

static int medium_resize(struct env_medium *base, uint64_t size, struct weft_why *why)
{
	struct sim_file *file = ((struct sim_medium *)base)->file;

	(void)why;
	for (const struct sim_op *op = node_of(base->env)->world->ops; op != NULL; op = op->next)
		WEFT_ASSERT(op->io == NULL || op->io->medium != base || op->ended || op->offset + op->len <= size);
	file_resize(file, size);
	return 0;
}

/* Nothing is cheaper here; env.c counts. */
static void medium_attach(struct env_loop *loop, struct env_medium *medium)
{
	(void)loop, (void)medium;
}

static const struct env_medium_ops sim_medium_ops = {
	.submit = medium_submit, .close = medium_close, .attach = medium_attach, .detach = medium_attach,
	.keep = medium_keep, .unlink_created = medium_unlink_created, .size = medium_size,
	.resize = medium_resize,
};

int sim_medium_open(struct env *env, const char *path, const struct env_medium_wants *wants, struct env_medium **out,
	struct env_medium_info *info, struct weft_why *why)
{
	struct sim_node *node = node_of(env);
	struct sim_file *file = file_find(node->world, path);
	struct sim_medium *medium;
	bool created = file == NULL && wants->create_size != 0;

	if (file == NULL && !created)
		return weft_why(why, -ENOENT, "%s: no such file: create it with create=SIZE", path);
	info->id[0] = (uintptr_t)file;
	if (file != NULL && wants->lock && (file->exclusive > 0 || (!wants->readonly && file->shared > 0)))
		return weft_why(why, -EWOULDBLOCK, "%s: locked by another process: stop that one first", path);
	medium = sim_node_alloc(env, 16, sizeof(*medium));
	if (medium == NULL)
		return weft_why(why, -ENOMEM, "%s: no memory to open it", path);
	if (created) {
		sim_file_make(node->world, path, wants->create_size);
		file = file_get(node->world, path);
		file->kept = false;
	}
	*medium = (struct sim_medium){ .base = { .ops = &sim_medium_ops, .env = env },
		.node = node, .next = node->media, .file = file,
		.readonly = wants->readonly, .lock = wants->lock, .created = created };
	node->media = medium;
	file->shared += wants->lock && wants->readonly;
	file->exclusive += wants->lock && !wants->readonly;
	*info = (struct env_medium_info){ .size = file->size, .block = 512, .physical = 4096, .align = 512,
		.id = { (uintptr_t)file },
		.max_len = 1u << 20, .max_segs = 1024, .direct = wants->direct != ENV_DIRECT_OFF, .created = created,
		.volatile_cache = true, .can_discard = true, .can_zero = true, .can_status = true, .can_fua = true,
		.how = "simulated" };
	*out = &medium->base;
	return 0;
}
