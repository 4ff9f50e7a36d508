/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Probe: find out what is cold on any kernel, without any accessed bit.
 *
 * Theory of operation
 *
 * A small random sample of a slice is put out and watched. As long as nothing
 * comes back the sample grows; when it is large enough to say that few of the
 * slice's pages are in use, the rest goes as well. A return, or use that
 * another source saw, is a sign of use.
 *
 *	NEW --sample--> PROBING --none back, watched long enough--> sample grows
 *	                   |  \--bound low enough-----------------> COLD: the rest goes
 *	                   |   \-some back------------------------> split
 *	                   \-----most or all back-----------------> WARM: hold, twice as
 *	                                                            long each time
 *	COLD --pages came back--> WARM          WARM --hold ended--> NEW
 *
 * What is said of a slice is honest about two things. Number: @bound_ppm is the
 * one-sided Clopper-Pearson bound of the share of pages in use, at
 * @confidence_ppm. Time: "in use" means used within @watched_ns; a sample is not
 * judged as cold before it was out for a minimum time. Even so, a sample that
 * can be had in a minute cannot prove a rate as low as the refault objective
 * for one slice (that would take 1500 page-minutes without a return); only the
 * sum over all slices can, and that is what lib/policy/thrash.h controls.
 *
 * Costs: expected returns are told before pages go out, from how many came back
 * at the same step of earlier probes (struct umem_probe_odds), so that probing
 * stays in the budget.
 */
#ifndef UMEM_POLICY_PROBE_H
#define UMEM_POLICY_PROBE_H

#include "lib/policy/slice.h"

/**
 * enum umem_probe_step - what went out, as the odds tell it apart.
 * @UMEM_PROBE_FIRST: first sample of a slice of which nothing is known.
 * @UMEM_PROBE_PART: of a part of a slice that was in use in part.
 * @UMEM_PROBE_AGAIN: of a slice that was in use when last looked at.
 * @UMEM_PROBE_GROWN: a sample that grew, for nothing came back before.
 * @UMEM_PROBE_REST: the rest of a slice judged cold.
 * @UMEM_PROBE_SAMPLED: the same, of memory that could have been tried as a whole.
 */
enum umem_probe_step {
	UMEM_PROBE_FIRST,
	UMEM_PROBE_PART,
	UMEM_PROBE_AGAIN,
	UMEM_PROBE_GROWN,
	UMEM_PROBE_REST,
	UMEM_PROBE_SAMPLED,
	UMEM_PROBE_STEPS,
};

/**
 * struct umem_probe_conf - settings.
 * The defaults of sizes and times are from tests/policy: of those tried, they have
 * most cold memory out after 5 minutes within the objective.
 * @first_pages: size of the first sample.
 * @again_pages: of the first sample of a slice that was in use, wholly or in part.
 * @grow: the sample is multiplied by this as long as nothing comes back, up to
 *        what @bound_max_ppm asks for (2, 8, 32, 59 pages).
 * @bound_max_ppm: evict when fewer than this share is in use, at @confidence_ppm.
 * @confidence_ppm: 950000 is 95%.
 * @first_ns: the first sample is watched at least this long before it grows. A
 *            few pages that are watched for long find what is in use at the
 *            least cost.
 * @step_ns: a sample that grew is watched at least this long.
 * @watch_ns: and the whole probe at least this long before the rest goes.
 * @hold_ns, @hold_max_ns: first and longest hold of a slice that is in use.
 */
struct umem_probe_conf {
	uint32_t first_pages;
	uint32_t again_pages;
	uint32_t grow;
	uint32_t bound_max_ppm;
	uint32_t confidence_ppm;
	uint64_t first_ns;
	uint64_t step_ns;
	uint64_t watch_ns;
	uint64_t hold_ns;
	uint64_t hold_max_ns;
};

/** UMEM_PROBE_CONF_DEFAULT - an initialiser with the defaults. */
#define UMEM_PROBE_CONF_DEFAULT                 \
	{                                       \
		.first_pages = 2,               \
		.again_pages = 1,               \
		.grow = 4,                      \
		.bound_max_ppm = 50000,         \
		.confidence_ppm = 950000,       \
		.first_ns = 60000000000u,       \
		.step_ns = 10000000000u,        \
		.watch_ns = 40000000000u,       \
		.hold_ns = 60000000000u,        \
		.hold_max_ns = 1800000000000u,  \
	}

