/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * file: a regular file or a block device of the machine. The environment opens, locks, probes and moves the
 * bytes; this is the glue.
 *
 * A lock is held by the descriptor that does the I/O, so it lasts until the last request of a killed process
 * has ended. start() therefore asks again, by timer, until lock-wait has passed: a restarted server must not
 * touch the file before that.
 *
 * It becomes smaller while reactors submit at any moment, and without waiting for a turn of any of them: a program may have left
 * its own alone. Each reactor counts its requests in flight, in two slots; `turn` says which of them takes new ones.
 *
 * Invariants:
 *  S1  A request is counted before its last look at the size, and until it has ended. Beyond the size at that look, it is refused.
 *  S2  Control publishes the smaller size, has a fence for all threads (env_fence_all), then reads the counters. A reactor counts,
 *      has its own fence, then looks. So each request has seen the smaller size, or control sees it counted.
 *  S3  The medium is cut when each slot of each reactor has been seen at 0 after that fence: first the one that takes no new
 *      requests (but of who read `turn` before it changed: they have seen the smaller size), then, after a change of `turn`, the
 *      other. So those that keep coming hold nothing up.
 *  S4  What control reads of a reactor stays when the reactor closes the file, or goes; who opens it later sees the smaller size.
 *
 * The size is asked again when somebody wants it changed (weft ctl resize; with the present size: only
 * noticed), when a request has failed, since the medium may have been cut, and when one has ended well a while after the
 * last time: it may have grown. A device that nobody uses costs nothing.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <weft/log.h>

#include "core/blk.h"
#include "core/core.h"
#include "core/counter.h"
#include "core/reactor.h"
#include "devices/device.h"
#include "devices/opening.h"
#include "env/env.h"

/* How often the counters are looked at: after so long, then after twice as long, up to the greatest. */
#define LOOK_NS 100000u
#define LOOK_NS_MAX 10000000u
/* From when on it is told what is waited for: a disk answers sooner. */
#define TELL_NS 1000000000u

/* How often the size is asked again by a device that is used. */
#define SIZE_NS 1000000000u

struct file {
	struct weft_object object;
	struct weft_blk blk;
	char *path;
	uint32_t direct;
	bool readonly, transient;
	uint64_t create, block, lock_wait_ns;
	struct env_medium_info info;
	/* each request */
	struct env_medium *medium;
	atomic_uint turn; /* 0 or 1; changed by control */
	bool fences;      /* each submission has its own fence */
	bool discard;
	/* control thread */
	struct opening opening;
	struct weft_task *starting;
	struct weft_msg size_msg;
	struct weft_task *resizing; /* while it becomes smaller */
	uint64_t size_before;
	bool turned;                /* `turn` has changed for it */
	struct weft_timer look;     /* at the counters, again */
	uint64_t look_ns;           /* after so long */
	uint64_t tell_at_ns;        /* it has waited for long then; ENV_FOREVER: that has been told */
	/* any reactor */
	atomic_bool asking; /* size_msg is on its way */
	atomic_bool opened; /* somebody opened a stack on it */
};

/* Written by its reactor, read by control. */
struct file_shard {
	uint64_t in_flight[2]; /* by `turn` */
	uint64_t size_at_ns;   /* its own: from then on the size is asked again */
};

static struct weft_reactor *control(const struct file *file)
{
	return file->object.core->reactor[0];
}

/* ---- the data path ---- */

static __attribute__((noinline)) void size_ask(struct file *file, struct file_shard *shard, uint64_t now)
{
	shard->size_at_ns = now + SIZE_NS;
	if (!atomic_exchange(&file->asking, true))
		weft_reactor_post(control(file), &file->size_msg);
}

