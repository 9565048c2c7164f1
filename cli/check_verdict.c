/* SPDX-License-Identifier: BSD-2-Clause */
/* Which of several things that are said of a case counts. */
#include <stdio.h>

#include "cli/check_verdict.h"

void check_verdict_begin(struct check_verdict *verdict)
{
	verdict->result = CHECK_OK;
	verdict->detail[0] = '\0';
}

void check_verdict_add(struct check_verdict *verdict, enum check_result result, const char *format, va_list args)
{
	WEFT_ASSERT(result != CHECK_OK);
	if (verdict->result == CHECK_FAILED || (verdict->result == CHECK_SKIPPED && result == CHECK_SKIPPED))
		return;
	verdict->result = result;
	vsnprintf(verdict->detail, sizeof(verdict->detail), format, args);
}

void check_verdict_end(struct check_verdict *verdict)
{
	WEFT_ASSERT((verdict->result == CHECK_OK) == (verdict->detail[0] == '\0'));
	verdict->counts[verdict->result]++;
}

bool check_verdict_good(const struct check_verdict *verdict)
{
	return verdict->counts[CHECK_FAILED] == 0;
}
