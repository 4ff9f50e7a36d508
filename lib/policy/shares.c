// SPDX-License-Identifier: LGPL-2.1-or-later
/* Shares: divide what may go out over several targets. */
#include "lib/policy/shares.h"

#include "lib/base/attr.h"

/* This part of what is allowed is divided evenly. */
#define EVEN_PART 10

/* What some did not want is divided again so many times. */
#define ROUNDS 4

/* How much a target weighs: what it wants, more when that is most of it. */
static double weight(const struct umem_share *share)
{
	double want = (double)(share->want_bytes - share->got_bytes);
	double cold = share->resident_bytes ?
		(double)share->want_bytes / (double)share->resident_bytes : 1;

	return want * (cold < 1 ? cold : 1);
}

/* Give up to @bytes, in whole units unless that is all it wants. Return: what it got. */
static uint64_t give(struct umem_share *share, uint64_t bytes, uint64_t unit_bytes)
{
	uint64_t want = share->want_bytes - share->got_bytes;

	bytes = bytes >= want ? want : bytes / unit_bytes * unit_bytes;
	share->got_bytes += bytes;
	return bytes;
}

/* Each the same, as far as it wants that much. Return: what is left. */
static uint64_t divide_evenly(struct umem_share *shares, size_t n, uint64_t bytes,
	uint64_t unit_bytes)
{
	uint64_t part = bytes / n;

	for (size_t i = 0; i < n; i++)
		bytes -= give(&shares[i], part, unit_bytes);
	return bytes;
}

/* By weight. Return: what is left, for want of whole units or of takers. */
static uint64_t divide_by_weight(struct umem_share *shares, size_t n, uint64_t bytes,
	uint64_t unit_bytes)
{
	uint64_t left = bytes;
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += weight(&shares[i]);
	for (size_t i = 0; i < n && left && sum > 0; i++) {
		double part = (double)bytes * (weight(&shares[i]) / sum);
		uint64_t most = part >= (double)left ? left : (uint64_t)part;

		left -= give(&shares[i], most, unit_bytes);
	}
	return left;
}

void umem_shares_divide(struct umem_share *shares, size_t n, uint64_t allowed_bytes,
	uint64_t unit_bytes, uint64_t turn)
{
	uint64_t wanted = 0, left, even;

	unit_bytes = umem_max_u64(unit_bytes, 1);
	for (size_t i = 0; i < n; i++) {
		shares[i].got_bytes = 0;
		if (__builtin_add_overflow(wanted, shares[i].want_bytes, &wanted))
			wanted = UINT64_MAX;
	}
	if (n == 0)
		return;
	left = umem_min_u64(allowed_bytes, wanted);
	even = left / EVEN_PART;
	left = left - even + divide_evenly(shares, n, even, unit_bytes);
	for (int i = 0; i < ROUNDS && left >= unit_bytes; i++)
		left = divide_by_weight(shares, n, left, unit_bytes);
	/* what rounding leaves: a unit each, in turn; then to whoever wants it */
	for (size_t i = 0; i < n && left; i++)
		left -= give(&shares[(turn % n + i) % n], umem_min_u64(left, unit_bytes),
			unit_bytes);
	for (size_t i = 0; i < n && left; i++)
		left -= give(&shares[(turn % n + i) % n], left, 1);
}