static void file_io_done(struct env_io *io, int result)
{
	struct weft_hop *hop = (struct weft_hop *)(void *)io - 1;
	struct file *file = DEVICE_OF(hop->blk, struct file);

	struct file_shard *shard = weft_hop_shard(hop);
	uint64_t slot = hop->scratch[0], now = weft_reactor_now(weft_hop_reactor(hop));

	WEFT_ASSERT(weft_hop_request(hop) == io && result <= 0);
	WEFT_ASSERT(slot < 2 && shard->in_flight[slot] > 0);
	counter_add(&shard->in_flight[slot], (uint64_t)-1);
	if (WEFT_UNLIKELY(result != 0 || now >= shard->size_at_ns))
		size_ask(file, shard, now);
	weft_hop_complete(hop, result);
}

/* S1. It is not counted any more: nothing of it is in flight. */
static __attribute__((noinline)) void refuse(struct weft_hop *hop)
{
	struct file_shard *shard = weft_hop_shard(hop);

	WEFT_ASSERT(shard->in_flight[hop->scratch[0]] > 0);
	counter_add(&shard->in_flight[hop->scratch[0]], (uint64_t)-1);
	weft_hop_complete(hop, -ERANGE);
}

static void file_submit(struct weft_blk *blk, struct weft_hop *hop)
{
	struct file *file = DEVICE_OF(blk, struct file);
	struct file_shard *shard = weft_hop_shard(hop);
	struct env_io *io = weft_hop_request(hop);
	unsigned slot = atomic_load_explicit(&file->turn, memory_order_relaxed);

	hop->scratch[0] = slot;
	counter_add(&shard->in_flight[slot], 1);
	if (WEFT_UNLIKELY(file->fences))
		env_fence_here(file->object.core->env);
	else
		atomic_signal_fence(memory_order_seq_cst);
	if (WEFT_UNLIKELY(hop->offset + hop->len > __atomic_load_n(&blk->size, __ATOMIC_RELAXED))) {
		refuse(hop);
		return;
	}
	io->next = NULL;
	io->done = file_io_done;
	io->medium = file->medium;
	io->segs = hop->segs;
	io->offset = hop->offset;
	io->len = hop->len;
	io->seg_skip = hop->seg_skip;
	io->nsegs = hop->nsegs;
	io->op = hop->op;
	io->flags = hop->flags & (WEFT_FUA | WEFT_NO_UNMAP);
	if (WEFT_UNLIKELY(hop->op == WEFT_ZERO && !file->discard))
		io->flags |= WEFT_NO_UNMAP;
	env_medium_submit(reactor_loop(weft_hop_reactor(hop)), io);
}

static int file_shard_open(
	struct weft_blk *blk, void *shard, struct weft_reactor *reactor, struct weft_why *why)
{
	struct file *file = DEVICE_OF(blk, struct file);

	WEFT_ASSERT(weft_reactor_here() == reactor && file->medium != NULL);
	(void)why;
	((struct file_shard *)shard)->size_at_ns = weft_reactor_now(reactor) + SIZE_NS;
	atomic_store(&file->opened, true);
	env_medium_attach(reactor_loop(reactor), file->medium);
	return 0;
}

static void file_shard_close(struct weft_blk *blk, void *shard)
{
	(void)shard;
	env_medium_detach(reactor_loop(weft_reactor_here()), DEVICE_OF(blk, struct file)->medium);
}

static const struct weft_blk_ops file_ops = {
	.submit = file_submit,
	.shard_open = file_shard_open,
	.shard_close = file_shard_close,
	.shard_size = sizeof(struct file_shard),
	.shard_kept = sizeof(struct file_shard),
	.request_size = sizeof(struct env_io),
};

/* ---- size ---- */

/* What of the medium is whole blocks. */
static int file_size_now(struct file *file, uint64_t *size)
{
	int error = env_medium_size(file->medium, size);

	WEFT_ASSERT(file->medium != NULL && file->blk.block > 0);
	if (error == 0)
		*size -= *size % file->blk.block;
	return error;
}

