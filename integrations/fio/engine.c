/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An engine for fio: its jobs ask weft's devices, through the public library only. docs/fio.md shows how to use it.
 *
 * A job has a reactor, and on it a queue for each of its files. A file's name, or the option weft_device, is the text of a device.
 * Devices and queues stay open from the job's first moment to its last, not from file to file: what lies in memory only must still
 * be there when fio closes its files to read back what it wrote.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* fio.h must come before all others of fio */
#include <fio.h>
#include <optgroup.h>

#include "integrations/fio/devices.h"

enum memory { MEMORY_SHARED, MEMORY_PINNED, MEMORY_PLAIN };

struct options {
	void *thread_data; /* fio's */
	char *device;
	unsigned int wait;   /* enum weft_mode */
	unsigned int memory; /* enum memory */
};

#define WEFT_OPTION .category = FIO_OPT_C_ENGINE, .group = FIO_OPT_G_INVALID
static struct fio_option options[] = {
	{ .name = "weft_device", .lname = "device", .type = FIO_OPT_STR_STORE, .off1 = offsetof(struct options, device),
		.help = "Device as the command line of weft writes it; else filename is one", WEFT_OPTION },
	{ .name = "weft_wait", .lname = "waiting", .type = FIO_OPT_STR, .off1 = offsetof(struct options, wait),
		.help = "How to wait for completions", .def = "block", .posval = {
			{ .ival = "poll", .oval = WEFT_MODE_POLL, .help = "Never sleep" },
			{ .ival = "adaptive", .oval = WEFT_MODE_ADAPTIVE, .help = "Spin while that is cheaper than sleeping" },
			{ .ival = "block", .oval = WEFT_MODE_NOTIFY, .help = "Sleep whenever there is nothing to do" } },
		WEFT_OPTION },
	{ .name = "weft_memory", .lname = "memory", .type = FIO_OPT_STR, .off1 = offsetof(struct options, memory),
		.help = "Where the data lies", .def = "shared", .posval = {
			{ .ival = "shared", .oval = MEMORY_SHARED, .help = "The library's: servers use it in place" },
			{ .ival = "pinned", .oval = MEMORY_PINNED, .help = "The same, and locked: fixed buffers of the rings" },
			{ .ival = "plain", .oval = MEMORY_PLAIN, .help = "The program's, unknown to the library" } },
		WEFT_OPTION },
	{ .name = NULL },
};

struct target {
	struct open_device *open;
	struct weft_queue *queue;
};

struct job {
	struct weft_reactor *reactor;
	struct target *targets;
	unsigned int ntargets;
	struct weft_memory *memory;           /* NULL: plain */
	struct weft_completion *completions;  /* those that getevents took, until event has told them */
	struct io_u **staged;                 /* since the last commit */
	unsigned int nstaged;
};

static int report(struct thread_data *td, int error, const struct weft_why *why)
{
	log_err("weft: %s\n", why->text);
	td_verror(td, -error, "weft");
	return -error;
}

/* ---- before the jobs begin ---- */

static const char *text_of(struct thread_data *td, const struct fio_file *f)
{
	const struct options *o = td->eo;

	return o->device != NULL ? o->device : f->file_name;
}

static int engine_setup_check(struct thread_data *td, struct weft_why *why)
{
	const struct options *o = td->eo;

	if (o->device != NULL && td->o.nr_files > 1)
		return weft_why(why, -EINVAL, "weft_device with nrfiles=%u: give one device, or several as filename",
			td->o.nr_files);
	return 0;
}

static int engine_get_file_size(struct thread_data *td, struct fio_file *f)
{
	struct weft_device_info info;
	struct open_device *open = NULL;
	struct weft_why why = { 0 };
	int error = engine_setup_check(td, &why);

	if (fio_file_size_known(f))
		return 0;
	if (error == 0)
		error = device_take(text_of(td, f), &open, &why);
	if (error != 0)
		return report(td, error, &why);
	error = weft_device_info(open->device, &info);
	device_give(open);
	if (error != 0)
		return -error;
	f->filetype = FIO_TYPE_BLOCK; /* whose size is fixed, and which can be trimmed */
	f->real_file_size = info.size;
	fio_file_set_size_known(f);
	return 0;
}

/* ---- a job begins and ends ---- */

