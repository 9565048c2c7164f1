/* SPDX-License-Identifier: BSD-2-Clause */
/* What the devices' tests stand on: the world, the device, requests. rig_conform_test.c: random requests. */
#include "devices/rig_test.h"

#include "core/reactor.h"
#include "env/env_fault.h"
#include "env/env_ops.h"
#include "env/linux/linux.h"

#define STEPS 2000000u

#define KINDS(X) \
	X(null) \
	X(mem) \
	X(file) X(slice) X(mirror) X(stripe) X(delay) X(error) X(limit) X(log) X(contract) X(timeout) X(home) X(vhost_user) \
	X(compare_write)
#define DECLARE(kind) extern const struct weft_kind kind##_kind;
#define REFER(kind) &kind##_kind,
KINDS(DECLARE)

static const struct weft_kind *const kinds[] = { KINDS(REFER) NULL };
static const struct weft_module module = { WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind),
	"devices", WEFT_VERSION, kinds };

/* ---- the world ---- */

static void open_core(struct rig *rig, unsigned lanes, enum weft_mode mode)
{
	struct core_wants wants = { .io_reactors = lanes, .mode = mode, .budget = 256 };
	struct weft_why why;

	assert_in_range(lanes, 1, RIG_LANES);
	rig->lanes = lanes;
	assert_int_equal(core_open(rig->env, &wants, &rig->core, &why), 0);
	assert_int_equal(objects_module_add(rig->core, &module, &why), 0);
}

void rig_open(struct rig *rig, uint64_t seed, unsigned lanes)
{
	memset(rig, 0, sizeof(*rig));
	rig->rng = seed;
	rig->world = sim_world_open(seed);
	rig->env = sim_node_open(rig->world, "node");
	open_core(rig, lanes, WEFT_MODE_NOTIFY);
	sim_thread_add(rig->env, rig->core->reactor[0]->loop, reactor_step, rig->core->reactor[0]);
}

void rig_open_linux(struct rig *rig, uint64_t seed, unsigned lanes)
{
	struct weft_why why;

	memset(rig, 0, sizeof(*rig));
	rig->rng = seed;
	assert_int_equal(env_linux_open(&rig->env, NULL, &why), 0);
	open_core(rig, lanes, WEFT_MODE_NOTIFY);
}

void rig_close(struct rig *rig)
{
	if (rig->object != NULL)
		return; /* the test has failed, and says why */
	core_close(rig->core);
	if (rig->world != NULL) {
		sim_node_close(rig->env);
		sim_world_close(rig->world);
	} else {
		env_linux_close(rig->env);
	}
}

/* Until cond(arg), which only the control reactor makes true. */
static bool run(struct rig *rig, bool (*cond)(void *arg), void *arg)
{
	struct weft_reactor *control = rig->core->reactor[0];

	if (rig->world != NULL)
		return sim_run(rig->world, cond, arg, STEPS);
	while (!cond(arg)) {
		uint64_t wait = reactor_step(control, env_now_ns(rig->env));

		if (wait != 0 && !cond(arg))
			env_loop_wait(control->loop, wait);
	}
	return true;
}

uint64_t rig_rand(struct rig *rig, uint64_t below)
{
	rig->rng = rig->rng * 6364136223846793005u + 1442695040888963407u;
	return (rig->rng >> 33) % below;
}

/* ---- control operations ---- */

struct waiting {
	struct objects_job job;
	bool done;
	int status;
};

static void job_done(struct weft_task *task, int status)
{
	struct waiting *waiting = WEFT_CONTAINER(task, struct waiting, job.task);

	assert_false(waiting->done);
	waiting->done = true;
	waiting->status = status;
}

static bool is_done(void *waiting)
{
	return ((struct waiting *)waiting)->done;
}

static int wait_for(struct rig *rig, struct waiting *waiting)
{
	if (!waiting->done)
		assert_true(run(rig, is_done, waiting));
	return waiting->status;
}

/* Runs fn on a reactor, as a message, and waits for the message back. */
struct call {
	struct weft_msg msg, back;
	void (*fn)(struct rig *rig, unsigned lane);
	struct rig *rig;
	unsigned lane;
	bool done;
};

static void call_back_msg(void *self)
{
	((struct call *)self)->done = true;
}

static void call_msg(void *self)
{
	struct call *call = self;

	call->fn(call->rig, call->lane);
	weft_reactor_post(call->rig->core->reactor[0], &call->back);
}

static bool call_is_done(void *call)
{
	return ((struct call *)call)->done;
}

