/* SPDX-License-Identifier: BSD-2-Clause */
/* Trees as JSON and YAML (the first byte chooses): whatever is read, is written in each syntax so that it
 * reads as the same tree. */
#include "fuzz/fuzz_core.h"

typedef int from_text(const struct tree_reader *, const char *, size_t, const struct weft_iface *, struct tree **,
	struct weft_why *);

static void check_reads_as(struct fuzz_core *fuzz, from_text *from, char *text, const struct tree *tree)
{
	struct weft_why why = { "" };
	struct tree *again = NULL;

	WEFT_ASSERT(text);
	int error = from(&fuzz->reader, text, strlen(text), NULL, &again, &why);
	fuzz_check_why(error, again, &why);
	WEFT_ASSERT(!error && tree_equal(tree, again));
	tree_free(&fuzz->core, again);
	weft_free(&fuzz->core, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_core fuzz;
	struct weft_why why = { "" };
	struct tree *tree = NULL;

	if (!size)
		return 0;
	fuzz_core_open(&fuzz);
	from_text *from = data[0] & 1 ? tree_from_json : tree_from_yaml;
	int error = from(&fuzz.reader, (const char *)data + 1, size - 1, NULL, &tree, &why);
	fuzz_check_why(error, tree, &why);
	if (!error) {
		check_reads_as(&fuzz, tree_from_json, tree_to_json(&fuzz.core, tree), tree);
		check_reads_as(&fuzz, tree_from_yaml, tree_to_yaml(&fuzz.core, tree), tree);
	}
	tree_free(&fuzz.core, tree);
	return 0;
}
