// SPDX-License-Identifier: LGPL-2.1-or-later
/* The monotonic clock. */
#include "lib/base/clock.h"

#include <time.h>

uint64_t umem_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static uint64_t monotonic(void *user)
{
	return umem_now_ns();
}

const struct umem_clock umem_clock_monotonic = { .now_ns = monotonic };
