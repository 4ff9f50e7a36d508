/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One seed of dirty-oracle: an actor, a tracker, and the judgement of every
 * round. See trial.c.
 */
#ifndef TESTS_TORTURE_TRIAL_H
#define TESTS_TORTURE_TRIAL_H

#include <stdbool.h>
#include <stdint.h>

/**
 * struct trial_options - what every seed is run with.
 * @seeds, @jobs: how many, and at a time.
 * @rounds, @steps: of each seed; steps a round.
 * @swap: the machine has swap: more reclaim, fewer pictures.
 * @folios: shared memory that asks for it gets folios of several pages.
 * @hugetlb: there are huge pages to be had.
 */
struct trial_options {
	unsigned seeds;
	unsigned rounds;
	unsigned steps;
	unsigned jobs;
	bool swap;
	bool folios;
	bool verbose;
	bool hugetlb;
};

/** struct trial_tally - what seeds added up to; @failed: collects that were made to fail. */
struct trial_tally {
	uint64_t rounds;
	uint64_t pictures;
	uint64_t pages;
	uint64_t dirty_pages;
	uint64_t incomplete;
	uint64_t failed;
};

/** trial_run - run one seed; complains on stderr. Return: did it pass? */
bool trial_run(const struct trial_options *options, uint64_t seed,
	struct trial_tally *ret_tally);

#endif
