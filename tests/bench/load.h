/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A Redis server, filled, and a client that asks it by Zipf's law, eight requests at a
 * time, one in five a SET. Failure ends the program.
 */
#ifndef TESTS_BENCH_LOAD_H
#define TESTS_BENCH_LOAD_H

#include <stdint.h>
#include <sys/types.h>

/** B_CLIENTS - requests that are on their way at once. */
#define B_CLIENTS 8

/** B_HOT_PART - one key of so many is ever asked for. */
#define B_HOT_PART 5

/** B_BUCKETS - of durations, 16 to a doubling. */
#define B_BUCKETS 640

/**
 * struct b_load - the client.
 * @fds: its connections.
 * @n_hot: keys that it asks for.
 * @cdf: their cumulated shares.
 * @random: state of its generator.
 */
struct b_load {
	int fds[B_CLIENTS];
	uint64_t n_hot;
	double *cdf;
	uint64_t random;
};

/**
 * struct b_figures - a stretch of load; all zero is empty.
 * @n, @ns: requests, and time.
 * @buckets: by duration.
 * @longest_ns: of all.
 */
struct b_figures {
	uint64_t n;
	uint64_t ns;
	uint64_t buckets[B_BUCKETS];
	uint64_t longest_ns;
};

/**
 * struct b_server - a Redis server, filled, and its client.
 * @proc: descriptor of /proc/PID.
 * @bytes: resident when it was filled.
 */
struct b_server {
	pid_t pid;
	int proc;
	uint64_t bytes;
	struct b_load load;
};

/** b_server_start - start one and fill it until it holds @bytes. */
void b_server_start(struct b_server *s, uint64_t bytes);

/** b_server_stop - end it. */
void b_server_stop(struct b_server *s);

/** b_load_batch - a request on each connection; counted in @f, but for its time. */
void b_load_batch(struct b_load *load, struct b_figures *f);

/** b_load_run - load for @seconds, added to @f. */
void b_load_run(struct b_load *load, uint64_t seconds, struct b_figures *f);

/** b_percentile - what the part @share of the requests did not exceed, in ns. */
uint64_t b_percentile(const struct b_figures *f, double share);

#endif
