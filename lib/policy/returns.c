// SPDX-License-Identifier: LGPL-2.1-or-later
/* Returns: how many pages can have come back from swap in an interval. */
#include "lib/policy/returns.h"

/*
 * The number of pages in the swap cache is not summed up exactly: each processor may
 * hold back some (Linux 6.18: up to 125). Where the cache is more than a passage, this
 * much is granted.
 */
#define CACHE_DRIFT 1024

static uint64_t add(uint64_t a, uint64_t b)
{
	return a + b < a ? UINT64_MAX : a + b;
}

/* What was counted; a counter that went back is another one. */
static uint64_t counted(uint64_t before, uint64_t after)
{
	return after < before ? UINT64_MAX : after - before;
}

uint64_t umem_returns_most(const struct umem_returns_seen *before,
	const struct umem_returns_seen *after, bool kept)
{
	uint64_t most;

	if (!before->known || !after->known)
		return UINT64_MAX;
	most = add(counted(before->read, after->read), before->cached);
	if (kept)
		most = add(most, add(counted(before->put_out, after->put_out), CACHE_DRIFT));
	return most;
}
