/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading the tables of a kind. */
#include "core/kind.h"

#include <errno.h>
#include <string.h>

#include "core/nearest.h"
#include "core/option.h"
#include "core/value.h"

bool iface_same(const struct weft_iface *a, const struct weft_iface *b)
{
	return a == b || (a->version == b->version && !strcmp(a->name, b->name));
}

bool kind_has_ports(const struct weft_kind *kind)
{
	return kind->ports && kind->ports->name;
}

const struct weft_port *kind_port(const struct weft_kind *kind, const char *name)
{
	WEFT_ASSERT(name);
	for (const struct weft_port *port = kind->ports; port && port->name; port++)
		if (!strcmp(port->name, name))
			return port;
	return NULL;
}

int kind_port_unknown(const struct weft_kind *kind, const char *name, struct weft_why *why)
{
	struct nearest nearest = { .wanted = name };

	WEFT_ASSERT(!kind_port(kind, name));
	for (const struct weft_port *port = kind->ports; port && port->name; port++)
		nearest_try(&nearest, port->name, strlen(port->name));
	if (!kind_has_ports(kind))
		return weft_why(why, -ENOENT, "%s: port '%.40s': this kind is bound to nothing below it: leave the device out",
				kind->name, name);
	return weft_why(why, -ENOENT, "%s: there is no port '%.40s': %s `weft explain %s` lists them", kind->name, name,
			nearest_phrase(&nearest), kind->name);
}

unsigned kind_places(const struct weft_kind *kind)
{
	unsigned places = 0;

	for (const struct weft_port *port = kind->ports; port && port->name; port++)
		places += port->max;
	WEFT_ASSERT(places <= KIND_PORTS_MAX * UINT8_MAX);
	return places;
}

/* What the ports from `port` on need at least, less what they have by name. */
static unsigned needed_from(const struct weft_port *port, const unsigned *taken)
{
	unsigned needed = 0;

	WEFT_ASSERT(port);
	for (unsigned i = 0; port[i].name; i++) {
		unsigned has = taken ? taken[i] : 0;

		needed += port[i].min > has ? port[i].min - has : 0;
	}
	return needed;
}

const struct weft_port *kind_port_at(const struct weft_kind *kind, unsigned n, unsigned count, const unsigned *taken)
{
	unsigned left = count;

	WEFT_ASSERT(n < count);
	for (const struct weft_port *port = kind->ports; port && port->name; port++) {
		unsigned has = taken ? taken[port - kind->ports] : 0;
		unsigned later = needed_from(port + 1, taken ? taken + (port - kind->ports) + 1 : NULL);
		unsigned room = port->max > has ? port->max - has : 0;
		unsigned needs = port->min > has ? port->min - has : 0;
		unsigned takes = left > later ? left - later : 0;

		takes = takes < needs ? needs : takes;
		takes = takes > room ? room : takes;
		takes = takes > left ? left : takes;
		WEFT_ASSERT(takes <= room && takes <= left);
		if (n < takes)
			return port;
		n -= takes;
		left -= takes;
	}
	return NULL;
}

/* ---- checks of tables from outside ---- */

/* Bytes of the field of an option in the instance. */
static size_t field_size(uint8_t type)
{
	WEFT_ASSERT(type <= WEFT_OPTION_OCTAL);
	switch (type) {
	case WEFT_OPTION_BOOL:
		return sizeof(bool);
	case WEFT_OPTION_CHOICE:
	case WEFT_OPTION_OCTAL:
		return sizeof(uint32_t);
	default:
		return sizeof(uint64_t);
	}
}

static bool is_word(const char *word)
{
	if (!word || !(*word >= 'a' && *word <= 'z') || strlen(word) > 31)
		return false;
	for (; *word; word++)
		if (!(*word >= 'a' && *word <= 'z') && !(*word >= '0' && *word <= '9') && *word != '-' && *word != '_')
			return false;
	return true;
}

static bool choices_sound(const char *choices)
{
	size_t len;

	if (!choices || !*choices)
		return false;
	for (;; choices += len + 1) {
		len = strcspn(choices, "|");
		if (!len || len >= VALUE_TEXT_MAX)
			return false;
		if (!choices[len])
			return true;
	}
}

