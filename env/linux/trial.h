/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which of two ways gets more done, where nothing but trying tells. Pure: fed with how much has been done by when.
 *
 * Now and then both are used for a few windows of time, in the order ABBAABBA, so that a rate which rises or falls
 * by itself favours neither; then the better one is kept until the next trial. A disk's rate is noisy: former
 * trials count, too, and the way in use stays unless the other is clearly better.
 */
#ifndef ENV_LINUX_TRIAL_H
#define ENV_LINUX_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

#define TRIAL_WINDOW_NS 5000000u
#define TRIAL_SETTLE_NS 500000u /* before each */
#define TRIAL_STALL_NS (4 * TRIAL_WINDOW_NS) /* a window that has become so long tells of the disk: it stood still */
#define TRIAL_WINDOWS 8u
#define TRIAL_FIRST_NS 60000000u   /* after the first trial; then twice as long each time, up to */
#define TRIAL_EVERY_NS 2000000000u
#define TRIAL_MARGIN 32u /* better by 1/32 */

struct trial {
	bool second;	    /* the way to use now */
	bool kept;	    /* the way that was found better */
	unsigned left;	    /* windows that this trial still has; 0: none is under way */
	uint64_t settled_ns; /* no window begins before that */
	uint64_t since_ns;  /* when this window began; 0: with the next look */
	uint64_t since_done;
	uint64_t next_ns;   /* when the next trial begins */
	uint64_t pause_ns;  /* before that */
	uint64_t took_ns[2], done[2]; /* of either way, in the last trials */
};

/* `done` in all until now. Call it while the work goes on, much more often than once per window. */
void trial_look(struct trial *trial, uint64_t done, uint64_t now_ns);
/* There was, or will be, nothing to do for a while: this window tells nothing. */
static inline void trial_spoilt(struct trial *trial) { trial->since_ns = 0; }

#endif
