/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages of a target of reclaim on trial: out of its page table, but in memory.
 */
#ifndef UMEM_OP_RECLAIM_TRIAL_H
#define UMEM_OP_RECLAIM_TRIAL_H

#include "lib/op/reclaim_target.h"

/**
 * umem_reclaim_trial_find - what became of them since the last look.
 * @target: its map is of now. @trial keeps what was not used, @touched gets what was.
 * @swap: as umem_reclaim_target_look().
 *
 * Where the kernel has taken them out of memory, they are moved to @out, and where it
 * does so again nothing is tried any more. Return: 0 or -ENOMEM.
 */
int umem_reclaim_trial_find(struct umem_reclaim_target *target,
	const struct umem_reclaim_swap *swap);

/**
 * umem_reclaim_trial_ready - get ready, also again: which memory may be touched.
 * Return: 0, also where nothing can be tried; UMEM_GONE, -ENOMEM, -errno.
 */
int umem_reclaim_trial_ready(struct umem_reclaim_target *target, uint64_t now_ns);

/** umem_reclaim_can_try - can pages of it be put on trial? */
bool umem_reclaim_can_try(const struct umem_reclaim_target *target);

/**
 * umem_reclaim_trial_put - put pages on trial.
 * @pages: resident ones. @went: gets those that are on trial now.
 * Return: as umem_pageout_pages().
 */
int umem_reclaim_trial_put(struct umem_reclaim_target *target, struct umem_pageset *pages,
	struct umem_pageset *went, struct umem_note *note);

/**
 * umem_reclaim_trial_touch - map pages that are on trial.
 * @pages: their addresses. @in: gets those that are mapped now by our touch; what was
 *	used meanwhile is in neither.
 * Return: 0, UMEM_GONE, -ENOMEM, -errno.
 */
int umem_reclaim_trial_touch(struct umem_reclaim_target *target, struct umem_pageset *pages,
	struct umem_pageset *in);

/**
 * umem_reclaim_trial_release - take them off trial again, as if they had been used.
 * @start, @end: those of these addresses. Return: 0, UMEM_GONE, -errno.
 */
int umem_reclaim_trial_release(struct umem_reclaim_target *target, uint64_t start,
	uint64_t end);

/** umem_reclaim_trial_end - release all, as far as that can be done. */
void umem_reclaim_trial_end(struct umem_reclaim_target *target);

#endif
