/* SPDX-License-Identifier: BSD-2-Clause */
/* An instance: opened and closed as a whole; its control side; what kinds it knows. */
#include <errno.h>
#include <string.h>

#include "env/env.h"
#include "env/linux/linux.h"
#include "lib/builtin.h"
#include "lib/lib.h"

#define SERVICE_MAX 32

void weft_settings_init(struct weft_settings *settings)
{
	if (settings == NULL)
		return;
	*settings = (struct weft_settings){ .size = sizeof(*settings), .control = WEFT_CONTROL_THREAD, .service = 1,
		.mode = WEFT_MODE_ADAPTIVE, .slots = 1024, .log_level = WEFT_LOG_WARN };
}

static int settings_check(const struct weft_settings *s, struct weft_why *why)
{
	if (s->size != sizeof(*s))
		return weft_why(why, -EINVAL, "settings: size %u: fill them by weft_settings_init first, and build against the "
			"headers of this version (%zu)", s->size, sizeof(*s));
	if (s->control > WEFT_CONTROL_CALLER)
		return weft_why(why, -EINVAL, "settings: control %u: use WEFT_CONTROL_THREAD or WEFT_CONTROL_CALLER", s->control);
	if (s->service < 1 || s->service > SERVICE_MAX)
		return weft_why(why, -EINVAL, "settings: service %u: use 1 to %d reactors", s->service, SERVICE_MAX);
	if (s->mode > WEFT_MODE_NOTIFY)
		return weft_why(why, -EINVAL, "settings: mode %u: use one of enum weft_mode", s->mode);
	if (s->slots < 2 || s->slots > 1u << 16)
		return weft_why(why, -EINVAL, "settings: slots %u: use 2 to 65536", s->slots);
	for (unsigned i = 0; s->cpus != NULL && i < s->service; i++)
		if (s->cpus[i] < 0)
			return weft_why(why, -EINVAL, "settings: cpus[%u] is %d: name a processor for each service reactor, or "
				"pass NULL for anywhere", i, s->cpus[i]);
	if (s->log_level > WEFT_LOG_DEBUG)
		return weft_why(why, -EINVAL, "settings: log_level %u: use one of enum weft_log_level", s->log_level);
	return 0;
}

/* ---- opening ---- */

static int core_begin(struct weft *weft, const struct weft_settings *s, struct weft_why *why)
{
	struct core_wants wants = { .io_reactors = s->service, .cpus = s->cpus, .mode = (enum weft_mode)s->mode,
		.budget = s->slots, .control_fd = weft->caller };
	struct weft_reactor *control;
	int error = core_open(weft->env, &wants, &weft->core, why);

	if (error != 0)
		return error;
	weft_log_level_set(weft->core, (enum weft_log_level)s->log_level);
	weft->core->lanes_come = true;
	weft->core->resized = device_resized;
	weft->core->resized_self = weft;
	error = objects_module_add(weft->core, &builtin_module, why);
	control = weft->core->reactor[0];
	if (error == 0 && !weft->caller)
		error = env_thread_start(weft->env, "weft/control", -1, control->loop, reactor_step, control, &control->thread,
			why);
	return error;
}

static void end(struct weft *weft)
{
	struct env *env = weft->env;
	bool own_env = weft->own_env;

	for (unsigned kind = 0; kind < HANDLE_KINDS; kind++)
		while (weft->closed[kind] != NULL && weft->nclosed[kind]-- > 0) {
			struct handle *next = weft->closed[kind]->next;

			weft_free(weft->core, weft->closed[kind]);
			weft->closed[kind] = next;
		}
	if (weft->core != NULL)
		core_close(weft->core);
	if (weft->areas != NULL)
		env_pages_free(env, weft->areas, REGIONS_MAX * sizeof(weft->areas[0]));
	if (weft->notifier != NULL)
		env_notifier_close(weft->notifier);
	if (weft->gate != NULL)
		env_gate_close(weft->gate);
	env_free(env, weft);
	if (own_env)
		env_linux_close(env);
}

