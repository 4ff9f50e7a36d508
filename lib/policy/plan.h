/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Plan: from all slices of a target to what goes out of each in this interval.
 *
 * Asks the policy for each slice, then grants what is wanted in the order of
 * its worth until budget or allowance is used up: the rest of slices judged
 * cold (or old enough) first, then samples that grow, then first samples, of
 * slices that are new, split off, and held before in turns. Trials cost no
 * refault and take the rest of what is allowed, samples before whole slices. Who is first among
 * equals moves on with each interval, so that none starves.
 * Sets want and split of every slice. Linear in the number of slices; blocks
 * for nothing, allocates nothing.
 */
#ifndef UMEM_POLICY_PLAN_H
#define UMEM_POLICY_PLAN_H

#include "lib/policy/age.h"
#include "lib/policy/probe.h"
#include "lib/policy/slice.h"
#include "lib/policy/thrash.h"
#include "lib/policy/trial.h"

/** enum umem_policy - what says that a slice is cold. */
enum umem_policy {
	UMEM_POLICY_AGE,
	UMEM_POLICY_PROBE,
	UMEM_POLICY_PRESSURE,
};

/** UMEM_PLAN_WISHES - kinds of what a slice may want, with none. */
#define UMEM_PLAN_WISHES 11

/**
 * struct umem_planner - settings and memory of planning for one target.
 * @policy: enum umem_policy. @age, @probe, @trial: their settings.
 * @odds: learned from earlier probes. @turn: by kind of wish, the address of the
 * slice that was refused first: it is the first the next time. @round: plans made.
 */
struct umem_planner {
	enum umem_policy policy;
	struct umem_age_conf age;
	struct umem_probe_conf probe;
	struct umem_trial_conf trial;
	struct umem_probe_odds odds;
	uint64_t turn[UMEM_PLAN_WISHES];
	uint64_t round;
};

/**
 * struct umem_plan_in - what an interval allows.
 * @now_ns: on the clock of hold_until_ns.
 * @thrash: answer of the outer loop; its @changed ends holds.
 * @allowed_pages: by the limits and the target's share of them.
 * @try_pages: may be put on trial.
 * @take_pages: what the pressure policy takes (umem_pressure_next()); else ignored.
 */
struct umem_plan_in {
	uint64_t now_ns;
	const struct umem_thrash_answer *thrash;
	uint64_t allowed_pages;
	uint64_t try_pages;
	uint64_t take_pages;
};

/**
 * struct umem_plan - what was planned.
 * @want_pages: to go out now, or on trial: sum of want of the slices, but for releases.
 * @sample_pages: of them, samples, and all that goes on trial.
 * @try_pages: of those, what goes on trial.
 * @n_release: slices with pages to be taken off trial.
 * @cold_pages: resident pages of slices judged cold, whether granted or not:
 *              what the target would put out now if it might (umem_share.want_bytes).
 * @expected_mpages: returns to expect of all, @probe_mpages: of samples; for
 *              umem_thrash_spend() when they went out.
 * @n_cold, @n_probing, @n_held, @n_split: slices judged cold, being watched or
 *              sampled, held, to be split.
 * @bound_ppm, @confidence_ppm: the weakest that was said of a slice evicted now
 *              by probing; 0 without one.
 * @reason: static text: what limits the plan, or what it does.
 */
struct umem_plan {
	uint64_t want_pages;
	uint64_t sample_pages;
	uint64_t try_pages;
	uint64_t n_release;
	uint64_t cold_pages;
	uint64_t expected_mpages;
	uint64_t probe_mpages;
	uint64_t n_cold;
	uint64_t n_probing;
	uint64_t n_held;
	uint64_t n_split;
	uint32_t bound_ppm;
	uint32_t confidence_ppm;
	const char *reason;
};

/** umem_planner_init - with the default settings of @policy, nothing learned. */
void umem_planner_init(struct umem_planner *self, enum umem_policy policy);

/** umem_plan_make - plan an interval; sets want and split of each slice. */
void umem_plan_make(struct umem_planner *self, struct umem_slices *slices,
	const struct umem_plan_in *in, struct umem_plan *ret_plan);

#endif
