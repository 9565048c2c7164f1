/* SPDX-License-Identifier: BSD-2-Clause */
/* Completion for bash. */
#include <stdio.h>
#include <string.h>

#include "cli/complete.h"
#include "cli/serve.h"

/* What the function does with a place; words, of these choices, stand for themselves. */
static void print_what(enum complete_what what, const char *choices)
{
	static const char *const names[] = { "", "", "@files", "@device", "@layer", "@export", "@kinds", "@commands", "@orders" };

	if (what == COMPLETE_WORDS)
		complete_words(choices, " ");
	else
		printf("%s", names[what]);
}

/* The last one may stand again and again. */
static void print_words(const struct command *command)
{
	for (unsigned i = 0; i < COMMAND_WORDS && command->words[i].name != NULL; i++) {
		const struct command_word *w = &command->words[i];

		if (w->most > 1)
			printf("_weft_plain[%s:more]='", command->name);
		else
			printf("_weft_plain[%s:%u]='", command->name, i);
		print_what(w->what, w->name);
		printf("'\n");
	}
}

static void print_command(const struct command *command)
{
	printf("_weft_options[%s]='", command->name);
	for (const struct weft_option *o = command->options; o->name != NULL; o++)
		printf("--%s ", o->name);
	printf("--help'\n");
	print_words(command);
	for (const struct weft_option *o = command->options; o->name != NULL; o++) {
		printf("_weft_values[%s:--%s]='", command->name, o->name);
		print_what(complete_value(o), complete_choices(o));
		printf("'\n");
		if (o->type == WEFT_OPTION_BOOL)
			printf("_weft_alone[%s:--%s]=1\n", command->name, o->name);
	}
}

static void print_kind(const struct weft_kind *kind, const char *prefix)
{
	const struct weft_option *o = kind->options;

	printf("_weft_kind[%s%s]='", prefix, kind->name);
	for (; o != NULL && o->name != NULL; o++)
		printf("%s= ", o->name);
	printf("name='\n");
	complete_kind_values(kind, prefix);
	if (kind->ports != NULL && kind->ports->name != NULL)
		printf("_weft_above[%s%s]=1\n", prefix, kind->name);
}

static void print_kinds(const char *name, enum complete_what of)
{
	const struct weft_kind *kind;

	printf("_weft_%s='", name);
	for (unsigned at = 0; (kind = complete_kind(of, &at)) != NULL;)
		printf("%s%s", kind->name, of == COMPLETE_KINDS ? " " : ": ");
	printf("'\n");
}

