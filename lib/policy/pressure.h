/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pressure: take a little as long as the kernel reports no stalls.
 *
 * The form of Meta's senpai (Weiner et al., "TMO", ASPLOS 2022): an interval
 * takes resident * ratio * (1 - pressure / maximum), at most 1% of the resident
 * memory, and nothing above the maximum. Its ratio of 0.05% is the start here;
 * it grows while pressure stays below half the maximum and falls back above it.
 * Pure numbers.
 */
#ifndef UMEM_POLICY_PRESSURE_H
#define UMEM_POLICY_PRESSURE_H

#include <stdint.h>

/**
 * struct umem_pressure_conf - settings.
 * @max_ppm: share of time that some task may be stalled on memory. Default 1000
 *           (0.1%), the threshold published for senpai.
 * @ratio_ppm: share of the resident memory an interval takes at first. Default
 *             500 (0.05%), as published.
 * @ratio_max_ppm: and at most. Default 10000 (1%), as published.
 * @grow_ppm: the ratio is multiplied by this after an interval of @interval_ns
 *            with low pressure. Default 1250000.
 * @interval_ns: the interval that the ratios are meant for; others in proportion.
 * @back_off_ns: nothing is taken for this long after an interval above the maximum.
 */
struct umem_pressure_conf {
	uint64_t max_ppm;
	uint64_t ratio_ppm;
	uint64_t ratio_max_ppm;
	uint64_t grow_ppm;
	uint64_t interval_ns;
	uint64_t back_off_ns;
};

/** UMEM_PRESSURE_CONF_DEFAULT - an initialiser with the defaults. */
#define UMEM_PRESSURE_CONF_DEFAULT              \
	{                                       \
		.max_ppm = 1000,                \
		.ratio_ppm = 500,               \
		.ratio_max_ppm = 10000,         \
		.grow_ppm = 1250000,            \
		.interval_ns = 5000000000u,     \
		.back_off_ns = 10000000000u,    \
	}

/** struct umem_pressure - the policy's memory; umem_pressure_init() sets it up. */
struct umem_pressure {
	struct umem_pressure_conf conf;
	uint64_t ratio_ppm;
	uint64_t wait_ns;
};

/** struct umem_pressure_answer - @take_bytes: to put out now; @reason: static text. */
struct umem_pressure_answer {
	uint64_t take_bytes;
	const char *reason;
};

/** umem_pressure_init - nothing seen yet. @conf: copied; NULL: the defaults. */
void umem_pressure_init(struct umem_pressure *self, const struct umem_pressure_conf *conf);

/**
 * umem_pressure_next - what to take in this interval.
 * @stalled_ppm: share of the last interval that some task was stalled on memory.
 * @resident_bytes: of the target. @dt_ns: length of the interval.
 */
void umem_pressure_next(struct umem_pressure *self, uint64_t stalled_ppm,
	uint64_t resident_bytes, uint64_t dt_ns, struct umem_pressure_answer *ret_answer);

#endif
