/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loop on io_uring. In a turn nothing enters the kernel but env_loop_submit, and that only when there
 * are entries to hand over or the kernel says that completions wait for us to come and run them: one system
 * call does both. env_loop_poll reads shared memory.
 */
#include "env/linux/uring.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FEATURES                                                                                             \
	(IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL)

/* IORING_FEAT_RW_ATTR, for which liburing has no name yet: tells of Linux 6.14 or later. */
#define FEATURE_6_14 (1u << 16)

/*
 * Best first: one thread submits and runs its completions when it comes to ask; no interrupts; as old
 * kernels have it.
 */
static const unsigned setups[] = {
	IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER |
		IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED,
	IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN |
		IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED,
	IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED,
};

/* The best one binds the ring to the thread that first runs it. */
static int uring_setup(struct uring *u, bool movable)
{
	int rc = -EINVAL;

	for (size_t i = movable; i < WEFT_COUNT(setups) && rc == -EINVAL; i++) {
		struct io_uring_params p = {.flags = setups[i], .cq_entries = URING_COMPLETIONS};

		rc = io_uring_queue_init_params(URING_ENTRIES, &u->ring, &p);
		u->bound = i == 0;
		u->files_at_once = p.features & FEATURE_6_14;
		if (rc == 0 && (p.features & FEATURES) != FEATURES) {
			io_uring_queue_exit(&u->ring);
			rc = -ENOSYS;
		}
	}
	return rc;
}

int uring_open(struct loop *loop, bool movable)
{
	struct uring *u = calloc(1, sizeof(*u));
	int rc = -ENOMEM;

	if (!u)
		return rc;
	u->iovecs = calloc(URING_IOVECS, sizeof(u->iovecs[0]));
	if (u->iovecs)
		rc = uring_setup(u, movable);
	if (rc) {
		free(u->iovecs);
		free(u);
		return rc;
	}
	u->waiting_tail = &u->waiting;
	loop->uring = u;
	return 0;
}

void uring_close(struct loop *loop)
{
	struct uring *u = loop->uring;

	WEFT_ASSERT(!u->waiting && !u->files);
	WEFT_ASSERT(!u->registered || pthread_equal(u->thread, pthread_self())); /* else: of which ring? */
	io_uring_queue_exit(&u->ring);
	while (u->watches) {
		struct watch *watch = u->watches;

		u->watches = watch->next;
		free(watch);
	}
	free(u->pinned);
	free(u->iovecs);
	free(u);
	loop->uring = NULL;
}

/* ---- our own watches: the wake-up, the epoll set of the control path ---- */

static bool uring_arm_one(struct loop *loop, unsigned what)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->uring->ring);

	if (!sqe)
		return false;
	if (what == TAG_WAKE)
		io_uring_prep_poll_multishot(sqe, loop->wake_source.fd, POLLIN);
	else
		io_uring_prep_poll_add(sqe, loop->poller.fd, POLLIN);
	io_uring_sqe_set_data64(sqe, what);
	loop->uring->unarmed &= ~what;
	loop->stats.submissions++;
	return true;
}

static void uring_arm(struct loop *loop)
{
	if (loop->uring->unarmed & TAG_WAKE)
		uring_arm_one(loop, TAG_WAKE);
	if (loop->uring->unarmed & TAG_POLLER)
		uring_arm_one(loop, TAG_POLLER);
	if (WEFT_UNLIKELY(loop->uring->unarmed & TAG_WATCH))
		uring_watches_arm(loop);
}

/* ---- entering the kernel ---- */

