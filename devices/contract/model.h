/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device may answer: a digest for each block, and what is known about requests that overlap in time.
 * Bounded memory; everything on one reactor. It may know too little (then it judges nothing), never wrong.
 */
#ifndef DEVICES_CONTRACT_MODEL_H
#define DEVICES_CONTRACT_MODEL_H

#include <weft/blk.h>

#define MODEL_RACES 4   /* ranges of a request in which others overlapped with it */
#define MODEL_VALUES 4  /* possible contents of a block after overlapping writes */
#define MODEL_SETS 8192 /* blocks that have several possible contents, a power of two */

struct model_range {
	uint64_t from, to;
}; /* blocks */

/* A request between model_begin and model_end. */
struct model_access {
	struct model_access *next, *prev;
	struct model_range range;
	uint64_t began, acknowledged; /* time; writes, then */
	uint8_t op;
	uint8_t races; /* MODEL_RACES + 1: too many, all of it */
	struct model_range race[MODEL_RACES];
};

/* Several possible contents: each with the time at which its write ended. */
struct model_set {
	uint64_t block; /* plus 1; 0: free */
	uint8_t values;
	struct {
		uint64_t digest, ended;
	} value[MODEL_VALUES];
};

struct model {
	struct weft_core *core;
	uint64_t blocks, block; /* that are modelled; bytes */
	uint64_t
		trusted; /* blocks below that have always been there; atomic: changed by the control thread */
	uint64_t *digest; /* by block */
	struct model_set *sets;
	uint32_t sets_used;
	struct model_access *active;
	uint64_t time, blind; /* T4 */
	uint64_t zero_digest;
	uint64_t acknowledged, flushed; /* writes */
	uint64_t judged, raced, violations;
};

/* Bytes that a model of such a device takes. */
uint64_t model_bytes(uint64_t size, uint32_t block);
int model_open(
	struct model *model, struct weft_core *core, uint64_t size, uint32_t block, struct weft_why *why);
void model_close(struct model *model);
/* What was beyond a smaller size is not judged any more. Control thread. */
void model_resized(struct model *model, uint64_t size);

/* The request is about to be submitted to the device. */
void model_begin(struct model *model, struct model_access *access, const struct weft_hop *hop);
/* The read `hop` has ended well: may its data be what it is? False: not at the offset *where. Before
 * model_end. */
bool model_read(
	struct model *model, struct model_access *access, const struct weft_hop *hop, uint64_t *where);
/* The compare-and-write `hop` has ended with 0 or -EILSEQ: may it have? False: not by what is at the offset *where. Before
 * model_end. */
bool model_compared(
	struct model *model, const struct model_access *access, const struct weft_hop *hop, int status, uint64_t *where);
/* The request has ended; a compare-and-write with -EILSEQ: it has changed nothing. */
void model_end(struct model *model, struct model_access *access, const struct weft_hop *hop, int status);

/* Of all data of the view, both halves of a compare-and-write. */
uint64_t model_digest(const struct weft_hop *hop);

#endif
