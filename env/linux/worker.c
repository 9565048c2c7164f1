/* SPDX-License-Identifier: BSD-2-Clause */
/* Worker threads for what blocks: started when there is work and nobody idle, up to a limit; they stay. */
#include <stdlib.h>

#include "env/linux/internal.h"

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	struct env_work *head, **tail;
	unsigned idle, count, max;
	bool quit;
	pthread_t thread[];
};

struct workers *workers_open(unsigned max)
{
	struct workers *w = calloc(1, sizeof(*w) + max * sizeof(w->thread[0]));

	if (!w)
		return NULL;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->wanted, NULL);
	w->tail = &w->head;
	w->max = max;
	return w;
}

void workers_close(struct workers *w)
{
	pthread_mutex_lock(&w->lock);
	WEFT_ASSERT(!w->head);
	w->quit = true;
	pthread_cond_broadcast(&w->wanted);
	pthread_mutex_unlock(&w->lock);
	for (unsigned i = 0; i < w->count; i++)
		pthread_join(w->thread[i], NULL);
	pthread_cond_destroy(&w->wanted);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

static void work_run(struct env_work *work)
{
	struct loop *loop = loop_of(work->loop);

	WEFT_ASSERT(work->run && work->done);
	atomic_fetch_add(&loop->guests, 1);
	work->run(work);
	loop_worked(loop, work);
	atomic_fetch_sub_explicit(&loop->guests, 1, memory_order_release);
}

static void *worker_main(void *arg)
{
	struct workers *w = arg;
	struct env_work *work;

	linux_thread_name("worker");
	pthread_mutex_lock(&w->lock);
	for (;;) {
		while (!w->head && !w->quit) {
			w->idle++;
			pthread_cond_wait(&w->wanted, &w->lock);
			w->idle--;
		}
		if (!w->head)
			break;
		WEFT_ASSERT(w->idle < w->count);
		work = w->head;
		w->head = work->next;
		if (!w->head)
			w->tail = &w->head;
		pthread_mutex_unlock(&w->lock);
		work_run(work);
		pthread_mutex_lock(&w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* One more thread if there is reason and room. True if there is at least one. */
static bool workers_grow(struct workers *w)
{
	WEFT_ASSERT(w->idle <= w->count && w->count <= w->max);
	if (w->idle == 0 && w->count < w->max &&
		linux_thread_make(&w->thread[w->count], -1, worker_main, w) == 0)
		w->count++;
	return w->count > 0;
}

void workers_submit(struct workers *w, struct env_work *work)
{
	pthread_mutex_lock(&w->lock);
	WEFT_ASSERT(!w->quit);
	if (!workers_grow(w)) {
		/* No thread can be had at all: it blocks its caller, but it is done. */
		pthread_mutex_unlock(&w->lock);
		work_run(work);
		return;
	}
	work->next = NULL;
	*w->tail = work;
	w->tail = &work->next;
	if (w->idle)
		pthread_cond_signal(&w->wanted);
	pthread_mutex_unlock(&w->lock);
}
