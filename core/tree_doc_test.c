/* SPDX-License-Identifier: BSD-2-Clause */
/* Trees as JSON and YAML: the same tree as the grammar's, there and back; line and column of what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include <weft/memory.h>

#include "core/objects.h"
#include "core/kinds_test.h"
#include "core/world_test.h"
#include "core/tree.h"

typedef int from_text(const struct tree_reader *, const char *, size_t, const struct weft_iface *, struct tree **,
	struct weft_why *);

static struct tree *read_as(struct world *world, from_text *from, const char *text)
{
	struct tree_reader reader = objects_reader(&world->core);
	struct weft_why why;
	struct tree *tree;

	if (from(&reader, text, strlen(text), NULL, &tree, &why))
		fail_msg("%s: %s", text, why.text);
	return tree;
}

static struct tree *read_grammar(struct world *world, const char *text)
{
	struct tree_reader reader = objects_reader(&world->core);
	struct tree *tree;

	assert_int_equal(grammar_parse(&reader, text, NULL, &tree, NULL), 0);
	return tree;
}

static void there_and_back(void **state)
{
	static const char *const texts[] = {
		"leaf:disk.img,size=1GiB,flag=on", "bare", "@vol0", "leaf:''", "leaf:'null',text='~'", "leaf:'a: b #c',text='- x'",
		"fan:[leaf:a,name=x],[pass:[@x],key='\"k'],name=top,text='[]'", "pair:[leaf:a],log=[leaf:b],spare=[leaf:c]",
		"nbd://[::1]:10809/vol", "leaf:'\xc3\xa4\t''',text=123", "leaf:on",
	};
	struct world *world = *state;

	for (size_t i = 0; i < WEFT_COUNT(texts); i++) {
		struct tree *tree = read_grammar(world, texts[i]), *again;
		char *json = tree_to_json(&world->core, tree), *yaml = tree_to_yaml(&world->core, tree);

		assert_non_null(json);
		assert_non_null(yaml);
		again = read_as(world, tree_from_json, json);
		assert_true(tree_equal(tree, again));
		tree_free(&world->core, again);
		again = read_as(world, tree_from_yaml, yaml);
		assert_true(tree_equal(tree, again));
		tree_free(&world->core, again);
		again = read_as(world, tree_from_yaml, json); /* JSON is YAML */
		assert_true(tree_equal(tree, again));
		tree_free(&world->core, again);
		tree_free(&world->core, tree);
		weft_free(&world->core, json);
		weft_free(&world->core, yaml);
	}
}

static void the_form(void **state)
{
	static const char json[] =
		"{\n"
		"  \"kind\": \"pair\",\n"
		"  \"name\": \"vol0\",\n"
		"  \"devices\": [\n"
		"    {\n"
		"      \"kind\": \"leaf\",\n"
		"      \"address\": \"a\",\n"
		"      \"options\": {\n"
		"        \"size\": \"4k\"\n"
		"      }\n"
		"    }\n"
		"  ],\n"
		"  \"ports\": {\n"
		"    \"log\": [\n"
		"      {\n"
		"        \"ref\": \"b\"\n"
		"      }\n"
		"    ]\n"
		"  }\n"
		"}\n";
	static const char yaml[] =
		"kind: pair\n"
		"name: vol0\n"
		"devices:\n"
		"- kind: leaf\n"
		"  address: a\n"
		"  options:\n"
		"    size: 4k\n"
		"ports:\n"
		"  log:\n"
		"  - ref: b\n";
	struct world *world = *state;
	struct tree *tree = read_grammar(world, "pair:[leaf:a,size=4k],log=[@b],name=vol0");
	char *text = tree_to_json(&world->core, tree);

	assert_string_equal(text, json);
	weft_free(&world->core, text);
	text = tree_to_yaml(&world->core, tree);
	assert_string_equal(text, yaml);
	weft_free(&world->core, text);
	tree_free(&world->core, tree);
}