static bool uring_kernel_calls(const struct uring *u)
{
	return IO_URING_READ_ONCE(*u->ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

static void uring_entered(struct loop *loop, int rc)
{
	struct uring *u = loop->uring;

	WEFT_ASSERT(rc != -EEXIST && rc != -EBADF); /* the loop has moved to another thread; or was closed */
	loop->stats.system_calls++;
	gather_fetched(&u->gather);
	if (io_uring_sq_ready(&u->ring) == 0)
		u->iovecs_used = 0;
}

/*
 * Hands over what has been gathered and collects what has ended: one system call, more only when the ring
 * is too small for the turn.
 */
static void uring_enter(struct loop *loop)
{
	struct uring *u = loop->uring;
	int rc;

	do {
		uring_arm(loop);
		uring_fill(loop);
		rc = io_uring_submit_and_get_events(&u->ring);
		uring_entered(loop, rc);
	} while (u->waiting && rc > 0);
}

struct io_uring_sqe *uring_sqe(struct loop *loop)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&loop->uring->ring);

	if (WEFT_UNLIKELY(!sqe) && loop->uring->enabled) {
		uring_entered(loop, io_uring_submit_and_get_events(&loop->uring->ring));
		sqe = io_uring_get_sqe(&loop->uring->ring);
	}
	if (sqe)
		loop->stats.submissions++;
	return sqe;
}

void uring_enable(struct loop *loop)
{
	struct uring *u = loop->uring;
	long rc;

	if (WEFT_LIKELY(u->enabled))
		return;
	/* liburing 2.3 declares a function for it, and does not export it. */
	rc = syscall(SYS_io_uring_register, u->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	WEFT_ASSERT(rc == 0);
	u->enabled = true;
	if (u->bound) { /* a sandbox may refuse it, and a thread has room for 16 */
		u->registered = io_uring_register_ring_fd(&u->ring) == 1;
		u->thread = pthread_self();
	}
	u->unarmed |= TAG_WAKE | TAG_POLLER;
	uring_enter(loop);
}

/* ---- completions ---- */

static void uring_cqe(struct loop *loop, uint64_t data, int32_t result, bool more)
{
	switch (data & TAG_MASK) {
	case 0:
		if (data != TAG_IGNORE)
			uring_io_done(loop, (struct env_io *)(uintptr_t)data, result);
		break;
	case TAG_WATCH:
		uring_watch_done(loop, (struct watch *)(uintptr_t)(data & ~(uint64_t)TAG_MASK), more);
		break;
	case TAG_WAKE:
		if (!more)
			loop->uring->unarmed |= TAG_WAKE;
		break;
	case TAG_POLLER:
		loop->uring->poller_ready = true;
		break;
	default:
		WEFT_ASSERT(!"a tag of ours");
	}
}

/*
 * How many to deliver in this turn. What follows from them is submitted at its end, so that a long turn
 * starves the disk: at depth 32 it got 0.85 of what turns of four get, for it saw requests in bursts. Only
 * a long queue is shortened faster. Where completions are fetched as they come they are answered as they come.
 */
static unsigned uring_share(const struct uring *u, unsigned ready)
{
	unsigned least = u->awake < URING_SPINS || gather_grows(&u->gather) ? 4 : 1;

	if (ready <= least)
		return ready;
	return ready / 16 > least ? ready / 16 : least;
}

static bool uring_reap(struct loop *loop)
{
	struct uring *u = loop->uring;
	unsigned head, left = uring_share(u, io_uring_cq_ready(&u->ring));
	struct io_uring_cqe *cqe;
	bool any = left > 0;

	if (!any)
		return false;
	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		uint64_t data = cqe->user_data;
		int32_t result = cqe->res;
		bool more = cqe->flags & IORING_CQE_F_MORE;

		/* The entry is the kernel's again before anything is called that may enter the kernel. */
		io_uring_cq_advance(&u->ring, 1);
		uring_cqe(loop, data, result, more);
		if (--left == 0)
			break;
	}
	return any;
}

/*
 * Nothing is left of what the kernel gave, and it has more: now, or, for a loop that spins, when some have
 * gathered. A turn that submits collects as well.
 */
static bool uring_fetch_now(struct loop *loop)
{
	struct uring *u = loop->uring;

	if (u->fetched || io_uring_cq_ready(&u->ring) > 0 || !uring_kernel_calls(u))
		return false;
	return u->awake < URING_SPINS || loop->fd_used ||
		!gather_more(&u->gather, u->transfers, env_now_ns(loop->head.env));
}