static void file_size_msg(void *self)
{
	struct file *file = self;
	uint64_t size;

	WEFT_ASSERT(weft_reactor_here() == control(file));
	atomic_store(&file->asking, false);
	if (file->object.state != WEFT_OBJECT_RUNNING || file->resizing != NULL || file_size_now(file, &size) != 0 ||
		size == file->blk.size)
		return;
	weft_log(file->object.core, WEFT_LOG_WARN, "%s: %s has %" PRIu64 " bytes now, it had %" PRIu64,
		file->object.name, file->path, size, file->blk.size);
	weft_blk_resized(&file->blk, size);
}

/* Is this size possible? *now: the medium's. */
static int file_resize_check(struct file *file, uint64_t size, uint64_t *now, struct weft_why *why)
{
	int error = file_size_now(file, now);

	if (error != 0)
		return weft_why(why, error, "file: path=%s: its size cannot be read", file->path);
	if (file->resizing != NULL)
		return weft_why(why, -EBUSY,
			"file: path=%s is being made smaller, and waits for requests in flight: try again when it has ended",
			file->path);
	if (size % file->blk.block != 0)
		return weft_why(why, -EINVAL,
			"file: size=%" PRIu64 " is not a multiple of the block of %u bytes: give "
			"size=%" PRIu64,
			size, file->blk.block, (size / file->blk.block + 1) * file->blk.block);
	if (size == 0)
		return weft_why(why, -EINVAL, "file: size=0: at least one block of %u bytes is needed",
			file->blk.block);
	if (size == *now)
		return 0;
	if (file->readonly)
		return weft_why(why, -EROFS,
			"file: path=%s is open read-only: change its size elsewhere, then ask for the "
			"size that it has",
			file->path);
	if (file->info.is_block_device)
		return weft_why(why, -ENOTSUP,
			"file: path=%s is a block device of %" PRIu64 " bytes: change its size "
			"elsewhere, then ask for the size that it has",
			file->path, *now);
	return 0;
}

/* Nothing beyond the new end is in flight any more. error: it cannot be known. */
static void file_cut(struct file *file, int error)
{
	struct weft_task *task = file->resizing;

	if (error == 0)
		error = env_medium_resize(file->medium, file->blk.size, &task->why);
	file->resizing = NULL;
	if (error != 0)
		weft_blk_resized(&file->blk, file->size_before);
	device_end(task, error);
}

static uint64_t lane_in_flight(const struct file *file, unsigned lane, unsigned slot)
{
	const struct weft_shard *there = shard_ever(&file->blk, lane);
	const struct file_shard *shard = there != NULL ? (const void *)there->own : NULL;

	WEFT_ASSERT(slot < 2);
	return shard != NULL ? __atomic_load_n(&shard->in_flight[slot], __ATOMIC_ACQUIRE) : 0;
}

static uint64_t in_flight(const struct file *file, unsigned slot)
{
	uint64_t sum = 0;

	WEFT_ASSERT(file->blk.shard != NULL);
	for (unsigned lane = 0; lane < CORE_REACTORS_MAX; lane++)
		sum += lane_in_flight(file, lane, slot);
	return sum;
}

/* Nobody else would: each who waits behind it only sees that nothing happens. Once for each shrink. */
static void shrink_tell(struct file *file, unsigned slot)
{
	const struct weft_core *core = file->object.core;

	WEFT_ASSERT(file->resizing != NULL && slot < 2);
	file->tell_at_ns = ENV_FOREVER;
	for (unsigned lane = 0; lane < CORE_REACTORS_MAX; lane++) {
		uint64_t n = lane_in_flight(file, lane, slot);

		if (n > 0)
			weft_log(file->object.core, WEFT_LOG_WARN,
				"%s: to make %s smaller, the end of %" PRIu64 " requests on reactor %u is waited for: %s",
				file->object.name, file->path, n, lane, lane < core->reactors ?
				"the disk has them (weft ctl PATH requests shows each)" :
				"it is the program's own, which has to run it (weft_queue_poll, weft_reactor_poll)");
	}
}

