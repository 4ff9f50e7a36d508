/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Trial: find out page by page what is in use, at the cost of no refault.
 *
 * Theory of operation
 *
 * A probe (lib/policy/probe.h) pays a refault for each page in use that it puts out, and
 * where a slice is cold but for some pages all over it, as allocators leave memory, it
 * pays for each of them. The refault objective then allows a few percent of such memory
 * in the first minutes. A page on trial is out of its page table, but in memory (in the
 * swap cache): the next use of it is seen, and costs a fault that waits for nothing. So
 * slices of memory that can be tried are judged thus:
 *
 *	NEW --few pages on trial--> PROBING --most used--> WARM: hold, as for a probe
 *	                               |
 *	                               +--not most: more, as many as say enough
 *	                               |    +--none of them used, and such samples have
 *	                               |    |  been right: COLD: the rest goes
 *	                               |    \--else: all of it on trial
 *	                               \--all were on trial for long enough, and few
 *	                                     were used of late: the rest goes: COLD
 *	COLD --hold ended, something resident--> on trial again
 *	COLD --pages came back, more than few--> WARM
 *
 * Few of late: where all of a slice is in use, only seldom, pages are used one after the
 * other for as long as one looks, and what happens not to have been used yet would come
 * back like the others; where some pages are in use and the others are cold, those show
 * soon, and then none. So what was used in the last part of the trial, of what was left
 * then, foretells what would come back.
 *
 * Each page that goes was itself not in use for the time of the trial, or is of a slice
 * of which a sample of enough pages was not. What comes back all the same is the
 * business of lib/policy/thrash.h, as ever; while that is too much, trials get longer.
 *
 * A trial costs processor time instead (a page is compressed, read back, touched and
 * dropped), which is limited elsewhere, and memory: compressed copies of what is on
 * trial. So no more than a part of a target is on trial at a time.
 */
#ifndef UMEM_POLICY_TRIAL_H
#define UMEM_POLICY_TRIAL_H

#include "lib/policy/probe.h"

/**
 * struct umem_trial_conf - settings.
 * @first_pages: pages of a slice that are tried at first.
 * @first_ns: for so long at least, and three times as long if some was used.
 * @step_ns: the sample that is large enough is tried at least this long.
 * @whole_ns: and a slice as a whole; at most four times as long. These two are
 *            multiplied by the factor of the outer loop.
 * @late_part: the rest goes when at most one in so many of it was used in the last half of
 *             @whole_ns.
 * @sampled_max_ppm: the rest of a slice goes by a sample alone only while no more than
 *            this share of what went so came back soon: where single pages are in
 *            use all over the memory, samples miss them.
 * @part: at most one in so many pages of a target is on trial at a time, but
 * @least_pages: any target may have this many.
 */
struct umem_trial_conf {
	uint32_t first_pages;
	uint64_t first_ns;
	uint64_t step_ns;
	uint64_t whole_ns;
	uint32_t late_part;
	uint32_t sampled_max_ppm;
	uint32_t part;
	uint32_t least_pages;
};

/** UMEM_TRIAL_CONF_DEFAULT - an initialiser with the defaults. */
#define UMEM_TRIAL_CONF_DEFAULT               \
	{                                     \
		.first_pages = 4,             \
		.first_ns = 10000000000u,     \
		.step_ns = 20000000000u,      \
		.whole_ns = 30000000000u,     \
		.late_part = 128,             \
		.sampled_max_ppm = 4000,      \
		.part = 4,                    \
		.least_pages = 2048,          \
	}

/** umem_trial_room - pages that may be put on trial, when @trial of @all in memory are. */
uint64_t umem_trial_room(const struct umem_trial_conf *conf, uint64_t trial, uint64_t all);

/**
 * umem_trial_judge - look at a slice that was noted, of memory that can be tried.
 * @conf: sizes and holds of samples; @trial: the rest.
 * @scale_ppm: times are multiplied by this (umem_thrash_answer.threshold_ppm).
 * @odds: learns from what was dropped; may be NULL.
 *
 * Moves its state. @ret_answer: as of umem_probe_judge(); see enum umem_probe_action.
 */
void umem_trial_judge(const struct umem_probe_conf *conf, const struct umem_trial_conf *trial,
	struct umem_slice *slice, uint64_t now_ns, uint64_t scale_ppm,
	struct umem_probe_odds *odds, struct umem_probe_answer *ret_answer);

#endif
