/* SPDX-License-Identifier: BSD-2-Clause */
/* Descriptors of simulated nodes, and what they stand for: shared memory, events, streams. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/sim/world.h"

struct sim_thing *sim_thing_make(struct sim_world *world, enum sim_thing_type type)
{
	struct sim_thing *thing = calloc(1, sizeof(*thing));

	WEFT_ASSERT(thing != NULL);
	thing->type = type;
	thing->world = world;
	thing->next = world->things;
	world->things = thing;
	return thing;
}

void sim_thing_put(struct sim_thing *thing)
{
	struct sim_thing **link = &thing->world->things;

	WEFT_ASSERT(thing->refs > 0);
	if (--thing->refs > 0)
		return;
	while (*link != thing)
		link = &(*link)->next;
	*link = thing->next;
	if (thing->end != NULL)
		sim_end_free(thing->end);
	free(thing->bytes);
	free(thing);
}

int sim_fd_install(struct sim_node *node, struct sim_thing *thing)
{
	WEFT_ASSERT(thing->world == node->world && thing->refs > 0);
	for (int fd = 3; fd < SIM_FDS_MAX; fd++) {
		if (node->fd[fd] != NULL)
			continue;
		node->fd[fd] = thing;
		thing->refs++;
		return fd;
	}
	return -EMFILE;
}

struct sim_thing *sim_fd_get(struct sim_node *node, int fd)
{
	return fd >= 0 && fd < SIM_FDS_MAX ? node->fd[fd] : NULL;
}

void sim_fd_close(struct env *env, int fd)
{
	struct sim_node *node = node_of(env);
	struct sim_thing *thing = sim_fd_get(node, fd);

	WEFT_ASSERT(thing != NULL && thing->world == node->world);
	node->fd[fd] = NULL;
	sim_thing_put(thing);
}

void sim_node_close_fds(struct sim_node *node)
{
	for (struct sim_listener *listener = node->listeners; listener != NULL; listener = listener->next)
		while (listener->waiting > 0)
			sim_thing_put(listener->backlog[--listener->waiting]);
	for (int fd = 0; fd < SIM_FDS_MAX; fd++)
		if (node->fd[fd] != NULL)
			sim_fd_close(&node->env, fd);
}

int64_t sim_fd_size(struct env *env, int fd)
{
	struct sim_thing *thing = sim_fd_get(node_of(env), fd);

	return thing != NULL && thing->type == SIM_SHM ? (int64_t)thing->size : -EBADF;
}

int sim_fd_copy(struct env *env, int fd)
{
	struct sim_thing *thing = sim_fd_get(node_of(env), fd);

	return thing != NULL ? sim_fd_install(node_of(env), thing) : -EBADF;
}

/* ---- shared memory ---- */

int sim_shm_create(struct env *env, const char *name, uint64_t size, int *fd)
{
	struct sim_thing *thing = sim_thing_make(node_of(env)->world, SIM_SHM);

	snprintf(thing->name, sizeof(thing->name), "%s", name);
	thing->bytes = aligned_alloc(SIM_PAGE, (size + SIM_PAGE - 1) & ~(uint64_t)(SIM_PAGE - 1));
	WEFT_ASSERT(thing->bytes != NULL);
	memset(thing->bytes, 0, size);
	thing->size = size;
	thing->refs = 1;
	*fd = sim_fd_install(node_of(env), thing);
	sim_thing_put(thing);
	return *fd < 0 ? *fd : 0;
}

unsigned sim_shm_wipe(struct sim_world *world, const char *name)
{
	unsigned wiped = 0;

	for (struct sim_thing *thing = world->things; thing != NULL; thing = thing->next) {
		if (thing->type != SIM_SHM || strcmp(thing->name, name) != 0)
			continue;
		memset(thing->bytes, 0, thing->size);
		wiped++;
	}
	return wiped;
}

int sim_map(struct env *env, int fd, uint64_t offset, uint64_t size, bool writable, struct env_mapping **out,
	struct weft_why *why)
{
	struct sim_thing *thing = sim_fd_get(node_of(env), fd);
	struct sim_mapping *mapping;

