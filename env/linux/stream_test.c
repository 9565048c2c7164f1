/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unix sockets on both kinds of loop: listening, messages with descriptors, peers that are slow, gone or
 * hostile.
 */
#include "env/linux/test_linux.h"

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static const struct env_listen_wants plain = {.mode = -1, .fd = -1};

struct server {
	struct world *w;
	struct env_listener *listener;
	struct env_stream *stream; /* the last accepted */
	volatile bool accepted;
	char where[100];
};

static void server_accepted(void *self, struct env_stream *stream)
{
	struct server *s = self;

	assert_null(s->stream);
	s->stream = stream;
	s->accepted = true;
}

static struct server *server_open(struct world *w, const struct env_listen_wants *wants)
{
	struct server *s = calloc(1, sizeof(*s));

	s->w = w;
	snprintf(s->where, sizeof(s->where), "unix:%s/socket", w->dir);
	if (env_listen(w->loop, s->where, wants, server_accepted, s, &s->listener, &w->why))
		fail_msg("%s", w->why.text);
	return s;
}

static void server_close(struct server *s)
{
	if (s->stream)
		env_stream_close(s->stream);
	env_listener_close(s->listener);
	free(s);
}

static struct env_stream *client_connect(struct server *s)
{
	struct env_stream *client;

	if (env_connect(s->w->loop, s->where, &client, &s->w->why))
		fail_msg("%s", s->w->why.text);
	s->accepted = false;
	world_until(s->w, &s->accepted);
	return client;
}

static void raise_flag(void *self)
{
	*(volatile bool *)self = true;
}

/* ---- messages ---- */

static void messages_go_both_ways(void **state)
{
	struct server *s = server_open(*state, &plain);
	struct env_stream *client = client_connect(s);
	volatile bool told = false;
	char text[16];

	assert_int_equal(env_stream_read(s->stream, text, sizeof(text), NULL, NULL), -EAGAIN);
	env_stream_watch(s->stream, raise_flag, (void *)(uintptr_t)&told);
	assert_int_equal(env_stream_write(client, "hello", 5, NULL, 0), 0);
	world_until(s->w, &told);
	/* As long as it has not been read it is told again. */
	told = false;
	world_until(s->w, &told);
	assert_int_equal(env_stream_read(s->stream, text, sizeof(text), NULL, NULL), 5);
	assert_memory_equal(text, "hello", 5);
	told = false;
	world_settle(s->w);
	assert_false(told);
	env_stream_watch(s->stream, NULL, NULL);
	assert_int_equal(env_stream_write(client, "again", 5, NULL, 0), 0);
	world_settle(s->w);
	assert_false(told);
	env_stream_watch(s->stream, raise_flag, (void *)(uintptr_t)&told);
	world_until(s->w, &told);
	env_stream_close(client);
	server_close(s);
}

static void descriptors_come_along(void **state)
{
	struct server *s = server_open(*state, &plain);
	struct env_stream *client = client_connect(s);
	int shm[2], got[ENV_FDS_MAX];
	unsigned n = ENV_FDS_MAX;
	char byte;

	for (unsigned i = 0; i < 2; i++)
		assert_int_equal(env_shm_create(s->w->env, "test", 4096 * (i + 1), &shm[i]), 0);
	assert_int_equal(env_stream_write(client, "x", 1, shm, 2), 0);
	assert_int_equal(env_stream_read(s->stream, &byte, 1, got, &n), 1);
	assert_int_equal(n, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(env_fd_size(s->w->env, got[i]), 4096 * (i + 1));
		assert_int_equal(fcntl(got[i], F_GETFD), FD_CLOEXEC);
		env_fd_close(s->w->env, got[i]);
	}
	/* Those for which there is no room are closed, not leaked. */
	int probe = dup(0);

	close(probe);
	n = 1;
	assert_int_equal(env_stream_write(client, "x", 1, shm, 2), 0);
	assert_int_equal(env_stream_read(s->stream, &byte, 1, got, &n), 1);
	assert_int_equal(n, 1);
	env_fd_close(s->w->env, got[0]);
	assert_int_equal(env_stream_write(client, "x", 1, shm, 2), 0);
	assert_int_equal(env_stream_read(s->stream, &byte, 1, NULL, NULL), 1);
	assert_int_equal(dup(0), probe);
	close(probe);
	env_fd_close(s->w->env, shm[0]);
	env_fd_close(s->w->env, shm[1]);
	env_stream_close(client);
	server_close(s);
}