static int target_open(struct thread_data *td, struct job *job, struct fio_file *f, struct weft_why *why)
{
	struct target *target = &job->targets[job->ntargets];
	const struct options *o = td->eo;
	struct weft_reactor_settings on;
	struct weft_queue_settings settings;
	int error = device_take(text_of(td, f), &target->open, why);

	if (error != 0)
		return error;
	job->ntargets++;
	if (job->reactor == NULL) {
		weft_reactor_settings_init(&on);
		on.mode = o->wait;
		on.bound = true; /* to the job's thread */
		on.slots = td->o.nr_files * td->o.iodepth;
		error = weft_reactor_open(target->open->weft, &on, &job->reactor, why);
	}
	weft_queue_settings_init(&settings);
	settings.depth = td->o.iodepth;
	if (error == 0)
		error = weft_queue_open(target->open->device, job->reactor, &settings, &target->queue, why);
	FILE_SET_ENG_DATA(f, target->queue);
	return error;
}

static void target_close(struct target *target)
{
	if (target->queue != NULL) {
		weft_queue_cancel_all(target->queue);
		weft_queue_drain(target->queue, WEFT_FOREVER);
		weft_queue_close(target->queue, NULL);
		target->queue = NULL;
	}
}

static void engine_cleanup(struct thread_data *td)
{
	struct job *job = td->io_ops_data;

	if (job == NULL)
		return;
	for (unsigned int i = 0; i < job->ntargets; i++)
		target_close(&job->targets[i]);
	if (job->reactor != NULL)
		weft_reactor_close(job->reactor, NULL);
	for (unsigned int i = 0; i < job->ntargets; i++)
		device_give(job->targets[i].open);
	free(job->targets);
	free(job->completions);
	free(job->staged);
	free(job);
	td->io_ops_data = NULL;
}

static int engine_init(struct thread_data *td)
{
	struct job *job = calloc(1, sizeof(*job));
	struct weft_why why = { 0 };
	struct fio_file *f;
	unsigned int i;
	int error = engine_setup_check(td, &why);

	td->io_ops_data = job;
	if (job != NULL) {
		job->targets = calloc(td->o.nr_files, sizeof(job->targets[0]));
		job->completions = calloc(td->o.iodepth, sizeof(job->completions[0]));
		job->staged = calloc(td->o.iodepth, sizeof(job->staged[0]));
	}
	if (job == NULL || job->targets == NULL || job->completions == NULL || job->staged == NULL)
		error = weft_why(&why, -ENOMEM, "no memory for iodepth=%u", td->o.iodepth);
	for_each_file(td, f, i) {
		if (error == 0)
			error = target_open(td, job, f, &why);
	}
	if (error == 0)
		return 0;
	engine_cleanup(td);
	return report(td, error, &why);
}

static int engine_open_file(struct thread_data *td, struct fio_file *f)
{
	(void)td, (void)f;
	return 0;
}

static int engine_close_file(struct thread_data *td, struct fio_file *f)
{
	(void)td, (void)f;
	return 0;
}

/* Nothing is cached on the way, except by the device's own choice (file: direct=off). */
static int engine_invalidate(struct thread_data *td, struct fio_file *f)
{
	(void)td, (void)f;
	return 0;
}

/* ---- memory ---- */

static int engine_iomem_alloc(struct thread_data *td, size_t size)
{
	struct job *job = td->io_ops_data;
	const struct options *o = td->eo;
	struct weft_why why = { 0 };
	int error;

	if (o->memory == MEMORY_PLAIN)
		return posix_memalign((void **)&td->orig_buffer, page_size, size);
	size = (size + page_mask) & ~(size_t)page_mask;
	error = weft_memory_alloc(job->targets[0].open->weft, size, o->memory == MEMORY_PINNED ? WEFT_MEMORY_PIN : 0,
		&job->memory, &why);
	if (error != 0)
		return report(td, error, &why);
	td->orig_buffer = weft_memory_base(job->memory);
	return 0;
}

static void engine_iomem_free(struct thread_data *td)
{
	struct job *job = td->io_ops_data;

	if (job == NULL || job->memory == NULL) {
		free(td->orig_buffer);
	} else {
		for (unsigned int i = 0; i < job->ntargets; i++) /* a job that was ended early leaves requests in flight */
			target_close(&job->targets[i]);
		weft_memory_release(job->memory, NULL);
		job->memory = NULL;
	}
	td->orig_buffer = NULL;
}

/* ---- requests ---- */

