/* SPDX-License-Identifier: BSD-2-Clause */
/* `weft demo`: the main thing, shown. */
#include "cli/args.h"
#include "cli/command.h"
static const struct weft_option options[] = { { 0 } };
static int demo_main(int argc, char **argv) { (void)argc; (void)argv; return 0; }
const struct command command_demo = { .name = "demo", .arguments = "", .summary = "show", .text = "", .options = options, .run = demo_main };
