/* SPDX-License-Identifier: BSD-2-Clause */
/* Reactors of the program's own threads: opened, run in turns, waited for, handed on. */
#include <errno.h>
#include <string.h>

#include "env/env.h"
#include "lib/lib.h"

#define TABLES_BYTES (REGIONS_MAX * (sizeof(struct area) + sizeof(uint32_t)))

void weft_reactor_settings_init(struct weft_reactor_settings *settings)
{
	if (settings != NULL)
		*settings = (struct weft_reactor_settings){ .size = sizeof(*settings), .mode = WEFT_MODE_ADAPTIVE };
}

int reactor_check(const struct weft_reactor *reactor)
{
	if (reactor == NULL)
		return -EINVAL;
	if (reactor->program == NULL)
		return -EBADF;
	return reactor->owner == env_thread_mark() ? 0 : -EPERM;
}

const char *reactor_check_text(int error)
{
	switch (error) {
	case 0:
		return "nothing was refused";
	case -EINVAL:
		return "NULL: pass what opening it gave";
	case -EBADF:
		return "it has been closed, or is a service reactor: open one of this thread's own";
	case -EPERM:
		return "it belongs to another thread: call from that one, or weft_reactor_adopt it here first; after fork() it "
			"stays with the parent";
	default:
		return "this thread is running that reactor already: call from outside its turn";
	}
}

const char *weft_reactor_why(struct weft_reactor *reactor)
{
	int error = reactor_check(reactor);

	return reactor_check_text(error == 0 && weft_reactor_here() == reactor ? -EDEADLK : error);
}

static int check_why(const struct weft_reactor *reactor, struct weft_why *why)
{
	int error = reactor_check(reactor);

	return error == 0 ? 0 : weft_why(why, error, "reactor: %s", reactor_check_text(error));
}

/* ---- the control side's part ---- */

struct lane_call {
	struct call call;
	uint32_t slots;
	bool movable;
	struct weft_reactor *reactor;
	struct weft_msg round;
	unsigned lane;
};

static struct lane_call *lane_call_of(struct call *call)
{
	return WEFT_CONTAINER(call, struct lane_call, call);
}

static void lane_open(struct call *call)
{
	struct lane_call *l = lane_call_of(call);

	call_end(call, core_lane_open(call->weft->core, l->slots, l->movable, &l->reactor, &call->why));
}

static void lane_leave(struct call *call)
{
	core_lane_leave(call->weft->core, lane_call_of(call)->reactor);
	call_end(call, 0);
}

/*
 * A service reactor that has sent the last answer here may still be about to wake us, though that has been taken long ago: it
 * is past that when it runs a message. So one goes round them all, and the loop is closed after it.
 */
static void lane_round(void *self)
{
	struct lane_call *l = self;
	struct weft_core *core = l->call.weft->core;

	if (l->lane == 0) {
		core_lane_close(core, l->reactor);
		call_end(&l->call, 0);
		return;
	}
	l->lane = (l->lane + 1) % core->reactors;
	weft_reactor_post(core->reactor[l->lane], &l->round);
}

static void lane_close(struct call *call)
{
	struct lane_call *l = lane_call_of(call);

	l->lane = 1;
	l->round = (struct weft_msg){ .fn = lane_round, .self = l };
	weft_reactor_post(call->weft->core->reactor[1], &l->round);
}

/* ---- opening ---- */

static struct program *program_new(struct weft *weft)
{
	struct program *p = weft_alloc_aligned(weft->core, 64, sizeof(*p));
	char *tables = p != NULL ? env_pages_alloc(weft->env, TABLES_BYTES, false) : NULL;

	if (tables == NULL) {
		weft_free(weft->core, p);
		return NULL;
	}
	p->weft = weft;
	p->areas = (struct area *)(void *)tables;
	p->uses = (uint32_t *)(void *)(tables + REGIONS_MAX * sizeof(struct area));
	return p;
}

static void program_free(struct program *p)
{
	env_pages_free(p->weft->env, p->areas, TABLES_BYTES);
	weft_free(p->weft->core, p);
}

static int settings_check(const struct weft_reactor_settings *s, struct weft_why *why)
{
	if (s->size != sizeof(*s))
		return weft_why(why, -EINVAL, "settings: size %u: fill them by weft_reactor_settings_init first, and build against "
			"the headers of this version (%zu)", s->size, sizeof(*s));
	if (s->mode > WEFT_MODE_NOTIFY)
		return weft_why(why, -EINVAL, "settings: mode %u: use one of enum weft_mode", s->mode);
	if (s->slots > 1u << 16)
		return weft_why(why, -EINVAL, "settings: slots %u: use up to 65536", s->slots);
	return 0;
}

int weft_reactor_open(struct weft *weft, const struct weft_reactor_settings *settings, struct weft_reactor **out,
	struct weft_why *why)
{
	struct weft_reactor_settings usual;
	struct lane_call l = { .call.run = lane_open };
	struct program *p;
	int error = call_allowed(weft, why);

