// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Private pages of mapped files that go away without a mark; see vanish.h.
 *
 * Theory of operation
 *
 * `held` are the pages that held content of their own at the last look. One
 * that is not there any more was discarded, and is reported. What is there is
 * told by a look at the page tables, which costs; so only pages that are held,
 * or were written in this round, are looked at, all that lie near each other
 * in one call. Huge pages are in vanish_huge.c.
 */
#include "lib/track/vanish.h"

#include "lib/kern/pagemap.h"
#include "lib/kern/swapdev.h"
#include "lib/mem/scan.h"

/* Between two hulls is looked at for nothing; up to this it is cheaper than a call. */
#define GAP_BYTES (1ull << 20)

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

/* What @run shows of the hulls. */
static int take_run(const struct umem_target *target, const struct page_region *run,
	const struct umem_ranges *hulls, struct umem_pageset *now, struct umem_pageset *unknown)
{
	int r = 0;

	for (size_t i = umem_ranges_find(hulls, run->start);
		i < hulls->n && hulls->v[i].start < run->end && r == 0; i++) {
		struct page_region part = *run;

		part.start = umem_max_u64(part.start, hulls->v[i].start);
		part.end = umem_min_u64(part.end, hulls->v[i].end);
		if (!(part.categories & PAGE_IS_SWAPPED))
			r = umem_pageset_add(now, part.start, part.end);
		else if (umem_swap_active())
			/* A page that may be a mark counts as vanished, but stays held. */
			r = umem_scan_swapped(target, part.start, part.end, now, unknown);
	}
	return r;
}

/* The pages of @hulls in @group that hold content of their own now. */
static int look(const struct umem_target *target, const struct umem_range *group,
	const struct umem_ranges *hulls, struct umem_pageset *now, struct umem_pageset *unknown,
	struct page_region *vec, size_t n_vec)
{
	struct umem_scan scan = {
		.at = group->start,
		.end = group->end,
		.inverted = PAGE_IS_FILE,
		.all = PAGE_IS_FILE,
		.any = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.wanted = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
	};

	while (scan.at < scan.end) {
		size_t n;
		int r = umem_pagemap_scan(target->pagemap_fd, &scan, vec, n_vec, &n);

		for (size_t i = 0; i < n && r == 0; i++)
			r = take_run(target, &vec[i], hulls, now, unknown);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Look at all hulls, those that lie near each other in one call. */
static int look_all(const struct umem_target *target, const struct umem_ranges *hulls,
	struct umem_pageset *now, struct umem_pageset *unknown, struct page_region *vec,
	size_t n_vec)
{
	for (size_t i = 0, k; i < hulls->n; i = k) {
		struct umem_range group = hulls->v[i];
		int r;

		for (k = i + 1; k < hulls->n; k++) {
			if (hulls->v[k].start - group.end > GAP_BYTES)
				break;
			group.end = hulls->v[k].end;
		}
		r = look(target, &group, hulls, now, unknown, vec, n_vec);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What is held in @hulls but is not in @now goes to @written; then @now is held there. */
static int compare(struct umem_vanish *vanish, const struct umem_ranges *hulls,
	struct umem_pageset *now, struct umem_pageset *unknown, struct umem_pageset *written)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset gone = { 0 };
	int r = umem_pageset_union(&gone, &vanish->held);

	if (r == 0)
		r = umem_pageset_keep(&gone, hulls);
	if (r == 0)
		r = umem_pageset_subtract(&gone, now);
	if (r == 0 && !umem_pageset_empty(&gone))
		r = umem_pageset_union(written, &gone);
	for (size_t i = 0; i < hulls->n && r == 0; i++)
		r = umem_pageset_sub(&vanish->held, hulls->v[i].start, hulls->v[i].end);
	if (r == 0)
		r = umem_pageset_union(&vanish->held, now);
	return r < 0 ? r : umem_pageset_union(&vanish->held, unknown);
}

int umem_vanish_collect(struct umem_vanish *vanish, const struct umem_target *target,
	const struct umem_ranges *pieces, struct umem_pageset *written, bool all,
	struct page_region *vec, size_t n_vec)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset now = { 0 };
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset unknown = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges hulls = { 0 };
	int r = 0;

	for (size_t i = 0; i < pieces->n && r == 0; i++) {
		struct umem_range hull = { UINT64_MAX, 0 };

		if (all) {
			hull = pieces->v[i];
		} else {
			r = extend_hull(&vanish->held, &pieces->v[i], &hull);
			if (r == 0)
				r = extend_hull(written, &pieces->v[i], &hull);
		}
		if (r == 0 && hull.end > hull.start)
			r = umem_ranges_add(&hulls, hull.start, hull.end);
	}
	if (r == 0)
		r = look_all(target, &hulls, &now, &unknown, vec, n_vec);
	return r < 0 || hulls.n == 0 ? r : compare(vanish, &hulls, &now, &unknown, written);
}
