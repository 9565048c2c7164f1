/* SPDX-License-Identifier: BSD-2-Clause */
/* Objects: built from the bottom up, taken down from the top, in full or not at all, whatever fails on the
 * way; bound as the ports say; rewired while they run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include <weft/memory.h>

#include "core/kinds_test.h"
#include "core/object.h"
#include "core/reactor.h"
#include "core/world_test.h"

struct fixture {
	struct world *world;
	struct weft_core *core;
	struct test_trace trace;
	struct objects_job job;
	unsigned ended;
	int status;
};

static struct fixture fixture;

static void job_done(struct weft_task *task, int status)
{
	(void)task;
	fixture.ended++;
	fixture.status = status;
}

static int hook_started(struct weft_object *object, void *offer, struct weft_why *why)
{
	size_t used = strlen(fixture.trace.text);

	assert_ptr_equal(offer, &((struct test_object *)object)->mark);
	snprintf(fixture.trace.text + used, sizeof(fixture.trace.text) - used, "(%s ", object->name);
	if (!strcmp(object->name, "unhooked"))
		return weft_why(why, -EDOM, "unhooked: makes no sense: change it");
	return 0;
}

static void hook_stopped(struct weft_object *object, void *offer)
{
	size_t used = strlen(fixture.trace.text);

	(void)offer;
	snprintf(fixture.trace.text + used, sizeof(fixture.trace.text) - used, ")%s ", object->name);
}

static const struct objects_hook hook = { .iface = &test_dev_iface, .started = hook_started, .stopped = hook_stopped };

static int open_fixture(void **state)
{
	memset(&fixture, 0, sizeof(fixture));
	fixture.world = world_open();
	fixture.core = &fixture.world->core;
	test_trace_set(&fixture.trace);
	*state = &fixture;
	return objects_module_add(fixture.core, &test_module, NULL);
}

static int close_fixture(void **state)
{
	(void)state;
	test_trace_set(NULL);
	world_close(fixture.world);
	return 0;
}

static struct objects_job *new_job(void)
{
	memset(&fixture.job, 0, sizeof(fixture.job));
	fixture.job.task.done = job_done;
	fixture.ended = 0;
	return &fixture.job;
}

/* Runs until the job has ended. */
static int finish(void)
{
	assert_int_equal(fixture.ended, 0); /* never inside the call */
	world_run(fixture.world);
	assert_int_equal(fixture.ended, 1);
	objects_check(fixture.core);
	return fixture.status;
}

static struct tree *parse(const char *text, const struct weft_iface *wants)
{
	struct tree_reader reader = objects_reader(fixture.core);
	struct weft_why why;
	struct tree *tree;

	if (grammar_parse(&reader, text, wants, &tree, &why))
		fail_msg("%s: %s", text, why.text);
	return tree;
}

static int build_as(const char *text, const struct weft_iface *wants, struct weft_object **out)
{
	struct tree *tree = parse(text, wants);

	objects_build(fixture.core, tree, wants, out, new_job());
	tree_free(fixture.core, tree);
	return finish();
}

static struct weft_object *build(const char *text)
{
	struct weft_object *object;

	if (build_as(text, NULL, &object))
		fail_msg("%s: %s", text, fixture.job.task.why.text);
	assert_non_null(object);
	return object;
}

static void build_fails(const char *text, int error, const char *sentence)
{
	struct weft_object *object;

	assert_int_equal(build_as(text, NULL, &object), error);
	assert_string_equal(fixture.job.task.why.text, sentence);
	assert_null(object);
}

static void release(struct weft_object *object)
{
	objects_release(object, new_job());
	assert_int_equal(finish(), 0);
}

static void assert_empty(void)
{
	objects_drain(fixture.core, new_job());
	assert_int_equal(finish(), 0);
	assert_null(fixture.core->objects->first);
}

static void assert_trace(const char *expected)
{
	assert_string_equal(fixture.trace.text, expected);
	fixture.trace.text[0] = '\0';
}

static void *place(struct weft_object *object, unsigned n)
{
	return ((struct test_object *)object)->port[n];
}

static void *mark(struct weft_object *object)
{
	return &((struct test_object *)object)->mark;
}

/* ---- building and taking down ---- */