static bool uring_poll(struct env_loop *head)
{
	struct loop *loop = loop_of(head);
	struct uring *u = loop->uring;
	bool any;

	uring_enable(loop);
	if (u->awake < URING_SPINS)
		u->awake++;
	if (WEFT_UNLIKELY(uring_fetch_now(loop)))
		uring_enter(loop);
	u->fetched = false;
	any = uring_reap(loop);
	any |= loop_deliver(loop);
	if (u->poller_ready) {
		u->poller_ready = false;
		loop->stats.system_calls++;
		poller_fetch(&loop->poller, 0);
		any |= poller_dispatch(&loop->poller);
		u->unarmed |= TAG_POLLER;
	}
	return any;
}

static void uring_submit(struct env_loop *head)
{
	struct loop *loop = loop_of(head);
	struct uring *u = loop->uring;

	uring_enable(loop);
	if (io_uring_sq_ready(&u->ring) || u->waiting || u->unarmed) {
		uring_enter(loop);
		u->fetched = true;
	}
	if (WEFT_UNLIKELY(loop->fd_used) && loop->ready)
		loop_wake(head);
}

/* ---- sleeping ---- */

static void uring_sleep(struct loop *loop, uint64_t timeout_ns)
{
	struct __kernel_timespec t = {
		(int64_t)(timeout_ns / 1000000000u), (int64_t)(timeout_ns % 1000000000u)};
	struct uring *u = loop->uring;
	struct io_uring_cqe *cqe;
	int rc;

	uring_arm(loop);
	uring_fill(loop);
	while (u->waiting || u->unarmed) {
		uring_enter(loop);
		if (io_uring_cq_ready(&u->ring))
			return;
	}
	loop->stats.sleeps++;
	u->awake = 0;
	gather_slept(&u->gather);
	rc = io_uring_submit_and_wait_timeout(&u->ring, &cqe, 1, timeout_ns == ENV_FOREVER ? NULL : &t, NULL);
	uring_entered(loop, rc);
}

static void uring_wait(struct env_loop *head, uint64_t timeout_ns)
{
	struct loop *loop = loop_of(head);

	uring_enable(loop);
	if (atomic_exchange(&loop->woken, false) || loop->ready || io_uring_cq_ready(&loop->uring->ring)) {
		uring_submit(head);
		return;
	}
	atomic_store(&loop->sleeping, true);
	if (loop_has_ended(loop))
		uring_submit(head);
	else
		uring_sleep(loop, timeout_ns);
	atomic_store(&loop->sleeping, false);
	loop->uring->fetched = true;
	if (atomic_exchange(&loop->woken, false))
		loop->stats.wakes++;
}

/* The thread's own table holds the ring, and another thread cannot take it out. */
static void uring_leave(struct env_loop *head)
{
	struct uring *u = loop_of(head)->uring;

	if (!u->registered)
		return;
	WEFT_ASSERT(pthread_equal(u->thread, pthread_self()));
	io_uring_unregister_ring_fd(&u->ring);
	u->registered = false;
}

static int uring_fd(struct env_loop *head)
{
	struct loop *loop = loop_of(head);

	if (loop->uring->bound)
		return -ENOTSUP;
	loop->fd_used = true;
	return loop->uring->ring.ring_fd;
}

const struct env_loop_ops uring_ops = {
	.close = loop_close,
	.leave = uring_leave,
	.poll = uring_poll,
	.submit = uring_submit,
	.wait = uring_wait,
	.wake = loop_wake,
	.fd = uring_fd,
	.alarm = loop_alarm,
	.stats = loop_stats,
	.wake_cost_ns = loop_wake_cost_ns,
	.pin = uring_pin,
	.unpin = uring_unpin,
	.work_submit = loop_work_submit,
	.listen = stream_listen,
	.connect = stream_connect,
	.stream_pair = stream_pair,
	.signals_watch = signals_watch,
};
