/* SPDX-License-Identifier: BSD-2-Clause */
/* A message goes round the reactors that do I/O. */
#include "cli/serve.h"

static void round_msg(void *self)
{
	struct round *round = self;
	unsigned lane = round->lane;

	if (lane == 0) {
		round->ended(round);
		return;
	}
	round->visit(round, round->core->reactor[lane]);
	round->lane = lane + 1 < round->core->reactors ? lane + 1 : 0;
	weft_reactor_post(round->core->reactor[round->lane], &round->msg);
}

void round_begin(struct round *round)
{
	WEFT_ASSERT(!round->msg.posted && round->core->reactors > 1);
	round->msg = (struct weft_msg){ .fn = round_msg, .self = round };
	round->lane = 1;
	weft_reactor_post(round->core->reactor[1], &round->msg);
}