	weft_reactor_settings_init(&usual);
	settings = settings != NULL ? settings : &usual;
	if (error == 0 && out == NULL)
		error = weft_why(why, -EINVAL, "reactor: NULL: pass where it is to be stored");
	if (error == 0)
		error = settings_check(settings, why);
	if (error != 0)
		return error;
	*out = NULL;
	p = program_new(weft);
	if (p == NULL)
		return weft_why(why, -ENOMEM, "no memory for a reactor: close something else, or raise the memory limit");
	l.slots = settings->slots;
	l.movable = !settings->bound;
	error = call_wait(weft, &l.call, why);
	if (error != 0) {
		program_free(p);
		return error;
	}
	p->reactor = l.reactor;
	l.reactor->owner = env_thread_mark();
	reactor_mode_set(l.reactor, (enum weft_mode)settings->mode);
	env_gate_enter(weft->gate);
	p->next = weft->programs;
	p->link = &weft->programs;
	if (p->next != NULL)
		p->next->link = &p->next;
	weft->programs = p;
	env_gate_leave(weft->gate);
	l.reactor->program = p;
	*out = l.reactor;
	return 0;
}

/* ---- closing ---- */

/* Until nothing that was sent here is left. */
static void run_dry(struct weft_reactor *reactor)
{
	struct weft_reactor *before = reactor_enter(reactor);
	bool worked;

	do {
		worked = reactor_turn(reactor, env_now_ns(reactor->core->env));
		env_loop_submit(reactor->loop);
	} while (worked || !reactor_inbox_empty(reactor));
	reactor_leave(before);
}

int weft_reactor_close(struct weft_reactor *reactor, struct weft_why *why)
{
	struct lane_call leave = { .call.run = lane_leave, .reactor = reactor };
	struct lane_call close = { .call.run = lane_close, .reactor = reactor };
	struct program *p;
	struct weft *weft;
	int error = check_why(reactor, why);

	if (error != 0)
		return error;
	p = program_of(reactor);
	weft = p->weft;
	error = call_allowed(weft, why);
	if (error == 0 && p->queues > 0)
		error = weft_why(why, -EBUSY, "%u queues are open on this reactor: weft_queue_close them first", p->queues);
	if (error != 0)
		return error;
	run_dry(reactor);
	call_wait(weft, &leave.call, NULL);
	run_dry(reactor);
	env_loop_leave(reactor->loop);
	env_gate_enter(weft->gate);
	*p->link = p->next;
	if (p->next != NULL)
		p->next->link = p->link;
	env_gate_leave(weft->gate);
	reactor->program = NULL;
	reactor->owner = NULL;
	call_wait(weft, &close.call, NULL);
	program_free(p);
	return 0;
}

int weft_reactor_adopt(struct weft_reactor *reactor, struct weft_why *why)
{
	int error = reactor_check(reactor);

	if (error == -EINVAL || error == -EBADF)
		return weft_why(why, error, "reactor: %s", reactor_check_text(error));
	if (error == 0)
		return 0;
	error = begin_allowed(program_of(reactor)->weft, why);
	if (error != 0)
		return error;
	if (!reactor->movable)
		return weft_why(why, -EPERM, "this reactor stays with the thread that opened it: open it without settings.bound");
	if (atomic_load(&program_of(reactor)->waits))
		return weft_why(why, -EBUSY, "its owner is waiting on this reactor: weft_reactor_wake it, and let it return first");
	reactor->owner = env_thread_mark();
	return 0;
}

/* ---- turns ---- */

/* While somebody watches the descriptor, it is readable when there is something to be had. */
static void descriptor_set(struct program *p)
{
	struct weft_reactor *reactor = p->reactor;
	uint64_t wait;
	bool alarm;

	WEFT_ASSERT(p->notify && weft_reactor_here() == reactor);
	reactor_disarm(reactor); /* timers may have come */
	wait = p->ended > 0 ? 0 : reactor_arm(reactor);
	alarm = wait != 0 && wait != WEFT_FOREVER;
	if (wait == 0)
		env_loop_wake(reactor->loop);
	if (alarm && env_loop_alarm(reactor->loop, wait) != 0)
		env_loop_wake(reactor->loop); /* no timer can be had: the program polls instead */
	else if (p->alarm && !alarm)
		env_loop_alarm(reactor->loop, WEFT_FOREVER);
	p->alarm = alarm;
	env_loop_submit(reactor->loop);
}

/* Where control is this very thread's, devices that need it while they work (a connection that comes and goes) are waited for in
 * vain unless it goes on meanwhile: then sleeping is in slices. True: it had something to do. */
#define CONTROL_SLICE_NS 1000000u

static bool control_is_ours(const struct weft *weft)
{
	return WEFT_UNLIKELY(weft->caller) && weft->owner == env_thread_mark();
}

static bool control_turn(struct weft *weft)
{
	return reactor_step(weft->core->reactor[0], env_now_ns(weft->env)) == 0;
}

