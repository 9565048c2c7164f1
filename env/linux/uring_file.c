/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Media in the ring's own table of files: the kernel need not look their descriptors up for each request.
 *
 * The table holds the open file description, and with it the lock and a block device's exclusive use. Before 6.13 the kernel let
 * go of it up to a second after it had been taken out of the table, so that who opens it next would find it in use: these kernels
 * get no table.
 */
#include "env/linux/uring.h"

/* A medium has the same slot in each loop's table, so that a request finds it without looking. */
void file_slot_take(struct medium *medium)
{
	struct linux_env *env = linux_env_of(medium->head.env);
	uint64_t taken = atomic_load(&env->files), bit;

	WEFT_ASSERT(!medium->file_bit);
	do {
		bit = ~taken & (taken + 1);
		if (!bit)
			return; /* it will do without */
	} while (!atomic_compare_exchange_weak(&env->files, &taken, taken | bit));
	medium->file = __builtin_ctzll(bit);
	medium->file_bit = bit;
}

void file_slot_give(struct medium *medium)
{
	struct linux_env *env = linux_env_of(medium->head.env);

	WEFT_ASSERT((atomic_load(&env->files) & medium->file_bit) == medium->file_bit);
	atomic_fetch_and(&env->files, ~medium->file_bit);
	medium->file_bit = 0;
}

/* Is there a table? Asked for once: a sandbox may refuse it. */
static bool files_table(struct uring *u)
{
	if (!u->files_tried) {
		u->files_tried = true;
		u->files_made = u->files_at_once && io_uring_register_files_sparse(&u->ring, URING_FILES) == 0;
	}
	return u->files_made;
}

void medium_attach(struct env_loop *head, struct env_medium *base)
{
	struct loop *loop = loop_of(head);
	struct medium *medium = (struct medium *)base;

	if (!loop->uring || !medium->file_bit)
		return;
	WEFT_ASSERT(!(loop->uring->files & medium->file_bit));
	uring_enable(loop);
	if (files_table(loop->uring) &&
		io_uring_register_files_update(&loop->uring->ring, (unsigned)medium->file, &medium->fd, 1) == 1)
		loop->uring->files |= medium->file_bit;
}

void medium_detach(struct env_loop *head, struct env_medium *base)
{
	struct uring *u = loop_of(head)->uring;
	struct medium *medium = (struct medium *)base;
	int none = -1, rc;

	if (!u || !(u->files & medium->file_bit))
		return;
	rc = io_uring_register_files_update(&u->ring, (unsigned)medium->file, &none, 1);
	WEFT_ASSERT(rc == 1);
	u->files &= ~medium->file_bit;
}