static int stage(struct thread_data *td, struct io_u *io_u)
{
	struct weft_queue *queue = FILE_ENG_DATA(io_u->file);

	switch (io_u->ddir) {
	case DDIR_READ:
		return weft_queue_read(queue, io_u->offset, io_u->xfer_buf, io_u->xfer_buflen, io_u, 0);
	case DDIR_WRITE:
		return weft_queue_write(queue, io_u->offset, io_u->xfer_buf, io_u->xfer_buflen, io_u,
			td->o.sync_io != 0 ? WEFT_FUA : 0);
	case DDIR_TRIM:
		return weft_queue_discard(queue, io_u->offset, io_u->xfer_buflen, io_u, 0);
	case DDIR_SYNC:
	case DDIR_DATASYNC:
	case DDIR_SYNC_FILE_RANGE:
		return weft_queue_flush(queue, io_u, 0);
	default:
		return -EOPNOTSUPP;
	}
}

static enum fio_q_status engine_queue(struct thread_data *td, struct io_u *io_u)
{
	struct job *job = td->io_ops_data;
	int error;

	fio_ro_check(td, io_u);
	error = stage(td, io_u);
	if (error == -EAGAIN)
		return FIO_Q_BUSY;
	if (error != 0) {
		io_u->error = -error;
		return FIO_Q_COMPLETED;
	}
	job->staged[job->nstaged++] = io_u; /* of iodepth: as many as fio has */
	return FIO_Q_QUEUED;
}

/* They have left: fio counts latencies from there on, as it does with its own engines. */
static void mark_sent(struct thread_data *td, struct job *job)
{
	struct timespec now;

	io_u_mark_submit(td, job->nstaged);
	if (!fio_fill_issue_time(td))
		return;
	fio_gettime(&now, NULL);
	for (unsigned int i = 0; i < job->nstaged; i++) {
		job->staged[i]->issue_time = now;
		io_u_queued(td, job->staged[i]);
	}
	if (td->o.read_iolog_file)
		td->last_issue = now;
}

static int engine_commit(struct thread_data *td)
{
	struct job *job = td->io_ops_data;

	if (job->nstaged == 0)
		return 0;
	for (unsigned int i = 0; i < job->ntargets; i++) {
		int n = weft_queue_submit(job->targets[i].queue);

		if (n < 0)
			return n;
	}
	mark_sent(td, job);
	job->nstaged = 0;
	return 0;
}

/* From several queues: the time is that of each sleep. (fio asks without a limit, or not to sleep at all.) */
static int take_from_all(struct job *job, unsigned int min, unsigned int max, uint64_t timeout_ns)
{
	unsigned int taken = 0;

	for (;;) {
		for (unsigned int i = 0; i < job->ntargets && taken < max; i++) {
			int n = weft_queue_poll(job->targets[i].queue, &job->completions[taken], max - taken);

			if (n < 0)
				return n;
			taken += (unsigned int)n;
		}
		if (taken >= min)
			return (int)taken;
		if (weft_reactor_wait(job->reactor, timeout_ns) <= 0)
			return (int)taken;
	}
}

static int engine_getevents(struct thread_data *td, unsigned int min, unsigned int max, const struct timespec *t)
{
	struct job *job = td->io_ops_data;
	uint64_t timeout_ns = t == NULL ? WEFT_FOREVER : (uint64_t)t->tv_sec * 1000000000u + (uint64_t)t->tv_nsec;

	if (job->ntargets == 1)
		return weft_queue_wait(job->targets[0].queue, job->completions, min, max, timeout_ns);
	return take_from_all(job, min, max, timeout_ns);
}

static struct io_u *engine_event(struct thread_data *td, int n)
{
	struct job *job = td->io_ops_data;
	struct io_u *io_u = job->completions[n].user_data;

	io_u->error = -job->completions[n].status;
	return io_u;
}

__attribute__((visibility("default"))) struct ioengine_ops ioengine = {
	.name = "weft",
	.version = FIO_IOOPS_VERSION,
	/* A queue is its thread's: requests are not handed to others. Times are set by commit. */
	.flags = FIO_DISKLESSIO | FIO_NOEXTEND | FIO_NODISKUTIL | FIO_RAWIO | FIO_MEMALIGN | FIO_NO_OFFLOAD |
		FIO_ASYNCIO_SETS_ISSUE_TIME,
	.get_file_size = engine_get_file_size,
	.init = engine_init,
	.cleanup = engine_cleanup,
	.open_file = engine_open_file,
	.close_file = engine_close_file,
	.invalidate = engine_invalidate,
	.iomem_alloc = engine_iomem_alloc,
	.iomem_free = engine_iomem_free,
	.queue = engine_queue,
	.commit = engine_commit,
	.getevents = engine_getevents,
	.event = engine_event,
	.options = options,
	.option_struct_size = sizeof(struct options),
};
