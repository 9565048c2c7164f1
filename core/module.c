/* SPDX-License-Identifier: BSD-2-Clause */
/* Components from shared objects: the one place that calls the dynamic loader. */
#include <dlfcn.h>
#include <errno.h>

#include <string.h>

#include "core/object.h"

/* What is wrong with it, and which one it is: several may be loaded at once. */
static int refused(const char *path, int error, struct weft_why *why)
{
	struct weft_why inner = *why;
	const char *text = strncmp(inner.text, "module: ", 8) == 0 ? inner.text + 8 : inner.text;

	return weft_why(why, error, "module='%.80s': %.160s", path, text);
}

int objects_module_load(struct weft_core *core, const char *path, struct weft_why *why)
{
	void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	const char *fault;

	WEFT_ASSERT(core->objects && path);
	if (!handle) {
		fault = dlerror();
		return weft_why(why, -ENOENT, "module='%.80s': cannot be loaded (%.100s): give the path of a component's "
				"shared object",
				path, fault ? fault : "?");
	}
	const struct weft_module *module = dlsym(handle, "weft_module");
	int error = module ? kinds_add(core, module, handle, why) :
		weft_why(why, -EINVAL, "it exports no 'weft_module': declare its kinds with WEFT_MODULE");
	if (error) {
		error = refused(path, error, why);
		dlclose(handle);
	}
	return error;
}

void module_unload(void *handle)
{
	WEFT_ASSERT(handle);
	dlclose(handle);
}
