/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A run: a trace under a policy, interval after interval, with the real
 * lib/policy in the loop as lib/op would drive it.
 */
#ifndef TESTS_POLICY_RUN_H
#define TESTS_POLICY_RUN_H

#include "lib/policy/plan.h"
#include "tests/policy/traces.h"

/**
 * struct run_point - one interval, sums over the targets, in pages.
 * @returned, @at_risk: in the interval. @put: went out at its end. @tried: went on trial
 * at its end; @trial: on trial, and in @resident, too.
 * @cold: in truth cold, @cold_out: and out.
 * @rate_ppm: smoothed rate of the loop (of target 0). @state: of target 0.
 * @bound_ppm: see struct umem_plan. @reason: of target 0's plan.
 */
struct run_point {
	uint64_t resident;
	uint64_t out;
	uint64_t at_risk;
	uint64_t returned;
	uint64_t put;
	uint64_t trial;
	uint64_t tried;
	uint64_t sampled;
	uint64_t cold;
	uint64_t cold_out;
	uint64_t rate_ppm;
	uint64_t n_slices;
	enum umem_thrash_state state;
	uint32_t bound_ppm;
	const char *reason;
};

/**
 * struct run - a trace, a policy, and the @n points that came of them.
 * @tries: memory can be put on trial. @interval_s: length of an interval.
 * @put, @returned: pages over the whole run.
 */
struct run {
	const struct trace *trace;
	enum umem_policy policy;
	bool tries;
	double interval_s;
	uint64_t put;
	uint64_t returned;
	struct run_point *v;
	size_t n;
};

/** run_make - simulate. @log: print a line an interval. Ends the test where lib/policy fails. */
void run_make(struct run *self, const struct trace *trace, enum umem_policy policy,
	bool tries, double interval_s, uint64_t seed, bool log);

void run_deinit(struct run *self);

/** run_policy_name - "age", "probe", "pressure", with "+try" where memory can be tried. */
const char *run_policy_name(enum umem_policy policy, bool tries);

/** run_rate - refaults a minute in minutes [@from, @to), in ppm of what was out. */
double run_rate(const struct run *self, double from, double to);

/** run_cold_out - share of the cold pages that are out at @minute. */
double run_cold_out(const struct run *self, double minute);

/** run_recovery - minutes after @minute until @share of the cold pages are out again. */
double run_recovery(const struct run *self, double minute, double share);

/** run_above - share of the minutes of [@from, @to) whose rate is above @ppm. */
double run_above(const struct run *self, double from, double to, double ppm);

/** run_reversals - how often the pages out turn around by more than @share of all pages. */
unsigned run_reversals(const struct run *self, double share);

#endif
