// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * A watch that follows another one, which ended without a last word.
 *
 * Theory of operation
 *
 * Where a watch is to survive the death of its process, somebody else holds a
 * duplicate of the userfaultfd, so that registrations and marks stay, and keeps
 * what umem_watch_left() told after the last round. What changed since cannot be
 * read from the page tables alone: the collect that died may have cleared marks
 * and told nobody, and private content may have been discarded. So the follower
 * arms everything anew and its first round holds, as new,
 *
 *     held      pages that may have had content: written, or discarded by now
 *     populated pages that have content now
 *
 * Everything else had none at the last round and has none now: a page that got
 * some in between and lost it reads as zeros (or as its file), as it did before.
 * Gone is what was watched and is not any more.
 *
 * The first round after may repeat what the dead one did report: it is never less.
 */
#include "lib/op/watch.h"

/* Of @ranges, what is watched now, to set @why. */
static int add_watched(struct umem_watch *watch, const struct umem_ranges *ranges,
	enum umem_why why)
{
	const struct umem_ranges *watched = watch->tracker->ops->watched(watch->tracker);
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges both = { 0 };
	int r = umem_ranges_intersect(ranges, watched, &both);

	return r < 0 ? r : umem_pageset_add_ranges(&watch->sets[why], &both);
}

static int copy(const struct umem_range *v, size_t n, struct umem_ranges *ret_set)
{
	int r = 0;

	for (size_t i = 0; i < n && r == 0; i++)
		r = umem_ranges_add(ret_set, v[i].start, v[i].end);
	return r;
}

int umem_watch_take_left(struct umem_watch *watch, const struct umem_watch_left *left,
	struct umem_pageset *baseline)
{
	const struct umem_ranges *watched = watch->tracker->ops->watched(watch->tracker);
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges before = { 0 };
	UMEM_CLEANUP(umem_ranges_deinit) struct umem_ranges held = { 0 };
	int r = copy(left->watched, left->n_watched, &before);

	if (r == 0)
		r = copy(left->held, left->n_held, &held);
	if (r == 0)
		r = umem_ranges_subtract(&before, watched, &watch->gone);
	if (r == 0)
		r = add_watched(watch, &held, UMEM_WHY_NEW);
	if (r == 0)
		r = umem_pageset_union(&watch->sets[UMEM_WHY_NEW], baseline);
	if (r < 0)
		return r;
	watch->round.round = left->round;
	watch->unfinished = true;
	watch->recovering = true;
	return 0;
}

void umem_watch_repeat(struct umem_watch *watch)
{
	watch->unfinished = true;
}

int umem_watch_left(struct umem_watch *watch, struct umem_watch_left *ret_left)
{
	const struct umem_tracker_ops *ops = watch->tracker->ops;
	int r = umem_ranges_union(ops->watched(watch->tracker), &watch->gone,
		&watch->left_watched);

	/* What is gone had content as far as anybody knows. */
	if (r == 0)
		r = umem_ranges_union(ops->held(watch->tracker), &watch->gone,
			&watch->left_held);
	if (r < 0)
		return r;
	*ret_left = (struct umem_watch_left){
		.round = watch->round.round,
		.watched = watch->left_watched.v,
		.n_watched = watch->left_watched.n,
		.held = watch->left_held.v,
		.n_held = watch->left_held.n,
	};
	return 0;
}
