/* SPDX-License-Identifier: BSD-2-Clause */
/* The registry: modules and their kinds, found by name and by the interface that is wanted. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <weft/memory.h>

#include "core/kind.h"
#include "core/log.h"
#include "core/nearest.h"
#include "core/object.h"

/* ---- adding ---- */

static int check_module(const struct weft_module *module, struct weft_why *why)
{
	const char *remedy = "build it against the headers of this weft (" WEFT_VERSION ")";

	WEFT_ASSERT(module);
	if (module->abi != WEFT_ABI)
		return weft_why(why, -EINVAL, "module: abi=%u: this weft takes %u only: %s", module->abi, WEFT_ABI, remedy);
	if (module->size != sizeof(*module))
		return weft_why(why, -EINVAL, "module: size=%u: its table must have %zu bytes: %s", module->size, sizeof(*module),
				remedy);
	if (module->kind_size != sizeof(struct weft_kind))
		return weft_why(why, -EINVAL, "module: kind_size=%u: a kind must have %zu bytes: %s", module->kind_size,
				sizeof(struct weft_kind), remedy);
	if (!module->name || !*module->name || !module->version || !module->kinds)
		return weft_why(why, -EINVAL, "module: name, version or kinds are missing: use WEFT_MODULE(name, version, "
				"&kind, ...)");
	return 0;
}

/* Where a kind of this name belongs: behind those of the same name. */
static unsigned place_of(const struct objects *objects, const char *name)
{
	unsigned place = 0;

	while (place < objects->nkinds && strcmp(objects->kinds[place].kind->name, name) <= 0)
		place++;
	WEFT_ASSERT(place == objects->nkinds || strcmp(objects->kinds[place].kind->name, name) > 0);
	return place;
}

static int check_new(const struct objects *objects, const struct weft_kind *kind, const struct weft_module *module,
	struct weft_why *why)
{
	WEFT_ASSERT(kind->offers && kind->offers->iface);
	for (unsigned i = 0; i < objects->nkinds; i++) {
		const struct weft_kind *there = objects->kinds[i].kind;

		if (!strcmp(there->name, kind->name) && iface_same(there->offers->iface, kind->offers->iface))
			return weft_why(why, -EEXIST, "module %s: kind '%s' (%s) is there already, from module %s: give it another "
					"name, or load one of the two", module->name, kind->name, kind->offers->iface->name,
					objects->kinds[i].module->name);
	}
	return 0;
}

static void insert_kind(struct objects *objects, const struct weft_kind *kind, const struct weft_module *module)
{
	unsigned place = place_of(objects, kind->name);

	WEFT_ASSERT(objects->nkinds < objects->kinds_room);
	memmove(&objects->kinds[place + 1], &objects->kinds[place], (objects->nkinds - place) * sizeof(objects->kinds[0]));
	objects->kinds[place] = (struct known_kind){ kind, module };
	objects->nkinds++;
	WEFT_ASSERT(!place || strcmp(objects->kinds[place - 1].kind->name, kind->name) <= 0);
}

static void remove_kinds_of(struct objects *objects, const struct weft_module *module)
{
	unsigned kept = 0;

	for (unsigned i = 0; i < objects->nkinds; i++)
		if (objects->kinds[i].module != module)
			objects->kinds[kept++] = objects->kinds[i];
	WEFT_ASSERT(kept <= objects->nkinds);
	objects->nkinds = kept;
}

static int make_room(struct weft_core *core, unsigned more)
{
	struct objects *objects = core->objects;
	unsigned room = objects->nkinds + more;

	WEFT_ASSERT(objects->nkinds <= objects->kinds_room);
	if (room <= objects->kinds_room)
		return 0;
	struct known_kind *kinds = weft_alloc(core, room * sizeof(*kinds));
	if (!kinds)
		return -ENOMEM;
	if (objects->nkinds)
		memcpy(kinds, objects->kinds, objects->nkinds * sizeof(*kinds));
	weft_free(core, objects->kinds);
	objects->kinds = kinds;
	objects->kinds_room = room;
	return 0;
}

static int add_kinds(struct objects *objects, const struct weft_module *module, struct weft_why *why)
{
	WEFT_ASSERT(module->kinds);
	for (const struct weft_kind *const *kind = module->kinds; *kind; kind++) {
		int error = kind_check(*kind, module->name, why);

		if (!error)
			error = check_new(objects, *kind, module, why);
		if (error)
			return error;
		insert_kind(objects, *kind, module);
	}
	return 0;
}

