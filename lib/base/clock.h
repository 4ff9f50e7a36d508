/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The monotonic clock, in nanoseconds, through a pointer that a test can set.
 */
#ifndef UMEM_BASE_CLOCK_H
#define UMEM_BASE_CLOCK_H

#include <stdint.h>

/**
 * struct umem_clock - a source of time.
 * @now_ns: nanoseconds since some fixed moment; never goes back.
 * @user: passed to @now_ns.
 */
struct umem_clock {
	uint64_t (*now_ns)(void *user);
	void *user;
};

/** umem_clock_monotonic - CLOCK_MONOTONIC. */
extern const struct umem_clock umem_clock_monotonic;

/** umem_now_ns - CLOCK_MONOTONIC now. */
uint64_t umem_now_ns(void);

#endif
