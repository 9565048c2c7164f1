/* SPDX-License-Identifier: BSD-2-Clause */
/* `weft ctl`: asks a running server. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/call.h"
#include "cli/command.h"
#include "cli/mdoc.h"
#include "cli/serve.h"
#include "cli/show.h"
#include "cli/stats.h"
#include "cli/world.h"

#include "env/env.h"

static struct ctl {
	bool json;
	struct weft_why why;
} asked;

static const struct weft_option options[] = {
	{ .name = "json", .type = WEFT_OPTION_BOOL, .offset = offsetof(struct ctl, json), .help = "the answer as JSON" },
	{ 0 },
};

static void print_requests(const json_t *result)
{
	json_t *list = json_object_get(result, "requests"), *item;
	size_t i;

	json_array_foreach(list, i, item)
		printf("%s\n", json_string_value(json_object_get(item, "path")));
	if (json_integer_value(json_object_get(result, "not_shown")) > 0)
		printf("and %" JSON_INTEGER_FORMAT " more\n", json_integer_value(json_object_get(result, "not_shown")));
}

static void print_served(const json_t *served)
{
	json_t *item;
	size_t i;

	show_drawing(json_object_get(served, "stack"), "");
	printf("\n");
	json_array_foreach(json_object_get(served, "exports"), i, item)
		show_plain(item, 0);
	json_array_foreach(json_object_get(served, "devices"), i, item) {
		printf("\n");
		show_plain(item, 0);
	}
}

static void print_info(const json_t *result)
{
	const json_t *served = json_object_get(result, "served"), *item;
	size_t i;

	if (show_change(result) > 0)
		printf("\n");
	if (served == NULL)
		print_served(result);
	json_array_foreach(served, i, item) {
		printf("%s%s\n\n", i > 0 ? "\n" : "", json_string_value(json_object_get(item, "device")));
		print_served(item);
	}
}

static void print_result(const char *command, const json_t *result)
{
	if (strcmp(command, "requests") == 0)
		print_requests(result);
	else if (strcmp(command, "info") == 0)
		print_info(result);
	else if (strcmp(command, "stats") == 0)
		stats_print(result, NULL, NULL);
	else if (json_object_get(result, "stack") != NULL)
		show_drawing(json_object_get(result, "stack"), "");
	else
		show_plain(result, 0);
}

static int ask(struct ctl *ctl, const struct args *args, int *status)
{
	struct env *env;
	struct call *call;
	json_t *result;
	int error = env_linux_open(&env, &world_env_wants, &ctl->why);

	if (error != 0)
		return error;
	error = call_open(env, args->plain[0], &call, &ctl->why);
	if (error == 0) {
		error = call_ask(call, args->plain[1], args->plain + 2, args->nplain - 2, &result, status, &ctl->why);
		call_close(call);
	} else if (error == -ENOENT || error == -ECONNREFUSED) {
		*status = EXIT_ABSENT;
	}
	env_linux_close(env);
	if (error != 0)
		return error;
	if (ctl->json || strcmp(args->plain[1], "config") == 0) {
		show_json(result != NULL ? result : json_null(), true);
		return 0;
	}
	if (result != NULL)
		print_result(args->plain[1], result);
	json_decref(result);
	return 0;
}

static int ctl_run(const struct args *args)
{
	const struct order_kind *kind = order_find(args->plain[1], &asked.why);
	unsigned given = args->nplain - 2;
	int status = EXIT_FAILED, error;

	if (kind == NULL)
		return -EINVAL;
	if (given < kind->least || given > kind->most)
		return weft_why(&asked.why, -EINVAL, "ctl: %s: %u arguments: write `weft ctl PATH %s%s%s`", kind->name, given,
			kind->name, *kind->arguments != '\0' ? " " : "", kind->arguments);
	error = ask(&asked, args, &status);
	if (error == 0)
		return EXIT_DONE;
	world_failed(error, &asked.why);
	return status;
}

static void more(void)
{
	printf("\ncommands:\n");
	for (const struct order_kind *kind = order_kinds; kind->name != NULL; kind++) {
		char left[80];

		snprintf(left, sizeof(left), "%s%s%s", kind->name, *kind->arguments != '\0' ? " " : "", kind->arguments);
		printf("  %-34s %s\n", left, kind->help);
	}
}

static void more_man(void)
{
	printf(".Sh COMMANDS\n.Bl -tag -width Ds\n");
	for (const struct order_kind *kind = order_kinds; kind->name != NULL; kind++) {
		printf(".It Cm %s", kind->name);
		if (*kind->arguments != '\0') {
			printf(" Ar ");
			mdoc_words(kind->arguments);
		}
		printf("\n");
		mdoc_sentence(kind->help);
	}
	printf(".El\n.Sh PROTOCOL\n"
	       "The socket takes a JSON object on each line and answers each with one:\n"
	       ".Bd -literal -offset indent\n"
	       "{\"command\": \"resize\", \"args\": [\"2GiB\"]}\n"
	       "{\"ok\":true,\"result\":{\"size\":2147483648}}\n"
	       "{\"ok\":false,\"status\":2,\"error\":\"...\"}\n.Ed\n"
	       "Changes of devices (resize, insert, remove, set) are carried out one at a time, and wait for requests in flight.\n"
	       "All else is answered meanwhile; the answers of info and stats then have a member\n.Dq change :\n"
	       "which command of which device is under way, for how many nanoseconds, what it waits for, and which requests it is "
	       "that\nhold it up.\n"
	       ".Sh DEVICES\n"
	       "Where a server has several devices,\n.Ar DEVICE\nsays which one is meant: by the name of the device, of a layer or "
	       "of an export of it, as info\nshows them; by what was written for it or behind\n.Fl -on ;\n"
	       "or by a kind that only one of them has.\n"
	       "What changes a device needs it; what tells something tells it of all devices without it.\n"
	       "The answer of info is then a list,\n.Dq served ,\nwith an entry for each device.\n");
}

static const struct command_example examples[] = {
	{ "Slow a disk down while it is used, then speed it up again",
	  "weft ctl /run/weft.ctl insert limit:iops=500; weft ctl /run/weft.ctl remove limit" },
	{ "Which requests are waiting, and where", "weft ctl /run/weft.ctl requests" },
	{ "A larger disk; the machine notices", "weft ctl /run/weft.ctl resize 20GiB" },
	{ "The same where the server has several", "weft ctl /run/weft.ctl resize 20GiB file1" },
	{ "A file with which another server would serve the same", "weft ctl /run/weft.ctl config >all.json" },
	{ 0 },
};

const struct command command_ctl = {
	.name = "ctl",
	.words = { { "PATH", COMPLETE_FILES, 1, 1 }, { "COMMAND", COMPLETE_ORDERS, 1, 1 }, { "ARGUMENT", COMPLETE_NOTHING, 0, 4 } },
	.summary = "look at a running server, and change it",
	.text = "Sends a command to the control socket of a running `weft serve --control PATH` and prints the answer. "
		"Layers and modes change while requests are in flight: none fails, none is lost.",
	.options = options,
	.examples = examples,
	.more = more,
	.more_man = more_man,
	.into = &asked,
	.why = &asked.why,
	.run = ctl_run,
};
