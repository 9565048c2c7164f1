/* SPDX-License-Identifier: BSD-2-Clause */
/* Kinds for unit tests. */
#include "core/kinds_test.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/core.h"

const struct weft_iface test_dev_iface = { "dev", 1 };
const struct weft_iface test_out_iface = { "out", 1 };

static struct test_trace *trace_now;

void test_trace_set(struct test_trace *trace)
{
	trace_now = trace;
}

static void note(const char *what, const struct weft_object *object)
{
	size_t used;

	if (!trace_now)
		return;
	used = strlen(trace_now->text);
	snprintf(trace_now->text + used, sizeof(trace_now->text) - used, "%s%s ", what, object->name);
}

static void end_msg(void *self)
{
	struct test_object *test = self;

	test->task->done(test->task, 0);
}

static void end(struct test_object *test, struct weft_task *task)
{
	test->task = task;
	test->msg.fn = end_msg;
	test->msg.self = test;
	if (trace_now && trace_now->later)
		weft_reactor_post(test->object.core->reactor[0], &test->msg);
	else
		task->done(task, 0);
}

static void test_start(struct weft_object *object, struct weft_task *task)
{
	if (trace_now && trace_now->fail && !strcmp(trace_now->fail, object->name)) {
		note("!", object);
		weft_why(&task->why, -EIO, "%s: is broken: mend it", object->name);
		if (trace_now->sentence)
			weft_why(&task->why, -EIO, "%s", trace_now->sentence);
		task->done(task, -EIO);
		return;
	}
	note("+", object);
	end((struct test_object *)object, task);
}

static void test_stop(struct weft_object *object, struct weft_task *task)
{
	note("-", object);
	end((struct test_object *)object, task);
}

static void test_destroy(struct weft_object *object)
{
	note("~", object);
}

static int test_changed(struct weft_object *object, const struct weft_option *option, struct weft_why *why)
{
	const struct test_object *test = (const struct test_object *)object;

	if (!strcmp(option->name, "text") && trace_now && trace_now->refuse && !strcmp(test->text, trace_now->refuse))
		return weft_why(why, -EINVAL, "%s: text='%s': not this one: choose another", object->name, test->text);
	return 0;
}

static void test_lower_resized(struct weft_object *object)
{
	note("^", object);
}

static void test_resize(struct weft_object *object, uint64_t size, struct weft_task *task)
{
	((struct test_object *)object)->size = size;
	end((struct test_object *)object, task);
}

#define FIELD(name) offsetof(struct test_object, name)

static const struct weft_option leaf_options[] = {
	{ .name = "path", .type = WEFT_OPTION_PATH, .flags = WEFT_OPTION_ADDRESS | WEFT_OPTION_REQUIRED, .offset = FIELD(path),
	  .help = "where the data is" },
	{ .name = "size", .type = WEFT_OPTION_SIZE, .offset = FIELD(size), .help = "bytes", .min = 512, .max = 1ull << 40 },
	{ .name = "time", .type = WEFT_OPTION_DURATION, .offset = FIELD(time), .fallback = "5ms", .help = "how long" },
	{ .name = "rate", .type = WEFT_OPTION_RATE, .offset = FIELD(rate), .fallback = "1k", .help = "how often" },
	{ .name = "real", .type = WEFT_OPTION_REAL, .offset = FIELD(real), .help = "how likely", .max = 1 },
	{ .name = "number", .type = WEFT_OPTION_UINT, .flags = WEFT_OPTION_LIVE, .offset = FIELD(number), .fallback = "7",
	  .help = "how many", .max = 99 },
	{ .name = "flag", .type = WEFT_OPTION_BOOL, .offset = FIELD(flag), .help = "whether" },
	{ .name = "choice", .type = WEFT_OPTION_CHOICE, .offset = FIELD(choice), .fallback = "auto", .choices = "on|auto|off",
	  .help = "which" },
	{ .name = "mode", .type = WEFT_OPTION_OCTAL, .offset = FIELD(mode), .fallback = "0660", .help = "who may" },
	{ .name = "text", .type = WEFT_OPTION_STRING, .flags = WEFT_OPTION_LIVE, .offset = FIELD(text), .help = "what" },
	{ .name = NULL },
};
static const struct weft_option pass_options[] = {
	{ .name = "key", .type = WEFT_OPTION_STRING, .flags = WEFT_OPTION_REQUIRED, .offset = FIELD(text), .help = "the secret" },
	{ .name = NULL },
};
static const struct weft_option fan_options[] = {
	{ .name = "text", .type = WEFT_OPTION_STRING, .flags = WEFT_OPTION_LIVE, .offset = FIELD(text), .fallback = "any",
	  .help = "what" },
	{ .name = NULL },
};
static const struct weft_option out_options[] = {
	{ .name = "socket", .type = WEFT_OPTION_PATH, .flags = WEFT_OPTION_ADDRESS | WEFT_OPTION_REQUIRED, .offset = FIELD(path),
	  .help = "where it listens" },
	{ .name = NULL },
};

