/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One target of reclaim: what of it is out, how old its slices are, what goes next.
 */
#ifndef UMEM_OP_RECLAIM_TARGET_H
#define UMEM_OP_RECLAIM_TARGET_H

#include "lib/kern/cgroup.h"
#include "lib/kern/psi.h"
#include "lib/mem/residency.h"
#include "lib/op/beside.h"
#include "lib/op/reclaim.h"
#include "lib/op/reclaim_returns.h"
#include "lib/op/touch.h"
#include "lib/policy/pressure.h"
#include "lib/policy/thrash.h"
#include "lib/track/accessed.h"

#include <umemd/track.h>

/**
 * struct umem_reclaim_target - a process.
 * @seen: of the last look, and what is counted up to the next.
 * @start_ticks: with the pid, its identity.
 * @claim: descriptor that keeps others from reclaiming here.
 * @target, @map: for looking and putting out. @borrowed: the first is the caller's, and
 *	so is @watched.
 * @accessed: tells what was read or written, where the kernel can; else NULL.
 * @blind: it could tell nothing of the last interval.
 * @watched, @watch: for the age of writes; NULL when nothing watches.
 * @can_go: addresses of memory that can be reclaimed at all.
 * @any_shared: some of it is shared.
 * @can_try: of @can_go, private memory, which can be put on trial (reclaim_trial.c).
 * @faults, @majors: of the target, at the last look. @swap_seen: of the machine, before it.
 * @out: what we put out and did not see come back.
 * @returned: of it, what came back in the interval.
 * @trial: pages on trial: in memory, not in the page table.
 * @waited: pages that were on trial, or about to be, for which the target waited.
 * @touched: were on trial, and were used in the interval.
 * @toucher: touches them, if @tries; ready since @served_ns.
 * @sampled_max_ppm: of @planner, where pages that go out are free at once.
 * @losses: how often the kernel took what was on trial out of memory.
 * @try_ns: what it costs to put a page on trial, as seen of late.
 * @own_reads: pages that we had the kernel read from swap, so far.
 * @warm: came back once, and is resident since: the last to be chosen.
 * @used: what was written in the interval.
 * @huge: blocks that were one huge page before a sample of them went out.
 * @slices, @planner, @thrash, @allowed, @pressure, @plan: the policy's state.
 * @cgroup, @psi, @psi_known: whose stalls to look at, and their last reading.
 * @sum: of the slices, in the last look.
 * @dry_run: nothing is done to it.
 * @pass, @next: where umem_reclaim_target_work() goes on: with what goes out (0) or on
 *	trial (1), and the slice.
 * @looked_ns: when it was looked at last. @dt_ns: since the look before.
 * @merged_ns: when slices were merged last.
 * @beside: on which processor it is worked on.
 */
struct umem_reclaim_target {
	struct umem_reclaim_seen seen;
	uint64_t start_ticks;
	int claim;
	struct umem_target *target;
	bool borrowed;
	struct umem_residency *map;
	struct umem_accessed *accessed;
	bool blind;
	struct umem_target *watched;
	struct umem_watch *watch;
	struct umem_ranges can_go;
	bool any_shared;
	struct umem_ranges can_try;
	uint64_t faults;
	uint64_t majors;
	uint64_t waited;
	struct umem_returns_seen swap_seen;
	struct umem_pageset out;
	struct umem_pageset returned;
	struct umem_pageset trial;
	struct umem_pageset touched;
	struct umem_toucher toucher;
	bool tries;
	uint64_t served_ns;
	uint32_t sampled_max_ppm;
	unsigned losses;
	uint64_t try_ns;
	uint64_t own_reads;
	struct umem_pageset warm;
	struct umem_pageset used;
	struct umem_ranges huge;
	struct umem_slices slices;
	struct umem_planner planner;
	struct umem_thrash thrash;
	struct umem_thrash_answer allowed;
	struct umem_pressure pressure;
	struct umem_plan plan;
	struct umem_cgroup cgroup;
	struct umem_psi psi;
	bool psi_known;
	struct umem_slices_sum sum;
	bool dry_run;
	unsigned pass;
	size_t next;
	uint64_t looked_ns;
	uint64_t dt_ns;
	struct umem_beside beside;
	uint64_t merged_ns;
};

/**
 * umem_reclaim_target_new - take a process in.
 * Return: as umem_reclaim_new().
 */
int umem_reclaim_target_new(int pid, const struct umem_reclaim_options *options,
	struct umem_reclaim_target **ret_target, struct umem_note *note);

/** umem_reclaim_target_free - let it go. Return: NULL. */
struct umem_reclaim_target *umem_reclaim_target_free(struct umem_reclaim_target *target);

UMEM_DEFINE_CLEANUP(struct umem_reclaim_target, umem_reclaim_target_free)

/**
 * umem_reclaim_target_look - what happened since the last look; fills @seen but
 * for the decision.
 * @swap: read before.
 *
 * Return: 0, UMEM_GONE, -errno.
 */
int umem_reclaim_target_look(struct umem_reclaim_target *target, uint64_t now_ns,
	const struct umem_reclaim_swap *swap, struct umem_note *note);

/**
 * struct umem_reclaim_allowed - what a target may do until the next look.
 * @bytes: may go out, by limits and the target's share.
 * @swap_bytes: may get a place in swap.
 * @cpu_ns: processor time that may be used; UINT64_MAX: any.
 * @limit: static text of the limit in effect, or NULL.
 */
struct umem_reclaim_allowed {
	uint64_t bytes;
	uint64_t swap_bytes;
	uint64_t cpu_ns;
	const char *limit;
};

/** umem_reclaim_target_plan - decide what goes out until the next look. Return: 0 or -ENOMEM. */
int umem_reclaim_target_plan(struct umem_reclaim_target *target, uint64_t now_ns,
	const struct umem_reclaim_allowed *allowed);

/**
 * umem_reclaim_target_work - put out what was decided, at most about @max_bytes.
 * @random: state of the choice of samples.
 * @ret_bytes: what was tried; 0 when nothing is left to do.
 *
 * Return: 0, UMEM_GONE, -ENOMEM, -errno.
 */
int umem_reclaim_target_work(struct umem_reclaim_target *target, uint64_t max_bytes,
	uint64_t now_ns, uint64_t *random, uint64_t *ret_bytes, struct umem_note *note);

#endif