int kinds_add(struct weft_core *core, const struct weft_module *module, void *handle, struct weft_why *why)
{
	struct objects *objects = core->objects;
	unsigned count = 0;
	int error = check_module(module, why);

	object_control_assert(core);
	if (error)
		return error;
	for (const struct loaded_module *other = objects->modules; other; other = other->next)
		if (other->module == module)
			return weft_why(why, -EEXIST, "module %s: it is there already: add it once", module->name);
	while (module->kinds[count])
		count++;
	struct loaded_module *loaded = weft_alloc(core, sizeof(*loaded));
	if (!loaded || make_room(core, count)) {
		weft_free(core, loaded);
		return weft_why(why, -ENOMEM, "module %s: no memory for its %u kinds: end something else, or raise the "
				"memory limit",
				module->name, count);
	}
	error = add_kinds(objects, module, why);
	if (error) {
		remove_kinds_of(objects, module);
		weft_free(core, loaded);
		return error;
	}
	*loaded = (struct loaded_module){ module, handle, objects->modules };
	objects->modules = loaded;
	WEFT_ASSERT(objects->nkinds >= count);
	return 0;
}

int objects_module_add(struct weft_core *core, const struct weft_module *module, struct weft_why *why)
{
	return kinds_add(core, module, NULL, why);
}

void kinds_close(struct weft_core *core)
{
	struct objects *objects = core->objects;
	struct loaded_module *loaded;

	WEFT_ASSERT(!objects->first);
	log_flush(core);
	while ((loaded = objects->modules)) {
		objects->modules = loaded->next;
		if (loaded->handle)
			module_unload(loaded->handle);
		weft_free(core, loaded);
	}
	weft_free(core, objects->kinds);
}

/* ---- looking ---- */

bool objects_kind_offers(const struct weft_kind *kind, const struct weft_iface *iface)
{
	WEFT_ASSERT(iface);
	for (const struct weft_offer *offer = kind->offers; offer->iface; offer++)
		if (iface_same(offer->iface, iface))
			return true;
	return false;
}

const struct weft_kind *objects_kind(struct weft_core *core, const char *name, const struct weft_iface *wants,
	struct weft_why *why)
{
	const struct objects *objects = core->objects;
	const struct weft_kind *other = NULL;
	struct nearest nearest = { .wanted = name };
	const char *what = wants ? wants->name : "";

	WEFT_ASSERT(name);
	for (unsigned i = 0; i < objects->nkinds; i++) {
		const struct weft_kind *kind = objects->kinds[i].kind;
		bool fits = !wants || objects_kind_offers(kind, wants);

		if (!strcmp(kind->name, name) && fits)
			return kind;
		if (!strcmp(kind->name, name))
			other = kind;
		else if (fits)
			nearest_try(&nearest, kind->name, strlen(kind->name));
	}
	if (other)
		weft_why(why, -ENOENT, "'%s' offers '%s', but '%s' is wanted here: choose another kind (`weft list "
				"components`)", name,
			 other->offers->iface->name, what);
	else
		weft_why(why, -ENOENT, "there is no kind '%.40s'%s%s: %s%s`weft list components` lists them", name,
			 wants ? " that offers " : "", what, nearest_phrase(&nearest), nearest.best ? " " : "");
	return NULL;
}

const struct weft_kind *objects_kind_next(struct weft_core *core, const struct weft_kind *last)
{
	const struct objects *objects = core->objects;

	WEFT_ASSERT(objects->nkinds <= objects->kinds_room);
	if (!last)
		return objects->nkinds ? objects->kinds[0].kind : NULL;
	for (unsigned i = 0; i + 1 < objects->nkinds; i++)
		if (objects->kinds[i].kind == last)
			return objects->kinds[i + 1].kind;
	return NULL;
}

static const struct weft_kind *reader_kind(void *self, const char *name, const struct weft_iface *wants, struct weft_why *why)
{
	return objects_kind(self, name, wants, why);
}

struct tree_reader objects_reader(struct weft_core *core)
{
	return (struct tree_reader){ .core = core, .kinds = reader_kind, .self = core };
}