static int parts_open(struct weft *weft, const struct weft_settings *s, struct weft_why *why)
{
	int error = env_gate_open(weft->env, &weft->gate, why);

	if (error == 0 && (error = env_notifier_open(weft->env, -1, &weft->notifier)) != 0) {
		weft->notifier = NULL;
		return weft_why(why, error, "no descriptor for events can be had: raise the limit of open files (ulimit -n)");
	}
	if (error == 0)
		weft->areas = env_pages_alloc(weft->env, REGIONS_MAX * sizeof(weft->areas[0]), false);
	if (error == 0 && weft->areas == NULL)
		error = weft_why(why, -ENOMEM, "no memory for the table of registered memory");
	return error != 0 ? error : core_begin(weft, s, why);
}

int weft_open_in(struct env *env, const struct weft_settings *settings, struct weft **out, struct weft_why *why)
{
	struct weft *weft = env_alloc(env, 64, sizeof(*weft));
	int error;

	if (weft == NULL)
		return weft_why(why, -ENOMEM, "no memory for an instance");
	weft->env = env;
	weft->caller = settings->control == WEFT_CONTROL_CALLER;
	weft->owner = env_thread_mark();
	weft->events_tail = &weft->events;
	error = parts_open(weft, settings, why);
	if (error != 0) {
		end(weft);
		return error;
	}
	*out = weft;
	return 0;
}

static void log_nothing(void *self, int level, const char *line)
{
	(void)self;
	(void)level;
	(void)line;
}

int weft_open(const struct weft_settings *settings, struct weft **out, struct weft_why *why)
{
	struct env_linux_wants wants = { .quiet = true };
	struct weft_settings usual;
	struct env *env;
	int error;

	weft_settings_init(&usual);
	if (settings == NULL)
		settings = &usual;
	if (out == NULL)
		return weft_why(why, -EINVAL, "weft_open: NULL: pass where the instance is to be stored");
	*out = NULL;
	error = settings_check(settings, why);
	if (error != 0)
		return error;
	wants.log = settings->quiet ? log_nothing : settings->log;
	wants.log_self = settings->log_self;
	error = env_linux_open(&env, &wants, why);
	if (error != 0)
		return error;
	error = weft_open_in(env, settings, out, why);
	if (error != 0) {
		env_linux_close(env);
		return error;
	}
	(*out)->own_env = true;
	if (env_linux_fallback(env) != NULL)
		weft_log((*out)->core, WEFT_LOG_INFO, "%s", env_linux_fallback(env));
	return 0;
}

/* ---- closing ---- */

/* Inside the gate. */
static int all_closed(const struct weft *weft, struct weft_why *why)
{
	static const char *const what[HANDLE_KINDS] = {
		"devices that are open, or being opened or closed: weft_device_close them, or take the event (weft_event_next),",
		"open queues: weft_queue_close them", "pieces of memory: weft_memory_release them",
		"open exports: weft_export_close them" };

	for (unsigned kind = 0; kind < HANDLE_KINDS; kind++)
		if (weft->open[kind] > 0)
			return weft_why(why, -EBUSY, "there still are %u %s first", weft->open[kind], what[kind]);
	if (weft->programs != NULL)
		return weft_why(why, -EBUSY, "there still are open reactors: weft_reactor_close first");
	if (weft->calls > 0 || weft->closing)
		return weft_why(why, -EBUSY, "another thread is in a call of this instance: let it return first");
	return 0;
}

/* From 0 on nobody else is in the instance: who waits for events has gone. */
static int close_begin(struct weft *weft, struct weft_why *why)
{
	int error;

	env_gate_enter(weft->gate);
	error = all_closed(weft, why);
	if (error == 0) {
		weft->closing = true;
		env_gate_wake(weft->gate);
		while (weft->waiting > 0)
			env_gate_wait(weft->gate, WEFT_FOREVER);
	}
	env_gate_leave(weft->gate);
	return error;
}

static void drain(struct call *call)
{
	call->job = (struct objects_job){ .task.done = call_job_done };
	objects_drain(call->weft->core, &call->job);
}

