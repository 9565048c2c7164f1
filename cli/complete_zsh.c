/* SPDX-License-Identifier: BSD-2-Clause */
/* Completion for zsh. */
#include <stdio.h>
#include <string.h>

#include "cli/complete.h"
#include "cli/serve.h"

/* In single quotes, inside the brackets and colons of _arguments and _describe. */
static void quote(const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			printf("'\\''");
		else
			printf(strchr("[]:\\", *text) != NULL ? "\\%c" : "%c", *text);
	}
}

static void print_what(enum complete_what what, const char *choices)
{
	static const char *const names[] = { "( )", "", "_files", "_weft_device", "_weft_layer", "_weft_export", "_weft_kinds",
		"_weft_commands", "_weft_orders" };

	if (what != COMPLETE_WORDS) {
		printf("%s", names[what]);
		return;
	}
	printf("(");
	complete_words(choices, " ");
	printf(")");
}

static void print_option(const struct weft_option *option)
{
	bool alone = option->type == WEFT_OPTION_BOOL;

	printf("\t\t'%s--%s%s[", option->flags & ARGS_MANY ? "*" : "", option->name, alone ? "" : "=");
	quote(option->help);
	printf("]");
	if (!alone) {
		printf(":");
		quote(*args_form(option) != '\0' ? args_form(option) : "value");
		printf(":");
		print_what(complete_value(option), complete_choices(option));
	}
	printf("' \\\n");
}

static void print_command(const struct command *command)
{
	printf("_weft_command_%s() {\n\t_arguments \\\n", command->name);
	for (const struct weft_option *o = command->options; o->name != NULL; o++)
		print_option(o);
	printf("\t\t'(- *)--help[what it does, and its options]'");
	for (unsigned i = 0; i < COMMAND_WORDS && command->words[i].name != NULL; i++) {
		const struct command_word *w = &command->words[i];

		if (w->most > 1)
			printf(" \\\n\t\t'*:");
		else
			printf(" \\\n\t\t'%u%s", i + 1, w->least == 0 ? "::" : ":");
		quote(w->name);
		printf(":");
		print_what(w->what, w->name);
		printf("'");
	}
	printf("\n}\n");
}

static void print_kind(const struct weft_kind *kind, const char *prefix)
{
	const struct weft_option *o = kind->options;

	printf("_weft_kind[%s%s]='", prefix, kind->name);
	for (; o != NULL && o->name != NULL; o++)
		printf("%s ", o->name);
	printf("name'\n");
	complete_kind_values(kind, prefix);
}

static void print_kinds(const char *name, enum complete_what of)
{
	const struct weft_kind *kind;

	printf("_weft_%s_kinds=(", name);
	for (unsigned at = 0; (kind = complete_kind(of, &at)) != NULL;) {
		printf("'%s:", kind->name);
		quote(kind->summary);
		printf("' ");
	}
	printf(")\n");
}

static const char functions[] =
	"_weft_commands() { _describe -t commands 'weft command' _weft_command_list }\n"
	"_weft_orders() { _describe -t orders 'order' _weft_order_list }\n"
	"_weft_kinds() { _describe -t kinds 'component' _weft_all_kinds }\n"
	"_weft_device() { _weft_grammar _weft_device_kinds '' }\n"
	"_weft_layer() { _weft_grammar _weft_layer_kinds '' }\n"
	"_weft_export() { _weft_grammar _weft_export_kinds export/ }\n"
	"\n"
	"# The innermost component that is not finished yet: its kind, or an option's name or value.\n"
	"_weft_grammar() { # ARRAY-OF-KINDS PREFIX\n"
	"\tlocal list=$1 prefix=$2 inner=${(Q)PREFIX} kind last\n"
	"\twhile [[ $inner == *\\]* ]]; do # what is closed counts no more\n"
	"\t\tinner=\"${${inner%%\\]*}%\\[*}.${inner#*\\]}\"\n"
	"\tdone\n"
	"\tif [[ $inner == *\\[* ]]; then list=_weft_device_kinds prefix=; fi\n"
	"\tinner=${inner##*\\[}\n"
	"\tif [[ $inner != *:* ]]; then\n"
	"\t\tcompset -P '*\\['\n"
	"\t\t_describe -t kinds 'component' $list -S ':' -q\n"
	"\t\treturn\n"
	"\tfi\n"
	"\tkind=${inner%%:*} last=${inner##*[:,]}\n"
	"\tif [[ $last == *=* ]]; then\n"
	"\t\tcompset -P '*='\n"
	"\t\t_weft_grammar_value \"${_weft_kind_values[$prefix$kind:${last%%=*}]}\"\n"
	"\telse\n"
	"\t\tcompset -P '*[:,]'\n"
	"\t\tcompadd -S '=' -q -- ${=_weft_kind[$prefix$kind]}\n"
	"\t\tif [[ ${inner#*:} != *,* ]]; then _weft_grammar_value \"${_weft_kind_values[$prefix$kind:]}\"; fi\n"
	"\tfi\n"
	"}\n"
	"_weft_grammar_value() {\n"
	"\tif [[ $1 == @files ]]; then _files; elif [[ -n $1 ]]; then compadd -- ${=1}; fi\n"
	"}\n"
	"\n"
	"_weft() {\n"
	"\tlocal curcontext=$curcontext state line\n"
	"\t_arguments -C '(- *)--help[the commands]' '(- *)--version[the version]' '1:command:_weft_commands' "
	"'*::argument:->rest'\n"
	"\tif [[ $state == rest && -n ${functions[_weft_command_$words[1]]} ]]; then\n"
	"\t\tcurcontext=\"${curcontext%:*:*}:weft-$words[1]:\"\n"
	"\t\t_weft_command_$words[1]\n"
	"\tfi\n"
	"}\n"
	"\n"
	"_weft \"$@\"\n";

void complete_zsh(void)
{
	const struct weft_kind *kind;

	printf("#compdef weft\n# zsh completion for weft. Made by `weft help --completion zsh`.\n"
	       "typeset -gA _weft_kind _weft_kind_values\n"
	       "typeset -ga _weft_command_list _weft_order_list _weft_device_kinds _weft_layer_kinds _weft_export_kinds "
		"_weft_all_kinds\n"
	       "_weft_command_list=(");
	for (const struct command *const *at = commands; *at != NULL; at++) {
		printf("'%s:", (*at)->name);
		quote((*at)->summary);
		printf("' ");
	}
	printf(")\n_weft_order_list=(");
	for (const struct order_kind *order = order_kinds; order->name != NULL; order++) {
		printf("'%s:", order->name);
		quote(order->help);
		printf("' ");
	}
	printf(")\n");
	print_kinds("device", COMPLETE_DEVICE);
	print_kinds("layer", COMPLETE_LAYER);
	print_kinds("export", COMPLETE_EXPORT);
	print_kinds("all", COMPLETE_KINDS);
	for (unsigned at = 0; (kind = complete_kind(COMPLETE_DEVICE, &at)) != NULL;)
		print_kind(kind, "");
	for (unsigned at = 0; (kind = complete_kind(COMPLETE_EXPORT, &at)) != NULL;)
		print_kind(kind, "export/");
	for (const struct command *const *at = commands; *at != NULL; at++)
		print_command(*at);
	printf("%s", functions);
}
