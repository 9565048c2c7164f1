/* SPDX-License-Identifier: BSD-2-Clause */
/* "Did you mean": edit distance between a wrong word and the right ones. */
#include "core/nearest.h"

#include <stdio.h>
#include <string.h>

#include <weft/base.h>

#define WORD_MAX 32

/* Insertions, deletions, replacements and swaps of neighbours that lead from a to b; both at most WORD_MAX long. */
static unsigned distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	unsigned row[3][WORD_MAX + 1];

	WEFT_ASSERT(a_len <= WORD_MAX && b_len <= WORD_MAX);
	for (unsigned j = 0; j <= b_len; j++)
		row[0][j] = j;
	for (unsigned i = 1; i <= a_len; i++) {
		unsigned *here = row[i % 3], *last = row[(i + 2) % 3], *older = row[(i + 1) % 3];

		here[0] = i;
		for (unsigned j = 1; j <= b_len; j++) {
			unsigned best = last[j - 1] + (a[i - 1] != b[j - 1]);

			best = last[j] + 1 < best ? last[j] + 1 : best;
			best = here[j - 1] + 1 < best ? here[j - 1] + 1 : best;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && older[j - 2] + 1 < best)
				best = older[j - 2] + 1;
			here[j] = best;
		}
	}
	return row[a_len % 3][b_len];
}

/* How many bytes the two begin with in common: decides between equally near ones. */
static unsigned alike(const char *wanted, const char *candidate, size_t len)
{
	unsigned same = 0;

	while (same < len && wanted[same] && wanted[same] == candidate[same])
		same++;
	return same;
}

void nearest_try(struct nearest *nearest, const char *candidate, size_t len)
{
	size_t wanted_len = strlen(nearest->wanted);

	WEFT_ASSERT(candidate);
	if (!len || !wanted_len || len > WORD_MAX || wanted_len > WORD_MAX)
		return;
	unsigned changes = distance(nearest->wanted, wanted_len, candidate, len);
	size_t longer = len > wanted_len ? len : wanted_len;
	bool prefix = wanted_len >= 3 && len > wanted_len && !memcmp(candidate, nearest->wanted, wanted_len);

	if (prefix)
		changes = 1;
	if (changes > 1 + longer / 4 || changes >= longer)
		return;
	changes = changes * (WORD_MAX + 1) - alike(nearest->wanted, candidate, len);
	if (nearest->best && nearest->best_distance <= changes)
		return;
	nearest->best = candidate;
	nearest->best_len = len;
	nearest->best_distance = changes;
}

const char *nearest_phrase(struct nearest *nearest)
{
	WEFT_ASSERT(!nearest->best || nearest->best_len <= WORD_MAX);
	if (!nearest->best)
		return "";
	snprintf(nearest->phrase, sizeof(nearest->phrase), "did you mean '%.*s'?", (int)nearest->best_len, nearest->best);
	return nearest->phrase;
}
