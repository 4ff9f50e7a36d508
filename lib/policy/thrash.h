/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Thrash: the outer loop of every policy, which holds the refault objective.
 *
 * Theory of operation
 *
 * The objective is a rate: pages that come back a minute, as a share of what is
 * out (evicted by us and still out). While little is out that share would allow
 * nothing, and nothing could ever start; then the same share of the resident
 * memory is allowed instead, the form that the far-memory literature uses (0.2%
 * of the working set a minute). The base of the share is
 *
 *	base = max(out, resident - out * (1 / little - 1))
 *
 * with little = 1/4 of the target: resident at the start, what is out from a
 * quarter of the target on.
 *
 * Two figures follow from it.
 * - The rate: returns over base, both smoothed with a decaying window of a
 *   minute, so that intervals of uneven length weigh by their length. Above the
 *   objective no sample is taken. The rate of returns that are not of samples
 *   gives @scale_ppm: everything below half the objective, nothing above it. The
 *   two are kept apart, for evicting more of what is cold does not add to the
 *   returns of samples, it makes room for them.
 * - A token bucket of pages: filled by objective * base as time goes by, emptied
 *   by returns. It is what holds the objective over a run: a burst is paid back
 *   before more goes out. What is put out reserves the returns that are expected
 *   of it; a return uses up a reservation first, and reservations that nothing
 *   came back for flow back within the window. A second, smaller bucket is for
 *   samples alone: probing may cost a share of the objective, and the rest is
 *   left for what is out.
 *
 * Debt is limited to what @patience_ns of filling pays back. A burst that comes
 * out of the blue (the working set has moved: nobody could have foreseen it)
 * costs that much standing still, and is told with @changed. Each further one
 * within an hour makes patience four times as long, up to @patience_max_ns, so
 * that a target that passes over all its memory every ten minutes is soon left
 * alone; each hour without debt halves it.
 *
 * Growth starts slowly and doubles with each few seconds. Once it went too far
 * it starts again and doubles with each minute, so that the loop, which learns of
 * returns only after a window, settles at the objective instead of swinging
 * around it. Ages (@threshold_ppm) get twice as long in a minute above the
 * objective, and short again in ten below half of it.
 *
 * Who calls: umem_thrash_note() once an interval, umem_thrash_spend() with what
 * went out. Numbers only; time is what the caller says.
 */
#ifndef UMEM_POLICY_THRASH_H
#define UMEM_POLICY_THRASH_H

#include <stdbool.h>
#include <stdint.h>

/**
 * struct umem_thrash_conf - settings.
 * @objective_ppm_min: refaults a minute, in parts per million of the base.
 *                     Default 2000: 0.2% a minute, from Lagar-Cavilla et al.,
 *                     "Software-Defined Far Memory", ASPLOS 2019.
 * @window_ns: time constant of the smoothed rate. A minute: the objective's unit.
 * @little_ppm: below this share of the target that is out the resident memory counts.
 * @burst_ns: the bucket holds at most what this time fills. Simulated: with 30 s
 *            small targets hardly begin, with 60 s single minutes are above the
 *            objective; 45 s.
 * @patience_ns, @patience_max_ns: see above. Simulated: out again within 10
 *            minutes after the working set moved, and of 23 passes over
 *            everything in 4 hours two or three find most memory out.
 * @probe_ppm: share of the objective that samples may cost. Simulated: half of it
 *            leaves mixed memory in for much longer, 70% lets the rate go above.
 * @grow_ppm_min: at most this share of the resident memory goes out in a minute.
 *            40%: nine tenths of what is cold in 5 minutes.
 */
struct umem_thrash_conf {
	uint64_t objective_ppm_min;
	uint64_t window_ns;
	uint64_t little_ppm;
	uint64_t burst_ns;
	uint64_t patience_ns;
	uint64_t patience_max_ns;
	uint64_t probe_ppm;
	uint64_t grow_ppm_min;
};