/* S3. */
static void shrink_look(void *self)
{
	struct file *file = self;
	unsigned turn = atomic_load(&file->turn);
	uint64_t now = env_now_ns(file->object.core->env);

	WEFT_ASSERT(file->resizing != NULL && !file->look.armed && turn < 2);
	if (!file->turned && in_flight(file, !turn) == 0) {
		file->turned = true;
		atomic_store(&file->turn, turn = !turn);
	}
	if (file->turned && in_flight(file, !turn) == 0) {
		file_cut(file, 0);
		return;
	}
	if (now >= file->tell_at_ns)
		shrink_tell(file, !turn);
	weft_timer_arm(control(file), &file->look, now + file->look_ns);
	if (file->look_ns < LOOK_NS_MAX)
		file->look_ns *= 2;
}

/* S2. */
static void file_shrink(struct file *file, uint64_t size, struct weft_task *task)
{
	int error;

	file->resizing = task;
	file->size_before = file->blk.size;
	file->turned = false;
	file->look = (struct weft_timer){ .fn = shrink_look, .self = file };
	file->look_ns = LOOK_NS;
	file->tell_at_ns = env_now_ns(file->object.core->env) + TELL_NS;
	weft_blk_resized(&file->blk, size);
	error = env_fence_all(file->object.core->env);
	if (error == 0)
		shrink_look(file);
	else
		file_cut(file, weft_why(&task->why, error,
			"file: path=%s cannot be made smaller: the kernel denies membarrier (%s): allow it, or cut the file while "
			"it is not open", file->path, device_error_name(error)));
}

static void file_resize(struct weft_object *object, uint64_t size, struct weft_task *task)
{
	struct file *file = DEVICE_OF_OBJECT(object, struct file);
	uint64_t now = 0;
	int error = file_resize_check(file, size, &now, &task->why);

	WEFT_ASSERT(object->state == WEFT_OBJECT_RUNNING && file->starting == NULL);
	if (error == 0 && size < now && size < file->blk.size) {
		file_shrink(file, size, task);
		return;
	}
	if (error == 0 && size != now)
		error = env_medium_resize(file->medium, size, &task->why);
	if (error == 0 && size != file->blk.size)
		weft_blk_resized(&file->blk, size);
	device_end(task, error);
}

/* ---- start and stop ---- */

static void file_fill_blk(struct file *file)
{
	const struct env_medium_info *info = &file->info;
	struct weft_blk *blk = &file->blk;

	WEFT_ASSERT(file->medium != NULL && info->block > 0);
	blk->ops = &file_ops;
	blk->size = info->size;
	blk->block = file->block != 0 ? (uint32_t)file->block : info->block;
	if (info->is_block_device)
		blk->size -= blk->size % blk->block;
	blk->physical = info->physical;
	blk->optimal = info->optimal;
	blk->align = info->align;
	blk->max_len = info->max_len;
	blk->max_segs = info->max_segs;
	blk->readonly = file->readonly;
	blk->volatile_cache = info->volatile_cache;
	blk->rotational = info->rotational;
	blk->ops_can = WEFT_OP_BIT(WEFT_READ) | WEFT_OP_BIT(WEFT_WRITE) | WEFT_OP_BIT(WEFT_FLUSH);
	if (info->can_discard && file->discard)
		blk->ops_can |= WEFT_OP_BIT(WEFT_DISCARD);
	if (info->can_zero) {
		blk->ops_can |= WEFT_OP_BIT(WEFT_ZERO);
		blk->flags_can |= WEFT_NO_UNMAP | WEFT_FAST;
	}
	if (info->can_status)
		blk->ops_can |= WEFT_OP_BIT(WEFT_STATUS);
	if (info->can_fua)
		blk->flags_can |= WEFT_FUA;
}

