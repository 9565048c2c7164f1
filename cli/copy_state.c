/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What has been copied, as ranges and as text: one line of JSON, {"checksum": C, "state": {...}}, where C is the CRC32C of the
 * compact text of what follows, with its keys sorted.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "cli/copy_state.h"

#define FORMAT 1
#define COMPACT (JSON_COMPACT | JSON_SORT_KEYS)

/* ---- ranges ---- */

static void range_remove(struct copy_state *state, unsigned i)
{
	WEFT_ASSERT(i < state->n);
	memmove(&state->range[i], &state->range[i + 1], (--state->n - i) * sizeof(state->range[0]));
}

static void shortest_remove(struct copy_state *state)
{
	unsigned shortest = 0;

	for (unsigned i = 1; i < state->n; i++)
		if (state->range[i].to - state->range[i].from < state->range[shortest].to - state->range[shortest].from)
			shortest = i;
	range_remove(state, shortest);
}

void copy_state_add(struct copy_state *state, uint64_t from, uint64_t to)
{
	unsigned i = 0;

	if (from >= to)
		return;
	while (i < state->n && state->range[i].to < from)
		i++;
	while (i < state->n && state->range[i].from <= to) {
		from = state->range[i].from < from ? state->range[i].from : from;
		to = state->range[i].to > to ? state->range[i].to : to;
		range_remove(state, i);
	}
	if (state->n == COPY_RANGES_MAX) {
		shortest_remove(state);
		copy_state_add(state, from, to);
		return;
	}
	memmove(&state->range[i + 1], &state->range[i], (state->n++ - i) * sizeof(state->range[0]));
	state->range[i] = (struct copy_range){ from, to };
}

const struct copy_range *copy_state_at(const struct copy_state *state, uint64_t offset)
{
	for (unsigned i = 0; i < state->n; i++)
		if (state->range[i].to > offset)
			return &state->range[i];
	return NULL;
}

uint64_t copy_state_bytes(const struct copy_state *state)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < state->n; i++)
		bytes += state->range[i].to - state->range[i].from;
	return bytes;
}

/* ---- text ---- */

static int crc_add(const char *text, size_t len, void *self)
{
	uint32_t crc = *(uint32_t *)self;

	for (size_t i = 0; i < len; i++) {
		crc ^= (uint8_t)text[i];
		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	*(uint32_t *)self = crc;
	return 0;
}

static uint32_t checksum(const json_t *value)
{
	uint32_t crc = UINT32_MAX;

	json_dump_callback(value, crc_add, &crc, COMPACT);
	return ~crc;
}

static json_t *ranges_json(const struct copy_state *state)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < state->n; i++)
		json_array_append_new(list, json_pack("[I, I]", (json_int_t)state->range[i].from, (json_int_t)state->range[i].to));
	return list;
}

long copy_state_print(const struct copy_state *state, const char *source, const char *target, char *text, size_t room)
{
	json_t *inner = json_pack("{s:i, s:s, s:s, s:I, s:o}", "format", FORMAT, "source", source, "destination", target, "size",
		(json_int_t)state->size, "copied", ranges_json(state));
	json_t *outer = json_pack("{s:I, s:O?}", "checksum", (json_int_t)(inner != NULL ? checksum(inner) : 0), "state", inner);
	long len = inner != NULL && outer != NULL ? (long)json_dumpb(outer, text, room, COMPACT) : -ENOMEM;

	json_decref(inner);
	json_decref(outer);
	return len;
}

static bool range_read(const json_t *item, struct copy_state *state)
{
	uint64_t before = state->n > 0 ? state->range[state->n - 1].to : 0;
	json_int_t from, to;

	if (json_unpack((json_t *)(uintptr_t)item, "[I, I!]", &from, &to) != 0 || from < 0 || to <= from)
		return false;
	if ((uint64_t)to > state->size || (uint64_t)from < before || state->n == COPY_RANGES_MAX)
		return false;
	state->range[state->n++] = (struct copy_range){ (uint64_t)from, (uint64_t)to };
	return true;
}

static bool state_read(json_t *inner, const char **source, const char **target, struct copy_state *out)
{
	json_t *ranges, *item;
	json_int_t size;
	int format;
	size_t i;

	*out = (struct copy_state){ 0 };
	if (json_unpack(inner, "{s:i, s:s, s:s, s:I, s:o!}", "format", &format, "source", source, "destination", target, "size",
			&size, "copied", &ranges) != 0 || format != FORMAT || size < 0 || !json_is_array(ranges))
		return false;
	out->size = (uint64_t)size;
	json_array_foreach(ranges, i, item)
		if (!range_read(item, out))
			return false;
	return true;
}

int copy_state_parse(const char *text, size_t len, const char *source, const char *target, const char *path,
	struct copy_state *out, struct weft_why *why)
{
	json_t *outer = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL), *inner = NULL;
	const char *was_source = "", *was_target = "";
	json_int_t sum = 0;
	int error = 0;

	if (outer == NULL || json_unpack(outer, "{s:I, s:o!}", "checksum", &sum, "state", &inner) != 0 ||
			sum != (json_int_t)checksum(inner) || !state_read(inner, &was_source, &was_target, out))
		error = weft_why(why, -EINVAL, "--resume='%.80s': it is no state of a copy, or damaged: remove it, and the copy "
			"begins "
			"anew", path);
	else if (strcmp(was_source, source) != 0 || strcmp(was_target, target) != 0)
		error = weft_why(why, -EINVAL, "--resume='%.50s': it belongs to a copy of %.50s to %.50s: give the same devices, "
			"or "
			"another file", path, was_source, was_target);
	json_decref(outer);
	return error;
}