/* The words of a text are found by ourselves: bash takes them apart at each colon and equals sign. */
static const char functions[] =
	"\n"
	"# The innermost component that is not finished yet: its kind, or an option's name or value.\n"
	"_weft_grammar() { # WORD KINDS PREFIX\n"
	"\tlocal word=$1 inner head kind last\n"
	"\tinner=$word\n"
	"\twhile [[ $inner == *']'* ]]; do # what is closed counts no more\n"
	"\t\thead=${inner%%']'*}\n"
	"\t\tinner=${head%'['*}.${inner#*']'}\n"
	"\tdone\n"
	"\tinner=${inner##*'['}\n"
	"\tkind=${inner%%:*}\n"
	"\tif [[ $inner != *:* ]]; then\n"
	"\t\tif [[ $word == *'['* ]]; then set -- \"$word\" \"$_weft_device\" ''; fi\n"
	"\t\t_weft_reply \"${word%\"$inner\"}\" \"$inner\" $2\n"
	"\t\treturn\n"
	"\tfi\n"
	"\tif [[ $word == *'['* ]]; then set -- \"$word\" \"$2\" ''; fi\n"
	"\tlast=${inner##*[:,]}\n"
	"\tif [[ $last == *=* ]]; then\n"
	"\t\t_weft_value \"${word%\"${last#*=}\"}\" \"${last#*=}\" \"${_weft_kind_values[$3$kind:${last%%=*}]-}\"\n"
	"\telse\n"
	"\t\t_weft_reply \"${word%\"$last\"}\" \"$last\" ${_weft_kind[$3$kind]-}\n"
	"\t\tif [[ ${inner#*:} != *,* ]]; then\n"
	"\t\t\t_weft_value \"${word%\"$last\"}\" \"$last\" \"${_weft_kind_values[$3$kind:]-}\"\n"
	"\t\t\tif [[ -n ${_weft_above[$3$kind]-} && -z $last ]]; then COMPREPLY+=(\"${word}[\"); fi\n"
	"\t\tfi\n"
	"\tfi\n"
	"}\n"
	"\n"
	"_weft_reply() { # BEFORE BEGIN WORD...\n"
	"\tlocal before=$1 begin=$2 word\n"
	"\tshift 2\n"
	"\tfor word; do\n"
	"\t\tif [[ $word == \"$begin\"* ]]; then COMPREPLY+=(\"$before$word\"); fi\n"
	"\tdone\n"
	"}\n"
	"\n"
	"_weft_value() { # BEFORE BEGIN WHAT\n"
	"\tlocal file what=$3\n"
	"\tcase $what in\n"
	"\t@files)\n"
	"\t\twhile IFS= read -r file; do\n"
	"\t\t\tif [[ -d $file ]]; then file+=/; fi\n"
	"\t\t\tCOMPREPLY+=(\"$1$file\")\n"
	"\t\tdone < <(compgen -f -- \"$2\") ;;\n"
	"\t@device) _weft_grammar \"$1$2\" \"$_weft_device\" '' ;;\n"
	"\t@layer) _weft_grammar \"$1$2\" \"$_weft_layer\" '' ;;\n"
	"\t@export) _weft_grammar \"$1$2\" \"$_weft_export\" export/ ;;\n"
	"\t@kinds) _weft_reply \"$1\" \"$2\" $_weft_kinds ;;\n"
	"\t@commands) _weft_reply \"$1\" \"$2\" $_weft_commands ;;\n"
	"\t@orders) _weft_reply \"$1\" \"$2\" $_weft_orders ;;\n"
	"\t*) _weft_reply \"$1\" \"$2\" $what ;;\n"
	"\tesac\n"
	"}\n"
	"\n"
	"_weft_words() { # COMMAND CURRENT PREVIOUS PLAIN-WORDS\n"
	"\tlocal what=${_weft_plain[$1:$4]-${_weft_plain[$1:more]-}}\n"
	"\tif [[ $2 == --*=* ]]; then\n"
	"\t\t_weft_value '' \"${2#*=}\" \"${_weft_values[$1:${2%%=*}]-}\"\n"
	"\t\tCOMPREPLY=(\"${COMPREPLY[@]/#/${2%%=*}=}\")\n"
	"\telif [[ $3 == --* && -n ${_weft_values[$1:$3]+x} && -z ${_weft_alone[$1:$3]-} ]]; then\n"
	"\t\t_weft_value '' \"$2\" \"${_weft_values[$1:$3]-}\"\n"
	"\telif [[ $2 == -* ]]; then\n"
	"\t\t_weft_reply '' \"$2\" ${_weft_options[$1]-}\n"
	"\telse\n"
	"\t\t_weft_value '' \"$2\" \"$what\"\n"
	"\tfi\n"
	"}\n"
	"\n"
	"_weft() {\n"
	"\tlocal line=${COMP_LINE:0:COMP_POINT} cut i plain=0\n"
	"\tlocal -a words\n"
	"\tread -ra words <<<\"$line\"\n"
	"\tif [[ $line == *[[:space:]] ]]; then words+=(''); fi\n"
	"\tlocal current=${words[-1]}\n"
	"\tCOMPREPLY=()\n"
	"\tif [[ ${#words[@]} -le 2 ]]; then\n"
	"\t\t_weft_reply '' \"$current\" $_weft_commands --help --version\n"
	"\t\treturn\n"
	"\tfi\n"
	"\tfor ((i = 2; i < ${#words[@]} - 1; i++)); do\n"
	"\t\tif [[ ${words[i]} != -* ]]; then\n"
	"\t\t\tplain=$((plain + 1))\n"
	"\t\telif [[ -n ${_weft_values[${words[1]}:${words[i]}]+x} && -z ${_weft_alone[${words[1]}:${words[i]}]-} ]]; then\n"
	"\t\t\ti=$((i + 1)) # its value\n"
	"\t\tfi\n"
	"\tdone\n"
	"\t_weft_words \"${words[1]}\" \"$current\" \"${words[-2]}\" \"$plain\"\n"
	"\tif [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *[:=/\\[] ]]; then compopt -o nospace 2>/dev/null; fi\n"
	"\tif [[ $current == *[:=]* && $COMP_WORDBREAKS == *:* ]]; then # bash has cut there, and puts back what comes behind\n"
	"\t\tcut=${current%\"${current##*[:=]}\"}\n"
	"\t\tCOMPREPLY=(\"${COMPREPLY[@]#\"$cut\"}\")\n"
	"\tfi\n"
	"}\n"
	"\n"
	"complete -F _weft weft\n";

void complete_bash(void)
{
	const struct weft_kind *kind;

	printf("# bash completion for weft. Made by `weft help --completion bash`.\n"
	       "# shellcheck shell=bash disable=SC2034,SC2086,SC2206,SC2207 # lists of words are meant to be split\n"
	       "declare -A _weft_options=() _weft_plain=() _weft_values=() _weft_alone=() _weft_kind=() _weft_kind_values=() "
	       "_weft_above=()\n_weft_commands='");
	for (const struct command *const *at = commands; *at != NULL; at++)
		printf("%s ", (*at)->name);
	printf("'\n_weft_orders='");
	for (const struct order_kind *order = order_kinds; order->name != NULL; order++)
		printf("%s ", order->name);
	printf("'\n");
	print_kinds("device", COMPLETE_DEVICE);
	print_kinds("layer", COMPLETE_LAYER);
	print_kinds("export", COMPLETE_EXPORT);
	print_kinds("kinds", COMPLETE_KINDS);
	for (const struct command *const *at = commands; *at != NULL; at++)
		print_command(*at);
	for (unsigned at = 0; (kind = complete_kind(COMPLETE_DEVICE, &at)) != NULL;)
		print_kind(kind, "");
	for (unsigned at = 0; (kind = complete_kind(COMPLETE_EXPORT, &at)) != NULL;)
		print_kind(kind, "export/");
	printf("%s", functions);
}
