/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The simulated world: nodes, disks, sockets, shared memory and time in one thread, from one seed. What happens next is chosen
 * by the
 * world's generator; the same seed gives the same trace.
 *
 * A node is an environment (env.h). Killing it frees all its memory and closes its descriptors, as the kernel would; what its
 * disks have
 * been asked ends later, or is lost, and holds the file's lock until then. Files, shared memory, sockets' names outlive it.
 */
#ifndef ENV_SIM_SIM_H
#define ENV_SIM_SIM_H

#include "env/env.h"

struct sim_world;

struct sim_world *sim_world_open(uint64_t seed);
/* All nodes are closed or killed before. */
void sim_world_close(struct sim_world *world);
uint64_t sim_now_ns(const struct sim_world *world);
uint64_t sim_rand(struct sim_world *world);
/* true with probability n of m */
bool sim_chance(struct sim_world *world, unsigned n, unsigned m);

/* ---- nodes ---- */
struct env *sim_node_open(struct sim_world *world, const char *name);
/* Asserts that everything has been given back: memory, descriptors, media. */
void sim_node_close(struct env *env);
/* As by SIGKILL; not from inside a step of the node (there: sim_kill_here). */
void sim_node_kill(struct env *env);
/* Ends the node in the middle of its step: does not return (longjmp to sim_step, which goes on with the world). */
void sim_kill_here(struct sim_world *world) __attribute__((noreturn));
/* The node that is being stepped, NULL: none. */
struct env *sim_node_here(struct sim_world *world);
bool sim_node_alive(struct sim_world *world, const struct env *env);
/* Lets the world step something as if it were a thread of the node (the control reactor; a test's own front end). */
void sim_thread_add(struct env *env, struct env_loop *loop, env_step_fn *step, void *self);

/* ---- running ---- */
/* One step of one thread, or the clock's jump to the next event. False: nothing will ever happen again. */
bool sim_step(struct sim_world *world);
/* Until cond(arg) or at most `steps`; false: it did not come true. */
bool sim_run(struct sim_world *world, bool (*cond)(void *arg), void *arg, uint64_t steps);

/* ---- disks ---- */
void sim_file_make(struct sim_world *world, const char *path, uint64_t size);
bool sim_file_exists(const struct sim_world *world, const char *path);
uint64_t sim_file_size(const struct sim_world *world, const char *path);
/* What a read would get now. */
const char *sim_file_bytes(const struct sim_world *world, const char *path);
/* What killed nodes have asked of disks ends now. */
void sim_files_settle(struct sim_world *world);
/* Loss of power under the file, nobody has it open: each unflushed write is kept, dropped or torn. What was created and not kept
 * (env_medium_keep) is gone. */
void sim_power_loss(struct sim_world *world, const char *path);
enum sim_fault { SIM_FAULT_ERROR, SIM_FAULT_LOST, SIM_FAULT_MISDIRECTED, SIM_FAULT_BIT_ROT };
/* The n-th next operation `op` on the file (1: the next one) goes wrong; `error`: for SIM_FAULT_ERROR, -errno. One at a time. */
void sim_file_fault(struct sim_world *world, const char *path, unsigned op, unsigned nth, enum sim_fault fault, int error);
/* The fault that is still to come does not. */
void sim_file_mend(struct sim_world *world, const char *path);
/* Latency of each operation: between least and most, ns. */
void sim_file_latency(struct sim_world *world, const char *path, uint64_t least_ns, uint64_t most_ns);
/* Room on the disk, bytes of pages: writes into new pages beyond it fail with -ENOSPC. 0: no limit. */
void sim_file_room(struct sim_world *world, const char *path, uint64_t bytes);
/* Of which it has taken so much. */
uint64_t sim_file_used(const struct sim_world *world, const char *path);

/* ---- shared memory ---- */
/* Somebody overwrites all areas that were made under this name (env_shm_create) with zeroes. How many there are. */
unsigned sim_shm_wipe(struct sim_world *world, const char *name);

/* ---- fences ---- */
/* From now on `fn` is called at each fence, all: at one that is for all threads: as if others ran just then. Devices find it when
 * they start. */
void sim_fence_hook(struct sim_world *world, void (*fn)(void *arg, bool all), void *arg);

/* ---- trace ---- */
/* A line that is hashed, and printed to standard error when the environment variable WEFT_SIM_TRACE was set. */
void sim_trace(struct sim_world *world, const char *format, ...) WEFT_PRINTF(2, 3);
uint64_t sim_trace_hash(const struct sim_world *world);

#endif
