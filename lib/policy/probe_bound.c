// SPDX-License-Identifier: LGPL-2.1-or-later
/* Probe: the Clopper-Pearson bound. */
#include "lib/policy/probe.h"

#include <assert.h>
#include <math.h>

/* Halvings of [0, 1]: to a part per million. */
#define HALVINGS 22

/* P(at most @back of @n), when each has the chance @p, 0 < p < 1. */
static double at_most(uint64_t back, uint64_t n, double p)
{
	double term = (double)n * log1p(-p), odds = log(p) - log1p(-p), sum = exp(term);

	/* in logarithms: the single terms are far below what a double can hold */
	for (uint64_t k = 1; k <= back; k++) {
		term += log((double)(n - k + 1) / (double)k) + odds;
		sum += exp(term);
	}
	return sum;
}

uint32_t umem_probe_bound(uint64_t back, uint64_t n, uint32_t confidence_ppm)
{
	double rest = 1.0 - confidence_ppm / 1e6, low = 0, high = 1;

	assert(confidence_ppm < 1000000);
	if (back >= n)
		return 1000000;
	if (back == 0)
		return (uint32_t)ceil(-expm1(log(rest) / (double)n) * 1e6);
	for (int i = 0; i < HALVINGS; i++) {
		double mid = (low + high) / 2;

		if (at_most(back, n, mid) > rest)
			low = mid;
		else
			high = mid;
	}
	return (uint32_t)ceil(high * 1e6);
}

uint64_t umem_probe_enough(uint32_t bound_ppm, uint32_t confidence_ppm)
{
	double rest = 1.0 - confidence_ppm / 1e6;
	uint64_t n;

	if (bound_ppm >= 1000000)
		return 1;
	if (bound_ppm == 0)
		return UINT64_MAX;
	n = (uint64_t)ceil(log(rest) / log1p(-(bound_ppm / 1e6)));
	/* the logarithms may be off by the last bit */
	return umem_probe_bound(0, n ? n : 1, confidence_ppm) <= bound_ppm ? (n ? n : 1) : n + 1;
}
