/* SPDX-License-Identifier: BSD-2-Clause */
/* A folder for a while, and another process. This program is the other process as well: it waits until it is told to end. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "env/linux/linux.h"

#define PATIENCE_NS 60000000000ull

static void a_folder_goes_with_the_files_in_it(void **state)
{
	struct weft_why why;
	char path[256], file[300];
	struct stat info;

	(void)state;
	assert_int_equal(env_linux_folder_make("weft-test", path, sizeof(path), &why), 0);
	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(info.st_mode & 0777, 0700);
	snprintf(file, sizeof(file), "%s/file", path);
	close(open(file, O_CREAT | O_WRONLY, 0600));
	env_linux_folder_remove(path);
	assert_int_equal(stat(path, &info), -1);
}

static void a_folder_that_cannot_be_made_is_explained(void **state)
{
	struct weft_why why;
	char path[256];
	char *before = getenv("TMPDIR");

	(void)state;
	setenv("TMPDIR", "/none", 1);
	assert_int_equal(env_linux_folder_make("weft-test", path, sizeof(path), &why), -ENOENT);
	assert_non_null(strstr(why.text, "TMPDIR='/none'"));
	assert_int_equal(env_linux_folder_make("weft-test", path, 8, &why), -ENAMETOOLONG);
	if (before != NULL)
		setenv("TMPDIR", before, 1);
	else
		unsetenv("TMPDIR");
}

static struct env_linux_child *child_start(const char *how)
{
	const char *const argv[] = { "child", how, NULL };
	struct env_linux_child *child;
	struct weft_why why;

	assert_int_equal(env_linux_child_start(argv, &child, &why), 0);
	return child;
}

static void a_process_runs_until_it_is_told_to_end(void **state)
{
	struct env_linux_child *child = child_start("wait");

	(void)state;
	assert_true(env_linux_child_running(child));
	assert_int_equal(kill((pid_t)env_linux_child_pid(child), 0), 0);
	assert_int_equal(env_linux_child_end(child, PATIENCE_NS), -SIGTERM);
}

static void its_exit_status_is_told(void **state)
{
	struct env_linux_child *child = child_start("end");

	(void)state;
	while (env_linux_child_running(child))
		;
	assert_int_equal(env_linux_child_end(child, PATIENCE_NS), 7);
}

static void one_that_does_not_listen_is_killed(void **state)
{
	struct env_linux_child *child = child_start("deaf");
	char path[64], text[4096];
	unsigned long long ignored = 0;

	(void)state;
	snprintf(path, sizeof(path), "/proc/%llu/status", (unsigned long long)env_linux_child_pid(child));
	while ((ignored & (1u << (SIGTERM - 1))) == 0) { /* until it is deaf */
		int fd = open(path, O_RDONLY);
		ssize_t n = read(fd, text, sizeof(text) - 1);

		close(fd);
		text[n > 0 ? n : 0] = '\0';
		sscanf(strstr(text, "SigIgn:"), "SigIgn: %llx", &ignored);
	}
	assert_int_equal(env_linux_child_end(child, 1000000), -SIGKILL);
}

static int child_main(const char *how)
{
	if (strcmp(how, "end") == 0)
		return 7;
	if (strcmp(how, "deaf") == 0)
		signal(SIGTERM, SIG_IGN);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_folder_goes_with_the_files_in_it),
		cmocka_unit_test(a_folder_that_cannot_be_made_is_explained),
		cmocka_unit_test(a_process_runs_until_it_is_told_to_end),
		cmocka_unit_test(its_exit_status_is_told),
		cmocka_unit_test(one_that_does_not_listen_is_killed),
	};

	if (argc > 2 && strcmp(argv[1], "child") == 0)
		return child_main(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
