// SPDX-License-Identifier: LGPL-2.1-or-later
/* The ranges of a round: five disjoint sets merged, against a naive model. */
#include <errno.h>
#include <string.h>

#include "lib/op/watch.h"
#include "tests/lib/harness.h"

#define N_PAGES 3000
#define BASE    0x7f0000000000ull

struct seen {
	signed char why[N_PAGES];
	uint64_t last;
	size_t n;
	size_t stop_at;
};

static int each(void *user, uint64_t start, uint64_t end, enum umem_why why)
{
	struct seen *seen = user;

	T_CHECK(start < end && start >= seen->last);
	seen->last = end;
	for (uint64_t at = start; at < end; at += UMEM_PAGE_BYTES)
		seen->why[(at - BASE) / UMEM_PAGE_BYTES] = (signed char)why;
	return ++seen->n == seen->stop_at ? -ECANCELED : 0;
}

static void round_of(uint64_t *seed)
{
	static struct umem_watch watch;
	static struct seen seen;
	signed char want[N_PAGES];
	uint64_t at = 0;
	size_t n_runs = 0;

	memset(&watch, 0, sizeof(watch));
	memset(want, -1, sizeof(want));
	/* Some sets are kept as runs, some as bitmaps. */
	for (int i = 0; i < UMEM_N_WHYS; i++)
		watch.sets[i].limit = t_below(seed, 2) ? 4 : 0;
	while (at < N_PAGES) {
		uint64_t len = 1 + t_below(seed, t_below(seed, 8) ? 3 : 200);
		int why = (int)t_below(seed, UMEM_N_WHYS + 1) - 1;

		if (len > N_PAGES - at)
			len = N_PAGES - at;
		if (why >= 0) {
			T_OK(umem_pageset_add(&watch.sets[why], BASE + at * UMEM_PAGE_BYTES,
				BASE + (at + len) * UMEM_PAGE_BYTES));
			memset(want + at, why, len);
		}
		at += len;
	}
	memset(&seen, 0, sizeof(seen));
	memset(seen.why, -1, sizeof(seen.why));
	T_OK(umem_watch_each(&watch, each, &seen));
	T_CHECK(memcmp(seen.why, want, sizeof(want)) == 0);
	n_runs = seen.n;

	/* What the callback returns ends the walk and is passed on. */
	if (n_runs) {
		memset(&seen, 0, sizeof(seen));
		seen.stop_at = 1 + t_below(seed, n_runs);
		T_CHECK(umem_watch_each(&watch, each, &seen) == -ECANCELED);
		T_CHECK(seen.n == seen.stop_at);
	}
	for (int i = 0; i < UMEM_N_WHYS; i++)
		umem_pageset_deinit(&watch.sets[i]);
}

int main(void)
{
	uint64_t seed = t_seed();

	for (int i = 0; i < 300; i++)
		round_of(&seed);
	return 0;
}
