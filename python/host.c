/* SPDX-License-Identifier: BSD-2-Clause */
/* The kind `python`: the reactors' side of devices that are written in Python. No Python in here. */
#include "python/host.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

struct python {
	struct weft_object object;
	struct weft_blk blk;
	char *wanted; /* name of the object */
	struct host *host;
};

/* ---- the registry ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct host *hosts;

static struct host *find(const char *name)
{
	struct host *host = hosts;

	while (host != NULL && strcmp(host->name, name) != 0)
		host = host->next;
	return host;
}

bool host_add(struct host *host)
{
	bool fresh;

	pthread_mutex_lock(&lock);
	fresh = find(host->name) == NULL;
	if (fresh) {
		host->next = hosts;
		hosts = host;
	}
	pthread_mutex_unlock(&lock);
	return fresh;
}

bool host_remove(struct host *host)
{
	struct host **link = &hosts;
	bool idle;

	pthread_mutex_lock(&lock);
	idle = host->open == 0;
	while (idle && *link != host)
		link = &(*link)->next;
	if (idle)
		*link = host->next;
	pthread_mutex_unlock(&lock);
	return idle;
}

struct host *host_get(const char *name)
{
	struct host *host;

	pthread_mutex_lock(&lock);
	host = find(name);
	if (host != NULL)
		host->open++;
	pthread_mutex_unlock(&lock);
	return host;
}

void host_put(struct host *host)
{
	pthread_mutex_lock(&lock);
	WEFT_ASSERT(host->open > 0);
	host->open--;
	pthread_mutex_unlock(&lock);
}

/* ---- there ---- */

static void wake(struct host *host)
{
	if (!atomic_exchange(&host->awake, true))
		sem_post(&host->wake);
}

static void python_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct host *host = WEFT_CONTAINER(blk, struct python, blk)->host;
	struct host_request *request = weft_hop_request(hop);
	struct host_request *newest = atomic_load_explicit(&host->pushed, memory_order_relaxed);

	*request = (struct host_request){ .hop = hop, .reactor = weft_hop_reactor(hop) };
	do
		request->next = newest;
	while (!atomic_compare_exchange_weak_explicit(&host->pushed, &newest, request, memory_order_release, memory_order_relaxed));
	weft_hop_gather(hop);
}

static void python_commit(struct weft_blk *blk, void *shard)
{
	(void)shard;
	wake(WEFT_CONTAINER(blk, struct python, blk)->host);
}

static struct host_request *pop_all(struct host *host)
{
	struct host_request *newest = atomic_exchange_explicit(&host->pushed, NULL, memory_order_acquire), *oldest = NULL;

	while (newest != NULL) {
		struct host_request *next = newest->next;

		newest->next = oldest;
		oldest = newest;
		newest = next;
	}
	return oldest;
}

struct host_request *host_wait(struct host *host)
{
	struct host_request *all;

	while ((all = pop_all(host)) == NULL && !atomic_load(&host->stopped)) {
		atomic_store(&host->awake, false);
		if (atomic_load(&host->pushed) != NULL || atomic_load(&host->stopped))
			wake(host); /* it came meanwhile: the semaphore may be up already, then once too often */
		while (sem_wait(&host->wake) != 0)
			continue;
	}
	return all;
}

void host_stop(struct host *host)
{
	atomic_store(&host->stopped, true);
	wake(host);
}

/* ---- and back ---- */

static void answered(void *self)
{
	struct host_request *request = self;

	weft_hop_complete(request->hop, request->status);
}

void host_answer(struct host_request *request)
{
	WEFT_ASSERT(request->status <= 0 && request->views == 0);
	request->msg = (struct weft_msg){ .fn = answered, .self = request };
	weft_reactor_post(request->reactor, &request->msg);
}

/* ---- the kind ---- */

static const struct weft_blk_ops ops = { .submit = python_submit, .commit = python_commit,
	.request_size = sizeof(struct host_request) };

static void python_start(struct weft_object *object, struct weft_task *task)
{
	struct python *python = WEFT_CONTAINER(object, struct python, object);
	struct host *host = host_get(python->wanted);
	int status = 0;

	python->host = host;
	if (host == NULL)
		status = weft_why(&task->why, -ENOENT, "python: object '%.60s': no Python object has been registered so: "
			"weft.register it first", python->wanted);
	else
		python->blk = (struct weft_blk){ .ops = &ops, .size = host->size, .block = host->block, .physical = host->physical,
			.optimal = host->optimal, .align = 1, .ops_can = host->ops, .readonly = host->readonly,
			.volatile_cache = host->volatile_cache, .rotational = host->rotational };
	task->done(task, status);
}

static void python_destroy(struct weft_object *object)
{
	struct python *python = WEFT_CONTAINER(object, struct python, object);

	if (python->host != NULL)
		host_put(python->host);
}

static const struct weft_option options[] = {
	{ .name = "object", .type = WEFT_OPTION_STRING, .flags = WEFT_OPTION_ADDRESS | WEFT_OPTION_REQUIRED,
		.offset = offsetof(struct python, wanted), .help = "what weft.register called the Python object" },
	{ 0 },
};
static const struct weft_offer offers[] = { { &weft_blk_iface, offsetof(struct python, blk) }, { 0 } };
static const struct weft_kind kind = { .name = "python", .summary = "a device written in Python, in this process",
	.size = sizeof(struct python), .options = options, .offers = offers, .start = python_start, .destroy = python_destroy };
static const struct weft_kind *const kinds[] = { &kind, NULL };

extern const struct weft_module host_module;
const struct weft_module host_module = { WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind), "python", WEFT_VERSION,
	kinds };
