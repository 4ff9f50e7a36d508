/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Inside of a watch (see <umemd/track.h>), shared by watch.c and
 * watch_report.c.
 */
#ifndef UMEM_OP_WATCH_H
#define UMEM_OP_WATCH_H

#include <umemd/track.h>

#include "lib/base/reasons.h"
#include "lib/kern/pins.h"
#include "lib/mem/target.h"
#include "lib/track/sharers.h"
#include "lib/track/track.h"

/** UMEM_ADDRESS_END - past every user address of every architecture. */
#define UMEM_ADDRESS_END (1ull << 57)

/**
 * struct umem_watch - a watch.
 * @target: borrowed.
 * @tracker: owned.
 * @sharers: other mappers of the target's shared memory.
 * @pins_policy, @pins: what to do with pins; those that were read last.
 * @pins_hidden: they may not be looked at.
 * @selected: addresses that the caller wants to know about.
 * @pinned: ranges that are reported as pinned in the coming round.
 * @carried: pages that direct I/O may still write, reported in the coming round.
 * @appeared, @vanished, @lost, @pieces: scratch.
 * @unwatched: appeared, but not watched yet, because a collect failed.
 * @sets: pages of the last round by reason; disjoint once it is composed.
 * @gone, @incomplete: of the last round.
 * @assumes: of the arming.
 * @unfinished: the last collect failed, or is to be repeated: its sets are kept for the next.
 * @recovering: the next round holds what changed under a watch before this one.
 * @left_watched, @left_held: of umem_watch_left().
 * @armed, @round: what the caller is shown.
 */
struct umem_watch {
	struct umem_target *target;
	struct umem_tracker *tracker;
	struct umem_sharers sharers;
	enum umem_pins_policy pins_policy;
	struct umem_pins pins;
	bool pins_hidden;
	struct umem_ranges selected;
	struct umem_ranges pinned;
	struct umem_pageset carried;
	struct umem_ranges appeared;
	struct umem_ranges vanished;
	struct umem_ranges lost;
	struct umem_ranges pieces;
	struct umem_ranges unwatched;
	struct umem_pageset sets[UMEM_N_WHYS];
	struct umem_ranges gone;
	struct umem_reasons incomplete;
	struct umem_reasons assumes;
	bool unfinished;
	bool recovering;
	struct umem_ranges left_watched;
	struct umem_ranges left_held;
	struct umem_armed armed;
	struct umem_round round;
};

/**
 * umem_watch_elsewhere - processes @pids that are watched by others, who see to it
 * (umem_sharers_spread()) that what they change is told here. @pids: kept.
 * @hint: what to do about those that are not, for people; static text.
 */
static inline void umem_watch_elsewhere(struct umem_watch *watch, const int *pids, size_t n,
	const char *hint)
{
	watch->sharers.hint = hint;
	watch->sharers.elsewhere = pids;
	watch->sharers.n_elsewhere = n;
}

/** umem_watch_is_assumed - does @region, not tracked, change only by what is assumed away? */
bool umem_watch_is_assumed(const struct umem_region *region);

/** umem_watch_add_assumes - fill watch->assumes. Return: 0 or -ENOMEM. */
int umem_watch_add_assumes(struct umem_watch *watch);

/** umem_watch_check_busy - Return: -EBUSY if another userfaultfd has a selected region. */
int umem_watch_check_busy(const struct umem_watch *watch, struct umem_note *note);

/** umem_watch_n_regions - number of regions that are watched. */
uint64_t umem_watch_n_regions(const struct umem_watch *watch);

/**
 * umem_watch_take_left - begin a watch that follows another: its next round holds what
 * may have changed meanwhile.
 * @baseline: what is populated, now that it is armed.
 *
 * Return: 0 or -ENOMEM.
 */
int umem_watch_take_left(struct umem_watch *watch, const struct umem_watch_left *left,
	struct umem_pageset *baseline);

#endif
