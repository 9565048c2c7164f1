/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The load generator: what is asked for, what comes out. A load is a session like an export's: its wire is a random
 * number generator.
 *
 *   bench.c         the command: options, devices, beginning and end
 *   bench_load.c    the data path: one load per connection, on its reactor
 *   bench_verify.c  blocks that describe themselves, and which of their versions a read may return
 *   bench_report.c  progress, table, JSON
 */
#ifndef CLI_BENCH_H
#define CLI_BENCH_H

#include <stdatomic.h>

#include <weft/export.h>

#include "cli/io_memory.h"
#include "core/core.h"
#include "core/reactor.h"

enum bench_rw { BENCH_READ, BENCH_WRITE, BENCH_RW, BENCH_RANDREAD, BENCH_RANDWRITE, BENCH_RANDRW, BENCH_MIXED };
#define BENCH_RW_CHOICES "read|write|rw|randread|randwrite|randrw|mixed"
enum bench_arrivals { BENCH_FIXED, BENCH_POISSON };

struct bench_options {
	uint32_t rw;             /* enum bench_rw */
	uint64_t block_bytes;
	uint64_t depth;          /* requests in flight of a connection */
	uint64_t queues;         /* reactors */
	uint64_t connections;    /* on each reactor */
	double rate;             /* requests per second in all; 0: as fast as they end */
	uint32_t arrivals;       /* enum bench_arrivals */
	uint64_t read_percent;   /* rw, randrw, mixed */
	uint64_t time_ns;
	uint64_t amount_bytes;   /* 0: no limit */
	uint64_t range_bytes;    /* 0: the whole device */
	uint64_t seed;
	bool verify;
};

enum { BENCH_LOADS_MAX = 1024, BENCH_BURST = 64, BENCH_GAPS = 4096, BENCH_SLICES = 8192 };
#define BENCH_SLICE_NS 500000u

struct bench;
struct bench_verify;

/* What one load has done: written on its reactor, read by the control reactor meanwhile (a counter may be a moment
 * old). */
struct bench_counts {
	uint64_t requests, bytes, reads, errors, mismatches;
	struct weft_histogram latency;
};

struct bench_load {
	struct weft_session session;
	struct bench *bench;
	/* read on every request */
	uint64_t rng;
	uint64_t at, blocks;          /* sequential: next block; blocks of the load's range */
	uint64_t first_byte;          /* of the load's range */
	uint64_t block_bytes;
	uint32_t read_below, write_below; /* of 2^32: thresholds for the kind of a request */
	bool random, running, verify;
	unsigned burst;               /* requests that this turn may still submit from a completion */
	unsigned nready;
	struct weft_slot **ready;     /* slots that wait to be sent */
	uint64_t left;                /* requests still to be sent */
	/* arrivals */
	uint64_t next_at_ns, gap_ns_256; /* mean gap in 1/256 ns; 0: closed loop */
	uint64_t next_fraction;
	struct weft_timer timer;
	/* */
	unsigned depth, index;
	unsigned nslots;
	uint8_t *memory;
	bool open, ending, told;
	bool warm;                    /* control: it has told so */
	uint64_t started_ns, ended_ns, last_rate_ns;
	struct bench_counts counts;
	/* rates of the last slices of time, per second: what was reached when nobody else took the processors */
	float *slice;
	unsigned nslices;
	uint64_t slice_at_ns, slice_requests;
	struct bench_verify *model;
	struct weft_msg start_msg, stop_msg, note_msg;
	struct weft_why why;
	int error;
};

struct bench_result {
	uint64_t requests, bytes, errors, mismatches, elapsed_ns, cpu_ns, server_cpu_ns;
	double undisturbed; /* requests per second that one in fifty slices reached */
	struct weft_histogram latency;
};

struct bench {
	struct weft_core *core;
	struct bench_options options;
	struct weft_blk *device;
	struct weft_stack *stack;
	unsigned nloads, loads_open, loads_cold;
	struct bench_load *load;      /* nloads of them */
	struct io_memory memory;
	uint32_t gap_of[BENCH_GAPS];  /* Poisson: gap in 1/256 of the mean, by quantile */
	void (*ended)(struct bench *bench, int status);
	struct weft_task task;
	struct weft_timer timer;
	int status;
	struct weft_why why;
	/* for the report */
	uint64_t begun_ns, elapsed_ns;
	uint64_t server_pid, cpu_before_ns, server_before_ns;
	struct bench_result result;
};

/* ---- bench.c ---- */
struct world_options;
/* Measures a device, with progress on a terminal; `server_pid`: 0, or whose CPU time is measured as well. -EINTR: by
 * a signal. */
int bench_device(const struct bench_options *options, const struct world_options *world, const char *device, uint64_t server_pid,
	struct bench_result *out, struct weft_why *why);

/* ---- bench_load.c ---- */
/* The memory of all loads. Before the device is built. 0 or -errno. */
int bench_memory_open(struct bench *bench, struct weft_why *why);
void bench_memory_close(struct bench *bench);
/* Runs the load on bench->device; bench->ended is called on the control reactor. */
void bench_start(struct bench *bench);
/* Earlier than asked for (SIGINT). Control. */
void bench_stop(struct bench *bench);
/* Sums up what has been done so far. Control. */
void bench_sum(const struct bench *bench, struct bench_result *out);

/* ---- bench_arrivals.c: when requests arrive ---- */

/* Fills bench->gap_of. */
void bench_gaps_fill(struct bench *bench);
/* From one arrival to the next, in the unit of `mean`; `random`: any number. */
uint64_t bench_gap(const struct bench *bench, uint64_t mean, uint64_t random);

/* ---- bench_verify.c: on the load's reactor ---- */
int bench_verify_open(struct bench_load *load, struct weft_why *why);
void bench_verify_close(struct bench_load *load);
/* A request for block `index` of the load goes out: fills what is written. */
void bench_verify_sent(struct bench_load *load, struct weft_slot *slot, unsigned op, uint64_t index);
/* It has ended: checks what was read. */
void bench_verify_done(struct bench_load *load, struct weft_slot *slot, int status);

#endif
