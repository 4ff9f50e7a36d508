/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A walk over pages and their states: sums, and runs handed on as long as
 * possible. Inside of the residency modules.
 */
#ifndef UMEM_MEM_RESIDENCY_WALK_H
#define UMEM_MEM_RESIDENCY_WALK_H

#include <umemd/residency.h>

#include "lib/base/attr.h"
#include "lib/mem/pageset.h"

/** umem_walk_each - takes a run; what it returns other than 0 ends the walk. */
typedef int (*umem_walk_each)(void *user, uint64_t start, uint64_t end, enum umem_state state);

/**
 * struct umem_walk - where runs go; @each and @user set, all else zero.
 * @each: may be NULL where sums are enough.
 * @user: for @each.
 * @bytes: sums by state.
 * @start, @end, @state: the run that may still grow; empty when start == end.
 */
struct umem_walk {
	umem_walk_each each;
	void *user;
	uint64_t bytes[UMEM_N_STATES];
	uint64_t start;
	uint64_t end;
	enum umem_state state;
};

/** umem_walk_end - hand the last run on. Return: 0 or what @each returned. */
static inline int umem_walk_end(struct umem_walk *walk)
{
	uint64_t start = walk->start, end = walk->end;

	walk->start = walk->end;
	return walk->each && start < end ? walk->each(walk->user, start, end, walk->state) : 0;
}

/** umem_walk_add - the next run, ascending. Return: 0 or what @each returned. */
static inline int umem_walk_add(struct umem_walk *walk, uint64_t start, uint64_t end,
	enum umem_state state)
{
	int r = 0;

	walk->bytes[state] += end - start;
	if (walk->end == start && walk->state == state && walk->start < walk->end) {
		walk->end = end;
		return 0;
	}
	r = umem_walk_end(walk);
	walk->start = start;
	walk->end = end;
	walk->state = state;
	return r;
}

/** umem_page_up - @at rounded up to whole pages; what would not fit is rounded down. */
static inline uint64_t umem_page_up(uint64_t at)
{
	return umem_align_up(umem_min_u64(at, UINT64_MAX - UMEM_PAGE_BYTES + 1), UMEM_PAGE_BYTES);
}

#endif
