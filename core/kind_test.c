/* SPDX-License-Identifier: BSD-2-Clause */
/* Modules and kinds: what is taken, what is refused and why, how a kind is found; which port a device goes to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

#include "core/kind.h"
#include "core/objects.h"
#include "core/kinds_test.h"
#include "core/world_test.h"

static int add(struct world *world, const struct weft_kind *kind, struct weft_why *why)
{
	static struct weft_kind fresh;
	static const struct weft_kind *kinds[3];
	static const struct weft_module module = {
		WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind), "mine", "1", kinds,
	};

	fresh = *test_kind("bare", NULL);
	fresh.name = "fresh";
	kinds[0] = &fresh; /* nothing is wrong with this one */
	kinds[1] = kind;
	return objects_module_add(&world->core, &module, why);
}

#define DIGITS(n) #n
#define STRING(macro) DIGITS(macro)

static void a_foreign_module_is_refused(void **state)
{
	static const struct {
		struct weft_module module;
		const char *sentence;
	} cases[] = {
		{ { 99, sizeof(struct weft_module), sizeof(struct weft_kind), "m", "1", NULL },
		  "module: abi=99: this weft takes " STRING(WEFT_ABI) " only: build it against the headers of this weft ("
		  WEFT_VERSION ")" },
		{ { WEFT_ABI, 1, sizeof(struct weft_kind), "m", "1", NULL }, "module: size=1: its table must have 40 bytes: "
		  "build it against the headers of this weft (" WEFT_VERSION ")" },
		{ { WEFT_ABI, sizeof(struct weft_module), 1, "m", "1", NULL }, "module: kind_size=1: a kind must have " },
		{ { WEFT_ABI, sizeof(struct weft_module), sizeof(struct weft_kind), "m", "1", NULL },
		  "module: name, version or kinds are missing: use WEFT_MODULE(name, version, &kind, ...)" },
	};
	struct world *world = *state;

	for (size_t i = 0; i < WEFT_COUNT(cases); i++) {
		struct weft_why why;

		assert_int_equal(objects_module_add(&world->core, &cases[i].module, &why), -EINVAL);
		assert_memory_equal(why.text, cases[i].sentence, strlen(cases[i].sentence));
	}
	assert_null(objects_kind_next(&world->core, NULL));
}

static void a_kind_is_added_once(void **state)
{
	struct world *world = *state;
	struct weft_why why;

	assert_int_equal(objects_module_add(&world->core, &test_module, &why), 0);
	assert_int_equal(add(world, test_kind("fan", NULL), &why), -EEXIST);
	assert_string_equal(why.text, "module mine: kind 'fan' (dev) is there already, from module test: give it another "
			"name, or load one of the two");
	assert_null(objects_kind(&world->core, "fresh", NULL, &why)); /* none of a refused module's kinds stays */
	const struct weft_kind *kind = NULL;
	unsigned count = 0;
	const char *last = "";
	while ((kind = objects_kind_next(&world->core, kind))) {
		assert_true(strcmp(last, kind->name) <= 0); /* in order */
		last = kind->name;
		count++;
	}
	assert_int_equal(count, 8);
}

static void a_kind_is_found_by_name_and_interface(void **state)
{
	struct world *world = *state;
	struct weft_why why;

	assert_int_equal(objects_module_add(&world->core, &test_module, NULL), 0);
	assert_ptr_equal(objects_kind(&world->core, "leaf", &test_dev_iface, &why), test_kind("leaf", &test_dev_iface));
	assert_ptr_equal(objects_kind(&world->core, "leaf", &test_out_iface, &why), test_kind("leaf", &test_out_iface));
	assert_ptr_equal(objects_kind(&world->core, "leaf", NULL, &why), test_kind("leaf", &test_dev_iface));
	assert_null(objects_kind(&world->core, "pass", &test_out_iface, &why));
	assert_string_equal(why.text, "'pass' offers 'dev', but 'out' is wanted here: choose another kind (`weft list "
			"components`)");
	assert_null(objects_kind(&world->core, "oud", &test_out_iface, &why));
	assert_string_equal(why.text, "there is no kind 'oud' that offers out: did you mean 'out'? "
			    "`weft list components` lists them");
}

static const struct weft_option *one_option(struct weft_option option)
{
	static struct weft_option options[2];

	options[0] = option;
	return options;
}

static const struct weft_port *one_port(struct weft_port port)
{
	static struct weft_port ports[2];

	ports[0] = port;
	return ports;
}

static void tables_that_make_no_sense_are_refused(void **state)
{
	const struct weft_kind sound = *test_kind("bare", NULL);
	const size_t at = sizeof(struct weft_object);
	const struct weft_option option = { .name = "o", .help = "h", .offset = (uint16_t)at };
	const struct weft_port port = { "p", &test_dev_iface, 1, 1, 0, (uint16_t)at, "h" };
	struct world *world = *state;
	struct weft_why why;
	struct weft_kind kind;

#define REFUSED(change, fault) do { \
	kind = sound; \
	change; \
	assert_int_equal(add(world, &kind, &why), -EINVAL); \
	if (!strstr(why.text, fault)) \
		fail_msg("%s", why.text); \
	assert_null(objects_kind_next(&world->core, NULL)); \
} while (0)
#define OPTION(change, fault) REFUSED({ \
	struct weft_option o = option; \
	change; \
	kind.options = one_option(o); }, fault)
