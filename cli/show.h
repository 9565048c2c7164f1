/* SPDX-License-Identifier: BSD-2-Clause */
/* How things look on standard output: sizes, durations, JSON, the drawing of a stack. */
#ifndef CLI_SHOW_H
#define CLI_SHOW_H

#include <jansson.h>

#include <weft/blk.h>

#define SHOW_TEXT 32

/* "256.0 MiB"; the text given is returned. */
const char *show_size(uint64_t bytes, char text[SHOW_TEXT]);
/* "1.23 M", "618 k", "12" */
const char *show_count(double n, char text[SHOW_TEXT]);
/* "430 ns", "53.2 us", "7.12 ms" */
const char *show_duration(uint64_t ns, char text[SHOW_TEXT]);

/* A string of JSON, whatever bytes there are. */
json_t *show_string(const char *text);
/* The same as part of what is printed by hand. */
void show_quoted(const char *text);
/* Takes the value. With `indent`, over several lines. */
void show_json(json_t *value, bool indent);
/* Objects and lists as "name: value" lines, indented by level. */
void show_plain(const json_t *value, unsigned level);

/* A weft_describe_put: into an object of JSON. */
void show_put(void *facts, const char *name, const char *value);
/* What an object tells of itself. */
json_t *show_facts(const struct weft_object *object);
/* What is known of a device: size, limits, abilities, its own facts. */
json_t *show_device(const struct weft_object *object);
/* The same of an object and of all below it, in order: a list. */
json_t *show_devices(const struct weft_object *object);
/* An object and all below it as a list of {name, kind, ports, below}. */
json_t *show_stack(const struct weft_object *object);
/* The change that a server tells of (the member "change" of `told`), if there is one. Returns the number of lines. */
unsigned show_change(const json_t *told);
/* The same as a drawing, from what show_stack made. */
void show_drawing(const json_t *stack, const char *indent);

#endif
