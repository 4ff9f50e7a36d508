/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Limits: how many bytes may go out now, whatever a policy wants.
 *
 * Every limit is asked; the one that allows least is told. Pure numbers; what
 * is not known or not wanted is UINT64_MAX in the input, or 0 as a setting
 * where the text below says "0: no limit".
 */
#ifndef UMEM_POLICY_LIMITS_H
#define UMEM_POLICY_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

/**
 * struct umem_limits_conf - settings.
 * @rate_bytes_s: bytes a second; 0: no limit.
 * @cpu_max_ppm: our share of one CPU. Default 20000 (2%). Above three quarters
 *               of it less is allowed, above it nothing. 0: no limit.
 * @floor_bytes: leave so many bytes resident.
 * @swap_min_bytes: leave so many bytes of swap free. Default 64 MiB.
 * @stored_max_ppm: stop when what compressed swap stores is more than this
 *                  share of what it was given. Default 900000. 0: no limit.
 * @stored_least_bytes: and it was given at least this much. Default 16 MiB.
 * @pressure_max_ppm: stop when the target is stalled on memory for more than
 *                    this share of time. Default 1000 (0.1%). 0: no limit.
 * @back_off_ns: after kernel reclaim or pressure nothing goes out for this long.
 */
struct umem_limits_conf {
	uint64_t rate_bytes_s;
	uint64_t cpu_max_ppm;
	uint64_t floor_bytes;
	uint64_t swap_min_bytes;
	uint64_t stored_max_ppm;
	uint64_t stored_least_bytes;
	uint64_t pressure_max_ppm;
	uint64_t back_off_ns;
};

/** UMEM_LIMITS_CONF_DEFAULT - an initialiser with the defaults. */
#define UMEM_LIMITS_CONF_DEFAULT                   \
	{                                          \
		.cpu_max_ppm = 20000,              \
		.swap_min_bytes = 64u << 20,       \
		.stored_max_ppm = 900000,          \
		.stored_least_bytes = 16u << 20,   \
		.pressure_max_ppm = 1000,          \
		.back_off_ns = 30000000000u,       \
	}

/**
 * struct umem_limits_seen - the world in the last interval.
 * @dt_ns: length of the interval.
 * @resident_bytes: of the target(s).
 * @cpu_ppm: our share of one CPU in it.
 * @swap_free_bytes: swap left; UINT64_MAX: not known.
 * @swap_given_bytes, @swap_stored_bytes: what was added to compressed swap since
 *    the start, before and after compression; both 0: not known, not compressed.
 * @kernel_reclaim: the kernel reclaimed by itself (kswapd or direct scanning).
 * @stalled_ppm: share of time that some task of the target was stalled on memory.
 */
struct umem_limits_seen {
	uint64_t dt_ns;
	uint64_t resident_bytes;
	uint64_t cpu_ppm;
	uint64_t swap_free_bytes;
	uint64_t swap_given_bytes;
	uint64_t swap_stored_bytes;
	bool kernel_reclaim;
	uint64_t stalled_ppm;
};

/** struct umem_limits - memory of the limits; umem_limits_init() sets it up. */
struct umem_limits {
	struct umem_limits_conf conf;
	uint64_t wait_ns;
	const char *wait_reason;
};

/**
 * struct umem_limits_answer - @allowed_bytes: may go out now (UINT64_MAX: any
 * number); @swap_bytes: may get a place in swap, whether it goes out or not (0 when
 * nothing may go out at all); @reason: static text of the limit that allows least, NULL
 * when no limit is in effect.
 */
struct umem_limits_answer {
	uint64_t allowed_bytes;
	uint64_t swap_bytes;
	const char *reason;
};

/**
 * struct umem_cpu_share - our share of a processor, held as an average.
 * @max_ppm: of one processor; 0: any number.
 * @left_ns: what was not used of it so far; below 0 when too much was.
 *
 * What one interval leaves another may use, up to what a minute gives, and no more than
 * twice its own share: looking takes little, work comes in bursts.
 */
struct umem_cpu_share {
	uint64_t max_ppm;
	double left_ns;
};

/** umem_cpu_share_note - an interval of @dt_ns has ended, in which we used @used_ns. */
void umem_cpu_share_note(struct umem_cpu_share *share, uint64_t dt_ns, uint64_t used_ns);

/**
 * umem_cpu_share_left - what may be used in the interval that begins.
 * @interval_ns: its length. Return: ns; UINT64_MAX: any number.
 */
uint64_t umem_cpu_share_left(const struct umem_cpu_share *share, uint64_t interval_ns);

/** umem_limits_init - nothing seen yet. @conf: copied; NULL: the defaults. */
void umem_limits_init(struct umem_limits *self, const struct umem_limits_conf *conf);

/** umem_limits_note - take in an interval, say what may go out now. */
void umem_limits_note(struct umem_limits *self, const struct umem_limits_seen *seen,
	struct umem_limits_answer *ret_answer);

#endif
