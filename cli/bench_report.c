/* SPDX-License-Identifier: BSD-2-Clause */
/* What a measurement shows of itself: the line on the terminal, the table, JSON. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench_report.h"
#include "cli/show.h"

#include "core/histogram.h"
#include "env/env.h"

#define PROGRESS_NS 250000000ull

static const char *const rw_names[] = { "read", "write", "rw", "randread", "randwrite", "randrw", "mixed" };

/* "1.23 M", "45.6 k" */
static const char *with_unit(double value, char *text, size_t size)
{
	const char *unit = value >= 1e6 ? "M" : value >= 1e4 ? "k" : "";

	value /= *unit == 'M' ? 1e6 : *unit == 'k' ? 1e3 : 1;
	snprintf(text, size, value >= 100 || *unit == '\0' ? "%.0f %s" : "%.2f %s", value, unit);
	return text;
}

static const char *duration(uint64_t ns, char *text, size_t size)
{
	if (ns < 10000)
		snprintf(text, size, "%" PRIu64 " ns", ns);
	else if (ns < 10000000)
		snprintf(text, size, "%.1f us", (double)ns / 1e3);
	else
		snprintf(text, size, "%.1f ms", (double)ns / 1e6);
	return text;
}

static double gib_per_second(uint64_t bytes, uint64_t ns)
{
	return ns == 0 ? 0 : (double)bytes / (1 << 30) / ((double)ns / 1e9);
}

static double per_second(uint64_t n, uint64_t ns)
{
	return ns == 0 ? 0 : (double)n / ((double)ns / 1e9);
}

/* ---- progress ---- */

static void show(void *self)
{
	struct bench_progress *p = self;
	struct weft_reactor *control = p->bench->core->reactor[0];
	uint64_t now = weft_reactor_now(control);
	struct bench_result r;
	char iops[24], p99[24];

	bench_sum(p->bench, &r);
	fprintf(stderr, "\r%5.1f s  %10s/s  %7.2f GiB/s  p99 %9s  errors %" PRIu64 "\033[K",
		(double)(now - p->bench->begun_ns) / 1e9, with_unit(per_second(r.requests - p->requests, now - p->at_ns), iops,
		sizeof(iops)), gib_per_second(r.bytes - p->bytes, now - p->at_ns),
		duration(weft_histogram_quantile(&r.latency, 0.99), p99, sizeof(p99)), r.errors + r.mismatches);
	fflush(stderr);
	p->shown = true;
	p->requests = r.requests;
	p->bytes = r.bytes;
	p->at_ns = now;
	weft_timer_arm(control, &p->timer, now + PROGRESS_NS);
}

void bench_progress_start(struct bench_progress *p, struct bench *bench)
{
	struct weft_reactor *control = bench->core->reactor[0];

	p->bench = bench;
	p->at_ns = weft_reactor_now(control);
	p->timer = (struct weft_timer){ .fn = show, .self = p };
	if (env_is_terminal(bench->core->env))
		weft_timer_arm(control, &p->timer, p->at_ns + PROGRESS_NS);
}

void bench_progress_stop(struct bench_progress *p)
{
	weft_timer_disarm(p->bench->core->reactor[0], &p->timer);
	if (p->shown)
		fprintf(stderr, "\r\033[K");
}

/* NULL: there is no such process. To be freed by env_free. */
static char *process_read(struct env *env, uint64_t pid)
{
	char path[64], *text;
	struct weft_why why;
	size_t size;

	snprintf(path, sizeof(path), "/proc/%" PRIu64 "/stat", pid);
	return env_file_read(env, path, &text, &size, &why) == 0 ? text : NULL;
}

int bench_cpu_check(struct env *env, uint64_t pid, struct weft_why *why)
{
	char *text = pid != 0 ? process_read(env, pid) : NULL;

	if (pid != 0 && text == NULL)
		return weft_why(why, -EINVAL, "bench: server-pid=%" PRIu64 ": there is no such process: give the server's, or "
			"leave it out", pid);
	if (text != NULL)
		env_free(env, text);
	return 0;
}

