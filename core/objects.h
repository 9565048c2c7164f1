/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects: the registry of kinds, and the graph of instances that is built from trees, rewired while it runs,
 * and taken down. Knows no interface and no component by name.
 *
 * Everything here runs on the control thread. What takes time ends through a job that its caller embeds, so
 * that beginning and ending an operation needs no memory: job->task.done is called from the control reactor,
 * never inside the call that started it.
 */
#ifndef CORE_OBJECTS_H
#define CORE_OBJECTS_H

#include <weft/object.h>
#include <weft/reactor.h>

#include "core/tree.h"

struct build;

/* One operation under way. Set task.done, zero the rest; not to be touched until done. */
struct objects_job {
	struct weft_task task; /* first */
	struct weft_msg msg;
	struct weft_task inner; /* of a component, on our behalf */
	struct weft_core *core;
	struct weft_object *object;
	struct weft_object **out;
	struct build *build;
	uint32_t pending;       /* objects to be destroyed */
	int status;
};

int objects_open(struct weft_core *core, struct weft_why *why);
/* Everything has been released and has gone (objects_drain). Unloads the modules. */
void objects_close(struct weft_core *core);
/* Ends when no object is left, including those whose last reference was put with weft_object_put. One at a time. */
void objects_drain(struct weft_core *core, struct objects_job *job);

/* ---- kinds ---- */

/* Adds a module's kinds; both stay as long as the core. Refuses a wrong ABI, tables that make no sense, a kind
 * that is there already; then none of its kinds has been added. -EINVAL, -EEXIST, -ENOMEM with `why`. */
int objects_module_add(struct weft_core *core, const struct weft_module *module, struct weft_why *why);
/* The same from a shared object (core/module.c). */
int objects_module_load(struct weft_core *core, const char *path, struct weft_why *why);
/* By name, among those that offer `wants` (NULL: any; the first added). NULL with `why`: unknown, or it does
 * not offer that. */
const struct weft_kind *objects_kind(struct weft_core *core, const char *name, const struct weft_iface *wants,
	struct weft_why *why);
/* All kinds in the order of their names; start with NULL. */
const struct weft_kind *objects_kind_next(struct weft_core *core, const struct weft_kind *last);
bool objects_kind_offers(const struct weft_kind *kind, const struct weft_iface *iface);
/* A reader of trees (core/tree.h) that knows this core's kinds. */
struct tree_reader objects_reader(struct weft_core *core);

/* What the core does for every offer of an interface, whoever offers it. The offer is the structure in the
 * instance. */
struct objects_hook {
	const struct weft_iface *iface;
	/* After start() has ended well; when it refuses, the object is stopped. Optional. */
	int (*started)(struct weft_object *object, void *offer, struct weft_why *why);
	/* After stop() has ended, before destroy(); not after a refusal. Optional. */
	void (*stopped)(struct weft_object *object, void *offer);
	/* Something bound below it has a new size (besides weft_kind.lower_resized). Optional. */
	void (*lower_resized)(struct weft_object *object, void *offer);
};
/* `hook` stays as long as the core. Before there are objects; at most OBJECTS_HOOKS_MAX. */
#define OBJECTS_HOOKS_MAX 8
void objects_hook_add(struct weft_core *core, const struct objects_hook *hook);

/* ---- graph ---- */

/*
 * Builds `tree` (read-only, needed during the call only) and all below it, starts it bottom-up. *out: the
 * outermost object, running, which offers `wants` (NULL: anything), with one reference for the caller. When it
 * fails nothing is left, and task.why says it. References ({ref: name}, @name) are to objects that are
 * running, or that stand earlier in the same tree.
 */
void objects_build(struct weft_core *core, const struct tree *tree, const struct weft_iface *wants, struct weft_object **out,
	struct objects_job *job);

/* Puts the caller's reference. Ends when it is dropped and, if it was the last one, the object and all that
 * went with it has been stopped top-down and destroyed. Cannot fail. */
void objects_release(struct weft_object *object, struct objects_job *job);

/*
 * Live changes. The exports above are frozen: nothing is in flight in the devices that are rewired, no stack
 * that contains them is open.
 */

/* Binds place `index` of the named port to `below` (running) instead of to what it is bound to now. -EINVAL,
 * -ELOOP, -EBUSY (exclusive) with `why`; then nothing has changed. The reference to the old one is put. */
int objects_rebind(struct weft_object *above, const char *port, unsigned index, struct weft_object *below,
	struct weft_why *why);
/* Makes the filter that `tree` describes (its first port is left unbound in the tree), puts it on top of
 * `below`, and binds all that was bound to `below` to it. *out: the filter, with a reference for the caller. */
void objects_insert_above(struct weft_object *below, const struct tree *tree, struct weft_object **out,
	struct objects_job *job);
/* The reverse: binds all that is bound to `filter` to the one object that it is bound to, and releases the
 * caller's reference to `filter`. *out: the object below, with a reference for the caller. When it fails
 * (-EBUSY, -EINVAL) nothing has changed. Ends when the filter has gone, or when others still refer to it. */
void objects_remove_filter(struct weft_object *filter, struct weft_object **out, struct objects_job *job);

/* `object` has another size: tells the objects that are bound to it (weft_kind.lower_resized), those on their
 * way up as well. */
void objects_resized(struct weft_object *object);
/* Asks for another size (weft_kind.resize); -ENOTSUP by default. */
void objects_resize(struct weft_object *object, uint64_t size, struct objects_job *job);
/* Changes an option that may be changed while running. */
int objects_set_option(struct weft_object *object, const char *name, const char *value, struct weft_why *why);

/* ---- looking ---- */

/* A running object by its name; NULL: none. No reference is taken. */
struct weft_object *objects_find(struct weft_core *core, const char *name);
/* The running objects in the order in which they were made; start with NULL. */
struct weft_object *objects_next(struct weft_core *core, const struct weft_object *last);
/* Those of one kind; also what runs in a tree that is still being built. */
struct weft_object *objects_next_of(struct weft_core *core, const struct weft_kind *kind, const struct weft_object *last);
/* The n-th thing that is bound by (below) or bound to (above) an object; NULL: there are not so many. *port
 * (may be NULL): by which port. */
struct weft_object *objects_below(const struct weft_object *object, unsigned n, const struct weft_port **port);
struct weft_object *objects_above(const struct weft_object *object, unsigned n, const struct weft_port **port);
/* The trees that would build these objects again, one after the other: what differs from defaults; what is met twice becomes
 * a reference. -ENOMEM with `why`; then there is none. */
int objects_trees(struct weft_object *const *objects, unsigned n, struct tree **out, struct weft_why *why);
int objects_tree(struct weft_object *object, struct tree **out, struct weft_why *why);
/* The same of one object without what is below it. */
int objects_tree_alone(const struct weft_object *object, struct tree **out, struct weft_why *why);

/* The invariants that object.c lists, of all objects: asserted at each entry; for tests. */
void objects_check(struct weft_core *core);

#endif
