/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Page sets against slices: how many pages of each, and which ones at random.
 */
#ifndef UMEM_OP_RECLAIM_COUNT_H
#define UMEM_OP_RECLAIM_COUNT_H

#include "lib/mem/pageset.h"
#include "lib/policy/slice.h"

/**
 * umem_count_slices - add the pages of @set that lie in each slice.
 * @counts: one a slice; added to.
 * Linear in slices and runs. Return: 0 or -ENOMEM.
 */
int umem_count_slices(struct umem_pageset *set, const struct umem_slices *slices,
	uint32_t *counts);

/**
 * umem_cells - where there is anything to make slices of.
 * @sets, @n_sets: pages that count.
 * @ranges: all that could have slices. A program may reserve many TiB and use little of
 *          it (sanitizers, WebAssembly): of ranges longer than 1 GiB only those cells of
 *          UMEM_SLICE_PAGES are of interest in which there is a page of @sets.
 * @ret_cells: empty; gets them, ascending.
 *
 * Return: 0 or -ENOMEM.
 */
int umem_cells(struct umem_pageset *const *sets, size_t n_sets, const struct umem_ranges *ranges,
	struct umem_ranges *ret_cells);

/** umem_count_range - pages of @set in [@start, @end), at most UINT32_MAX. */
uint32_t umem_count_range(struct umem_pageset *set, uint64_t start, uint64_t end);

/**
 * umem_pick_pages - choose @want pages of @set in [@start, @end) at random.
 * @start, @end: at most UMEM_SLICE_PAGES pages.
 * @random: state of the generator; moves on.
 * @out: they are added; all of them when there are fewer.
 *
 * Return: 0 or -ENOMEM.
 */
int umem_pick_pages(struct umem_pageset *set, uint64_t start, uint64_t end, uint32_t want,
	uint64_t *random, struct umem_pageset *out);

#endif