static const char tree_text[] = "fan:[leaf:a,name=a],[pass:[leaf:b,name=b],key=k,name=p],name=f";

static void up_from_the_bottom_down_from_the_top(void **state)
{
	(void)state;
	for (int later = 0; later < 2; later++) {
		fixture.trace.later = later;
		struct weft_object *f = build(tree_text);

		assert_trace("+a +b +p +f ");
		assert_ptr_equal(place(f, 0), mark(objects_find(fixture.core, "a")));
		assert_ptr_equal(place(f, 1), mark(objects_find(fixture.core, "p")));
		assert_null(place(f, 2));
		release(f);
		if (later)
			assert_trace("-f ~f -a -p ~a ~p -b ~b ");
		else
			assert_trace("-f ~f -a -p ~a ~p -b ~b ");
		assert_empty();
	}
}

static void hooks_are_called(void **state)
{
	(void)state;
	objects_hook_add(fixture.core, &hook);
	struct weft_object *p = build("pass:[leaf:b,name=b],key=k,name=p");
	assert_trace("+b (b +p (p ");
	release(p);
	assert_trace("-p )p ~p -b )b ~b ");
	build_fails("pass:[leaf:b,name=unhooked],key=k,name=p", -EDOM, "unhooked: makes no sense: change it");
	assert_trace("+unhooked (unhooked -unhooked ~unhooked ");
}

static void a_start_may_fail_at_each_position(void **state)
{
	/* what has not been tried is neither stopped nor destroyed */
	static const struct {
		const char *fail, *trace;
	} cases[] = {
		{ "a", "!a ~a " },
		{ "b", "+a !b -a ~a ~b " },
		{ "p", "+a +b !p -a ~a ~p -b ~b " },
		{ "f", "+a +b +p !f ~f -a -p ~a ~p -b ~b " },
	};
	uint64_t before = world_allocated(fixture.world);

	(void)state;
	for (size_t i = 0; i < WEFT_COUNT(cases); i++) {
		char sentence[64];

		fixture.trace.fail = cases[i].fail;
		snprintf(sentence, sizeof(sentence), "%s: is broken: mend it", cases[i].fail);
		build_fails(tree_text, -EIO, sentence);
		assert_trace(cases[i].trace);
		assert_int_equal(world_allocated(fixture.world), before);
	}
	fixture.trace.fail = NULL;
	release(build(tree_text)); /* nothing stands in the way */
}

/* A component's sentence may come from below it, and then does not say whose it is. */
static void a_failed_start_says_whose_it_was(void **state)
{
	(void)state;
	fixture.trace.fail = "a";
	fixture.trace.sentence = "x.img: no such file: create it";
	build_fails("leaf:x.img,name=a", -EIO, "leaf: x.img: no such file: create it");
	fixture.trace.sentence = "";
	build_fails("leaf:x.img,name=a", -EIO, "a: could not start: Input/output error");
}

static void each_allocation_may_fail(void **state)
{
	uint64_t before = world_allocated(fixture.world);
	unsigned failures = 0;
	struct tree *tree = parse("fan:[leaf:a,name=a,text=t],[pass:[leaf:b],key=k],[@a]", NULL);
	uint64_t with_tree = world_allocated(fixture.world);

	(void)state;
	fixture.trace.later = true;
	for (unsigned n = 1;; n++) {
		struct weft_object *object;

		fixture.trace.text[0] = '\0';
		env_fail_nth(fixture.core->env, n);
		objects_build(fixture.core, tree, NULL, &object, new_job());
		int status = finish();
		bool hit = env_fail_hit(fixture.core->env);
		env_fail_nth(fixture.core->env, 0);
		if (status) {
			assert_int_equal(status, -ENOMEM);
			assert_non_null(strstr(fixture.job.task.why.text, "no memory"));
			assert_null(object);
			failures++;
		} else {
			env_fail_nth(fixture.core->env, 1); /* taking down needs no memory */
			release(object);
			assert_false(env_fail_hit(fixture.core->env));
			env_fail_nth(fixture.core->env, 0);
		}
		assert_int_equal(world_allocated(fixture.world), with_tree);
		assert_int_equal(hit, status != 0);
		if (!hit)
			break;
	}
	assert_true(failures > 15);
	tree_free(fixture.core, tree);
	assert_int_equal(world_allocated(fixture.world), before);
}