static void the_end_of_the_peer_is_told(void **state)
{
	struct server *s = server_open(*state, &plain);
	struct env_stream *client = client_connect(s);
	volatile bool told = false;
	char byte;

	env_stream_watch(s->stream, raise_flag, (void *)(uintptr_t)&told);
	env_stream_close(client);
	world_until(s->w, &told);
	assert_int_equal(env_stream_read(s->stream, &byte, 1, NULL, NULL), 0);
	assert_int_equal(env_stream_write(s->stream, "x", 1, NULL, 0), -EPIPE);
	server_close(s);
}

static void an_end_is_told_while_there_is_more_to_read(void **state)
{
	struct server *s = server_open(*state, &plain);
	struct env_stream *client = client_connect(s);
	volatile bool told = false;
	char text[4];

	env_stream_watch_end(s->stream, raise_flag, (void *)(uintptr_t)&told);
	assert_int_equal(env_stream_write(client, "last", 4, NULL, 0), 0);
	world_settle(s->w);
	assert_false(told);
	env_stream_close(client);
	world_until(s->w, &told);
	assert_int_equal(env_stream_read(s->stream, text, sizeof(text), NULL, NULL), 4);
	server_close(s);
}

/* A peer that has gone and is not watched costs no turns. */
static void an_ignored_end_is_quiet(void **state)
{
	struct server *s = server_open(*state, &plain);
	struct env_stream *client = client_connect(s);

	env_stream_watch(s->stream, raise_flag, NULL);
	env_stream_watch(s->stream, NULL, NULL);
	env_stream_close(client);
	world_settle(s->w);
	assert_true(world_waits(s->w, 2000000) < 10);
	server_close(s);
}

struct pair {
	struct env_stream *stream[2];
	unsigned told;
	volatile bool gone;
};

static void close_the_pair(void *self)
{
	struct pair *p = self;

	p->told++;
	env_stream_close(p->stream[0]);
	env_stream_close(p->stream[1]);
	p->gone = true;
}

/* Both have been told of in the same turn; whichever runs first closes the other, too. */
static void a_closed_stream_is_told_nothing(void **state)
{
	struct server *s = server_open(*state, &plain);
	struct env_stream *client[2];
	struct pair pair = {.told = 0};

	for (unsigned i = 0; i < 2; i++) {
		client[i] = client_connect(s);
		pair.stream[i] = s->stream;
		s->stream = NULL;
		assert_int_equal(env_stream_write(client[i], "x", 1, NULL, 0), 0);
	}
	for (unsigned i = 0; i < 2; i++)
		env_stream_watch(pair.stream[i], close_the_pair, &pair);
	world_until(s->w, &pair.gone);
	world_settle(s->w);
	assert_int_equal(pair.told, 1);
	env_stream_close(client[0]);
	env_stream_close(client[1]);
	server_close(s);
}

static void a_slow_reader_gets_all_of_it(void **state)
{
	enum { SIZE = 900000 };
	struct server *s = server_open(*state, &plain);
	struct env_stream *client = client_connect(s);
	unsigned char *out = malloc(SIZE), *in = malloc(SIZE);
	size_t got = 0;

	for (size_t i = 0; i < SIZE; i++)
		out[i] = (unsigned char)(i * 7 + i / 251);
	assert_int_equal(env_stream_write(client, out, SIZE - 1000, NULL, 0), 0);
	assert_int_equal(env_stream_write(client, out + SIZE - 1000, 1000, NULL, 0), 0);
	/* The rest is sent as the peer reads, even though its sender has closed. */
	env_stream_close(client);
	while (got < SIZE) {
		int64_t n = env_stream_read(
			s->stream, in + got, SIZE - got < 5000 ? SIZE - got : 5000, NULL, NULL);

		if (n == -EAGAIN)
			world_settle(s->w);
		else
			assert_true(n > 0);
		got += n > 0 ? (size_t)n : 0;
	}
	world_settle(s->w);
	assert_memory_equal(in, out, SIZE);
	assert_int_equal(env_stream_read(s->stream, in, 1, NULL, NULL), 0);
	free(out);
	free(in);
	server_close(s);
}

static void a_peer_that_does_not_read_is_not_waited_for(void **state)
{
	struct server *s = server_open(*state, &plain);
	struct env_stream *client = client_connect(s);
	char *block = calloc(1, 100000);
	int rc = 0;

	for (unsigned i = 0; i < 100 && rc == 0; i++)
		rc = env_stream_write(client, block, 100000, NULL, 0);
	assert_int_equal(rc, -EAGAIN);
	free(block);
	env_stream_close(client); /* with a queue that nobody will take: freed with the loop */
	server_close(s);
}

