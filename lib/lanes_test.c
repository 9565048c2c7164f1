/* SPDX-License-Identifier: BSD-2-Clause */
/* Reactors and what belongs to them: processors of the service reactors, pinned memory while a program's reactors come and go, and
 * reactors that are handed from thread to thread with requests in flight. */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <weft/weft.h>

#define BLOCK 4096u

static struct weft_why why;

static void must(int got)
{
	if (got < 0)
		fail_msg("%d: %s", got, why.text);
}

/* A file in a folder of its own, as a device. */
struct place {
	char folder[40], path[64], device[96];
};

static void place_make(struct place *p)
{
	strcpy(p->folder, "/tmp/weft-lanes-XXXXXX");
	assert_non_null(mkdtemp(p->folder));
	snprintf(p->path, sizeof(p->path), "%s/disk", p->folder);
	snprintf(p->device, sizeof(p->device), "file:%s,create=1MiB", p->path);
}

static void place_remove(struct place *p)
{
	assert_int_equal(unlink(p->path), 0);
	assert_int_equal(rmdir(p->folder), 0);
}

/* ---- processors ---- */

#define SERVICE_MAX 4u

/* Of the thread of this name; false: there is none. */
static bool thread_cpus(const char *name, cpu_set_t *set)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *task;
	bool found = false;

	assert_non_null(tasks);
	while (!found && (task = readdir(tasks)) != NULL) {
		char path[300], comm[32] = "";
		FILE *file;

		snprintf(path, sizeof(path), "/proc/self/task/%s/comm", task->d_name);
		file = fopen(path, "r");
		if (file == NULL)
			continue;
		if (fgets(comm, sizeof(comm), file) != NULL)
			comm[strcspn(comm, "\n")] = '\0';
		fclose(file);
		found = strcmp(comm, name) == 0 && sched_getaffinity((pid_t)atoi(task->d_name), sizeof(*set), set) == 0;
	}
	closedir(tasks);
	return found;
}

/* A thread takes its name when it begins, and is gone a moment after it was joined. */
static void wait_for_thread(const char *name, bool there, cpu_set_t *set)
{
	for (unsigned i = 0; thread_cpus(name, set) != there; i++) {
		if (i == 1000000)
			fail_msg("the thread %s is %s", name, there ? "not there" : "still there");
		sched_yield();
	}
}

/* The processors that we may use, the last one first; how many. */
static unsigned processors(int *cpus, unsigned most)
{
	cpu_set_t set;
	unsigned n = 0;

	assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
	for (int cpu = CPU_SETSIZE - 1; cpu >= 0 && n < most; cpu--)
		if (CPU_ISSET(cpu, &set))
			cpus[n++] = cpu;
	return n;
}

static void service_reactors_run_on_the_processors_that_were_given(void **state)
{
	struct weft_settings settings;
	int cpus[SERVICE_MAX];
	unsigned found = processors(cpus, SERVICE_MAX);
	struct weft *weft;
	cpu_set_t ours, set;

	(void)state;
	for (unsigned i = found; i < SERVICE_MAX; i++)
		cpus[i] = cpus[i % found];
	weft_settings_init(&settings);
	settings.service = SERVICE_MAX;
	settings.cpus = cpus;
	must(weft_open(&settings, &weft, &why));
	for (unsigned i = 0; i < SERVICE_MAX; i++) {
		char name[16];

		snprintf(name, sizeof(name), "weft/%u", i + 1);
		wait_for_thread(name, true, &set);
		assert_int_equal(CPU_COUNT(&set), 1);
		assert_true(CPU_ISSET(cpus[i], &set));
	}
	assert_int_equal(sched_getaffinity(0, sizeof(ours), &ours), 0);
	wait_for_thread("weft/control", true, &set);
	assert_true(CPU_EQUAL(&set, &ours)); /* it does no I/O */
	must(weft_close(weft, &why));
}

static void without_processors_they_run_anywhere(void **state)
{
	struct weft *weft;
	cpu_set_t ours, set;

	(void)state;
	must(weft_open(NULL, &weft, &why));
	assert_int_equal(sched_getaffinity(0, sizeof(ours), &ours), 0);
	wait_for_thread("weft/1", true, &set);
	assert_true(CPU_EQUAL(&set, &ours));
	must(weft_close(weft, &why));
}