/* ---- what is refused ---- */

static void options_of_a_node(void **state)
{
	static const struct {
		const char *text, *sentence;
		int error;
	} cases[] = {
		{ "leaf:flag=on", "leaf: path is missing (where the data is): write leaf:PATH", -EINVAL },
		{ "pass:[leaf:a]", "pass: key is missing (the secret): add key=TEXT", -EINVAL },
		{ "leaf:a,path=b", "leaf: path is given twice, 'a' and 'b': give it once", -EINVAL },
		{ "leaf:a,size=4k,size=8k", "leaf: size is given twice, '4k' and '8k': give it once", -EINVAL },
		{ "leaf:a,size=1", "leaf: size='1' is too small: give at least 512", -ERANGE },
		{ "leaf:a,mode=9", "leaf: mode='9' is not a file mode: write octal digits, as in 0660", -EINVAL },
		{ "bare:x", "bare: address='x': this kind takes none: leave it out", -EINVAL },
		{ "fan:x,[leaf:a],[leaf:b]", "fan: address='x': this kind takes none: write option=value, with text", -EINVAL },
	};

	(void)state;
	for (size_t i = 0; i < WEFT_COUNT(cases); i++)
		build_fails(cases[i].text, cases[i].error, cases[i].sentence);
	struct test_object *leaf = (struct test_object *)build("leaf:a,size=4k,choice=off");
	assert_string_equal(leaf->path, "a");
	assert_null(leaf->text);
	assert_int_equal(leaf->size, 4096);
	assert_int_equal(leaf->time, 5000000);
	assert_true(leaf->rate == 1000);
	assert_int_equal(leaf->number, 7);
	assert_int_equal(leaf->choice, 2);
	assert_int_equal(leaf->mode, 0660);
	release(&leaf->object);
}

static void ports_are_checked(void **state)
{
	static const struct {
		const char *text, *sentence;
		int error;
	} cases[] = {
		{ "pass:key=k", "pass: lower: 0 given, at least 1 needed (what it changes): write it in brackets, "
		  "pass:[KIND:ADDRESS]", -EINVAL },
		{ "fan:[leaf:a]", "fan: leg: 1 given, at least 2 needed (the copies): write it in brackets, fan:[KIND:ADDRESS]",
		  -EINVAL },
		{ "pass:[leaf:a],[leaf:b],key=k", "pass: 2 devices are given below it: it takes at most 1: leave some out",
		  -EINVAL },
		{ "pair:[leaf:a],log=[leaf:b],log=[leaf:c]", "pair: log: more than 1 devices: leave some out", -EINVAL },
		{ "@a", "@a: a reference stands for itself: write KIND:ADDRESS, or put a layer around it", -EINVAL },
		{ "pass:[@a],key=k", "pass0: @a: no object of this name is there, or stands earlier in the tree: "
		  "`weft ctl list` shows the names", -ENOENT },
		{ "pass:[@p],key=k,name=p", "p: lower='p': this would be a cycle: bind an object that does not stand above "
		  "it", -ELOOP },
		{ "fan:[leaf:a,name=x],[leaf:b,name=x]", "leaf: name='x': there is an object of this name: choose another one",
		  -EEXIST },
		{ "fan:[leaf:a,name=x],[pass:[@x],key=k]", "pass0: lower='x': it is used by 'fan0', and must be had alone "
		  "here: end that first", -EBUSY },
		{ "fan:[pass:[leaf:a,name=x],key=k,name=p],[@x]", "fan0: leg='x': it is used by 'p', which has it alone: end that "
		  "first, or bind 'p'", -EBUSY },
	};

	(void)state;
	for (size_t i = 0; i < WEFT_COUNT(cases); i++)
		build_fails(cases[i].text, cases[i].error, cases[i].sentence);
	assert_trace(""); /* nothing has been started */
	assert_empty();
}

