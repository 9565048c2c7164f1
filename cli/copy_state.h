/* SPDX-License-Identifier: BSD-2-Clause */
/* What has been copied, as ranges, and as the text of a file that somebody may have damaged. */
#ifndef CLI_COPY_STATE_H
#define CLI_COPY_STATE_H

#include <weft/base.h>

enum { COPY_RANGES_MAX = 256 };

struct copy_range {
	uint64_t from, to; /* bytes */
};

struct copy_state {
	uint64_t size;     /* of the source, bytes */
	unsigned n;
	struct copy_range range[COPY_RANGES_MAX]; /* ascending, apart, not empty */
};

/* One more range, which may touch or overlap others. Without room the shortest is forgotten: it will be copied again. */
void copy_state_add(struct copy_state *state, uint64_t from, uint64_t to);
/* The range that holds `offset`, else the next one above; NULL: none. */
const struct copy_range *copy_state_at(const struct copy_state *state, uint64_t offset);
/* Bytes in all. */
uint64_t copy_state_bytes(const struct copy_state *state);

/* The file's text into `text`; its length, or what it would need, like snprintf; -ENOMEM. */
long copy_state_print(const struct copy_state *state, const char *source, const char *target, char *text, size_t room);
/* Only a text that copy_state_print made for the same devices. -EINVAL with `why` (`path` is its name). */
int copy_state_parse(const char *text, size_t len, const char *source, const char *target, const char *path,
	struct copy_state *out, struct weft_why *why);

#endif
