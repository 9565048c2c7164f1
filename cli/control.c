/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket: a line of JSON asks, a line of JSON answers.
 *
 *   {"command": "resize", "args": ["2GiB"]}     args may be left out
 *   {"ok": true, "result": {"size": 2147483648}}
 *   {"ok": false, "status": 2, "error": "..."}  2: asked for wrongly, 1: could not be done
 *
 * The clients are served in turn. A change of devices waits for requests in flight, which may be for ever: so there are two desks,
 * one for changes and one for all else. A request that cannot be understood is refused; one that does not end within LINE_MAX bytes
 * ends the connection. Who looks while a change is under way stands on these:
 *
 *  L1  Orders begin, and looks are told, between two messages of the control reactor, where each device that is served, and all
 *      that it stands on, is running and settled, whatever a change waits for (change.c: the tops are moved together with the
 *      bindings).
 *  L2  A look visits reactors; no reactor waits for a change. So it ends, and the next one begins, though the change does not.
 *  L3  A look changes nothing, and keeps no object from one message to the next: what it is about is found anew when it is told.
 *  L4  At most one change is under way; what it waits for is read on the control reactor only, and its order stays until it is
 *      answered.
 *  L5  While the server ends, changes do not begin; looks do as long as a change holds up the end.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/log.h>
#include <weft/memory.h>

#include "cli/command.h"
#include "cli/serve.h"
#include "cli/show.h"

#include "core/reactor.h"
#include "env/env.h"

enum { LINE_MAX = 16384, CLIENTS_MAX = 32, WORDS_MAX = 8, ANSWER_MAX = 768 << 10 };

struct client {
	struct control *control;
	struct env_stream *stream; /* NULL: gone, while its order is under way */
	struct client *next;
	struct desk *desk;         /* where its order is under way; NULL: it has none */
	size_t used;
	char line[LINE_MAX + 1];
};

struct desk {
	struct client *asking;         /* whose order is under way; NULL: nobody's */
	json_t *request;               /* its words are in there */
	const char *words[WORDS_MAX + 1];
	struct order order;
};

struct control {
	struct serve *serve;
	struct env_listener *listener;
	struct client *clients;        /* the next one to be served first */
	unsigned nclients;
	bool begun, going;             /* orders are carried out; orders_go_on is at it */
	struct desk desk[2];           /* by order_kind.changes */
};

static struct weft_core *core_of(const struct control *control)
{
	return control->serve->w.core;
}

bool control_is_busy(const struct control *control)
{
	return control != NULL && (control->desk[0].asking != NULL || control->desk[1].asking != NULL);
}

const struct order *control_change(const struct control *control)
{
	return control->desk[true].asking != NULL ? &control->desk[true].order : NULL;
}

/* ---- clients ---- */

static void client_free(struct client *client)
{
	struct client **link = &client->control->clients;

	while (*link != client)
		link = &(*link)->next;
	*link = client->next;
	client->control->nclients--;
	weft_free(core_of(client->control), client);
}

static void client_close(struct client *client)
{
	if (client->stream != NULL)
		env_stream_close(client->stream);
	client->stream = NULL;
	if (client->desk == NULL)
		client_free(client);
}

/* To the end of the row. */
static void client_last(struct client *client)
{
	struct client **link = &client->control->clients;

	while (*link != client)
		link = &(*link)->next;
	*link = client->next;
	while (*link != NULL)
		link = &(*link)->next;
	*link = client;
	client->next = NULL;
}

/* False: the client has been closed. Takes `answer`. */
static bool client_answer(struct client *client, json_t *answer)
{
	struct weft_core *core = core_of(client->control);
	size_t size = json_dumpb(answer, NULL, 0, JSON_COMPACT);
	char *text = size < ANSWER_MAX ? weft_alloc(core, size + 1) : NULL;
	bool sent = false;

	if (text != NULL) {
		json_dumpb(answer, text, size, JSON_COMPACT);
		text[size] = '\n';
		sent = env_stream_write(client->stream, text, size + 1, NULL, 0) == 0;
	}
	weft_free(core, text);
	json_decref(answer);
	if (!sent) {
		weft_log(core, WEFT_LOG_WARN, "control: a client does not take its answer of %zu bytes: disconnected", size);
		client_close(client);
	}
	return sent;
}

