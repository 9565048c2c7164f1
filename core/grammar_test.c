/* SPDX-License-Identifier: BSD-2-Clause */
/* The grammar: what is read as what, the canonical form, and the sentence for each thing that is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include <weft/memory.h>

#include "core/objects.h"
#include "core/kinds_test.h"
#include "core/world_test.h"
#include "core/tree.h"

static int parse(struct world *world, const char *text, struct tree **out, struct weft_why *why)
{
	struct tree_reader reader = objects_reader(&world->core);

	return grammar_parse(&reader, text, NULL, out, why);
}

static void canonical_form(void **state)
{
	static const struct {
		const char *text, *canonical; /* NULL: as it is */
	} cases[] = {
		{ "leaf:disk.img", NULL },
		{ "leaf:disk.img,size=1GiB,flag=on", NULL },
		{ "leaf:", "leaf" },
		{ "leaf:,size=4k", "leaf:size=4k" },
		{ "leaf,size=4k", "leaf:size=4k" },
		{ "leaf:'a,b'", NULL },
		{ "leaf:'a''b'", NULL },
		{ "leaf:'plain'", "leaf:plain" },
		{ "leaf:''", NULL },
		{ "leaf:a=b", "leaf:'a=b'" },       /* no option of that name: an address */
		{ "leaf:size=4k", NULL },           /* one of that name: an option */
		{ "leaf:'size=4k'", NULL },         /* in quotes: an address */
		{ "leaf:[::1]:4420", "leaf:'[::1]:4420'" },
		{ "leaf:host[1]", NULL },
		{ "leaf:x,text=[::1]:4420", "leaf:x,text='[::1]:4420'" },
		{ "leaf:x,text=", "leaf:x,text=''" },
		{ "leaf:x,name=a.b-c_1", "leaf:x,name=a.b-c_1" },
		{ "leaf:x,size=4k,name=n", "leaf:x,name=n,size=4k" },
		{ "pass:[leaf:a],key=k", NULL },
		{ "pass:key=k,[leaf:a]", "pass:[leaf:a],key=k" },
		{ "pass:key=k", NULL },
		{ "fan:[leaf:a],[leaf:b,size=4k],text=first", NULL },
		{ "fan:[pass:[leaf:a],key=k],[fan:[leaf:b],[leaf:c]]", NULL },
		{ "fan:[@a],[@b]", NULL },
		{ "@vol0", NULL },
		{ "pair:[leaf:a],log=[leaf:b]", NULL },
		{ "pair:log=[leaf:b],[leaf:a]", "pair:[leaf:a],log=[leaf:b]" },
		{ "fan:[leaf:[::1]],[leaf:'[']", "fan:[leaf:'[::1]'],[leaf:'[']" },
		{ "out:/run/x.sock,[leaf:a]", NULL },
		{ "nbd://host/vol", NULL },
		{ "nbd://[::1]:10809/vol,name=n", NULL },
		{ "nbd+unix:///vol?socket=/run/s", NULL },
		{ "nbd:nbd://host/vol", "nbd://host/vol" },
		{ "nbd:'nbd://host/a,b'", NULL },
		{ "nbd:127.0.0.1:10809", NULL },
		{ "fan:[nbd://[::1]/a],[nbd://h]", NULL },
		{ "leaf:\xc3\xa4 \t.img", NULL },
	};
	struct world *world = *state;

	for (size_t i = 0; i < WEFT_COUNT(cases); i++) {
		struct tree *tree, *again;
		struct weft_why why;
		char *printed;

		if (parse(world, cases[i].text, &tree, &why))
			fail_msg("%s: %s", cases[i].text, why.text);
		printed = grammar_print(&world->core, tree);
		assert_string_equal(printed, cases[i].canonical ? cases[i].canonical : cases[i].text);
		assert_int_equal(parse(world, printed, &again, &why), 0);
		assert_true(tree_equal(tree, again));
		tree_free(&world->core, tree);
		tree_free(&world->core, again);
		weft_free(&world->core, printed);
	}
}