static void devices_find_their_ports(void **state)
{
	struct weft_object *pair = build("pair:[leaf:a,name=a],[leaf:b,name=b]");

	(void)state;
	assert_ptr_equal(place(pair, 0), mark(objects_find(fixture.core, "a")));
	assert_ptr_equal(place(pair, 3), mark(objects_find(fixture.core, "b")));
	release(pair);
	pair = build("pair:[leaf:a,name=a],[leaf:b,name=b],log=[leaf:c,name=c],spare=[leaf:d,name=d]");
	assert_ptr_equal(place(pair, 0), mark(objects_find(fixture.core, "a")));
	assert_ptr_equal(place(pair, 1), mark(objects_find(fixture.core, "b")));
	assert_ptr_equal(place(pair, 3), mark(objects_find(fixture.core, "c")));
	assert_ptr_equal(place(pair, 4), mark(objects_find(fixture.core, "d")));
	const struct weft_port *port;
	assert_ptr_equal(objects_below(pair, 2, &port), objects_find(fixture.core, "c"));
	assert_string_equal(port->name, "log");
	assert_null(objects_below(pair, 4, NULL));
	release(pair);
	pair = build("pair:[leaf:a],[leaf:b],[leaf:c],[leaf:d],[leaf:e,name=e]");
	assert_ptr_equal(place(pair, 4), mark(objects_find(fixture.core, "e")));
	release(pair);
}

static void a_kind_is_found_by_what_is_wanted(void **state)
{
	struct weft_object *object;

	(void)state;
	assert_int_equal(build_as("leaf:sock,[leaf:a]", &test_out_iface, &object), 0);
	assert_non_null(weft_object_query(object, &test_out_iface));
	assert_null(weft_object_query(object, &test_dev_iface));
	const struct weft_iface same = { "out", 1 }, newer = { "out", 2 };
	assert_ptr_equal(weft_object_query(object, &same), mark(object));
	assert_null(weft_object_query(object, &newer));
	release(object);
}

/* ---- references ---- */

static void an_object_stays_while_it_is_used(void **state)
{
	struct weft_object *a = build("leaf:a,name=a"), *one = build("out:/1,[@a],name=one"), *two = build("out:/2,[@a],name=two");

	(void)state;
	assert_trace("+a +one +two ");
	assert_ptr_equal(objects_above(a, 1, NULL), two);
	release(a);
	assert_trace("");
	release(one);
	assert_trace("-one ~one ");
	weft_object_get(two);
	weft_object_put(two);
	weft_object_put(two);
	assert_empty();
	assert_trace("-two ~two -a ~a ");
}

static void what_is_on_its_way_cannot_be_used(void **state)
{
	struct weft_object *a = build("leaf:a,name=a");

	(void)state;
	fixture.trace.later = true;
	weft_object_put(a);
	assert_null(objects_find(fixture.core, "a"));
	build_fails("pass:[@a],key=k", -EBUSY, "pass0: @a: that object is still starting, or on its way down: try again later");
	assert_empty();
}

/* ---- while it runs ---- */

static void a_layer_comes_and_goes(void **state)
{
	struct weft_object *one = build("out:/1,[leaf:a,name=a],name=one"), *a = objects_find(fixture.core, "a"), *layer, *below;
	struct weft_object *two = build("out:/2,[@a],name=two");
	struct tree *tree = parse("pass:key=k,name=p", NULL);

	(void)state;
	assert_trace("+a +one +two ");
	objects_insert_above(a, tree, &layer, new_job());
	tree_free(fixture.core, tree);
	assert_int_equal(finish(), 0);
	assert_trace("+p ^one ^two ");
	assert_ptr_equal(place(one, 0), mark(layer));
	assert_ptr_equal(place(two, 0), mark(layer));
	assert_ptr_equal(place(layer, 0), mark(a));
	assert_ptr_equal(objects_above(a, 0, NULL), layer);
	assert_null(objects_above(a, 1, NULL));
	assert_int_equal(a->refs, 1);

	weft_object_get(layer);
	objects_remove_filter(layer, &below, new_job());
	assert_int_equal(finish(), -EBUSY);
	assert_string_equal(fixture.job.task.why.text, "p: it is still referred to by something that is not bound to it: "
			"end that first");
	weft_object_put(layer);
	objects_remove_filter(layer, &below, new_job());
	assert_int_equal(finish(), 0);
	assert_trace("-p ^one ^two ~p ");
	assert_ptr_equal(below, a);
	assert_ptr_equal(place(one, 0), mark(a));
	assert_int_equal(a->refs, 3);
	weft_object_put(a);
	weft_object_put(one);
	weft_object_put(two);
	assert_empty();
}

