/* SPDX-License-Identifier: BSD-2-Clause */
/* The components that every weft has: one line here is all that makes a component built in. */
#include "lib/builtin.h"

extern const struct weft_kind compare_write_kind;
extern const struct weft_kind contract_kind;
extern const struct weft_kind delay_kind;
extern const struct weft_kind error_kind;
extern const struct weft_kind export_vhost_user_kind;
extern const struct weft_kind file_kind;
extern const struct weft_kind home_kind;
extern const struct weft_kind limit_kind;
extern const struct weft_kind log_kind;
extern const struct weft_kind mem_kind;
extern const struct weft_kind mirror_kind;
extern const struct weft_kind null_kind;
extern const struct weft_kind slice_kind;
extern const struct weft_kind stripe_kind;
extern const struct weft_kind timeout_kind;
extern const struct weft_kind vhost_user_kind;

static const struct weft_kind *const kinds[] = {
	/* devices */
	&compare_write_kind,
	&contract_kind,
	&delay_kind,
	&error_kind,
	&file_kind,
	&home_kind,
	&limit_kind,
	&log_kind,
	&mem_kind,
	&mirror_kind,
	&null_kind,
	&slice_kind,
	&stripe_kind,
	&timeout_kind,
	&vhost_user_kind,
	/* exports */
	&export_vhost_user_kind,
	NULL,
};

const struct weft_module builtin_module = {
	.abi = WEFT_ABI,
	.size = sizeof(struct weft_module),
	.kind_size = sizeof(struct weft_kind),
	.name = "weft",
	.version = WEFT_VERSION,
	.kinds = kinds,
};
