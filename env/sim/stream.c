/* SPDX-License-Identifier: BSD-2-Clause */
/* Streams and listeners of the simulated world. Reads come back short by chance; descriptors come with the first byte of their
 * write. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "env/sim/world.h"

static struct sim_stream *stream_of(struct env_stream *base) { return (struct sim_stream *)base; }

static struct sim_end *end_of(const struct sim_stream *stream)
{
	return stream->node->fd[stream->fd]->end;
}

static void chunk_free(struct sim_chunk *chunk)
{
	if (chunk->taken == 0)
		for (unsigned i = 0; i < chunk->nfds; i++)
			sim_thing_put(chunk->fds[i]);
	free(chunk);
}

void sim_end_free(struct sim_end *end)
{
	if (end->peer != NULL)
		end->peer->peer = NULL;
	while (end->in != NULL) {
		struct sim_chunk *next = end->in->next;
		chunk_free(end->in);
		end->in = next;
	}
	free(end);
}

/* Is there what is watched for? */
static bool is_ready(const struct sim_stream *stream)
{
	const struct sim_end *end = end_of(stream);

	return stream->fn != NULL && ((end->in != NULL && !stream->end) || end->peer == NULL || end->ended);
}

static void stream_close(struct env_stream *base)
{
	struct sim_stream *stream = stream_of(base), **link = &stream->node->streams;

	sim_node_check(stream->node);
	while (*link != stream)
		link = &(*link)->next;
	*link = stream->next;
	sim_fd_close(base->env, stream->fd);
	sim_node_free(base->env, stream);
}

static void stream_shut(struct env_stream *base)
{
	struct sim_end *peer = end_of(stream_of(base))->peer;

	if (peer != NULL)
		peer->ended = true;
}

static void stream_watch(struct env_stream *base, bool end, void (*fn)(void *self), void *self)
{
	stream_of(base)->fn = fn;
	stream_of(base)->self = self;
	stream_of(base)->end = end;
}

static int64_t stream_read(struct env_stream *base, void *buf, size_t len, int *fds, unsigned *nfds)
{
	struct sim_stream *stream = stream_of(base);
	struct sim_end *end = end_of(stream);
	struct sim_chunk *chunk = end->in;
	unsigned room = nfds != NULL ? *nfds : 0;
	size_t n;

	sim_node_check(stream->node);
	WEFT_ASSERT(len > 0 && (chunk == NULL || chunk->taken < chunk->len));
	if (nfds != NULL)
		*nfds = 0;
	if (chunk == NULL)
		return end->peer == NULL || end->ended ? 0 : -EAGAIN;
	n = chunk->len - chunk->taken;
	if (n > len)
		n = len;
	if (n > 1 && sim_chance(stream->node->world, 1, 8))
		n = 1 + sim_rand(stream->node->world) % (n - 1);
	if (chunk->taken == 0) {
		for (unsigned i = 0; i < chunk->nfds; i++) {
			if (i < room) {
				fds[i] = sim_fd_install(stream->node, chunk->fds[i]);
				WEFT_ASSERT(fds[i] >= 0);
				*nfds = i + 1;
			}
			sim_thing_put(chunk->fds[i]);
		}
	}
	memcpy(buf, chunk->data + chunk->taken, n);
	chunk->taken += n;
	if (chunk->taken == chunk->len) {
		end->in = chunk->next;
		if (end->in == NULL)
			end->in_tail = &end->in;
		chunk_free(chunk);
	}
	return (int64_t)n;
}

static int stream_write(struct env_stream *base, const void *buf, size_t len, const int *fds, unsigned nfds)
{
	struct sim_stream *stream = stream_of(base);
	struct sim_end *peer = end_of(stream)->peer;
	struct sim_chunk *chunk;

	WEFT_ASSERT(len > 0 && nfds <= ENV_FDS_MAX);
	sim_node_check(stream->node);
	if (peer == NULL || peer->ended)
		return -EPIPE;
	chunk = calloc(1, sizeof(*chunk) + len);
	WEFT_ASSERT(chunk != NULL);
	chunk->len = len;
	memcpy(chunk->data, buf, len);
	for (; chunk->nfds < nfds; chunk->nfds++) {
		chunk->fds[chunk->nfds] = sim_fd_get(stream->node, fds[chunk->nfds]);
		WEFT_ASSERT(chunk->fds[chunk->nfds] != NULL);
		chunk->fds[chunk->nfds]->refs++;
	}
	*peer->in_tail = chunk;
	peer->in_tail = &chunk->next;
	return 0;
}

static const struct env_stream_ops sim_stream_ops = {
	.close = stream_close, .shut = stream_shut, .watch = stream_watch, .read = stream_read, .write = stream_write,
};

/* A stream of this node for a thing, of which it takes the caller's reference. */
static struct env_stream *stream_make(struct sim_loop *loop, struct sim_thing *thing)
{
	struct sim_stream *stream = sim_node_alloc(loop->base.env, 16, sizeof(*stream));

	WEFT_ASSERT(stream != NULL);
	stream->base.ops = &sim_stream_ops;
	stream->base.env = loop->base.env;
	stream->node = loop->node;
	stream->loop = loop;
	stream->fd = sim_fd_install(loop->node, thing);
	WEFT_ASSERT(stream->fd >= 0);
	sim_thing_put(thing);
	stream->next = loop->node->streams;
	loop->node->streams = stream;
	return &stream->base;
}

