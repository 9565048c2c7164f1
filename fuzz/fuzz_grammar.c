/* SPDX-License-Identifier: BSD-2-Clause */
/* The grammar: whatever is read, is printed so that it reads as the same tree, and prints the same again. */
#include "fuzz/fuzz_core.h"

static void check_round_trip(struct fuzz_core *fuzz, const struct tree *tree)
{
	struct weft_why why = { "" };
	struct tree *again = NULL;
	char *printed = grammar_print(&fuzz->core, tree);
	int error = grammar_parse(&fuzz->reader, printed, NULL, &again, &why);

	fuzz_check_why(error, again, &why);
	WEFT_ASSERT(!error && tree_equal(tree, again));
	char *twice = grammar_print(&fuzz->core, again);
	WEFT_ASSERT(!strcmp(printed, twice));
	weft_free(&fuzz->core, printed);
	weft_free(&fuzz->core, twice);
	tree_free(&fuzz->core, again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_core fuzz;
	struct weft_why why = { "" };
	struct tree *tree = NULL;
	char *text = malloc(size + 1);

	WEFT_ASSERT(text);
	memcpy(text, data, size);
	text[size] = '\0';
	fuzz_core_open(&fuzz);
	int error = grammar_parse(&fuzz.reader, text, NULL, &tree, &why);
	fuzz_check_why(error, tree, &why);
	if (!error)
		check_round_trip(&fuzz, tree);
	tree_free(&fuzz.core, tree);
	free(text);
	return 0;
}