int weft_close(struct weft *weft, struct weft_why *why)
{
	struct call call = { .run = drain };
	struct note *note;
	int error = call_allowed(weft, why);

	if (error == 0 && weft->caller && weft->owner != env_thread_mark())
		error = weft_why(why, -EPERM, "control belongs to the thread that called weft_open: close the instance there");
	if (error == 0)
		error = close_begin(weft, why);
	if (error != 0)
		return error;
	error = call_wait(weft, &call, why);
	if (error != 0) {
		weft->closing = false;
		return error;
	}
	while ((note = weft->events) != NULL) {
		weft->events = note->next;
		if (note->once)
			weft_free(weft->core, note);
	}
	end(weft);
	return 0;
}

/* ---- control by the caller ---- */

static int ours(const struct weft *weft)
{
	if (weft == NULL || !weft->caller)
		return -EINVAL;
	if (weft_reactor_here() != NULL)
		return -EDEADLK;
	return weft->owner == env_thread_mark() ? 0 : -EPERM;
}

int weft_control_step(struct weft *weft)
{
	struct weft_reactor *control, *before;
	int error = ours(weft);
	uint64_t wait;

	if (error != 0)
		return error;
	control = weft->core->reactor[0];
	do
		wait = reactor_step(control, env_now_ns(weft->env));
	while (wait == 0);
	error = env_loop_alarm(control->loop, wait);
	before = reactor_enter(control);
	env_loop_submit(control->loop);
	reactor_leave(before);
	return error;
}

int weft_control_fd(struct weft *weft)
{
	int error = ours(weft);

	return error != 0 ? error : env_loop_fd(weft->core->reactor[0]->loop);
}

/* ---- components ---- */

struct module_call {
	struct call call;
	const struct weft_module *module;
	const char *path;
};

static void module_add(struct call *call)
{
	struct module_call *m = WEFT_CONTAINER(call, struct module_call, call);
	struct weft_core *core = call->weft->core;

	call_end(call, m->path != NULL ? objects_module_load(core, m->path, &call->why) :
		objects_module_add(core, m->module, &call->why));
}

int weft_module_add(struct weft *weft, const struct weft_module *module, struct weft_why *why)
{
	struct module_call m = { .call.run = module_add, .module = module };
	int error = call_allowed(weft, why);

	if (error == 0 && module == NULL)
		error = weft_why(why, -EINVAL, "module: NULL: pass a table (struct weft_module)");
	return error != 0 ? error : call_wait(weft, &m.call, why);
}

int weft_module_load(struct weft *weft, const char *path, struct weft_why *why)
{
	struct module_call m = { .call.run = module_add, .path = path };
	int error = call_allowed(weft, why);

	if (error == 0 && path == NULL)
		error = weft_why(why, -EINVAL, "path: NULL: pass the name of a shared object");
	return error != 0 ? error : call_wait(weft, &m.call, why);
}

struct kind_call {
	struct call call;
	const struct weft_iface *wants;
	const struct weft_kind *found;
	unsigned n;
};

static void kind_find(struct call *call)
{
	struct kind_call *k = WEFT_CONTAINER(call, struct kind_call, call);
	const struct weft_kind *kind = NULL;

	while ((kind = objects_kind_next(call->weft->core, kind)) != NULL)
		if (objects_kind_offers(kind, k->wants) && k->n-- == 0)
			break;
	k->found = kind;
	call_end(call, 0);
}

static const struct weft_kind *kind_get(struct weft *weft, const struct weft_iface *wants, unsigned n)
{
	struct kind_call k = { .call.run = kind_find, .wants = wants, .n = n };

	if (call_allowed(weft, NULL) != 0 || call_wait(weft, &k.call, NULL) != 0)
		return NULL;
	return k.found;
}

const struct weft_kind *weft_device_kind(struct weft *weft, unsigned n)
{
	return kind_get(weft, &weft_blk_iface, n);
}

const struct weft_kind *weft_export_kind(struct weft *weft, unsigned n)
{
	return kind_get(weft, &weft_export_iface, n);
}