static void what_is_shut_is_read_to_its_end_and_still_reads(void **state)
{
	struct server *s = server_open(*state, &plain);
	struct env_stream *client = client_connect(s);
	volatile bool here = false, there = false;
	char text[16];

	assert_int_equal(env_stream_write(client, "last", 4, NULL, 0), 0);
	env_stream_shut(client);
	env_stream_watch(client, raise_flag, (void *)(uintptr_t)&here);
	env_stream_watch(s->stream, raise_flag, (void *)(uintptr_t)&there);
	world_until(s->w, &there);
	assert_int_equal(env_stream_read(s->stream, text, sizeof(text), NULL, NULL), 4);
	assert_memory_equal(text, "last", 4);
	assert_int_equal(env_stream_read(s->stream, text, 1, NULL, NULL), 0);
	assert_int_equal(env_stream_write(client, "x", 1, NULL, 0), -EPIPE);
	env_stream_watch(s->stream, NULL, NULL);
	world_settle(s->w);
	assert_false(here); /* the peer has not closed */
	assert_int_equal(env_stream_read(client, text, 1, NULL, NULL), -EAGAIN);
	assert_int_equal(env_stream_write(s->stream, "answer", 6, NULL, 0), 0);
	world_until(s->w, &here);
	assert_int_equal(env_stream_read(client, text, sizeof(text), NULL, NULL), 6);
	assert_memory_equal(text, "answer", 6);
	env_stream_close(s->stream);
	s->stream = NULL;
	here = false;
	world_until(s->w, &here);
	assert_int_equal(env_stream_read(client, text, 1, NULL, NULL), 0);
	env_stream_shut(client); /* nobody is there: nothing to be done */
	env_stream_close(client);
	server_close(s);
}

/* What the kernel had taken is read, what was queued is not; then the end. */
static void a_slow_peer_of_what_is_shut_reads_the_end(void **state)
{
	enum { SIZE = 900000 };
	struct server *s = server_open(*state, &plain);
	struct env_stream *client = client_connect(s);
	char *block = calloc(1, SIZE);
	int64_t n, got = 0;

	assert_int_equal(env_stream_write(client, block, SIZE, NULL, 0), 0);
	env_stream_shut(client);
	while ((n = env_stream_read(s->stream, block, SIZE, NULL, NULL)) > 0)
		got += n;
	assert_int_equal(n, 0);
	assert_true(got > 0 && got < SIZE);
	free(block);
	env_stream_close(client);
	server_close(s);
}

/* ---- listening ---- */

static void a_stale_socket_is_replaced(void **state)
{
	struct world *w = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	struct server *s;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", w->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	s = server_open(w, &plain);
	env_stream_close(client_connect(s));
	server_close(s);
	assert_int_equal(access(address.sun_path, F_OK), -1);
}

static int listen_at(struct world *w, const char *where, const struct env_listen_wants *wants)
{
	struct env_listener *listener;

	memset(&w->why, 0, sizeof(w->why));
	return env_listen(w->loop, where, wants, server_accepted, NULL, &listener, &w->why);
}

struct rival {
	struct world *w;
	struct env_loop *loop;
	struct env_listener *listener;
	pthread_barrier_t *start;
	const char *where;
	int rc;
};

static void nobody_comes(void *self, struct env_stream *stream)
{
	(void)self;
	env_stream_close(stream);
}

static void *rival_main(void *arg)
{
	struct rival *r = arg;
	struct weft_why why;

	pthread_barrier_wait(r->start);
	do
		r->rc = env_listen(r->loop, r->where, &plain, nobody_comes, NULL, &r->listener, &why);
	while (r->rc == -EWOULDBLOCK);
	return NULL;
}