static int file_check(struct file *file, struct weft_why *why)
{
	const struct env_medium_info *info = &file->info;
	uint64_t block = file->block != 0 ? file->block : info->block;
	int error = device_check_geometry("file", block, block, why);

	if (error != 0)
		return error;
	if (block < info->block)
		return weft_why(why, -EINVAL,
			"file: block=%" PRIu64 " is smaller than the block of %s, %u bytes%s: give "
			"block=%u or more",
			block, file->path, info->block, info->direct ? " (O_DIRECT is on)" : "", info->block);
	if (info->size < block)
		return weft_why(why, -EINVAL,
			"file: path=%s has %" PRIu64 " bytes: at least one block of %" PRIu64 " is "
			"needed: give another file, or a new one with create=SIZE",
			file->path, info->size, block);
	if (!info->is_block_device && info->size % block != 0)
		return weft_why(why, -EINVAL,
			"file: path=%s has %" PRIu64 " bytes, not a multiple of the block of %" PRIu64
			": truncate -s %" PRIu64 " %s",
			file->path, info->size, block, (info->size / block + 1) * block, file->path);
	return device_check_geometry("file", info->size - info->size % block, block, why);
}

extern const struct weft_kind file_kind;

/* Another of us in this process that has the same file or disk open, and goes on using it; NULL: there is none. */
static const struct file *file_holder(const struct file *file)
{
	for (struct weft_object *next = NULL; (next = objects_next_of(file->object.core, &file_kind, next)) != NULL;) {
		const struct file *other = DEVICE_OF_OBJECT(next, struct file);

		WEFT_ASSERT(other != file && other->medium != NULL);
		if (other->info.id[0] != 0 && memcmp(other->info.id, file->info.id, sizeof(file->info.id)) == 0)
			return other;
	}
	return NULL;
}

static bool file_is_held_here(struct opening *opening)
{
	return file_holder(WEFT_CONTAINER(opening, struct file, opening)) != NULL;
}

/* Why it is not to be had. */
static void file_held_why(const struct file *file, int error, struct weft_why *why)
{
	const struct file *holder = file_holder(file);

	if (holder != NULL)
		weft_why(why, error,
			"file: path=%s is open in this process already, as %s: let both use that one (@%s)%s",
			file->path, holder->object.name, holder->object.name,
			file->readonly ? "" : ", or open both with readonly=on");
	else if (error == -EWOULDBLOCK)
		weft_why(why, error,
			"file: path=%s is locked by another process, also after lock-wait=%" PRIu64
			"ms: stop the other (fuser %s shows it)%s",
			file->path, file->lock_wait_ns / 1000000, file->path,
			file->readonly ? "" : ", or open both with readonly=on");
}

/* The medium is open, or cannot be opened. */
static void file_opened(struct opening *opening, int error)
{
	struct file *file = WEFT_CONTAINER(opening, struct file, opening);
	struct weft_task *task = file->starting;

	WEFT_ASSERT(task != NULL && (error == 0) == (file->medium != NULL));
	if (error == -EWOULDBLOCK || error == -EBUSY)
		file_held_why(file, error, &task->why);
	if (error == 0 && (error = file_check(file, &task->why)) != 0) {
		if (file->info.created)
			env_medium_unlink_created(file->medium);
		env_medium_close(file->medium);
		file->medium = NULL;
	}
	file->starting = NULL;
	if (error == 0)
		file_fill_blk(file);
	device_end(task, error);
}

static void file_start(struct weft_object *object, struct weft_task *task)
{
	struct file *file = DEVICE_OF_OBJECT(object, struct file);

	WEFT_ASSERT(file->starting == NULL && file->medium == NULL);
	if (file->readonly && file->create != 0) {
		device_end(task,
			weft_why(&task->why, -EINVAL,
				"file: create=%" PRIu64 " with readonly=on: a new file would "
				"never hold anything: leave one of them out",
				file->create));
		return;
	}
	file->starting = task;
	file->fences = !env_fence_reaches(object->core->env);
	file->size_msg.fn = file_size_msg;
	file->size_msg.self = file;
	file->opening = (struct opening){
		.core = object->core,
		.path = file->path,
		.wants = { .readonly = file->readonly, .direct = (uint8_t)file->direct, .create_size = file->create,
			.lock = true, .transient = file->transient },
		.patience_ns = file->lock_wait_ns,
		.medium = &file->medium,
		.info = &file->info,
		.why = &task->why,
		.hopeless = file_is_held_here,
		.done = file_opened,
	};
	opening_begin(&file->opening);
}

