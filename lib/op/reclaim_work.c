// SPDX-License-Identifier: LGPL-2.1-or-later
/* Putting out what was decided for a target of reclaim. */
#include "lib/base/attr.h"
#include "lib/op/pageout.h"
#include "lib/op/reclaim_count.h"
#include "lib/op/reclaim_huge.h"
#include "lib/op/reclaim_target.h"

/* Put out what was picked of the slices [@first, @t->next), and tell each what became of it. */
static int put_out(struct umem_reclaim_target *t, size_t first, struct umem_pageset *picked,
	uint64_t now_ns, struct umem_note *note)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset went = { 0 };
	struct umem_pageout result;
	uint64_t share = 0;
	int r = umem_pageout_pages(t->target, t->map, picked, 0, &went, &result, note);

	if (r != 0)
		return r;
	t->seen.reclaimed_bytes += result.moved_bytes;
	t->seen.refused_bytes += result.asked_bytes - result.moved_bytes;
	for (size_t i = first; i < t->next; i++) {
		struct umem_slice *slice = &t->slices.v[i];

		if (slice->want == 0)
			continue;
		umem_slice_put_out(slice, umem_count_range(&went, slice->start,
			umem_slice_end(&t->slices, slice)), now_ns, t->planner.probe.hold_ns);
	}
	/* Of what was expected of the whole plan, the part that went out. */
	if (t->plan.want_pages)
		share = umem_min_u64(result.moved_bytes >> UMEM_PAGE_SHIFT, t->plan.want_pages) *
			1000000 / t->plan.want_pages;
	umem_thrash_spend(&t->thrash, t->plan.expected_mpages * share / 1000000,
		t->plan.probe_mpages * share / 1000000);
	r = umem_pageset_union(&t->out, &went);
	if (r == 0)
		r = umem_pageset_subtract(umem_residency_pages(t->map, UMEM_STATE_RESIDENT), &went);
	return r == 0 ? umem_pageset_subtract(&t->warm, &went) : r;
}

/* Choose what goes of a slice: first of the pages that never came back. */
static int pick(struct umem_reclaim_target *t, const struct umem_slice *slice,
	uint64_t *random, struct umem_pageset *picked)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset cool = { 0 };
	uint64_t start = slice->start, end = umem_slice_end(&t->slices, slice);
	uint32_t left = slice->want, n;
	struct umem_pageset_iter iter;
	struct umem_range run;
	int r = umem_pick_pages(umem_residency_pages(t->map, UMEM_STATE_RESIDENT), start, end,
		UMEM_SLICE_PAGES, random, &cool);

	if (r == 0)
		r = umem_pageset_walk_from(&t->warm, start, &iter);
	if (r < 0)
		return r;
	while (umem_pageset_next(&iter, &run) && run.start < end && r == 0)
		r = umem_pageset_sub(&cool, run.start, run.end);
	umem_pageset_walk_end(&iter);
	if (r == 0)
		r = umem_pick_pages(&cool, start, end, left, random, picked);
	n = (uint32_t)umem_min_u64(umem_pageset_bytes(&cool) >> UMEM_PAGE_SHIFT, left);
	if (r < 0 || n == left)
		return r;
	/* The others came back before; what was picked is not picked twice. */
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset warm = { 0 };

	r = umem_pick_pages(umem_residency_pages(t->map, UMEM_STATE_RESIDENT), start, end,
		UMEM_SLICE_PAGES, random, &warm);
	if (r == 0)
		r = umem_pageset_subtract(&warm, &cool);
	return r == 0 ? umem_pick_pages(&warm, start, end, left - n, random, picked) : r;
}

int umem_reclaim_target_work(struct umem_reclaim_target *t, uint64_t max_bytes,
	uint64_t now_ns, uint64_t *random, uint64_t *ret_bytes, struct umem_note *note)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset picked = { 0 };
	size_t first = t->next;
	uint64_t bytes = 0;
	int r = 0;

	for (; t->next < t->slices.n && bytes < max_bytes && r == 0; t->next++) {
		const struct umem_slice *slice = &t->slices.v[t->next];

		if (slice->want == 0)
			continue;
		if (slice->want < slice->resident)
			r = umem_reclaim_huge_note(t, slice);
		if (r == 0)
			r = pick(t, slice, random, &picked);
		bytes += (uint64_t)slice->want << UMEM_PAGE_SHIFT;
	}
	if (r == 0 && bytes > 0)
		r = put_out(t, first, &picked, now_ns, note);
	if (r == 0)
		*ret_bytes = bytes;
	return r;
}
