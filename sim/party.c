/* SPDX-License-Identifier: BSD-2-Clause */
/* Nodes with a core, for scenarios. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weft/memory.h>

#include "core/reactor.h"
#include "lib/builtin.h"
#include "sim/party.h"

/* Under way in a node: memory of the node, so that it goes with it. */
struct party_job {
	struct objects_job job;
	struct party *party;
	struct weft_msg msg;
	weft_reactor_fn *fn;
	void *self;
	char text[256];
	const struct weft_iface *wants;
};

static void must(int error, const struct weft_why *why)
{
	if (error == 0)
		return;
	fprintf(stderr, "sim: %s\n", why->text);
	abort();
}

void party_open(struct party *party, struct sim_world *world, const char *name, unsigned reactors, enum weft_mode mode)
{
	struct core_wants wants = { .io_reactors = reactors, .mode = mode, .budget = 64 };
	struct weft_why why;

	*party = (struct party){ .world = world };
	party->env = sim_node_open(world, name);
	must(core_open(party->env, &wants, &party->core, &why), &why);
	must(objects_module_add(party->core, &builtin_module, &why), &why);
	sim_thread_add(party->env, party->core->reactor[0]->loop, reactor_step, party->core->reactor[0]);
}

bool party_alive(const struct party *party)
{
	return party->env != NULL && sim_node_alive(party->world, party->env);
}

void party_forget(struct party *party)
{
	WEFT_ASSERT(!party_alive(party));
	reactor_abandoned();
	*party = (struct party){ .world = party->world };
}

static struct party_job *job_new(struct party *party)
{
	struct party_job *job = weft_alloc(party->core, sizeof(*job));

	WEFT_ASSERT(job != NULL && !party->busy);
	job->party = party;
	party->busy = true;
	party->job = job;
	return job;
}

static void job_end(struct party_job *job, int status)
{
	struct party *party = job->party;

	party->status = status;
	party->busy = false;
	party->job = NULL;
	weft_free(party->core, job);
}

static void built(struct weft_task *task, int status)
{
	struct party_job *job = WEFT_CONTAINER(task, struct party_job, job.task);

	sim_trace(job->party->world, "built %s: %d %s", job->text, status, status != 0 ? task->why.text : "");
	if (status == 0)
		job->party->nobjects++;
	job_end(job, status);
}

static void build_msg(void *self)
{
	struct party_job *job = self;
	struct party *party = job->party;
	struct tree_reader reader = objects_reader(party->core);
	struct weft_why why;
	struct tree *tree;

	int error = grammar_parse(&reader, job->text, job->wants, &tree, &why);

	if (error != 0) {
		sim_trace(party->world, "parsing %s: %s", job->text, why.text);
		job_end(job, error);
		return;
	}
	WEFT_ASSERT(party->nobjects < PARTY_OBJECTS);
	job->job.task.done = built;
	objects_build(party->core, tree, job->wants, &party->object[party->nobjects], &job->job);
	tree_free(party->core, tree);
}

void party_build(struct party *party, const char *text, const struct weft_iface *wants)
{
	struct party_job *job = job_new(party);

	snprintf(job->text, sizeof(job->text), "%s", text);
	job->wants = wants;
	job->msg = (struct weft_msg){ .fn = build_msg, .self = job };
	weft_reactor_post(party->core->reactor[0], &job->msg);
}

static bool not_busy(void *arg)
{
	struct party *party = arg;

	return !party->busy || !party_alive(party);
}

void party_wait(struct party *party)
{
	if (!sim_run(party->world, not_busy, party, 1000000)) {
		fprintf(stderr, "sim: what is under way does not end\n");
		abort();
	}
}

void party_must_build(struct party *party, const char *text, const struct weft_iface *wants)
{
	party_build(party, text, wants);
	party_wait(party);
	WEFT_ASSERT(party_alive(party) && party->status == 0);
}

static void call_msg(void *self)
{
	struct party_job *job = self;

	job->fn(job->self);
	job_end(job, 0);
}

void party_on(struct party *party, unsigned lane, weft_reactor_fn *fn, void *self)
{
	struct party_job *job = job_new(party);

	job->fn = fn;
	job->self = self;
	job->msg = (struct weft_msg){ .fn = call_msg, .self = job };
	weft_reactor_post(party->core->reactor[lane], &job->msg);
	party_wait(party);
}

static void released(struct weft_task *task, int status)
{
	job_end(WEFT_CONTAINER(task, struct party_job, job.task), status);
}

static void release_msg(void *self)
{
	struct party_job *job = self;
	struct party *party = job->party;

	job->job.task.done = released;
	objects_release(party->object[--party->nobjects], &job->job);
}

void party_close(struct party *party)
{
	while (party->nobjects > 0) {
		struct party_job *job = job_new(party);

		job->msg = (struct weft_msg){ .fn = release_msg, .self = job };
		weft_reactor_post(party->core->reactor[0], &job->msg);
		party_wait(party);
	}
	core_close(party->core);
	sim_node_close(party->env);
	*party = (struct party){ .world = party->world };
}