static json_t *refusal(int error, const struct weft_why *why)
{
	return json_pack("{s:b, s:i, s:o}", "ok", 0, "status", error == -EINVAL || error == -ERANGE || error == -ENAMETOOLONG ?
		EXIT_USAGE : EXIT_FAILED, "error", show_string(why->text[0] != '\0' ? why->text : strerrordesc_np(-error)));
}

/* ---- requests ---- */

/* {"command": TEXT, "args": [TEXT...]} and nothing else, into order and words. */
static int request_read(json_t *request, const struct order_kind **kind, const char *words[WORDS_MAX], struct weft_why *why)
{
	json_t *command = json_object_get(request, "command"), *list = json_object_get(request, "args"), *value;
	size_t i;

	if (!json_is_string(command) || json_object_size(request) != (list != NULL ? 2u : 1u) ||
		(list != NULL && !json_is_array(list)))
		return weft_why(why, -EINVAL, "control: a request is {\"command\": TEXT, \"args\": [TEXT, ...]} and nothing else");
	*kind = order_find(json_string_value(command), why);
	if (*kind == NULL)
		return -EINVAL;
	if (json_array_size(list) < (*kind)->least || json_array_size(list) > (*kind)->most)
		return weft_why(why, -EINVAL, "%s: %zu arguments: %s", (*kind)->name, json_array_size(list),
			(*kind)->most == 0 ? "it takes none" : (*kind)->arguments);
	json_array_foreach(list, i, value) {
		if (!json_is_string(value))
			return weft_why(why, -EINVAL, "%s: argument %zu is no text: put it in quotes", (*kind)->name, i + 1);
		words[i] = json_string_value(value);
	}
	return 0;
}

/* How many words there are, and the device that the order is about. */
static int order_aim(struct order *order, const struct order_kind *kind, const char *const *words, struct weft_why *why)
{
	const char *name = NULL;

	while (words[order->nwords] != NULL)
		order->nwords++;
	if (kind->device > 0 && order->nwords >= kind->device)
		name = words[kind->device - 1];
	if (kind->device == 0 || (name == NULL && !kind->one && order->serve->devices > 1))
		return 0;
	order->of = served_find(order->serve, name, why);
	return order->of != NULL ? 0 : -EINVAL;
}

static json_t *request_parse(const char *line, size_t len, struct weft_why *why)
{
	json_error_t fault;
	json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &fault);

	if (request == NULL)
		weft_why(why, -EINVAL, "control: column %d: %s: a request is a line of JSON", fault.column, fault.text);
	return request;
}

static void client_readable(void *self);

/* The first `len` bytes and the line's end have been understood: the client's turn is over. */
static void line_taken(struct client *client, size_t len)
{
	client->used -= len + 1;
	memmove(client->line, client->line + len + 1, client->used);
	client_last(client);
	env_stream_watch(client->stream, client_readable, client);
}

/* A line of the client is whole. False: it has to wait, since an order of its sort is under way, or none will be any more. */
static bool order_begin(struct client *client, size_t len)
{
	struct control *control = client->control;
	const struct order_kind *kind = NULL;
	struct desk begun = { .asking = client, .order = { .control = control, .serve = control->serve } }, *desk = NULL;
	struct weft_why why = { 0 };
	int error = -EINVAL;

	begun.request = request_parse(client->line, len, &why);
	if (begun.request != NULL)
		error = request_read(begun.request, &kind, begun.words, &why);
	if (error == 0) {
		desk = &control->desk[kind->changes];
		if (desk->asking != NULL || (control->serve->stopping && kind->changes)) {
			json_decref(begun.request);
			return false;
		}
		error = order_aim(&begun.order, kind, begun.words, &why);
	}
	line_taken(client, len);
	if (error != 0) {
		json_decref(begun.request);
		client_answer(client, refusal(error, &why));
		return true;
	}
	*desk = begun;
	desk->order.words = desk->words;
	desk->order.kind = kind;
	desk->order.began_ns = env_now_ns(core_of(control)->env);
	client->desk = desk;
	kind->run(&desk->order);
	return true;
}

