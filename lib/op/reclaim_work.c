// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Doing what was decided for a target of reclaim.
 *
 * What slices want is done piece by piece: first what goes out, and what was on trial and
 * goes; then what goes on trial, for which there may be no time left.
 */
#include "lib/base/attr.h"
#include "lib/op/pageout.h"
#include "lib/op/reclaim_count.h"
#include "lib/op/reclaim_huge.h"
#include "lib/op/reclaim_target.h"
#include "lib/op/reclaim_trial.h"

#define N_WAYS (UMEM_WAY_DROP + 1)

/**
 * struct piece - slices that are worked on together.
 * @first: the first of them; they end before t->next.
 * @picked: pages, by what is done with them.
 */
struct piece {
	size_t first;
	struct umem_pageset picked[N_WAYS];
};

static void piece_deinit(struct piece *piece)
{
	for (size_t i = 0; i < N_WAYS; i++)
		umem_pageset_deinit(&piece->picked[i]);
}

/* Tell each slice that wanted it this way what became of it. */
static void tell_slices(struct umem_reclaim_target *t, const struct piece *piece,
	enum umem_slice_way way, struct umem_pageset *went, uint64_t now_ns)
{
	for (size_t i = piece->first; i < t->next; i++) {
		struct umem_slice *slice = &t->slices.v[i];

		if (slice->want == 0 || slice->way != way)
			continue;
		umem_slice_put_out(slice, umem_count_range(went, slice->start,
			umem_slice_end(&t->slices, slice)), now_ns, t->planner.probe.hold_ns);
	}
}

/* What went out costs the part of the returns that were expected of the whole plan. */
static void spend(struct umem_reclaim_target *t, uint64_t moved_bytes)
{
	uint64_t pages = t->plan.want_pages - t->plan.try_pages, share;

	if (pages == 0)
		return;
	share = umem_min_u64(moved_bytes >> UMEM_PAGE_SHIFT, pages) * 1000000 / pages;
	umem_thrash_spend(&t->thrash, t->plan.expected_mpages * share / 1000000,
		t->plan.probe_mpages * share / 1000000);
}

/* Put out @pages. @way: out, or what was on trial. */
static int put_out(struct umem_reclaim_target *t, const struct piece *piece,
	enum umem_slice_way way, struct umem_pageset *pages, uint64_t now_ns,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset went = { 0 };
	struct umem_pageset *resident = umem_residency_pages(t->map, UMEM_STATE_RESIDENT);
	struct umem_pageout result;
	int r = umem_pageout_pages(t->target, t->map, pages, 0, &went, &result, note);

	if (r != 0)
		return r;
	t->seen.reclaimed_bytes += result.moved_bytes;
	t->seen.refused_bytes += result.asked_bytes - result.moved_bytes;
	tell_slices(t, piece, way, &went, now_ns);
	spend(t, result.moved_bytes);
	r = umem_pageset_union(&t->out, &went);
	if (r == 0)
		r = umem_pageset_subtract(resident, &went);
	return r == 0 ? umem_pageset_subtract(&t->warm, &went) : r;
}

/* What was on trial and not used: map it, so that the kernel drops it at once. */
static int drop(struct umem_reclaim_target *t, struct piece *piece, uint64_t now_ns,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset in = { 0 };
	struct umem_pageset *pages = &piece->picked[UMEM_WAY_DROP];
	int r;

	if (umem_pageset_empty(pages))
		return 0;
	r = umem_pageset_subtract(&t->trial, pages);
	if (r == 0)
		r = umem_reclaim_trial_touch(t, pages, &in);
	return r == 0 ? put_out(t, piece, UMEM_WAY_DROP, &in, now_ns, note) : r;
}

static int put_on_trial(struct umem_reclaim_target *t, struct piece *piece, uint64_t now_ns,
	struct umem_note *note)
{
	UMEM_CLEANUP(umem_pageset_deinit) struct umem_pageset went = { 0 };
	struct umem_pageset *pages = &piece->picked[UMEM_WAY_TRY];
	int r;

	if (umem_pageset_empty(pages))
		return 0;
	r = umem_reclaim_trial_put(t, pages, &went, note);
	if (r != 0)
		return r;
	tell_slices(t, piece, UMEM_WAY_TRY, &went, now_ns);
	return umem_pageset_subtract(umem_residency_pages(t->map, UMEM_STATE_RESIDENT), &went);
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

/* What is done first, and what then. */
static bool is_of_pass(const struct umem_slice *slice, unsigned pass)
{
	return (slice->way == UMEM_WAY_TRY) == (pass == 1);
}

/* Choose what is done to the pages of one slice. */
static int pick_by_way(struct umem_reclaim_target *t, const struct umem_slice *slice,
	uint64_t *random, struct piece *piece)
{
	struct umem_pageset *picked = &piece->picked[slice->way];
	int r = 0;

	if (slice->way == UMEM_WAY_DROP)
		return umem_pick_pages(&t->trial, slice->start,
			umem_slice_end(&t->slices, slice), slice->want, random, picked);
	if (slice->want < slice->resident)
		r = umem_reclaim_huge_note(t, slice);
	return r == 0 ? pick(t, slice, random, picked) : r;
}

int umem_reclaim_target_work(struct umem_reclaim_target *t, uint64_t max_bytes,
	uint64_t now_ns, uint64_t *random, uint64_t *ret_bytes, struct umem_note *note)
{
	UMEM_CLEANUP(piece_deinit) struct piece piece = { .first = t->next };
	uint64_t bytes = 0;
	int r = 0;

	for (; t->next < t->slices.n && bytes < max_bytes && r == 0; t->next++) {
		const struct umem_slice *slice = &t->slices.v[t->next];

		if (slice->want == 0 || slice->way >= N_WAYS || !is_of_pass(slice, t->pass))
			continue;
		r = pick_by_way(t, slice, random, &piece);
		bytes += (uint64_t)slice->want << UMEM_PAGE_SHIFT;
	}
	if (r == 0)
		r = drop(t, &piece, now_ns, note);
	if (r == 0 && !umem_pageset_empty(&piece.picked[UMEM_WAY_OUT]))
		r = put_out(t, &piece, UMEM_WAY_OUT, &piece.picked[UMEM_WAY_OUT], now_ns, note);
	if (r == 0)
		r = put_on_trial(t, &piece, now_ns, note);
	if (r != 0)
		return r;
	*ret_bytes = bytes;
	if (bytes > 0 || t->pass == 1)
		return 0;
	/* Nothing was left of the first pass. */
	t->pass = 1;
	t->next = 0;
	return umem_reclaim_target_work(t, max_bytes, now_ns, random, ret_bytes, note);
}
