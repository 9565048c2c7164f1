/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The devices that are open in this process.
 *
 * fio asks for sizes before it forks the jobs that are processes, while jobs that are threads may run already. An instance does
 * not outlive a fork, so a child forgets what its parent had open (forgotten, not closed: it is the parent's), and opens anew.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "integrations/fio/devices.h"

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static struct weft *instance;         /* by turns; open while a device is */
static struct open_device *open_list; /* by turns */

static void child_begins(void)
{
	pthread_mutex_init(&turn, NULL); /* whoever held it is not here */
	instance = NULL;
	open_list = NULL;
}

__attribute__((constructor)) static void loaded(void)
{
	pthread_atfork(NULL, NULL, child_begins);
}

static int instance_open(struct weft_why *why)
{
	return instance != NULL ? 0 : weft_open(NULL, &instance, why);
}

static void instance_close_unused(void)
{
	int error = open_list != NULL || instance == NULL ? 0 : weft_close(instance, NULL);

	assert(error == 0); /* all that was opened in it has been closed */
	(void)error;
	if (open_list == NULL)
		instance = NULL;
}

static struct open_device *find(const char *text)
{
	struct open_device *open = open_list;

	while (open != NULL && strcmp(open->text, text) != 0)
		open = open->next;
	return open;
}

static int open_new(const char *text, struct open_device **out, struct weft_why *why)
{
	struct open_device *open = calloc(1, sizeof(*open));
	int error;

	if (open == NULL || (open->text = strdup(text)) == NULL) {
		free(open);
		return weft_why(why, -ENOMEM, "no memory for a device: use fewer jobs");
	}
	error = instance_open(why);
	if (error == 0)
		error = weft_device_open(instance, text, &open->device, why);
	if (error != 0) {
		free(open->text);
		free(open);
		instance_close_unused();
		return error;
	}
	open->weft = instance;
	open->next = open_list;
	open_list = open;
	*out = open;
	return 0;
}

int device_take(const char *text, struct open_device **out, struct weft_why *why)
{
	int error = 0;

	pthread_mutex_lock(&turn);
	*out = find(text);
	if (*out == NULL)
		error = open_new(text, out, why);
	if (error == 0)
		(*out)->users++;
	pthread_mutex_unlock(&turn);
	return error;
}

static void close_last(struct open_device *open)
{
	struct open_device **link = &open_list;
	int error = weft_device_close(open->device, NULL);

	assert(error == 0); /* queues are closed before the device is given back */
	(void)error;
	while (*link != open)
		link = &(*link)->next;
	*link = open->next;
	free(open->text);
	free(open);
	instance_close_unused();
}

void device_give(struct open_device *open)
{
	if (open == NULL)
		return;
	pthread_mutex_lock(&turn);
	assert(open->users > 0);
	if (--open->users == 0)
		close_last(open);
	pthread_mutex_unlock(&turn);
}