static void call_on(struct rig *rig, unsigned lane, void (*fn)(struct rig *rig, unsigned lane))
{
	struct call call = { .fn = fn, .rig = rig, .lane = lane };

	call.msg = (struct weft_msg){ .fn = call_msg, .self = &call };
	call.back = (struct weft_msg){ .fn = call_back_msg, .self = &call };
	weft_reactor_post(rig->core->reactor[lane], &call.msg);
	assert_true(run(rig, call_is_done, &call));
}

struct building {
	struct waiting waiting;
	const char *text;
	struct weft_object *object;
	int error;
};

static struct building *building; /* what build_here is to make */

static void build_here(struct rig *rig, unsigned lane)
{
	struct tree_reader reader = objects_reader(rig->core);
	struct tree *tree = NULL;

	assert_int_equal(lane, 0);
	building->waiting.job.task.done = job_done;
	building->error = grammar_parse(
		&reader, building->text, &weft_blk_iface, &tree, &building->waiting.job.task.why);
	if (building->error == 0)
		objects_build(rig->core, tree, &weft_blk_iface, &building->object, &building->waiting.job);
	tree_free(rig->core, tree);
}

static int build(struct rig *rig, const char *text, struct weft_object **out, struct weft_why *why)
{
	struct building mine = { .text = text };
	int error;

	building = &mine;
	call_on(rig, 0, build_here);
	error = mine.error != 0 ? mine.error : wait_for(rig, &mine.waiting);
	*why = mine.waiting.job.task.why;
	*out = mine.object;
	return error;
}

static struct waiting *releasing;

static void release_here(struct rig *rig, unsigned lane)
{
	assert_int_equal(lane, 0);
	releasing->job.task.done = job_done;
	objects_release(rig->object, &releasing->job);
}

static void release(struct rig *rig)
{
	struct waiting waiting = { 0 };

	releasing = &waiting;
	call_on(rig, 0, release_here);
	assert_int_equal(wait_for(rig, &waiting), 0);
	rig->object = NULL;
}

int rig_try(struct rig *rig, const char *text, struct weft_why *why)
{
	int error = build(rig, text, &rig->object, why);

	if (error == 0)
		release(rig);
	return error;
}

static bool never(struct weft_source *source)
{
	(void)source;
	return false;
}

static void session_open_here(struct rig *rig, unsigned lane)
{
	struct weft_session *session = &rig->session[lane - 1];
	struct weft_why why;

	memset(session, 0, sizeof(*session));
	snprintf(session->name, sizeof(session->name), "test#%u", lane);
	session->source.poll = never;
	session->slots_max = 128;
	assert_int_equal(weft_session_open(session, rig->core->reactor[lane], rig->stack, &why), 0);
}

static void session_close_here(struct rig *rig, unsigned lane)
{
	weft_session_close(&rig->session[lane - 1]);
}

static struct waiting *stacking;

static void stack_open_here(struct rig *rig, unsigned lane)
{
	(void)lane;
	stacking->job.task.done = job_done;
	assert_int_equal(weft_stack_open(rig->core, rig->blk, "test", &rig->stack, &stacking->job.task), 0);
}

static void stack_try_here(struct rig *rig, unsigned lane)
{
	int error;

	(void)lane;
	stacking->job.task.done = job_done;
	error = weft_stack_open(rig->core, rig->blk, "test", &rig->stack, &stacking->job.task);
	if (error != 0)
		job_done(&stacking->job.task, error);
}

static void stack_close_here(struct rig *rig, unsigned lane)
{
	(void)lane;
	stacking->job.task.done = job_done;
	weft_stack_close(rig->stack, &stacking->job.task);
}

static int with_stack(struct rig *rig, void (*fn)(struct rig *rig, unsigned lane))
{
	struct waiting waiting = { 0 };

	stacking = &waiting;
	call_on(rig, 0, fn);
	return wait_for(rig, &waiting);
}

int rig_try_stack(struct rig *rig, const char *text, struct weft_why *why)
{
	struct waiting waiting = { 0 };
	int error = build(rig, text, &rig->object, why);

	if (error != 0)
		return error;
	rig->blk = weft_object_query(rig->object, &weft_blk_iface);
	stacking = &waiting;
	call_on(rig, 0, stack_try_here);
	error = wait_for(rig, &waiting);
	*why = waiting.job.task.why;
	if (error == 0)
		assert_int_equal(with_stack(rig, stack_close_here), 0);
	rig->stack = NULL;
	release(rig);
	return error;
}