void program_turn(struct program *p)
{
	struct weft_reactor *reactor = p->reactor, *before = reactor_enter(reactor);

	if (!reactor_turn(reactor, env_now_ns(p->weft->env)) && control_is_ours(p->weft))
		control_turn(p->weft);
	env_loop_submit(reactor->loop);
	p->sent++;
	if (WEFT_UNLIKELY(p->notify))
		descriptor_set(p);
	reactor_leave(before);
}

void program_send(struct program *p)
{
	struct weft_reactor *reactor = p->reactor, *before = reactor_enter(reactor);

	reactor_send(reactor);
	p->sent++;
	if (WEFT_UNLIKELY(p->notify))
		descriptor_set(p);
	reactor_leave(before);
}

void program_look(struct program *p)
{
	struct weft_reactor *before = reactor_enter(p->reactor);

	if (p->notify)
		descriptor_set(p);
	reactor_leave(before);
}

static bool nudged(struct weft_reactor *reactor)
{
	return atomic_load_explicit(&reactor->nudged, memory_order_relaxed) && atomic_exchange(&reactor->nudged, false);
}

int program_run(struct program *p, const uint32_t *count, uint32_t enough, uint64_t timeout_ns)
{
	struct weft_reactor *reactor = p->reactor, *before = reactor_enter(reactor);
	struct env *env = p->weft->env;
	uint64_t now = env_now_ns(env), until = timeout_ns < WEFT_FOREVER - now ? now + timeout_ns : WEFT_FOREVER;
	int status = 0;

	atomic_store_explicit(&p->waits, true, memory_order_relaxed);
	while (*count < enough) {
		bool worked = reactor_turn(reactor, now), over = *count >= enough || nudged(reactor);
		uint64_t wait = worked || over ? 0 : reactor_rest(reactor);

		p->sent++;
		if (wait != 0 && control_is_ours(p->weft))
			wait = control_turn(p->weft) ? 0 : wait < CONTROL_SLICE_NS ? wait : CONTROL_SLICE_NS;
		if (wait == 0)
			env_loop_submit(reactor->loop);
		else
			env_loop_wait(reactor->loop, until != WEFT_FOREVER && until - now < wait ? until - now : wait);
		if (over)
			break;
		now = env_now_ns(env);
		if (now >= until) {
			status = -ETIMEDOUT;
			break;
		}
	}
	reactor_disarm(reactor);
	if (WEFT_UNLIKELY(p->notify))
		descriptor_set(p);
	reactor_leave(before);
	atomic_store_explicit(&p->waits, false, memory_order_relaxed);
	return status;
}

/* A turn inside a turn of the same reactor there cannot be. */
static int may_turn(const struct weft_reactor *reactor)
{
	int error = reactor_check(reactor);

	return error == 0 && weft_reactor_here() == reactor ? -EDEADLK : error;
}

int weft_reactor_poll(struct weft_reactor *reactor)
{
	int error = may_turn(reactor);

	if (error != 0)
		return error;
	program_turn(program_of(reactor));
	return (int)program_of(reactor)->ended;
}

int weft_reactor_wait(struct weft_reactor *reactor, uint64_t timeout_ns)
{
	struct program *p;
	int error = may_turn(reactor);

	if (error != 0)
		return error;
	p = program_of(reactor);
	program_run(p, &p->ended, 1, timeout_ns);
	return (int)p->ended;
}

int weft_reactor_wake(struct weft_reactor *reactor)
{
	int error = reactor_check(reactor);

	if (error == -EINVAL || error == -EBADF)
		return error;
	if (env_forked(reactor->core->env))
		return -EPERM;
	reactor_nudge(reactor);
	return 0;
}

int weft_reactor_mode(struct weft_reactor *reactor, enum weft_mode mode)
{
	int error = reactor_check(reactor);

	if (error == 0 && mode > WEFT_MODE_NOTIFY)
		error = -EINVAL;
	if (error == 0)
		reactor_mode_set(reactor, mode);
	return error;
}

/* A bound one has none, even where the environment could give one. */
static int descriptor(const struct weft_reactor *reactor)
{
	return reactor->movable ? env_loop_fd(reactor->loop) : -ENOTSUP;
}

int weft_reactor_fd(struct weft_reactor *reactor)
{
	int error = reactor_check(reactor);

	return error != 0 ? error : descriptor(reactor);
}

static void disarm(struct weft_reactor *reactor)
{
	struct weft_reactor *before = reactor_enter(reactor);

	reactor_disarm(reactor);
	reactor_leave(before);
}

int weft_reactor_notify(struct weft_reactor *reactor, bool enable)
{
	struct program *p;
	int error = may_turn(reactor);

	if (error != 0)
		return error;
	p = program_of(reactor);
	if (enable)
		error = descriptor(reactor) < 0 ? -ENOTSUP : 0;
	if (error != 0)
		return error;
	p->notify = enable;
	if (enable)
		program_send(p);
	else
		disarm(reactor);
	return 0;
}
