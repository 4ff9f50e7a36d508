/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the benchmarks share: a target process that writes on command, medians,
 * a table for people and JSON lines for machines.
 *
 * Both sides of a comparison run in one process, in turns, on the same memory.
 * Nothing here asserts a time: a benchmark fails only when something does not
 * work.
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "tests/lib/harness.h"

/** B_RUNS - measurements of which the median counts. */
#define B_RUNS 7

#define B_PAGE 4096ull

/** enum b_memory - what a target's memory is. */
enum b_memory {
	B_ANON_4K,
	B_ANON_THP,
	B_SHMEM,
	B_N_MEMORIES,
};

/** enum b_pattern - which pages are written. */
enum b_pattern {
	B_CLEAN,     /* none */
	B_SCATTERED, /* one of a hundred */
	B_HALF,      /* every other */
	B_ALL,
	B_N_PATTERNS,
};

/** b_memory_name, b_pattern_name - for tables and JSON. */
const char *b_memory_name(enum b_memory memory);
const char *b_pattern_name(enum b_pattern pattern);

/**
 * struct b_target - a child that writes its memory on command.
 * @pid: its id.
 * @command, @reply: pipes.
 * @start, @bytes: its memory: @n_mappings mappings, with holes between them.
 * @span_bytes: from the first byte to the last.
 */
struct b_target {
	pid_t pid;
	int command;
	int reply;
	uint64_t start;
	uint64_t bytes;
	uint64_t n_mappings;
	uint64_t span_bytes;
};

/**
 * b_target_start - a child with @bytes of populated memory.
 * @n_mappings: how many mappings they are spread over.
 */
void b_target_start(struct b_target *target, enum b_memory memory, uint64_t bytes,
	uint64_t n_mappings);

/** b_target_write - write; returns when it is done. Return: how long, as the child saw it. */
uint64_t b_target_write(struct b_target *target, enum b_pattern pattern);

/** b_target_mincore - mincore(2) of all of it, in the child. Return: how long. */
uint64_t b_target_mincore(struct b_target *target);

/** b_target_end - end the child. */
void b_target_end(struct b_target *target);

/**
 * b_warm - touch @bytes of memory in a child that ends: memory that a
 * hypervisor has taken back costs several times as much on first touch.
 */
void b_warm(uint64_t bytes);

/** b_bytes - how much memory to measure with: BENCH_BYTES, or 4 GiB. */
uint64_t b_bytes(void);

/** b_median - sorts @v. */
uint64_t b_median(uint64_t *v, size_t n);

/** b_now_ns - the raw clock. */
uint64_t b_now_ns(void);

/**
 * b_json - append one JSON object to the file that BENCH_JSON names, if any.
 * @fmt: the members behind "bench", as text.
 */
void b_json(const char *bench, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