/* It is not waited for in here, the thread has other things to do. */
static void a_folder_that_another_has_locked_is_said_to_be(void **state)
{
	struct env_listen_wants wants = plain;
	struct env_listener *listener;
	struct world *w = *state;
	int lock = open(w->dir, O_RDONLY | O_DIRECTORY);
	char where[140];

	snprintf(where, sizeof(where), "unix:%s", world_path(w, "socket"));
	assert_int_equal(flock(lock, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(listen_at(w, where, &wants), -EWOULDBLOCK);
	assert_why(w, "another process has locked the folder of");
	assert_int_equal(access(where + 5, F_OK), -1);
	wants.unlocked = true;
	assert_int_equal(env_listen(w->loop, where, &wants, nobody_comes, NULL, &listener, &w->why), 0);
	env_listener_close(listener);
	assert_int_equal(flock(lock, LOCK_UN), 0);
	wants.unlocked = false;
	assert_int_equal(env_listen(w->loop, where, &wants, nobody_comes, NULL, &listener, &w->why), 0);
	env_listener_close(listener);
	close(lock);
}

static void of_many_that_find_a_stale_socket_one_gets_it(void **state)
{
	enum { RIVALS = 6, ROUNDS = 40 };
	struct rival rival[RIVALS];
	pthread_t thread[RIVALS];
	pthread_barrier_t start;
	struct world *w = *state;
	char where[140];

	snprintf(where, sizeof(where), "unix:%s", world_path(w, "socket"));
	pthread_barrier_init(&start, NULL, RIVALS);
	for (unsigned i = 0; i < RIVALS; i++) {
		rival[i] = (struct rival){.w = w, .start = &start, .where = where};
		assert_int_equal(env_loop_open(w->env, &rival[i].loop, &w->why), 0);
	}
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct sockaddr_un address = {.sun_family = AF_UNIX};
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);
		unsigned got = 0;

		strcpy(address.sun_path, where + 5);
		assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
		close(fd); /* the file stays: stale */
		for (unsigned i = 0; i < RIVALS; i++)
			assert_int_equal(pthread_create(&thread[i], NULL, rival_main, &rival[i]), 0);
		for (unsigned i = 0; i < RIVALS; i++)
			pthread_join(thread[i], NULL);
		for (unsigned i = 0; i < RIVALS; i++)
			got += rival[i].rc == 0;
		for (unsigned i = 0; i < RIVALS; i++)
			if (rival[i].rc == 0)
				env_listener_close(rival[i].listener);
			else
				assert_int_equal(rival[i].rc, -EADDRINUSE);
		assert_int_equal(got, 1);
		assert_int_equal(access(where + 5, F_OK), -1);
	}
	for (unsigned i = 0; i < RIVALS; i++)
		env_loop_close(rival[i].loop);
	pthread_barrier_destroy(&start);
}

static void a_socket_in_use_is_left_alone(void **state)
{
	struct server *s = server_open(*state, &plain);

	assert_int_equal(listen_at(s->w, s->where, &plain), -EADDRINUSE);
	assert_why(s->w, "somebody listens on");
	assert_why(s->w, "stop that one, or choose another path");
	s->accepted = false;
	world_until(s->w, &s->accepted); /* the question whether somebody listens was a connection */
	env_stream_close(s->stream);
	s->stream = NULL;
	env_stream_close(client_connect(s));
	server_close(s);
}

static void sentences_name_the_remedy(void **state)
{
	struct world *w = *state;
	struct env_stream *stream;
	char where[300];
	FILE *file;

	snprintf(where, sizeof(where), "unix:%s/socket", w->dir);
	file = fopen(where + 5, "w");
	fclose(file);
	assert_int_equal(listen_at(w, where, &plain), -EEXIST);
	assert_why(w, "is no socket: remove it, or choose another path");
	assert_int_equal(unlink(where + 5), 0);
	assert_int_equal(env_connect(w->loop, where, &stream, &w->why), -ENOENT);
	assert_why(w, "start the server first");
	snprintf(where, sizeof(where), "unix:%s/none/socket", w->dir);
	assert_int_equal(listen_at(w, where, &plain), -ENOENT);
	assert_why(w, "the folder of");
	memset(where + 5, 'a', 200);
	where[205] = 0;
	assert_int_equal(listen_at(w, where, &plain), -ENAMETOOLONG);
	assert_why(w, "has 200 bytes, and at most 107 are possible: choose a shorter one");
	assert_int_equal(listen_at(w, "tcp:1", &plain), -EINVAL);
	assert_why(w, "not of the form unix:/path");
	assert_int_equal(listen_at(w, "unix:", &plain), -EINVAL);
	assert_why(w, "the path of the socket is missing");
}