/** UMEM_THRASH_CONF_DEFAULT - an initialiser with the defaults. */
#define UMEM_THRASH_CONF_DEFAULT                  \
	{                                         \
		.objective_ppm_min = 2000,        \
		.window_ns = 60000000000u,        \
		.little_ppm = 250000,             \
		.burst_ns = 45000000000u,         \
		.patience_ns = 120000000000u,     \
		.patience_max_ns = 3600000000000u, \
		.probe_ppm = 600000,              \
		.grow_ppm_min = 400000,           \
	}

/** enum umem_thrash_state - more may go out, no more for now, pay back. */
enum umem_thrash_state {
	UMEM_THRASH_GROW,
	UMEM_THRASH_HOLD,
	UMEM_THRASH_BACK_OFF,
};

/**
 * struct umem_thrash_bucket - pages that may come back.
 * @tokens: now; negative is debt. @reserved: of what went out, still expected.
 */
struct umem_thrash_bucket {
	double tokens;
	double reserved;
};

/** struct umem_thrash - the loop's memory; umem_thrash_init() sets it up. */
struct umem_thrash {
	struct umem_thrash_conf conf;
	double returns;
	double rest_returns;
	double base_min;
	double out_min;
	struct umem_thrash_bucket all;
	struct umem_thrash_bucket probe;
	double threshold;
	double grow;
	uint64_t patience_ns;
	uint64_t calm_ns;
	uint64_t debt_ns;
	bool started;
	bool in_debt;
	bool in_burst;
	bool surprise;
	bool careful;
};

/**
 * struct umem_thrash_seen - sums over the target for one interval, in pages.
 * @dt_ns: its length. @resident: now. @at_risk: out at its begin. @returned: of
 * them. @sampled_back: of @returned, came back to slices that are being probed.
 */
struct umem_thrash_seen {
	uint64_t dt_ns;
	uint64_t resident;
	uint64_t at_risk;
	uint64_t returned;
	uint64_t sampled_back;
};

/**
 * struct umem_thrash_answer - what may be done in this interval.
 * @state: see enum.
 * @scale_ppm: share of what a policy wants that it may have, 0 to 1000000; it is
 *             in @grow_pages already.
 * @threshold_ppm: ages have to be this much longer; 1000000 is as configured.
 * @budget_mpages: returns that may be expected of all that goes out now, in
 *                 thousandths of a page.
 * @probe_mpages: and of samples among it.
 * @free_ppm_min: pages that come back at no more than this rate cost nothing, for
 *                the base grows with them: the objective.
 * @grow_pages: at most so many pages may go out now.
 * @rate_ppm_min: smoothed rate, of the base: what is held against the objective.
 * @rate_out_ppm_min: smoothed rate, of what is out alone; 0 when nothing is out.
 * @changed: the working set has moved: holds may be ended (umem_slices_wake()).
 * @reason: static text, to be followed by the figures.
 */
struct umem_thrash_answer {
	enum umem_thrash_state state;
	uint32_t scale_ppm;
	uint64_t threshold_ppm;
	uint64_t budget_mpages;
	uint64_t probe_mpages;
	uint64_t free_ppm_min;
	uint64_t grow_pages;
	uint64_t rate_ppm_min;
	uint64_t rate_out_ppm_min;
	bool changed;
	const char *reason;
};

/** umem_thrash_init - nothing seen yet. @conf: copied; NULL: the defaults. */
void umem_thrash_init(struct umem_thrash *self, const struct umem_thrash_conf *conf);

/** umem_thrash_note - take in an interval, say what may be done in the next. */
void umem_thrash_note(struct umem_thrash *self, const struct umem_thrash_seen *seen,
	struct umem_thrash_answer *ret_answer);

/**
 * umem_thrash_spend - reserve returns that are expected of what went out.
 * @expected_mpages: of everything; @probe_mpages: of samples among it.
 */
void umem_thrash_spend(struct umem_thrash *self, uint64_t expected_mpages,
	uint64_t probe_mpages);

#endif
