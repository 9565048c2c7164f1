/* SPDX-License-Identifier: BSD-2-Clause */
/* Kinds for unit tests of objects and of what reads their tables: they do nothing but tell when they start and
 * stop. */
#ifndef CORE_KINDS_TEST_H
#define CORE_KINDS_TEST_H

#include <weft/object.h>
#include <weft/reactor.h>

extern const struct weft_iface test_dev_iface; /* "dev": leaf, pass, fan, pair */
extern const struct weft_iface test_out_iface; /* "out": out, and a second kind called leaf */

/* What all of them are. Each offers `dev` or `out`; the offer is &mark. */
struct test_object {
	struct weft_object object;
	int mark;
	void *port[5];
	char *path, *text;      /* leaf: address; any: text=, live */
	uint64_t size, time, number;
	double rate, real;
	bool flag;
	uint32_t choice, mode;
	struct weft_msg msg;
	struct weft_task *task;
};

/* What happened, in order: "+a" started, "-a" stopped, "~a" destroyed, "!a" start failed, "^a" told of a new
 * size. Shared by a test through test_trace_set (one test runs at a time). */
struct test_trace {
	char text[1024];
	const char *fail;  /* the name of an object whose start fails */
	const char *sentence; /* with which it does; NULL: a usual one */
	bool later;        /* start and stop end in a later message, else inside the call */
	const char *refuse;/* a value that `changed` refuses */
};
void test_trace_set(struct test_trace *trace);

extern const struct weft_module test_module;
/* One of them, by name and interface (NULL: the first). */
const struct weft_kind *test_kind(const char *name, const struct weft_iface *iface);

#endif