/* Carries out what has been asked, until all that is asked for has to wait. */
static void orders_go_on(struct control *control)
{
	struct client *client = control->clients;

	if (control->going)
		return;
	control->going = true;
	while (control->begun && (!control->serve->stopping || control_change(control) != NULL) && client != NULL) {
		char *end = client->desk == NULL ? memchr(client->line, '\n', client->used) : NULL;

		if (end != NULL && order_begin(client, (size_t)(end - client->line)))
			client = control->clients;
		else
			client = client->next;
	}
	control->going = false;
}

static void client_readable(void *self)
{
	struct client *client = self;
	struct control *control = client->control;
	unsigned nfds = 0;
	int64_t n;

	if (client->used == LINE_MAX) {
		struct weft_why why;

		if (memchr(client->line, '\n', LINE_MAX) != NULL) { /* it waits for others */
			env_stream_watch(client->stream, NULL, NULL);
			return;
		}
		weft_why(&why, -EINVAL, "control: a request of more than %d bytes: shorten it", LINE_MAX);
		if (client_answer(client, refusal(-EINVAL, &why)))
			client_close(client);
		return;
	}
	n = env_stream_read(client->stream, client->line + client->used, LINE_MAX - client->used, NULL, &nfds);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		client_close(client);
		return;
	}
	client->used += (size_t)n;
	orders_go_on(control);
}

/* ---- answers ---- */

static void order_ends(struct order *order, json_t *answer)
{
	struct desk *desk = WEFT_CONTAINER(order, struct desk, order);
	struct control *control = order->control;
	struct client *client = desk->asking;

	WEFT_ASSERT(client != NULL && client->desk == desk);
	desk->asking = NULL;
	client->desk = NULL;
	json_decref(desk->request);
	desk->request = NULL;
	if (client->stream == NULL) {
		json_decref(answer);
		client_free(client);
	} else {
		client_answer(client, answer);
	}
	if (control->serve->stopping)
		serve_stop(control->serve);
	orders_go_on(control);
}

void order_answer(struct order *order, json_t *result)
{
	order_ends(order, result != NULL ? json_pack("{s:b, s:o}", "ok", 1, "result", result) : json_pack("{s:b}", "ok", 1));
}

void order_refuse(struct order *order, int error, const struct weft_why *why)
{
	order_ends(order, refusal(error, why));
}

/* ---- the socket ---- */

static void accepted(void *self, struct env_stream *stream)
{
	struct control *control = self;
	struct client *client = control->nclients < CLIENTS_MAX ? weft_alloc(core_of(control), sizeof(*client)) : NULL;

	if (client == NULL) {
		env_stream_close(stream);
		return;
	}
	client->control = control;
	client->stream = stream;
	client->next = control->clients;
	control->clients = client;
	control->nclients++;
	env_stream_watch(stream, client_readable, client);
}

int control_open(struct serve *s, const char *path, struct control **out, struct weft_why *why)
{
	struct control *control = weft_alloc(s->w.core, sizeof(*control));
	struct weft_why inner = { 0 };
	char where[256];
	struct listening listening = { .where = where, .wants = { .mode = 0600, .fd = -1 }, .accepted = accepted, .self = control };
	int error;

	if (control == NULL)
		return weft_why(why, -ENOMEM, "--control='%.80s': no memory for it: raise the memory limit", path);
	control->serve = s;
	listening.out = &control->listener;
	if ((size_t)snprintf(where, sizeof(where), "unix:%s", path) >= sizeof(where))
		error = weft_why(&inner, -ENAMETOOLONG, "a socket's name can have 107 bytes: choose a shorter one");
	else
		error = world_listen(&s->w, &listening, &inner);
	if (error != 0) {
		const char *text = strncmp(inner.text, "address: ", 9) == 0 ? inner.text + 9 : inner.text;

		weft_free(s->w.core, control);
		return weft_why(why, error, "--control='%.60s': %.170s", path, text);
	}
	*out = control;
	return 0;
}

void control_begin(struct control *control)
{
	control->begun = true;
	orders_go_on(control);
}

void control_close(struct control *control)
{
	struct weft_core *core = core_of(control);

	WEFT_ASSERT(!control_is_busy(control));
	env_listener_close(control->listener);
	while (control->clients != NULL)
		client_close(control->clients);
	weft_free(core, control);
}