static void short_forms(void **state)
{
	static const struct {
		from_text *from;
		const char *text, *grammar;
	} cases[] = {
		{ tree_from_json, "{\"kind\":\"fan\",\"devices\":[\"leaf:a,size=4k\",\"@b\"]}", "fan:[leaf:a,size=4k],[@b]" },
		{ tree_from_json, "\"leaf:a\"", "leaf:a" },
		{ tree_from_json, "{\"kind\":\"leaf\",\"address\":\"a\",\"options\":{\"size\":4096,\"flag\":true,\"real\":0.5}}",
		  "leaf:a,size=4096,flag=on,real=0.5" },
		{ tree_from_yaml, "leaf:a", "leaf:a" },
		{ tree_from_yaml, "kind: fan\ndevices: [leaf:a, {kind: leaf, address: b, options: {flag: on, size: 4096}}]\n",
		  "fan:[leaf:a],[leaf:b,flag=on,size=4096]" },
		{ tree_from_yaml, "{kind: pair, devices: ['leaf:a'], ports: {log: 'leaf:b'}}", "pair:[leaf:a],log=[leaf:b]" },
		{ tree_from_yaml, "kind: fan\ndevices: [&x leaf:a, *x]\n", "fan:[leaf:a],[leaf:a]" },
	};
	struct world *world = *state;

	for (size_t i = 0; i < WEFT_COUNT(cases); i++) {
		struct tree *tree = read_as(world, cases[i].from, cases[i].text);
		char *text = grammar_print(&world->core, tree);

		assert_string_equal(text, cases[i].grammar);
		weft_free(&world->core, text);
		tree_free(&world->core, tree);
	}
}

static void refusals(void **state)
{
	static const struct {
		const char *text, *json, *yaml; /* NULL: not tried */
	} cases[] = {
		{ "{\"kind\": \"leaf\",\n  \"adress\": \"x\"}",
		  "line 2, column 13: 'adress' is no part of a device: use kind, name, address, options, devices, ports or "
				"ref; did you mean 'address'?", "" },
		{ "{\n \"address\": \"x\"}",
		  "line 1, column 1: kind is missing: write {kind: KIND, address: ADDRESS}, as in {kind: file, address: "
				"disk.img}", "" },
		{ "{\"kind\": \"lefa\"}",
		  "line 1, column 10: there is no kind 'lefa': did you mean 'leaf'? `weft list components` lists them", "" },
		{ "{\"kind\": \"fan\", \"devices\": [\n  \"leaf:a\",\n  {\"kind\": \"leaf\", \"options\": {\"flag\": true, "
		  "\"sise\": \"4k\"}}]}",
		  "line 3, column 54: leaf: there is no option 'sise': did you mean 'size'? `weft explain leaf` lists them", "" },
		{ "{\"kind\": \"fan\", \"devices\": [\n  \"leaf:a\",\n  \"leaf:b,sise=1\"]}",
		  "line 3, column 3: column 8: leaf: there is no option 'sise': did you mean 'size'? `weft explain leaf` "
				"lists them", "" },
		{ "{\"kind\": \"leaf\", \"address\": [1]}", "line 1, column 29: address must be a text: put it in quotes", "" },
		{ "{\"kind\": \"leaf\", \"options\": [1]}", "line 1, column 29: options must be a map: write {option: value}", "" },
		{ "{\"kind\": \"leaf\", \"options\": {\"size\": [1]}}",
		  "line 1, column 38: leaf: size must be a text, a number, true or false: write one value", "" },
		{ "{\"kind\": \"fan\", \"devices\": \"leaf:a\"}", "line 1, column 28: devices must be a list: write "
		  "[DEVICE, ...]", "" },
		{ "{\"kind\": \"leaf\", \"devices\": [\"leaf:a\"]}",
		  "line 1, column 29: leaf: a device is given below it: this kind is bound to nothing: leave it out", "" },
		{ "{\"kind\": \"pair\", \"ports\": {\"lug\": \"leaf:a\"}}",
		  "line 1, column 35: pair: there is no port 'lug': did you mean 'log'? `weft explain pair` lists them", "" },
		{ "{\"kind\": \"leaf\", \"name\": \"a/b\"}",
		  "line 1, column 26: name='a/b' is no name: use letters, digits, '-', '_' and '.', at most 63", "" },
		{ "{\"ref\": \"a\", \"kind\": \"leaf\"}", "line 1, column 1: a reference takes nothing else: write {ref: "
		  "NAME}", "" },
		{ "[1]", "line 1, column 1: a device is wanted here: write {kind: KIND, ...} or 'KIND:ADDRESS'", "" },
		{ "{\"kind\": \"leaf\",\n  \"address\": }", "line 2, column 14: this is no JSON (unexpected token near "
		  "'}'): mend it there, or just before", NULL },
		{ "kind: leaf\naddress: [a\n", NULL,
		  "line 3, column 1: this is no YAML (did not find expected ',' or ']'): mend it there, or just before" },
		{ "kind: leaf\nkind: fan\n", NULL, "line 2, column 1: this name stands twice in one map: give it once" },
		{ "kind: leaf\n---\nkind: leaf\n", NULL, "line 2, column 1: a second document begins: give one file for each" },
		{ "", NULL, "line 1, column 1: the document is empty: write kind: KIND and address: ADDRESS" },
		{ "kind: leaf\naddress: \"a\\0b\"\n", NULL, "line 2, column 10: a text holds a zero byte: leave it out" },
		{ "? [a]\n: b\n", NULL, "line 1, column 3: the name of a value must be a text: write NAME: VALUE" },
		{ "kind:\n", NULL, "line 1, column 6: kind must be a text: put it in quotes" },
	};
	struct world *world = *state;
	struct tree_reader reader = objects_reader(&world->core);

	for (size_t i = 0; i < WEFT_COUNT(cases); i++) {
		struct weft_why why = { "" };
		struct tree *tree;
		size_t len = strlen(cases[i].text);

		if (cases[i].json) {
			assert_int_equal(tree_from_json(&reader, cases[i].text, len, NULL, &tree, &why), -EINVAL);
			assert_string_equal(why.text, cases[i].json);
			assert_null(tree);
		}
		if (cases[i].yaml) {
			assert_int_equal(tree_from_yaml(&reader, cases[i].text, len, NULL, &tree, &why), -EINVAL);
			assert_string_equal(why.text, *cases[i].yaml ? cases[i].yaml : cases[i].json);
			assert_null(tree);
		}
	}
}