uint64_t bench_cpu_of(struct env *env, uint64_t pid)
{
	unsigned long long user, system;
	char *text = pid != 0 ? process_read(env, pid) : NULL, *after;
	uint64_t ns = 0;

	if (text == NULL)
		return 0;
	after = strrchr(text, ')'); /* the name may hold anything */
	if (after != NULL && sscanf(after, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu", &user, &system) == 2)
		ns = (user + system) * 10000000; /* ticks of 1/100 s */
	env_free(env, text);
	return ns;
}

/* ---- at the end ---- */

bool bench_good(const struct bench *bench)
{
	return bench->result.errors == 0 && bench->result.mismatches == 0;
}

static double us_per_request(uint64_t ns, const struct bench_result *r)
{
	return r->requests == 0 ? 0 : (double)ns / 1e3 / (double)r->requests;
}

/* What is not empty, as [longest latency of the bucket, requests]. */
static void print_histogram(const struct weft_histogram *h)
{
	const char *comma = "";

	for (unsigned i = 0; i < WEFT_HISTOGRAM_BUCKETS; i++) {
		if (h->count[i] == 0)
			continue;
		printf("%s[%" PRIu64 ", %" PRIu64 "]", comma, histogram_upper(i), h->count[i]);
		comma = ", ";
	}
}

static void print_json(const struct bench *bench, const char *device, const struct bench_result *r)
{
	const struct bench_options *o = &bench->options;
	static const double quantiles[] = { 0.5, 0.9, 0.99, 0.999, 1.0 };
	static const char *const names[] = { "p50", "p90", "p99", "p999", "max" };

	printf("{\"device\": ");
	show_quoted(device);
	printf(", \"rw\": \"%s\", \"bs\": %" PRIu64 ", \"depth\": %" PRIu64 ", \"queues\": %" PRIu64 ", \"connections\": %"
		PRIu64 ", \"rate\": %.0f, \"requests\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"errors\": %" PRIu64
		", \"mismatches\": %" PRIu64 ", \"seconds\": %.6f, \"iops\": %.1f, \"gib_per_second\": %.4f, "
		"\"undisturbed_iops\": %.1f",
		rw_names[o->rw], o->block_bytes, o->depth, o->queues, o->connections, o->rate, r->requests, r->bytes,
		r->errors, r->mismatches, (double)r->elapsed_ns / 1e9, per_second(r->requests, r->elapsed_ns),
		gib_per_second(r->bytes, r->elapsed_ns), r->undisturbed);
	printf(", \"latency_ns\": {");
	for (unsigned i = 0; i < WEFT_COUNT(quantiles); i++)
		printf("%s\"%s\": %" PRIu64, i == 0 ? "" : ", ", names[i],
			weft_histogram_quantile(&r->latency, quantiles[i]));
	printf("}, \"histogram_ns\": [");
	print_histogram(&r->latency);
	printf("], \"cpu_us_per_request\": %.4f, \"server_cpu_us_per_request\": %.4f, \"cpu_share\": %.4f, "
		"\"server_cpu_share\": %.4f}\n", us_per_request(r->cpu_ns, r),
		us_per_request(r->server_cpu_ns, r), r->elapsed_ns == 0 ? 0 : (double)r->cpu_ns / (double)r->elapsed_ns,
		r->elapsed_ns == 0 ? 0 : (double)r->server_cpu_ns / (double)r->elapsed_ns);
}

static void print_table(const struct bench *bench, const struct bench_result *r)
{
	const struct bench_options *o = &bench->options;
	char iops[24], p50[24], p99[24], p999[24], server[24] = "";

	if (r->server_cpu_ns != 0)
		snprintf(server, sizeof(server), "%.3f us", us_per_request(r->server_cpu_ns, r));
	printf("%-10s %8s %6s %7s %10s %8s %10s %10s %10s %11s %11s\n", "load", "bs", "depth", "queues", "per s", "GiB/s",
		"p50", "p99", "p99.9", "CPU/req", *server != '\0' ? "server/req" : "");
	printf("%-10s %8" PRIu64 " %6" PRIu64 " %7" PRIu64 " %10s %8.2f %10s %10s %10s %8.3f us %11s\n", rw_names[o->rw],
		o->block_bytes, o->depth * o->connections, o->queues,
		with_unit(per_second(r->requests, r->elapsed_ns), iops, sizeof(iops)), gib_per_second(r->bytes, r->elapsed_ns),
		duration(weft_histogram_quantile(&r->latency, 0.5), p50, sizeof(p50)),
		duration(weft_histogram_quantile(&r->latency, 0.99), p99, sizeof(p99)),
		duration(weft_histogram_quantile(&r->latency, 0.999), p999, sizeof(p999)), us_per_request(r->cpu_ns, r), server);
	if (r->errors != 0 || r->mismatches != 0 || o->verify)
		printf("%" PRIu64 " requests, %" PRIu64 " errors, %" PRIu64 " mismatches\n", r->requests, r->errors,
			r->mismatches);
}

void bench_report(const struct bench *bench, const char *device, bool json)
{
	if (json)
		print_json(bench, device, &bench->result);
	else
		print_table(bench, &bench->result);
	fflush(stdout);
}
