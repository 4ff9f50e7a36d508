/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A process whose memory proves at which moment it was copied, and which does
 * all that is in the way of a copy.
 *
 * Lanes: threads that store an increasing counter page after page. At any
 * instant the pages of a lane hold c + 1 up to one page and c behind it.
 * Churners: threads that discard, move, unmap, map and fork, in their own slot.
 * All lies in one arena at a fixed address.
 */
#ifndef TESTS_TORTURE_COW_VICTIM_H
#define TESTS_TORTURE_COW_VICTIM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define V_PAGE 4096ull
#define V_ARENA_AT 0x10000000000ull
#define V_SLOT_BYTES (8ull << 20)
#define V_MAX_LANES 8
#define V_MAX_CHURNERS 8
#define V_N_SLOTS (V_MAX_LANES + V_MAX_CHURNERS + 2)
#define V_ARENA_END (V_ARENA_AT + V_N_SLOTS * V_SLOT_BYTES)

/** V_CHURN_* - what a churner does, as a set. */
enum {
	V_CHURN_DONTNEED = 1,
	V_CHURN_FREE = 2,
	V_CHURN_REMAP = 4,
	V_CHURN_UNMAP = 8,
	V_CHURN_FORK = 16,
	V_CHURN_REMOVE = 32,
	V_CHURN_PROTECT = 64,
	V_CHURN_ALL = 127,
};

/**
 * struct v_plan - what a victim is like.
 * @n_lanes, @lane_pages: its lanes.
 * @n_churners, @churn: what each does, V_CHURN_*.
 * @shared: lanes are in shared memory.
 * @alias: each lane, up to 4, is mapped twice, and every other page is written there.
 * @twin: another process maps the lanes, too, and writes every other one.
 * @huge: lanes may lie in huge pages.
 * @cold_pages: pages of a pattern that nobody writes.
 * @pause_us: between two rounds of a churner.
 * @seed: of its choices.
 */
struct v_plan {
	unsigned n_lanes;
	uint64_t lane_pages;
	unsigned n_churners;
	unsigned churn;
	bool shared;
	bool alias;
	bool twin;
	bool huge;
	uint64_t cold_pages;
	unsigned pause_us;
	uint64_t seed;
};

/**
 * v_start - start a victim; returns when all its threads run.
 * @ret_twin: its twin, or -1; a child of ours, too.
 */
pid_t v_start(const struct v_plan *plan, pid_t *ret_twin);

/** v_lane_at, v_alias_at, v_cold_at - where they are. */
uint64_t v_lane_at(unsigned lane);
uint64_t v_alias_at(unsigned lane);
uint64_t v_cold_at(void);

/**
 * v_check_lane - is @bytes, @n_pages pages, a staircase?
 * Return: 0, or 1 + the page at which it is not.
 */
uint64_t v_check_lane(const uint8_t *bytes, uint64_t n_pages);

/** v_check_cold - return: pages that are not as they were filled. */
uint64_t v_check_cold(const uint8_t *bytes, uint64_t n_pages);

#endif
