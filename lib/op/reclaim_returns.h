/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What came back to a target of reclaim in an interval.
 */
#ifndef UMEM_OP_RECLAIM_RETURNS_H
#define UMEM_OP_RECLAIM_RETURNS_H

#include <stdbool.h>

#include "lib/kern/swapdev.h"
#include "lib/policy/returns.h"

struct umem_reclaim_target;

/**
 * struct umem_reclaim_swap - what the machine's swap did, for all targets.
 * @seen: its counters, before anybody is looked at, without @own_reads and @own_cached.
 * @own_reads: pages that we had read ahead, so far, for all targets.
 * @own_cached: pages that are on trial.
 * @lost: most of those are not in the swap cache any more.
 * @kept: an area is in use that keeps what goes out in the swap cache.
 * @forced_back: an area was taken away since the last look (swapoff), so that what
 *	came back says nothing about its use.
 * @target: by whose means the machine is looked at; NULL: by our own.
 */
struct umem_reclaim_swap {
	struct umem_returns_seen seen;
	uint64_t own_reads;
	uint64_t own_cached;
	bool kept;
	bool lost;
	bool forced_back;
	const struct umem_target *target;
};

/**
 * umem_reclaim_swap_read - look at it now.
 * @areas: as they are now.
 * @swap: with @own_reads, @own_cached and @forced_back; the rest is filled in.
 */
void umem_reclaim_swap_read(const struct umem_swap_areas *areas,
	struct umem_reclaim_swap *swap);

/**
 * umem_reclaim_find_returned - split what was out into what came back and what still is.
 * @target: its map is of now. @out keeps what is out, @returned gets what came back.
 * @swap: read before the map was made; kept as the begin of the next interval.
 *
 * What was discarded, or was so and is filled anew, is in neither of the two.
 * Return: 0 or -ENOMEM.
 */
int umem_reclaim_find_returned(struct umem_reclaim_target *target,
	const struct umem_reclaim_swap *swap);

#endif