static const char *option_fault(const struct weft_kind *kind, const struct weft_option *option)
{
	struct value value;

	WEFT_ASSERT(kind->size >= sizeof(struct weft_object));
	if (!is_word(option->name))
		return "its name must be lower-case letters, digits, '-' and '_', at most 31";
	if (!strcmp(option->name, "name"))
		return "the name 'name' belongs to the core";
	if (option_find(kind, option->name) != option)
		return "the name is used twice";
	if (option->type > WEFT_OPTION_OCTAL)
		return "its type is unknown";
	if (option->offset < sizeof(struct weft_object) || option->offset + field_size(option->type) > kind->size)
		return "its field lies outside the instance";
	if (option->type == WEFT_OPTION_CHOICE && !choices_sound(option->choices))
		return "its choices must be words with '|' between them";
	if (option->max && option->min > option->max)
		return "its least value is above its largest";
	if (option->fallback && value_parse(kind->name, option, option->fallback, &value, NULL))
		return "its default is no value of its type";
	if (!option->help)
		return "it has no help";
	return NULL;
}

static const char *port_fault(const struct weft_kind *kind, const struct weft_port *port)
{
	WEFT_ASSERT(kind->size >= sizeof(struct weft_object));
	if (!is_word(port->name))
		return "its name must be lower-case letters, digits, '-' and '_', at most 31";
	if (kind_port(kind, port->name) != port || option_find(kind, port->name))
		return "the name is used twice";
	if (port - kind->ports >= KIND_PORTS_MAX)
		return "there are too many ports";
	if (!port->wants)
		return "it wants no interface";
	if (!port->max || port->min > port->max)
		return "its cardinality makes no sense";
	if (port->offset < sizeof(struct weft_object) || port->offset + port->max * sizeof(void *) > kind->size)
		return "its pointers lie outside the instance";
	if (!port->help)
		return "it has no help";
	return NULL;
}

static int refuse(struct weft_why *why, const char *module, const char *kind, const char *what, const char *name,
	const char *fault)
{
	WEFT_ASSERT(fault && *fault);
	return weft_why(why, -EINVAL, "module %s: kind '%.31s': %s%s%.40s: %s: mend the table and build it again", module, kind,
			what, *name ? " " : "", name, fault);
}

static const char *kind_fault(const struct weft_kind *kind)
{
	unsigned addresses = 0;

	WEFT_ASSERT(is_word(kind->name));
	for (const struct weft_option *option = kind->options; option && option->name; option++)
		addresses += !!(option->flags & WEFT_OPTION_ADDRESS);
	if (kind->size < sizeof(struct weft_object))
		return "the instance has no room for struct weft_object";
	if (!kind->summary)
		return "it has no summary";
	if (!kind->start)
		return "it has no start()";
	if (!kind->offers || !kind->offers->iface)
		return "it offers no interface";
	if (addresses > 1)
		return "it has more than one address option";
	for (const struct weft_offer *offer = kind->offers; offer->iface; offer++)
		if (offer->offset < sizeof(struct weft_object) || offer->offset >= kind->size)
			return "an offer lies outside the instance";
	return NULL;
}

int kind_check(const struct weft_kind *kind, const char *module, struct weft_why *why)
{
	const char *fault;

	WEFT_ASSERT(module);
	if (!is_word(kind->name))
		return refuse(why, module, kind->name ? kind->name : "?", "its name", "",
			      "must be lower-case letters, digits, '-' and '_', at most 31");
	fault = kind_fault(kind);
	if (fault)
		return refuse(why, module, kind->name, "its table", "", fault);
	for (const struct weft_option *option = kind->options; option && option->name; option++)
		if ((fault = option_fault(kind, option)))
			return refuse(why, module, kind->name, "option", option->name, fault);
	for (const struct weft_port *port = kind->ports; port && port->name; port++)
		if ((fault = port_fault(kind, port)))
			return refuse(why, module, kind->name, "port", port->name, fault);
	return 0;
}