static void mode_and_group_are_set(void **state)
{
	struct env_listen_wants wants = {.mode = 0640, .fd = -1};
	struct world *w = *state;
	char group[20], path[100];
	struct server *s;
	struct stat st;

	snprintf(group, sizeof(group), "%u", (unsigned)getegid());
	wants.group = group;
	s = server_open(w, &wants);
	snprintf(path, sizeof(path), "%s", s->where + 5);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(st.st_gid, getegid());
	server_close(s);
	wants.group = "no-such-group";
	snprintf(path, sizeof(path), "unix:%s/socket", w->dir);
	assert_int_equal(listen_at(w, path, &wants), -ENOENT);
	assert_why(w, "group: there is no group no-such-group");
	assert_int_equal(access(path + 5, F_OK), -1);
}

static void an_inherited_socket_is_adopted(void **state)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct env_listen_wants wants = {.mode = -1, .fd = socket(AF_UNIX, SOCK_STREAM, 0)};
	struct world *w = *state;
	struct server *s;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", w->dir);
	assert_int_equal(bind(wants.fd, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(wants.fd, 5), 0);
	s = server_open(w, &wants);
	env_stream_close(client_connect(s));
	server_close(s);
	assert_int_equal(access(address.sun_path, F_OK), 0); /* its file is not ours */
	wants.fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(listen_at(w, "", &wants), -EINVAL);
	assert_why(w, "does not listen: call listen()");
	assert_int_equal(fcntl(wants.fd, F_GETFD), -1);
	wants.fd = 1000;
	assert_int_equal(listen_at(w, "", &wants), -EBADF);
}

static void an_inherited_connection_is_accepted_later(void **state)
{
	struct env_listen_wants wants = {.mode = -1, .connected = true};
	struct world *w = *state;
	struct server *s;
	int ends[2];
	char text[8];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	wants.fd = ends[0];
	s = server_open(w, &wants);
	assert_false(s->accepted);
	world_until(w, &s->accepted);
	assert_int_equal(write(ends[1], "abc", 3), 3);
	assert_int_equal(env_stream_read(s->stream, text, sizeof(text), NULL, NULL), 3);
	close(ends[1]);
	server_close(s);
}

/* ---- each call fails once ---- */

static int talk(struct world *w)
{
	struct env_listener *listener = NULL;
	struct env_stream *client = NULL;
	struct server s = {.w = w};
	char byte;
	int rc, fd = -1;

	snprintf(s.where, sizeof(s.where), "unix:%s/socket", w->dir);
	rc = env_listen(w->loop, s.where, &plain, server_accepted, &s, &listener, &w->why);
	rc = rc ? rc : env_connect(w->loop, s.where, &client, &w->why);
	if (rc == 0)
		world_until(w, &s.accepted);
	rc = rc ? rc : env_shm_create(w->env, "test", 4096, &fd);
	rc = rc ? rc : env_stream_write(client, "x", 1, &fd, 1);
	if (rc == 0 && env_stream_read(s.stream, &byte, 1, NULL, NULL) != 1)
		rc = -EIO;
	env_fd_close(w->env, fd);
	if (client)
		env_stream_close(client);
	if (s.stream)
		env_stream_close(s.stream);
	if (listener)
		env_listener_close(listener);
	return rc;
}

static void each_call_can_fail(void **state)
{
	struct world *w = *state;
	unsigned n;

	for (n = 1; n < 20; n++) {
		int rc;

		env_fail_nth(w->env, n);
		rc = talk(w);
		if (!env_fail_hit(w->env)) {
			assert_int_equal(rc, 0);
			break;
		}
		assert_int_equal(rc, -EIO);
	}
	assert_int_equal(n, 6);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(messages_go_both_ways),
		BOTH(descriptors_come_along),
		BOTH(the_end_of_the_peer_is_told),
		BOTH(an_end_is_told_while_there_is_more_to_read),
		BOTH(an_ignored_end_is_quiet),
		BOTH(a_closed_stream_is_told_nothing),
		BOTH(a_slow_reader_gets_all_of_it),
		BOTH(a_peer_that_does_not_read_is_not_waited_for),
		BOTH(what_is_shut_is_read_to_its_end_and_still_reads),
		BOTH(a_slow_peer_of_what_is_shut_reads_the_end),
		BOTH(a_stale_socket_is_replaced),
		BOTH(a_folder_that_another_has_locked_is_said_to_be),
		ENTRY(of_many_that_find_a_stale_socket_one_gets_it, ", epoll", WORLD_EPOLL),
		BOTH(a_socket_in_use_is_left_alone),
		BOTH(sentences_name_the_remedy),
		BOTH(mode_and_group_are_set),
		BOTH(an_inherited_socket_is_adopted),
		BOTH(an_inherited_connection_is_accepted_later),
		BOTH(each_call_can_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