unsigned rig_fail_each(struct rig *rig, const char *text, bool stack, const char *gone)
{
	struct weft_why why;

	for (unsigned n = 1;; n++) {
		int error;

		env_fail_nth(rig->env, n);
		error = stack ? rig_try_stack(rig, text, &why) : rig_try(rig, text, &why);
		if (gone != NULL)
			assert_false(sim_file_exists(rig->world, gone));
		if (!env_fail_hit(rig->env)) {
			assert_int_equal(error, 0);
			return n - 1;
		}
		assert_true(error == -ENOMEM || error == -EIO); /* EIO: not memory, but a call to the system */
		assert_int_not_equal(why.text[0], 0);
	}
}

void rig_make(struct rig *rig, const char *text)
{
	struct weft_why why = { "" };
	int error = build(rig, text, &rig->object, &why);

	if (error != 0)
		fail_msg("%s: %s", text, why.text);
	rig->blk = weft_object_query(rig->object, &weft_blk_iface);
	assert_non_null(rig->blk);
	assert_int_equal(with_stack(rig, stack_open_here), 0);
	for (unsigned lane = 1; lane <= rig->lanes; lane++)
		call_on(rig, lane, session_open_here);
}

void rig_unmake(struct rig *rig)
{
	for (unsigned lane = 1; lane <= rig->lanes; lane++)
		call_on(rig, lane, session_close_here);
	assert_int_equal(with_stack(rig, stack_close_here), 0);
	rig->stack = NULL;
	release(rig);
}

void rig_reopen(struct rig *rig)
{
	for (unsigned lane = 1; lane <= rig->lanes; lane++)
		call_on(rig, lane, session_close_here);
	assert_int_equal(with_stack(rig, stack_close_here), 0);
	assert_int_equal(with_stack(rig, stack_open_here), 0);
	for (unsigned lane = 1; lane <= rig->lanes; lane++)
		call_on(rig, lane, session_open_here);
}

struct weft_object *rig_below(struct weft_object *object, unsigned n)
{
	struct weft_object *below = objects_below(object, n, NULL);

	assert_non_null(below);
	return below;
}

static void resize_done(struct weft_task *task, int status)
{
	struct rig_resizing *resizing = WEFT_CONTAINER(task, struct rig_resizing, job.task);

	assert_false(resizing->done);
	resizing->done = true;
	resizing->status = status;
}

static void resize_msg(void *self)
{
	struct rig_resizing *resizing = self;

	objects_resize(resizing->object, resizing->size, &resizing->job);
}

void rig_resize_start(struct rig *rig, struct rig_resizing *resizing)
{
	resizing->job = (struct objects_job){ .task.done = resize_done };
	resizing->msg = (struct weft_msg){ .fn = resize_msg, .self = resizing };
	resizing->done = false;
	weft_reactor_post(rig->core->reactor[0], &resizing->msg);
}

static bool resize_has_ended(void *resizing)
{
	return ((struct rig_resizing *)resizing)->done;
}

int rig_resize_wait(struct rig *rig, struct rig_resizing *resizing)
{
	assert_true(run(rig, resize_has_ended, resizing));
	return resizing->status;
}

int rig_resize(struct rig *rig, struct weft_object *object, uint64_t size)
{
	struct rig_resizing resizing = { .object = object, .size = size };

	rig_resize_start(rig, &resizing);
	return rig_resize_wait(rig, &resizing);
}

static struct setting {
	struct weft_object *object;
	const char *name, *value;
	int error;
} * setting;

static void set_here(struct rig *rig, unsigned lane)
{
	struct weft_why why;

	(void)rig, (void)lane;
	setting->error = objects_set_option(setting->object, setting->name, setting->value, &why);
}

int rig_set(struct rig *rig, struct weft_object *object, const char *name, const char *value)
{
	struct setting mine = { object, name, value, 0 };

	setting = &mine;
	call_on(rig, 0, set_here);
	return mine.error;
}

/* ---- the log ---- */

struct rig_line rig_line[64];
unsigned rig_lines;
static struct env_ops catching;
static const struct env_ops *not_catching;

static void catch_line(struct env *env, int level, const char *line)
{
	(void)env;
	assert_true(rig_lines < WEFT_COUNT(rig_line));
	rig_line[rig_lines].level = level;
	snprintf(rig_line[rig_lines++].text, sizeof(rig_line[0].text), "%s", line);
}