static void what_is_read(void **state)
{
	struct world *world = *state;
	struct tree *tree;

	assert_int_equal(parse(world, "fan:[leaf:'it''s',size=4k],[nbd://h/v],text='a]b',name=f", &tree, NULL), 0);
	assert_string_equal(tree->kind, "fan");
	assert_string_equal(tree->name, "f");
	assert_null(tree->address);
	assert_int_equal(tree->noptions, 1);
	assert_string_equal(tree->options[0].name, "text");
	assert_string_equal(tree->options[0].value, "a]b");
	assert_int_equal(tree->nchildren, 2);
	assert_string_equal(tree->children[0]->address, "it's");
	assert_string_equal(tree->children[0]->options[0].value, "4k");
	assert_string_equal(tree->children[1]->kind, "nbd");
	assert_string_equal(tree->children[1]->address, "nbd://h/v");
	tree_free(&world->core, tree);
}

static void a_layer_gets_what_is_below_it(void **state)
{
	struct world *world = *state;
	struct tree *layer, *below;
	struct weft_why why;

	assert_int_equal(parse(world, "fan:[leaf:b],text=t", &layer, NULL), 0);
	assert_int_equal(parse(world, "leaf:a", &below, NULL), 0);
	assert_int_equal(tree_add_below(&world->core, layer, below, &why), 0);
	char *text = grammar_print(&world->core, layer);
	assert_string_equal(text, "fan:[leaf:a],[leaf:b],text=t");
	weft_free(&world->core, text);
	tree_free(&world->core, layer);
	/* but not what stands for something that is there */
	assert_int_equal(tree_new_ref(&world->core, "b", &layer), 0);
	assert_int_equal(parse(world, "leaf:a", &below, NULL), 0);
	assert_int_equal(tree_add_below(&world->core, layer, below, &why), -EINVAL);
	assert_non_null(strstr(why.text, "@b: a reference"));
	tree_free(&world->core, layer);
}

static void refusals(void **state)
{
	static const struct {
		const char *text, *sentence;
	} cases[] = {
		{ "", "column 1: a device is missing: write KIND:ADDRESS, as in file:disk.img" },
		{ "disk.img", "column 1: 'disk.img' is no device: write KIND:ADDRESS, as in file:disk.img" },
		{ "lefa", "column 1: there is no kind 'lefa': did you mean 'leaf'? `weft list components` lists them; a file is "
		  "written file:lefa" },
		{ "lefa:x", "column 1: there is no kind 'lefa': did you mean 'leaf'? `weft list components` lists them" },
		{ "zebra:x", "column 1: there is no kind 'zebra': `weft list components` lists them" },
		{ "pass:[out:x],key=k", "column 7: 'out' offers 'out', but 'dev' is wanted here: choose another kind "
		  "(`weft list components`)" },
		{ "leaf:'x", "column 6: a quote is not closed: write ' behind the value, and '' for a quote in it" },
		{ "leaf:'x'y", "column 9: 'y' follows a closing quote: put the whole value in quotes, '' for a quote in it" },
		{ "leaf:x'y'", "column 7: a quote stands within a value: put the whole value in quotes, '' for a quote in it" },
		{ "leaf:[x", "column 6: a bracket is not closed: close it with ], or put the value in quotes" },
		{ "leaf:x]", "column 7: a bracket is closed that is not open: leave it out, or put the value in quotes" },
		{ "pass:[leaf:x", "column 6: a bracket is not closed: close it with ]" },
		{ "pass:[]", "column 7: a device is missing: write KIND:ADDRESS, as in file:disk.img" },
		{ "pass:[leaf:x]y", "column 14: 'y' follows a device in brackets: put a comma between" },
		{ "leaf:x,sise=4k", "column 8: leaf: there is no option 'sise': did you mean 'size'? `weft explain leaf` "
		  "lists them" },
		{ "fan:colour=red", "column 5: fan: there is no option 'colour': choose from text (`weft explain fan`)" },
		{ "bare:x=1", "column 6: bare: there is no option 'x': this kind takes none, leave it out" },
		{ "leaf:x,flag", "column 8: leaf: 'flag' has no value: write flag=on" },
		{ "leaf:x,1GiB", "column 8: leaf: '1GiB' is not option=value: an address stands right behind the colon; a value "
		  "that holds a comma is put in quotes" },
		{ "leaf:x,,flag=on", "column 8: leaf: nothing stands between two commas: write option=value, or leave the "
		  "comma out" },
		{ "leaf:x,", "column 8: leaf: nothing stands between two commas: write option=value, or leave the comma out" },
		{ "leaf:x,[leaf:y]", "column 8: leaf: a device in brackets: this kind is bound to nothing below it; leave "
		  "it out, or put a value that begins with [ in quotes" },
		{ "pass:lower=x", "column 12: pass: lower is a port: write a device in brackets, lower=[KIND:ADDRESS]" },
		{ "leaf:x,name=a/b", "column 13: name='a/b' is no name: use letters, digits, '-', '_' and '.', at most 63" },
		{ "leaf:x,name=a,name=b", "column 20: leaf: name is given twice: give it once" },
		{ "@", "column 1: '@' is no reference: write @ and the name of an object, of letters, digits, '-', '_' and '.', "
		  "at most 63" },
		{ "@a,size=1", "column 3: a reference takes no options: give them where 'a' is made" },
	};
	struct world *world = *state;

	for (size_t i = 0; i < WEFT_COUNT(cases); i++) {
		struct tree *tree;
		struct weft_why why = { "" };

		assert_int_equal(parse(world, cases[i].text, &tree, &why), -EINVAL);
		assert_null(tree);
		assert_string_equal(why.text, cases[i].sentence);
	}
}