/* A file that we made, and on which nobody ever opened a stack, goes again: something above it, or beside it, failed to
 * start. */
static void file_stop(struct weft_object *object, struct weft_task *task)
{
	struct file *file = DEVICE_OF_OBJECT(object, struct file);

	WEFT_ASSERT(file->starting == NULL && file->resizing == NULL && !file->size_msg.posted);
	if (file->medium != NULL) {
		if (file->info.created && (object->core->abandoned || !atomic_load(&file->opened)))
			env_medium_unlink_created(file->medium);
		env_medium_close(file->medium);
	}
	file->medium = NULL;
	device_end(task, 0);
}

static void file_describe(const struct weft_object *object, weft_describe_put *put, void *self)
{
	const struct file *file = WEFT_CONTAINER(object, const struct file, object);
	const struct env_medium_info *info = &file->info;
	char text[64];

	put(self, "path", file->path);
	put(self, "type", info->is_block_device ? "block device" : "regular file");
	put(self, "how", info->how != NULL ? info->how : "not open");
	put(self, "direct", info->direct ? "on" : "off");
	put(self, "transient", info->transient ? "on" : "off");
	snprintf(text, sizeof(text), "%u bytes of memory, %u bytes of offset", info->align, info->block);
	put(self, "alignment", text);
	put(self, "lock", file->readonly ? "shared" : "exclusive");
}

static const struct weft_option file_options[] = {
	{ .name = "path",
		.type = WEFT_OPTION_PATH,
		.flags = WEFT_OPTION_ADDRESS | WEFT_OPTION_REQUIRED,
		.offset = offsetof(struct file, path),
		.help = "regular file or block device" },
	{ .name = "direct",
		.type = WEFT_OPTION_CHOICE,
		.offset = offsetof(struct file, direct),
		.fallback = "auto",
		.help = "bypass the page cache; auto: where the file system can",
		.choices = "auto|on|off" },
	{ .name = "transient",
		.type = WEFT_OPTION_BOOL,
		.offset = offsetof(struct file, transient),
		.fallback = "off",
		.help = "through the page cache: what is read or written does not stay there, where the kernel can" },
	{ .name = "create",
		.type = WEFT_OPTION_SIZE,
		.offset = offsetof(struct file, create),
		.help = "make a sparse file of this size when there is none",
		.min = 512,
		.max = INT64_MAX },
	{ .name = "readonly",
		.type = WEFT_OPTION_BOOL,
		.offset = offsetof(struct file, readonly),
		.fallback = "off",
		.help = "refuse writes, share the lock with other readers" },
	{ .name = "lock-wait",
		.type = WEFT_OPTION_DURATION,
		.offset = offsetof(struct file, lock_wait_ns),
		.fallback = "5s",
		.help = "how long to wait at start while somebody else holds the file" },
	{ .name = "discard",
		.type = WEFT_OPTION_BOOL,
		.offset = offsetof(struct file, discard),
		.fallback = "on",
		.help = "give space back to the file system" },
	{ .name = "block",
		.type = WEFT_OPTION_SIZE,
		.offset = offsetof(struct file, block),
		.help = "logical block, a power of two; not given: the smallest that works",
		.min = 512,
		.max = 1 << 20 },
	{ 0 },
};

static const struct weft_offer file_offers[] = {
	{ &weft_blk_iface, offsetof(struct file, blk) },
	{ 0 },
};

_Static_assert(ENV_DIRECT_AUTO == 0 && ENV_DIRECT_ON == 1 && ENV_DIRECT_OFF == 2, "the choices of direct=");

const struct weft_kind file_kind = {
	.name = "file",
	.summary = "a regular file or a block device of this machine",
	.size = sizeof(struct file),
	.options = file_options,
	.offers = file_offers,
	.start = file_start,
	.stop = file_stop,
	.resize = file_resize,
	.describe = file_describe,
};
