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
