// SPDX-License-Identifier: LGPL-2.1-or-later
/* Huge pages under samples. */
#include "lib/op/reclaim_huge.h"

#include "lib/kern/pagemap.h"
#include "lib/mem/thp.h"

int umem_reclaim_huge_note(struct umem_reclaim_target *t, const struct umem_slice *slice)
{
	struct umem_scan scan = {
		.at = slice->start,
		.end = umem_slice_end(&t->slices, slice),
		.all = PAGE_IS_HUGE | PAGE_IS_PRESENT,
		.wanted = PAGE_IS_HUGE,
	};
	struct page_region range;
	size_t n;

	if (slice->n_pages < UMEM_SLICE_PAGES || slice->resident < UMEM_SLICE_PAGES)
		return 0;
	/* What cannot be read now is found gone by the next look. */
	if (umem_pagemap_scan(t->target->pagemap_fd, &scan, &range, 1, &n) < 0 || n == 0 ||
		range.end - range.start < UMEM_SLICE_PAGES * UMEM_PAGE_BYTES)
		return 0;
	return umem_ranges_add(&t->huge, range.start, range.end);
}

int umem_reclaim_huge_restore(struct umem_reclaim_target *t)
{
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges back = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges left = { 0 };
	const uint64_t block = UMEM_SLICE_PAGES * UMEM_PAGE_BYTES;
	int r = 0;

	for (size_t i = 0; i < t->huge.n; i++) {
		for (uint64_t at = t->huge.v[i].start; at < t->huge.v[i].end && r == 0;
			at += block) {
			size_t k = umem_slices_find(&t->slices, at);
			const struct umem_slice *slice = k < t->slices.n ? &t->slices.v[k] : NULL;

			if (!slice || slice->start != at || slice->n_pages < UMEM_SLICE_PAGES)
				continue;
			if (slice->state == UMEM_SLICE_WARM && slice->out == 0)
				r = umem_ranges_add(&back, at, at + block);
			else if (slice->state != UMEM_SLICE_COLD)
				r = umem_ranges_add(&left, at, at + block);
		}
	}
	if (r < 0)
		return r;
	umem_thp_restore(t->target, &back);
	umem_ranges_deinit(&t->huge);
	t->huge = left;
	left = (struct umem_ranges){ 0 };
	return 0;
}
