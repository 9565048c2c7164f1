/* SPDX-License-Identifier: BSD-2-Clause */
/* Objects from the inside: what object.c, build.c, rewire.c, kinds.c and module.c share. */
#ifndef CORE_OBJECT_H
#define CORE_OBJECT_H

#include <string.h>

#include "core/core.h"
#include "core/objects.h"

/* `above` is bound to `below`, by one place of one of its ports. A reference to `below`. */
struct weft_edge {
	struct weft_object *above, *below;
	const struct weft_port *port;
	unsigned index;
	struct weft_edge *next_below; /* in above->below, by port and index */
	struct weft_edge *next_above; /* in below->above, the oldest first */
};

/* weft_object.own: the core's further notes about an object; behind the instance, in the same memory. */
struct notes {
	struct weft_task task;    /* of start, then of stop */
	struct weft_msg msg;
	struct build *build;      /* under which it is being made; NULL: it is settled */
	struct objects_job *gone; /* counts it down when it is destroyed */
	struct weft_object *next_named; /* of the same objects.named */
	struct tree *node;        /* while objects_tree() runs */
	unsigned walk;            /* the last one that came here */
	bool on_path;             /* of the walk that goes on */
	int status;               /* of task */
	bool named;               /* by the user */
	bool tried;               /* start() has been called */
	bool hooked;              /* the hooks' started() have been called */
	bool missed_resize;       /* while it was starting */
};

struct loaded_module {
	const struct weft_module *module;
	void *handle; /* of the shared object; NULL: built in */
	struct loaded_module *next;
};

struct known_kind {
	const struct weft_kind *kind;
	const struct weft_module *module;
};

#define OBJECTS_NAMED 256

struct objects {
	struct weft_object *first, *last; /* by link[0] (next) and link[1] (previous) */
	struct weft_object *named[OBJECTS_NAMED]; /* the same, by their names' hashes */
	const struct objects_hook *hooks[OBJECTS_HOOKS_MAX];
	unsigned nhooks;
	struct known_kind *kinds;         /* by name; of one name, the first added is first */
	unsigned nkinds, kinds_room;
	struct loaded_module *modules;
	struct objects_job *drain;
	unsigned walk;                    /* number of the last walk through the graph */
};

/* "No such file or directory": for a component that failed without a sentence. */
static inline const char *error_words(int error)
{
	const char *words = strerrordesc_np(-error);

	return words ? words : "unknown error";
}

static inline struct notes *notes_of(const struct weft_object *object)
{
	return object->own;
}

/* ---- object.c ---- */

void object_control_assert(const struct weft_core *core);
void object_check(const struct weft_object *object);
/* A new object with options, without edges, linked, one reference; `node` is a tree of that kind. */
int object_make(struct weft_core *core, const struct weft_kind *kind, const struct tree *node, struct build *build,
	struct weft_object **out, struct weft_why *why);
/* Puts a reference; when it was the last, begins to take the object down and counts it in `job` (may be NULL). */
void object_put(struct weft_object *object, struct objects_job *job);
/* By name, whatever its state. */
struct weft_object *object_named(struct weft_core *core, const char *name);
/* Running, not being built, not on its way down: others may be bound to it. */
bool object_is_settled(const struct weft_object *object);
/* The places of a port in the instance. */
void **object_places(const struct weft_object *object, const struct weft_port *port);

/* Makes an edge; the reference to `below` is the caller's, and the edge's when this ends well. `insert`: all
 * others that are bound to `below` will be moved away: exclusive ports do not count. */
int edge_bind(struct weft_object *above, const struct weft_port *port, unsigned index, struct weft_object *below, bool insert,
	struct weft_why *why);
/* May `edge` (NULL: a new one, of `port` of `above`) lead to `below`? Interface, cycle, exclusive (others than
 * `edge`). */
int edge_allowed(const struct weft_object *above, const struct weft_port *port, const struct weft_edge *edge,
	const struct weft_object *below, bool insert, struct weft_why *why);
/* The edge leads to `below` from now on: lists, pointer, references. Does not put the old one to rest. */
void edge_move(struct weft_edge *edge, struct weft_object *below);
/* Calls what is above because what is below has another size. */
void object_lower_resized(struct weft_object *object);

/* Calls job->task.done(status) from the control reactor. */
void job_end_later(struct objects_job *job, struct weft_core *core, int status);
/* Calls it now: we are in a message. */
void job_end(struct objects_job *job);
void job_post(struct objects_job *job, weft_reactor_fn *fn);

/* ---- build.c ---- */
void build_begin(struct weft_core *core, const struct tree *tree, const struct weft_iface *wants, struct weft_object *below,
	struct weft_object **out, struct objects_job *job);

/* ---- kinds.c ---- */
void kinds_close(struct weft_core *core);
int kinds_add(struct weft_core *core, const struct weft_module *module, void *handle, struct weft_why *why);

/* ---- module.c ---- */
void module_unload(void *handle);

#endif