	(void)writable;
	if (thing == NULL || thing->type != SIM_SHM)
		return weft_why(why, -EBADF, "descriptor %d is not memory", fd);
	if (offset > thing->size || size > thing->size - offset || size == 0)
		return weft_why(why, -EINVAL, "[%llu, +%llu) is outside of the memory (%llu bytes)",
			(unsigned long long)offset, (unsigned long long)size, (unsigned long long)thing->size);
	mapping = sim_node_alloc(env, 16, sizeof(*mapping));
	if (mapping == NULL)
		return weft_why(why, -ENOMEM, "no memory to map");
	mapping->base.env = env;
	mapping->base.base = thing->bytes + offset;
	mapping->fd = sim_fd_install(node_of(env), thing);
	WEFT_ASSERT(mapping->fd >= 0);
	*out = &mapping->base;
	return 0;
}

void sim_unmap(struct env_mapping *base)
{
	struct sim_mapping *mapping = (struct sim_mapping *)base;

	sim_node_check(node_of(base->env));
	sim_fd_close(base->env, mapping->fd);
	sim_node_free(base->env, mapping);
}

/* ---- notifiers ---- */

static void notifier_close(struct env_notifier *base)
{
	struct sim_notifier *notifier = (struct sim_notifier *)base;

	sim_node_check(notifier->node);
	WEFT_ASSERT(sim_fd_get(notifier->node, notifier->fd) == notifier->thing);
	sim_fd_close(base->env, notifier->fd);
	sim_node_free(base->env, notifier);
}

static int notifier_fd(const struct env_notifier *base)
{
	return ((const struct sim_notifier *)base)->fd;
}

static void notifier_signal(struct env_notifier *base)
{
	((struct sim_notifier *)base)->thing->count++;
}

static int notifier_watch(struct env_loop *loop, struct env_notifier *notifier, void (*fn)(void *self), void *self)
{
	struct sim_watch *watch = sim_node_alloc(loop->env, 16, sizeof(*watch));

	sim_node_check(node_of(loop->env));
	WEFT_ASSERT(notifier->env == loop->env);
	for (const struct sim_watch *w = ((struct sim_loop *)loop)->watches; w != NULL; w = w->next)
		WEFT_ASSERT(w->notifier != notifier); /* one watch per notifier */
	if (watch == NULL)
		return -ENOMEM;
	*watch = (struct sim_watch){ ((struct sim_loop *)loop)->watches, notifier, fn, self };
	((struct sim_loop *)loop)->watches = watch;
	return 0;
}

static void notifier_unwatch(struct env_loop *loop, struct env_notifier *notifier)
{
	struct sim_watch **link = &((struct sim_loop *)loop)->watches, *watch;

	while (*link != NULL && (*link)->notifier != notifier)
		link = &(*link)->next;
	watch = *link;
	WEFT_ASSERT(watch != NULL);
	*link = watch->next;
	sim_node_free(loop->env, watch);
}

static void notifier_clear(struct env_notifier *base)
{
	((struct sim_notifier *)base)->thing->count = 0;
}

static const struct env_notifier_ops sim_notifier_ops = {
	.close = notifier_close, .fd = notifier_fd, .signal = notifier_signal, .clear = notifier_clear,
	.watch = notifier_watch,
	.unwatch = notifier_unwatch,
};

int sim_notifier_open(struct env *env, int fd, struct env_notifier **out)
{
	struct sim_node *node = node_of(env);
	struct sim_notifier *notifier;
	struct sim_thing *thing;

	if (fd >= 0) {
		thing = sim_fd_get(node, fd);
		if (thing == NULL || thing->type != SIM_EVENT)
			return -EBADF;
	} else {
		thing = sim_thing_make(node->world, SIM_EVENT);
		thing->refs = 1;
		fd = sim_fd_install(node, thing);
		sim_thing_put(thing);
		if (fd < 0)
			return fd;
	}
	notifier = sim_node_alloc(env, 16, sizeof(*notifier));
	if (notifier == NULL)
		return -ENOMEM;
	notifier->base.ops = &sim_notifier_ops;
	notifier->base.env = env;
	notifier->node = node;
	notifier->thing = thing;
	notifier->fd = fd;
	*out = &notifier->base;
	return 0;
}
