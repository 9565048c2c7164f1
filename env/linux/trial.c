/* SPDX-License-Identifier: BSD-2-Clause */
/* Two ways, tried by turns. */
#include <weft/base.h>

#include "env/linux/trial.h"

/* What the way before has left lying about is not counted. */
static void change(struct trial *t, bool second, uint64_t now_ns)
{
	t->second = second;
	t->since_ns = 0;
	t->settled_ns = now_ns + TRIAL_SETTLE_NS;
}

static bool clearly_better(const struct trial *t, unsigned way)
{
	/* done[way] / took[way] against done[!way] / took[!way], without a division */
	uint64_t rate = t->done[way] * t->took_ns[!way], other = t->done[!way] * t->took_ns[way];

	return rate > other + other / TRIAL_MARGIN;
}

/* What former trials told still counts, each a quarter less with each that comes. */
static void trial_begin(struct trial *t)
{
	t->left = TRIAL_WINDOWS;
	for (unsigned way = 0; way < 2; way++) {
		t->took_ns[way] -= t->took_ns[way] / 4;
		t->done[way] -= t->done[way] / 4;
	}
}

static void trial_end(struct trial *t, uint64_t now_ns)
{
	if (clearly_better(t, !t->kept))
		t->kept = !t->kept;
	t->second = t->kept;
	t->pause_ns = t->pause_ns == 0 ? TRIAL_FIRST_NS : t->pause_ns * 2;
	if (t->pause_ns > TRIAL_EVERY_NS)
		t->pause_ns = TRIAL_EVERY_NS;
	t->next_ns = now_ns + t->pause_ns;
}

/* ABBAABBA, where A is the way that is in use */
static bool way_of_window(const struct trial *t)
{
	unsigned nth = TRIAL_WINDOWS - t->left;

	return t->kept ^ ((nth + 1) / 2 % 2 == 1);
}

void trial_look(struct trial *t, uint64_t done, uint64_t now_ns)
{
	uint64_t took_ns;

	if (t->left == 0) {
		if (now_ns < t->next_ns)
			return;
		trial_begin(t);
		change(t, way_of_window(t), now_ns);
	}
	if (now_ns < t->settled_ns)
		return;
	if (t->since_ns == 0) {
		t->since_ns = now_ns;
		t->since_done = done;
	}
	WEFT_ASSERT(now_ns >= t->since_ns && done >= t->since_done);
	took_ns = now_ns - t->since_ns;
	if (took_ns < TRIAL_WINDOW_NS)
		return;
	if (took_ns > TRIAL_STALL_NS) { /* no way of ours: it begins anew */
		t->since_ns = 0;
		return;
	}
	t->took_ns[t->second] += took_ns;
	t->done[t->second] += done - t->since_done;
	if (--t->left == 0)
		trial_end(t, now_ns);
	else
		change(t, way_of_window(t), now_ns);
}
