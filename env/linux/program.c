/* SPDX-License-Identifier: BSD-2-Clause */
/* What only programs need: a folder for a while, and a process beside this one. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "env/linux/linux.h"

#define ARGUMENTS_MAX 64

/* ---- limits ---- */

void env_linux_files_raise(void)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur >= files.rlim_max)
		return;
	files.rlim_cur = files.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &files); /* else what cannot be opened says so */
}

void env_linux_file_limit_told(void)
{
	signal(SIGXFSZ, SIG_IGN);
}

/* ---- folders ---- */

int env_linux_folder_make(const char *prefix, char *path, size_t size, struct weft_why *why)
{
	const char *top = getenv("TMPDIR");

	if (top == NULL || *top == '\0')
		top = "/tmp";
	if ((size_t)snprintf(path, size, "%s/%s-XXXXXX", top, prefix) >= size)
		return weft_why(why, -ENAMETOOLONG, "TMPDIR='%.100s' is too long: choose a shorter folder", top);
	if (mkdtemp(path) == NULL)
		return weft_why(why, -errno, "TMPDIR='%.100s': no folder can be made there (%s): choose another one", top,
			strerror(errno));
	return 0;
}

void env_linux_folder_remove(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;

	while (folder != NULL && (entry = readdir(folder)) != NULL)
		unlinkat(dirfd(folder), entry->d_name, 0);
	if (folder != NULL)
		closedir(folder);
	rmdir(path);
}

/* ---- another process ---- */

struct env_linux_child {
	pid_t pid;
	bool ended;
	int status;
};

/* In the child: no memory is allocated. */
static void child_become(pid_t parent, char *const *argv)
{
	int null = open("/dev/null", O_RDWR);
	sigset_t none;

	setpgid(0, 0); /* the terminal's interrupt is for us, who then end it in order */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent)
		_exit(127);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	dup2(null, 0);
	dup2(null, 1);
	execv("/proc/self/exe", argv);
	_exit(127);
}

int env_linux_child_start(const char *const *argv, struct env_linux_child **out, struct weft_why *why)
{
	struct env_linux_child *child = calloc(1, sizeof(*child));
	char *args[ARGUMENTS_MAX + 2] = { (char *)(uintptr_t) "weft" };
	pid_t parent = getpid();

	for (unsigned i = 0; argv[i] != NULL && i < ARGUMENTS_MAX; i++)
		args[i + 1] = (char *)(uintptr_t)argv[i];
	if (child == NULL)
		return weft_why(why, -ENOMEM, "no memory for another process: end something else");
	child->pid = fork();
	if (child->pid == 0)
		child_become(parent, args);
	if (child->pid < 0) {
		free(child);
		return weft_why(why, -errno, "no other process can be started (%s): end something else", strerror(errno));
	}
	*out = child;
	return 0;
}

uint64_t env_linux_child_pid(const struct env_linux_child *child)
{
	return (uint64_t)child->pid;
}

bool env_linux_child_running(struct env_linux_child *child)
{
	if (!child->ended)
		child->ended = waitpid(child->pid, &child->status, WNOHANG) == child->pid;
	return !child->ended;
}

int env_linux_child_end(struct env_linux_child *child, uint64_t patience_ns)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	int status;

	if (env_linux_child_running(child))
		kill(child->pid, SIGTERM);
	for (uint64_t waited = 0; waited < patience_ns && env_linux_child_running(child); waited += 1000000)
		nanosleep(&pause, NULL);
	if (env_linux_child_running(child)) {
		kill(child->pid, SIGKILL);
		waitpid(child->pid, &child->status, 0);
	}
	status = WIFSIGNALED(child->status) ? -WTERMSIG(child->status) : WEXITSTATUS(child->status);
	free(child);
	return status;
}
