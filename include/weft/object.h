/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Components: what a kind of object is called, which options it takes, what it must be bound to, what it offers, how it starts
 * and
 * stops. Four tables and three functions; the core allocates, parses, checks, binds, orders. The tables are the only source of
 * the
 * parser, the error texts, the help, the manual and the schema.
 *
 * Thread: everything here runs on the control thread (the caller's in an embedded program), never on a reactor that does I/O.
 */
#ifndef WEFT_OBJECT_H
#define WEFT_OBJECT_H

#include <weft/base.h>

#ifdef __cplusplus
extern "C" {
#endif

struct weft_core;
struct weft_object;

/* An interface, matched by name and version when a module is loaded; after that by address of the core's own copy. */
struct weft_iface {
	const char *name;
	uint32_t version;
};

enum weft_option_type {
	WEFT_OPTION_BOOL,     /* bool: on, off (true, false, yes, no, 1, 0) */
	WEFT_OPTION_UINT,     /* uint64_t: a number */
	WEFT_OPTION_SIZE,     /* uint64_t, bytes: 4096, 4k, 64KiB, 1MiB, 2GiB, 1TiB (powers of 1024), 10MB (of 1000) */
	WEFT_OPTION_DURATION, /* uint64_t, ns: 10us, 5ms, 2s, 1min; a bare number is refused but 0 */
	WEFT_OPTION_RATE,     /* double, per second: 1000, 1.5k, 2M */
	WEFT_OPTION_REAL,     /* double: 0.01, 1e-3, 5% */
	WEFT_OPTION_STRING,   /* char *, owned by the object; NULL when not given and without default */
	WEFT_OPTION_PATH,     /* char *, a name in the file system */
	WEFT_OPTION_CHOICE,   /* uint32_t: index into `choices` */
	WEFT_OPTION_OCTAL,    /* uint32_t: file mode, 0660 */
};

enum weft_option_flag {
	WEFT_OPTION_ADDRESS = 1,  /* may be given without its name, right after "kind:"; at most one per kind */
	WEFT_OPTION_REQUIRED = 2,
	WEFT_OPTION_LIVE = 4,     /* may be changed while running: weft_kind.changed is called */
};

struct weft_option {
	const char *name;     /* NULL ends the table */
	uint8_t type;         /* enum weft_option_type */
	uint8_t flags;        /* enum weft_option_flag */
	uint16_t offset;      /* of the field in the instance; its C type follows from `type` */
	const char *fallback; /* the default, as a user would write it; NULL: zero, not given */
	const char *help;     /* one line, lower case, no full stop */
	const char *choices;  /* WEFT_OPTION_CHOICE: "auto|on|off" */
	uint64_t min, max;    /* of numbers, sizes, durations, rates; both 0: unchecked */
};

enum weft_port_flag { WEFT_PORT_EXCLUSIVE = 1 /* nobody else may be bound to the same object */ };

/* What an object must be bound to. The core fills an array of `max` pointers to the interface's structure at `offset`; the
 * unused ones are NULL. In the grammar: the bracketed devices, in order. */
struct weft_port {
	const char *name; /* NULL ends the table */
	const struct weft_iface *wants;
	uint8_t min, max;
	uint8_t flags;    /* enum weft_port_flag */
	uint16_t offset;
	const char *help;
};

struct weft_offer {
	const struct weft_iface *iface; /* NULL ends the table */
	uint16_t offset;                /* of the interface's structure in the instance */
};

/* Receives the facts that an object tells about itself (weft info). */
typedef void weft_describe_put(void *self, const char *name, const char *value);

struct weft_kind {
	const char *name;    /* as in the grammar; unique among the kinds that offer the same first interface */
	const char *summary; /* one line, lower case, no full stop */
	uint32_t size;       /* of the instance; struct weft_object is its first member */
	const struct weft_option *options; /* may be NULL */
	const struct weft_port *ports;     /* may be NULL: a leaf */
	const struct weft_offer *offers;
	/* Options and ports are filled in and checked, all below is running. Ends through `task`: running, or failed with a
	 * reason and with
	 * nothing left to stop. May end inside the call. Required. */
	void (*start)(struct weft_object *object, struct weft_task *task);
	/* No request of a layer above is in flight. Once ended, no request, timer or message of ours exists. Optional. */
	void (*stop)(struct weft_object *object, struct weft_task *task);
	/* Frees what start() or stop() left. Cannot fail. Optional. Options are freed by the core. */
	void (*destroy)(struct weft_object *object);
	/* A WEFT_OPTION_LIVE option has a new value in its field. 0 or -errno with `why` (the old value is then put back).
	 * Optional. */
	int (*changed)(struct weft_object *object, const struct weft_option *option, struct weft_why *why);
	/* A device bound below has a new size (weft_blk.size). Optional; without it nothing is passed up. */
	void (*lower_resized)(struct weft_object *object);
	/* A request to change the size to `size` bytes: -ENOTSUP by default. */
	void (*resize)(struct weft_object *object, uint64_t size, struct weft_task *task);
	void (*describe)(const struct weft_object *object, weft_describe_put *put, void *self); /* optional */
};

/* What a shared object exports under the name `weft_module`; built-in components are the same. */
struct weft_module {
	uint32_t abi;      /* WEFT_ABI */
	uint32_t size;     /* sizeof(struct weft_module) */
	uint32_t kind_size;/* sizeof(struct weft_kind) */
	const char *name, *version;
	const struct weft_kind *const *kinds; /* NULL ends it */
};
#define WEFT_MODULE(module_name, module_version, ...) \
	static const struct weft_kind *const weft_module_kinds[] = { __VA_ARGS__, NULL }; \
	WEFT_API extern const struct weft_module weft_module; \
	const struct weft_module weft_module = { WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind), \
		module_name, module_version, weft_module_kinds }

enum weft_object_state {
	WEFT_OBJECT_MADE,     /* options and ports are there */
	WEFT_OBJECT_STARTING,
	WEFT_OBJECT_RUNNING,
	WEFT_OBJECT_STOPPING,
	WEFT_OBJECT_STOPPED,  /* or failed to start */
};

/* First member of each instance. Private to the core but for kind, name and core, which may be read. */
struct weft_object {
	const struct weft_kind *kind;
	struct weft_core *core;
	char *name;                /* unique in the core: given, or kind and a number */
	uint32_t refs;
	uint8_t state;             /* enum weft_object_state */
	struct weft_edge *below;   /* bound by us: each is a reference */
	struct weft_edge *above;   /* bound to us */
	struct weft_object *link[2];
	struct weft_task *task;    /* under way */
	void *own;                 /* the core's further notes */
};

/* The structure offered by `object` for `iface`, by name and version; NULL: not offered. */
WEFT_API void *weft_object_query(const struct weft_object *object, const struct weft_iface *iface);

/* A reference more or less; the last one stops, then destroys, then lets go of what is below. */
WEFT_API void weft_object_get(struct weft_object *object);
WEFT_API void weft_object_put(struct weft_object *object);

#ifdef __cplusplus
}
#endif
#endif
