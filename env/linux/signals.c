/* SPDX-License-Identifier: BSD-2-Clause */
/* SIGINT and SIGTERM as events of a loop: a signalfd. */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "env/linux/internal.h"

struct signals {
	struct source source;
	void (*fn)(void *self, int signal);
	void *self;
	sigset_t before;
};

static void signals_event(struct source *source, uint32_t events)
{
	struct signals *s = WEFT_CONTAINER(source, struct signals, source);
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) == sizeof(info))
		s->fn(s->self, (int)info.ssi_signo);
}

/*
 * Our other threads have every signal blocked since they began; the caller's blocks these two from here on.
 * SIGPIPE is ignored from then on, in the whole program.
 */
int signals_watch(struct env_loop *head, void (*fn)(void *self, int signal), void *self)
{
	struct loop *loop = loop_of(head);
	struct signals *s;
	sigset_t set;
	int rc;

	WEFT_ASSERT(!loop->signals);
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	s->fn = fn;
	s->self = self;
	s->source = (struct source){signals_event, signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)};
	rc = s->source.fd < 0 ? -errno : poller_add(&loop->poller, &s->source, EPOLLIN);
	if (rc) {
		if (s->source.fd >= 0)
			close(s->source.fd);
		free(s);
		return rc;
	}
	pthread_sigmask(SIG_BLOCK, &set, &s->before);
	signal(SIGPIPE, SIG_IGN); /* whoever read our output may have gone: an error of that write, not our end */
	loop->signals = s;
	return 0;
}

void signals_close(struct loop *loop)
{
	struct signals *s = loop->signals;

	if (!s)
		return;
	poller_remove(&loop->poller, &s->source);
	close(s->source.fd);
	pthread_sigmask(SIG_SETMASK, &s->before, NULL);
	free(s);
	loop->signals = NULL;
}