/* ---- listeners ---- */

static struct sim_listener *find_listener(struct sim_world *world, const char *where)
{
	for (struct sim_node *node = world->nodes; node != NULL; node = node->next)
		for (struct sim_listener *listener = node->listeners; listener != NULL; listener = listener->next)
			if (strcmp(listener->where, where) == 0)
				return listener;
	return NULL;
}

static void listener_close(struct env_listener *base)
{
	struct sim_listener *listener = (struct sim_listener *)base, **link = &listener->node->listeners;

	sim_node_check(listener->node);
	while (listener->waiting > 0)
		sim_thing_put(listener->backlog[--listener->waiting]);
	while (*link != listener)
		link = &(*link)->next;
	*link = listener->next;
	sim_node_free(base->env, listener);
}

static const struct env_listener_ops sim_listener_ops = { .close = listener_close };

int sim_listen(struct env_loop *loop, const char *where, const struct env_listen_wants *wants,
	void (*accepted)(void *self, struct env_stream *stream), void *self, struct env_listener **out,
	struct weft_why *why)
{
	struct sim_node *node = node_of(loop->env);
	struct sim_listener *listener;

	sim_node_check(node);
	if (!wants->connected && find_listener(node->world, where) != NULL)
		return weft_why(why, -EADDRINUSE, "%s: somebody listens there: choose another path", where);
	listener = sim_node_alloc(loop->env, 16, sizeof(*listener));
	if (listener == NULL)
		return weft_why(why, -ENOMEM, "no memory to listen");
	listener->base.ops = &sim_listener_ops;
	listener->base.env = loop->env;
	listener->node = node;
	listener->loop = (struct sim_loop *)loop;
	snprintf(listener->where, sizeof(listener->where), "%s", wants->connected ? "" : where);
	if (wants->connected) { /* an inherited connection: handed out as if it had just been accepted */
		listener->backlog[listener->waiting] = sim_fd_get(node, wants->fd);
		listener->backlog[listener->waiting++]->refs++;
		sim_fd_close(loop->env, wants->fd);
	}
	listener->accepted = accepted;
	listener->self = self;
	listener->next = node->listeners;
	node->listeners = listener;
	*out = &listener->base;
	return 0;
}

static struct sim_thing *end_make(struct sim_world *world)
{
	struct sim_thing *thing = sim_thing_make(world, SIM_STREAM);

	thing->refs = 1;
	thing->end = calloc(1, sizeof(*thing->end));
	WEFT_ASSERT(thing->end != NULL);
	thing->end->in_tail = &thing->end->in;
	return thing;
}

static struct sim_thing *pair_make(struct sim_world *world, struct sim_thing **theirs)
{
	struct sim_thing *mine = end_make(world);

	*theirs = end_make(world);
	mine->end->peer = (*theirs)->end;
	(*theirs)->end->peer = mine->end;
	return mine;
}

int sim_stream_pair(struct env_loop *loop, struct env_stream **out, int *fd)
{
	struct sim_thing *mine, *theirs;

	mine = pair_make(node_of(loop->env)->world, &theirs);
	*fd = sim_fd_install(node_of(loop->env), theirs);
	WEFT_ASSERT(*fd >= 0);
	sim_thing_put(theirs);
	*out = stream_make((struct sim_loop *)loop, mine);
	return 0;
}

int sim_connect(struct env_loop *loop, const char *where, struct env_stream **out, struct weft_why *why)
{
	struct sim_world *world = node_of(loop->env)->world;
	struct sim_listener *listener = find_listener(world, where);
	struct sim_thing *mine, *theirs;

	sim_node_check(node_of(loop->env));
	if (listener == NULL || listener->waiting == WEFT_COUNT(listener->backlog))
		return weft_why(why, -ECONNREFUSED, "%s: nobody listens there: start the server first", where);
	mine = pair_make(world, &theirs);
	listener->backlog[listener->waiting++] = theirs;
	*out = stream_make((struct sim_loop *)loop, mine);
	return 0;
}

/* ---- the loop's part ---- */

bool sim_streams_ready(struct sim_loop *loop)
{
	for (struct sim_listener *l = loop->node->listeners; l != NULL; l = l->next)
		if (l->loop == loop && l->waiting > 0)
			return true;
	for (struct sim_stream *s = loop->node->streams; s != NULL; s = s->next)
		if (s->loop == loop && is_ready(s))
			return true;
	return false;
}

/* One event: its callback may change the lists. */
bool sim_streams_deliver(struct sim_loop *loop)
{
	for (struct sim_listener *l = loop->node->listeners; l != NULL; l = l->next) {
		if (l->loop != loop || l->waiting == 0)
			continue;
		struct sim_thing *thing = l->backlog[0];
		memmove(l->backlog, l->backlog + 1, --l->waiting * sizeof(l->backlog[0]));
		l->accepted(l->self, stream_make(loop, thing));
		return true;
	}
	unsigned ready = 0, pick;
	for (struct sim_stream *s = loop->node->streams; s != NULL; s = s->next)
		ready += s->loop == loop && is_ready(s);
	if (ready == 0)
		return false;
	pick = (unsigned)(sim_rand(loop->node->world) % ready);
	for (struct sim_stream *s = loop->node->streams; s != NULL; s = s->next) {
		if (s->loop != loop || !is_ready(s) || pick-- > 0)
			continue;
		s->fn(s->self);
		return true;
	}
	return false;
}