static void a_layer_that_fails_changes_nothing(void **state)
{
	struct weft_object *one = build("out:/1,[leaf:a,name=a],name=one"), *a = objects_find(fixture.core, "a"), *layer;
	struct tree *tree = parse("pass:key=k,name=p", NULL);

	(void)state;
	fixture.trace.fail = "p";
	objects_insert_above(a, tree, &layer, new_job());
	assert_int_equal(finish(), -EIO);
	assert_null(layer);
	assert_ptr_equal(place(one, 0), mark(a));
	for (unsigned n = 1; n < 20; n++) {
		fixture.trace.fail = NULL;
		env_fail_nth(fixture.core->env, n);
		objects_insert_above(a, tree, &layer, new_job());
		int status = finish();
		env_fail_nth(fixture.core->env, 0);
		if (!status)
			break;
		assert_ptr_equal(place(one, 0), mark(a));
		assert_int_equal(a->refs, 1);
	}
	assert_ptr_equal(place(one, 0), mark(layer));
	tree_free(fixture.core, tree);
	weft_object_put(layer);
	release(one);
}

static void what_is_no_filter_is_not_removed(void **state)
{
	struct weft_object *fan = build("fan:[leaf:a],[leaf:b]"), *below;

	(void)state;
	objects_remove_filter(fan, &below, new_job());
	assert_int_equal(finish(), -EINVAL);
	assert_string_equal(fixture.job.task.why.text, "fan0: a fan cannot be removed: it must be bound to exactly one "
			"device below; choose a filter");
	release(fan);
}

static void bindings_change(void **state)
{
	struct weft_object *fan = build("fan:[leaf:a,name=a],[leaf:b,name=b],name=f"), *c = build("leaf:c,name=c");
	struct weft_object *outer = build("fan:[@f],[@c],name=g"), *p = build("pass:[leaf:d,name=d],key=k,name=p");
	struct weft_object *d = objects_find(fixture.core, "d");
	struct weft_why why;

	(void)state;
	fixture.trace.text[0] = '\0';
	assert_int_equal(objects_rebind(fan, "leg", 1, c, &why), 0);
	assert_ptr_equal(place(fan, 1), mark(c));
	world_run(fixture.world);
	assert_trace("-b ^f ~b ");
	assert_int_equal(objects_rebind(fan, "leg", 0, outer, &why), -ELOOP);
	assert_string_equal(why.text, "f: leg='g': this would be a cycle: bind an object that does not stand above it");
	assert_int_equal(objects_rebind(fan, "leg", 0, d, &why), -EBUSY);
	assert_int_equal(objects_rebind(p, "lower", 0, c, &why), -EBUSY);
	assert_int_equal(objects_rebind(fan, "leg", 2, c, &why), -EINVAL);
	assert_int_equal(objects_rebind(fan, "legs", 0, c, &why), -ENOENT);
	assert_string_equal(why.text, "fan: there is no port 'legs': did you mean 'leg'? `weft explain fan` lists them");
	assert_ptr_equal(place(fan, 0), mark(objects_find(fixture.core, "a")));
	objects_check(fixture.core);
	weft_object_put(c);
	weft_object_put(p);
	weft_object_put(fan);
	release(outer);
	assert_empty();
}

static void a_size_is_told_upwards(void **state)
{
	struct weft_object *f = build(tree_text);

	(void)state;
	fixture.trace.text[0] = '\0';
	objects_resized(objects_find(fixture.core, "b"));
	assert_trace("^p ");
	objects_resized(objects_find(fixture.core, "p"));
	assert_trace("^f ");
	objects_resize(f, 8192, new_job());
	assert_int_equal(finish(), 0);
	assert_int_equal(((struct test_object *)f)->size, 8192);
	release(f);
	struct weft_object *bare = build("bare");
	objects_resize(bare, 8192, new_job());
	assert_int_equal(finish(), -ENOTSUP);
	assert_string_equal(fixture.job.task.why.text, "bare0: size=8192: a bare cannot be resized: resize what is below "
			"it, or choose another kind");
	release(bare);
}

