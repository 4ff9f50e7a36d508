/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A set of pages: the currency between the layers.
 *
 * Pages are base pages of 4096 bytes, named by their address. Runs may be
 * added in any order; ascending order is the fast case. One owner, no locks.
 * Nothing here does a system call.
 */
#ifndef UMEM_MEM_PAGESET_H
#define UMEM_MEM_PAGESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/base/ranges.h"

#define UMEM_PAGE_SHIFT 12
#define UMEM_PAGE_BYTES (1ull << UMEM_PAGE_SHIFT)

struct umem_pageset_segment;

/**
 * struct umem_pageset - a set of pages; all zero is the empty set.
 * @runs: all pages while they are few runs; otherwise runs not yet in @segments.
 * @segments, @n_segments: compressed bitmaps of 2^32 pages each, ascending.
 * @limit: runs that are kept as runs; 0 means UMEM_PAGESET_LIMIT.
 */
struct umem_pageset {
	struct umem_ranges runs;
	struct umem_pageset_segment *segments;
	size_t n_segments;
	size_t limit;
};

/** UMEM_PAGESET_LIMIT - runs (16 bytes each) before a set turns to bitmaps. */
#define UMEM_PAGESET_LIMIT 16384

/**
 * struct umem_pageset_iter - a walk over the runs of a set, ascending.
 * All fields are private. The set must not change while it is walked.
 */
struct umem_pageset_iter {
	const struct umem_pageset *set;
	size_t at;
	void *inner;
	uint32_t batch[256];
	uint32_t n_batch;
	uint32_t i_batch;
	struct umem_range pending;
	uint64_t from;
};

/** umem_pageset_deinit - free what the set owns and make it empty; @limit stays. */
void umem_pageset_deinit(struct umem_pageset *set);

/** umem_pageset_clear - make the set empty; memory for few runs is kept. */
void umem_pageset_clear(struct umem_pageset *set);

/**
 * umem_pageset_add - put the pages of [@start, @end) in.
 * @start, @end: rounded out to whole pages; empty ranges are ignored.
 *
 * Return: 0 or -ENOMEM (the set then holds a part of it).
 */
int umem_pageset_add(struct umem_pageset *set, uint64_t start, uint64_t end);

/** umem_pageset_add_ranges - put all ranges in. Return: 0 or -ENOMEM. */
int umem_pageset_add_ranges(struct umem_pageset *set, const struct umem_ranges *ranges);

/** umem_pageset_sub - take the pages of [@start, @end) out. Return: 0 or -ENOMEM. */
int umem_pageset_sub(struct umem_pageset *set, uint64_t start, uint64_t end);

/** umem_pageset_union - put all pages of @other in. Return: 0 or -ENOMEM. */
int umem_pageset_union(struct umem_pageset *set, struct umem_pageset *other);

/** umem_pageset_subtract - take all pages of @other out. Return: 0 or -ENOMEM. */
int umem_pageset_subtract(struct umem_pageset *set, struct umem_pageset *other);

/** umem_pageset_keep - keep only pages that lie in @ranges. Return: 0 or -ENOMEM. */
int umem_pageset_keep(struct umem_pageset *set, const struct umem_ranges *ranges);

/** umem_pageset_has - is the page of @addr in? -ENOMEM counts as true. */
bool umem_pageset_has(struct umem_pageset *set, uint64_t addr);

/** umem_pageset_bytes - pages times 4096. */
uint64_t umem_pageset_bytes(const struct umem_pageset *set);

/** umem_pageset_empty - is no page in? */
bool umem_pageset_empty(const struct umem_pageset *set);

/** umem_pageset_memory - bytes of heap that the set uses, for accounting. */
size_t umem_pageset_memory(const struct umem_pageset *set);

/**
 * umem_pageset_walk - begin a walk. Return: 0 or -ENOMEM.
 * Every walk that began is ended by umem_pageset_walk_end().
 */
int umem_pageset_walk(struct umem_pageset *set, struct umem_pageset_iter *ret_iter);

/** umem_pageset_walk_from - begin a walk at @addr; a run that holds it is cut off before it. */
int umem_pageset_walk_from(struct umem_pageset *set, uint64_t addr,
	struct umem_pageset_iter *ret_iter);

/** umem_pageset_next - the next run. Return: false at the end. */
bool umem_pageset_next(struct umem_pageset_iter *iter, struct umem_range *ret_run);

/** umem_pageset_walk_end - free what the walk holds. */
void umem_pageset_walk_end(struct umem_pageset_iter *iter);

#endif
