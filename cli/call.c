/* SPDX-License-Identifier: BSD-2-Clause */
/* The client's side of the control socket. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/call.h"
#include "cli/command.h"

#include "env/env.h"

/* Of an answer. */
#define ANSWER_MAX (1u << 20)

struct call {
	struct env *env;
	struct env_loop *loop;
	struct env_stream *stream;
	const char *path;
	bool readable;
	size_t used;
	char *text;
};

static void readable(void *self)
{
	((struct call *)self)->readable = true;
}

int call_open(struct env *env, const char *path, struct call **out, struct weft_why *why)
{
	struct call *call = env_alloc(env, 16, sizeof(*call));
	struct weft_why inner = { 0 };
	char where[256];
	int error;

	if (call == NULL)
		return weft_why(why, -ENOMEM, "control='%.80s': no memory to connect: raise the memory limit", path);
	call->env = env;
	call->path = path;
	call->text = env_alloc(env, 16, ANSWER_MAX);
	error = call->text == NULL ? -ENOMEM : env_loop_open(env, &call->loop, &inner);
	if (error == 0 && (size_t)snprintf(where, sizeof(where), "unix:%s", path) >= sizeof(where))
		error = -ENAMETOOLONG;
	if (error == 0)
		error = env_connect(call->loop, where, &call->stream, &inner);
	if (error != 0) {
		call_close(call);
		if (error == -ENOENT || error == -ECONNREFUSED)
			return weft_why(why, error, "control='%.100s': nobody listens there: give the path that `weft serve` has "
				"as --control",
				path);
		return weft_why(why, error, "control='%.80s': no connection: %.120s", path,
			inner.text[0] != '\0' ? inner.text : strerrordesc_np(-error));
	}
	env_stream_watch(call->stream, readable, call);
	*out = call;
	return 0;
}

void call_close(struct call *call)
{
	if (call->stream != NULL)
		env_stream_close(call->stream);
	if (call->loop != NULL)
		env_loop_close(call->loop);
	env_free(call->env, call->text);
	env_free(call->env, call);
}

static int send(struct call *call, const char *command, const char *const *args, unsigned nargs, struct weft_why *why)
{
	json_t *list = json_array(), *request = json_pack("{s:s, s:o}", "command", command, "args", list);
	size_t size = 0;
	int error = -EINVAL;

	for (unsigned i = 0; i < nargs && request != NULL; i++)
		if (json_array_append_new(list, json_string(args[i])) != 0) {
			json_decref(request);
			request = NULL;
		}
	if (request != NULL && (size = json_dumpb(request, call->text, ANSWER_MAX - 1, JSON_COMPACT)) < ANSWER_MAX) {
		call->text[size] = '\n';
		error = env_stream_write(call->stream, call->text, size + 1, NULL, 0);
	}
	json_decref(request);
	return error == 0 ? 0 : weft_why(why, error, "ctl: '%.60s' cannot be sent to %.60s: %s", command, call->path,
		error == -EINVAL ? "write it as UTF-8 text" : strerrordesc_np(-error));
}

/* A whole line into text, without its end. */
static int receive(struct call *call, struct weft_why *why)
{
	unsigned nfds = 0;
	char *end;

	for (call->used = 0;;) {
		int64_t n;

		call->readable = false;
		n = env_stream_read(call->stream, call->text + call->used, ANSWER_MAX - call->used, NULL, &nfds);
		if (n == -EAGAIN) {
			while (!call->readable)
				if (!env_loop_poll(call->loop))
					env_loop_wait(call->loop, ENV_FOREVER);
			continue;
		}
		if (n <= 0)
			return weft_why(why, -EPIPE, "control='%.100s': the server went away before it answered", call->path);
		call->used += (size_t)n;
		end = memchr(call->text, '\n', call->used);
		if (end != NULL) {
			call->used = (size_t)(end - call->text);
			return 0;
		}
		if (call->used == ANSWER_MAX)
			return weft_why(why, -EPROTO, "control='%.100s': an answer of more than %u bytes: is it a weft?",
				call->path, ANSWER_MAX);
	}
}

int call_ask(struct call *call, const char *command, const char *const *args, unsigned nargs, json_t **result, int *status,
	struct weft_why *why)
{
	json_error_t fault;
	json_t *answer, *ok, *text;
	int error = send(call, command, args, nargs, why);

	*result = NULL;
	*status = EXIT_FAILED;
	if (error == 0)
		error = receive(call, why);
	if (error != 0)
		return error;
	answer = json_loadb(call->text, call->used, 0, &fault);
	ok = json_object_get(answer, "ok");
	text = json_object_get(answer, "error");
	if (json_is_true(ok)) {
		*result = json_incref(json_object_get(answer, "result"));
	} else if (json_is_false(ok) && json_is_string(text)) {
		*status = (int)json_integer_value(json_object_get(answer, "status"));
		error = weft_why(why, -EIO, "%s", json_string_value(text));
	} else {
		error = weft_why(why, -EPROTO, "control='%.100s': the answer makes no sense: is it a weft?", call->path);
	}
	json_decref(answer);
	return error;
}