/* ---- entries ---- */

static const struct tree_member members[] = {
	{ "device", NULL, 1, 1 },
	{ "through", NULL, 0, 2 },
	{ 0 },
};

struct taken {
	struct weft_core *core;
	char text[256];
	unsigned fail_at; /* the node that is refused, from 1; 0: none */
	unsigned count;
};

static int take(void *self, unsigned entry, const struct tree_member *member, struct tree *node, struct weft_why *why)
{
	struct taken *taken = self;
	char *text = grammar_print(taken->core, node);
	size_t at = strlen(taken->text);

	tree_free(taken->core, node);
	if (!text)
		return weft_why(why, -ENOMEM, "no memory");
	if (entry == TREE_ALONE)
		snprintf(taken->text + at, sizeof(taken->text) - at, "alone:%s ", text);
	else
		snprintf(taken->text + at, sizeof(taken->text) - at, "%u%c:%s ", entry, member->name[0], text);
	weft_free(taken->core, text);
	return ++taken->count == taken->fail_at ? weft_why(why, -EINVAL, "not this one") : 0;
}

static void entries_are_taken_in_order(void **state)
{
	static const struct {
		const char *text, *taken;
	} cases[] = {
		{ "leaf:a", "alone:leaf:a " },
		{ "{kind: leaf, address: a}", "alone:leaf:a " },
		{ "{device: leaf:a}", "0d:leaf:a " },
		{ "- device: leaf:a\n- device: {kind: leaf, address: b}\n  through: pass\n", "0d:leaf:a 1d:leaf:b 1t:pass " },
		{ "- through: [pass, 'pass:key=k']\n  device: leaf:a\n", "0d:leaf:a 0t:pass 0t:pass:key=k " },
		{ "[{\"device\": {\"ref\": \"x\"}}]", "0d:@x " },
	};
	struct world *world = *state;
	struct tree_reader reader = objects_reader(&world->core);

	for (size_t i = 0; i < WEFT_COUNT(cases); i++) {
		struct taken taken = { .core = &world->core };
		struct weft_why why = { "" };
		size_t len = strlen(cases[i].text);

		if (tree_entries_from_yaml(&reader, cases[i].text, len, members, take, &taken, &why))
			fail_msg("%s: %s", cases[i].text, why.text);
		assert_string_equal(taken.text, cases[i].taken);
	}
}

