/* SPDX-License-Identifier: BSD-2-Clause */
/* "Did you mean": the known word that is nearest to an unknown one, for error sentences. Pure. */
#ifndef CORE_NEAREST_H
#define CORE_NEAREST_H

#include <stddef.h>

/* Set `wanted`, zero the rest; nearest_try() each candidate, then nearest_phrase(): "did you mean 'path'?" or,
 * when none is close, "". Candidates must outlive the phrase. */
struct nearest {
	const char *wanted;
	const char *best;
	size_t best_len;
	unsigned best_distance;
	char phrase[96];
};
void nearest_try(struct nearest *nearest, const char *candidate, size_t len);
const char *nearest_phrase(struct nearest *nearest);

#endif