/* text = open * depth, "leaf:x", close * depth */
static char *nested(unsigned depth)
{
	char *text = calloc(1, depth * 20 + 20);

	assert_non_null(text);
	for (unsigned i = 0; i < depth; i++)
		strcat(text, "pass:[");
	strcat(text, "leaf:x");
	for (unsigned i = 0; i < depth; i++)
		strcat(text, "]");
	return text;
}

static void nesting_is_limited(void **state)
{
	struct world *world = *state;
	struct weft_why why;
	struct tree *tree;
	char *text = nested(TREE_DEPTH_MAX - 1);

	assert_int_equal(parse(world, text, &tree, &why), 0);
	tree_free(&world->core, tree);
	free(text);
	text = nested(TREE_DEPTH_MAX);
	assert_int_equal(parse(world, text, &tree, &why), -EINVAL);
	assert_string_equal(why.text, "column 385: more than 64 devices in one another: build the lower part first, and "
			"refer to it by @NAME");
	free(text);
}

static void the_number_of_devices_is_limited(void **state)
{
	struct world *world = *state;
	struct weft_why why;
	struct tree *tree;
	char *text = calloc(1, 16 * TREE_NODES_MAX);
	size_t used = (size_t)sprintf(text, "fan:[@a]");

	for (unsigned i = 0; i < TREE_NODES_MAX - 1; i++)
		used += (size_t)sprintf(text + used, ",[@a]");
	assert_int_equal(parse(world, text, &tree, &why), -EINVAL);
	assert_non_null(strstr(why.text, "more than 4096 devices"));
	free(text);
}

static void each_allocation_may_fail(void **state)
{
	struct world *world = *state;
	uint64_t before = world_allocated(world);

	for (unsigned n = 1;; n++) {
		struct tree *tree = NULL;
		struct weft_why why = { "" };

		env_fail_nth(world->core.env, n);
		int error = parse(world, "fan:[leaf:'a''b',size=4k,name=x],[pair:[@x],log=[nbd://h]],name=y,text=z", &tree, &why);
		char *printed = error ? NULL : grammar_print(&world->core, tree);
		bool hit = env_fail_hit(world->core.env);
		env_fail_nth(world->core.env, 0);
		if (error) {
			assert_int_equal(error, -ENOMEM);
			assert_non_null(strstr(why.text, "no memory"));
		}
		weft_free(&world->core, printed);
		tree_free(&world->core, tree);
		assert_int_equal(world_allocated(world), before);
		if (!hit) {
			assert_int_equal(error, 0);
			break;
		}
		assert_true(error || !printed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_KINDS_TEST(canonical_form),
		WORLD_KINDS_TEST(what_is_read),
		WORLD_KINDS_TEST(a_layer_gets_what_is_below_it),
		WORLD_KINDS_TEST(refusals),
		WORLD_KINDS_TEST(nesting_is_limited),
		WORLD_KINDS_TEST(the_number_of_devices_is_limited),
		WORLD_KINDS_TEST(each_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
