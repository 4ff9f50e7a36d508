// SPDX-License-Identifier: LGPL-2.1-or-later
/* Private content that goes away without a mark. */
#include "lib/track/vanish.h"

#include "lib/kern/pagemap.h"
#include "lib/kern/swapdev.h"

bool umem_vanish_applies(enum umem_kind kind)
{
	return kind == UMEM_KIND_FILE_PRIVATE || kind == UMEM_KIND_HUGETLB ||
		kind == UMEM_KIND_HUGETLB_SHARED;
}

void umem_vanish_deinit(struct umem_vanish *vanish)
{
	umem_pageset_deinit(&vanish->held);
}

int umem_vanish_forget(struct umem_vanish *vanish, const struct umem_range *range)
{
	return umem_pageset_sub(&vanish->held, range->start, range->end);
}

/* First and last byte of the pages of @set in @piece; extends *hull. */
static int extend_hull(struct umem_pageset *set, const struct umem_range *piece,
	struct umem_range *hull)
{
	struct umem_pageset_iter it;
	struct umem_range run;
	int r = umem_pageset_walk_from(set, piece->start, &it);

	if (r < 0)
		return r;
	while (umem_pageset_next(&it, &run) && run.start < piece->end) {
		hull->start = umem_min_u64(hull->start, run.start);
		hull->end = umem_max_u64(hull->end, umem_min_u64(run.end, piece->end));
	}
	umem_pageset_walk_end(&it);
	return 0;
}

/*
 * A swapped page and a mark look alike to a scan; the raw word tells. Readers
 * without CAP_SYS_ADMIN see no swap type: then neither can be excluded, and
 * the page counts as vanished, but stays held.
 */
static int add_swapped(const struct umem_target *target, const struct page_region *run,
	struct umem_pageset *now, struct umem_pageset *unknown)
{
	uint64_t words[64];
	int r = 0;

	if (!umem_swap_active())
		return 0;

	for (uint64_t at = run->start; at < run->end && r == 0;) {
		size_t want = (size_t)umem_min_u64(UMEM_ARRAY_LEN(words),
			(run->end - at) >> UMEM_PAGE_SHIFT), n;

		r = umem_pagemap_words(target->pagemap_fd, at, words, want, &n);
		if (r < 0 || n == 0)
			break;
		for (size_t i = 0; i < n && r == 0; i++, at += UMEM_PAGE_BYTES) {
			bool hidden = (words[i] & ((1ull << 55) - 1)) == 0;

			if (!(words[i] & UMEM_PM_SWAPPED) || (words[i] & UMEM_PM_GUARD))
				continue;
			if (!hidden && UMEM_PM_SWAP_TYPE(words[i]) == UMEM_PM_MARKER_TYPE)
				continue;
			r = umem_pageset_add(hidden ? unknown : now, at, at + UMEM_PAGE_BYTES);
		}
	}
	return r;
}

/* The pages of @hull that hold content of their own now. */
static int look(const struct umem_target *target, const struct umem_region *region,
	const struct umem_range *hull, struct umem_pageset *now, struct umem_pageset *unknown,
	struct page_region *vec, size_t n_vec)
{
	struct umem_scan scan = {
		.at = hull->start,
		.end = hull->end,
		.any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.wanted = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_FILE,
	};
	bool huge = region->kind != UMEM_KIND_FILE_PRIVATE;

	while (scan.at < scan.end) {
		size_t n;
		int r = umem_pagemap_scan(target->pagemap_fd, &scan, vec, n_vec, &n);

		for (size_t i = 0; i < n && r == 0; i++) {
			const struct page_region *run = &vec[i];

			if (run->categories & PAGE_IS_SWAPPED)
				r = huge ? 0 : add_swapped(target, run, now, unknown);
			else if (huge || !(run->categories & PAGE_IS_FILE))
				r = umem_pageset_add(now, run->start, run->end);
		}
		if (r < 0)
			return r;
	}
	return 0;
}

int umem_vanish_collect(struct umem_vanish *vanish, const struct umem_target *target,
	const struct umem_region *region, const struct umem_range *piece,
	struct umem_pageset *written, bool all, struct page_region *vec, size_t n_vec)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset now = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset unknown = { 0 };
	struct umem_range hull = { UINT64_MAX, 0 };
	struct umem_pageset_iter it;
	struct umem_range run;
	int r = 0;

	if (all) {
		hull = *piece;
	} else {
		r = extend_hull(&vanish->held, piece, &hull);
		if (r == 0)
			r = extend_hull(written, piece, &hull);
	}
	if (r < 0 || hull.end <= hull.start)
		return r;
	r = look(target, region, &hull, &now, &unknown, vec, n_vec);
	if (r == 0)
		r = umem_pageset_walk_from(&vanish->held, hull.start, &it);
	if (r < 0)
		return r;
	while (r == 0 && umem_pageset_next(&it, &run) && run.start < hull.end)
		for (uint64_t at = run.start; at < umem_min_u64(run.end, hull.end) && r == 0;
			at += UMEM_PAGE_BYTES)
			if (!umem_pageset_has(&now, at))
				r = umem_pageset_add(written, at, at + UMEM_PAGE_BYTES);
	umem_pageset_walk_end(&it);
	if (r == 0)
		r = umem_pageset_sub(&vanish->held, hull.start, hull.end);
	if (r == 0)
		r = umem_pageset_union(&vanish->held, &now);
	return r < 0 ? r : umem_pageset_union(&vanish->held, &unknown);
}