static void a_size_is_told_to_what_was_starting(void **state)
{
	struct tree *tree = parse("pass:[leaf:b,name=b],key=k,name=p", NULL);
	struct weft_object *p;

	(void)state;
	fixture.trace.later = true;
	objects_build(fixture.core, tree, NULL, &p, new_job());
	tree_free(fixture.core, tree);
	while (!strstr(fixture.trace.text, "+p"))
		reactor_step(fixture.core->reactor[0], 0);
	objects_resized(object_named(fixture.core, "b"));
	assert_trace("+b +p ");
	assert_int_equal(finish(), 0);
	assert_trace("^p ");
	release(p);
}

static void options_change_live(void **state)
{
	struct weft_object *object = build("leaf:a,text=old,name=a");
	struct test_object *leaf = (struct test_object *)object;
	struct weft_why why;

	(void)state;
	fixture.trace.refuse = "bad";
	assert_int_equal(objects_set_option(object, "text", "new", &why), 0);
	assert_string_equal(leaf->text, "new");
	assert_int_equal(objects_set_option(object, "text", "bad", &why), -EINVAL);
	assert_string_equal(why.text, "a: text='bad': not this one: choose another");
	assert_string_equal(leaf->text, "new");
	assert_int_equal(objects_set_option(object, "number", "100", &why), -ERANGE);
	assert_int_equal(leaf->number, 7);
	assert_int_equal(objects_set_option(object, "number", "99", &why), 0);
	assert_int_equal(leaf->number, 99);
	assert_int_equal(objects_set_option(object, "size", "4k", &why), -EPERM);
	assert_string_equal(why.text, "leaf: size='4k': this option cannot be changed while 'a' runs: end it and start it anew");
	assert_int_equal(objects_set_option(object, "sise", "4k", &why), -ENOENT);
	release(object);
}

/* ---- looking ---- */

static void the_tree_of_what_runs(void **state)
{
	static const char *const texts[] = {
		"leaf:a", "leaf:a,size=4KiB,rate=1500,number=9,flag=on,choice=off,mode=0600,text=t",
		"fan:[leaf:a,name=x],[@x],text=t", "pass:[leaf:'a,b'],key=k", "pair:data=[leaf:a],log=[leaf:b]",
	};

	(void)state;
	for (size_t i = 0; i < WEFT_COUNT(texts); i++) {
		struct weft_object *object = build(texts[i]);
		struct tree *tree;
		struct weft_why why;

		assert_int_equal(objects_tree(object, &tree, &why), 0);
		char *text = grammar_print(fixture.core, tree);
		assert_string_equal(text, texts[i]);
		weft_free(fixture.core, text);
		tree_free(fixture.core, tree);
		for (unsigned n = 1; n < 200; n++) {
			uint64_t before = world_allocated(fixture.world);
			env_fail_nth(fixture.core->env, n);
			int error = objects_tree(object, &tree, &why);
			bool hit = env_fail_hit(fixture.core->env);
			env_fail_nth(fixture.core->env, 0);
			assert_int_equal(error, hit ? -ENOMEM : 0);
			if (!hit) {
				tree_free(fixture.core, tree);
				break;
			}
			assert_int_equal(world_allocated(fixture.world), before);
		}
		release(object);
	}
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, open_fixture, close_fixture)
	const struct CMUnitTest tests[] = {
		TEST(up_from_the_bottom_down_from_the_top), TEST(hooks_are_called), TEST(a_start_may_fail_at_each_position),
		TEST(a_failed_start_says_whose_it_was),
		TEST(each_allocation_may_fail), TEST(options_of_a_node), TEST(ports_are_checked), TEST(devices_find_their_ports),
		TEST(a_kind_is_found_by_what_is_wanted), TEST(an_object_stays_while_it_is_used),
		TEST(what_is_on_its_way_cannot_be_used), TEST(a_layer_comes_and_goes), TEST(a_layer_that_fails_changes_nothing),
		TEST(what_is_no_filter_is_not_removed), TEST(bindings_change), TEST(a_size_is_told_upwards),
		TEST(a_size_is_told_to_what_was_starting), TEST(options_change_live), TEST(the_tree_of_what_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