#define PORT(change, fault) REFUSED({ \
	struct weft_port p = port; \
	change; \
	kind.ports = one_port(p); }, fault)

	REFUSED(kind.name = "Big", "module mine: kind 'Big': its name: must be lower-case letters");
	REFUSED(kind.name = NULL, "kind '?': its name");
	REFUSED(kind.size = 4, "its table: the instance has no room for struct weft_object: mend the table and build it again");
	REFUSED(kind.summary = NULL, "no summary");
	REFUSED(kind.start = NULL, "no start()");
	REFUSED(kind.offers = NULL, "offers no interface");
	OPTION(o.name = "name", "option name: the name 'name' belongs to the core");
	OPTION(o.name = "a b", "lower-case");
	OPTION(o.type = 77, "type is unknown");
	OPTION(o.offset = 0, "outside the instance");
	OPTION(o.offset = (uint16_t)(kind.size - 0), "outside the instance");
	OPTION(o.type = WEFT_OPTION_CHOICE, "its choices must be words");
	OPTION((o.type = WEFT_OPTION_CHOICE, o.choices = "a||b"), "its choices must be words");
	OPTION((o.type = WEFT_OPTION_UINT, o.min = 2, o.max = 1), "least value is above");
	OPTION(o.fallback = "perhaps", "default is no value");
	OPTION(o.help = NULL, "it has no help");
	PORT(p.name = "P", "port P: its name must be lower-case");
	PORT(p.wants = NULL, "wants no interface");
	PORT(p.max = 0, "cardinality");
	PORT(p.min = 2, "cardinality");
	PORT(p.offset = 8, "outside the instance");
	PORT(p.max = 200, "outside the instance");
	PORT(p.help = NULL, "it has no help");
	kind = sound;
	kind.options = one_option(option);
	kind.ports = one_port(port);
	assert_int_equal(add(world, &kind, &why), 0);
}

static void adding_needs_memory(void **state)
{
	struct world *world = *state;

	for (unsigned n = 1;; n++) {
		struct weft_why why;

		env_fail_nth(world->core.env, n);
		int error = objects_module_add(&world->core, &test_module, &why);
		bool hit = env_fail_hit(world->core.env);
		env_fail_nth(world->core.env, 0);
		assert_int_equal(error, hit ? -ENOMEM : 0);
		if (!hit)
			break;
		assert_null(objects_kind_next(&world->core, NULL));
	}
}

static void a_shared_object_that_is_none(void **state)
{
	struct world *world = *state;
	struct weft_why why;

	assert_int_equal(objects_module_load(&world->core, "/nowhere/x.so", &why), -ENOENT);
	assert_non_null(strstr(why.text, "module='/nowhere/x.so': cannot be loaded ("));
	assert_non_null(strstr(why.text, "give the path of a component's shared object"));
	assert_int_equal(objects_module_load(&world->core, "libm.so.6", &why), -EINVAL);
	assert_string_equal(why.text, "module='libm.so.6': it exports no 'weft_module': declare its kinds with WEFT_MODULE");
}

/* Ports of min..max: a device in order goes to the first that has room and leaves the others their least. */
static void devices_go_to_ports_in_order(void **state)
{
	static const struct weft_port ports[] = {
		{ "a", &test_dev_iface, 1, 2, 0, 0, "" }, { "b", &test_dev_iface, 0, 1, 0, 0, "" },
		{ "c", &test_dev_iface, 1, 1, 0, 0, "" },
		{ .name = NULL },
	};
	const struct weft_kind kind = { .name = "k", .ports = ports };
	static const struct {
		unsigned taken[3];
		const char *places;
	} cases[] = {
		{ { 0, 0, 0 }, "a" }, { { 0, 0, 0 }, "ac" }, { { 0, 0, 0 }, "aac" }, { { 0, 0, 0 }, "aabc" },
		{ { 0, 0, 0 }, "aabc-" },
		{ { 1, 0, 0 }, "c" }, { { 1, 0, 0 }, "ac" }, { { 0, 0, 1 }, "aab" }, { { 2, 1, 1 }, "-" },
	};

	(void)state;
	for (size_t i = 0; i < WEFT_COUNT(cases); i++) {
		unsigned count = (unsigned)strlen(cases[i].places);

		for (unsigned n = 0; n < count; n++) {
			const struct weft_port *port = kind_port_at(&kind, n, count, cases[i].taken);

			assert_int_equal(port ? port->name[0] : '-', cases[i].places[n]);
		}
	}
	assert_int_equal(kind_places(&kind), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_foreign_module_is_refused),
		WORLD_TEST(a_kind_is_added_once),
		WORLD_TEST(a_kind_is_found_by_name_and_interface),
		WORLD_TEST(tables_that_make_no_sense_are_refused),
		WORLD_TEST(adding_needs_memory),
		WORLD_TEST(a_shared_object_that_is_none),
		cmocka_unit_test(devices_go_to_ports_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