static const struct weft_port pass_ports[] = {
	{ "lower", &test_dev_iface, 1, 1, WEFT_PORT_EXCLUSIVE, FIELD(port), "what it changes" }, { .name = NULL },
};
static const struct weft_port fan_ports[] = {
	{ "leg", &test_dev_iface, 2, 4, 0, FIELD(port), "the copies" }, { .name = NULL },
};
static const struct weft_port pair_ports[] = {
	{ "data", &test_dev_iface, 1, 3, 0, FIELD(port), "the data" },
	{ "log", &test_dev_iface, 1, 1, 0, FIELD(port[3]), "the log" },
	{ "spare", &test_dev_iface, 0, 1, 0, FIELD(port[4]), "the spare" },
	{ .name = NULL },
};
static const struct weft_port out_ports[] = {
	{ "device", &test_dev_iface, 1, 1, 0, FIELD(port), "what is served" }, { .name = NULL },
};

static const struct weft_offer dev_offers[] = { { &test_dev_iface, FIELD(mark) }, { NULL, 0 } };
static const struct weft_offer out_offers[] = { { &test_out_iface, FIELD(mark) }, { NULL, 0 } };

#define KIND(symbol, kind_name, kind_options, kind_ports, kind_offers) \
	static const struct weft_kind symbol = { \
		.name = kind_name, .summary = "for tests", .size = sizeof(struct test_object), .options = kind_options, \
		.ports = kind_ports, .offers = kind_offers, .start = test_start, .stop = test_stop, .destroy = test_destroy, \
		.changed = test_changed, .lower_resized = test_lower_resized, .resize = test_resize }

KIND(leaf_kind, "leaf", leaf_options, NULL, dev_offers);
KIND(pass_kind, "pass", pass_options, pass_ports, dev_offers);
KIND(fan_kind, "fan", fan_options, fan_ports, dev_offers);
KIND(pair_kind, "pair", NULL, pair_ports, dev_offers);
KIND(out_kind, "out", out_options, out_ports, out_offers);
KIND(leaf_out_kind, "leaf", out_options, out_ports, out_offers);
KIND(nbd_kind, "nbd", out_options, NULL, dev_offers);
/* No option, no port, no resize: as bare as a kind may be. */
static const struct weft_kind bare_kind = { .name = "bare", .summary = "for tests", .size = sizeof(struct test_object),
	.offers = dev_offers, .start = test_start };

static const struct weft_kind *const kinds[] = {
	&leaf_kind, &pass_kind, &fan_kind, &pair_kind, &out_kind, &leaf_out_kind, &nbd_kind, &bare_kind, NULL,
};

const struct weft_module test_module = {
	WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind), "test", "1", kinds,
};

const struct weft_kind *test_kind(const char *name, const struct weft_iface *iface)
{
	for (const struct weft_kind *const *kind = kinds; *kind; kind++)
		if (!strcmp((*kind)->name, name) && (!iface || (*kind)->offers->iface == iface))
			return *kind;
	return NULL;
}