static void a_processor_that_is_not_ours_is_refused(void **state)
{
	int cpus[3];
	struct weft_settings settings;
	struct weft *weft;
	cpu_set_t set;

	(void)state;
	processors(cpus, 1);
	cpus[2] = cpus[0];
	for (unsigned i = 0; i < 2; i++) {
		cpus[1] = i == 0 ? CPU_SETSIZE - 1 : 1 << 20;
		weft_settings_init(&settings);
		settings.service = 3;
		settings.cpus = cpus;
		assert_int_equal(weft_open(&settings, &weft, &why), -EINVAL);
		assert_non_null(strstr(why.text, "cpus: "));
		assert_non_null(strstr(why.text, "taskset"));
		assert_null(weft);
		wait_for_thread("weft/1", false, &set); /* the one that had begun has ended */
	}
}

/* ---- pinned memory ---- */

#define PINNED (256u << 10)
#define PIN_THREADS 3u
#define PIN_ROUNDS 25u

static _Atomic unsigned pins_refused;

static void log_line(void *self, int level, const char *line)
{
	(void)self;
	(void)level;
	if (strstr(line, "pin: ") != NULL)
		atomic_fetch_add(&pins_refused, 1);
}

static void open_logged(struct weft **weft)
{
	struct weft_settings settings;

	atomic_store(&pins_refused, 0);
	weft_settings_init(&settings);
	settings.log = log_line;
	must(weft_open(&settings, weft, &why));
}

/* What the kernel says that this process has pinned. */
static unsigned long pinned_kib(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	unsigned long kib = 0;
	char line[128];

	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "VmPin: %lu", &kib) == 1)
			break;
	fclose(file);
	return kib;
}

/* By another thread, which is at it. */
static void wait_pinned(unsigned long kib)
{
	for (unsigned i = 0; pinned_kib() != kib; i++) {
		if (i == 1000000)
			fail_msg("%lu KiB are pinned, not %lu", pinned_kib(), kib);
		sched_yield();
	}
}

/* Once the service reactor has been asked; 0: it cannot be had here (no io_uring, no room to lock memory). */
static unsigned long pinned_by_one(unsigned long before)
{
	while (pinned_kib() == before && atomic_load(&pins_refused) == 0)
		sched_yield();
	return pinned_kib() - before;
}

static void each_reactor_pins_and_lets_go_of_what_is_pinned(void **state)
{
	unsigned long before = pinned_kib(), each;
	struct weft_reactor *reactor[2];
	struct weft_memory *memory, *second;
	struct weft *weft;

	(void)state;
	open_logged(&weft);
	must(weft_memory_alloc(weft, PINNED, WEFT_MEMORY_PIN, &memory, &why));
	each = pinned_by_one(before);
	for (unsigned round = 0; round < 3 && each > 0; round++) {
		for (unsigned i = 0; i < 2; i++) {
			must(weft_reactor_open(weft, NULL, &reactor[i], &why));
			must(weft_reactor_poll(reactor[i]));
			assert_int_equal(pinned_kib(), before + (i + 2) * each);
		}
		must(weft_memory_alloc(weft, PINNED, WEFT_MEMORY_PIN, &second, &why)); /* while they are there */
		must(weft_reactor_poll(reactor[0]));
		must(weft_reactor_poll(reactor[1]));
		wait_pinned(before + 6 * each);
		must(weft_reactor_close(reactor[0], &why));
		wait_pinned(before + 4 * each);
		must(weft_memory_release(second, &why));
		must(weft_reactor_poll(reactor[1]));
		wait_pinned(before + 2 * each);
		must(weft_reactor_close(reactor[1], &why));
		assert_int_equal(pinned_kib(), before + each);
	}
	must(weft_memory_release(memory, &why));
	wait_pinned(before);
	must(weft_close(weft, &why));
}

struct pinner {
	struct weft *weft;
	struct weft_device *device;
	char *memory;
	unsigned index;
	_Atomic unsigned wrong;
	_Atomic bool ended;
};

/* On a reactor of its own in each round: what is written from pinned memory is read back into it. */
static void *pinner_main(void *arg)
{
	struct pinner *p = arg;
	char *out = p->memory + 2 * p->index * BLOCK, *in = out + BLOCK;
	struct weft_completion c;

	for (unsigned round = 0; round < PIN_ROUNDS && p->wrong == 0; round++) {
		struct weft_reactor *reactor;
		struct weft_queue *queue;

		if (weft_reactor_open(p->weft, NULL, &reactor, NULL) != 0 ||
			weft_queue_open(p->device, reactor, NULL, &queue, NULL) != 0) {
			p->wrong++;
			break;
		}
		for (unsigned i = 0; i < 8; i++) {
			memset(out, (int)(p->index * 64 + round + i), BLOCK);
			memset(in, 0, BLOCK);
			p->wrong += weft_queue_write(queue, p->index * BLOCK, out, BLOCK, NULL, 0) != 0 ||
				weft_queue_wait(queue, &c, 1, 1, WEFT_FOREVER) != 1 || c.status != 0;
			p->wrong += weft_queue_read(queue, p->index * BLOCK, in, BLOCK, NULL, 0) != 0 ||
				weft_queue_wait(queue, &c, 1, 1, WEFT_FOREVER) != 1 || c.status != 0;
			p->wrong += memcmp(in, out, BLOCK) != 0;
		}
		p->wrong += weft_queue_close(queue, NULL) != 0 || weft_reactor_close(reactor, NULL) != 0;
	}
	atomic_store(&p->ended, true);
	return NULL;
}

