/* SPDX-License-Identifier: BSD-2-Clause */
/* What every command that opens devices needs around it: environment, core, components; and the options that say how they run. */
#ifndef CLI_WORLD_H
#define CLI_WORLD_H

#include <weft/object.h>
#include <weft/reactor.h>

#include "cli/args.h"
#include "core/core.h"
#include "core/listening.h"
#include "core/objects.h"
#include "env/linux/linux.h"

struct world_options {
	uint32_t mode;         /* enum weft_mode */
	const char *cpus;      /* "0,2-3"; NULL: anywhere */
	uint32_t log;          /* enum weft_log_level */
	struct args_list load; /* shared objects with components */
};
#define WORLD_MODES "poll|adaptive|notify"

/* For a command's table: its options of `owner`, whose member `member` is a struct world_options. */
#define WORLD_OPTIONS(owner, member) \
	{ .name = "mode", .type = WEFT_OPTION_CHOICE, .offset = offsetof(owner, member.mode), .fallback = "adaptive", \
	  .choices = WORLD_MODES, \
	  .help = "how the reactors wait: never sleeping, spinning while that is cheaper, always sleeping" }, \
	{ .name = "cpus", .type = WEFT_OPTION_STRING, .offset = offsetof(owner, member.cpus), .choices = "LIST", \
	  .help = "processors of the reactors, one for each: 0,2-3" }, \
	WORLD_LOOK_OPTIONS(owner, member, "info")
/* Without those that matter for I/O only. */
#define WORLD_LOOK_OPTIONS(owner, member, usual) \
	{ .name = "load", .type = WEFT_OPTION_PATH, .flags = ARGS_MANY, .offset = offsetof(owner, member.load), \
	  .choices = "MODULE.so", .help = "a shared object with more components" }, \
	{ .name = "log", .type = WEFT_OPTION_CHOICE, .offset = offsetof(owner, member.log), .fallback = usual, \
	  .choices = "error|warn|info|debug", .help = "which messages appear on standard error" }

/* For env_linux_open. */
extern const struct env_linux_wants world_env_wants;

struct world {
	struct env *env;
	struct weft_core *core;
	struct objects_job job;
	int status;
	uint64_t asked_ns; /* when a signal asked the command to end; 0: none has */
};

/* Opens both, and loads the modules; `reactors` do I/O (0: one for each of `cpus`, else one). -errno with `why`, and then nothing
 * is open. */
int world_open(struct world *world, const struct world_options *options, unsigned reactors, uint32_t budget,
	struct weft_why *why);
/* Says, once it works, what works in another way than it should (epoll instead of io_uring). */
void world_began(struct world *world);
/* Everything has been released. */
void world_close(struct world *world);

/* Reads a text of the grammar. What is wrong in it is found here: kinds, options, values. -EINVAL, -ERANGE, -ENOMEM with `why`. */
int world_parse(struct world *world, const char *text, const struct weft_iface *wants, struct tree **out, struct weft_why *why);
/* The same for a tree that was read from elsewhere. */
int world_check(struct world *world, const struct tree *tree, const struct weft_iface *wants, struct weft_why *why);

/* Builds, and runs the core until that has ended. */
int world_build(struct world *world, const struct tree *tree, const struct weft_iface *wants, struct weft_object **out,
	struct weft_why *why);
void world_release(struct world *world, struct weft_object *object);
/* Listens (its core is filled in here), and runs the core until that has ended. */
int world_listen(struct world *world, struct listening *listening, struct weft_why *why);

/*
 * A signal asks the command to end. True: it is to begin to. A second time (`ending`) the process ends as it is, as if it were
 * killed, without waiting for what is in flight. What comes at the same moment is no second time: timeout(1), and whoever ends a
 * group of processes, sends it to each and to all.
 */
bool world_is_to_end(struct world *world, bool ending);

/* "weft: ..." to standard error, one line, and the exit status that goes with it. */
int world_failed(int error, const struct weft_why *why);

#endif
