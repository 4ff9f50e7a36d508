// SPDX-License-Identifier: LGPL-2.1-or-later
/* Page sets against slices. */
#include "lib/op/reclaim_count.h"

#include "lib/base/attr.h"

int umem_count_slices(struct umem_pageset *set, const struct umem_slices *slices,
	uint32_t *counts)
{
	struct umem_pageset_iter iter;
	struct umem_range run;
	size_t i = 0;
	int r = umem_pageset_walk(set, &iter);

	if (r < 0)
		return r;
	while (umem_pageset_next(&iter, &run)) {
		while (i < slices->n && umem_slice_end(slices, &slices->v[i]) <= run.start)
			i++;
		/* A run may reach over many slices, and the next one begin in the last of them. */
		for (size_t j = i; j < slices->n && slices->v[j].start < run.end; j++) {
			uint64_t from = umem_max_u64(run.start, slices->v[j].start);
			uint64_t to = umem_min_u64(run.end, umem_slice_end(slices, &slices->v[j]));

			counts[j] += (uint32_t)((to - from) >> UMEM_PAGE_SHIFT);
			i = j;
		}
	}
	umem_pageset_walk_end(&iter);
	return 0;
}

/* Ranges longer than this may be next to empty. */
#define LONG_BYTES (1ull << 30)
#define CELL_BYTES (UMEM_SLICE_PAGES * UMEM_PAGE_BYTES)

/* The cells in which @set has a page, to @cells. */
static int add_cells(struct umem_pageset *set, struct umem_pageset *cells)
{
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pageset_walk(set, &iter);

	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&iter, &run))
		r = umem_pageset_add(cells, umem_align_down(run.start, CELL_BYTES),
			umem_align_up(run.end, CELL_BYTES));
	umem_pageset_walk_end(&iter);
	return r;
}

int umem_cells(struct umem_pageset *const *sets, size_t n_sets, const struct umem_ranges *ranges,
	struct umem_ranges *ret_cells)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset cells = { 0 };
	struct umem_pageset_iter iter;
	struct umem_range run;
	bool any_long = false;
	int r = 0;

	for (size_t i = 0; i < ranges->n; i++)
		any_long |= ranges->v[i].end - ranges->v[i].start > LONG_BYTES;
	for (size_t i = 0; i < n_sets && any_long && r == 0; i++)
		r = add_cells(sets[i], &cells);
	for (size_t i = 0; i < ranges->n && r == 0; i++) {
		const struct umem_range *range = &ranges->v[i];

		if (range->end - range->start <= LONG_BYTES) {
			r = umem_ranges_add(ret_cells, range->start, range->end);
			continue;
		}
		r = umem_pageset_walk_from(&cells, range->start, &iter);
		if (r < 0)
			return r;
		while (r == 0 && umem_pageset_next(&iter, &run) && run.start < range->end)
			r = umem_ranges_add(ret_cells, umem_max_u64(run.start, range->start),
				umem_min_u64(run.end, range->end));
		umem_pageset_walk_end(&iter);
	}
	return r;
}

uint32_t umem_count_range(struct umem_pageset *set, uint64_t start, uint64_t end)
{
	struct umem_pageset_iter iter;
	struct umem_range run;
	uint64_t pages = 0;

	if (umem_pageset_walk_from(set, start, &iter) < 0)
		return 0;
	while (umem_pageset_next(&iter, &run) && run.start < end)
		pages += (umem_min_u64(run.end, end) - run.start) >> UMEM_PAGE_SHIFT;
	umem_pageset_walk_end(&iter);
	return (uint32_t)umem_min_u64(pages, UINT32_MAX);
}

/* splitmix64 */
static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

int umem_pick_pages(struct umem_pageset *set, uint64_t start, uint64_t end, uint32_t want,
	uint64_t *random, struct umem_pageset *out)
{
	uint64_t pages[UMEM_SLICE_PAGES];
	struct umem_pageset_iter iter;
	struct umem_range run;
	uint32_t n = 0;
	int r = umem_pageset_walk_from(set, start, &iter);

	if (r < 0)
		return r;
	while (n < UMEM_SLICE_PAGES && umem_pageset_next(&iter, &run) && run.start < end)
		for (uint64_t at = run.start; at < umem_min_u64(run.end, end) &&
			n < UMEM_SLICE_PAGES; at += UMEM_PAGE_BYTES)
			pages[n++] = at;
	umem_pageset_walk_end(&iter);
	/* Each step moves one of those that are left to the front. */
	for (uint32_t i = 0; i < want && i < n && r == 0; i++) {
		uint32_t j = want >= n ? i : i + (uint32_t)(next_random(random) % (n - i));
		uint64_t page = pages[j];

		pages[j] = pages[i];
		r = umem_pageset_add(out, page, page + UMEM_PAGE_BYTES);
	}
	return r;
}