static bool all_ended(struct pinner *p)
{
	for (unsigned i = 0; i < PIN_THREADS; i++)
		if (!atomic_load(&p[i].ended))
			return false;
	return true;
}

static void pinned_memory_comes_and_goes_as_reactors_do(void **state)
{
	unsigned long before = pinned_kib();
	struct place place;
	struct pinner p[PIN_THREADS];
	struct weft_memory *memory, *other;
	struct weft_device *file;
	pthread_t thread[PIN_THREADS];
	struct weft *weft;

	(void)state;
	place_make(&place);
	open_logged(&weft);
	must(weft_device_open(weft, place.device, &file, &why));
	must(weft_memory_alloc(weft, PINNED, WEFT_MEMORY_PIN, &memory, &why));
	for (unsigned i = 0; i < PIN_THREADS; i++) {
		p[i] = (struct pinner){ .weft = weft, .device = file, .memory = weft_memory_base(memory), .index = i };
		assert_int_equal(pthread_create(&thread[i], NULL, pinner_main, &p[i]), 0);
	}
	while (!all_ended(p)) {
		must(weft_memory_alloc(weft, PINNED, WEFT_MEMORY_PIN, &other, &why));
		must(weft_memory_release(other, &why));
	}
	for (unsigned i = 0; i < PIN_THREADS; i++) {
		pthread_join(thread[i], NULL);
		assert_int_equal(p[i].wrong, 0);
	}
	must(weft_memory_release(memory, &why));
	must(weft_device_close(file, &why));
	wait_pinned(before);
	must(weft_close(weft, &why));
	place_remove(&place);
}

/* ---- adopting ---- */

#define HANDS 3u
#define TURNS 400u /* of each */
#define DEPTH 16u

/* A reactor that goes from hand to hand; all but `turn` and `next` is of the thread whose turn it is. */
struct relay {
	pthread_mutex_t lock;
	pthread_cond_t next;
	unsigned turn;
	struct weft *weft;
	struct weft_reactor *reactor;
	struct weft_queue *queue[2];
	char memory[2][DEPTH][BLOCK];
	uint8_t value[2][DEPTH];       /* that was written last */
	bool reading[2][DEPTH];
	unsigned in_flight, answered, wrong;
};

struct hand {
	struct relay *relay;
	unsigned number;
};

/* The next request of a place: what was written is read back, then another value is written. */
static void relay_ask(struct relay *r, unsigned q, unsigned place)
{
	char *buffer = r->memory[q][place];
	void *tag = (void *)(uintptr_t)(q * DEPTH + place);
	int error;

	if (!r->reading[q][place]) {
		memset(buffer, ++r->value[q][place], BLOCK);
		error = weft_queue_write(r->queue[q], (q * DEPTH + place) * BLOCK, buffer, BLOCK, tag, 0);
	} else {
		memset(buffer, 0, BLOCK);
		error = weft_queue_read(r->queue[q], (q * DEPTH + place) * BLOCK, buffer, BLOCK, tag, 0);
	}
	r->wrong += error != 0;
	r->in_flight += error == 0;
}

static void relay_answered(struct relay *r, const struct weft_completion *c, bool ask)
{
	unsigned q = (unsigned)(uintptr_t)c->user_data / DEPTH, place = (unsigned)(uintptr_t)c->user_data % DEPTH;

	r->in_flight--;
	r->answered++;
	r->wrong += c->status != 0;
	for (unsigned i = 0; r->reading[q][place] && i < BLOCK; i++)
		r->wrong += (uint8_t)r->memory[q][place][i] != r->value[q][place];
	r->reading[q][place] = !r->reading[q][place];
	if (ask)
		relay_ask(r, q, place);
}

