/* SPDX-License-Identifier: BSD-2-Clause */
/* Starting in a folder that another process has locked. */
#include "exports/vhost_user/rig_test.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

struct late {
	struct objects_job job;
	struct weft_msg msg;
	struct weft_object *object;
	char dir[32], text[96];
	bool done;
	int status, lock;
};

static void late_done(struct weft_task *task, int status)
{
	struct late *late = WEFT_CONTAINER(task, struct late, job.task);

	late->status = status;
	late->done = true;
}

static void late_build_here(void *self)
{
	struct tree_reader reader = objects_reader(t.core);
	struct late *late = self;
	struct weft_why why;
	struct tree *tree;

	assert_int_equal(grammar_parse(&reader, late->text, &weft_export_iface, &tree, &why), 0);
	objects_build(t.core, tree, &weft_export_iface, &late->object, &late->job);
	tree_free(t.core, tree);
}

/* Another export, in a folder that we have locked, has begun to start. */
static void late_begin(struct late *late)
{
	*late = (struct late){ .job.task.done = late_done, .dir = "/tmp/weft-late-XXXXXX" };
	assert_non_null(mkdtemp(late->dir));
	late->lock = open(late->dir, O_RDONLY | O_DIRECTORY);
	assert_int_equal(flock(late->lock, LOCK_EX | LOCK_NB), 0);
	snprintf(late->text, sizeof(late->text), "vhost-user:%s/vm.sock,device=[null:1MiB]", late->dir);
	late->msg = (struct weft_msg){ .fn = late_build_here, .self = late };
	weft_reactor_post(t.core->reactor[0], &late->msg);
}

static void late_end(struct late *late)
{
	struct weft_object *first = t.export;

	while (!late->done)
		turn();
	assert_int_equal(late->status, 0);
	t.export = late->object;
	assert_int_equal(on_control(release_here), 0);
	t.export = first;
	close(late->lock);
	assert_int_equal(rmdir(late->dir), 0); /* nothing is left in it */
}

static void an_export_waits_for_its_folder_while_control_goes_on(void **state)
{
	struct late late;

	(void)state;
	open_all("null:1MiB", "", 1, WEFT_MODE_NOTIFY);
	late_begin(&late);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(on_control(freeze_here), 0);
		assert_int_equal(on_control(thaw_here), 0);
		assert_false(late.done);
	}
	assert_int_equal(flock(late.lock, LOCK_UN), 0);
	late_end(&late);
	close_all();
}

static void a_folder_that_stays_locked_is_used_all_the_same(void **state)
{
	struct late late;

	(void)state;
	open_all("null:1MiB", "", 1, WEFT_MODE_NOTIFY);
	late_begin(&late);
	late_end(&late);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_export_waits_for_its_folder_while_control_goes_on),
		cmocka_unit_test(a_folder_that_stays_locked_is_used_all_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