/**
 * enum umem_probe_action - what a slice asks for.
 * @UMEM_PROBE_WAIT: nothing now: being watched, held, or empty.
 * @UMEM_PROBE_SAMPLE: put out @want more pages as (part of) the sample.
 * @UMEM_PROBE_EVICT: judged cold: put out @want, all that is resident.
 * @UMEM_PROBE_SPLIT: mixed: split it.
 * @UMEM_PROBE_TRY: put @want more pages on trial (lib/policy/trial.h).
 * @UMEM_PROBE_DROP: put out @want pages that are on trial.
 * @UMEM_PROBE_RELEASE: take @want pages off it again.
 */
enum umem_probe_action {
	UMEM_PROBE_WAIT,
	UMEM_PROBE_SAMPLE,
	UMEM_PROBE_EVICT,
	UMEM_PROBE_SPLIT,
	UMEM_PROBE_TRY,
	UMEM_PROBE_DROP,
	UMEM_PROBE_RELEASE,
};

/**
 * struct umem_probe_answer - what is known of a slice and what it asks for.
 * @action: enum umem_probe_action. @step: of what is wanted.
 * @want: pages, at most the resident ones.
 * @bound_ppm: at most this share of its pages is in use within @watched_ns,
 * @confidence_ppm: with this confidence. 1000000 when nothing is known.
 * @watched_ns: how long the sample has been watched.
 * @reason: static text.
 */
struct umem_probe_answer {
	enum umem_probe_action action;
	enum umem_probe_step step;
	uint64_t want;
	uint32_t bound_ppm;
	uint32_t confidence_ppm;
	uint64_t watched_ns;
	const char *reason;
};

/**
 * struct umem_probe_odds - what came back of earlier samples, by step.
 * @put: pages put out; @back: of them came back; older probes count less.
 * All zero is "nothing known": careful figures are assumed then.
 */
struct umem_probe_odds {
	double put[UMEM_PROBE_STEPS];
	double back[UMEM_PROBE_STEPS];
};

/**
 * umem_probe_judge - look at a slice that was noted; moves its state.
 * @odds: learns from a probe that ends here; may be NULL.
 */
void umem_probe_judge(const struct umem_probe_conf *conf, struct umem_slice *slice,
	uint64_t now_ns, struct umem_probe_odds *odds, struct umem_probe_answer *ret_answer);

/** umem_probe_learn - of @put pages that went out at @step, @back came back. NULL: nothing. */
void umem_probe_learn(struct umem_probe_odds *odds, enum umem_probe_step step, uint64_t put,
	uint64_t back);

/**
 * umem_probe_learn_rest - what came back of a slice judged cold counts as returns
 * of @step within @within_ns of putting it out.
 */
void umem_probe_learn_rest(struct umem_probe_odds *odds, struct umem_slice *slice,
	enum umem_probe_step step, uint64_t within_ns);

/**
 * umem_probe_cost - returns to expect when @pages go out at @step.
 * Return: thousandths of a page.
 */
uint64_t umem_probe_cost(const struct umem_probe_odds *odds, enum umem_probe_step step,
	uint64_t pages);

/**
 * umem_probe_bound - one-sided upper Clopper-Pearson bound of a share.
 * @back: of @n, at most @n; @confidence_ppm: below 1000000.
 * For none of n it is 1 - (1 - confidence)^(1/n). Rounded up.
 * Return: parts per million; 1000000 for @n == 0.
 */
uint32_t umem_probe_bound(uint64_t back, uint64_t n, uint32_t confidence_ppm);

/**
 * umem_probe_enough - the smallest sample whose bound is @bound_ppm when none came back.
 * Return: pages, at least 1; UINT64_MAX for @bound_ppm == 0.
 */
uint64_t umem_probe_enough(uint32_t bound_ppm, uint32_t confidence_ppm);

#endif
