/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What scenarios are made of: parties (a node with a core and objects built from texts in the grammar), and a load that knows
 * what each
 * block may hold.
 */
#ifndef SIM_PARTY_H
#define SIM_PARTY_H

#include <weft/export.h>

#include "core/core.h"
#include "env/sim/sim.h"

/* ---- a node with a core ---- */

#define PARTY_OBJECTS 4

/* Lives outside the node, so that it survives the node's death. */
struct party {
	struct sim_world *world;
	struct env *env;
	struct weft_core *core;
	struct weft_object *object[PARTY_OBJECTS]; /* in the order in which they were built */
	unsigned nobjects;
	bool busy;                /* something is under way */
	int status;               /* how it ended */
	struct party_job *job;
};

/* A node with a control reactor and `reactors` that do I/O. */
void party_open(struct party *party, struct sim_world *world, const char *name, unsigned reactors, enum weft_mode mode);
/* Builds what `text` says: `party->busy` until it has ended; on success it is the next object. */
void party_build(struct party *party, const char *text, const struct weft_iface *wants);
/* The same, and waits; fails the test when it fails. */
void party_must_build(struct party *party, const char *text, const struct weft_iface *wants);
/* Runs fn(self) on one of its reactors, and waits until it has run. */
void party_on(struct party *party, unsigned lane, weft_reactor_fn *fn, void *self);
/* Runs the world until nothing is under way here. */
void party_wait(struct party *party);
/* Lets go of its objects, the last one first, and closes the node. */
void party_close(struct party *party);
/* The node is dead (sim_kill_here, sim_node_kill): forgets it. */
void party_forget(struct party *party);
bool party_alive(const struct party *party);

/* ---- a load that knows ---- */

#define LOAD_CELL 4096u
#define LOAD_CELLS 16u /* few: what was written is soon written again */
#define LOAD_DEPTH 8u

struct load;

/* A session on the party's device `blk`, on reactor `lane`, that sends `requests` of all kinds by the world's chance. Asserts
 * that every
 * read returns what may be there, and that no request fails. */
struct load *load_open(struct party *party, struct weft_blk *blk, unsigned lane, unsigned requests);
bool load_ended(void *load);
unsigned load_answers(const struct load *load);
/* All that was acknowledged is in `bytes`, the image of the disk. Nothing is in flight. */
void load_check_image(struct load *load, const char *bytes);
/* The power has gone: each sector of `bytes` is what the last flush that ended had made durable, or newer. */
void load_check_after_power_loss(struct load *load, const char *bytes);
/* From now on what may not be is counted, instead of ending the process: for scenarios that are broken on purpose. */
void load_tolerate(struct load *load);
unsigned load_violations(const struct load *load);
/* load_check_after_power_loss as a question: for devices that are broken on purpose. */
bool load_survived_power_loss(const struct load *load, const char *bytes);
/* Somebody else makes durable what is acknowledged now; and has done so. */
void load_flush_begins(struct load *load);
void load_flush_ended(struct load *load);
void load_close(struct load *load);
/* The same, but what it knows stays: for load_check_survived and load_again; to be forgotten at last. */
void load_close_keep(struct load *load);
/* Its node is dead, and is followed by another: what was not acknowledged may be there or not. power: nor what was not flushed. */
void load_was_cut_off(struct load *load, bool power);
/* Goes on with `requests` more, as load_open does, on what there is. */
void load_again(struct load *load, struct party *party, struct weft_blk *blk, unsigned lane, unsigned requests);
/* Each sector of `bytes` is what was acknowledged, or newer. */
void load_check_survived(struct load *load, const char *bytes);
/* Its node is dead. */
void load_forget(struct load *load);

#endif