void rig_log_begin(struct rig *rig)
{
	not_catching = rig->env->ops;
	catching = *not_catching;
	catching.log_line = catch_line;
	rig->env->ops = &catching;
	rig_lines = 0;
}

void rig_log_end(struct rig *rig)
{
	rig->env->ops = not_catching;
}

/* ---- facts ---- */

static char fact[256];

static void fact_put(void *self, const char *name, const char *value)
{
	if (strcmp(self, name) == 0)
		snprintf(fact, sizeof(fact), "%s", value);
}

const char *rig_fact(struct weft_object *object, const char *name)
{
	fact[0] = '\0';
	object->kind->describe(object, fact_put, (void *)(uintptr_t)name);
	return fact;
}

/* ---- requests ---- */

static void request_done(struct weft_hop *self, struct weft_hop *child, int status)
{
	struct weft_slot *slot = WEFT_CONTAINER(self, struct weft_slot, root);
	struct rig_request *request = (void *)(uintptr_t)slot->tag;

	(void)child;
	request->status = status;
	request->ended_ns = weft_reactor_now(slot->session->reactor);
	request->slot = NULL;
	weft_slot_give(slot);
	weft_reactor_post(request->rig->core->reactor[0], &request->back); /* asserts: not twice */
}

static void request_back_msg(void *self)
{
	((struct rig_request *)self)->ended++;
}

static void request_msg(void *self)
{
	struct rig_request *request = self;
	struct weft_slot *slot = weft_session_slot(&request->rig->session[request->lane]);

	assert_non_null(slot);
	request->slot = slot;
	slot->tag = (uintptr_t)request;
	memcpy(slot->segs, request->segs, request->nsegs * sizeof(request->segs[0]));
	slot->root.source = request->source;
	slot->root.deadline_us = request->deadline_us;
	weft_slot_submit(slot, request->op, request->flags, request->offset, request->len, request->nsegs,
		request_done);
}

void rig_start(struct rig *rig, struct rig_request *request)
{
	request->rig = rig;
	request->ended = 0;
	request->msg = (struct weft_msg){ .fn = request_msg, .self = request };
	request->back = (struct weft_msg){ .fn = request_back_msg, .self = request };
	weft_reactor_post(rig->core->reactor[request->lane + 1], &request->msg);
}

static bool request_has_ended(void *request)
{
	return ((struct rig_request *)request)->ended > 0;
}

int rig_wait(struct rig *rig, struct rig_request *request)
{
	assert_true(run(rig, request_has_ended, request));
	assert_int_equal(request->ended, 1);
	return request->status;
}

static struct rig_request *aborting;

static void abort_here(struct rig *rig, unsigned lane)
{
	(void)rig, (void)lane;
	if (aborting->slot != NULL) {
		struct weft_hop *root = &aborting->slot->root;
		weft_hop_abort(root + 1, -ECANCELED);
	}
}

void rig_abort(struct rig *rig, struct rig_request *request)
{
	aborting = request;
	call_on(rig, request->lane + 1, abort_here);
}

int rig_ask(struct rig *rig, unsigned op, unsigned flags, uint64_t offset, uint64_t len, void *data)
{
	struct rig_request request = { .op = op, .flags = flags, .offset = offset, .len = len };

	if (data != NULL) {
		request.segs[0] = (struct weft_seg){ .base = data, .len = (uint32_t)len };
		request.nsegs = 1;
	}
	rig_start(rig, &request);
	return rig_wait(rig, &request);
}

void rig_turn(struct rig *rig, unsigned lane)
{
	struct weft_reactor *reactor = rig->core->reactor[lane];

	reactor_step(reactor, sim_now_ns(rig->world));
	env_loop_wake(reactor->loop); /* its thread does not know how long this turn said that it may sleep */
}

static struct pause {
	struct weft_timer timer;
	uint64_t ns;
	bool over;
} * pausing;

static void pause_over(void *self)
{
	((struct pause *)self)->over = true;
}

static bool pause_is_over(void *self)
{
	return ((struct pause *)self)->over;
}

static void pause_here(struct rig *rig, unsigned lane)
{
	struct weft_reactor *control = rig->core->reactor[lane];

	pausing->timer.fn = pause_over;
	pausing->timer.self = pausing;
	weft_timer_arm(control, &pausing->timer, weft_reactor_now(control) + pausing->ns);
}

void rig_run(struct rig *rig, uint64_t ns)
{
	struct pause mine = { .ns = ns };

	pausing = &mine;
	call_on(rig, 0, pause_here);
	assert_true(run(rig, pause_is_over, &mine));
}
