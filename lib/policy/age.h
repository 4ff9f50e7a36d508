/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Age: a slice that nothing used for a while is cold.
 *
 * Pure numbers. Needs a source of use (enum umem_use_source); a slice without
 * one is never a candidate. A source that sees writes only takes memory that is
 * read for cold. What is old enough by such a source is therefore probed before
 * it goes (lib/policy/probe.h), unless @trust_writes says otherwise; then it
 * goes at once, what comes back is held, and the loop of lib/policy/thrash.h
 * makes the threshold longer.
 */
#ifndef UMEM_POLICY_AGE_H
#define UMEM_POLICY_AGE_H

#include "lib/policy/slice.h"

/**
 * struct umem_age_conf - settings.
 * @threshold_ns: quiet for this long is cold. Default 120 s: the shortest cold
 *                age of the far-memory literature (Lagar-Cavilla et al., ASPLOS 2019).
 * @hold_ns: first hold of a slice from which pages came back; doubled each time.
 * @hold_max_ns: longest hold.
 * @trust_writes: what was not written is not used: no probing of it.
 */
struct umem_age_conf {
	uint64_t threshold_ns;
	uint64_t hold_ns;
	uint64_t hold_max_ns;
	bool trust_writes;
};

/** UMEM_AGE_CONF_DEFAULT - an initialiser with the defaults. */
#define UMEM_AGE_CONF_DEFAULT                   \
	{                                       \
		.threshold_ns = 120000000000u,  \
		.hold_ns = 120000000000u,       \
		.hold_max_ns = 1800000000000u,  \
	}

/**
 * struct umem_age_answer - what to do with a slice.
 * @want: pages to put out now: all that are resident, or 0.
 * @split: few of its pages are in use: split it, so that the others can age.
 * @reason: static text.
 */
struct umem_age_answer {
	uint64_t want;
	bool split;
	const char *reason;
};

/**
 * umem_age_old_enough - was it quiet for the threshold, and would we know?
 * @scale_ppm: see umem_age_judge().
 */
bool umem_age_old_enough(const struct umem_age_conf *conf, const struct umem_slice *slice,
	uint64_t scale_ppm);

/**
 * umem_age_judge - look at a slice that was noted; moves its state.
 * @scale_ppm: the threshold is multiplied by this, in parts per million
 *             (umem_thrash_answer.threshold_ppm).
 */
void umem_age_judge(const struct umem_age_conf *conf, struct umem_slice *slice,
	uint64_t now_ns, uint64_t scale_ppm, struct umem_age_answer *ret_answer);

#endif
