/* SPDX-License-Identifier: BSD-2-Clause */
/* What came of the cases of a conformance run: of the present one, and of all. */
#ifndef CLI_CHECK_VERDICT_H
#define CLI_CHECK_VERDICT_H

#include <stdarg.h>

#include <weft/base.h>

enum check_result { CHECK_OK, CHECK_FAILED, CHECK_SKIPPED };

struct check_verdict {
	enum check_result result; /* of the present case */
	char detail[200];         /* why it is not CHECK_OK */
	unsigned counts[3];       /* by result */
};

/* The next case: it is well until something else is said. */
void check_verdict_begin(struct check_verdict *verdict);
/* Something else. The first failure counts, whatever comes before or after it; else the first reason to skip. */
void check_verdict_add(struct check_verdict *verdict, enum check_result result, const char *format, va_list args);
/* The case is over: it is counted. */
void check_verdict_end(struct check_verdict *verdict);
/* No case has failed. */
bool check_verdict_good(const struct check_verdict *verdict);

#endif