static void wrong_entries_are_refused_before_anything_is_taken(void **state)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "[]", "line 1, column 1: the list is empty: write [{device: ..., ...}]" },
		{ "[{\"device\":\"leaf:a\"},\n \"leaf:b\"]",
		  "line 2, column 2: an entry is wanted here: write {device: ..., ...}" },
		{ "[{\"device\":\"leaf:a\"},\n {\"through\":\"pass\"}]",
		  "line 2, column 2: device is missing: write {device: ..., ...}" },
		{ "[{\"device\":\"leaf:a\",\n\"trough\":\"pass\"}]",
		  "line 2, column 10: 'trough' is no part of an entry: use device or through; did you mean 'through'?" },
		{ "[{\"device\":\"leaf:a\",\n\"through\":[\"pass\",\"pass\",\"pass\"]}]",
		  "line 2, column 11: through: 3 given, at most 2: leave some out" },
		{ "[{\"device\":[]}]", "line 1, column 12: device: 0 given, at least 1: add one" },
		{ "[{\"device\":\"leaf:a\"},\n {\"device\":\"lefa:a\"}]",
		  "line 2, column 12: column 1: there is no kind 'lefa': did you mean 'leaf'? `weft list components` lists them" },
		{ "[{\"device\":\"leaf:a\",\"through\":[\"pass\",\n 1]}]",
		  "line 2, column 2: a device is wanted here: write {kind: KIND, ...} or 'KIND:ADDRESS'" },
	};
	struct world *world = *state;
	struct tree_reader reader = objects_reader(&world->core);

	for (size_t i = 0; i < WEFT_COUNT(cases); i++) {
		struct taken taken = { .core = &world->core };
		struct weft_why why = { "" };
		size_t len = strlen(cases[i].text);

		assert_int_equal(tree_entries_from_json(&reader, cases[i].text, len, members, take, &taken, &why), -EINVAL);
		assert_string_equal(why.text, cases[i].why);
		assert_string_equal(taken.text, "");
	}
}

static void what_the_taker_refuses_is_told_with_its_place(void **state)
{
	static const char text[] = "- device: leaf:a\n- device: leaf:b\n";
	struct world *world = *state;
	struct tree_reader reader = objects_reader(&world->core);
	struct taken taken = { .core = &world->core, .fail_at = 2 };
	struct weft_why why = { "" };

	assert_int_equal(tree_entries_from_yaml(&reader, text, strlen(text), members, take, &taken, &why), -EINVAL);
	assert_string_equal(why.text, "line 2, column 11: not this one");
}

static void anchors_do_not_multiply_without_end(void **state)
{
	static const char text[] =
		"- &a [x,x,x,x,x,x,x,x,x,x]\n- &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\n- &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\n"
		"- &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\n- &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n- [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
	struct world *world = *state;
	struct tree_reader reader = objects_reader(&world->core);
	struct weft_why why;
	struct tree *tree;

	assert_int_equal(tree_from_yaml(&reader, text, strlen(text), NULL, &tree, &why), -EINVAL);
	assert_non_null(strstr(why.text, "too many values"));
	assert_int_equal(tree_from_yaml(&reader, "&a [*a]", 7, NULL, &tree, &why), -EINVAL);
}

static void each_allocation_may_fail(void **state)
{
	static const char yaml[] = "kind: fan\nname: n\noptions: {text: t}\ndevices: [leaf:a, {kind: leaf, address: b}]\n";
	struct world *world = *state;
	struct tree_reader reader = objects_reader(&world->core);
	uint64_t before = world_allocated(world);
	bool hit = true;

	for (unsigned n = 1; hit; n++) {
		struct weft_why why = { "" };
		struct tree *tree;

		env_fail_nth(world->core.env, n);
		int error = tree_from_yaml(&reader, yaml, strlen(yaml), NULL, &tree, &why);
		char *json = error ? NULL : tree_to_json(&world->core, tree);
		char *again = error ? NULL : tree_to_yaml(&world->core, tree);
		hit = env_fail_hit(world->core.env);
		env_fail_nth(world->core.env, 0);
		assert_true(!error || error == -ENOMEM);
		assert_int_equal(hit, error || !json || !again);
		weft_free(&world->core, json);
		weft_free(&world->core, again);
		tree_free(&world->core, tree);
		assert_int_equal(world_allocated(world), before);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_KINDS_TEST(there_and_back),
		WORLD_KINDS_TEST(the_form),
		WORLD_KINDS_TEST(short_forms),
		WORLD_KINDS_TEST(refusals),
		WORLD_KINDS_TEST(entries_are_taken_in_order),
		WORLD_KINDS_TEST(wrong_entries_are_refused_before_anything_is_taken),
		WORLD_KINDS_TEST(what_the_taker_refuses_is_told_with_its_place),
		WORLD_KINDS_TEST(anchors_do_not_multiply_without_end),
		WORLD_KINDS_TEST(each_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