/* Takes up to `most` completions, waiting for the first one. */
static void relay_take(struct relay *r, unsigned q, unsigned most, bool ask)
{
	struct weft_completion c[DEPTH];
	int n = weft_queue_wait(r->queue[q], c, 1, most, WEFT_FOREVER);

	r->wrong += n < 1;
	for (int i = 0; i < n; i++)
		relay_answered(r, &c[i], ask);
}

/* Adopts the reactor as the one before has left it, with requests in flight, works for a while, and hands it on. */
static void *hand_main(void *arg)
{
	struct hand *h = arg;
	struct relay *r = h->relay;

	for (unsigned turn = 0; turn < TURNS; turn++) {
		pthread_mutex_lock(&r->lock);
		while (r->turn % HANDS != h->number)
			pthread_cond_wait(&r->next, &r->lock);
		pthread_mutex_unlock(&r->lock);
		r->wrong += HANDS > 1 && weft_reactor_poll(r->reactor) != -EPERM;
		r->wrong += weft_reactor_adopt(r->reactor, NULL) != 0;
		r->wrong += weft_reactor_mode(r->reactor, (enum weft_mode)(turn % 3)) != 0;
		for (unsigned i = 0; i < 3; i++)
			relay_take(r, (turn + i) % 2, 1 + (turn + i) % 5, true);
		r->wrong += weft_reactor_notify(r->reactor, turn % 4 == 0) != 0; /* or leaves it watched */
		pthread_mutex_lock(&r->lock);
		r->turn++;
		pthread_cond_broadcast(&r->next);
		pthread_mutex_unlock(&r->lock);
	}
	return NULL;
}

/* Two queues on one reactor, of the devices `first` and `second`. */
static void adopted_under_load(const char *first, const char *second)
{
	struct relay *r = test_calloc(1, sizeof(*r));
	struct weft_device *device[2];
	struct hand hand[HANDS];
	pthread_t thread[HANDS];

	must(weft_open(NULL, &r->weft, &why));
	must(weft_device_open(r->weft, first, &device[0], &why));
	must(weft_device_open(r->weft, second, &device[1], &why));
	must(weft_reactor_open(r->weft, NULL, &r->reactor, &why));
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->next, NULL);
	for (unsigned q = 0; q < 2; q++) {
		must(weft_queue_open(device[q], r->reactor, NULL, &r->queue[q], &why));
		for (unsigned place = 0; place < DEPTH; place++)
			relay_ask(r, q, place);
	}
	for (unsigned i = 0; i < HANDS; i++) {
		hand[i] = (struct hand){ r, i };
		assert_int_equal(pthread_create(&thread[i], NULL, hand_main, &hand[i]), 0);
	}
	for (unsigned i = 0; i < HANDS; i++)
		pthread_join(thread[i], NULL);
	must(weft_reactor_adopt(r->reactor, &why));
	assert_int_equal(r->in_flight, 2 * DEPTH);
	for (unsigned q = 0; q < 2; q++) {
		for (unsigned left = DEPTH, before; left > 0; left -= before - r->in_flight) {
			before = r->in_flight;
			relay_take(r, q, DEPTH, false);
		}
		must(weft_queue_close(r->queue[q], &why));
		must(weft_device_close(device[q], &why));
	}
	assert_int_equal(r->in_flight, 0);
	assert_int_equal(r->wrong, 0);
	assert_true(r->answered >= 3 * HANDS * TURNS);
	must(weft_reactor_close(r->reactor, &why));
	must(weft_close(r->weft, &why));
	pthread_cond_destroy(&r->next);
	pthread_mutex_destroy(&r->lock);
	test_free(r);
}

static void a_reactor_is_adopted_while_a_service_reactor_answers(void **state)
{
	(void)state;
	adopted_under_load("contract:[mem:1MiB]", "home:[mem:1MiB]");
}

static void a_reactor_is_adopted_while_timers_and_the_kernel_answer(void **state)
{
	struct place place;

	(void)state;
	place_make(&place);
	adopted_under_load(place.device, "delay:[mem:1MiB],all=20us");
	place_remove(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(service_reactors_run_on_the_processors_that_were_given),
		cmocka_unit_test(without_processors_they_run_anywhere),
		cmocka_unit_test(a_processor_that_is_not_ours_is_refused),
		cmocka_unit_test(each_reactor_pins_and_lets_go_of_what_is_pinned),
		cmocka_unit_test(pinned_memory_comes_and_goes_as_reactors_do),
		cmocka_unit_test(a_reactor_is_adopted_while_a_service_reactor_answers),
		cmocka_unit_test(a_reactor_is_adopted_while_timers_and_the_kernel_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
